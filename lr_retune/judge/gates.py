"""The built-in gates: whether predictions are sane, and whether they are good enough on the same rows."""

from __future__ import annotations

import math

import numpy as np

from lr_retune.config import Config
from lr_retune.judge.paired import Comparison, paired
from lr_retune.metrics import loss_for
from lr_retune.records import HoldoutScores, Status, TuneResult, Verdict

HEAVIEST_TICK = 0.4  # more of the rows in one tick, and that tick alone decides
RANKING_TICKS = 7  # ticks with a positive that a ranking needs

RULES: dict[str, str] = {
    "LRR100": "The challenger's predictions are finite, of the right number, within range, and vary.",
    "LRR101": "The challenger answered some rows with NaN or infinity. Such a model is never served.",
    "LRR102": "The challenger answers every row alike while the champion does not: it learned nothing.",
    "LRR103": "A model did not give one score per row, so nothing can be compared. This is a fault of its family.",
    "LRR104": "The challenger's scores leave [0, 1], but a binary task needs probabilities of the positive class.",
    "LRR105": "Every trial of the search failed, so there is no challenger; the trials' notes say why.",
    "LRR200": "The challenger's interval excludes a loss larger than [gates] margin, and its gain reaches the floor "
    "(0 at the champion's learning rate, [gates] floor at a new one). That it is better is not proven.",
    "LRR201": "As LRR200, and the whole interval lies above zero: the challenger is better on ticks like these.",
    "LRR202": "The whole interval lies below zero: the challenger is worse on ticks like these.",
    "LRR203": "The interval is too wide to exclude a loss larger than [gates] margin. More ticks of holdout "
    "([window] holdout) narrow it; until then the champion stays.",
    "LRR204": "The challenger is not worse by more than the margin, but its gain stays below the floor: "
    "a new learning rate must bring at least [gates] floor.",
    "LRR210": "The holdout holds fewer labelled rows than [gates] min_rows.",
    "LRR211": "The holdout holds fewer ticks than [gates] min_ticks; the spread between ticks cannot be judged.",
    "LRR212": "The holdout holds fewer positives, or fewer negatives, than [gates] min_positives.",
    "LRR213": f"A ranking metric needs at least {RANKING_TICKS} ticks that hold a positive.",
    "LRR214": f"One tick holds more than {HEAVIEST_TICK:.0%} of the rows, so it would decide alone.",
    "LRR215": "Both models differ in no tick, or by the same amount in every tick: no error can be estimated.",
    "LRR216": "The metric is not defined on these rows (for example WAPE of labels that are all zero), or the "
    "champion has no loss that a gain could be a share of.",
    "LRR220": "Some holdout labels are missing, infinite, or no class of the task. The holdout must hold labelled "
    "rows only.",
    "LRR221": "The champion answered some rows with NaN or infinity, so there is nothing sound to compare with.",
    "LRR290": "A gate raised an error instead of answering. Nothing is promoted on its account; mend the gate.",
}


def sane_predictions(scores: HoldoutScores, result: TuneResult, config: Config) -> Verdict:
    """Whether the challenger's predictions can be served at all."""
    code, status, reason = _sanity(scores, result, config)
    return Verdict("sane_predictions", code, status, reason)


def _sanity(scores: HoldoutScores, result: TuneResult, config: Config) -> tuple[str, Status, str]:
    rows, challenger = len(scores.y), scores.challenger
    if misshapen := _misshapen(scores):
        return "LRR103", "ERROR", misshapen
    if not rows:
        return "LRR210", "INCONCLUSIVE", "the holdout holds no rows"
    strange = rows - int(np.isfinite(challenger).sum())
    if result.challenger is None and strange == rows:
        return "LRR105", "ERROR", "no trial of the search gave a model"
    if strange:
        return "LRR101", "FAIL", f"{strange} of {rows} challenger scores are not finite"
    outside = int(((challenger < 0) | (challenger > 1)).sum()) if config.task == "binary" else 0
    if outside:
        return "LRR104", "FAIL", f"{outside} of {rows} challenger scores are no probabilities"
    if _constant(challenger) and not _constant(scores.champion):
        return "LRR102", "FAIL", f"the challenger answers {challenger[0]:.6g} to all {rows} rows, the champion does not"
    return "LRR100", "PASS", f"all {rows} challenger scores are finite and in range"


def _constant(values: np.ndarray) -> bool:
    return not (values != values[0]).any()


def paired_loss(scores: HoldoutScores, result: TuneResult, config: Config) -> Verdict:
    """Whether the challenger is good enough on the very rows the champion was scored on.

    FAIL: demonstrably worse. PASS: not worse by more than ``[gates] margin``, with a point gain of at least 0 at
    the champion's rate, ``[gates] floor`` at a new one. INCONCLUSIVE: everything the rows cannot decide.
    """
    refusal = _unsound(scores, config) or _too_thin(scores, config)
    if refusal:
        return Verdict("paired_loss", *refusal)
    loss = loss_for(config.metric)
    found = paired(scores.y, scores.champion, scores.challenger, scores.tick, loss, alpha=config.gates.alpha)
    code, status, reason = _answer(found, same_rate=result.same_rate, config=config)
    return Verdict("paired_loss", code, status, reason, *(_known(v) for v in (found.effect, found.low, found.high)))


