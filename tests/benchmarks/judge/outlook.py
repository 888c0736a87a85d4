"""Do the gains and the ranges that an undecided verdict names come true.

The gain it calls detectable is planted: share of holdouts that call it better (stated: 4 in 5). And undecided verdicts
of 28 ticks get the further ticks they asked for, at both ends of the range: share decided then, by the same judge.
"""

from __future__ import annotations

import math

import numpy as np

from lr_retune.config import Metric
from lr_retune.judge.outlook import found_at, further
from lr_retune.judge.paired import Comparison, paired
from lr_retune.metrics import loss_for
from lr_retune.records import HoldoutScores
from tests.benchmarks.judge.worlds import Means, codes, settings

REPLAYS = 2000
MARGIN = 0.01
FAR = 300  # ticks beyond which a range is not followed
MAE = loss_for(Metric(name="mae"))


def found(ticks: int, replays: int) -> float:
    """Share of planted detectable gains that are called better."""
    world = Means(gain=found_at(ticks, 0.05) * 0.03 / math.sqrt(ticks))
    return list(codes(world, ticks, replays, settings())).count("LRR201") / replays


def decided(world: Means, replays: int) -> tuple[float, float, float]:
    """Of undecided verdicts on 28 ticks: share with a range worth following, decided at its low and at its high end."""
    rng = np.random.default_rng(7)
    undecided = followed = low = high = 0
    for _ in range(replays):
        whole = world(rng, 28 + FAR)
        now = _compared(whole, 28)
        if now.low > -MARGIN or now.high < 0:
            continue
        undecided, ahead = undecided + 1, further(now, MARGIN)
        if not ahead.high < FAR:
            continue
        followed += 1
        low += _compared(whole, 28 + math.ceil(ahead.low)).low > -MARGIN
        high += _compared(whole, 28 + math.ceil(ahead.high)).low > -MARGIN
    return followed / max(undecided, 1), low / max(followed, 1), high / max(followed, 1)


def _compared(whole: HoldoutScores, ticks: int) -> Comparison:
    kept = whole.tick < ticks
    return paired(whole.y[kept], whole.champion[kept], whole.challenger[kept], whole.tick[kept], MAE)


def table(quick: bool) -> str:
    """Both."""
    replays = 20 if quick else REPLAYS
    lines = ["detectable gain called better: "]
    lines[0] += ", ".join(f"{100 * found(ticks, replays):.1f} % at T = {ticks}" for ticks in (7, 14, 28, 60))
    for gain, sd in ((0.01, 0.03), (0.02, 0.06), (0.03, 0.09)):
        share, low, high = (100 * part for part in decided(Means(gain=gain, sd=sd), max(replays // 4, 10)))
        lines.append(
            f"true gain {100 * gain:.0f} %, sd {100 * sd:.0f} %: {share:.0f} % of undecided verdicts name an end "
            f"within {FAR} ticks; of them {low:.0f} % are decided at the near end, {high:.0f} % at the far end"
        )
    return "\n".join(lines)
