"""Awkward rows at the newest tick, end to end: none raises, none trains, and each gets its own answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from lr_retune.config import Config, load_config
from lr_retune.data.feed import Feed
from lr_retune.plugins import load_feeds
from lr_retune.records import TRAINING_ACTIONS, Report
from lr_retune.retune import bootstrap, watch
from lr_retune.stores.promotion import Stores
from tests.worlds import day

PER_DAY, BORN, NEWEST = 240, 40, 45  # rows; days
NOW = day(NEWEST + 1)
SHOPS, CODES = ("north", "south", "east", "west", "web"), (1, 2, 3, 4)
NUMBERS, CATEGORIES = ("amount", "count", "tail", "tiny", "spiked"), ("shop", "code")  # all important
IDLE = ("flat", "shade", "trace")  # of no importance: a constant, a category, a number
Change = Callable[[pa.Table], pa.Table]
CONFIG = """\
config_version = 1
name = "awkward"
task = "regression"
[data]
path = "rows/*.parquet"
time = "ts"
label = "y"
categorical = ["code"]
[window]
train = "26d"
valid = "7d"
holdout = "7d"
[model]
params = { num_leaves = 15, min_data_in_leaf = 20 }
[metric]
name = "mae"
[search]
strategy = "grid"
points = 2
learning_rate = { low = 0.1, high = 0.3 }
max_steps = 200
patience = 10
[policy]
cooldown = 0
probe = false
[watch]
drift = "native"
matters = 0.03
"""


def feed(start: int, days: int) -> pa.Table:
    """Stable rows; ``flat``, ``shade``, ``trace`` and the identifier ``session`` do not move the label."""
    rng = np.random.default_rng((7, start))
    n = days * PER_DAY
    amount, count, tail = rng.lognormal(3, 1, n), rng.integers(0, 40, n), rng.standard_cauchy(n)
    tiny, spiked = rng.normal(0, 2e-4, n), rng.normal(5, 1, n)
    shop, code = rng.integers(0, len(SHOPS), n), rng.integers(0, len(CODES), n)
    y = 2 * np.log(amount) + count / 10 + np.arctan(tail) + tiny * 5000 + spiked + shop / 2 + (code == 2) * 2
    spiked = np.where(np.arange(n) == 36 * PER_DAY, 1e9, spiked)  # one outlier among the rows drift is held against
    return pa.table(
        {
            "ts": pa.array([day(start) + i * timedelta(days=1) / PER_DAY for i in range(n)], pa.timestamp("us", "UTC")),
            "y": y + rng.normal(0, 0.5, n),
            "amount": amount,
            "count": count,
            "tail": tail,
            "tiny": tiny,
            "spiked": spiked,
            "shop": [SHOPS[i] for i in shop],
            "code": [CODES[i] for i in code],
            "flat": np.ones(n),
            "shade": [("light", "dark")[i] for i in rng.integers(0, 2, n)],
            "trace": rng.normal(7, 2, n),
            "session": [f"s{start * PER_DAY + i}" for i in range(n)],
        }
    )


GOOD, FIRST = feed(NEWEST, 1), feed(BORN, 1)


@dataclass(frozen=True)
class World:
    """A champion, and a feed whose newest tick can be anything."""

    root: Path
    config: Config
    stores: Stores

    def watch(self, newest: pa.Table | None, *, now: int = NEWEST + 1) -> Report:
        """What the watch says of these newest rows; it never trains."""
        path = self.root / "rows" / "2.parquet"
        path.unlink(missing_ok=True)
        if newest is not None:
            pq.write_table(newest, path)
        found = watch(self.config, self.stores, day(now))
        assert found.decision.action not in TRAINING_ACTIONS, found.decision
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """One champion for every case, stores in memory."""
    root = tmp_path_factory.mktemp("awkward")
    (root / "rows").mkdir()
    (root / "retune.toml").write_text(CONFIG, encoding="utf-8")
    pq.write_table(feed(0, BORN), root / "rows" / "0.parquet")
    pq.write_table(feed(BORN, NEWEST - BORN), root / "rows" / "1.parquet")
    config = load_config(root / "retune.toml", environ={})
    stores = Stores.in_memory(config)
    importance = bootstrap(config, stores, day(BORN)).importance
    assert all(importance[name] >= 0.03 for name in (*NUMBERS, *CATEGORIES)), importance
    assert all(importance[name] < 0.03 for name in IDLE), importance
    assert "session" not in importance
    return World(root, config, stores)


@pytest.fixture
def only_birth(world: World) -> Iterator[World]:
    """No rows between the champion's holdout and the newest."""
    path = world.root / "rows" / "1.parquet"
    path.rename(path.with_suffix(".away"))
    yield world
    path.with_suffix(".away").rename(path)


