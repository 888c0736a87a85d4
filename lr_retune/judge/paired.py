"""The paired comparison: two models on the same rows, judged by the spread between natural ticks.

Rows of one tick share their luck (weather, a campaign), so a tick is one observation, however many rows it
holds. The procedure is a list of `legs`; the largest p and the widest bounds of all of them count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from lr_retune.judge.contrast import Contrast, contrast_of
from lr_retune.judge.legs import LEGS, WITH_ENTITIES, Answer, Leg, StudentT, cr2_t
from lr_retune.judge.shape import Shape, shape_of
from lr_retune.metrics import Loss

__all__ = ["Comparison", "Contrast", "StudentT", "cr2_t", "paired"]
_UNKNOWN = Shape(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the rows say about B against A. Not a number wherever it cannot be told."""

    estimate: float  # loss of A minus loss of B
    base: float  # loss of A
    rows: int
    ticks: int
    heaviest: float  # largest share of the rows that one tick holds
    alpha: float  # one-sided level of `low` and of `high`
    legs: Mapping[str, Answer] = field(default_factory=dict)
    shape: Shape = _UNKNOWN
    entities: float | None = None  # effective number of entities; None: nobody named them
    heaviest_entity: float = 0.0  # largest share of the rows that one entity holds

    @property
    def effect(self) -> float:
        """Relative gain of B over A."""
        return self._relative(self.estimate)

    @property
    def low(self) -> float:
        """The smallest lower bound, as a relative gain."""
        return self._relative(min((leg.lower(self.alpha) for leg in self.legs.values()), default=math.nan))

    @property
    def high(self) -> float:
        """The largest upper bound, as a relative gain."""
        return self._relative(max((leg.upper(self.alpha) for leg in self.legs.values()), default=math.nan))

    @property
    def interval(self) -> str:
        """Both ends in percent."""
        return f"[{100 * self.low:.1f}, {100 * self.high:.1f}]"

    @property
    def bound_by(self) -> str:
        """The leg that gave `low`; empty where there is none."""
        return min(self.legs, key=lambda name: self.legs[name].lower(self.alpha), default="")

    @property
    def degenerate(self) -> bool:
        """No spread between ticks beyond rounding: nothing that an error could be judged by."""
        return any(not leg.se > 1e-12 * abs(self.base) for leg in self.legs.values())

    @property
    def se(self) -> float:
        """Standard error of the gain as if ticks were independent; with entities, theirs too."""
        named = ("cr2_t", "two_way_t")
        return self._relative(max((self.legs[n].se for n in named if n in self.legs), default=math.nan))

    @property
    def p_superior(self) -> float:
        """One-sided p of "B is not better than A"."""
        return max(self.p_of(0.0).values(), default=math.nan)

    def p_noninferior(self, margin: float) -> float:
        """One-sided p of "B is worse than A by ``margin`` (a share of A's loss) or more"."""
        return max(self.p_of(-margin).values(), default=math.nan)

    def p_of(self, gain: float) -> dict[str, float]:
        """Each leg's one-sided p of "the true relative gain is at most ``gain``"."""
        return {name: leg.p_above(gain * self.base) for name, leg in self.legs.items()}

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
    entity: np.ndarray | None = None,
    legs: Mapping[str, Leg] | None = None,
) -> Comparison:
    """Compare model B with model A on identical rows, all arrays ``(n,)``.

    Parameters
    ----------
    entity
        Whom a row is about, as integers: rows of one entity share errors over ticks. None: not known.
    legs
        The tests that must agree; None takes `LEGS`, with entities `WITH_ENTITIES`.
    """
    base = loss.value(y, score_a)
    estimate = base - loss.value(y, score_b)
    names, index, counts = np.unique(tick, return_inverse=True, return_counts=True)
    heaviest = float(counts.max() / len(y)) if len(y) else math.nan
    if len(names) < 2 or not math.isfinite(estimate):
        return Comparison(math.nan, base, len(y), len(names), heaviest, alpha)
    contrast = contrast_of(y, score_a, score_b, index, loss, estimate, entity)
    asked = legs or (LEGS if entity is None else WITH_ENTITIES)
    return Comparison(
        estimate=estimate,
        base=base,
        rows=len(y),
        ticks=len(names),
        heaviest=heaviest,
        alpha=alpha,
        legs={name: leg(contrast, alpha) for name, leg in asked.items()},
        shape=shape_of(contrast, alpha) if np.isfinite(contrast.values).all() else _UNKNOWN,
        entities=contrast.entities,
        heaviest_entity=0.0 if entity is None else float(np.unique(entity, return_counts=True)[1].max() / len(y)),
    )
