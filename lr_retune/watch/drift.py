"""How far rows have moved away from the reference: the arithmetic of Evidently, and a robust twin.

Evidently's figure is what people know; it is shown. The robust figure decides, since a heavy tail, one outlier
or a small sample fool the other. Drift explains and raises suspicion; it never asks for training by itself.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lr_retune.encoding import numbers
from lr_retune.records import Column, ColumnDrift, Contract

if TYPE_CHECKING:
    import pyarrow as pa

MIN_ROWS = 200  # non-null rows on both sides before a column may count as drifted
STD_FLOOR = 0.001  # Evidently's, see its wasserstein_distance_norm.py
TAILS = (0.001, 0.999)  # reference quantiles that the robust figure winsorises at
IQR_OF_NORMAL = 1.349  # interquartile range of a standard normal
RELATIVE_FLOOR = 1e-9  # of the largest magnitude: below it differences are rounding
RARE = 5.0  # expected rows below which a level joins the bucket of rare ones, as in a chi-square table
HUGE = 1e100  # larger magnitudes are scaled down, so that squares and sums stay finite


def wasserstein(reference: Any, current: Any) -> float:
    """Evidently's normed W1: distance / max(std of the reference, .001); missing and infinite values dropped.

    0 when a side is empty: there is nothing to compare.

    >>> wasserstein([0.0, 1.0], [1.0, 2.0])
    2.0
    """
    a, b = _finite(reference), _finite(current)
    if not (a.size and b.size):
        return 0.0
    unit = _unit(a, b)
    return _bounded(_w1(*_steps(a / unit, b / unit)), max(float(np.std(a / unit)), STD_FLOOR / unit))


def jensenshannon(reference: Iterable[str | None], current: Iterable[str | None]) -> float:
    """Evidently's Jensen-Shannon distance of two category columns (root of the divergence in nats); nulls dropped.

    0 when a side is empty: there is nothing to compare.

    >>> round(jensenshannon(["a", "b"], ["a", "a"]), 4)
    0.4645
    """
    return _js(*_counts(reference, current))


def robust(reference: Any, current: Any) -> float:
    """The verdict's figure for numbers: how many typical spreads the rows moved, beyond sampling noise.

    W1 of both sides winsorised at the reference's 0.1 and 99.9 % quantiles, less the W1 that two samples of these
    sizes would show without any change, over max(IQR / 1.349, winsorised std) of the reference. The larger of the
    two scales keeps a Cauchy column quiet and a zero-inflated one measurable. A reference without any spread between
    the tails is compared by the share of rows below, at and above it.
    """
    a, b = _finite(reference), _finite(current)
    if not (a.size and b.size):
        return 0.0
    unit = _unit(a, b)
    a, b = a / unit, b / unit
    # The outermost row is always cut: interpolation would let one outlier through in fewer than 1,000 rows.
    low, high = np.quantile(a, TAILS[0], method="higher"), np.quantile(a, TAILS[1], method="lower")
    floor = RELATIVE_FLOOR * max(abs(low), abs(high))
    if high - low <= floor:
        return _share_moved(a, b, low - floor, high + floor)
    a, b = np.clip(a, low, high), np.clip(b, low, high)
    first, third = np.quantile(a, (0.25, 0.75))
    scale = max((third - first) / IQR_OF_NORMAL, float(np.std(a)), floor)
    steps = _steps(a, b)
    return _bounded(max(0.0, _w1(*steps) - _w1_by_chance(*steps, a.size, b.size)), scale)


def robust_categories(reference: Iterable[str | None], current: Iterable[str | None]) -> float:
    """The verdict's figure for categories: Jensen-Shannon distance less its expectation without any change.

    Levels that fewer than 5 rows are expected of form one bucket first, so an identifier shows nothing. The expected
    divergence is (levels - 1) / 8 x (1/n + 1/m), the second-order expansion of the divergence.
    """
    a, b = _counts(reference, current)
    n, m = a.sum(), b.sum()
    if not (n and m):
        return 0.0
    rare = (a + b) * min(n, m) / (n + m) < RARE
    a, b = (np.append(side[~rare], side[rare].sum()) for side in (a, b))
    levels = np.count_nonzero(a + b)
    return max(0.0, _js(a, b) - float(np.sqrt((levels - 1) / 8 * (1 / n + 1 / m))))


def column_drift(
    reference: pa.Table,
    current: pa.Table,
    contract: Contract,
    importance: Mapping[str, float],
    threshold: float,
) -> tuple[ColumnDrift, ...]:
    """Each contract column that both tables hold in its kind, in contract order; the contract check names the others.

    Parameters
    ----------
    reference, current
        Sampled rows with canonical types: numbers float64, categories string.
    contract
        Names and kinds of the columns.
    importance
        Column to its share of the champion's importance; absent means 0.
    threshold
        ``drifted`` asks for a robust figure above it and at least 200 non-null rows on both sides.
    """
    found = (
        _one(reference, current, column, importance.get(column.name, 0.0), threshold) for column in contract.columns
    )
    return tuple(drift for drift in found if drift is not None)


def score_drift(reference_score: np.ndarray, current_score: np.ndarray, threshold: float) -> ColumnDrift:
    """The champion's scores, shape ``(n,)``, as a column named ``score`` of importance 1."""
    return _numeric(_finite(reference_score), _finite(current_score), "score", 1.0, threshold)


