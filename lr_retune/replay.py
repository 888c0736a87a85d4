"""The time machine: the main path at simulated times, on in-memory stores, policy against policy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from lr_retune import steps
from lr_retune.config import Config, RateRange
from lr_retune.data.cached import CachedSource
from lr_retune.data.feed import Feed
from lr_retune.data.ticks import shift, tick_start
from lr_retune.errors import ConfigError, RetuneError
from lr_retune.metrics import loss_for
from lr_retune.plugins import Plugins, find, load_plugins
from lr_retune.records import Champion, Cost, Report, Span
from lr_retune.retune import Policy, first_model, retune
from lr_retune.stores.models import MemoryModels
from lr_retune.stores.promotion import Stores
from lr_retune.watch.policy import always, always_search, decide, never

FIXED_RATE = 0.05


@dataclass(frozen=True, slots=True)
class Arm:
    """One policy of the table: who decides, and with which search."""

    name: str
    policy: Policy
    strategy: str | None = None  # None: the configuration's own
    rate: float | None = None  # a single rate instead of a range


ARMS = {
    arm.name: arm
    for arm in (
        Arm("never", never),
        Arm("always", always),
        Arm("always+grid", always_search, strategy="grid"),
        Arm("fixed-05", always_search, strategy="fixed", rate=FIXED_RATE),
        Arm("policy", decide),
    )
}


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
    errors: dict[str, int]  # ticks that ended in an error, by its kind


@dataclass(frozen=True, slots=True)
class Table:
    """What every policy would have brought over one stretch of history."""

    policies: tuple[Row, ...]
    ticks: int
    rows: int


def instants(config: Config, start: datetime, end: datetime, every: int) -> list[datetime]:
    """Simulated run times: tick starts from ``start`` to ``end``, every so many ticks."""
    tick, zone = config.schedule.tick, config.schedule.timezone
    times, at = [], tick_start(start, tick, zone)
    while at <= end:
        times.append(at)
        at = shift(at, every, tick, zone)
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
    """Walk the main path through history once per policy.

    Every policy starts from the same first champion, trained as of ``start``; gates, label clock and
    holdout staleness are those of a live run.

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
    """
    if unknown := [name for name in against if name not in ARMS]:
        raise ConfigError(
            f"no replay policy named {unknown[0]!r}", why=f"there are {', '.join(ARMS)}", fix="choose among these"
        )
    times = instants(config, start, end, every)
    if len(times) < 2:
        raise ConfigError(
            f"nothing to replay from {start} to {end}", why="at least two run times are needed", fix="widen the stretch"
        )
    plugins = _cached(config)
    models = MemoryModels()  # content-addressed, so all policies may share it
    born = first_model(config, Stores.in_memory(config, models), times[0], plugins=plugins)
    walked = []
    for name in against:
        progress(name)
        stores = Stores.in_memory(config, models)
        stores.bootstrap(*born)
        walked.append((name, *_walk(config, ARMS[name], plugins, stores, times, progress)))
    return _table(config, walked, len(times) - 1)


def _cached(config: Config) -> Plugins:
    plugins = load_plugins(config)
    feed = Feed(config, plugins.source, datetime.max.replace(tzinfo=UTC))
    return replace(plugins, source=CachedSource(plugins.source, [*feed.needed(), *feed.columns()], config.data.time))


def _walk(
    config: Config,
    arm: Arm,
    plugins: Plugins,
    stores: Stores,
    times: Sequence[datetime],
    progress: Callable[[str], None],
) -> tuple[list[Report | RetuneError], np.ndarray, np.ndarray]:
    """Reports, labels and scores of one policy."""
    config, plugins = _dressed(config, arm, plugins)
    reports: list[Report | RetuneError] = []
    served = []
    for at, until in zip(times, times[1:], strict=False):
        progress(f"{arm.name} {at:%Y-%m-%d}")
        if at > times[0]:  # the first champion was trained then
            reports.append(_one(config, stores, at, arm, plugins))
        served.append(_serve(config, plugins, stores, stores.champion(at), Span(at, until), times[-1]))
    y, score = (np.concatenate(part) for part in zip(*served, strict=True))
    return reports, y, score


def _dressed(config: Config, arm: Arm, plugins: Plugins) -> tuple[Config, Plugins]:
    if arm.strategy is None:
        return config, plugins
    search = config.search.model_copy(update={"strategy": arm.strategy})
    if arm.rate is not None:
        search = search.model_copy(update={"learning_rate": RateRange(low=arm.rate, high=arm.rate)})
    return config.model_copy(update={"search": search}), replace(plugins, strategy=find("strategies", arm.strategy))


def _one(config: Config, stores: Stores, at: datetime, arm: Arm, plugins: Plugins) -> Report | RetuneError:
    try:
        return retune(config, stores, at, policy=arm.policy, plugins=plugins)
    except RetuneError as error:  # a live run would have ended so too; the champion serves on
        return error


def _serve(
    config: Config, plugins: Plugins, stores: Stores, champion: Champion, span: Span, known: datetime
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and scores of the rows that arrived while ``champion`` served; shape ``(n,)`` each."""
    rows = Feed(config, plugins.source, known).rows(champion.contract, span).labelled()
    model = steps.load_model(config, champion.family, stores.files(champion))
    return rows.y, model.predict(rows.x)


def _table(
    config: Config, walked: Sequence[tuple[str, list[Report | RetuneError], np.ndarray, np.ndarray]], ticks: int
) -> Table:
    loss = loss_for(config.metric)
    losses = [loss.value(y, score) for _, _, y, score in walked]
    best = min(losses)
    rows = tuple(
        _row(name, reports, value, (value / best - 1) * 100 if best > 0 else 0.0)
        for (name, reports, _, _), value in zip(walked, losses, strict=True)
    )
    return Table(rows, ticks, len(walked[0][2]))


def _row(name: str, reports: Sequence[Report | RetuneError], loss: float, excess: float) -> Row:
    done = [r for r in reports if isinstance(r, Report)]
    cost = sum((c for c in _costs(done)), Cost())
    outcomes = Counter(r.outcome for r in done)
    return Row(
        name=name,
        loss=loss,
        excess_pct=excess,
        actions=dict(sorted(Counter(r.decision.action for r in done).items())),
        outcomes=dict(sorted(outcomes.items())),
        retrains=sum(r.result is not None for r in done),
        promotions=outcomes["promoted"],
        cost=cost,
        errors=dict(sorted(Counter(type(r).__name__ for r in reports if isinstance(r, RetuneError)).items())),
    )


def _costs(reports: Sequence[Report]) -> Iterator[Cost]:
    """Work that the policy itself asked for: a refit's is its control arm, a search's its candidates."""
    for report in reports:
        if report.result is not None:
            yield report.result.cost["control" if report.decision.action == "refit" else "search"]
