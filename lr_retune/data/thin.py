"""Which of many rows are read: drawn by their order in time alone, so that every source draws the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from lr_retune.data.kinds import micros_of
from lr_retune.records import Source

Choose = Callable[[np.ndarray], "np.ndarray | None"]  # ascending times → ascending positions; None: every row


@runtime_checkable
class Thin(Protocol):
    """A source that need not hold every row to read some of them."""

    def pick(self, columns: Sequence[str], start: datetime | None, end: datetime, choose: Choose) -> Any:
        """Those rows of ``read`` that ``choose`` takes by their times."""


def read(
    source: Source, columns: Sequence[str], start: datetime | None, end: datetime, time: str, choose: Choose | None
) -> Any:
    """Chosen rows of a source; ``columns`` hold ``time``."""
    if choose is None:
        return source.read(columns, start, end)
    if isinstance(source, Thin):
        return source.pick(columns, start, end, choose)
    table = source.read(columns, start, end)
    which = choose(micros_of(table.column(time)))
    return table if which is None else table.take(pa.array(which))


def drawn(limit: int, seed: int) -> Choose:
    """At most ``limit`` rows, each as likely as any other."""

    def choose(times: np.ndarray) -> np.ndarray | None:
        return None if len(times) <= limit else _some(len(times), limit, np.random.default_rng(seed))

    return choose


def share(of: float, seed: int) -> Choose:
    """A share of the rows; all of them where it is 1."""

    def choose(times: np.ndarray) -> np.ndarray | None:
        return None if of >= 1 else _some(len(times), int(of * len(times)), np.random.default_rng(seed))

    return choose


def by_tick(limit: int, cuts: np.ndarray, seed: int) -> Choose:
    """At most ``limit`` rows between two neighbouring ``cuts`` (microseconds UTC), the same whatever else is read."""

    def choose(times: np.ndarray) -> np.ndarray | None:
        places = np.searchsorted(times, cuts)
        if not len(times) or np.diff(places).max(initial=0) <= limit:
            return None
        parts = []
        for cut, low, high in zip(cuts[:-1].tolist(), places[:-1].tolist(), places[1:].tolist(), strict=True):
            few = high - low <= limit
            rng = np.random.default_rng([seed, cut % 2**63])
            parts.append(low + (np.arange(high - low) if few else _some(high - low, limit, rng)))
        return np.concatenate(parts)

    return choose


def among(present: np.ndarray, choose: Choose) -> Choose:
    """``choose`` as if only the rows of the mask ``present`` were there."""

    def chosen(times: np.ndarray) -> np.ndarray | None:
        which = choose(times[present])
        return None if which is None else np.flatnonzero(present)[which]

    return chosen


def noted(choose: Choose, cut: list[bool]) -> Choose:
    """``choose``, and a note of whether it left rows out."""

    def chosen(times: np.ndarray) -> np.ndarray | None:
        which = choose(times)
        cut.append(which is not None)
        return which

    return chosen


def _some(rows: int, limit: int, rng: np.random.Generator) -> np.ndarray:
    return np.sort(rng.choice(rows, limit, replace=False))
