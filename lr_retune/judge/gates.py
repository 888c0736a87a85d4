"""The built-in gates: whether predictions are sane, and whether they are good enough on the same rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from lr_retune.config import Config, Metric
from lr_retune.judge import limits, outlook
from lr_retune.judge.limits import EFFECTIVE_TICKS, HEAVIEST, LEAST_TICKS, RANKING_TICKS, Refusal, misshapen
from lr_retune.judge.paired import Comparison, paired
from lr_retune.judge.statement import evidence, figures, percent, promise
from lr_retune.metrics import loss_for
from lr_retune.records import HoldoutScores, TuneResult, Verdict

_MORE_TICKS_HELP = ("LRR218", "LRR219")

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
    "([window] holdout) narrow it; until then the champion stays. The reason says which gains such rows find 4 times "
    "in 5, and a range of further ticks that might decide: in simulations 8 of 10 were decided at its near end, nearly "
    "all at its far end.",
    "LRR204": "The challenger is not worse by more than the margin, but its gain stays below the floor: "
    "a new learning rate must bring at least [gates] floor.",
    "LRR210": "The holdout holds fewer labelled rows than [gates] min_rows.",
    "LRR211": f"The holdout holds fewer ticks than [gates] min_ticks, or than {LEAST_TICKS}, below which no error rate "
    "can be stated.",
    "LRR212": "The holdout holds fewer positives, or fewer negatives, than [gates] min_positives.",
    "LRR213": f"A ranking metric needs at least {RANKING_TICKS} ticks that hold a positive.",
    "LRR214": f"One tick holds more than {HEAVIEST:.0%} of the rows, so it would decide alone.",
    "LRR215": "Both models differ in no tick, or by the same amount in every tick: no error can be estimated.",
    "LRR216": "The metric is not defined on these rows (for example WAPE of labels that are all zero), or the "
    "champion has no loss that a gain could be a share of.",
    "LRR217": "An alpha of .01 or less needs 14 ticks: fewer have no tail that fine. [gates] alpha, or the share of it "
    "that is left for this look, is that small.",
    "LRR218": f"Ticks follow one another so closely that they say no more than {EFFECTIVE_TICKS} independent ones "
    "would (asked from 10 ticks on), and by so few the sign of the gain is not sure. Longer "
    "ticks, such as weeks, or a longer holdout help.",
    "LRR219": "The first and the second half of the holdout tell different gains, by more than 2.5 standard errors: "
    "something changed in between, and no average speaks for what comes, unless each half alone tells the same sign.",
    "LRR220": "Some holdout labels are missing, infinite, or no class of the task. The holdout must hold labelled "
    "rows only.",
    "LRR221": "The champion answered some rows with NaN or infinity, so there is nothing sound to compare with.",
    "LRR222": f"One [data] entity holds more than {HEAVIEST:.0%} of the rows, or all rows are of one: it would "
    "decide alone.",
    "LRR223": "No [data] entity is named, one of the many levels of a category column holds more than a fifth of the "
    "rows, and rows of one level share errors over ticks so much that the PASS would not stand if the levels were "
    "customers. Name the column in [data] entity, or another one that says whom rows are about.",
    "LRR290": "A gate raised an error instead of answering. Nothing is promoted on its account; mend the gate.",
}


def sane_predictions(scores: HoldoutScores, result: TuneResult, config: Config) -> Verdict:
    """Whether the challenger's predictions can be served at all."""
    code, status, reason = _sanity(scores, result, config)
    return Verdict("sane_predictions", code, status, reason)


def _sanity(scores: HoldoutScores, result: TuneResult, config: Config) -> Refusal:
    rows, challenger = len(scores.y), scores.challenger
    if wrong := misshapen(scores):
        return "LRR103", "ERROR", wrong
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
    sentence = promise(config, scores.entity is not None)
    if refusal := limits.unsound(scores, config) or limits.too_thin(scores, config):
        return Verdict("paired_loss", *refusal, promise=sentence)
    found = _compared(scores, config, config.metric)
    code, status, reason = _answer(found, same_rate=result.same_rate, config=config)
    if status == "PASS" and (unnamed := _unnamed(scores, config)):
        code, status, reason = "LRR223", "INCONCLUSIVE", f"{reason} by ticks alone; {unnamed}"
    beside = _compared(scores, config, Metric(name="log_loss")) if loss_for(config.metric).ranks else None
    effect, low, high = (_known(value) for value in (found.effect, found.low, found.high))
    told = evidence(found, config, beside)
    return Verdict("paired_loss", code, status, reason + _second_line(beside), effect, low, high, told, sentence)


def _compared(scores: HoldoutScores, config: Config, metric: Metric) -> Comparison:
    arms = scores.y, scores.champion, scores.challenger, scores.tick
    return paired(*arms, loss_for(metric), alpha=config.gates.alpha, entity=scores.entity)


def _answer(found: Comparison, *, same_rate: bool, config: Config) -> Refusal:
    margin, floor = config.gates.margin, 0.0 if same_rate else config.gates.floor
    known, low = figures(found), found.low
    if refusal := limits.undecidable(found, config):
        code, status, why = refusal
        return code, status, f"{why}; {outlook.told(found, margin, floor)}" if code in _MORE_TICKS_HELP else why
    if found.high < 0:
        return "LRR202", "FAIL", f"{known}; worse"
    if low > -margin and found.effect >= floor:
        better = low > 0
        return ("LRR201" if better else "LRR200"), "PASS", f"{known}; {_shown(better, margin)}"
    more = outlook.told(found, margin, floor)
    if low <= -margin:
        return "LRR203", "INCONCLUSIVE", f"{known}; worse by {percent(margin)} is not excluded; {more}"
    asked_of = "fresh data at the old learning rate" if same_rate else "a new learning rate"
    return "LRR204", "INCONCLUSIVE", f"{known}; below the {percent(floor)} asked of {asked_of}; {more}"


def _unnamed(scores: HoldoutScores, config: Config) -> str:
    """The column that would undo a PASS if its levels were whom rows are about; empty: none."""
    for name, codes in sorted(scores.suspects.items()):
        found = _compared(replace(scores, entity=codes), config, config.metric)
        if not found.low > -config.gates.margin:
            most = percent(np.unique(codes, return_counts=True)[1].max() / len(codes))
            held = f"one of the many levels of {name!r} holds {most} of the rows, and rows of one level share errors"
            return f'{held}: with [data] entity = "{name}" the gain is {percent(found.effect)} {found.interval}'
    return ""


def _shown(better: bool, margin: float) -> str:
    return "better" if better else f"not worse by {percent(margin)}"


def _second_line(beside: Comparison | None) -> str:
    """A ranking's log loss: told, because it decides sooner and may disagree, and never judged by."""
    if beside is None or not math.isfinite(beside.low):
        return ""
    return f" (told, not judged: log loss gain {percent(beside.effect)} {beside.interval})"


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
