"""A/B on existing data: several models on identical rows of the past, judged over blocks of time; records nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from lr_retune.config import Config, format_duration
from lr_retune.contenders import Contender, fitted, known
from lr_retune.data.feed import Feed
from lr_retune.data.ticks import shift, tick_start
from lr_retune.errors import ConfigError, DataError
from lr_retune.judge.blocks import Pair, best_of, disowned, level, pairs_of
from lr_retune.metrics import loss_for
from lr_retune.plugins import Plugins
from lr_retune.records import Rows, Span, iso, micros
from lr_retune.scored import Reading
from lr_retune.search.repeats import SEEDS
from lr_retune.stores.promotion import Stores

SEEN = "LRR252"


@dataclass(frozen=True, slots=True)
class Standing:
    """One model on the compared rows."""

    contender: Contender
    loss: float
    work: float | None  # counted operations of one prediction; None: its family does not count
    cpu_s: float  # measured, of 1,000 predictions
    seen: int | None  # compared rows of the time that it learned from; None: nobody told what it learned from


@dataclass(frozen=True, slots=True)
class Versus:
    """What the rows say about all pairs."""

    metric: str
    span: Span
    block: timedelta
    blocks: int  # that hold labelled rows
    rows: int
    level: float  # one-sided, of each end of a pair's interval
    standings: tuple[Standing, ...]
    pairs: tuple[Pair, ...]
    better: str | None  # than every other; None: not told, or a model has seen the rows
    seeds: int = 1  # fits that stand for each model
    seed_matters: bool | None = None  # None: not asked

    @property
    def leaks(self) -> list[Standing]:
        """Models whose loss proves nothing here."""
        return [each for each in self.standings if each.seen is None or each.seen > 0]


@dataclass(frozen=True, slots=True)
class When:
    """Which rows are asked for."""

    as_of: datetime
    block: timedelta
    start: datetime | None = None  # None: what no model has seen, else the configured holdout
    end: datetime | None = None  # None: the label horizon


def by_name(config: Config, plugins: Plugins, stores: Stores, names: Sequence[str], when: When) -> Versus:
    """Models that the ledger knows, on rows that none of them has learned from unless ``when`` asks for others.

    Raises
    ------
    ConfigError, DataError, IntegrityError
        As `lr_retune.contenders.known`, `stretch` and `versus`.
    """
    found = known(config, stores, names, when.as_of)
    ends = [each.learned.end for each in found if each.learned is not None]
    gap = config.embargo_ticks, config.schedule.tick, config.schedule.timezone
    span = stretch(config, Feed(config, plugins.feeds, when.as_of), when, shift(max(ends), *gap) if ends else None)
    return versus(config, plugins, found, span, when)


def by_rate(config: Config, plugins: Plugins, rates: Sequence[float], when: When, seeds: int = SEEDS) -> Versus:
    """One fit for each rate and seed, made as of the first compared row less the embargo, on all rows since.

    Raises
    ------
    ConfigError, DataError
        As `lr_retune.contenders.fitted`, `stretch` and `versus`.
    """
    span = stretch(config, Feed(config, plugins.feeds, when.as_of), when, None)
    begun = shift(span.start, -config.embargo_ticks, config.schedule.tick, config.schedule.timezone)
    return versus(config, plugins, fitted(config, plugins, rates, begun, seeds), span, when)


def stretch(config: Config, feed: Feed, when: When, first: datetime | None) -> Span:
    """Whole blocks with complete labels; a part of a block at either end is left out.

    Parameters
    ----------
    first
        From when on no model has learned from rows, where that is known.

    Raises
    ------
    ConfigError
        If a block is shorter than a tick.
    DataError
        If not one whole block is left.
    """
    tick, zone = config.schedule.tick, config.schedule.timezone
    block = when.block
    if block < tick:
        raise ConfigError(
            f"a block of {format_duration(block)} is shorter than a tick of {format_duration(tick)}",
            why="rows of one tick share their luck, so nothing shorter tells anything",
            fix=f"use --blocks {format_duration(tick)} or longer",
        )
    horizon = feed.horizon()
    if horizon is None:
        raise DataError(f"no tick has complete labels at {iso(feed.as_of)}", fix="use a later --as-of")
    start = when.start or first or shift(horizon, -config.ticks(config.window.holdout), tick, zone)
    end = min(when.end or horizon, horizon)
    if start >= end:
        raise DataError(
            f"no row from {iso(start)} on can be compared",
            why=f"labels are complete until {iso(horizon)}{'' if when.end is None else f', --to is {iso(when.end)}'}",
            fix="use an earlier --from, or wait for labels",
        )
    if _up(start, block, zone) >= tick_start(end, block, zone):
        raise DataError(
            f"no whole block of {format_duration(block)} lies between {iso(start)} and {iso(end)}",
            why=f"labels are complete until {iso(horizon)}; parts of blocks are left out",
            fix="use shorter --blocks, or another --from and --to",
        )
    return Span(_up(start, block, zone), tick_start(end, block, zone))


def _up(start: datetime, block: timedelta, zone: str) -> datetime:
    """The first block that begins at ``start`` or later."""
    begun = tick_start(start, block, zone)
    return begun if begun >= start else shift(begun, 1, block, zone)


def versus(config: Config, plugins: Plugins, contenders: Sequence[Contender], span: Span, when: When) -> Versus:
    """Score every model on the labelled rows of ``span``, and hold each pair against each other block by block.

    Raises
    ------
    DataError
        If no row has a label, or a model answers some of them with no number.
    """
    reading = Reading(config, Feed(config, plugins.feeds, when.as_of), span)
    scores, cpu = {}, {}
    for each in contenders:
        x, began = reading.rows(each.contract).x, time.process_time()
        scores[each.name] = each.model.predict(x)
        cpu[each.name] = 1000 * (time.process_time() - began) / max(len(x), 1)
    logged = [each.name for each in contenders if each.contract.score is not None]
    found = reading.scored(contenders[0].contract, scores, logged, when.block)
    twins = {
        each.name: [twin.predict(reading.rows(each.contract).x)[found.kept] for twin in each.twins]
        for each in contenders
    }
    pairs = pairs_of(found.scores, found.evidence, config, twins)
    loss = loss_for(config.metric)
    standings = tuple(
        Standing(
            contender=each,
            loss=loss.value(found.rows.y, found.scores[each.name]),
            work=_work(each),
            cpu_s=cpu[each.name],
            seen=_seen(each, found.rows),
        )
        for each in contenders
    )
    pairs = disowned(pairs, [each.contender.name for each in standings if each.seen != 0])
    return Versus(
        metric=config.metric.name,
        span=span,
        block=when.block,
        blocks=len(np.unique(found.evidence.tick)),
        rows=len(found.rows),
        level=level(config, len(pairs)),
        standings=standings,
        pairs=pairs,
        better=best_of(pairs),
        seeds=1 + len(contenders[0].twins),
        seed_matters=contenders[0].seed_matters,
    )


def _work(contender: Contender) -> float | None:
    count = getattr(contender.model, "work", None)
    return None if count is None else float(count())


def _seen(contender: Contender, rows: Rows) -> int | None:
    """Compared rows that lie in the time which a model learned from."""
    if contender.learned is None:
        return None
    inside = (rows.time >= micros(contender.learned.start)) & (rows.time < micros(contender.learned.end))
    return int(inside.sum())
