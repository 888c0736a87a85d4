"""Replayed probations on made ticks: row noise, a shared luck of each tick, and harm that is planted or is not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lr_retune.config import Metric, Promote
from lr_retune.judge.probation import Harm, against_former, first_look, level, look
from lr_retune.metrics import loss_for

MAE = loss_for(Metric(name="mae"))
OF, ALPHA, MARGIN = Promote().probation, Promote().probation_alpha, 0.01
ROWS = 40  # a tick


@dataclass(frozen=True)
class Ticks:
    """How the losses of two champions differ from tick to tick."""

    name: str
    spread: float  # standard deviation of a tick's difference, share of the loss
    correlation: float = 0.0  # of neighbouring ticks
    heavy: bool = False  # Student's t with 4 degrees of freedom instead of a normal


CALM = (
    Ticks("independent, spread 4 %", 0.04),
    Ticks("long tails, spread 4 %", 0.04, heavy=True),
    Ticks("correlated .3, spread 4 %", 0.04, 0.3),
    Ticks("correlated .5, spread 4 %", 0.04, 0.5),
    Ticks("correlated .3, long tails, spread 10 %", 0.10, 0.3, heavy=True),
    Ticks("correlated .5, spread 10 %", 0.10, 0.5),
)
PLANTED = (0.1, 0.2, 0.5)


def differences(ticks: Ticks, rng: np.random.Generator) -> np.ndarray:
    """One probation's luck, tick by tick, shape ``(OF,)``."""
    shocks = rng.standard_t(4, OF) / math.sqrt(2) if ticks.heavy else rng.normal(size=OF)
    luck = np.empty(OF)
    luck[0] = shocks[0]
    for t in range(1, OF):
        luck[t] = ticks.correlation * luck[t - 1] + math.sqrt(1 - ticks.correlation**2) * shocks[t]
    return ticks.spread * luck


def rolled_back_at(worse: np.ndarray, rng: np.random.Generator) -> int | None:
    """Ticks with labels until a rollback; None: the probation ends well.

    Parameters
    ----------
    worse
        How much larger the champion's loss is than the former one's, share, shape ``(OF,)``.
    """
    tick = np.repeat(np.arange(OF), ROWS)
    former = 1.0 + 0.3 * rng.normal(size=len(tick))
    score = former * (1.0 + worse[tick]) + 0.1 * rng.normal(size=len(tick))
    y, first, asked = np.zeros(len(tick)), first_look(OF, MAE), level(OF, MAE, ALPHA)
    for ticks in range(first, OF + 1):

        def ask(newest: int, seen: int = ticks) -> Harm:
            kept = (tick < seen) & (tick >= seen - newest)
            return against_former(y[kept], score[kept], former[kept], tick[kept], MAE, MARGIN, asked)

        if look(ticks, first, ask)[0].proven:
            return ticks
    return None


def ends(ticks: Ticks, planted: float, promotions: int, *, start: int = 0) -> list[int | None]:
    """How so many probations end, with harm from tick ``start`` on."""
    rng = np.random.default_rng(20)
    harm = np.where(np.arange(OF) >= start, planted, 0.0)
    return [rolled_back_at(harm + differences(ticks, rng), rng) for _ in range(promotions)]


def table(promotions: int) -> str:
    """False rollbacks, and ticks to a rollback."""
    lines = [
        f"{promotions} promotions a cell, probation of {OF} ticks, stated: {ALPHA:.0%} false rollbacks at most",
        "",
    ]
    lines.append(f"{'equal champions: the two differ by luck':42s}  rolled back in error")
    for ticks in CALM:
        false = sum(end is not None for end in ends(ticks, 0.0, promotions))
        lines.append(f"{ticks.name:42s}  {100 * false / promotions:5.1f} %")
    lines += ["", f"{'planted harm':42s}  rolled back   ticks with labels to it: median, 90 %"]
    for ticks in (CALM[2], CALM[4]):
        for planted, start in [(size, 0) for size in PLANTED] + [(PLANTED[1], 6)]:
            found = [end for end in ends(ticks, planted, promotions, start=start) if end is not None and end > start]
            late = f" from tick {start + 1} on" if start else ""
            name = f"+{planted:.0%}{late}, {ticks.name.removeprefix('correlated ')}"
            waits = [end - start for end in found] or [math.nan]
            told = f"{np.median(waits):.0f}, {np.quantile(waits, 0.9):.0f}"
            lines.append(f"{name:42s}  {100 * len(found) / promotions:9.1f} %   {told}")
    return "\n".join(lines)
