"""Twins of a champion meet over its history: what is measured, that it tells a broken judge, and what it costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lr_retune.config import load_config
from lr_retune.errors import DataError
from lr_retune.judge.equals import Counted, Meeting, false_passes, limits, truths
from lr_retune.retune import bootstrap
from lr_retune.selfcheck import lines, selfcheck
from lr_retune.stores.promotion import Stores
from tests.conftest import Answer
from tests.worlds import day, world


def met(effects: np.ndarray, width: float) -> list[list[Meeting]]:
    return [[Meeting(float(e), float(e) - width, "LRR203") for e in pair] for pair in effects]


# ── what is measured ──────────────────────────────────────────────────────────────────────────────
def test_bounds_that_are_right_by_construction_are_measured_as_right_whatever_twins_differ_by_for_good() -> None:
    rng = np.random.default_rng(0)
    noise, lasting = rng.normal(size=(400, 20)), rng.normal(size=(400, 1))
    found = false_passes(met(noise + 5 * lasting, stats.norm.ppf(0.95)))
    assert (found.trials, found.stopped) == (8000, 0)
    assert found.hits / found.trials == pytest.approx(0.05, abs=0.012)
    assert found.worth > 2000


def test_bounds_that_are_too_narrow_are_found_out() -> None:
    noise = np.random.default_rng(0).normal(size=(12, 20))
    found = false_passes(met(noise, 0.5))
    assert limits(found.hits / found.trials * found.worth, found.worth)[0] > 0.1


def test_pairs_that_err_in_the_same_windows_count_as_one_and_widen_the_limits() -> None:
    one = np.random.default_rng(1).normal(size=(1, 30))
    apart, alike = np.random.default_rng(2).normal(size=(8, 30)), np.repeat(one, 8, axis=0)
    same, other = false_passes(met(alike, 1.0)), false_passes(met(apart, 1.0))
    assert same.worth == pytest.approx(30, rel=0.1)
    assert other.worth > 3 * same.worth


def test_what_guards_stop_is_no_pass_and_is_counted() -> None:
    never = [
        [Meeting(1.0, 0.9, "LRR210"), Meeting(-1.0, -1.1, "LRR210"), Meeting(float("nan"), float("nan"), "LRR216")]
    ]
    assert false_passes(never) == Counted(0, 3, 3, 3.0)


@given(st.integers(2, 12), st.integers(3, 30), st.floats(-5, 5))
def test_a_shift_of_all_windows_changes_no_distance(pairs: int, windows: int, by: float) -> None:
    effects = np.random.default_rng(pairs).normal(size=(pairs, windows))
    widths = np.random.default_rng(windows).uniform(0.5, 2, windows)
    assert truths(effects + by, widths) - by == pytest.approx(truths(effects, widths), abs=1e-9)


def test_a_quiet_window_among_restless_ones_is_not_blamed_for_their_noise() -> None:
    rng = np.random.default_rng(0)
    spread = np.exp(0.8 * rng.normal(size=(20, 1, 40)))
    rates = []
    for each in spread:
        effects = each * rng.normal(size=(12, 40))
        pairs = [
            [Meeting(float(e), float(e - 1.645 * w), "LRR203") for e, w in zip(of, each[0], strict=True)]
            for of in effects
        ]
        found = false_passes(pairs)
        rates.append(found.hits / found.trials)
    assert np.mean(rates) == pytest.approx(0.05, abs=0.008)


@given(st.integers(0, 200), st.integers(1, 200))
def test_limits_are_those_of_the_binomial(hits: int, more: int) -> None:
    low, high = limits(hits, hits + more)
    told = stats.binomtest(hits, hits + more).proportion_ci(0.95)
    assert (low, high) == pytest.approx((told.low, told.high), abs=1e-9)


# ── on a champion ─────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world(tmp_path_factory.mktemp("selfcheck"))


def started(path: Path) -> Stores:
    config = load_config(path, environ={})
    stores = Stores.in_memory(config)
    bootstrap(config, stores, day(100))
    return stores


def test_a_champion_is_checked_on_all_of_its_history_for_the_cost_that_was_told_and_nothing_is_recorded(
    path: Path,
) -> None:
    stores, told = started(path), []
    before = stores.ledger.last("demo").seq
    found = selfcheck(stores.config, stores, day(155), pairs=3, tell=told.append)
    assert told == [found.asked.told]
    assert (found.asked.fits, len(found.asked.windows), found.trials) == (6, 6, 36)
    assert found.asked.train.end <= found.asked.windows[0].start
    assert found.asked.windows[-1].end <= day(155)
    assert found.stated == stores.config.gates.alpha
    assert found.ok
    assert found.limits[0] <= found.rate <= found.limits[1]
    assert "95 % limits" in "\n".join(lines(found))
    assert selfcheck(stores.config, stores, day(155), pairs=3) == found
    assert stores.ledger.last("demo").seq == before
    assert len(selfcheck(stores.config, stores, day(155), pairs=1, windows=4).asked.windows) == 4


def test_rows_of_named_customers_are_compared_as_such(path: Path) -> None:
    stores = started(path)
    config = stores.config.model_copy(update={"data": stores.config.data.model_copy(update={"entity": "kind"})})
    found = selfcheck(config, stores, day(155), pairs=1, windows=3)
    assert (found.trials, found.hits) == (6, 0)


def test_too_little_history_is_said(path: Path) -> None:
    stores = started(path)
    config = stores.config
    long = config.window.model_copy(update={"holdout": config.window.train})
    with pytest.raises(DataError, match="do not hold 3 windows"):
        selfcheck(config.model_copy(update={"window": long}), stores, day(155))


def test_the_command_tells_both_rates_and_ends_with_0(cli: Callable[..., Answer], home: Path) -> None:
    found = cli("selfcheck", "-c", home / "retune.toml", "--pairs", "2", "--json")
    assert found.code == 0, found.err
    assert found.json["command"] == "selfcheck"
    assert found.json["low"] <= found.json["rate"] <= found.json["high"]
    assert found.json["cost"]["fits"] == 4
    assert "row-steps" in found.err
