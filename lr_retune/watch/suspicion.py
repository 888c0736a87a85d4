"""What scores and columns say before labels do: each figure against what it does from tick to tick anyway. Pure.

A signal is raised where it is both beyond that (once in 1,000 stable ticks, all signals together) and large enough to
matter. It brings a probe forward and names a column; it proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np

from lr_retune.metrics import Loss
from lr_retune.records import Contract, Rows, Signal, Suspicion, micros
from lr_retune.watch import calibrate
from lr_retune.watch.calibrate import Ruler

MATTERS = 0.03  # share of the champion's importance from which a column is watched here
BUDGET = 0.001  # false suspicions a tick, all signals together
MIN_BLOCKS = 8  # fewer ticks do not tell what is usual
NEWEST = 3  # blocks that are judged
MIN_ROWS = 50  # of a block; smaller ticks are joined
MOST_ROWS = 5_000  # of a tick; more sharpen a distance by less than days differ
TOLERANCE = 0.1  # rise of the estimated loss, and its error on matured labels, as shares of the loss
_CHECKED = 7  # blocks of matured labels that the estimate is held against
_NUMBER, _CATEGORY = 0.4, 0.3  # spreads, Jensen-Shannon: where an ordinary tick is further off, it is a calendar
_CHANCE = (2.5, 4.0)  # times what sampling alone gives: its tail is longer than the fit's where ticks are small
_BEYOND = 2.5  # times the reference's largest tick, from which one tick alone counts: real days have long tails
_ALONE = 5.0  # times the floor, for the same
_SHARE_ALONE = 0.1  # of importance, for the same: others wait for a second tick
_TREND = 0.9  # correlation of ticks' means with time


@dataclass(frozen=True, slots=True, eq=False)
class Measure:
    """One distribution, how far its ticks usually lie from the others, and what is beyond that."""

    name: str
    feature: int | None  # position; None: the score
    importance: float
    ruler: Ruler
    total: np.ndarray  # (bins,) the reference's rows
    usual: np.ndarray  # (blocks,)
    limits: tuple[float, float]  # of two ticks in three; of one alone


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """What calibrated scores said of the loss on the reference."""

    knots: tuple[np.ndarray, np.ndarray]  # score → chance of a positive
    loss: Loss
    level: float  # mean of the reference's ticks
    usual: np.ndarray  # (blocks,) rise of each over that mean, as a share
    gaps: np.ndarray  # (blocks,) realised less estimated loss
    limits: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Usual:
    """What a champion's reference does from tick to tick; the same for all ticks that it is watched."""

    measures: tuple[Measure, ...]
    estimate: Estimate | None
    off: str  # why there is no estimate
    rows: float  # of an ordinary block
    least: int  # rows of a block
    seed: int


