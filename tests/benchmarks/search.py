"""What a search costs and what it finds: ``python -m tests.benchmarks.search [--quick]``.

Boosted trees on sets of ../shared/data, each at several times: train < valid < later rows that nothing was tuned on.
Every line is fitted anew on the same rows. All figures but CPU seconds are the same on every run.

- ``fits``: mean per search.
- ``rounds %``: boosting rounds trained, mean share of those of ``grid10`` (ten rates from .01 to .3, stopped early).
- ``CPU s``: of all searches of the line, binning included.
- ``regret %``: loss on valid above the best of ``dense`` (21 rates from .005 to .4); below 0 a rate in between won.
- ``later %``: loss on the later rows against the model of ``grid10``; plus is worse. One change of the world moves
  the mean by several per cent, so the median stands beside it.

``old rate`` is the choice of ``grid10`` at the time before.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np

from lr_retune.config import Config, parse_config
from lr_retune.data.feed import Feed
from lr_retune.data.plan import freeze
from lr_retune.families.lightgbm import LightGBM
from lr_retune.metrics import curve_loss_for, loss_for
from lr_retune.plugins import load_feeds
from lr_retune.records import FitData, Fits, Range, Rows, SearchOptions, Trial
from lr_retune.search.bracket import bracket
from lr_retune.search.choose import best
from lr_retune.search.grid import fixed, grid

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
MOST_ROWS = 24_000
GRID = Range(0.01, 0.3)
DENSE = Range(0.005, 0.4)
Search = Callable[[Fits, SearchOptions], list[tuple[Trial, int]]]


@dataclass(frozen=True)
class Stream:
    """Which part of a set is walked, and how its window is cut."""

    metric: str
    start: datetime
    every: int  # days between two times
    times: int
    days: tuple[int, int, int] = (364, 28, 28)  # train, valid, later
    tick: str = "1d"

    @property
    def task(self) -> str:
        return "regression" if self.metric == "mae" else "binary"


SETS = {
    "dc_bikeshare": Stream("mae", datetime(2013, 1, 7, tzinfo=UTC), 364, 5),
    "bank_marketing": Stream("log_loss", datetime(2009, 7, 6, tzinfo=UTC), 84, 5, (364, 56, 84), "7d"),
    "gas_turbine_nox": Stream("mae", datetime(2012, 7, 2, tzinfo=UTC), 182, 5),
    "elec2": Stream("log_loss", datetime(1997, 7, 7, tzinfo=UTC), 91, 5),
    "vic_elec": Stream("mae", datetime(2013, 7, 1, tzinfo=UTC), 91, 5),
}
QUICK = ("bank_marketing", "gas_turbine_nox")


@dataclass(frozen=True)
class Found:
    """One search: its work, its winner, and what the winner is worth."""

    fits: int
    rounds: int
    cpu: float
    rate: float
    valid: float
    later: float


@dataclass(frozen=True)
class Episode:
    """The rows of one time."""

    config: Config
    data: FitData
    later: Rows

    def search(self, strategy: Search, space: Range, points: int = 1) -> Found:
        """Run one strategy on rows binned for it alone."""
        loss, limits = loss_for(self.config.metric), self.config.search
        asked = SearchOptions(
            space, points, limits.max_steps, limits.patience, 0, partial(loss.value, self.data.valid.y)
        )
        started = time.process_time()
        fits = LightGBM(self.config.model.params, 1).start(self.data, seed=0)
        trials = strategy(fits, asked)
        cpu = time.process_time() - started
        winner = best(trials)
        if winner is None or winner[0].loss is None:
            raise SystemExit(f"{self.config.name}: no fit is complete: {[trial.note for trial, _ in trials]}")
        score = fits.finish(winner[1], winner[0].steps).predict(self.later.x)
        rounds = sum(trial.cost.steps for trial, _ in trials)
        later = loss.value(self.later.y, score)
        return Found(len(trials), rounds, cpu, winner[0].learning_rate, winner[0].loss, later)


def config_of(name: str, stream: Stream) -> Config:
    """The set as a user would configure it."""
    train, valid, later = (f"{days}d" for days in stream.days)
    return parse_config(
        {
            "config_version": 1,
            "name": name,
            "task": stream.task,
            "schedule": {"tick": stream.tick},
            "data": {"path": str(DATA / f"{name}.parquet"), "time": "ts", "label": "y", "exclude": ["step"]},
            "window": {"train": train, "valid": valid, "holdout": later},
            "metric": {"name": stream.metric},
        },
        root=DATA,
    )


def episodes(config: Config, stream: Stream) -> Iterator[Episode]:
    """The set at its times."""
    feeds = load_feeds(config)
    for number in range(stream.times):
        feed = Feed(config, feeds, stream.start + timedelta(days=stream.every * number))
        plan = freeze(feed, config)
        train, valid, later = (feed.rows(plan.contract, s).labelled() for s in (plan.train, plan.valid, plan.holdout))
        curve, categorical = curve_loss_for(config.metric), plan.contract.categorical
        newest = train.take(slice(-MOST_ROWS, None))  # type: ignore[arg-type]
        data = FitData(newest, valid, config.task, categorical, config.metric.name, curve)
        yield Episode(config, data, later)


def walk(config: Config, stream: Stream) -> Iterator[dict[str, Found]]:
    """What each line found at each time but the first, which only tells the first old rate."""
    old = None
    for number, episode in enumerate(episodes(config, stream)):
        _progress(f"{config.name}: {number + 1} of {stream.times}, {len(episode.data.train):,} rows")
        ten = episode.search(grid, GRID, 10)
        if old is not None:
            yield {
                "dense": episode.search(grid, DENSE, 21),
                "grid10": ten,
                "bracket": episode.search(bracket, LightGBM.default_range),
                "fixed .05": episode.search(fixed, Range(0.05, 0.05)),
                "old rate": episode.search(fixed, Range(old, old)),
            }
        old = ten.rate


HEAD = ("", "fits", "rounds %", "CPU s", "regret % mean", "max", "later % mean", "median", "worst")


def table(title: str, walked: Sequence[dict[str, Found]]) -> str:
    """Lines of one or more sets; each time counts the same."""
    lines = [HEAD, *(_cells(name, walked) for name in walked[0])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [
        "  ".join(c.ljust(w) if not i else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    ]
    return "\n".join([f"{title}, {len(walked)} times", *shown])


def _cells(name: str, walked: Sequence[dict[str, Found]]) -> tuple[str, ...]:
    mine, ten, dense = ([found[key] for found in walked] for key in (name, "grid10", "dense"))
    rounds = [100 * f.rounds / base.rounds for f, base in zip(mine, ten, strict=True)]
    regret = [100 * (f.valid / top.valid - 1) for f, top in zip(mine, dense, strict=True)]
    later = [100 * (f.later / base.later - 1) for f, base in zip(mine, ten, strict=True)]
    return (
        name,
        f"{np.mean([f.fits for f in mine]):.1f}",
        f"{np.mean(rounds):.0f}",
        f"{sum(f.cpu for f in mine):.1f}",
        *(f"{figure:+.2f}" for figure in _figures(regret, later)),
    )


def _figures(regret: list[float], later: list[float]) -> tuple[float, ...]:
    return float(np.mean(regret)), max(regret), float(np.mean(later)), float(np.median(later)), max(later)


def _progress(message: str) -> None:
    print(f"\r{message:<60}", end="", file=sys.stderr, flush=True)  # noqa: T201 what a benchmark is for


def main() -> None:
    """Walk the sets that were asked for."""
    parser = argparse.ArgumentParser(description="What a search costs and what it finds.")
    parser.add_argument("--sets", default=",".join(SETS), help="comma separated, all by default")
    parser.add_argument("--quick", action="store_true", help=f"only {' and '.join(QUICK)}")
    asked = parser.parse_args()
    every: list[dict[str, Found]] = []
    for name in QUICK if asked.quick else asked.sets.split(","):
        walked = list(walk(config_of(name, SETS[name]), SETS[name]))
        every += walked
        _progress("")
        print("\r" + table(f"{name}: {SETS[name].metric}", walked), end="\n\n", flush=True)  # noqa: T201
    print(table("all sets", every))  # noqa: T201


if __name__ == "__main__":
    main()
