"""Refit at the old rate, or search it anew: only where the rate's optimum may have moved. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lr_retune.config import Config, format_duration
from lr_retune.records import Action, Facts, History, Reason, Searched
from lr_retune.watch.told import ago

FACTOR = 2.0  # of rows, or of the spread between ticks
AGAIN = 4  # part of max_search_age before a search is repeated for what the last one left open


def kind(facts: Facts, history: History, config: Config, *, answers: bool = False) -> tuple[Action, tuple[Reason, ...]]:
    """What kind of training, and why the rate is searched where it is.

    Parameters
    ----------
    answers
        Whether it answers a change: then the newest rows are needed to learn from, and none can be spared to search by.
    """
    searched, limit = history.last_search, config.policy.max_search_age
    found: list[Reason] = []
    if answers:
        return "refit", ()
    if searched is None or facts.as_of - searched >= limit:
        when = "never searched" if searched is None else f"searched {ago(facts.as_of - searched)}"
        found = [Reason("search_age", f"the learning rate was {when}, max_search_age {format_duration(limit)}")]
    elif history.searched is not None:
        found = list(_moved(facts, history.searched, config))
    return ("search" if found else "refit"), tuple(found)


def _moved(facts: Facts, last: Searched, config: Config) -> Iterator[Reason]:
    rows = None if facts.probe is None else facts.probe.available
    if rows and last.rows and not 1 / FACTOR < (ratio := rows / last.rows) < FACTOR:
        yield Reason("rows_changed", f"{rows:,} rows to train on, {ratio:.2g} times those of the last search")
    spread = None if facts.loss is None else facts.loss.spread
    if spread and last.spread and not 1 / FACTOR < (ratio := spread / last.spread) < FACTOR:
        yield Reason("noise_changed", f"ticks spread {ratio:.2g} times as much as at the last search")
    if facts.as_of - last.as_of < config.policy.max_search_age / AGAIN:
        return
    if last.at_wall is not None:
        yield Reason("at_edge", f"the last search ended at the {last.at_wall} end of [search] learning_rate")
    elif last.starved:
        yield Reason("at_edge", "the last search ended next to a rate that ran out of steps")
    if last.rate_effect is not None and last.rate_effect >= config.gates.floor:
        yield Reason("rate_effect", f"the last new rate brought {last.rate_effect:.1%} by itself")
