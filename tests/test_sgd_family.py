from __future__ import annotations

import gzip
import io
import json
import math
import os
import pickle  # noqa: TID251 - to be refused
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import skops.io
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from lr_retune import encoding
from lr_retune.config import load_config
from lr_retune.errors import ConfigError, DataError, IntegrityError
from lr_retune.families.sgd import SGD
from lr_retune.families.sgd_files import TRUSTED
from lr_retune.records import Column, Contract, FitData, Rows, SearchOptions
from lr_retune.retune import bootstrap, retune
from lr_retune.search.early_stop import DIVERGED, fit
from lr_retune.stores import bundle
from lr_retune.stores.bundle import pack
from lr_retune.stores.mlflow import MLflowRegistry
from lr_retune.stores.promotion import Stores
from lr_retune.testing import check_family, toy_data
from lr_retune.watch.baselines import always, always_search
from tests import store_rig as rig
from tests.worlds import day, world

TASKS = ("regression", "binary")


def fitted(data: FitData, steps: int = 10, rate: float = 0.01, seed: int = 0, **params: object):
    fits = SGD(params, 1).start(data, seed=seed)
    handle = fits.add(rate)
    return fits, handle, fits.advance([handle], steps)[0]


def model_of(data: FitData, steps: int = 10, **more: object):
    fits, handle, _ = fitted(data, steps, **more)
    return fits.finish(handle, steps)


def pipeline_of(model) -> Pipeline:
    return skops.io.loads(model.files()["model.skops"], trusted=["numpy.clip", "numpy.dtype"])


def with_train(data: FitData, **changed: object) -> FitData:
    return replace(data, train=replace(data.train, **changed))


def test_the_built_in_family_keeps_the_laws_of_the_conformance_kit() -> None:
    check_family(SGD)


@pytest.mark.parametrize(("estimator", "name"), [(SGDRegressor, "regression"), (SGDClassifier, "binary")])
def test_the_fixed_row_is_the_rate_that_scikit_learn_itself_starts_from(estimator: type, name: str) -> None:
    assert estimator().eta0 == SGD.default_rate, name


