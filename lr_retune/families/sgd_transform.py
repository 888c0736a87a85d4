"""Encoded rows to columns that one step size suits: clipped, filled, standardised, one-hot."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from lr_retune.records import FitData

TAILS = (0.001, 0.999)  # the same quantiles that a contract keeps as low and high
HUGE = 1e100  # squares of larger numbers are not finite


def transform(data: FitData) -> ColumnTransformer:
    """The transform of a fit, fitted on nothing yet but the walls of its clipping.

    Where most of the matrix is 0 (many levels), it comes out sparse, by ColumnTransformer's own rule; scikit-learn
    then moves the intercept at a hundredth of the rate.
    """
    numbers, levels = columns(data)
    parts: list[tuple[str, Any, list[int]]] = []
    if numbers:
        parts.append(("numbers", _numbers(data.train.x[:, numbers]), numbers))
    if levels:
        known = [np.arange(count, dtype=np.float64) for count in levels.values()]
        parts.append(("categories", OneHotEncoder(categories=known, handle_unknown="ignore"), list(levels)))
    return ColumnTransformer(parts)


def _numbers(x: np.ndarray) -> Pipeline:
    seen = np.where(np.isnan(x).all(axis=0), 0.0, x)
    low, high = np.clip(np.nanquantile(seen, TAILS, axis=0, method="closest_observation"), -HUGE, HUGE)
    return Pipeline(
        [
            # One reading of 1e308 would else be the whole scale of its column, and one such row any score at all.
            ("clip", FunctionTransformer(np.clip, kw_args={"a_min": low, "a_max": high})),
            ("fill", SimpleImputer(strategy="median", keep_empty_features=True)),
            ("scale", StandardScaler()),
        ]
    )


def columns(data: FitData) -> tuple[list[int], dict[int, int]]:
    """Positions of the numbers, and of the categories with the number of levels seen in train."""
    x = data.train.x
    levels = {i: int(np.nanmax(x[:, i], initial=0.0)) + 1 for i in data.categorical}
    return [i for i in range(x.shape[1]) if i not in levels], levels
