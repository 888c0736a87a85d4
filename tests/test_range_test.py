from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune.families.lightgbm import LightGBM
from lr_retune.families.sgd import SGD
from lr_retune.records import Budget, Family, FitData, Range, Rows, SearchOptions
from lr_retune.report import svg
from lr_retune.report.range_plot import range_plot
from lr_retune.search.choose import best
from lr_retune.search.range_test import Reading, range_test, reading, swept
from lr_retune.testing import ToyFits, toy_data

RISING = np.geomspace(1e-6, 10, 28)
anything = st.floats(allow_nan=True, allow_infinity=True)


def options(**changes: object) -> SearchOptions:
    base = SearchOptions(Range(0.01, 0.3), 6, 2000, 50, 0, lambda score: float(score[0]))
    return replace(base, **changes)


class Traced(ToyFits):
    """Fits that write down each step's rate."""

    def __init__(self, *, diverges_above: float = math.inf, slope: float = 1.0) -> None:
        super().__init__(diverges_above=diverges_above)
        self.slope = slope
        self.trace: dict[int, list[float]] = {}

    def _step(self, handle: int) -> float:
        self.trace.setdefault(handle, []).append(self._rates[handle])
        loss = 2 + self.slope * (super()._step(handle) - 2)
        self.live[handle][-1] = loss
        return loss


# ── what a sweep says ─────────────────────────────────────────────────────────────────────────────
def fallen(rates: np.ndarray, where: float) -> np.ndarray:
    """A loss that falls around a rate, and rises again above 1."""
    place = np.log10(rates)
    return 1 / (1 + np.exp(2 * (place - math.log10(where)))) + 0.05 * np.maximum(0, place) ** 2


@pytest.mark.parametrize(("steps", "noise"), [(14, 0.05), (28, 0.02), (28, 0.05), (80, 0.05)])
def test_the_band_holds_the_rate_that_a_sweep_without_noise_would_name(steps: int, noise: float) -> None:
    fine, held, told = np.geomspace(1e-6, 10, 2000), 0, 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        rates, where = np.geomspace(1e-6, 10, steps), float(10 ** rng.uniform(-4, -1))
        clean = fallen(fine, where)
        truth = fine[np.argmax(clean <= clean[0] - 0.5 * (clean[0] - clean.min()))]
        said = reading(rates, list(fallen(rates, where) + rng.normal(0, noise, steps)))
        told += said is not None
        held += said is not None and said.low <= truth <= said.high
    assert told >= 190
    assert held >= 0.9 * told


@pytest.mark.parametrize("steps", [8, 14, 28, 80])
def test_a_curve_of_noise_alone_is_flat(steps: int) -> None:
    rng = np.random.default_rng(0)
    rates = np.geomspace(0.004, 0.4, steps)
    assert sum(reading(rates, list(rng.normal(1, 0.05, steps))) is not None for _ in range(300)) <= 15


@given(curve=st.lists(st.floats(-1e9, 1e9), min_size=0, max_size=28))
def test_whatever_the_curve_a_reading_lies_within_the_sweep(curve: list[float]) -> None:
    said = reading(RISING, curve)
    if said is not None:
        assert RISING[0] <= said.low <= said.rate <= said.high <= RISING[max(0, len(curve) - 1)]
        assert curve[0] > min(curve)


def test_a_loss_that_only_rises_suggests_nothing() -> None:
    assert reading(RISING, list(np.linspace(1, 2, 28))) is None


# ── the strategy ──────────────────────────────────────────────────────────────────────────────────
def test_the_name_of_a_sweep_gives_the_rate_of_each_step_and_nothing_ranks_it() -> None:
    fits = Traced()
    found = range_test(fits, options())
    sweeps = found[:-1]
    assert [trial.schedule for trial, _ in sweeps] == ["range(0.01,0.3)"] * 3
    assert len({len(trial.curve) for trial, _ in sweeps}) == 3
    for (trial, handle), (rates, losses, _) in zip(sweeps, swept([trial for trial, _ in found]), strict=True):
        assert fits.trace[handle] == rates.tolist()
        assert losses.tolist() == list(trial.curve)
        assert np.log(rates[1:] / rates[:-1]) == pytest.approx(np.log(30) / (len(rates) - 1), rel=1e-3)
        assert (trial.state, trial.loss) == ("pruned", None)
    assert best(sweeps) is None


def test_what_is_suggested_is_fitted_at_a_constant_rate_and_says_where_it_comes_from() -> None:
    fits = Traced()
    *sweeps, (trial, handle) = range_test(fits, options())
    assert (trial.state, trial.schedule) == ("complete", "constant")
    assert set(fits.trace[handle]) == {trial.learning_rate}
    assert trial.learning_rate == sorted(sweep.learning_rate for sweep, _ in sweeps)[1]
    band = re.search(r"band (\S+) to (\S+): a bracket, no search", trial.note)
    assert band is not None
    assert float(band[1]) <= min(s.learning_rate for s, _ in sweeps) * 1.001
    assert float(band[2]) >= max(s.learning_rate for s, _ in sweeps) * 0.999


def test_slower_sweeps_suggest_smaller_rates_and_the_band_tells_so() -> None:
    *sweeps, _ = range_test(ToyFits(), options(space=Range(0.004, 0.4)))
    said = [trial.learning_rate for trial, _ in sweeps]
    assert said == sorted(said, reverse=True)
    assert said[0] > said[-1]


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_where_the_sweeps_are_flat_nothing_is_fitted_and_the_answer_is_the_old_rate(slope: float) -> None:
    fits = Traced(slope=slope)
    found = range_test(fits, options())
    assert [trial.state for trial, _ in found] == ["pruned"] * 3
    assert all("flat" in trial.note and "keep the old rate" in trial.note for trial, _ in found)
    assert fits.live == {}


