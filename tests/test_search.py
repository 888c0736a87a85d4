from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune.errors import DataError
from lr_retune.families.lightgbm import LightGBM
from lr_retune.records import Cost, FitData, Range, Rows, SearchOptions, Trial
from lr_retune.search.arm import Named
from lr_retune.search.arms import run
from lr_retune.search.choose import at_wall, best, ranked
from lr_retune.search.early_stop import NO_FIT, fit
from lr_retune.search.grid import fixed, grid, random, rates
from lr_retune.testing import ToyFits, check_strategy, toy_data

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def options(**changes: object) -> SearchOptions:
    base = SearchOptions(Range(0.01, 0.3), 6, 2000, 20, 0, lambda score: float(score[0]))
    return replace(base, **changes)


class Recorded(ToyFits):
    """Fits that follow a written curve, whatever the rate."""

    def __init__(self, curve: Sequence[float], baseline: float = math.inf, ends: bool = False) -> None:
        super().__init__()
        self.written, self.baseline, self.ends = list(curve), baseline, ends

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        (handle,) = which
        done = len(self.live[handle])
        new = self.written[done : done + steps]
        assert self.ends or len(new) == steps, "trained past the written curve"
        self.live[handle] += new
        self.work += Cost(steps=len(new), row_steps=len(new) * self.train_rows)
        return [np.array(new)]


def one_by_one(curve: Sequence[float], patience: int, cap: int) -> tuple[int, int]:
    """Early stopping as the textbook has it: (steps trained, best step)."""
    best_loss, best_step = math.inf, 0
    for step, loss in enumerate(curve[:cap], start=1):
        if loss < best_loss:
            best_loss, best_step = loss, step
        if step - best_step >= patience:
            return step, best_step
    return min(cap, len(curve)), best_step


# ── early stopping ────────────────────────────────────────────────────────────────────────────────
@given(
    curve=st.lists(st.integers(0, 30).map(float), min_size=120, max_size=120),
    patience=st.integers(1, 40),
    cap=st.integers(1, 120),
)
def test_patience_is_exact_however_steps_are_chunked(curve: list[float], patience: int, cap: int) -> None:
    fits = Recorded(curve)
    trial, _ = fit(fits, 0.1, 0, options(patience=patience, max_steps=cap))
    trained, best_step = one_by_one(curve, patience, cap)
    assert (len(trial.curve), trial.steps) == (trained, best_step)
    assert trial.cost == Cost(1, trained, trained * fits.train_rows)
    assert (trial.state == "starved") == (trained - best_step < patience)
    assert trial.loss == (curve[best_step - 1] if trial.state == "complete" else None)


def test_a_starved_trial_says_so_and_has_no_loss() -> None:
    trial, _ = fit(Recorded([5.0, 4.0, 3.0]), 0.1, 0, options(max_steps=3))
    assert (trial.state, trial.loss, trial.steps) == ("starved", None, 3)
    assert trial.note == "still improving after 3 steps: raise max_steps"


def test_a_family_that_cannot_go_on_has_a_complete_fit() -> None:
    trial, _ = fit(Recorded([5.0, 4.0, 3.0], ends=True), 0.1, 0, options())
    assert (trial.state, trial.loss, trial.steps) == ("complete", 3.0, 3)


@pytest.mark.fault("D1")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_is_diverged(bad: float) -> None:
    trial, _ = fit(Recorded([2.0, 1.5, bad, *[1.0] * 60]), 0.1, 0, options())
    assert (trial.state, trial.loss, trial.curve) == ("diverged", None, (2.0, 1.5))
    assert "from step 3" in trial.note


@pytest.mark.fault("D1")
@pytest.mark.parametrize(
    ("lowest", "state"), [(1e12, "diverged"), (4.01, "diverged"), (3.99, "complete"), (1, "complete")]
)
def test_a_finite_loss_far_above_the_best_constant_is_diverged(lowest: float, state: str) -> None:
    trial, _ = fit(Recorded([lowest] * 60, baseline=2.0), 0.1, 0, options())
    assert trial.state == state


