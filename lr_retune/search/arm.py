"""One row of a search's table: a rate and schedule, or an average of several, fitted on some rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lr_retune import average
from lr_retune.records import Cost, FitData, FittedModel, Role, SearchOptions, Trial
from lr_retune.search.early_stop import NO_FIT, fit
from lr_retune.search.live import Live

Found = tuple[Trial, int]
Made = tuple[Trial, FittedModel]


@dataclass(frozen=True, slots=True)
class Named:
    """What a champion was trained by, and on which rows."""

    learning_rate: float
    schedule: str = "constant"
    data: FitData | None = None  # None: not asked for, or they cannot be read any more
    loss: Callable[[np.ndarray], float] | None = None  # scores of their valid rows → the user's metric as a loss

    @property
    def parts(self) -> tuple[tuple[float, str], ...]:
        """Rate and schedule of each fit that answers: one, or those of an average."""
        return average.parts(self.schedule) or ((self.learning_rate, self.schedule),)


@dataclass(frozen=True, slots=True)
class Arm:
    """A row's trial, and the fits that answer for it together."""

    trial: Trial
    parts: tuple[Found, ...]

    @property
    def complete(self) -> bool:
        """Whether there is a model."""
        return self.trial.state == "complete"

    @property
    def alone(self) -> list[Found]:
        """The row among other trials; only one fit can be found again by its handle."""
        return [(self.trial, self.parts[0][1] if len(self.parts) == 1 else NO_FIT)]

    def made(self, fits: Live) -> Made:
        """The trial with its model, ready to serve."""
        models = [fits.finish(handle, part.steps) for part, handle in self.parts]
        return self.trial, models[0] if len(models) == 1 else average.Average(models)

    def score(self, fits: Live) -> np.ndarray:
        """Scores of the valid rows, shape ``(n_valid,)``."""
        return average.mean([fits.score(handle, part.steps) for part, handle in self.parts])

    def named(self, name: Named | None) -> bool:
        """Whether it was trained by that rate and schedule."""
        return name is not None and _name(self.trial) == (name.learning_rate, name.schedule)


def row(fits: Live, name: Named, role: Role, done: Sequence[Found], options: SearchOptions) -> Arm:
    """Fit what is named; an earlier trial of exactly this rate and schedule is not fitted again."""
    number = 1 + max((trial.number for trial, _ in done), default=-1)
    found = [_one(fits, part, role, done, number, options) for part in name.parts]
    return averaged(fits, found, number, options) if len(found) > 1 else Arm(found[0][0], (found[0],))


def _one(
    fits: Live, name: tuple[float, str], role: Role, done: Sequence[Found], number: int, options: SearchOptions
) -> Found:
    for trial, handle in done:
        cut = trial.state == "pruned" or (trial.state == "starved" and len(trial.curve) < options.max_steps)
        if _name(trial) == name and not cut and handle != NO_FIT:
            note = f"the fit of trial {trial.number}" + (f": {trial.note}" if trial.note else "")
            return replace(trial, number=number, role=role, cost=Cost(), note=note), handle
    return fit(fits, name[0], number, options, role=role, schedule=name[1])


def averaged(fits: Live, parts: Sequence[Found], number: int, options: SearchOptions) -> Arm:
    """Several fits that answer with their mean; complete only if all of them are.

    Its rate is the geometric mean of theirs, its steps all that have to be served, its work theirs.
    """
    trials = [trial for trial, _ in parts]
    cost = sum((trial.cost for trial in trials), Cost())
    middle = math.exp(sum(math.log(trial.learning_rate) for trial in trials) / len(trials))
    lost = next((trial for trial in trials if trial.state != "complete"), None)
    loss = None
    if lost is None:
        loss = options.loss(average.mean([fits.score(handle, trial.steps) for trial, handle in parts]))
    trial = Trial(
        number=number,
        role=trials[0].role,
        learning_rate=float(f"{middle:.6g}"),
        schedule=average.named([_name(trial) for trial in trials]),
        loss=loss,
        steps=sum(trial.steps for trial in trials),
        state="complete" if lost is None else lost.state,
        cost=cost,
        note="" if lost is None else f"its part of rate {lost.learning_rate:g}: {lost.note}",
    )
    return Arm(trial, tuple(parts))


def _name(trial: Trial) -> tuple[float, str]:
    return trial.learning_rate, trial.schedule
