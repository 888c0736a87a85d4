from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune.families.lightgbm import LightGBM
from lr_retune.records import Cost, Range, SearchOptions, Trial, canonical
from lr_retune.search.arms import run
from lr_retune.search.bracket import CAP, CLEAR, CORE, FLOOR, MOST_FITS, bracket, core
from lr_retune.search.choose import best
from lr_retune.search.early_stop import Bar, fit
from lr_retune.search.grid import grid
from lr_retune.testing import ToyFits, check_strategy, toy_data

RATIO = CORE[0] / CORE[1]


def options(**changes: object) -> SearchOptions:
    base = SearchOptions(Range(FLOOR, CAP), 10, 4000, 30, 0, lambda score: float(score[0]))
    return replace(base, **changes)


class Surface(ToyFits):
    """Fits whose loss depends on rate and progress in a way that is written down."""

    def __init__(
        self, where: float = 0.05, bend: float = 0.02, turn: float = 5.0, rough: float = 0.0, **kinds: float
    ) -> None:
        super().__init__(**kinds)  # type: ignore[arg-type]
        self.where, self.bend, self.turn, self.rough = where, bend, turn, rough
        self.calls = self.most = 0

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        self.calls += 1
        self.most = max(self.most, len(self.live))
        return super().advance(which, steps)

    def _step(self, handle: int) -> float:
        rate = self._rates[handle]
        self._progress[handle] += rate
        done = self._progress[handle]
        floor = 1 + self.bend * math.log(rate / self.where) ** 2 + self.rough * math.sin(40 * math.log(rate))
        loss = floor + math.exp(-done * 5 / self.turn) + 0.05 * max(0.0, done - self.turn)
        self.live[handle].append(math.inf if rate > self.diverges_above else loss)
        return self.live[handle][-1]


surfaces = st.builds(
    Surface,
    where=st.floats(0.001, 1.0),
    bend=st.floats(0.0, 0.2),
    turn=st.floats(1.0, 8.0),
    rough=st.sampled_from([0.0, 0.001, 0.02]),
    diverges_above=st.sampled_from([math.inf, math.inf, 0.1, 0.01]),
)
spaces = st.one_of(
    st.just(Range(FLOOR, CAP)),
    st.builds(lambda low, width: Range(low, low * width), st.floats(1e-5, 1.0), st.floats(1.0, 1e3)),
)
limits = st.fixed_dictionaries({"space": spaces, "patience": st.integers(5, 60), "max_steps": st.integers(20, 3000)})


def rates(found: list[tuple[Trial, int]]) -> list[float]:
    return [trial.learning_rate for trial, _ in found]


# ── a fit and its bars ────────────────────────────────────────────────────────────────────────────
class Written(ToyFits):
    """A fit that follows a written curve."""

    baseline = math.inf

    def __init__(self, curve: Sequence[float]) -> None:
        super().__init__()
        self.written = list(curve)

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        done = len(self.live[which[0]])
        self.live[which[0]] += self.written[done : done + steps]
        return [np.array(self.written[done : done + steps])]


def step_by_step(curve: Sequence[float], patience: int, cap: int, bars: Sequence[Bar]) -> tuple[int, bool]:
    """(steps trained, pruned), looked up after every single step."""
    low, low_step = math.inf, 0
    for step, loss in enumerate(curve[:cap], start=1):
        if loss < low:
            low, low_step = loss, step
        if any(bar.step == step and low > bar.loss for bar in bars):
            return step, True
        if step - low_step >= patience:
            return step, False
    return cap, False


@given(
    curve=st.lists(st.integers(0, 30).map(float), min_size=120, max_size=120),
    patience=st.integers(1, 40),
    cap=st.integers(1, 120),
    bars=st.lists(st.builds(Bar, st.integers(1, 130), st.integers(0, 10).map(float), st.just("behind")), max_size=5),
)
def test_a_fit_ends_at_the_same_step_however_its_steps_are_chunked(
    curve: list[float], patience: int, cap: int, bars: list[Bar]
) -> None:
    fits = Written(curve)
    trial, handle = fit(fits, 0.1, 0, options(patience=patience, max_steps=cap), bars=bars)
    trained, pruned = step_by_step(curve, patience, cap, bars)
    assert len(trial.curve) == len(fits.live[handle]) == trial.cost.steps == trained
    assert (trial.state == "pruned") == pruned
    if pruned:
        assert (trial.loss, trial.note) == (None, "behind")


def test_a_fit_that_clears_its_bars_is_what_it_is_without_them() -> None:
    alone, _ = fit(ToyFits(), 0.1, 0, options())
    watched, _ = fit(ToyFits(), 0.1, 0, options(), bars=[Bar(7, 9.0, ""), Bar(alone.steps, alone.loss or 0.0, "")])
    assert watched == alone


