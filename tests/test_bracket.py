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
from lr_retune.search.arm import Named
from lr_retune.search.arms import run
from lr_retune.search.attempts import KEPT, LOOKS
from lr_retune.search.bracket import FOR_AVERAGE, LIMITS, START, STEP, bracket, start
from lr_retune.search.choose import MOST_TOGETHER, TOGETHER, best, ranked, together
from lr_retune.search.early_stop import Bar, fit
from lr_retune.search.estimate import behind, roughness
from lr_retune.search.grid import grid
from lr_retune.search.live import Live
from lr_retune.testing import ToyFits, check_strategy, toy_data

FLOOR, CAP = LightGBM.default_range.low, LightGBM.default_range.high


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
limits = st.fixed_dictionaries(
    {
        "space": spaces,
        "patience": st.integers(5, 60),
        "max_steps": st.integers(20, 3000),
        "effort": st.sampled_from(["fast", "balanced", "thorough"]),
        "answer": st.sampled_from(["rate", "rate", "average", "cheap_to_serve"]),
    }
)


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


# ── the first two ─────────────────────────────────────────────────────────────────────────────────
@given(space=spaces)
def test_the_first_two_stay_within_the_walls_and_are_as_far_apart_as_these_allow(space: Range) -> None:
    found = start(space)
    assert all(space.low <= rate <= space.high for rate in found)
    assert found == sorted(set(found), reverse=True)
    if space.low <= START[1] and START[0] <= space.high:
        assert tuple(found) == START
    elif space.high > 1.001 * space.low:
        assert found[0] / found[1] == pytest.approx(min(space.high / space.low, STEP), rel=1e-4)


def test_what_led_the_last_time_goes_first_and_large_rates_where_nothing_is_known() -> None:
    led = {}
    for rate in (0.4, 0.15, 0.07, 0.02):
        lost = (
            Trial(0, "candidate", 0.2, "constant", 2.0, 9, "complete"),
            Trial(1, "fixed", 0.05, "constant", None, 0, "failed"),
        )
        past = (*lost, Trial(2, "candidate", rate, "constant", 1.0, 9, "complete"))
        led[rate] = rates(bracket(Surface(), options(earlier=(past,))))[:2]
    assert led == {0.4: [0.15, 0.07], 0.15: [0.15, 0.07], 0.07: [0.07, 0.15], 0.02: [0.07, 0.15]}
    assert rates(bracket(Surface(), options()))[:2] == [0.15, 0.07]
    assert rates(bracket(Surface(), options(earlier=((lost[1],),))))[:2] == [0.15, 0.07]


# ── laws of the search ────────────────────────────────────────────────────────────────────────────
def test_the_bracket_keeps_the_laws_of_the_conformance_kit() -> None:
    check_strategy(bracket)


@given(fits=surfaces, limit=limits)
def test_walls_work_and_memory_are_kept_on_any_surface(fits: Surface, limit: dict) -> None:
    asked = options(**limit)
    found = bracket(fits, asked)
    assert 1 <= len(found) <= LIMITS[asked.effort].fits
    assert len(set(rates(found))) == len(found)
    assert all(asked.space.low <= rate <= asked.space.high for rate in rates(found))
    assert [trial.number for trial, _ in found] == list(range(len(found)))
    told = sum((trial.cost for trial, _ in found), Cost())
    assert (told.fits, told.steps, told.row_steps) == (fits.work.fits, fits.work.steps, fits.work.row_steps)
    assert all(trial.cost.steps <= asked.max_steps for trial, _ in found)
    assert all((trial.loss is None) == (trial.state != "complete") for trial, _ in found)
    assert all(trial.note for trial, _ in found if trial.state != "complete")
    assert set(fits.live) == {handle for _, handle in ranked(found)[:KEPT]}
    assert fits.most <= KEPT + 1


@given(fits=surfaces, limit=limits)
def test_the_winner_is_never_worse_than_the_best_of_the_first_two(fits: Surface, limit: dict) -> None:
    found = bracket(fits, options(**limit))
    first, winner = best(found[:2]), best(found)
    if first is not None:
        assert winner is not None
        assert winner[0].loss <= first[0].loss  # type: ignore[operator]


