"""The step that fits the recipe that passed once more, on all rows."""

from __future__ import annotations

from dataclasses import replace

from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.judge.gates import sane_predictions
from lr_retune.metrics import loss_for
from lr_retune.plugins import Plugins
from lr_retune.records import HoldoutScores, Plan, Report, Span, TuneResult
from lr_retune.search.arm import Named
from lr_retune.search.follow import follow, newest
from lr_retune.steps.files import golden, load_model, save_model
from lr_retune.steps.fitting import fit_data, options_of
from lr_retune.steps.rows import excused
from lr_retune.steps.tuning import NO_PAST
from lr_retune.stores.bundle import kept
from lr_retune.stores.promotion import Stores


def refit(
    config: Config, plugins: Plugins, stores: Stores, plan: Plan, result: TuneResult, seen: Report | None
) -> TuneResult:
    """Fit the recipe that passed once more, on train, valid and holdout: what serves has learned the newest rows.

    Rate and schedule are the judged model's, its steps grow with the rows. No row is left to judge the refit by, so it
    serves only if it is sane and no worse than the judged model on the holdout, which it has seen. The judged model
    stays in its folder: its holdout loss is the promise, and it stands for the champion where unseen scores are asked.
    """
    passed = result.challenger
    assert passed is not None  # it passed
    feed, gaps = Feed(config, plugins.feeds, plan.as_of), () if seen is None else excused(seen.facts.faults)
    everything = replace(plan, train=Span(plan.train.start, plan.holdout.end), valid=Span(*[plan.holdout.end] * 2))
    data = fit_data(config, feed, everything, gaps)
    named, options = (
        Named(passed.learning_rate, passed.schedule),
        options_of(config, plugins, newest(data.train), NO_PAST),
    )
    arms = follow(plugins.family, data, options, named, passed.steps, plan.rows["train"])
    trial, model = arms.models["challenger"]
    before = stores.models.get(passed.model)
    rows = feed.rows(plan.contract, plan.holdout, gaps).labelled()
    old = load_model(config, result.family, before).predict(rows.x)
    doubt = _doubt(
        HoldoutScores(y=rows.y, tick=rows.tick, champion=old, challenger=model.predict(rows.x)), result, config
    )
    found = replace(result, cost={**result.cost, "refit": arms.cost["control"]})
    if doubt:
        return replace(found, reason=_and(result.reason, f"the refit on all rows was dropped: {doubt}"))
    made = save_model(config, plugins, stores, plan, golden(config, feed, plan), trial, model, kept(before))
    return replace(found, refit=made)


def _doubt(scores: HoldoutScores, result: TuneResult, config: Config) -> str | None:
    """Why a refit is not to serve: ``scores`` of the judged model and of the refit, on rows that only this has seen."""
    sane, loss = sane_predictions(scores, result, config), loss_for(config.metric)
    if sane.status != "PASS":
        return sane.reason
    old, new = loss.value(scores.y, scores.champion), loss.value(scores.y, scores.challenger)
    if new > old * (1 + config.gates.margin):
        return f"{config.metric.name} {new:.4g} on the holdout, which it has seen, against {old:.4g} before"
    return None


def _and(said: str, more: str) -> str:
    return f"{said}; {more}" if said else more
