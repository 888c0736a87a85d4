"""What a score costs: every metric as a loss on (y, score), lower is better.

Labels of binary tasks are 0 or 1, scores are probabilities of 1. Arrays are ``(n_rows,)``. A loss that
cannot be told (no rows, one class for a ranking, a missing value) is NaN, never an exception or a warning.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from lr_retune.config import Metric

_TINY = 1e-15  # probabilities are clipped this far from 0 and 1
_SMALLEST_RATE = 1e-9  # a Poisson mean is positive


@dataclass(frozen=True, slots=True)
class Loss:
    """A metric as a loss, in both shapes that rooms need."""

    name: str
    rows: Callable[[np.ndarray, np.ndarray], np.ndarray] | None  # (y, score) → row losses whose mean is the loss
    value: Callable[[np.ndarray, np.ndarray], float]  # (y, score) → pooled loss
    higher_is_better: bool  # the user's direction
    # (y, score, group counted from 0) → pooled loss without each group in turn, (groups,)
    without: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    # (y, score) → d loss / d weight of each row, (n,), summing to 0: the infinitesimal jackknife
    influence: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def metric(self, loss: float) -> float:
        """The figure the user asked for.

        >>> loss_for(Metric(name="pr_auc")).metric(0.25)
        0.75
        """
        return 1.0 - loss if self.higher_is_better else loss

    @property
    def ranks(self) -> bool:
        """Whether only the order of scores counts."""
        return self.higher_is_better


class _Entry(NamedTuple):
    rows: Callable[[np.ndarray, np.ndarray, Metric], np.ndarray] | None
    pooled: Callable[[np.ndarray, np.ndarray, Metric], float] | None = None  # None: the mean of rows
    higher_is_better: bool = False
    curve: str | None = None  # the proper loss that early stopping follows, where it is another one
    without: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None  # None: that of a mean
    influence: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None  # None: that of a mean


# ── means of row losses ───────────────────────────────────────────────────────────────────────────
def _log_loss(y: np.ndarray, score: np.ndarray, _metric: Metric) -> np.ndarray:
    # |1 - y - p| is the probability given to what happened: one logarithm per row instead of two
    losses: np.ndarray = -np.log(np.clip(np.abs(1.0 - y - score), _TINY, 1.0 - _TINY))
    return losses


def _squared(y: np.ndarray, score: np.ndarray, _metric: Metric) -> np.ndarray:
    losses: np.ndarray = np.square(y - score)
    return losses


def _absolute(y: np.ndarray, score: np.ndarray, _metric: Metric) -> np.ndarray:
    losses: np.ndarray = np.abs(y - score)
    return losses


def _cost(y: np.ndarray, score: np.ndarray, metric: Metric) -> np.ndarray:
    wrong = np.where(y > 0.5, metric.false_negative_cost, metric.false_positive_cost)
    losses = np.where((score >= metric.threshold) != (y > 0.5), wrong, 0.0)
    return np.where(np.isnan(y) | np.isnan(score), np.nan, losses)


def _poisson(y: np.ndarray, score: np.ndarray, _metric: Metric) -> np.ndarray:
    # deviance: McCullagh & Nelder, Generalized Linear Models, 1989, §2.3
    rate = np.maximum(score, _SMALLEST_RATE)
    logs = np.where(y == 0, 0.0, y * np.log(np.where(y == 0, 1.0, y) / rate))
    losses: np.ndarray = 2.0 * (logs - y + rate)
    return losses


def _pinball(y: np.ndarray, score: np.ndarray, metric: Metric) -> np.ndarray:
    error = y - score
    losses: np.ndarray = np.maximum(metric.quantile * error, (metric.quantile - 1.0) * error)
    return losses


# ── pooled metrics ────────────────────────────────────────────────────────────────────────────────
def _root_mean_square(y: np.ndarray, score: np.ndarray, _metric: Metric) -> float:
    return math.sqrt(float(np.square(y - score).mean()))


def _wape(y: np.ndarray, score: np.ndarray, _metric: Metric) -> float:
    scale = float(np.abs(y).sum())
    return float(np.abs(y - score).sum()) / scale if scale else math.nan


def _classes(y: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Sorted scores of negatives and positives; None where no ranking can be told."""
    positive = y > 0.5
    low, high = np.sort(score[~positive]), np.sort(score[positive])
    missing = np.isnan(y).any() or np.isnan(score).any()
    return None if missing or not len(low) or not len(high) else (low, high)


