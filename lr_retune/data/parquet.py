"""One Parquet file: its times from the footer, its types, its rows of a time span.

pyarrow reads Parquet and DuckDB does not: pyarrow keeps column names apart that differ by case only,
keeps row order without a sort key, and streams batches, so memory holds the asked rows and one batch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lr_retune.data import kinds
from lr_retune.data.places import File
from lr_retune.errors import DataError

_BATCH = 131_072  # rows held beyond those that were asked for
_UNITS = {"milliseconds": "ms", "microseconds": "us", "nanoseconds": "ns"}
_NO_ROW = -(2**63)
Bounds = tuple[int, int] | None  # first and last time, microseconds UTC; None without rows


class ParquetPart:
    """A file, opened by its footer; a torn file is refused here or at its first bad page.

    Parameters
    ----------
    clocks
        Columns that hold times: the time of the row first.

    Raises
    ------
    DataError
        With the file's path, if it is no readable Parquet file or has no usable time column.
    """

    def __init__(self, file: File, clocks: tuple[str, ...], timezone: str) -> None:
        self.name, self.time, self.clocks, self.timezone = file.name, clocks[0], clocks, timezone
        self._place = file
        with self._readable():
            self.file = pq.ParquetFile(file.opened())
            self.schema = self.file.schema_arrow
        if self.schema.names.count(self.time) != 1:
            raise missing_time(file.name, self.time, self.schema.names)

    def types(self, before: int) -> dict[str, str]:  # noqa: ARG002 - a Parquet file's types are fixed when it is written
        """Column name → canonical type."""
        found = {field.name: kinds.canonical(field.type) for field in self.schema}
        names = self.schema.names
        if len(names) != len(found):
            found |= {name: kinds.DUPLICATE for name in found if names.count(name) > 1}
        return found | {name: kinds.UTC_TIME for name in self.clocks if _is_time(found.get(name, ""))}

    @cached_property
    def bounds(self) -> list[Bounds]:
        """First and last time of each row group."""
        with self._readable():
            return [self._footer_bounds(i) or self._read_bounds(i) for i in range(self.file.num_row_groups)]

    @property
    def first(self) -> int | None:
        """Time of the earliest row, microseconds UTC."""
        return min((b[0] for b in self.bounds if b), default=None)

    @property
    def last(self) -> int:
        """Time of the latest row, microseconds UTC."""
        return max((b[1] for b in self.bounds if b), default=_NO_ROW)

    def read(self, types: dict[str, str], start: int, end: int) -> Any:
        """Columns ``types`` (name → canonical type) and the time, of rows in [start, end), in file order."""
        groups = self._overlapping(start, end)
        names = list(dict.fromkeys([self.time, *types]))
        with self._readable():
            pieces = [piece for group in groups for piece in self._pieces(group, names, start, end)]
            return self._typed(pieces, names, types)

    def _pieces(self, group: int, names: list[str], start: int, end: int) -> Iterator[Any]:
        if self._within(group, start, end):
            rest = [name for name in names if name != self.time]
            table = self.file.read_row_group(group, columns=rest, use_threads=False) if rest else None
            columns = [_times(self, group), *(_column(table, name) for name in rest)]
            yield pa.Table.from_arrays(columns, [self.time, *rest])
            return
        for batch in self.file.iter_batches(_BATCH, row_groups=[group], columns=names, use_threads=False):
            yield self._kept(batch, names, start, end)

    def take(self, types: dict[str, str], start: int, end: int, which: np.ndarray) -> Any:
        """Rows of `read` by their positions, ascending; memory holds them and one column of a row group."""
        names = list(dict.fromkeys([self.time, *types]))
        with self._readable():
            places = self._places(start, end, which)
            return self._typed([self._taken(group, names, rows) for group, rows in places], names, types)

    def _typed(self, pieces: list[Any], names: list[str], types: dict[str, str]) -> Any:
        empty = pa.Table.from_arrays([pa.array([], self._field(n).type) for n in names], names=names)
        table = pa.concat_tables(pieces) if pieces else empty
        return pa.table({name: self._column(table, name, types.get(name, "")) for name in names})

    def _overlapping(self, start: int, end: int) -> list[int]:
        return [i for i, b in enumerate(self.bounds) if b and b[0] < end and b[1] >= start]

    def _places(self, start: int, end: int, which: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Row groups that hold rows ``which`` of [start, end), and where in each."""
        seen = 0
        for group in self._overlapping(start, end):
            inside = self._inside(group, start, end)
            low, high = np.searchsorted(which, [seen, seen + len(inside)])
            if low < high:
                yield group, inside[which[low:high] - seen]
            seen += len(inside)

    def _inside(self, group: int, start: int, end: int) -> np.ndarray:
        """Positions in a row group of its rows in [start, end)."""
        if self._within(group, start, end):
            return np.arange(self.file.metadata.row_group(group).num_rows)
        times = kinds.micros_of(self._utc(_times(self, group), self.time))
        return np.flatnonzero((times >= start) & (times < end))

    def _within(self, group: int, start: int, end: int) -> bool:
        """Whether the footer says that every row of a row group is in [start, end)."""
        found = self._footer_bounds(group)
        return bool(found and start <= found[0] and found[1] < end and self._statistics(group).null_count == 0)

    def _taken(self, group: int, names: list[str], rows: np.ndarray) -> Any:
        where = pa.array(rows)
        columns = [self.one(group, name).take(where).cast(self._field(name).type) for name in names]
        return pa.Table.from_arrays(columns, names)

    def one(self, group: int, name: str) -> Any:
        """One column of a row group, text as a dictionary."""
        if name == self.time:
            return _times(self, group)
        table = self._coded.read_row_group(group, columns=[name], use_threads=False)
        return _column(table, name).unify_dictionaries()

    @cached_property
    def _coded(self) -> Any:
        text = [field.name for field in self.schema if kinds.canonical(field.type) == "string"]
        return pq.ParquetFile(self._place.opened(), read_dictionary=text)

    def _kept(self, batch: Any, names: list[str], start: int, end: int) -> Any:
        table = _named(batch, names)
        times = kinds.micros_of(self._utc(table.column(0), self.time))
        inside = (times >= start) & (times < end)
        return table if inside.all() else table.filter(pa.array(inside))

    def _column(self, table: Any, name: str, kind: str) -> Any:
        column = table.column(name)
        return self._utc(column, name) if name in self.clocks else kinds.cast(column, kind)

    def _utc(self, column: Any, name: str) -> Any:
        try:
            return kinds.to_utc(column, self.timezone)
        except TypeError as error:
            raise kinds.no_time(name, self.name, str(error)) from None

    def _field(self, name: str) -> Any:
        return self.schema.field(self.schema.get_field_index(name))

    def _footer_bounds(self, group: int) -> Bounds:
        """From the footer's statistics, where the writer left them; None where it did not."""
        found = self._statistics(group)
        if found is None or not found.has_min_max:
            return None
        logical = json.loads(self.file.schema.column(self._clock).logical_type.to_json())
        unit = _UNITS.get(logical.get("timeUnit", ""))
        if unit is None or not pa.types.is_timestamp(self._field(self.time).type):
            return None
        zone = "UTC" if self._field(self.time).type.tz else None
        raw = pa.array([found.min_raw, found.max_raw], pa.int64()).cast(pa.timestamp(unit, zone))
        low, high = kinds.micros_of(kinds.to_utc(raw, self.timezone)).tolist()
        return low, high

    def _statistics(self, group: int) -> Any:
        return self.file.metadata.row_group(group).column(self._clock).statistics

    @cached_property
    def _clock(self) -> int:
        leaves = self.file.metadata.schema  # a nested column has several, and one may bear the same name
        return next(i for i in range(len(leaves)) if leaves.column(i).path == self.time)

    def _read_bounds(self, group: int) -> Bounds:
        times = self._utc(self.file.read_row_group(group, columns=[self.time]).column(self.time), self.time)
        known = kinds.micros_of(pc.drop_null(times))
        return (int(known.min()), int(known.max())) if len(known) else None

    def _readable(self) -> _Readable:
        return _Readable(self.name)