# ── one change of one column ──────────────────────────────────────────────────────────────────────
def to(name: str, change: Callable[[list[Any]], Any]) -> Change:
    """A column of the newest rows as ``change`` makes it."""

    def made(table: pa.Table) -> pa.Table:
        values = change(table[name].to_pylist())
        array = values if isinstance(values, pa.Array) else pa.array(values)
        return table.set_column(table.column_names.index(name), name, array)

    return made


def each(name: str, change: Callable[[Any], Any]) -> Change:
    return to(name, lambda values: [change(v) for v in values])


def some(name: str, value: Any, every: int) -> Change:
    return to(name, lambda values: [value if i % every == 0 else v for i, v in enumerate(values)])


def lacking(name: str) -> Change:
    return lambda table: table.drop_columns([name])


def twice(name: str) -> Change:
    return lambda table: table.append_column(name, table["count"])


@dataclass(frozen=True)
class Case:
    """What comes, and what the watch must say."""

    name: str
    change: Change
    action: str
    words: tuple[str, ...] = ()
    columns: frozenset[str] = field(default=frozenset())  # that may be called drifted

    def __str__(self) -> str:
        return self.name


def blocks(name: str, column: str, change: Change, *words: str) -> Case:
    return Case(f"{name}, {column}", change, "fix_feed", (repr(column), *words), frozenset({column, "score"}))


def told(name: str, column: str, change: Change, *words: str) -> Case:
    return Case(f"{name}, {column}", change, "keep", (repr(column), *words), frozenset({column}))


def quiet(name: str, change: Change) -> Case:
    return Case(name, change, "keep")


