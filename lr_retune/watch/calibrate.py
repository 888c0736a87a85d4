"""What is usual from tick to tick: blocks of ticks, distances between them, limits, and calibrated scores. Pure.

A row-level null calls every real tick a change, since days differ though nothing changed. So each reference tick is
held against the others, and what that gives is what a tick does by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

IQR_OF_NORMAL = 1.349  # interquartile range of a standard normal
_TAILS = (0.001, 0.999)  # reference quantiles that numbers are winsorised at
_BINS = 256  # quantiles of the reference that a distribution is read at
_RARE = 5.0  # expected rows of a level below which it joins the bucket of rare ones
_PARTS = 4  # of the reference's blocks: each is scored with a calibration learned on the others


# ── blocks of ticks ───────────────────────────────────────────────────────────────────────────────
def blocks(tick: np.ndarray, least: int) -> np.ndarray:
    """Number of each row's block, oldest 0, shape ``(n,)``: whole ticks, the newest first joined to ``least`` rows.

    The oldest block takes what is left over.

    >>> blocks(np.array([1, 2, 2, 3, 3]), 2).tolist()
    [0, 0, 0, 1, 1]
    """
    _, where, rows = np.unique(tick, return_inverse=True, return_counts=True)
    block, number, held = np.empty(len(rows), dtype=np.int64), 0, 0
    for place in range(len(rows) - 1, -1, -1):
        block[place], held = number, held + rows[place]
        if held >= least:
            number, held = number + 1, 0
    block = np.minimum(block, max(0, number - 1))
    newest_last: np.ndarray = block.max(initial=0) - block
    return newest_last[where]


# ── distances ─────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Ruler:
    """How far rows of one block lie from others in one column, from counts in bins of the reference."""

    edges: np.ndarray  # (bins,) numbers: largest value of each bin; categories: bin of each code, the last of missing
    scale: float  # numbers: spread of the reference; 0: categories
    bins: int

    def counts(self, values: np.ndarray, block: np.ndarray, blocks: int) -> np.ndarray:
        """Rows per block and bin, shape ``(blocks, bins)``; missing numbers are left out, missing levels are a bin."""
        if self.scale:
            known = ~np.isnan(values)
            place = np.minimum(np.searchsorted(self.edges, values[known]), self.bins - 1)
        else:
            known = np.ones(len(values), dtype=bool)
            code = np.where(np.isnan(values), len(self.edges) - 1, values)
            place = self.edges[np.clip(code, 0, len(self.edges) - 1).astype(np.int64)].astype(np.int64)
        flat = np.bincount(block[known] * self.bins + place, minlength=blocks * self.bins)
        return flat.reshape(blocks, self.bins).astype(np.float64)

    def apart(self, counts: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distance of each block from the others, and what chance alone gives; shape ``(blocks,)``, 0 without rows.

        Numbers: W1 over the spread, less nothing; chance is the mean of |normal| of F (1 - F) (1/n + 1/m), integrated.
        Categories: Jensen-Shannon distance; chance is the second-order expansion of the divergence.
        """
        n, m = counts.sum(axis=1), others.sum(axis=1)
        a, b = counts / np.maximum(n, 1)[:, None], others / np.maximum(m, 1)[:, None]
        fewer = (1 / np.maximum(n, 1) + 1 / np.maximum(m, 1))[:, None]
        there = (n > 0) & (m > 0)
        found, chance = (self._numbers if self.scale else self._levels)(a, b, fewer)
        return np.where(there, found, 0.0), np.where(there, chance, 0.0)

    def _numbers(self, a: np.ndarray, b: np.ndarray, fewer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        left, right = np.cumsum(a, axis=1)[:, :-1], np.cumsum(b, axis=1)[:, :-1]
        width = np.diff(self.edges) / self.scale
        pooled = np.clip((left + right) / 2, 0.0, 1.0)
        return np.abs(left - right) @ width, np.sqrt(2 / np.pi * pooled * (1 - pooled) * fewer) @ width

    def _levels(self, a: np.ndarray, b: np.ndarray, fewer: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        middle = (a + b) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.nan_to_num(a * np.log(a / middle)) + np.nan_to_num(b * np.log(b / middle))
        levels = np.count_nonzero(middle, axis=1)
        return np.sqrt(np.maximum(terms.sum(axis=1), 0) / 2), np.sqrt(np.maximum(levels - 1, 0) / 8 * fewer[:, 0])


def number_ruler(values: np.ndarray) -> Ruler | None:
    """The ruler of a column of numbers; None where its values do not differ."""
    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return None
    low, high = np.quantile(known, _TAILS[0], method="higher"), np.quantile(known, _TAILS[1], method="lower")
    cut = np.clip(known, low, max(low, high))
    edges = np.unique(np.quantile(cut, np.linspace(0, 1, _BINS + 1), method="higher"))
    unit = max(abs(float(edges[0])), abs(float(edges[-1])))
    if len(edges) < 2 or edges[-1] - edges[0] <= 1e-9 * unit:
        return None
    first, third = np.quantile(cut, (0.25, 0.75))
    spread = float(np.std(cut / unit)) * unit  # squares of huge values overflow
    return Ruler(edges, max((third - first) / IQR_OF_NORMAL, spread), len(edges))


def level_ruler(values: np.ndarray, levels: int, rows: float) -> Ruler | None:
    """The ruler of category codes; levels that ``rows`` rows hold fewer than 5 times share a bin."""
    code = np.where(np.isnan(values), levels, np.clip(values, 0, levels)).astype(np.int64)
    if not len(code):
        return None
    often = np.bincount(code, minlength=levels + 1) / len(code) * rows >= _RARE
    bin_of = np.where(often, np.cumsum(often), 0)
    return Ruler(bin_of.astype(np.float64), 0.0, int(often.sum()) + 1)


# ── limits ────────────────────────────────────────────────────────────────────────────────────────
def limits(usual: np.ndarray, signals: int, budget: float) -> tuple[float, float]:
    """What two ticks of three must exceed, and what one alone must, in the units of ``usual``, shape ``(blocks,)``.

    Together all signals raise once in 1 / ``budget`` ticks, half of it by each rule: Student's t of one more tick,
    given so few. Three ticks share the error of their limit: the fewer the blocks, the further out the first limit.
    """
    from scipy.special import stdtrit

    count = len(usual)
    middle, spread = float(np.mean(usual)), float(np.std(usual, ddof=1)) * float(np.sqrt(1 + 1 / count))
    two = np.sqrt(budget / (6 * signals)) * min(0.5, count / 56)
    alone = budget / (2 * signals)
    low, high = (middle + spread * float(stdtrit(count - 1, 1 - p)) for p in (two, alone))
    return low, max(low, high)


# ── calibrated scores ─────────────────────────────────────────────────────────────────────────────
def isotonic(score: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots of the rising line from score to share of positives, shape ``(knots,)`` each: max-min formula, Barlow 1972.

    Scores are binned by quantiles first, which leaves few enough points for the formula and costs a rounding.
    """
    edges = np.unique(np.quantile(score, np.linspace(0, 1, _BINS + 1), method="higher"))
    place = np.searchsorted(edges, score)
    weight = np.bincount(place, minlength=len(edges)).astype(np.float64)
    held = weight > 0
    middle = np.bincount(place, score, len(edges))[held] / weight[held]
    rows = np.concatenate(([0.0], np.cumsum(weight[held])))
    hits = np.concatenate(([0.0], np.cumsum(np.bincount(place, y, len(edges))[held])))
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (hits[None, 1:] - hits[:-1, None]) / (rows[None, 1:] - rows[:-1, None])
    share = np.where(np.tri(len(middle), dtype=bool).T, share, np.inf)  # from knot i to knot j >= i
    lowest = np.minimum.accumulate(share[:, ::-1], axis=1)[:, ::-1]
    lowest = np.where(np.tri(len(middle), dtype=bool).T, lowest, -np.inf)
    return middle, np.diagonal(np.maximum.accumulate(lowest, axis=0)).copy()


def expected(knots: tuple[np.ndarray, np.ndarray], score: np.ndarray, rows: Callable[..., np.ndarray]) -> np.ndarray:
    """Expected loss of each row, if scores mean what they meant where the knots were learned; shape ``(n,)``."""
    chance = np.interp(score, *knots)
    one, zero = rows(np.ones(len(score)), score), rows(np.zeros(len(score)), score)
    found: np.ndarray = chance * one + (1 - chance) * zero
    return found


def expected_across(score: np.ndarray, y: np.ndarray, block: np.ndarray, rows: Callable[..., np.ndarray]) -> np.ndarray:
    """`expected` of the reference's own rows, each part of the blocks with the knots of the other parts."""
    found = np.full(len(score), np.nan)
    for part in range(_PARTS):
        mine = block % _PARTS == part
        others = ~mine & ~np.isnan(y)
        if mine.any() and others.any():
            found[mine] = expected(isotonic(score[others], y[others]), score[mine], rows)
    return found


def means(values: np.ndarray, block: np.ndarray, blocks: int) -> np.ndarray:
    """Mean of each block, shape ``(blocks,)``; NaN for one without rows."""
    with np.errstate(invalid="ignore"):
        found: np.ndarray = np.bincount(block, values, blocks) / np.bincount(block, minlength=blocks)
    return found
