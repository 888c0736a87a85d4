from __future__ import annotations

import hashlib
import math
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_retune.errors import ConfigError, DataError, IntegrityError
from lr_retune.families.lightgbm import LightGBM
from lr_retune.records import FitData
from lr_retune.testing import check_family, toy_data

SCRIPT = """
import hashlib
from lr_retune.families.lightgbm import LightGBM
from lr_retune.testing import toy_data
fits = LightGBM({"bagging_fraction": 0.7, "bagging_freq": 1}, 1).start(toy_data(), seed=3)
handle = fits.add(0.1)
fits.advance([handle], 12)
print(hashlib.sha256(fits.finish(handle, 9).files()["model.txt"]).hexdigest())
"""


def fitted(data: FitData, steps: int = 10, rate: float = 0.1, seed: int = 0, **params: object):
    fits = LightGBM(params, 1).start(data, seed=seed)
    handle = fits.add(rate)
    return fits, handle, fits.advance([handle], steps)[0]


def test_the_built_in_family_keeps_the_laws_of_the_conformance_kit() -> None:
    check_family(LightGBM)


@pytest.mark.fault("D5")
def test_two_processes_with_other_hash_seeds_and_time_zones_write_the_same_model_bytes() -> None:
    found = set()
    for hash_seed, zone in (("0", "UTC"), ("77", "Asia/Kolkata")):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": zone}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1
    assert len(found.pop().strip()) == 64


def test_another_seed_gives_another_model_where_rows_are_sampled() -> None:
    sampled = {"bagging_fraction": 0.5, "bagging_freq": 1}
    digests = set()
    for seed in (0, 1):
        fits, handle, _ = fitted(toy_data(), seed=seed, **sampled)
        digests.add(hashlib.sha256(fits.finish(handle, 10).files()["model.txt"]).hexdigest())
    assert len(digests) == 2


@pytest.mark.fault("A14")
def test_feature_names_inside_the_file_are_neutral() -> None:
    fits, handle, _ = fitted(toy_data(), 3)
    assert b"feature_names=f0 f1 f2 f3\n" in fits.finish(handle, 3).files()["model.txt"]


@given(threads=st.integers(1, 2), cut=st.integers(1, 8))
@settings(max_examples=6, deadline=None)
def test_a_model_cut_back_scores_the_loss_that_the_curve_told(threads: int, cut: int) -> None:
    data = toy_data()
    fits = LightGBM({}, threads).start(data, seed=0)
    handle = fits.add(0.2)
    curve = fits.advance([handle], 8)[0]
    model = fits.finish(handle, cut)
    assert data.curve_loss(data.valid.y, model.predict(data.valid.x)) == pytest.approx(curve[cut - 1], rel=1e-9)


def test_a_schedule_changes_the_trees_from_the_next_step_on() -> None:
    data = toy_data()
    fits = LightGBM({}, 1).start(data, seed=0)
    plain, scheduled = fits.add(0.1), fits.add(0.1)
    before = fits.advance([plain, scheduled], 5)
    fits.set_rate(scheduled, 0.4)
    after = fits.advance([plain, scheduled], 5)
    assert before[0].tolist() == before[1].tolist()
    assert after[0].tolist() != after[1].tolist()


def test_a_missing_or_unseen_category_is_scored() -> None:
    data = toy_data()
    fits, handle, _ = fitted(data)
    x = data.valid.x[:3].copy()
    x[0, 2], x[1, 2] = math.nan, 99.0
    assert np.isfinite(fits.finish(handle, 10).predict(x)).all()


def test_weights_of_rows_are_honoured() -> None:
    data = toy_data()
    heavy = np.where(data.train.y > 0, 50.0, 1.0)
    fits, handle, _ = fitted(data)
    weighted, other, _ = fitted(replace(data, train=replace(data.train, weight=heavy)))
    assert weighted.score(other, 10).mean() > fits.score(handle, 10).mean() + 0.1


