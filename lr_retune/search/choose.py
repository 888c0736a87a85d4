"""Which trial wins, and whether it stands at a wall."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

from lr_retune.records import Range, Trial

_AT_WALL = 0.01  # share of the range's width that still counts as the wall


def best(trials: Iterable[tuple[Trial, int]]) -> tuple[Trial, int] | None:
    """The complete trial of the lowest loss; a tie goes to the larger rate, which needs fewer steps.

    Parameters
    ----------
    trials
        Trials with their handles. Pruned, diverged, starved and failed ones are never ranked.

    Returns
    -------
    tuple of Trial and int, or None
        None if no trial is complete.
    """
    ranked = [found for found in trials if found[0].state == "complete" and found[0].loss is not None]
    return min(ranked, key=lambda found: _order(found[0]), default=None)


def _order(trial: Trial) -> tuple[float, float, int]:
    assert trial.loss is not None
    return trial.loss, -trial.learning_rate, trial.number


def at_wall(trial: Trial, space: Range, user_given: bool) -> Literal["low", "high"] | None:
    """Whether the user's own range kept the search from going on; None for a range that is only our default.

    >>> from lr_retune.records import Cost
    >>> edge = Trial(0, "candidate", 0.3, "constant", 1.0, 9, "complete", (), Cost())
    >>> at_wall(edge, Range(0.01, 0.3), user_given=True)
    'high'
    """
    if not user_given or space.low == space.high:
        return None
    scale = math.log if space.log else float
    low, high, rate = scale(space.low), scale(space.high), scale(trial.learning_rate)
    place = (rate - low) / (high - low)
    if place <= _AT_WALL:
        return "low"
    return "high" if place >= 1 - _AT_WALL else None


def inside(rate: float, space: Range | None) -> bool:
    """Whether a rate lies within the user's walls; everything does when there are none."""
    return space is None or space.low <= rate <= space.high


def together(trials: Iterable[tuple[Trial, int]]) -> list[tuple[Trial, int]]:
    """The fits that answer together where an average is asked for: the complete ones, at most three, best first."""
    ranked = sorted(
        (f for f in trials if f[0].state == "complete" and f[0].loss is not None), key=lambda f: _order(f[0])
    )
    return ranked[:3]
