"""The rows of the tables: what is searched how, and what came of it at one time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lr_retune.families.lightgbm import LightGBM
from lr_retune.families.sgd import SGD
from lr_retune.records import Answer, Effort, Family, Fits, FittedModel, Range, SearchOptions, Trial
from lr_retune.search.bracket import bracket
from lr_retune.search.choose import answered, inside
from lr_retune.search.early_stop import fit
from lr_retune.search.grid import fixed, grid
from lr_retune.search.race import race
from tests.benchmarks.search.streams import Episode
from tests.benchmarks.search.work import Clocked, Lent, Trained, metered

Tried = list[tuple[Trial, int]]
Strategy = Callable[[Fits, SearchOptions], Tried]
FAMILIES: dict[str, Family] = {"lightgbm": LightGBM({}, 1), "sgd": SGD({}, 1)}
GRID = {"lightgbm": Range(0.01, 0.3), "sgd": SGD.default_range}  # of grid10, and of the peers
DENSE = Range(0.005, 0.4)  # none of its 25 rates is one of grid10
MOST_STEPS = {"lightgbm": 2000, "sgd": 200}
PATIENCE = {"lightgbm": LightGBM.default_patience, "sgd": SGD.default_patience}
SCHEDULES = tuple(SGD.default_schedules)


@dataclass(frozen=True)
class Row:
    """One way to come to a rate."""

    name: str
    strategy: Strategy
    space: Range | None = None  # None: the family's own
    points: int = 1
    effort: Effort = "balanced"
    answer: Answer = "rate"
    schedules: tuple[str, ...] = ("constant",)
    ours: bool = False  # the answer is ours; else the lowest loss wins
    plain: bool = True  # of ours: the family's fixed rate may answer too
    errors: float | None = None  # by which the winner must lead it; None: as a search of the product asks
    remembers: bool = False  # what it found at earlier times


@dataclass(frozen=True)
class Found:
    """One search: its work, its answer, and what the answer is worth."""

    work: float  # rounds, or epochs of one column
    cpu: float
    refit: float  # work of the last fit where the search has kept none
    rate: float
    valid: float
    later: float
    steps: int  # served: trees, or epochs trained
    serving: float  # CPU milliseconds for 1,000 rows
    lowest: float  # loss on valid of the luckiest trial, taken or not
    trials: tuple[Trial, ...] = ()


def rows_of(family: str) -> list[Row]:
    """Ours and the plain ones; the peers stand in modules of their own."""
    ten = Row("grid10", grid, GRID[family], 10)
    if family == "sgd":
        default = SGD.default_rate
        rows = [
            Row("dense (29)", grid, points=29),
            ten,
            Row("kpass fast", race, effort="fast", ours=True),
            Row("kpass", race, ours=True),
            Row("kpass thorough", race, effort="thorough", ours=True),
            Row("kpass unless .01 is near", race, ours=True, errors=1.0),
            Row(f"fixed {default:g}", fixed, Range(default, default)),
        ]
        if SCHEDULES != ("constant",):
            more = Row("kpass, schedules", race, schedules=SCHEDULES, ours=True)
            efforts: tuple[Effort, ...] = ("fast", "thorough")
            rows[6:6] = [more, *(replace(more, name=f"kpass {e}, schedules", effort=e) for e in efforts)]
        return rows
    return [
        Row("dense (25)", grid, DENSE, 25),
        ten,
        Row("bracket fast", bracket, effort="fast", ours=True),
        Row("bracket", bracket, ours=True),
        Row("bracket, half an error", bracket, ours=True, errors=0.5),
        Row("bracket's winner", bracket, ours=True, plain=False),
        Row("bracket thorough", bracket, effort="thorough", ours=True),
        Row("bracket in .01-.3", bracket, GRID[family], ours=True),
        Row("bracket, history", bracket, ours=True, remembers=True),
        Row("bracket: average", bracket, answer="average", ours=True),
        Row("bracket: cheap_to_serve", bracket, answer="cheap_to_serve", ours=True),
        Row("fixed .05", fixed, Range(0.05, 0.05)),
        Row("fixed .1", fixed, Range(0.1, 0.1)),
    ]


def keep(rate: float) -> Row:
    """The rate that grid10 chose at the time before."""
    return Row("keep", fixed, Range(rate, rate))


def searched(row: Row, episode: Episode, shared: Trained | float, earlier: Sequence[tuple[Trial, ...]]) -> Found:
    """Run a row at one time."""
    asked, fits = options_for(row, episode, earlier), fits_for(episode, shared)
    began = time.process_time()
    trials = row.strategy(fits, asked)
    cpu, work = fits.cpu(time.process_time() - began), fits.work()
    members = chosen(row, trials, asked, fits, FAMILIES[episode.config.model.family].default_rate)
    if not members:
        raise SystemExit(f"{episode.config.name}, {row.name}: no fit is complete: {[t.note for t, _ in trials]}")
    # a fit that the search has dropped is trained again before it can be served
    again = sum(trial.steps for trial, handle in members if handle in fits.dropped) if row.ours else 0
    losses = [trial.loss for trial, _ in trials if trial.loss is not None]
    worth = judged(fits, members, episode)
    lowest = min(losses, default=worth[0])
    found = Found(work, cpu, float(again), members[0][0].learning_rate, *worth, lowest)
    return replace(found, trials=tuple(replace(trial, curve=()) for trial, _ in trials))


def options_for(row: Row, episode: Episode, earlier: Sequence[tuple[Trial, ...]] = ()) -> SearchOptions:
    """What the row's strategy is asked."""
    family = episode.config.model.family
    return SearchOptions(
        space=row.space or FAMILIES[family].default_range,
        points=row.points,
        max_steps=MOST_STEPS[family],
        patience=PATIENCE[family],
        seed=0,
        loss=episode.valid_loss,
        schedules=row.schedules,
        effort=row.effort,
        answer=row.answer,
        steps_are_served=FAMILIES[family].steps_are_served,
        earlier=tuple(earlier) if row.remembers else (),
    )


