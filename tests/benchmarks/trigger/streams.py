"""Generated streams whose truth is known, and the changes that are planted in them.

30 columns, 24 numbers and 6 categories; 6 of them make the label, one of these (``x0``) far more than any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

NUMBERS, CATEGORIES, LEVELS = 24, 6, 4
NAMES = (*(f"x{i}" for i in range(NUMBERS)), *(f"c{i}" for i in range(CATEGORIES)))
DOMINANT = 0
USED = (0, 1, 2, 3, NUMBERS, NUMBERS + 1)
HARMLESS = tuple(range(7, NUMBERS))  # 17 numbers that the label does not know
EFFECTS = np.array([0.8, 0.35, 0.3, 0.2])  # of x0 … x3 on the logit
OF_LEVELS = np.array([[0.4, -0.4, 0.2, -0.2], [0.3, 0.0, -0.3, 0.0]])  # of c0 and c1
CORRELATION = 0.7  # of x1 and x2


class World(NamedTuple):
    """How rows come about on one tick."""

    shift: np.ndarray  # (24,) in standard deviations
    effects: np.ndarray  # (4,)
    intercept: float
    correlation: float = CORRELATION


@dataclass(frozen=True)
class Kind:
    """A kind of stream: how large its ticks are, and how rare its positives."""

    rows: int
    intercept: float = -1.6
    trained: int = 20_000  # rows that the model learns from

    @property
    def world(self) -> World:
        return World(np.zeros(NUMBERS), EFFECTS, self.intercept)


COMMON = tuple(Kind(rows) for rows in (500, 2_000, 10_000))
RARE = tuple(Kind(rows, intercept=-5.35, trained=100_000) for rows in (2_000, 20_000))

Broken = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Change:
    """What happens from tick 0 on."""

    name: str
    world: Callable[[World, int], World] = lambda world, _tick: world
    broken: Broken = lambda x, _rng: x  # what the feed does to the columns after the label came about
    fault: bool = False  # it is to be held, not learned
    positives: float = 1.0  # times as likely to come as before, their columns unchanged


def draw(world: World, rows: int, rng: np.random.Generator, positives: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Columns, shape ``(rows, 30)``, categories as codes, and labels, shape ``(rows,)``.

    ``positives``: rows of that class are kept so many times as often as others.
    """
    if positives != 1.0:
        x, y = draw(world, int(2 * rows * positives), rng)
        kept = np.flatnonzero((y == 1) | (rng.random(len(y)) < 1 / positives))[:rows]
        return x[kept], y[kept]
    x = np.empty((rows, NUMBERS + CATEGORIES))
    x[:, :NUMBERS] = rng.normal(size=(rows, NUMBERS))
    x[:, 2] = world.correlation * x[:, 1] + np.sqrt(1 - world.correlation**2) * x[:, 2]
    x[:, :NUMBERS] += world.shift
    x[:, NUMBERS:] = rng.integers(0, LEVELS, size=(rows, CATEGORIES))
    codes = x[:, NUMBERS : NUMBERS + 2].astype(np.int64)
    logit = world.intercept + x[:, :4] @ world.effects + OF_LEVELS[0][codes[:, 0]] + OF_LEVELS[1][codes[:, 1]]
    return x, (rng.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.float64)


# ── changes ───────────────────────────────────────────────────────────────────────────────────────
def _shifted(columns: tuple[int, ...], by: Callable[[int], float]) -> Callable[[World, int], World]:
    def change(world: World, tick: int) -> World:
        shift = world.shift.copy()
        shift[list(columns)] += by(tick)
        return world._replace(shift=shift)

    return change


def _season(world: World, tick: int) -> World:
    """A slow wave in columns of no use, and a weak one in the second column that is of some."""
    shift = world.shift.copy()
    shift[4:] += 0.6 * np.sin(2 * np.pi * (tick + 1) / 60)
    shift[1] += 0.2 * np.sin(2 * np.pi * (tick + 1) / 60)
    return world._replace(shift=shift)


def _reversed(world: World, _tick: int) -> World:
    return world._replace(effects=world.effects * np.array([-1.0, 1, 1, 1]))


def _nulls(share: float) -> Broken:
    def broken(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        found = x.copy()
        found[rng.random(len(x)) < share, DOMINANT] = np.nan
        return found

    return broken


def _unit(column: int) -> Broken:
    def broken(x: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
        found = x.copy()
        found[:, column] *= 1000
        return found

    return broken


DOUBLED = 2.75  # makes 21 % positives 42 %
STABLE = Change("stable")
CHANGES = (
    Change("all columns +.35 sd", _shifted(tuple(range(NUMBERS)), lambda _t: 0.35)),
    Change("dominant +1.5 sd", _shifted((DOMINANT,), lambda _t: 1.5)),
    Change("gradual, +.15 sd a tick", _shifted((DOMINANT,), lambda t: min(1.5, 0.15 * (t + 1)))),
    Change("concept: dominant reversed", _reversed),
    Change("label rate x2", positives=DOUBLED),
    Change("harmless: 17 columns +.8 sd", _shifted(HARMLESS, lambda _t: 0.8)),
    Change("seasonal", _season),
    Change("correlation flipped", lambda world, _t: world._replace(correlation=-world.correlation)),
    Change("nulls 10 %", broken=_nulls(0.1), fault=True),
    Change("nulls 50 %", broken=_nulls(0.5), fault=True),
    Change("nulls 100 %", broken=_nulls(1.0), fault=True),
    Change("unit x1000", broken=_unit(DOMINANT), fault=True),
)
RARE_CHANGES = (
    Change("loss +20 %: base rate +30 %", lambda world, _t: world._replace(intercept=world.intercept + 0.27)),
)
