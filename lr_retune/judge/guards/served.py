"""What serving feels: alerts at the decision threshold, steps and bytes; and gains that are too good to be true."""

from __future__ import annotations

import math

import numpy as np

from lr_retune.config import Config
from lr_retune.judge.guards.common import LEAST_TICKS, Answer, blind, lower_bound, not_asked, verdict
from lr_retune.metrics import loss_for
from lr_retune.records import HoldoutScores, TuneResult, Verdict

LIGHT_STEPS, LIGHT_BYTES = 500, 1_000_000  # as fast and small as that, and no ratio matters
ALONE = 0.8  # share of the importance that one suspicious feature has


def alert_rate(scores: HoldoutScores, _result: TuneResult, config: Config) -> Verdict:
    """Whether about as many rows raise an alert as under the champion, each at its own version's threshold."""
    return verdict("alert_rate", blind(scores) or _alerts(scores, config))


def _alerts(scores: HoldoutScores, config: Config) -> Answer:
    threshold, most = config.decision_threshold, config.gates.alert_ratio
    if threshold is None:
        return not_asked("[gates] threshold is not set")
    old = threshold if scores.threshold is None else scores.threshold
    ticks, where = np.unique(scores.tick, return_inverse=True)
    before, after = (
        np.bincount(where, s >= t, minlength=len(ticks))
        for s, t in ((scores.champion, old), (scores.challenger, threshold))
    )
    ratio = _log_ratio(before.sum(), after.sum())
    told = f"{after.sum():.0f} alerts of {len(scores.y)} rows, the champion {before.sum():.0f}, ×{math.exp(ratio):.2f}"
    if len(ticks) < LEAST_TICKS or abs(ratio) <= math.log(most):
        return "LRR340", "PASS", f"{told}; at most ×{most:g} either way"
    side = math.copysign(1.0, ratio)
    rest = side * np.array([_log_ratio(before.sum() - b, after.sum() - a) for b, a in zip(before, after, strict=True)])
    if lower_bound(abs(ratio), rest) > 0:
        return "LRR341", "FAIL", f"{told}; at most ×{most:g} either way"
    return "LRR340", "PASS", f"{told}, which chance may bring"


def _log_ratio(before: float, after: float) -> float:
    return math.log((after + 0.5) / (before + 0.5))


def serving_cost(scores: HoldoutScores, result: TuneResult, config: Config) -> Verdict:
    """Whether the challenger is about as large and as slow as the champion."""
    return verdict("serving_cost", blind(scores) or _cost(scores, result, config))


def _cost(scores: HoldoutScores, result: TuneResult, config: Config) -> Answer:
    new, old, gates = result.challenger, scores.served, config.gates
    if new is None or old is None:
        return not_asked("there is no champion to compare sizes with")
    counted, unit = result.step_unit == "rounds", result.step_unit.removesuffix("s" if new.steps == 1 else "")
    most, largest = max(LIGHT_STEPS, gates.steps_ratio * old[0]), max(LIGHT_BYTES, gates.size_ratio * old[1])
    told = f"{new.steps:,} {unit} and {new.size:,} bytes, the champion {old[0]:,} and {old[1]:,}; "
    told += f"at most {f'{most:,.0f} and ' if counted else ''}{largest:,.0f}{'' if counted else ' bytes'} are allowed"
    slow, large = counted and new.steps > most, new.size > largest
    return ("LRR371", "FAIL", told) if slow or large else ("LRR370", "PASS", told)


def too_good(scores: HoldoutScores, result: TuneResult, config: Config) -> Verdict:
    """Whether the challenger's loss lies far below anything that this stream has shown without a leak.

    That is: below a share of what it loses now and of the least that any champion of this model promised, and below the
    champion's best tick. A world that changed makes champions worse, so winning that back is not too good.
    """
    return verdict("too_good", blind(scores) or _too_good(scores, result, config))


def _too_good(scores: HoldoutScores, result: TuneResult, config: Config) -> Answer:
    if not scores.promised:
        return not_asked("the champion promised another loss")
    loss = loss_for(config.metric)
    now, new = loss.value(scores.y, scores.champion), loss.value(scores.y, scores.challenger)
    own = float(np.mean(scores.promised))
    least = min(now, own, own if scores.best is None else scores.best)
    bound = min((1 - config.gates.too_good) * least, *scores.promised)
    told = f"loss {new:.4g}, the champion now {now:.4g} and at its own judgement {own:.4g}; suspect below {bound:.4g}"
    if not new < bound:
        return "LRR360", "PASS", told
    return "LRR361", "INCONCLUSIVE", f"{told}: too good to be true{_suspect(result)}"


def _suspect(result: TuneResult) -> str:
    shares = {} if result.challenger is None else result.challenger.importance
    name = max(shares, key=lambda n: shares[n], default="")
    return f"; look at {name!r}, which carries {shares[name]:.0%}" if name and shares[name] >= ALONE else ""