def fits_for(episode: Episode, shared: Trained | float) -> Lent | Clocked:
    """Fits of one search, whose work is counted."""
    return metered(FAMILIES[episode.config.model.family], episode.data, shared)


def chosen(row: Row, trials: Tried, options: SearchOptions, fits: Fits, rate: float) -> Tried:
    """The trials that make the answer: one, or those whose mean is served; none where no fit is complete.

    ``rate`` is the family's fixed one, whose fit is a row of its own and no part of the search's work.
    """
    if row.ours:
        may = row.plain and inside(rate, options.space)
        plain = fit(fits, rate, len(trials), options, role="fixed") if may else None
        return answered(trials, plain, options, fits, row.errors)[1]
    lowest = _lowest(trials)
    return [] if lowest is None else [lowest]


def _lowest(trials: Tried) -> tuple[Trial, int] | None:
    """The complete fit of the lowest loss; where a lone rate has none, it serves what it has."""
    complete = [found for found in trials if found[0].loss is not None]
    if complete:
        return min(complete, key=lambda found: found[0].loss or 0.0)
    return min((f for f in trials if f[0].curve), key=lambda found: min(found[0].curve), default=None)


def judged(fits: Fits, members: Tried, episode: Episode) -> tuple[float, float, int, float]:
    """Loss on valid and on later rows, steps to serve and their price, of the mean of some fits."""
    valid = np.mean([fits.score(handle, trial.steps) for trial, handle in members], axis=0)
    models = [fits.finish(handle, trial.steps) for trial, handle in members]
    later = np.mean([model.predict(episode.later.x) for model in models], axis=0)
    steps = sum(trial.steps for trial, _ in members)
    serving = sum(_serving(model, episode.later.x) for model in models)
    return episode.valid_loss(valid), episode.later_loss(later), steps, serving


def _serving(model: FittedModel, x: np.ndarray) -> float:
    """CPU milliseconds for 1,000 rows, best of three."""
    rows = np.resize(x, (1000, x.shape[1]))
    took = []
    for _ in range(3):
        began = time.process_time()
        model.predict(rows)
        took.append(time.process_time() - began)
    return 1000 * min(took)
