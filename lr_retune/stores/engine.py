"""How the ledger's database is opened: SQLite's locks, PostgreSQL's patience, and what may be tried again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.pool import NullPool, StaticPool

from lr_retune.errors import ConfigError

CONNECT = 10  # seconds until a database that does not answer counts as away; the drivers wait for minutes
_BUSY = ("locked", "deadlock", "could not serialize")  # the whole transaction may be tried again


def parse(url: str) -> URL:
    """A database URL, or ConfigError."""
    try:
        return make_url(url)
    except exc.ArgumentError:
        raise ConfigError("state.url is no database URL", fix='write "sqlite:///lr_retune.db"') from None


def open_engine(url: URL, busy: float) -> Engine:
    """An engine that begins a writer as a writer; ``busy`` is in seconds."""
    if not url.drivername.startswith("sqlite"):
        patience = {"connect_timeout": CONNECT} if "psycopg" in url.get_dialect().driver else {}
        # a connection lives as long as its transaction: hours of training lie between two of them
        return sa.create_engine(url, poolclass=NullPool, hide_parameters=True, connect_args=patience)
    if in_memory(url):
        engine = sa.create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
    else:
        Path(str(url.database)).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(url, connect_args={"timeout": busy})
    sa.event.listen(engine, "connect", _own_transactions)
    sa.event.listen(engine, "begin", _begin)
    return engine


def in_memory(url: URL) -> bool:
    """Whether it is this process's own: nobody else can read or write it."""
    return url.drivername.startswith("sqlite") and url.database in (None, "", ":memory:")


def is_busy(error: exc.OperationalError) -> bool:
    """Whether the same transaction may succeed in a moment."""
    return any(word in str(error.orig) for word in _BUSY)


def _own_transactions(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # else the driver begins late: SQLAlchemy's documented SQLite recipe


def _begin(connection: Connection) -> None:
    # A writer that begins as a reader cannot wait for its turn: SQLite refuses the upgrade at once.
    writes = connection.get_execution_options().get("writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