# ── the first three ───────────────────────────────────────────────────────────────────────────────
@given(space=spaces)
def test_the_first_three_stay_within_the_walls_and_are_as_far_apart_as_these_allow(space: Range) -> None:
    found = core(space)
    assert all(space.low <= rate <= space.high for rate in found)
    assert found == sorted(set(found), reverse=True)
    if space.low <= CORE[-1] and CORE[0] <= space.high:
        assert tuple(found) == CORE
    elif space.high > 1.001 * space.low:
        assert len(found) == 3
        wanted = min(space.high / space.low, CORE[0] / CORE[-1])
        assert found[0] / found[-1] == pytest.approx(wanted, rel=1e-4)


# ── laws of the search ────────────────────────────────────────────────────────────────────────────
def test_the_bracket_keeps_the_laws_of_the_conformance_kit() -> None:
    check_strategy(bracket)


@given(fits=surfaces, limit=limits)
def test_walls_work_and_memory_are_kept_on_any_surface(fits: Surface, limit: dict) -> None:
    asked = options(**limit)
    found = bracket(fits, asked)
    assert 1 <= len(found) <= MOST_FITS
    assert len(set(rates(found))) == len(found)
    assert all(asked.space.low <= rate <= asked.space.high for rate in rates(found))
    if asked.space.low <= CAP and asked.space.high >= FLOOR:
        assert all(FLOOR <= rate <= CAP for rate in rates(found))
    assert [trial.number for trial, _ in found] == list(range(len(found)))
    told = sum((trial.cost for trial, _ in found), Cost())
    assert (told.fits, told.steps, told.row_steps) == (fits.work.fits, fits.work.steps, fits.work.row_steps)
    assert all(trial.cost.steps <= asked.max_steps for trial, _ in found)
    assert all((trial.loss is None) == (trial.state != "complete") for trial, _ in found)
    assert all(trial.note for trial, _ in found if trial.state != "complete")
    winner = best(found)
    assert list(fits.live) == ([] if winner is None else [winner[1]])
    assert fits.most <= 2


@given(fits=surfaces, limit=limits)
def test_the_winner_is_never_worse_than_the_best_of_the_first_three(fits: Surface, limit: dict) -> None:
    asked = options(**limit)
    found = bracket(fits, asked)
    first = best(found[: len(core(asked.space))])
    if first is not None:
        winner = best(found)
        assert winner is not None
        assert winner[0].loss <= first[0].loss  # type: ignore[operator]


@given(where=st.floats(0.002, 0.8), bend=st.floats(0.0, 0.2), turn=st.floats(2.0, 8.0))
def test_pruning_loses_nothing_where_equal_progress_compares(where: float, bend: float, turn: float) -> None:
    asked = options()
    winner = best(bracket(Surface(where, bend, turn), asked))
    full = [fit(Surface(where, bend, turn), rate, 0, asked)[0].loss for rate in CORE]
    assert winner is not None
    assert winner[0].loss <= min(full)  # type: ignore[operator, type-var]


@given(fits=surfaces, limit=limits)
def test_a_clear_win_of_an_edge_always_widens_unless_a_wall_or_the_cap_forbids(fits: Surface, limit: dict) -> None:
    asked = options(**limit)
    found = bracket(fits, asked)
    low, high = max(asked.space.low, FLOOR), min(asked.space.high, CAP)
    if low > high:
        low, high = asked.space.low, asked.space.high
    start = len(core(Range(low, high)))
    for made in range(start, len(found) + 1):
        tried, leader = rates(found[:made]), best(found[:made])
        if leader is None:
            continue
        rate = leader[0].learning_rate
        beaten = sorted(t.loss for t, _ in found[:made] if t.loss is not None)[1:2]
        clear = not beaten or beaten[0] - leader[0].loss > CLEAR * leader[0].loss  # type: ignore[operator]
        outwards = {max(tried): min(rate * RATIO, high), min(tried): max(rate / RATIO, low)}.get(rate)
        if len(tried) == 1:
            outwards = None
        wanted = outwards if clear and outwards != rate else None
        if wanted is not None and made < MOST_FITS:
            assert made < len(found), f"{rate} leads at the edge of {tried}"
            assert found[made][0].learning_rate == pytest.approx(wanted, rel=1e-5)
        elif made < len(found):
            assert made == len(found) - 1, "nothing follows the rate in between"
            assert min(tried) < found[made][0].learning_rate < max(tried)


