"""A table, view or query of a DuckDB database file as a feed; the file is only read."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from lr_retune.config import Config
from lr_retune.data import duck, kinds
from lr_retune.data.files import demand_keys
from lr_retune.data.tables import Asked, Table, TableSource, bound, no_table
from lr_retune.errors import ConfigError, DataError, DependencyError

_TABLES = "SELECT table_schema, table_name FROM information_schema.tables"


class DuckDbSource(TableSource):
    """``[data] path`` is the database file, ``table`` or ``query`` what is read. Built as ``DuckDbSource(config)``."""

    def __init__(self, config: Config) -> None:
        super().__init__(config, self._opened)
        demand_keys(config, needed="path", unused=("url",))
        if config.data.table is None and config.data.query is None:
            raise ConfigError('source = "duckdb" needs a table', fix="set table or query")
        if "://" in (place := config.place(str(config.data.path))):
            raise ConfigError(
                'source = "duckdb" reads a local file, and path is a URL',
                why="a database file is read in places, not from start to end",
                fix='copy the file, or export it to Parquet and use source = "parquet"',
            )
        self.path = Path(place)

    def _opened(self, work: Callable[[Table], Any]) -> Any:
        if not self.path.is_file():
            raise DataError(f"{self.path} is no file", fix="set path to a DuckDB database file")
        try:
            connection = duck.connected(self.path, self.config.schedule.timezone)
        except duck.errors() as error:
            raise self._closed(error) from None
        try:
            return work(DuckDbTable(connection, self.config))
        except duck.errors() as error:
            fix = "correct query or table, or write the file again"
            raise DataError(f"{self.path} cannot be read as asked", why=_first_line(error), fix=fix) from None
        finally:
            connection.close()

    def _closed(self, error: Exception) -> DataError | DependencyError:
        why = _first_line(error)
        if "not set lock" in why:
            fix = "wait until the process that writes it is done, or read a copy"
            return DependencyError(f"{self.path} is being written", why=why, fix=fix)
        fix = "write it again with this DuckDB or an older one; nothing of it was used"
        return DataError(f"{self.path} cannot be opened as a DuckDB database", why=why, fix=fix)


class DuckDbTable:
    """What is read of an open database."""

    def __init__(self, connection: Any, config: Config) -> None:
        self.connection, self.config = connection, config
        self.name = config.data.table or "[data] query"

    @cached_property
    def rows(self) -> str:
        """The table, or the query in brackets, as it stands behind FROM."""
        data = self.config.data
        if data.query is not None:
            return f"({data.query.strip().rstrip(';')}\n) AS feed"  # a comment may end the query
        schema, _, name = self.name.rpartition(".")
        known = [f"{row['table_schema']}.{row['table_name']}" for row in duck.ask(self.connection, _TABLES).to_pylist()]
        wanted = f"{schema or 'main'}.{name}"
        if wanted not in known:
            raise no_table(self.name, difflib.get_close_matches(wanted, known, n=3) or sorted(known)[:10])
        return f"{duck.name(schema or 'main')}.{duck.name(name)}"

    def types(self) -> dict[str, str]:
        """Column name → canonical type."""
        fields = duck.ask(self.connection, f"SELECT * FROM {self.rows} LIMIT 0").schema
        return {field.name: kinds.canonical(field.type) for field in fields}

    def key(self) -> Sequence[str]:
        """No key: comparing every column is quick here."""
        return ()

    def any(self, time: str, before: datetime) -> bool:
        """Whether a row is earlier for sure."""
        query = f"SELECT 1 FROM {self.rows} WHERE {duck.name(time)} < $end LIMIT 1"
        return bool(len(duck.ask(self.connection, query, {"end": bound(before, self.types()[time], -1)})))

    def fetch(self, names: Sequence[str], order: Sequence[str], asked: Asked) -> Any:
        """Columns by position."""
        time, types = duck.name(names[0]), self.types()
        values = {"end": bound(asked.end, types[names[0]], 1)}
        where = f"{time} < $end"
        if asked.start is not None:
            where += f" AND {time} >= $start"
            values["start"] = bound(asked.start, types[names[0]], -1)
        keys = [time, *(_sorted(name, types[name]) for name in order)]
        chosen = ", ".join(f"{duck.name(name)} AS c{i}" for i, name in enumerate(names))
        query = f"SELECT {chosen} FROM {self.rows} WHERE {where} ORDER BY {', '.join(keys)}"
        found = duck.ask(self.connection, query, values)
        return found.filter(asked.inside(found.column(0)))


def _sorted(name: str, kind: str) -> str:
    # a column may be collated without case, and rows that differ must not be equal
    return f'CAST({duck.name(name)} AS VARCHAR) COLLATE "C"' if kind == "string" else duck.name(name)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
