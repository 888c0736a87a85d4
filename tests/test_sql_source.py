"""Databases as sources: PostgreSQL and SQLite through SQLAlchemy, DuckDB by its file."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lr_retune.config import Config, parse_config
from lr_retune.data import duck, sql_tables
from lr_retune.data.duckdb_file import DuckDbSource
from lr_retune.data.sources import CachedSource, CsvSource, ParquetSource
from lr_retune.data.sql import SqlSource
from lr_retune.errors import ConfigError, DataError, DependencyError
from lr_retune.records import Source
from lr_retune.testing import check_source
from tests.postgres import PASSWORD, Postgres, fill, postgres

__all__ = ["postgres"]
naive = datetime.fromisoformat
T0 = naive("2024-01-01")
END = datetime(2030, 1, 1, tzinfo=UTC)
ADDRESS = pytest.StashKey[str]()
few = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def config(root: Path, source: str, zone: str = "UTC", **data: Any) -> Config:
    return parse_config(
        {
            "config_version": 1,
            "name": "m",
            "task": "regression",
            "metric": {"name": "mae"},
            "schedule": {"timezone": zone},
            "data": {"source": source, "time": "t", "label": "y"} | data,
        },
        root=root,
    )


def hours(n: int, start: datetime = T0, zone: str | None = None) -> Any:
    return pa.array([start + timedelta(hours=i) for i in range(n)], pa.timestamp("us", zone))


def sample(n: int = 40) -> pa.Table:
    rng = np.random.default_rng(1)
    return pa.table(
        {
            "t": hours(n, naive("2024-10-26T12:00"), "UTC"),
            "y": pa.array(rng.normal(size=n)),
            "x": pa.array([None if i % 7 == 0 else i / 4 for i in range(n)], pa.float64()),
            "n": pa.array([None if i % 5 == 0 else i for i in range(n)], pa.int64()),
            "s": pa.array([None if i % 3 == 0 else f"a,'{i}\n%s :x" for i in range(n)]),
            "b": pa.array([i % 2 == 0 for i in range(n)]),
        }
    )


Opener = Callable[..., Source]


@pytest.fixture(params=["parquet", "csv", "duckdb", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Write an Arrow table in one way, and open it as a source."""

    def opened(table: pa.Table, zone: str = "UTC", key: str | None = None, **data: Any) -> Source:
        root = Path(tmp_path, str(len(list(tmp_path.iterdir()))))
        root.mkdir()
        kind = request.param
        if kind == "parquet":
            pq.write_table(table, root / "a.parquet")
            return ParquetSource(config(root, kind, zone, path=".", **data))
        if kind == "csv":
            pa.csv.write_csv(table, root / "a.csv")
            return CsvSource(config(root, kind, zone, path=".", **data))
        if kind == "duckdb":
            put_duckdb(root / "a.duckdb", table)
            return DuckDbSource(config(root, kind, zone, path="a.duckdb", table="feed", **data))
        return sql(request, root, kind, table, zone, key, **data)

    return opened


def sql(
    request: pytest.FixtureRequest,
    root: Path,
    kind: str,
    table: pa.Table,
    zone: str = "UTC",
    key: str | None = None,
    **data: Any,
) -> SqlSource:
    what = data if "query" in data else {"table": "feed"} | data
    if kind == "sqlite":
        url = f"sqlite:///{root}/a.db"
        i, utc = table.schema.get_field_index("t"), table["t"].type == pa.timestamp("us", "UTC")
        # SQLite's DateTime forgets the zone, so times in UTC are written as local ones
        plain = table.set_column(i, "t", table["t"].cast(pa.timestamp("us"))) if utc else table
        fill(url, "feed", plain, key=key)
        zone = "UTC" if utc else zone
        return SqlSource(config(root, "sql", zone, url="sqlite:///a.db", **what))
    here = request.node.stash.setdefault(ADDRESS, "") or request.getfixturevalue("postgres").database()
    request.node.stash[ADDRESS] = here  # one database for all examples of a law
    fill(here, "feed", table, key=key)
    (root / "url").write_text(here)
    return SqlSource(config(root, "sql", zone, url="file:url", **what))


