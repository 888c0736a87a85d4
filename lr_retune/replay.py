"""The time machine: the main path at simulated times, on in-memory stores, policy against policy."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, ParamSpec, TypeVar

import numpy as np

from lr_retune import steps
from lr_retune.config import Config, RateRange
from lr_retune.data.cached import CachedSource
from lr_retune.data.feed import Feed
from lr_retune.data.kinds import DUPLICATE
from lr_retune.data.ticks import shift, tick_start
from lr_retune.errors import ConfigError, DataError, RetuneError
from lr_retune.metrics import loss_for
from lr_retune.plugins import Plugins, find, load_plugins
from lr_retune.records import (
    Champion,
    Cost,
    Feeds,
    HoldoutScores,
    Past,
    Plan,
    Report,
    Source,
    Span,
    TuneResult,
    Verdict,
    content_digest,
)
from lr_retune.retune import Policy, first_model, retune
from lr_retune.stores.models import MemoryModels
from lr_retune.stores.promotion import Stores
from lr_retune.watch.baselines import always, always_search, never
from lr_retune.watch.policy import decide

P = ParamSpec("P")
T = TypeVar("T")
FIXED_RATE = 0.05
EVER = datetime(9000, 1, 1, tzinfo=UTC)  # every label that will be known is known then


@dataclass(frozen=True, slots=True)
class Arm:
    """One policy of the table: who decides, with which search, and whether challengers are judged."""

    name: str
    policy: Policy
    strategy: str | None = None  # None: the configuration's own
    rate: float | None = None  # a single rate instead of a range
    gated: bool = True


ARMS = {
    arm.name: arm
    for arm in (
        Arm("never", never),
        Arm("always", always),
        Arm("always-ungated", always, gated=False),
        Arm("always+grid", always_search, strategy="grid"),
        Arm("fixed-05", always_search, strategy="fixed", rate=FIXED_RATE),
        Arm("policy", decide),
    )
}


@dataclass(frozen=True, slots=True)
class Walk:
    """What one policy did, and how its champions answered the rows that came."""

    name: str
    reports: tuple[Report | RetuneError, ...]  # one per run time after the first
    y: np.ndarray  # (n,) labels
    score: np.ndarray  # (n,) by the champion that was in production when the row came
    timing: Mapping[str, float] = field(compare=False, metadata={"outside": True})  # cpu_s, as if walked alone


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the replay table."""

    name: str
    loss: float  # prequential: every row scored by the model that was champion when it arrived
    excess_pct: float  # above the best policy of the table
    actions: dict[str, int]
    outcomes: dict[str, int]
    retrains: int
    promotions: int
    cost: Cost
    errors: dict[str, int]  # run times that ended in an error, by its kind; the champion served on


@dataclass(frozen=True, slots=True)
class Table:
    """What every policy would have brought over one stretch of history."""

    policies: tuple[Row, ...]
    ticks: int  # run times that were scored
    rows: int


def instants(config: Config, start: datetime, end: datetime, every: int) -> list[datetime]:
    """Simulated run times: tick starts from ``start`` to ``end``, every so many ticks.

    Raises
    ------
    ConfigError
        If there are fewer than two.
    """
    tick, zone = config.schedule.tick, config.schedule.timezone
    times, at = [], tick_start(start, tick, zone)
    while at <= end:
        times.append(at)
        at = shift(at, every, tick, zone)
    if len(times) < 2:
        raise ConfigError(
            f"nothing to replay from {start} to {end}", why="at least two run times are needed", fix="widen the stretch"
        )
    return times


def replay(
    config: Config,
    start: datetime,
    end: datetime,
    against: Sequence[str] = tuple(ARMS),
    *,
    every: int = 1,
    progress: Callable[[str], None] = lambda _message: None,
) -> Table:
    """Walk the main path through history once per policy, and compare what they brought.

    Every policy starts from the same first champion, trained as of ``start``. All but ``always-ungated``
    meet the gates, the label clock and the holdout of a live run.

    Parameters
    ----------
    against
        Names of `ARMS`.
    every
        Ticks between two runs.

    Raises
    ------
    ConfigError
        For an unknown policy or an empty stretch.
    DataError
        If there is not enough history before ``start``, or no label after it.
    """
    return tabulate(config, walk(config, instants(config, start, end, every), against, progress=progress))


