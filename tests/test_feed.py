"""The feed: no label and no row from the future, one horizon, the same bytes for the same content."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_retune import encoding
from lr_retune.config import Config, parse_config
from lr_retune.data.feed import Feed
from lr_retune.data.plan import freeze
from lr_retune.data.sources import CachedSource, ParquetSource
from lr_retune.data.ticks import tick_start
from lr_retune.errors import DataError
from lr_retune.records import Feeds, Rows, Span, canonical

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
DAY = timedelta(days=1)
T0 = datetime(2024, 1, 1, tzinfo=UTC)


def made(root: Path, task: str = "binary", **more: Any) -> Config:
    raw: dict[str, Any] = {
        "config_version": 1,
        "name": "m",
        "task": task,
        "metric": {"name": "log_loss" if task == "binary" else "mae"},
        "window": {"train": "40d", "valid": "7d", "holdout": "7d"},
    }
    data = {"path": "feed.parquet", "time": "ts", "label": "y"} | more.pop("data", {})
    return parse_config(raw | more | {"data": data}, root=root)


def real(name: str, **more: Any) -> Config:
    if not (DATA / name).exists():
        pytest.skip(f"../shared/data/{name} is not there")
    data = {"path": name, "exclude": ["step"]} | more.pop("data", {})
    return made(DATA, data=data, **more)


def stream(days: int = 90, per_day: int = 24, seed: int = 0) -> pa.Table:
    """Rows whose labels come 0 to 10 days late."""
    rng = np.random.default_rng(seed)
    n = days * per_day
    times = [T0 + i * DAY / per_day for i in range(n)]
    late = rng.integers(0, 10 * 24, n).tolist()
    return pa.table(
        {
            "ts": pa.array(times, pa.timestamp("us", "UTC")),
            "label_ts": pa.array(
                [t + timedelta(hours=h) for t, h in zip(times, late, strict=True)], pa.timestamp("us", "UTC")
            ),
            "y": rng.integers(0, 2, n),
            "x": rng.normal(size=n),
            "flag": rng.integers(0, 2, n).astype(bool),
            "shop": [["a", "b", None, "3"][i] for i in rng.integers(0, 4, n)],
            "zip": rng.integers(0, 5, n),
        }
    )


LATE = {"label_time": "label_ts", "categorical": ["zip"]}


def feed_of(root: Path, table: pa.Table, as_of: datetime, **more: Any) -> Feed:
    pq.write_table(table, root / "feed.parquet")
    config = made(root, **more)
    return Feed(config, Feeds(ParquetSource(config)), as_of)


def same(a: Rows, b: Rows) -> bool:
    return all(x.tobytes() == y.tobytes() for x, y in ((a.x, b.x), (a.y, b.y), (a.time, b.time), (a.tick, b.tick)))


def poisoned(table: pa.Table, as_of: datetime) -> pa.Table:
    """Every row from ``as_of`` on, and every label that arrives after it, is rubbish."""
    after = np.array([t >= as_of for t in table["ts"].to_pylist()])
    unknown = np.array([t > as_of for t in table["label_ts"].to_pylist()])
    y = np.where(unknown, 1 - table["y"].to_numpy(), table["y"].to_numpy()).astype(float)
    x = np.where(after, np.inf, table["x"].to_numpy())
    shop = pa.array(
        [f"new {i}" if a else s for i, (a, s) in enumerate(zip(after, table["shop"].to_pylist(), strict=True))]
    )
    y[after] = np.inf
    table = table.set_column(2, "y", pa.array(y)).set_column(3, "x", pa.array(x))
    return table.set_column(table.column_names.index("shop"), "shop", shop)


@pytest.mark.parametrize("as_of", [T0 + 80 * DAY, T0 + 75 * DAY + timedelta(hours=7, minutes=30)])
def test_poison_after_as_of_changes_no_byte(tmp_path: Path, as_of: datetime) -> None:
    clean, foul = tmp_path / "clean", tmp_path / "foul"
    for folder, table in ((clean, stream()), (foul, poisoned(stream(), as_of))):
        folder.mkdir()
        pq.write_table(table, folder / "feed.parquet")
    later = stream(5).append_column("extra", pa.array(["p"] * 120)).set_column(3, "x", pa.array(["q"] * 120))
    when = pa.array([as_of + i * timedelta(hours=1) for i in range(120)], pa.timestamp("us", "UTC"))
    pq.write_table(later.set_column(0, "ts", when), foul / "later.parquet")
    answers = []
    for folder, path in ((clean, "feed.parquet"), (foul, "*.parquet")):
        config = made(folder, data=LATE | {"path": path})
        feed = Feed(config, Feeds(ParquetSource(config)), as_of)
        plan = freeze(feed, config)
        span = Span(plan.train.start, as_of + 9 * DAY)
        rows = feed.rows(plan.contract, span)
        faults = feed.check(plan.contract, Span(as_of - 7 * DAY, as_of + 9 * DAY), {}, 0.01)
        answers.append((canonical(plan), rows, faults, feed.left_out(), feed.table(plan.contract, span, 50, seed=1)))
    (plan_a, rows_a, *rest_a), (plan_b, rows_b, *rest_b) = answers
    assert plan_a == plan_b
    assert same(rows_a, rows_b)
    assert rest_a == rest_b
    assert len(rows_a) == np.sum(rows_a.time < (as_of - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 95 * 24 * 4), st.sampled_from(["label_time", "label_delay", "with the row"]))
def test_no_label_comes_from_the_future(tmp_path_factory: pytest.TempPathFactory, quarters: int, clock: str) -> None:
    as_of = T0 + quarters * timedelta(minutes=15)
    table = stream()
    data = {"label_time": LATE, "label_delay": {"label_delay": "3d"}, "with the row": {}}[clock]
    feed = feed_of(tmp_path_factory.mktemp("feed"), table, T0 + 95 * DAY, data=data | {"exclude": ["label_ts"]})
    contract = feed.learn(Span(T0, T0 + 20 * DAY))
    feed.as_of = as_of
    rows = feed.rows(contract, Span(T0, T0 + 95 * DAY))
    times = table["ts"].to_pylist()
    known = {
        "label_time": [t <= as_of for t in table["label_ts"].to_pylist()],
        "label_delay": [t + 3 * DAY <= as_of for t in times],
        "with the row": [True for _ in times],
    }[clock]
    expected = [
        float(y) if k else np.nan for y, k, t in zip(table["y"].to_pylist(), known, times, strict=True) if t < as_of
    ]
    np.testing.assert_array_equal(rows.y, expected)


@pytest.mark.fault("A10")
def test_rows_from_the_future_never_enter_and_out_of_order_ones_are_sorted(tmp_path: Path) -> None:
    table = stream(30)
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(len(table))))
    feed = feed_of(tmp_path, shuffled, T0 + 20 * DAY, data=LATE)
    contract = feed.learn(Span(T0, T0 + 9 * DAY))
    rows = feed.rows(contract, Span(T0, T0 + 30 * DAY))
    assert len(rows) == 20 * 24
    assert (np.diff(rows.time) > 0).all()
    assert feed.newest() == T0 + 20 * DAY - timedelta(hours=1)


def test_encoded_rows_are_what_serving_would_encode(tmp_path: Path) -> None:
    table = stream(20)
    table = table.set_column(3, "x", pa.array([None, np.inf, -np.inf, np.nan, 1e308] + [0.5] * (len(table) - 5)))
    feed = feed_of(tmp_path, table, T0 + 20 * DAY, data=LATE)
    contract = feed.learn(Span(T0, T0 + 2 * DAY))
    rows = feed.rows(contract, Span(T0, T0 + 20 * DAY))
    raw = {name: table[name].to_pylist() for name in contract.names}
    np.testing.assert_array_equal(rows.x, encoding.matrix(raw, contract.features))
    assert contract.features == [
        {"name": "x", "kind": "number", "levels": []},
        {"name": "flag", "kind": "number", "levels": []},
        {"name": "shop", "kind": "category", "levels": list(dict.fromkeys(s for s in raw["shop"][:48] if s))},
        {"name": "zip", "kind": "category", "levels": list(dict.fromkeys(str(z) for z in raw["zip"][:48]))},
    ]


def test_ticks_of_rows_are_their_local_days(tmp_path: Path) -> None:
    feed = feed_of(tmp_path, stream(), T0 + 95 * DAY, data=LATE, schedule={"timezone": "Europe/Paris"})
    rows = feed.rows(feed.learn(Span(T0, T0 + 9 * DAY)), Span(T0, T0 + 95 * DAY))
    for i in (0, 22, 23, 24, 90 * 24 - 1):
        time = T0 + i * timedelta(hours=1)
        start = tick_start(time, DAY, "Europe/Paris")
        assert rows.tick[i] == (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


# ── the label horizon ─────────────────────────────────────────────────────────────────────────────
def labelled_until(days: int, good: int, per_day: int = 20) -> pa.Table:
    """Days of 20 rows; all labelled up to ``good`` days, then none."""
    n = days * per_day
    times = [T0 + i * DAY / per_day for i in range(n)]
    y = [float(i % 2) if i < good * per_day else None for i in range(n)]
    return pa.table({"ts": pa.array(times, pa.timestamp("us", "UTC")), "y": y, "x": list(range(n))})


def test_horizon_is_where_labels_stop_being_complete(tmp_path: Path) -> None:
    feed = feed_of(tmp_path, labelled_until(30, 20), T0 + 30 * DAY, labels={"max_delay": "90d"})
    assert feed.horizon() == T0 + 20 * DAY


@pytest.mark.parametrize(("missing", "horizon"), [(1, 20), (2, 10)])
def test_quorum_decides_whether_a_tick_is_complete(tmp_path: Path, missing: int, horizon: int) -> None:
    table = labelled_until(20, 20)
    y = table["y"].to_pylist()
    y[10 * 20 : 10 * 20 + missing] = [None] * missing  # 19 of 20 are the quorum of .95, 18 are not
    table = table.set_column(1, "y", pa.array(y))
    assert feed_of(tmp_path, table, T0 + 20 * DAY, labels={"max_delay": "90d"}).horizon() == T0 + horizon * DAY


def test_a_tick_that_has_waited_long_enough_counts_as_it_is(tmp_path: Path) -> None:
    table = labelled_until(30, 10)
    assert feed_of(tmp_path, table, T0 + 30 * DAY, labels={"max_delay": "5d"}).horizon() == T0 + 25 * DAY


def test_the_running_tick_and_empty_ticks_do_not_move_the_horizon(tmp_path: Path) -> None:
    table = labelled_until(20, 20)
    assert feed_of(tmp_path, table, T0 + 19 * DAY + timedelta(hours=23)).horizon() == T0 + 19 * DAY
    assert feed_of(tmp_path, table, T0 + 29 * DAY).horizon() == T0 + 20 * DAY
    assert feed_of(tmp_path, table, T0 + 400 * DAY).horizon() == T0 + 20 * DAY
    assert feed_of(tmp_path, table, T0).horizon() is None


@pytest.mark.fault("C1")
def test_labels_seven_days_late_put_the_horizon_seven_days_back() -> None:
    config = real("fraud_handbook_sim.parquet", data={"label_time": "label_ts"})
    for as_of in (datetime(2018, 7, 1, tzinfo=UTC), datetime(2018, 7, 1, 12, tzinfo=UTC)):
        assert Feed(config, Feeds(ParquetSource(config)), as_of).horizon() == datetime(2018, 6, 24, tzinfo=UTC)


# ── columns and contract ──────────────────────────────────────────────────────────────────────────
def test_what_a_model_cannot_use_is_left_out_and_told(tmp_path: Path) -> None:
    table = stream(20)
    n = len(table)
    table = table.append_column("key", pa.array([f"k{i}" for i in range(n)])).append_column(
        "parts", pa.array([[1]] * n)
    )
    table = table.append_column("void", pa.nulls(n)).append_column("blob", pa.array([b"x"] * n))
    feed = feed_of(tmp_path, table, T0 + 20 * DAY)
    assert feed.columns() == {"x": "number", "flag": "number", "shop": "category", "zip": "number", "key": "category"}
    assert feed.learn(Span(T0, T0 + 20 * DAY)).names == ("x", "flag", "shop", "zip")
    assert list(feed.left_out()) == ["label_ts", "parts", "blob", "void", "key"]
    assert feed.left_out()["key"] == "480 levels in 480 rows: an identifier"


def test_a_configured_column_that_is_missing_is_named_with_the_nearest(tmp_path: Path) -> None:
    feed = feed_of(tmp_path, stream(20), T0 + 20 * DAY, data={"features": ["x", "shopp"]})
    with pytest.raises(DataError, match=r"no column 'shopp'.*'shop'"):
        feed.columns()


def test_a_column_whose_type_differs_between_files_is_named(tmp_path: Path) -> None:
    table = stream(20)
    pq.write_table(table.slice(0, 100), tmp_path / "a.parquet")
    pq.write_table(table.slice(100).set_column(3, "x", pa.array(["u"] * 380)), tmp_path / "b.parquet")
    config = made(tmp_path, data={"path": "*.parquet"})
    with pytest.raises(DataError, match="column 'x' differs between files: mixed<double, string>"):
        Feed(config, Feeds(ParquetSource(config)), T0 + 20 * DAY).columns()


def test_codes_never_change_and_new_levels_are_appended(tmp_path: Path) -> None:
    table = stream(30)
    shops = ["b" if i < 240 else ["c", "a", "b"][i % 3] for i in range(720)]
    table = table.set_column(table.column_names.index("shop"), "shop", pa.array(shops))
    feed = feed_of(tmp_path, table, T0 + 30 * DAY, data=LATE)
    first = feed.learn(Span(T0, T0 + 10 * DAY))
    second = feed.learn(Span(T0 + 10 * DAY, T0 + 20 * DAY), first)
    third = feed.learn(Span(T0 + 20 * DAY, T0 + 30 * DAY), second)
    assert [next(c.levels for c in k.columns if c.name == "shop") for k in (first, second)] == [("b",), ("b", "c", "a")]
    assert [k.version for k in (first, second, third)] == [1, 2, 2]
    assert second.columns[0].low != first.columns[0].low
    assert third.names == first.names


def test_ranges_are_quantiles_of_what_is_known(tmp_path: Path) -> None:
    table = stream(30)
    values = [None if i % 10 == 0 else np.inf if i % 10 == 1 else float(i) for i in range(len(table))]
    column = (
        feed_of(tmp_path, table.set_column(3, "x", pa.array(values)), T0 + 30 * DAY)
        .learn(Span(T0, T0 + 30 * DAY))
        .columns[0]
    )
    known = [v for v in values if v is not None and np.isfinite(v)]
    assert (column.low, column.median, column.high) == tuple(np.quantile(known, (0.001, 0.5, 0.999), method="nearest"))
    assert column.null_share == pytest.approx(0.2)


# ── plans ─────────────────────────────────────────────────────────────────────────────────────────
def test_a_plan_counts_labelled_rows_and_learns_on_train_only(tmp_path: Path) -> None:
    feed = feed_of(tmp_path, stream(), T0 + 80 * DAY, data=LATE)
    plan = freeze(feed, feed.config)
    assert plan.horizon == plan.holdout.end == feed.horizon()
    assert plan.contract == feed.learn(plan.train)
    spans = {"train": plan.train, "valid": plan.valid, "holdout": plan.holdout}
    assert plan.rows == {name: len(feed.rows(plan.contract, span).labelled()) for name, span in spans.items()}
    assert plan.digest == feed.digest(list(spans.values()), plan.contract)


def test_the_digest_sees_every_value_that_is_read(tmp_path: Path) -> None:
    table, as_of = stream(), T0 + 80 * DAY
    feed = feed_of(tmp_path, table, as_of, data=LATE)
    plan = freeze(feed, feed.config)
    row = 30 * 24
    for name in ("y", "x", "shop", "zip", "flag"):
        old = table[name].to_pylist()
        changed = {"y": 1 - old[row] if name == "y" else 0, "x": 9.5, "shop": "new", "zip": 77, "flag": not old[row]}[
            name
        ]
        other = table.set_column(table.column_names.index(name), name, pa.array([*old[:row], changed, *old[row + 1 :]]))
        again = feed_of(tmp_path, other, as_of, data=LATE)
        assert freeze(again, again.config).digest != plan.digest
    again = feed_of(tmp_path, table, as_of, data=LATE)
    assert freeze(again, again.config) == plan


def test_weights_are_read_and_digested(tmp_path: Path) -> None:
    table = stream()
    weight = np.ones(len(table))
    weight[:3] = np.nan, -1, 2
    digests = []
    for last in (2.0, 3.0):
        weight[2] = last
        feed = feed_of(tmp_path, table.append_column("w", pa.array(weight)), T0 + 80 * DAY, data={"weight": "w"})
        contract = feed.learn(Span(T0, T0 + 9 * DAY))
        found = feed.rows(contract, Span(T0, T0 + DAY)).weight
        assert found is not None
        assert found[:4].tolist() == [0, 0, last, 1]
        assert "w" not in contract.names
        digests.append(feed.digest([Span(T0, T0 + DAY)], contract))
    assert digests[0] != digests[1]


def test_too_little_history_says_how_much_there_is_and_is_needed(tmp_path: Path) -> None:
    feed = feed_of(tmp_path, stream(20), T0 + 20 * DAY)
    with pytest.raises(DataError, match=r"not enough history: 20 ticks before .*, 28 needed"):
        freeze(feed, feed.config)


@pytest.mark.fault("A4")
@pytest.mark.parametrize("rows", range(11))
def test_a_handful_of_rows_is_too_little_history_and_no_crash(tmp_path: Path, rows: int) -> None:
    table = stream(20)
    feed = feed_of(tmp_path, table, T0 + 20 * DAY)
    contract = feed.learn(Span(T0, T0 + 20 * DAY))
    small = feed_of(tmp_path, table.slice(0, rows), T0 + 20 * DAY)
    assert len(small.rows(contract, Span(T0, T0 + 20 * DAY))) == rows
    codes = {f.code for f in small.check(contract, Span(T0, T0 + 20 * DAY), {}, 0.01)}
    assert codes == ({"stale_source"} if rows else {"stale_source", "no_rows"})
    with pytest.raises(DataError, match=r"not enough history|no rows before"):
        freeze(small, small.config)


@pytest.mark.fault("A3")
@pytest.mark.parametrize("label", [np.inf, -np.inf, 2.0, 0.5])
def test_a_label_that_is_none_is_never_trained_on(tmp_path: Path, label: float) -> None:
    table = stream()
    y = table["y"].to_numpy().astype(float)
    y[40 * 24] = label
    feed = feed_of(tmp_path, table.set_column(2, "y", pa.array(y)), T0 + 80 * DAY, data=LATE)
    contract = feed.learn(Span(T0, T0 + 30 * DAY))
    span = Span(T0 + 39 * DAY, T0 + 42 * DAY)
    assert np.isnan(feed.rows(contract, span).y).sum() == 1
    assert [f.code for f in feed.check(contract, span, {"x": 1.0}, 0.01) if f.matters] == ["bad_label"]
    with pytest.raises(DataError, match="1 labels in 'y' are none"):
        freeze(feed, feed.config)


def test_columns_that_may_be_missing_become_missing_values(tmp_path: Path) -> None:
    feed = feed_of(tmp_path, stream(), T0 + 80 * DAY, data=LATE)
    plan = freeze(feed, feed.config)
    less = feed_of(tmp_path, stream().drop_columns(["x"]), T0 + 80 * DAY, data=LATE)
    with pytest.raises(DataError, match="no column 'x'"):
        less.rows(plan.contract, plan.train)
    assert np.isnan(less.rows(plan.contract, plan.train, ["x"]).x[:, 0]).all()
    assert freeze(less, less.config, plan.contract, ["x"]).contract.columns[0] == plan.contract.columns[0]


def test_a_report_sample_is_bounded_seeded_and_in_time_order(tmp_path: Path) -> None:
    feed = feed_of(
        tmp_path, stream(30), T0 + 30 * DAY, data=LATE | {"features": ["x", "zip", "shop"], "categorical": ["zip"]}
    )
    contract, span = feed.learn(Span(T0, T0 + 30 * DAY)), Span(T0, T0 + 30 * DAY)
    whole, some = feed.table(contract, span, 10_000, seed=3), feed.table(contract, span, 100, seed=3)
    assert [str(f.type) for f in whole.schema] == ["double", "string", "string"]
    assert (len(whole), len(some)) == (720, 100)
    assert some == feed.table(contract, span, 100, seed=3)
    assert some != feed.table(contract, span, 100, seed=4)
    at = [whole["x"].to_pylist().index(v) for v in some["x"].to_pylist()]
    assert at == sorted(at)


def test_a_plan_reads_no_row_from_before_its_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of a database may hold years; where it begins is asked of the window only."""
    starts: list[datetime | None] = []
    read = ParquetSource.read

    def noted(self: ParquetSource, columns: Sequence[str], start: datetime | None, end: datetime) -> Any:
        starts.append(start)
        return read(self, columns, start, end)

    monkeypatch.setattr(ParquetSource, "read", noted)
    more: dict[str, Any] = {"data": LATE, "labels": {"max_delay": "10d"}}
    feed = feed_of(tmp_path, stream(), T0 + 80 * DAY, **more)
    plan = freeze(feed, feed.config)
    assert all(start is not None and start >= plan.train.start for start in starts)
    shorter = feed_of(tmp_path, stream().slice(30 * 24), T0 + 80 * DAY, **more)  # begins within the window
    assert freeze(shorter, shorter.config).train.start == T0 + 30 * DAY


