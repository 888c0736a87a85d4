"""The conformance kit: what every source, family, strategy, gate and transform must keep, ours and yours.

Each check raises AssertionError with a sentence that names the broken law, and returns None otherwise.
Call them from a test of your own package.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from lr_retune import encoding
from lr_retune.config import Config, parse_config
from lr_retune.errors import DataError, RetuneError
from lr_retune.records import (
    Cost,
    Family,
    FitData,
    FittedModel,
    Gate,
    HoldoutScores,
    Range,
    Rows,
    SearchOptions,
    Source,
    Status,
    Strategy,
    Transform,
    Trial,
    TuneResult,
    Verdict,
    canonical,
)
from lr_retune.search.choose import best

if TYPE_CHECKING:
    import pyarrow as pa


_TOY_ROWS = 60


def _require(holds: Any, sentence: str) -> None:
    if not holds:
        raise AssertionError(sentence)


# ── families ──────────────────────────────────────────────────────────────────────────────────────
def toy_data(task: str = "regression", *, seed: int = 0, rows: int = 400) -> FitData:
    """Small rows with a signal, a category column (position 2) and missing values, to fit families on."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 4))
    x[:, 2] = rng.integers(0, 5, rows)
    signal = 2 * x[:, 0] + (x[:, 2] - 2) + 0.3 * rng.normal(size=rows)
    x[rng.uniform(size=x.shape) < 0.05] = math.nan
    y = (signal > 0).astype(float) if task == "binary" else signal
    time = np.arange(rows, dtype=np.int64) * 3_600_000_000
    every = Rows(x, y, time, time - time % 86_400_000_000)
    cut = rows * 3 // 4
    objective = "brier" if task == "binary" else "rmse"
    return FitData(every.take(np.arange(cut)), every.take(np.arange(cut, rows)), task, (2,), objective, _mean_square)


def _mean_square(y: np.ndarray, score: np.ndarray) -> float:
    return float(np.square(y - score).mean())


def check_family(
    factory: Callable[[Mapping[str, Any], int], Family], *, tasks: Sequence[str] = ("regression", "binary")
) -> None:
    """Whether a family keeps its protocol; ``factory(params, threads)`` is called with no parameters and one thread.

    Raises
    ------
    AssertionError
        Naming the law that is broken.
    """
    family = factory({}, 1)
    _require(family.name and family.step_unit, "a family must have a name and a step_unit")
    span = family.default_range
    _require(0 < span.low <= family.default_rate <= span.high, "default_rate must lie inside default_range, above 0")
    for task in tasks:
        data = toy_data(task)
        _check_fits(family, data)
        _check_model(family, data)
        _check_refuses_nonsense(family, data)


def _check_fits(family: Family, data: FitData) -> None:
    fits = family.start(data, seed=0)
    _require(fits.train_rows == len(data.train), "train_rows must be the number of training rows")
    _require(math.isfinite(fits.baseline), "baseline must be a finite loss")
    one, other = fits.add(family.default_rate), fits.add(family.default_rate / 2)
    _require(one != other, "add must return a new handle for each fit")
    curves = fits.advance([one, other], 6)
    _require(len(curves) == 2, "advance must return one curve per handle, in the order asked for")
    _require(all(len(curve) == 6 for curve in curves), "advance must return one loss per new step")
    again = family.start(data, seed=0)
    alone = again.add(family.default_rate)
    pieces = np.concatenate([again.advance([alone], 2)[0], again.advance([alone], 4)[0]])
    _require(np.array_equal(pieces, curves[0]), "a curve must not depend on other fits or on how steps are chunked")
    for steps in (3, 6):
        loss = data.curve_loss(data.valid.y, fits.score(one, steps))
        _require(
            math.isclose(loss, curves[0][steps - 1], rel_tol=1e-6, abs_tol=1e-9),
            f"score(handle, {steps}) must give the loss that advance told for step {steps}",
        )
    before = fits.score(other, 6)
    fits.drop(one)
    try:
        after = fits.score(other, 6)
    except Exception as error:
        raise AssertionError(f"dropping one fit must not touch another, it raised {error!r}") from error
    _require(np.array_equal(after, before), "dropping one fit must not touch another")


