"""What differs between databases behind SQLAlchemy: types, times, text order; statements are built here."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import cached_property
from itertools import chain, compress
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.elements import quoted_name

from lr_retune.config import Config
from lr_retune.data import kinds
from lr_retune.data.tables import LOCAL, Asked, bound, mistyped, no_table
from lr_retune.errors import ConfigError

BATCH = 20_000  # rows that are Python objects at one time
UNDECLARED = "undeclared"  # SQLite knows no type of an expression
_VIEW = "lr_retune_feed"
_TYPES: tuple[tuple[Any, str], ...] = (
    (sa.Boolean, "bool"),
    (sa.Integer, "int64"),
    (sa.Numeric, "double"),
    (sa.String, "string"),
    (sa.Uuid, "string"),
    (sa.Date, "date32[day]"),
)
_POSTGRES = {
    "bool": "bool", "int2": "int64", "int4": "int64", "int8": "int64", "oid": "int64",
    "float4": "double", "float8": "double", "numeric": "double", "uuid": "string",
    "date": "date32[day]", "timestamp": "timestamp[us]", "timestamptz": kinds.UTC_TIME,
}  # fmt: skip
_ISO = "[0-9][0-9][0-9][0-9]-[0-1][0-9]-[0-3][0-9]*"


def opened(connection: Connection, config: Config) -> SqlTable:
    """The table of an open transaction, by the database's dialect."""
    kinds_of_table: dict[str, type[SqlTable]] = {"postgresql": PostgresTable, "sqlite": SqliteTable}
    return kinds_of_table.get(connection.dialect.name, SqlTable)(connection, config)


class Verbatim(sa.FromClause):
    """A user's SELECT as a sub-select, to the letter: neither ``:name`` nor ``%`` means anything in it."""

    inherit_cache = False

    def __init__(self, query: str) -> None:
        self.query = query.strip().rstrip(";")


@compiles(Verbatim)
def _verbatim(element: Verbatim, compiler: Any, **_: Any) -> str:
    text = element.query.replace("%", "%%") if compiler.preparer._double_percents else element.query
    return f"({text}\n) AS feed"  # a comment may end the query


