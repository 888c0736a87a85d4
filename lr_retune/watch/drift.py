"""How far rows have moved away from the reference: the arithmetic of Evidently, and a robust twin.

Evidently's figure is what people know; it is shown. The robust figure decides, since a heavy tail, one outlier
or a small sample fool the other. Drift explains and raises suspicion; it never asks for training by itself.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from lr_retune.encoding import numbers
from lr_retune.records import ColumnDrift, Contract

if TYPE_CHECKING:
    import pyarrow as pa

MIN_ROWS = 200  # non-null rows on both sides before a column may count as drifted
STD_FLOOR = 0.001  # Evidently's, see its wasserstein_distance_norm.py
TAILS = (0.001, 0.999)  # reference quantiles that the robust figure winsorises at
IQR_OF_NORMAL = 1.349  # interquartile range of a standard normal
RELATIVE_FLOOR = 1e-9  # of the largest magnitude: below it differences are rounding
RARE = 5.0  # expected rows below which a level joins the bucket of rare ones, as in a chi-square table
HUGE = 1e100  # larger magnitudes are scaled down, so that squares and sums stay finite

Side: TypeAlias = "np.ndarray | dict[str, int]"  # a column's finite numbers, ascending; or rows per level
Sketch: TypeAlias = Mapping[str, Side]  # all that drift asks of one side's rows, by column


def wasserstein(reference: Any, current: Any) -> float:
    """Evidently's normed W1: distance / max(std of the reference, .001); missing and infinite values dropped.

    0 when a side is empty: there is nothing to compare.

    >>> wasserstein([0.0, 1.0], [1.0, 2.0])
    2.0
    """
    return _figures(_ascending(reference), _ascending(current))[0]


def jensenshannon(reference: Iterable[str | None], current: Iterable[str | None]) -> float:
    """Evidently's Jensen-Shannon distance of two category columns (root of the divergence in nats); nulls dropped.

    0 when a side is empty: there is nothing to compare.

    >>> round(jensenshannon(["a", "b"], ["a", "a"]), 4)
    0.4645
    """
    return _level_figures(Counter(_known(reference)), Counter(_known(current)))[0]


def robust(reference: Any, current: Any) -> float:
    """The verdict's figure for numbers: how many typical spreads the rows moved, beyond sampling noise.

    W1 of both sides winsorised at the reference's 0.1 and 99.9 % quantiles, less the W1 that two samples of these
    sizes would show without any change, over max(IQR / 1.349, winsorised std) of the reference. The larger of the
    two scales keeps a Cauchy column quiet and a zero-inflated one measurable. A reference without any spread between
    the tails is compared by the share of rows below, at and above it.
    """
    return _figures(_ascending(reference), _ascending(current))[1]


def robust_categories(reference: Iterable[str | None], current: Iterable[str | None]) -> float:
    """The verdict's figure for categories: Jensen-Shannon distance less its expectation without any change.

    Levels that fewer than 5 rows are expected of form one bucket first, so an identifier shows nothing. The expected
    divergence is (levels - 1) / 8 x (1/n + 1/m), the second-order expansion of the divergence.
    """
    return _level_figures(Counter(_known(reference)), Counter(_known(current)))[1]


def sketch(table: pa.Table, contract: Contract) -> Sketch:
    """One side of `column_drift`, to be kept: a reference is met again at every tick."""
    found = {
        c.name: _read_numbers(table, c.name) if c.kind == "number" else _read_levels(table, c.name)
        for c in contract.columns
    }
    return {name: side for name, side in found.items() if side is not None}


def column_drift(
    reference: pa.Table | Sketch,
    current: pa.Table | Sketch,
    contract: Contract,
    importance: Mapping[str, float],
    threshold: float,
) -> tuple[ColumnDrift, ...]:
    """Each contract column that both tables hold in its kind, in contract order; the contract check names the others.

    Parameters
    ----------
    reference, current
        Sampled rows with canonical types (numbers float64, categories string), or their `sketch`.
    contract
        Names and kinds of the columns.
    importance
        Column to its share of the champion's importance; absent means 0.
    threshold
        ``drifted`` asks for a robust figure above it and at least 200 non-null rows on both sides.
    """
    a, b = (side if isinstance(side, Mapping) else sketch(side, contract) for side in (reference, current))
    names = [name for name in contract.names if name in a and name in b]
    return tuple(_drift(a[name], b[name], name, importance.get(name, 0.0), threshold) for name in names)


def score_drift(reference_score: np.ndarray, current_score: np.ndarray, threshold: float) -> ColumnDrift:
    """The champion's scores, shape ``(n,)``, as a column named ``score`` of importance 1."""
    return _drift(_ascending(reference_score), _ascending(current_score), "score", 1.0, threshold)


def _drift(a: Side, b: Side, name: str, importance: float, threshold: float) -> ColumnDrift:
    if isinstance(a, dict) or isinstance(b, dict):
        one, two = dict(a), dict(b)
        rows, figures = min(sum(one.values()), sum(two.values())), _level_figures(one, two)
    else:
        rows, figures = min(a.size, b.size), _figures(a, b)
    drifted = figures[1] > threshold and rows >= MIN_ROWS
    method: Literal["wasserstein", "jensenshannon"] = "jensenshannon" if isinstance(a, dict) else "wasserstein"
    return ColumnDrift(name, method, *figures, threshold, importance, drifted)


# ── reading ───────────────────────────────────────────────────────────────────────────────────────
def _read_numbers(table: pa.Table, name: str) -> np.ndarray | None:
    """The finite values; None when the column is absent, doubled or no number: the contract check says so."""
    if table.column_names.count(name) != 1:
        return None
    try:
        return _ascending(table[name].to_numpy())
    except (TypeError, ValueError):
        return None


