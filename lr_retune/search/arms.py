"""One search with its permanent rows: the champion's rate on the same rows, and the family's fixed rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from lr_retune.records import Cost, Family, FitData, Fits, FittedModel, Range, Role, SearchOptions, Strategy, Trial
from lr_retune.search.choose import at_wall, best, inside
from lr_retune.search.early_stop import fit

Found = tuple[Trial, int]


@dataclass(frozen=True, slots=True)
class Arms:
    """What a search leaves behind."""

    trials: tuple[Trial, ...]  # of all roles, numbers unique
    models: Mapping[str, tuple[Trial, FittedModel]]  # challenger, control, fixed: those that are complete
    cost: Mapping[str, Cost] = field(default_factory=dict)  # search, control, fixed
    at_wall: Literal["low", "high"] | None = None
    same_rate: bool = False  # the challenger carries the champion's rate


def run(
    family: Family,
    data: FitData,
    options: SearchOptions,
    *,
    strategy: Strategy | None,
    champion_rate: float | None,
    user_range: Range | None,
) -> Arms:
    """Search, fit the two permanent rows on the same binned data, and name the challenger.

    The challenger is the best new rate on valid (the fixed rate counts if it lies within the user's range)
    only where it beats the champion's rate on the same fresh rows; else it is the control. A champion's
    rate outside the user's range is fitted as a row but is no challenger of a search.

    Parameters
    ----------
    family, data, options
        What is fitted, on which rows, within which limits.
    strategy
        How new rates are searched; None for a refit, whose challenger is the control.
    champion_rate
        The rate in production; None before there is a champion.
    user_range
        The user's walls; None where he set none.

    Raises
    ------
    ValueError
        For a refit without a champion.
    RetuneError
        From the family, if nothing at all can be fitted on these rows.
    """
    if strategy is None and champion_rate is None:
        raise ValueError("a refit needs the champion's rate: strategy and champion_rate are both None")
    fits = _Kept(family.start(data, seed=options.seed), {family.default_rate, champion_rate})
    found = [] if strategy is None else list(strategy(fits, options))
    control = None if champion_rate is None else _arm(fits, champion_rate, "control", found, options)
    others = found if control is None else [*found, control]
    fixed = _arm(fits, family.default_rate, "fixed", others, options)

    new = [*found, fixed] if strategy is not None and inside(fixed[0].learning_rate, user_range) else found
    old = control if strategy is None or control is None or inside(control[0].learning_rate, user_range) else None
    winner = _winner(new, old)
    return Arms(
        trials=_advised([trial for trial, _ in [*others, fixed]], options),
        models=_models(fits, {"challenger": winner, "control": control, "fixed": fixed}),
        cost=_cost(found, control, fixed),
        at_wall=None
        if winner is None or strategy is None
        else at_wall(winner[0], options.space, user_range is not None),
        same_rate=winner is not None and winner[0].learning_rate == champion_rate,
    )


def _winner(new: Sequence[Found], old: Found | None) -> Found | None:
    """The best of all; the old rate wins a tie against whatever is new."""
    challenger, control = best(new), best([old] if old is not None else [])
    if challenger is None or control is None:
        return challenger or control
    assert challenger[0].loss is not None
    assert control[0].loss is not None
    return control if control[0].loss <= challenger[0].loss else challenger


def _arm(fits: _Kept, rate: float, role: Role, done: Sequence[Found], options: SearchOptions) -> Found:
    """A permanent row: the fit of an earlier trial of exactly this rate, else one of its own."""
    number = 1 + max((trial.number for trial, _ in done), default=-1)
    for trial, handle in done:
        if trial.learning_rate == rate and trial.state != "pruned" and handle in fits.kept:
            note = f"the fit of trial {trial.number}" + (f": {trial.note}" if trial.note else "")
            return replace(trial, number=number, role=role, cost=Cost(), note=note), handle
    return fit(fits, rate, number, options, role=role)


def _models(fits: Fits, arms: Mapping[str, Found | None]) -> dict[str, tuple[Trial, FittedModel]]:
    finished: dict[tuple[int, int], FittedModel] = {}
    models = {}
    for name, arm in arms.items():
        if arm is None or arm[0].state != "complete":
            continue
        trial, handle = arm
        key = (handle, trial.steps)
        if key not in finished:
            finished[key] = fits.finish(*key)
        models[name] = (trial, finished[key])
    return models


def _cost(found: Sequence[Found], control: Found | None, fixed: Found) -> dict[str, Cost]:
    columns = {"search": found, "control": [control] if control is not None else [], "fixed": [fixed]}
    return {name: sum((trial.cost for trial, _ in arms), Cost()) for name, arms in columns.items()}


def _advised(trials: Sequence[Trial], options: SearchOptions) -> tuple[Trial, ...]:
    """Starved trials with the cap that would do: rate x steps at the optimum is about the same for all rates."""
    progress = [trial.learning_rate * trial.steps for trial in trials if trial.state == "complete"]

    def told(trial: Trial) -> Trial:
        if trial.state != "starved":
            return trial
        needed = max(progress, default=0.0) / trial.learning_rate + options.patience
        cap = math.ceil(max(needed, 1.5 * options.max_steps) / 100) * 100
        return replace(trial, note=f"{trial.note.partition(': raise')[0]}: max_steps = {cap} would do")

    return tuple(told(trial) for trial in trials)


class _Kept:
    """Fits whose strategy cannot drop those that a permanent row may need."""

    def __init__(self, fits: Fits, rates: set[float | None]) -> None:
        self._fits = fits
        self._rates = rates
        self.kept: set[int] = set()

    @property
    def baseline(self) -> float:
        return self._fits.baseline

    @property
    def train_rows(self) -> int:
        return self._fits.train_rows

    def add(self, learning_rate: float) -> int:
        handle = self._fits.add(learning_rate)
        if learning_rate in self._rates:
            self.kept.add(handle)
        return handle

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        return self._fits.advance(which, steps)

    def set_rate(self, which: int, learning_rate: float) -> None:
        self.kept.discard(which)  # on a schedule it is no fit of a constant rate any more
        self._fits.set_rate(which, learning_rate)

    def score(self, which: int, steps: int) -> np.ndarray:
        return self._fits.score(which, steps)

    def drop(self, which: int) -> None:
        if which not in self.kept:
            self._fits.drop(which)

    def finish(self, which: int, steps: int) -> FittedModel:
        return self._fits.finish(which, steps)
