"""What all guards share: their codes, their level, and how a figure's error is told from ticks."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from lr_retune.records import NOT_ASKED, HoldoutScores, Status, Verdict

ALPHA = 0.01  # one-sided, of each guard: several are asked of every challenger
LEAST_TICKS = 7

RULES: dict[str, str] = {
    "LRR300": "The guard was not asked: its key in [gates] is not set, or the task has no such figure.",
    "LRR301": "The guard has no rows, or scores that are not finite: nothing can be said.",
    "LRR302": "The rows are too few, or too alike, for this guard to show harm. It blocks on demonstrated harm only.",
    "LRR310": "No slice shows harm. Slices told as unknown are too thin to show it: a loss there may be missed.",
    "LRR311": "The challenger is demonstrably worse on a slice of [gates] slices: its loss is larger by more than 2 %, "
    "and significantly so over all slices together.",
    "LRR312": "A slice of [gates] critical is not shown to be safe: that its loss rose by 10 % is not excluded.",
    "LRR320": "The challenger's scores lie as near to what happened as the champion's, within [gates] calibration.",
    "LRR321": "The challenger's calibration (regression: its bias) is demonstrably worse than the champion's, by more "
    "than [gates] calibration.",
    "LRR325": "The challenger's scores are spread much as the champion's, or lie as near to what happened.",
    "LRR326": "The challenger's scores are spread quite differently from the champion's, and the labels do not ask for "
    "it. A person should look; [gates] score_shift is the limit.",
    "LRR330": "No level of a column changed its share of positives more than levels did before.",
    "LRR331": "The labels of one level changed much more than the labels of any level did before: they may be broken "
    "or poisoned. A person should look; without the gate label_rates the change is accepted.",
    "LRR340": "The share of alerts at the decision threshold is like the champion's.",
    "LRR341": "The share of alerts at the decision threshold changed by more than [gates] alert_ratio.",
    "LRR350": "The challenger is not demonstrably worse than the champion on the golden set, and keeps its floor. "
    "Where the feed holds golden rows too, their labels agree but for honest noise.",
    "LRR351": "The challenger is demonstrably worse than the champion on rows that a person vouches for.",
    "LRR352": "The challenger does not reach [gates] golden_floor on the golden set.",
    "LRR356": "Labels in the feed differ from those that a person vouches for, of the very same rows, by more than "
    "[gates] label_noise: they may be broken or poisoned, and the holdout with them. A person should look.",
    "LRR360": "The gain is within what labels known in time can bring.",
    "LRR361": "The challenger's loss lies far below anything this stream has shown: a feature may know the label. "
    "A person should look; [gates] too_good is the limit.",
    "LRR370": "The challenger is about as large and as slow to serve as the champion.",
    "LRR371": "The challenger is much larger or slower to serve than the champion: see [gates] size_ratio and "
    "steps_ratio.",
}

Answer = tuple[str, Status, str]


def verdict(gate: str, answer: Answer, evidence: Mapping[str, float | str] | None = None) -> Verdict:
    """A guard's answer under its name, with what a reviewer may want to see."""
    return Verdict(gate, *answer, evidence=evidence or {})


def not_asked(why: str) -> Answer:
    """The silent PASS of a guard that has no question."""
    return NOT_ASKED, "PASS", why


def blind(scores: HoldoutScores) -> Answer | None:
    """What keeps every guard from seeing anything: no rows, or scores that are not finite."""
    rows = len(scores.y)
    arms = (scores.y, scores.champion, scores.challenger)
    if not rows or any(a.shape != (rows,) or not np.isfinite(a).all() for a in arms):
        return "LRR301", "INCONCLUSIVE", "the holdout holds no rows, or scores that are not finite"
    return None


def lower_bound(whole: float, without: np.ndarray, alpha: float = ALPHA) -> float:
    """One-sided lower bound of a figure from its values without each tick, shape ``(ticks,)``.

    The jackknife t of Efron & Tibshirani 1993, chapter 11; NaN where it cannot be told.
    """
    from scipy.special import stdtrit

    ticks = len(without)
    if ticks < 2 or not np.isfinite(without).all():
        return math.nan
    se = math.sqrt((ticks - 1) / ticks * float(((without - without.mean()) ** 2).sum()))
    return whole - float(stdtrit(ticks - 1, 1 - alpha)) * se