def _check_model(family: Family, data: FitData) -> None:
    model, score = _finished(family, data)
    answer = model.predict(data.valid.x)
    _require(answer.shape == (len(data.valid),), "predict must return one score per row, shape (n,)")
    _require(answer.dtype == np.float64, "predict must return float64")
    _require(np.allclose(answer, score, rtol=1e-9), "finish(handle, n) must score as score(handle, n) did")
    _require(data.task != "binary" or ((answer >= 0) & (answer <= 1)).all(), "binary scores must be probabilities")
    share = model.importance()
    _require(share.shape == (data.train.x.shape[1],), "importance must have one share per feature")
    _require((share >= 0).all() and math.isclose(share.sum(), 1, rel_tol=1e-9), "importance must sum to 1")
    files = model.files()
    _require(files and all(map(_safe_name, files)), "files must have relative names without '..' or backslashes")
    _require(not any(data[:1] == b"\x80" for data in files.values()), "files must hold no pickle")
    loaded = family.load(files)
    _require(np.array_equal(loaded.predict(data.valid.x), answer), "a loaded model must predict the very same bits")
    _require(loaded.files() == files, "a loaded model must have the very same files")
    _require(_finished(family, data)[0].files() == files, "the same rows, rate and seed must give the same bytes")


def _finished(family: Family, data: FitData) -> tuple[FittedModel, np.ndarray]:
    fits = family.start(data, seed=0)
    handle = fits.add(family.default_rate)
    fits.advance([handle], 6)
    return fits.finish(handle, 4), fits.score(handle, 4)


