from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from lr_retune.config import BINARY_METRICS, REGRESSION_METRICS, Metric
from lr_retune.metrics import curve_loss_for, loss_for

REFERENCE = {
    "log_loss": lambda y, s: reference.log_loss(y, s, labels=[0, 1]),
    "brier": reference.brier_score_loss,
    "pr_auc": lambda y, s: 1 - reference.average_precision_score(y, s),
    "roc_auc": lambda y, s: 1 - reference.roc_auc_score(y, s),
    "mae": reference.mean_absolute_error,
    "rmse": reference.root_mean_squared_error,
    "poisson": reference.mean_poisson_deviance,
    "pinball": lambda y, s: reference.mean_pinball_loss(y, s, alpha=0.8),
}


def metric(name: str) -> Metric:
    return Metric(name=name, quantile=0.8) if name == "pinball" else Metric(name=name)  # type: ignore[arg-type]


@st.composite
def binary(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Both classes present; few distinct scores, so ties are common."""
    y = [0.0, 1.0, *draw(st.lists(st.sampled_from([0.0, 1.0]), max_size=40))]
    score = st.sampled_from([0.05, 0.25, 0.5, 0.5000001, 0.75, 0.95]) | st.floats(0.001, 0.999)
    return np.array(y), np.array(draw(st.lists(score, min_size=len(y), max_size=len(y))))


@given(binary(), st.sampled_from(["log_loss", "brier", "pr_auc", "roc_auc"]))
def test_binary_losses_equal_scikit_learns_also_with_ties(rows: tuple[np.ndarray, np.ndarray], name: str) -> None:
    assert loss_for(metric(name)).value(*rows) == pytest.approx(REFERENCE[name](*rows), abs=1e-12)


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(0.01, 1e4)), min_size=1, max_size=40),
    st.sampled_from(["mae", "rmse", "poisson", "pinball"]),
)
def test_regression_losses_equal_scikit_learns(rows: list[tuple[float, float]], name: str) -> None:
    y, score = np.array(rows).T
    assert loss_for(metric(name)).value(y, score) == pytest.approx(REFERENCE[name](y, score), rel=1e-9, abs=1e-9)


@given(binary(), st.sampled_from(BINARY_METRICS))
def test_a_loss_is_the_mean_of_its_rows_and_knows_no_row_order(rows: tuple[np.ndarray, np.ndarray], name: str) -> None:
    loss = loss_for(metric(name))
    y, score = rows
    if loss.rows is not None:
        assert loss.rows(y, score).mean() == pytest.approx(loss.value(y, score))
    assert loss.value(y[::-1], score[::-1]) == pytest.approx(loss.value(y, score))


@given(binary(), st.sampled_from(["pr_auc", "roc_auc"]))
def test_rankings_do_not_change_when_scores_are_stretched(rows: tuple[np.ndarray, np.ndarray], name: str) -> None:
    loss, score = loss_for(metric(name)), rows[1].round(6)  # closer scores would be tied by the stretching itself
    assert loss.value(rows[0], score) == loss.value(rows[0], score * 8 - 3)


def test_cost_counts_each_kind_of_error_at_the_threshold() -> None:
    chosen = Metric(name="cost", false_positive_cost=2.0, false_negative_cost=30.0, threshold=0.1)
    y, score = np.array([0.0, 0.0, 1.0, 1.0]), np.array([0.1, 0.05, 0.5, 0.01])
    assert loss_for(chosen).value(y, score) == (2.0 + 30.0) / 4


def test_wape_is_the_sum_of_errors_over_the_sum_of_labels() -> None:
    assert loss_for(Metric(name="wape")).value(np.array([10.0, 30.0]), np.array([12.0, 24.0])) == 0.2


def test_log_loss_of_a_certain_wrong_answer_is_finite() -> None:
    value = loss_for(Metric(name="log_loss")).value(np.array([0.0, 1.0]), np.array([1.0, 0.0]))
    assert value == pytest.approx(-math.log(1e-15), rel=1e-2)


def test_poisson_takes_zero_counts_and_scores_below_zero() -> None:
    assert math.isfinite(loss_for(Metric(name="poisson")).value(np.array([0.0, 3.0]), np.array([-1.0, -5.0])))


@pytest.mark.fault("A3", "A4")
@pytest.mark.parametrize("name", BINARY_METRICS + REGRESSION_METRICS)
def test_no_rows_and_missing_values_give_nan_without_a_warning(name: str) -> None:
    loss = loss_for(metric(name))
    full, hole = np.array([0.0, 1.0, 1.0]), np.array([0.2, np.nan, 0.4])
    assert math.isnan(loss.value(np.empty(0), np.empty(0)))
    assert math.isnan(loss.value(full, hole))
    assert math.isnan(loss.value(hole, full))


@pytest.mark.fault("A3")
@pytest.mark.parametrize("name", ["pr_auc", "roc_auc"])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_ranking_of_one_class_is_not_defined(name: str, label: float) -> None:
    assert math.isnan(loss_for(metric(name)).value(np.full(5, label), np.linspace(0, 1, 5)))


def test_only_rankings_are_told_as_higher_is_better() -> None:
    told = {name: loss_for(metric(name)).metric(0.25) for name in BINARY_METRICS + REGRESSION_METRICS}
    assert {name for name, value in told.items() if value == 0.75} == {"pr_auc", "roc_auc"}
    assert all(value == 0.25 for name, value in told.items() if name not in ("pr_auc", "roc_auc"))


@pytest.mark.parametrize(
    ("name", "curve"),
    [("pr_auc", "log_loss"), ("roc_auc", "log_loss"), ("cost", "log_loss"), ("brier", "brier"), ("wape", "mae")],
)
def test_early_stopping_follows_a_proper_loss(name: str, curve: str) -> None:
    y, score = np.array([0.0, 1.0, 1.0]), np.array([0.2, 0.4, 0.9])
    assert curve_loss_for(metric(name))(y, score) == loss_for(metric(curve)).value(y, score)