# ── the reference ─────────────────────────────────────────────────────────────────────────────────
def usual(
    reference: Rows,
    score: np.ndarray,
    contract: Contract,
    importance: Mapping[str, float],
    loss: Loss,
    *,
    binary: bool,
    floor: float = 0.1,
    seed: int = 0,
) -> Usual | None:
    """What is usual on the reference; None with fewer than 8 ticks of rows.

    Parameters
    ----------
    reference
        Rows of the champion's holdout with their labels, in its contract's columns.
    score
        The champion's scores of them, shape ``(n,)``.
    importance
        Column to its share of the champion's importance.
    loss
        The user's metric: its expectation under calibrated scores is the estimate.
    floor
        Distance below which a score or column never counts, ``[watch] drift_threshold``.
    """
    score = np.asarray(score, dtype=np.float64)
    kept = _thin(reference.tick, seed)
    rows, score = reference.take(kept), score[kept]
    ticks = np.unique(rows.tick, return_counts=True)[1]
    least = max(MIN_ROWS, int(np.median(ticks)) // 4) if len(ticks) else MIN_ROWS
    block = calibrate.blocks(rows.tick, least)
    sizes = np.bincount(block)
    if len(sizes) < MIN_BLOCKS:
        return None
    typical = float(np.median(sizes))
    drafts = _drafts(rows, score, contract, importance, typical)
    counted = [(draft, draft.ruler.counts(draft.values, block, len(sizes))) for draft in drafts]
    told = [(draft, counts) for draft, counts in counted if draft.feature is None or _comparable(draft.ruler, counts)]
    estimate, off = _estimate(rows, score, block, loss, len(told) + 1) if binary else (None, "")
    signals = len(told) + (estimate is not None)
    measures = tuple(_measure(draft, counts, typical, floor, signals) for draft, counts in told)
    return Usual(measures, estimate, off, typical, least, seed)


class _Draft(NamedTuple):
    name: str
    feature: int | None
    importance: float
    ruler: Ruler
    values: np.ndarray  # (n,) the reference's


def _drafts(
    rows: Rows, score: np.ndarray, contract: Contract, importance: Mapping[str, float], typical: float
) -> Iterator[_Draft]:
    """The score and each column of importance, with the values that are measured."""
    if (ruler := calibrate.number_ruler(score)) is not None:
        yield _Draft("score", None, 1.0, ruler, score)
    for place, column in enumerate(contract.columns):
        share, values = importance.get(column.name, 0.0), rows.x[:, place]
        if share < MATTERS:
            continue
        number = column.kind == "number"
        made = calibrate.number_ruler(values) if number else calibrate.level_ruler(values, len(column.levels), typical)
        if made is not None:
            yield _Draft(column.name, place, share, made, values)


def _comparable(ruler: Ruler, counts: np.ndarray) -> bool:
    """Whether one tick's rows are like another's: calendars, identifiers and what only ever rises are no evidence."""
    single = np.count_nonzero(counts, axis=1) <= 1
    if np.mean(single) > 0.5:
        return False
    found, chance = ruler.apart(counts, counts.sum(axis=0) - counts)
    beyond = float(np.median(found - chance))
    if beyond > (_NUMBER if ruler.scale else _CATEGORY):
        return False
    return not (ruler.scale and beyond > 0.1 and abs(_trend(counts @ ruler.edges / counts.sum(axis=1))) > _TREND)


def _trend(middle: np.ndarray) -> float:
    """Rank correlation of ticks' means with time."""
    rank = np.argsort(np.argsort(middle, kind="stable"), kind="stable")
    return float(np.corrcoef(rank, np.arange(len(rank)))[0, 1])


def _measure(draft: _Draft, counts: np.ndarray, typical: float, floor: float, signals: int) -> Measure:
    total = counts.sum(axis=0)
    found, chance = draft.ruler.apart(counts, total - counts)
    seen = _evened(found, counts, typical)
    # distances are skew; their third root is nearly normal, as of a sum of squares (Wilson & Hilferty 1931)
    two, alone = calibrate.limits(np.cbrt(seen), signals, BUDGET)
    noise = float(np.median(chance))
    alone = max(alone**3, _BEYOND * float(seen.max()), _ALONE * floor + _CHANCE[1] * noise)
    limits = max(two**3, floor + _CHANCE[0] * noise), alone if draft.importance >= _SHARE_ALONE else float("inf")
    return Measure(draft.name, draft.feature, draft.importance, draft.ruler, total, seen, limits)


def _evened(found: np.ndarray, counts: np.ndarray, typical: float) -> np.ndarray:
    """A small block's distance is mostly noise, which falls with the root of its rows: it counts less."""
    evened: np.ndarray = found * np.minimum(1.0, np.sqrt(counts.sum(axis=1) / typical))
    return evened


def _estimate(
    rows: Rows, score: np.ndarray, block: np.ndarray, loss: Loss, signals: int
) -> tuple[Estimate | None, str]:
    if loss.rows is None:
        return None, f"{loss.name} ranks rows: calibrated scores do not say what it becomes"
    known = ~np.isnan(rows.y) & np.isfinite(score)
    y, score, block, count = rows.y[known], score[known], block[known], int(block.max()) + 1
    if not len(y) or y.min() == y.max():
        return None, "the reference holds labels of one class only: its scores cannot be calibrated"
    said = calibrate.means(calibrate.expected_across(score, y, block, loss.rows), block, count)
    gaps = calibrate.means(loss.rows(y, score), block, count) - said
    there = np.isfinite(said) & np.isfinite(gaps)
    said, gaps = said[there], gaps[there]
    if len(said) < MIN_BLOCKS or said.min() <= 0:
        return None, "too few ticks of the reference have labels and a loss: its scores cannot be calibrated"
    level = float(said.mean())
    two, alone = (float(np.expm1(v)) for v in calibrate.limits(np.log(said / level), signals, BUDGET))
    rise = said / level - 1
    limits = max(two, TOLERANCE), max(alone, _BEYOND * float(rise.max()), 2 * TOLERANCE)
    return Estimate(calibrate.isotonic(score, y), loss, level, rise, gaps, limits), ""


# ── a look ────────────────────────────────────────────────────────────────────────────────────────
def suspicion(usual: Usual | None, current: Rows, score: np.ndarray, horizon: datetime | None) -> Suspicion | None:
    """The newest three ticks that hold rows, against what is usual; None where that is not known or nothing came.

    Parameters
    ----------
    current
        Rows of the watched ticks, in the same columns; labels that are not known are NaN.
    score
        The champion's scores of them, shape ``(n,)``.
    horizon
        Labels are complete before it: what they say decides whether the estimate may be used.
    """
    if usual is None or not len(current):
        return None
    score = np.asarray(score, dtype=np.float64)
    block = calibrate.blocks(current.tick, usual.least)
    newest = np.flatnonzero(block > block.max() - NEWEST)
    newest = newest[_thin(current.tick[newest], usual.seed)]
    rows, ours = current.take(newest), score[newest]
    place = block[newest] - int(block[newest].min())
    signals = [_signal(measure, usual.rows, rows, ours, place) for measure in usual.measures]
    estimate, off = usual.estimate, usual.off
    if estimate is not None:
        off = _disagrees(estimate, current, score, horizon, usual)
    if estimate is None or off:
        return Suspicion(tuple(signals), None, off)
    signal, estimated = _estimated(estimate, ours, place)
    return Suspicion((*signals[:1], signal, *signals[1:]), estimated, "")


def _signal(measure: Measure, typical: float, rows: Rows, score: np.ndarray, place: np.ndarray) -> Signal:
    values = score if measure.feature is None else rows.x[:, measure.feature]
    counts = measure.ruler.counts(values, place, int(place.max()) + 1)
    found = _evened(measure.ruler.apart(counts, measure.total[None, :])[0], counts, typical)
    return _judged(measure.name, found, measure.usual, measure.limits, measure.importance)


def _judged(
    name: str, found: np.ndarray, usual: np.ndarray, limits: tuple[float, float], importance: float = 1.0
) -> Signal:
    beyond, newest = int((found > limits[0]).sum()), float(found[-1])
    low, high = (float(q) for q in np.quantile(usual, (0.05, 0.95)))
    return Signal(name, newest, (low, high), limits[0], beyond, beyond >= 2 or newest > limits[1], importance)


def _estimated(estimate: Estimate, score: np.ndarray, place: np.ndarray) -> tuple[Signal, float]:
    """The signal, and the rise over the ticks that raised it, or over all that were looked at."""
    assert estimate.loss.rows is not None
    known = np.isfinite(score)
    said = calibrate.expected(estimate.knots, score[known], estimate.loss.rows)
    rise = calibrate.means(said, place[known], int(place.max()) + 1) / estimate.level - 1
    rise = np.nan_to_num(rise)
    signal = _judged("estimated_loss", rise, estimate.usual, estimate.limits)
    risen = rise > estimate.limits[0]
    return signal, float(rise[risen].mean() if signal.raised and risen.any() else rise.mean())


def _disagrees(estimate: Estimate, current: Rows, score: np.ndarray, horizon: datetime | None, usual: Usual) -> str:
    """Why matured labels speak against the estimate, or nothing."""
    from scipy.special import stdtrit

    if horizon is None or estimate.loss.rows is None:
        return ""
    mature = np.flatnonzero((current.time < micros(horizon)) & ~np.isnan(current.y) & np.isfinite(score))
    mature = mature[_thin(current.tick[mature], usual.seed)]
    if not len(mature):
        return ""
    block = calibrate.blocks(current.tick[mature], usual.least)
    which = block > block.max() - _CHECKED
    y, seen, place = current.y[mature][which], score[mature][which], block[which] - int(block[which].min())
    count = int(place.max()) + 1
    said = calibrate.means(calibrate.expected(estimate.knots, seen, estimate.loss.rows), place, count)
    came = calibrate.means(estimate.loss.rows(y, seen), place, count)
    gap, ticks = float(np.mean(came - said) - np.mean(estimate.gaps)), len(estimate.gaps)
    error = float(np.std(estimate.gaps, ddof=1)) * np.sqrt(1 / count + 1 / ticks) * stdtrit(ticks - 1, 1 - BUDGET / 2)
    if abs(gap) <= max(float(error), TOLERANCE * estimate.level):
        return ""
    return f"estimated loss {said.mean():.3g} against {came.mean():.3g} realised on {count} matured ticks"


def _thin(tick: np.ndarray, seed: int) -> np.ndarray:
    """Positions of at most 5,000 rows of each tick, in order."""
    _, where, rows = np.unique(tick, return_inverse=True, return_counts=True)
    if rows.max(initial=0) <= MOST_ROWS:
        return np.arange(len(tick))
    order = np.lexsort((np.random.default_rng(seed).random(len(tick)), where))
    rank = np.arange(len(tick)) - np.repeat(np.cumsum(rows) - rows, rows)
    return np.sort(order[rank < MOST_ROWS])