# ── what a fit learns ─────────────────────────────────────────────────────────────────────────────
def coins(rows: int = 6000, seed: int = 1) -> tuple[FitData, np.ndarray]:
    """Rows of a logistic world and the true probabilities of its valid rows."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.normal(50, 10, rows), rng.normal(0, 1e-3, rows), rng.integers(0, 3, rows)])
    truth = 1 / (1 + np.exp(-((x[:, 0] - 50) / 10 + x[:, 1] * 1e3 + (x[:, 2] == 1) - 1.5)))
    y = (rng.random(rows) < truth).astype(float)
    time = np.arange(rows, dtype=np.int64) * 3_600_000_000
    every, cut = Rows(x, y, time, time), rows * 2 // 3
    train, valid = every.take(np.arange(cut)), every.take(np.arange(cut, rows))
    toy = replace(toy_data("binary"), objective="brier")
    return replace(toy, train=train, valid=valid, categorical=(2,)), truth[cut:]


def test_probabilities_are_near_the_true_ones() -> None:
    data, truth = coins()
    found = model_of(data, 20, rate=0.003).predict(data.valid.x)
    assert np.abs(found - truth).mean() < 0.03
    order = np.argsort(found)
    for part in np.array_split(order, 5):
        assert found[part].mean() == pytest.approx(truth[part].mean(), abs=0.04)


def test_balanced_classes_raise_the_probabilities_of_a_rare_one() -> None:
    data, _ = coins()
    plain = model_of(data, 20, rate=0.003).predict(data.valid.x).mean()
    balanced = model_of(data, 20, rate=0.003, class_weight="balanced").predict(data.valid.x).mean()
    assert plain == pytest.approx(data.valid.y.mean(), abs=0.03)
    assert balanced > plain + 0.1


@given(scale=st.sampled_from([1e-6, 1.0, 1e6]), shift=st.sampled_from([0.0, -7.0, 1e3]))
@settings(max_examples=6, deadline=None)
def test_a_rate_means_the_same_in_every_unit_of_labels_and_numbers(scale: float, shift: float) -> None:
    data = toy_data()
    moved = replace(
        data,
        train=replace(data.train, y=(data.train.y + shift) * scale),
        valid=replace(data.valid, y=(data.valid.y + shift) * scale),
    )
    for rows in (moved.train, moved.valid):
        rows.x[:, 0] *= 1000
    _, _, plain = fitted(toy_data())
    _, _, other = fitted(moved)
    assert other / scale**2 == pytest.approx(plain, rel=1e-6)


@given(factor=st.sampled_from([1e-3, 1.0, 50.0]))
@settings(max_examples=3, deadline=None)
def test_only_the_proportions_of_weights_count(factor: float) -> None:
    data = toy_data()
    heavy = np.where(data.train.y > 0, 3.0, 1.0)
    one = model_of(with_train(data, weight=heavy)).predict(data.valid.x)
    other = model_of(with_train(data, weight=heavy * factor)).predict(data.valid.x)
    assert other == pytest.approx(one, rel=1e-9)
    assert one.mean() > model_of(data).predict(data.valid.x).mean() + 0.02


def test_rows_of_weight_0_teach_nothing_even_where_they_come_first() -> None:
    data = toy_data()
    silent = np.where(np.arange(len(data.train)) < 50, 0.0, 1.0)
    y = data.train.y.copy()
    y[:50] = y[:50][::-1]  # other labels of the same mean and spread
    one, other = (model_of(with_train(data, weight=silent, y=labels)) for labels in (data.train.y, y))
    assert one.predict(data.valid.x) == pytest.approx(other.predict(data.valid.x), rel=1e-9)
    assert one.predict(data.valid.x) != pytest.approx(model_of(data).predict(data.valid.x), rel=1e-3)


@given(chunks=st.lists(st.integers(1, 3), min_size=1, max_size=4), task=st.sampled_from(TASKS))
@settings(max_examples=10, deadline=None)
def test_a_curve_depends_neither_on_chunks_nor_on_other_fits_and_a_schedule_acts_from_the_next_epoch(
    chunks: list[int], task: str
) -> None:
    data, total = toy_data(task), sum(chunks)
    whole = SGD({"average": True}, 1).start(data, seed=4)
    plain, scheduled = whole.add(0.02), whole.add(0.02)
    curves = whole.advance([plain, scheduled], total)
    whole.set_rate(scheduled, 0.2)
    later = whole.advance([plain, scheduled], 2)
    assert curves[0].tolist() == curves[1].tolist()
    assert later[0].tolist() != later[1].tolist()

    parts = SGD({"average": True}, 1).start(data, seed=4)
    handle = parts.add(0.02)
    pieces = [parts.advance([handle], chunk)[0] for chunk in chunks]
    parts.set_rate(handle, 0.2)
    pieces.append(parts.advance([handle], 2)[0])
    assert np.concatenate(pieces).tolist() == [*curves[1], *later[1]]


@pytest.mark.parametrize("task", TASKS)
def test_another_seed_takes_the_rows_in_another_order(task: str) -> None:
    curves = [fitted(toy_data(task), 3, seed=seed)[2].tolist() for seed in (0, 1)]
    assert curves[0] != curves[1]


def test_rows_are_shuffled_anew_each_epoch() -> None:
    """With one row per label the last rows of an epoch weigh most, so a fixed order would settle on one answer."""
    data = toy_data()
    _, _, curve = fitted(data, 40, rate=0.3)
    assert len(np.unique(np.round(curve[20:], 12))) == 20


@pytest.mark.parametrize(
    ("metric", "quantile", "params", "loss", "epsilon"),
    [
        ("rmse", 0.5, {}, "squared_error", 0.1),
        ("mae", 0.5, {}, "epsilon_insensitive", 0.0),
        ("wape", 0.5, {}, "epsilon_insensitive", 0.0),
        ("pinball", 0.5, {}, "epsilon_insensitive", 0.0),
        ("pinball", 0.9, {"loss": "squared_error"}, "squared_error", 0.1),
        ("mae", 0.5, {"loss": "huber", "epsilon": 0.5}, "huber", 0.5),
    ],
)
def test_the_loss_follows_the_metric_unless_the_user_names_one(
    metric: str, quantile: float, params: dict, loss: str, epsilon: float
) -> None:
    data = replace(toy_data(), objective=metric, quantile=quantile)
    estimator = pipeline_of(model_of(data, 2, **params))[-1]
    assert estimator.loss == loss
    units = 1.0 if loss == "squared_error" else data.train.y.std()
    assert estimator.epsilon == pytest.approx(epsilon * units)


def test_an_absolute_loss_finds_the_median_of_skewed_labels() -> None:
    data = toy_data(rows=4000)
    rng = np.random.default_rng(0)
    y = np.exp(rng.normal(size=4000))
    noise = np.zeros_like(data.train.x)
    skewed = replace(data, train=replace(data.train, x=noise, y=y[:3000]), objective="mae")
    assert model_of(skewed, 20, rate=0.001).predict(noise[:1])[0] == pytest.approx(np.median(y[:3000]), abs=0.1)


def test_an_l1_penalty_leaves_the_columns_that_carry_nothing() -> None:
    data = toy_data()
    coef = pipeline_of(model_of(data, 30, penalty="l1", alpha=0.05))[-1].coef_
    assert coef[0] != 0
    assert coef[1] == coef[2] == 0  # pure noise; position 2 of the transformed columns is feature 3


# ── parameters ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"alhpa": 1e-4}, "did you mean 'alpha'"),
        ({"num_leaves": 7}, "no parameter 'num_leaves'"),
        ({"eta0": 0.1}, "searched"),
        ({"learning_rate": "adaptive"}, "schedules"),
        ({"max_iter": 5}, "max_steps"),
        ({"tol": 1e-3}, "patience"),
        ({"early_stopping": True}, "shuffled rows"),
        ({"n_jobs": 2}, "one thread"),
        ({"warm_start": True}, "from nothing"),
        ({"random_state": 1}, "top of retune.toml"),
        ({"shuffle": False}, "always shuffled"),
        ({"verbose": 1}, "silent"),
        ({"class_weight": 3}, r"\[data\] weight"),
    ],
)
def test_a_parameter_that_is_not_the_users_to_set_is_refused_at_construction(params: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        SGD(params, 1)


@pytest.mark.parametrize(
    ("task", "params", "told"),
    [
        ("binary", {"loss": "hinge"}, "gives none"),
        ("binary", {"loss": "squared_error"}, "log_loss, modified_huber"),
        ("binary", {"epsilon": 0.2}, "means nothing to a binary task"),
        ("regression", {"loss": "log_loss"}, "squared_error, huber, epsilon_insensitive"),
        ("regression", {"class_weight": "balanced"}, "means nothing to a regression task"),
        ("regression", {"alpha": -1.0}, "scikit-learn refuses"),
        ("binary", {"penalty": "l3"}, "scikit-learn refuses"),
        ("binary", {"l1_ratio": "much"}, "scikit-learn refuses"),
    ],
)
def test_what_does_not_fit_the_task_is_a_config_error_before_any_trial(task: str, params: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        SGD(params, 1).start(toy_data(task), seed=0)


@pytest.mark.parametrize(("metric", "told"), [("poisson", "below 0"), ("pinball", r"0\.9 quantile")])
def test_a_metric_without_a_loss_is_refused_with_the_reason(metric: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        SGD({}, 1).start(replace(toy_data(), objective=metric, quantile=0.9), seed=0)


@pytest.mark.parametrize("rate", [0.0, -0.1, math.nan, math.inf])
def test_a_rate_that_is_no_step_is_refused(rate: float) -> None:
    fits = SGD({}, 1).start(toy_data(), seed=0)
    with pytest.raises(ConfigError, match="0 < learning_rate"):
        fits.add(rate)
    with pytest.raises(ConfigError, match="0 < learning_rate"):
        fits.set_rate(fits.add(0.1), rate)


# ── divergence ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("D1", "F10")
@pytest.mark.parametrize(
    ("task", "params"),
    [(task, params) for task in TASKS for params in ({}, {"average": True})]
    + [("binary", {"loss": "modified_huber"}), ("regression", {"loss": "huber"})],
)
def test_no_rate_from_1e_8_to_1e_8_brings_a_warning_an_error_or_a_loss_that_is_no_number(
    task: str, params: dict
) -> None:
    data = toy_data(task)
    fits = SGD(params, 1).start(data, seed=0)
    options = SearchOptions(SGD.default_range, 17, 40, 5, 0, lambda s: data.curve_loss(data.valid.y, s))
    trials = [fit(fits, 10.0**power, power + 8, options)[0] for power in range(-8, 9)]
    assert {t.state for t in trials} <= {"complete", "diverged", "starved"}
    assert all(t.loss is None or t.loss <= (1 + DIVERGED) * fits.baseline for t in trials)
    assert min(t.loss for t in trials if t.loss is not None) < 0.5 * fits.baseline
    if task == "regression" and not params:
        assert {t.state for t in trials if t.learning_rate >= 10} == {"diverged"}


@pytest.mark.fault("D1")
def test_a_fit_whose_weights_leave_the_range_of_floats_ends_with_one_nan() -> None:
    data = toy_data()
    fits = SGD({"alpha": 0.0}, 1).start(data, seed=0)
    handle = fits.add(1e300)
    curve = fits.advance([handle], 5)[0]
    assert len(curve) < 5
    assert not np.isfinite(curve[-1])
    assert np.isfinite(curve[:-1]).all()
    assert len(fits.advance([handle], 5)[0]) == 0


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("A2")
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("value", [1e308, -1e308, 5e-324, 0.0, math.nan])
def test_extreme_constant_and_missing_features_give_finite_scores(value: float, task: str) -> None:
    data = toy_data(task)
    x = data.train.x.copy()
    x[::3, 1], x[:, 3] = value, value
    fits, handle, curve = fitted(with_train(data, x=x))
    assert np.isfinite(curve).all()
    model = fits.finish(handle, 10)
    assert np.isfinite(model.predict(x)).all()
    assert np.isfinite(model.predict(np.full((2, 4), value))).all()
    assert model.importance()[3] == 0


@pytest.mark.fault("A2")
def test_one_wild_reading_does_not_become_the_scale_of_its_column() -> None:
    data = toy_data(rows=4000)
    x = data.train.x.copy()
    x[7, 0] = 1e308
    clean, wild = model_of(data), model_of(with_train(data, x=x))
    assert wild.predict(data.valid.x) == pytest.approx(clean.predict(data.valid.x), abs=0.2)
    absurd = data.valid.x.copy()
    absurd[:, 0] = 1e308
    assert np.abs(clean.predict(absurd)).max() < 20


def test_a_missing_or_unseen_category_adds_nothing_and_a_missing_number_is_the_median() -> None:
    data = toy_data()
    model = model_of(data)
    x = np.repeat(np.nanmedian(data.train.x, axis=0)[None], 4, axis=0)
    x[:, 2] = [math.nan, 99.0, 4.0, 4.0]
    x[3, 0] = math.nan
    missing, unseen, known, filled = model.predict(x)
    assert missing == unseen != known
    assert filled == pytest.approx(known, rel=1e-12)


def test_a_category_never_seen_in_train_is_fitted_around() -> None:
    data = toy_data()
    x = data.train.x.copy()
    x[:, 2] = math.nan
    model = model_of(with_train(data, x=x))
    assert model.importance()[2] == 0
    assert np.isfinite(model.predict(data.valid.x)).all()


def test_many_levels_are_kept_sparse_and_learned_all_the_same() -> None:
    rng = np.random.default_rng(0)
    data = toy_data(rows=4000)
    effect = rng.normal(size=200)
    for rows in (data.train, data.valid):
        rows.x[:, 2] = rng.integers(0, 200, len(rows))
        rows.y[:] = 3 * effect[rows.x[:, 2].astype(int)] + 0.1 * rng.normal(size=len(rows))
    fits, handle, curve = fitted(data, 40, rate=0.05)
    assert curve[-1] < 0.1 * fits.baseline
    model = fits.finish(handle, 40)
    assert model.importance()[2] > 0.9
    assert model.predict(data.valid.x[:5]) == pytest.approx(model.predict(data.valid.x)[:5], rel=1e-12)


def test_importance_is_what_moves_the_score_not_the_size_of_a_coefficient() -> None:
    rng = np.random.default_rng(0)
    data = toy_data(rows=8000)
    for rows in (data.train, data.valid):
        rows.x[:, 2] = rng.random(len(rows)) < 0.01
        rows.x[:, 0] = rng.normal(0, 1000, len(rows))
        rows.y[:] = rows.x[:, 0] / 1000 + 3 * rows.x[:, 2]
    shares = model_of(data, 20).importance()
    assert shares == pytest.approx([1 / 1.3, 0, 0.3 / 1.3, 0], abs=0.06)  # 3 x the spread of 1 in 100 is 0.3


@pytest.mark.parametrize("kept", [[0, 1, 3], [2]])
def test_numbers_alone_and_categories_alone_are_fitted(kept: list[int]) -> None:
    data = toy_data()
    train, valid = (replace(rows, x=rows.x[:, kept]) for rows in (data.train, data.valid))
    fits, _, curve = fitted(replace(data, train=train, valid=valid, categorical=() if len(kept) == 3 else (0,)))
    assert curve[-1] < fits.baseline


@pytest.mark.fault("A3", "F9")
@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e300])
def test_labels_that_are_no_numbers_are_refused(bad: float) -> None:
    data = toy_data()
    y = data.train.y.copy()
    y[[2, 5]] = bad
    with pytest.raises(DataError, match=r"2 of .* train labels"):
        SGD({}, 1).start(with_train(data, y=y), seed=0)


def test_constant_labels_are_answered_with_that_constant() -> None:
    data = toy_data()
    model = model_of(with_train(data, y=np.full(len(data.train), 3.5)))
    assert model.predict(data.valid.x) == pytest.approx(3.5, abs=1e-9)


# ── files ─────────────────────────────────────────────────────────────────────────────────────────
SCRIPT = """
import hashlib
from lr_retune.families.sgd import SGD
from lr_retune.testing import toy_data
for task in ("regression", "binary"):
    fits = SGD({"average": True}, 1).start(toy_data(task), seed=3)
    handle = fits.add(0.1)
    fits.advance([handle], 5)
    for name, data in sorted(fits.finish(handle, 4).files().items()):
        print(name, hashlib.sha256(data).hexdigest())
