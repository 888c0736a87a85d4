"""Holdout losses of every fit, tick by tick, in the four corners of old and new rows by old and new rate."""

from __future__ import annotations

import math

import numpy as np

from lr_retune.judge.attribution import Arm
from lr_retune.metrics import Loss
from lr_retune.records import HoldoutScores


@np.errstate(all="ignore")
def corners(scores: HoldoutScores, loss: Loss, *, same_rate: bool) -> tuple[dict[str, Arm], np.ndarray]:
    """Arms by corner and the share of each tick, ``(ticks,)``.

    At the champion's own rate the challenger is its own control: all of the gain is the data's. At a new rate the
    judged fits stand for their arms only where no others do: their seeds had a part in choosing the rate. A fit whose
    scores have another shape has no loss, as everywhere.
    """
    _, index, counts = np.unique(scores.tick, return_inverse=True, return_counts=True)
    control = scores.challenger if same_rate and scores.control is None else scores.control
    first = {"champion": scores.champion, "control": control, "challenger": scores.challenger}
    found = {}
    for name in (*first, "old_rows"):
        others = list(scores.arms.get("control" if same_rate and name == "challenger" else name, ()))
        judged = [] if first.get(name) is None or (others and not same_rate) else [first[name]]
        fits = [fit for fit in (*judged, *others) if fit is not None]
        if fits:
            found[name] = _arm(scores.y, fits, index, loss, len(counts))
    pooled = loss.rows is None
    return found, np.full(len(counts), 1.0 / max(len(counts), 1)) if pooled else counts / max(len(scores.y), 1)


def _arm(y: np.ndarray, fits: list[np.ndarray], index: np.ndarray, loss: Loss, ticks: int) -> Arm:
    losses = np.array([loss.value(y, fit) if fit.shape == y.shape else math.nan for fit in fits])
    return Arm(losses, np.array([_ticks(y, fit, index, loss, ticks) for fit in fits]))


def _ticks(y: np.ndarray, fit: np.ndarray, index: np.ndarray, loss: Loss, ticks: int) -> np.ndarray:
    """Mean losses, or the jackknife's pseudo-values of a pooled metric: Efron & Tibshirani 1993, chapter 11."""
    if fit.shape != y.shape:
        return np.full(ticks, math.nan)
    if loss.rows is not None:
        means: np.ndarray = np.bincount(index, loss.rows(y, fit), ticks) / np.bincount(index, minlength=ticks)
        return means
    without = np.array([loss.value(y[index != t], fit[index != t]) for t in range(ticks)])
    values: np.ndarray = ticks * loss.value(y, fit) - (ticks - 1) * without
    return values
