"""Which rate a range test suggests: the rate rises from wall to wall within one fit, and the loss is watched.

A range test (Smith 2017, arXiv:1506.01186) is a picture and a bracket, no search: how far the loss has fallen at a rate
depends on how fast the rate rose. So there are three sweeps of different speeds, the band spans what they say, and what
is suggested is then fitted like any other rate. For trees the suggestion says more about the sweep than about the rate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lr_retune.records import Fits, Range, SearchOptions, Trial
from lr_retune.search import leader
from lr_retune.search.budget import left, spent
from lr_retune.search.early_stop import NO_FIT, far_above, fit
from lr_retune.search.grid import rates
from lr_retune.search.runner import Runner, advance, begin, found

SPEEDS = (0.4, 0.6, 0.8)  # steps per decade of each sweep, as shares of the patience
LEAST = 8  # steps of a sweep
SHARE = 0.5  # of a budget's steps that the sweeps may take
FALL = 0.5  # share of a sweep's whole fall at which its rate is read: about where it is steepest, and less shaky
SURE = 2.0  # standard deviations of the noise: the band on either side of it
SEEN = 6.0  # standard deviations that a fall must exceed: the first loss and the lowest of many are noise too
FLAT = 0.001  # share of the first loss that it must exceed as well
_NAME = re.compile(r"range\(([^,()]+),([^,()]+)\)")


@dataclass(frozen=True, slots=True)
class Reading:
    """Where the loss of one sweep has fallen half of its way: the rate, and the band that the curve's noise leaves."""

    low: float
    rate: float
    high: float