class SqlTable:
    """A table as SQLAlchemy's reflection describes it, for any database."""

    def __init__(self, connection: Connection, config: Config) -> None:
        self.connection, self.config = connection, config
        self.name = config.data.table or "[data] query"

    @cached_property
    def rows(self) -> sa.FromClause:
        """What is read."""
        if (query := self.config.data.query) is not None:
            return self._query(query)
        schema, name = self._place
        known = sa.inspect(self.connection)
        if not known.has_table(name, schema):
            names = [*known.get_table_names(schema), *known.get_view_names(schema)]
            raise no_table(self.name, difflib.get_close_matches(name, names, n=3) or sorted(names)[:10])
        return sa.table(quoted_name(name, quote=True), schema=schema and quoted_name(schema, quote=True))

    def types(self) -> dict[str, str]:
        """Column name → canonical type."""
        return self._types

    @cached_property
    def _types(self) -> dict[str, str]:
        return self._declared()

    def _declared(self) -> dict[str, str]:
        _ = self.rows  # refuses a table that is not there
        schema, name = self._place
        return {str(c["name"]): _kind(c["type"]) for c in sa.inspect(self.connection).get_columns(name, schema)}

    def key(self) -> Sequence[str]:
        """Columns of the primary key."""
        if self.config.data.query is not None:
            return ()
        schema, name = self._place
        return sa.inspect(self.connection).get_pk_constraint(name, schema)["constrained_columns"]

    def any(self, time: str, before: datetime) -> bool:
        """Whether a row is earlier for sure."""
        query = sa.select(sa.literal(1)).select_from(self.rows).where(self.column(time) < self.bound(time, before, -1))
        return self.connection.execute(query.limit(1)).first() is not None

    def fetch(self, names: Sequence[str], order: Sequence[str], asked: Asked) -> Any:
        """Columns by position, streamed."""
        time = self.column(names[0])
        query = sa.select(*(self.read(name) for name in names)).select_from(self.rows)
        query = query.where(time < self.bound(names[0], asked.end, 1))
        if asked.start is not None:
            query = query.where(time >= self.bound(names[0], asked.start, -1))
        query = query.order_by(time, *(self.sort_key(name) for name in order)).execution_options(yield_per=BATCH)
        result = self.connection.execute(query)
        with closing(result.cursor):  # SQLAlchemy leaves it open where the connection is lost
            return pa.concat_tables(self._part(rows, names, asked) for rows in chain([()], result.partitions()))

    def _part(self, rows: Sequence[Any], names: Sequence[str], asked: Asked) -> Any:
        columns: list[Any] = list(zip(*rows, strict=True)) if rows else [()] * len(names)
        times = self.array(columns[0], names[0])
        inside = asked.inside(times)
        kept = [tuple(compress(values, inside.to_pylist())) for values in columns[1:]]
        arrays = [self.array(values, name) for values, name in zip(kept, names[1:], strict=True)]
        return pa.table([times.filter(inside), *arrays], [str(i) for i in range(len(names))])

    # ── what databases differ in ──────────────────────────────────────────────────────────────────
    @property
    def _place(self) -> tuple[str | None, str]:
        schema, _, name = str(self.config.data.table).rpartition(".")
        return schema or None, name

    def _query(self, query: str) -> sa.FromClause:  # noqa: ARG002 - other databases need it
        raise ConfigError(
            f"query is not available for {self.connection.dialect.name}",
            why="the types of a query's columns are not known there",
            fix="make a view of it, and name that in table",
        )

    def column(self, name: str) -> sa.ColumnClause[Any]:
        """A column as it is compared."""
        typed: dict[str, Any] = {
            "double": sa.Numeric(asdecimal=False),
            "timestamp[us]": sa.DateTime(),
            "date32[day]": sa.Date(),
            kinds.UTC_TIME: sa.DateTime(timezone=True),
        }
        return sa.column(quoted_name(name, quote=True), typed.get(self.types()[name]))

    def bound(self, time: str, at: datetime, side: int) -> Any:
        """A time as the column is compared with."""
        return bound(at, self.types()[time], side)

    def read(self, name: str) -> sa.ColumnElement[Any]:
        """A column as it is fetched."""
        return self.column(name) if self.types()[name] in kinds.ARROW else sa.cast(self.column(name), sa.Text)

    def sort_key(self, name: str) -> sa.ColumnElement[Any]:
        """A column as rows are ordered by it."""
        return self.read(name)

    def array(self, values: Sequence[Any], name: str) -> Any:
        """Fetched values as an Arrow array."""
        kind = self.types()[name]
        try:
            plain = [_TRUTH[v] for v in values] if kind == "bool" else values
            return pa.array(plain, kinds.ARROW.get(kind, pa.string()))
        except (KeyError, TypeError, ValueError, OverflowError, pa.ArrowException):
            raise mistyped(name, kind, _misfit(values, kind)) from None


_TRUTH = {True: True, False: False, None: None}  # 1 and 0 are equal to them


class PostgresTable(SqlTable):
    """PostgreSQL: types come with the answer's description, text is ordered by its bytes."""

    def _query(self, query: str) -> sa.FromClause:
        return Verbatim(query)

    def _declared(self) -> dict[str, str]:
        nothing = self.connection.execute(sa.select(sa.text("*")).select_from(self.rows).limit(0))
        described: list[tuple[str, Any]] = [(column[0], column[1]) for column in nothing.cursor.description]
        nothing.close()
        known = sa.table("pg_type", *map(sa.column, ("oid", "typname", "typcategory")), schema="pg_catalog").c
        asked = sa.select(known.oid, known.typname, known.typcategory).where(
            known.oid.in_([oid for _, oid in described])
        )
        found = {int(oid): _postgres_kind(str(name), str(kind)) for oid, name, kind in self.connection.execute(asked)}
        names = [name for name, _ in described]
        return {name: kinds.DUPLICATE if names.count(name) > 1 else found[oid] for name, oid in described}

    def read(self, name: str) -> sa.ColumnElement[Any]:
        """A column as it is fetched; text of any kind as plain text."""
        kind = self.types()[name]
        return self.column(name) if kind in kinds.ARROW and kind != "string" else sa.cast(self.column(name), sa.Text)

    def sort_key(self, name: str) -> sa.ColumnElement[Any]:
        """A column as rows are ordered by it: a locale's order changes with the operating system."""
        found = self.read(name)
        return sa.collate(found, "C") if isinstance(found, sa.Cast) else found


