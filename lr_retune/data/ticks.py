"""The calendar: where ticks start, in the declared time zone, with days of 23 and 25 hours."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from lr_retune.records import micros

_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONDAY = date(1970, 1, 5)  # days are counted from a Monday, so that 7d ticks are weeks


def tick_start(t: datetime, tick: timedelta, timezone: str) -> datetime:
    """Start of the tick that holds ``t``, in UTC.

    A tick shorter than a day is a multiple of itself since 1970 UTC; one of n days begins at a local midnight.

    >>> tick_start(datetime(2024, 3, 31, 12, tzinfo=UTC), timedelta(days=1), "Europe/Paris").isoformat()
    '2024-03-30T23:00:00+00:00'
    """
    if tick < _DAY:
        return _EPOCH + (t - _EPOCH) // tick * tick
    zone, days = ZoneInfo(timezone), tick.days
    return _midnight((t.astimezone(zone).date() - _MONDAY).days // days * days, zone)


def shift(t: datetime, n: int, tick: timedelta, timezone: str) -> datetime:
    """The tick start ``n`` ticks after (before, if negative) the tick start ``t``, in UTC."""
    if tick < _DAY:
        return t.astimezone(UTC) + n * tick
    zone = ZoneInfo(timezone)
    return _midnight((t.astimezone(zone).date() - _MONDAY).days + n * tick.days, zone)


def edges(start: datetime, end: datetime, tick: timedelta, timezone: str) -> np.ndarray:
    """Starts of the ticks that cover [start, end), then the last one's end; int64 microseconds UTC."""
    found = [tick_start(start, tick, timezone)]
    while found[-1] < end:
        found.append(shift(found[-1], 1, tick, timezone))
    return np.array([micros(t) for t in found], dtype=np.int64)


def _midnight(days: int, zone: ZoneInfo) -> datetime:
    """First instant of a local day: where midnight is skipped or repeated, fold 0 is that instant."""
    day = _MONDAY + timedelta(days=days)
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