@given(where=st.floats(0.002, 0.8), bend=st.floats(0.0, 0.2), turn=st.floats(2.0, 8.0))
def test_pruning_loses_nothing_where_equal_progress_compares(where: float, bend: float, turn: float) -> None:
    asked = options()
    winner = best(bracket(Surface(where, bend, turn), asked))
    full = [fit(Surface(where, bend, turn), rate, 0, asked)[0].loss for rate in START]
    assert winner is not None
    assert winner[0].loss <= min(full) * (1 + 1e-4)  # type: ignore[operator, type-var]


@given(fits=surfaces, limit=limits, past=st.sampled_from([0.004, 0.05, 0.4]))
def test_an_edge_that_leads_by_more_than_luck_always_widens_whatever_led_before(
    fits: Surface, limit: dict, past: float
) -> None:
    earlier = ((Trial(0, "candidate", past, "constant", 1.0, 9, "complete"),),)
    asked = options(**limit, earlier=earlier)
    found = bracket(fits, asked)
    low, high = asked.space.low, asked.space.high
    if low > high:
        low, high = asked.space.low, asked.space.high
    most = min(LIMITS[asked.effort].fits, FOR_AVERAGE if asked.answer == "average" else 99)
    for made in range(2, min(len(found) + 1, most)):
        trials, leader = [trial for trial, _ in found[:made]], best(found[:made])
        if leader is None:
            continue
        leads = [back for t in trials if t is not leader[0] and (back := behind(t, leader[0])) is not None]
        tried, rate = rates(found[:made]), leader[0].learning_rate
        outwards = {max(tried): min(rate * STEP, high), min(tried): max(rate / STEP, low)}.get(rate, rate)
        luck = max(roughness(trials), LIMITS[asked.effort].worth)  # scores of one row tell no noise of their own
        if outwards != rate and min(leads, default=math.inf) > luck:
            assert made < len(found), f"{rate} leads at the edge of {tried}"
            assert found[made][0].learning_rate == pytest.approx(outwards, rel=1e-5)


def test_a_flat_curve_is_not_searched_and_a_steep_one_is_followed() -> None:
    assert len(bracket(Surface(where=0.1, bend=0.0), options(effort="fast"))) <= 4
    steep = rates(bracket(Surface(where=0.03, bend=0.1), options()))
    assert steep[:3] == [*START, pytest.approx(START[1] / STEP, rel=1e-5)]
    assert min(abs(math.log(rate / 0.03)) for rate in steep) < 0.4


def test_an_optimum_far_outside_is_followed_to_the_floor_and_to_the_cap() -> None:
    assert min(rates(bracket(Surface(where=0.001, bend=0.1), options()))) == FLOOR
    assert max(rates(bracket(Surface(where=2.0, bend=0.1), options()))) == CAP
    assert min(rates(bracket(Surface(where=0.001, bend=0.1), options(space=Range(0.01, 0.3))))) == 0.01


def test_a_rate_that_cannot_catch_up_is_pruned_early_and_says_why() -> None:
    found = bracket(Surface(where=0.2, bend=0.1), options())
    behind_ = found[1][0]
    assert (behind_.learning_rate, behind_.state, behind_.loss) == (0.07, "pruned", None)
    assert behind_.note == "2.0% behind trial 0 at 0.5 times the progress of its optimum"
    assert behind_.cost.steps == len(behind_.curve) == math.ceil(0.5 * found[0][0].steps * 0.15 / 0.07)


