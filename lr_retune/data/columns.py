"""Raw columns: how one becomes model input, and what the first training learns about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lr_retune import encoding
from lr_retune.data.kinds import canonical, flat, kind_of
from lr_retune.errors import DataError
from lr_retune.records import Column

_QUANTILES = (0.001, 0.5, 0.999)
_MAX_IDS = 0.5  # more distinct values than this share of the rows: an identifier
_ID_ROWS = 200  # judged on no fewer rows


def numbers(array: Any) -> np.ndarray:
    """A raw column as float64, shape ``(n,)``; null is NaN, infinite stays infinite; text only if all of it is numbers.

    Raises
    ------
    ValueError
        If a value is not a number.
    """
    values = flat(array)
    kind = canonical(values.type)
    if kind == "string":
        trimmed = pc.utf8_trim_whitespace(values.cast(pa.string()))
        values = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
    elif kind == "bool":
        values = values.cast(pa.int8())
    elif kind != "null" and kind_of(kind) != "number":
        raise ValueError(f"{values.type} is no number")
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)


def legible(array: Any) -> np.ndarray:
    """`numbers` where a value that is none is infinite, so that one bad file spoils its own rows only."""
    try:
        return numbers(array)
    except ValueError:
        if canonical(flat(array).type) != "string":
            missing = np.asarray(array.is_null().to_numpy(zero_copy_only=False), dtype=bool)
            found: np.ndarray = np.where(missing, np.nan, np.inf)
            return found
    levels, where = distinct(array)
    read: np.ndarray = np.array([math.nan if level is None else _read(level) for level in levels], dtype=np.float64)
    spread: np.ndarray = read[where]
    return spread


def _read(level: str) -> float:
    try:
        return float(level)
    except ValueError:
        return math.inf


def distinct(array: Any) -> tuple[list[str | None], np.ndarray]:
    """Canonical levels in order of first appearance, and each row's position among them, shape ``(n,)``.

    Raises
    ------
    ValueError
        If the values are no category.
    """
    values = flat(array)
    if canonical(values.type) != "null" and kind_of(canonical(values.type)) is None:
        raise ValueError(f"{values.type} is no category")
    encoded = values.dictionary_encode(null_encoding="encode")
    raw = [encoding.level(v) for v in encoded.dictionary.to_pylist()]
    levels = list(dict.fromkeys(raw))
    place = {level: i for i, level in enumerate(levels)}
    where = np.array([place[level] for level in raw], dtype=np.int64)
    return levels, where[np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)]


def encoded(array: Any, column: Column) -> np.ndarray:
    """Model input of one column, shape ``(n,)`` float64; only distinct values of a category are looked up.

    Raises
    ------
    ValueError
        If the values cannot be what the contract says.
    """
    if column.kind == "number":
        return encoding.numbers(numbers(array))
    levels, where = distinct(array)
    return encoding.codes(levels, column.levels)[where] if len(where) else np.empty(0)


def readable(array: Any, column: Column) -> Any:
    """One column for reports: float64 or text, null where the model sees nothing."""
    if column.kind == "number":
        return pa.array(encoding.numbers(numbers(array)), from_pandas=True)
    levels, where = distinct(array)
    return pa.array(levels, pa.string()).take(pa.array(where))


def absent(n: int, column: Column) -> Any:
    """A raw column of ``n`` missing values."""
    return pa.nulls(n, pa.float64() if column.kind == "number" else pa.string())


def quantiles(known: np.ndarray) -> tuple[float, float, float]:
    """0.1 % quantile, median and 99.9 % quantile: values that occur, so that none overflows."""
    low, median, high = np.quantile(known, _QUANTILES, method="nearest").tolist()
    return low, median, high


def learn(array: Any, name: str, kind: str, levels: Sequence[str] = ()) -> Column:
    """What a column is on these rows; ``levels`` known before keep their codes.

    Raises
    ------
    DataError
        If the values are not of the kind.
    """
    try:
        return _learn_number(array, name) if kind == "number" else _learn_category(array, name, levels)
    except ValueError as error:
        raise not_of_kind(name, kind, error) from None


def is_identifier(column: Column, rows: int) -> bool:
    """Nearly every row has a level of its own: nothing a model could learn from."""
    return column.kind == "category" and rows >= _ID_ROWS and len(column.levels) > _MAX_IDS * rows


def not_of_kind(name: str, kind: str, error: BaseException) -> DataError:
    """The error for a column whose values are not what they have to be."""
    wanted = "numbers" if kind == "number" else "categories"
    return DataError(
        f"column {name!r} holds no {wanted}",
        why=str(error).splitlines()[0][:200],
        fix="mend the feed, or leave the column out with [data] exclude and bootstrap anew",
    )


def _learn_number(array: Any, name: str) -> Column:
    values = encoding.numbers(numbers(array))
    known = values[~np.isnan(values)]
    missing = 1.0 - len(known) / len(values) if len(values) else 0.0
    if not len(known):
        return Column(name, "number", null_share=missing)
    low, median, high = quantiles(known)
    return Column(name, "number", low=low, high=high, median=median, null_share=missing)


def _learn_category(array: Any, name: str, levels: Sequence[str]) -> Column:
    found, where = distinct(array)
    missing = math.fsum(where == found.index(None)) / len(where) if None in found else 0.0
    new = [level for level in found if level is not None and level not in set(levels)]
    return Column(name, "category", levels=(*levels, *new), null_share=missing)
