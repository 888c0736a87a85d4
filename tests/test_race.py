from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_retune.families.sgd import SGD
from lr_retune.records import Budget, Cost, Range, SearchOptions, Trial, canonical
from lr_retune.schedules import parse
from lr_retune.search.arm import Named
from lr_retune.search.arms import run
from lr_retune.search.choose import best
from lr_retune.search.early_stop import fit
from lr_retune.search.race import FIELDS, PATIENCE, TIE, race
from lr_retune.testing import ToyFits, check_strategy, toy_data

WIDE = Range(1e-6, 10.0)
KEEP = FIELDS["balanced"].keep


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


@pytest.mark.parametrize(
    ("effort", "first", "kept"),
    [("fast", 29, [18, 12, 8, 5]), ("balanced", 29, [20, 16, 12, 8]), ("thorough", 57, [57, 44, 36, 28])],
)
def test_fewer_go_on_after_epochs_1_2_4_and_8_and_those_left_behind_cost_no_more(
    effort: str, first: int, kept: list[int]
) -> None:
    fits = DrawnFits(lambda rate: [3 - step / 100 + abs(math.log(rate / 0.01)) / 30 for step in range(40)])
    with mock.patch.object(fits, "advance", wraps=fits.advance) as advance:
        trials = [trial for trial, _ in race(fits, options(max_steps=100, effort=effort))]
    asked = [len(call.args[0]) for call in advance.call_args_list]
    last = min(kept[3], FIELDS[effort].keep.get(16, 99))
    assert asked == [first, kept[0], *[kept[1]] * 2, *[kept[2]] * 4, *[kept[3]] * 8, *[last] * (40 + PATIENCE - 16)]
    assert {call.args[1] for call in advance.call_args_list} == {1}
    assert sum("went on" in trial.note for trial in trials) == first - last
    assert sum(asked) == sum(trial.cost.steps for trial in trials)


# ── schedules ─────────────────────────────────────────────────────────────────────────────────────
class NamedFits(DrawnFits):
    """Written losses per rate and schedule."""

    def __init__(self, losses: Callable[[float, str], list[float]]) -> None:
        super().__init__(lambda _rate: [])
        self._by_name, self.names = losses, {}

    def add(self, learning_rate: float, schedule: str = "constant") -> int:
        handle = super().add(learning_rate, schedule)
        self.names[handle] = schedule
        return handle

    def _step(self, handle: int) -> float:
        known = self._by_name(self._rates[handle], self.names[handle])
        loss = known[min(len(self.live[handle]), len(known) - 1)]
        self.live[handle].append(loss)
        return loss


def valley(rate: float, way: str) -> list[float]:
    """Best at .01, for a falling rate at .1 and lower there."""
    centre, floor = (0.01, 1.0) if way == "constant" else (0.1, 0.9)
    off = floor + abs(math.log10(rate / centre)) / 10
    return [off + 1 / (step + 1) for step in range(30)]


def test_other_schedules_are_tried_from_the_leaders_rate_up_and_a_better_one_wins() -> None:
    fits = NamedFits(valley)
    found = race(fits, options(max_steps=100, schedules=("exponential", "constant", "adaptive(2)")))
    trials = [trial for trial, _ in found]
    assert [t.schedule for t in trials[:29]] == ["exponential(4)"] * 29  # the user's first schedule scouts
    found = race(fits := NamedFits(valley), options(max_steps=100, schedules=("constant", "exponential", "cosine(12)")))
    trials = [trial for trial, _ in found]
    assert [t.schedule for t in trials] == ["constant"] * 29 + ["exponential(4)"] * 10 + ["cosine(12)"] * 10
    assert [t.number for t in trials] == list(range(49))
    assert max(t.learning_rate for t in trials[29:]) == 1.0
    assert min(t.learning_rate for t in trials[29:]) == pytest.approx(0.01 * 10**-0.25, rel=1e-5)
    first = best(found)
    assert first is not None
    assert (first[0].schedule, first[0].learning_rate) == ("exponential(4)", 0.1)
    assert list(fits.live) == [first[1]]
    assert {t.cost.steps for t in trials if t.schedule == "cosine(12)"} == {12}


