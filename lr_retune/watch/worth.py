"""Whether a risen loss is worth a retrain: what it costs to wait against what a retrain costs."""

from __future__ import annotations

import math
from datetime import timedelta

from lr_retune.config import Config, Worth
from lr_retune.records import Facts, History, LossEvidence


def worth(facts: Facts, loss: LossEvidence, history: History, config: Config) -> tuple[bool, str]:
    """Whether a retrain pays, and the two figures that say so.

    With ``[worth]`` in money, over the days until max_age brings a retrain anyway; else the loss above the promise
    summed over the ticks since the change must exceed ``[policy] budget``, a number of promised tick-losses.
    """
    if config.worth is None:
        return _within_budget(facts, loss, config)
    return _in_money(facts, loss, _days_to_max_age(facts, history, config), config.worth)


def rise(facts: Facts, loss: LossEvidence) -> str:
    """The evidence in words, such as "loss 81.2 against 74.1 promised (+9.6 %, CUSUM 7.1 spreads since …)"."""
    since = f" since {loss.since:%Y-%m-%d}" if loss.since else ""
    figures = f"loss {_current(facts, loss):.4g} against {loss.promised:.4g} promised"
    return f"{figures} ({100 * _share(facts, loss):+.1f} %, CUSUM {loss.cusum:.1f} spreads{since})"


def _in_money(facts: Facts, loss: LossEvidence, days: float, price: Worth) -> tuple[bool, str]:
    per_day = max(0.0, 100.0 * _share(facts, loss)) * price.loss_1pct_per_day
    gain, cost, unit = per_day * days if days else 0.0, price.retrain, price.currency
    text = f"a retrain costs {cost:,.2f} {unit} and saves up to {gain:,.2f} {unit} in the {days:.0f} days to max_age"
    return cost < gain, text


def _within_budget(facts: Facts, loss: LossEvidence, config: Config) -> tuple[bool, str]:
    changed = _since_change(facts, loss) or [loss.value]
    excess = math.fsum(value - loss.promised for value in changed)
    budget = config.policy.budget * abs(loss.promised)
    text = f"{excess:.4g} above the promise in sum since then, a retrain is due from {budget:.4g} on"
    return excess > budget, text


def _days_to_max_age(facts: Facts, history: History, config: Config) -> float:
    age = facts.as_of - history.last_settled if history.last_settled else timedelta(0)
    return max(timedelta(0), config.policy.max_age - age) / timedelta(days=1)


def _since_change(facts: Facts, loss: LossEvidence) -> list[float]:
    since = loss.since
    return [t.loss for t in facts.ticks if since and t.start >= since and t.mature and t.loss is not None]


def _current(facts: Facts, loss: LossEvidence) -> float:
    """Mean loss since the estimated change; of all ticks where there is none."""
    changed = _since_change(facts, loss)
    return math.fsum(changed) / len(changed) if changed else loss.value


def _share(facts: Facts, loss: LossEvidence) -> float:
    """Rise of the loss as a share of the promise; above a promise of nothing it is infinite."""
    found = _current(facts, loss) - loss.promised
    if loss.promised:
        return found / abs(loss.promised)
    return math.copysign(math.inf, found) if found else 0.0
