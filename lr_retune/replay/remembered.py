"""What fits have answered, by the rows and the seed that they were begun with: as much as there is room for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from lr_retune.records import FittedModel

MOST = 256 * 1024**2  # bytes of answers that are remembered: scores and models of some hundred trainings


@dataclass(slots=True)
class Told:
    """What fits of one name have answered on some rows."""

    curve: np.ndarray = field(default_factory=lambda: np.empty(0))  # (n_steps,)
    ended: bool = False  # no step could be taken after the last of the curve
    scores: dict[int, np.ndarray] = field(default_factory=dict)  # steps → (n_valid,)
    models: dict[int, FittedModel] = field(default_factory=dict)  # by steps
    step_s: float = 0.0  # CPU seconds of one step


@dataclass(slots=True)
class Begun:
    """What is known of one set of rows and one seed."""

    train_rows: int
    start_s: float  # CPU seconds that it took to begin
    baseline: float | None = None
    fits: dict[tuple[str, str], Told] = field(default_factory=dict)  # a rate as it is written, and a schedule
    size: int = 0  # bytes of scores and models


class Answers:
    """All that fits have answered; where it grows too large, what was asked for longest ago is forgotten."""

    def __init__(self, spare: Callable[[float], None]) -> None:
        self._begun: dict[str, Begun] = {}  # the newest last
        self.spare = spare  # told CPU seconds that were not spent again

    def find(self, key: str) -> Begun | None:
        """What is known under a key."""
        if (found := self._begun.pop(key, None)) is not None:
            self._begun[key] = found
        return found

    def add(self, key: str, begun: Begun) -> None:
        """Remember one more, and forget the oldest where that is too much."""
        self._begun[key] = begun
        while len(self._begun) > 1 and sum(each.size for each in self._begun.values()) > MOST:
            del self._begun[next(iter(self._begun))]
