"""Calendar and spans: ticks tile time, days have 23 to 25 hours, spans never overlap."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune.config import Config, parse_config
from lr_retune.data.spans import plan_spans
from lr_retune.data.ticks import edges, shift, tick_start
from lr_retune.errors import DataError
from lr_retune.records import micros

ZONES = [
    "UTC",
    "Europe/Paris",
    "America/New_York",
    "America/Havana",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
]
TICKS = [
    timedelta(minutes=30),
    timedelta(hours=1),
    timedelta(hours=6),
    timedelta(days=1),
    timedelta(days=2),
    timedelta(days=7),
]
moments = st.datetimes(
    datetime.fromisoformat("1995-01-01"), datetime.fromisoformat("2035-01-01"), timezones=st.just(UTC)
)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.fault("E9")
@given(moments, st.sampled_from(TICKS), st.sampled_from(ZONES))
def test_every_moment_lies_in_exactly_one_tick(t: datetime, tick: timedelta, zone: str) -> None:
    start = tick_start(t, tick, zone)
    after = shift(start, 1, tick, zone)
    assert start <= t < after
    assert tick_start(start, tick, zone) == start
    assert tick_start(after - timedelta(microseconds=1), tick, zone) == start


@pytest.mark.fault("E9")
@given(moments, st.integers(-60, 60), st.sampled_from(TICKS), st.sampled_from(ZONES))
def test_moving_forth_and_back_ends_where_it_began(t: datetime, n: int, tick: timedelta, zone: str) -> None:
    start = tick_start(t, tick, zone)
    assert shift(shift(start, n, tick, zone), -n, tick, zone) == start


@given(moments, st.integers(0, 40), st.sampled_from(TICKS), st.sampled_from(ZONES))
def test_edges_tile_the_span_without_gap(t: datetime, n: int, tick: timedelta, zone: str) -> None:
    start = tick_start(t, tick, zone)
    found = edges(t, shift(start, n, tick, zone), tick, zone)
    assert found[0] == micros(start)
    assert len(found) == n + 1
    assert (found[1:] > found[:-1]).all()


@pytest.mark.fault("E9")
def test_days_of_a_time_change_have_23_and_25_hours() -> None:
    spring = tick_start(datetime(2024, 3, 31, 12, tzinfo=UTC), DAY, "Europe/Paris")
    autumn = tick_start(datetime(2024, 10, 27, 12, tzinfo=UTC), DAY, "Europe/Paris")
    assert shift(spring, 1, DAY, "Europe/Paris") - spring == 23 * HOUR
    assert shift(autumn, 1, DAY, "Europe/Paris") - autumn == 25 * HOUR


@pytest.mark.fault("E9")
def test_leap_day_is_a_tick_of_its_own() -> None:
    leap = tick_start(datetime(2024, 2, 29, 13, tzinfo=UTC), DAY, "UTC")
    assert leap == datetime(2024, 2, 29, tzinfo=UTC)
    assert shift(leap, 1, DAY, "UTC") == datetime(2024, 3, 1, tzinfo=UTC)


@given(moments, st.sampled_from(ZONES))
def test_weeks_begin_on_local_mondays(t: datetime, zone: str) -> None:
    assert tick_start(t, 7 * DAY, zone).astimezone(ZoneInfo(zone)).weekday() == 0


def _config(train: int, valid: int, holdout: int, gap: int, tick: str, zone: str) -> Config:
    size = {"1d": "d", "1h": "h", "6h": "h"}[tick]
    times = 6 if tick == "6h" else 1
    return parse_config(
        {
            "config_version": 1,
            "name": "m",
            "task": "regression",
            "metric": {"name": "mae"},
            "schedule": {"tick": tick, "timezone": zone},
            "data": {"path": "x", "time": "t", "label": "y"},
            "window": {
                "train": f"{train * times}{size}",
                "valid": f"{valid * times}{size}",
                "holdout": f"{holdout * times}{size}",
                "embargo": f"{gap * times}{size}",
                "min_ticks": 5,
            },
        },
        root=Path(),
    )


counts = st.integers(1, 40)


@given(
    st.integers(40, 80),
    counts,
    st.integers(7, 40),
    st.integers(0, 5),
    st.sampled_from(["1d", "1h", "6h"]),
    st.sampled_from(ZONES),
    moments,
    st.integers(0, 200),
)
def test_spans_keep_order_embargo_and_length(
    train: int, valid: int, holdout: int, gap: int, tick: str, zone: str, t: datetime, history: int
) -> None:
    config = _config(train, valid, holdout, gap, tick, zone)
    size = config.schedule.tick
    horizon = tick_start(t, size, zone)
    first = shift(horizon, -history, size, zone)
    kept = min(train, history - valid - holdout - 2 * gap)
    if kept < 5:
        with pytest.raises(DataError, match=f"not enough history: {history} ticks"):
            plan_spans(config, horizon, first)
        return
    a, b, c = plan_spans(config, horizon, first)
    assert c.end == horizon
    assert (shift(a.end, gap, size, zone), shift(b.end, gap, size, zone)) == (b.start, c.start)
    assert [shift(s.start, n, size, zone) for s, n in ((a, kept), (b, valid), (c, holdout))] == [a.end, b.end, c.end]
    assert a.start >= first
