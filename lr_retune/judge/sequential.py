"""An always-valid test: a difference per tick that may be looked at every day and stopped at any of them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

PRIOR = 0.5  # variance of the standardised effect in the mixture: bounds are tightest from 10 to 60 ticks
_EVER = 3650


@dataclass(frozen=True, slots=True)
class Sequence:
    """What is known after each tick; entry ``i`` has seen ticks ``0 … i``."""

    effect: np.ndarray  # (T,) mean difference so far
    low: np.ndarray  # (T,) running bounds: true at all ticks together with probability 1 - alpha
    high: np.ndarray
    decided: int | None  # first tick after which zero lay outside; None: not yet

    @property
    def sign(self) -> int:
        """1: the difference is above zero, -1: below, 0: not told."""
        if self.decided is None:
            return 0
        return 1 if self.low[self.decided] > 0 else -1


def always_valid(difference: np.ndarray, *, alpha: float = 0.05, prior: float = PRIOR) -> Sequence:
    """Confidence sequence for the mean of a series, valid at every tick at once.

    The mixture t-test: the likelihood ratio of the t statistic under a standardised effect drawn from N(0, ``prior``)
    against none, averaged with the right Haar measure over the spread. It is a test martingale when there is no
    effect, whatever the spread, so by Ville's inequality it ever reaches ``1/alpha`` with probability at most
    ``alpha``. The bounds are the means that it does not reject, intersected over time.

    Parameters
    ----------
    difference
        One figure per tick in order of time, shape ``(T,)``; finite. Ticks count alike and as independent.
    alpha
        Probability that the true mean ever lies outside the bounds.
    prior
        Decides at which number of ticks the bounds are tightest, never whether they hold.

    Raises
    ------
    ValueError
        If a difference is not finite.

    Notes
    -----
    Bayes factor of the t statistic with a normal effect: Rouder et al., Psychonomic Bulletin & Review 16 (2009). That
    such factors may be stopped at will: Hendriksen, de Heide, Grünwald, Bayesian Analysis 16 (2021). Ville (1939).

    Examples
    --------
    >>> found = always_valid(np.array([1.0, 1.2, 0.9, 1.1, 1.0, 1.05, 0.95, 1.1]))
    >>> found.decided, found.sign
    (5, 1)
    """
    if not np.isfinite(difference).all():
        raise ValueError("a difference per tick must be finite")
    count = np.arange(1, len(difference) + 1)
    effect = np.cumsum(difference) / count
    squares = np.cumsum((difference - difference[:1]) ** 2) - count * (effect - difference[:1]) ** 2
    width = np.array(
        [_half(int(n), float(s), alpha, prior) for n, s in zip(count, np.maximum(squares, 0), strict=True)]
    )
    low, high = np.maximum.accumulate(effect - width), np.minimum.accumulate(effect + width)
    outside = np.flatnonzero((low > 0) | (high < 0))
    return Sequence(effect, low, high, int(outside[0]) if len(outside) else None)


def ticks_to_tell(difference: np.ndarray, *, alpha: float = 0.05, prior: float = PRIOR) -> tuple[int, int] | None:
    """Further ticks until zero would lie outside, if the mean is one standard error larger or smaller than it looks.

    None where the smaller of the two could be none at all within ten years of ticks, or the spread is unknown.
    """
    n = len(difference)
    if n < 2 or (spread := float(np.std(difference, ddof=1))) == 0.0:
        return None
    seen, error = abs(float(np.mean(difference))), spread / math.sqrt(n)
    least, most = (_needed(mean / spread, alpha, prior) for mean in (seen + error, seen - error))
    return None if least is None or most is None else (max(least - n, 1), max(most - n, 1))


def _needed(effect: float, alpha: float, prior: float) -> int | None:
    """Ticks after which a mean of so many spreads is told from zero."""
    if effect <= 0:
        return None
    return next((n for n in range(2, _EVER) if _half(n, n - 1.0, alpha, prior) < effect), None)


def _half(n: int, squares: float, alpha: float, prior: float) -> float:
    """Half the width after ``n`` ticks: the means whose Bayes factor stays below ``1/alpha``."""
    if n < 2:
        return math.inf
    grown = 1 + n * prior
    ratio = (math.sqrt(grown) / alpha) ** (2 / n)
    if ratio >= grown:  # no mean can be told from another by so few ticks
        return math.inf
    return math.sqrt((ratio - 1) / (1 - ratio / grown) * squares / n)
