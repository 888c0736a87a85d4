"""compare: how often a better model is named among equal ones, and how often the better one is where there is one.

Losses of 1 with a tick effect of its own for each model, 5 % of the loss; all pairs share alpha .05. The better model
gains three standard errors of a pair's difference over every other.
"""

from __future__ import annotations

import numpy as np

from lr_retune.config import Config
from lr_retune.judge.blocks import best_of, pairs_of
from lr_retune.records import HoldoutScores
from tests.benchmarks.judge.poison import upper
from tests.benchmarks.judge.worlds import settings

ROWS, SPREAD = 40, 0.05
MODELS, BLOCKS, MEMORIES = (2, 3, 5), (14, 52), (0.0, 0.3)


def drawn(
    seed: int, models: int, blocks: int, memory: float, gain: float
) -> tuple[dict[str, np.ndarray], HoldoutScores]:
    """Losses as distances from labels of 0: independent effects of blocks, or such that remember the one before."""
    rng = np.random.default_rng([seed, models, blocks])
    effect = rng.normal(size=(models, blocks))
    for t in range(1, blocks):
        effect[:, t] = memory * effect[:, t - 1] + np.sqrt(1 - memory**2) * effect[:, t]
    loss = 1 + SPREAD * np.repeat(effect, ROWS, axis=1) + 0.1 * rng.normal(size=(models, blocks * ROWS))
    loss[0] -= gain
    y, block = np.zeros(blocks * ROWS), np.repeat(np.arange(blocks), ROWS)
    return {f"m{k}": each for k, each in enumerate(loss)}, HoldoutScores(y, block, y, y)


def cell(replays: int, models: int, blocks: int, memory: float, asked: Config) -> tuple[int, float]:
    """Replays in which any pair of equal models was told apart, and the share in which a better one was named best."""
    gain = 3 * SPREAD * np.sqrt(2 / blocks)
    false = sum(any(p.better for p in pairs_of(*drawn(n, models, blocks, memory, 0.0), asked)) for n in range(replays))
    few = max(replays // 4, 1)
    found = sum(best_of(pairs_of(*drawn(n, models, blocks, memory, gain), asked)) == "m0" for n in range(few))
    return false, found / few


def table(quick: bool) -> str:
    """Shares of replays."""
    asked, many = settings(), 8 if quick else 1000
    lines = [f"{'models':>6}{'blocks':>8}{'memory':>8}{'equal ones told apart':>32}{'the better one named':>24}"]
    for blocks in BLOCKS[: 1 if quick else None]:
        for memory in MEMORIES[: 1 if quick else None]:
            for models in MODELS:
                false, found = cell(many, models, blocks, memory, asked)
                told = f"{100 * false / many:.1f} % (at most {100 * upper(false, many):.1f} %)"
                lines.append(f"{models:>6}{blocks:>8}{memory:>8}{told:>32}{f'{100 * found:.0f} %':>24}")
    return "\n".join(lines)
