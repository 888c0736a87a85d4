"""Many files as one feed: which files count at a time, their common types, one stable order of rows."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, cast

import numpy as np
import pyarrow as pa

from lr_retune.config import Config
from lr_retune.data import kinds
from lr_retune.data.places import File, find
from lr_retune.data.thin import Choose
from lr_retune.errors import ConfigError, DataError
from lr_retune.records import micros

_START = -(2**62)  # microseconds; before any time a file can hold
_ATTEMPTS = 3  # of a read whose files change meanwhile


class Part(Protocol):
    """One file of a feed; times are microseconds UTC."""

    @property
    def first(self) -> int | None: ...

    @property
    def last(self) -> int: ...

    def types(self, before: int) -> dict[str, str]: ...

    def read(self, types: dict[str, str], start: int, end: int) -> Any: ...


class Taken(Part, Protocol):
    """A file of which some rows can be read without all of them."""

    def take(self, types: dict[str, str], start: int, end: int, which: np.ndarray) -> Any: ...


class FileSource:
    """Files of one format as one feed: what differs between formats is how one file is opened.

    Raises
    ------
    ConfigError
        If ``[data] path`` is missing, or a key is set that files have no use for.
    """

    def __init__(self, config: Config, suffix: str, opened: Callable[[File], Part]) -> None:
        self.config, self.suffix, self._open = config, suffix, opened
        self._parts: dict[File, Part] = {}
        demand_keys(config, needed="path", unused=("url", "table", "query"))

    def schema(self, as_of: datetime) -> Mapping[str, str]:
        """Column name → canonical Arrow type name, from files that hold a row before ``as_of``."""
        before = micros(as_of)
        found: dict[str, list[str]] = {}
        for part in self._known(before):
            for name, kind in part.types(before).items():
                found.setdefault(name, []).append(kind)
        return {name: kinds.unify(names) for name, names in found.items()}

    def read(self, columns: Sequence[str], start: datetime | None, end: datetime) -> Any:
        """Rows with start <= time < end in time order, ties in file and row order.

        Types are those of ``schema(end)``; a column that some files lack is null there.

        Raises
        ------
        DataError
            If no file matches, a file cannot be read or changes meanwhile, or a column is unknown or stands twice in a
            file.
        """
        return self._settled(lambda: self._read(columns, start, end))

    def _picked(self, columns: Sequence[str], start: datetime | None, end: datetime, choose: Choose) -> Any:
        """`thin.Thin.pick` of files that can be read in part."""
        return self._settled(lambda: self._pick(columns, start, end, choose))

    def _settled(self, work: Callable[[], Any]) -> Any:
        """What is read of files that do not change meanwhile."""
        for _ in range(_ATTEMPTS):
            before = find(self.config, self.suffix)
            table = work()
            after = set(find(self.config, self.suffix))
            if all(file in after for file in before):
                return table
        raise DataError(
            f"files of {self.config.data.path} change while they are read",
            why="rows of two states would be mixed",
            fix="write files under another name and rename them when they are complete",
        )

    def _pick(self, columns: Sequence[str], start: datetime | None, end: datetime, choose: Choose) -> Any:
        low, high = _START if start is None else micros(start), micros(end)
        parts = self._overlapping(low, high)
        times = [kinds.micros_of(part.read({}, low, high).column(self.config.data.time)) for part in parts]
        which = _chosen(np.concatenate(times) if times else np.empty(0, dtype=np.int64), choose)
        if which is None or not parts:
            return self._read(columns, start, end)
        ends = np.cumsum([len(t) for t in times])
        picked = np.split(which, np.searchsorted(which, ends[:-1]))
        return self._read(columns, start, end, [p - (e - len(t)) for p, e, t in zip(picked, ends, times, strict=True)])

    def _read(
        self, columns: Sequence[str], start: datetime | None, end: datetime, which: Sequence[np.ndarray] | None = None
    ) -> Any:
        """Rows of a span; ``which``: for each file the positions of those to take."""
        types = self.schema(end)
        if types:
            demand(columns, types)
        low, high = _START if start is None else micros(start), micros(end)
        parts = self._overlapping(low, high)
        rows: Sequence[np.ndarray | None] = [None] * len(parts) if which is None else which
        tables = [self._read_part(p, columns, types, low, high, w) for p, w in zip(parts, rows, strict=True)]
        time = self.config.data.time
        if not tables:
            tables = [pa.table({name: pa.nulls(0) for name in dict.fromkeys([time, *columns])})]
        table = pa.concat_tables(tables, promote_options="default")
        return in_time_order(_conformed(table, {time: kinds.UTC_TIME} | dict(types)), time, columns)

    def _read_part(
        self,
        part: Part,
        columns: Sequence[str],
        types: Mapping[str, str],
        low: int,
        high: int,
        which: np.ndarray | None,
    ) -> Any:
        here = part.types(high)
        time = self.config.data.time
        known = {name: types[name] for name in columns if name in here and name != time}
        table = part.read(known, low, high) if which is None else cast(Taken, part).take(known, low, high, which)
        for name in columns:
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(len(table)))
        return table.select(list(dict.fromkeys([time, *columns])))

    def _overlapping(self, low: int, high: int) -> list[Part]:
        return [part for part in self._known(high) if part.last >= low]

    def _known(self, before: int) -> list[Part]:
        """Files with a row before a time, in the order of their names."""
        parts = [self._part(file) for file in find(self.config, self.suffix)]
        return [p for p in parts if p.first is not None and p.first < before]

    def _part(self, file: File) -> Part:
        if file not in self._parts:
            self._parts[file] = self._open(file)
        return self._parts[file]


def demand_keys(config: Config, *, needed: str, unused: Sequence[str]) -> None:
    """Refuse a ``[data]`` section (or the section of another feed) that its source cannot read.

    Raises
    ------
    ConfigError
        Naming the key.
    """
    source = config.data.source
    if getattr(config.data, needed) is None:
        raise ConfigError(f"{needed} is missing", why=f'source = "{source}" reads from it', fix=f"set {needed}")
    for key in unused:
        if getattr(config.data, key) is not None:
            raise ConfigError(
                f"{key} is set, and nothing would read it",
                why=f'source = "{source}" takes {needed}',
                fix=f"remove {key}, or choose another source",
            )


def demand(columns: Sequence[str], types: Mapping[str, str]) -> None:
    """Refuse columns that are not there, with what is near them, or that stand twice."""
    for name in columns:
        if name not in types:
            near = difflib.get_close_matches(name, list(types), n=3, cutoff=0.5)
            raise DataError(f"no column {name!r}", why=f"near it: {near or list(types)[:20]}", fix="correct [data]")
        if types[name] == kinds.DUPLICATE:
            raise DataError(f"column {name!r} stands twice in a file", fix="give each column a name of its own")


def _conformed(table: Any, types: Mapping[str, str]) -> Any:
    """Columns that hold no value here, with the type they have elsewhere."""
    for i, field in enumerate(table.schema):
        if pa.types.is_null(field.type):
            table = table.set_column(i, field.name, kinds.cast(table.column(i), types.get(field.name, "null")))
    return table


def _chosen(times: np.ndarray, choose: Choose) -> np.ndarray | None:
    """Positions in the order of the files, ascending, of the rows that are chosen in the order of their times."""
    if len(times) < 2 or (times[1:] >= times[:-1]).all():
        return choose(times)
    order = np.argsort(times, kind="stable")
    which = choose(times[order])
    return None if which is None else np.sort(order[which])


def in_time_order(table: Any, time: str, columns: Sequence[str]) -> Any:
    """These columns of the rows in time order; rows of one time stay in the order they are in."""
    times = table.column(time)
    table = table.select(list(dict.fromkeys(columns)))
    if kinds.ascending(times):
        return table
    return table.take(pa.array(np.argsort(kinds.micros_of(times), kind="stable")))
