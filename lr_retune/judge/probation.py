"""Whether a new champion does in production what was promised: a one-sided test of harm, looked at tick by tick.

Harm is a loss above the former champion's, on the same rows, by more than the margin of `[gates] margin`; where the
former cannot be scored, a loss above the promise by more than that. A look takes all ticks so far, and the newest
`NEWEST` of them too, because a world that turns against the champion later would drown in the good ticks before. All
tests of all looks get an equal share of alpha: whatever the dependence between them, a champion that does no harm is
found guilty with probability alpha at most (Bonferroni 1936), as far as one test keeps its level. That test is the t
over ticks alone: of three or five ticks the judge's other legs cannot say anything at such levels, and a probation has
to be quick. Nor can so few ticks tell how much neighbours resemble each other, so that they do is assumed: by `ALIKE`.
``python -m tests.benchmarks.probation`` measures what correlated ticks make of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lr_retune.config import LEAST_PROBATION as FIRST
from lr_retune.judge.contrast import Contrast
from lr_retune.judge.legs import StudentT, cr2_t
from lr_retune.judge.paired import paired
from lr_retune.metrics import Loss

ALIKE = 0.3  # correlation of neighbouring ticks: what natural periods rarely exceed
NEWEST = 5  # ticks
FIRST_RANKED = 7  # a ranking is judged by leaving out one tick after the other


@dataclass(frozen=True, slots=True)
class Harm:
    """What one test says."""

    p: float  # one-sided, of "it does no harm"; NaN: it cannot be told
    alpha: float  # of this test
    effect: float  # how much worse it is, share of the other's loss
    other: float  # the former champion's loss on these rows, or the promise

    @property
    def proven(self) -> bool:
        """Whether it is harm beyond doubt."""
        return self.p < self.alpha


def first_look(of: int, loss: Loss) -> int:
    """Ticks with labels that the first look takes."""
    return min(FIRST_RANKED if loss.ranks else FIRST, of)


def windows(ticks: int, first: int) -> tuple[int, ...]:
    """How many of the newest ticks each test of a look at ``ticks`` of them takes.

    >>> windows(5, 3), windows(9, 3), windows(9, 7)
    ((5,), (9, 5), (9, 7))
    """
    newest = max(NEWEST, first)
    return (ticks, newest) if ticks > newest else (ticks,)


def look(ticks: int, first: int, ask: Callable[[int], Harm]) -> tuple[Harm, int]:
    """The harm that one look shows and how many of the newest ticks show it; all of them where none is proven.

    ``ask`` tests the newest so many ticks.
    """
    found = [(ask(newest), newest) for newest in windows(ticks, first)]
    return next((each for each in found if each[0].proven), found[0])


def level(of: int, loss: Loss, alpha: float) -> float:
    """What one test may err.

    >>> from lr_retune.config import Metric
    >>> from lr_retune.metrics import loss_for
    >>> round(level(14, loss_for(Metric(name="mae")), 0.063), 4)
    0.003
    """
    first = first_look(of, loss)
    return alpha / sum(len(windows(ticks, first)) for ticks in range(first, of + 1))


def stretch(ticks: int) -> float:
    """How much larger the error of a mean of so many ticks is than independent ticks would say.

    Of ticks that remember as AR(1) by `ALIKE`: the variance of their mean over what the spread between them expects it
    to be (Priestley 1981, section 5.3).

    >>> round(stretch(3), 2), round(stretch(14), 2), stretch(1)
    (1.38, 1.37, 1.0)
    """
    if ticks < 2:
        return 1.0
    apart = np.arange(1, ticks)
    mean = 1.0 + 2.0 * float(((1.0 - apart / ticks) * ALIKE**apart).sum())
    return math.sqrt(mean / (1.0 - (mean - 1.0) / (ticks - 1)))


def stretched_t(contrast: Contrast, alpha: float = 0.05) -> StudentT:
    """The t over ticks, its error stretched for neighbours that resemble each other."""
    t = cr2_t(contrast, alpha)
    return replace(t, se=t.se * stretch(len(contrast.weights)))


LEGS = {"stretched_t": stretched_t}


def against_former(
    y: np.ndarray, score: np.ndarray, former: np.ndarray, tick: np.ndarray, loss: Loss, margin: float, alpha: float
) -> Harm:
    """The champion against the former one on identical rows, all arrays ``(n,)``; ``alpha`` is this test's."""
    found = paired(y, score, former, tick, loss, alpha=alpha, legs=LEGS)
    other = loss.value(y, former)
    effect = found.estimate / other if other > 0 else math.nan
    return Harm(found.p_noninferior(-margin), alpha, effect, other)


def against_promise(now: Sequence[float], promised: Sequence[float], margin: float, alpha: float) -> Harm:
    """Losses of ticks against the promised ticks: Welch's t, 1947. A world that got harder looks like harm here."""
    if min(len(now), len(promised)) < 2:
        return Harm(math.nan, alpha, math.nan, math.nan)
    from scipy.special import stdtr

    a, b = np.asarray(now, dtype=np.float64), np.asarray(promised, dtype=np.float64)
    other, parts = float(b.mean()), [stretch(len(x)) ** 2 * x.var(ddof=1) / len(x) for x in (a, b)]
    above, error = float(a.mean()) - other * (1.0 + margin), sum(parts)
    if not error > 0:
        return Harm(math.nan, alpha, math.nan, other)
    df = error**2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    effect = float(a.mean()) / other - 1.0 if other > 0 else math.nan
    return Harm(float(stdtr(df, -above / math.sqrt(error))), alpha, effect, other)
