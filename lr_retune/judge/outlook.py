"""What an undecided comparison could have found, and how many more ticks might decide it: a range, never one number.

A gain is found by all tests together in 4 of 5 cases when it is `found_at` standard errors large: the quantiles of the
strictest of them, EWC-t, times what the maximum of three adds. ``python -m tests.benchmarks.judge --parts outlook``
measures the share found at that gain, and the shares decided at the near and at the far end of the range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lr_retune.judge.legs import cosines
from lr_retune.judge.paired import Comparison
from lr_retune.judge.statement import percent

POWER = 0.8
PLANNED = (14, 28, 60)  # ticks that a holdout may be given
_INFLATED = 1.2  # the error of the error: forecasts without it are too early
_QUARTILE = 0.674  # the present gain lies within ± so many errors of the truth, as likely as not
_HOPELESS = 1e4  # errors to a gap
_FAR = 400  # ticks beyond which nobody waits


def found_at(ticks: int, alpha: float, power: float = POWER) -> float:
    """True gain over its standard error that is called better with this power, with independent ticks.

    >>> [round(found_at(ticks, 0.05), 1) for ticks in (7, 14, 28, 60)]
    [3.4, 3.2, 3.0, 2.9]
    """
    from scipy.special import stdtrit

    waves = min(cosines(ticks), max(ticks - 1, 1))
    strictest = float(stdtrit(waves, 1.0 - alpha) + stdtrit(waves, power))
    return strictest * (1.1 if ticks < 10 else 1.05)


def detectable(found: Comparison, ticks: int | None = None) -> float:
    """Smallest true relative gain that so many such ticks call better 4 times in 5; None: those that are there."""
    ticks = found.ticks if ticks is None else ticks
    return found_at(ticks, found.alpha) * _error(found) * math.sqrt(found.ticks / ticks) if found.ticks else math.nan


def _error(found: Comparison) -> float:
    """Standard error of the gain; that of the effective ticks where they are fewer than half."""
    repeated = found.ticks / found.shape.effective if found.shape.effective > 0 else 1.0
    return found.se * (math.sqrt(repeated) if repeated > 2.0 else 1.0)


@dataclass(frozen=True, slots=True)
class Further:
    """How many more ticks exclude a loss of the margin, if the present gain is near the truth."""

    low: float
    high: float  # infinite: no end in sight


def further(found: Comparison, margin: float) -> Further:
    """The forecast T* = T (q errors / gap)² at both quartiles of the gap between gain and -margin."""
    gap = found.effect + margin
    counts = [_needed(found, gap + side * _QUARTILE * _error(found)) for side in (1.0, -1.0)]
    return Further(*(max(1.0, count - found.ticks) for count in counts))


def _needed(found: Comparison, gap: float) -> float:
    ratio = _error(found) / gap if gap > 0 else math.nan
    if not ratio < _HOPELESS:
        return math.inf
    ticks = float(found.ticks)
    for _ in range(9):  # the quantile depends on the ticks: a fixed point
        ticks = _INFLATED * found.ticks * (found_at(int(ticks), found.alpha) * ratio) ** 2
    return ticks


def told(found: Comparison, margin: float, floor: float) -> str:
    """Both in words; ``floor`` is the gain below which nothing passes.

    >>> from lr_retune.judge.legs import StudentT
    >>> found = Comparison(1.0, 100.0, 672, 28, 0.04, 0.05, {"cr2_t": StudentT(1.0, 0.9, 27.0)})
    >>> told(found, 0.01, 0.005)  # doctest: +NORMALIZE_WHITESPACE
    'gains that such rows call better 4 times in 5: 2.7 % on these 28 ticks, 4.1 % on 14, 1.8 % on 60;
    about 8 to 90 more ticks at the present gain; never, if the true gain is below 0.5 %'
    """
    planned = ", ".join(f"{percent(detectable(found, ticks))} on {ticks}" for ticks in PLANNED if ticks != found.ticks)
    now = f"gains that such rows call better 4 times in 5: {percent(detectable(found))} on these {found.ticks} ticks"
    return f"{now}, {planned}; {_waiting(found, margin, floor)}"


def _waiting(found: Comparison, margin: float, floor: float) -> str:
    never = f"never, if the true gain is below {percent(floor)}"
    if found.effect < floor:
        return f"more ticks do not help at the present gain: it lies below the {percent(floor)} asked"
    ahead = further(found, margin)
    if not ahead.low < _FAR:
        return f"hardly ever: more than {_FAR} more ticks at the present gain; {never}"
    low, high = _round(ahead.low), _round(ahead.high) if ahead.high < _FAR else f"more than {_FAR}"
    reach = f"{low} to {high if isinstance(high, str) else max(high, low + 1)}"
    return f"about {reach} more ticks at the present gain; {never}"


def _round(count: float) -> int:
    """Two digits at most: a forecast is rough."""
    step = 1 if count < 20 else 5 if count < 100 else 10
    return step * math.ceil(count / step)
