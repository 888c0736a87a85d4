from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lr_retune.families.lightgbm import BoosterFits, BoosterModel, LightGBM
from lr_retune.judge.gates import paired_loss, sane_predictions
from lr_retune.records import (
    Cost,
    Files,
    FitData,
    Fits,
    FittedModel,
    HoldoutScores,
    SearchOptions,
    Trial,
    TuneResult,
    Verdict,
)
from lr_retune.search.early_stop import fit
from lr_retune.search.grid import fixed, grid, random
from lr_retune.testing import check_family, check_gate, check_source, check_strategy, toy_config

START = datetime(2024, 3, 1, tzinfo=UTC)


# ── families ──────────────────────────────────────────────────────────────────────────────────────
class Spoilt(LightGBM):
    """LightGBM with one method of its fits or models replaced."""

    part: type = BoosterFits
    method = "advance"

    @staticmethod
    def spoil(real: Any, self: Any, *args: Any) -> Any:
        raise NotImplementedError

    def start(self, data: FitData, *, seed: int) -> Fits:
        fits = super().start(data, seed=seed)
        if self.part is BoosterFits:
            real = getattr(fits, self.method)
            setattr(fits, self.method, lambda *args: self.spoil(real, fits, *args))
            return fits
        finish = fits.finish
        fits.finish = lambda which, steps: self.touched(finish(which, steps))  # type: ignore[method-assign]
        return fits

    def touched(self, model: FittedModel) -> FittedModel:
        real = getattr(model, self.method)
        setattr(model, self.method, lambda *args: self.spoil(real, model, *args))
        return model


def spoilt(part: type, method: str, spoil: Callable[..., Any]) -> type[LightGBM]:
    return type("Broken", (Spoilt,), {"part": part, "method": method, "spoil": staticmethod(spoil)})


class Careless(LightGBM):
    """Turns missing labels into 0."""

    def start(self, data: FitData, *, seed: int) -> Fits:
        return super().start(replace(data, train=replace(data.train, y=np.nan_to_num(data.train.y))), seed=seed)


class Forgetful(LightGBM):
    def load(self, files: Files) -> FittedModel:
        model = super().load(files)
        real = model.predict
        model.predict = lambda x: real(x).astype(np.float32).astype(np.float64)  # type: ignore[method-assign]
        return model