# ── walking ───────────────────────────────────────────────────────────────────────────────────────
def walk(
    config: Config,
    times: Sequence[datetime],
    against: Sequence[str],
    *,
    progress: Callable[[str], None] = lambda _message: None,
) -> list[Walk]:
    """Each policy at the same run times; the first of them is when the first champion is trained.

    A live run at these times decides the same, under the same ids.
    """
    if unknown := [name for name in against if name not in ARMS]:
        raise ConfigError(
            f"no replay policy named {unknown[0]!r}", why=f"there are {', '.join(ARMS)}", fix="choose among these"
        )
    plugins = load_plugins(config)
    plugins = replace(plugins, feeds=_held(config, plugins.feeds))
    models = MemoryModels()  # content-addressed, so all policies may share it
    born = first_model(config, Stores.in_memory(config, models), times[0], plugins=plugins)
    shared = _Shared()
    walked = []
    for name in against:
        stores = Stores.in_memory(config, models)
        stores.bootstrap(*born)
        walked.append(_walk(config, ARMS[name], plugins, stores, times, shared, progress))
    return walked


def _held(config: Config, feeds: Feeds) -> Feeds:
    """The feeds in memory; what was served then was served by another model, so logged scores are left out."""
    labels = feeds.labels and _in_memory(config.reading(config.labels), feeds.labels)
    return replace(feeds, data=_in_memory(config, feeds.data), labels=labels, predictions=None)


def _in_memory(config: Config, source: Source) -> Source:
    """A source with its columns in memory; where files disagree about one, it is asked of them as ever."""
    data = config.data
    types = source.schema(EVER)
    listed = data.features is not None and config.model.transform is None
    wanted = dict.fromkeys((*data.roles, *(data.features or ()))) if listed else types
    plain = [n for n in wanted if n in types and not types[n].startswith("mixed<") and types[n] != DUPLICATE]
    return CachedSource(source, [n for n in plain if n not in data.exclude], data.time)


def _walk(
    config: Config,
    arm: Arm,
    plugins: Plugins,
    stores: Stores,
    times: Sequence[datetime],
    shared: _Shared,
    progress: Callable[[str], None],
) -> Walk:
    started, spared = time.process_time(), shared.spared_s
    reports, served = [], []
    dressed, parts = _dressed(config, arm, plugins)
    for at, until in pairwise(times):
        progress(f"{arm.name} {at:%Y-%m-%d}")
        if at > times[0]:  # the first champion was trained then
            reports.append(_one(dressed, stores, at, arm, parts, shared))
        served.append(_serve(config, plugins, stores, stores.champion(until), Span(at, until)))
    y, score = (np.concatenate(part) for part in zip(*served, strict=True))
    cpu = time.process_time() - started + shared.spared_s - spared
    return Walk(arm.name, tuple(reports), y, score, {"cpu_s": cpu})


def _dressed(config: Config, arm: Arm, plugins: Plugins) -> tuple[Config, Plugins]:
    if not arm.gated:
        plugins = replace(plugins, gates=(ungated,))
    if arm.strategy is None:
        return config, plugins
    search = config.search.model_copy(update={"strategy": arm.strategy})
    if arm.rate is not None:
        search = search.model_copy(update={"learning_rate": RateRange(low=arm.rate, high=arm.rate)})
    return config.model_copy(update={"search": search}), replace(plugins, strategy=find("strategies", arm.strategy))


