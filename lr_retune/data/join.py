"""Labels and logged scores that stand apart from the rows: joined by id as they were known at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lr_retune.data.columns import numbers
from lr_retune.data.kinds import flat, micros_of, text
from lr_retune.errors import DataError

_STRAYS = 0.01


@dataclass(frozen=True, slots=True)
class Joined:
    """How the labels that arrived in a span fit the rows."""

    labels: int = 0  # labels that arrived in the span
    strays: int = 0  # of them, labels of no row
    revised: int = 0  # of them, ids whose label was changed later
    conflicts: int = 0  # of them, ids with two labels at the same time

    @property
    def astray(self) -> bool:
        """More labels of no row than are worth no word."""
        return self.strays > _STRAYS * self.labels


def ids(array: Any) -> Any:
    """Ids as text, so that ``7``, ``7.0`` and ``"7"`` are one id.

    Raises
    ------
    DataError
        If ids came as floating-point numbers too large to tell neighbours apart: rows would get labels of others.
    """
    values = flat(array)
    if pa.types.is_floating(values.type) and pc.any(_vague(values)).as_py():
        raise DataError(
            "ids are decimals or floating-point numbers of 2^53 and more",
            why="read as such, neighbouring ids are one, and rows would get the labels of others",
            fix="write or cast ids as whole numbers (BIGINT) or as text, in every feed that is joined by them",
        )
    if pa.types.is_binary(values.type) or pa.types.is_fixed_size_binary(values.type):
        values = pa.array([None if v is None else _spelled(v) for v in values.to_pylist()], pa.string())
    if pa.types.is_floating(values.type) and pc.all(pc.or_kleene(pc.is_null(values), _whole(values))).as_py():
        values = values.cast(pa.int64(), safe=False)
    return pc.utf8_trim_whitespace(values.cast(pa.string()) if pa.types.is_integer(values.type) else text(values))


def _vague(values: Any) -> Any:
    return pc.and_(pc.is_finite(values), pc.greater_equal(pc.abs(values), 2.0**53))


def _spelled(value: bytes) -> str:
    """Bytes that are text as text, others (a UUID) as hex digits: no two are alike."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.hex()


def _whole(values: Any) -> Any:
    return pc.and_(pc.equal(values, pc.floor(values)), pc.less(pc.abs(values), 2.0**53))


def usable(column: Any, task: str) -> np.ndarray:
    """Which values of a label column are labels; bool, shape ``(n,)``."""
    try:
        values = numbers(column)
    except ValueError:  # text among them: no value can be trusted to be a number
        return np.zeros(len(column), dtype=bool)
    return np.isin(values, (0.0, 1.0)) if task == "binary" else np.isfinite(values)


def newest(table: pa.Table, key: str, clock: str, valid: np.ndarray | None = None) -> pa.Table:
    """One row per id: the valid one with the latest clock, the later in file order among equals.

    Where an id has no valid row its newest invalid one stays, so that somebody is told. Rows without an id, a clock
    or any value to hold are left out.
    """
    times = micros_of(table.column(clock))
    good = np.ones(len(table), dtype=bool) if valid is None else valid
    order = np.lexsort((times, good))[::-1]
    order = order[times[order] != np.iinfo(np.int64).min]
    kept = table.take(pa.array(order))
    names = ids(kept.column(key))
    first = _first(names)
    return kept.set_column(kept.column_names.index(key), key, names).take(pa.array(first))


def _first(names: Any) -> np.ndarray:
    """Positions at which a name appears first; nulls are none."""
    encoded = names.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    found, where = np.unique(codes, return_index=True)
    return np.sort(where[found >= 0])


def lookup(rows: Any, table: pa.Table, key: str, columns: Sequence[str]) -> dict[str, Any]:
    """Columns of a table with one row per id, at the ids of ``rows``; null where an id has none."""
    at = pc.index_in(ids(rows), value_set=table.column(key).combine_chunks(), skip_nulls=True)
    return {name: table.column(name).combine_chunks().take(at) for name in columns}


def fit(table: pa.Table, key: str, label: str, clock: str, known: Any) -> Joined:
    """Counts over the labels of ``table``; ``known``: ids of the rows they may belong to."""
    names = ids(table.column(key))
    strays = pc.invert(pc.is_in(names, value_set=ids(known)))
    frame = pa.table({"id": names, "at": micros_of(table.column(clock)), "label": flat(table.column(label))})
    frame = frame.filter(pc.and_(pc.is_valid(frame["id"]), pc.is_valid(frame["label"])))
    return Joined(
        labels=len(table),
        strays=int(pc.sum(strays).as_py() or 0),
        revised=_several(frame, ["id"]),
        conflicts=_several(frame, ["id", "at"]),
    )


def _several(frame: pa.Table, keys: list[str]) -> int:
    """Groups with more than one label."""
    grouped = frame.group_by(keys, use_threads=False).aggregate([("label", "count_distinct")])
    return int(pc.sum(pc.greater(grouped.column("label_count_distinct"), 1)).as_py() or 0)
