"""Whether what passed should be fitted once more on all rows: ``python -m tests.benchmarks.refit``.

Every set of ../shared/data is walked twice by the same policies, with ``[promote] refit`` "none" and "after_pass". All
figures are the same on every run and machine.

- ``none``, ``after_pass``: prequential loss of the metric, each row scored by the model in production when it came.
- ``change %``: of the second against the first; negative is better.
- ``promoted``: challengers that became champion, of those trained, with "none" and with "after_pass".
- ``more work %``: training row-steps of the refits beside those of all other fits of these runs.

``never`` serves the first model throughout, so it tells what the first model's own refit brought. The last lines are
mean, median and worst over the sets, and how many of them were better.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean, median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lr_retune.config import Config, parse_config
from lr_retune.records import Report
from lr_retune.replay import Walk, instants, tabulate, walk

DATA = Path(__file__).parents[3] / "shared" / "data"
POLICIES = ("never", "always", "always-ungated", "policy")
MODES = ("none", "after_pass")
LONG = {"train": "364d", "valid": "56d", "holdout": "84d"}


@dataclass(frozen=True)
class Setup:
    """How a team with such a stream would configure it, and which part is walked."""

    task: str
    metric: str
    start: datetime
    end: datetime
    every: int  # ticks between two trainings by a timer
    look: int  # ticks between two looks of the policy
    tick: str = "1d"
    window: Mapping[str, str] = field(default_factory=dict)
    labels_late: bool = False
    thin: int = 1  # every so many rows of the file
    per_day: int | None = None  # rows of a made-up day, where the file's times are years


def _day(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


SETS = {
    "bank_marketing": Setup("binary", "log_loss", _day(2009, 4, 6), _day(2010, 11, 22), 4, 1, "7d", LONG),
    "bitcoin_otc": Setup("binary", "log_loss", _day(2012, 9, 3), _day(2015, 6, 1), 8, 2, "7d", LONG),
    "dc_bikeshare": Setup("regression", "mae", _day(2014, 1, 6), _day(2016, 1, 4), 42, 7),
    "elec2": Setup("binary", "log_loss", _day(1997, 6, 2), _day(1998, 11, 30), 28, 7),
    "employment_ma": Setup("binary", "log_loss", _day(2000, 8, 1), _day(2001, 7, 1), 21, 7, thin=6, per_day=80),
    "fraud_handbook_sim": Setup(
        "binary",
        "log_loss",
        _day(2018, 6, 18),
        _day(2018, 9, 24),
        7,
        7,
        window={"train": "28d", "valid": "14d", "holdout": "14d"},
        labels_late=True,
        thin=2,
    ),
    "gas_turbine_nox": Setup("regression", "mae", _day(2012, 6, 4), _day(2014, 6, 2), 42, 7),
    "hotel_cancel": Setup(
        "binary", "log_loss", _day(2016, 5, 2), _day(2017, 5, 1), 21, 7, window={"train": "182d"}, labels_late=True
    ),
    "metro_traffic": Setup("regression", "mae", _day(2016, 5, 2), _day(2018, 9, 3), 56, 7),
    "noaa_weather": Setup(
        "binary",
        "log_loss",
        _day(1965, 1, 4),
        _day(1997, 1, 6),
        104,
        26,
        "7d",
        {"train": "3650d", "valid": "364d", "holdout": "728d"},
    ),
    "vic_elec": Setup("regression", "mae", _day(2013, 6, 3), _day(2014, 12, 1), 35, 7),
}


def configured(name: str, setup: Setup, folder: Path, refit: str) -> Config:
    """The configuration of a set; its rows are put into ``folder``."""
    file = folder / f"{name}.parquet"
    if not file.exists():
        pq.write_table(_rows(name, setup), file)
    late = {"label_time": "label_ts"} if setup.labels_late else {}
    document = {
        "config_version": 1,
        "name": name,
        "task": setup.task,
        "schedule": {"tick": setup.tick},
        "data": {"path": str(file), "time": "ts", "label": "y", "exclude": ["step"], **late},
        "window": dict(setup.window),
        "metric": {"name": setup.metric},
        "search": {"learning_rate": {"low": 0.02, "high": 0.3}, "points": 5},
        "promote": {"refit": refit},
    }
    return parse_config(document, root=folder)


def _rows(name: str, setup: Setup) -> pa.Table:
    table = pq.read_table(DATA / f"{name}.parquet")
    table = table.take(np.arange(0, table.num_rows, setup.thin))
    if setup.per_day is None:
        return table
    step = timedelta(days=1) // setup.per_day
    times = pa.array([datetime(2000, 1, 1) + step * n for n in range(table.num_rows)])  # noqa: DTZ001 as the files have it
    return table.set_column(table.column_names.index("ts"), "ts", times)


@dataclass(frozen=True)
class Line:
    """One policy on one set, both ways."""

    policy: str
    loss: tuple[float, ...]
    promoted: tuple[str, ...]
    more: float

    @property
    def change(self) -> float:
        """Per cent."""
        return (self.loss[1] / self.loss[0] - 1) * 100


def measured(name: str, setup: Setup, policies: Sequence[str], folder: Path) -> list[Line]:
    """All policies on one set."""
    walks = {}
    for refit in MODES:
        config = configured(name, setup, folder, refit)
        walks[refit] = list(_walked(config, setup, policies))
    tables = {refit: tabulate(config, walked).policies for refit, walked in walks.items()}
    return [
        Line(
            policy,
            tuple(tables[refit][n].loss for refit in MODES),
            tuple(f"{tables[refit][n].promotions}/{tables[refit][n].retrains}" for refit in MODES),
            _more(walks["after_pass"][n]),
        )
        for n, policy in enumerate(policies)
    ]


def _walked(config: Config, setup: Setup, policies: Sequence[str]) -> Iterator[Walk]:
    timed = instants(config, setup.start, setup.end, setup.every)
    looked = instants(config, setup.start, timed[-1], math.gcd(setup.every, setup.look))
    timers = walk(config, timed, [name for name in policies if name != "policy"], progress=_progress)
    for name in policies:
        yield walk(config, looked, [name], progress=_progress)[0] if name == "policy" else timers.pop(0)


def _more(walked: Walk) -> float:
    done = [r.result.cost for r in walked.reports if isinstance(r, Report) and r.result is not None]
    refits = sum(cost["refit"].row_steps for cost in done if "refit" in cost)
    rest = sum(each.row_steps for cost in done for role, each in cost.items() if role != "refit")
    return 100 * refits / rest if rest else 0.0


def told(lines: Mapping[str, Sequence[Line]]) -> Iterator[str]:
    """The table."""
    form = "{:<20} {:<15} {:>9} {:>11} {:>9} {:>9} {:>11} {:>12}"
    yield form.format("set", "policy", "none", "after_pass", "change %", "promoted", "after_pass", "more work %")
    for name, each in lines.items():
        for line in each:
            first, second = (f"{loss:.4g}" for loss in line.loss)
            yield form.format(
                name, line.policy, first, second, f"{line.change:+.2f}", *line.promoted, f"{line.more:.0f}"
            )
    yield ""
    form = "{:<20} {:<15} {:>9} {:>9} {:>9} {:>9}"
    yield form.format("over the sets", "policy", "mean", "median", "worst", "better")
    for n, line in enumerate(next(iter(lines.values()))):
        found = [each[n].change for each in lines.values()]
        figures = (f"{value:+.2f}" for value in (fmean(found), median(found), max(found)))
        yield form.format("", line.policy, *figures, f"{sum(c < 0 for c in found)}/{len(found)}")


def _progress(message: str) -> None:
    print(f"\r{message:<40}", end="", file=sys.stderr, flush=True)  # noqa: T201 what a benchmark is for


def main() -> None:
    """Walk the sets that were asked for."""
    parser = argparse.ArgumentParser(description="Refit after a pass, against none, by replay.")
    parser.add_argument("--sets", default=",".join(SETS), help="comma separated, all by default")
    parser.add_argument("--policies", default=",".join(POLICIES))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines: dict[str, Sequence[Line]] = {}
        for name in asked.sets.split(","):
            lines[name] = measured(name, SETS[name], asked.policies.split(","), Path(folder))
            print(f"\r{name} is done{'':<40}", file=sys.stderr)  # noqa: T201
    print("\n".join(told(lines)))  # noqa: T201


if __name__ == "__main__":
    main()
