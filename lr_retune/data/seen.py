"""What a check may know about a feed and its contract."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lr_retune.config import Config
from lr_retune.data.join import Joined
from lr_retune.data.kinds import kind_of
from lr_retune.data.labels import Labels
from lr_retune.records import Contract, Span


@dataclass(frozen=True, slots=True)
class Seen:
    """What a check may know."""

    config: Config
    as_of: datetime
    schema: Mapping[str, str]
    contract: Contract
    span: Span
    table: Any  # raw rows of the span, at most `[watch] sample`: contract columns, roles, id, new categories
    every: Any  # all rows of the span: roles and id
    labels: Labels  # of all rows
    newest: datetime | None  # time of the feed's newest row
    importance: Mapping[str, float]
    matters: float
    before: Callable[[str], Any]  # a column's raw values on the rows before the span
    repeated: Callable[[Sequence[str], float], tuple[float, float]]  # see `repeats.repeated_share`
    joined: Joined | None = None  # how labels of their own feed fit the rows
    derived: Mapping[str, str] = field(default_factory=dict)  # column of feature code → what it reads that is gone

    def important(self, name: str) -> bool:
        """A column that blocks; without a model every column does."""
        if name in self.config.data.exclude:  # given up on purpose: the next challenger does without
            return False
        return not self.importance or self.importance.get(name, 0.0) >= self.matters

    @property
    def new(self) -> list[str]:
        """Columns that neither the contract nor the configuration names."""
        data = self.config.data
        if data.features is not None:
            return []
        named = {*self.contract.names, *self.config.roles, *data.exclude}
        return [name for name, kind in self.schema.items() if name not in named and kind_of(kind)]

    def hint(self, name: str) -> str:
        """Which new column a missing one may have become, or what it was derived from."""
        if name in self.derived:
            return f": its transform reads {self.derived[name]}"
        near = difflib.get_close_matches(name, self.new, n=1, cutoff=0.6)
        gone = [n for n in self.contract.names if n not in self.schema]
        if not near and len(self.new) == 1 and gone == [name]:
            near = self.new
        return f"; renamed to {near[0]!r}?" if near else ""
