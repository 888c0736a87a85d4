"""Which trial wins, and whether it stands at a wall."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

from lr_retune.records import Estimate, Fits, Range, SearchOptions, Trial
from lr_retune.search.estimate import estimate, order, relative_error

TOGETHER = 0.03  # share of the best loss by which a fit of an average may lie behind
MOST_TOGETHER = 3  # fits of an average: five were no better on later rows, and dearer to serve
_AT_WALL = 0.01  # share of the range's width that still counts as the wall


def ranked(trials: Iterable[tuple[Trial, int]]) -> list[tuple[Trial, int]]:
    """Complete trials by their loss; pruned, diverged, starved and failed ones are never ranked.

    A tie goes to the larger rate, which needs fewer steps.
    """
    return sorted((f for f in trials if f[0].state == "complete" and f[0].loss is not None), key=lambda f: order(f[0]))


def best(trials: Iterable[tuple[Trial, int]]) -> tuple[Trial, int] | None:
    """The complete trial of the lowest loss; None if no trial is complete.

    Parameters
    ----------
    trials
        Trials with their handles.
    """
    return next(iter(ranked(trials)), None)


def chosen(trials: Iterable[tuple[Trial, int]], seen: Estimate | None) -> tuple[Trial, int] | None:
    """The trial that a search takes: not the luckiest on valid, but the one that its curve speaks for."""
    return None if seen is None else next(each for each in trials if each[0].number == seen.number)


def estimated(trials: Sequence[tuple[Trial, int]], options: SearchOptions, fits: Fits | None = None) -> Estimate | None:
    """What the trials say together, for ``options.answer`` and after ``options.earlier``; None if none is complete.

    With ``fits`` the noise is measured on the rows of the two lowest complete trials, else it is read off the curve.
    """
    noise = None if fits is None else _noise(ranked(trials)[:2], options, fits)
    found = [trial for trial, _ in trials]
    return estimate(found, options.earlier, options.answer, noise, steps_are_served=options.steps_are_served)


def _noise(two: Sequence[tuple[Trial, int]], options: SearchOptions, fits: Fits) -> float | None:
    scores = [fits.score(handle, trial.steps) for trial, handle in two]
    return relative_error(options.loss, *scores) if len(scores) == 2 else None


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
    """The few fits whose mean answers where an average is asked for: complete and close to the best, which is first."""
    order = ranked(trials)[:MOST_TOGETHER]
    losses = [trial.loss for trial, _ in order if trial.loss is not None]
    return [each for each, loss in zip(order, losses, strict=True) if loss <= losses[0] + TOGETHER * abs(losses[0])]
