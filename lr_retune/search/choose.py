"""Which trial wins, and whether it stands at a wall."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Literal

from lr_retune.records import Estimate, Fits, Range, SearchOptions, Trial
from lr_retune.search.estimate import estimate, order, relative_error

TOGETHER = 0.03  # share of the best loss by which a fit of an average may lie behind
MOST_TOGETHER = 3  # fits of an average: five were no better on later rows, and dearer to serve
LEAD = 1.0  # standard errors of their difference by which a winner must lead the plain rate on valid
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


def answered(
    found: Sequence[tuple[Trial, int]],
    plain: tuple[Trial, int] | None,
    options: SearchOptions,
    fits: Fits,
    errors: float | None = None,
) -> tuple[Estimate | None, list[tuple[Trial, int]]]:
    """What the trials say together, and the fits that answer: one, or those of an average; none if none is complete.

    Parameters
    ----------
    found
        The search's trials with their handles.
    plain
        The fit of the family's fixed rate; None where it may not answer.
    options, fits
        What was asked, and who scores the valid rows.
    errors
        Standard errors by which one rate must lead the plain one; 0: it is a trial among others. None: `LEAD` where
        steps are served, else 0. Among the lowest losses of trees small rates keep better on later rows, and the lowest
        of all is mostly luck; gradient descent has no such side.
    """
    rivals = list(found) if plain is None else [*found, plain]
    seen = estimated(rivals, options, fits if options.answer == "cheap_to_serve" else None)
    if errors is None:
        errors = LEAD if options.answer == "rate" and options.steps_are_served else 0.0
    if seen is not None and plain is not None and errors:
        seen = _plain_unless_led(seen, rivals, plain, options, fits, errors)
    first = chosen(rivals, seen)
    parts = together(rivals) if options.answer == "average" else []
    return seen, parts if len(parts) > 1 else [] if first is None else [first]


def _plain_unless_led(
    seen: Estimate,
    rivals: Sequence[tuple[Trial, int]],
    plain: tuple[Trial, int],
    options: SearchOptions,
    fits: Fits,
    errors: float,
) -> Estimate:
    winner = chosen(rivals, seen)
    if winner is None or plain[0].loss is None or _name(winner[0]) == _name(plain[0]):
        return seen
    ahead, told = lead(winner[0], plain[0]), f"rate {winner[0].learning_rate:.4g}"
    if ahead <= 0:
        why = f"{told} is no better on valid"
    else:
        error = relative_error(options.loss, *(fits.score(handle, trial.steps) for trial, handle in (winner, plain)))
        if ahead > errors * (error or 0.0):
            return seen
        why = f"{told} leads it by {ahead:.2%} on valid, chance alone makes {error:.2%}"
    reason = f"{seen.reason}. The search takes the default rate {plain[0].learning_rate:g}: {why}"
    return replace(seen, number=plain[0].number, reason=reason)


def _name(trial: Trial) -> tuple[float, str]:
    return trial.learning_rate, trial.schedule


def lead(new: Trial, old: Trial) -> float:
    """By which share of its loss the new rate lies below the old one on valid; both must be complete."""
    assert new.loss is not None
    assert old.loss is not None
    return (old.loss - new.loss) / (abs(old.loss) or 1.0)


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
