"""The benchmark's own arithmetic: what is charged, what is a regret, what an interval covers."""

from __future__ import annotations

from itertools import count

import numpy as np
import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - scikit-learn wants it so
from sklearn.linear_model import SGDRegressor
from sklearn.model_selection import HalvingGridSearchCV

from lr_retune.families.lightgbm import LightGBM
from lr_retune.records import Range, SearchOptions
from lr_retune.search.bracket import bracket
from lr_retune.search.grid import grid, rates
from lr_retune.testing import toy_data
from tests.benchmarks.search.figures import Line, above, bars, halved, interval, line
from tests.benchmarks.search.rows import DENSE, GRID, Found
from tests.benchmarks.search.tables import aligned
from tests.benchmarks.search.work import Clocked, Lent, Trained

TREES = {"num_leaves": 4, "min_data_in_leaf": 5}


def asked(points: int = 3) -> SearchOptions:
    return SearchOptions(Range(0.05, 0.3), points, 60, 5, 0, lambda score: float(np.square(score).mean()))


def found(work: float, valid: float, later: float) -> Found:
    return Found(work, work / 10, 0.0, 0.1, valid, later, 7, 0.5, valid)


def test_a_lent_fit_is_charged_what_its_own_training_counts() -> None:
    trained = Trained(LightGBM(TREES, 1), toy_data())
    for strategy in (grid, bracket):
        lent = Lent(trained)
        trials = strategy(lent, asked())
        assert lent.work() == sum(trial.cost.steps for trial, _ in trials) > 0


def test_who_comes_second_is_charged_steps_and_cpu_but_trains_nothing() -> None:
    trained = Trained(LightGBM(TREES, 1), toy_data())
    first, second = Lent(trained), Lent(trained)
    trials, again = grid(first, asked()), grid(second, asked())
    assert [t for t, _ in trials] == [t for t, _ in again]
    assert (first.work(), first.charged) == (second.work(), second.charged)
    assert second.spent < 0.5 * first.spent


def test_a_lent_fit_whose_rate_changes_is_another_fit() -> None:
    trained = Trained(LightGBM(TREES, 1), toy_data())
    lent = Lent(trained)
    plain, steered = lent.add(0.3), lent.add(0.3)
    lent.advance([plain], 2)
    lent.advance([steered], 2)
    lent.set_rate(steered, 0.01)
    one, other = lent.advance([plain, steered], 3)
    real = LightGBM(TREES, 1).start(toy_data(), seed=0)
    handle = real.add(0.3)
    real.advance([handle], 2)
    real.set_rate(handle, 0.01)
    assert other.tolist() == real.advance([handle], 3)[0].tolist() != one.tolist()


def test_a_pass_of_many_columns_counts_as_its_time_over_that_of_one_column() -> None:
    ticking = count()
    fits = Clocked(LightGBM(TREES, 1), toy_data(), unit=0.5, clock=lambda: float(next(ticking)))  # each call takes 1
    columns = [fits.add(rate) for rate in (0.001, 0.01, 0.1)]
    fits.advance(columns, 1)
    assert fits.work() == 1 / 0.5
    fits.advance(columns[:1], 4)  # one column is the unit, however long it takes
    assert fits.work() == 1 / 0.5 + 4
    assert fits.cpu(10.0) == 11.0


def test_shares_and_regrets_are_means_over_times_and_later_losses_means_over_sets() -> None:
    ten = found(100, 1.0, 1.0)
    walked = {
        "a": [
            {"grid10": ten, "dense": ten, "ours": found(20, 1.01, 1.1)},
            {"grid10": ten, "dense": ten, "ours": found(40, 0.99, 0.9)},
        ],
        "b": [{"grid10": found(200, 2.0, 2.0), "dense": found(800, 2.0, 2.0), "ours": found(60, 2.0, 2.1)}],
    }
    ours = line("ours", walked, "dense")
    assert (ours.work, ours.cpu) == (pytest.approx(30), pytest.approx(30))
    assert ours.regret == pytest.approx((1, -1, 0), abs=1e-9)
    assert (ours.middle, ours.p90) == (pytest.approx(0, abs=1e-9), pytest.approx(0.8))
    assert ours.later == pytest.approx((0, 5), abs=1e-9)
    assert above(1.5, 1.0) == 50


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(60):
        low, high = interval(rng.normal(3, 2, 25).tolist(), seed)
        covered += low <= 3 <= high
    assert 0.85 <= covered / 60 <= 1
    assert interval([2.0, 2.0]) == (2.0, 2.0)


def lines(work: float, regret: float, later: float) -> dict[str, Line]:
    """A bracket of that worth, and all others at 100 % of the work, a regret of .2 % and 1 % behind on later rows."""
    names = ["bracket fast", "bracket: average", "fixed .05", "keep", "grid10", "peer"]
    others = {name: Line(name, 1, 100, 100, 0, (0.2,) * 9, 0.2, (1.0,) * 3, 9, 0.1) for name in names}
    return others | {"bracket": Line("bracket", 1, work, work, 0, (regret,) * 9, regret, (later,) * 3, 9, 0.1)}


def test_a_bar_is_met_only_at_its_level() -> None:
    def missed(work: float, regret: float, later: float) -> list[str]:
        found = bars("lightgbm", lines(work, regret, later), ["peer"])
        return [bar.text for bar in found if bar.met is False and bar.text.startswith(("bracket", " "))]

    assert missed(38, 0.1, 0.3) == []
    assert missed(39, 0.1, 0.3) == ["bracket: rounds, % of grid10 <= 38"]
    assert missed(38, 0.15, 0.3) == ["bracket: regret %, median <= 0.1"]
    assert len(missed(38, 2.0, 0.3)) == 5  # median, mean, p90, and neither grid10 nor the peer is undercut
    assert len(missed(38, 0.1, 1.2)) == 4  # mean, interval, fixed .05, keep
    assert len(missed(100, 0.1, 0.3)) == 3


def test_dense_is_a_measure_that_no_other_row_stands_on() -> None:
    wide = rates(DENSE, 25)
    assert (len(wide), wide[-1], wide[0]) == (25, 0.005, 0.4)
    assert not set(wide) & {*rates(GRID["lightgbm"], 10), 0.05, 0.1, 0.15, 0.07, 0.033}


def test_unstopped_halving_counts_what_scikit_learn_counts() -> None:
    rng = np.random.default_rng(0)
    x, rates = rng.normal(size=(60, 2)), np.geomspace(0.01, 0.3, 10)
    model = SGDRegressor(tol=None, random_state=0)
    how = {"resource": "max_iter", "max_resources": 200, "refit": False, "cv": 2, "return_train_score": False}
    found = HalvingGridSearchCV(model, {"eta0": rates}, scoring="neg_mean_absolute_error", **how).fit(x, x[:, 0])
    assert sum(found.cv_results_["n_resources"]) == halved(10, 200)


def test_columns_are_aligned() -> None:
    assert aligned([("", "x"), ("long", "10")]) == "       x\nlong  10"