def test_the_last_rate_lies_between_the_winner_and_its_better_neighbour() -> None:
    found = bracket(Surface(where=0.055), options())
    assert rates(found) == [*CORE, pytest.approx(math.sqrt(0.07 * 0.033), rel=1e-5)]
    found = bracket(Surface(where=0.09), options())
    assert rates(found) == [*CORE, pytest.approx(math.sqrt(0.07 * 0.15), rel=1e-5)]


def test_an_optimum_far_outside_is_followed_to_the_floor_and_to_the_cap() -> None:
    assert min(rates(bracket(Surface(where=0.001, bend=0.1), options()))) == FLOOR
    assert max(rates(bracket(Surface(where=2.0, bend=0.1), options()))) == CAP
    assert min(rates(bracket(Surface(where=0.001, bend=0.1), options(space=Range(0.01, 0.3))))) == 0.01


def test_a_rate_that_cannot_catch_up_is_pruned_early_and_says_why() -> None:
    found = bracket(Surface(where=0.2, bend=0.1), options())
    behind = found[2][0]
    assert (behind.learning_rate, behind.state, behind.loss) == (0.033, "pruned", None)
    assert behind.note == "1% behind trial 0 at equal progress"
    leader = found[0][0]
    assert behind.cost.steps == len(behind.curve) == math.ceil(0.7 * leader.steps * 0.15 / 0.033)


def test_a_fit_gets_twice_the_progress_of_the_leaders_optimum_to_lead() -> None:
    class Endless(Surface):
        """Below .1 no step ever ends the hope: the loss falls on, too slowly to lead."""

        def _step(self, handle: int) -> float:
            loss = super()._step(handle)
            if self._rates[handle] < 0.1:
                loss = self.live[handle][-1] = 1.01 + 0.002 * math.exp(-self._progress[handle] / 50)
            return loss

    found = bracket(Endless(where=0.15), options())
    slow = found[1][0]
    assert (slow.learning_rate, slow.state) == (0.07, "pruned")
    assert slow.note == "no gain on trial 0 at 2 times the progress of its optimum"
    assert slow.cost.steps == math.ceil(2 * found[0][0].steps * 0.15 / 0.07)


def test_where_all_starve_larger_rates_are_tried_and_where_all_diverge_smaller_ones() -> None:
    starved = bracket(ToyFits(), options(max_steps=30, patience=5))
    assert [trial.state for trial, _ in starved[:3]] == ["starved"] * 3
    assert rates(starved)[3] == pytest.approx(0.15 * RATIO, rel=1e-5)
    assert best(starved) is not None
    diverged = bracket(ToyFits(diverges_above=0.02), options())
    assert [trial.state for trial, _ in diverged[:3]] == ["diverged"] * 3
    assert rates(diverged)[3] == pytest.approx(0.033 / RATIO, rel=1e-5)
    assert best(diverged) is not None


def test_few_calls_train_many_steps() -> None:
    fits = Surface()
    bracket(fits, options())
    assert fits.calls < fits.work.steps / 5


# ── on trees ──────────────────────────────────────────────────────────────────────────────────────
def test_on_trees_the_bracket_is_the_same_twice_and_cheaper_than_a_grid() -> None:
    data = toy_data(rows=1200)
    asked = options(max_steps=600, patience=20, loss=lambda score: data.curve_loss(data.valid.y, score))
    family = LightGBM({"num_leaves": 7}, 1)
    one, two = (bracket(family.start(data, seed=0), asked) for _ in range(2))
    assert canonical([trial for trial, _ in one]) == canonical([trial for trial, _ in two])
    ten = grid(family.start(data, seed=0), replace(asked, space=Range(0.01, 0.3)))
    work = [sum((trial.cost for trial, _ in found), Cost()).steps for found in (one, ten)]
    assert work[0] < 0.6 * work[1]


def test_the_arms_take_the_brackets_winner_and_leave_a_pruned_rate_to_a_fit_of_its_own() -> None:
    data = toy_data(rows=1200)
    asked = options(max_steps=600, patience=20, loss=lambda score: data.curve_loss(data.valid.y, score))
    family = LightGBM({"num_leaves": 7}, 1)
    first = bracket(family.start(data, seed=0), asked)
    lost = next((trial.learning_rate for trial, _ in first if trial.state == "pruned"), None)
    assert lost is not None, "no rate is pruned here: choose other rows"
    found = run(family, data, asked, strategy=bracket, champion_rate=lost, user_range=None)
    control, model = found.models["control"]
    assert (control.learning_rate, control.state) == (lost, "complete")
    assert control.loss == data.curve_loss(data.valid.y, model.predict(data.valid.x))
    assert found.cost["control"].fits == 1
    challenger = found.models["challenger"][0]
    assert challenger.loss == min(trial.loss for trial in found.trials if trial.loss is not None)
