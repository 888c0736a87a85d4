"""Which rates go on when all are trained side by side and the slower half is dropped at each rung.

Rungs are counted in steps (Jamieson and Talwalkar 2016), not in progress, rate x step: a small rate has come less far
at a rung and looks worse than it is, so this search leans to large rates. It is here because teams know it.
"""

from __future__ import annotations

from collections.abc import Sequence

from lr_retune.records import Fits, SearchOptions, Trial
from lr_retune.search import leader
from lr_retune.search.budget import spent
from lr_retune.search.grid import rates
from lr_retune.search.runner import Runner, advance, begin, found, running

FINALISTS = 2  # fits that are stopped early instead of being cut at a rung
SHARE = 0.5  # of a budget's steps that the rungs may take: the finalists need the rest


def halving(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    """``points`` rates; at each rung the better half goes on, twice as far; the last two are stopped early.

    The first rung is half of the patience. A budget of fits or steps lets fewer rates begin; when its seconds are over
    the leader alone goes on.
    """
    rung = max(1, options.patience // 2)
    wanted = rates(options.space, _affordable(rung, options))
    runners = [begin(fits, number, rate, options) for number, rate in enumerate(wanted)]
    field = len(runners)
    advance(fits, runners, min(rung, options.budget.steps or rung), options)
    while len(running(runners)) > FINALISTS and rung < options.max_steps:
        field = (field + 1) // 2
        _thin(fits, runners, field, f"not among the first {field} after {rung} steps")
        if spent([], options):  # of an empty book: its seconds
            _thin(fits, runners, 1, f"the budget's seconds were over after {rung} steps")
        rung *= 2
        advance(fits, runners, rung, options)
    _finish(fits, runners, options)
    return _told(fits, runners, options)


def _affordable(rung: int, options: SearchOptions) -> int:
    """How many rates may begin; one always may."""
    budget = options.budget
    most = min(options.points, budget.fits or options.points)
    if budget.steps is None:
        return most
    return next((n for n in range(most, 1, -1) if _rungs(n, rung) <= SHARE * budget.steps), 1)


def _rungs(field: int, rung: int) -> int:
    """Steps that all rungs take at most.

    >>> _rungs(8, 10)  # 8 to step 10, 4 to step 20, 2 to step 40
    160
    """
    steps = field * rung
    while field > FINALISTS:
        field = (field + 1) // 2
        steps += field * rung
        rung *= 2
    return steps


def _left(runners: Sequence[Runner], steps: int) -> int:
    return steps - sum(runner.trained for runner in runners)


def _thin(fits: Fits, runners: Sequence[Runner], keep: int, note: str) -> None:
    """Only the first ``keep`` go on; fits that are complete take their places but lose nothing."""
    for runner in _ranked(runners)[keep:]:
        if runner.state is None:
            runner.end("pruned", note)
            fits.drop(runner.handle)


def _ranked(runners: Sequence[Runner]) -> list[Runner]:
    return sorted((r for r in runners if r.state in (None, "complete")), key=lambda r: (r.lowest, -r.rate))


def _finish(fits: Fits, runners: Sequence[Runner], options: SearchOptions) -> None:
    """Stop the finalists early; of a budget of steps the leader takes first what it needs."""
    steps = options.budget.steps
    if steps is None:
        advance(fits, running(runners), options.max_steps, options)
        return
    for runner in running(_ranked(runners)):
        advance(fits, [runner], runner.trained + _left(runners, steps), options)
        if runner.state is None and runner.trained < options.max_steps:
            runner.end("pruned", f"the budget's steps were spent after {runner.trained} steps")


def _told(fits: Fits, runners: Sequence[Runner], options: SearchOptions) -> list[tuple[Trial, int]]:
    told: list[tuple[Trial, int]] = []
    for runner in runners:
        leader.add(told, found(fits, runner, options), fits)
    return told