def _read_levels(table: pa.Table, name: str) -> dict[str, int] | None:
    """Rows per level, in order of first appearance."""
    if table.column_names.count(name) != 1 or str(table.schema.field(name).type) not in ("string", "large_string"):
        return None
    counts = table[name].value_counts()
    pairs = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    return {level: rows for level, rows in pairs if level is not None}


def _known(levels: Iterable[str | None]) -> Iterable[str]:
    return (level for level in levels if level is not None)


def _ascending(values: Any) -> np.ndarray:
    array: np.ndarray = numbers(values)
    finite: np.ndarray = np.sort(array[~np.isnan(array)])
    return finite


# ── numbers ───────────────────────────────────────────────────────────────────────────────────────
def _figures(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """`wasserstein` and `robust` of ascending values."""
    if not (a.size and b.size):
        return 0.0, 0.0
    unit = _unit(a, b)
    if unit != 1:
        a, b = a / unit, b / unit
    steps = _steps(a, b)
    return _bounded(_w1(*steps), max(float(np.std(a)), STD_FLOOR / unit)), _robust(a, b, *steps)


def _robust(a: np.ndarray, b: np.ndarray, grid: np.ndarray, left: np.ndarray, right: np.ndarray) -> float:
    # The outermost row is always cut: interpolation would let one outlier through in fewer than 1,000 rows.
    low, high = np.quantile(a, TAILS[0], method="higher"), np.quantile(a, TAILS[1], method="lower")
    floor = RELATIVE_FLOOR * max(abs(low), abs(high))
    if high - low <= floor:
        return _share_moved(a, b, low - floor, high + floor)
    inside = np.clip(a, low, high)
    first, third = np.quantile(inside, (0.25, 0.75))
    scale = max((third - first) / IQR_OF_NORMAL, float(np.std(inside)), floor)
    cut = np.clip(grid, low, high), left, right  # between two cut values the distribution functions are the same
    return _bounded(max(0.0, _w1(*cut) - _w1_by_chance(*cut, a.size, b.size)), scale)


def _unit(a: np.ndarray, b: np.ndarray) -> float:
    largest = max(abs(value) for side in (a, b) for value in (side[0], side[-1]))
    return float(largest) if largest > HUGE else 1.0


def _bounded(distance: float, scale: float) -> float:
    """A finite quotient, whatever a column without spread does to it."""
    with np.errstate(over="ignore", divide="ignore"):
        return float(min(np.float64(distance) / scale, sys.float_info.max)) if distance > 0 else 0.0


def _w1(grid: np.ndarray, left: np.ndarray, right: np.ndarray) -> float:
    """Area between the two distribution functions (scipy.stats.wasserstein_distance computes the same)."""
    return float(np.sum(np.abs(left - right) * np.diff(grid)))


def _w1_by_chance(grid: np.ndarray, left: np.ndarray, right: np.ndarray, n: int, m: int) -> float:
    """Expected W1 of two samples of one distribution: mean |normal| of F(x) (1 - F(x)) (1/n + 1/m), integrated."""
    pooled = np.clip((left * n + right * m) / (n + m), 0.0, 1.0)
    return float(np.sum(np.sqrt(2 / np.pi * pooled * (1 - pooled) * (1 / n + 1 / m)) * np.diff(grid)))


def _steps(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All values, ascending, and both distribution functions right of each but the last; among equals, of the last."""
    both = np.concatenate([a, b])
    order = np.argsort(both, kind="stable")  # two ascending runs: one merge
    of_a = np.cumsum(order < a.size)[:-1]
    return both[order], of_a / a.size, (np.arange(1, both.size) - of_a) / b.size


def _share_moved(a: np.ndarray, b: np.ndarray, low: float, high: float) -> float:
    """Total variation between the shares of rows below, at and above the reference's one value."""
    below = abs(np.mean(a < low) - np.mean(b < low))
    above = abs(np.mean(a > high) - np.mean(b > high))
    inside = abs(np.mean((a >= low) & (a <= high)) - np.mean((b >= low) & (b <= high)))
    return float(below + above + inside) / 2


# ── categories ────────────────────────────────────────────────────────────────────────────────────
def _level_figures(reference: Mapping[str, int], current: Mapping[str, int]) -> tuple[float, float]:
    """`jensenshannon` and `robust_categories` of rows per level."""
    levels = list(dict.fromkeys([*reference, *current]))
    a, b = (np.array([side.get(v, 0) for v in levels], dtype=np.float64) for side in (reference, current))
    n, m = a.sum(), b.sum()
    if not (n and m):
        return 0.0, 0.0
    rare = (a + b) * min(n, m) / (n + m) < RARE
    few = [np.append(side[~rare], side[rare].sum()) for side in (a, b)]
    spread = (np.count_nonzero(few[0] + few[1]) - 1) / 8 * (1 / n + 1 / m)
    return _js(a, b), max(0.0, _js(few[0], few[1]) - float(np.sqrt(spread)))


def _js(a: np.ndarray, b: np.ndarray) -> float:
    """Root of the Jensen-Shannon divergence of two count vectors (scipy.spatial.distance.jensenshannon)."""
    p, q = a / a.sum(), b / b.sum()
    middle = (p + q) / 2
    halves = [float(np.sum(side[side > 0] * np.log(side[side > 0] / middle[side > 0]))) for side in (p, q)]
    return float(np.sqrt(max(0.0, sum(halves) / 2)))
