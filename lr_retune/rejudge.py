"""A challenger that could not be told from the champion meets it again, when more ticks have their labels."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from lr_retune import steps
from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.errors import ConfigError, ConflictError, HeldError
from lr_retune.plugins import Plugins, load_plugins
from lr_retune.records import Champion, Decision, Plan, Reason, Report, Span, content_digest, iso
from lr_retune.rematch import settled
from lr_retune.retune import Step, call
from lr_retune.stores.bundle import plan_from, result_from
from lr_retune.stores.ledger import Entry
from lr_retune.stores.promotion import Stores


def rejudge(
    config: Config,
    stores: Stores,
    decision: str,
    as_of: datetime,
    *,
    step: Step = call,
    plugins: Plugins | None = None,
) -> Report:
    """Judge a stored challenger once more, on its holdout and all ticks since; nothing is trained.

    Never on the newer ticks alone: a look that leaves out what an earlier one saw could be chosen. The look spends
    alpha / (i(i+1)), as `lr_retune.judge.looks` says, and stands in the ledger with its ticks.

    Raises
    ------
    ConfigError
        If the decision judged nobody, or was decided.
    ConflictError
        If the champion has changed since.
    HeldError
        If no more ticks have their labels, or a fault of the feed matters.
    """
    plugins = plugins or load_plugins(config)
    entry = _undecided(stores, decision)
    champion = _same_champion(stores, entry, as_of)
    facts = step(steps.observe, config, plugins, stores, champion, as_of, stores.history(as_of))
    if broken := [fault.what for fault in facts.faults if fault.matters]:
        raise HeldError("the feed broke its contract", why="; ".join(broken), fix="see `lr-retune check`")
    plan = step(_longer, config, plugins, plan_from(entry.record["plan"]), as_of, steps.excused(facts.faults))
    told = f"the challenger of decision {decision[:12]} was not decided; {iso(plan.horizon)} is the label horizon now"
    id = content_digest([decision, champion.epoch, plan.digest])
    again = Decision(id, entry.record["decision"]["action"], (Reason("rejudged", told),))
    seen = Report("held", facts, again, champion)
    step(stores.record, facts, again)
    result = result_from(entry.record["result"])
    judgement = step(steps.judge, config, plugins, stores, plan, seen, result)
    return settled(config, plugins, stores, step, seen, plan, result, judgement)


def _undecided(stores: Stores, decision: str) -> Entry:
    entry = stores.settlement(decision)
    if entry is None or entry.record["status"] != "INCONCLUSIVE" or entry.record["result"]["challenger"] is None:
        what = "judged nobody" if entry is None else f"ended with {entry.record['status']}"
        raise ConfigError(
            f"decision {decision[:12]} {what}",
            why="only a challenger that the evidence did not decide is judged again",
            fix="see `lr-retune history` for one that is inconclusive",
        )
    return entry


def _same_champion(stores: Stores, entry: Entry, as_of: datetime) -> Champion:
    champion, met = stores.champion(as_of), entry.record["champion"]
    if (champion.model, champion.epoch) != (met["model"], met["epoch"]):
        raise ConflictError(
            f"{stores.name} has another champion than the one this challenger met",
            why=f"epoch {champion.epoch}, it met epoch {met['epoch']}",
            fix="`lr-retune run` trains a challenger for the new champion",
        )
    return champion


def _longer(config: Config, plugins: Plugins, plan: Plan, as_of: datetime, gaps: tuple[str, ...]) -> Plan:
    """The same window with a holdout that reaches to today's label horizon."""
    feed = Feed(config, plugins.feeds, as_of)
    horizon = feed.horizon()
    if horizon is None or horizon <= plan.holdout.end:
        raise HeldError(
            f"no tick after {iso(plan.holdout.end)} has its labels",
            why="the same ticks would say the same",
            fix="wait for labels, then judge again",
        )
    holdout = Span(plan.holdout.start, horizon)
    rows = feed.rows(plan.contract, holdout, gaps)
    return replace(
        plan,
        as_of=as_of,
        horizon=horizon,
        holdout=holdout,
        rows={**plan.rows, "holdout": len(rows.labelled())},
        digest=content_digest([plan.digest, feed.digest([holdout], plan.contract, gaps)]),
    )
