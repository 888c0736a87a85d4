"""Drift figures: Evidently's arithmetic, and a verdict that awkward columns do not fool."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lr_retune.records import Column, Contract
from lr_retune.watch.drift import column_drift, jensenshannon, robust, robust_categories, score_drift, wasserstein

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
anything = hnp.arrays(np.float64, st.integers(0, 40), elements=st.floats(allow_nan=True, allow_infinity=True))
tame = hnp.arrays(np.float64, st.integers(2, 60), elements=st.floats(-1e6, 1e6))
calm = settings(deadline=None)  # the machine may be busy
levels = st.lists(st.one_of(st.none(), st.sampled_from(["a", "b", "", "<c>"]), st.text(max_size=3)), max_size=60)


def contract(**kinds: str) -> Contract:
    return Contract(1, tuple(Column(name, kind) for name, kind in kinds.items()), 1000)  # type: ignore[arg-type]


def shared(name: str) -> pa.Table:
    if not (path := DATA / f"{name}.parquet").exists():
        pytest.skip(f"{path.name} is not in ../shared/data")
    return pq.read_table(path)


# ── agreement with the libraries ──────────────────────────────────────────────────────────────────
@calm
@given(tame, tame)
def test_the_distance_is_scipys_over_evidentlys_scale(a: np.ndarray, b: np.ndarray) -> None:
    from scipy.stats import wasserstein_distance

    expected = wasserstein_distance(a, b) / max(float(np.std(a)), 0.001)
    assert wasserstein(a, b) == pytest.approx(expected, rel=1e-9, abs=1e-6)


@calm
@given(levels, levels)
def test_the_divergence_is_scipys_over_the_union_of_levels(a: list[str | None], b: list[str | None]) -> None:
    from scipy.spatial.distance import jensenshannon as scipys

    known_a, known_b = [v for v in a if v is not None], [v for v in b if v is not None]
    if not (known_a and known_b):
        assert jensenshannon(a, b) == 0.0
        return
    union = sorted({*known_a, *known_b})
    p, q = ([side.count(v) / len(side) for v in union] for side in (known_a, known_b))
    # scipy takes the root of a rounding error where both sides are equal
    assert jensenshannon(a, b) == pytest.approx(float(np.nan_to_num(scipys(p, q))), abs=1e-6)


# ── laws ──────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("A2")
@calm
@given(anything, anything)
def test_no_numbers_make_a_figure_raise_or_not_finite(a: np.ndarray, b: np.ndarray) -> None:
    for figure in (wasserstein(a, b), robust(a, b)):
        assert math.isfinite(figure)
        assert figure >= 0.0


@calm
@given(levels, levels)
def test_no_levels_make_a_figure_raise_or_leave_its_range(a: list[str | None], b: list[str | None]) -> None:
    limit = math.sqrt(math.log(2)) + 1e-9
    assert 0.0 <= robust_categories(a, b) <= jensenshannon(a, b) + 1e-9 <= limit + 1e-9


@calm
@given(tame)
def test_a_sample_has_not_drifted_from_itself(a: np.ndarray) -> None:
    assert wasserstein(a, a) == 0.0
    assert robust(a, a) == 0.0


@calm
@given(
    hnp.arrays(np.float64, st.integers(50, 200), elements=st.floats(-100, 100).map(lambda v: round(v, 9))),
    st.floats(1e-3, 1e6),
)
def test_the_robust_figure_does_not_depend_on_the_unit(a: np.ndarray, unit: float) -> None:
    b = a[::-1] * 1.5 + 3.0
    assert robust(a * unit, b * unit) == pytest.approx(robust(a, b), rel=1e-6, abs=1e-6)


@calm
@given(st.integers(0, 2**31), st.integers(0, 2**31))
def test_the_order_of_rows_does_not_matter(one: int, two: int) -> None:
    a, b = np.random.default_rng(one).normal(size=300), np.random.default_rng(two).normal(0.4, 1, 300)
    assert robust(a[::-1], b[::-1]) == pytest.approx(robust(a, b), rel=1e-12)


# ── the awkward columns of the fault table ────────────────────────────────────────────────────────
def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_heavy_tails_without_a_change_fool_evidently_but_not_the_verdict() -> None:
    pairs = [(rng(s).standard_cauchy(1500), rng(100 + s).standard_cauchy(1500)) for s in range(20)]
    assert sum(wasserstein(a, b) > 0.1 for a, b in pairs) >= 3
    assert max(robust(a, b) for a, b in pairs) < 0.1


def test_one_outlier_in_the_reference_hides_a_threefold_scale_from_evidently_only() -> None:
    reference = rng().normal(size=300)
    reference[7] = 1e9
    current = 3 * rng(1).normal(size=300)
    assert wasserstein(reference, current) < 0.1
    assert robust(reference, current) > 0.3


def test_a_column_of_tiny_spread_is_measured_in_its_own_unit() -> None:
    reference, current = 1e-6 * rng().normal(size=1000), 1e-6 * (1 + rng(1).normal(size=1000))
    assert wasserstein(reference, current) < 0.01
    assert robust(reference, current) > 0.5


def test_a_shift_of_a_third_of_a_spread_is_found_in_1000_rows() -> None:
    found = [robust(rng(s).normal(size=1000), rng(100 + s).normal(0.35, 1, 1000)) for s in range(20)]
    assert min(found) > 0.1


def test_200_rows_of_noise_rarely_pass_the_threshold() -> None:
    pairs = [(rng(s).normal(size=200), rng(1000 + s).normal(size=200)) for s in range(200)]
    assert sum(wasserstein(a, b) > 0.1 for a, b in pairs) > 80
    assert sum(robust(a, b) > 0.1 for a, b in pairs) <= 16


def test_fifty_levels_in_500_rows_are_noise_and_not_drift() -> None:
    a, b = ([str(v) for v in rng(s).integers(0, 50, 500)] for s in (0, 1))
    assert jensenshannon(a, b) > 0.1
    assert robust_categories(a, b) < 0.05


def test_an_identifier_drifts_for_evidently_only() -> None:
    a, b = ([f"{side}{i}" for i in range(500)] for side in "ab")
    assert jensenshannon(a, b) > 0.8
    assert robust_categories(a, b) == 0.0


def test_a_new_level_of_ten_per_cent_is_drift() -> None:
    a = ["x", "y"] * 500
    assert robust_categories(a, [*a[:900], *["new"] * 100]) > 0.1


@pytest.mark.parametrize("current", [np.full(500, 6.0), np.r_[np.full(250, 5.0), np.full(250, 4.0)]])
def test_a_constant_that_changes_is_drift(current: np.ndarray) -> None:
    assert robust(np.full(500, 5.0), current) >= 0.5
    assert robust(np.full(500, 5.0), np.full(500, 5.0)) == 0.0


def test_a_rare_flag_that_becomes_common_is_drift() -> None:
    assert robust(np.r_[np.zeros(2000), 1.0], np.r_[np.zeros(500), np.ones(500)]) > 0.4


# ── tables ────────────────────────────────────────────────────────────────────────────────────────
def table(n: int, shift: float = 0.0, seed: int = 0) -> pa.Table:
    draw = rng(seed)
    return pa.table(
        {
            "x": draw.normal(shift, 1, n),
            "c": pa.array(draw.choice(["a", "b"], n).tolist(), pa.string()),
            "gone": pa.array([None] * n, pa.float64()),
        }
    )


def test_columns_come_in_contract_order_with_their_importance() -> None:
    found = column_drift(
        table(500), table(500, 1.0, 1), contract(c="category", x="number", gone="number"), {"x": 0.7}, 0.1
    )
    assert [(d.column, d.method, d.importance, d.drifted) for d in found] == [
        ("c", "jensenshannon", 0.0, False),
        ("x", "wasserstein", 0.7, True),
        ("gone", "wasserstein", 0.0, False),
    ]


@pytest.mark.fault("A4")
@pytest.mark.parametrize(("rows", "drifted"), [(0, False), (1, False), (199, False), (200, True)])
def test_fewer_than_200_rows_never_drift(rows: int, drifted: bool) -> None:
    for a, b in ((table(500), table(rows, 3.0, 1)), (table(rows), table(500, 3.0, 1))):
        (found,) = column_drift(a, b, contract(x="number"), {}, 0.1)
        assert found.drifted is drifted


def test_absent_and_retyped_columns_are_left_to_the_contract_check() -> None:
    whole, other = table(300), pa.table({"x": pa.array(["one"] * 300), "c": pa.array([1.0] * 300)})
    assert column_drift(whole, other, contract(x="number", c="category", gone="number"), {}, 0.1) == ()


def test_the_score_is_a_column_of_full_importance() -> None:
    found = score_drift(rng().random(400), rng(1).random(400) ** 2, 0.1)
    assert (found.column, found.importance, found.drifted) == ("score", 1.0, True)
    assert not score_drift(np.array([]), np.array([np.nan]), 0.1).drifted


def test_a_quiet_stream_does_not_drift_and_a_grown_one_does() -> None:
    demand = shared("dc_bikeshare").select(["lag_24", "hour"])
    numbers = pa.table({n: demand[n].cast(pa.float64()) for n in demand.column_names})
    kinds = contract(lag_24="number", hour="number")
    early, later = numbers.slice(2000, 8000), numbers.slice(60000, 8000)
    assert [d.drifted for d in column_drift(early, later, kinds, {}, 0.1)] == [True, False]
