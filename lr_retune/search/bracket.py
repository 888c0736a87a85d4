"""Which rates are tried when each fit tells where to look next: two, then wherever a fit promises most for its price.

For boosted trees, and any family whose fits are comparable at equal progress, rate x step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import NamedTuple

from lr_retune.records import Effort, Fits, Range, SearchOptions, Trial
from lr_retune.search import budget
from lr_retune.search.attempts import Attempts, Found
from lr_retune.search.choose import best
from lr_retune.search.estimate import behind, lowest

START = (0.15, 0.07)  # large and cheap first
STEP = START[0] / START[1]  # how far apart rates are until the search looks in between
NARROW = 1.35  # rates closer than that are not parted further


class Limit(NamedTuple):
    """How far a search goes."""

    fits: int
    worth: float  # share of the loss that a fit as dear as one of rate .07 must promise to gain
    cheap_first: bool = True  # else a start that more often leads, so that the second is pruned


LIMITS: dict[Effort, Limit] = {
    "fast": Limit(4, 0.001, cheap_first=False),
    "balanced": Limit(10, 0.001),
    "thorough": Limit(14, 0.0003),
}
FOR_AVERAGE = 5  # fits, where the average of a few is asked for: none leads alone, so the search ends earlier


def bracket(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    """Two rates, wider by the same ratio while an edge leads by more than luck, then where a fit promises enough.

    A fit that cannot catch up with the leader is pruned, by its curve; the leader is the best by ``options.loss``.
    ``options.points`` is not read. Earlier searches say which rate goes first.
    """
    space, limit = options.space, _limit(options)
    search = Attempts(fits, options)
    ahead = _ordered(start(space), options.earlier, limit)
    while len(search.found) < limit.fits and not budget.spent(search.found, options):
        rate = ahead.pop(0) if ahead else _next(search, space, limit.worth)
        if rate is None:
            break
        search.attempt(rate)
    return search.found


def _limit(options: SearchOptions) -> Limit:
    limit = LIMITS[options.effort]
    return limit._replace(fits=min(limit.fits, FOR_AVERAGE)) if options.answer == "average" else limit


def _next(search: Attempts, space: Range, worth: float) -> float | None:
    further = _beyond(search.found, space, max(search.noise, worth))
    return _promising(search, space, worth) if further is None else further


def start(space: Range) -> list[float]:
    """The first rates: as measured, moved into a space that does not hold them, or the ends of a narrower one.

    >>> start(Range(0.01, 0.3)), start(Range(0.08, 0.4)), start(Range(0.1, 0.2)), start(Range(0.1, 0.1))
    ([0.15, 0.07], [0.171429, 0.08], [0.2, 0.1], [0.1])
    """
    top, bottom = START
    if space.high / space.low <= STEP:
        return list(dict.fromkeys((space.high, space.low)))
    moved = min(1.0, space.high / top) * max(1.0, space.low / bottom)
    return [_held(top * moved, space), _held(bottom * moved, space)]


def _held(rate: float, space: Range) -> float:
    """Six digits, as the last bits of a root differ between machines, and within the walls."""
    return min(max(float(f"{rate:.6g}"), space.low), space.high)


def _ordered(rates: Sequence[float], earlier: Sequence[Sequence[Trial]], limit: Limit) -> list[float]:
    """The rate that the last search says will lead goes first, as what follows a leader is pruned early."""
    last = next((first for search in reversed(earlier) if (first := lowest(search))), None)
    if last is None:
        return list(rates) if limit.cheap_first else list(rates)[::-1]
    return sorted(rates, key=lambda rate: (abs(math.log(rate / last.learning_rate)), -rate))


# ── where to look next ────────────────────────────────────────────────────────────────────────────
def _beyond(found: Found, space: Range, clear: float) -> float | None:
    """The next rate outwards, where an edge leads all others by more than ``clear`` and no wall forbids."""
    edge = _edge(found, clear)
    if edge is None:
        return None
    old = edge.learning_rate
    rate = _held(old * STEP if edge is _by_rate(found)[-1] else old / STEP, space)
    return rate if rate != old else None


def _edge(found: Found, clear: float) -> Trial | None:
    """The largest or smallest rate tried, if it leads clearly, or if all is lost but something may lie beyond it."""
    rates, first = _by_rate(found), best(found)
    if first is None:
        lost = ((rates[-1], "starved"), (rates[0], "diverged"))
        return next((trial for trial, state in lost if trial.state == state), None)
    others = [back for trial in rates if trial is not first[0] and (back := behind(trial, first[0])) is not None]
    return first[0] if min(others, default=math.inf) > clear and first[0] in (rates[0], rates[-1]) else None


def _by_rate(found: Found) -> list[Trial]:
    return sorted((trial for trial, _ in found), key=lambda trial: trial.learning_rate)


def _promising(search: Attempts, space: Range, worth: float) -> float | None:
    """The rate between or beside those tried whose fit promises most for its rounds; None where none is worth it."""
    first = best(search.found)
    if first is None:
        return None
    noise, patience = search.noise, search.options.patience
    progress = first[0].learning_rate * first[0].steps
    unit = progress / START[1] + patience  # rounds of a fit of rate .07
    offers = [
        (_gain(back, noise) * unit / (progress / rate + patience), rate)
        for rate, back in _open(_by_rate(search.found), first[0], space)
    ]
    gain, rate = max(offers, default=(0.0, 0.0))
    return rate if gain >= worth else None


def _gain(back: float, noise: float) -> float:
    """Expected gain on the leader of a fit whose loss is expected ``back`` behind it, give or take ``noise``."""
    usual = NormalDist()
    z = -back / noise
    return noise * (z * usual.cdf(z) + usual.pdf(z))


def _open(trials: Sequence[Trial], first: Trial, space: Range) -> Iterator[tuple[float, float]]:
    """Rates that may be tried, and how far behind the leader they are expected: as their neighbours on average."""
    known = [(trial.learning_rate, back) for trial in trials if (back := behind(trial, first)) is not None]
    (lowest_rate, left), (highest_rate, right) = known[0], known[-1]
    offers = [(math.sqrt(a * b), (left + right) / 2) for (a, left), (b, right) in pairwise(known) if b / a >= NARROW]
    offers += [(lowest_rate / STEP, left), (highest_rate * STEP, right)]
    tried = [trial.learning_rate for trial in trials]
    yield from ((held, back) for rate, back in offers if (held := _held(rate, space)) not in tried)