@pytest.mark.parametrize(
    ("metric", "params", "expected"),
    [
        ("mae", {}, "[objective: regression_l1]"),
        ("wape", {}, "[objective: regression_l1]"),
        ("rmse", {}, "[objective: regression]"),
        ("poisson", {}, "[objective: poisson]"),
        ("pinball", {}, "[objective: quantile]"),
        ("mae", {"objective": "huber"}, "[objective: huber]"),
        ("mae", {"application": "fair"}, "[objective: fair]"),
    ],
)
def test_the_objective_follows_the_metric_unless_the_user_names_one(metric: str, params: dict, expected: str) -> None:
    data = toy_data()
    positive = replace(data, train=replace(data.train, y=data.train.y + 20), objective=metric, quantile=0.9)
    fits, handle, _ = fitted(positive, 2, **params)
    text = fits.finish(handle, 2).files()["model.txt"].decode()
    assert expected in text
    if metric == "pinball":
        assert "quantile" in text
        assert "alpha:0.9" in text or "[alpha: 0.9]" in text


def test_a_high_quantile_scores_higher_than_a_low_one() -> None:
    data = replace(toy_data(), objective="pinball")
    low, a, _ = fitted(replace(data, quantile=0.1), 30)
    high, b, _ = fitted(replace(data, quantile=0.9), 30)
    assert (high.score(b, 30) > low.score(a, 30)).mean() > 0.95


def test_the_baseline_is_the_loss_of_the_best_constant_of_train() -> None:
    data = toy_data()
    mean = np.full(len(data.valid), data.train.y.mean())
    assert LightGBM({}, 1).start(data, seed=0).baseline == pytest.approx(data.curve_loss(data.valid.y, mean))

    absolute = replace(data, curve_loss=lambda y, s: float(np.abs(y - s).mean()))
    skewed = replace(absolute, train=replace(data.train, y=np.exp(data.train.y)))
    median = np.sort(skewed.train.y)[math.ceil(len(skewed.train) / 2) - 1]
    assert LightGBM({}, 1).start(skewed, seed=0).baseline == pytest.approx(np.abs(data.valid.y - median).mean())


