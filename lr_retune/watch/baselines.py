"""Policies that look at nothing: what replay holds ours against."""

from __future__ import annotations

from lr_retune.config import Config
from lr_retune.records import Decision, Facts, History, Reason
from lr_retune.watch.policy import decision


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
