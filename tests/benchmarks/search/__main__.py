"""What a search costs and what it finds, beside others: ``python -m tests.benchmarks.search [--quick] [--sets a,b]``.

Every set of ../shared/data at several times, cut by the project's own feed and plan into train, valid and later rows
that nothing was tuned on. All rows of the tables are searched on the same rows, with the same early stopping, on one
thread. All figures but CPU are the same on every run and machine, those of SGD's ``work`` apart.

- ``work %``: mean share of grid10's: boosting rounds, or epochs of one column. SGD trains many columns in one pass over
  the rows: a pass counts as its CPU over that of one column's pass, by the family or scikit-learn, the cheaper one.
- ``CPU %``: the same for CPU seconds, binning or transforming the rows included. A fit of trees that two rows ask for
  is trained once, and both are charged what it took.
- ``refit %``: work of the last fit of those that keep no model. It is in neither column before.
- ``regret %``: loss on valid above the best of ``dense``, over all times; below 0 a rate in between won.
- ``later %``: loss on later rows above that of dense's winner, plus is worse: the mean of each set; interval by drawing
  sets anew.
- ``lowest``: regret of the lowest trial of a search, taken or not: what estimating instead of taking it costs on valid.
- ``steps``, ``ms/1,000 rows``: trees (or epochs) of the model that is served, and CPU to score 1,000 rows; medians.
- ``MB``: peak of one search above what the process held before it.

Ours answer as a search of the product does: of trees the family's fixed rate stays unless the winner leads it; its fit
is charged to its own row alone. ``half an error``: half the lead is asked; ``bracket's winner``: no fixed rate.
``keep``: the rate that grid10 chose at the time before. ``history``: the trials of earlier times are known.
Needs the extra ``optuna``, and half an hour of one free core; ``--quick`` three minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

from tests.benchmarks.search import measure, tables
from tests.benchmarks.search.figures import Line, against_laboratory, bars, line
from tests.benchmarks.search.peers import PEERS, TRIALS
from tests.benchmarks.search.rows import GRID, MOST_STEPS, PATIENCE, SCHEDULES, Found
from tests.benchmarks.search.streams import MOST_ROWS, SETS
from tests.benchmarks.search.walk import walked

QUICK = ("bank_marketing", "noaa_weather")
SHOWN = {
    "lightgbm": ("bracket", "bracket fast", "fixed .05", "keep"),
    "sgd": ("kpass", "kpass, schedules", "fixed 0.01", "keep"),
}


def main() -> None:
    """Walk the sets that were asked for."""
    parser = argparse.ArgumentParser(description="What a search costs and what it finds, beside others.")
    parser.add_argument("--sets", default=",".join(SETS), help="comma separated, all by default")
    parser.add_argument("--families", default="lightgbm,sgd")
    parser.add_argument("--times", type=int, default=3, help="of each set, 3 by default")
    parser.add_argument("--jobs", type=int, default=1, help="sets at a time; they disturb each other's CPU")
    parser.add_argument("--quick", action="store_true", help=f"only {' and '.join(QUICK)}, once each, two at a time")
    asked = parser.parse_args()
    names = QUICK if asked.quick else tuple(asked.sets.split(","))
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for family in asked.families.split(","):
            _family(family, names, 1 if asked.quick else asked.times, 2 if asked.quick else asked.jobs, Path(folder))
        _say(measure.overheads(asked.families.split(","), Path(folder)))
    _say(f"{(time.monotonic() - began) / 60:.1f} minutes")


def _family(family: str, names: Sequence[str], times: int, jobs: int, folder: Path) -> None:
    every = dict(_walked(family, names, times, jobs, folder))
    rows = list(next(iter(every.values()))[0])
    parts = {name: _lines(rows, {name: found}) for name, found in every.items()}
    lines = _lines(rows, every)
    _say(f"{family}: {len(every)} sets, {times} times each\n{settings(family)}")
    _say(tables.results(list(lines.values())))
    _say(tables.serving(list(lines.values()), measure.memory(family, names[0], folder), f"rows of {names[0]}"))
    _say(tables.by_set([name for name in SHOWN[family] if name in rows], parts))
    _say(tables.laboratory(against_laboratory(family, lines, every)))
    _say(tables.bars(bars(family, lines, list(PEERS))))


def _walked(
    family: str, names: Sequence[str], times: int, jobs: int, folder: Path
) -> Iterator[tuple[str, list[dict[str, Found]]]]:
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        asked = [pool.submit(walked, name, family, times, folder) for name in names]
        for name, each in zip(names, asked, strict=True):
            found, seconds = each.result()
            print(f"{family}, {name}: {seconds:.0f} CPU s", file=sys.stderr, flush=True)  # noqa: T201 what a benchmark is for
            yield name, found


def _lines(rows: Sequence[str], every: dict[str, list[dict[str, Found]]]) -> dict[str, Line]:
    return {row: line(row, every, rows[0]) for row in rows}


def settings(family: str) -> str:
    """What all rows have in common, and what the peers are given."""
    space = GRID[family]
    schedules = f"; schedules: {', '.join(SCHEDULES)}" if family == "sgd" else ""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("lightgbm", "scikit-learn", "optuna", "numpy"))
    return (
        f"newest {MOST_ROWS[family]:,} rows of train; patience {PATIENCE[family]}, at most {MOST_STEPS[family]:,} "
        f"steps, parameters as the libraries come; 1 thread; seed 0, of the peers one for each time{schedules}\n"
        f"grid10 and the peers: {space.low:g} to {space.high:g}; TPE takes {TRIALS} trials, HalvingGridSearchCV the "
        f"rates of grid10, RandomizedSearchCV 10 draws; {libraries}"
    )


def _say(text: str) -> None:
    print(text, end="\n\n", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
