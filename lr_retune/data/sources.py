"""Files as sources: Parquet, and CSV, whose text is judged and cast by DuckDB."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lr_retune.config import Config
from lr_retune.data import duck, kinds
from lr_retune.data.cached import CachedSource
from lr_retune.data.files import FileSource
from lr_retune.data.kinds import clocks
from lr_retune.data.parquet import ParquetPart, missing_time, unreadable
from lr_retune.data.places import File
from lr_retune.data.thin import Choose

__all__ = ["CachedSource", "CsvSource", "ParquetSource"]

_NEVER = 2**62  # microseconds; after any time a file can hold
_SLACK = 2 * 86_400_000_000  # microseconds; local time and UTC are never two days apart
_ISO = r"\s*\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d+)?)?\s*(Z|[+-]\d\d(:?\d\d)?)?)?\s*"
_OFFSET = r"\d:\d\d.*(Z|[+-]\d\d(:?\d\d)?)\s*$"
# a number with a leading zero is a code, such as a postal code: text; DuckDB would also read 1_000
_CODE = r"^-?0\d|_|^\+"
# What a value must be for its column to have the type; the first type that all values fit is taken.
_TESTS: dict[str, Callable[[str], str]] = {
    "int64": lambda v: f"regexp_full_match({v}, '-?(0|[1-9]\\d{{0,17}})')",
    "double": lambda v: f"TRY_CAST({v} AS DOUBLE) IS NOT NULL AND NOT regexp_matches({v}, '{_CODE}')",
    "bool": lambda v: f"lower({v}) IN ('true', 'false')",
    # a failed cast to a time is dear, so only what begins like a date is cast
    "timestamp[us]": lambda v: f"CASE WHEN {v} LIKE '____-__-__%' THEN {_is_time(v)} ELSE false END",
}
_VALUES: dict[str, Callable[[str], str]] = {
    "int64": lambda v: f"TRY_CAST({v} AS BIGINT)",
    "double": lambda v: f"TRY_CAST({v} AS DOUBLE)",
    "bool": lambda v: f"lower({v}) = 'true'",
}


class ParquetSource(FileSource):
    """Parquet files of ``[data] path``: a file, glob, folder or fsspec URL. Built as ``ParquetSource(config)``."""

    def __init__(self, config: Config) -> None:
        zone = config.schedule.timezone
        super().__init__(config, ".parquet", partial(ParquetPart, clocks=clocks(config), timezone=zone))

    def pick(self, columns: Sequence[str], start: datetime | None, end: datetime, choose: Choose) -> Any:
        """Those rows of `read` that ``choose`` takes by their times; memory holds all times and no other row.

        Raises
        ------
        DataError
            As `read` does.
        """
        return self._picked(columns, start, end, choose)


class CsvSource(FileSource):
    """CSV files, with a header, of ``[data] path``: a file, glob, folder or URL. Built as ``CsvSource(config)``."""

    def __init__(self, config: Config) -> None:
        zone = config.schedule.timezone
        super().__init__(config, ".csv", partial(CsvPart, clocks=clocks(config), timezone=zone))


class CsvPart:
    """One CSV file. A column's type is judged on the rows before the time asked for, so later rows change nothing.

    All text is read as text under names of our own (c0, c1, …): no header can break a query. A remote file is copied.

    Parameters
    ----------
    clocks
        Columns that hold times: the time of the row first.

    Raises
    ------
    DataError
        With the file's path, if it is no readable CSV or has no usable time column.
    """

    def __init__(self, file: File, clocks: tuple[str, ...], timezone: str) -> None:
        self.name, self.time, self.clocks, self.timezone = file.name, clocks[0], clocks, timezone
        self.path = file.copied(self)
        self.names = self._header()
        if self.names.count(self.time) != 1:
            raise missing_time(file.name, self.time, self.names)

    @property
    def first(self) -> int | None:
        """Time of the earliest row, microseconds UTC."""
        return None if self._clock[1] == _NEVER else self._clock[1]

    @property
    def last(self) -> int:
        """No row is later, microseconds UTC; two days more where times are local."""
        return self._clock[0]

    def types(self, before: int) -> dict[str, str]:
        """Column name → canonical type, judged on rows before ``before`` (microseconds UTC)."""
        found = {name: self._type(i, before) for i, name in enumerate(self.names)}
        found |= {name: kinds.DUPLICATE for name in found if self.names.count(name) > 1}
        return found | {name: kinds.UTC_TIME for name in self.clocks if found.get(name) in ("timestamp[us]", "null")}

    def read(self, types: Mapping[str, str], start: int, end: int) -> Any:
        """Columns ``types`` (name → canonical type) and the time, of rows in [start, end), in file order."""
        here = self.types(end)
        names = list(dict.fromkeys([self.time, *types]))
        for name in names:
            if name in self.clocks and here[name] != kinds.UTC_TIME:
                raise kinds.no_time(name, self.name, here[name])
        parts = [part for name in names for part in self._selected(name, here[name])]
        where = f"w >= {start - _SLACK} AND w < {end + _SLACK}"
        table = self._ask(f"SELECT {', '.join(parts)} FROM ({self._timed}) WHERE {where}")
        columns = {name: self._column(table, name, types.get(name, "")) for name in names}
        times = kinds.micros_of(columns[self.time])
        return pa.table(columns).filter(pa.array((times >= start) & (times < end)))

    def _type(self, i: int, before: int) -> str:
        present, *misfits = self._clock[2 + i * 5 : 7 + i * 5]
        if present >= before:
            return "null"
        return next((kind for kind, first in zip(_TESTS, misfits, strict=True) if first >= before), "string")

    @cached_property
    def _clock(self) -> list[int]:
        """Latest row, earliest row; then five per column: its earliest value, and the earliest that fails each test."""
        column = f"c{self.names.index(self.time)}"
        lost = f"count(*) FILTER (w IS NULL AND trim({column}) <> '')"
        tests = [f"{test} AS p{i}" for i, test in enumerate(self._tests())]
        firsts = [f"min(w) FILTER (p{i} AND {z})" for i in range(len(tests)) for z in ("NOT z", "z")]
        judged = f"SELECT w, z, {column}, {', '.join(tests)} FROM ({self._timed})"
        row = self._ask(f"SELECT {lost}, max(w), {', '.join(firsts)} FROM ({judged})")
        lost_rows, last, *times = (column[0].as_py() for column in row.columns)
        if lost_rows:
            raise kinds.no_time(self.time, self.name, f"other text in {lost_rows} rows")
        local = [self._utc(wall) for wall in times[0::2]]
        aware = [_NEVER if utc is None else utc for utc in times[1::2]]
        return [-_NEVER if last is None else last + _SLACK, *map(min, local, aware)]

    def _tests(self) -> list[str]:
        tests = ["w IS NOT NULL"]
        for value in (f"trim(c{i})" for i in range(len(self.names))):
            tests += [f"{value} <> ''", *(f"{value} <> '' AND NOT ({fits(value)})" for fits in _TESTS.values())]
        return tests

    def _utc(self, wall: int | None) -> int:
        if wall is None:
            return _NEVER
        local = pa.array([wall], pa.int64()).cast(pa.timestamp("us"))
        return int(kinds.micros_of(kinds.to_utc(local, self.timezone))[0])

    def _selected(self, name: str, kind: str) -> list[str]:
        i = self.names.index(name)
        if name in self.clocks:
            return [f"{_wall(f'c{i}')} AS w{i}", f"{_aware(f'c{i}')} AS z{i}"]
        value = f"NULLIF(trim(c{i}), '')"
        return [f"{_VALUES[kind](value)} AS c{i}" if kind in _VALUES else f"c{i}"]

    def _column(self, table: Any, name: str, kind: str) -> Any:
        i = self.names.index(name)
        if name not in self.clocks:
            return kinds.cast(table.column(f"c{i}"), kind)
        wall = table.column(f"w{i}").combine_chunks()
        local = kinds.to_utc(wall.cast(pa.timestamp("us")), self.timezone)
        return pc.if_else(table.column(f"z{i}").combine_chunks(), wall.cast(pa.timestamp("us", "UTC")), local)

    @cached_property
    def _dialect(self) -> tuple[str, int]:
        """Options of read_csv, and how many columns there are."""
        found = self._ask("FROM sniff_csv($path, all_varchar = true)").to_pylist()[0]
        marks = {key: found[key] if len(found[key]) == 1 else '"' for key in ("Delimiter", "Quote", "Escape")}
        options = ", ".join(
            f"{o} = {duck.quoted(marks[k])}"
            for o, k in (("delim", "Delimiter"), ("quote", "Quote"), ("escape", "Escape"))
        )
        return f"auto_detect = false, strict_mode = true, skip = {found['SkipRows']}, {options}", len(found["Columns"])

    def _header(self) -> list[str]:
        row = self._ask(f"FROM {self._rows('false')} LIMIT 1").to_pylist()
        return [value or "" for value in row[0].values()] if row else []

    def _rows(self, header: str) -> str:
        options, count = self._dialect
        columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(count))
        return f"read_csv($path, header = {header}, columns = {{{columns}}}, {options})"

    @property
    def _timed(self) -> str:
        column = f"c{self.names.index(self.time)}"
        return f"SELECT *, {_wall(column)} AS w, {_aware(column)} AS z FROM {self._rows('true')}"

    def _ask(self, query: str) -> Any:
        try:
            with duck.connected() as connection:
                return duck.ask(connection, query, {"path": glob_free(self.path)})
        except duck.errors() as error:
            raise unreadable(self.name, error) from None


def _wall(column: str) -> str:
    """Microseconds of the time as written: UTC where it carries an offset, else on the local clock."""
    utc, local = (f"epoch_us(TRY_CAST({column} AS {kind}))" for kind in ("TIMESTAMPTZ", "TIMESTAMP"))
    written = f"CASE WHEN {_aware(column)} THEN {utc} ELSE {local} END"
    return f"CASE WHEN regexp_full_match({column}, '{_ISO}') THEN {written} END"


def _is_time(value: str) -> str:
    return f"regexp_full_match({value}, '{_ISO}') AND TRY_CAST({value} AS TIMESTAMP) IS NOT NULL"


def _aware(column: str) -> str:
    return f"coalesce(regexp_matches({column}, '{_OFFSET}'), false)"


def glob_free(path: Path) -> str:
    """A path in which DuckDB sees no pattern: brackets keep ``*``, ``?`` and ``[`` literal."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(path))
