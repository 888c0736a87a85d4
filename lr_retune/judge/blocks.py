"""Several models on the same rows, block by block of time: which is better, by how much, where, and how sure.

Every pair is asked what the gates ask of champion and challenger, with a block of time as the tick. All pairs
together, in both directions, name a better model by chance at most as often as ``[gates] alpha`` says.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from types import MappingProxyType

import numpy as np

from lr_retune.config import Config, Metric
from lr_retune.judge import limits
from lr_retune.judge.attribution import SEEDS, origin
from lr_retune.judge.corners import corners
from lr_retune.judge.guards.slices import filled, rows_of
from lr_retune.judge.paired import Comparison, paired
from lr_retune.judge.statement import figures
from lr_retune.metrics import Loss, loss_for
from lr_retune.records import HoldoutScores

NO_TWINS: Mapping[str, Sequence[np.ndarray]] = MappingProxyType({})
RARE = 0.05  # share of positives below which the ranking is told beside a proper loss
BLOCK_RULES = {
    "LRR250": "compare: the interval of the difference, at a level that all pairs share, excludes zero, so one model "
    "is better on blocks of time like these.",
    "LRR251": "compare: the interval of the difference holds zero: the rows do not tell which model is better.",
    "LRR252": "compare: a model has learned from rows of the compared stretch, or nobody can say what it has learned "
    "from, so its loss there proves nothing. Compare from a time that no model has seen.",
}


@dataclass(frozen=True, slots=True)
class Gap:
    """Loss of the first model less that of the second: above zero, the second is better."""

    value: float | None  # in units of the loss; None: not defined on these rows
    low: float | None
    high: float | None
    share: float | None  # the same, as a share of the first's loss


@dataclass(frozen=True, slots=True)
class Slice:
    """One level of a column of ``[gates] slices``."""

    name: str
    rows: int
    gap: Gap
    state: str  # UNKNOWN: too thin to tell; even: zero is not excluded; told: one is better
    better: str | None


@dataclass(frozen=True, slots=True)
class Beside:
    """The same pair by another metric: told, not judged by."""

    metric: str
    gap: Gap


@dataclass(frozen=True, slots=True)
class Pair:
    """Two of the models, on all rows."""

    first: str
    second: str
    gap: Gap
    wins: int  # blocks in which the first lost less
    losses: int
    ties: int
    better: str | None
    code: str
    reason: str  # why nothing is told, where a guard says so
    slices: tuple[Slice, ...] = ()
    beside: Beside | None = None
    seed_sd: float | None = None  # of one fit's loss, share of the first's; None: one fit each
    seeds_needed: int | None = None  # fits of each that would tell a difference as large; None: told, or not to say


def level(config: Config, pairs: int) -> float:
    """One-sided level of each end of each pair's interval: Bonferroni over pairs and directions."""
    return config.gates.alpha / (2 * max(pairs, 1))


def pairs_of(
    scores: Mapping[str, np.ndarray],
    rows: HoldoutScores,
    config: Config,
    twins: Mapping[str, Sequence[np.ndarray]] = NO_TWINS,
) -> tuple[Pair, ...]:
    """Every pair of models, in the order they were named.

    Parameters
    ----------
    scores
        Model → score of each row, ``(n,)``, all finite.
    rows
        Labels, blocks (as ticks), entities, suspects and slices of the same rows; its arms are not read.
    twins
        Model → scores of fits that differ from it by seed alone. Given, means over the fits are compared, and their
        spread is part of the error: the question is then about how the models are made, not about these very ones.
    """
    both = list(combinations(scores, 2))
    asked, loss = _at(config, level(config, len(both))), loss_for(config.metric)
    found = []
    for a, b in both:
        met = replace(rows, champion=scores[a], challenger=scores[b])
        pair = _pair(a, b, met, asked, loss)
        more = twins.get(a, ()), twins.get(b, ())
        found.append(_over_seeds(pair, met, more, asked, loss) if all(more) else pair)
    return tuple(found)


def disowned(pairs: tuple[Pair, ...], seen: Collection[str]) -> tuple[Pair, ...]:
    """Pairs without a finding where one of the two has learned from the rows."""
    why = "it has learned from rows of this stretch, or nobody told from which"
    return tuple(
        replace(pair, better=None, code="LRR252", reason=f"{name}: {why}")
        if (name := next((n for n in (pair.first, pair.second) if n in seen), None))
        else pair
        for pair in pairs
    )


def best_of(pairs: tuple[Pair, ...]) -> str | None:
    """The model that is better than every other; None where that is not told."""
    names = dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second))
    return next((n for n in names if all(p.better == n for p in pairs if n in (p.first, p.second))), None)


def by_block(y: np.ndarray, score: np.ndarray, block: np.ndarray, loss: Loss) -> np.ndarray:
    """Loss of each block in order of time, ``(blocks,)``; NaN where it is not defined, as a ranking of one class."""
    index, counts = np.unique(block, return_inverse=True, return_counts=True)[1:]
    if loss.rows is not None:
        found: np.ndarray = np.bincount(index, loss.rows(y, score)) / counts
        return found
    parts = np.split(np.argsort(index, kind="stable"), np.cumsum(counts)[:-1])
    return np.array([loss.value(y[part], score[part]) for part in parts])


def _at(config: Config, alpha: float) -> Config:
    return config.model_copy(update={"gates": config.gates.model_copy(update={"alpha": alpha})})


