"""Which rates and schedules are tried when all share each pass over the rows: many at first, fewer after epochs 1 to 8.

For linear models, and any family that advances many fits at about the price of one. First one schedule is raced over
all rates; its leader says where the others are worth a try: from its rate up, since a rate that comes down may begin
higher.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lr_retune.records import Effort, Fits, Range, SearchOptions, Trial
from lr_retune.schedules import Schedule, parse
from lr_retune.search.early_stop import NO_FIT, far_above
from lr_retune.search.grid import rates
from lr_retune.search.runner import Runner, advance, begin, running, score

DECADES = 7  # of the widest space; a wider one gets no more rates
PATIENCE = 5  # epochs; a step of most families is less than that, so the user's is often longer
TIE = 0.001  # share of the loss within which the simpler fit wins: valid cannot tell them apart, later rows could


@dataclass(frozen=True, slots=True)
class Field:
    """How many run."""

    per_decade: int  # rates
    keep: Mapping[int, int]  # epoch → fits of the first race that may go on
    later: Mapping[int, int]  # the same for further schedules together
    around: range  # where they begin, in rates above the leader's


FIELDS: Mapping[Effort, Field] = {
    "fast": Field(4, {1: 18, 2: 12, 4: 8, 8: 5}, {16: 4}, range(0, 7, 2)),
    "balanced": Field(4, {1: 20, 2: 16, 4: 12, 8: 8, 16: 4}, {16: 8}, range(-1, 9)),
    "thorough": Field(8, {2: 44, 4: 36, 8: 28, 16: 14}, {24: 24}, range(-2, 19)),
}


def race(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    """Train many rates side by side and drop the slower ones; what is left is stopped early.

    ``options.points`` is not read; patience is 5 epochs at most. Losers are dropped from memory.
    """
    ways = _ways(options)
    size = FIELDS[options.effort]
    first = str(ways[0])
    runners = [begin(fits, number, rate, options, first) for number, rate in enumerate(_first(options, size))]
    options.progress(f"{len(runners)} rates race")
    _run(fits, options, runners, _drops(ways[0], size.keep))
    leader = min((r for r in runners if r.state in (None, "complete", "starved")), key=_place, default=None)
    if leader is not None and len(ways) > 1:
        around = _around(leader.rate, options.space, size)
        wanted = [(rate, way) for way in ways[1:] for rate in (around if way.name != "optimal" else [leader.rate])]
        room = _room(options, runners)
        more = [begin(fits, n, rate, options, str(way)) for n, (rate, way) in enumerate(wanted[:room], len(runners))]
        _run(fits, options, more, size.later, sum(runner.trained for runner in runners))
        runners += more
    _settle(fits, runners, options, [str(way) for way in ways])
    found = [(runner.trial(fits.train_rows), runner.handle) for runner in runners]
    for trial, _ in found:
        options.progress(trial)
    return found


# ── the field ─────────────────────────────────────────────────────────────────────────────────────
def _ways(options: SearchOptions) -> list[Schedule]:
    """The user's schedules, one that can scout first; those that cannot come to their end are left out."""
    every = sorted(dict.fromkeys(map(parse, options.schedules)), key=lambda way: not _scouts(way))
    found = [way for way in every if way.end is None or way.end <= options.max_steps]
    for way in every:
        if way not in found:
            options.progress(f"{way} is left out: it ends after {way.end} steps, max_steps is {options.max_steps}")
    return found or every[:1]


def _scouts(way: Schedule) -> bool:
    """Whether its early curve tells which rates are good."""
    return way.horizon is None and way.name != "optimal"


def _first(options: SearchOptions, size: Field) -> list[float]:
    """Rates of the first race: even ones, and what the last search of this model found, within the budget."""
    space, most = options.space, _room(options)
    found = _rates(space, size.per_decade, most)
    known = [(t.loss, t.number, t.learning_rate) for t in (options.earlier or ((),))[-1] if t.loss is not None]
    more = [min(known)[2]] if known and (most is None or len(found) < most) else []
    return sorted({*found, *(rate for rate in more if space.low <= rate <= space.high)}, reverse=True)


