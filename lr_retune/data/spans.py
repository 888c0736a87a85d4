"""How train, valid and holdout are cut: whole ticks, counted back from the label horizon."""

from __future__ import annotations

from datetime import datetime

from lr_retune.config import Config
from lr_retune.data.ticks import edges, shift, tick_start
from lr_retune.errors import DataError
from lr_retune.records import HELD, LEAST_HELD, Answered, Span, iso


def spans_after_change(
    config: Config, horizon: datetime, first: datetime | None, change: Answered, held: int = 0
) -> tuple[Span, Span, Span]:
    """Train up to a short holdout, and no valid: right after a change the newest rows are needed to learn from.

    Parameters
    ----------
    change
        A third of the ticks since its start are held out, seven at least; train begins at its cut, if it keeps
        ``[window] min_ticks`` ticks.
    held
        Ticks that the holdout takes at least, where it needs them to hold enough rows.

    Raises
    ------
    DataError
        As `plan_spans`.
    """
    most, least = config.ticks(config.window.holdout), max(LEAST_HELD, config.gates.min_ticks)
    held = min(most, max(least, held, _count(config, change.since, horizon) // HELD))
    holdout = _before(config, horizon, held)
    end = _back(config, holdout.start, config.embargo_ticks)
    start = _first(config, _back(config, end, config.ticks(config.window.train)), first)
    if change.cut is not None and _count(config, change.cut, end) >= config.window.min_ticks:
        start = max(start, change.cut)
    if _count(config, start, end) < config.window.min_ticks:
        raise _too_short(config, horizon, start if first is None else first, (0, held))
    return Span(start, end), Span(end, end), holdout


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
    start = _first(config, _back(config, end, config.ticks(window.train)), first)
    if _count(config, start, end) < window.min_ticks:
        parts = config.ticks(window.valid), config.ticks(window.holdout)
        raise _too_short(config, horizon, start if first is None else first, parts)
    return Span(start, end), valid, holdout


def _first(config: Config, start: datetime, first: datetime | None) -> datetime:
    """The start of train, not before the tick of the first row."""
    return start if first is None else max(start, tick_start(first, config.schedule.tick, config.schedule.timezone))


def _back(config: Config, t: datetime, n: int) -> datetime:
    return shift(t, -n, config.schedule.tick, config.schedule.timezone)


def _before(config: Config, end: datetime, n: int) -> Span:
    return Span(_back(config, end, n), end)


def _count(config: Config, start: datetime, end: datetime) -> int:
    """Whole ticks between two tick starts; 0 when they are out of order."""
    return 0 if start >= end else len(edges(start, end, config.schedule.tick, config.schedule.timezone)) - 1


def _too_short(config: Config, horizon: datetime, first: datetime, parts: tuple[int, int]) -> DataError:
    """``parts``: ticks of valid, none right after a change, and of holdout."""
    least, (valid, holdout) = config.window.min_ticks, parts
    gaps = config.embargo_ticks * (2 if valid else 1)
    held = _count(config, tick_start(first, config.schedule.tick, config.schedule.timezone), horizon)
    return DataError(
        f"not enough history: {held} ticks before {iso(horizon)}, {least + valid + holdout + gaps} needed",
        why=f"train needs {least}, valid {valid}, holdout {holdout}, embargoes {gaps}",
        fix="wait for more rows, or shorten [window] valid, holdout, embargo or min_ticks",
    )
