"""One table of a database as a feed: exact spans, and one order of rows whatever order the database keeps them in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from lr_retune.config import Config
from lr_retune.data import kinds
from lr_retune.data.files import demand, in_time_order
from lr_retune.data.parquet import missing_time
from lr_retune.errors import DataError
from lr_retune.records import micros

LOCAL = ("timestamp[us]", "date32[day]")  # types whose values are on the local clock
_SLACK = timedelta(days=2)  # local time and UTC are never two days apart
_START = -(2**62)  # microseconds; before any time a database can hold


@dataclass(frozen=True, slots=True)
class Asked:
    """Rows in [start, end); a database may compare with two days more on either side and leave the rest to `inside`."""

    start: datetime | None
    end: datetime
    timezone: str

    def inside(self, times: Any) -> Any:
        """A mask of times as they were fetched."""
        found = kinds.micros_of(kinds.to_utc(times, self.timezone))
        low = _START if self.start is None else micros(self.start)
        return pa.array((found >= low) & (found < micros(self.end)))


class Table(Protocol):
    """A table, view or query of a database that is open."""

    @property
    def name(self) -> str:
        """Its name, for people."""

    def types(self) -> dict[str, str]:
        """Column name → canonical type, as the database declares it."""

    def key(self) -> Sequence[str]:
        """Columns of the primary key; empty without one."""

    def any(self, time: str, before: datetime) -> bool:
        """Whether a row is earlier for sure, two days of local time and UTC aside."""

    def fetch(self, names: Sequence[str], order: Sequence[str], asked: Asked) -> Any:
        """Columns as an Arrow table by position, ordered by the first, a time, and then by ``order``.

        Nothing is looked at of a row that is not asked for but its time.
        """


class TableSource:
    """A table as a feed; ``ask`` opens it, hands it to a piece of work and closes it again.

    Rows of one time come in the order of the primary key. A table without one, a view or a query is ordered by
    ``[data] id`` and then by every other column, what is learned later about a label last: rows that are still equal
    are the same row.
    """

    def __init__(self, config: Config, ask: Callable[[Callable[[Table], Any]], Any]) -> None:
        self.config, self._ask = config, ask

    def schema(self, as_of: datetime) -> Mapping[str, str]:
        """Column name → canonical Arrow type name; empty while no row is earlier than ``as_of``."""
        found: Mapping[str, str] = self._ask(lambda table: self._schema(table, as_of))
        return found

    def read(self, columns: Sequence[str], start: datetime | None, end: datetime) -> Any:
        """Rows with start <= time < end in time order, ties as said above.

        Raises
        ------
        DataError
            If the table or a column is missing, or a value is not what its column's type says.
        DependencyError
            If the database does not answer.
        """
        return self._ask(lambda table: self._rows(table, columns, start, end))

    def _schema(self, table: Table, as_of: datetime) -> Mapping[str, str]:
        types = self._types(table)
        held = table.any(self.config.data.time, as_of) or len(self._rows(table, [], None, as_of))
        clocks = [name for name in kinds.clocks(self.config) if types.get(name) in LOCAL]
        return types | dict.fromkeys(clocks, kinds.UTC_TIME) if held else {}

    def _types(self, table: Table) -> dict[str, str]:
        types, time = table.types(), self.config.data.time
        if time not in types:
            raise missing_time(table.name, time, list(types))
        if types[time] not in (*LOCAL, kinds.UTC_TIME):
            raise kinds.no_time(time, table.name, types[time])
        return types

    def _rows(self, table: Table, columns: Sequence[str], start: datetime | None, end: datetime) -> Any:
        types, time = self._types(table), self.config.data.time
        demand(columns, types)
        names = list(dict.fromkeys([time, *columns]))
        order = [name for name in self._order(table, types) if name != time] if len(names) > 1 else []
        found = table.fetch(names, order, Asked(start, end, self.config.schedule.timezone))
        read = pa.table({n: self._column(found.column(i), n, table.name) for i, n in enumerate(names)})
        return in_time_order(read, time, columns)

    def _order(self, table: Table, types: Mapping[str, str]) -> list[str]:
        if key := list(table.key()):
            return key
        first = [name for name in (self.config.data.id,) if name in types]
        late = [n for n in (self.config.data.available_time, self.config.label_time, self.config.label) if n in types]
        usual = [name for name, kind in types.items() if kind != kinds.DUPLICATE and name not in (*first, *late)]
        return [str(name) for name in (*first, *usual, *late)]

    def _column(self, column: Any, name: str, where: str) -> Any:
        if name in kinds.clocks(self.config):
            try:
                return kinds.to_utc(column, self.config.schedule.timezone)
            except TypeError as error:
                raise kinds.no_time(name, where, str(error)) from None
        plain = kinds.cast(column, kinds.canonical(column.type))
        # databases hold -0 and 0 to be equal, so their order says nothing about which comes first
        return pc.add(plain, 0.0) if pa.types.is_floating(plain.type) else plain


def bound(time: datetime, kind: str, side: int = 0) -> datetime | date:
    """A time as a column of ``kind`` is compared with; where that is local, two days before or after (side -1, 1).

    >>> bound(datetime(2024, 3, 1, tzinfo=UTC), "timestamp[us]", -1)
    datetime.datetime(2024, 2, 28, 0, 0)
    """
    if kind == kinds.UTC_TIME:
        return time
    edge = datetime(1, 1, 1, tzinfo=UTC) if side < 0 else datetime(9999, 12, 31, tzinfo=UTC)
    moved = time.astimezone(UTC) + side * _SLACK if abs(edge - time) > _SLACK else edge
    return moved.date() if kind == "date32[day]" else moved.replace(tzinfo=None)


def no_table(name: str, near: Sequence[str]) -> DataError:
    """The error for a table that is not there."""
    return DataError(
        f"there is no table or view {name!r}",
        why=f"near it: {list(near)}",
        fix="correct table, or write schema.name where it lies in another schema",
    )


def mistyped(name: str, kind: str, value: Any) -> DataError:
    """The error for a value that is not what its column's type says."""
    return DataError(
        f"column {name!r} is declared {kind} and holds {str(value)[:50]!r}",
        why="a column's values must be of its type",
        fix="mend the rows, or cast the column in [data] query",
    )
