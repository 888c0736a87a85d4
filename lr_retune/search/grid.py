"""Which rates are tried when nothing is learned on the way: a grid, random draws, one rate."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lr_retune.records import Fits, Range, SearchOptions, Trial
from lr_retune.search import budget, leader
from lr_retune.search.ahead import known
from lr_retune.search.early_stop import fit


def grid(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    """``points`` rates spread evenly over the space, both ends included; large and cheap ones first.

    >>> rates(Range(0.01, 0.3), 4)
    [0.3, 0.0965489, 0.0310723, 0.01]
    """
    return _try_all(fits, rates(options.space, options.points), options)


def random(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    """``points`` rates drawn evenly over the space from ``seed``, in the order of the draw."""
    places = np.random.default_rng(options.seed).uniform(size=options.points)
    return _try_all(fits, [rate_at(options.space, float(place)) for place in places], options)


def fixed(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    """One fit at the middle of the space: with low = high exactly the rate that the user wants."""
    return _try_all(fits, [rate_at(options.space, 0.5)], options)


def rates(space: Range, points: int) -> list[float]:
    """Evenly spaced rates, largest first; one point, or a space of one rate, is the middle."""
    if points == 1 or space.low == space.high:
        return [rate_at(space, 0.5)]
    return [rate_at(space, float(place)) for place in np.linspace(1, 0, points)]


def rate_at(space: Range, place: float) -> float:
    """The rate at a share of the (log) width, to six digits: the last bits of pow() differ between machines."""
    raw = space.low * (space.high / space.low) ** place if space.log else space.low + place * (space.high - space.low)
    return min(max(float(f"{raw:.6g}"), space.low), space.high)


def _try_all(fits: Fits, wanted: Iterable[float], options: SearchOptions) -> list[tuple[Trial, int]]:
    """Fit one rate after the other; a rate that is asked for twice is fitted once."""
    found: list[tuple[Trial, int]] = []
    asked = list(enumerate(dict.fromkeys(wanted)))
    options = known(asked[: options.budget.fits], options)
    for number, rate in asked:
        if budget.spent(found, options):
            break
        leader.add(found, fit(fits, rate, number, budget.left(found, options)), fits)
    return found
