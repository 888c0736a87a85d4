from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_retune.families.sgd import SGD
from lr_retune.records import Cost, Range, SearchOptions, Trial, canonical
from lr_retune.search.arms import run
from lr_retune.search.choose import best
from lr_retune.search.early_stop import fit
from lr_retune.search.race import KEEP, MOST, PATIENCE, TIE, race
from lr_retune.testing import ToyFits, check_strategy, toy_data

WIDE = Range(1e-6, 10.0)


def options(space: Range = WIDE, *, max_steps: int = 2000, patience: int = 50, **more: object) -> SearchOptions:
    return SearchOptions(space, 10, max_steps, patience, 0, lambda score: float(score[0]), **more)  # type: ignore[arg-type]


class DrawnFits(ToyFits):
    """Fits whose losses are written down: rate → loss after each epoch, the last one for good."""

    def __init__(self, losses: Callable[[float], list[float]]) -> None:
        super().__init__()
        self._losses = losses

    def _step(self, handle: int) -> float:
        known = self._losses(self._rates[handle])
        loss = known[min(len(self.live[handle]), len(known) - 1)]
        self.live[handle].append(loss)
        return loss


def test_the_race_keeps_the_laws_of_the_conformance_kit() -> None:
    check_strategy(race)


# ── laws ──────────────────────────────────────────────────────────────────────────────────────────
SPACES = st.tuples(st.floats(1e-6, 10), st.floats(1.0, 1e7), st.booleans()).map(
    lambda drawn: Range(drawn[0], drawn[0] * drawn[1], drawn[2])
)


@given(space=SPACES, top=st.sampled_from([1e-3, 0.1, 1.0, math.inf]), cap=st.integers(1, 60), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_no_rate_leaves_the_space_all_work_is_told_and_nobody_beats_the_winner_by_more_than_a_tie(
    space: Range, top: float, cap: int, seed: int
) -> None:
    noise = np.random.default_rng(seed).uniform(0.9, 1.1, (40, 60))
    places: dict[float, int] = {}

    def losses(rate: float) -> list[float]:
        row = noise[places.setdefault(rate, len(places))]
        return [math.inf] if rate > top else (row * (1 + np.exp(-rate * np.arange(1, 61)))).tolist()

    fits = DrawnFits(losses)
    found = race(fits, options(space, max_steps=cap))
    assert 1 <= len(found) <= 29
    assert all(space.low <= trial.learning_rate <= space.high for trial, _ in found)
    assert len({trial.learning_rate for trial, _ in found}) == len(found)
    told = sum((trial.cost for trial, _ in found), Cost())
    assert told == fits.work == Cost(len(found), told.steps, told.steps * fits.train_rows)
    for trial, _ in found:
        _honest(trial, losses(trial.learning_rate), cap)
    winner, survivors = best(found), [t for t, _ in found if t.state == "complete" or "smaller" in t.note]
    assert (winner is None) == (not survivors)
    if winner is not None and winner[0].loss is not None:
        assert list(fits.live) == [winner[1]]  # the losers' memory is free
        assert winner[0].loss <= min(min(t.curve) for t in survivors) * (1 + TIE)


def _honest(trial: Trial, losses: list[float], cap: int) -> None:
    """The curve is what was trained, the state what became of it."""
    finite = [loss for loss in losses[: trial.cost.steps] if math.isfinite(loss)]
    assert list(trial.curve) == finite
    assert trial.cost.steps == len(finite) + (len(finite) < trial.cost.steps)
    assert (trial.state == "diverged") == (not math.isfinite(losses[0]))
    since = len(finite) - 1 - int(np.argmin(finite)) if finite else 0
    assert since <= PATIENCE
    if trial.state == "complete" and finite:
        assert since == PATIENCE
        assert trial.loss == min(finite)
    if trial.state == "starved":
        assert trial.cost.steps == cap
    if trial.state == "pruned" and "smaller" not in trial.note:
        assert trial.cost.steps in KEEP


@given(rate=st.sampled_from([0.003, 0.05, 0.4]), seed=st.integers(0, 5))
@settings(max_examples=6, deadline=None)
def test_the_winner_is_the_fit_that_one_rate_alone_would_give(rate: float, seed: int) -> None:
    """Real fits: nothing of a curve hangs on the chunks or the others of the race."""
    data = toy_data("binary", seed=seed)
    limits = replace(
        options(Range(rate / 30, rate * 30)), patience=PATIENCE, loss=lambda s: data.curve_loss(data.valid.y, s)
    )
    winner = best(race(SGD({}, 1).start(data, seed=seed), limits))
    assert winner is not None
    alone, _ = fit(SGD({}, 1).start(data, seed=seed), winner[0].learning_rate, winner[0].number, limits)
    assert canonical(alone) == canonical(winner[0])


@pytest.mark.fault("D5")
def test_two_races_are_one() -> None:
    data = toy_data()
    limits = replace(options(), loss=lambda s: data.curve_loss(data.valid.y, s))
    first, second = (canonical([t for t, _ in race(SGD({}, 1).start(data, seed=1), limits)]) for _ in range(2))
    assert first == second


# ── the field ─────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("space", "count"),
    [(WIDE, 29), (Range(1e-9, 1e9), 29), (Range(0.01, 0.1), 5), (Range(0.01, 0.3), 7), (Range(0.05, 0.05), 1)],
)
def test_a_narrow_space_gets_fewer_rates_and_both_its_ends(space: Range, count: int) -> None:
    trials = [trial for trial, _ in race(ToyFits(), options(space))]
    rates = [trial.learning_rate for trial in trials]
    assert len(rates) == count
    assert rates == sorted(rates, reverse=True)
    assert {rates[0], rates[-1]} == {space.low, space.high}


