"""The paired comparison: two models on the same rows, judged by the spread between natural ticks.

Rows of one tick share their luck (weather, a campaign), so a tick is one observation, however many rows it
holds. A procedure is a list of `LEGS`; the largest p and the widest interval of all of them count.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lr_retune.metrics import Loss


@dataclass(frozen=True, slots=True)
class Contrast:
    """Loss of A minus loss of B, tick by tick: positive where B is better."""

    estimate: float
    values: np.ndarray  # (ticks,) mean differences, or jackknife pseudo-values of a pooled metric
    weights: np.ndarray  # (ticks,) shares of the estimate, summing to 1


@dataclass(frozen=True, slots=True)
class StudentT:
    """One leg's answer: the estimate's error follows a t distribution."""

    estimate: float
    se: float
    df: float

    def p_above(self, bound: float) -> float:
        """One-sided p of "the truth is at most ``bound``"; NaN without spread."""
        from scipy.special import stdtr

        return float(stdtr(self.df, (bound - self.estimate) / self.se)) if self.se > 0 else math.nan

    def half_width(self, alpha: float) -> float:
        """Distance to the one-sided bound at level ``alpha``."""
        from scipy.special import stdtrit

        return float(stdtrit(self.df, 1.0 - alpha)) * self.se


Leg = Callable[[Contrast], StudentT]


def cr2_t(contrast: Contrast) -> StudentT:
    """CR2 variance with ticks as clusters; equal ticks: the plain t over tick means.

    The mean is a regression on a constant, whose leverage in tick t is w_t, so
    V = Σ w_t² (d_t - d)² / (1 - w_t): Bell & McCaffrey 2002; Pustejovsky & Tipton 2018. Degrees of freedom are
    the smaller of Satterthwaite's under independent rows and under pure tick effects.
    """
    w = contrast.weights
    if len(w) < 2 or not np.isfinite(contrast.values).all():
        return StudentT(contrast.estimate, math.nan, math.nan)
    share = w**2 / (1.0 - w)
    residual = contrast.values - w @ contrast.values
    df = min(_satterthwaite(w, share, 1.0 / w), _satterthwaite(w, share, np.ones(len(w))), len(w) - 1.0)
    return StudentT(contrast.estimate, math.sqrt(float(share @ residual**2)), df)


def _satterthwaite(w: np.ndarray, share: np.ndarray, variance: np.ndarray) -> float:
    """2 E[V]² / Var[V] for V = Σ share_t residual_t², when tick means have these variances (in any unit).

    V is the quadratic form of M = diag(share) - w share' - share w' + (Σ share) w w'; the two lines below are
    tr(M Ω) and tr(M Ω M Ω), written out so that memory stays linear in the ticks.
    """
    total = float(share.sum())
    ww, ws, ss = (float(variance @ product) for product in (w * w, w * share, share * share))
    crossed = total * w**2 - 2.0 * share * w
    first = float(variance @ (share + crossed))
    rank_two = total**2 * ww**2 + 2.0 * ww * ss + 2.0 * ws**2 - 4.0 * total * ww * ws
    second = rank_two + float(variance**2 @ (share**2 + 2.0 * share * crossed))
    return first**2 / second


LEGS: tuple[Leg, ...] = (cr2_t,)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the rows say about B against A. Not a number wherever it cannot be told."""

    estimate: float  # loss of A minus loss of B
    base: float  # loss of A
    rows: int
    ticks: int
    heaviest: float  # largest share of the rows that one tick holds
    alpha: float  # one-sided level of `low` and of `high`
    legs: tuple[StudentT, ...] = ()

    @property
    def effect(self) -> float:
        """Relative gain of B over A."""
        return self._relative(self.estimate)

    @property
    def low(self) -> float:
        return self._relative(self.estimate - self._half_width)

    @property
    def high(self) -> float:
        return self._relative(self.estimate + self._half_width)

    @property
    def degenerate(self) -> bool:
        """No spread between ticks beyond rounding: nothing that an error could be judged by."""
        return any(not leg.se > 1e-12 * abs(self.base) for leg in self.legs)

    @property
    def p_superior(self) -> float:
        """One-sided p of "B is not better than A"."""
        return self._p(0.0)

    def p_noninferior(self, margin: float) -> float:
        """One-sided p of "B is worse than A by ``margin`` (a share of A's loss) or more"."""
        return self._p(-margin * self.base)

    def detectable(self, power: float = 0.8) -> float:
        """Smallest true relative gain that such rows show as better with this power."""
        widths = [leg.half_width(self.alpha) + leg.half_width(1.0 - power) for leg in self.legs]
        return self._relative(max(widths, default=math.nan))

    @property
    def _half_width(self) -> float:
        return max((leg.half_width(self.alpha) for leg in self.legs), default=math.nan)

    def _p(self, bound: float) -> float:
        return max((leg.p_above(bound) for leg in self.legs), default=math.nan)

    def _relative(self, difference: float) -> float:
        return difference / self.base if self.base > 0 else math.nan


@np.errstate(all="ignore")  # a diverged score overflows to an answer that cannot be told
def paired(
    y: np.ndarray,
    score_a: np.ndarray,
    score_b: np.ndarray,
    tick: np.ndarray,
    loss: Loss,
    *,
    alpha: float = 0.05,
    legs: tuple[Leg, ...] = LEGS,
) -> Comparison:
    """Compare model B with model A on identical rows, all arrays ``(n,)``.

    Mean losses are compared by their tick means, pooled metrics (rmse, wape, rankings) by the jackknife over
    ticks of the pooled metric: Efron & Tibshirani 1993, chapter 11.
    """
    base = loss.value(y, score_a)
    estimate = base - loss.value(y, score_b)
    names, index, counts = np.unique(tick, return_inverse=True, return_counts=True)
    heaviest = float(counts.max() / len(y)) if len(y) else math.nan
    if len(names) < 2 or not math.isfinite(estimate):
        return Comparison(math.nan, base, len(y), len(names), heaviest, alpha)
    if loss.rows is not None:
        values = np.bincount(index, loss.rows(y, score_a) - loss.rows(y, score_b)) / counts
        contrast = Contrast(estimate, values, counts / len(y))
    else:
        values = _pseudo_values(y, score_a, score_b, index, loss, estimate)
        contrast = Contrast(estimate, values, np.full(len(names), 1.0 / len(names)))
    return Comparison(estimate, base, len(y), len(names), heaviest, alpha, tuple(leg(contrast) for leg in legs))


def _pseudo_values(
    y: np.ndarray, score_a: np.ndarray, score_b: np.ndarray, index: np.ndarray, loss: Loss, estimate: float
) -> np.ndarray:
    ticks = int(index.max()) + 1
    without = np.empty(ticks)
    for t in range(ticks):
        rest = index != t
        without[t] = loss.value(y[rest], score_a[rest]) - loss.value(y[rest], score_b[rest])
    return ticks * estimate - (ticks - 1) * without