@pytest.mark.fault("D1")
def test_a_wild_rate_of_boosted_trees_is_diverged_though_all_its_numbers_are_finite() -> None:
    data = toy_data()
    fits = LightGBM({}, 1).start(data, seed=0)
    trial, _ = fit(fits, 1e10, 0, options(loss=lambda score: data.curve_loss(data.valid.y, score)))
    assert trial.state == "diverged"
    assert np.isfinite(trial.curve).all()


def test_a_family_error_ends_the_trial_not_the_search_and_a_bug_ends_both() -> None:
    trial, handle = fit(ToyFits(fails=True), 0.1, 3, options())
    assert (trial.state, trial.number, trial.cost.steps, handle) == ("failed", 3, 0, NO_FIT)
    assert "this toy always fails" in trial.note

    class Buggy(ToyFits):
        def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(Buggy(), 0.1, 0, options())


def test_a_metric_that_cannot_be_told_fails_the_trial() -> None:
    trial, _ = fit(ToyFits(), 0.1, 0, options(loss=lambda score: math.nan))
    assert (trial.state, trial.loss) == ("failed", None)


# ── strategies ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("strategy", [grid, random, fixed])
def test_built_in_strategies_keep_the_laws_of_the_conformance_kit(strategy) -> None:
    check_strategy(strategy)


@given(low=st.floats(1e-6, 1.0), width=st.floats(1.0, 1e4), points=st.integers(1, 40), log=st.booleans())
def test_a_grid_holds_both_walls_and_crosses_neither(low: float, width: float, points: int, log: bool) -> None:
    space = Range(low, low * width, log)
    found = rates(space, points)
    assert found == sorted(found, reverse=True)
    assert all(space.low <= rate <= space.high for rate in found)
    if points > 1 and space.low < space.high:
        assert len(found) == points
        assert found[0] == pytest.approx(space.high, rel=1e-5)
        assert found[-1] == pytest.approx(space.low, rel=1e-5)
    else:
        assert len(found) == 1


def test_one_rate_is_tried_once_and_exactly() -> None:
    for strategy in (grid, fixed):
        (found,) = strategy(ToyFits(), options(space=Range(0.123456789, 0.123456789)))
        assert found[0].learning_rate == 0.123456789


