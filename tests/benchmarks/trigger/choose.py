"""Is there one profile for all: thresholds and ages by what they lose and how often they cry wolf, chosen set by set.

Each set is left out in turn: what the others choose for it is what a stream that nobody has seen may expect.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

import numpy as np

from lr_retune.config import Config
from tests.benchmarks.search.tables import aligned
from tests.benchmarks.trigger import policies, shuffled
from tests.benchmarks.trigger.facts import configured
from tests.benchmarks.trigger.matrix import Matrix
from tests.benchmarks.trigger.policies import Clock, Outcome
from tests.benchmarks.trigger.shuffled import Amount, Count, bound

MOST_TICKS, MOST_ALARMS = 10.0, 6.0  # the bars: % of ticks, upper bound for each 1,000
ORDERS = Amount(orders=3)
CHEAP = {"profile": "cheap_retrain"}
POLICIES: dict[str, dict[str, object]] = {
    "careful": {},
    **{f"careful, max_age {ticks}": {"max_age": f"{ticks}d"} for ticks in (8, 12, 16, 30)},
    "careful, sure 2": {"sure": 2.0},
    "careful, h 5": {"cusum_h": 5.0},
    "careful, h 5, proof 2": {"cusum_h": 5.0, "proof": 2.0},
    "careful, h 5, max_age 12": {"cusum_h": 5.0, "max_age": "12d"},
    "careful, h 4": {"cusum_h": 4.0},
    "cheap, proof 1.64, gain .05": {**CHEAP, "proof": 1.64, "gain": 0.05},
    "cheap, wide spread": {**CHEAP, "spread": "wide"},
    "cheap_retrain": CHEAP,
    "cheap, gain .1": {**CHEAP, "gain": 0.1},
}
CLOCKS = (8, 16)  # ticks that an age clock begins with


@dataclass(frozen=True)
class Row:
    """One policy on all sets: what it loses, what it retrains, and what it would do if nothing changed."""

    name: str
    over_time: Sequence[Outcome]
    still: Sequence[Count]
    excess: np.ndarray  # per cent, of each set

    def share(self, kept: np.ndarray) -> float:
        """Per cent of the ticks that are retrained."""
        each = [o for o, here in zip(self.over_time, kept, strict=True) if here]
        return 100 * sum(len(o.retrains) for o in each) / sum(o.ticks for o in each)

    def alarms(self, kept: np.ndarray) -> float:
        """Upper bound of false ones for each 1,000 ticks, those by age apart."""
        each = [c for c, here in zip(self.still, kept, strict=True) if here]
        return bound([c.rate for c in each], sum(c.ticks for c in each))


def measured(matrices: Mapping[str, Matrix], best: Sequence[float], amount: Amount, jobs: int) -> Iterator[Row]:
    """A row at a time."""
    asked: list[tuple[str, Config, Clock | None]] = [(name, configured(**of), None) for name, of in POLICIES.items()]
    asked += [(f"careful, age clock from {first}", configured(), policies.doubling(first)) for first in CLOCKS]
    with ProcessPoolExecutor(jobs, mp_context=get_context("fork")) as pool:
        for name, config, clock in asked:
            found = [policies.ours(m, config, clock) for m in matrices.values()]
            one = partial(shuffled.watched, config=config, amount=amount)
            still = list(pool.map(one, matrices)) if clock is None else [one(each, clock=clock) for each in matrices]
            above = np.array([100 * (o.loss / b - 1) for o, b in zip(found, best, strict=True)])
            yield Row(name, found, still, above)


def tables(matrices: Mapping[str, Matrix], best: Sequence[float], amount: Amount, jobs: int) -> Iterator[str]:
    """All rows, then what is chosen for each set by the others, with and without the bar on false alarms."""
    rows = list(measured(matrices, best, amount, jobs))
    everything = np.ones(len(matrices), dtype=bool)
    yield aligned([_HEAD, *(_line(row, everything) for row in rows)])
    for title, allowed in (
        ("quiet: no more false alarms than the bar allows", lambda row, kept: row.alarms(kept) <= MOST_ALARMS),
        ("any: only the ticks that are retrained count", lambda _row, _kept: True),
    ):
        yield f"{title}\n{_left_out(rows, list(matrices), allowed)}"


_HEAD = ("", "excess %: mean", "median", "worst", "% of ticks", "by age", "false, 95 % bound", "false by age")


def _line(row: Row, kept: np.ndarray) -> tuple[str, ...]:
    return (
        row.name,
        f"{row.excess.mean():.2f}",
        f"{np.median(row.excess):.2f}",
        f"{row.excess.max():.1f}",
        f"{row.share(kept):.1f}",
        str(sum(o.by_age for o in row.over_time)),
        f"{row.alarms(kept):.2f}",
        f"{np.mean([c.aged_rate for c in row.still]):.2f}",
    )


def _left_out(rows: Sequence[Row], names: Sequence[str], allowed: Callable[[Row, np.ndarray], bool]) -> str:
    lines, lost = [("left out", "chosen by the others", "excess %", "retrains")], []
    for i, name in enumerate(names):
        kept = np.arange(len(names)) != i
        may = [row for row in rows if row.share(kept) <= MOST_TICKS and allowed(row, kept)]
        if not may:
            lines.append((name, "none", "", ""))
            continue
        row = min(may, key=lambda each: float(each.excess[kept].mean()))
        lost.append(row.excess[i])
        lines.append((name, row.name, f"{row.excess[i]:.1f}", str(len(row.over_time[i].retrains))))
    if lost:
        summary = f"mean {np.mean(lost):.2f}, median {np.median(lost):.2f}, worst {np.max(lost):.1f}"
        lines.append(("sets left out", summary, "", ""))
    return aligned(lines)
