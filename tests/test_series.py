from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune.config import Metric, Policy
from lr_retune.metrics import loss_for
from lr_retune.records import LossEvidence, Rows, TickLoss, micros
from lr_retune.watch.series import evidence, spread, tick_losses

DAY = timedelta(days=1)
START = datetime(2019, 3, 1, tzinfo=UTC)
MAE = loss_for(Metric(name="mae"))
losses_of_ticks = st.lists(st.floats(0.1, 10), min_size=2, max_size=40)


def ticks_of(losses: list[float | None], *, mature: int | None = None) -> list[TickLoss]:
    last = len(losses) if mature is None else mature
    return [
        TickLoss(START + i * DAY, START + (i + 1) * DAY, 24, 24 if loss is not None else 0, loss, i < last)
        for i, loss in enumerate(losses)
    ]


def noise(count: int, *, seed: int, mean: float = 1.0, sd: float = 0.1) -> list[float]:
    values: list[float] = np.random.default_rng(seed).normal(mean, sd, count).tolist()
    return values


def found(losses: list[float], promised: list[float], policy: Policy | None = None) -> LossEvidence:
    answer = evidence(ticks_of(list(losses)), float(np.mean(promised)), promised, policy or Policy())
    assert answer is not None
    return answer


# ── losses per tick ───────────────────────────────────────────────────────────────────────────────
def rows_at(hours: list[float], y: list[float]) -> Rows:
    time = np.array([micros(START + timedelta(hours=h)) for h in hours], dtype=np.int64)
    tick = np.array([micros(START + int(h // 24) * DAY) for h in hours], dtype=np.int64)
    return Rows(np.zeros((len(y), 1)), np.array(y), time, tick)


def test_every_tick_of_the_calendar_is_told_and_only_labelled_rows_are_counted() -> None:
    edges = np.array([micros(START + i * DAY) for i in range(5)])
    rows = rows_at([0, 5, 23.99, 48, 80, 200], [1.0, np.nan, 3.0, np.nan, 7.0, 9.0])
    series = tick_losses(rows, np.zeros(6), MAE, edges, START + 3 * DAY)
    assert [(t.rows, t.matured, t.loss, t.mature) for t in series] == [
        (3, 2, 2.0, True),
        (0, 0, None, True),
        (1, 0, None, True),
        (1, 1, 7.0, False),  # ends after the horizon
    ]
    assert [(t.start, t.end) for t in series] == [(START + i * DAY, START + (i + 1) * DAY) for i in range(4)]


@pytest.mark.fault("A3")
def test_a_tick_of_one_class_has_no_ranking_loss() -> None:
    edges = np.array([micros(START), micros(START + DAY)])
    one_class = rows_at([1, 2, 3], [0.0, 0.0, 0.0])
    (tick,) = tick_losses(one_class, np.array([0.1, 0.2, 0.3]), loss_for(Metric(name="pr_auc")), edges, START + DAY)
    assert (tick.matured, tick.loss) == (3, None)


def test_without_a_label_horizon_no_tick_is_mature() -> None:
    edges = np.array([micros(START), micros(START + DAY)])
    (tick,) = tick_losses(rows_at([1], [1.0]), np.zeros(1), MAE, edges, None)
    assert not tick.mature


# ── spread ────────────────────────────────────────────────────────────────────────────────────────
def test_spread_estimates_the_standard_deviation_and_ignores_a_level_and_one_bad_tick() -> None:
    steady = noise(400, seed=1)
    bad = [*steady[:200], 50.0, *steady[200:]]
    assert spread(steady) == pytest.approx(0.1, rel=0.15)
    assert spread(bad) == pytest.approx(spread(steady), rel=0.05)
    assert spread(steady[:200], [v + 30 for v in steady[200:]]) == pytest.approx(0.1, rel=0.15)


def test_spread_falls_back_where_most_differences_are_zero_and_is_nan_without_any() -> None:
    assert spread([1.0, 1.0, 1.0, 1.0, 2.0]) == pytest.approx((1 / 4 / 2) ** 0.5)
    assert spread([1.0, 1.0]) == 0.0
    assert np.isnan(spread([1.0], []))


@given(losses_of_ticks.map(lambda found: [round(v, 6) for v in found]), st.floats(0.5, 100), st.floats(-5, 5))
def test_spread_scales_with_the_unit_and_knows_no_level(losses: list[float], unit: float, level: float) -> None:
    moved = [unit * value + level for value in losses]
    assert spread(moved) == pytest.approx(unit * spread(losses), rel=1e-6, abs=1e-9)


# ── evidence ──────────────────────────────────────────────────────────────────────────────────────
def test_a_lasting_rise_is_an_alarm_and_its_start_is_found() -> None:
    answer = found(noise(20, seed=2) + noise(10, seed=3, mean=1.4), noise(28, seed=4))
    assert answer.alarm
    assert answer.cusum > Policy().cusum_h
    assert answer.since is not None
    assert abs(answer.since - (START + 20 * DAY)) <= 2 * DAY


def test_one_odd_tick_is_no_level_and_a_lasting_rise_is() -> None:
    calm, promised = noise(20, seed=2, mean=80, sd=4), noise(28, seed=4, mean=80, sd=4)
    newest, passed = found([*calm, 233.0], promised), found([*calm, 233.0, *noise(6, seed=5, mean=80, sd=4)], promised)
    assert newest.alarm
    assert newest.changed == 1
    assert passed.level == pytest.approx(80, abs=6)
    lasting = found([*calm, 233.0, *noise(6, seed=5, mean=120, sd=4)], promised)
    assert lasting.level == pytest.approx(120, abs=6)


def test_one_bad_tick_of_moderate_size_is_no_alarm() -> None:
    assert not found([*noise(20, seed=2), 1.5, *noise(5, seed=6)], noise(28, seed=4)).alarm


def test_false_alarms_of_stable_ticks_are_rare() -> None:
    runs = 400  # of 40 ticks; 4 alarms per 1000 ticks were measured for a CUSUM that never looks away
    alarms = sum(found(noise(40, seed=s), noise(28, seed=10_000 + s)).alarm for s in range(runs))
    assert alarms <= 0.05 * runs


def test_the_interval_is_students_over_ticks() -> None:
    answer = found([1.0, 2.0, 3.0], [2.0, 2.0])
    assert answer.value == 2.0
    assert answer.high - answer.value == pytest.approx(2.919986 / 3**0.5, rel=1e-5)  # t(.95; 2), sd 1
    assert answer.value - answer.low == pytest.approx(answer.high - answer.value)


def test_only_mature_ticks_with_a_loss_are_heard() -> None:
    calm = ticks_of([1.0, None, 1.1, 0.9, 9.0, 9.0], mature=4)
    assert evidence(calm, 1.0, [1.0, 1.1, 0.9], Policy()) == evidence(
        [t for t in calm if t.mature and t.loss], 1.0, [1.0, 1.1, 0.9], Policy()
    )


@pytest.mark.fault("A4")
@pytest.mark.parametrize("losses", [[], [1.0], [None, None, 2.0]])
def test_fewer_than_two_mature_ticks_prove_nothing(losses: list[float | None]) -> None:
    assert evidence(ticks_of(losses), 1.0, [1.0, 1.1], Policy()) is None


def test_ticks_are_held_against_ticks_and_not_against_a_pooled_figure() -> None:
    # per-tick average precision of few positives lies far from the pooled one
    ticks, promised = noise(40, seed=7, mean=0.4), noise(28, seed=8, mean=0.4)
    answer = evidence(ticks_of(list(ticks)), 0.2, promised, Policy())
    assert answer is not None
    assert not answer.alarm
    assert answer.promised == pytest.approx(np.mean(promised))


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_losses_without_any_spread_give_finite_figures(level: float) -> None:
    calm, risen = found([level] * 5, [level] * 5), found([level + 1.0] * 5, [level] * 5)
    assert (calm.alarm, calm.since, calm.cusum) == (False, None, 0.0)
    assert risen.alarm
    assert np.isfinite([risen.cusum, risen.spread, risen.low, risen.high]).all()


@given(losses_of_ticks, losses_of_ticks, st.floats(0, 5))
def test_a_uniform_rise_never_lowers_the_evidence(losses: list[float], promised: list[float], more: float) -> None:
    before, after = found(losses, promised), found([value + more for value in losses], promised)
    assert after.cusum >= before.cusum - 1e-6 * (1 + before.cusum)
    if before.since is not None:
        assert after.since is not None
        assert after.since <= before.since


@given(losses_of_ticks, losses_of_ticks, st.floats(0.01, 100))
def test_the_unit_of_the_loss_does_not_matter(losses: list[float], promised: list[float], unit: float) -> None:
    before, after = found(losses, promised), found([unit * v for v in losses], [unit * v for v in promised])
    assert after.cusum == pytest.approx(before.cusum, rel=1e-6, abs=1e-6)


def test_a_tick_of_few_rows_raises_no_alarm_of_its_own() -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    days = [TickLoss(start + i * DAY, start + (i + 1) * DAY, 60, 60, 1.0 + 0.02 * (-1) ** i) for i in range(30)]
    odd = replace(days[7], loss=1.5)
    promised = [tick.loss or 0.0 for tick in days]
    seen = evidence([*days[:7], replace(odd, rows=2, matured=2)], 1.0, promised, Policy())
    full = evidence([*days[:7], odd], 1.0, promised, Policy())
    assert seen is not None
    assert full is not None
    assert not seen.alarm
    assert full.alarm
