from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.linear_model import SGDClassifier, SGDRegressor

import lr_retune
from lr_retune.errors import ConfigError
from lr_retune.families import sgd_kernel, sgd_plain
from lr_retune.families.sgd import SGD
from lr_retune.families.sgd_fits import CLASSES, SGDFits
from lr_retune.families.sgd_params import CLASSIFIER, REGRESSOR
from lr_retune.families.sgd_passes import Passes, Walk
from lr_retune.records import FitData
from lr_retune.schedules import NAMES, adaptive_cuts, parse, rates
from lr_retune.testing import check_family, toy_data

PACKAGE = Path(lr_retune.__file__).parent
WALKS = [sgd_kernel.walk, sgd_plain.walk]


def rows(task: str, *, levels: int = 5, weighted: bool = False, seed: int = 0, count: int = 160) -> FitData:
    """Toy rows; with many levels their matrix is sparse."""
    data, rng = toy_data(task, seed=seed, rows=count), np.random.default_rng(seed)
    for part in (data.train, data.valid):
        part.x[:, 2] = rng.integers(0, levels, len(part))
    weight = rng.integers(0, 4, len(data.train)) / 2 if weighted else None
    return replace(data, train=replace(data.train, weight=weight))


def started(data: FitData, params: dict[str, Any], seed: int = 0, walk: Walk = sgd_kernel.walk) -> SGDFits:
    fits = SGD(params, 1).start(data, seed=seed)
    assert isinstance(fits, SGDFits)
    fits._passes = Passes(walk, fits._params, fits._x, fits._y, fits._weight)
    return fits


def near(found: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max(initial=1e-300))


