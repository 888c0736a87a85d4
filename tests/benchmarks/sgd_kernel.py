"""What many rates in one pass cost, and what a race on them finds: ``python -m tests.benchmarks.sgd_kernel``.

First table: CPU milliseconds per column and epoch on 50,000 x 30 rows, best of some, shuffling counted, validation not.

- ``sklearn``: ``partial_fit`` as it comes, one rate after the other; then the kernel with K rates at a time.
- ``times at 16``: how many times cheaper a rate is at K = 16.

Then sets of ../shared/data, each at three times, train < valid < later rows, the newest 8,000 rows of train.
``grid10`` is ten rates over 1e-6 to 10, ``dense`` 29, each stopped after 5 epochs without gain. Lines with ``+`` race
schedules too.

- ``passes %``: CPU of a search's passes, validation included, in per cent of grid10's, whose passes are of one column
  each: mean over the times, then over all their work together. Compiling is not counted.
- ``epochs %``: the same, counted in epochs of one column as if each were paid alone.
- ``regret %``: loss on valid above dense's best; below 0 a schedule, or a rate in between, won.
- ``later %``: loss on the later rows above that of dense's best.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import SGDClassifier, SGDRegressor

from lr_retune.families.sgd import SGD
from lr_retune.families.sgd_passes import Passes, Rates
from lr_retune.records import Effort, Fits, Range, SearchOptions, Strategy, Trial
from lr_retune.search import race as racing
from lr_retune.search.choose import best
from lr_retune.search.grid import grid
from lr_retune.search.race import race
from tests.benchmarks.search.streams import SETS, Episode, episodes

WIDTHS = (1, 8, 16, 29)
WAYS: dict[str, dict[str, Any]] = {
    "log_loss, l2": {"loss": "log_loss"},
    "log_loss, l2, average": {"loss": "log_loss", "average": True},
    "squared_error, l2": {"loss": "squared_error"},
    "epsilon_insensitive, l2": {"loss": "epsilon_insensitive", "epsilon": 0.0},
    "squared_error, elasticnet": {"loss": "squared_error", "penalty": "elasticnet"},
}
SHAPE = (50_000, 30)
MOST_EPOCHS, TIMES = 200, 3


# ── the kernel ────────────────────────────────────────────────────────────────────────────────────
def compiled() -> float:
    """CPU seconds that numba and the first pass cost."""
    started = time.process_time()
    _pass(WAYS["log_loss, l2"], *_rows((100, 3)), 1)()
    return time.process_time() - started


def speed(params: dict[str, Any]) -> list[float]:
    """Milliseconds per column and epoch: scikit-learn's, then the kernel's at each width."""
    x, y = _rows(SHAPE)
    kind, more = (SGDClassifier, {"classes": [0.0, 1.0]}) if params["loss"] == "log_loss" else (SGDRegressor, {})
    one = lambda: kind(**params, learning_rate="constant", eta0=0.01).partial_fit(x, y, **more)  # noqa: E731
    runs = [one, *(_pass(params, x, y, width) for width in WIDTHS)]
    found = np.full(len(runs), np.inf)
    for _ in range(7):  # in turn: a busy neighbour then slows all of them
        found = np.minimum(found, [_cpu(run) for run in runs])
    return [float(ms / width) for ms, width in zip(1000 * found, (1, *WIDTHS), strict=True)]


def _rows(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape)
    return x, (x[:, 0] + rng.normal(size=len(x)) > 0).astype(float)


def _pass(params: dict[str, Any], x: np.ndarray, y: np.ndarray, width: int) -> Callable[[], object]:
    from lr_retune.families.sgd_kernel import walk

    passes = Passes(walk, params, x, y, np.ones(len(y)))
    eta0, which = np.geomspace(1e-3, 0.05, width), np.zeros(width, dtype=np.int64)
    order = partial(np.random.default_rng(0).permutation, len(y))  # counted: it is new each epoch
    rates = Rates(eta0, np.ones((1, len(y))), which)
    return lambda: passes.epoch([passes.column() for _ in eta0], rates, order(), 0)


def _cpu(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return time.process_time() - started


# ── the race ──────────────────────────────────────────────────────────────────────────────────────
class Clocked:
    """Fits whose passes are timed; implements `Fits`."""

    def __init__(self, fits: Fits) -> None:
        self._fits, self.cpu = fits, 0.0

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        started = time.process_time()
        parts = self._fits.advance(which, steps)
        self.cpu += time.process_time() - started
        return parts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fits, name)


@dataclass(frozen=True)
class Found:
    """One search."""

    epochs: int
    cpu: float
    valid: float
    later: float
    won: str


def dense(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    """29 rates, each stopped early: a race from which nobody is dropped, for speed."""
    runners = [racing.begin(fits, n, rate) for n, rate in enumerate(_29())]
    racing._run(fits, options, runners, {})
    racing._settle(fits, runners, options, ["constant"])
    return [(runner.trial(fits.train_rows), runner.handle) for runner in runners]


def _29() -> list[float]:
    return racing._rates(Range(1e-6, 10.0), 4)


EFFORTS: tuple[Effort, ...] = ("fast", "balanced", "thorough")
LINES: dict[str, tuple[Strategy, tuple[str, ...], Effort]] = {
    "grid10": (grid, ("constant",), "balanced"),
    "dense": (dense, ("constant",), "balanced"),
    **{f"kpass {effort}": (race, ("constant",), effort) for effort in EFFORTS},
    **{f"kpass {effort} +": (race, SGD.default_schedules, effort) for effort in EFFORTS},
}


def search(episode: Episode, line: str) -> Found:
    """One search on rows transformed for it alone."""
    strategy, schedules, effort = LINES[line]
    options = SearchOptions(
        SGD.default_range, 10, MOST_EPOCHS, 5, 0, episode.valid_loss, schedules=schedules, effort=effort
    )
    fits = Clocked(SGD({}, 1).start(episode.data, seed=0))
    trials = strategy(fits, options)  # type: ignore[arg-type]
    winner = best(trials)
    if winner is None or winner[0].loss is None:
        raise SystemExit(f"no fit is complete: {[trial.note for trial, _ in trials]}")
    first, handle = winner
    later = episode.later_loss(fits.finish(handle, first.steps).predict(episode.later.x))
    return Found(sum(t.cost.steps for t, _ in trials), fits.cpu, winner[0].loss, later, first.schedule)


def walked(name: str, folder: Path) -> Iterator[dict[str, Found]]:
    """What each line found, at each time of a set."""
    for episode in episodes(name, "sgd", TIMES, folder):
        yield {line: search(episode, line) for line in LINES}


HEAD = ("passes %", "together", "epochs %", "regret %", "median", "p90", "worst", "later %", "median", "scheduled")


def compared(title: str, times: Sequence[dict[str, Found]]) -> list[tuple[str, ...]]:
    """Lines of some times."""
    return [(f"{title}, {len(times)} times", *HEAD), *((line, *_figures(line, times)) for line in LINES)]


def _figures(line: str, times: Sequence[dict[str, Found]]) -> Iterator[str]:
    mine, ten, top = ([each[key] for each in times] for key in (line, "grid10", "dense"))
    passes, epochs, regret, later = (
        100 * np.array([one / base for one, base in pairs])
        for pairs in (
            [(f.cpu, base.cpu) for f, base in zip(mine, ten, strict=True)],
            [(f.epochs, base.epochs) for f, base in zip(mine, ten, strict=True)],
            [(f.valid - base.valid, base.valid) for f, base in zip(mine, top, strict=True)],
            [(f.later - base.later, base.later) for f, base in zip(mine, top, strict=True)],
        )
    )
    together = 100 * sum(f.cpu for f in mine) / sum(f.cpu for f in ten)
    yield from (f"{share:.1f}" for share in (passes.mean(), together, epochs.mean()))
    yield from (f"{x:+.2f}" for x in (regret.mean(), np.median(regret), np.quantile(regret, 0.9), regret.max()))
    yield from (f"{x:+.2f}" for x in (later.mean(), np.median(later)))
    yield f"{sum(f.won != 'constant' for f in mine)}"


def _show(lines: Sequence[tuple[str, ...]]) -> None:
    for first, *others in lines:
        sys.stdout.write(f"{first:<30}" + "".join(f"{cell:>11}" for cell in others) + "\n")
    sys.stdout.write("\n")
    sys.stdout.flush()


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="What many rates in one pass cost and what a race finds.")
    parser.add_argument("--sets", default=",".join(SETS), help="comma separated, all by default")
    names = parser.parse_args().sets.split(",")
    sys.stdout.write(f"compiling: {compiled():.1f} CPU s, once per process\n\n")
    lines = [("ms per column and epoch", "sklearn", *(f"K = {width}" for width in WIDTHS), "at 16")]
    for title, params in WAYS.items():
        slow, *fast = speed(params)
        lines.append((title, f"{slow:.2f}", *(f"{one:.2f}" for one in fast), f"{slow / fast[WIDTHS.index(16)]:.1f}x"))
    _show(lines)
    every: list[dict[str, Found]] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            found = list(walked(name, Path(folder)))
            every += found
            _show(compared(name, found))
    _show(compared("all", every))


if __name__ == "__main__":
    main()