def _room(options: SearchOptions, runners: Sequence[Runner] = ()) -> int | None:
    """How many fits may begin, so that a budget of steps lets each of them end; one always may."""
    fits, steps = options.budget.fits, options.budget.steps
    room = [] if fits is None else [fits - len(runners)]
    if steps is not None:
        room.append((steps - sum(runner.trained for runner in runners)) // (2 * PATIENCE))
    return max(0 if runners else 1, min(room)) if room else None


def _rates(space: Range, per_decade: int, most: int | None = None) -> list[float]:
    """Largest first; as dense in a narrow space as in the widest, and no denser.

    >>> _rates(Range(0.01, 0.1), 4), len(_rates(Range(1e-6, 10.0), 4))
    ([0.1, 0.0562341, 0.0316228, 0.0177828, 0.01], 29)
    """
    wanted = math.ceil(per_decade * math.log10(space.high / space.low) - 1e-9) + 1
    return list(dict.fromkeys(rates(space, min(wanted, per_decade * DECADES + 1, most or wanted))))


def _around(rate: float, space: Range, size: Field) -> list[float]:
    """Rates near one, inside the space; largest first."""
    steps = reversed(size.around)
    found = [float(f"{rate * 10 ** (step / size.per_decade):.6g}") if step else rate for step in steps]
    return [each for each in found if space.low <= each <= space.high]


def _drops(way: Schedule, keep: Mapping[int, int]) -> Mapping[int, int]:
    """Epochs at which the slower ones are left behind: for a rate that comes down, in the later part of its way."""
    if way.horizon is None:
        return keep
    return {math.ceil(way.horizon * (n + 2) / 6): count for n, count in enumerate(keep.values())}


# ── the race ──────────────────────────────────────────────────────────────────────────────────────
def _run(
    fits: Fits, options: SearchOptions, runners: Sequence[Runner], keep: Mapping[int, int], before: int = 0
) -> None:
    """Until all have ended, by themselves, by being left behind, at the cap, or with the budget."""
    limits = replace(options, patience=min(options.patience, PATIENCE))
    for epoch in range(1, options.max_steps + 1):
        on = running(runners)
        if not on:
            return
        if _spent(before + sum(runner.trained for runner in runners) + len(on), options):
            for runner in on:
                runner.end("starved", f"the budget of the search was spent after {runner.trained} steps")
            return
        advance(fits, on, epoch, limits)
        for runner in on:
            if runner.state == "complete" and (note := far_above(runner.lowest, fits.baseline)):
                runner.end("diverged", note)
        if epoch in keep:
            # Only fits at an equal share of their way can be compared; those of one schedule are.
            open_ended = [runner for runner in runners if parse(runner.schedule).horizon is None]
            _thin(open_ended or runners, keep[epoch], epoch, fits.baseline)
        _drop(fits, [runner for runner in on if runner.state not in (None, "complete")])


def _spent(steps: int, options: SearchOptions) -> bool:
    """Whether one more pass would go beyond the budget."""
    most, seconds = options.budget.steps, options.budget.seconds
    return (most is not None and steps > most) or (seconds is not None and options.elapsed() >= seconds)


def _place(runner: Runner) -> tuple[float, float]:
    return runner.lowest, runner.rate


def _thin(runners: Sequence[Runner], keep: int, epoch: int, baseline: float) -> None:
    """Only the first ``keep`` go on; fits that are complete take their places but lose nothing."""
    ranked = sorted((r for r in runners if r.state in (None, "complete")), key=_place)
    for place, runner in enumerate(ranked[keep:], keep + 1):
        if runner.state is not None:
            continue
        # Far above the constant a larger rate has diverged; a smaller one may merely be slow.
        if runner.rate > ranked[0].rate and (note := far_above(runner.lowest, baseline)):
            runner.end("diverged", note)
        else:
            runner.end("pruned", f"place {place} of {len(ranked)} after {epoch} epochs, {keep} went on")


# ── the winner ────────────────────────────────────────────────────────────────────────────────────
def _settle(fits: Fits, runners: Sequence[Runner], options: SearchOptions, ways: Sequence[str]) -> None:
    """Score the complete fits by the user's metric and free all but the winner's."""
    for runner in runners:
        score(fits, runner, options)
    ranked = [(runner.loss, runner) for runner in runners if runner.loss is not None]
    winner = None
    if ranked:
        lowest = min(loss for loss, _ in ranked)
        tied = [(loss, r) for loss, r in ranked if loss <= lowest + TIE * abs(lowest)]
        best, winner = min(tied, key=lambda found: (ways.index(found[1].schedule), found[1].rate))
        for loss, runner in tied:
            if runner is not winner and loss <= best:
                runner.loss = None
                simpler = "rate is smaller" if runner.schedule == winner.schedule else "schedule is simpler"
                runner.end("pruned", f"less than {TIE:.1%} better than trial {winner.number}, whose {simpler}")
    _drop(fits, [runner for runner in runners if runner is not winner])


def _drop(fits: Fits, losers: Sequence[Runner]) -> None:
    for runner in losers:
        if runner.handle != NO_FIT:
            fits.drop(runner.handle)
