"""Two live arms: the always-valid test, and the command that asks it."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune.judge.sequential import always_valid, ticks_to_tell
from tests.conftest import Answer
from tests.test_three_feeds import CONFIG, LABELS, PREDICTIONS, apart
from tests.worlds import day, write

series = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40).map(np.array)


@given(series, st.floats(0.01, 100), st.floats(-100, 100))
def test_bounds_move_and_scale_with_the_series(values: np.ndarray, scale: float, shift: float) -> None:
    plain, moved = always_valid(values), always_valid(values * scale + shift)
    known = np.isfinite(plain.low)
    size = 1e-6 * (scale * 1e3 + abs(shift) + 1)
    np.testing.assert_allclose(moved.low[known], plain.low[known] * scale + shift, atol=size)
    np.testing.assert_allclose(moved.high[known], plain.high[known] * scale + shift, atol=size)


@given(series)
def test_bounds_only_ever_close_and_what_was_told_stays_told(values: np.ndarray) -> None:
    found = always_valid(values)
    assert (np.diff(found.low[np.isfinite(found.low)]) >= 0).all()
    assert (np.diff(found.high[np.isfinite(found.high)]) <= 0).all()
    if found.decided is not None:
        again = always_valid(np.append(values, values.mean()))
        assert (again.decided, again.sign) == (found.decided, found.sign)


def test_a_series_without_an_effect_is_seldom_told_however_often_it_is_looked_at() -> None:
    rng = np.random.default_rng(3)
    told = [always_valid(rng.normal(size=120)).decided is not None for _ in range(400)]
    assert np.mean(told) <= 0.05


def test_a_bound_is_where_its_own_bayes_factor_reaches_one_over_alpha() -> None:
    values, prior, alpha = np.tile([0.8, 1.1, 1.2], 4), 0.5, 0.05
    n, found = len(values), always_valid(values)
    assert found.low[-1] > found.low[-2]  # so the last tick's own bound stands
    edge = float(found.low[-1])
    t = math.sqrt(n) * (values.mean() - edge) / values.std(ddof=1)
    grown = 1 + n * prior
    factor = grown**-0.5 * ((1 + t**2 / (n - 1)) / (1 + t**2 / (n - 1) / grown)) ** (n / 2)
    assert factor == pytest.approx(1 / alpha)


def test_further_ticks_are_a_range_and_none_where_the_effect_may_be_nothing() -> None:
    steady = np.tile([0.4, 0.6], 4) + np.tile([-2.0, 2.0], 4) * 0.5
    found = ticks_to_tell(steady)
    assert found is None or found[0] <= found[1]
    assert ticks_to_tell(np.array([1.0, -1.0, 1.0, -1.0])) is None
    assert ticks_to_tell(np.array([1.0])) is None
    with pytest.raises(ValueError, match="finite"):
        always_valid(np.array([1.0, math.nan]))


# ── the command ───────────────────────────────────────────────────────────────────────────────────
def two_arms(folder: Path, worse: float) -> None:
    """Days 0 to 60, served by two arms in turn of a coin; the second is off by ``worse`` more."""
    (folder / "retune.toml").write_text(CONFIG.format(labels=LABELS, more=PREDICTIONS))
    made: dict[str, Any] = apart(folder, 60)
    rng = np.random.default_rng(5)
    n = len(made["ts"])
    second = rng.random(n) < 0.5
    score = np.asarray(made["y"], float) + rng.normal(0, 1, n) * (1 + worse * second)
    log = {"id": made["id"], "at": [at + timedelta(minutes=1) for at in made["ts"]], "score": score.tolist()}
    write(folder, {**log, "version": np.where(second, "4", "3").tolist()}, "served.parquet")


def test_a_better_arm_is_named_with_the_tick_since_when(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    two_arms(tmp_path, worse=0.5)
    asked = ("compare", "--sequential", "--from", day(0).isoformat(), "--as-of", day(59).isoformat())
    found = cli(*asked, "-c", str(tmp_path / "retune.toml"), "--json")
    assert found.code == 0
    assert found.json["decision"] == "3"
    assert found.json["difference"]["high"] < 0
    assert found.json["ticks"] == 54  # labels come five days late
    earlier = cli(*asked[:-1], day(40).isoformat(), "-c", str(tmp_path / "retune.toml"), "--json")
    assert earlier.json["decided_at"] == found.json["decided_at"]


def test_equal_arms_are_not_told_apart_and_the_answer_is_ten(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    two_arms(tmp_path, worse=0.0)
    asked = ("compare", "--sequential", "--from", day(0).isoformat(), "--as-of", day(59).isoformat())
    found = cli(*asked, "--models", "4,3", "-c", str(tmp_path / "retune.toml"))
    assert found.code == 10
    assert "Not told yet" in found.out
    assert "at most 5 times in 100" in found.out


@pytest.mark.parametrize(
    ("more", "told"), [(("--models", "3,7"), "7 answered no labelled row"), (("--models", "3"), "1 arms")]
)
def test_unknown_arms_are_told(tmp_path: Path, cli: Callable[..., Answer], more: tuple[str, ...], told: str) -> None:
    two_arms(tmp_path, worse=0.0)
    asked = ("compare", "--sequential", "--from", day(0).isoformat(), "--as-of", day(59).isoformat())
    found = cli(*asked, *more, "-c", str(tmp_path / "retune.toml"))
    assert found.code == 2
    assert told in found.err
