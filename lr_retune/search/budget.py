"""When a search has spent what it may: fits, steps, seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lr_retune.records import SearchOptions, Trial


def spent(found: Sequence[tuple[Trial, int]], options: SearchOptions) -> bool:
    """Whether no further fit may begin.

    >>> from lr_retune.records import Budget, Range
    >>> spent([], SearchOptions(Range(0.1, 0.1), 1, 9, 5, 0, float, budget=Budget(steps=5)))
    False
    """
    budget = options.budget
    return (
        (budget.fits is not None and len(found) >= budget.fits)
        or (budget.steps is not None and _steps(found) >= budget.steps)
        or (budget.seconds is not None and options.elapsed() >= budget.seconds)
    )


def left(found: Sequence[tuple[Trial, int]], options: SearchOptions) -> SearchOptions:
    """The same limits for one more fit, which takes no more steps than the budget leaves."""
    if options.budget.steps is None:
        return options
    return replace(options, max_steps=min(options.max_steps, max(1, options.budget.steps - _steps(found))))


def _steps(found: Sequence[tuple[Trial, int]]) -> int:
    return sum(trial.cost.steps for trial, _ in found)
