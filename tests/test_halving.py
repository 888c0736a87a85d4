from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune.records import Budget, Cost, Range, SearchOptions, Trial
from lr_retune.search.choose import best, ranked
from lr_retune.search.grid import grid
from lr_retune.search.halving import FINALISTS, halving
from lr_retune.testing import ToyFits


def options(**changes: object) -> SearchOptions:
    base = SearchOptions(Range(0.01, 0.3), 8, 2000, 20, 0, lambda score: float(score[0]))
    return replace(base, **changes)


class Falling(ToyFits):
    """Fits that fall for 200 steps, the faster the nearer their rate lies to ``wanted``, and are flat from there on."""

    def __init__(self, wanted: float = 0.05) -> None:
        super().__init__()
        self.wanted = wanted
        self.calls: list[tuple[int, ...]] = []

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        self.calls.append(tuple(which))
        return super().advance(which, steps)

    def _step(self, handle: int) -> float:
        done = min(200, len(self.live[handle]) + 1)
        loss = 2 - done / 200 / (1 + abs(np.log(self._rates[handle] / self.wanted)))
        self.live[handle].append(float(loss))
        return float(loss)


def work(found: Sequence[tuple[Trial, int]]) -> list[int]:
    return [trial.cost.steps for trial, _ in found]


@given(wanted=st.floats(0.005, 0.5), points=st.integers(1, 30))
def test_half_of_the_field_goes_on_at_each_rung_and_twice_as_far(wanted: float, points: int) -> None:
    fits = Falling(wanted)
    found = halving(fits, options(points=points))
    left, rung, ends = points, 10, []
    while left > FINALISTS:
        ends += [rung] * (left - (left + 1) // 2)
        left, rung = (left + 1) // 2, 2 * rung
    assert sorted(work(found)) == sorted([*ends, *[220] * left])
    assert fits.work == sum((trial.cost for trial, _ in found), Cost())


@given(wanted=st.floats(0.005, 0.5))
def test_those_that_go_on_are_the_best_at_the_rung(wanted: float) -> None:
    found = halving(Falling(wanted), options())
    apart = [abs(np.log(trial.learning_rate / wanted)) for trial, _ in found]
    by_distance = [
        trial.cost.steps for _, (trial, _) in sorted(zip(apart, found, strict=True), key=lambda pair: pair[0])
    ]
    assert by_distance == sorted(by_distance, reverse=True)
    winner = best(found)
    assert winner is not None
    assert abs(np.log(winner[0].learning_rate / wanted)) == pytest.approx(min(apart))


def test_what_is_dropped_says_at_which_rung_and_leaves_memory() -> None:
    fits = Falling()
    found = halving(fits, options())
    notes = [trial.note for trial, _ in found if trial.state == "pruned"]
    assert sorted(notes) == ["not among the first 2 after 20 steps"] * 2 + ["not among the first 4 after 10 steps"] * 4
    assert sorted(fits.live) == sorted(handle for _, handle in ranked(found)) == [3, 4]


def test_fits_of_one_rung_share_each_pass_over_the_rows() -> None:
    fits = Falling()
    halving(fits, options())
    assert [len(call) for call in fits.calls[:3]] == [8, 4, 2]


def test_steps_not_progress_decide_so_it_leans_to_larger_rates_than_the_grid() -> None:
    easy = options(points=10)
    fast, full = best(halving(ToyFits(), easy)), best(grid(ToyFits(), easy))
    assert fast is not None
    assert full is not None
    assert fast[0].learning_rate > full[0].learning_rate


def test_a_fit_that_ends_within_a_rung_trains_no_step_more_and_stays_in_the_race() -> None:
    found = halving(ToyFits(), options(space=Range(0.7, 1.0), points=16, patience=8))
    ended = [trial for trial, _ in found if trial.state == "complete"]
    assert len(ended) > FINALISTS
    assert all(trial.cost.steps == trial.steps + 8 for trial in ended)


@given(steps=st.integers(1, 3000), points=st.integers(1, 20))
def test_a_budget_of_steps_is_never_overrun(steps: int, points: int) -> None:
    fits = Falling()
    halving(fits, options(points=points, budget=Budget(steps=steps)))
    assert fits.work.steps <= steps


@pytest.mark.parametrize("steps", [460, 600, 900, 2000])
def test_a_budget_narrows_the_field_so_that_the_leader_can_end(steps: int) -> None:
    found = halving(Falling(), options(points=20, budget=Budget(steps=steps)))
    assert best(found) is not None


def test_fits_are_spread_over_the_space_where_the_budget_allows_few() -> None:
    found = halving(ToyFits(), options(budget=Budget(fits=3)))
    assert [trial.learning_rate for trial, _ in found] == [0.3, 0.0547723, 0.01]


def test_when_the_seconds_are_over_the_leader_alone_goes_on() -> None:
    fits = Falling()
    found = halving(fits, options(budget=Budget(seconds=1.0), elapsed=lambda: fits.work.steps / 50))
    assert [trial.state for trial, _ in found].count("complete") == 1
    assert sum("seconds were over" in trial.note for trial, _ in found) == 3
