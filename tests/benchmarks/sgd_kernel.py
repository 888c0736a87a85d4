"""What many rates in one pass cost, and what a race on them finds: ``python -m tests.benchmarks.sgd_kernel``.

First table: CPU milliseconds per column and epoch on 40,000 x 20 rows, best of five, shuffling counted, validation not.

- ``sklearn``: ``partial_fit`` as it comes, one rate after the other; then the kernel with K rates at a time.
- ``times at 16``: how many times cheaper a rate is at K = 16.

Second: sets of ../shared/data, each at several times, train < valid, at most 8,000 rows; ``grid10`` is ten rates over
1e-6 to 10, each stopped after 5 epochs without gain.

- ``epochs %``: of grid10's. ``CPU s``: both on the kernel or neither, as the family decides; compiling not counted.
- ``regret %``: loss on valid above the better of the two, mean and worst over the times.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import SGDClassifier, SGDRegressor

from lr_retune.config import parse_config
from lr_retune.data.feed import Feed
from lr_retune.data.plan import freeze
from lr_retune.families import sgd
from lr_retune.families.sgd import SGD
from lr_retune.metrics import curve_loss_for, loss_for
from lr_retune.plugins import load_feeds
from lr_retune.records import FitData, Fits, SearchOptions, Trial
from lr_retune.search.choose import best
from lr_retune.search.grid import grid
from lr_retune.search.race import race

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
WIDTHS = (1, 8, 16, 29)
WAYS: dict[str, dict[str, Any]] = {
    "log_loss, l2": {"loss": "log_loss"},
    "log_loss, l2, average": {"loss": "log_loss", "average": True},
    "squared_error, l2": {"loss": "squared_error"},
    "epsilon_insensitive, l2": {"loss": "epsilon_insensitive", "epsilon": 0.0},
    "squared_error, elasticnet": {"loss": "squared_error", "penalty": "elasticnet"},
}
MOST_ROWS = 8_000


@dataclass(frozen=True)
class Stream:
    """Which part of a set is walked."""

    metric: str
    start: datetime
    every: int  # days
    times: int = 2
    days: tuple[int, int] = (364, 56)


SETS = {
    "bank_marketing": Stream("log_loss", datetime(2009, 7, 6, tzinfo=UTC), 84),
    "dc_bikeshare": Stream("mae", datetime(2013, 1, 7, tzinfo=UTC), 364),
    "gas_turbine_nox": Stream("mae", datetime(2012, 7, 2, tzinfo=UTC), 182),
    "bitcoin_otc": Stream("log_loss", datetime(2012, 7, 2, tzinfo=UTC), 182),
}


# ── the kernel ────────────────────────────────────────────────────────────────────────────────────
def compiled() -> float:
    """CPU seconds that numba and the first pass cost."""
    started = time.process_time()
    _pass(WAYS["log_loss, l2"], *_rows(100), 1)()
    return time.process_time() - started


def speed(params: dict[str, Any]) -> list[float]:
    """Milliseconds per column and epoch: scikit-learn's, then the kernel's at each width."""
    x, y = _rows(40_000)
    kind, more = (SGDClassifier, {"classes": [0.0, 1.0]}) if params["loss"] == "log_loss" else (SGDRegressor, {})
    one = lambda: kind(**params, learning_rate="constant", eta0=0.01).partial_fit(x, y, **more)  # noqa: E731
    return [_best(one), *(_best(_pass(params, x, y, width)) / width for width in WIDTHS)]


def _rows(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(count, 20))
    return x, (x[:, 0] + rng.normal(size=count) > 0).astype(float)


def _pass(params: dict[str, Any], x: np.ndarray, y: np.ndarray, width: int) -> Callable[[], object]:
    from lr_retune.families.sgd_kernel import Kernel

    kernel, rates = Kernel(params, x.shape[1]), np.geomspace(1e-3, 0.05, width).tolist()
    order, weight = np.random.default_rng(0).permutation(len(y)), np.ones(len(y))
    rows = lambda: (x[order], y[order], weight)  # noqa: E731 - counted: the order is new each epoch
    return lambda: kernel.epoch([kernel.column() for _ in rates], rates, rows(), 0)


def _best(run: Callable[[], object]) -> float:
    """Milliseconds of CPU, best of five."""
    found = []
    for _ in range(5):
        started = time.process_time()
        run()
        found.append(time.process_time() - started)
    return 1000 * min(found)


# ── the race ──────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Found:
    """One search."""

    epochs: int
    cpu: float
    loss: float


def episodes(name: str, stream: Stream) -> Iterator[tuple[FitData, Callable[[np.ndarray], float]]]:
    """The rows of each time, and the user's loss on valid."""
    binary, (train, valid) = stream.metric == "log_loss", stream.days
    config = parse_config(
        {
            "config_version": 1,
            "name": name,
            "task": "binary" if binary else "regression",
            "data": {"path": str(DATA / f"{name}.parquet"), "time": "ts", "label": "y", "exclude": ["step"]},
            "window": {"train": f"{train}d", "valid": f"{valid}d", "holdout": "28d"},
            "model": {"family": "sgd"},
            "metric": {"name": stream.metric},
        },
        root=DATA,
    )
    feeds, loss = load_feeds(config), loss_for(config.metric)
    for number in range(stream.times):
        feed = Feed(config, feeds, stream.start + timedelta(days=stream.every * number))
        plan = freeze(feed, config)
        old, new = (feed.rows(plan.contract, span).labelled() for span in (plan.train, plan.valid))
        newest = old.take(slice(-MOST_ROWS, None))  # type: ignore[arg-type]
        curve, categorical = curve_loss_for(config.metric), plan.contract.categorical
        yield FitData(newest, new, config.task, categorical, stream.metric, curve), partial(loss.value, new.y)


