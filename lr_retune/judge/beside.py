"""What is told beside the verdict and judges nothing: the other arms, how honest scores are, the loss as ticks pass."""

from __future__ import annotations

import math

import numpy as np

from lr_retune.judge.paired import paired
from lr_retune.metrics import Loss
from lr_retune.records import Bin, Effect, HoldoutScores, Stretch, at

BINS, LEAST = 10, 50  # of a reliability curve: how many at most, rows of each at least
STRETCHES = 7  # of a holdout


def arms(scores: HoldoutScores, loss: Loss, alpha: float) -> dict[str, Effect]:
    """Gains of control and fixed arm over the champion, by the procedure that the challenger is judged by."""
    found = {"control": scores.control, "fixed": scores.fixed}
    return {name: _effect(scores, arm, loss, alpha) for name, arm in found.items() if arm is not None}


def _effect(scores: HoldoutScores, arm: np.ndarray, loss: Loss, alpha: float) -> Effect:
    if not arm.shape == scores.champion.shape == scores.y.shape:
        return Effect(None)
    found = paired(scores.y, scores.champion, arm, scores.tick, loss, alpha=alpha, entity=scores.entity)
    return Effect(_known(found.effect), _known(found.low), _known(found.high))


def calibration(scores: HoldoutScores) -> dict[str, tuple[Bin, ...]]:
    """Reliability curves of champion and challenger, each by its own quantiles: Broecker & Smith 2007.

    Every bin holds enough rows to tell nothing of one of them.
    """
    both = {"champion": scores.champion, "challenger": scores.challenger}
    return {name: found for name, score in both.items() if (found := _curve(scores.y, score))}


def _curve(y: np.ndarray, score: np.ndarray) -> tuple[Bin, ...]:
    count = min(BINS, len(y) // LEAST)
    if score.shape != y.shape or not count or not (np.isfinite(score).all() and np.isfinite(y).all()):
        return ()
    edges = np.unique(np.quantile(score, np.linspace(0, 1, count + 1)[1:-1]))
    which = np.searchsorted(edges, score, side="right")  # equal scores share a bin
    inside = [which == b for b in range(len(edges) + 1)]
    return tuple(
        Bin(int(rows.sum()), float(score[rows].mean()), float(y[rows].mean())) for rows in inside if rows.sum() >= LEAST
    )


@np.errstate(all="ignore")
def stretches(scores: HoldoutScores, loss: Loss) -> tuple[Stretch, ...]:
    """Losses of champion and challenger on neighbouring ticks together, to see whether a lead lasts."""
    ticks = np.unique(scores.tick)
    parts = np.array_split(ticks, min(STRETCHES, len(ticks))) if len(ticks) else []
    return tuple(_stretch(scores, loss, part) for part in parts)


def _stretch(scores: HoldoutScores, loss: Loss, ticks: np.ndarray) -> Stretch:
    rows = np.isin(scores.tick, ticks)
    both = {"champion": scores.champion, "challenger": scores.challenger}
    losses = {
        name: _known(loss.value(scores.y[rows], score[rows])) if score.shape == scores.y.shape else None
        for name, score in both.items()
    }
    return Stretch(at(int(ticks[0])), at(int(ticks[-1])), int(rows.sum()), losses)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