"""


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
    assert len(found.pop().splitlines()) == 4


@pytest.mark.parametrize("task", TASKS)
def test_scikit_learn_alone_reads_the_file_and_answers_the_same(task: str) -> None:
    data = toy_data(task)
    model = model_of(data)
    pipeline = pipeline_of(model)
    answer = pipeline.predict_proba(data.valid.x)[:, 1] if task == "binary" else pipeline.predict(data.valid.x)
    assert answer.tolist() == model.predict(data.valid.x).tolist()


def crafted(data: bytes, old: str, new: str) -> bytes:
    """The archive with its schema changed."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "schema.json":
                assert old in content.decode()
                content = content.decode().replace(old, new).encode()
            target.writestr(name, content)
    return out.getvalue()


@pytest.mark.fault("G3", "F7")
def test_a_file_with_a_type_outside_our_list_is_refused() -> None:
    files = model_of(toy_data()).files()
    hostile = crafted(files["model.skops"], '"clip","__module__":"numpy"', '"system","__module__":"os"')
    with pytest.raises(IntegrityError, match=r"not trusted.*os\.system"):
        SGD({}, 1).load({**files, "model.skops": hostile})


@pytest.mark.fault("G3", "F8")
def test_what_is_no_skops_of_our_pipeline_is_refused() -> None:
    files = model_of(toy_data()).files()
    good = files["model.skops"]
    scaler = make_pipeline(StandardScaler()).fit(np.ones((2, 4)))
    bad = [b"", b"\0" * 100, good[: len(good) // 2], good[:-30], pickle.dumps(scaler)]
    bad += [gzip.compress(pickle.dumps(scaler)), skops.io.dumps(scaler), skops.io.dumps({"a": 1})]
    bad.append(crafted(good, '"protocol"', '"protokoll"'))
    for data in bad:
        with pytest.raises(IntegrityError):
            SGD({}, 1).load({**files, "model.skops": data})
    with pytest.raises(IntegrityError, match=r"importance\.json cannot be read"):
        SGD({}, 1).load({**files, "importance.json": b"[]"})
    with pytest.raises(IntegrityError, match=r"no importance\.json"):
        SGD({}, 1).load({"model.skops": good})


def test_rows_of_another_width_are_a_data_error_and_no_rows_are_no_scores() -> None:
    model = model_of(toy_data())
    with pytest.raises(DataError, match="cannot score"):
        model.predict(np.zeros((2, 9)))
    assert model.predict(np.empty((0, 4))).shape == (0,)
    with pytest.raises(DataError, match="infinity"):  # encoded rows hold none: it would be a bug of the caller's
        model.predict(np.full((2, 4), math.inf))


# ── the whole loop ────────────────────────────────────────────────────────────────────────────────
def sgd_world(folder: Path, task: str, metric: str, **shape: object) -> Path:
    path = world(folder, task=task, metric=metric, **shape)
    text = path.read_text(encoding="utf-8")
    text = text.replace("params = { num_leaves = 7, min_data_in_leaf = 20 }", 'family = "sgd"')
    text = text.replace("{ low = 0.05, high = 0.3 }", "{ low = 1e-4, high = 1e-2 }").replace("= 20", "= 5")
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("task", "metric"), [("regression", "mae"), ("binary", "log_loss")])
def test_the_loop_searches_judges_and_promotes_a_linear_model_after_a_change(
    tmp_path: Path, task: str, metric: str
) -> None:
    config = load_config(sgd_world(tmp_path, task, metric, changed=100, days=220), environ={})
    stores = Stores.in_memory(config)
    first = bootstrap(config, stores, day(100))
    found = retune(config, stores, day(190), policy=always_search)
    assert first.family == found.champion.family == "sgd"
    assert found.outcome == "promoted", found.judgement
    assert found.result is not None
    assert {t.role for t in found.result.trials} == {"candidate", "control", "fixed"}
    assert found.judgement.losses["challenger"] < 0.5 * found.judgement.losses["champion"]
    assert max(found.champion.importance, key=found.champion.importance.get) == "a"
    refit = retune(config, stores, day(200), policy=always)
    assert refit.outcome in ("promoted", "rejected", "inconclusive")
    assert stores.ledger.verify(config.name) == []


def test_the_loop_runs_on_real_data(tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    path = tmp_path / "retune.toml"
    text = f"""\
config_version = 1
name = "bikes"
task = "regression"
[data]
path = "{shared_data("dc_bikeshare")}"
time = "ts"
label = "y"
exclude = ["step"]
[window]
train = "180d"
[model]
family = "sgd"
[metric]
name = "mae"
[search]
points = 4
learning_rate = {{ low = 1e-5, high = 1e-2 }}
patience = 5
[watch]
drift = "native"
"""
    path.write_text(text, encoding="utf-8")
    config = load_config(path, environ={})
    stores = Stores.in_memory(config)
    as_of = [day(0).replace(year=2012, month=month) for month in (6, 9)]
    bootstrap(config, stores, as_of[0])
    found = retune(config, stores, as_of[1], policy=always_search)
    assert found.outcome in ("promoted", "rejected", "inconclusive")
    assert all(np.isfinite(loss) for loss in found.judgement.losses.values())


# ── serving ───────────────────────────────────────────────────────────────────────────────────────
CONTRACT = Contract(1, (Column("amount", "number"), Column("kind", "category", ("shop", "web", "3"))), 400)
ROWS = [
    {"amount": 1.5, "kind": "shop"},
    {"amount": -2.0, "kind": "web"},
    {"amount": None, "kind": "3"},
    {"amount": 0.25, "kind": None},
    {"amount": 1e300, "kind": "never seen"},
]
SERVE = """
import json, sys
sys.modules["lr_retune"] = None  # an import of it would raise ImportError
import mlflow.pyfunc, pandas as pd
rows = pd.DataFrame(json.loads(sys.argv[1])).astype({"amount": float})
models = [mlflow.pyfunc.load_model(uri) for uri in sys.argv[2:]]
print(json.dumps([[m.predict(rows).tolist(), m.predict(rows[:0]).tolist()] for m in models]))
"""


def test_the_served_model_trusts_the_same_types() -> None:
    text = Path(bundle.__file__).with_name("served.py").read_text(encoding="utf-8")
    assert json.loads(re.search(r"^TRUSTED = (\[.*?\])", text, re.MULTILINE)[1]) == TRUSTED


def registered(root: Path, task: str) -> tuple[Path, list[float]]:
    """The folder of a registered version, and what the judge saw."""
    data = toy_data(task)
    spans = (data.train, data.valid)
    train, valid = (replace(rows, x=np.column_stack([rows.x[:, 0], rows.x[:, 2] % 3])) for rows in spans)
    model = model_of(replace(data, train=train, valid=valid, categorical=(1,)))
    files = pack(model.files(), CONTRACT, {"family": "sgd", "task": task}, {"columns": {}, "scores": []})
    registry = MLflowRegistry(rig.config(root))
    record = {"decision": {"id": task, "action": "bootstrap"}, "as_of": rig.BORN}
    version, _ = registry.register("fraud", record, files)
    x = encoding.matrix({name: [row[name] for row in ROWS] for name in CONTRACT.names}, CONTRACT.features)
    uri = registry._client.get_model_version_download_uri("fraud", version)
    return Path(uri.removeprefix("file://")), model.predict(x).tolist()


@pytest.mark.fault("F7", "G1")
def test_served_models_answer_what_the_judge_saw_without_lr_retune_and_without_pickle(tmp_path: Path) -> None:
    folders, judged = zip(*(registered(tmp_path, task) for task in TASKS), strict=True)
    environment = os.environ | {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-W", "ignore", "-c", SERVE, json.dumps(ROWS), *map(str, folders)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for (answer, nothing), scores in zip(json.loads(done.stdout.splitlines()[-1]), judged, strict=True):
        assert answer == pytest.approx(scores, abs=1e-9)
        assert len(set(np.round(answer, 6))) == len(ROWS)  # else equality would prove nothing
        assert nothing == []
    wanted = (folders[0] / "requirements.txt").read_text().split()
    assert sorted(line.split("==")[0] for line in wanted) == ["mlflow", "numpy", "pandas", "scikit-learn", "skops"]
    kinds = {file.suffix for folder in folders for file in folder.rglob("*") if file.is_file()}
    assert kinds <= {".skops", ".json", ".py", ".yaml", ".txt", ""}
