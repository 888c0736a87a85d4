"""Which rows a step reads, and which of them a model can be asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.data.ticks import edges, shift, tick_start
from lr_retune.records import Champion, Contract, Fault, FittedModel, Rows, Span

UNREADABLE = ("missing_column", "retyped_column")
MOST_ROWS = 200_000  # scored of the watched ticks together, and never fewer than 20,000 of a tick


def excused(faults: Sequence[Fault]) -> tuple[str, ...]:
    """Columns that are missing or unreadable and do not matter: they count as missing values."""
    return tuple(f.column for f in faults if f.column is not None and f.code in UNREADABLE and not f.matters)


def rows_per_tick(config: Config, span: Span) -> int:
    """How many rows of each tick of a watched span are scored."""
    ticks = len(edges(span.start, span.end, config.schedule.tick, config.schedule.timezone)) - 1
    return max(MOST_ROWS // max(ticks, 1), 20_000)


def watched(config: Config, champion: Champion, horizon: datetime | None, as_of: datetime) -> Span:
    """Whole ticks since the champion's holdout, at most `[watch] ticks` of them with labels."""
    tick, zone = config.schedule.tick, config.schedule.timezone
    end = tick_start(as_of, tick, zone)
    newest = end if config.labels.mode == "none" else min(horizon or end, end)
    start = max(champion.reference.end, shift(tick_start(newest, tick, zone), -config.watch.ticks, tick, zone))
    return Span(min(start, end), end)


def newest_ticks(config: Config, feed: Feed, span: Span) -> Span:
    """The newest ticks that hold enough rows to check: one tick where it is large enough."""
    tick, zone = config.schedule.tick, config.schedule.timezone
    for count in (1, 2, 7, 14, 28):
        start = max(span.start, shift(span.end, -count, tick, zone))
        newest = Span(start, span.end)
        if start == span.start or feed.holds(newest.start, newest.end, config.policy.min_rows):
            return newest
    return span


def scored(contract: Contract, rows: Rows, score: np.ndarray) -> tuple[Rows, np.ndarray]:
    """Rows with the scores that stand for a model nobody loads; others are left out, as is the column of scores."""
    if contract.score is None:
        return rows, score
    known = np.isfinite(score)
    kept = rows.take(known)
    return replace(kept, x=kept.x[:, :-1]), score[known]


def compared(
    config: Config, feed: Feed, models: tuple[FittedModel, FittedModel], champion: Champion, span: Span
) -> tuple[tuple[Any, tuple[np.ndarray, np.ndarray]], ...]:
    """Sampled reference and current rows: readable, with a model's scores and the labels; ``models`` in that order."""
    found = []
    for model, each in zip(models, (champion.reference, span), strict=True):
        table, rows = feed.sample(champion.contract, each, config.watch.sample, config.seed)
        score = model.predict(rows.x)
        if champion.contract.score is not None:
            known = np.isfinite(score)
            table, rows = table.select(champion.contract.inputs.names).filter(known), rows.take(known)
            score = score[known]
        found.append((table, (score, rows.y)))
    return tuple(found)