def test_a_fit_gets_a_bit_more_than_the_progress_of_the_leaders_optimum_to_lead() -> None:
    class Endless(Surface):
        """Below .1 no step ever ends the hope: the loss falls on, too slowly to lead."""

        def _step(self, handle: int) -> float:
            loss = super()._step(handle)
            if self._rates[handle] < 0.1:
                loss = self.live[handle][-1] = 1.008 + 0.0002 * math.exp(-self._progress[handle] / 50)
            return loss

    found = bracket(Endless(where=0.15), options())
    slow = found[1][0]
    assert (slow.learning_rate, slow.state) == (0.07, "pruned")
    assert slow.note == "no gain on trial 0 at 1.15 times the progress of its optimum"
    assert slow.cost.steps == math.ceil(LOOKS[-1][0] * found[0][0].steps * 0.15 / 0.07)


def test_where_all_starve_larger_rates_are_tried_and_where_all_diverge_smaller_ones() -> None:
    starved = bracket(ToyFits(), options(max_steps=30, patience=5))
    assert [trial.state for trial, _ in starved[:2]] == ["starved"] * 2
    assert rates(starved)[2] == pytest.approx(0.15 * STEP, rel=1e-5)
    assert best(starved) is not None
    diverged = bracket(ToyFits(diverges_above=0.02), options())
    assert [trial.state for trial, _ in diverged[:2]] == ["diverged"] * 2
    assert rates(diverged)[2] == pytest.approx(0.07 / STEP, rel=1e-5)
    assert best(diverged) is not None


def test_few_calls_train_many_steps() -> None:
    fits = Surface()
    bracket(fits, options())
    assert fits.calls < fits.work.steps / 5


class Rows(Surface):
    """A flat surface of 200 rows on which each rate has luck of its own."""

    def __init__(self, luck: float) -> None:
        super().__init__(bend=0.0)
        self.luck = luck

    def score(self, which: int, steps: int) -> np.ndarray:
        own = np.random.default_rng(int(1e6 * self._rates[which])).normal(size=200)
        return self.live[which][steps - 1] + self.luck * own


def mean(score: np.ndarray) -> float:
    return float(score.mean())


def test_the_rougher_the_curve_the_more_fits_are_worth_their_price() -> None:
    tried = [len(bracket(Rows(luck), options(loss=mean))) for luck in (0.0001, 0.01, 0.2)]
    assert tried == sorted(tried)
    assert tried[0] == 2
    assert tried[2] > 5


def test_the_efforts_go_further_and_further() -> None:
    tried = [len(bracket(Rows(0.1), options(loss=mean, effort=effort))) for effort in ("fast", "balanced", "thorough")]
    assert tried == sorted(tried)
    assert tried[0] < tried[2]


@given(fits=surfaces, limit=limits)
def test_fits_that_are_averaged_are_complete_close_to_the_best_and_few(fits: Surface, limit: dict) -> None:
    asked = options(**limit | {"answer": "average"})
    parts = together(bracket(fits, asked))
    assert len(parts) <= MOST_TOGETHER
    assert all(handle in fits.live for _, handle in parts)
    for trial, _ in parts:
        back = behind(trial, parts[0][0])
        assert back is not None
        assert 0 <= back <= TOGETHER + 1e-12


@given(limit=limits, known=st.integers(1, 9), where=st.floats(0.01, 0.3))
def test_a_search_that_was_killed_goes_on_to_the_same_trials(limit: dict, known: int, where: float) -> None:
    book: list[Trial] = []
    fits = Live(Surface(where, rough=0.002))
    whole = bracket(fits, options(**limit, remember=book.append))
    done = {trial.number: trial for trial in book[:known]}
    asked = options(**limit, recall=lambda number, *_: done.get(number))
    again = bracket(Live(Surface(where, rough=0.002)), asked)
    assert canonical([trial for trial, _ in again]) == canonical([trial for trial, _ in whole])


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
    found = run(family, data, asked, strategy=bracket, old=Named(lost), user_range=None)
    control, model = found.models["control"]
    assert (control.learning_rate, control.state) == (lost, "complete")
    assert control.loss == data.curve_loss(data.valid.y, model.predict(data.valid.x))
    assert found.cost["control"].fits == 1
    challenger = found.models["challenger"][0]
    assert challenger.loss == min(trial.loss for trial in found.trials if trial.loss is not None)