@given(
    ways=st.lists(
        st.sampled_from(["constant", "optimal", "adaptive", "cosine(3)", "one_cycle(40)", "step", "plateau(2)"]),
        min_size=1,
        max_size=4,
    ),
    cap=st.integers(1, 30),
    budget=st.none() | st.integers(1, 40),
    seed=st.integers(0, 9),
)
@settings(max_examples=40)
def test_all_schedules_keep_the_walls_the_caps_and_the_book(
    ways: list[str], cap: int, budget: int | None, seed: int
) -> None:
    noise = np.random.default_rng(seed).uniform(0.8, 1.2, 50)
    fits = NamedFits(lambda rate, way: (noise * (1 + len(way) / 100) / min(rate * 100, 1)).tolist())
    limits = options(Range(1e-4, 1.0), max_steps=cap, schedules=tuple(ways), budget=Budget(fits=budget))
    found = race(fits, limits)
    trials = [trial for trial, _ in found]
    assert sum((trial.cost for trial in trials), Cost()) == fits.work
    assert budget is None or fits.work.fits <= budget
    assert all(1e-4 <= t.learning_rate <= 1 and t.cost.steps <= cap for t in trials)
    assert len({(t.learning_rate, t.schedule) for t in trials}) == len(trials)
    for trial in trials:
        horizon = parse(trial.schedule).horizon
        assert horizon is None or trial.state != "complete" or trial.cost.steps == horizon
        assert horizon is None or trial.cost.steps <= horizon
    assert canonical(trials) == canonical([t for t, _ in race(NamedFits(fits._by_name), limits)])


def test_a_schedule_that_cannot_come_to_its_end_is_left_out_with_a_word() -> None:
    told: list[str] = []
    limits = options(max_steps=12, schedules=("constant", "exponential(4)", "cosine(12)"), progress=told.append)
    found = race(NamedFits(lambda _rate, _way: [2.0, 1.0]), limits)
    assert {trial.schedule for trial, _ in found} == {"constant", "cosine(12)"}
    assert told[0] == "exponential(4) is left out: it ends after 40 steps, max_steps is 12"
    assert {t.schedule for t, _ in race(NamedFits(valley), replace(limits, schedules=("one_cycle",), max_steps=5))} == {
        "one_cycle(12)"
    }


@given(most=st.integers(0, 600))
def test_a_race_ends_with_its_budget(most: int) -> None:
    fits = NamedFits(valley)
    found = race(fits, options(schedules=("constant", "exponential"), budget=Budget(steps=most)))
    assert fits.work.steps <= most
    assert all("budget" in t.note for t, _ in found if t.state == "starved")
    assert best(found) is not None or most < 400
    clock = iter(range(1000))
    timed = race(NamedFits(valley), options(budget=Budget(seconds=3), elapsed=lambda: float(next(clock))))
    assert max(trial.cost.steps for trial, _ in timed) == 3


def test_on_a_tie_the_schedule_that_the_user_named_first_wins() -> None:
    found = race(NamedFits(lambda _rate, way: [2.0, 1.0 - 0.0005 * (way != "constant")]), options(Range(0.01, 0.1)))
    assert best(found) is not None
    ways = ("constant", "exponential(4)")
    found = race(NamedFits(lambda _rate, way: [2.0, 1 - 5e-4 * (way != "constant")]), options(schedules=ways))
    winner = best(found)
    assert winner is not None
    assert winner[0].schedule == "constant"
    assert any("schedule is simpler" in trial.note for trial, _ in found)


def test_a_rate_that_an_earlier_search_found_runs_too() -> None:
    data = toy_data()
    limits = replace(options(), loss=lambda s: data.curve_loss(data.valid.y, s))
    cold = [t for t, _ in race(SGD({}, 1).start(data, seed=0), limits)]
    old = Trial(0, "candidate", 0.0123, "constant", 0.5, 9, "complete", (), Cost())
    warm = [t for t, _ in race(SGD({}, 1).start(data, seed=0), replace(limits, earlier=((old,),)))]
    assert {t.learning_rate for t in warm} == {t.learning_rate for t in cold} | {0.0123}
    few = replace(limits, earlier=((old,),), budget=Budget(fits=4))
    assert len(race(SGD({}, 1).start(data, seed=0), few)) == 4
    far = replace(old, learning_rate=99.0)
    same = [t for t, _ in race(SGD({}, 1).start(data, seed=0), replace(limits, earlier=((old,), (far,))))]
    assert canonical(same) == canonical(cold)


