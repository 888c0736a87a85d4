"""What one verdict costs: CPU milliseconds of the whole gate on 50,000 rows of 28 ticks."""

from __future__ import annotations

import statistics
import time

import numpy as np

from lr_retune.config import Config
from lr_retune.judge.gates import paired_loss
from lr_retune.records import HoldoutScores
from tests.benchmarks.judge.worlds import Ranks, outcome, settings

ROWS, TICKS = 50_000, 28


def milliseconds(scores: HoldoutScores, config: Config, times: int) -> float:
    """Median of so many verdicts."""
    found = []
    for _ in range(times):
        began = time.process_time()
        paired_loss(scores, outcome(), config)
        found.append(1000 * (time.process_time() - began))
    return statistics.median(found)


def table(quick: bool) -> str:
    """A line a metric."""
    scores = Ranks(positives=ROWS // 50, rows=ROWS)(np.random.default_rng(1), TICKS)
    entity = np.random.default_rng(2).integers(0, 3000, ROWS)
    named = HoldoutScores(scores.y, scores.tick, scores.champion, scores.challenger, entity=entity)
    lines = []
    for metric, limit in (("log_loss", 50), ("pr_auc", 500), ("roc_auc", 500)):
        config = settings(metric)
        alone, both = (milliseconds(each, config, 1 if quick else 15) for each in (scores, named))
        lines.append(f"{metric:10} {alone:6.1f} ms, with 3,000 customers named {both:6.1f} ms (at most {limit})")
    return "\n".join(lines)
