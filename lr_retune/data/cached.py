"""A source held in memory, for replay: it answers what the source behind it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from lr_retune.data import kinds
from lr_retune.records import Source, micros

_EVER = datetime(9000, 1, 1, tzinfo=UTC)


class CachedSource:
    """Another source, read once: answers what it answers, by slices of memory.

    Parameters
    ----------
    columns
        What to hold; other columns are asked of ``source`` each time.
    time
        The time column, by default the first of ``columns``.
    """

    def __init__(self, source: Source, columns: Sequence[str], time: str | None = None) -> None:
        time = columns[0] if time is None else time
        self.source = source
        self._table = source.read(list(dict.fromkeys([time, *columns])), None, _EVER)
        self._times = kinds.micros_of(self._table.column(time))
        self._schemas: dict[datetime, Mapping[str, str]] = {}

    def schema(self, as_of: datetime) -> Mapping[str, str]:
        """What the inner source says."""
        if as_of not in self._schemas:
            self._schemas[as_of] = self.source.schema(as_of)
        return self._schemas[as_of]

    def read(self, columns: Sequence[str], start: datetime | None, end: datetime) -> Any:
        """Rows with start <= time < end; types as the inner source gives them at ``end``."""
        types = self.schema(end)
        if not all(self._holds(name, types.get(name)) for name in columns):
            return self.source.read(columns, start, end)
        part = self.between(start, end).select(list(dict.fromkeys(columns)))
        # a later file may have widened a type: at `end` the column was what schema(end) says
        return pa.table({name: _narrowed(part.column(name), types[name]) for name in part.column_names})

    def between(self, start: datetime | None, end: datetime) -> pa.Table:
        """Everything held of start <= time < end."""
        low = 0 if start is None else int(np.searchsorted(self._times, micros(start)))
        return self._table.slice(low, max(int(np.searchsorted(self._times, micros(end))) - low, 0))

    def unheld(self, as_of: datetime) -> tuple[str, ...]:
        """Columns of that time whose values are not held."""
        return tuple(sorted(name for name, kind in self.schema(as_of).items() if not self._holds(name, kind)))

    def _holds(self, name: str, kind: str | None) -> bool:
        """Whether the column as it was at a time can be told from the one held."""
        if kind is None or name not in self._table.column_names:
            return False
        return kinds.castable(kind) or kinds.canonical(self._table.schema.field(name).type) == kind


def _narrowed(column: Any, kind: str) -> Any:
    if kind == "null" or (kinds.canonical(column.type) != kind and not kind.startswith("mixed<")):
        return kinds.cast(column, kind)
    return column