def range_test(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    """Three sweeps through the space, and an ordinary fit of the rate that they suggest; none where most are flat.

    ``options.points`` is not read. A sweep is a pruned trial named ``range(low,high)``: its rate rose geometrically
    from ``low`` to ``high`` over the steps of its curve; its ``learning_rate`` is what it alone suggests.
    """
    sweeps = _sweeps(fits, options)
    _rise(fits, sweeps, options)
    read = [reading(sweep.rates, sweep.runner.curve) for sweep in sweeps]
    told = [_told(fits, sweep, seen, options) for sweep, seen in zip(sweeps, read, strict=True)]
    known = [seen for seen in read if seen is not None]
    if (sweeps and 2 * len(known) <= len(sweeps)) or spent(told, options):
        return told
    rate, note = _suggestion(known, options.space)
    trial, handle = fit(fits, rate, len(told), left(told, options))
    leader.add(told, (replace(trial, note="; ".join(filter(None, (note, trial.note)))), handle), fits)
    return told


def reading(rates: Sequence[float] | np.ndarray, curve: Sequence[float]) -> Reading | None:
    """What a sweep says; None where its loss falls by no more than its noise, or not at all.

    Parameters
    ----------
    rates
        Rising, one per step; at least as many as losses.
    curve
        Loss after each step.

    Examples
    --------
    >>> rates = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2]
    >>> reading(rates, [1.0, 1.0, 1.0, 0.9, 0.2, 0.2, 0.2, 0.3])
    Reading(low=0.01, rate=0.02, high=0.02)
    >>> reading(rates, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]) is None
    True
    """
    losses = np.asarray(curve)
    if len(losses) < 3:
        return None
    bottom = int(np.argmin(losses))
    fall, noise = float(losses[0] - losses[bottom]), _noise(losses)
    if fall <= max(FLAT * abs(losses[0]), SEEN * noise):
        return None
    target = losses[0] - FALL * fall
    early, place, late = (_first(losses[: bottom + 1], target + sd * noise) for sd in (SURE, 0.0, -SURE))
    return Reading(
        float(rates[max(0, early - 1)]), float(rates[place]), float(rates[late])
    )  # it fell between two steps


def swept(trials: Sequence[Trial]) -> list[tuple[np.ndarray, np.ndarray, Reading | None]]:
    """The sweeps among trials, for a picture: rates and losses, each of shape ``(steps,)``, and what they say."""
    found = []
    for trial in trials:
        if (named := _NAME.fullmatch(trial.schedule)) and trial.curve:
            risen = _risen(float(named[1]), float(named[2]), len(trial.curve))
            found.append((risen, np.array(trial.curve), reading(risen, trial.curve)))
    return found


def _risen(low: float, high: float, steps: int) -> np.ndarray:
    """A geometric rise from wall to wall; six digits each, as the last bits of a power differ between machines."""
    return np.array(rates(Range(low, high), steps)[::-1])


def _first(losses: np.ndarray, level: float) -> int:
    """The first step at or below a level; the last step, which is the lowest, where none is."""
    below = np.flatnonzero(losses <= level)
    return int(below[0]) if len(below) else len(losses) - 1


def _noise(losses: np.ndarray) -> float:
    """Standard deviation of single losses, from the median of second differences: a trend adds little to it."""
    bends = np.abs(np.diff(losses, 2))
    return float(np.median(bends)) * 1.4826 / math.sqrt(6)


@dataclass(slots=True)
class _Sweep:
    runner: Runner
    rates: np.ndarray  # one per step


def _sweeps(fits: Fits, options: SearchOptions) -> list[_Sweep]:
    """Sweeps that begin; none where there is one rate only, or a budget too small to test and fit."""
    low, high = options.space.low, options.space.high
    decades = math.log10(high / low)
    lengths = [min(options.max_steps, max(LEAST, round(speed * decades * options.patience))) for speed in SPEEDS]
    if options.budget.fits is not None:
        lengths = lengths[: options.budget.fits - 1]
    if low == high or (options.budget.steps is not None and sum(lengths) > SHARE * options.budget.steps):
        lengths = []
    return [_Sweep(begin(fits, i, low), _risen(low, high, steps)) for i, steps in enumerate(lengths)]


def _rise(fits: Fits, sweeps: Sequence[_Sweep], options: SearchOptions) -> None:
    """Train all sweeps, each at its own rate, until the walls; one that blows up ends there."""
    endless = replace(options, patience=options.max_steps + 1)
    for step in range(max((len(sweep.rates) for sweep in sweeps), default=0)):
        rising = [s for s in sweeps if s.runner.state is None and step < len(s.rates)]
        for sweep in rising:
            fits.set_rate(sweep.runner.handle, float(sweep.rates[step]))
        advance(fits, [sweep.runner for sweep in rising], step + 1, endless)
        for sweep in rising:
            if sweep.runner.state is None and far_above(sweep.runner.curve[-1], fits.baseline):
                sweep.runner.end("pruned")


def _told(fits: Fits, sweep: _Sweep, seen: Reading | None, options: SearchOptions) -> tuple[Trial, int]:
    """A sweep as a trial that nothing ranks."""
    runner = sweep.runner
    if runner.state != "failed" and runner.curve:
        runner.end("pruned", _words(seen))
        runner.rate = runner.rate if seen is None else seen.rate
        runner.schedule = f"range({sweep.rates[0]:.6g},{sweep.rates[len(runner.curve) - 1]:.6g})"
    trial, handle = found(fits, runner, options)
    if handle != NO_FIT:
        fits.drop(handle)
    return trial, handle


def _words(seen: Reading | None) -> str:
    if seen is None:
        return "range test: flat, no rate brings the loss down by more than its noise: keep the old rate"
    return f"range test: suggests {seen.rate:.4g}, band {seen.low:.4g} to {seen.high:.4g}"


def _suggestion(known: Sequence[Reading], space: Range) -> tuple[float, str]:
    """The middle of the sweeps, or of the space where none was made."""
    if not known:
        return rates(space, 1)[0], ""
    rate = sorted(seen.rate for seen in known)[(len(known) - 1) // 2]
    low, high = min(seen.low for seen in known), max(seen.high for seen in known)
    return rate, f"suggested by a range test, band {low:.4g} to {high:.4g}: a bracket, no search"