def test_random_draws_follow_the_seed() -> None:
    first, again, other = (
        [trial.learning_rate for trial, _ in random(ToyFits(), options(seed=seed))] for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("strategy", [grid, random])
def test_only_the_two_leaders_stay_in_memory(strategy) -> None:
    fits = ToyFits()
    most = 0
    seen = options(points=8, progress=lambda _line: None)

    def progress(_line: str) -> None:
        nonlocal most
        most = max(most, len(fits.live))

    trials = strategy(fits, replace(seen, progress=progress))
    assert sorted(fits.live) == sorted(handle for _, handle in ranked(trials)[:2])
    assert most == 3


# ── the choice ────────────────────────────────────────────────────────────────────────────────────
def trial(number: int, rate: float, loss: float | None, state: str = "complete") -> tuple[Trial, int]:
    return Trial(number, "candidate", rate, "constant", loss, 5, state), number  # type: ignore[arg-type]


def test_a_tie_goes_to_the_larger_rate() -> None:
    winner = best([trial(0, 0.05, 1.0), trial(1, 0.2, 1.0), trial(2, 0.1, 1.0), trial(3, 0.4, 1.1)])
    assert winner is not None
    assert winner[0].learning_rate == 0.2


def test_only_complete_trials_are_ranked() -> None:
    assert best([trial(0, 0.1, None, "starved"), trial(1, 0.1, None, "diverged"), trial(2, 0.1, 0.1, "pruned")]) is None
    assert best([]) is None


def test_a_wall_is_told_only_where_the_user_built_it() -> None:
    space = Range(0.01, 0.3)
    assert at_wall(trial(0, 0.3, 1.0)[0], space, True) == "high"
    assert at_wall(trial(0, 0.01, 1.0)[0], space, True) == "low"
    assert at_wall(trial(0, 0.05, 1.0)[0], space, True) is None
    assert at_wall(trial(0, 0.3, 1.0)[0], space, False) is None
    assert at_wall(trial(0, 0.3, 1.0)[0], Range(0.3, 0.3), True) is None


# ── the arms ──────────────────────────────────────────────────────────────────────────────────────
class ToyModel:
    def __init__(self, made: tuple[int, int]) -> None:
        self.made = made

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.zeros(len(x))

    def importance(self) -> np.ndarray:
        return np.ones(1)

    def files(self) -> dict[str, bytes]:
        return {"toy": repr(self.made).encode()}


class Served(ToyFits):
    def finish(self, which: int, steps: int) -> ToyModel:
        assert which in self.live, "a dropped fit was asked for"
        return ToyModel((which, steps))


class ToyFamily:
    name, step_unit, default_rate, default_range = "toy", "steps", 0.05, Range(0.004, 0.4)

    def __init__(self, **kinds: object) -> None:
        self.fits = Served(**kinds)  # type: ignore[arg-type]

    def start(self, data: FitData, *, seed: int) -> Served:
        return self.fits

    def load(self, files: object) -> ToyModel:
        raise DataError("a toy is never stored")


def arms(strategy=grid, champion_rate: float | None = 0.2, user_range: Range | None = None, **kinds: object):
    family = ToyFamily(**{k: v for k, v in kinds.items() if k in ("diverges_above", "fails")})
    limits = {k: v for k, v in kinds.items() if k in ("points", "max_steps", "space")}
    asked = options(**({"space": user_range} if user_range else {}), **limits)
    data = toy_data()
    return run(
        family,
        data,
        asked,
        strategy=strategy,
        old=None if champion_rate is None else Named(champion_rate),
        user_range=user_range,
    ), family.fits


def test_a_search_has_its_control_and_its_fixed_row_on_the_same_fits() -> None:
    found, fits = arms()
    assert [t.role for t in found.trials] == ["candidate"] * 6 + ["control", "fixed"]
    assert [t.number for t in found.trials] == list(range(8))
    assert found.models["control"][0].learning_rate == 0.2
    assert found.models["fixed"][0].learning_rate == 0.05
    assert found.cost["control"].fits == found.cost["fixed"].fits == 1
    assert found.cost["search"].fits == 6
    total = sum(found.cost.values(), Cost())
    assert (total.fits, total.steps, total.row_steps) == (fits.work.fits, fits.work.steps, fits.work.row_steps)


def test_the_challenger_is_the_best_new_rate_where_it_beats_the_old_one() -> None:
    found, _ = arms()
    # the toy's best rate is .05, which only the fixed row holds exactly
    assert found.models["challenger"][0].role == "fixed"
    assert not found.same_rate


def test_the_fixed_row_outside_the_users_walls_is_shown_but_never_chosen() -> None:
    found, _ = arms(user_range=Range(0.06, 0.3))
    assert found.models["fixed"][0].learning_rate == 0.05
    assert found.models["challenger"][0].role == "candidate"
    assert found.models["challenger"][0].learning_rate == 0.06
    assert found.at_wall == "low"


def test_the_old_rate_stays_where_no_new_one_beats_it() -> None:
    found, _ = arms(champion_rate=0.051, user_range=Range(0.0503, 0.3))
    assert found.models["challenger"] == found.models["control"]
    assert found.same_rate


def test_an_old_rate_outside_the_users_walls_is_a_row_and_no_challenger() -> None:
    found, _ = arms(champion_rate=0.05, user_range=Range(0.1, 0.3))
    assert found.models["control"][0].learning_rate == 0.05
    assert found.models["challenger"][0].learning_rate == 0.1


def test_an_equal_rate_is_fitted_once_and_the_old_rate_wins_the_tie() -> None:
    found, fits = arms(champion_rate=0.05, space=Range(0.05, 0.05))
    assert fits.work.fits == 1
    assert found.same_rate
    assert found.models["challenger"][0].role == "control"
    assert found.cost["control"] == found.cost["fixed"] == Cost()
    assert "the fit of trial 0" in found.trials[1].note
    assert found.models["control"][1] is found.models["fixed"][1]


def test_a_losing_fit_at_the_champions_rate_is_kept_for_the_control() -> None:
    found, fits = arms(champion_rate=0.3)
    assert found.models["control"][0].learning_rate == 0.3
    assert found.cost["control"] == Cost()
    assert fits.work.fits == 7 + found.cost["repeats"].fits  # a glance at another seed


def test_a_refit_fits_the_old_rate_and_the_fixed_row_only() -> None:
    found, _ = arms(strategy=None, user_range=Range(0.06, 0.1))
    assert [t.role for t in found.trials] == ["control", "fixed"]
    assert found.models["challenger"] == found.models["control"]
    assert (found.same_rate, found.at_wall, found.cost["search"]) == (True, None, Cost())
    with pytest.raises(ValueError, match="champion's rate"):
        arms(strategy=None, champion_rate=None)


def test_before_there_is_a_champion_the_search_alone_decides() -> None:
    found, _ = arms(champion_rate=None)
    assert set(found.models) == {"challenger", "fixed"}
    assert not found.same_rate


@pytest.mark.fault("D2")
@pytest.mark.parametrize("kind", [{"fails": True}, {"diverges_above": 0.0}, {"max_steps": 5}])
@pytest.mark.parametrize("strategy", [grid, None])
def test_where_every_trial_is_lost_there_is_no_challenger(kind: dict, strategy) -> None:
    found, _ = arms(strategy=strategy, **kind)
    assert found.models == {}
    assert not found.same_rate
    assert all(t.loss is None and t.note for t in found.trials)


def test_a_starved_trial_is_told_the_cap_that_would_do() -> None:
    found, _ = arms(max_steps=150)
    starved = [t for t in found.trials if t.state == "starved"]
    assert starved
    for lost in starved:
        cap = int(lost.note.split("max_steps = ")[1].split()[0])
        again, _ = fit(ToyFits(), lost.learning_rate, 0, options(max_steps=cap))
        assert again.state == "complete"


def test_a_year_of_bike_rides_is_searched_within_the_cap_and_the_winner_serves_what_was_scored() -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    if not (file := DATA / "dc_bikeshare.parquet").exists():
        pytest.skip(f"{file.name} is not beside the repository")
    table = parquet.read_table(file).slice(40_000, 9432)
    names = [name for name in table.column_names if name not in ("step", "ts", "y")]
    x = np.column_stack([table[name].to_numpy().astype(float) for name in names])
    time = np.arange(len(x), dtype=np.int64)
    rows = Rows(x, table["y"].to_numpy().astype(float), time, time)
    train, valid = rows.take(np.arange(8760)), rows.take(np.arange(8760, 9432))

    def loss(y: np.ndarray, score: np.ndarray) -> float:
        return float(np.abs(y - score).mean())

    data = FitData(train, valid, "regression", (), "mae", loss)
    asked = SearchOptions(Range(0.05, 0.3), 3, 400, 20, 0, lambda score: loss(valid.y, score))
    found = run(LightGBM({}, 1), data, asked, strategy=grid, old=Named(0.1), user_range=asked.space)
    chosen, model = found.models["challenger"]
    assert chosen.loss == loss(valid.y, model.predict(valid.x))
    assert chosen.loss < 0.5 * loss(valid.y, np.full(len(valid), np.median(train.y)))
    assert found.cost["fixed"] == Cost()  # .05 stood in the grid
