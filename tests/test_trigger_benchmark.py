"""The trigger benchmark's own arithmetic: cuts, losses read off a matrix, the best schedule, what a bound allows."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_retune.records import TRAINING_ACTIONS
from lr_retune.watch.policy import decide
from tests.benchmarks.trigger import choose, matrix, policies, shuffled, tables
from tests.benchmarks.trigger.facts import Ledger, Served, answered, configured, day, observed
from tests.benchmarks.trigger.matrix import Matrix, Settings

SMALL = Settings(ticks=12, window=4, shortest=2, trees=5, twin_trees=3)


def aged(ticks: int = 40, growth: float = 0.05, noise: float = 0.02, seed: int = 0) -> Matrix:
    """Losses that grow with the age of a model, around 1."""
    rng, held = np.random.default_rng(seed), Settings()
    s, t = np.indices((ticks, ticks))
    loss = 1.0 + growth * (t - s) + noise * rng.standard_normal(ticks)[None, :]
    loss = np.where((t >= s) & (s >= held.shortest), loss, np.nan)
    rows = np.repeat(np.arange(ticks), 300)
    return Matrix("made", True, np.array([False]), rows, rows[:, None] * 1.0, rows % 2 * 1.0, loss, loss, held)


def cut(seed: int = 0) -> Matrix:
    """Twelve small ticks of rows whose label is the sign of the first column."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((12 * 60, 2))
    tick, none = np.repeat(np.arange(12), 60), np.empty((0, 0))
    return Matrix("cut", True, np.array([False, False]), tick, x, (x[:, 0] > 0) * 1.0, none, none, SMALL)


# ── cuts and losses ───────────────────────────────────────────────────────────────────────────────
@given(st.lists(st.integers(1, 40), min_size=20, max_size=60))
@settings(max_examples=50)
def test_ticks_are_whole_days_in_order_and_as_many_as_wanted(rows_per_day: list[int]) -> None:
    day_of_row = np.repeat(np.arange(len(rows_per_day)).astype("datetime64[D]"), rows_per_day)
    tick = matrix._ticks(day_of_row, 12)
    assert (np.diff(tick) >= 0).all()
    assert set(tick) == set(range(tick[-1] + 1))
    assert all(len(set(tick[day_of_row == each])) == 1 for each in np.unique(day_of_row))


def test_a_set_of_few_instants_is_cut_by_order() -> None:
    tick = matrix._ticks(np.repeat(np.arange(4).astype("datetime64[D]"), 60), 12)
    assert np.bincount(tick).tolist() == [20] * 12


def test_no_model_is_scored_on_ticks_that_it_has_learned() -> None:
    m = cut()
    loss = matrix._losses(m, SMALL, twin=False)
    s, t = np.indices(loss.shape)
    assert (np.isnan(loss) == ((t < s) | (s < SMALL.shortest))).all()
    assert loss[6, 6:].mean() < np.log(2)  # it learned something


def test_the_promise_is_known_before_the_model_serves() -> None:
    m = aged()
    for s in range(m.settings.window, m.ticks):
        promised = m.promise(s)
        assert len(promised) == 7
        assert np.isfinite(promised).all()
        assert promised.tolist() == m.loss[s - 7, s - 7 : s].tolist()


# ── policies ──────────────────────────────────────────────────────────────────────────────────────
def lost(m: Matrix, schedule: tuple[int, ...]) -> float:
    models = [m.settings.window, *schedule, m.ticks]
    return float(sum(m.loss[a, a:b].sum() for a, b in pairwise(models)))


def test_a_policy_loses_what_its_models_lose_while_they_serve() -> None:
    m = aged()
    for rule in policies.others().values():
        if rule.__qualname__.startswith("evidently"):
            continue  # reads the columns of a set
        found = policies.walked(m, rule)
        assert found.loss * found.ticks == pytest.approx(lost(m, found.retrains))


@pytest.mark.parametrize("seed", range(3))
def test_the_oracle_is_the_best_of_all_schedules(seed: int) -> None:
    m = aged(ticks=22, noise=0.5, seed=seed)
    found = policies.oracle(m)
    for count in range(4):
        best = min(lost(m, each) for each in combinations(range(15, 22), count))
        assert found[count] * (22 - 14) == pytest.approx(best)
    assert policies.needed(found, found[2]) is not None
    assert policies.needed(found, found.min() - 1) is None


def test_a_timer_keeps_its_distance_in_every_phase() -> None:
    m = aged()
    for phase in policies.phases(m, 5):
        assert set(np.diff(phase.retrains)) == {5}
    assert {phase.retrains[0] for phase in policies.phases(m, 5)} == {15, 16, 17, 18, 19}


def test_ours_trains_where_models_age_and_keeps_where_they_do_not() -> None:
    config = configured()
    aging, still = policies.ours(aged(growth=0.05), config), policies.ours(aged(growth=0.0), config)
    assert 1 <= len(aging.retrains) <= 8
    assert len(aging.reasons) == len(aging.retrains)
    assert still.retrains == ()
    assert policies.ours(aged(growth=0.05), config) == aging


