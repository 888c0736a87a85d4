from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune.records import Range, SearchOptions, Trial
from lr_retune.search.choose import MOST_TOGETHER, TOGETHER, best, chosen, estimated, ranked, together
from lr_retune.search.estimate import BAND, LUCK, NOISE, TIED, behind, estimate, lowest, relative_error, roughness
from lr_retune.testing import ToyFits

Y = np.random.default_rng(0).normal(size=4000)


def complete(number: int, rate: float, loss: float, **changes: Any) -> Trial:
    trial = Trial(number, "candidate", rate, "constant", loss, max(1, round(5 / rate)), "complete")
    return replace(trial, **changes)


def curve(*losses: tuple[float, float]) -> list[Trial]:
    return [complete(number, rate, loss) for number, (rate, loss) in enumerate(losses)]


def without_loss(number: int, rate: float, state: str, **changes: Any) -> Trial:
    return replace(complete(number, rate, 0.0), loss=None, state=state, **changes)


states = st.sampled_from(["complete", "complete", "starved", "failed"])
trials = st.lists(
    st.tuples(
        st.floats(0.004, 0.4), st.floats(0.5, 1.5), st.sampled_from(["complete", "complete", "starved", "failed"])
    ),
    max_size=9,
    unique_by=lambda each: each[0],
).map(
    lambda found: [
        complete(n, rate, loss) if state == "complete" else without_loss(n, rate, state)
        for n, (rate, loss, state) in enumerate(found)
    ]
)
answers = st.sampled_from(["rate", "cheap_to_serve"])


# ── which trial ───────────────────────────────────────────────────────────────────────────────────
@given(found=trials, earlier=st.lists(trials, max_size=2), answer=answers, noise=st.none() | st.floats(1e-6, 0.2))
def test_what_is_taken_is_complete_and_tied_with_the_lowest(
    found: list[Trial], earlier: list[list[Trial]], answer: Any, noise: float | None
) -> None:
    told = estimate(found, earlier, answer, noise)
    first = lowest(found)
    assert (told is None) == (first is None)
    if told is None or first is None:
        return
    taken = next(trial for trial in found if trial.number == told.number)
    back = behind(taken, first)
    assert taken.state == "complete"
    assert back is not None
    assert 0 <= back <= (LUCK if answer == "rate" else TIED) * told.noise
    assert told.low <= taken.learning_rate <= told.high
    assert told.low <= first.learning_rate <= told.high
    assert f"{taken.learning_rate:.4g}" in told.reason
    assert 0 <= told.earlier < 1
    rates = [rate for rate, _ in told.curve]
    assert rates == sorted(rates)


@given(found=trials, answer=answers, seed=st.integers(0, 99))
def test_the_order_of_the_trials_does_not_matter(found: list[Trial], answer: Any, seed: int) -> None:
    shuffled = [found[place] for place in np.random.default_rng(seed).permutation(len(found))]
    assert estimate(shuffled, (), answer) == estimate(found, (), answer)


@given(found=trials, answer=answers)
def test_what_is_not_complete_changes_nothing_unless_it_was_pruned(found: list[Trial], answer: Any) -> None:
    assert estimate(found, (), answer) == estimate([t for t in found if t.state == "complete"], (), answer)


@given(found=trials)
def test_without_noise_the_lowest_loss_wins(found: list[Trial]) -> None:
    told, first = estimate(found, noise=1e-12), lowest(found)
    assert (told is None) == (first is None)
    if told is not None and first is not None:  # losses that differ in their last bits alone are one loss
        assert found[told.number].loss == pytest.approx(first.loss, rel=1e-11)


def test_a_lucky_dip_beside_a_hill_loses_to_the_valley() -> None:
    found = curve((0.02, 1.0), (0.03, 1.001), (0.05, 1.003), (0.07, 1.006), (0.1, 1.009), (0.15, 0.9995))
    told = estimate(found, noise=0.005)
    assert told is not None
    assert told.number == 0
    assert told.reason.startswith("rate 0.02 is 0.05% behind rate 0.15 on valid but is the lower one by its neighbours")
    assert best([(trial, 0) for trial in found]) == (found[5], 0)
    certain = estimate(found, noise=0.0002)
    assert certain is not None
    assert certain.number == 5


def test_a_cliff_bends_nothing() -> None:
    valley = curve((0.02, 1.004), (0.04, 1.0), (0.08, 1.003))
    cliff = [*valley, complete(3, 0.16, 1.0 + 2 * BAND), complete(4, 0.3, 40.0)]
    assert estimate(cliff, noise=0.005) == estimate(valley, noise=0.005)


def test_earlier_searches_decide_between_rates_that_are_tied() -> None:
    now = curve((0.03, 1.001), (0.06, 1.0), (0.12, 1.001))
    leaning = {side: curve((0.03, 1 + side), (0.06, 1.0 + abs(side)), (0.12, 1 - side)) for side in (-0.04, 0.04)}
    told = {side: estimate(now, [past, past], noise=0.005) for side, past in leaning.items()}
    low, high = told[-0.04], told[0.04]
    assert low is not None
    assert high is not None
    assert (now[low.number].learning_rate, now[high.number].learning_rate) == (0.03, 0.12)
    assert 0.4 < low.earlier == high.earlier < 0.5
    alone = estimate(now, noise=0.005)
    assert alone is not None
    assert alone.earlier == 0


