"""Policies that teams run without us: what replay holds ours against. Pure."""

from __future__ import annotations

from datetime import timedelta

from lr_retune.config import Config
from lr_retune.records import TRAINING_ACTIONS, Action, Decision, Facts, History, Reason
from lr_retune.watch.policy import decision

SHARE = 0.5  # of the columns: Evidently's drift_share
SCORE = "score"  # told beside the columns, and none of them
WORSE = 0.05  # than promised


def never(facts: Facts, history: History, config: Config) -> Decision:
    """Keep the first champion for ever."""
    del history
    return decision("keep", (Reason("never", "this policy never trains"),), facts, config)


def always(facts: Facts, history: History, config: Config) -> Decision:
    """Refit at the old rate at every tick."""
    del history
    return decision("refit", (Reason("always", "this policy refits at every tick"),), facts, config)


def always_search(facts: Facts, history: History, config: Config) -> Decision:
    """Search the rate at every tick."""
    del history
    return decision("search", (Reason("always", "this policy searches at every tick"),), facts, config)


def timer(facts: Facts, history: History, config: Config, *, ticks: int, action: Action = "refit") -> Decision:
    """Train every so many ticks, counted from the last training or from birth."""
    trained = [d.as_of for d in history.decisions if d.action in TRAINING_ACTIONS]
    last = max([*trained, *([] if history.born is None else [history.born])], default=None)
    due = last is None or facts.as_of - last >= ticks * config.schedule.tick - _SLACK
    text = f"this policy trains every {ticks} ticks"
    return decision(action if due else "keep", (Reason("timer", text),), facts, config)


_SLACK = timedelta(hours=2)  # a tick in which clocks go forward is an hour short


def evidently_default(facts: Facts, history: History, config: Config) -> Decision:
    """Refit where half of the columns drifted by Evidently's defaults: its drift test fails from a share of .5 on.

    The figures are those of the native twin: normed Wasserstein and Jensen-Shannon distance, as Evidently takes them
    for references of more than 1,000 rows.
    """
    del history
    columns = [column for column in facts.drift if column.column != SCORE]
    drifted = sum(column.statistic >= column.threshold for column in columns)
    text = f"{drifted} of {len(columns)} columns drifted by Evidently's defaults"
    fires = bool(columns) and drifted >= SHARE * len(columns)
    return decision("refit" if fires else "keep", (Reason("drift_rule", text),), facts, config)


def metric_worse(facts: Facts, history: History, config: Config) -> Decision:
    """Refit where the newest loss is 5 % above the promise: the mean of the ticks that came since the last look."""
    known = [tick.loss for tick in facts.ticks if tick.mature and tick.loss is not None]
    if facts.loss is None or not known:
        return decision("keep", (Reason("no_evidence", "no tick has all its labels"),), facts, config)
    looked = history.decisions[-1].as_of if history.decisions else None
    since = len(known) if looked is None else max(1, (facts.as_of - looked) // config.schedule.tick)
    newest = known[-since:]
    loss, promised = sum(newest) / len(newest), facts.loss.promised
    text = f"loss {loss:.4g} on {len(newest)} ticks against {promised:.4g} promised"
    fires = loss > promised + WORSE * abs(promised)
    return decision("refit" if fires else "keep", (Reason("metric_rule", text),), facts, config)