CASES = [
    quiet("nothing", lambda table: table),
    quiet("columns in another order", lambda table: table.select(table.column_names[::-1])),
    quiet("rows in another order", lambda table: table.take(pa.array(np.arange(PER_DAY)[::-1]))),
    # nothing where something was
    blocks("all null", "amount", to("amount", lambda v: pa.nulls(len(v), pa.float64())), "no value in 240 rows"),
    blocks("all null, no type", "amount", to("amount", lambda v: pa.nulls(len(v))), "no value in 240 rows"),
    blocks("all null", "shop", to("shop", lambda v: pa.nulls(len(v), pa.string())), "no value in 240 rows"),
    blocks("all empty text", "shop", each("shop", lambda _: ""), "no value in 240 rows"),
    told("all null", "flat", to("flat", lambda v: pa.nulls(len(v), pa.float64())), "no value"),
    told("all null", "shade", to("shade", lambda v: pa.nulls(len(v), pa.string())), "no value"),
    blocks("all infinite", "amount", each("amount", lambda _: float("inf")), "240 of them infinite"),
    blocks("all NaN", "tail", each("tail", lambda _: float("nan")), "no value in 240 rows"),
    blocks(
        "90 % null", "amount", to("amount", lambda v: [x if i % 10 == 0 else None for i, x in enumerate(v)]), "90.0%"
    ),
    blocks("90 % null", "code", to("code", lambda v: [x if i % 10 == 0 else None for i, x in enumerate(v)]), "90.0%"),
    told("90 % null", "shade", to("shade", lambda v: [x if i % 10 == 0 else None for i, x in enumerate(v)]), "90.0%"),
    blocks("10 % null", "tiny", some("tiny", None, 10), "10.0%"),
    blocks("10 % infinite", "amount", some("amount", float("-inf"), 10), "24 of them infinite"),
    told("10 % infinite", "trace", some("trace", float("inf"), 10), "24 of them infinite"),
    quiet("one null", some("amount", None, PER_DAY)),
    # one value only
    blocks("constant", "amount", each("amount", lambda _: 20.5), "is 20.5 in all 240 rows"),
    blocks("constant", "shop", each("shop", lambda _: "web"), "one level in 240 rows"),
    told("constant", "trace", each("trace", lambda _: 7.0), "is 7 in all"),
    # categories
    told("10 % new levels", "shop", some("shop", "kiosk", 10), "1 new levels in 10.0% of the rows: 'kiosk'"),
    blocks("new levels only", "shop", each("shop", "shop {}".format), "5 new levels in 100.0%", "'shop web'"),
    blocks(
        "an identifier for levels", "shop", to("shop", lambda v: [f"r{i}" for i in range(len(v))]), "an identifier?"
    ),
    quiet("levels as text", each("code", str)),
    quiet("levels as floats", each("code", float)),
    quiet("levels as text of floats", each("code", "{}.0".format)),
    quiet("levels as bytes", to("shop", lambda v: pa.array([x.encode() for x in v]))),
    quiet("levels of a dictionary", to("shop", lambda v: pa.array(v, pa.large_string()).dictionary_encode())),
    quiet("a new identifier", lambda table: table.append_column("trace_id", table["session"])),
    # types
    told("numbers as text", "amount", each("amount", repr), "write numbers as numbers"),
    blocks("numbers with a unit", "amount", each("amount", "{:.2f} EUR".format), "'EUR' written with each number?"),
    quiet("decimals", to("amount", lambda v: pa.array([Decimal(f"{x:.4f}") for x in v]))),
    quiet("nullable integers", to("count", lambda v: pa.array([None, *v[1:]], pa.int32()))),
    quiet("integers", to("count", lambda v: pa.array(v, pa.uint8()))),
    quiet("objects with a null", to("amount", lambda v: pa.array([None, *v[1:]], from_pandas=True))),
    blocks("times", "amount", to("amount", lambda v: pa.array([NOW] * len(v))), "was numbers and is", "timestamp"),
    blocks("times", "shop", to("shop", lambda v: pa.array([NOW] * len(v))), "was categories and holds timestamp"),
    blocks("lists", "amount", each("amount", lambda x: [x]), "was numbers and is", "list<"),
    blocks("lists", "shop", each("shop", lambda x: [x]), "was categories and holds list<"),
    told("lists", "shade", each("shade", lambda x: [x]), "was categories and holds list<"),
    blocks("records", "code", each("code", lambda x: {"code": x}), "was categories and holds struct<"),
    quiet("lists in a new column", lambda table: table.append_column("basket", pa.array([[1, 2]] * PER_DAY))),
    blocks("missing", "amount", lacking("amount"), "no value in 240 rows"),
    told("missing", "trace", lacking("trace"), "no value in 240 rows"),
    blocks("a name twice", "amount", twice("amount"), "stands twice in a file"),
    told("a name twice", "trace", twice("trace"), "stands twice in a file"),
    # units and stand-ins
    blocks("times 1000", "amount", each("amount", lambda x: x * 1000), "as if g stood for kg"),
    blocks("times 1000", "spiked", each("spiked", lambda x: x * 1000), "as if g stood for kg"),
    blocks("by 1000", "amount", each("amount", lambda x: x / 1000), "as if kg stood for g"),
    told("times 1000", "trace", each("trace", lambda x: x * 1000), "as if g stood for kg"),
    blocks("-999 for missing", "amount", some("amount", -999.0, 10), "-999 in place of missing?"),
    blocks("-1 for missing", "count", some("count", -1, 10), "-1 in place of missing?"),
    blocks("0 for missing", "spiked", some("spiked", 0.0, 5), "0 in place of missing?"),
    # labels
    Case("labels of words", each("y", lambda _: "x"), "fix_feed", ("240 of 240 labels are not finite numbers",)),
    Case("labels of lists", each("y", lambda x: [x]), "fix_feed", ("240 of 240 labels are not finite numbers",)),
    quiet("no label yet", to("y", lambda v: pa.nulls(len(v), pa.float64()))),
]


@pytest.mark.fault("A1", "A2")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_an_awkward_tick_gets_its_own_answer(world: World, case: Case) -> None:
    found = world.watch(case.change(GOOD))
    words = [reason.text for reason in found.decision.reasons]
    assert found.decision.action == case.action, words
    assert any(all(word in text for word in case.words) for text in words), words
    assert {d.column for d in found.facts.drift if d.drifted} <= case.columns
    assert all(f.column in case.columns or f.column == "y" for f in found.facts.faults), found.facts.faults


# ── how many rows ─────────────────────────────────────────────────────────────────────────────────
def reasons(found: Report) -> list[str]:
    return [reason.code for reason in found.decision.reasons]


@pytest.mark.fault("A12")
@pytest.mark.parametrize(("ticks", "action"), [(1, "keep"), (2, "keep"), (3, "fix_feed")])
def test_without_rows_the_champion_stays_and_the_third_tick_asks_for_the_feed(
    world: World, ticks: int, action: str
) -> None:
    found = world.watch(None, now=NEWEST + ticks)
    assert (found.decision.action, reasons(found)) == (action, ["stale"])


