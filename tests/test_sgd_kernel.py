from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import lr_retune
from lr_retune.families import sgd
from lr_retune.families.sgd import SGD, SGDFits
from lr_retune.families.sgd_params import CLASSIFIER, REGRESSOR
from lr_retune.records import FitData
from lr_retune.testing import check_family, toy_data

PACKAGE = Path(lr_retune.__file__).parent


@contextmanager
def cells(least: float) -> Iterator[None]:
    """From how many cells on the kernel is used: 0 is always, infinity never."""
    with mock.patch.object(sgd, "LEAST_CELLS", least):
        yield


def rows(task: str, *, levels: int = 5, weighted: bool = False, seed: int = 0) -> FitData:
    """Toy rows; with many levels their matrix is sparse."""
    data, rng = toy_data(task, seed=seed, rows=160), np.random.default_rng(seed)
    for part in (data.train, data.valid):
        part.x[:, 2] = rng.integers(0, levels, len(part))
    weight = rng.integers(0, 4, len(data.train)) / 2 if weighted else None
    return replace(data, train=replace(data.train, weight=weight))


def trained(data: FitData, params: dict, rates: Sequence[float], epochs: int, seed: int, least: float) -> SGDFits:
    with cells(least):
        fits = SGD(params, 1).start(data, seed=seed)
        fits.advance([fits.add(rate) for rate in rates], epochs)
    assert isinstance(fits, SGDFits)
    assert (fits._kernel is None) == (least > 0)
    return fits


def near(found: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(found, wanted, rtol=tolerance, atol=tolerance * np.abs(wanted).max(initial=1e-300))


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


@given(
    params=WAYS,
    rates=st.lists(st.sampled_from([1e-6, 1e-3, 0.02, 0.3, 4.0, 1e6, 1e300]), min_size=1, max_size=6),
    epochs=st.integers(1, 3),
    levels=st.sampled_from([5, 60]),
    weighted=st.booleans(),
    seed=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_the_kernel_gives_the_weights_of_scikit_learns_plain_sgd(
    params: dict, rates: list[float], epochs: int, levels: int, weighted: bool, seed: int
) -> None:
    data = rows("binary" if params["loss"] in CLASSIFIER else "regression", levels=levels, weighted=weighted, seed=seed)
    slow, fast = (trained(data, params, rates, epochs, seed, least) for least in (math.inf, 0))
    assert sparse.issparse(fast._x) == (levels == 60)
    for handle, rate in enumerate(rates):
        one, other = slow._fits[handle], fast._fits[handle]
        # weights that halve with each row make the average a small difference of large sums, in scikit-learn's too
        tolerance = 1e-5 if params["average"] and rate * params["alpha"] > 0.1 else 1e-12
        assert (len(one.curve), len(one.weights), one.ended) == (len(other.curve), len(other.weights), other.ended)
        for (coef, intercept), (same_coef, same_intercept) in zip(one.weights, other.weights, strict=True):
            assert coef.shape == same_coef.shape
            assert intercept.shape == same_intercept.shape
            near(same_coef, coef, tolerance)
            near(same_intercept, intercept, tolerance)


def test_no_penalty_is_covered_too() -> None:
    """TOML has no None, so only callers from Python reach it."""
    data = rows("regression")
    slow, fast = (trained(data, {"penalty": None}, [0.01, 0.1], 3, 0, least) for least in (math.inf, 0))
    for handle in (0, 1):
        near(fast._fits[handle].weights[-1][0], slow._fits[handle].weights[-1][0])


@given(
    rates=st.lists(st.floats(1e-6, 5.0), min_size=2, max_size=9),
    task=st.sampled_from(["regression", "binary"]),
    penalty=st.sampled_from(["l2", "l1", "elasticnet"]),
    chunks=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    data=st.data(),
)
@settings(max_examples=15, deadline=None)
def test_a_column_has_the_same_bits_whatever_runs_beside_it(
    rates: list[float], task: str, penalty: str, chunks: list[int], data: st.DataObject
) -> None:
    toys, total, params = rows(task), sum(chunks), {"penalty": penalty, "alpha": 0.0}
    one = data.draw(st.integers(0, len(rates) - 1))
    with cells(0):
        together = trained(toys, params, [*rates, 1e300], total, 1, 0)
        alone = SGD(params, 1).start(toys, seed=1)
        late = alone.add(0.5)
        handle = alone.add(rates[one])
        pieces = [alone.advance([handle, late][: 1 + number % 2], chunk)[0] for number, chunk in enumerate(chunks)]
    assert np.concatenate(pieces).tolist() == together._fits[one].curve
    assert together._fits[len(rates)].ended == (task == "regression")
    assert together.score(one, total).tolist() == alone.score(handle, total).tolist()


def test_the_family_with_its_kernel_keeps_the_laws_of_the_conformance_kit() -> None:
    with cells(0):
        check_family(SGD)


@pytest.mark.parametrize("params", [{}, {"loss": "huber"}, {"loss": "modified_huber"}, {"average": True}])
@pytest.mark.parametrize("least", [0, math.inf])
def test_the_curve_is_the_loss_of_the_scores(params: dict, least: float) -> None:
    data = rows("binary" if params.get("loss") == "modified_huber" else "regression")
    fits = trained(data, params, [1e-3, 0.05], 4, 0, least)
    for handle in (0, 1):
        told = [data.curve_loss(data.valid.y, fits.score(handle, step)) for step in range(1, 5)]
        assert fits._fits[handle].curve == pytest.approx(told, rel=1e-9)
        model = fits.finish(handle, 3)
        assert model.predict(data.valid.x) == pytest.approx(fits.score(handle, 3), rel=1e-12)


def test_a_rate_changed_on_the_way_acts_from_the_next_epoch_in_one_column_only() -> None:
    curves = []
    for least in (0, math.inf):
        with cells(least):
            fits = SGD({}, 1).start(rows("regression"), seed=0)
            plain, changed = fits.add(0.01), fits.add(0.01)
            first = fits.advance([plain, changed], 2)
            fits.set_rate(changed, 0.2)
            curves.append([*first, *fits.advance([plain, changed], 2)])
    near(np.array(curves[0]), np.array(curves[1]))
    assert curves[0][0].tolist() == curves[0][1].tolist()
    assert curves[0][2].tolist() != curves[0][3].tolist()


# ── processes ─────────────────────────────────────────────────────────────────────────────────────
SCRIPT = """
import hashlib, sys
if {without}: sys.modules["numba"] = None  # an import of it raises ImportError
from lr_retune.families import sgd
from lr_retune.testing import toy_data
fits = sgd.SGD({{}}, 1).start(toy_data("binary"), seed=3)
fits.advance([fits.add(0.1)], 1)
assert not sys.modules.get("numba"), "few rows are not worth its import"
sgd.LEAST_CELLS = 0
fits = sgd.SGD({{"average": True}}, 1).start(toy_data("binary"), seed=3)
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
    here = np.array(trained(toy_data("binary"), {"average": True}, [0.1], 4, 3, 0)._fits[0].curve)
    assert not kept(PACKAGE)
    stored, read_back = (ran(NUMBA_CACHE_DIR=str(tmp_path), PYTHONHASHSEED=seed) for seed in ("1", "77"))
    assert kept(tmp_path)
    assert not kept(PACKAGE)
    assert stored[0] == read_back[0]
    assert stored[1].tolist() == read_back[1].tolist() == here.tolist()
    near(ran(without=True)[1], here)