def _pr_auc(y: np.ndarray, score: np.ndarray, _metric: Metric) -> float:
    """1 - average precision, Σ (recall_k - recall_{k-1}) precision_k over distinct scores, as scikit-learn's."""
    if (classes := _classes(y, score)) is None:
        return math.nan
    low, high = classes
    levels, count = np.unique(high, return_counts=True)
    hits = len(high) - np.searchsorted(high, levels, side="left")
    alarms = hits + len(low) - np.searchsorted(low, levels, side="left")
    return 1.0 - float((count * (hits / alarms)).sum()) / len(high)


def _roc_auc(y: np.ndarray, score: np.ndarray, _metric: Metric) -> float:
    """1 - share of (positive, negative) pairs in right order, ties half: Mann & Whitney 1947."""
    if (classes := _classes(y, score)) is None:
        return math.nan
    low, high = classes
    below = np.searchsorted(low, high, side="left") + np.searchsorted(low, high, side="right")
    return 1.0 - float(below.sum()) / (2.0 * len(low) * len(high))


# ── pooled metrics without some rows ──────────────────────────────────────────────────────────────
class _Ranked(NamedTuple):
    """Rows by falling score, all ``(n,)``."""

    order: np.ndarray
    hit: np.ndarray  # bool
    level: np.ndarray  # distinct scores, counted from 0
    ends: np.ndarray  # (levels,) last row of each


def _ranked(y: np.ndarray, score: np.ndarray) -> _Ranked:
    order = np.argsort(-score, kind="stable")
    new = np.diff(score[order]) != 0
    return _Ranked(order, y[order] > 0.5, np.r_[0, np.cumsum(new)], np.r_[np.flatnonzero(new), len(y) - 1])


