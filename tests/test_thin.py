"""Large spans: which rows are drawn, that every source draws the same, and that what must be exact stays exact."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lr_retune.config import Config, load_config
from lr_retune.data.feed import Feed
from lr_retune.data.kinds import micros_of
from lr_retune.data.repeats import repeated_share, repeats
from lr_retune.data.sources import CachedSource, CsvSource, ParquetSource
from lr_retune.data.thin import by_tick, drawn
from lr_retune.records import Contract, Fault, Feeds, Source, Span
from tests.worlds import GOOD, START, day

ROWS = 6_000  # over three days
SAMPLE = 500
SPAN = Span(day(0), day(3))
IMPORTANCE = {"a": 0.5, "b.c": 0.3, "kind": 0.2}


def rows(seed: int = 0, n: int = ROWS) -> pa.Table:
    draw = np.random.default_rng(seed)
    when = np.sort(draw.choice(3 * 24 * 3600, n))
    return pa.table(
        {
            "ts": pa.array([START + timedelta(seconds=int(s)) for s in when], pa.timestamp("us", "UTC")),
            "y": draw.integers(0, 2, n).astype(float),
            "a": pa.array(np.where(draw.random(n) < 0.1, np.nan, draw.normal(size=n)), from_pandas=True),
            "b.c": draw.integers(0, 50, n),
            "kind": pa.array([None if v == "z" else v for v in draw.choice(list("xyz"), n)], pa.string()),
            "event": [f"e{i}" for i in range(n)],
        }
    )


def config(folder: Path, path: str = "rows.parquet", more: str = "", sample: int = SAMPLE) -> Config:
    text = GOOD.replace('path = "rows.parquet"', f'path = "{path}"').replace('label = "y"', f'label = "y"\n{more}')
    (folder / "retune.toml").write_text(f"{text}[watch]\nsample = {sample}\n", encoding="utf-8")
    return load_config(folder / "retune.toml", environ={})


def feed(config: Config, source: Source, as_of: Any = None) -> Feed:
    return Feed(config, Feeds(source), as_of or day(3))


def parquet(folder: Path, table: pa.Table, *, files: int = 1, group: int = 700, **of: Any) -> Feed:
    (folder / "rows").mkdir(exist_ok=True, parents=True)
    for old in (folder / "rows").iterdir():
        old.unlink()
    for i, part in enumerate(np.array_split(np.arange(len(table)), files)):
        pq.write_table(table.take(pa.array(part)), folder / "rows" / f"{i}.parquet", row_group_size=group)
    found = config(folder, "rows", **of)
    return feed(found, ParquetSource(found))


# ── which rows ────────────────────────────────────────────────────────────────────────────────────
@given(st.integers(0, 400), st.integers(1, 400), st.integers(0, 9))
def test_a_draw_is_ascending_without_repeats_and_none_where_all_fit(n: int, limit: int, seed: int) -> None:
    which = drawn(limit, seed)(np.arange(n))
    if n <= limit:
        assert which is None
        return
    assert which is not None
    assert len(which) == limit
    assert (np.diff(which) > 0).all()
    assert which[-1] < n


@given(st.lists(st.integers(0, 59), max_size=200), st.integers(1, 20), st.integers(10, 50))
def test_a_tick_is_drawn_alike_whatever_else_is_read(times: list[int], limit: int, first: int) -> None:
    clock, cuts = np.sort(np.array(times, dtype=np.int64)), np.arange(0, 70, 10)
    which = by_tick(limit, cuts, seed=1)(clock)
    taken = clock if which is None else clock[which]
    assert (
        np.bincount(taken // 10, minlength=6).tolist()
        == np.minimum(np.bincount(clock // 10, minlength=6), limit).tolist()
    )
    later, rest = clock[clock >= first // 10 * 10], cuts[first // 10 :]
    again = by_tick(limit, rest, seed=1)(later)
    assert (later if again is None else later[again]).tolist() == taken[taken >= first // 10 * 10].tolist()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 4), st.sampled_from([150, 700, 10_000]), st.integers(0, 5), st.booleans())
def test_picked_rows_are_the_rows_that_a_full_read_would_give(
    tmp_path: Path, files: int, group: int, seed: int, shuffled: bool
) -> None:
    table = rows(seed, 1_000)
    table = table.take(pa.array(np.random.default_rng(seed).permutation(1_000))) if shuffled else table
    source = parquet(tmp_path, table, files=files, group=group).feeds.data
    assert isinstance(source, ParquetSource)
    start, end, names = day(0) + timedelta(hours=7), day(2), ["kind", "ts", "b.c", "a", "event"]
    whole = source.read(names, start, end)
    which = drawn(90, seed)(micros_of(whole["ts"]))
    assert source.pick(names, start, end, drawn(90, seed)) == whole.take(pa.array(which))
    assert source.pick(names, start, end, drawn(5_000, seed)) == whole


def test_parquet_csv_and_memory_draw_the_same_rows(tmp_path: Path) -> None:
    table = rows().set_column(2, "a", pa.array(np.arange(ROWS) / 8))
    one = parquet(tmp_path, table, files=3)
    pa_csv.write_csv(table, tmp_path / "rows.csv")
    text = config(tmp_path, "rows.csv", 'source = "csv"')
    memory = CachedSource(one.feeds.data, table.column_names, "ts")
    contract = one.learn(SPAN)
    found = [f.table(contract, SPAN, 300, seed=2) for f in (one, feed(text, CsvSource(text)), feed(one.config, memory))]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 300


def test_a_row_that_arrives_later_does_not_change_what_was_drawn(tmp_path: Path) -> None:
    table, now = rows(), day(3)
    late = np.random.default_rng(1).random(ROWS) < 0.3
    arrival = pa.array([now + timedelta(days=1) if x else day(0) for x in late], pa.timestamp("us", "UTC"))
    whole = table.append_column("there", arrival)
    drawn_ = []
    for name, part in (("all", whole), ("early", whole.filter(pa.array(~late)))):
        found = parquet(tmp_path / name, part, more='available_time = "there"', files=2)
        drawn_.append(found.table(Contract(1, found.learn(SPAN).columns, 1), SPAN, 200, seed=3))
    assert drawn_[0] == drawn_[1]


def test_what_was_read_last_is_not_read_again_and_answers_alike(tmp_path: Path) -> None:
    found = parquet(tmp_path, rows())
    contract = found.learn(SPAN)
    alone = found.table(contract, SPAN, 300, seed=0)
    counted = Counted(found.feeds.data)
    again = feed(found.config, counted)
    sample, encoded = again.sample(contract, SPAN, 300, seed=0)
    read = counted.reads
    assert again.table(contract, SPAN, 300, seed=0) == sample == alone
    assert counted.reads == read
    assert len(encoded) == 300
    again.rows(contract, SPAN, per_tick=ROWS)  # every row
    read = counted.reads
    assert again.table(contract, SPAN, 300, seed=0) == alone
    assert counted.reads == read


class Counted:
    """A source that counts how often rows are read of it."""

    def __init__(self, source: Source) -> None:
        self.source, self.reads = source, 0
        self.schema = source.schema

    def read(self, *asked: Any) -> Any:
        self.reads += 1
        return self.source.read(*asked)


# ── the check ─────────────────────────────────────────────────────────────────────────────────────
def faults(found: Feed, contract: Contract) -> list[tuple[str, str | None, bool]]:
    return [(f.code, f.column, f.matters) for f in found.check(contract, SPAN, IMPORTANCE, 0.01)]


BROKEN: dict[str, Callable[[pa.Table], pa.Table]] = {
    "nothing": lambda t: t,
    "all_null": lambda t: t.set_column(2, "a", pa.nulls(ROWS, pa.float64())),
    "half_null": lambda t: t.set_column(2, "a", pc.if_else(pa.array(np.arange(ROWS) % 2 == 0), t["a"], None)),
    "unit": lambda t: t.set_column(3, "b.c", pc.multiply(t["b.c"], 1000)),
    "levels": lambda t: t.set_column(4, "kind", pc.binary_join_element_wise("new", t["event"], "-")),
    "constant": lambda t: t.set_column(3, "b.c", pa.array([7] * ROWS)),
    "text": lambda t: t.set_column(2, "a", pa.array(["?"] * ROWS)),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_sample_finds_what_all_rows_show(tmp_path: Path, damage: str) -> None:
    contract = parquet(tmp_path, rows(1)).learn(SPAN)
    table = BROKEN[damage](rows())
    kept = Contract(1, tuple(c for c in contract.columns if c.name != "event"), contract.rows)
    whole = faults(parquet(tmp_path, table, sample=ROWS, more='id = "event"'), kept)
    part = faults(parquet(tmp_path, table, sample=SAMPLE, more='id = "event"'), kept)
    assert part == whole
    assert bool(whole) == (damage != "nothing")


def test_a_figure_of_a_sample_says_so(tmp_path: Path) -> None:
    contract = parquet(tmp_path, rows(1), more='id = "event"').learn(SPAN)
    found = parquet(tmp_path, BROKEN["half_null"](rows()), more='id = "event"')
    (fault,) = found.check(contract, SPAN, IMPORTANCE, 0.01)
    assert fault.what.endswith(f"({SAMPLE} rows drawn from {ROWS:,})")


def told(found: Feed, contract: Contract) -> dict[str, Fault]:
    return {f.code: f for f in found.check(contract, SPAN, IMPORTANCE, 0.01)}


def test_one_bad_label_and_one_repeated_id_among_all_rows_are_found(tmp_path: Path) -> None:
    table = rows()
    labels = table["y"].to_numpy().copy()
    labels[4321] = 7
    ids = table["event"].to_pylist()
    ids[17] = ids[4000]
    table = table.set_column(1, "y", pa.array(labels)).set_column(5, "event", pa.array(ids))
    found = parquet(tmp_path, table, more='id = "event"')
    contract = parquet(tmp_path / "old", rows(1), more='id = "event"').learn(SPAN)
    seen = told(found, contract)
    assert seen["bad_label"].what == f"1 of {ROWS:,} labels are not 0 or 1"
    assert seen["duplicate_ids"].what == f"1 of {ROWS:,} rows repeat an id"


@pytest.mark.parametrize("coarse", ["1s", "1h", "3d"])
def test_a_file_delivered_twice_is_found_on_a_sample_of_its_rows(tmp_path: Path, coarse: str) -> None:
    step = {"1s": 1, "1h": 3600, "3d": 3 * 86_400}[coarse] * 1_000_000
    table = rows().drop_columns(["event"])
    clock = micros_of(table["ts"])
    base = clock.min() // step * step
    when = pa.array(np.maximum(clock // step * step, base), pa.int64()).cast(pa.timestamp("us", "UTC"))
    table = table.set_column(0, "ts", when)
    span = Span(day(-3), day(3))
    contract = parquet(tmp_path / "once", table).learn(span)
    once = parquet(tmp_path / "once", table).check(contract, span, IMPORTANCE, 0.01)
    assert "duplicate_rows" not in {f.code for f in once}
    found = parquet(tmp_path / "twice", pa.concat_tables([table, table]), files=2)
    twice = {f.code: f for f in found.check(contract, span, IMPORTANCE, 0.01)}
    assert twice["duplicate_rows"].matters
    assert twice["duplicate_rows"].what.startswith(f"{ROWS:,} of {2 * ROWS:,} rows")


@given(st.floats(0, 0.9), st.integers(0, 99))
def test_the_share_of_repeats_is_that_of_all_rows(part: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    n, again = 4_000, int(4_000 * part)
    values = draw.normal(size=n)
    order = draw.permutation(n + again)
    table = pa.table(
        {
            "t": pa.array(np.zeros(n + again, dtype=np.int64)).cast(pa.timestamp("us", "UTC")),
            "x": np.concatenate([values, values[:again]])[order],
            "c": np.concatenate([np.where(values > 0, "p", "n"), np.where(values[:again] > 0, "p", "n")])[order],
        }
    )

    def read(names: Any, choose: Any) -> pa.Table:
        which = None if choose is None else choose(np.zeros(len(table)))
        return table.select(names) if which is None else table.select(names).take(pa.array(which))

    share = repeated_share(read, micros_of(table["t"]), ["t", "x", "c"], 1_000, 0.01)
    assert share == pytest.approx(repeats(table, ["t", "x", "c"]), abs=0.09)