def _one(
    reference: pa.Table, current: pa.Table, column: Column, importance: float, threshold: float
) -> ColumnDrift | None:
    judge: Callable[..., ColumnDrift] = _numeric if column.kind == "number" else _categorical
    read = _read_numbers if column.kind == "number" else _read_levels
    a, b = read(reference, column.name), read(current, column.name)
    if a is None or b is None:
        return None
    return judge(a, b, column.name, importance, threshold)


def _numeric(a: np.ndarray, b: np.ndarray, name: str, importance: float, threshold: float) -> ColumnDrift:
    figure = robust(a, b)
    drifted = figure > threshold and min(a.size, b.size) >= MIN_ROWS
    return ColumnDrift(name, "wasserstein", wasserstein(a, b), figure, threshold, importance, drifted)


def _categorical(a: list[str], b: list[str], name: str, importance: float, threshold: float) -> ColumnDrift:
    figure = robust_categories(a, b)
    drifted = figure > threshold and min(len(a), len(b)) >= MIN_ROWS
    return ColumnDrift(name, "jensenshannon", jensenshannon(a, b), figure, threshold, importance, drifted)


def _read_numbers(table: pa.Table, name: str) -> np.ndarray | None:
    """The finite values; None when the column is absent, doubled or no number: the contract check says so."""
    if table.column_names.count(name) != 1:
        return None
    try:
        return _finite(table[name].to_numpy())
    except (TypeError, ValueError):
        return None


def _read_levels(table: pa.Table, name: str) -> list[str] | None:
    if table.column_names.count(name) != 1 or str(table.schema.field(name).type) not in ("string", "large_string"):
        return None
    return [value for value in table[name].to_pylist() if value is not None]


def _finite(values: Any) -> np.ndarray:
    array: np.ndarray = numbers(values)
    finite: np.ndarray = array[~np.isnan(array)]
    return finite


def _unit(a: np.ndarray, b: np.ndarray) -> float:
    largest = max(np.abs(a).max(), np.abs(b).max())
    return float(largest) if largest > HUGE else 1.0


def _bounded(distance: float, scale: float) -> float:
    """A finite quotient, whatever a column without spread does to it."""
    with np.errstate(over="ignore", divide="ignore"):
        return float(min(np.float64(distance) / scale, sys.float_info.max)) if distance > 0 else 0.0


def _w1(width: np.ndarray, left: np.ndarray, right: np.ndarray) -> float:
    """Area between the two distribution functions (scipy.stats.wasserstein_distance computes the same)."""
    return float(np.sum(np.abs(left - right) * width))


def _w1_by_chance(width: np.ndarray, left: np.ndarray, right: np.ndarray, n: int, m: int) -> float:
    """Expected W1 of two samples of one distribution: mean |normal| of F(x) (1 - F(x)) (1/n + 1/m), integrated."""
    pooled = np.clip((left * n + right * m) / (n + m), 0.0, 1.0)
    return float(np.sum(np.sqrt(2 / np.pi * pooled * (1 - pooled) * (1 / n + 1 / m)) * width))


def _steps(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Between neighbouring values of both samples: the gap and the two distribution functions."""
    a, b = np.sort(a), np.sort(b)
    grid = np.sort(np.concatenate([a, b]), kind="stable")  # two sorted runs: one merge
    left = np.searchsorted(a, grid[:-1], side="right") / a.size
    right = np.searchsorted(b, grid[:-1], side="right") / b.size
    return np.diff(grid), left, right


def _share_moved(a: np.ndarray, b: np.ndarray, low: float, high: float) -> float:
    """Total variation between the shares of rows below, at and above the reference's one value."""
    below = abs(np.mean(a < low) - np.mean(b < low))
    above = abs(np.mean(a > high) - np.mean(b > high))
    inside = abs(np.mean((a >= low) & (a <= high)) - np.mean((b >= low) & (b <= high)))
    return float(below + above + inside) / 2


def _counts(reference: Iterable[str | None], current: Iterable[str | None]) -> tuple[np.ndarray, np.ndarray]:
    """Rows per level of the union of both sides, in order of first appearance."""
    a, b = (Counter(v for v in side if v is not None) for side in (reference, current))
    levels = list(dict.fromkeys([*a, *b]))
    return np.array([a[v] for v in levels], dtype=np.float64), np.array([b[v] for v in levels], dtype=np.float64)


def _js(a: np.ndarray, b: np.ndarray) -> float:
    """Root of the Jensen-Shannon divergence of two count vectors (scipy.spatial.distance.jensenshannon)."""
    if not (a.sum() and b.sum()):
        return 0.0
    p, q = a / a.sum(), b / b.sum()
    middle = (p + q) / 2
    halves = [float(np.sum(side[side > 0] * np.log(side[side > 0] / middle[side > 0]))) for side in (p, q)]
    return float(np.sqrt(max(0.0, sum(halves) / 2)))