def put_duckdb(path: Path, table: pa.Table) -> None:
    import duckdb

    with closing(duckdb.connect(str(path))) as connection:
        connection.register("arrow", table)
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE TABLE feed AS FROM arrow")


# ── the same from each ────────────────────────────────────────────────────────────────────────────
def test_each_source_keeps_the_laws_of_the_conformance_kit(store: Opener) -> None:
    source = store(sample())
    assert isinstance(source, Source)
    check_source(source, datetime(2024, 10, 27, 20, tzinfo=UTC), time="t")


def test_each_source_gives_what_was_written(store: Opener) -> None:
    table = sample()
    source = store(table)
    start, end = datetime(2024, 10, 26, 20, tzinfo=UTC), datetime(2024, 10, 27, 20, tzinfo=UTC)
    assert dict(source.schema(end)) == {
        "t": "timestamp[us, tz=UTC]", "y": "double", "x": "double", "n": "int64", "s": "string", "b": "bool",
    }  # fmt: skip
    columns = ["s", "t", "x", "y", "n", "b"]
    assert source.read(columns, start, end).equals(table.select(columns).slice(8, 24))


def test_rows_of_one_time_come_in_one_order_however_they_lie(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    table = pa.table(
        {
            "t": pa.array(
                [T0.replace(tzinfo=UTC)] * 6 + [naive("2023-01-01").replace(tzinfo=UTC)], pa.timestamp("us", "UTC")
            ),
            "y": pa.array([1.0, 2.0, 2.0, 2.0, 0.0, -0.0, 9.0]),
            "s": ["b", "a", "A", "é", None, None, "z"],
            "row": pa.array(range(7)),
        }
    )
    for kind in ("duckdb", "sqlite", "postgres"):
        for dropped, key in ((["row"], None), ([], "row")):
            seen = []
            for i, order in enumerate(([0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [3, 5, 0, 6, 2, 4, 1])):
                root = tmp_path / f"{kind}{key}{i}"
                root.mkdir()
                moved = table.drop_columns(dropped).take(order)
                if kind == "duckdb":
                    put_duckdb(root / "a.duckdb", moved)
                    source: Source = DuckDbSource(config(root, kind, path="a.duckdb", table="feed"))
                else:
                    source = sql(request, root, kind, moved, key=key)
                seen.append(repr(source.read(["s", "y"], None, END).to_pylist()))
                assert repr(source.read(["y", "s"], None, END).select(["s", "y"]).to_pylist()) == seen[-1]
                one = source.read(["s"], None, END)["s"].to_pylist()
                assert one == source.read(["s", "y"], None, END)["s"].to_pylist()
            assert len(set(seen)) == 1, (kind, key)
            assert key is None or kind == "duckdb" or "'b'" in seen[0].split("}")[1]


def test_a_table_without_an_earlier_row_has_no_schema_and_no_rows(store: Opener) -> None:
    source, first = store(sample()), datetime(2024, 10, 26, 12, tzinfo=UTC)
    assert source.schema(first) == {}
    assert len(source.read(["t", "y"], None, first)) == 0
    assert list(source.schema(first + timedelta(microseconds=1))) == sample().column_names


def test_each_source_can_be_held_in_memory(store: Opener) -> None:
    inner = store(sample())
    cached = CachedSource(inner, ["t", *inner.schema(END)])
    for day in (26, 27, 28):
        end = datetime(2024, 10, day, 15, tzinfo=UTC)
        columns = list(inner.schema(end))
        assert cached.schema(end) == inner.schema(end)
        for start in (None, end - timedelta(hours=20)):
            assert cached.read(columns, start, end).equals(inner.read(columns, start, end))


@pytest.mark.fault("E9")
def test_naive_times_and_dates_are_local_in_each(store: Opener) -> None:
    table = pa.table({"t": hours(4, naive("2024-03-31")), "y": [0, 1, 2, 3], "d": pa.array([date(2024, 4, 1)] * 4)})
    found = store(table, zone="Europe/Paris", label_time="d").read(["t", "d", "y"], None, END)
    assert [f"{t:%d %H:%M}" for t in found["t"].to_pylist()] == ["30 23:00", "31 00:00", "31 01:00", "31 01:00"]
    assert found["d"].to_pylist() == [datetime(2024, 3, 31, 22, tzinfo=UTC)] * 4
    assert found["y"].to_pylist() == [0, 1, 2, 3]


def test_the_clocks_beside_the_time_come_in_utc(store: Opener) -> None:
    table = pa.table({"t": hours(3), "y": [0, 1, 2], "known": hours(3, naive("2024-02-01")), "came": hours(3)})
    source = store(table, label_time="known", available_time="came")
    assert {source.schema(END)[n] for n in ("t", "known", "came")} == {"timestamp[us, tz=UTC]"}
    assert {str(f.type) for f in source.read(["t", "known", "came"], None, END).schema} == {"timestamp[us, tz=UTC]"}


NAMES = [
    '"; drop table feed; --',
    "%s %(t)s",
    ":name",
    "new\nline",
    "n" * 60,
    "a.b",
    "a'b",
    "select",
    "naïve 表",
    "c0",
    " pad ",
]


@pytest.mark.fault("A14")
def test_hostile_names_are_only_names_in_each(store: Opener) -> None:
    table = pa.table({"t": hours(3), "y": [1, 2, 3]} | {name: [i, i + 1, i + 2] for i, name in enumerate(NAMES)})
    found = store(table).read(NAMES[::-1], None, END)
    assert found.column_names == NAMES[::-1]
    assert found.to_pydict() == {name: table[name].to_pylist() for name in NAMES[::-1]}


@pytest.mark.fault("A14")
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_any_text_may_name_a_column_of_a_database(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if kind == "postgres":
        request.getfixturevalue("postgres")
    any_name = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=15)

    @few
    @given(any_name.filter(lambda s: s.lower() not in ("t", "y")))
    def law(name: str) -> None:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        root.mkdir()
        source = sql(request, root, kind, pa.table({"t": hours(2), "y": [0, 1], name: [7, 8]}))
        assert source.read([name], None, END)[name].to_pylist() == [7, 8]

    law()


ROWS = st.lists(
    st.tuples(
        st.integers(0, 30),
        st.floats(allow_nan=False, allow_infinity=False) | st.none(),
        st.integers(-(2**63), 2**63 - 1) | st.none(),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5) | st.none(),
    ),
    max_size=25,
)


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_the_same_table_is_the_same_feed_wherever_it_lies(
    zone: str, postgres: Postgres, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    @few
    @given(ROWS, st.integers(-1, 31), st.integers(-1, 31), st.randoms(use_true_random=False))
    def law(rows: list[Any], low: int, high: int, chance: Any) -> None:
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        root.mkdir()
        rows = sorted(rows, key=repr)
        table = pa.table(
            {
                "t": pa.array(
                    [naive("2024-11-03T00:00") + timedelta(minutes=20 * r[0]) for r in rows], pa.timestamp("us")
                ),
                "y": pa.array([r[1] for r in rows], pa.float64()),
                "n": pa.array([r[2] for r in rows], pa.int64()),
                "s": pa.array([r[3] for r in rows], pa.string()),
            }
        )
        start, end = (datetime(2024, 11, 3, 4, tzinfo=UTC) + timedelta(minutes=20 * h) for h in (low, high))
        shuffled = table.take(pa.array(chance.sample(range(len(table)), len(table)), pa.int64()))
        put_duckdb(root / "a.duckdb", shuffled)
        pq.write_table(table, root / "a.parquet")
        found = [
            source.read(["s", "t", "n", "y"], start, end)
            for source in (
                ParquetSource(config(root, "parquet", zone, path="a.parquet")),
                DuckDbSource(config(root, "duckdb", zone, path="a.duckdb", table="feed")),
                sql(request, root, "sqlite", shuffled, zone),
                sql(request, root, "postgres", shuffled, zone),
            )
        ]
        contents = [sorted(map(repr, part.to_pylist())) for part in found]
        plain = [[row.replace("-0.0", "0.0") for row in part] for part in contents]
        assert all(part == plain[0] for part in plain)
        assert all(part.schema.equals(found[-1].schema) for part in found if len(part))
        for part in found[1:]:
            times = part["t"].to_pylist()
            assert times == sorted(times)
            assert all(start <= t < end for t in times)

    law()


# ── queries ───────────────────────────────────────────────────────────────────────────────────────
QUERY = """SELECT t, y, n, s, ':x %s 100%' AS odd FROM feed WHERE s LIKE '%:x%' AND s <> ':x' -- a comment; ;"""


@pytest.mark.parametrize("kind", ["duckdb", "sqlite", "postgres"])
def test_a_query_is_read_to_the_letter(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    table = sample()
    if kind == "duckdb":
        put_duckdb(tmp_path / "a.duckdb", table)
        source: Source = DuckDbSource(config(tmp_path, kind, path="a.duckdb", query=QUERY))
    else:
        source = sql(request, tmp_path, kind, table, query=QUERY)
    kept = [row for row in table.to_pylist() if row["s"]]
    found = source.read(["odd", "n"], None, END)
    assert found.to_pylist() == [{"odd": ":x %s 100%", "n": row["n"]} for row in kept]
    assert list(source.schema(END)) == ["t", "y", "n", "s", "odd"]
    check_source(source, END, time="t")


def test_a_query_may_convert_epoch_seconds_to_times_in_sqlite(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "a.db")) as made, made:
        made.execute("CREATE TABLE feed (at INTEGER, y REAL)")
        made.executemany("INSERT INTO feed VALUES (?, ?)", [(1_704_067_200 + 60 * i, i / 2) for i in range(3)])
    sqlite = {"url": "sqlite:///a.db"}
    source = SqlSource(config(tmp_path, "sql", **sqlite, query="SELECT datetime(at, 'unixepoch') AS t, y FROM feed"))
    assert source.read(["t"], None, END)["t"].to_pylist()[1] == datetime(2024, 1, 1, 0, 1, tzinfo=UTC)
    with pytest.raises(DataError, match=r"'t' in \[data\] query holds no timestamps but int64"):
        SqlSource(config(tmp_path, "sql", **sqlite, query="SELECT at AS t, y FROM feed")).schema(END)


def test_a_column_that_a_query_names_twice_is_refused_only_when_asked_for(postgres: Postgres, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(postgres.database())
    twice = "SELECT now() - interval '1 day' AS t, 1.5 AS y, 1 AS x, 2 AS x"
    source = SqlSource(config(tmp_path, "sql", url="file:url", query=twice))
    assert source.read(["y"], None, END)["y"].to_pylist() == [1.5]
    with pytest.raises(DataError, match="'x' stands twice"):
        source.read(["x"], None, END)


def test_a_query_that_is_none_is_a_fault_of_the_configuration(postgres: Postgres, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(postgres.database())
    with pytest.raises(ConfigError, match=r"no SELECT that the database reads"):
        SqlSource(config(tmp_path, "sql", url="file:url", query="SELECT 1 FORM x")).schema(END)
    with pytest.raises(DataError, match="nowhere"):
        SqlSource(config(tmp_path, "sql", url="file:url", query="SELECT * FROM nowhere")).schema(END)


def test_a_query_writes_nothing(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.database()
    fill(url, "feed", sample())
    (tmp_path / "url").write_text(url)
    query = "WITH gone AS (DELETE FROM feed RETURNING *) SELECT * FROM gone"
    with pytest.raises(DataError):
        SqlSource(config(tmp_path, "sql", url="file:url", query=query)).read(["y"], None, END)
    assert len(SqlSource(config(tmp_path, "sql", url="file:url", table="feed")).read(["y"], None, END)) == 40


# ── types ─────────────────────────────────────────────────────────────────────────────────────────
POSTGRES_TYPES = """
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE DOMAIN price AS numeric(10, 2);
CREATE SCHEMA "My Shop";
CREATE TABLE "My Shop"."Sales" (
  t timestamptz, y real, i2 smallint, i8 bigint, dec numeric(10, 2), p price, b boolean, m mood, u uuid, v varchar(9),
  c char(5), j jsonb, iv interval, a int[], r int4range, raw bytea, day date, wall timestamp, mo money);
INSERT INTO "My Shop"."Sales" VALUES (
  '2024-01-01 09:00+09', 0.5, 1, 2, 1.25, 2.5, true, 'sad', '00000000-0000-0000-0000-000000000001', 'v', 'c',
  '{"k": 1}', '1 day', '{1,2}', '[1,2)', '\\x00', '2024-01-01', '2024-01-01 09:00', '12.50');
"""


def test_types_of_postgresql_are_told_by_the_database(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.database()
    with postgres.engine(url.rpartition("/")[2]).begin() as connection:
        connection.exec_driver_sql(POSTGRES_TYPES)
    (tmp_path / "url").write_text(url)
    source = SqlSource(config(tmp_path, "sql", url="file:url", table="My Shop.Sales", label="dec"))
    found = dict(source.schema(END))
    assert {n: k for n, k in found.items() if not k.startswith("sql<")} == {
        "t": "timestamp[us, tz=UTC]", "y": "double", "i2": "int64", "i8": "int64", "dec": "double", "p": "double",
        "b": "bool", "m": "string", "u": "string", "v": "string", "c": "string", "day": "date32[day]",
        "wall": "timestamp[us]",
    }  # fmt: skip
    assert {n for n, k in found.items() if k.startswith("sql<")} == {"j", "iv", "a", "r", "raw", "mo"}
    row = source.read(list(found), None, END).to_pylist()[0]
    assert (row["t"], row["dec"], row["p"], row["m"]) == (datetime(2024, 1, 1, tzinfo=UTC), 1.25, 2.5, "sad")
    assert (row["j"], row["a"], row["u"][-1], row["wall"]) == ('{"k": 1}', "{1,2}", "1", naive("2024-01-01T09:00"))
    with pytest.raises(DataError, match=r"no table or view 'My Shop\.Sails'.*'Sales'"):
        SqlSource(config(tmp_path, "sql", url="file:url", table="My Shop.Sails")).schema(END)


def test_types_of_duckdb_are_told_by_the_file(tmp_path: Path) -> None:
    import duckdb

    values = (
        "timestamptz '2024-01-01 09:00+09' AS t, 0.5::float AS y, 1::hugeint AS h, 2::utinyint AS u, "
        "1.25::decimal(9,2) AS d, 'a'::enum('a', 'b') AS e, uuid() AS id, interval 1 day AS iv, [1, 2] AS l, "
        "'x'::blob AS raw"
    )
    with closing(duckdb.connect(str(tmp_path / "a.duckdb"))) as connection:
        connection.execute(f"CREATE SCHEMA shop; CREATE VIEW shop.sales AS SELECT {values}")
    source = DuckDbSource(config(tmp_path, "duckdb", path="a.duckdb", table="shop.sales"))
    found = dict(source.schema(END))
    assert [found[n] for n in ("y", "h", "u", "d", "e", "id")] == ["double"] * 2 + ["int64", "double"] + ["string"] * 2
    assert source.read(["t", "h", "e"], None, END).to_pylist() == [
        {"t": datetime(2024, 1, 1, tzinfo=UTC), "h": 1.0, "e": "a"}
    ]
    check_types = source.read(list(found), None, END)
    assert {str(check_types[n].type) for n in ("y", "h", "d")} == {"double"}


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "duckdb"])
def test_no_number_and_infinite_are_kept_apart_from_null(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    values = [1.0, None, math.inf, -math.inf] + ([math.nan] if kind != "sqlite" else [None])  # SQLite holds no NaN
    table = pa.table({"t": hours(5), "y": pa.array(values, pa.float64(), from_pandas=False)})
    if kind == "duckdb":
        put_duckdb(tmp_path / "a.duckdb", table)
        source: Source = DuckDbSource(config(tmp_path, kind, path="a.duckdb", table="feed"))
    else:
        source = sql(request, tmp_path, kind, table)
    assert repr(source.read(["y"], None, END)["y"].to_pylist()) == repr(values)


# ── SQLite ────────────────────────────────────────────────────────────────────────────────────────
def sqlite(root: Path, create: str, *rows: tuple[Any, ...], zone: str = "UTC", **data: Any) -> SqlSource:
    with closing(sqlite3.connect(root / "a.db")) as made, made:
        made.execute(create)
        made.executemany(f"INSERT INTO feed VALUES ({', '.join('?' * len(rows[0]))})", rows)
    return SqlSource(config(root, "sql", zone, url="sqlite:///a.db", table="feed", **data))


def test_iso_text_in_sqlite_is_a_time_with_and_without_offset(tmp_path: Path) -> None:
    texts = ["2024-07-01", "2024-07-01T00:30:00+00:00", "2024-07-01 03:00:00.5", "2024-07-01T01:15Z"]
    source = sqlite(
        tmp_path, "CREATE TABLE feed (t TEXT, y REAL)", *zip(texts, range(4), strict=True), zone="Europe/Paris"
    )
    found = source.read(["t", "y"], None, END)
    assert found["y"].to_pylist() == [0, 1, 2, 3]
    assert [f"{t:%d %H:%M:%S.%f}"[:13] for t in found["t"].to_pylist()] == [
        "30 22:00:00.0", "01 00:30:00.0", "01 01:00:00.5", "01 01:15:00.0",
    ]  # fmt: skip
    check_source(source, END, time="t")


@pytest.mark.parametrize("bad", ["01/02/2024", 1_704_067_200, " 2024-01-02", "2024-13-40"])
def test_what_is_no_iso_text_is_refused_and_named(tmp_path: Path, bad: Any) -> None:
    source = sqlite(tmp_path, "CREATE TABLE feed (t DATETIME, y REAL)", ("2024-01-01", 1), (bad, 2), (None, 3))
    with pytest.raises(DataError, match=r"'t' in feed holds no timestamps but") as caught:
        source.read(list(source.schema(END)), None, END)
    assert str(bad) in caught.value.what


def test_a_value_that_is_not_what_sqlite_declares_is_refused_and_named(tmp_path: Path) -> None:
    source = sqlite(
        tmp_path, "CREATE TABLE feed (t DATETIME, y REAL, b BOOLEAN)", ("2024-01-01", 1, 1), ("2024-01-02", "x", 7)
    )
    with pytest.raises(DataError, match="'y' is declared double and holds 'x'"):
        source.read(["y"], None, END)
    with pytest.raises(DataError, match="'b' is declared bool and holds '7'"):
        source.read(["b"], None, END)
    assert source.read(["y", "b"], None, datetime(2024, 1, 2, tzinfo=UTC)).to_pylist() == [{"y": 1.0, "b": True}]


def test_pandas_frames_written_to_sqlite_are_read(tmp_path: Path) -> None:
    frame = sample().to_pandas()
    with sa.create_engine(f"sqlite:///{tmp_path}/a.db", poolclass=sa.NullPool).begin() as connection:
        frame.to_sql("feed", connection, index=False)
    source = SqlSource(config(tmp_path, "sql", url="sqlite:///a.db", table="feed"))
    assert source.read(["t", "s"], None, END).equals(sample().select(["t", "s"]))


# ── faults ────────────────────────────────────────────────────────────────────────────────────────
def test_a_missing_table_or_column_is_told_with_what_is_near(store: Opener) -> None:
    source = store(sample())
    with pytest.raises(DataError, match=r"no column 'yy'.*'y'"):
        source.read(["yy"], None, END)
    if isinstance(source, (SqlSource, DuckDbSource)):
        data = source.config.data.model_copy(update={"table": "fed"})
        with pytest.raises(DataError, match=r"no table or view 'fed'.*feed"):
            type(source)(with_root(source.config, data)).schema(END)


def with_root(known: Config, data: Any) -> Config:
    return parse_config(
        known.model_dump(mode="json", exclude_none=True) | {"data": data.model_dump(mode="json", exclude_none=True)},
        root=known.root,
    )


@pytest.mark.fault("B4")
def test_a_password_is_never_shown(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = "hush-8e11"
    for url in (postgres.url("postgres", wrong), postgres.url("postgres", wrong).replace(str(postgres.port), "1")):
        monkeypatch.setenv("FEED_URL", url)
        with pytest.raises(DependencyError, match="does not answer") as caught:
            SqlSource(config(tmp_path, "sql", url="env:FEED_URL", table="feed")).schema(END)
        assert wrong not in str(caught.value) + repr(caught.value.__cause__)
        assert caught.value.__suppress_context__
    monkeypatch.setenv("FEED_URL", f"no url {wrong}")
    with pytest.raises(ConfigError, match="no database URL") as refused:
        SqlSource(config(tmp_path, "sql", url="env:FEED_URL", table="feed"))
    assert wrong not in str(refused.value)


@pytest.mark.fault("B4")
def test_a_password_with_an_at_sign_is_refused_before_its_end_is_told_as_a_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEED_URL", "postgresql+psycopg://me:first@second@127.0.0.1:1/x")
    with pytest.raises(ConfigError, match="%40") as refused:
        SqlSource(config(tmp_path, "sql", url="env:FEED_URL", table="feed"))
    assert "second" not in str(refused.value)


def test_a_table_whose_name_differs_in_case_is_no_database_that_is_away(tmp_path: Path) -> None:
    source = sqlite(tmp_path, "CREATE TABLE feed (t TEXT, a REAL)", ("2024-03-01", 1.0))
    data = source.config.data.model_copy(update={"table": "FEED"})
    with pytest.raises(DataError, match="correct table"):
        SqlSource(with_root(source.config, data)).read(["a"], None, END)


def test_a_driver_that_is_not_installed_is_named_with_its_package(tmp_path: Path) -> None:
    for url in ("postgresql+pg8000://me@127.0.0.1/x", "nosuchdb://me@127.0.0.1/x"):
        with pytest.raises(DependencyError, match=r"pip install 'lr-retune\[postgres\]'"):
            SqlSource(config(tmp_path, "sql", url=url, table="feed")).schema(END)


def test_files_that_are_no_databases_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database, and long enough to look like one" * 40)
    with pytest.raises(DependencyError, match="unable to open database file"):
        SqlSource(config(tmp_path, "sql", url="sqlite:///none.db", table="feed")).schema(END)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(DataError, match="not a database"):
        SqlSource(config(tmp_path, "sql", url="sqlite:///text.db", table="feed")).schema(END)
    with pytest.raises(DataError, match="is no file"):
        DuckDbSource(config(tmp_path, "duckdb", path="none.duckdb", table="feed")).schema(END)
    with pytest.raises(DataError, match="cannot be opened"):
        DuckDbSource(config(tmp_path, "duckdb", path="text.db", table="feed")).schema(END)


def test_keys_that_a_source_does_not_read_are_refused(tmp_path: Path) -> None:
    for made, keys, law in (
        (SqlSource, {"path": "x"}, "url is missing"),
        (SqlSource, {"url": "sqlite:///a.db"}, "needs a table"),
        (DuckDbSource, {"path": "x"}, "needs a table"),
        (DuckDbSource, {"path": "s3://b/x", "table": "feed"}, "reads a local file"),
        (ParquetSource, {"url": "sqlite:///a.db"}, "path is missing"),
        (CsvSource, {"path": "x", "table": "feed"}, "table is set, and nothing would read it"),
    ):
        with pytest.raises(ConfigError, match=law):
            made(config(tmp_path, "x", **keys))  # type: ignore[operator]


def test_a_duckdb_file_is_only_read(tmp_path: Path) -> None:
    put_duckdb(tmp_path / "a.duckdb", sample())
    before = (tmp_path / "a.duckdb").read_bytes()
    source = DuckDbSource(config(tmp_path, "duckdb", path="a.duckdb", table="feed"))
    source.read(["y"], None, END)
    assert (tmp_path / "a.duckdb").read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {"a.duckdb"}
    with pytest.raises(duck.errors(), match="read-only"), closing(duck.connected(source.path)) as connection:
        connection.execute("DROP TABLE feed")


HOLDS = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print(flush=True); sys.stdin.read()"


def test_a_duckdb_file_that_another_process_writes_is_told_as_busy(tmp_path: Path) -> None:
    put_duckdb(tmp_path / "a.duckdb", sample())
    words = [sys.executable, "-c", HOLDS, str(tmp_path / "a.duckdb")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(DependencyError, match="is being written"):
            DuckDbSource(config(tmp_path, "duckdb", path="a.duckdb", table="feed")).schema(END)
        writer.communicate()


# ── one state, and connections that break ─────────────────────────────────────────────────────────
@pytest.mark.fault("F-2")
def test_a_connection_lost_during_a_read_is_made_anew_once(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.database()
    fill(url, "feed", sample())
    (tmp_path / "url").write_text(url)
    monkeypatch.setattr(sql_tables, "BATCH", 7)
    breaks = [1]
    real = sql_tables.SqlTable._part

    def broken(self: Any, rows: Any, *words: Any) -> Any:
        if rows and breaks[0]:
            breaks[0] -= 1
            assert postgres.end_sessions(url.rpartition("/")[2]) == 1
        return real(self, rows, *words)

    monkeypatch.setattr(sql_tables.SqlTable, "_part", broken)
    source = SqlSource(config(tmp_path, "sql", url="file:url", table="feed"))
    assert source.read(["y"], None, END)["y"].to_pylist() == sample()["y"].to_pylist()
    breaks[0] = 9
    with pytest.raises(DependencyError, match="does not answer"):
        source.read(["y"], None, END)
    assert breaks[0] == 7


@pytest.mark.fault("A11")
def test_a_read_sees_one_state_while_rows_are_written(
    postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.database()
    fill(url, "feed", sample())
    (tmp_path / "url").write_text(url)
    monkeypatch.setattr(sql_tables, "BATCH", 7)
    engine, real = postgres.engine(url.rpartition("/")[2]), sql_tables.SqlTable.fetch

    def late(self: Any, *words: Any) -> Any:
        writer = threading.Thread(target=lambda: run(engine, "UPDATE feed SET y = 0"))
        writer.start()
        writer.join()
        return real(self, *words)

    monkeypatch.setattr(sql_tables.SqlTable, "fetch", late)
    source = SqlSource(config(tmp_path, "sql", url="file:url", table="feed"))
    assert source.read(["y"], None, END)["y"].to_pylist() == sample()["y"].to_pylist()
    monkeypatch.setattr(sql_tables.SqlTable, "fetch", real)
    assert set(source.read(["y"], None, END)["y"].to_pylist()) == {0.0}


def run(engine: sa.Engine, statement: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(statement))


def test_no_connection_stays_open(postgres: Postgres, tmp_path: Path) -> None:
    url = postgres.database()
    fill(url, "feed", sample())
    (tmp_path / "url").write_text(url)
    source = SqlSource(config(tmp_path, "sql", url="file:url", table="feed"))
    source.read(["y"], None, END)
    with pytest.raises(DataError):
        source.read(["none"], None, END)
    assert postgres.end_sessions(url.rpartition("/")[2]) == 0
    assert PASSWORD not in source.shown
