"""Calibration and spread: whether scores still mean what they say."""

from __future__ import annotations

import numpy as np

from lr_retune.config import Config
from lr_retune.judge.guards.common import LEAST_TICKS, Answer, blind, lower_bound, not_asked, verdict
from lr_retune.records import HoldoutScores, TuneResult, Verdict

BINS = 10
FAR = 0.25  # of the unit of calibration: scores that moved less are alike, however few values they take
WORSE = 0.1  # of that unit: scores that moved and lie as near to what happened are no reason to hold


def calibration(scores: HoldoutScores, _result: TuneResult, config: Config) -> Verdict:
    """Whether the challenger's calibration is demonstrably worse than the champion's by more than a bound."""
    return verdict("calibration", blind(scores) or _answer(scores, config))


def _answer(scores: HoldoutScores, config: Config) -> Answer:
    if config.metric.name == "pinball":
        return not_asked("a quantile is meant to lie to one side")
    ticks, where = np.unique(scores.tick, return_inverse=True)
    unit = _unit(scores.y, config)
    if len(ticks) < LEAST_TICKS or unit <= 0:
        return "LRR302", "PASS", f"{len(ticks)} ticks of labels do not tell calibration"
    bins = BINS if config.task == "binary" else 1
    (before, rest_a), (after, rest_b) = (
        _errors(scores.y, s, where, len(ticks), bins) for s in (scores.champion, scores.challenger)
    )
    low = lower_bound((after - before) / unit, (rest_b - rest_a) / unit)
    what = "calibration error" if config.task == "binary" else "bias"
    of = "the rarer class" if config.task == "binary" else "the labels' mean deviation"
    limit, shown = config.gates.calibration, low if low > 0 else 0.0
    told = f"{what} {100 * after / unit:.1f} % of {of}, the champion's {100 * before / unit:.1f} %"
    told += f"; shown to be worse by {100 * shown:.1f} points, {100 * limit:g} are allowed"
    return ("LRR321", "FAIL", told) if low > limit else ("LRR320", "PASS", told)


def _unit(y: np.ndarray, config: Config) -> float:
    if config.task == "binary":
        return float(min(y.mean(), 1 - y.mean()))
    return float(np.abs(y - y.mean()).mean())


def _errors(y: np.ndarray, score: np.ndarray, where: np.ndarray, ticks: int, bins: int) -> tuple[float, np.ndarray]:
    """Mean absolute error of bins of equal size, and the same without each tick, shape ``(ticks,)``."""
    edges = np.unique(np.quantile(score, np.arange(1, bins) / bins)) if bins > 1 else np.array([])
    cell = np.searchsorted(edges, score, side="right") * ticks + where
    size = (len(edges) + 1, ticks)
    off = np.bincount(cell, y - score, minlength=size[0] * ticks).reshape(size)
    total, rows = off.sum(axis=1), np.bincount(where, minlength=ticks)
    without = np.abs(total[:, None] - off).sum(axis=0) / np.maximum(len(y) - rows, 1)
    return float(np.abs(total).sum() / len(y)), without


def score_shift(scores: HoldoutScores, _result: TuneResult, config: Config) -> Verdict:
    """Whether the challenger's scores are spread quite differently, and the labels do not ask for it."""
    return verdict("score_shift", blind(scores) or _shift(scores, config))


def _shift(scores: HoldoutScores, config: Config) -> Answer:
    found, limit = psi(scores.champion, scores.challenger), config.gates.score_shift
    told = f"PSI {found:.2f} between the two models' scores, at most {limit:g}"
    moved = float(np.abs(np.sort(scores.champion) - np.sort(scores.challenger)).mean())
    unit, bins = _unit(scores.y, config), BINS if config.task == "binary" else 1
    if found <= limit or moved <= FAR * unit:
        return "LRR325", "PASS", told
    none = np.zeros(len(scores.y), dtype=np.int64)
    before, after = (_errors(scores.y, s, none, 1, bins)[0] for s in (scores.champion, scores.challenger))
    if after - before <= WORSE * unit:
        return "LRR325", "PASS", f"{told}, but they lie as near to what happened"
    return "LRR326", "INCONCLUSIVE", told


def psi(before: np.ndarray, after: np.ndarray, bins: int = BINS) -> float:
    """Population stability index over bins of equal size of ``before``; half a row is added to each bin.

    >>> import numpy as np
    >>> psi(np.arange(100.0), np.arange(100.0))
    0.0
    """
    edges = np.unique(np.quantile(before, np.arange(1, bins) / bins))
    shares = []
    for values in (before, after):
        count = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1) + 0.5
        shares.append(count / count.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())
