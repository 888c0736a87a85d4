"""How the ticks of a comparison hang together: what no test can mend, guards ask here."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lr_retune.judge.contrast import Contrast
from lr_retune.judge.legs import StudentT, cr2_t


@dataclass(frozen=True, slots=True)
class Shape:
    """Figures of the ticks; NaN wherever one cannot be told."""

    autocorrelation: float  # of a tick with the next, bias-corrected
    effective: float  # independent ticks that would say as much
    skew: float
    halves: float  # difference between first and second half, in standard errors
    low: float = math.nan  # bound of the estimate by the effective ticks and by each half alone, the least of the three
    high: float = math.nan


def shape_of(contrast: Contrast, alpha: float = 0.05) -> Shape:
    """Figures of a contrast's ticks; ``alpha`` is the one-sided level of `low` and of `high`."""
    u = contrast.influence - contrast.influence.mean()
    ticks, square = len(u), float(u @ u)
    if ticks < 4 or not square > 0:
        return Shape(math.nan, math.nan, math.nan, math.nan)
    # the mean is estimated too, which pulls r down by (1 + 3 r) / T: Kendall 1954
    r = float(u[1:] @ u[:-1]) / square
    r = min(max((r * ticks + 1.0) / (ticks - 3.0), -0.99), 0.99)
    skew = float((u**3).mean()) / (square / ticks) ** 1.5
    effective = min(max(ticks * (1.0 - r) / (1.0 + r), 1.0), float(ticks))
    first, second = _half(contrast, slice(None, ticks // 2)), _half(contrast, slice(ticks // 2, None))
    told = StudentT(contrast.estimate, cr2_t(contrast).se * math.sqrt(ticks / effective), max(effective - 1.0, 1.0))
    error, each = math.hypot(first.se, second.se), (told, first, second)
    return Shape(
        r,
        effective,
        skew,
        (second.estimate - first.estimate) / error if error > 0 else math.nan,
        min(one.lower(alpha) for one in each),
        max(one.upper(alpha) for one in each),
    )


def _half(contrast: Contrast, where: slice) -> StudentT:
    w = contrast.weights[where] / contrast.weights[where].sum()
    values = contrast.values[where]
    return cr2_t(Contrast(float(np.dot(w, values)), values, w))
