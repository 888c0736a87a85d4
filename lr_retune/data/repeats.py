"""How many rows repeat another, told without holding all of their columns."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from lr_retune.data import columns
from lr_retune.data.kinds import UTC_TIME, canonical, kind_of, micros_of
from lr_retune.data.thin import Choose

Read = Callable[[Sequence[str], Choose | None], pa.Table]  # columns and which rows → rows
_MIX = np.uint64(0x9E3779B97F4A7C15)  # odd: multiplying by it loses nothing
_NEAR = 4  # times more or fewer rows than asked for: the key is still too coarse to draw by


def repeats(table: pa.Table, names: Sequence[str]) -> tuple[float, float]:
    """Shares of rows that are like an earlier one in these columns, and that are like no other."""
    if not len(table):
        return 0.0, 0.0
    plain = table.select(list(names)).rename_columns([str(i) for i in range(len(names))])  # a dot would mean nesting
    counts = plain.group_by(plain.column_names, use_threads=False).aggregate([([], "count_all")]).column("count_all")
    alone = np.count_nonzero(counts.to_numpy() == 1)
    return 1 - len(counts) / len(table), alone / len(table)


def repeated_share(
    read: Read, times: np.ndarray, names: Sequence[str], limit: int, enough: float
) -> tuple[float, float]:
    """`repeats` on about ``limit`` rows; a share of at most ``enough`` may count as none.

    Rows are drawn by a key of their own values, so that rows that are alike are drawn together. Columns are added to
    the key, one at a time, until it tells rows well enough apart; mostly their times do.

    Parameters
    ----------
    times
        Of all rows, ascending, shape ``(n,)``; what ``read`` gives has their order.
    """
    if (times[1:] == times[:-1]).sum() <= enough * len(times):
        return 0.0, 1.0
    which = _drawn(len(times), _keys(read, names), limit)
    return (0.0, 1.0) if which is None else repeats(read(names, lambda _times: which), names)


def _keys(read: Read, names: Sequence[str]) -> Iterable[np.ndarray]:
    """A key of each row, by ever more of its columns."""
    key: np.ndarray | None = None
    for name in names:
        bits = _bits(read([name], None).column(name))
        key = _mixed(bits if key is None else key ^ bits)
        yield key


def _drawn(rows: int, keys: Iterable[np.ndarray], limit: int) -> np.ndarray | None:
    """Positions of the rows with every m-th key, by the first key that is fine enough; else by the last."""
    which, every = None, np.uint64(max(rows // limit, 1))
    for key in keys:
        which = np.flatnonzero(key % every == 0)
        if limit / _NEAR <= len(which) <= limit * _NEAR:
            return which
    return which if which is not None and len(which) else None


def _bits(column: Any) -> np.ndarray:
    kind = canonical(column.type)
    if kind == UTC_TIME:
        return micros_of(column).view(np.uint64)
    if kind_of(kind) == "number":
        return (columns.numbers(column) + 0.0).view(np.uint64)  # -0 and 0 are one value
    levels, where = columns.distinct(column)
    found: np.ndarray = np.array([zlib.crc32(repr(level).encode()) for level in levels], dtype=np.uint64)[where]
    return found


def _mixed(bits: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64: every bit of the key depends on every bit of the value."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9) + _MIX
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(bits ^ (bits >> np.uint64(31)))
