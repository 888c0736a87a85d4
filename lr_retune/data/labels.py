"""When a label is known, and which labels are none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa

from lr_retune.config import Config
from lr_retune.data.columns import legible, numbers
from lr_retune.data.kinds import canonical, kind_of, micros_of
from lr_retune.records import micros

_MICRO = timedelta(microseconds=1)
_AT_ONCE = 2**17  # rows: what is done with them stays in the processor's cache


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of some rows at a time."""

    y: np.ndarray  # (n,) float64; NaN: not known
    bad: np.ndarray  # (n,) bool: known, but no label: infinite, no number, or not 0 or 1 in a binary task


def known_labels(table: pa.Table, config: Config, as_of: datetime) -> Labels:
    """Labels that had arrived at ``as_of``; one that is no label is told in ``bad`` and is NaN."""
    name, rows = config.label, len(table)
    if name is None or name not in table.column_names:
        return Labels(np.full(rows, np.nan), np.zeros(rows, dtype=bool))
    column = table.column(name)
    if len(table) > _AT_ONCE and kind_of(canonical(column.type)) == "number":
        parts = [known_labels(table.slice(i, _AT_ONCE), config, as_of) for i in range(0, len(table), _AT_ONCE)]
        return Labels(np.concatenate([p.y for p in parts]), np.concatenate([p.bad for p in parts]))
    values = legible(column)
    known = arrived(table, config, as_of) & ~np.isnan(values)
    bad = known & ~np.isfinite(values)
    if config.task == "binary":
        bad |= known & ~np.isin(values, (0.0, 1.0))
    return Labels(np.where(known & ~bad, values, np.nan), bad)


def arrived(table: pa.Table, config: Config, as_of: datetime) -> np.ndarray:
    """Rows whose label, if any, is known at ``as_of``; bool, shape ``(n,)``."""
    data, now = config.data, micros(as_of)
    if config.label_time is not None:
        if config.label_time not in table.column_names:
            return np.zeros(len(table), dtype=bool)
        clock = table.column(config.label_time)
        when = micros_of(clock)
        return np.asarray((when <= now) & (when != np.iinfo(np.int64).min), dtype=bool)
    delay = 0 if data.label_delay is None else data.label_delay // _MICRO
    return np.asarray(micros_of(table.column(data.time)) <= now - delay, dtype=bool)


def weights(table: pa.Table, name: str | None) -> np.ndarray | None:
    """Row weights, float64 ``(n,)``; one that is no finite number ≥ 0 counts as 0. None where not configured."""
    if name is None or name not in table.column_names:
        return None
    found = raw_weights(table, name)
    return np.where(np.isfinite(found) & (found >= 0), found, 0.0)


def raw_weights(table: pa.Table, name: str) -> np.ndarray:
    """Row weights as they stand, float64 ``(n,)``; NaN where they are no numbers."""
    try:
        return numbers(table.column(name))
    except ValueError:
        return np.full(len(table), np.nan)
