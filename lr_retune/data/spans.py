"""How train, valid and holdout are cut: whole ticks, counted back from the label horizon."""

from __future__ import annotations

from datetime import datetime

from lr_retune.config import Config
from lr_retune.data.ticks import edges, shift, tick_start
from lr_retune.errors import DataError
from lr_retune.records import Span, iso


def plan_spans(config: Config, horizon: datetime, first: datetime | None) -> tuple[Span, Span, Span]:
    """Train, valid and holdout: ``… train … | embargo | valid | embargo | holdout |`` up to ``horizon``.

    Parameters
    ----------
    horizon
        A tick start; every label before it is complete.
    first
        Time of the first row: train is cut at its tick. None: train is not cut.

    Raises
    ------
    DataError
        If train keeps fewer than ``[window] min_ticks`` ticks.
    """
    window, gap = config.window, config.embargo_ticks
    holdout = _before(config, horizon, config.ticks(window.holdout))
    valid = _before(config, _back(config, holdout.start, gap), config.ticks(window.valid))
    end = _back(config, valid.start, gap)
    start = _back(config, end, config.ticks(window.train))
    if first is not None:
        start = max(start, tick_start(first, config.schedule.tick, config.schedule.timezone))
    if _count(config, start, end) < window.min_ticks:
        raise _too_short(config, horizon, start if first is None else first)
    return Span(start, end), valid, holdout


def _back(config: Config, t: datetime, n: int) -> datetime:
    return shift(t, -n, config.schedule.tick, config.schedule.timezone)


def _before(config: Config, end: datetime, n: int) -> Span:
    return Span(_back(config, end, n), end)


def _count(config: Config, start: datetime, end: datetime) -> int:
    """Whole ticks between two tick starts; 0 when they are out of order."""
    return 0 if start >= end else len(edges(start, end, config.schedule.tick, config.schedule.timezone)) - 1


def _too_short(config: Config, horizon: datetime, first: datetime) -> DataError:
    window = config.window
    gap = config.embargo_ticks
    held = _count(config, tick_start(first, config.schedule.tick, config.schedule.timezone), horizon)
    parts = (window.min_ticks, config.ticks(window.valid), config.ticks(window.holdout))
    return DataError(
        f"not enough history: {held} ticks before {iso(horizon)}, {sum(parts) + 2 * gap} needed",
        why=f"train needs {parts[0]}, valid {parts[1]}, holdout {parts[2]}, the two embargoes {gap} each",
        fix="wait for more rows, or shorten [window] valid, holdout, embargo or min_ticks",
    )