def ungated(scores: HoldoutScores, result: TuneResult, config: Config) -> Verdict:
    """Let every challenger pass that has scores: what a timer without a judge does."""
    del result, config
    there = bool(np.isfinite(scores.challenger).all())
    return Verdict("ungated", "always", "PASS" if there else "ERROR", "this baseline promotes whatever it trains")


def _one(
    config: Config, stores: Stores, at: datetime, arm: Arm, plugins: Plugins, shared: _Shared
) -> Report | RetuneError:
    try:
        return retune(config, stores, at, step=shared, policy=arm.policy, plugins=plugins)
    except RetuneError as error:  # a live run would have ended so too; the champion serves on
        return error


def _serve(
    config: Config, plugins: Plugins, stores: Stores, champion: Champion, span: Span
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores of the rows that arrived while ``champion`` served; shape ``(n,)`` each.

    A served model answers rows whose columns broke as if these were missing, so nothing is left out.
    """
    contract = champion.contract
    rows = Feed(config, plugins.feeds, EVER).rows(contract, span, missing=contract.names).labelled()
    model = steps.load_model(config, champion.family, stores.files(champion))
    return rows.y, model.predict(rows.x)


class _Shared:
    """Runs steps; policies that train alike on the same window share one training."""

    def __init__(self) -> None:
        self._known: dict[str, TuneResult] = {}
        self.spared_s = 0.0  # CPU seconds that sharing has spared so far

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self._tune(function, *args) if function is steps.tune else function(*args, **kwargs)

    def _tune(self, function: Callable[..., Any], *args: Any) -> Any:
        key = _alike(*args)
        if key in self._known:
            self.spared_s += self._known[key].timing["cpu_s"]
        else:
            self._known[key] = function(*args)
        return self._known[key]


def _alike(config: Config, _plugins: Plugins, _stores: Stores, plan: Plan, seen: Report, past: Past) -> str:
    """Everything that a training depends on; all policies keep their models in one place."""
    rate, gaps = (seen.champion.learning_rate, seen.champion.schedule), steps.excused(seen.facts.faults)
    return content_digest(
        [config.digest, plan, seen.decision.action, rate, gaps, past.trials if seen.decision.action == "search" else ()]
    )


# ── the table ─────────────────────────────────────────────────────────────────────────────────────
def tabulate(config: Config, walked: Sequence[Walk]) -> Table:
    """Losses over all rows at once, so a ranking metric compares scores of successive champions.

    Raises
    ------
    DataError
        If the rows do not give a loss.
    """
    loss = loss_for(config.metric)
    losses = [loss.value(each.y, each.score) for each in walked]
    if not all(math.isfinite(value) for value in losses):
        raise DataError(
            f"{len(walked[0].y)} labelled rows give no {config.metric.name}",
            why="nothing can be compared on the replayed stretch",
            fix="choose another stretch, or check [data] label",
        )
    best = min(losses)
    rows = tuple(
        _row(each, value, (value / best - 1) * 100 if best > 0 else 0.0)
        for each, value in zip(walked, losses, strict=True)
    )
    return Table(rows, len(walked[0].reports) + 1, len(walked[0].y))


def _row(walked: Walk, loss: float, excess: float) -> Row:
    done = [r for r in walked.reports if isinstance(r, Report)]
    outcomes = Counter(r.outcome for r in done)
    return Row(
        name=walked.name,
        loss=loss,
        excess_pct=excess,
        actions=dict(sorted(Counter(r.decision.action for r in done).items())),
        outcomes=dict(sorted(outcomes.items())),
        retrains=sum(r.result is not None for r in done),
        promotions=outcomes["promoted"],
        cost=sum(_costs(done), Cost()),
        errors=dict(sorted(Counter(type(r).__name__ for r in walked.reports if isinstance(r, RetuneError)).items())),
    )


def _costs(reports: Sequence[Report]) -> Iterator[Cost]:
    """Work that the policy itself asked for: a refit's is its control arm, a search's its candidates."""
    for report in reports:
        if report.result is not None:
            yield report.result.cost["control" if report.decision.action == "refit" else "search"]