def _above(ranked: _Ranked, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kept positives and rows with at least the score of each level, from 0 before the first, ``(levels + 1,)``."""
    hits, rows = np.cumsum(ranked.hit & keep)[ranked.ends], np.cumsum(keep)[ranked.ends]
    return np.r_[0, hits], np.r_[0, rows]


def _pr_auc_of(hits: np.ndarray, rows: np.ndarray) -> float:
    return 1.0 - float((np.diff(hits) * hits[1:] / np.maximum(rows[1:], 1)).sum()) / float(hits[-1])


def _roc_auc_of(hits: np.ndarray, rows: np.ndarray) -> float:
    false = rows - hits
    area = float((np.diff(false) * (hits[1:] + hits[:-1])).sum()) / 2.0
    return 1.0 - area / (float(hits[-1]) * float(false[-1]))


def _ranking_without(
    area: Callable[[np.ndarray, np.ndarray], float], y: np.ndarray, score: np.ndarray, group: np.ndarray
) -> np.ndarray:
    """One sort for all groups; NaN where a group holds the last row of a class."""
    if _classes(y, score) is None:
        return np.full(int(group.max()) + 1, math.nan)
    ranked = _ranked(y, score)
    sorted_group, counts = group[ranked.order], np.bincount(group)
    with_hits = np.bincount(group, y > 0.5)
    hits, rest = (y > 0.5).sum() - with_hits, (y <= 0.5).sum() - (counts - with_hits)
    told = (hits > 0) & (rest > 0)
    return np.array([area(*_above(ranked, sorted_group != g)) if told[g] else math.nan for g in range(len(counts))])


def _rooted_without(y: np.ndarray, score: np.ndarray, group: np.ndarray) -> np.ndarray:
    square, counts = np.square(y - score), np.bincount(group)
    found: np.ndarray = np.sqrt((square.sum() - np.bincount(group, square)) / (len(y) - counts))
    return found


def _wape_without(y: np.ndarray, score: np.ndarray, group: np.ndarray) -> np.ndarray:
    error, scale = np.abs(y - score), np.abs(y)
    found: np.ndarray = (error.sum() - np.bincount(group, error)) / (scale.sum() - np.bincount(group, scale))
    return found


# ── what one row's weight does to a pooled metric ─────────────────────────────────────────────────
def _pr_auc_influence(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Of a row of score s: its own precision where it is a positive, and Σ (y - precision) over positives below it."""
    if _classes(y, score) is None:
        return np.full(len(y), math.nan)
    ranked = _ranked(y, score)
    hits, rows = (count[1:] for count in _above(ranked, np.ones(len(y), dtype=bool)))
    here, total = np.diff(hits, prepend=0), float(hits[-1])
    precision = hits / rows
    below = [np.cumsum((here * part / rows)[::-1])[::-1][ranked.level] for part in (np.ones(len(rows)), precision)]
    own = ranked.hit * (precision[ranked.level] - (here * precision).sum() / total)
    found = np.empty(len(y))
    found[ranked.order] = -(own + ranked.hit * below[0] - below[1]) / total
    return found


def _roc_auc_influence(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Share of the other class that a row beats, against the mean: DeLong, DeLong & Clarke-Pearson 1988."""
    if (classes := _classes(y, score)) is None:
        return np.full(len(y), math.nan)
    low, high = classes
    positive, found = y > 0.5, np.empty(len(y))
    for own, others, sign in ((positive, low, 1.0), (~positive, high, -1.0)):
        s = score[own]
        beaten = (np.searchsorted(others, s, side="left") + np.searchsorted(others, s, side="right")) / 2 / len(others)
        found[own] = -sign * (beaten - beaten.mean()) / len(s)
    return found


def _rooted_influence(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    square = np.square(y - score)
    found: np.ndarray = (square - square.mean()) / (2.0 * len(y) * math.sqrt(float(square.mean())))
    return found


def _wape_influence(y: np.ndarray, score: np.ndarray) -> np.ndarray:
    error, scale = np.abs(y - score), np.abs(y)
    found: np.ndarray = (error - error.sum() / scale.sum() * scale) / scale.sum()
    return found


_TABLE: dict[str, _Entry] = {
    "log_loss": _Entry(_log_loss),
    "brier": _Entry(_squared),
    "pr_auc": _Entry(
        None, _pr_auc, True, "log_loss", without=partial(_ranking_without, _pr_auc_of), influence=_pr_auc_influence
    ),
    "roc_auc": _Entry(
        None, _roc_auc, True, "log_loss", without=partial(_ranking_without, _roc_auc_of), influence=_roc_auc_influence
    ),
    "cost": _Entry(_cost, curve="log_loss"),
    "mae": _Entry(_absolute),
    "rmse": _Entry(None, _root_mean_square, without=_rooted_without, influence=_rooted_influence),
    "wape": _Entry(None, _wape, curve="mae", without=_wape_without, influence=_wape_influence),
    "poisson": _Entry(_poisson),
    "pinball": _Entry(_pinball),
}


@np.errstate(all="ignore")
def _rows(entry: _Entry, metric: Metric, y: np.ndarray, score: np.ndarray) -> np.ndarray:
    assert entry.rows is not None
    return entry.rows(y, score, metric)


@np.errstate(all="ignore")
def _value(entry: _Entry, metric: Metric, y: np.ndarray, score: np.ndarray) -> float:
    if not len(y):
        return math.nan
    if entry.pooled is not None:
        return entry.pooled(y, score, metric)
    return float(_rows(entry, metric, y, score).mean())


@np.errstate(all="ignore")
def _without(entry: _Entry, metric: Metric, y: np.ndarray, score: np.ndarray, group: np.ndarray) -> np.ndarray:
    if entry.without is not None:
        return entry.without(y, score, group)
    losses, counts = _rows(entry, metric, y, score), np.bincount(group)
    found: np.ndarray = (losses.sum() - np.bincount(group, losses)) / (len(y) - counts)
    return found


@np.errstate(all="ignore")
def _influence(entry: _Entry, metric: Metric, y: np.ndarray, score: np.ndarray) -> np.ndarray:
    if entry.influence is not None:
        return entry.influence(y, score)
    losses = _rows(entry, metric, y, score)
    found: np.ndarray = (losses - losses.mean()) / len(y)
    return found


def loss_for(metric: Metric) -> Loss:
    """The user's metric as a loss.

    >>> import numpy as np
    >>> loss_for(Metric(name="mae")).value(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    1.0
    """
    entry = _TABLE[metric.name]
    rows = partial(_rows, entry, metric) if entry.rows is not None else None
    return Loss(
        name=metric.name,
        rows=rows,
        value=partial(_value, entry, metric),
        higher_is_better=entry.higher_is_better,
        without=partial(_without, entry, metric),
        influence=partial(_influence, entry, metric),
    )


def curve_loss_for(metric: Metric) -> Callable[[np.ndarray, np.ndarray], float]:
    """The proper loss that early stopping follows: smooth where the metric is a ranking or a threshold."""
    return partial(_value, _TABLE[_TABLE[metric.name].curve or metric.name], metric)