def test_the_short_way_to_an_answer_is_the_answer() -> None:
    m, config, ledger = aged(), configured(), Ledger(day(14))
    seen = set()
    for t in range(14, 34):
        facts = observed(
            Served("a", 14, m.loss[14, 14 : t + 1], m.rows[14 : t + 1], m.promise(14)), ledger.history, config
        )
        whole, (action, codes) = decide(facts, ledger.history, config), answered(facts, ledger.history, config)
        assert whole.action == action
        assert tuple(reason.code for reason in whole.reasons)[: len(codes)] == codes
        seen.add(action)
        ledger.remember(facts, str(t), action, codes, "promoted" if action in TRAINING_ACTIONS else "kept")
    assert seen & set(TRAINING_ACTIONS)
    assert "keep" in seen


def test_the_slowest_timer_of_equal_loss_is_counted_against_ours() -> None:
    m = aged(noise=0.0)
    run = tables.Run(
        {"made": m},
        {
            "never": {"made": policies.walked(m, policies.never)},
            "four": {"made": policies.walked(m, policies.timer(4))},
        },
    )
    found = run.slowest_timer("four")
    assert found is not None
    assert found[0] == 4
    assert found[1] == pytest.approx(1, abs=0.2)
    assert run.against_oracle("four") == pytest.approx(1, abs=0.2)


def test_an_age_clock_halves_where_retrains_bring_something_and_doubles_where_they_bring_nothing() -> None:
    clock, config = policies.doubling(8), configured()
    ages = [clock(config, brought).policy.max_age.days for brought in ([], [2.0], [2.0, 3.0], [0.5], [0.5] * 9)]
    assert ages == [8, 4, 4, 16, 30]
    assert policies.sureness(np.ones(2), np.zeros(2)) is None
    assert (policies.sureness(np.array([1.0, 1.1, 1.2]), np.ones(3)) or 0) > 1
    aging, still = aged(growth=0.05, noise=0.0), aged(growth=0.0, noise=0.02)
    found = [policies.ours(m, configured(probe=False, cusum_h=99.0), policies.doubling(8)) for m in (aging, still)]
    assert found[0].by_age > found[1].by_age > 0


def test_a_table_holds_every_policy_on_every_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "others", lambda: {"never": policies.never})
    m, config = aged(ticks=20), configured()
    found = policies.table({"made": m}, {"careful": config})
    assert {key: list(sets) for key, sets in found.items()} == {"never": ["made"], "careful": ["made"]}
    assert found["careful"]["made"] == policies.ours(m, config)


def test_a_set_that_is_left_out_gets_what_the_others_choose() -> None:
    def row(name: str, excess: list[float], false: float) -> choose.Row:
        lived = [policies.Outcome(name, 1.0, (1,), 40)] * 3
        return choose.Row(name, lived, [shuffled.Count(10_000, 10, int(10 * false))] * 3, np.array(excess))

    quiet, quick = row("quiet", [9.0, 9.0, 1.0], 2.0), row("quick", [1.0, 1.0, 9.0], 40.0)
    chosen = choose._left_out([quiet, quick], ["a", "b", "c"], lambda _row, _kept: True)
    assert [line.split()[1] for line in chosen.splitlines()[1:4]] == ["quiet", "quiet", "quick"]
    allowed = choose._left_out([quiet, quick], ["a", "b", "c"], lambda r, kept: r.alarms(kept) <= choose.MOST_ALARMS)
    assert "quick" not in allowed
    assert "mean 6.33, median 9.00, worst 9.0" in allowed


# ── random order ──────────────────────────────────────────────────────────────────────────────────
def test_a_bound_without_events_follows_the_number_of_ticks() -> None:
    assert shuffled.bound([0.0] * 11, 30_000) == pytest.approx(0.1)
    assert shuffled.bound([0.0] * 10 + [55.0], 30_000) > 5.0


def orders(count: int, rise: float) -> list[shuffled.Walk]:
    """A model whose losses vary around 1 by chance alone; its twins are alike."""
    rng, found = np.random.default_rng(5), []
    for _ in range(count):
        loss = 1 + 0.05 * rng.standard_normal(66)
        order = shuffled.Order(loss, np.repeat(loss[None], 4, axis=0), np.full(66, 300), rise)
        found.append(shuffled.walked(order, configured(), rng))
    return found


def test_ticks_that_differ_by_chance_alone_rarely_retrain_anything() -> None:
    assert sum(len(walk.retrains) for walk in orders(15, 0.0)) <= 4  # of 600 ticks


def test_a_planted_rise_is_answered_after_it_came() -> None:
    delays = [walk.delay() for walk in orders(10, 0.5)]
    assert all(delay is not None and 1 <= delay <= 12 for delay in delays)
