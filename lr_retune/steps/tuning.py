"""The step that trains: a search or a refit, with the arms that tell what it was worth."""

from __future__ import annotations

import time
from dataclasses import replace

from lr_retune.config import Config, resolve_secret
from lr_retune.data.feed import Feed
from lr_retune.errors import RetuneError
from lr_retune.plugins import Plugins, strategy_of
from lr_retune.records import Candidate, Champion, Files, FittedModel, Past, Plan, Report, Trial, TuneResult
from lr_retune.search.ahead import side_by_side
from lr_retune.search.arm import Named
from lr_retune.search.arms import run
from lr_retune.search.follow import follow, newest
from lr_retune.steps.files import golden, save_model
from lr_retune.steps.fitting import fit_data, options_of, user_range, users_loss
from lr_retune.steps.rows import excused
from lr_retune.stores.bundle import judged, native
from lr_retune.stores.promotion import Stores

NO_PAST = Past()


def tune(
    config: Config,
    plugins: Plugins,
    stores: Stores,
    plan: Plan,
    seen: Report | None,
    past: Past = NO_PAST,
    *,
    alone: bool = False,
) -> TuneResult:
    """Search (or refit) on train and valid; the control arm and the fixed rate run beside it.

    Where a refit answers a change there is no valid, and the control arm is all there is: nothing could be chosen by.

    ``seen`` is None for a first model: there is no old rate, and the search alone decides. So it does ``alone``,
    where not even the fixed rate may take its place.
    """
    started = time.process_time(), time.perf_counter()
    feed = Feed(config, plugins.feeds, plan.as_of)
    gaps = () if seen is None else excused(seen.facts.faults)
    data = fit_data(config, feed, plan, gaps)
    old = None if seen is None or alone else _old(config, plugins, plan, seen.champion, past, gaps)
    refit = seen is not None and seen.decision.action == "refit"
    options = options_of(config, plugins, data.valid if len(data.valid) else newest(data.train), past)
    journal = stores.journal(plan, refit, past, None if old is None else (old.learning_rate, old.schedule))
    options = replace(options, recall=journal.recall, remember=journal.remember)
    if config.search.dask is not None:
        options = side_by_side(plugins.family, data, options, dask=resolve_secret(config.search.dask, config.root))
    elif config.search.jobs > 1:
        options = side_by_side(plugins.family, data, options, jobs=config.search.jobs)
    strategy = None if refit else plugins.strategy
    if seen is not None and old is not None and not len(data.valid):
        known = stores.trained_on(seen.champion)
        rows = len(data.train) if known is None else _learned(known, stores.files(seen.champion))
        arms = follow(plugins.family, data, options, old, seen.champion.steps, rows)
    else:
        walls = user_range(config)
        arms = run(plugins.family, data, options, strategy=strategy, old=old, user_range=walls, fixed_counts=not alone)
    kept = golden(config, feed, plan)

    def save(made: tuple[Trial, FittedModel]) -> Candidate:
        return save_model(config, plugins, stores, plan, kept, *made)

    saved = {role: save(made) for role, made in arms.models.items()}
    return TuneResult(
        family=plugins.family.name,
        strategy="refit" if refit else strategy_of(config, plugins.family),
        step_unit=plugins.family.step_unit,
        challenger=saved.get("challenger"),
        control=saved.get("control"),
        fixed=saved.get("fixed"),
        trials=arms.trials,
        at_wall=arms.at_wall,
        same_rate=arms.same_rate,
        estimate=arms.estimate,
        reason=arms.reason,
        lead=arms.lead,
        old_rows=saved.get("old_rows"),
        repeats={role: tuple(save(made) for made in each) for role, each in arms.repeats.items()},
        apart={role: tuple(save(made) for made in each) for role, each in arms.apart.items()},
        seed_matters=arms.seed_matters,
        cost=arms.cost,
        timing={"cpu_s": time.process_time() - started[0], "wall_s": time.perf_counter() - started[1]},
    )


def _learned(plan: Plan, files: Files) -> int:
    """Labelled rows that a champion's steps were taken on."""
    return sum(plan.rows.values()) if judged(files) != native(files) else plan.rows["train"]


def _old(config: Config, plugins: Plugins, plan: Plan, champion: Champion, past: Past, gaps: tuple[str, ...]) -> Named:
    """The champion's rate, with the rows it was trained on where they can still be read as they were."""
    if champion.family != plugins.family.name:  # its rate means nothing to another family
        return Named(plugins.family.default_rate)
    named = Named(champion.learning_rate, champion.schedule)
    if past.champion is None:
        return named
    before = replace(past.champion, contract=plan.contract)  # as the challenger will be asked
    try:
        data = fit_data(config, Feed(config, plugins.feeds, before.as_of), before, gaps)
    except RetuneError:  # columns that did not exist then, files that are gone
        return named
    return replace(named, data=data, loss=users_loss(config, data.valid))