@pytest.mark.fault("D1")
def test_a_sweep_that_blows_up_ends_there_and_still_suggests() -> None:
    fits = Traced(diverges_above=0.15)
    *sweeps, (trial, _) = range_test(fits, options(space=Range(0.001, 0.3)))
    assert all(0.1 < float(re.split("[,)]", sweep.schedule)[1]) <= 0.15 for sweep, _ in sweeps)
    assert all(len(sweep.curve) + 1 == sweep.cost.steps for sweep, _ in sweeps)
    assert trial.state == "complete"
    assert trial.learning_rate < 0.15


@pytest.mark.fault("D2")
def test_where_the_smallest_rate_diverges_nothing_is_suggested() -> None:
    found = range_test(ToyFits(diverges_above=0.001), options())
    assert [trial.state for trial, _ in found] == ["diverged"] * 3


@pytest.mark.parametrize("budget", [Budget(fits=1), Budget(steps=60)])
def test_a_budget_too_small_for_a_test_is_spent_on_one_fit(budget: Budget) -> None:
    ((trial, _),) = range_test(ToyFits(), options(budget=budget))
    assert (trial.learning_rate, trial.schedule, trial.note.count("range test")) == (0.0547723, "constant", 0)


def test_fits_of_one_step_share_each_pass_over_the_rows() -> None:
    calls = []

    class Watched(ToyFits):
        def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
            calls.append((len(which), steps))
            return super().advance(which, steps)

    range_test(Watched(), options())
    assert calls[0] == (3, 1)


@pytest.mark.parametrize("family", [LightGBM({"num_leaves": 7}, 1), SGD({}, 1)], ids=["lightgbm", "sgd"])
def test_labels_that_nothing_explains_are_flat(family: Family) -> None:
    rng = np.random.default_rng(1)
    data = toy_data(rows=800)
    noise = [replace(rows, y=rng.normal(size=len(rows))) for rows in (data.train, data.valid)]
    blind = replace(data, train=noise[0], valid=noise[1])
    found = range_test(family.start(blind, seed=0), asked(family, blind))
    assert best(found) is None
    assert sum("flat" in trial.note for trial, _ in found) >= 2


def asked(family: Family, data: FitData) -> SearchOptions:
    loss = data.curve_loss
    return options(
        space=family.default_range,
        patience=family.default_patience,
        loss=lambda score: loss(data.valid.y, score),
    )


def test_the_suggestion_for_a_linear_model_learns_and_does_not_diverge() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(900, 6))
    y = x @ rng.normal(size=6) + 0.3 * rng.normal(size=900)
    time = np.arange(900, dtype=np.int64)
    every = Rows(x, y, time, time)
    data = FitData(
        every.take(np.arange(600)),
        every.take(np.arange(600, 900)),
        "regression",
        (),
        "rmse",
        lambda truth, score: float(np.square(truth - score).mean()),
    )
    winner = best(range_test(SGD({}, 1).start(data, seed=0), asked(SGD({}, 1), data)))
    assert winner is not None
    assert winner[0].loss is not None
    assert winner[0].loss < 0.12  # the noise's variance is .09


# ── the picture ───────────────────────────────────────────────────────────────────────────────────
def drawn(picture: str) -> list[str]:
    """Its texts, after a look at every coordinate."""
    root = ElementTree.fromstring(picture)
    for element in root.iter():
        numbers = [element.get(name) for name in ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "width", "height")]
        numbers += re.split(r"[ ,]", element.get("points", "").strip())
        for value in filter(None, numbers):
            assert -1 <= float(value) <= svg.WIDTH + 1, f"{element.tag} stands at {value}"
    return [e.text or "" for e in root.iter("{http://www.w3.org/2000/svg}text")]


def test_the_picture_shows_sweeps_band_and_the_rate_that_was_fitted() -> None:
    trials = [trial for trial, _ in range_test(ToyFits(), options())]
    picture = range_plot(swept(trials), trials[-1].learning_rate)
    words = drawn(picture)
    assert f"fitted {trials[-1].learning_rate:.4g}" in words
    assert any(word.startswith("band ") for word in words)
    assert picture.count("<polyline") == 3
    assert "3 sweeps, 3 suggest a rate" in picture
    assert picture == range_plot(swept(trials), trials[-1].learning_rate)


def test_the_picture_of_a_flat_test_says_so() -> None:
    trials = [trial for trial, _ in range_test(Traced(slope=0.0), options())]
    assert "flat: nothing is suggested" in drawn(range_plot(swept(trials), None))
    assert "no sweeps" in drawn(range_plot([], None))


@given(
    sweeps=st.lists(
        st.tuples(
            st.lists(anything, max_size=6).map(np.array),
            st.lists(anything, max_size=6).map(np.array),
            st.none() | st.builds(Reading, low=anything, rate=anything, high=anything),
        ),
        max_size=4,
    ),
    fitted=st.none() | anything,
)
def test_whatever_sweeps_come_in_the_picture_is_well_formed_with_finite_coordinates(
    sweeps: list[tuple[np.ndarray, np.ndarray, Reading | None]], fitted: float | None
) -> None:
    drawn(range_plot(sweeps, fitted))
