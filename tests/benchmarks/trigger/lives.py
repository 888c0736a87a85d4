"""One champion's life on a generated stream, watched by the real rules tick by tick."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from lr_retune.config import Config, Metric, parse_config
from lr_retune.data.feed import Feed
from lr_retune.families.lightgbm import LightGBM
from lr_retune.metrics import curve_loss_for, loss_for
from lr_retune.records import (
    TRAINING_ACTIONS,
    Champion,
    Contract,
    Facts,
    Fault,
    Feeds,
    FitData,
    FittedModel,
    History,
    LossEvidence,
    Probe,
    Rows,
    Span,
    TickLoss,
    micros,
)
from lr_retune.watch import occasion
from lr_retune.watch.policy import probe_due
from lr_retune.watch.probe import TICKS, Twins, probed
from lr_retune.watch.series import evidence, rebased, tick_losses
from lr_retune.watch.suspicion import suspicion, usual
from tests.benchmarks.trigger.facts import NEVER, Ledger, answered, day
from tests.benchmarks.trigger.streams import LEVELS, NAMES, NUMBERS, STABLE, Change, Kind, draw

REFERENCE = 28  # ticks out of sample: the promise, and what is usual
KEPT = 40  # newest ticks in memory
LOOKED = 10  # newest ticks that suspicion is asked about where labels are there at once: those it reads
RATE, ROUNDS = 0.1, 60
METRIC = Metric(name="log_loss")
LOSS, RANKING = loss_for(METRIC), loss_for(Metric(name="pr_auc"))
TEXTS = np.array([f"level {i}" for i in range(LEVELS)])
RARE = 0.05  # share of positives below which a ranking is watched beside the loss
CATEGORICAL = tuple(range(NUMBERS, len(NAMES)))


def configured(**policy: str) -> Config:
    """Daily ticks, ``[policy]`` as it comes, but that age retrains never fall due; no id to be repeated."""
    document = {
        "config_version": 1,
        "name": "made",
        "task": "binary",
        "data": {"path": "rows.parquet", "time": "ts", "label": "y", "features": list(NAMES)},
        "metric": {"name": METRIC.name},
        "policy": {"max_age": NEVER, "max_search_age": NEVER, **policy},
    }
    return parse_config(document, root=Path())


CONFIG = configured()
AGING = configured(max_age="30d")  # as it comes


@dataclass(frozen=True)
class Table:
    """One tick's rows as a source of a feed."""

    table: pa.Table

    def schema(self, as_of: datetime) -> Mapping[str, str]:
        return {column.name: str(column.type) for column in self.table.schema}

    def read(self, columns: Sequence[str], start: datetime | None, end: datetime) -> pa.Table:
        empty = start is not None and micros(start) > int(self.table.column("ts").cast(pa.int64())[-1].as_py())
        before = micros(end) <= int(self.table.column("ts").cast(pa.int64())[0].as_py())
        found = self.table.select(list(dict.fromkeys(columns)))
        return found.slice(0, 0) if empty or before else found


@dataclass(frozen=True)
class Born:
    """A model of one kind of stream, trained once."""

    kind: Kind
    model: FittedModel
    trained: Rows
    contract: Contract
    importance: Mapping[str, float]


@lru_cache(maxsize=2)
def born(kind: Kind) -> Born:
    """LightGBM as the family fits it, on rows before everything."""
    x, y = draw(kind.world, kind.trained, np.random.default_rng(0))
    tick = np.full(len(x), micros(day(0)) - 1)
    rows = Rows(x, y, tick, tick)
    fits = LightGBM({"num_leaves": 7, "min_data_in_leaf": 100}, threads=1).start(fit_data(rows), seed=0)
    handle = fits.add(RATE)
    fits.advance([handle], ROUNDS)
    model = fits.finish(handle, ROUNDS)
    feed = Feed(CONFIG, Feeds(Table(tabled(x, y, 0))), day(1))
    found = feed.learn(Span(day(0), day(1)))
    columns = (replace(c, levels=tuple(TEXTS.tolist())) if c.levels else c for c in found.columns)
    contract = replace(found, columns=tuple(columns))  # codes as the streams draw them
    return Born(kind, model, rows, contract, dict(zip(NAMES, model.importance().tolist(), strict=True)))


def fit_data(rows: Rows) -> FitData:
    return FitData(rows, rows.take(np.arange(500)), "binary", CATEGORICAL, METRIC.name, curve_loss_for(METRIC))


