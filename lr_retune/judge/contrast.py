"""How rows become one figure a tick: mean differences, jackknife pseudo-values, and what entities add."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lr_retune.metrics import Loss


@dataclass(frozen=True, slots=True)
class Contrast:
    """Loss of A minus loss of B, tick by tick in order of time: positive where B is better."""

    estimate: float
    values: np.ndarray  # (ticks,) mean differences, or jackknife pseudo-values of a pooled metric
    weights: np.ndarray  # (ticks,) shares of the estimate, summing to 1
    excess: float = 0.0  # variance of the estimate that rows of one entity add to that of single rows
    entities: float | None = None  # as many equal ones; None: nobody named them

    @property
    def residual(self) -> np.ndarray:
        """How far each tick lies from the weighted mean, ``(ticks,)``."""
        found: np.ndarray = self.values - self.weights @ self.values
        return found

    @property
    def influence(self) -> np.ndarray:
        """What each tick contributes to the estimate's error, times the number of ticks, ``(ticks,)``."""
        found: np.ndarray = len(self.weights) * self.weights * self.residual
        return found


def contrast_of(
    y: np.ndarray,
    score_a: np.ndarray,
    score_b: np.ndarray,
    index: np.ndarray,
    loss: Loss,
    estimate: float,
    entity: np.ndarray | None = None,
) -> Contrast:
    """One figure a tick, from rows ``(n,)``; ``index`` counts the ticks from 0.

    Mean losses are compared by their tick means, pooled metrics (rmse, wape, rankings) by the jackknife over
    ticks of the pooled metric: Efron & Tibshirani 1993, chapter 11.
    """
    counts = np.bincount(index)
    if loss.rows is not None:
        values = np.bincount(index, loss.rows(y, score_a) - loss.rows(y, score_b)) / counts
        weights = counts / len(y)
    else:
        without = loss.without(y, score_a, index) - loss.without(y, score_b, index)
        values = len(counts) * estimate - (len(counts) - 1) * without
        weights = np.full(len(counts), 1.0 / len(counts))
    if entity is None:
        return Contrast(estimate, values, weights)
    excess, entities = _shared(loss.influence(y, score_a) - loss.influence(y, score_b), entity)
    return Contrast(estimate, values, weights, excess, entities)


def _shared(influence: np.ndarray, entity: np.ndarray) -> tuple[float, float]:
    """Variance between entities beyond that of their single rows, and the effective number of entities.

    Between entities it is the CR2 form of `cr2_t`. Taking rows instead of entity-tick cells from the two-way
    variance of Cameron, Gelbach & Miller 2011 counts rows of one cell twice: wider, never negative in effect.
    """
    _, place, counts = np.unique(entity, return_inverse=True, return_counts=True)
    share = counts / len(entity)
    if len(counts) < 2:
        return math.nan, 1.0
    between = float((np.bincount(place, influence) ** 2 / (1.0 - share)).sum())
    return max(0.0, between - float(influence @ influence)), float(1.0 / (share @ share))