# ── parameters ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"num_leafs": 15}, "did you mean 'num_leaf'"),
        ({"boosting": "dart"}, "ignores early stopping"),
        ({"boosting_type": "rf"}, "no learning rate"),
        ({"n_estimators": 100}, "max_steps"),
        ({"metric": "auc"}, r"\[metric\] name"),
        ({"eta": 0.1}, "searched"),
        ({"random_state": 4}, "top of retune.toml"),
        ({"num_leaves": 15, "max_leaf": 31}, "twice"),
        ({"forcedsplits_filename": "/etc/passwd"}, "read or write files"),
        ({"machines": "10.0.0.1:123"}, "network"),
    ],
)
def test_a_parameter_that_is_not_the_users_to_set_is_refused_at_construction(params: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        LightGBM(params, 1)


@pytest.mark.parametrize("params", [{"num_leaves": 1}, {"bagging_fraction": 3.0}, {"min_data_in_leaf": "a"}])
def test_a_value_that_lightgbm_rejects_is_a_config_error_before_any_trial(params: dict) -> None:
    with pytest.raises(ConfigError, match="LightGBM refuses"):
        LightGBM(params, 1).start(toy_data(), seed=0)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"monotone_constraints": "1,1"}, "2 values for 4 features"),
        ({"feature_contri": "1,1,1,1,1"}, "5 values for 4 features"),
        ({"interaction_constraints": "[0,1],[9]"}, "outside 0 to 3"),
        ({"monotone_constraints": "1,0,1,0"}, r"category columns at positions \[2\]"),
    ],
)
def test_a_list_over_which_lightgbm_would_end_the_process_is_refused(params: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        LightGBM(params, 1).start(toy_data(), seed=0)


def test_a_monotone_constraint_is_kept() -> None:
    data = toy_data()
    fits, handle, _ = fitted(data, 30, monotone_constraints="1,0,0,0")
    x = np.repeat(data.valid.x[:1], 50, axis=0)
    x[:, 0] = np.linspace(-2, 2, 50)
    assert (np.diff(fits.finish(handle, 30).predict(x)) >= 0).all()


@pytest.mark.parametrize("objective", ["lambdarank", "multiclass", "none", "binary"])
def test_an_objective_whose_scores_cannot_be_compared_is_refused(objective: str) -> None:
    with pytest.raises(ConfigError, match="does not fit a regression task"):
        LightGBM({"objective": objective}, 1).start(toy_data(), seed=0)


@pytest.mark.parametrize("rate", [0.0, -0.1, math.nan, math.inf])
def test_a_rate_that_is_no_step_is_refused(rate: float) -> None:
    fits = LightGBM({}, 1).start(toy_data(), seed=0)
    with pytest.raises(ConfigError, match="0 < learning_rate"):
        fits.add(rate)
    with pytest.raises(ConfigError, match="0 < learning_rate"):
        fits.set_rate(fits.add(0.1), rate)


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("A3", "F9")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
@pytest.mark.parametrize("span", ["train", "valid"])
def test_labels_that_lightgbm_would_swallow_are_refused(bad: float, span: str) -> None:
    data = toy_data()
    rows = getattr(data, span)
    y = rows.y.copy()
    y[[2, 5]] = bad
    with pytest.raises(DataError, match=f"2 of .* {span} labels"):
        LightGBM({}, 1).start(replace(data, **{span: replace(rows, y=y)}), seed=0)


@pytest.mark.fault("A3")
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_is_refused(label: float) -> None:
    data = toy_data("binary")
    with pytest.raises(DataError, match="one class"):
        LightGBM({}, 1).start(replace(data, train=replace(data.train, y=np.full(len(data.train), label))), seed=0)


def test_a_label_that_is_no_class_is_refused() -> None:
    data = toy_data("binary")
    with pytest.raises(DataError, match="0 or 1"):
        LightGBM({}, 1).start(replace(data, train=replace(data.train, y=data.train.y * 2)), seed=0)


@pytest.mark.fault("A4")
@pytest.mark.parametrize("rows", [0, 1, 10, 39])
def test_too_few_rows_to_split_are_refused(rows: int) -> None:
    data = toy_data()
    with pytest.raises(DataError, match=f"only {rows} training rows"):
        LightGBM({}, 1).start(replace(data, train=data.train.take(np.arange(rows))), seed=0)


def test_no_valid_rows_are_refused() -> None:
    data = toy_data()
    with pytest.raises(DataError, match="no validation rows"):
        LightGBM({}, 1).start(replace(data, valid=data.valid.take(np.arange(0))), seed=0)


def test_negative_counts_are_refused_for_a_poisson_fit() -> None:
    with pytest.raises(DataError, match="objective poisson needs labels >= 0"):
        LightGBM({}, 1).start(replace(toy_data(), objective="poisson"), seed=0)


@pytest.mark.parametrize("weight", [math.nan, -1.0, 0.0])
def test_weights_that_have_no_sum_are_refused(weight: float) -> None:
    data = toy_data()
    with pytest.raises(DataError, match="weights"):
        LightGBM({}, 1).start(replace(data, train=replace(data.train, weight=np.full(len(data.train), weight))), seed=0)


@pytest.mark.fault("A2")
def test_a_column_that_is_all_missing_is_fitted_around() -> None:
    data = toy_data()
    x = data.train.x.copy()
    x[:, 3] = math.nan
    fits, handle, _ = fitted(replace(data, train=replace(data.train, x=x)))
    assert fits.finish(handle, 10).importance()[3] == 0


@pytest.mark.fault("D1")
def test_a_wild_rate_gives_a_curve_of_numbers_and_no_warning() -> None:
    _, _, curve = fitted(toy_data(), 20, rate=1e10)
    assert len(curve)
    assert curve.min() > 1e9


def test_constant_labels_give_no_step() -> None:
    data = toy_data()
    fits, handle, curve = fitted(replace(data, train=replace(data.train, y=np.ones(len(data.train)))))
    assert len(curve) == 0
    with pytest.raises(ValueError, match="1 <= steps"):
        fits.finish(handle, 0)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("F8")
def test_a_torn_model_file_is_refused_and_the_process_lives() -> None:
    fits, handle, _ = fitted(toy_data())
    text = fits.finish(handle, 10).files()["model.txt"]
    family = LightGBM({}, 1)
    for torn in (b"", b"\0" * 100, text[: len(text) // 2], text[: len(text) * 9 // 10]):
        with pytest.raises(IntegrityError, match=r"torn|read"):
            family.load({"model.txt": torn})
    with pytest.raises(IntegrityError, match=r"no model\.txt"):
        family.load({})


def test_rows_of_another_width_are_a_data_error_and_no_rows_are_no_scores() -> None:
    fits, handle, _ = fitted(toy_data())
    model = fits.finish(handle, 10)
    with pytest.raises(DataError, match="cannot score"):
        model.predict(np.zeros((2, 9)))
    assert model.predict(np.empty((0, 4))).shape == (0,)


@pytest.mark.fault("A2")
@pytest.mark.parametrize("value", [1e308, -1e308, 5e-324, 0.0])
def test_extreme_and_constant_features_give_finite_scores(value: float) -> None:
    data = toy_data()
    x = data.train.x.copy()
    x[::3, 1], x[:, 3] = value, value
    fits, handle, curve = fitted(replace(data, train=replace(data.train, x=x)))
    assert np.isfinite(curve).all()
    assert np.isfinite(fits.finish(handle, 10).predict(x)).all()


def test_a_schedule_by_name_is_the_fit_whose_rate_is_changed_by_hand() -> None:
    fits = LightGBM({"num_leaves": 4}, 1).start(toy_data(), seed=0)
    named, steered = fits.add(0.2, "plateau(3,5)"), fits.add(0.2)
    by_name = fits.advance([named], 2)[0].tolist() + fits.advance([named], 6)[0].tolist()
    by_hand = []
    for rate, rounds in ((0.2, 3), (0.1, 2), (0.05, 3)):
        fits.set_rate(steered, rate)
        by_hand += fits.advance([steered], rounds)[0].tolist()
    assert by_name == by_hand
    assert fits.finish(named, 7).files() == fits.finish(steered, 7).files()


def test_a_schedule_that_has_come_down_to_nothing_grows_no_tree() -> None:
    fits = LightGBM({"num_leaves": 4}, 1).start(toy_data(), seed=0)
    handle = fits.add(0.2, "cosine(6)")
    assert len(fits.advance([handle], 20)[0]) == 6


@pytest.mark.parametrize("schedule", ["one_cycle(12)", "triangular(4,3)", "exponential(4)", "cosine(9)"])
def test_a_scheduled_fit_is_the_same_file_however_far_it_was_trained(schedule: str) -> None:
    fits = LightGBM({"num_leaves": 4}, 1).start(toy_data(), seed=0)
    further, exactly = fits.add(0.2, schedule), fits.add(0.2, schedule)
    fits.advance([further], 40)
    fits.advance([exactly], 7)
    assert fits.finish(further, 7).files() == fits.finish(exactly, 7).files()


@pytest.mark.parametrize("schedule", ["optimal", "adaptive(3)", "plateu(3)", "step(0,2)"])
def test_a_schedule_that_trees_cannot_follow_is_refused(schedule: str) -> None:
    fits = LightGBM({"num_leaves": 4}, 1).start(toy_data(), seed=0)
    with pytest.raises(ConfigError):
        fits.add(0.2, schedule)
