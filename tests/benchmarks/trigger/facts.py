"""Loss series as the facts and the history that the policy is asked with: one tick a day from 2001 on."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from lr_retune.config import Config, parse_config
from lr_retune.records import Action, Facts, History, Outcome, PastDecision, TickLoss
from lr_retune.watch import policy
from lr_retune.watch.series import evidence, rebased

BEGIN = datetime(2001, 1, 1, tzinfo=UTC)
NEVER = "36500d"  # an age that no stretch reaches: age retrains are counted apart


def configured(**policy: Any) -> Config:
    """A configuration of daily ticks without ``[worth]`` in money; keys of ``[policy]`` as given."""
    document = {
        "config_version": 1,
        "name": "trigger",
        "task": "binary",
        "data": {"path": "rows.parquet", "time": "ts", "label": "y"},
        "metric": {"name": "log_loss"},
        "policy": {"max_age": NEVER, "max_search_age": NEVER, **policy},
    }
    return parse_config(document, root=Path())


@lru_cache(maxsize=1000)
def day(tick: int) -> datetime:
    """Start of a tick."""
    return BEGIN + timedelta(days=tick)


@dataclass(frozen=True)
class Served:
    """A champion's life so far, as the watch sees it."""

    champion: str
    first: int  # tick it serves from
    losses: np.ndarray  # of the ticks from then on
    rows: np.ndarray  # the same shape
    promise: np.ndarray  # losses per tick that it was promoted on


@dataclass
class Ledger:
    """What was decided, growing."""

    born: datetime
    decisions: list[PastDecision] = field(default_factory=list)

    @property
    def history(self) -> History:
        return History(tuple(self.decisions), self.born)

    def remember(self, facts: Facts, key: str, action: Action, codes: tuple[str, ...], outcome: Outcome) -> None:
        since, level = (None, None) if facts.loss is None else (facts.loss.since, facts.loss.level)
        self.decisions.append(
            PastDecision(key, facts.as_of, action, codes, outcome, facts.champion, since, level, probe=facts.probe)
        )


def answered(facts: Facts, history: History, config: Config) -> tuple[Action, tuple[str, ...]]:
    """What `decide` answers, without its digests, which take most of its time: action and codes of the first rule."""
    action, reasons = policy.answered(facts, history, config)
    return action, tuple(reason.code for reason in reasons)


def observed(served: Served, history: History, config: Config) -> Facts:
    """What is known at the end of the champion's last tick; all labels are."""
    count = len(served.losses)
    first = max(0, count - config.watch.ticks)
    ticks = tuple(_tick(served, i) for i in range(first, count))
    rows = int(served.rows[first:].sum())
    asked = ticks, float(served.promise.mean()), tuple(served.promise.tolist())
    harder = history.rebased(served.champion)
    if harder is not None and harder.since is not None and harder.level is not None:
        asked = rebased(*asked, harder.since, harder.level)
    end = day(served.first + count)
    return Facts(
        as_of=end,
        champion=served.champion,
        horizon=end,
        rows=rows,
        matured_rows=rows,
        positives=None,  # thinned rows hold fewer than the feed does
        ticks=ticks,
        loss=evidence(*asked, config.policy),
    )


def _tick(served: Served, i: int) -> TickLoss:
    start, rows = served.first + i, int(served.rows[i])
    return TickLoss(day(start), day(start + 1), rows, rows, float(served.losses[i]))