def whole(weights: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """All weights of a fit: the rounding of a small one is that of the sums it comes from."""
    return np.concatenate([part.ravel() for part in weights])


def by_scikit_learn(fits: SGDFits, seed: int, epochs: int, **rate: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights after each epoch of scikit-learn's own estimator on the same rows; fewer where it gives up."""
    binary = fits._params["loss"] in CLASSIFIER
    made = (SGDClassifier if binary else SGDRegressor)(**fits._params, **rate, shuffle=False)
    more = {"classes": CLASSES} if binary else {}
    found = []
    for epoch in range(epochs):
        order = np.random.default_rng([seed, epoch]).permutation(fits.train_rows)
        try:
            with np.errstate(all="ignore"):
                made.partial_fit(fits._x[order], fits._y[order], sample_weight=fits._weight[order], **more)
        except ValueError as error:
            if "overflow" not in str(error):
                raise
            break
        found.append((made.coef_.copy(), made.intercept_.copy()))
    return found


COMMON = {
    "penalty": st.sampled_from(["l2", "l1", "elasticnet"]),
    "alpha": st.sampled_from([0.0, 1e-4, 0.05, 30.0]),
    "l1_ratio": st.sampled_from([0.0, 0.15, 1.0]),
    "average": st.sampled_from([False, True, 50, 200]),
    "fit_intercept": st.booleans(),
}
WAYS = st.one_of(
    st.fixed_dictionaries({"loss": st.sampled_from(CLASSIFIER), **COMMON}),
    st.fixed_dictionaries({"loss": st.sampled_from(REGRESSOR), "epsilon": st.sampled_from([0.0, 0.1, 1.0]), **COMMON}),
)


OWN = {
    "constant": {"learning_rate": "constant"},
    "invscaling(0.25)": {"learning_rate": "invscaling", "power_t": 0.25},
    "invscaling(0.5)": {"learning_rate": "invscaling", "power_t": 0.5},
    "optimal": {"learning_rate": "optimal"},
}


@given(
    params=WAYS,
    drawn=st.lists(
        st.tuples(st.sampled_from([1e-6, 1e-3, 0.02, 0.3, 4.0, 1e6, 1e300]), st.sampled_from(list(OWN))),
        min_size=1,
        max_size=6,
    ),
    epochs=st.integers(1, 3),
    levels=st.sampled_from([5, 60]),
    weighted=st.booleans(),
    seed=st.integers(0, 3),
)
@settings(max_examples=80)
def test_a_pass_gives_the_weights_of_scikit_learns_own_schedules(
    params: dict[str, Any], drawn: list[tuple[float, str]], epochs: int, levels: int, weighted: bool, seed: int
) -> None:
    drawn = [(rate, way) for rate, way in drawn if way != "optimal" or params["alpha"] > 0]
    data = rows("binary" if params["loss"] in CLASSIFIER else "regression", levels=levels, weighted=weighted, seed=seed)
    fits = started(data, params, seed)
    assert sparse.issparse(fits._x) == (levels == 60)
    handles = [fits.add(rate, way) for rate, way in drawn]
    fits.advance(handles, epochs)
    for handle, (rate, way) in zip(handles, drawn, strict=True):
        mine = fits._fits[handle]
        wanted = by_scikit_learn(fits, seed, epochs, eta0=rate, **OWN[way])
        assert mine.ended == (len(wanted) < epochs or not math.isfinite(mine.curve[-1]))
        assert len(mine.weights) == len(wanted) or mine.ended
        if way != "constant" and max(mine.curve) > 10 * fits.baseline:
            continue  # a diverged fit blows up the last bit of a rate
        first = fits.trace(handle)[0, 0]
        # weights that halve with each row make the average a small difference of large sums, in scikit-learn's too
        tolerance = 1e-5 if params["average"] and first * params["alpha"] > 0.1 else 1e-10
        for (coef, intercept), (same_coef, same_intercept) in zip(wanted, mine.weights, strict=False):
            assert (coef.shape, intercept.shape) == (same_coef.shape, same_intercept.shape)
            near(same_coef, coef, tolerance)
            near(same_intercept, intercept, tolerance)


def test_no_penalty_is_covered_too() -> None:
    """TOML has no None, so only callers from Python reach it."""
    fits = started(rows("regression"), {"penalty": None})
    fits.advance([fits.add(0.01)], 3)
    wanted = by_scikit_learn(fits, 0, 3, eta0=0.01, learning_rate="constant")
    near(fits._fits[0].weights[-1][0], wanted[-1][0])


MORE = ["plateau(1,3)", "adaptive(1)", "cosine(3)", "one_cycle(3)", "warm_restarts(1,2,2)", "triangular(2,2)"]
EVERY = [*(name for name in NAMES if name != "plateau"), *MORE]


@pytest.mark.parametrize("way", EVERY)
@pytest.mark.parametrize("task", ["regression", "binary"])
def test_each_step_takes_the_rate_of_its_formula(way: str, task: str) -> None:
    """scikit-learn's estimator is shown one row at a time, each at the rate that the formula tells."""
    fits, rate, seen = started(rows(task, count=80), {}), 0.02, parse(way)
    count = fits.train_rows
    curve = fits.advance([handle := fits.add(rate, way)], 5)[0]
    assert len(curve) == min(5, seen.end or 5)
    cuts = adaptive_cuts(curve.tolist(), int(seen.args[0])) if seen.name == "adaptive" else ()
    wanted = rates(way, rate, np.arange(len(curve) * count), count, alpha=1e-4, cuts=cuts).reshape(-1, count)
    assert fits.trace(handle) == pytest.approx(wanted[:, [0, -1]], rel=1e-12)
    made = (SGDClassifier if task == "binary" else SGDRegressor)(**fits._params, learning_rate="constant")
    more = {"classes": CLASSES} if task == "binary" else {}
    for epoch, row_rates in enumerate(wanted):
        order = np.random.default_rng([0, epoch]).permutation(count)
        for row, row_rate in zip(order, row_rates, strict=True):
            made.set_params(eta0=max(row_rate, 1e-300)).partial_fit(fits._x[[row]], fits._y[[row]], **more)
        near(fits._fits[handle].weights[epoch][0], made.coef_, 1e-10)
        near(fits._fits[handle].weights[epoch][1], made.intercept_, 1e-10)


@given(
    params=WAYS,
    drawn=st.lists(st.tuples(st.sampled_from([1e-6, 1e-3, 0.02, 0.3]), st.sampled_from(EVERY)), min_size=1, max_size=5),
    levels=st.sampled_from([5, 60]),
    weighted=st.booleans(),
)
@settings(max_examples=30)
def test_without_numba_the_numbers_are_the_same(
    params: dict[str, Any], drawn: list[tuple[float, str]], levels: int, weighted: bool
) -> None:
    drawn = [(rate, way) for rate, way in drawn if way != "optimal"]
    data = rows("binary" if params["loss"] in CLASSIFIER else "regression", levels=levels, weighted=weighted, count=80)
    fast, slow = (started(data, params, walk=walk) for walk in WALKS)
    for fits in (fast, slow):
        fits.advance([fits.add(rate, way) for rate, way in drawn], 3)
    for handle, (rate, _) in enumerate(drawn):
        one, other = fast._fits[handle], slow._fits[handle]
        tolerance = 1e-5 if params["average"] and rate * params["alpha"] > 0.1 else 1e-11
        assert (len(one.curve), one.ended) == (len(other.curve), other.ended)
        assert fast.trace(handle).tolist() == slow.trace(handle).tolist()
        for here, there in zip(one.weights, other.weights, strict=True):
            seen, scale = whole(here), max(rate, float(np.abs(whole(here)).max()))
            np.testing.assert_allclose(whole(there), seen, rtol=tolerance, atol=tolerance * scale)


@given(
    drawn=st.lists(st.tuples(st.floats(1e-6, 5.0), st.sampled_from(EVERY)), min_size=2, max_size=9),
    task=st.sampled_from(["regression", "binary"]),
    penalty=st.sampled_from(["l2", "l1", "elasticnet"]),
    chunks=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    data=st.data(),
)
@settings(max_examples=25)
def test_a_column_has_the_same_bits_whatever_runs_beside_it(
    drawn: list[tuple[float, str]], task: str, penalty: str, chunks: list[int], data: st.DataObject
) -> None:
    toys, total, params = rows(task), sum(chunks), {"penalty": penalty, "alpha": 1e-12}
    one = data.draw(st.integers(0, len(drawn) - 1))
    together = started(toys, params, 1)
    together.advance([*(together.add(*each) for each in drawn), together.add(1e300)], total)
    alone = started(toys, params, 1)
    late, handle = alone.add(0.5), alone.add(*drawn[one])
    pieces = [alone.advance([handle, late][: 1 + number % 2], chunk)[0] for number, chunk in enumerate(chunks)]
    assert np.concatenate(pieces).tolist() == together._fits[one].curve
    assert together._fits[len(drawn)].ended == (task == "regression")
    steps = len(together._fits[one].weights)
    assert together.score(one, steps).tolist() == alone.score(handle, steps).tolist()


@pytest.mark.parametrize("walk", WALKS)
def test_both_ways_keep_the_laws_of_the_conformance_kit(walk: Walk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sgd_kernel, "walk", walk)
    check_family(SGD, tasks=["binary"])


@pytest.mark.parametrize("params", [{}, {"loss": "huber"}, {"loss": "modified_huber"}, {"average": True}])
def test_the_curve_is_the_loss_of_the_scores(params: dict[str, Any]) -> None:
    data = rows("binary" if params.get("loss") == "modified_huber" else "regression")
    fits = started(data, params)
    for handle in (fits.add(1e-3), fits.add(0.05, "one_cycle(4)")):
        curve = fits.advance([handle], 4)[0]
        told = [data.curve_loss(data.valid.y, fits.score(handle, step)) for step in range(1, 5)]
        assert curve == pytest.approx(told, rel=1e-9)
        model = fits.finish(handle, 3)
        assert model.predict(data.valid.x) == pytest.approx(fits.score(handle, 3), rel=1e-12)


def test_a_rate_changed_on_the_way_acts_from_the_next_epoch_in_one_column_only() -> None:
    fits = started(rows("regression"), {})
    plain, changed, cycle = fits.add(0.01), fits.add(0.01), fits.add(0.01, "step(1,0.5)")
    first = fits.advance([plain, changed, cycle], 2)
    fits.set_rate(changed, 0.2)
    fits.set_rate(cycle, 0.2)
    later = fits.advance([plain, changed, cycle], 2)
    assert first[0].tolist() == first[1].tolist()
    assert later[0].tolist() != later[1].tolist()
    assert fits.trace(changed)[:, 0].tolist() == [0.01, 0.01, 0.2, 0.2]
    assert fits.trace(cycle)[:, 1].tolist() == [0.01, 0.005, 0.05, 0.025]


# ── schedules ─────────────────────────────────────────────────────────────────────────────────────
def test_a_fit_ends_with_its_schedule_and_is_an_ordinary_estimator() -> None:
    fits = started(rows("binary"), {})
    for way, epochs, named in (
        ("cosine(3)", 3, "constant"),
        ("invscaling", 6, "invscaling"),
        ("optimal", 6, "optimal"),
    ):
        handle = fits.add(0.1, way)
        assert len(fits.advance([handle], 6)[0]) == epochs
        assert len(fits.advance([handle], 1)[0]) == (epochs == 6)
        made = fits._served(fits._fits[handle], 2)
        assert (made.learning_rate, made.eta0) == (named, 0.1)
        assert made.predict_proba(fits._valid[:3]).shape == (3, 2)
        made.partial_fit(fits._x[:5], fits._y[:5])  # any code of scikit-learn can go on with it


def test_adaptive_divides_by_5_after_epochs_without_gain_and_ends_where_scikit_learn_does() -> None:
    fits = started(rows("regression"), {})
    handle = fits.add(0.5, "adaptive(1)")
    curve = fits.advance([handle], 400)[0]
    used = fits.trace(handle)
    assert (used[:, 0] == used[:, 1]).all()
    assert len(curve) < 400
    assert used[-1, 0] <= 1e-6
    assert used[-1, 0] * 5 > 1e-6
    for epoch in range(1, len(curve)):
        stalled = curve[epoch - 1] >= min(curve[: epoch - 1], default=math.inf)
        assert used[epoch, 0] == pytest.approx(used[epoch - 1, 0] / (5 if stalled else 1), rel=1e-12)


@pytest.mark.parametrize(("way", "told"), [("one_cicle", "did you mean 'one_cycle'"), ("cosine(0)", r"e\.g\. cosine")])
def test_a_schedule_that_means_nothing_is_refused(way: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        started(rows("regression"), {}).add(0.1, way)


def test_the_familys_own_schedules_are_named_in_full() -> None:
    assert [str(parse(way)) for way in SGD.default_schedules] == list(SGD.default_schedules)


def test_optimal_needs_a_penalty() -> None:
    with pytest.raises(ConfigError, match="alpha above 0"):
        started(rows("regression"), {"alpha": 0.0}).add(0.1, "optimal")


# ── processes ─────────────────────────────────────────────────────────────────────────────────────
SCRIPT = """
import hashlib, sys
if {without}: sys.modules["numba"] = None  # an import of it raises ImportError
from lr_retune.families.sgd import SGD
from lr_retune.testing import toy_data
assert not sys.modules.get("numba"), "it is loaded with the first fit"
fits = SGD({{"average": True}}, 1).start(toy_data("binary"), seed=3)
handle = fits.add(0.1)
curve = fits.advance([handle], 4)[0]
assert bool(sys.modules.get("numba")) != {without}
print(hashlib.sha256(fits.finish(handle, 4).files()["model.skops"]).hexdigest())
print(*map(repr, curve.tolist()))
"""


def ran(*, without: bool = False, **more: str) -> tuple[str, np.ndarray]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA")} | more
    script = SCRIPT.format(without=without)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    digest, curve = done.stdout.splitlines()
    return digest, np.array(curve.split(), dtype=float)


def kept(folder: Path) -> list[Path]:
    """Files of numba's cache."""
    return [file for suffix in ("nbi", "nbc") for file in folder.rglob(f"*.{suffix}")]


@pytest.mark.fault("D5")
def test_numba_is_an_option_of_speed_that_is_loaded_late_and_leaves_no_files_unless_asked_to(tmp_path: Path) -> None:
    fits = started(toy_data("binary"), {"average": True}, 3)
    here = fits.advance([fits.add(0.1)], 4)[0]
    assert not kept(PACKAGE)
    stored, read_back = (ran(NUMBA_CACHE_DIR=str(tmp_path), PYTHONHASHSEED=seed) for seed in ("1", "77"))
    assert kept(tmp_path)
    assert not kept(PACKAGE)
    assert stored[0] == read_back[0]
    assert stored[1].tolist() == read_back[1].tolist() == here.tolist()
    near(ran(without=True)[1], here)
