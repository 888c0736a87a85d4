"""What every strategy of the menu keeps, on known curves and on real fits of both families."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_retune.families.lightgbm import LightGBM
from lr_retune.families.sgd import SGD
from lr_retune.records import Budget, Cost, Family, Fits, Range, SearchOptions, Trial, canonical
from lr_retune.search.choose import best, ranked
from lr_retune.search.grid import fixed, grid, random
from lr_retune.search.halving import halving
from lr_retune.search.optuna import optuna
from lr_retune.search.plateau import plateau
from lr_retune.search.range_test import range_test
from lr_retune.testing import ToyFits, check_strategy, toy_data

MENU = [grid, random, fixed, halving, optuna, plateau, range_test]
Search = Callable[[Fits, SearchOptions], list[tuple[Trial, int]]]


def options(**changes: object) -> SearchOptions:
    base = SearchOptions(Range(0.01, 0.3), 6, 2000, 20, 0, lambda score: float(score[0]))
    return replace(base, **changes)


@pytest.mark.parametrize("strategy", MENU)
def test_a_strategy_of_the_menu_keeps_the_laws_of_the_conformance_kit(strategy: Search) -> None:
    check_strategy(strategy)


@pytest.mark.parametrize("strategy", MENU)
@settings(max_examples=20)
@given(
    low=st.floats(1e-6, 0.5),
    width=st.floats(1.0, 1e5),
    limits=st.fixed_dictionaries(
        {
            "points": st.integers(1, 7),
            "patience": st.integers(1, 40),
            "max_steps": st.integers(1, 300),
            "seed": st.integers(0, 9),
            "budget": st.builds(
                Budget,
                fits=st.none() | st.integers(1, 9),
                steps=st.none() | st.integers(1, 600),
                seconds=st.none() | st.floats(0.5, 40),
            ),
        }
    ),
    diverges=st.sampled_from([math.inf, math.inf, 0.2, 1e-3]),
)
def test_walls_caps_budgets_and_the_book_are_kept_whatever_is_asked(
    strategy: Search, low: float, width: float, limits: dict, diverges: float
) -> None:
    found, fits, asked = searched(strategy, Range(low, low * width), limits, diverges)
    again, _, _ = searched(strategy, Range(low, low * width), limits, diverges)
    assert canonical([trial for trial, _ in found]) == canonical([trial for trial, _ in again])
    assert [trial.number for trial, _ in found] == list(range(len(found)))
    assert all(low <= trial.learning_rate <= low * width for trial, _ in found)
    assert all(trial.cost.steps <= asked.max_steps for trial, _ in found)
    assert sum((trial.cost for trial, _ in found), Cost()) == fits.work
    assert fits.work.fits <= (asked.budget.fits or math.inf)
    assert fits.work.steps <= (asked.budget.steps or math.inf)
    assert set(fits.live) <= {handle for _, handle in ranked(found)[:2]}


def searched(
    strategy: Search, space: Range, limits: dict, diverges: float
) -> tuple[list[tuple[Trial, int]], ToyFits, SearchOptions]:
    fits = ToyFits(diverges_above=diverges)
    asked = options(space=space, elapsed=lambda: fits.work.steps / 10, **limits)
    return strategy(fits, asked), fits, asked


@pytest.mark.parametrize("strategy", MENU)
def test_a_search_that_has_spent_its_seconds_begins_no_further_fit(strategy: Search) -> None:
    fits = ToyFits()
    found = strategy(fits, options(budget=Budget(seconds=1.0), elapsed=lambda: 2.0 if fits.work.steps else 0.0))
    assert found
    free = strategy(ToyFits(), options())
    assert len(found) <= len(free)
    assert sum(trial.state == "complete" for trial, _ in found) <= 1


@pytest.mark.parametrize("family", [LightGBM({"num_leaves": 7}, 1), SGD({}, 1)], ids=["lightgbm", "sgd"])
@pytest.mark.parametrize("task", ["regression", "binary"])
@pytest.mark.parametrize("strategy", [halving, optuna, plateau, range_test])
def test_a_strategy_finds_a_rate_that_beats_the_constant_on_real_fits(
    strategy: Search, task: str, family: Family
) -> None:
    data = toy_data(task, rows=600)
    asked = options(
        space=family.default_range,
        patience=family.default_patience,
        max_steps=2000,
        loss=lambda score: data.curve_loss(data.valid.y, score),
    )
    fits = family.start(data, seed=0)
    found = strategy(fits, asked)
    winner = best(found)
    assert winner is not None
    trial, handle = winner
    assert trial.loss is not None
    assert trial.loss < 0.8 * fits.baseline
    score = fits.finish(handle, trial.steps).predict(data.valid.x)
    assert data.curve_loss(data.valid.y, score) == pytest.approx(trial.loss, rel=1e-6)
    assert all(len(t.curve) <= t.cost.steps <= 2000 and t.cost.row_steps == t.cost.steps * 450 for t, _ in found)


class Unscorable(ToyFits):
    """Fits whose valid rows cannot be scored."""

    def score(self, which: int, steps: int) -> np.ndarray:
        return np.array([math.nan])


@pytest.mark.parametrize("strategy", MENU)
def test_a_metric_that_cannot_be_told_fails_the_trials_and_not_the_search(strategy: Search) -> None:
    found = strategy(Unscorable(), options())
    assert best(found) is None
    assert any(trial.state == "failed" and "not a finite number" in trial.note for trial, _ in found)


class Buggy(ToyFits):
    """Fits that hide nothing."""

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        raise ZeroDivisionError


@pytest.mark.parametrize("strategy", MENU)
def test_a_bug_in_a_family_ends_the_search(strategy: Search) -> None:
    with pytest.raises(ZeroDivisionError):
        strategy(Buggy(), options())


class Killed(Exception):
    """What stops a search from outside."""


@pytest.mark.parametrize("strategy", [grid, random, halving, optuna])
@pytest.mark.parametrize("after", [1, 4, 9])
@pytest.mark.parametrize("diverges", [math.inf, 0.08])
def test_a_search_that_was_killed_goes_on_with_what_it_knows(strategy: Search, after: int, diverges: float) -> None:
    known: dict[tuple[int, float, str, str], Trial] = {}

    def remember(trial: Trial) -> None:
        if len(known) == after:
            raise Killed
        known[(trial.number, trial.learning_rate, trial.schedule, trial.role)] = trial

    asked = options(points=10)
    with pytest.raises(Killed):
        strategy(ToyFits(diverges_above=diverges), replace(asked, remember=remember))
    fits = ToyFits(diverges_above=diverges)
    again = strategy(fits, replace(asked, recall=lambda *name: known.get(name)))
    full = strategy(ToyFits(diverges_above=diverges), asked)
    assert canonical([trial for trial, _ in again]) == canonical([trial for trial, _ in full])
    done = sum((trial.cost for trial in known.values()), Cost())
    assert fits.work.steps == sum(trial.cost.steps for trial, _ in full) - done.steps


def test_a_fit_that_is_known_ends_as_it_did_when_more_is_asked_of_it_than_was_trained() -> None:
    short = options(points=4, budget=Budget(seconds=1.0), elapsed=lambda: 9.0)
    known = {trial.number: trial for trial, _ in halving(ToyFits(), short)}
    fits = ToyFits()
    again = halving(fits, options(points=4, recall=lambda number, *_: known[number]))
    assert [(trial.state, trial.cost) for trial, _ in again] == [(t.state, t.cost) for t in known.values()]
    assert fits.work.steps == 0
