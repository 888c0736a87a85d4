"""A database table as a feed through SQLAlchemy: how a database is reached, and what is said when it is not."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.pool import NullPool

from lr_retune.config import Config, resolve_secret
from lr_retune.data.files import demand_keys
from lr_retune.data.sql_tables import opened
from lr_retune.data.tables import Table, TableSource
from lr_retune.errors import ConfigError, DataError, DependencyError, RetuneError

CONNECT_SECONDS = 10
STATEMENT_SECONDS = 600  # a statement that runs longer is given up
_REFUSED = ("no such ", "syntax error", "ambiguous column", "not authorized", "readonly database")


class SqlSource(TableSource):
    """``[data] url`` is the database, ``table`` or ``query`` what is read. Built as ``SqlSource(config)``.

    PostgreSQL (``postgresql+psycopg://``) and SQLite are proven; another database may do for ``table``.
    Every read is one read-only transaction that sees one state; a connection lost meanwhile is made anew, once.
    A naive timestamp is local in ``[schedule] timezone``, and so is the session, so casts in a query agree with it.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config, self._twice)
        demand_keys(config, needed="url", unused=("path",))
        if config.data.table is None and config.data.query is None:
            raise ConfigError('source = "sql" needs a table', fix="set table or query")
        self.url = _located(resolve_secret(str(config.data.url), config.root), config.root)

    def _twice(self, work: Callable[[Table], Any]) -> Any:
        with self._told():
            try:
                return self._once(work)
            except exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
            return self._once(work)

    def _once(self, work: Callable[[Table], Any]) -> Any:
        with self._engine.connect() as fresh:
            connection = fresh
            if fresh.dialect.name == "postgresql":
                connection = fresh.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            with connection.begin():
                _settle(connection, self.config.schedule.timezone)
                return work(opened(connection, self.config))

    @cached_property
    def _engine(self) -> Engine:
        if self.url.get_backend_name() == "sqlite":
            return sa.create_engine("sqlite://", creator=partial(_sqlite, self.url), poolclass=NullPool)
        limits = {"connect_timeout": CONNECT_SECONDS} if "psycopg" in self.url.get_driver_name() else {}
        return sa.create_engine(self.url, poolclass=NullPool, hide_parameters=True, connect_args=limits)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (ImportError, exc.NoSuchModuleError):
            raise DependencyError(
                f"the driver for {self.url.drivername} is not installed",
                why="SQLAlchemy finds no module for it",
                fix="pip install 'lr-retune[postgres]' and write postgresql+psycopg://…, or install your database's",
            ) from None
        except (exc.SQLAlchemyError, OSError) as error:
            raise self._error(error) from None

    def _error(self, error: BaseException) -> RetuneError:
        where, why = self.shown, self._masked(str(getattr(error, "orig", None) or error))
        if "syntax error" in why.lower() and self.config.data.query is not None:
            return ConfigError("[data] query is no SELECT that the database reads", why=why, fix="correct the query")
        if _refused(error, why):
            fix = "correct table, query or the rights of the user; columns are told by the database"
            return DataError(f"{where} does not give what is asked for", why=why, fix=fix)
        fix = "check the address, the user and its password, and whether the database is up; then run again"
        return DependencyError(f"the database {where} does not answer", why=why, fix=fix)

    @property
    def shown(self) -> str:
        """The URL without anything secret."""
        return self.url.set(query={}).render_as_string(hide_password=True)

    def _masked(self, text: str) -> str:
        line = (text.strip().splitlines() or ["no reason was given"])[0][:300]
        secrets = [self.url.password, *(v for k, v in self.url.query.items() if "pass" in k.lower())]
        for secret in secrets:
            line = line.replace(str(secret), "***") if secret else line
        return line


def _refused(error: BaseException, why: str) -> bool:
    """The database answered, and will answer the same again."""
    # NoSuchTableError: SQLite finds a table whatever the case of its name, and reflection only as it is written
    answers = exc.ProgrammingError, exc.DataError, exc.NotSupportedError, exc.CompileError, exc.NoSuchTableError
    if isinstance(error, answers):
        return True
    return type(error) is exc.DatabaseError or any(word in why for word in _REFUSED)


def _located(text: str, root: Path) -> URL:
    try:
        url = make_url(text)
    except (exc.ArgumentError, ValueError):
        fix = "write postgresql+psycopg://user@host/database or sqlite:///file.db; secrets as env:NAME or file:PATH"
        raise ConfigError("url is no database URL", fix=fix) from None
    if "@" in str(url.host or ""):  # the rest of a password would be told as a host that is not found
        fix = "write %40 for an @ in the user or the password"
        raise ConfigError("url has more than one @ before its path", why="where the host begins is not plain", fix=fix)
    if url.get_backend_name() != "sqlite":
        return url
    if url.database in (None, "", ":memory:") or str(url.database).startswith("file:"):
        raise ConfigError("url names no SQLite file", fix="write sqlite:///file.db")
    return url.set(database=str(root / str(url.database)))


def _sqlite(url: URL) -> sqlite3.Connection:
    """Read-only: a file that is not there is not made."""
    address = f"file:{quote(str(url.database))}?mode=ro"
    return sqlite3.connect(address, uri=True, isolation_level=None, timeout=CONNECT_SECONDS)


def _settle(connection: Connection, timezone: str) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")  # one state for all statements of a read
    if connection.dialect.name == "postgresql":
        settings = {"TimeZone": timezone, "statement_timeout": f"{STATEMENT_SECONDS}s"}
        connection.execute(sa.select(*(sa.func.set_config(name, value, True) for name, value in settings.items())))
