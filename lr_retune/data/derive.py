"""A team's own feature code, run on raw rows; the arithmetic around it is `encoding.derive`, which serving runs too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from lr_retune import encoding
from lr_retune.data import columns
from lr_retune.errors import DataError
from lr_retune.records import Transform

TYPES = {"number": "double", "category": "string"}


def derive(table: pa.Table, transform: Transform, name: str) -> pa.Table:
    """The rows with the transform's outputs added; one that stands in the rows is replaced.

    Raises
    ------
    DataError
        If an input is not of its kind, or the code fails or answers other columns than it promised.
    """
    try:
        made = encoding.derive(_given(table, transform), transform)
    except Exception as error:  # code that is not ours may raise anything
        raise DataError(
            f"the transform {name!r} failed on {len(table):,} rows",
            why=f"{type(error).__name__}: {error}".splitlines()[0][:300],
            fix="mend the feature code or the columns it reads, and run again",
        ) from error
    kept = table.drop_columns([n for n in made if n in table.column_names])
    for column, values in made.items():
        kept = kept.append_column(column, _array(values, transform.outputs[column]))
    return kept


def _given(table: pa.Table, transform: Transform) -> dict[str, np.ndarray]:
    return {name: _raw(table.column(name), kind) for name, kind in transform.inputs.items()}


def _raw(array: Any, kind: str) -> np.ndarray:
    if kind == "number":
        return encoding.numbers(columns.numbers(array))
    levels, where = columns.distinct(array)
    return np.array(levels, dtype=object)[where] if len(where) else np.empty(0, dtype=object)


def _array(values: np.ndarray, kind: str) -> Any:
    return pa.array(values, pa.float64(), from_pandas=True) if kind == "number" else pa.array(values, pa.string())
