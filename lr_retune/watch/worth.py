"""Whether a risen loss is worth a retrain: what it costs to wait against what a retrain costs."""

from __future__ import annotations

import math
from datetime import timedelta

from lr_retune.config import Config, Worth
from lr_retune.records import Facts, History, LossEvidence, Probe


def worth(facts: Facts, loss: LossEvidence, history: History, config: Config) -> tuple[bool, str]:
    """Whether a retrain pays, and the two figures that say so.

    With ``[worth]`` in money, over the days until max_age brings a look anyway; else the loss above the promise
    summed over the ticks since the change must exceed ``[policy] budget``, a number of promised tick-losses. In money,
    only what a probe found fixable of a rise is saved, where there was a probe that could tell.
    """
    if config.worth is None:
        return _within_budget(loss, config)
    probe = facts.probe if loss is facts.loss else None
    return _in_money(_saved(probe, loss), _days_to_max_age(facts, history, config), config.worth)


def repays(probe: Probe, loss: LossEvidence, facts: Facts, history: History, config: Config) -> tuple[bool, str]:
    """Whether what a probe found is worth a retrain in money, and words to add; always, where no price is known."""
    if config.worth is None:
        return True, ""
    pays, text = _in_money(_share(probe.gain, loss), _days_to_max_age(facts, history, config), config.worth)
    return pays, f"; {text}"


def rise(loss: LossEvidence) -> str:
    """The evidence in words, such as "loss 81.2 against 74.1 promised (+9.6 %, CUSUM 7.1 spreads since …)"."""
    since = f" since {loss.since:%Y-%m-%d}" if loss.since else ""
    figures = f"{current(loss):.4g} against {loss.promised:.4g} promised"
    return (
        f"{figures} ({100 * _share(current(loss) - loss.promised, loss):+.1f} %, CUSUM {loss.cusum:.1f} spreads{since})"
    )


def current(loss: LossEvidence) -> float:
    """Mean loss since the estimated change; of all ticks where there is none."""
    return loss.value if loss.now is None else loss.now


def _in_money(share: float, days: float, price: Worth) -> tuple[bool, str]:
    per_day = max(0.0, 100.0 * share) * price.loss_1pct_per_day
    gain, cost, unit = per_day * days if days else 0.0, price.retrain, price.currency
    text = (
        f"expected gain {per_day:,.2f} {unit} a day, up to {gain:,.2f} {unit} in the {days:.0f} days to max_age, "
        f"against {cost:,.2f} {unit} a retrain"
    )
    return cost < gain, text


def _within_budget(loss: LossEvidence, config: Config) -> tuple[bool, str]:
    excess = (current(loss) - loss.promised) * max(loss.changed, 1)
    budget = config.policy.budget * abs(loss.promised)
    text = f"{excess:.4g} above the promise in sum since then, a retrain is due from {budget:.4g} on"
    return excess > budget, text


def _days_to_max_age(facts: Facts, history: History, config: Config) -> float:
    age = facts.as_of - history.last_settled if history.last_settled else timedelta(0)
    return max(timedelta(0), config.policy.max_age - age) / timedelta(days=1)


def _saved(probe: Probe | None, loss: LossEvidence) -> float:
    """Share of the promise that a retrain takes off: of the rise, what fresh data was seen to mend."""
    risen = current(loss) - loss.promised
    fixed = risen if probe is None or probe.gain <= probe.error else min(risen, probe.gain)
    return _share(fixed, loss)


def _share(amount: float, loss: LossEvidence) -> float:
    """As a share of the promise; above a promise of nothing it is infinite."""
    if loss.promised:
        return amount / abs(loss.promised)
    return math.copysign(math.inf, amount) if amount else 0.0