def _safe_name(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _check_refuses_nonsense(family: Family, data: FitData) -> None:
    y = data.train.y.copy()
    y[3] = math.nan
    bad = [replace(data, train=replace(data.train, y=y)), replace(data, train=data.train.take(np.arange(1)))]
    if data.task == "binary":
        bad.append(replace(data, train=replace(data.train, y=np.zeros_like(y))))
    for what, broken in zip(("a missing label", "a single row", "labels of one class"), bad, strict=False):
        try:
            fits = family.start(broken, seed=0)
            fits.advance([fits.add(family.default_rate)], 1)
        except RetuneError:
            continue
        raise AssertionError(f"a family must refuse {what} with a RetuneError, not train on it")


# ── strategies ────────────────────────────────────────────────────────────────────────────────────
class ToyFits:
    """Fits whose curves are known by heart: best rate near .05, overfitting after about 5 / rate steps.

    Parameters
    ----------
    diverges_above
        Rates above it give infinite losses.
    fails
        Whether no fit can be started.
    """

    baseline = 3.0
    train_rows = 100

    def __init__(self, *, diverges_above: float = math.inf, fails: bool = False) -> None:
        self.diverges_above, self.fails = diverges_above, fails
        self.work = Cost()
        self.live: dict[int, list[float]] = {}  # handle → loss after each step
        self._rates: dict[int, float] = {}
        self._progress: dict[int, float] = {}

    def add(self, learning_rate: float, schedule: str = "constant") -> int:  # noqa: ARG002 - all rates are constant
        if self.fails:
            raise DataError("no fit can be started", why="this toy always fails")
        handle = self.work.fits
        self.work += Cost(fits=1)
        self.live[handle], self._rates[handle], self._progress[handle] = [], learning_rate, 0.0
        return handle

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        self.work += Cost(steps=steps * len(which), row_steps=steps * len(which) * self.train_rows)
        return [np.array([self._step(handle) for _ in range(steps)]) for handle in which]

    def _step(self, handle: int) -> float:
        rate = self._rates[handle]
        self._progress[handle] += rate
        done = self._progress[handle]
        floor = 1 + 0.02 * math.log(rate / 0.05) ** 2
        loss = math.inf if rate > self.diverges_above else floor + math.exp(-done) + 0.05 * max(0.0, done - 5)
        self.live[handle].append(loss)
        return loss

    def set_rate(self, which: int, learning_rate: float) -> None:
        self._rates[which] = learning_rate

    def score(self, which: int, steps: int) -> np.ndarray:
        return np.array([self.live[which][steps - 1]])

    def drop(self, which: int) -> None:
        self.live.pop(which, None)

    def finish(self, which: int, steps: int) -> FittedModel:
        raise NotImplementedError("a toy has no model to serve")


def check_strategy(strategy: Strategy) -> None:
    """Whether a strategy keeps the walls, the caps and the book of its work, on curves that are known.

    Raises
    ------
    AssertionError
        Naming the law that is broken.
    """
    wide = SearchOptions(Range(0.01, 0.3), 6, 2000, 20, 7, lambda score: float(score[0]))
    trials = _searched(strategy, ToyFits(), wide)
    _require(best(trials) is not None, "an easy surface must bring at least one complete trial")
    again = _searched(strategy, ToyFits(), wide)
    _require(canonical([t for t, _ in again]) == canonical([t for t, _ in trials]), "one seed must give one search")
    for trial, _ in _searched(strategy, ToyFits(diverges_above=0.0), wide):
        _require(trial.state != "complete", "an infinite loss must never be complete")
    for trial, _ in _searched(strategy, ToyFits(fails=True), wide):
        _require(trial.state == "failed" and trial.note, "a fit that cannot start must be failed, with a note why")
    _searched(strategy, ToyFits(), replace(wide, space=Range(0.05, 0.05)))
    for trial, _ in _searched(strategy, ToyFits(), replace(wide, max_steps=5)):
        _require(trial.state != "complete", "a curve still falling at the cap is starved, never complete")


def _searched(strategy: Strategy, fits: ToyFits, options: SearchOptions) -> list[tuple[Trial, int]]:
    trials = strategy(fits, options)
    _require(trials, "a search must return the trials it made, the bad ones too")
    numbers = [trial.number for trial, _ in trials]
    _require(len(set(numbers)) == len(numbers), "trial numbers must be unique")
    for trial, handle in trials:
        _check_trial(trial, handle, fits, options)
    told = sum((trial.cost for trial, _ in trials), Cost())
    _require((told.steps, told.row_steps) == (fits.work.steps, fits.work.row_steps), "told work must be the work done")
    winner = best(trials)
    _require(winner is None or winner[1] in fits.live, "the best trial's fit must not be dropped")
    return trials


def _check_trial(trial: Trial, handle: int, fits: ToyFits, options: SearchOptions) -> None:
    space = options.space
    _require(trial.role == "candidate", "a strategy's trials must have the role candidate")
    _require(space.low <= trial.learning_rate <= space.high, f"rate {trial.learning_rate:g} is outside the space")
    _require(
        (trial.loss is not None) == (trial.state == "complete"), "a loss belongs to complete trials, and to them only"
    )
    _require(len(trial.curve) <= options.max_steps, "no fit may train past max_steps")
    _require(all(map(math.isfinite, trial.curve)), "a curve must hold finite losses only")
    if trial.state == "complete":
        _require(1 <= trial.steps <= len(trial.curve), "steps to serve must have been trained")
    if trial.state == "complete" and handle in fits.live:
        loss = options.loss(fits.score(handle, trial.steps))
        _require(trial.loss == loss, "a complete trial's loss must be options.loss at the steps to serve")


# ── gates ─────────────────────────────────────────────────────────────────────────────────────────
def toy_config(task: str = "regression") -> Config:
    """The smallest valid configuration of a task."""
    metric = {"name": "log_loss" if task == "binary" else "mae"}
    data = {"path": "rows.parquet", "time": "ts", "label": "y"}
    raw = {"config_version": 1, "name": "toy", "task": task, "data": data, "metric": metric}
    return parse_config(raw, root=Path())


def toy_scores(task: str = "regression", *, ticks: int = 28, gain: float = 0.0, seed: int = 0) -> HoldoutScores:
    """A holdout of 24 rows a tick; ``gain`` is the share by which the challenger's errors are smaller."""
    rng = np.random.default_rng(seed)
    rows = ticks * 24
    y = rng.integers(0, 2, rows).astype(float) if task == "binary" else rng.normal(10, 3, rows)
    error = rng.uniform(0.05, 0.45, rows) * np.where(y > 0.5, -1, 1) if task == "binary" else rng.normal(size=rows)
    tick = np.repeat(np.arange(ticks, dtype=np.int64), 24) * 86_400_000_000
    champion = y + error
    return HoldoutScores(y, tick, champion, y + error * (1 - gain), control=champion.copy(), fixed=champion.copy())


def check_gate(gate: Gate, *, config: Config | None = None, needs_rows: bool = True) -> None:
    """Whether a gate always answers with a verdict, the same one each time, and never passes what it cannot see.

    Parameters
    ----------
    gate
        The gate.
    config
        What it is called with; the toy regression's when None.
    needs_rows
        False for a gate that looks at the search only, such as one on model size: it may pass an empty holdout.

    Raises
    ------
    AssertionError
        Naming the law that is broken.
    """
    config = config or toy_config()
    result = TuneResult("toy", "grid", "rounds", None, None, None, ())
    good = toy_scores(config.task, gain=0.3)
    dark = replace(good, challenger=np.full_like(good.challenger, math.nan))
    blind = {"an empty holdout": toy_scores(config.task, ticks=0), "a challenger whose scores are all missing": dark}
    sighted = {
        "a better challenger": good,
        "an equal challenger": toy_scores(config.task),
        "one tick": toy_scores(config.task, ticks=1),
        "infinite scores": replace(good, challenger=np.full_like(good.challenger, math.inf)),
        "no control and no fixed arm": replace(good, control=None, fixed=None),
    }
    for what, scores in (blind | sighted).items():
        status = _judged(gate, scores, result, config, what)
        _require(not (needs_rows and what in blind and status == "PASS"), f"a gate must not pass {what}")


def _judged(gate: Gate, scores: HoldoutScores, result: TuneResult, config: Config, what: str) -> Status:
    before = canonical(scores)
    try:
        verdict, again = gate(scores, result, config), gate(scores, result, config)
    except Exception as error:
        raise AssertionError(f"a gate must answer ERROR or INCONCLUSIVE for {what}, it raised {error!r}") from error
    _require(isinstance(verdict, Verdict), f"a gate must return a Verdict for {what}")
    _require(verdict.status in get_args(Status), f"{verdict.status!r} is no status, for {what}")
    _require(verdict.gate and verdict.code and verdict.reason, f"a verdict must have gate, code and reason, for {what}")
    ordered = verdict.low is None or verdict.high is None or not verdict.low > verdict.high
    _require(ordered, f"an interval's low must not be above its high, for {what}")
    _require(canonical(verdict) == canonical(again), f"the same scores must give the same verdict, for {what}")
    _require(canonical(scores) == before, f"a gate must not change the scores, for {what}")
    return verdict.status


# ── transforms ────────────────────────────────────────────────────────────────────────────────────
def check_transform(transform: Transform, *, levels: Sequence[str] = ("a", "b", "c"), seed: int = 0) -> None:
    """Whether feature code keeps its protocol, missing values and single rows included.

    Parameters
    ----------
    levels
        What its category columns may hold.

    Raises
    ------
    AssertionError
        Naming the law that is broken.
    """
    _require(transform.outputs, "a transform must name its outputs")
    for name, kind in {**transform.inputs, **transform.outputs}.items():
        _require(kind in ("number", "category"), f"the kind of {name!r} must be number or category")
    given = _raw_columns(transform.inputs, levels, seed)
    whole = encoding.derive(given, transform)
    _require(
        canonical(whole) == canonical(encoding.derive(given, transform)), "the same rows must give the same columns"
    )
    for row in range(0, _TOY_ROWS, 7):
        one = encoding.derive({n: values[row : row + 1] for n, values in given.items()}, transform)
        part = {n: values[row : row + 1] for n, values in whole.items()}
        _require(canonical(one) == canonical(part), f"a row must not depend on other rows: row {row} alone differs")
    none = encoding.derive({n: values[:0] for n, values in given.items()}, transform)
    _require(all(len(values) == 0 for values in none.values()), "no rows must give no rows")


def _raw_columns(kinds: Mapping[str, str], levels: Sequence[str], seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for name, kind in kinds.items():
        if kind == "number":
            values = rng.normal(size=_TOY_ROWS)
            values[::5] = math.nan
            found[name] = values
        else:
            found[name] = encoding.texts(rng.choice([*levels, ""], _TOY_ROWS))
    return found


# ── sources ───────────────────────────────────────────────────────────────────────────────────────
def check_source(source: Source, as_of: datetime, *, time: str) -> None:
    """Whether a source reads half-open spans in stable time order, on the rows it holds before ``as_of``.

    Parameters
    ----------
    source
        A source that holds rows of at least two different times before ``as_of``.
    as_of
        Where reading ends.
    time
        Name of its time column.

    Raises
    ------
    AssertionError
        Naming the law that is broken.
    """
    schema = source.schema(as_of)
    names = list(schema)
    _require(time in schema, f"schema must name the time column {time!r}, it names {names}")
    whole = source.read(names, None, as_of)
    _require(whole.column_names == names, "read must return the columns asked for, in the order asked for")
    _require(str(whole.schema.field(time).type) == "timestamp[us, tz=UTC]", "time must be read as timestamp[us, UTC]")
    times = whole.column(time).to_pylist()
    _require(times and times[0] < times[-1], "nothing to check: the source needs rows of two times before as_of")
    _require(times == sorted(times), "rows must come in time order")
    _require(times[-1] < as_of, "read must leave out rows at or after its end")
    _require(_same(whole, source.read(names, None, as_of)), "reading twice must give the same rows in the same order")
    middle = times[(len(times) + 1) // 2] if times[(len(times) + 1) // 2] > times[0] else times[-1]
    old, new = source.read(names, None, middle), source.read(names, middle, as_of)
    _require(old.num_rows == sum(t < middle for t in times), "a row at the end of a span must be left out")
    _require(new.num_rows == sum(t >= middle for t in times), "a row at the start of a span must be read")
    joined = [*old.to_pylist(), *new.to_pylist()]
    _require(repr(joined) == repr(whole.to_pylist()), "adjoining spans must give each row once")
    few = source.read(names[::-1], middle, as_of)
    _require(_same(few.select(names), new), "the order of the columns asked for must not matter")
    _require(source.read(names, middle, middle).num_rows == 0, "an empty span must give no rows")


def _same(one: pa.Table, other: pa.Table) -> bool:
    """Equal names, types and rows; Arrow's own equality holds NaN to differ from NaN."""
    return bool(one.schema.equals(other.schema)) and repr(one.to_pylist()) == repr(other.to_pylist())
