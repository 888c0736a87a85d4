"""Many files as one feed: which files count at a time, their common types, one stable order of rows."""

from __future__ import annotations

import difflib
import glob
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from lr_retune.config import Config
from lr_retune.data import kinds
from lr_retune.errors import DataError
from lr_retune.records import micros

_START = -(2**62)  # microseconds; before any time a file can hold


class Part(Protocol):
    """One file of a feed; times are microseconds UTC."""

    @property
    def first(self) -> int | None: ...

    @property
    def last(self) -> int: ...

    def types(self, before: int) -> dict[str, str]: ...

    def read(self, types: dict[str, str], start: int, end: int) -> Any: ...


class FileSource:
    """Files of one format as one feed: what differs between formats is how one file is opened."""

    def __init__(self, config: Config, suffix: str, opened: Callable[[Path], Part]) -> None:
        self.config, self.suffix, self._open = config, suffix, opened
        self._parts: dict[tuple[str, int, int], Part] = {}

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
            If no file matches, a file cannot be read, or a column is unknown or stands twice in a file.
        """
        types = self.schema(end)
        if types:
            _demand(columns, types)
        low, high = _START if start is None else micros(start), micros(end)
        parts = [part for part in self._known(high) if part.last >= low]
        tables = [self._read_part(part, columns, types, low, high) for part in parts]
        time = self.config.data.time
        if not tables:
            tables = [pa.table({name: pa.nulls(0) for name in dict.fromkeys([time, *columns])})]
        table = pa.concat_tables(tables, promote_options="default")
        return _in_time_order(_conformed(table, {time: kinds.UTC_TIME} | dict(types)), time, columns)

    def _read_part(self, part: Part, columns: Sequence[str], types: Mapping[str, str], low: int, high: int) -> Any:
        here = part.types(high)
        time = self.config.data.time
        table = part.read({name: types[name] for name in columns if name in here and name != time}, low, high)
        for name in columns:
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(len(table)))
        return table.select(list(dict.fromkeys([time, *columns])))

    def _known(self, before: int) -> list[Part]:
        """Files with a row before a time, in the order of their names."""
        parts = [self._part(path) for path in find(self.config, self.suffix)]
        return [p for p in parts if p.first is not None and p.first < before]

    def _part(self, path: Path) -> Part:
        stat = path.stat()
        key = (str(path), stat.st_mtime_ns, stat.st_size)
        if key not in self._parts:
            self._parts[key] = self._open(path)
        return self._parts[key]


def find(config: Config, suffix: str) -> list[Path]:
    """Files that ``[data] path`` names, sorted by name; relative paths are relative to the configuration.

    In a folder, names that begin with a dot or an underscore are skipped: writers use them for files in the making.

    Raises
    ------
    DataError
        If there is none, with what lies nearby.
    """
    pattern = config.root / config.data.path
    if pattern.is_dir():
        below = (p for p in pattern.rglob(f"*{suffix}") if p.is_file())
        files = [p for p in below if not any(part.startswith((".", "_")) for part in p.relative_to(pattern).parts)]
    elif pattern.is_file():
        files = [pattern]
    else:
        files = [p for p in map(Path, glob.glob(str(pattern), recursive=True)) if p.is_file()]
    if not files:
        raise _nothing(pattern, suffix)
    return sorted(files, key=lambda p: p.as_posix())


def _nothing(pattern: Path, suffix: str) -> DataError:
    folder = next(p for p in pattern.parents if p.is_dir())
    near = sorted(p.name for p in folder.iterdir())[:10]
    return DataError(
        f"no {suffix} file matches {pattern}",
        why=f"{folder} holds {', '.join(map(repr, near)) or 'nothing'}",
        fix="set [data] path to a file, a folder or a glob; relative paths start at the configuration's folder",
    )


def _demand(columns: Sequence[str], types: Mapping[str, str]) -> None:
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


def _in_time_order(table: Any, time: str, columns: Sequence[str]) -> Any:
    times = kinds.micros_of(table.column(time))
    table = table.select(list(dict.fromkeys(columns)))
    if len(times) < 2 or (times[1:] >= times[:-1]).all():
        return table
    return table.take(pa.array(np.argsort(times, kind="stable")))