@pytest.mark.parametrize(
    ("family", "law"),
    [
        (
            spoilt(BoosterFits, "advance", lambda real, _s, which, n: [c[:-1] for c in real(which, n)]),
            "one loss per new step",
        ),
        (
            spoilt(BoosterFits, "advance", lambda real, _s, which, n: [c * 2 for c in real(which, n)]),
            "must give the loss",
        ),
        (spoilt(BoosterFits, "add", lambda real, _s, rate: real(rate) * 0), "a new handle"),
        (spoilt(BoosterFits, "drop", lambda real, s, which: s._boosters.clear()), "must not touch another"),
        (spoilt(BoosterModel, "importance", lambda real, _s: real() * 100), "sum to 1"),
        (spoilt(BoosterModel, "files", lambda real, _s: {"../model.txt": b""}), "relative names"),
        (spoilt(BoosterModel, "files", lambda real, _s: {"model.bin": b"\x80\x04."}), "no pickle"),
        (spoilt(BoosterModel, "predict", lambda real, _s, x: real(x)[:, None]), r"shape \(n,\)"),
        (spoilt(BoosterModel, "predict", lambda real, _s, x: real(x) + 0.1), "must score as"),
        (Forgetful, "very same bits"),
        (Careless, "refuse a missing label"),
    ],
)
def test_a_broken_family_is_told_which_law_it_breaks(family: type[LightGBM], law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_family(family)


# ── strategies ────────────────────────────────────────────────────────────────────────────────────
def edited(**changes: Any) -> Callable[[Fits, SearchOptions], list[tuple[Trial, int]]]:
    def strategy(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
        return [(replace(trial, **changes), handle) for trial, handle in grid(fits, options)]

    return strategy


def beyond_the_wall(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    return [fit(fits, options.space.high * 1.5, 0, options)]


def drops_the_winner(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    found = grid(fits, options)
    for _, handle in found:
        fits.drop(handle)
    return found


def hides_work(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    fits.advance([fits.add(options.space.low)], 1)
    return grid(fits, options)


def ranks_the_starved(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    handle = fits.add(options.space.low)
    curve = fits.advance([handle], options.max_steps)[0]
    steps = int(np.argmin(curve)) + 1
    cost = Cost(1, len(curve), len(curve) * fits.train_rows)
    loss = options.loss(fits.score(handle, steps))
    finite = tuple(curve[np.isfinite(curve)])
    return [(Trial(0, "candidate", options.space.low, "constant", loss, steps, "complete", finite, cost), handle)]


calls: list[int] = []


def wanders(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    calls.append(0)
    return random(fits, replace(options, seed=len(calls)))


@pytest.mark.parametrize(
    ("strategy", "law"),
    [
        (edited(number=1), "numbers must be unique"),
        (edited(role="control"), "role candidate"),
        (edited(loss=1.0), "loss must be options.loss|belongs to complete"),
        (edited(cost=Cost()), "told work"),
        (beyond_the_wall, "outside the space"),
        (drops_the_winner, "must not be dropped"),
        (hides_work, "told work"),
        (ranks_the_starved, "infinite loss|starved, never complete|steps to serve"),
        (wanders, "one seed must give one search"),
        (lambda fits, options: [], "return the trials"),
    ],
)
def test_a_broken_strategy_is_told_which_law_it_breaks(strategy: Any, law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_strategy(strategy)


@pytest.mark.parametrize("strategy", [grid, random, fixed])
def test_built_in_strategies_pass(strategy: Any) -> None:
    check_strategy(strategy)


# ── gates ─────────────────────────────────────────────────────────────────────────────────────────
def answer(status: str = "INCONCLUSIVE", **changes: Any) -> Callable[..., Verdict]:
    verdict = Verdict("toy", "LRR900", status, "because")  # type: ignore[arg-type]
    return lambda scores, result, config: replace(verdict, **changes)


def reads_first_row(scores: HoldoutScores, result: TuneResult, config: Any) -> Verdict:
    return Verdict("toy", "LRR900", "FAIL", f"first score {scores.challenger[0]}")


def cleans_up(scores: HoldoutScores, result: TuneResult, config: Any) -> Verdict:
    np.nan_to_num(scores.challenger, copy=False)
    return Verdict("toy", "LRR900", "FAIL", "cleaned")


@pytest.mark.parametrize("task", ["regression", "binary"])
@pytest.mark.parametrize("gate", [sane_predictions, paired_loss])
def test_built_in_gates_pass(gate: Any, task: str) -> None:
    check_gate(gate, config=toy_config(task))


@pytest.mark.parametrize(
    ("gate", "law"),
    [
        (answer("PASS"), "must not pass an empty holdout"),
        (answer("GREEN"), "'GREEN' is no status"),
        (answer(reason=""), "gate, code and reason"),
        (answer(low=2.0, high=1.0), "low must not be above"),
        (reads_first_row, "raised IndexError"),
        (cleans_up, "must not change the scores"),
        (lambda scores, result, config: "PASS", "return a Verdict"),
    ],
)
def test_a_broken_gate_is_told_which_law_it_breaks(gate: Any, law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_gate(gate)


def test_a_gate_on_the_search_alone_may_pass_without_rows() -> None:
    check_gate(answer("PASS"), needs_rows=False)


# ── sources ───────────────────────────────────────────────────────────────────────────────────────
class TableSource:
    """Rows of one table in memory, every hour two rows."""

    closed = False

    def __init__(self, rows: int = 48) -> None:
        times = [START + timedelta(hours=i // 2) for i in range(rows)]
        value = [float(i) if i % 5 else float("nan") for i in range(rows)]
        stamps = pa.array(times, pa.timestamp("us", tz="UTC"))
        self.table = pa.table({"ts": stamps, "x": pa.array(value), "kind": [f"k{i % 3}" for i in range(rows)]})

    def schema(self, as_of: datetime) -> Mapping[str, str]:
        return {field.name: str(field.type) for field in self.table.schema}

    def read(self, columns: Sequence[str], start: datetime | None, end: datetime) -> pa.Table:
        time = self.table["ts"]
        before = pc.less_equal(time, end) if self.closed else pc.less(time, end)
        keep = before if start is None else pc.and_(before, pc.greater_equal(time, start))
        return self.table.filter(keep).select(list(columns))


class Closed(TableSource):
    closed = True


class Unordered(TableSource):
    def read(self, columns: Sequence[str], start: datetime | None, end: datetime) -> pa.Table:
        return super().read(columns, start, end).sort_by([("kind", "ascending")] if "kind" in columns else [])


class Reordering(TableSource):
    def read(self, columns: Sequence[str], start: datetime | None, end: datetime) -> pa.Table:
        return super().read(sorted(columns), start, end)


class Local(TableSource):
    def read(self, columns: Sequence[str], start: datetime | None, end: datetime) -> pa.Table:
        table = super().read(columns, start, end)
        place = table.column_names.index("ts")
        return table.set_column(place, "ts", table["ts"].cast(pa.timestamp("s", tz="UTC")))


class Flickering(TableSource):
    reads = 0

    def read(self, columns: Sequence[str], start: datetime | None, end: datetime) -> pa.Table:
        self.reads += 1
        return super().read(columns, start, end).slice(self.reads % 2)


AS_OF = START + timedelta(hours=20)


def test_a_sound_source_passes() -> None:
    check_source(TableSource(), AS_OF, time="ts")


@pytest.mark.parametrize(
    ("source", "law"),
    [
        (Closed(), "at or after its end"),
        (Unordered(), "time order"),
        (Reordering(), "in the order asked for"),
        (Local(), "timestamp"),
        (Flickering(), "reading twice"),
        (TableSource(rows=2), "nothing to check"),
    ],
)
def test_a_broken_source_is_told_which_law_it_breaks(source: TableSource, law: str) -> None:
    with pytest.raises(AssertionError, match=law):
        check_source(source, AS_OF, time="ts")
