"""Likely causes: told where the rows leave little else to think of, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lr_retune.data.feed import Feed
from lr_retune.data.sources import ParquetSource
from lr_retune.records import Contract, Fault, Feeds, Span
from tests.test_contract import DAY, LEARNED, NOW, PER_DAY, T0, WATCHED, changed, config, every, learned, stream

HOURS = np.arange(5 * PER_DAY) * 24 / PER_DAY  # of the watched rows since 10 Feb
SHOP = np.array(stream(40, 5)["shop"].to_pylist())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("causes")


@pytest.fixture(scope="module")
def contract(root: Path) -> Contract:
    return learned(root)


def check(root: Path, contract: Contract, table: pa.Table, timezone: str = "UTC") -> tuple[Fault, ...]:
    """Faults of the newest five days, watched as one."""
    pq.write_table(table, root / "1.parquet")
    raw = config(root, categorical=["code"])
    made = raw.model_copy(update={"schedule": raw.schedule.model_copy(update={"timezone": timezone})})
    return Feed(made, Feeds(ParquetSource(made)), NOW).check(contract, WATCHED, {}, 0.01)


def said(root: Path, contract: Contract, table: pa.Table) -> str:
    """What the first fault says; all are of one column."""
    first, *others = check(root, contract, table)
    assert {fault.column for fault in others} <= {first.column}
    assert not [fault for fault in others if "?" in first.what and first.what.rpartition(": ")[2] in fault.what]
    return first.what


def lost(where: np.ndarray, name: str = "amount") -> pa.Table:
    return changed(name, lambda v: [None if gone else x for x, gone in zip(v.tolist(), where, strict=True)])


def together(**columns: Callable[[np.ndarray], Any]) -> pa.Table:
    table = stream(40, 5)
    for name, change in columns.items():
        table = table.set_column(
            table.column_names.index(name), name, pa.array(change(np.array(table[name].to_pylist())))
        )
    return table


# ── since when, and where ─────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("where", "words"),
    [
        (HOURS >= 78, "35.0% of the rows, 0.0% before, since 13 Feb 06:00"),
        ((HOURS >= 78) & (HOURS < 96), ", since 13 Feb 06:00 until 13 Feb 23:54"),
        (HOURS < 30, ", until 11 Feb 05:54"),
        ((HOURS >= 78) & (np.arange(len(HOURS)) % 5 == 0), ", since 13 Feb 06:00"),
        (SHOP == "west", ", only where shop = 'west'"),
        ((SHOP == "west") & (HOURS >= 78), ", since 13 Feb 0"),
        ((SHOP == "west") & (HOURS >= 78), ", only where shop = 'west'"),
    ],
)
def test_nulls_that_began_at_a_time_or_befell_some_rows_say_so(
    root: Path, contract: Contract, where: np.ndarray, words: str
) -> None:
    assert words in said(root, contract, lost(where))


def test_times_are_those_of_the_configured_zone(root: Path, contract: Contract) -> None:
    (fault,) = check(root, contract, lost(HOURS >= 78), "America/New_York")
    assert ", since 13 Feb 01:00" in fault.what


@pytest.mark.parametrize("n", [2, 10, 40])
def test_nulls_in_rows_of_every_kind_and_time_have_no_place(root: Path, contract: Contract, n: int) -> None:
    usual = "'amount' lacks a value in {:.1%} of the rows, 0.0% before"
    where = np.random.default_rng(n).permutation(len(HOURS)) < len(HOURS) / n
    assert said(root, contract, lost(where)) == usual.format(where.mean())


# ── what the values look like ─────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1000, "as if g stood for kg, or milliseconds for seconds?"),
        (0.001, "as if kg stood for g, or seconds for milliseconds?"),
        (100, "as if a share were written in per cent, or cents for euros?"),
        (0.01, "as if per cent were written as a share, or euros for cents?"),
        (60, "as if seconds stood for minutes, or minutes for hours?"),
        (1 / 60, "as if minutes stood for seconds, or hours for minutes?"),
        (3600, "as if seconds stood for hours?"),
        (1e6, "as if microseconds stood for seconds?"),
    ],
)
def test_a_known_factor_names_its_units(root: Path, contract: Contract, factor: float, words: str) -> None:
    assert said(root, contract, changed("amount", lambda v: v * factor)).endswith(f" times: {words}")


@pytest.mark.parametrize("factor", [35, 300, 1 / 300, 1e4])
def test_an_unknown_factor_is_told_without_a_guess(root: Path, contract: Contract, factor: float) -> None:
    assert said(root, contract, changed("amount", lambda v: v * factor)).endswith(" times")


def test_a_part_of_the_rows_in_another_unit_is_found_and_placed(root: Path, contract: Contract) -> None:
    what = said(root, contract, changed("amount", lambda v: np.where(SHOP == "east", v * 1000, v)))
    assert "only where shop = 'east': as if g stood for kg" in what
    what = said(root, contract, changed("amount", lambda v: np.where(SHOP == "east", v / 1000, v)))
    assert "only where shop = 'east': as if kg stood for g" in what


@pytest.mark.parametrize(
    ("column", "value"), [("amount", -999.0), ("amount", -1.0), ("amount", 0.0), ("amount", 99999.0), ("count", -1)]
)
def test_a_stand_in_for_missing_is_named(root: Path, contract: Contract, column: str, value: float) -> None:
    assert said(root, contract, changed(column, every(20, value))).endswith(f": {value:g} in place of missing?")


def test_a_default_that_fills_every_row_is_named(root: Path, contract: Contract) -> None:
    assert said(root, contract, changed("heavy", np.zeros_like)).endswith(": a default that stands for missing?")
    assert said(root, contract, changed("amount", lambda v: np.full(len(v), 20.5))).endswith("in all 1,200 rows")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: [s.upper() for s in v], "known levels in another case or with blanks?"),
        (lambda v: [f" {s}" for s in v], "known levels in another case or with blanks?"),
        (every(3, "N/A"), "a word in place of missing?"),
        (lambda v: [f"k{i}" for i in range(len(v))], "nearly one level a row: an identifier?"),
    ],
)
def test_levels_say_what_became_of_them(root: Path, contract: Contract, change: Any, words: str) -> None:
    (fault,) = check(root, contract, changed("shop", change))
    assert (fault.code, fault.matters, fault.what.endswith(f": {words}")) == ("new_levels", True, True), fault


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: [f"{x:.2f}".replace(".", ",") for x in v], ": a decimal comma?"),
        (
            lambda v: [f"{x:,.2f}".replace(".", ";").replace(",", ".").replace(";", ",") for x in v],
            ": a decimal comma?",
        ),
        (lambda v: [f"{x:.1f} kg" for x in v], ": 'kg' written with each number?"),
        (lambda v: [f"€{x:.0f}" for x in v], ": '€' written with each number?"),
        (lambda v: [f"about {x:.0f}, or {x:.1f}" for x in v], "was numbers and is mixed<double, string>"),
    ],
)
def test_numbers_that_text_hides_are_recognised(root: Path, contract: Contract, change: Any, words: str) -> None:
    assert said(root, contract, changed("amount", change)).endswith(words)


# ── columns that broke together ───────────────────────────────────────────────────────────────────
def test_swapped_columns_name_each_other(root: Path, contract: Contract) -> None:
    table, names = stream(40, 5), {"amount": "count", "count": "amount"}
    faults = check(root, contract, table.rename_columns([names.get(n, n) for n in table.column_names]))
    assert [(f.column, f.matters) for f in faults] == [("amount", True), ("count", True)]
    assert faults[0].what == "'amount' looks as 'count' did, and that as this did: were they swapped?"
    words = together(shop=lambda v: [str(int(x)) for x in stream(40, 5)["code"].to_pylist()], code=lambda v: SHOP)
    shop, code = check(root, contract, words)
    assert shop.what.endswith(": levels of 'code', were columns swapped?")
    assert code.what.endswith(": levels of 'shop', were columns swapped?")


def test_columns_that_lose_the_same_rows_are_one_incident_told_first(root: Path, contract: Contract) -> None:
    gone = np.random.default_rng(0).uniform(size=len(HOURS)) < 0.4

    def emptied(v: np.ndarray) -> list[Any]:
        return [None if g else x for x, g in zip(v.tolist(), gone, strict=True)]

    faults = check(root, contract, together(count=emptied, shop=emptied, heavy=emptied, amount=every(3, None)))
    assert [f.column for f in faults] == ["count", "shop", "heavy", "amount"]
    head = "3 columns lost their values in the same rows: a join that found nothing?: 'count' lacks a value in"
    assert faults[0].what.startswith(head)
    two = check(root, contract, together(count=emptied, shop=emptied))
    assert [f.what.startswith("'") for f in two] == [True, True]


def test_columns_that_are_gone_or_change_their_type_together_are_one_incident(
    tmp_path: Path, root: Path, contract: Contract
) -> None:
    numbers = {name: lambda v: [f"{x} EUR" for x in v] for name in ("amount", "count", "heavy")}
    assert check(root, contract, together(**numbers))[0].what.startswith("3 columns changed their type at once")
    pq.write_table(stream(0, 40).drop_columns(["amount", "count", "heavy"]), tmp_path / "0.parquet")
    gone = check(tmp_path, contract, stream(40, 5).drop_columns(["amount", "count", "heavy"]))
    assert gone[0].what == "3 columns are gone at once: another table, or an older job?: 'amount' is missing"


# ── ticks that nobody looked at ───────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("shop", lambda v: [s if h < 96 else f"new {s}" for s, h in zip(v, HOURS, strict=True)], "since 14 Feb 00:00"),
        ("amount", lambda v: np.where(HOURS < 96, v, v / 30), "times"),
        ("count", lambda v: np.where(HOURS < 96, v, 7), "is 7 in all 240 rows"),
    ],
)
def test_a_fault_of_the_newest_tick_is_not_thinned_by_good_ticks_before_it(
    root: Path, contract: Contract, name: str, change: Any, words: str
) -> None:
    found = check(root, contract, changed(name, change))
    assert [fault.column for fault in found if fault.matters and words in fault.what] == [name]


# ── the first tick, at any size ───────────────────────────────────────────────────────────────────
FIRST: dict[str, tuple[str, Callable[[list[Any]], Any]]] = {
    "10 % null": ("amount", lambda v: [None if i % 10 == 0 else x for i, x in enumerate(v)]),
    "50 % null": ("shop", lambda v: [None if i % 2 == 0 else x for i, x in enumerate(v)]),
    "100 % null": ("heavy", lambda v: [None] * len(v)),
    "times 1000": ("amount", lambda v: [x * 1000 for x in v]),
    "by 1000": ("amount", lambda v: [x / 1000 for x in v]),
    "words": ("amount", lambda v: [f"{x:.2f} EUR" for x in v]),
    "lists": ("shop", lambda v: [[x] for x in v]),
    "stand-ins": ("count", lambda v: [-999 if i % 10 == 0 else x for i, x in enumerate(v)]),
    "recoded": ("shop", lambda v: [f"new {x}" for x in v]),
}


def first_tick(root: Path, contract: Contract, rows: int, good: int, fault: str) -> tuple[list[Fault], list[Fault]]:
    """Blocking faults before and with a first broken tick, in ticks of so many rows behind ``good`` good ones."""
    name, change = FIRST[fault]
    many = stream(40, -(-(good + 1) * rows // PER_DAY)).slice(0, (good + 1) * rows)
    times = [T0 + 40 * DAY + i * DAY / rows for i in range(len(many))]
    many = many.set_column(0, "ts", pa.array(times, pa.timestamp("us", "UTC")))
    values = many[name].to_pylist()
    bad = [*(x if fault != "words" else str(x) for x in values[: good * rows]), *change(values[good * rows :])]
    broken = many.set_column(many.column_names.index(name), name, pa.array(bad))
    end = T0 + (40 + good + 1) * DAY
    found = []
    for table in (many, broken):
        pq.write_table(table, root / "1.parquet")
        made = config(root, categorical=["code"])
        seen = Feed(made, Feeds(ParquetSource(made)), end).check(contract, Span(T0 + 40 * DAY, end), {}, 0.01)
        found.append([f for f in seen if f.matters])
    return found[0], found[1]


@pytest.mark.fault("A1", "A2")
@pytest.mark.parametrize("fault", FIRST)
@pytest.mark.parametrize("rows", [500, 2_000, 10_000])
def test_every_fault_is_found_at_its_first_tick(root: Path, contract: Contract, rows: int, fault: str) -> None:
    before, found = first_tick(root, contract, rows, 0, fault)
    assert (before, {f.column for f in found}) == ([], {FIRST[fault][0]})


# two rows of 24 are no evidence, and 24 new levels among 336 rows may be new customers
@pytest.mark.parametrize("fault", [f for f in FIRST if f not in ("10 % null", "stand-ins", "recoded", "lists")])
def test_most_faults_of_a_tick_of_24_rows_are_found_at_once_too(root: Path, contract: Contract, fault: str) -> None:
    before, found = first_tick(root, contract, 24, 13, fault)
    assert (before, {f.column for f in found}) == ([], {FIRST[fault][0]})


def test_the_clock_of_the_tests_is_the_watched_span() -> None:
    assert (WATCHED.end - WATCHED.start, LEARNED.end) == (5 * DAY, WATCHED.start)