class SqliteTable(SqlTable):
    """SQLite: a type is a hint, and a time is ISO 8601 text (as SQLAlchemy and pandas write it), never a number."""

    def _query(self, query: str) -> sa.FromClause:
        # a view tells the declared types of a query's columns
        self.connection.exec_driver_sql(f"CREATE TEMP VIEW {_VIEW} AS {query.strip().rstrip(';')}")
        return sa.table(_VIEW)

    @property
    def _place(self) -> tuple[str | None, str]:
        return (None, _VIEW) if self.config.data.query is not None else super()._place

    def _declared(self) -> dict[str, str]:
        found = super()._declared()
        clocks = [n for n in kinds.clocks(self.config) if found.get(n) in ("string", UNDECLARED)]
        return found | dict.fromkeys(clocks, "timestamp[us]")

    def column(self, name: str) -> sa.ColumnClause[Any]:
        """A column without a type: values come as they are stored."""
        return sa.column(quoted_name(name, quote=True))

    def any(self, time: str, before: datetime) -> bool:
        """Whether a row is earlier for sure; every time is looked at, because nothing else says that it is one."""
        column = self.column(time)
        strange = sa.select(column).select_from(self.rows).where(column.is_not(None), sa.not_(column.op("GLOB")(_ISO)))
        if (row := self.connection.execute(strange.limit(1)).first()) is not None:
            raise kinds.no_time(time, self.name, f"{row[0]!r}"[:50])
        return super().any(time, before)

    def bound(self, time: str, at: datetime, side: int) -> Any:  # noqa: ARG002 - a time is text, whatever it is called
        """A day as text: the days of ISO 8601 texts are in order, with a blank or a T before the hour."""
        return str(bound(at, "date32[day]", side))

    def sort_key(self, name: str) -> sa.ColumnElement[Any]:
        """A column as rows are ordered by it: a column may be collated without case."""
        return sa.collate(self.read(name), "BINARY")

    def array(self, values: Sequence[Any], name: str) -> Any:
        """Fetched values as an Arrow array; text that is a time as UTC, by its offset or on the local clock."""
        kind = self.types()[name]
        if kind not in LOCAL:
            return super().array(values, name)
        try:
            times = [None if v is None else datetime.fromisoformat(v) for v in values]
        except (TypeError, ValueError):
            raise kinds.no_time(name, self.name, repr(_no_iso(values))[:50]) from None
        in_utc = name in kinds.clocks(self.config)
        return _utc(times, self.config.schedule.timezone) if in_utc else kinds.cast(_wall(times), kind)


def _kind(declared: Any) -> str:
    """The canonical type of a SQLAlchemy type."""
    if isinstance(declared, sa.types.NullType):
        return UNDECLARED
    if isinstance(declared, sa.DateTime):
        return kinds.UTC_TIME if declared.timezone else "timestamp[us]"
    return next((kind for type_, kind in _TYPES if isinstance(declared, type_)), f"sql<{type(declared).__name__}>")


def _postgres_kind(name: str, category: str) -> str:
    text = category in "SE"  # strings and enums, whatever they are called
    return _POSTGRES.get(name) or ("string" if text else f"sql<{name}>")


def _misfit(values: Sequence[Any], kind: str) -> Any:
    for value in values:
        try:
            pa.array([_TRUTH[value] if kind == "bool" else value], kinds.ARROW.get(kind, pa.string()))
        except (KeyError, TypeError, ValueError, OverflowError, pa.ArrowException):
            return value
    return values


def _no_iso(values: Sequence[Any]) -> Any:
    for value in values:
        try:
            datetime.fromisoformat(value)
        except (TypeError, ValueError):
            if value is not None:
                return value
    return None


def _utc(times: Sequence[datetime | None], timezone: str) -> Any:
    aware = pa.array([t is not None and t.tzinfo is not None for t in times], pa.bool_())
    wall = _wall(times)
    return pc.if_else(aware, wall.cast(pa.timestamp("us", "UTC")), kinds.to_utc(wall, timezone))


def _wall(times: Sequence[datetime | None]) -> Any:
    """Times as written, those with an offset in UTC, as timestamp[us]."""
    plain = [t.astimezone(UTC).replace(tzinfo=None) if t is not None and t.tzinfo is not None else t for t in times]
    return pa.array(plain, pa.timestamp("us"))