def test_a_cached_feed_gives_the_same_plan(tmp_path: Path) -> None:
    feed = feed_of(tmp_path, stream(), T0 + 80 * DAY, data=LATE)
    cached = CachedSource(feed.feeds.data, [*feed.needed(), *feed.columns()], "ts")
    assert canonical(freeze(Feed(feed.config, Feeds(cached), feed.as_of), feed.config)) == canonical(
        freeze(feed, feed.config)
    )


def test_real_data_gives_the_same_plan_when_it_is_cut_off_at_as_of(tmp_path: Path) -> None:
    config = real("hotel_cancel.parquet", data={"label_time": "label_ts"})
    as_of = datetime(2016, 9, 1, tzinfo=UTC)
    whole = freeze(Feed(config, Feeds(ParquetSource(config)), as_of), config)
    table = pq.read_table(DATA / "hotel_cancel.parquet")
    before = np.array([t.replace(tzinfo=UTC) < as_of for t in table["ts"].to_pylist()])
    pq.write_table(table.filter(pa.array(before)), tmp_path / "hotel_cancel.parquet")
    cut = made(tmp_path, data={"path": "hotel_cancel.parquet", "exclude": ["step"], "label_time": "label_ts"})
    assert canonical(freeze(Feed(cut, Feeds(ParquetSource(cut)), as_of), cut)) == canonical(whole)
    assert whole.horizon < as_of - 7 * DAY
