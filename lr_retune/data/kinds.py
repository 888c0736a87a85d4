"""Types: one canonical name per family of Arrow types, how files that differ are brought together, time zones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lr_retune import encoding
from lr_retune.config import Config
from lr_retune.errors import DataError

UTC_TIME = "timestamp[us, tz=UTC]"
DUPLICATE = "duplicate"  # a name that one file holds twice: no column can be meant
ARROW = {
    "bool": pa.bool_(),
    "int64": pa.int64(),
    "uint64": pa.uint64(),
    "double": pa.float64(),
    "string": pa.string(),
    "timestamp[us]": pa.timestamp("us"),
    UTC_TIME: pa.timestamp("us", "UTC"),
    "date32[day]": pa.date32(),
}
_NUMERIC = ("bool", "int64", "uint64", "double")


def clocks(config: Config) -> tuple[str, ...]:
    """Columns that hold times: the time of the row first, then when its label and the row itself became known."""
    named = (config.data.time, config.label_time, config.data.available_time)
    return tuple(dict.fromkeys(name for name in named if name is not None))


def canonical(kind: pa.DataType) -> str:
    """One name for a family of Arrow types: widths, decimals and dictionaries do not matter.

    >>> canonical(pa.float32()), canonical(pa.dictionary(pa.int8(), pa.string()))
    ('double', 'string')
    """
    types = pa.types
    if types.is_dictionary(kind):
        return canonical(kind.value_type)
    if types.is_integer(kind):
        return "uint64" if types.is_uint64(kind) else "int64"
    if types.is_floating(kind) or types.is_decimal(kind):
        return "double"
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        return "string"
    if types.is_timestamp(kind):
        return "timestamp[us]" if kind.tz is None else UTC_TIME
    if types.is_date(kind):
        return "date32[day]"
    return str(kind)


def unify(names: Iterable[str]) -> str:
    """The canonical type that holds what several files hold; ``mixed<…>`` where none does.

    >>> unify(["int64", "null", "double"]), unify(["double", "string"])
    ('double', 'mixed<double, string>')
    """
    seen = [name for name in dict.fromkeys(names) if name != "null"]
    if len(seen) <= 1:
        return seen[0] if seen else "null"
    if DUPLICATE in seen:
        return DUPLICATE
    if set(seen) <= set(_NUMERIC):
        return "int64" if set(seen) == {"bool", "int64"} else "double"
    return f"mixed<{', '.join(seen)}>"


def cast(array: Any, name: str) -> Any:
    """A column as the canonical type ``name``; ``mixed<…>`` becomes text, unknown types stay as they are."""
    if name == "null":
        return pa.nulls(len(array))
    if name.startswith("mixed<"):
        return array.cast(pa.string()) if pa.types.is_null(array.type) else text(array)
    if name not in ARROW:
        return array
    return array.cast(ARROW[name], safe=False)


def text(array: Any) -> Any:
    """A column as the text of its category levels."""
    values = flat(array)
    if kind_of(canonical(values.type)) is None:  # lists, structs, times: no dictionary of them, and none is worth it
        return pa.array([encoding.level(v) for v in values.to_pylist()], pa.string())
    encoded = values.dictionary_encode()
    levels = pa.array([encoding.level(v) for v in encoded.dictionary.to_pylist()], pa.string())
    return levels.take(encoded.indices)


def castable(name: str) -> bool:
    """Whether `cast` makes this canonical type of any other."""
    return name in ARROW or name == "null" or name.startswith("mixed<")


def flat(array: Any) -> Any:
    """One chunk of plain values: dictionaries decoded, decimals as floats."""
    flat = in_one(array)
    if pa.types.is_dictionary(flat.type):
        flat = flat.dictionary_decode()
    return flat.cast(pa.float64()) if pa.types.is_decimal(flat.type) else flat


def to_utc(array: Any, timezone: str) -> Any:
    """Timestamps or dates to timestamp[us, UTC]; naive ones are local, dates are local midnights.

    The local hour that occurs twice is taken as the first, the one that is skipped as the instant of
    the change: the order of rows stays as it is.

    Raises
    ------
    TypeError
        If the values are no timestamps.
    """
    kind = array.type
    if pa.types.is_null(kind):
        return pa.nulls(len(array), pa.timestamp("us", "UTC"))
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise TypeError(str(kind))
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return array.cast(pa.timestamp("us", "UTC"), safe=False)
    local = array.cast(pa.timestamp("us"), safe=False)
    if timezone == "UTC":
        return local.cast(pa.timestamp("us", "UTC"))
    known = pc.assume_timezone(local, timezone, ambiguous="earliest", nonexistent="latest")
    return known.cast(pa.timestamp("us", "UTC"))


def micros_of(array: Any) -> np.ndarray:
    """Timestamps [us, UTC] to int64 microseconds, shape ``(n,)``; nulls become the smallest integer."""
    whole = in_one(array).cast(pa.int64())  # a view: copies of millions of times cost more than what is done with them
    filled = whole.fill_null(np.iinfo(np.int64).min) if whole.null_count else whole
    return np.asarray(filled.to_numpy(zero_copy_only=False), dtype=np.int64)


def in_one(array: Any) -> Any:
    """A column as one array; one that is a single chunk is not copied."""
    if not isinstance(array, pa.ChunkedArray):
        return array
    return array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()


def ascending(times: Any) -> bool:
    """Whether timestamps [us, UTC] never go back; looks at one chunk at a time."""
    last = np.iinfo(np.int64).min
    for chunk in times.chunks if isinstance(times, pa.ChunkedArray) else [times]:
        found = micros_of(chunk)
        if len(found) and (found[0] < last or (found[1:] < found[:-1]).any()):
            return False
        last = found[-1] if len(found) else last
    return True


def kind_of(name: str) -> Literal["number", "category"] | None:
    """What a column of an Arrow type (or canonical) name is to a model; None: nothing it could use.

    >>> kind_of("int8"), kind_of("dictionary<values=string, indices=int8, ordered=0>"), kind_of("date32[day]")
    ('number', 'category', None)
    """
    inner = name.removeprefix("dictionary<values=")
    if inner.startswith(("int", "uint", "float", "double", "halffloat", "decimal", "bool")):
        return "number"
    return "category" if inner.startswith(("string", "large_string", "utf8")) else None


def no_time(column: str, where: str, kind: str) -> DataError:
    """The error for a time column that holds no times."""
    return DataError(
        f"{column!r} in {where} holds no timestamps but {kind}",
        why="a time column must be a timestamp or date type, or ISO 8601 text in CSV and SQLite",
        fix="convert it where it is written (or in [data] query), or name another column in [data]",
    )
