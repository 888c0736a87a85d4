"""A gate of one's own: a challenger must not lean to one side of the truth."""

from __future__ import annotations

import numpy as np

from lr_retune.config import Config
from lr_retune.records import HoldoutScores, Status, TuneResult, Verdict

LIMIT = 0.25  # standard deviations of the labels


def unbiased(scores: HoldoutScores, result: TuneResult, config: Config) -> Verdict:
    """Whether the mean error of the challenger stays below a quarter of the labels' spread."""
    code, status, reason = _answer(scores.y, scores.challenger)
    return Verdict("unbiased", code, status, reason)


def _answer(y: np.ndarray, score: np.ndarray) -> tuple[str, Status, str]:
    if len(y) < 2 or not np.isfinite(y).all() or not y.std():
        return "EXA102", "INCONCLUSIVE", f"the labels of {len(y)} rows do not vary: nothing to compare with"
    if not np.isfinite(score).all():
        return "EXA103", "ERROR", "some scores are not finite"
    lean = float((score - y).mean() / y.std())
    told = f"scores lie {abs(lean):.2f} standard deviations {'above' if lean > 0 else 'below'} the labels"
    return ("EXA101", "FAIL", f"{told}, at most {LIMIT} is allowed") if abs(lean) > LIMIT else ("EXA100", "PASS", told)
