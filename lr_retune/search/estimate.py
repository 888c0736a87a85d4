"""What the trials of a search say together: how rough the curve over the rate is, and which rate lies low in truth.

A loss on valid is the curve's height plus luck, and the lowest of several has the most luck. So each trial counts for
what it lost and, more, for what a smooth curve through all of them says at its rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from lr_retune.records import Answer, Estimate, Trial

Point = tuple[float, float]  # log rate, share of the best loss by which the trial lies behind it

NOISE = 0.006  # usual standard deviation of a trial around the curve, share of the loss: median over eleven sets
BLOCKS = 20  # of consecutive rows: rows that follow each other err together
BAND = 0.10  # share of the loss: what lies further behind is beyond a cliff and says nothing about the bottom
STIFF = 0.1, 0.2  # ridge on slope and bend: few points bend a curve little
SMOOTH = 0.6  # weight of the curve against the trial's own loss
LUCK = 1.0  # standard deviations of the noise by which a trial may lie behind and be taken for what the curve says
SAME = 0.1  # standard deviations of the noise within which the fit of fewer steps wins anyway
TIED = 2.0  # standard deviations of the noise within which a trial cannot be told from the lowest
HALF = 0.5  # of the leader's progress: a fit that was ended earlier is no point of the curve
MEMORY = 0.5  # weight of an earlier search against the one after it


def estimate(
    trials: Sequence[Trial],
    earlier: Sequence[Sequence[Trial]] = (),
    answer: Answer = "rate",
    noise: float | None = None,
    *,
    steps_are_served: bool = True,
) -> Estimate | None:
    """Which complete trial is best on later rows, as far as valid can tell; None if none is complete.

    Parameters
    ----------
    trials
        Of one search. Pruned ones shape the curve but are never taken; starved, diverged and failed ones do neither.
    earlier
        Trials of earlier searches of this model, oldest first: they tell the curve's form.
    answer
        ``cheap_to_serve`` takes the fewest steps among all that are statistically tied.
    noise
        Measured by `relative_error`; None: `roughness`.
    steps_are_served
        False: the lowest loss is taken. Nothing is saved by fewer steps, and the curve of gradient descent is steep
        on one side, where a smooth one misleads.
    """
    first = lowest(trials)
    if first is None:
        return None
    near = _near(trials, first)
    past = [found for search in earlier if (found := _points(search))]
    heights = _smooth(_points(trials), past, math.log(first.learning_rate))
    noise = roughness(trials) if noise is None else noise
    zone = [(trial, back) for trial, back in near if trial.state == "complete" and back <= TIED * noise]
    taken, back = _taken(zone, heights, noise, answer) if steps_are_served else (first, 0.0)
    rates = [trial.learning_rate for trial, _ in zone]
    return Estimate(
        number=taken.number,
        noise=noise,
        low=min(rates),
        high=max(rates),
        curve=tuple((t.learning_rate, heights[math.log(t.learning_rate)]) for t, _ in near),
        earlier=_weight(past, len(near)),
        reason=_reason(taken, first, back, noise, rates),
    )


def _taken(
    zone: Sequence[tuple[Trial, float]], heights: Mapping[float, float], noise: float, answer: Answer
) -> tuple[Trial, float]:
    """The tied trial of the lowest height, or the one of the fewest steps."""
    if answer == "cheap_to_serve":
        return min(zone, key=lambda each: (each[0].steps, each[1], each[0].number))
    score = {t.number: SMOOTH * heights[math.log(t.learning_rate)] + (1 - SMOOTH) * back for t, back in zone}
    lucky = [(trial, back) for trial, back in zone if back <= LUCK * noise]
    limit = min(score[trial.number] for trial, _ in lucky) + SAME * noise
    same = [(trial, back) for trial, back in lucky if score[trial.number] <= limit]
    return min(same, key=lambda each: (each[0].steps, score[each[0].number], each[0].number))


def relative_error(loss: Callable[[np.ndarray], float], one: np.ndarray, other: np.ndarray) -> float | None:
    """Standard error of the difference of two fits' losses on valid, as a share of the loss; None if there is none.

    Rates next to each other scatter around the curve by about as much, and two fits are enough to tell it.

    Parameters
    ----------
    loss
        Scores of all valid rows → the user's metric as a loss.
    one, other
        Scores of the same rows in order of time, shape ``(n,)``.
    """
    blocks = min(BLOCKS, len(one))
    if blocks < 2:
        return None
    base, parts = loss(other), []
    for start, end in pairwise(np.linspace(0, len(one), blocks + 1).astype(int)):
        mixed = other.copy()
        mixed[start:end] = one[start:end]
        parts.append(loss(mixed) - base)
    error = math.sqrt(blocks * float(np.var(parts, ddof=1)))
    return error / abs(base) if base and math.isfinite(error) and error > 0 else None


def roughness(trials: Sequence[Trial]) -> float:
    """Standard deviation of a trial around the curve over the rate, as a share of the best loss.

    A trial above the line between its neighbours is noise; one below may be the valley itself, so it does not count.
    What is usual stands in for the first such trial.
    """
    bumps = _bumps(_points(trials))
    # of a symmetric noise only one half is seen, so each bump stands for two
    return math.sqrt((NOISE**2 + sum(2 * max(0.0, bump) ** 2 for bump in bumps)) / (1 + len(bumps)))


def lowest(trials: Sequence[Trial]) -> Trial | None:
    """The complete trial of the lowest loss."""
    return min((t for t in trials if t.state == "complete" and t.loss is not None), key=order, default=None)


def order(trial: Trial) -> tuple[float, float, int]:
    """By loss; a tie goes to the larger rate."""
    assert trial.loss is not None
    return trial.loss, -trial.learning_rate, trial.number


def behind(trial: Trial, first: Trial) -> float | None:
    """Share of the leader's loss by which a trial lies behind it; None where the trial cannot tell.

    A pruned fit is compared where it was ended, at equal progress (rate x step), if it had come half of the way.
    """
    if trial.state == "complete" and trial.loss is not None and first.loss is not None:
        return _share(trial.loss, first.loss)
    if trial.state != "pruned" or not trial.curve or not first.curve:
        return None
    progress = trial.learning_rate * len(trial.curve) / (first.learning_rate * first.steps)
    if progress < HALF:
        return None
    step = min(max(1, int(progress * first.steps)), len(first.curve))
    return max(0.0, _share(min(trial.curve), min(first.curve[:step])))


def _share(loss: float, least: float) -> float:
    return (loss - least) / abs(least) if least else loss


def _near(trials: Sequence[Trial], first: Trial) -> list[tuple[Trial, float]]:
    """Trials that tell of the curve near its bottom, by rate; another schedule is another curve."""
    told = [(t, back) for t in trials if t.schedule == first.schedule and (back := behind(t, first)) is not None]
    return sorted(((t, back) for t, back in told if back <= BAND), key=lambda each: each[0].learning_rate)


def _points(trials: Sequence[Trial]) -> list[Point]:
    """The same as points of a curve."""
    first = lowest(trials)
    return [] if first is None else [(math.log(t.learning_rate), back) for t, back in _near(trials, first)]


def _weight(past: Sequence[Sequence[Point]], now: int) -> float:
    weights = sum(len(search) * MEMORY ** (1 + age) for age, search in enumerate(reversed(past)))
    return weights / (weights + now)


def _bumps(points: Sequence[Point]) -> list[float]:
    """By how much each inner point lies above its neighbours' line, in units of one point's noise."""
    found = []
    for (a, left), (b, middle), (c, right) in zip(points, points[1:], points[2:], strict=False):
        if a == c:  # one rate, tried three times
            continue
        near = (b - a) / (c - a)
        line = (1 - near) * left + near * right
        found.append((middle - line) / math.sqrt(1 + near**2 + (1 - near) ** 2))
    return found


def _smooth(points: Sequence[Point], earlier: Sequence[Sequence[Point]], origin: float) -> dict[float, float]:
    """Height by log rate of a stiff parabola; each search has a level of its own."""
    if len(points) < 3:
        return dict(points)
    searches = [points, *reversed(earlier)]
    weights = [MEMORY ** (age / 2) for age in range(len(searches))]  # of residuals, so their squares weigh MEMORY**age
    terms = [_terms(search, origin) for search in searches]
    losses = [np.array([back for _, back in search]) for search in searches]
    design = np.concatenate([w * (x - x.mean(axis=0)) for w, x in zip(weights, terms, strict=True)])
    target = np.concatenate([w * (y - y.mean()) for w, y in zip(weights, losses, strict=True)])
    form = np.linalg.solve(design.T @ design + np.diag(STIFF), design.T @ target)
    heights = losses[0].mean() + (terms[0] - terms[0].mean(axis=0)) @ form
    return {rate: float(height) for (rate, _), height in zip(points, heights, strict=True)}


def _terms(points: Sequence[Point], origin: float) -> np.ndarray:
    return np.array([[rate - origin, (rate - origin) ** 2] for rate, _ in points])


def _reason(taken: Trial, first: Trial, back: float, noise: float, zone: Sequence[float]) -> str:
    noisy = f"luck alone moves a loss by about {noise:.1%}, up to {TIED:g} times that counts as tied"
    tied = ", ".join(dict.fromkeys(f"{rate:.4g}" for rate in sorted(zone) if rate != taken.learning_rate))
    told = f"tied with it: {tied}" if tied else "no other is tied with it"
    if taken.number == first.number:
        return f"rate {taken.learning_rate:.4g} is the lowest on valid of those tried; {told} ({noisy})"
    why = "takes fewer steps" if taken.steps < first.steps else "is the lower one by its neighbours"
    rates = f"rate {taken.learning_rate:.4g} is {back:.2%} behind rate {first.learning_rate:.4g} on valid"
    return f"{rates} but {why}; {told} ({noisy})"