@lru_cache(maxsize=8)
def _times(part: ParquetPart, group: int) -> Any:
    """The time column of a row group: one look asks for it several times, and times decode slowly."""
    return _column(part.file.read_row_group(group, columns=[part.time], use_threads=False), part.time)


def _named(part: Any, names: list[str]) -> Any:
    return pa.Table.from_arrays([_column(part, name) for name in names], names=names)


def _column(part: Any, name: str) -> Any:
    """By name, not by position: asking for `a` also brings the columns below `a.`."""
    return part.column(part.schema.get_field_index(name))


class _Readable:
    """What pyarrow says about a broken file, with the path and what to do."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, (pa.ArrowException, OSError)):
            raise unreadable(self.name, error) from None


def unreadable(name: str, error: BaseException) -> DataError:
    """The error for a file that cannot be read as what its name says."""
    why = str(error).strip().splitlines()
    return DataError(
        f"{name} cannot be read",
        why=(why or [type(error).__name__])[0][:200],
        fix="write the file again in full, or move it out of [data] path; nothing of it was used",
    )


def missing_time(name: str, time: str, names: list[str]) -> DataError:
    """The error for a file or table in which the time column is missing or stands twice."""
    found = f"holds the column {time!r} {names.count(time)} times" if time in names else f"has no column {time!r}"
    return DataError(
        f"{name} {found}",
        why=f"rows are ordered by [data] time; the columns are {', '.join(map(repr, names[:20]))}",
        fix="name the time column in [data] time, or read another file or table",
    )


def _is_time(kind: str) -> bool:
    return kind.startswith(("timestamp", "date", "null"))


def at(micros: int) -> datetime:
    """Microseconds since 1970 UTC as a datetime."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(micros))
