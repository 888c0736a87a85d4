"""DuckDB, known here only: connections that fetch nothing from the network, and answers as Arrow tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def connected(path: Path | None = None, timezone: str = "UTC") -> Any:
    """A connection to be closed by the caller: to memory, or to a database file that is only read.

    One thread keeps rows in their order; extensions would be fetched from the network.
    """
    import duckdb

    limits: dict[str, Any] = {
        "threads": 1,
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }
    connection = duckdb.connect(":memory:" if path is None else str(path), read_only=path is not None, config=limits)
    connection.execute(f"SET TimeZone = {quoted(timezone)}")
    return connection


def ask(connection: Any, query: str, values: Mapping[str, Any] | None = None) -> Any:
    """The answer to a query as an Arrow table."""
    return connection.sql(query, params=dict(values or {})).to_arrow_table()


def errors() -> type[Exception]:
    """What DuckDB raises."""
    import duckdb

    found: type[Exception] = duckdb.Error
    return found


def quoted(text: str) -> str:
    """A text as a SQL literal.

    >>> quoted("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def name(text: str) -> str:
    """A text as a SQL name.

    >>> name("a b")
    '"a b"'
    """
    return '"' + text.replace('"', '""') + '"'