def search(
    strategy: Callable[[Fits, SearchOptions], list[tuple[Trial, int]]],
    data: FitData,
    loss: Callable[[np.ndarray], float],
) -> Found:
    """One search on rows transformed for it alone."""
    options = SearchOptions(SGD.default_range, 10, 200, 5, 0, loss)
    started = time.process_time()
    trials = strategy(SGD({}, 1).start(data, seed=0), options)
    cpu = time.process_time() - started
    winner = best(trials)
    if winner is None or winner[0].loss is None:
        raise SystemExit(f"no fit is complete: {[trial.note for trial, _ in trials]}")
    return Found(sum(trial.cost.steps for trial, _ in trials), cpu, winner[0].loss)


def compared(name: str, walked: Sequence[tuple[Found, Found]]) -> list[tuple[str, ...]]:
    """A line for each of the two searches, over some times."""
    lines = []
    for place, title in enumerate(("grid10", "kpass")):
        mine = [pair[place] for pair in walked]
        share = 100 * sum(found.epochs for found in mine) / sum(grid.epochs for grid, _ in walked)
        regret = [100 * (pair[place].loss / min(found.loss for found in pair) - 1) for pair in walked]
        cpu = sum(found.cpu for found in mine)
        lines.append((f"{name}, {title}", f"{share:.1f}", f"{cpu:.1f}", f"{np.mean(regret):.2f}", f"{max(regret):.2f}"))
    return lines


def _show(lines: Sequence[tuple[str, ...]]) -> None:
    for first, *others in lines:
        sys.stdout.write(f"{first:<28}" + "".join(f"{cell:>14}" for cell in others) + "\n")
    sys.stdout.write("\n")
    sys.stdout.flush()


def main() -> None:
    """Print both tables."""
    sys.stdout.write(f"compiling: {compiled():.1f} CPU s, once per process\n\n")
    lines = [("ms per column and epoch", "sklearn", *(f"K = {width}" for width in WIDTHS), "times at 16")]
    for title, params in WAYS.items():
        slow, *fast = speed(params)
        lines.append((title, f"{slow:.2f}", *(f"{one:.2f}" for one in fast), f"{slow / fast[WIDTHS.index(16)]:.1f}"))
    _show(lines)
    head = ("", "epochs %", "CPU s", "regret % mean", "worst")
    for least, title in ((0, "kernel"), (float("inf"), "sklearn")):
        sgd.LEAST_CELLS = least  # type: ignore[assignment]
        every: list[tuple[Found, Found]] = []
        lines = [(f"on the {title}", *head[1:])]
        for name, stream in SETS.items():
            walked = [(search(grid, *rows), search(race, *rows)) for rows in episodes(name, stream)]
            lines += compared(name, walked)
            every += walked
        _show([*lines, *compared("all", every)])


if __name__ == "__main__":
    main()
