"""What the answer of each step depends on: two calls with one key give the same answer, in any process, on any day."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import lr_retune
from lr_retune import steps
from lr_retune.config import Config
from lr_retune.plugins import Group, Plugins, provider
from lr_retune.records import (
    Acceptance,
    Champion,
    Facts,
    History,
    Judgement,
    Past,
    Plan,
    Probe,
    Report,
    TuneResult,
    content_digest,
)
from lr_retune.replay.glance import glance
from lr_retune.stores.filed import environment
from lr_retune.stores.promotion import Stores
from lr_retune.watch.occasion import change, rows_to_judge

# Of [policy], all that `steps.observe` reads; a test holds it to that.
OBSERVED = ("cusum_k", "cusum_h", "tolerance", "spread", "min_rows", "min_positives")
OBSERVES = ("data", "labels", "schedule", "task", "metric", "model", "watch", "seed")
TUNED = ("data", "labels", "window", "schedule", "task", "metric", "model", "search", "seed")
JUDGED = (*TUNED, "gates", "promote")
NO_PAST = Past()
Until = Callable[[datetime], str | None]  # digest of all rows that came before a time


def common(config: Config) -> list[Any]:
    """What every answer depends on: installed libraries, this code, and the packages of the plug-ins that are asked."""
    asked: list[tuple[Group, str | None]] = [
        ("sources", config.data.source),
        ("families", config.model.family),
        ("transforms", config.model.transform),
        ("strategies", config.search.strategy),
        *(("gates", name) for name in config.gates.names),
    ]
    return [_libraries(), _code(), sorted({_package(group, name) for group, name in asked if name is not None})]


@cache  # metadata of installed packages takes longer to read than most answers
def _package(group: Group, name: str) -> str:
    return str(provider(group, name))


@cache
def _libraries() -> str:
    return content_digest(environment())


@cache
def _code() -> str:
    """A digest of this package as it is installed."""
    root = Path(lr_retune.__file__).parent
    files = {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*.py"))}
    return content_digest({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})


def _parts(config: Config, names: tuple[str, ...]) -> Any:
    return config.model_dump(mode="json", include=set(names)) | {"threshold": config.decision_threshold}


def observe(
    config: Config, _plugins: Plugins, stores: Stores, champion: Champion, as_of: datetime, history: History
) -> Any:
    """The ledger counts by when it was last looked, which ticks were broken, and what was accepted."""
    looks = [d.as_of for d in history.decisions]
    broken = [(b, *looks[max(n - 1, 0) : n]) for n, b in enumerate(looks) if "feed_fault" in history.decisions[n].codes]
    harder = history.rebased(champion.model)
    level = None if harder is None else (harder.since, harder.level)
    policy = {name: getattr(config.policy, name) for name in OBSERVED}
    known = (looks[-1:], broken, level, stores.accepted(as_of))
    return [_parts(config, OBSERVES), policy, champion, as_of, known]


def probe(config: Config, _plugins: Plugins, stores: Stores, champion: Champion, facts: Facts, history: History) -> Any:
    """The twins' rows hang on the champion's window and on the change that goes on."""
    since = change(facts, history, config)
    wanted = None if since is None else rows_to_judge(facts, config)
    policy = {name: getattr(config.policy, name) for name in OBSERVED}
    return [_parts(config, (*TUNED, "gates")), policy, champion, facts, stores.trained_on(champion), since, wanted]


def plan(
    config: Config,
    plugins: Plugins,
    as_of: datetime,
    seen: Report | None,
    before: Plan | None = None,
    accepted: Acceptance | None = None,
    since: datetime | None = None,
) -> Any:
    """A window hangs on the champion's contract, on the columns that are missing and on the change it answers."""
    base = [_parts(config, TUNED), config.gates.min_ticks, as_of]
    if seen is None:
        return base
    facts, ours = seen.facts, seen.champion.family == plugins.family.name
    answers = ours and since is not None and seen.decision.action == "refit"
    cut = None if facts.probe is None else facts.probe.cut
    answered = (since, cut, rows_to_judge(facts, config)) if answers else None
    asked = (seen.champion.contract, steps.excused(facts.faults), accepted, answered, before and before.cut)
    return [*base, *asked]


def tune(
    config: Config, _plugins: Plugins, stores: Stores, plan: Plan, seen: Report | None, past: Past = NO_PAST
) -> Any:
    """A training hangs on its window and on the old rate; without valid also on the champion's length and rows."""
    base = [_parts(config, TUNED), plan]
    if seen is None:
        return base
    old, search = seen.champion, seen.decision.action == "search"
    length = None if plan.rows["valid"] else (old.model, stores.trained_on(old))
    rate = (old.family, old.learning_rate, old.schedule, length)
    return [*base, search, rate, steps.excused(seen.facts.faults), past.trials if search else (), past.champion]


def judge(config: Config, plugins: Plugins, stores: Stores, plan: Plan, seen: Report, result: TuneResult) -> Any:
    """A verdict hangs on both models, the gates, and how often these ticks were looked at."""
    gates = [f"{gate.__module__}.{getattr(gate, '__qualname__', gate)}" for gate in plugins.gates]
    met = stores.looks(stores.key(seen.champion, plan, seen.decision.action))
    looked = (met, stores.best_promise(plan.as_of))
    return [_parts(config, JUDGED), gates, plan, seen.champion, steps.excused(seen.facts.faults), result, looked]


def refit(
    config: Config, _plugins: Plugins, _stores: Stores, plan: Plan, result: TuneResult, seen: Report | None
) -> Any:
    """The second fit hangs on the recipe that passed."""
    return [_parts(config, JUDGED), plan, result, () if seen is None else steps.excused(seen.facts.faults)]


# step → its name, what makes its key, what it answers
KEYED: dict[Any, tuple[str, Callable[..., Any], Any]] = {
    steps.observe: ("observe", observe, Facts),
    glance: ("glance", observe, Facts),
    steps.probe: ("probe", probe, Probe | None),
    steps.plan: ("plan", plan, Plan),
    steps.tune: ("tune", tune, TuneResult),
    steps.judge: ("judge", judge, Judgement),
    steps.refit: ("refit", refit, TuneResult),
}


def as_of(name: str, args: tuple[Any, ...]) -> datetime:
    """Up to when a step reads rows."""
    if name in ("observe", "glance"):
        found: datetime = args[4]
    elif name == "plan":
        found = args[2]
    else:
        found = args[4 if name == "probe" else 3].as_of
    return found


def key(config: Config, name: str, depends: Any, until: str) -> str:
    """One digest of it all."""
    return content_digest([name, common(config), until, depends])
