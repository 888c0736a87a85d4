"""The series of a champion's losses, tick by tick, and what it proves against the promise.

Everything here is a pure function of the series: late, repeated or missed calls give the same answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime

import numpy as np

from lr_retune.config import Policy
from lr_retune.metrics import Loss
from lr_retune.records import LossEvidence, Rows, TickLoss, at, micros

_LOOK_AHEAD = 14  # ticks within which the smallest visible rise is told
_ARL = 1000.0  # ticks between two false alarms
_ROUNDING = 1e-12  # share of the largest loss
_SMALLEST_SPREAD = 1e-3  # share of the promise; real ticks vary more, and rounding must not look like a change


def tick_losses(
    rows: Rows, score: np.ndarray, loss: Loss, edges: np.ndarray, horizon: datetime | None
) -> tuple[TickLoss, ...]:
    """Loss on the labelled rows of every tick of the calendar, empty ticks too.

    Parameters
    ----------
    rows
        Rows of the watched span; those outside the edges are left out.
    score
        The champion's scores of these rows, shape ``(n,)``.
    loss
        The user's metric.
    edges
        Starts of the ticks and the end of the last, microseconds UTC, ascending, shape ``(n_ticks + 1,)``.
    horizon
        Labels are complete before it: ticks that end later are not mature. None: no tick is.
    """
    position = np.searchsorted(edges, rows.time, side="right") - 1
    inside = [position == t for t in range(len(edges) - 1)]
    mature = [horizon is not None and int(end) <= micros(horizon) for end in edges[1:]]
    return tuple(
        _tick(rows.y[which], score[which], loss, at(edges[t]), at(edges[t + 1]), mature=mature[t])
        for t, which in enumerate(inside)
    )


def _tick(y: np.ndarray, score: np.ndarray, loss: Loss, start: datetime, end: datetime, *, mature: bool) -> TickLoss:
    known = ~np.isnan(y)
    value = loss.value(y[known], score[known])
    return TickLoss(start, end, len(y), int(known.sum()), value if math.isfinite(value) else None, mature)


def spread(*series: Sequence[float]) -> float:
    """Standard deviation of one tick's loss, robust against slow change and single bad ticks.

    1.4826 median|successive difference| / √2, differences of all series pooled, none across their joints. Where
    over half of the differences are zero their root mean square stands in; NaN without any difference.

    >>> round(spread([1.0, 2.0, 1.0, 2.0, 1.0]), 4)
    1.0484
    """
    steps = np.concatenate([np.empty(0), *(np.diff(np.asarray(s, dtype=np.float64)) for s in series if len(s) > 1)])
    if not len(steps):
        return math.nan
    largest = max(abs(value) for s in series for value in s)
    steps = np.where(np.abs(steps) > _ROUNDING * largest, steps, 0.0)
    # the median of one or two differences is often near zero by luck
    robust = 1.4826 * float(np.median(np.abs(steps))) if len(steps) > 2 else 0.0
    return (robust or math.sqrt(float(np.square(steps).mean()))) / math.sqrt(2.0)


def evidence(
    ticks: Sequence[TickLoss],
    promised: float,
    promised_ticks: Sequence[float],
    policy: Policy,
    *,
    signals: int = 1,
) -> LossEvidence | None:
    """One-sided CUSUM of the mature ticks against the promise; None with fewer than two of them.

    S = max(0, S + loss - promised (1 + tolerance) - k spread), alarm where S > h spread: Page 1954. Full ticks
    count alike, so the promise they are held against is the mean of ``promised_ticks`` where there are any: the loss
    pooled over the holdout is another figure for rankings and ratios, and where ticks differ in size. ``signals``
    together share the false alarms of one: the time between these grows as exp(2 k h), so h rises by
    ln(signals) / (2 k).
    """
    series = [(tick, tick.loss) for tick in ticks if tick.mature and tick.loss is not None]
    if len(series) < 2:
        return None
    losses = [loss for _, loss in series]
    promise = float(np.mean(promised_ticks)) if len(promised_ticks) else promised
    wide = _heavy(promised_ticks) if policy.spread == "wide" else 0.0
    sd = max(spread(losses, promised_ticks), wide, _SMALLEST_SPREAD * abs(promise), 1e-12)
    level, since = _cusum(series, promise + policy.tolerance * abs(promise) + policy.cusum_k * sd)
    mean, half = _mean_and_half_width(losses)
    extra = math.log(signals) / (2 * max(policy.cusum_k, 0.1))
    start = _start(series, promise, since)
    changed = [loss for tick, loss in series if start is not None and tick.start >= start]
    return LossEvidence(
        value=mean,
        low=mean - half,
        high=mean + half,
        promised=promise,
        spread=sd,
        cusum=level / sd,
        since=since,
        alarm=level > (policy.cusum_h + extra) * sd,
        now=math.fsum(changed) / len(changed) if changed else None,
        changed=len(changed),
        visible=visible(sd, promise),
        level=_level(changed, promise, promised_ticks),
    )


def visible(spread: float, promise: float) -> float | None:
    """The smallest rise, as a share of the promise, that any rule can see within 14 ticks at 1 false alarm in 1,000.

    Lorden's bound (1971): delay >= ln(ARL) / (d^2 / 2) for a rise of d spreads. None for a promise of nothing.

    >>> round(visible(0.1, 1.0), 3)
    0.099
    """
    return spread * math.sqrt(2 * math.log(_ARL) / _LOOK_AHEAD) / abs(promise) if promise else None


def rebased(
    ticks: Sequence[TickLoss], promised: float, promised_ticks: Sequence[float], since: datetime, level: float
) -> tuple[tuple[TickLoss, ...], float, tuple[float, ...]]:
    """What `evidence` is asked once a harder world was accepted: ticks from then on, and the level they had."""
    was = float(np.mean(promised_ticks)) if len(promised_ticks) else promised
    moved = tuple(tick + level - was for tick in promised_ticks)
    return tuple(tick for tick in ticks if tick.start >= since), promised + level - was, moved


def _heavy(series: Sequence[float]) -> float:
    """The same by the root mean square, which single odd ticks move: real ticks have longer tails than a normal."""
    steps = np.diff(np.asarray(series, dtype=np.float64))
    return math.sqrt(float(np.square(steps).mean()) / 2) if len(steps) > 1 else 0.0


def _cusum(series: Sequence[tuple[TickLoss, float]], allowed: float) -> tuple[float, datetime | None]:
    """The sum at the end, and the start of the first tick after it last stood at zero.

    A tick with fewer rows than usual counts less, by the square root of its share as its noise grows: else a week-end
    of two rows raises an alarm of its own.
    """
    usual = float(np.median([tick.matured for tick, _ in series])) or 1.0
    level, since = 0.0, None
    for tick, loss in series:
        level = max(0.0, level + (loss - allowed) * min(1.0, math.sqrt(tick.matured / usual)))
        since = (since or tick.start) if level > 0 else None
    return level, since


def _start(series: Sequence[tuple[TickLoss, float]], promise: float, since: datetime | None) -> datetime | None:
    """The most likely start of the rise: (sum above the promise)^2 / ticks is largest from there on.

    Maximum likelihood where the mean before is known and the one after is not (Hinkley 1970). The sum may have left
    zero long before, by chance: ticks of before would make the level that the loss has now look lower.
    """
    if since is None:
        return None
    found = [(tick.start, loss - promise) for tick, loss in series if tick.start >= since]
    above = np.cumsum([rise for _, rise in reversed(found)])
    likely = np.where(above > 0, above**2 / np.arange(1, len(found) + 1), -1.0)
    return found[len(found) - 1 - int(np.argmax(likely))][0]


def _level(changed: Sequence[float], promise: float, promised_ticks: Sequence[float]) -> float | None:
    """What ticks lose since the change: the promise, moved by as much as the median tick moved."""
    if not changed:
        return None
    usual = float(np.median(promised_ticks)) if len(promised_ticks) else promise
    return promise + float(np.median(changed)) - usual


def _mean_and_half_width(losses: Sequence[float]) -> tuple[float, float]:
    """Mean and 90 % half-width by Student's t over ticks."""
    from scipy.special import stdtrit

    count = len(losses)
    return float(np.mean(losses)), float(stdtrit(count - 1, 0.95) * np.std(losses, ddof=1) / math.sqrt(count))
