"""What two live arms say, for scripts and for people."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lr_retune.answers import short, table
from lr_retune.live import Live


def fields(found: Live, alpha: float) -> dict[str, Any]:
    """The contract's words."""
    bounds = found.bounds
    return {
        "arms": found.arms,
        "metric": found.metric,
        "alpha": alpha,
        "from": found.start,
        "to": found.end,
        "ticks": len(found.ticks),
        "left_out": found.left_out,
        "difference": {
            "value": float(bounds.effect[-1]),
            "low": _known(bounds.low[-1]),
            "high": _known(bounds.high[-1]),
        },
        "decided_at": _decided(found),
        "decision": found.better,
        "further_ticks": found.more,
    }


def _known(value: float) -> float | None:
    """A bound as JSON has it; None where nothing is known yet."""
    return float(value) if abs(value) < float("inf") else None


def _decided(found: Live) -> datetime | None:
    return None if found.bounds.decided is None else found.ticks[found.bounds.decided]


def lines(found: Live, alpha: float) -> list[str]:
    """Arms, difference, and the promise."""
    one, two = found.arms
    bounds, decided = found.bounds, _decided(found)
    low, high = (short(float(end[-1])) for end in (bounds.low, bounds.high))
    left_out = f"; {found.left_out} more had labelled rows of one arm only" if found.left_out else ""
    told = [
        *table(("arm", "labelled rows", found.metric), [(a.name, f"{a.rows:,}", a.loss) for a in found.arms]),
        "",
        f"{len(found.ticks)} ticks from {found.start:%Y-%m-%d} to {found.end:%Y-%m-%d}{left_out}",
        f"{one.name} less {two.name}, mean over ticks: {short(float(bounds.effect[-1]))}, always-valid [{low}, {high}]",
    ]
    if decided is not None:
        told.append(f"{found.better} is better: told since the tick of {decided:%Y-%m-%d %H:%M}")
    else:
        told.append("Not told yet; look again at any time." + _outlook(found))
    promise = (
        f"If both were alike, this would ever name a better one at most {alpha * 100:g} times in 100, however often"
    )
    return [
        *told,
        f"{promise} it is looked at. It holds for rows given to the arms by chance, and ticks that are alike.",
    ]


def _outlook(found: Live) -> str:
    if found.more is None:
        return " The difference so far is within its error: no number of ticks can be named."
    return f" If the difference stays, {found.more[0]:,} to {found.more[1]:,} further ticks would tell."