def test_cheap_to_serve_takes_the_fewest_steps_of_all_that_are_tied() -> None:
    found = curve((0.02, 1.0), (0.05, 1.006), (0.1, 1.009), (0.2, 1.012))
    told = estimate(found, (), "cheap_to_serve", noise=0.005)
    assert told is not None
    assert (found[told.number].learning_rate, told.low, told.high) == (0.1, 0.02, 0.1)
    assert told.reason.startswith(
        "rate 0.1 is 0.90% behind rate 0.02 on valid but takes fewer steps; tied with it: 0.02"
    )


def test_another_schedule_is_another_curve() -> None:
    found = curve((0.02, 1.02), (0.04, 1.0), (0.08, 1.02))
    other = [complete(3 + n, rate, 1.0001, schedule="cosine(9)") for n, rate in enumerate((0.02, 0.04, 0.08))]
    assert estimate([*found, *other], noise=0.005) == estimate(found, noise=0.005)


# ── how far behind ────────────────────────────────────────────────────────────────────────────────
def test_a_pruned_fit_is_compared_at_equal_progress_once_it_has_come_half_of_the_way() -> None:
    falling = tuple(2.0 - step / 100 for step in range(1, 101))
    first = complete(0, 0.1, 1.0, steps=100, curve=falling)
    late = without_loss(1, 0.05, "pruned", curve=(1.6,) * 120)  # progress 6 of 10, where the leader was at 1.4
    early = replace(late, curve=(1.6,) * 90)
    assert behind(late, first) == pytest.approx((1.6 - 1.4) / 1.4)
    assert behind(early, first) is None
    assert behind(without_loss(2, 0.05, "starved", curve=(1.0,) * 120), first) is None


# ── how rough ─────────────────────────────────────────────────────────────────────────────────────
@given(bend=st.floats(0, 0.02), where=st.floats(0.01, 0.3), count=st.integers(1, 9))
def test_a_valley_is_no_noise(bend: float, where: float, count: int) -> None:
    rates = np.geomspace(0.01, 0.3, count)
    valley = [complete(n, rate, 1 + bend * math.log(rate / where) ** 2) for n, rate in enumerate(rates)]
    assert roughness(valley) <= NOISE * (1 + 1e-9)


def test_the_noise_of_many_trials_is_found_again() -> None:
    rates = np.geomspace(0.02, 0.2, 200)
    losses = 1 + np.random.default_rng(1).normal(0, 0.01, len(rates))
    found = [complete(n, rate, loss) for n, (rate, loss) in enumerate(zip(rates, losses, strict=True))]
    assert roughness(found) == pytest.approx(0.01, rel=0.2)


@pytest.mark.parametrize("sd", [0.02, 0.2])
def test_two_fits_tell_the_error_of_their_difference(sd: float) -> None:
    def mae(score: np.ndarray) -> float:
        return float(np.abs(Y - score).mean())

    one, other = np.random.default_rng(2).normal(0, sd, (2, len(Y)))
    rows = np.abs(Y - one) - np.abs(Y - other)
    expected = rows.std(ddof=1) / math.sqrt(len(Y)) / mae(other)
    assert relative_error(mae, one, other) == pytest.approx(expected, rel=0.5)
    assert relative_error(mae, one, one) is None
    assert relative_error(mae, one[:1], other[:1]) is None


# ── for the arms ──────────────────────────────────────────────────────────────────────────────────
def found_of(some: Sequence[Trial]) -> list[tuple[Trial, int]]:
    return [(trial, 10 + trial.number) for trial in some]


def asked(**changes: Any) -> SearchOptions:
    return replace(
        SearchOptions(Range(0.01, 0.3), 1, 9, 5, 0, lambda score: float(np.abs(Y - score).mean())), **changes
    )


def test_what_is_chosen_comes_with_its_handle_and_heeds_the_answer() -> None:
    found = found_of(curve((0.02, 1.0), (0.05, 1.006), (0.1, 1.5)))
    assert chosen(found, estimated(found, asked())) == found[0]
    assert chosen(found, estimated(found, asked(answer="cheap_to_serve"))) == found[1]
    assert chosen([], estimated([], asked())) is None
    assert (
        chosen(
            found_of([without_loss(0, 0.1, "starved")]), estimated(found_of([without_loss(0, 0.1, "starved")]), asked())
        )
        is None
    )


def test_with_fits_at_hand_the_noise_is_measured_on_their_rows() -> None:
    class Fits(ToyFits):
        def score(self, which: int, steps: int) -> np.ndarray:
            assert steps > 0
            return np.random.default_rng(which).normal(0, 0.2, len(Y))

    found = found_of(curve((0.02, 1.0), (0.05, 1.006), (0.1, 1.5)))
    options = asked()
    told = estimated(found, options, Fits())
    assert told is not None
    measured = relative_error(options.loss, Fits().score(10, 1), Fits().score(11, 1))
    assert told.noise == measured
    assert told.noise != roughness([trial for trial, _ in found])


@given(found=trials)
def test_an_average_holds_the_few_best_that_are_close_to_the_best(found: list[Trial]) -> None:
    order = ranked(found_of(found))
    close = [each for each in order if each[0].loss <= order[0][0].loss + TOGETHER * order[0][0].loss]  # type: ignore[operator]
    assert together(found_of(found)) == close[:MOST_TOGETHER]
    assert close[:1] == [each for each in [best(found_of(found))] if each]
