"""Looks at a holdout: what they may spend, that ticks never bring more than is stated, and that the ledger counts."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune.config import load_config
from lr_retune.judge.looks import STATED, look_at, share
from lr_retune.records import Look, Looked, Span, canonical, micros
from lr_retune.retune import bootstrap, retune
from lr_retune.stores.promotion import Stores
from lr_retune.watch.baselines import always
from tests.benchmarks.judge import looks as bench
from tests.worlds import day, world

ALPHA = 0.05
ranges = st.lists(st.tuples(st.integers(0, 60), st.integers(7, 28), st.sampled_from("abcde")), min_size=1, max_size=25)


def ticks(start: int, count: int) -> list[int]:
    return [micros(day(n)) for n in range(start, start + count)]


def looked(start: int, count: int, challenger: str) -> Looked:
    return Looked(Span(day(start), day(start + count)), challenger)


def spend(asked: list[tuple[int, int, str]]) -> list[Look]:
    """Looks one after another, each knowing those before."""
    past: list[Looked] = []
    found = []
    for start, count, challenger in asked:
        found.append(look_at(ticks(start, count), challenger, past, ALPHA))
        past.append(looked(start, count, challenger))
    return found


# ── the rule ──────────────────────────────────────────────────────────────────────────────────────
def test_a_first_look_at_fresh_ticks_has_all_of_alpha() -> None:
    first, other = spend([(0, 28, "a"), (28, 28, "b")])
    assert first.alpha == other.alpha == first.stated == ALPHA
    assert (first.number, first.challengers, first.fresh) == (1, 1, 28)
    assert "all of it" in first.promise


@pytest.mark.fault("D4")
def test_challengers_on_one_range_share_its_alpha_and_the_total_is_stated() -> None:
    found = spend([(0, 28, str(k)) for k in range(20)])
    assert [look.alpha / ALPHA for look in found[:4]] == pytest.approx([1, 1 / 6, 1 / 12, 1 / 20])
    assert sum(look.alpha for look in found) <= found[-1].stated == pytest.approx(STATED * ALPHA)
    assert [look.challengers for look in found] == list(range(1, 21))


def test_the_same_challenger_on_more_and_more_ticks_spends_by_its_look_number() -> None:
    found = spend([(0, 28 + 7 * k, "a") for k in range(10)])
    assert [look.number for look in found] == list(range(1, 11))
    assert [look.alpha / ALPHA for look in found] == pytest.approx([1, *(1 / (i * (i + 1)) for i in range(2, 11))])
    assert "look 10 of this challenger" in found[-1].promise


@given(ranges)
def test_no_tick_ever_brings_more_than_is_stated_and_all_looks_keep_the_bound_of_the_ticks_they_lie_in(
    asked: list[tuple[int, int, str]],
) -> None:
    found = spend(asked)
    covered = {t for start, count, _ in asked for t in range(start, start + count)}
    bound = STATED * ALPHA * len(covered) / min(count for _, count, _ in asked)
    assert math.fsum(look.alpha for look in found) <= bound + 1e-12
    assert all(sum(share(i) for i in range(1, n + 1)) < STATED for n in (1, 5, 500))


@given(ranges, st.integers(0, 60), st.integers(7, 28))
def test_a_share_of_fresh_ticks_brings_at_least_its_share_of_alpha(
    asked: list[tuple[int, int, str]], start: int, count: int
) -> None:
    found = look_at(ticks(start, count), "new", [looked(*each) for each in asked], ALPHA)
    assert found.alpha >= ALPHA * found.fresh / found.ticks - 1e-15
    assert 0 < found.alpha <= ALPHA


@given(ranges, st.randoms(use_true_random=False))
def test_the_order_of_earlier_looks_does_not_matter(asked: list[tuple[int, int, str]], chance: object) -> None:
    past = [looked(*each) for each in asked]
    shuffled = list(past)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert look_at(ticks(20, 28), "a", past, ALPHA) == look_at(ticks(20, 28), "a", shuffled, ALPHA)


@given(ranges, st.tuples(st.integers(0, 60), st.integers(7, 28), st.sampled_from("abcde")))
def test_one_more_earlier_look_never_brings_alpha(
    asked: list[tuple[int, int, str]], more: tuple[int, int, str]
) -> None:
    past = [looked(*each) for each in asked]
    less = look_at(ticks(20, 28), "a", [*past, looked(*more)], ALPHA)
    assert less.alpha <= look_at(ticks(20, 28), "a", past, ALPHA).alpha


# ── the main path ─────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world(tmp_path_factory.mktemp("looks"), more="[policy]\nprobe = false")


def started(path: Path) -> Stores:
    config = load_config(path, environ={})
    stores = Stores.in_memory(config)
    bootstrap(config, stores, day(100))
    return stores


def run(stores: Stores, at: datetime, seed: int = 0) -> Look:
    config = stores.config.model_copy(update={"seed": seed})
    stores.config = config
    judgement = retune(config, stores, at, policy=always).judgement
    assert judgement is not None
    assert judgement.look is not None
    return judgement.look


def test_a_second_challenger_on_the_same_holdout_gets_less_alpha(path: Path) -> None:
    stores = started(path)
    first, second = run(stores, day(130)), run(stores, day(130), seed=1)
    assert first.alpha == ALPHA
    assert second.fresh == 0
    assert second.alpha == pytest.approx(ALPHA / 6)
    record = [e.record for e in stores.ledger.entries("demo") if e.kind == "settlement"][-1]
    assert record["judgement"]["look"]["alpha"] == second.alpha
    assert record["judgement"]["look"]["promise"] == second.promise
    paired = next(v for v in record["judgement"]["verdicts"] if v["gate"] == "paired_loss")
    assert paired["low"] is None or second.promise in paired["reason"]


def test_overlapping_holdouts_get_alpha_by_their_fresh_ticks(path: Path) -> None:
    stores = started(path)
    run(stores, day(130))
    later = run(stores, day(137))
    assert (later.fresh, later.ticks) == (7, 14)
    assert later.alpha == pytest.approx(ALPHA * (0.5 + 0.5 / 6))


def test_a_first_model_has_spent_nothing_and_a_repeated_run_finds_its_own_look_again(path: Path) -> None:
    stores = started(path)
    assert stores.looks("no such key") == ()
    first = run(stores, day(130))
    run(stores, day(137))
    assert canonical(run(stores, day(130))) == canonical(first)


def test_a_refusal_that_no_luck_could_turn_spends_nothing(tmp_path: Path) -> None:
    text = world(tmp_path, more="[policy]\nprobe = false").read_text().replace("min_rows = 200", "min_rows = 100000")
    (tmp_path / "retune.toml").write_text(text)
    stores = started(tmp_path / "retune.toml")
    refused = run(stores, day(130))
    assert not refused.counts
    assert run(stores, day(131)).alpha == ALPHA


def test_a_settlement_from_before_looks_were_counted_spent_all_of_its_alpha(path: Path) -> None:
    stores = started(path)
    run(stores, day(130))
    entry = [e for e in stores.ledger.entries("demo") if e.kind == "settlement"][-1]
    old = {
        **entry.record,
        "key": "old",
        "judgement": {k: v for k, v in entry.record["judgement"].items() if k != "look"},
    }
    other = Stores.in_memory(stores.config, stores.models)
    other.ledger.append("demo", "settlement", "old", entry.as_of, old)
    (found,) = other.looks("new")
    assert found.challenger == entry.record["result"]["challenger"]["model"]
    assert np.isclose(look_at(ticks(116, 14), "x", [found], ALPHA).alpha, ALPHA / 6)


# ── the benchmark's own arithmetic ────────────────────────────────────────────────────────────────
def test_families_of_looks_are_counted_by_the_products_own_alphas_and_legs() -> None:
    asked = [(0, 14, k) for k in range(3)]
    assert bench.alphas(asked) == pytest.approx([ALPHA, ALPHA / 6, ALPHA / 12])
    assert [bench.stated(asked[:k]) for k in (1, 2)] == pytest.approx([ALPHA, STATED * ALPHA])
    spent, naive = bench.measured(asked, 0.0, 40)
    assert spent.shape == naive.shape == (40, 3)
    assert not (spent & ~naive).any()
    better = np.abs(np.random.default_rng(0).normal(size=(5, 14))) + 5
    assert bench.passed(better, ALPHA).all()
    assert not bench.passed(-better, ALPHA).any()