def test_16_10_6_and_3_go_on_and_those_left_behind_cost_no_more() -> None:
    fits = DrawnFits(lambda rate: [3 - step / 100 + abs(math.log(rate / 0.01)) / 30 for step in range(40)])
    trials = [trial for trial, _ in race(fits, options(max_steps=100))]
    epochs = sorted(trial.cost.steps for trial in trials)
    assert epochs == [1] * 13 + [2] * 6 + [4] * 4 + [8] * 3 + [40 + PATIENCE] * 3
    assert [t.state for t in trials].count("pruned") == 13 + 6 + 4 + 3
    assert all("went on" in trial.note for trial in trials if trial.state == "pruned")


def test_the_race_asks_for_one_epoch_of_all_its_fits_at_a_time() -> None:
    fits = DrawnFits(lambda rate: [3 - step / 100 + rate / 30 for step in range(20)])
    with mock.patch.object(fits, "advance", wraps=fits.advance) as advance:
        race(fits, options())
    asked = [len(call.args[0]) for call in advance.call_args_list]
    assert asked[:9] == [29, 16, 10, 10, 6, 6, 6, 6, 3]
    assert {call.args[1] for call in advance.call_args_list} == {1}


# ── verdicts ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("gap", "smaller_wins"), [(0.0, True), (0.0005, True), (0.005, False)])
def test_on_a_plateau_the_smaller_rate_wins(gap: float, smaller_wins: bool) -> None:
    fits = DrawnFits(lambda rate: [2.0, 1.0 - gap * (rate > 0.05)])
    found = race(fits, options(Range(0.03, 0.1)))
    first = best(found)
    assert first is not None
    assert (first[0].learning_rate == 0.03) == smaller_wins
    assert first[0].learning_rate > 0.05 or smaller_wins
    assert all(trial.loss is None for trial, _ in found if trial.state == "pruned")


@pytest.mark.fault("D1")
def test_a_finite_but_nonsensical_loss_is_diverged_and_a_slow_start_is_not() -> None:
    far = ToyFits.baseline * 3  # what untrained weights may score where positives are rare

    def losses(rate: float) -> list[float]:
        if rate > 1:
            return [1e40]
        return [max(1.0, far - 1e3 * rate * step) for step in range(1, 60)]

    trials = [trial for trial, _ in race(DrawnFits(losses), options())]
    assert {t.state for t in trials if t.learning_rate > 1} == {"diverged"}
    assert {t.state for t in trials if t.learning_rate < 1e-4} == {"pruned"}
    assert all("far above the best constant" in t.note for t in trials if t.state == "diverged")


@pytest.mark.fault("D1")
def test_a_diverged_column_stops_and_leaves_the_others_their_curves() -> None:
    data = toy_data()
    fits = SGD({}, 1).start(data, seed=0)
    limits = replace(options(Range(1e-6, 1e6)), loss=lambda s: data.curve_loss(data.valid.y, s))
    trials = [trial for trial, _ in race(fits, limits)]
    assert {t.state for t in trials if t.learning_rate > 10} == {"diverged"}
    assert all(t.cost.steps == len(t.curve) + ("not finite" in t.note) for t in trials)
    winner = best((trial, 0) for trial in trials)
    assert winner is not None
    assert winner[0].loss is not None
    assert winner[0].loss < 0.2 * fits.baseline


def test_a_metric_that_is_no_number_fails_the_trial_and_an_early_end_is_an_end() -> None:
    dark = race(ToyFits(), replace(options(), loss=lambda _score: math.nan))
    assert best(dark) is None
    assert any("not a finite number" in trial.note for trial, _ in dark)
    fits = ToyFits()
    with mock.patch.object(fits, "advance", return_value=[np.empty(0)] * 5):
        stuck = race(fits, options(Range(0.01, 0.1)))
    assert {(trial.state, trial.cost.steps) for trial, _ in stuck} == {("failed", 0)}


def test_a_race_has_its_permanent_rows_like_any_search() -> None:
    """The champion's rate is one of the race's own: its fit is used again where the race ran it to its end."""
    data = toy_data()
    limits = replace(options(), loss=lambda s: data.curve_loss(data.valid.y, s))
    first = run(SGD({}, 1), data, limits, strategy=race, champion_rate=None, user_range=None)
    rate = first.models["challenger"][0].learning_rate
    arms = run(SGD({}, 1), data, limits, strategy=race, champion_rate=rate, user_range=None)
    assert set(arms.models) == {"challenger", "control", "fixed"}
    assert arms.same_rate
    assert arms.cost["control"] == Cost()
    assert arms.models["control"][1] is arms.models["challenger"][1]
    assert arms.cost["search"].fits == MOST
