"""The main path, readable in one screen: observe → decide → tune → judge → promote."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import ParamSpec, Protocol, TypeVar

from lr_retune import steps
from lr_retune.config import Config
from lr_retune.plugins import Plugins, load_plugins
from lr_retune.probation import probation, roll_back
from lr_retune.records import (
    TRAINING_ACTIONS,
    Champion,
    Decision,
    Facts,
    History,
    Judgement,
    Past,
    Plan,
    Report,
    TuneResult,
)
from lr_retune.rematch import settled
from lr_retune.review import paged, shown
from lr_retune.stores.promotion import Stores
from lr_retune.watch.occasion import change, known
from lr_retune.watch.policy import decide, probe_due
from lr_retune.watch.proof import ANSWERS

P = ParamSpec("P")
T = TypeVar("T")


class Step(Protocol):
    """How a step is run: called here and now, or as a task of a scheduler."""

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T: ...


Policy = Callable[[Facts, History, Config], Decision]


def call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a step in this process."""
    return function(*args, **kwargs)


def watch(
    config: Config,
    stores: Stores,
    as_of: datetime,
    *,
    step: Step = call,
    policy: Policy = decide,
    plugins: Plugins | None = None,
) -> Report:
    """Observe and decide; record both, change nothing else."""
    plugins = plugins or load_plugins(config)  # a typo fails here, before any row is read
    champion = step(stores.champion, as_of)
    history = step(stores.history, as_of)  # the ledger, cut at as_of: replay sees no future
    facts = step(steps.observe, config, plugins, stores, champion, as_of, history)
    if policy is decide:
        facts = replace(facts, probation=step(probation, config, plugins, stores, champion, facts, history))
        facts = replace(facts, probe=known(facts, history, config))
        if probe_due(facts, history, config):  # buys the missing fact: what a retrain would bring
            facts = replace(facts, probe=step(steps.probe, config, plugins, stores, champion, facts, history))
    decision = policy(facts, history, config)  # pure
    seen = Report("kept" if decision.action == "keep" else "held", facts, decision, champion)
    page = step(steps.drift_page, config, plugins, stores, seen, history)
    notes = step(stores.record, facts, decision, page)
    seen = replace(seen, page=page, notes=tuple(notes))
    return seen if decision.action in TRAINING_ACTIONS else paged(config, stores, step, seen)


def retune(
    config: Config,
    stores: Stores,
    as_of: datetime,
    *,
    step: Step = call,
    policy: Policy = decide,
    plugins: Plugins | None = None,
    author: str = "",
) -> Report:
    """Carry the production window that ends at ``as_of`` to a promoted version, or say why not.

    ``author``: who asks for it, and so cannot approve what comes of it; empty where nobody is known.

    Raises
    ------
    RetuneError
        Its branch says what kind, and with which exit code; the champion keeps serving.
    """
    plugins = plugins or load_plugins(config)
    seen = watch(config, stores, as_of, step=step, policy=policy, plugins=plugins)
    if seen.decision.action == "rollback":
        return paged(config, stores, step, step(roll_back, config, stores, seen))
    if seen.decision.action not in TRAINING_ACTIONS:
        return seen  # kept, or held for a person
    answers = ANSWERS & {reason.code for reason in seen.decision.reasons}
    since = change(seen.facts, stores.history(as_of), config) if answers else None
    before = stores.trained_on(seen.champion)
    plan = step(steps.plan, config, plugins, as_of, seen, before, stores.accepted(as_of), since)
    past = stores.past(as_of, plugins.family.name)
    result = step(steps.tune, config, plugins, stores, plan, seen, past)
    seen = replace(seen, author=author)
    judgement = step(steps.judge, config, plugins, stores, plan, seen, result)
    return settled(config, plugins, stores, step, seen, plan, result, judgement)


def first_model(
    config: Config, stores: Stores, as_of: datetime, *, plugins: Plugins | None = None, step: Step = call
) -> tuple[Plan, TuneResult, Judgement]:
    """Train and measure a model where there is no champion to compare it with."""
    plugins = plugins or load_plugins(config)
    plan = step(steps.plan, config, plugins, as_of, None)
    result = step(steps.tune, config, plugins, stores, plan, None)
    judgement = step(steps.promise, config, plugins, stores, plan, result)
    if config.promote.refit == "after_pass" and result.challenger is not None:
        result = step(steps.refit, config, plugins, stores, plan, result, None)
    return plan, result, judgement


def bootstrap(config: Config, stores: Stores, as_of: datetime, *, plugins: Plugins | None = None) -> Champion:
    """Train, measure and register the first champion; never implied by another command.

    Raises
    ------
    ConfigError
        If there is a champion already.
    DataError
        If there is not enough history for the window.
    """
    stores.refuse_second_bootstrap()
    born = stores.bootstrap(*first_model(config, stores, as_of, plugins=plugins))
    shown(config, stores, born.decision)
    return born


def search_only(config: Config, stores: Stores, as_of: datetime, *, plugins: Plugins | None = None) -> TuneResult:
    """The search alone, on train and valid; nothing is recorded. The control arm runs where there is a champion."""
    plugins = plugins or load_plugins(config)
    plan, seen, past = prepared(config, stores, as_of, plugins)
    return steps.tune(config, plugins, Stores.in_memory(config), plan, seen, past)


def prepared(config: Config, stores: Stores, as_of: datetime, plugins: Plugins) -> tuple[Plan, Report | None, Past]:
    """What a search outside the main path needs: its window, what was seen of a champion, and earlier searches."""
    if not stores.ledger.head(config.name).head:
        return steps.plan(config, plugins, as_of, None), None, Past()
    champion = stores.champion(as_of)
    facts = steps.observe(config, plugins, stores, champion, as_of, stores.history(as_of))
    seen = Report("kept", facts, Decision("", "search", ()), champion)
    plan = steps.plan(config, plugins, as_of, seen, stores.trained_on(champion), stores.accepted(as_of))
    return plan, seen, stores.past(as_of, plugins.family.name)
