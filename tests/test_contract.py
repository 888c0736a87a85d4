"""The check: each way a feed breaks is named, blocks where it matters, and nothing awkward raises."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lr_retune.config import Config, parse_config
from lr_retune.data.contract import FAULTS
from lr_retune.data.feed import Feed
from lr_retune.data.plan import freeze
from lr_retune.data.sources import ParquetSource
from lr_retune.records import Contract, Fault, Feeds, Span

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
DAY = timedelta(days=1)
T0 = datetime(2024, 1, 1, tzinfo=UTC)
LEARNED = Span(T0, T0 + 40 * DAY)
NOW = T0 + 45 * DAY
WATCHED = Span(T0 + 40 * DAY, NOW)
PER_DAY = 240
Change = Callable[[Any], Any]


def config(root: Path, **data: Any) -> Config:
    roles = {"path": "*.parquet", "time": "ts", "label": "y", "id": "key"}
    return parse_config(
        {"config_version": 1, "name": "m", "task": "binary", "metric": {"name": "log_loss"}, "data": roles | data},
        root=root,
    )


def stream(start: int, days: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng((seed, start))
    n = days * PER_DAY
    times = [T0 + start * DAY + i * DAY / PER_DAY for i in range(n)]
    return pa.table(
        {
            "ts": pa.array(times, pa.timestamp("us", "UTC")),
            "key": [f"k{start * PER_DAY + i}" for i in range(n)],
            "y": rng.integers(0, 2, n),
            "amount": rng.lognormal(3, 1, n),
            "count": rng.integers(0, 30, n),
            "shop": [["north", "south", "east", "west"][i] for i in rng.integers(0, 4, n)],
            "code": rng.integers(0, 3, n),
            "heavy": rng.standard_cauchy(n),
        }
    )


FEATURES = ("amount", "count", "shop", "code", "heavy")


def learned(root: Path) -> Contract:
    pq.write_table(stream(0, 40), root / "0.parquet")
    made = config(root, categorical=["code"])
    return Feed(made, Feeds(ParquetSource(made)), LEARNED.end).learn(LEARNED)


def check(
    root: Path, table: pa.Table | None, contract: Contract | None = None, **importance: float
) -> tuple[Fault, ...]:
    """Faults of the newest five days, after forty good ones in another file."""
    contract = contract or learned(root)
    if table is not None:
        pq.write_table(table, root / "1.parquet")
    made = config(root, categorical=["code"])
    return Feed(made, Feeds(ParquetSource(made)), NOW).check(contract, WATCHED, importance, 0.01)


def changed(name: str, change: Callable[[np.ndarray], Any]) -> pa.Table:
    table = stream(40, 5)
    values = change(np.array(table[name].to_pylist()))
    return table.set_column(
        table.column_names.index(name), name, values if isinstance(values, pa.Array) else pa.array(values)
    )


def every(n: int, then: Any) -> Callable[[np.ndarray], list[Any]]:
    return lambda values: [then if i % n == 0 else v for i, v in enumerate(values.tolist())]


def told(faults: tuple[Fault, ...]) -> dict[tuple[str, str | None], bool]:
    return {(f.code, f.column): f.matters for f in faults}


@pytest.mark.fault("A1")
def test_a_good_feed_has_no_fault_and_column_order_is_none(tmp_path: Path) -> None:
    table = stream(40, 5)
    assert check(tmp_path, table) == ()
    assert check(tmp_path, table.select(table.column_names[::-1])) == ()


BREAKS: list[tuple[str, str, Change, bool]] = [
    ("all_null", "amount", lambda v: pa.nulls(len(v)), True),
    ("all_null", "shop", lambda v: pa.nulls(len(v), pa.string()), True),
    ("all_null", "amount", lambda v: np.full(len(v), np.inf), True),
    ("null_share", "amount", every(50, None), True),
    ("null_share", "shop", every(50, ""), True),
    ("null_share", "amount", every(2, float("nan")), True),
    ("infinite", "amount", every(10, float("inf")), True),
    ("infinite", "amount", every(1_000, float("-inf")), False),
    ("out_of_range", "amount", every(20, -9999.0), True),
    ("out_of_range", "count", every(20, -999), True),
    ("unit_change", "amount", lambda v: v * 1000, True),
    ("unit_change", "amount", lambda v: v / 100, True),
    ("constant", "amount", lambda v: np.full(len(v), 20.5), True),
    ("constant", "count", lambda v: np.full(len(v), 7), True),
    ("constant", "shop", lambda v: ["north"] * len(v), True),
    ("new_levels", "shop", every(10, "web"), False),
    ("new_levels", "shop", lambda v: [f"NEW {s}" for s in v], True),
    ("retyped_column", "amount", lambda v: [f"about {x:.0f}" for x in v], True),
    ("retyped_column", "amount", lambda v: [repr(x) for x in v.tolist()], False),
    ("retyped_column", "amount", lambda v: pa.array([T0] * len(v)), True),
    ("retyped_column", "amount", lambda v: [[x] for x in v], True),
    ("retyped_column", "shop", lambda v: pa.array([T0] * len(v)), True),
    ("retyped_column", "shop", lambda v: [{"name": s} for s in v], True),
]


@pytest.mark.fault("A1", "A2")
@pytest.mark.parametrize(("code", "column", "change", "blocks"), BREAKS)
def test_a_broken_column_is_named_and_blocks_when_it_matters(
    tmp_path: Path, code: str, column: str, change: Change, blocks: bool
) -> None:
    table, contract = changed(column, change), learned(tmp_path)
    assert told(check(tmp_path, table, contract))[code, column] is blocks
    assert told(check(tmp_path, table, contract, **{column: 0.01}))[code, column] is blocks
    assert not any(told(check(tmp_path, table, contract, **{column: 0.009})).values())
    assert code in FAULTS


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("code", lambda v: [str(i) for i in v]),
        ("code", lambda v: [float(i) for i in v]),
        ("code", lambda v: pa.array([str(i) for i in v]).dictionary_encode()),
        ("amount", lambda v: pa.array([Decimal(f"{x:.4f}") for x in v])),
        ("amount", lambda v: pa.array(v, pa.float32())),
        ("shop", lambda v: pa.array(v[::-1], pa.large_string()).dictionary_encode()),
        ("count", lambda v: pa.array(v, pa.uint8())),
        ("heavy", lambda v: v * 3),
        ("amount", every(500, None)),
    ],
)
def test_what_means_the_same_is_no_fault(tmp_path: Path, column: str, change: Change) -> None:
    assert check(tmp_path, changed(column, change)) == ()


@pytest.mark.fault("A1")
def test_a_missing_column_is_told_with_the_name_it_may_have_now(tmp_path: Path) -> None:
    contract = learned(tmp_path)
    names = {"amount": "amount_eur", "heavy": "tail"}
    for old, new in names.items():
        for file, table in (("0", stream(0, 40)), ("1", stream(40, 5))):
            pq.write_table(
                table.rename_columns([new if n == old else n for n in table.column_names]), tmp_path / f"{file}.parquet"
            )
        faults = check(tmp_path, None, contract)
        assert told(faults) == {("missing_column", old): True, ("new_column", new): False}
        assert faults[0].what == f"'{old}' is missing; renamed to '{new}'?"


@pytest.mark.fault("A1")
def test_an_extra_column_is_told_and_an_identifier_is_not(tmp_path: Path) -> None:
    table = stream(40, 5)
    table = table.append_column("extra", table["amount"]).append_column("session", table["key"])
    assert told(check(tmp_path, table)) == {("new_column", "extra"): False}


def test_a_missing_label_column_blocks(tmp_path: Path) -> None:
    contract = learned(tmp_path)
    (tmp_path / "0.parquet").unlink()
    assert told(check(tmp_path, stream(40, 5).drop_columns(["y"]), contract, shop=1.0)) == {
        ("missing_column", "y"): True
    }


@pytest.mark.fault("A14")
def test_a_name_that_stands_twice_is_a_fault_of_its_column(tmp_path: Path) -> None:
    table = stream(40, 5)
    twice = table.append_column("amount", table["count"])
    assert told(check(tmp_path, twice)) == {("retyped_column", "amount"): True}


@pytest.mark.fault("A8")
def test_repeated_rows_and_ids_are_counted(tmp_path: Path) -> None:
    table = stream(40, 5)
    few = pa.concat_tables([table, table.slice(0, 30)])
    assert told(check(tmp_path, few)) == {("duplicate_ids", "key"): True, ("duplicate_rows", None): False}
    once = pa.concat_tables([table, table.slice(0, 3)])
    assert told(check(tmp_path, once)) == {("duplicate_ids", "key"): False}
    faults = check(tmp_path, pa.concat_tables([table, table]))
    assert told(faults) == {("duplicate_ids", "key"): True, ("duplicate_rows", None): True}
    assert faults[1].what.startswith("1,200 of 2,400 rows")


@pytest.mark.fault("A12")
@pytest.mark.parametrize(("days", "empty"), [(5, 0), (4, 1), (3, 2), (2, 3), (1, 4)])
def test_a_feed_that_stands_still_is_told_at_once_and_blocks_after_three_ticks(
    tmp_path: Path, days: int, empty: int
) -> None:
    found = [f for f in check(tmp_path, stream(40, days)) if f.code == "stale_source"]
    assert [f.matters for f in found] == ([empty >= 3] if empty else [])
    assert not found or f"no rows for {empty} of 3 ticks" in found[0].what


def test_watched_ticks_without_any_row_block(tmp_path: Path) -> None:
    assert told(check(tmp_path, None)) == {("no_rows", None): False, ("stale_source", None): True}


@pytest.mark.fault("A3")
@pytest.mark.parametrize("label", [2, np.inf, -1])
def test_a_label_that_is_none_blocks_whatever_the_columns_weigh(tmp_path: Path, label: float) -> None:
    table = changed("y", every(400, label))
    assert told(check(tmp_path, table, shop=1.0)) == {("bad_label", "y"): True}


def test_labels_as_text_are_read_or_told(tmp_path: Path) -> None:
    assert check(tmp_path, changed("y", lambda v: [str(i) for i in v])) == ()
    assert told(check(tmp_path, changed("y", lambda v: ["yes" if i else "no" for i in v]))) == {
        ("bad_label", "y"): True
    }


def test_new_levels_are_named_the_commonest_first_and_long_ones_cut(tmp_path: Path) -> None:
    change = {0: "web", 1: "web", 2: "x" * 90, 3: "<script>"}
    table = changed("shop", lambda v: [change.get(i % 20, s) for i, s in enumerate(v)])
    (fault,) = check(tmp_path, table)
    assert fault.what == f"'shop' has 3 new levels in 20.0% of the rows: 'web', '<script>', '{'x' * 39}…'"


def test_one_or_two_rows_are_never_a_fault_of_a_column(tmp_path: Path) -> None:
    contract = learned(tmp_path)
    for n in (1, 2):
        few = stream(44, 1).slice(0, n)
        few = few.set_column(3, "amount", pa.array([1e9] * n)).set_column(5, "shop", pa.array(["new"] * n))
        assert check(tmp_path, few, contract) == ()


def test_a_column_that_always_stands_still_for_a_while_is_none(tmp_path: Path) -> None:
    def monthly(start: int, days: int) -> pa.Table:
        table = stream(start, days)
        return table.set_column(3, "amount", pa.array([1.25 * t.month for t in table["ts"].to_pylist()]))

    pq.write_table(monthly(0, 40), tmp_path / "0.parquet")
    made = config(tmp_path, categorical=["code"])
    contract = Feed(made, Feeds(ParquetSource(made)), LEARNED.end).learn(LEARNED)
    assert check(tmp_path, monthly(40, 5), contract) == ()


def test_a_cold_week_is_no_change_of_unit(tmp_path: Path) -> None:
    def weather(start: int, days: int, mean: float) -> pa.Table:
        table = stream(start, days)
        return table.set_column(3, "amount", pa.array(np.random.default_rng(start).normal(mean, 3, len(table))))

    pq.write_table(weather(0, 40, 12.0), tmp_path / "0.parquet")
    made = config(tmp_path, categorical=["code"])
    contract = Feed(made, Feeds(ParquetSource(made)), LEARNED.end).learn(LEARNED)
    assert check(tmp_path, weather(40, 5, 0.5), contract) == ()


VALUES: list[Any] = [
    None,
    0,
    -1.5,
    1e308,
    5e-324,
    float("inf"),
    float("nan"),
    True,
    "3",
    "",
    "x" * 300,
    b"\xff",
    [1],
    {"a": 1},
    T0,
    Decimal(3),
]


@pytest.mark.fault("A2")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([*FEATURES, "y", "key"]), st.sampled_from(VALUES), st.sampled_from([0, 1, 2, 300]))
@example("amount", 1e308, 300)
@example("amount", 5e-324, 300)
def test_no_awkward_column_raises(tmp_path: Path, name: str, value: Any, rows: int) -> None:
    table = stream(40, 5).slice(0, rows)
    column = pa.array([value] * rows) if rows else pa.array([value]).slice(0, 0)
    table = table.set_column(table.column_names.index(name), name, column)
    contract = learned(tmp_path) if not (tmp_path / "0.parquet").exists() else CONTRACTS[tmp_path]
    CONTRACTS[tmp_path] = contract
    faults = check(tmp_path, table, contract)
    assert {f.code for f in faults} <= FAULTS.keys()
    made = config(tmp_path, categorical=["code"])
    feed = Feed(made, Feeds(ParquetSource(made)), NOW)
    assert len(feed.table(contract, WATCHED, limit=100, seed=0)) == min(rows, 100)
    x = feed.rows(contract, WATCHED, [name]).x
    assert x.shape == (rows, len(FEATURES))
    assert not np.isinf(x).any()


CONTRACTS: dict[Path, Contract] = {}


def test_a_quiet_real_stream_has_no_blocking_fault_over_two_years() -> None:
    if not (DATA / "dc_bikeshare.parquet").exists():
        pytest.skip("../shared/data/dc_bikeshare.parquet is not there")
    raw = {"config_version": 1, "name": "m", "task": "regression", "metric": {"name": "mae"}}
    data = {"path": "dc_bikeshare.parquet", "time": "ts", "label": "y", "exclude": ["step"]}
    made = parse_config(raw | {"data": data}, root=DATA)
    source = ParquetSource(made)
    born = datetime(2016, 1, 1, tzinfo=UTC)
    contract = freeze(Feed(made, Feeds(source), born), made).contract
    for week in range(0, 104, 4):
        now = born + 7 * week * DAY
        for days in (1, 7, 40):
            assert not [
                f
                for f in Feed(made, Feeds(source), now).check(contract, Span(now - days * DAY, now), {}, 0.01)
                if f.matters
            ]
