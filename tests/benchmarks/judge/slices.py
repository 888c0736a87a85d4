"""Slices: how often one of 20 is called harmed where none is, and how often harm in one is seen.

20 slices, correlated .5, over 14 or 28 ticks; the challenger gains 2 % over all, one slice is worse by what the column
says. Spread of a slice's tick: 5 % of the loss where it is filled, 15 % where it is thin.
"""

from __future__ import annotations

import numpy as np

from lr_retune.config import Metric
from lr_retune.judge.guards.slices import harmed_of
from lr_retune.metrics import loss_for
from lr_retune.records import HoldoutScores
from tests.benchmarks.judge.poison import upper

SLICES, ROWS = 20, 15
SPREAD = {"filled": 0.05, "thin": 0.15}


def drawn(seed: int, *, ticks: int, sd: float, harm: float) -> HoldoutScores:
    """Losses of 1 before, and 1 minus a slice's gain in a tick after."""
    rng = np.random.default_rng([seed, ticks])
    gain = 0.02 + sd * np.sqrt(0.5) * (rng.normal(size=ticks) + rng.normal(size=(SLICES, ticks)))
    gain[0] -= harm + 0.02 * (harm > 0)
    area = np.repeat(np.arange(SLICES), ticks * ROWS)
    tick = np.tile(np.repeat(np.arange(ticks), ROWS), SLICES)
    before = np.ones(len(area))
    return HoldoutScores(
        0 * before,
        tick,
        before,
        before - gain[area, tick],
    )


def blocked(replays: int, *, ticks: int, sd: float, harm: float) -> int:
    """Replays in which a slice is called harmed."""
    of, loss = list(np.arange(SLICES * ticks * ROWS).reshape(SLICES, -1)), loss_for(Metric(name="mae"))
    found = (harmed_of(drawn(seed, ticks=ticks, sd=sd, harm=harm), of, loss) for seed in range(replays))
    return sum(any(each) for each in found)


def table(quick: bool) -> str:
    """Shares of replays that were blocked."""
    many = 20 if quick else 2000
    lines = [f"{'':<18}{'none harmed':>26}{'-5 %':>8}{'-10 %':>8}{'-20 %':>8}"]
    for name, sd in SPREAD.items():
        for ticks in (14, 28):
            none = blocked(many, ticks=ticks, sd=sd, harm=0.0)
            seen = [blocked(many // 10, ticks=ticks, sd=sd, harm=h) / (many // 10) for h in (0.05, 0.1, 0.2)]
            told = f"{100 * none / many:.1f} % (at most {100 * upper(none, many):.1f} %)"
            lines.append(f"{name}, T = {ticks:<8}{told:>28}" + "".join(f"{100 * s:>6.0f} %" for s in seen))
    return "\n".join(lines)
