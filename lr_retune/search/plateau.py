"""Which rate a single fit has at each step when it starts large and is halved wherever the loss stalls.

Made for gradient descent, whose weights can still mend what a large rate did. Trees stay grown: what was learned too
fast is not unlearned by smaller ones, so on boosted trees this is in effect one fit of a large rate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lr_retune.records import Fits, SearchOptions, Trial
from lr_retune.search import leader
from lr_retune.search.grid import rates
from lr_retune.search.runner import Runner, advance, begin, found, running

STALL = 5  # a stall is this part of the patience
MOST = 8  # halvings
FRUITLESS = 2  # halvings in a row that bring nothing before it ends
SHARE = 0.5  # of a budget's steps that the first look may take


def plateau(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    """One start per decade; the one that is best after a stall's length goes on, and is halved wherever it stalls.

    It ends when two halvings in a row brought nothing; ``options.points`` is not read. The trial's schedule names the
    steps after which the rate was halved: ``plateau(40,85)`` has half of the rate from step 41 on and a quarter from
    step 86 on.
    """
    stall = replace(options, patience=max(1, options.patience // STALL))
    runners = [begin(fits, number, rate) for number, rate in enumerate(_starts(stall))]
    advance(fits, runners, min(stall.patience, options.budget.steps or stall.patience), stall)
    if (first := _first(runners)) is not None:
        _pass_over(runners, first)
        _descend(fits, first, _left(runners, stall))
    told: list[tuple[Trial, int]] = []
    for runner in runners:
        leader.add(told, found(fits, runner, options), fits)
    return told


def _starts(options: SearchOptions) -> list[float]:
    """Largest first, from wall to wall; fewer where a budget has no room for all."""
    space, budget = options.space, options.budget
    most = math.ceil(math.log10(space.high / space.low) - 1e-9) + 1
    if budget.steps is not None:
        most = min(most, max(1, int(SHARE * budget.steps / options.patience)))
    return rates(space, min(most, budget.fits or most))


def _first(runners: Sequence[Runner]) -> Runner | None:
    return min(running(runners), key=lambda runner: (runner.lowest, -runner.rate), default=None)


def _pass_over(runners: Sequence[Runner], first: Runner) -> None:
    for runner in running(runners):
        if runner is not first:
            runner.end("pruned", f"behind trial {first.number} after {runner.trained} steps")


def _left(runners: Sequence[Runner], options: SearchOptions) -> SearchOptions:
    """The same limits for the one that goes on, which may have all that a budget leaves."""
    if options.budget.steps is None:
        return options
    others = sum(runner.trained for runner in runners if runner.state is not None)
    return replace(options, max_steps=min(options.max_steps, options.budget.steps - others))


def _descend(fits: Fits, runner: Runner, options: SearchOptions) -> None:
    halved: list[int] = []
    advance(fits, [runner], options.max_steps, options)
    while _worth_halving(runner, halved, options):
        halved.append(runner.trained)
        runner.schedule = f"plateau({','.join(map(str, halved))})"
        runner.since, runner.state = runner.trained, None
        fits.set_rate(runner.handle, runner.rate / 2 ** len(halved))
        advance(fits, [runner], options.max_steps, options)


def _worth_halving(runner: Runner, halved: Sequence[int], options: SearchOptions) -> bool:
    """Whether it has stalled, the halvings before brought something, and another one is allowed."""
    stalled = runner.state == "complete" and runner.trained >= max(runner.steps, runner.since) + options.patience
    fruitless = sum(step >= runner.steps for step in halved)
    room = len(halved) < MOST and runner.rate / 2 ** (len(halved) + 1) >= options.space.low
    return stalled and fruitless < FRUITLESS and room and runner.trained < options.max_steps
