"""Levels of a column that rows are sliced by: its own, or fifths where it holds too many numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

MOST = 50  # distinct numbers that are levels of their own


def level_names(column: Any) -> np.ndarray:
    """One level name per row of an Arrow column, ``(n,)`` text; a missing value is a level.

    >>> import pyarrow as pa
    >>> level_names(pa.chunked_array([["FR", None, "DE"]])).tolist()
    ['FR', 'missing', 'DE']
    """
    import pyarrow as pa

    values = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    known = ~values.is_null().to_numpy(zero_copy_only=False) if len(values) else np.zeros(0, dtype=bool)
    held = values.to_numpy(zero_copy_only=False) if len(values) else np.zeros(0)
    if pa.types.is_floating(values.type):
        known &= ~np.isnan(held.astype(float))
    names = np.full(len(values), "missing", dtype=object)
    names[known] = [str(value) for value in held[known]]
    number = pa.types.is_floating(values.type) or pa.types.is_integer(values.type)
    if number and len(np.unique(held[known])) > MOST:
        edges = np.unique(np.quantile(held[known].astype(float), (0.2, 0.4, 0.6, 0.8)))
        fifth = np.searchsorted(edges, held[known].astype(float), side="right")
        names[known] = [f"fifth {i + 1}" for i in fifth]
    return names.astype(str)
