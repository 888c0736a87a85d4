"""The twin probe: a small stale and a small fresh model on the same labelled rows say what a retrain would bring.

A loss that rose is no promise that training helps: where the world got harder, a fresh model is as bad as the old one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from lr_retune.metrics import Loss
from lr_retune.records import Champion, Cost, Family, FitData, Probe, Rows, at

SHARE = 0.006  # of the work of a grid of ten fits that one probe may take
GRID = 10  # fits of that grid, each as long as the champion's
MOST_STEPS = 30  # of a twin
LEAST_ROWS = 100  # a twin of fewer rows says nothing
TICKS = 4  # newest ones that the twins meet on; more where they hold few rows
MOST_TICKS = 14


@dataclass(frozen=True, slots=True)
class Twins:
    """The rows of a probe: what the champion knew, what a fresh model could know, and where they meet."""

    stale: Rows
    fresh: Rows
    met: Rows
    since: int | None = None  # microseconds: estimated start of a change
    cut: bool = False  # enough ticks have passed since then to train on them alone
    taught: int | None = None  # the same: rows since then weighed as much as all before when the champion learned


def probed(
    twins: Twins, family: Family, champion: Champion, data: FitData, loss: Loss, as_of: datetime, *, seed: int
) -> Probe | None:
    """Train the twins alike and let them meet; None where rows or ticks do not suffice.

    Parameters
    ----------
    twins
        Labelled rows.
    data
        Whose task, objective and curve the twins are trained by; its rows are not read.
    loss
        The user's metric.

    Notes
    -----
    The stale and the fresh twin have the same number of rows and of steps; so many that both together stay within .6 %
    of a grid of ten fits of the champion's length. Fewer steps at a proportionally larger rate come as far down.
    After a change half of the fresh twin's rows are of the time since then, as far as there are any. Where there are
    enough to train on alone, a third twin knows nothing else, and the better of the two speaks for fresh data.
    """
    after = None if twins.since is None else twins.fresh.take(twins.fresh.time >= twins.since)
    steps, rows = _size(champion, family, len(twins.stale), len(twins.fresh))
    met = len(np.unique(twins.met.tick))
    # rows are drawn anew for each probe, or one draw's luck would add up; by the fraction of the golden section
    shift = int(twins.met.tick.max()) / 1e6 / 3600 * 0.6180339887498949 % 1.0 if met else 0.0
    if rows < LEAST_ROWS or met < 2:
        return None
    fresh: dict[bool, Rows] = {False: _drawn(twins.fresh, rows, twins.since, shift)}
    if twins.cut and after is not None and len(after) >= LEAST_ROWS:
        fresh[True] = _thinned(after, rows, shift)
    rate = _rate(champion, family, steps)

    def answer(known: Rows) -> np.ndarray:
        fits = family.start(replace(data, train=known, valid=twins.met), seed=seed)
        handle = fits.add(rate, "constant")
        done = sum(len(part) for part in fits.advance([handle], steps))
        return fits.score(handle, done)

    stale = answer(_drawn(twins.stale, rows, twins.taught, shift))
    gains = {alone: _gains(twins.met, stale, answer(known), loss) for alone, known in fresh.items()}
    if min(map(len, gains.values())) < 2:
        return None
    cut = True in gains and gains[True].mean() > gains[False].mean()
    found = gains[cut]
    count = 1 + len(fresh)
    return Probe(
        as_of=as_of,
        gain=float(np.mean(found)) - (_luck(gains[False], gains[True]) if True in gains else 0.0),
        error=float(np.std(found, ddof=1) / math.sqrt(len(found))),
        ticks=len(found),
        rows=len(twins.met),
        learned=len(np.unique((twins.fresh if after is None else after).tick)),
        cut=at(twins.since) if cut and twins.since is not None else None,
        available=len(twins.fresh) + len(twins.met),
        cost=Cost(count, count * steps, steps * (rows + sum(map(len, fresh.values())))),
    )


def ticks_to_meet(rows_per_tick: Sequence[int], wanted: int) -> int:
    """How many of the newest ticks the twins meet on: four, or as many as hold the wanted rows, up to fourteen.

    >>> ticks_to_meet([500] * 20, 200), ticks_to_meet([24] * 20, 200), ticks_to_meet([1] * 20, 200)
    (4, 9, 14)
    """
    newest = np.cumsum(list(rows_per_tick)[::-1][:MOST_TICKS])
    enough = int(np.searchsorted(newest, wanted)) + 1
    return max(TICKS, min(enough, MOST_TICKS))


def _size(champion: Champion, family: Family, stale: int, fresh: int) -> tuple[int, int]:
    """Steps and rows of a twin; another family's steps say nothing of ours."""
    length = champion.steps if champion.family == family.name else MOST_STEPS
    steps = max(1, min(length, MOST_STEPS))
    work = SHARE * GRID * length * max(stale, 1)
    return steps, min(stale, fresh, max(LEAST_ROWS, int(work / (2 * steps))))


def _rate(champion: Champion, family: Family, steps: int) -> float:
    """The champion's progress in fewer steps, for families whose rate and steps stand for each other."""
    if champion.family != family.name:
        return family.default_rate
    if not family.steps_are_served:
        return champion.learning_rate
    return min(champion.learning_rate * champion.steps / steps, family.default_range.high)


def _thinned(rows: Rows, count: int, shift: float) -> Rows:
    """So many rows, evenly over time."""
    return rows.take(np.array(_places(np.ones(len(rows), dtype=bool), count, shift), dtype=np.int64))


def _drawn(rows: Rows, count: int, since: int | None, shift: float) -> Rows:
    """So many rows; of the time after a change half of them, or what there is, with as much weight as all before."""
    if since is None:
        return _thinned(rows, count, shift)
    new = rows.time >= since
    wanted = max(count // 2, count - int((~new).sum()))
    after = _places(new, wanted, shift)
    both = [*_places(~new, count - len(after), shift), *after]
    return rows.take(np.sort(np.array(both, dtype=np.int64))).emphasised(since)


def _places(which: np.ndarray, count: int, shift: float) -> list[int]:
    """Positions of so many of the marked rows, evenly; ``shift`` in [0, 1) draws others."""
    found = np.flatnonzero(which)
    if len(found) > count:
        found = found[((np.arange(count) + shift) * (len(found) / max(count, 1))).astype(np.int64)]
    places: list[int] = found.tolist()
    return places


def _luck(first: np.ndarray, second: np.ndarray) -> float:
    """What the better of two gains owes to being chosen: at most standard error / √(2π), for two that are equal."""
    apart = first - second
    chosen = float(np.std(apart, ddof=1)) / math.sqrt(len(apart) * 2 * math.pi)
    return min(abs(float(apart.mean())), chosen)


def _gains(met: Rows, stale: np.ndarray, fresh: np.ndarray, loss: Loss) -> np.ndarray:
    """Per tick, what the fresh twin is better by; ticks without a loss are left out."""
    each = [met.tick == tick for tick in np.unique(met.tick)]
    found = np.array([loss.value(met.y[w], stale[w]) - loss.value(met.y[w], fresh[w]) for w in each])
    finite: np.ndarray = found[np.isfinite(found)]
    return finite
