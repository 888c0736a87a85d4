"""What each policy would have brought on real streams: ``python -m tests.benchmarks.replay``.

Per data set of ../shared/data one table; all figures but the last column are the same on every run and machine.

- ``loss``: of the set's metric, every row scored by the model in production when the row came (prequential).
- ``excess %``: above the best line of the table.
- ``runs``: run times after the first; timers train at each of theirs, the policy looks more often and decides.
- ``retrains``, ``promotions``: trained challengers, and those that became champion.
- ``errors``: runs that ended in an error; the champion served on.
- ``steps``: boosting rounds that the policy asked for; each retrain's permanent rows (old rate, fixed .05) are extra.
- ``CPU s``: of the whole walk with everything recorded, permanent rows included.

All lines meet the gates of a live run but ``always-ungated``, which promotes whatever it trains.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lr_retune.config import Config, load_config
from lr_retune.replay import USUAL, Row, Walk, instants, tabulate, walk

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Stretch:
    """Which part of a data set is walked, beside its ``<name>.toml``."""

    start: datetime
    end: datetime
    every: int  # ticks between two trainings by a timer
    look: int  # ticks between two looks of the policy


SETS = {
    "dc_bikeshare": Stretch(datetime(2014, 1, 6, tzinfo=UTC), datetime(2016, 1, 4, tzinfo=UTC), 28, 7),
    "bank_marketing": Stretch(datetime(2009, 4, 6, tzinfo=UTC), datetime(2010, 11, 22, tzinfo=UTC), 4, 1),
    "gas_turbine_nox": Stretch(datetime(2012, 6, 4, tzinfo=UTC), datetime(2014, 6, 2, tzinfo=UTC), 28, 7),
    "fraud_handbook_sim": Stretch(datetime(2018, 6, 18, tzinfo=UTC), datetime(2018, 9, 24, tzinfo=UTC), 14, 7),
}
HEAD = ("policy", "loss", "excess %", "runs", "retrains", "promotions", "errors", "steps", "CPU s")


def table(config: Config, stretch: Stretch, every: int) -> list[str]:
    """The lines printed for one data set."""
    timed = instants(config, stretch.start, stretch.end, every)
    looked = instants(config, stretch.start, timed[-1], math.gcd(every, stretch.look))
    walked = walk(config, timed, [name for name in USUAL if name != "policy"], progress=_progress)
    walked += walk(config, looked, ["policy"], progress=_progress)
    found = tabulate(config, walked)
    lines = [_cells(row, each) for row, each in zip(found.policies, walked, strict=True)]
    when = f"from {timed[0]:%Y-%m-%d} to {timed[-1]:%Y-%m-%d}"
    pace = f"timers every {_days(timed)} days, policy every {_days(looked)}"
    return [f"{config.name}: {config.metric.name} of {found.rows:,} rows {when}; {pace}", *_aligned([HEAD, *lines])]


def _days(times: Sequence[datetime]) -> int:
    return (times[1] - times[0]).days


def _cells(row: Row, walked: Walk) -> tuple[str, ...]:
    counts = (len(walked.reports), row.retrains, row.promotions, sum(row.errors.values()))
    return (
        row.name,
        f"{row.loss:.4g}",
        f"{row.excess_pct:.1f}",
        *map(str, counts),
        f"{row.cost.steps:,}",
        f"{walked.timing['cpu_s']:.0f}",
    )


def _aligned(lines: Sequence[tuple[str, ...]]) -> list[str]:
    """The first column to the left, figures to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return [
        "  ".join([cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])
        for cells in lines
    ]


def _progress(message: str) -> None:
    print(f"\r{message:<40}", end="", file=sys.stderr, flush=True)  # noqa: T201 what a benchmark is for


def main() -> None:
    """Walk the sets that were asked for."""
    parser = argparse.ArgumentParser(description="What each policy would have brought on real streams.")
    parser.add_argument("--sets", default=",".join(SETS), help="comma separated, all by default")
    parser.add_argument("--every", type=int, help="ticks between two run times, instead of the set's own")
    asked = parser.parse_args()
    for name in asked.sets.split(","):
        config = load_config(HERE / f"{name}.toml", environ={})
        lines = table(config, SETS[name], asked.every or SETS[name].every)
        print("\r" + " " * 40 + "\r", end="", file=sys.stderr)  # noqa: T201
        print("\n".join(lines), end="\n\n", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
