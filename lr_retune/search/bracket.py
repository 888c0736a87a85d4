"""Which rates are tried when each fit tells where to look next: three, wider while an edge wins, one in between.

For boosted trees, and any family whose fits are comparable at equal progress, rate x step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from lr_retune.records import Fits, Range, SearchOptions, Trial
from lr_retune.search import leader
from lr_retune.search.choose import best
from lr_retune.search.early_stop import Bar, fit

CORE = (0.15, 0.07, 0.033)  # large and cheap first
FLOOR, CAP = 0.004, 0.4
MOST_FITS = 7
CLEAR = 0.002  # share of the loss by which an edge must lead before the search goes on beyond it
WORSE = 0.01  # share of the loss by which a fit may lie behind the leader at equal progress
LOOKS = (0.7, 0.8, 0.9, 1.0)  # shares of the leader's progress at its optimum at which the two are compared
PATIENT = 2.0  # times that progress a fit may take to lead

Found = list[tuple[Trial, int]]


def bracket(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    """Three rates, wider by the same ratio while an edge wins clearly, then one beside the winner.

    A fit that cannot catch up with the leader is pruned, by its curve; the leader is the best by ``options.loss``.
    ``options.points`` is not read.
    """
    space = _walls(options.space)
    found: Found = []
    for rate in core(space):
        _try(fits, rate, found, options)
    while len(found) < MOST_FITS and (further := _beyond(found, space)) is not None:
        _try(fits, further, found, options)
    if len(found) < MOST_FITS and (middle := _between(found, space)) is not None:
        _try(fits, middle, found, options)
    return found


def core(space: Range) -> list[float]:
    """The first three rates: as measured, moved into a space that does not hold them, spread over a narrower one.

    >>> core(Range(0.01, 0.3)), core(Range(0.08, 0.4)), core(Range(0.1, 0.2)), core(Range(0.1, 0.1))
    ([0.15, 0.07, 0.033], [0.363636, 0.169697, 0.08], [0.2, 0.141421, 0.1], [0.1])
    """
    top, bottom = CORE[0], CORE[-1]
    if space.low <= bottom and top <= space.high:
        return list(CORE)
    if space.high / space.low <= top / bottom:
        wanted = [space.high, math.sqrt(space.low * space.high), space.low]
    else:
        moved = space.high / top if top > space.high else space.low / bottom
        wanted = [rate * moved for rate in CORE]
    return list(dict.fromkeys(_held(rate, space) for rate in wanted))


def _walls(space: Range) -> Range:
    """The space without rates that trees never want, unless the user wants no others."""
    low, high = max(space.low, FLOOR), min(space.high, CAP)
    return Range(low, high) if low <= high else space


def _held(rate: float, space: Range) -> float:
    """Six digits, as the last bits of a root differ between machines, and within the walls."""
    return min(max(float(f"{rate:.6g}"), space.low), space.high)


def _try(fits: Fits, rate: float, found: Found, options: SearchOptions) -> None:
    first = best(found)
    bars = [] if first is None else list(_bars(first[0], rate))
    leader.add(found, fit(fits, rate, len(found), options, bars=bars), fits)


def _bars(first: Trial, rate: float) -> Iterator[Bar]:
    """What a fit must reach to stay in a race with the leader, whose curve is known."""
    lowest = np.minimum.accumulate(first.curve)
    optimum = first.learning_rate * first.steps  # progress
    for share in LOOKS:
        loss = float(lowest[max(1, int(share * first.steps)) - 1])
        note = f"{WORSE:.0%} behind trial {first.number} at equal progress"
        yield Bar(math.ceil(share * optimum / rate), loss + WORSE * abs(loss), note)
    note = f"no gain on trial {first.number} at {PATIENT:g} times the progress of its optimum"
    yield Bar(math.ceil(PATIENT * optimum / rate), float(lowest[-1]), note)


def _beyond(found: Found, space: Range) -> float | None:
    """The next rate outwards, where an edge leads all others clearly and no wall forbids."""
    edge = _edge(found)
    if edge is None:
        return None
    ratio, old = CORE[0] / CORE[1], edge.learning_rate
    rate = _held(old * ratio if edge is _by_rate(found)[-1] else old / ratio, space)
    return rate if rate != old else None


def _edge(found: Found) -> Trial | None:
    """The largest or smallest rate tried, if it leads clearly, or if all is lost but something may lie beyond it."""
    rates, first = _by_rate(found), best(found)
    if first is None:
        lost = ((rates[-1], "starved"), (rates[0], "diverged"))
        return next((trial for trial, state in lost if trial.state == state), None)
    losses = sorted(t.loss for t in rates if t.state == "complete" and t.loss is not None)
    clear = len(losses) < 2 or losses[1] - losses[0] > CLEAR * abs(losses[0])
    return first[0] if clear and first[0] in (rates[0], rates[-1]) else None


def _by_rate(found: Found) -> list[Trial]:
    return sorted((trial for trial, _ in found), key=lambda trial: trial.learning_rate)


def _between(found: Found, space: Range) -> float | None:
    """The geometric middle of the leader and that of its neighbours whose curve went lower."""
    first = best(found)
    if first is None:
        return None
    rates = _by_rate(found)
    place = rates.index(first[0])
    beside = _comparable([*rates[max(0, place - 1) : place], *rates[place + 1 : place + 2]])
    if not beside:
        return None
    neighbour = min(beside, key=lambda trial: min(trial.curve))
    rate = _held(math.sqrt(first[0].learning_rate * neighbour.learning_rate), space)
    return rate if rate not in (first[0].learning_rate, neighbour.learning_rate) else None


def _comparable(trials: Sequence[Trial]) -> list[Trial]:
    """Those whose curves say how good they are: a starved or diverged neighbour says nothing about the middle."""
    return [trial for trial in trials if trial.state in ("complete", "pruned") and trial.curve]
