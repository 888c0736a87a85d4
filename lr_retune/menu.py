"""Every installed strategy on the user's own rows, beside the old rate and the fixed one: ``search --strategy all``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from lr_retune import steps
from lr_retune.config import Config
from lr_retune.errors import ConfigError
from lr_retune.plugins import CONSTANT, find, installed, load_plugins
from lr_retune.records import Candidate, Cost, Decision, Family, Trial, TuneResult
from lr_retune.retune import prepared
from lr_retune.stores.promotion import Stores


@dataclass(frozen=True, slots=True)
class Row:
    """One way to come by a rate: what it cost, and what its model loses on rows that it has not seen."""

    name: str
    candidate: Candidate | None  # None: no trial ended well, or the strategy could not run
    later: float | None = None  # loss on the holdout
    cost: Cost = field(default_factory=Cost)
    timing: Mapping[str, float] = field(default_factory=dict)  # none: it was trained beside another row
    note: str = ""


def compare(
    config: Config, stores: Stores, as_of: datetime, *, tell: Callable[[Trial | str], None] = lambda _message: None
) -> list[Row]:
    """Search with each strategy on the same train and valid, and score what came out on the holdout.

    A strategy that another family calls its own is left out: it judges steps of one kind by the rules of another.
    Nothing is recorded. Whoever picks a strategy by the last column has looked at the holdout.

    Raises
    ------
    RetuneError
        As `lr_retune.retune.search_only`.
    """
    plugins = load_plugins(config, tell)
    plan, seen, past = prepared(config, stores, as_of, plugins)
    past = replace(past, champion=None)  # the champion's rows say nothing about a strategy
    kept = Stores.in_memory(config)

    def later(candidate: Candidate | None) -> float | None:
        return None if candidate is None else steps.holdout_loss(config, plugins, kept, plan, seen, candidate)

    rows: list[Row] = []
    fixed: Row | None = None
    for name in _names(plugins.family):
        asked: dict[str, object] = {"strategy": name, "jobs": 1, "dask": None}
        asked |= {"schedules": None} if name in CONSTANT else {}
        changed = config.model_copy(update={"search": config.search.model_copy(update=asked)})
        tell(name)
        try:
            mine = replace(plugins, strategy=find("strategies", name))
        except ConfigError as error:  # an extra that is not installed
            rows.append(Row(name, None, note=str(error)))
            continue
        found = steps.tune(changed, mine, kept, plan, seen, past, alone=True)
        fixed = Row(f"fixed {plugins.family.default_rate:g}", found.fixed, later(found.fixed), found.cost["fixed"])
        note = "" if found.challenger else _why(found)
        rows.append(Row(name, found.challenger, later(found.challenger), found.cost["search"], found.timing, note))
    rows += [] if fixed is None else [fixed]
    if seen is None:
        return rows
    again = steps.tune(config, plugins, kept, plan, replace(seen, decision=Decision("", "refit", ())), past)
    name = f"keep {seen.champion.learning_rate:g}"
    return [*rows, Row(name, again.control, later(again.control), again.cost["control"], again.timing)]


def _names(family: Family) -> list[str]:
    """The family's own first, then the rest by name."""
    theirs = {getattr(find("families", name), "default_strategy", "grid") for name in installed("families")} - {"grid"}
    rest = (name for name in installed("strategies") if name not in theirs | {"fixed"})
    return list(dict.fromkeys([family.default_strategy, *rest]))


def _why(found: TuneResult) -> str:
    return next((trial.note for trial in found.trials if trial.note), "no trial ended well")