def tabled(x: np.ndarray, y: np.ndarray, tick: int) -> pa.Table:
    """Rows as a feed brings them: times spread over the tick, categories as text."""
    spread = np.linspace(0, 86_400e6 - 1, len(x)).astype(np.int64) + micros(day(tick))
    columns = {"ts": pa.array(spread, pa.timestamp("us", "UTC")), "y": pa.array(y)}
    for place, name in enumerate(NAMES):
        if place < NUMBERS:
            columns[name] = pa.array(x[:, place], from_pandas=True)
        else:
            columns[name] = pa.array(TEXTS[x[:, place].astype(np.int64)])
    return pa.table(columns)


@dataclass(frozen=True)
class Seen:
    """What one tick brought up, and what was answered."""

    faults: tuple[str, ...]  # columns that block
    suspected: tuple[str, ...]  # signals
    estimated: float | None
    alarm: bool
    ranking: bool
    action: str
    codes: tuple[str, ...]

    @property
    def trains(self) -> bool:
        return self.action in TRAINING_ACTIONS


@dataclass
class Life:
    """A champion on one stream: what it remembers, and what it decides of each tick."""

    kind: Kind
    seed: int
    late: int = 0  # ticks until labels are known
    ticks: deque[Rows] = field(default_factory=lambda: deque(maxlen=KEPT + REFERENCE))
    losses: list[TickLoss] = field(default_factory=list)
    ranks: list[TickLoss] = field(default_factory=list)
    scores: deque[np.ndarray] = field(default_factory=lambda: deque(maxlen=KEPT))
    start: int = REFERENCE  # tick that the champion serves from
    config: Config = CONFIG

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng([self.seed, self.kind.rows])
        self.born = born(self.kind)
        for tick in range(REFERENCE):
            self._append(STABLE, 0, tick)
        rows = joined(self.ticks)
        score = self.born.model.predict(rows.x)
        self.usual = usual(rows, score, self.born.contract, self.born.importance, LOSS, binary=True)
        self.promise, self.promised_ranks = ([t.loss for t in each if t.loss is not None] for each in self._all())
        self.ledger, self.trained = Ledger(day(REFERENCE)), self.born.trained

    @cached_property
    def rare(self) -> bool:
        return bool(np.mean(self.born.trained.y) < RARE)

    def _all(self) -> tuple[list[TickLoss], list[TickLoss]]:
        return self.losses, self.ranks

    def _append(self, change: Change, since: int, tick: int) -> pa.Table:
        x, y = draw(change.world(self.kind.world, since), self.kind.rows, self.rng, change.positives)
        x = change.broken(x, self.rng)
        table = tabled(x, y, tick)
        time = table.column("ts").cast(pa.int64()).to_numpy()
        rows = Rows(x, y, time, np.full(len(x), micros(day(tick))))
        score = self.born.model.predict(rows.x)
        self.ticks.append(rows)
        self.scores.append(score)
        edges = np.array([micros(day(tick)), micros(day(tick + 1))])
        for series, loss in ((self.losses, LOSS), (self.ranks, RANKING)):
            series.extend(tick_losses(rows, score, loss, edges, day(tick + 1)))
        return table

    def step(self, change: Change, since: int) -> Seen:
        """One tick: draw it, observe, decide, remember."""
        tick = len(self.losses)
        facts = self._observed(tick, self._append(change, since, tick))
        history = self.ledger.history
        if probe_due(facts, history, self.config):
            facts = replace(facts, probe=self._probe(facts, history))
        action, codes = answered(facts, history, self.config)
        trains = action in TRAINING_ACTIONS
        self.ledger.remember(facts, str(tick), action, codes, "promoted" if trains else "kept")
        if trains:  # the next champion has learned the newest rows, and is promised what their ticks were
            self.trained = joined(list(self.ticks)[:-TICKS])
            self.start = tick + 1
            self.promise, self.promised_ranks = (
                [t.loss for t in each[-REFERENCE:] if t.loss is not None] for each in self._all()
            )
        return _said(facts, action, codes)

    def _observed(self, tick: int, table: pa.Table) -> Facts:
        """As `lr_retune.steps.observe` puts it together."""
        as_of = day(tick + 1)
        horizon = as_of - timedelta(days=self.late)
        first = max(self.start, tick + 1 - self.late - self.config.watch.ticks)
        watched, ranks = (self._known(each[first:], horizon) for each in self._all())
        mature = [t for t in watched if t.mature]
        loss = self._evidence(watched, self.promise)
        looked = min(KEPT if self.late else LOOKED, tick + 1 - REFERENCE)
        rows, score = joined(list(self.ticks)[-looked:]), np.concatenate(list(self.scores)[-looked:])
        newest = list(self.ticks)[-len(watched) :] if watched else []
        return Facts(
            as_of=as_of,
            champion="the only one",
            horizon=horizon,
            rows=sum(t.rows for t in watched),
            matured_rows=sum(t.matured for t in mature),
            positives=int(sum(r.y.sum() for r in newest[: len(mature)])),
            ticks=tuple(watched),
            loss=loss,
            faults=self._faults(table, tick),
            ranking=evidence(ranks, *_promised(self.promised_ranks), self.config.policy, signals=2)
            if self.rare
            else None,
            suspicion=suspicion(self.usual, self._masked(rows, horizon), score, horizon),
        )

    def _faults(self, table: pa.Table, tick: int) -> tuple[Fault, ...]:
        feed = Feed(self.config, Feeds(Table(table)), day(tick + 1))
        shares = self.born.importance
        return feed.check(self.born.contract, Span(day(tick), day(tick + 1)), shares, self.config.watch.matters)

    @staticmethod
    def _masked(rows: Rows, horizon: datetime) -> Rows:
        return replace(rows, y=np.where(rows.time < micros(horizon), rows.y, np.nan))

    @staticmethod
    def _known(ticks: Sequence[TickLoss], horizon: datetime) -> list[TickLoss]:
        return [t if t.end <= horizon else replace(t, matured=0, loss=None, mature=False) for t in ticks]

    def _evidence(self, ticks: list[TickLoss], promise: list[float]) -> LossEvidence | None:
        asked = tuple(ticks), *_promised(promise)
        harder = self.ledger.history.rebased("the only one")
        if harder is not None and harder.since is not None and harder.level is not None:
            asked = rebased(*asked, harder.since, harder.level)
        return evidence(*asked, self.config.policy, signals=2 if self.rare else 1)

    def _probe(self, facts: Facts, history: History) -> Probe | None:
        """Real twins: the champion's rows against the newest that are labelled, but for those they meet on."""
        known = [rows for rows in self.ticks if facts.horizon and rows.time[-1] < micros(facts.horizon)]
        fresh, met = joined(known[:-TICKS]), joined(known[-TICKS:])
        since = occasion.change(facts, history, self.config)
        after = 0 if since is None else sum(int(rows.tick[0]) >= micros(since) for rows in known[:-TICKS])
        twins = Twins(
            self.trained,
            fresh,
            met,
            since=None if since is None else micros(since),
            cut=since is not None and after >= self.config.window.min_ticks,
        )
        return probed(twins, LightGBM({}, threads=1), self._champion(), fit_data(met), LOSS, facts.as_of, seed=0)

    def _champion(self) -> Champion:
        return Champion(
            name="made",
            model="the only one",
            family="lightgbm",
            learning_rate=RATE,
            schedule="constant",
            steps=ROUNDS,
            importance=self.born.importance,
            contract=self.born.contract,
            promised=float(np.mean(self.promise)),
            promised_ticks=tuple(self.promise),
            reference=Span(day(0), day(REFERENCE)),
            question="",
            decision="",
            epoch=1,
        )


def joined(ticks: Sequence[Rows] | deque[Rows]) -> Rows:
    """Rows of several ticks."""
    parts = ([getattr(rows, name) for rows in ticks] for name in ("x", "y", "time", "tick"))
    return Rows(*(np.concatenate(part) for part in parts))


def _promised(losses: list[float]) -> tuple[float, tuple[float, ...]]:
    return float(np.mean(losses)), tuple(losses)


def _said(facts: Facts, action: str, codes: tuple[str, ...]) -> Seen:
    found = facts.suspicion
    return Seen(
        tuple(f.column or f.code for f in facts.faults if f.matters),
        () if found is None else tuple(s.name for s in found.raised),
        None if found is None else found.estimated,
        facts.loss is not None and facts.loss.alarm,
        facts.ranking is not None and facts.ranking.alarm,
        action,
        codes,
    )
