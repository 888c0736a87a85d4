"""How often the judge calls one of two equal models better: comparisons of twins over windows of history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lr_retune.config import Config
from lr_retune.judge.gates import paired_loss
from lr_retune.records import HoldoutScores, TuneResult

ANSWERED = frozenset({"LRR200", "LRR201", "LRR202", "LRR203", "LRR204"})  # the guards let the rows speak
NEIGHBOURS = 2  # windows on either side that tell what a pair's difference is at the time


@dataclass(frozen=True, slots=True)
class Meeting:
    """One twin against another on one window."""

    effect: float  # relative gain of the second
    low: float  # lower bound of it
    code: str

    @property
    def answered(self) -> bool:
        """Whether it could have been a PASS."""
        return self.code in ANSWERED


def meet(scores: HoldoutScores, result: TuneResult, config: Config) -> Meeting:
    """What the paired gate says of two twins."""
    found = paired_loss(scores, result, config)
    known = [np.nan if value is None else value for value in (found.effect, found.low)]
    return Meeting(known[0], known[1], found.code)


def truths(effects: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """What each window's true gain is taken for, from gains ``(pairs, windows)``; NaN where none was measured.

    Two fits that differ by seed differ for good, and not alike all the time, so equal is what their own nearest
    windows say: the mean of the two on either side. That mean errs too, and by more than a quiet window does that lies
    among restless ones, so the distance is shrunk to what the window's own error makes of it: by the ratio of its
    width to the width of the difference. What a pair's true difference moves from window to window stays in.

    Parameters
    ----------
    widths
        How far each window's bounds lie from its gains, ``(windows,)``, in any unit.
    """
    found = np.full_like(effects, np.nan)
    for w in range(effects.shape[1]):
        near = [n for n in range(max(0, w - NEIGHBOURS), min(effects.shape[1], w + NEIGHBOURS + 1)) if n != w]
        there = np.isfinite(effects[:, near])
        known = there.sum(axis=1)
        rows = (known > 0) & np.isfinite(effects[:, w])
        mean = np.nansum(effects[np.ix_(rows, near)], axis=1) / known[rows]
        theirs = (there[rows] * widths[near] ** 2).sum(axis=1) / known[rows] ** 2
        away = (effects[rows, w] - mean) * widths[w] / np.sqrt(widths[w] ** 2 + theirs)
        found[rows, w] = effects[rows, w] - away
    return found


def _widths(effects: np.ndarray, lows: np.ndarray) -> np.ndarray:
    """Root mean square distance of a window's bounds from its gains, over all pairs; one, where none is known."""
    square = np.where(np.isfinite(effects - lows), (effects - lows) ** 2, np.nan)
    known = np.isfinite(square).sum(axis=0)
    total = np.nansum(square, axis=0)
    usual = total.sum() / max(int(known.sum()), 1)
    return np.sqrt(np.where(total > 0, total / np.maximum(known, 1), usual if usual > 0 else 1.0))


@dataclass(frozen=True, slots=True)
class Counted:
    """Comparisons of equal models and what became of them."""

    hits: int  # wrongly called better
    trials: int
    stopped: int  # by guards: no PASS
    worth: float  # as many independent comparisons would say as much


def false_passes(meetings: Sequence[Sequence[Meeting]]) -> Counted:
    """Pairs by windows; the two directions of a pair follow one another."""
    effects = np.array([[m.effect for m in pair] for pair in meetings])
    lows = np.array([[m.low for m in pair] for pair in meetings])
    answered = np.array([[m.answered for m in pair] for pair in meetings])
    with np.errstate(invalid="ignore"):
        wrong = answered & (lows > truths(effects, _widths(effects, lows)))
    return Counted(int(wrong.sum()), int(answered.size), int((~answered).sum()), _worth(wrong))


def _worth(wrong: np.ndarray) -> float:
    """Comparisons over the design effect of windows, or of pairs where that is larger: Kish 1965, chapter 5."""
    share = float(wrong.mean())
    alone = share * (1.0 - share) / wrong.size
    by_pair = wrong.reshape(len(wrong) // 2, -1) if len(wrong) % 2 == 0 else wrong
    groups = [each for each in (wrong.mean(axis=0), by_pair.mean(axis=1)) if len(each) > 1]
    found = max((float(each.var(ddof=1)) / len(each) for each in groups), default=0.0)
    return wrong.size / max(1.0, found / alone) if alone > 0 else float(wrong.size)


def limits(hits: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """Exact confidence limits of a share: Clopper & Pearson 1934; of parts of a comparison, too.

    >>> [round(end, 3) for end in limits(0, 100)]
    [0.0, 0.036]
    """
    from scipy.special import betaincinv

    tail = (1.0 - level) / 2.0
    low = float(betaincinv(hits, trials - hits + 1, tail)) if hits else 0.0
    return low, float(betaincinv(hits + 1, trials - hits, 1.0 - tail)) if hits < trials else 1.0
