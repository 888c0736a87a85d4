"""Two number columns that hold each other's values."""

from __future__ import annotations

import numpy as np

from lr_retune.data import columns
from lr_retune.data.seen import Seen
from lr_retune.records import Column

_MARGIN = 0.1  # of the learned range, on both sides
_MIDDLE = 0.15  # of the learned range: so near is the median
_SPREAD = 0.3  # of the learned range at least
_SCALE = 4.0  # times the other's range
_Three = tuple[float, float, float]  # 0.1 % quantile, median, 99.9 % quantile


def swapped(seen: Seen) -> dict[str, str]:
    """Column → the one other column that looks as it did, while it looks as that one did; neither looks as itself."""
    now = {c.name: (c, q) for c in seen.contract.columns if (q := _quantiles(seen, c)) is not None}
    strange = {name: (column, q) for name, (column, q) in now.items() if not _alike(q, column)}
    pairs = {
        a: [
            b
            for b, (other, theirs) in strange.items()
            if b != a and _unlike(column, other) and _alike(q, other) and _alike(theirs, column)
        ]
        for a, (column, q) in strange.items()
    }
    return {a: fits[0] for a, fits in pairs.items() if len(fits) == 1 and pairs[fits[0]] == [a]}


def _unlike(one: Column, other: Column) -> bool:
    """Whether the learned columns could never be taken for each other: another scale, or ranges apart."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    short, long = sorted([one.high - one.low, other.high - other.low])
    return long > _SCALE * short or one.high < other.low or other.high < one.low


def _quantiles(seen: Seen, column: Column) -> _Three | None:
    if column.kind != "number" or column.name not in seen.table.column_names:
        return None
    try:
        values = columns.numbers(seen.table.column(column.name))
    except ValueError:
        return None
    known = values[np.isfinite(values)]
    return columns.quantiles(known) if len(known) >= seen.config.policy.min_rows else None


def _alike(now: _Three, column: Column) -> bool:
    """Whether range and median are about the learned ones."""
    if column.low is None or column.high is None or column.median is None or column.low == column.high:
        return False
    span, (low, median, high) = column.high - column.low, now
    inside = column.low - _MARGIN * span <= low and high <= column.high + _MARGIN * span
    return inside and abs(median - column.median) <= _MIDDLE * span and high - low >= _SPREAD * span