@pytest.mark.fault("A4")
@pytest.mark.parametrize("rows", [1, 2, 10, 199])
def test_few_rows_are_no_evidence_unless_all_of_them_break_the_contract(only_birth: World, rows: int) -> None:
    wild = to("shop", lambda v: ["web"] * len(v))(each("amount", lambda _: 1e6)(FIRST))
    found = only_birth.watch(FIRST.slice(0, rows), now=BORN + 1)
    assert (found.decision.action, reasons(found)) == ("keep", ["too_few_rows"])
    strange = only_birth.watch(wild.slice(0, rows), now=BORN + 1)
    assert strange.decision.action == ("keep" if rows < 10 else "fix_feed")
    assert not [d for d in (*found.facts.drift, *strange.facts.drift) if d.drifted]


def test_no_row_since_birth_is_no_verdict(only_birth: World) -> None:
    found = only_birth.watch(None, now=BORN + 1)
    assert (found.decision.action, reasons(found)) == ("keep", ["stale"])
    assert (found.facts.faults[0].code, found.facts.drift) == ("no_rows", found.facts.drift)


def test_rows_that_drift_was_held_against_may_be_gone(world: World) -> None:
    old = world.root / "rows" / "0.parquet"
    old.rename(old.with_suffix(".away"))
    try:
        found = world.watch(GOOD)
        broken = world.watch(to("amount", lambda v: pa.nulls(len(v), pa.float64()))(GOOD))
    finally:
        old.with_suffix(".away").rename(old)
    assert found.decision.action == "keep"
    assert not [d for d in found.facts.drift if d.drifted]
    assert broken.decision.action == "fix_feed"


# ── real changes are seen, and named ──────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("column", "change"), [("spiked", lambda x: x * 3), ("tiny", lambda x: x + 6e-4), ("tail", lambda x: x * 20 + 5)]
)
def test_one_outlier_a_tiny_scale_or_heavy_tails_hide_no_real_change(
    world: World, column: str, change: Callable[[float], float]
) -> None:
    pq.write_table(each(column, change)(GOOD), world.root / "rows" / "2.parquet")
    found = watch(world.config, world.stores, NOW)  # a changed world is what training is for
    assert not found.facts.faults
    (drift,) = [d for d in found.facts.drift if d.column == column]
    assert drift.drifted


def test_an_identifier_is_left_out_and_said_so(world: World) -> None:
    seen = Feed(world.config, load_feeds(world.config), day(BORN))
    seen.learn(world.stores.champion(NOW).reference)
    assert "an identifier" in seen.left_out()["session"]


# ── any damage, any column, any share ─────────────────────────────────────────────────────────────
DAMAGES: dict[str, tuple[Callable[[Any, int], Any], float, bool]] = {
    # → what becomes of the i-th value, the least share of rows that it befalls, whether of numbers alone
    "null": (lambda _v, _i: None, 0.05, False),
    "empty": (lambda _v, _i: "", 0.05, False),
    "infinite": (lambda _v, _i: float("inf"), 0.05, True),
    "stand-in": (lambda _v, _i: -99999.0, 0.05, True),
    "far": (lambda _v, i: 1e12 * (1 + i), 0.05, True),
    "words": (lambda v, _i: f"about {v}", 0.05, True),
    "unknown": (lambda _v, _i: "unknown", 0.05, False),
    "recoded": (lambda v, _i: f"new {v}", 0.95, False),
    "listed": (lambda v, _i: [v], 1.0, False),
}


def damaged(column: str, damage: str, share: float, seed: int) -> pa.Table:
    change = DAMAGES[damage][0]
    hit = np.random.default_rng(seed).permutation(PER_DAY) < math.ceil(share * PER_DAY)
    values = GOOD[column].to_pylist()
    mixed = [change(v, i) if h else v for i, (v, h) in enumerate(zip(values, hit, strict=True))]
    if any(isinstance(v, str) for v in mixed):  # one type a column, as any file has
        mixed = [v if v is None else str(v) for v in mixed]
    return to(column, lambda _: mixed)(GOOD)


@pytest.mark.fault("A1", "A2")
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(DAMAGES)), st.sampled_from([*NUMBERS, *CATEGORIES, *IDLE]), st.floats(0, 1), st.integers(0)
)
def test_a_fault_holds_where_the_column_matters_and_is_told_where_it_does_not(
    world: World, damage: str, column: str, share: float, seed: int
) -> None:
    least, numbers_only = DAMAGES[damage][1:]
    assume(not numbers_only or column in (*NUMBERS, "flat", "trace"))
    found = world.watch(damaged(column, damage, least + (1 - least) * share, seed))
    assert found.facts.faults
    assert {fault.column for fault in found.facts.faults} == {column}
    assert found.decision.action == ("keep" if column in IDLE else "fix_feed")
    assert any(repr(column) in reason.text for reason in found.decision.reasons)