@pytest.mark.parametrize("task", ["regression", "binary"])
def test_the_winner_of_a_race_over_schedules_is_refitted_from_its_name(task: str) -> None:
    data = toy_data(task)
    limits = replace(
        options(Range(1e-3, 1.0)),
        loss=lambda s: data.curve_loss(data.valid.y, s),
        schedules=(*SGD.default_schedules, "one_cycle(8)", "invscaling"),
    )
    fits = SGD({}, 1).start(data, seed=0)
    winner = best(race(fits, limits))
    assert winner is not None
    again = SGD({}, 1).start(data, seed=0)
    handle = again.add(winner[0].learning_rate, winner[0].schedule)
    assert again.advance([handle], len(winner[0].curve))[0].tolist() == list(winner[0].curve)
    assert again.finish(handle, winner[0].steps).files() == fits.finish(winner[1], winner[0].steps).files()


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


class Killed(BaseException):
    """As sudden as a signal."""


@given(after=st.integers(0, 48), top=st.sampled_from([0.05, math.inf]), seed=st.integers(0, 9))
@settings(max_examples=15, deadline=None)
def test_a_race_that_was_killed_ends_as_it_would_have_and_trains_no_finished_trial_twice(
    after: int, top: float, seed: int
) -> None:
    noise = np.random.default_rng(seed).uniform(0.99, 1.01, 30)
    fits, known = (
        NamedFits(lambda rate, way: [math.nan if rate > top else loss for loss in noise * valley(rate, way)]),
        {},
    )
    asked = options(max_steps=60, schedules=("constant", "exponential", "cosine(12)"))

    def remember(trial: Trial) -> None:
        if len(known) == after:
            raise Killed
        known[trial.number, trial.learning_rate, trial.schedule, trial.role] = trial

    whole = [trial for trial, _ in race(fits, asked)]
    with suppress(Killed):
        race(NamedFits(fits._by_name), replace(asked, remember=remember))
    rest = NamedFits(fits._by_name)
    again = [trial for trial, _ in race(rest, replace(asked, recall=lambda *name: known.get(name)))]
    assert len(known) == min(after, len(whole))
    assert canonical(again) == canonical(whole)
    assert rest.work.steps == fits.work.steps - sum(trial.cost.steps for trial in known.values())


def test_a_race_that_is_known_whole_trains_only_what_is_served_again() -> None:
    data, known = toy_data(), {}
    limits = replace(
        options(steps_are_served=False),
        loss=lambda s: data.curve_loss(data.valid.y, s),
        remember=lambda t: known.update({t.number: t}),
    )
    first = run(SGD({}, 1), data, limits, strategy=race, old=None, user_range=None)
    limits = replace(limits, recall=lambda number, *_: known.get(number), remember=lambda _trial: None)
    again = run(SGD({}, 1), data, limits, strategy=race, old=None, user_range=None)
    assert again.trials == first.trials
    model, other = first.models["challenger"][1], again.models["challenger"][1]
    assert model.files() == other.files()
    assert again.cost["again"].steps == sum(made[0].steps for made in again.models.values())


def test_a_race_has_its_permanent_rows_like_any_search() -> None:
    """The champion's rate is one of the race's own: its fit is used again where the race ran it to its end."""
    data = toy_data()
    limits = replace(options(), loss=lambda s: data.curve_loss(data.valid.y, s))
    first = run(SGD({}, 1), data, limits, strategy=race, old=None, user_range=None)
    rate = first.models["challenger"][0].learning_rate
    arms = run(SGD({}, 1), data, limits, strategy=race, old=Named(rate), user_range=None)
    assert set(arms.models) == {"challenger", "control", "fixed"}
    assert arms.same_rate
    assert arms.cost["control"] == Cost()
    assert arms.models["control"][1] is arms.models["challenger"][1]
    assert arms.cost["search"].fits == 29


@pytest.mark.parametrize("steps", [60, 150])
def test_a_budget_of_steps_leaves_a_model(steps: int) -> None:
    data = toy_data("binary")
    valid = data.valid.y
    limits = replace(
        options(budget=Budget(steps=steps), patience=5, schedules=SGD.default_schedules),
        loss=lambda score: data.curve_loss(valid, score),
    )
    found = race(SGD({}, 1).start(data, seed=0), limits)
    assert sum(trial.cost.steps for trial, _ in found) <= steps
    assert any(trial.state == "complete" for trial, _ in found)
