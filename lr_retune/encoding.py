"""Raw values to model inputs: the one rule that training, judging and serving share.

A copy of this file travels inside every model folder, and the served model loads that copy, so a
served answer is computed by the very code that the judge used. Hence: numpy and the standard
library only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

_WHOLE = re.compile(r"-?[0-9]+\.0+")


def level(value: Any) -> str | None:
    """Canonical text of one category value; None when it is missing.

    ``3``, ``3.0``, ``"3"`` and ``"3.0"`` are the same level: a column of integers with one null
    arrives as floats from pandas, and as text with ".0" from files that went through it.

    >>> level(3.0), level("3"), level("3.0"), level(None), level(""), level(True)
    ('3', '3', '3', None, None, 'True')
    """
    if value is None or value == "":
        return None
    if isinstance(value, (bool, np.bool_)):
        return str(bool(value))
    if isinstance(value, (float, np.floating)):
        if math.isnan(value):
            return None
        return str(int(value)) if float(value).is_integer() else repr(float(value))
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    text = str(value)
    return text.partition(".")[0] if _WHOLE.fullmatch(text) else text


def codes(values: Iterable[Any], levels: Sequence[str]) -> np.ndarray:
    """Category values to float codes, shape ``(n,)``; missing and unseen levels are NaN.

    >>> codes(["b", None, "new", "a"], ["a", "b"]).tolist()
    [1.0, nan, nan, 0.0]
    """
    table = {name: float(code) for code, name in enumerate(levels)}
    return np.array(
        [math.nan if (key := level(v)) is None else table.get(key, math.nan) for v in values],
        dtype=np.float64,
    )


def numbers(values: Any) -> np.ndarray:
    """Numeric values to float64, shape ``(n,)``; null and infinite values are NaN.

    Raises
    ------
    ValueError
        If a value is not a number.
    """
    array = np.asarray(values)
    if array.dtype == object:
        array = np.array([math.nan if v is None else float(v) for v in array], dtype=np.float64)
    array = array.astype(np.float64)
    return np.where(np.isfinite(array), array, np.nan)


def matrix(columns: Mapping[str, Any], features: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Model input, shape ``(n_rows, n_features)``, in the order of ``features``.

    Parameters
    ----------
    columns
        Column name to values.
    features
        ``{"name": …, "kind": "number" | "category", "levels": [...]}`` per feature.
    """
    parts = [
        codes(columns[f["name"]], f["levels"]) if f["kind"] == "category" else numbers(columns[f["name"]])
        for f in features
    ]
    return np.column_stack(parts) if parts else np.empty((0, 0))


def texts(values: Iterable[Any]) -> np.ndarray:
    """Category values to their canonical text or None, shape ``(n,)``."""
    found = [level(value) for value in values]
    array = np.empty(len(found), dtype=object)
    array[:] = found
    return array


def raw(columns: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, np.ndarray]:
    """What feature code reads: numbers as float64, categories as text or None."""
    return {n: numbers(columns[n]) if kind == "number" else texts(columns[n]) for n, kind in kinds.items()}


def derive(given: Mapping[str, np.ndarray], transform: Any) -> dict[str, np.ndarray]:
    """The columns that feature code adds to normalised ones (see `raw`), checked against its promise.

    Raises
    ------
    ValueError
        If a column is missing, of another length or not of its kind.
    """
    made = transform(given)
    rows = len(next(iter(given.values()))) if given else 0
    found = {}
    for name, kind in transform.outputs.items():
        if name not in made:
            raise ValueError(f"no column {name!r}: the outputs are {sorted(transform.outputs)}")
        found[name] = numbers(made[name]) if kind == "number" else texts(made[name])
        if found[name].shape != (rows,):
            raise ValueError(f"{name!r} has the shape {found[name].shape} on {rows} rows")
    return found