def _unsound(scores: HoldoutScores, config: Config) -> tuple[str, Status, str] | None:
    """What makes every figure meaningless."""
    rows = len(scores.y)
    if misshapen := _misshapen(scores):
        return "LRR103", "ERROR", misshapen
    usable = np.isin(scores.y, (0.0, 1.0)) if config.task == "binary" else np.isfinite(scores.y)
    if strange := rows - int(usable.sum()):
        return "LRR220", "ERROR", f"{strange} of {rows} holdout labels are missing, infinite or no class"
    if strange := rows - int(np.isfinite(scores.champion).sum()):
        return "LRR221", "ERROR", f"{strange} of {rows} champion scores are not finite"
    if strange := rows - int(np.isfinite(scores.challenger).sum()):
        return "LRR101", "FAIL", f"{strange} of {rows} challenger scores are not finite"
    return None


def _too_thin(scores: HoldoutScores, config: Config) -> tuple[str, Status, str] | None:
    """What keeps the rows from deciding anything."""
    gates, rows = config.gates, len(scores.y)
    if rows < gates.min_rows:
        return "LRR210", "INCONCLUSIVE", f"{rows} labelled rows, at least {gates.min_rows} are needed"
    counts = np.unique(scores.tick, return_counts=True)[1]
    if len(counts) < gates.min_ticks:
        return "LRR211", "INCONCLUSIVE", f"{len(counts)} ticks, at least {gates.min_ticks} are needed"
    if counts.max() > HEAVIEST_TICK * rows:
        return "LRR214", "INCONCLUSIVE", f"one tick holds {_percent(counts.max() / rows)} of the {rows} rows"
    return _too_few_classes(scores, config) if config.task == "binary" else None


def _too_few_classes(scores: HoldoutScores, config: Config) -> tuple[str, Status, str] | None:
    positive, asked = scores.y > 0.5, config.gates.min_positives
    hits, rest = int(positive.sum()), int((~positive).sum())
    if min(hits, rest) < asked:
        return "LRR212", "INCONCLUSIVE", f"{hits} positives and {rest} negatives, at least {asked} of each are needed"
    with_hits = len(np.unique(scores.tick[positive]))
    if loss_for(config.metric).ranks and with_hits < RANKING_TICKS:
        return "LRR213", "INCONCLUSIVE", f"{with_hits} ticks hold a positive, a ranking needs {RANKING_TICKS}"
    return None


def _answer(found: Comparison, *, same_rate: bool, config: Config) -> tuple[str, Status, str]:
    margin, floor = config.gates.margin, 0.0 if same_rate else config.gates.floor
    if not math.isfinite(found.effect) or not found.legs:
        return "LRR216", "INCONCLUSIVE", f"{config.metric.name} gives no relative gain on these rows"
    if found.degenerate:
        return "LRR215", "INCONCLUSIVE", f"no difference that varies over the {found.ticks} ticks"
    figures = _figures(found)
    if found.high < 0:
        return "LRR202", "FAIL", f"{figures}; worse"
    if found.low <= -margin:
        more = f"a gain of {_percent(found.detectable())} would be told as better 4 times in 5 on such rows"
        return "LRR203", "INCONCLUSIVE", f"{figures}; worse by {_percent(margin)} is not excluded; {more}"
    if found.effect < floor:
        asked_of = "fresh data at the old learning rate" if same_rate else "a new learning rate"
        return "LRR204", "INCONCLUSIVE", f"{figures}; below the {_percent(floor)} asked of {asked_of}"
    if found.low > 0:
        return "LRR201", "PASS", f"{figures}; better"
    return "LRR200", "PASS", f"{figures}; not worse by {_percent(margin)}"


def _figures(found: Comparison) -> str:
    """The common half of every reason, such as "loss 74.1 against 78.3 on the same 672 rows of 28 ticks: …"."""
    interval = f"[{100 * found.low:.1f}, {100 * found.high:.1f}]"
    losses = f"loss {found.base - found.estimate:.4g} against {found.base:.4g}"
    return f"{losses} on the same {found.rows} rows of {found.ticks} ticks: gain {_percent(found.effect)} {interval}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _misshapen(scores: HoldoutScores) -> str:
    rows = len(scores.y)
    arms = (("tick", scores.tick), ("champion", scores.champion), ("challenger", scores.challenger))
    wrong = [f"{name} {values.shape}" for name, values in arms if values.shape != (rows,)]
    return f"one value per row is needed, ({rows},); got {', '.join(wrong)}" if wrong else ""


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
