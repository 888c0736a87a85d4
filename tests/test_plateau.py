from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune import schedules
from lr_retune.families.lightgbm import LightGBM
from lr_retune.families.sgd import SGD
from lr_retune.records import Budget, Family, Range, SearchOptions, Trial
from lr_retune.search.choose import best
from lr_retune.search.plateau import FRUITLESS, MOST, plateau
from lr_retune.testing import ToyFits, toy_data


def options(**changes: object) -> SearchOptions:
    base = SearchOptions(Range(0.001, 1.0), 8, 2000, 20, 0, lambda score: float(score[0]))
    return replace(base, **changes)


class Traced(ToyFits):
    """Fits that settle on a floor set by their rate, as gradient descent does, and write down each step's rate."""

    def __init__(self, *, diverges_above: float = math.inf) -> None:
        super().__init__(diverges_above=diverges_above)
        self.trace: dict[int, list[float]] = {}

    def _step(self, handle: int) -> float:
        rate = self._rates[handle]
        self.trace.setdefault(handle, []).append(rate)
        before = self.live[handle][-1] if self.live[handle] else 2.9
        pull = 0.5 * min(1.0, rate / 0.1)
        loss = math.inf if rate > self.diverges_above else before + pull * (1 + rate - before)
        self.live[handle].append(round(loss, 3))  # so that it stalls
        return self.live[handle][-1]


def won(fits: Traced, **changes: object) -> tuple[Trial, int]:
    winner = best(plateau(fits, options(**changes)))
    assert winner is not None
    return winner


@given(low=st.floats(1e-5, 0.1), width=st.floats(1.5, 1e4), patience=st.integers(1, 30))
def test_the_name_of_the_trial_gives_the_rate_of_each_step(low: float, width: float, patience: int) -> None:
    fits = Traced()
    for trial, handle in plateau(fits, options(space=Range(low, low * width), patience=patience)):
        told = schedules.rates(trial.schedule, trial.learning_rate, np.arange(trial.cost.steps), per_epoch=1)
        assert fits.trace[handle] == told.tolist()
        assert min(fits.trace[handle]) >= low


def test_it_is_halved_where_it_stalls_and_ends_when_two_halvings_bring_nothing() -> None:
    fits = Traced()
    trial, handle = won(fits)
    halved = schedules.parse(trial.schedule).args
    assert trial.state == "complete"
    assert len(halved) > FRUITLESS
    assert sum(step >= trial.steps for step in halved) <= FRUITLESS
    stall, curve = 4, list(trial.curve)
    for step in map(int, halved):
        since = max([0, *(int(h) for h in halved if h < step)])
        lowest = 1 + int(np.argmin(curve[:step]))
        assert step == max(lowest, since) + stall
    assert trial.loss == fits.live[handle][trial.steps - 1]


def test_halvings_are_few() -> None:
    trial, _ = won(Traced(), space=Range(1e-6, 1.0))
    assert len(schedules.parse(trial.schedule).args) <= MOST


@pytest.mark.fault("D1")
def test_starts_that_diverge_are_told_and_counted() -> None:
    found = plateau(Traced(diverges_above=0.05), options())
    assert [(trial.state, trial.learning_rate) for trial, _ in found] == [
        ("diverged", 1.0),
        ("diverged", 0.1),
        ("complete", 0.01),
        ("pruned", 0.001),
    ]
    assert all(trial.cost.steps >= 1 for trial, _ in found)


def test_the_start_that_goes_on_is_the_best_after_the_length_of_a_stall() -> None:
    class Slow(Traced):
        def _step(self, handle: int) -> float:
            super()._step(handle)
            done = len(self.live[handle])
            self.live[handle][-1] = 2 - min(done, 50) / 100 / (1 + abs(math.log10(self._rates[handle] / 0.1)))
            return self.live[handle][-1]

    found = plateau(Slow(), options())
    assert [trial.cost.steps for trial, _ in found if trial.state == "pruned"] == [4] * 3
    winner = best(found)
    assert winner is not None
    assert winner[0].learning_rate == 0.1


@given(steps=st.integers(1, 200), fits=st.none() | st.integers(1, 5))
def test_a_budget_is_never_overrun(steps: int, fits: int | None) -> None:
    asked = Traced(diverges_above=0.05)
    plateau(asked, options(budget=Budget(steps=steps, fits=fits)))
    assert asked.work.steps <= steps
    assert asked.work.fits <= (fits or 4)


def test_one_rate_is_never_halved_below_its_wall() -> None:
    ((trial, _),) = plateau(Traced(), options(space=Range(0.1, 0.1)))
    assert (trial.state, trial.schedule, trial.learning_rate) == ("complete", "constant", 0.1)


def test_a_family_that_ends_by_itself_has_a_complete_fit() -> None:
    class Ending(Traced):
        def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
            return super().advance(which, min(steps, 6 - len(self.live[which[0]])))

    trial, _ = won(Ending())
    assert (trial.state, trial.schedule, trial.cost.steps) == ("complete", "constant", 6)


@pytest.mark.parametrize("family", [LightGBM({"num_leaves": 7}, 1), SGD({}, 1)], ids=["lightgbm", "sgd"])
@pytest.mark.parametrize("task", ["regression", "binary"])
def test_a_model_is_refitted_by_rate_and_name_alone(task: str, family: Family) -> None:
    data = toy_data(task)
    fits = family.start(data, seed=0)
    loss = data.curve_loss
    limits = {"space": family.default_range, "patience": family.default_patience}
    winner = best(plateau(fits, options(**limits, loss=lambda score: loss(data.valid.y, score))))
    assert winner is not None
    trial = winner[0]
    assert trial.schedule.startswith("plateau(")
    again = fits.advance([fits.add(trial.learning_rate, trial.schedule)], len(trial.curve))[0]
    assert again.tolist() == list(trial.curve)
