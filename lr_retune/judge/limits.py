"""What keeps rows from deciding anything: each limit has a code, and its answer is never PASS."""

from __future__ import annotations

import math

import numpy as np

from lr_retune.config import Config
from lr_retune.judge.paired import Comparison
from lr_retune.judge.statement import figures, percent
from lr_retune.metrics import loss_for
from lr_retune.records import HoldoutScores, Status

LEAST_TICKS = 7  # fewer, and no procedure keeps a stated rate
FINE_TICKS = 14  # for a fine alpha
HEAVIEST = 0.4  # more of the rows in one tick or entity, and it alone decides
RANKING_TICKS = 7  # ticks with a positive that a ranking needs
EFFECTIVE_TICKS = 5
_FINE = 0.01
_HALVES = 2.5  # standard errors
_TELLS = 10  # ticks from which autocorrelation can be estimated at all
_UNNAMED = 0.2  # of the rows with one level of a category column, while no [data] entity is named
_MANY = 20  # levels: fewer are kinds (a product, a country's region), not customers
Refusal = tuple[str, Status, str]


def dominated(codes: np.ndarray) -> bool:
    """Whether a category column, codes ``(n,)``, has many levels of which one holds more than a fifth of the rows."""
    counts = np.unique(codes, return_counts=True)[1]
    return len(counts) >= _MANY and bool(counts.max() > _UNNAMED * len(codes))


def misshapen(scores: HoldoutScores) -> str:
    """Which arrays do not hold one value per row; empty: none."""
    rows = len(scores.y)
    arms = (("tick", scores.tick), ("champion", scores.champion), ("challenger", scores.challenger))
    named = [*arms, *([] if scores.entity is None else [("entity", scores.entity)])]
    wrong = [f"{name} {values.shape}" for name, values in named if values.shape != (rows,)]
    return f"one value per row is needed, ({rows},); got {', '.join(wrong)}" if wrong else ""


def unsound(scores: HoldoutScores, config: Config) -> Refusal | None:
    """What makes every figure meaningless."""
    rows = len(scores.y)
    if wrong := misshapen(scores):
        return "LRR103", "ERROR", wrong
    usable = np.isin(scores.y, (0.0, 1.0)) if config.task == "binary" else np.isfinite(scores.y)
    if strange := rows - int(usable.sum()):
        return "LRR220", "ERROR", f"{strange} of {rows} holdout labels are missing, infinite or no class"
    if strange := rows - int(np.isfinite(scores.champion).sum()):
        return "LRR221", "ERROR", f"{strange} of {rows} champion scores are not finite"
    if strange := rows - int(np.isfinite(scores.challenger).sum()):
        return "LRR101", "FAIL", f"{strange} of {rows} challenger scores are not finite"
    return None


def too_thin(scores: HoldoutScores, config: Config) -> Refusal | None:
    """What rows, ticks or classes are too few of."""
    gates, rows = config.gates, len(scores.y)
    if rows < gates.min_rows:
        return "LRR210", "INCONCLUSIVE", f"{rows} labelled rows, at least {gates.min_rows} are needed"
    counts = np.unique(scores.tick, return_counts=True)[1]
    if len(counts) < (least := max(gates.min_ticks, LEAST_TICKS)):
        return "LRR211", "INCONCLUSIVE", f"{len(counts)} ticks, at least {least} are needed"
    if gates.alpha <= _FINE and len(counts) < FINE_TICKS:
        what = f"{len(counts)} ticks, at least {FINE_TICKS} are needed for an alpha of {gates.alpha:.2g}"
        return "LRR217", "INCONCLUSIVE", what
    if counts.max() > HEAVIEST * rows:
        return "LRR214", "INCONCLUSIVE", f"one tick holds {percent(counts.max() / rows)} of the {rows} rows"
    return _too_few_classes(scores, config) if config.task == "binary" else None


def _too_few_classes(scores: HoldoutScores, config: Config) -> Refusal | None:
    positive, asked = scores.y > 0.5, config.gates.min_positives
    hits, rest = int(positive.sum()), int((~positive).sum())
    if min(hits, rest) < asked:
        return "LRR212", "INCONCLUSIVE", f"{hits} positives and {rest} negatives, at least {asked} of each are needed"
    with_hits = len(np.unique(scores.tick[positive]))
    if loss_for(config.metric).ranks and with_hits < RANKING_TICKS:
        return "LRR213", "INCONCLUSIVE", f"{with_hits} ticks hold a positive, a ranking needs {RANKING_TICKS}"
    return None


def undecidable(found: Comparison, config: Config) -> Refusal | None:
    """What only the comparison itself shows: no spread, too heavy an entity, ticks that are not alike."""
    shape = found.shape
    if found.heaviest_entity > HEAVIEST:
        held = f"one entity holds {percent(found.heaviest_entity)} of the {found.rows} rows"
        return "LRR222", "INCONCLUSIVE", held
    if not math.isfinite(found.effect) or not math.isfinite(found.se):
        return "LRR216", "INCONCLUSIVE", f"{config.metric.name} gives no relative gain on these rows"
    if found.degenerate:
        return "LRR215", "INCONCLUSIVE", f"no difference that varies over the {found.ticks} ticks"
    if shape.low > 0 or shape.high < 0:  # so large that neither suspicion below could undo it
        return None
    if found.ticks >= _TELLS and shape.effective < EFFECTIVE_TICKS:
        alike = f"neighbouring ticks correlate by {shape.autocorrelation:.2f}: {found.ticks} say as much as"
        return "LRR218", "INCONCLUSIVE", f"{figures(found)}; {alike} {shape.effective:.1f} independent ones"
    if abs(shape.halves) > _HALVES:
        apart = f"the halves of the holdout differ by {abs(shape.halves):.1f} standard errors"
        return "LRR219", "INCONCLUSIVE", f"{figures(found)}; {apart}"
    return None
