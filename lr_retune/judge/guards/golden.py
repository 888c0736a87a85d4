"""The golden set: rows that a person vouches for, on which no challenger may be worse, and whose labels must hold."""

from __future__ import annotations

import numpy as np

from lr_retune.config import Config
from lr_retune.judge.guards.audit import audited
from lr_retune.judge.guards.common import ALPHA, Answer, blind, not_asked, verdict
from lr_retune.judge.paired import paired
from lr_retune.metrics import loss_for
from lr_retune.records import HoldoutScores, TuneResult, Verdict

PARTS = 20  # rows are dealt in turn to so many parts, whose spread is the error


def golden(scores: HoldoutScores, _result: TuneResult, config: Config) -> Verdict:
    """Whether the challenger keeps the golden set: not demonstrably worse than the champion, and above the floor.

    And whether the feed, where it holds the same rows, gives them the labels that were vouched for.
    """
    return verdict("golden", blind(scores) or _both(_answer(scores, config), audited(scores.audit, config)))


def _both(kept: Answer, labels: Answer | None) -> Answer:
    """Harm comes first, then labels that are in doubt."""
    if labels is None:
        return kept
    decides = labels if (kept[1], labels[1]) == ("PASS", "INCONCLUSIVE") else kept
    return decides[0], decides[1], f"{kept[2]}; {labels[2]}"


def _answer(scores: HoldoutScores, config: Config) -> Answer:
    if config.gates.golden is None:
        return not_asked("[gates] golden names no file")
    vouched = scores.golden
    if vouched is None or not np.isfinite(vouched.challenger).all():
        return "LRR301", "INCONCLUSIVE", "the golden set could not be scored"
    loss, floor, unscored = loss_for(config.metric), config.gates.golden_floor, bool(np.isnan(vouched.champion).all())
    after = loss.value(vouched.y, vouched.challenger)
    told = f"loss {after:.4g} on {len(vouched.y)} golden rows"
    value = 1 - after if loss.higher_is_better else after
    if floor is not None and not (value >= floor if loss.higher_is_better else value <= floor):
        return "LRR352", "FAIL", f"{told}; {config.metric.name} {value:.4g} does not keep the floor {floor:g}"
    if unscored and floor is None:
        return "LRR301", "INCONCLUSIVE", f"{told}; the champion is not loaded, set [gates] golden_floor"
    if unscored:
        return "LRR350", "PASS", f"{told}; the champion is not loaded, the floor {floor:g} alone was asked"
    told += f", the champion {loss.value(vouched.y, vouched.champion):.4g}"
    parts = np.arange(len(vouched.y)) % PARTS
    found = paired(vouched.y, vouched.champion, vouched.challenger, parts, loss, alpha=ALPHA)
    return (
        ("LRR351", "FAIL", f"{told}: worse") if found.high < 0 else ("LRR350", "PASS", f"{told}: not shown to be worse")
    )