def _pair(first: str, second: str, scores: HoldoutScores, config: Config, loss: Loss) -> Pair:
    found = _compared(scores, loss, config.gates.alpha)
    code, reason, sign = _told(scores, found, config, loss)
    a, b = (by_block(scores.y, score, scores.tick, loss) for score in (scores.champion, scores.challenger))
    gap = np.where(np.abs(a - b) <= 1e-12 * np.abs(a), 0.0, a - b)
    return Pair(
        first=first,
        second=second,
        gap=_gap(found),
        wins=int((gap < 0).sum()),
        losses=int((gap > 0).sum()),
        ties=int((gap == 0).sum()),
        better=(None, second, first)[sign],
        code=code,
        reason=reason,
        slices=tuple(_slices(scores, config, loss, (first, second))),
        beside=_beside(scores, config),
    )


def _over_seeds(
    pair: Pair, scores: HoldoutScores, twins: tuple[Sequence[np.ndarray], ...], config: Config, loss: Loss
) -> Pair:
    """The same of means over seeds, with the attribution's own error; what a guard refused stays refused."""
    fits = {"control": (scores.champion, *twins[0]), "challenger": (scores.challenger, *twins[1])}
    met, weights = corners(replace(scores, control=scores.champion, arms=fits), loss, same_rate=False)
    found = origin(met, weights, alpha=config.gates.alpha)
    if found is None:
        return pair
    effect, base = found.effects["rate"], float(met["champion"].losses[0])
    value, low, high = (None if end is None else end * base for end in (effect.value, effect.low, effect.high))
    told = replace(
        pair, gap=Gap(value, low, high, effect.value), seed_sd=found.seed_sd, seeds_needed=found.seeds_needed
    )
    if pair.code not in ("LRR250", "LRR251"):
        return told
    if effect.claimed and effect.value:
        return replace(told, better=pair.second if effect.value > 0 else pair.first, code="LRR250", reason="")
    few = found.seeds < SEEDS
    why = f"{found.seeds} fits of each are too few, {SEEDS} at least" if few else "zero is not excluded over seeds"
    return replace(told, better=None, code="LRR251", reason=why)


def _compared(scores: HoldoutScores, loss: Loss, alpha: float) -> Comparison:
    arms = scores.y, scores.champion, scores.challenger, scores.tick
    return paired(*arms, loss, alpha=alpha, entity=scores.entity)


def _told(scores: HoldoutScores, found: Comparison, config: Config, loss: Loss) -> tuple[str, str, int]:
    """Code, reason, and the sign of the difference: 0 where none is told."""
    if refusal := limits.too_thin(scores, config) or limits.undecidable(found, config):
        return refusal[0], refusal[2].removeprefix(f"{figures(found)}; "), 0
    sign = int(found.low > 0) - int(found.high < 0)
    if sign and (name := _undone(scores, config, loss, sign)):
        return "LRR223", f"not told if rows of one {name!r} share errors: name it in [data] entity, or who it is", 0
    return ("LRR250", "", sign) if sign else ("LRR251", "zero is not excluded", 0)


def _undone(scores: HoldoutScores, config: Config, loss: Loss, sign: int) -> str:
    """The column that would undo what is told if its levels were whom rows are about; empty: none."""
    for name, codes in sorted(scores.suspects.items()):
        found = _compared(replace(scores, entity=codes), loss, config.gates.alpha)
        if not (found.low if sign > 0 else -found.high) > 0:
            return name
    return ""


def _gap(found: Comparison) -> Gap:
    value, low, high = found.effect * found.base, found.low * found.base, found.high * found.base
    value = value if math.isfinite(value) else found.estimate
    return Gap(*(v if math.isfinite(v) else None for v in (value, low, high, found.effect)))


def _slices(scores: HoldoutScores, config: Config, loss: Loss, names: tuple[str, str]) -> list[Slice]:
    """Each slice at its share of the level, so that all of them together keep it."""
    named = dict(rows_of(scores))
    enough = {name for name, rows in named.items() if filled(scores, rows, config)}
    asked = _at(config, config.gates.alpha / max(len(enough), 1))
    return [_slice(name, _only(scores, rows), asked, loss, names, name in enough) for name, rows in named.items()]


def _only(scores: HoldoutScores, rows: np.ndarray) -> HoldoutScores:
    entity = None if scores.entity is None else scores.entity[rows]
    arms = scores.champion[rows], scores.challenger[rows]
    return HoldoutScores(scores.y[rows], scores.tick[rows], *arms, entity=entity)


def _slice(name: str, scores: HoldoutScores, config: Config, loss: Loss, names: tuple[str, str], enough: bool) -> Slice:
    if not enough:
        return Slice(name, len(scores.y), Gap(None, None, None, None), "UNKNOWN", None)
    found = _compared(scores, loss, config.gates.alpha)
    sign = 0 if limits.undecidable(found, config) else int(found.low > 0) - int(found.high < 0)
    return Slice(name, len(scores.y), _gap(found), "told" if sign else "even", (None, names[1], names[0])[sign])


def _beside(scores: HoldoutScores, config: Config) -> Beside | None:
    """A ranking's log loss, and the ranking where positives are rare."""
    ranks = loss_for(config.metric).ranks
    if config.task != "binary" or not (ranks or scores.y.mean() < RARE):
        return None
    metric = Metric(name="log_loss" if ranks else "pr_auc")
    return Beside(metric.name, _gap(_compared(scores, loss_for(metric), config.gates.alpha)))
