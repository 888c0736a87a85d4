"""How often equal models are called better.

Both models have the same expected loss; the paired difference has a tick effect (2.6 times the row error) that is
independent or autocorrelated between ticks. Printed: share of replays whose lower bound lies above zero (stated: 5 %).
"""

from __future__ import annotations

import numpy as np

from lr_retune.config import Metric
from lr_retune.judge.paired import paired
from lr_retune.metrics import loss_for

REPLAYS = 4000
ROWS = 40  # a tick
MAE = loss_for(Metric(name="mae"))


def share(ticks: int, correlation: float, seed: int, replays: int) -> float:
    """False superiority."""
    rng = np.random.default_rng(seed)
    tick = np.repeat(np.arange(ticks), ROWS)
    y, champion = np.zeros(len(tick)), np.full(len(tick), 10.0)
    sd = np.sqrt((2.6**2 - 1) / ROWS)
    better = 0
    for _ in range(replays):
        effect = np.empty(ticks)
        effect[0] = rng.normal()
        for t in range(1, ticks):
            effect[t] = correlation * effect[t - 1] + np.sqrt(1 - correlation**2) * rng.normal()
        challenger = champion - sd * effect[tick] - rng.normal(size=len(tick))
        better += paired(y, champion, challenger, tick, MAE).low > 0
    return better / replays


def table(quick: bool) -> str:
    """Shares by correlation and ticks."""
    lines = ["lag-one correlation   T = 7   T = 14   T = 28   T = 60"]
    for correlation in (0.0, 0.3, 0.5):
        found = [share(ticks, correlation, ticks, 100 if quick else REPLAYS) for ticks in (7, 14, 28, 60)]
        lines.append(f"{correlation:19.1f}   " + "   ".join(f"{100 * f:4.1f} %" for f in found))
    return "\n".join(lines)
