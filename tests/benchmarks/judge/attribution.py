"""How often a rate is said to have brought something: synthetic fits of known truth, and rates that luck has chosen.

Relative units; both arms are fitted by several seeds on the same rows. A tick moves the effect of the rate by 1 %, with
a lag-one correlation; a seed moves a fit on all ticks alike, and by as much again on each tick by itself. Bars: false
claims of either sign 5 % at most; the stated 95 % intervals hold the planted truths in 93 % at least. The second table
is of equal rates one of which was taken, as a search takes it: the best of ten on valid by the first seed, if it leads
by more than its error and over three seeds. Its arms are those very seeds, or three that chose nothing.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from lr_retune.judge.attribution import Arm, origin
from lr_retune.records import Effect

REPLAYS, ALPHA = 2000, 0.025
TICK_SD = 0.01
CELLS = tuple(itertools.product((3, 5), (14, 28), (0.0, 0.003, 0.006), (0.0, 0.3)))  # seeds, ticks, seed sd, AR(1)
CHOSEN = tuple(itertools.product((14, 28), (0.003, 0.006, 0.02), (0.0, 0.3)))  # ticks, seed sd, AR(1)
RATES, SEEDS, VALID_SD = 10, 3, 0.002


def table(quick: bool) -> str:
    """One line a cell."""
    replays = 50 if quick else REPLAYS
    lines = ["seeds ticks seed sd AR   false gains  false costs  either (<= 5 %)  held (>= 93 %)  told at 1 %  at 2 %"]
    lines += [_planted(cell, replays) for cell in (CELLS[:2] if quick else CELLS)]
    lines += ["", "a rate that luck chose   the seeds that chose it    three others"]
    lines += ["ticks seed sd AR  taken  false gains  costs         false gains  costs  either (<= 5 %)"]
    lines += [_chosen(cell, replays) for cell in (CHOSEN[:1] if quick else CHOSEN)]
    return "\n".join(lines)


def walk(rng: np.random.Generator, shape: tuple[int, ...], correlation: float) -> np.ndarray:
    """Unit variance, correlated along the last axis."""
    found = rng.normal(size=shape)
    for t in range(1, shape[-1]):
        found[..., t] = correlation * found[..., t - 1] + np.sqrt(1 - correlation**2) * found[..., t]
    return found


def rate_effect(control: np.ndarray, challenger: np.ndarray) -> Effect:
    """What the product says of fits ``(seeds, ticks)`` beside a champion of loss 1."""
    values = {"control": control, "challenger": challenger, "champion": np.ones((1, control.shape[1]))}
    arms = {name: Arm(v.mean(axis=1), v) for name, v in values.items()}
    told = origin(arms, np.full(control.shape[1], 1 / control.shape[1]), alpha=ALPHA, seed_matters=True)
    assert told is not None
    return told.effects["rate"]


def effects(cell: tuple[int, int, float, float], rate: float, replays: int) -> list[Effect]:
    """The rate's effect in replays whose truth is ``rate``; fresh data bring 3 %."""
    seeds, ticks, spread, correlation = cell
    rng = np.random.default_rng(7)
    found = []
    for _ in range(replays):
        moved = TICK_SD * walk(rng, (ticks,), correlation)
        own = spread * (rng.normal(size=(2, seeds, 1)) + walk(rng, (2, seeds, ticks), correlation))
        found.append(rate_effect(0.97 + own[0] + moved, 0.97 - rate + own[1]))
    return found


def signs(found: list[Effect]) -> np.ndarray:
    """1 for a gain that was claimed, -1 for a cost, 0 for neither."""
    return np.array([np.sign(e.value or 0.0) if e.claimed else 0.0 for e in found])


def chosen(cell: tuple[int, float, float], replays: int) -> tuple[float, list[Effect], list[Effect]]:
    """Share of replays in which a rate was taken, and what is said of so many that were."""
    ticks, spread, correlation = cell
    rng = np.random.default_rng(3)
    many = 8 * replays
    luck = spread * rng.normal(size=(many, RATES + 1, 2 * SEEDS))
    valid = luck[..., :SEEDS] + VALID_SD * rng.normal(size=(many, RATES + 1, 1))
    best = 1 + valid[:, 1:, 0].argmin(axis=1)
    lead = valid[:, 0] - valid[np.arange(many), best]
    taken = (lead[:, 0] > VALID_SD) & (lead.mean(axis=1) > lead.std(axis=1, ddof=1) / math.sqrt(SEEDS))
    same, other = [], []
    for row in np.flatnonzero(taken)[:replays]:
        moved = TICK_SD * walk(rng, (ticks,), correlation)
        own = spread * walk(rng, (2, 2 * SEEDS, ticks), correlation)
        control = 0.97 + luck[row, 0][:, None] + own[0] + moved
        challenger = 0.97 + luck[row, best[row]][:, None] + own[1]
        same.append(rate_effect(control[:SEEDS], challenger[:SEEDS]))
        other.append(rate_effect(control[SEEDS:], challenger[SEEDS:]))
    return float(taken.mean()), same, other


def _planted(cell: tuple[int, int, float, float], replays: int) -> str:
    null, one, two = (effects(cell, rate, replays) for rate in (0.0, 0.01, 0.02))
    held = np.mean([(e.low or 0.0) <= 0.01 <= (e.high or 0.0) for e in one])
    told = signs(null)
    brought = [float((signs(each) > 0).mean()) for each in (one, two)]
    seeds, ticks, spread, correlation = cell
    return (
        f"{seeds:5} {ticks:5} {100 * spread:5.1f} % {correlation:.1f} {_pct(told > 0, 11)} {_pct(told < 0, 12)} "
        f"{_pct(told != 0, 16)} {100 * held:13.1f} % {100 * brought[0]:10.0f} % {100 * brought[1]:5.0f} %"
    )


def _chosen(cell: tuple[int, float, float], replays: int) -> str:
    taken, same, other = chosen(cell, replays)
    a, b = signs(same), signs(other)
    ticks, spread, correlation = cell
    return (
        f"{ticks:5} {100 * spread:5.1f} % {correlation:.1f} {100 * taken:4.0f} % {_pct(a > 0, 11)} {_pct(a < 0, 5)} "
        f"{_pct(b > 0, 18)} {_pct(b < 0, 6)} {_pct(b != 0, 15)}"
    )


def _pct(which: np.ndarray, width: int) -> str:
    return f"{f'{100 * float(np.mean(which)):.1f} %':>{width}}"
