"""The replay table: what every policy brought over one stretch of history, and what it cost."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lr_retune.config import Config
from lr_retune.errors import DataError, RetuneError
from lr_retune.metrics import loss_for
from lr_retune.records import Cost, Report
from lr_retune.replay.walk import Walk


@dataclass(frozen=True, slots=True)
class Best:
    """Between which prices of one refit a policy costs least, loss and work together."""

    low: float
    high: float | None  # None: whatever a refit costs
    unit: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the replay table."""

    name: str
    loss: float  # prequential: every row scored by the model that was champion when it arrived
    excess_pct: float  # above the best policy of the table
    actions: dict[str, int]
    outcomes: dict[str, int]
    retrains: int
    promotions: int
    cost: Cost
    errors: dict[str, int]  # run times that ended in an error, by its kind; the champion served on
    rollbacks: int = 0
    holds: int = 0  # runs that were held for a person or a broken feed
    refits_worth: float = 0.0  # its work in refits of average size
    dominated_by: str | None = None  # a policy with no more loss and no more work, and less of one
    best: Best | None = None  # None: at no price
    oracle_pct: float | None = None  # above the best schedule of as many retrains; None: not asked


@dataclass(frozen=True, slots=True)
class Oracle:
    """What hindsight would have reached with the models that the walks trained."""

    retrains: tuple[int, ...]  # 0, 1, …
    loss: tuple[float, ...]  # the least with so many


@dataclass(frozen=True, slots=True)
class Table:
    """What every policy would have brought over one stretch of history."""

    policies: tuple[Row, ...]
    ticks: int  # run times that were scored
    rows: int
    days: float = 0.0
    oracle: Oracle | None = None
    advice: str = ""
    every: int = 1  # ticks from run to run
    train_every: int | None = None  # of the policies that train whatever they see; None: at every run


def notes(table: Table) -> list[str]:
    """What a reader of the table must know."""
    said = [
        f"{table.ticks} runs, {table.rows:,} rows scored by the champion of their time",
        "work is in refits at the old rate, searches, final refits and probes included",
        "holds: runs that were held for a person or a broken feed",
    ]
    if table.oracle is not None:
        said.append("oracle +%: above the best schedule of as many trainings, which only hindsight knows")
    if table.every > 1:
        often = f"walked every {table.every} ticks, and a live run looks at each"
        so = "--every 1 walks as production does, --train-every spares what trains each time"
        said.append(f"{often}: alarms and follow-ups come later here; {so}")
    if table.train_every is not None:
        said.append(
            f"policies that train whatever they see (always, fixed-05 …) trained every {table.train_every} ticks"
        )
    return said


def tabulate(config: Config, walked: Sequence[Walk]) -> Table:
    """Losses over all rows at once, so a ranking metric compares scores of successive champions.

    Raises
    ------
    DataError
        If the rows do not give a loss.
    """
    loss = loss_for(config.metric)
    losses = [loss.value(each.y, each.score) for each in walked]
    if not all(math.isfinite(value) for value in losses):
        raise DataError(
            f"{len(walked[0].y)} labelled rows give no {config.metric.name}",
            why="nothing can be compared on the replayed stretch",
            fix="choose another stretch, or check [data] label",
        )
    best, unit = min(losses), _refit(walked)
    rows = tuple(
        _row(each, value, (value / best - 1) * 100 if best > 0 else 0.0, unit)
        for each, value in zip(walked, losses, strict=True)
    )
    return Table(rows, len(walked[0].reports) + 1, len(walked[0].y))


def _row(walked: Walk, loss: float, excess: float, unit: float) -> Row:
    done = [r for r in walked.reports if isinstance(r, Report)]
    outcomes = Counter(r.outcome for r in done)
    cost = sum(_costs(done), Cost())
    return Row(
        name=walked.name,
        loss=loss,
        excess_pct=excess,
        actions=dict(sorted(Counter(r.decision.action for r in done).items())),
        outcomes=dict(sorted(outcomes.items())),
        retrains=sum(r.result is not None for r in done),
        promotions=outcomes["promoted"],
        cost=cost,
        errors=dict(sorted(Counter(type(r).__name__ for r in walked.reports if isinstance(r, RetuneError)).items())),
        rollbacks=outcomes["rolled_back"],
        holds=outcomes["held"],
        refits_worth=cost.row_steps / unit if unit else 0.0,
    )


def _costs(reports: Sequence[Report]) -> Iterator[Cost]:
    """Work that the policy itself asked for: probes, a refit's control arm, a search's candidates, the final refit."""
    for report in reports:
        if report.facts.probe is not None and report.facts.probe.as_of == report.facts.as_of:
            yield report.facts.probe.cost
        if report.result is not None:
            cost = report.result.cost
            yield cost["control" if report.decision.action == "refit" else "search"]
            yield cost.get("refit", Cost())


def _refit(walked: Sequence[Walk]) -> float:
    """Work of a refit at the old rate; 0: there was none.

    The mean over those of the policy that always refits: it stands in every table, so that other policies do not move
    the unit. Where it was not walked, over all refits.
    """
    reports = [r for each in [w for w in walked if w.name == "always"] or walked for r in each.reports]
    done = [r for r in reports if isinstance(r, Report) and r.decision.action == "refit"]
    work = [r.result.cost["control"].row_steps for r in done if r.result is not None]
    return sum(work) / len(work) if work else 0.0
