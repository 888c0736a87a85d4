"""When a fit has had enough: patience, the cap, divergence, a bar it fails to clear."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lr_retune import schedules
from lr_retune.errors import RetuneError
from lr_retune.records import Cost, Fits, Role, SearchOptions, Trial, TrialState

NO_FIT = -1  # handle of a trial whose fit never began
# Libraries answer a far too large rate with finite nonsense (1e12 coefficients, -1e40 predictions), so a
# fit counts as diverged when its best loss is this share above what the best constant scores. Less would call a
# healthy rate diverged where valid is another world than train.
DIVERGED = 1.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A fit ends after ``step`` steps, as pruned, if its best loss until then lies above ``loss``."""

    step: int
    loss: float  # curve loss on valid
    note: str


def fit(
    fits: Fits,
    learning_rate: float,
    number: int,
    options: SearchOptions,
    *,
    role: Role = "candidate",
    bars: Sequence[Bar] = (),
    schedule: str = "constant",
) -> tuple[Trial, int]:
    """Train one rate until ``patience`` steps brought no lower loss, the cap is reached, or a bar is not cleared.

    Never trains past the stopping step, whatever the family does per call, so the counted work is exact.

    Parameters
    ----------
    fits
        Live fits; one is added.
    learning_rate
        The rate, or what its schedule starts from.
    number
        The trial's number, unique within the search.
    options
        Cap, patience and the user's loss.
    role
        Which column of the report the trial belongs to.
    bars
        What the fit must have reached by when; none: it is never pruned.
    schedule
        How the rate changes over the fit.

    Returns
    -------
    tuple of Trial and int
        The trial and its handle (``NO_FIT`` if it never began). Only a complete trial has a loss: a starved
        or pruned one would look bad for want of steps, not for its rate.
    """
    handle, curve, trained = NO_FIT, np.empty(0), 0
    if (known := options.recall(number, learning_rate, schedule, role)) is not None:
        options.progress(known)
        return known, fits.add(learning_rate, schedule) if known.state == "complete" else NO_FIT
    try:
        handle = fits.add(learning_rate, schedule)
        options = replace(options, patience=schedules.patience(schedule, options.patience))
        curve, ended, missed = _train(fits, handle, options, bars)
        trained = len(curve)
        ended = ended or trained == schedules.end(schedule)
        curve, state, note = _state(curve, ended, fits.baseline, options, missed)
        steps = int(np.argmin(curve)) + 1 if len(curve) else 0
        loss = options.loss(fits.score(handle, steps)) if state == "complete" else None
        if loss is not None and not math.isfinite(loss):
            loss, state, note = None, "failed", "the metric on valid is not a finite number: check valid's labels"
    except RetuneError as error:
        loss, steps, state, note = None, 0, "failed", str(error)
    cost = Cost(fits=1, steps=trained, row_steps=trained * fits.train_rows)
    found = tuple(float(value) for value in curve)
    trial = Trial(number, role, learning_rate, schedule, loss, steps, state, found, cost, note)
    options.remember(trial)
    options.progress(trial)
    return trial, handle


def _train(fits: Fits, handle: int, options: SearchOptions, bars: Sequence[Bar]) -> tuple[np.ndarray, bool, Bar | None]:
    """Curve up to the stopping step, whether the family itself could not go on, and the bar that was not cleared."""
    parts: list[np.ndarray] = [np.empty(0)]
    done, best, best_step = 0, math.inf, 0
    # The earliest step at which patience can run out, or the next bar, bounds each call: training never overshoots.
    while (room := min(options.max_steps, best_step + options.patience, *_ahead(bars, done)) - done) > 0:
        part = np.asarray(fits.advance([handle], room)[0], dtype=np.float64)
        parts.append(part)
        if len(part) < room or not np.isfinite(part).all():
            return np.concatenate(parts), len(part) < room, None
        low = int(np.argmin(part))
        if part[low] < best:
            best, best_step = float(part[low]), done + low + 1
        done += len(part)
        if missed := next((bar for bar in bars if bar.step == done and best > bar.loss), None):
            return np.concatenate(parts), False, missed
    return np.concatenate(parts), False, None


def _ahead(bars: Sequence[Bar], done: int) -> list[int]:
    return [bar.step for bar in bars if bar.step > done]


def _state(
    curve: np.ndarray, ended: bool, baseline: float, options: SearchOptions, missed: Bar | None
) -> tuple[np.ndarray, TrialState, str]:
    """The finite part of the curve, what became of the fit, and why."""
    if not len(curve):
        return curve, "failed", "not one step could be taken: the rows give nothing to learn"
    if len(bad := np.flatnonzero(~np.isfinite(curve))):
        return curve[: bad[0]], "diverged", f"the loss is not finite from step {bad[0] + 1} on"
    best = int(np.argmin(curve))
    if missed is None and not ended and len(curve) - best - 1 < options.patience:
        return curve, "starved", starved(len(curve))
    if note := far_above(curve[best], baseline):
        return curve, "diverged", note
    return (curve, "complete", "") if missed is None else (curve, "pruned", missed.note)


def far_above(loss: float, baseline: float) -> str:
    """Why a loss is finite nonsense: it lies far above the best constant's; empty where it does not."""
    if not (math.isfinite(baseline) and loss > baseline + DIVERGED * abs(baseline)):
        return ""
    return f"its best loss {loss:.6g} is far above the best constant's {baseline:.6g}"


def starved(steps: int) -> str:
    """Why a fit that came to the cap has no loss."""
    return f"still improving after {steps} steps: raise max_steps"
