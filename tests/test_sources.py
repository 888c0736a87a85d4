"""Sources: one answer for one content, whatever the files' names, columns, types and faults."""

import gc
import io
import tempfile
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lr_retune.config import Config, parse_config
from lr_retune.data.files import FileSource
from lr_retune.data.sources import CachedSource, CsvSource, ParquetSource
from lr_retune.errors import ConfigError, DataError, DependencyError, RetuneError
from lr_retune.records import Source
from lr_retune.testing import check_source

naive = datetime.fromisoformat
T0 = naive("2024-01-01")
END = datetime(2030, 1, 1, tzinfo=UTC)
quick = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def config(root: Path, path: str = ".", zone: str = "UTC", **data: Any) -> Config:
    return parse_config(
        {
            "config_version": 1,
            "name": "m",
            "task": "regression",
            "metric": {"name": "mae"},
            "schedule": {"timezone": zone},
            "data": {"path": path, "time": "t", "label": "y"} | data,
        },
        root=root,
    )


def hours(n: int, start: datetime = T0) -> Any:
    return pa.array([start + timedelta(hours=i) for i in range(n)], pa.timestamp("us"))


def put(path: Path, **columns: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=7)
    return path


def test_both_sources_are_what_the_protocol_asks_for(tmp_path: Path) -> None:
    assert isinstance(ParquetSource(config(tmp_path)), Source)
    assert isinstance(CsvSource(config(tmp_path)), Source)


@quick
@given(st.lists(st.integers(0, 20), max_size=40), st.integers(-1, 21), st.integers(-1, 21), st.integers(1, 3))
def test_rows_of_a_span_come_in_time_order_and_ties_in_file_order(
    tmp_path_factory: pytest.TempPathFactory, offsets: list[int], low: int, high: int, files: int
) -> None:
    root = tmp_path_factory.mktemp("feed")
    times = [T0 + timedelta(hours=o) for o in offsets]
    cuts = np.linspace(0, len(offsets), files + 1).astype(int)
    for i in range(files):
        part = slice(cuts[i], cuts[i + 1])
        put(root / f"{i}.parquet", t=pa.array(times[part], pa.timestamp("ns")), y=pa.array(range(len(offsets)))[part])
    start, end = ((T0 + timedelta(hours=h)).replace(tzinfo=UTC) for h in (low, high))
    expected = [i for i in np.argsort(offsets, kind="stable").tolist() if low <= offsets[i] < high]
    found = ParquetSource(config(root)).read(["y"], start, end)
    assert found["y"].to_pylist() == expected


@pytest.mark.fault("E9")
def test_naive_times_are_local_and_dates_are_local_midnights(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", t=hours(4, naive("2024-03-31")), y=[0, 1, 2, 3])
    put(tmp_path / "b.parquet", t=pa.array([date(2024, 3, 30), date(2024, 4, 1)]), y=[8, 9])
    found = ParquetSource(config(tmp_path, zone="Europe/Paris")).read(["t", "y"], None, END)
    assert found.schema.field("t").type == pa.timestamp("us", "UTC")
    # the hour from 2 to 3 does not exist: it is the instant of the change, 1:00 UTC, as 3:00 local is
    assert [f"{t:%d %H:%M}" for t in found["t"].to_pylist()] == [
        "29 23:00",
        "30 23:00",
        "31 00:00",
        "31 01:00",
        "31 01:00",
        "31 22:00",
    ]
    assert found["y"].to_pylist() == [8, 0, 1, 2, 3, 9]


def test_a_time_column_of_numbers_is_refused_with_its_file(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", t=[1, 2], y=[0, 1])
    with pytest.raises(DataError, match=r"'t' in .*a\.parquet holds no timestamps but int64"):
        ParquetSource(config(tmp_path)).schema(END)


def test_a_file_without_rows_before_as_of_does_not_exist(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", t=hours(3), y=[0, 1, 2], x=[1, 2, 3])
    source = ParquetSource(config(tmp_path))
    as_of = datetime(2024, 1, 2, tzinfo=UTC)
    before = dict(source.schema(as_of)), source.read(["x", "y"], None, as_of)
    put(tmp_path / "0.parquet", t=hours(3, naive("2024-01-02")), y=["a", "b", "c"], x=[0.5, 1, 2], extra=[1, 2, 3])
    later = dict(source.schema(as_of)), source.read(["x", "y"], None, as_of)
    assert later == before
    assert source.schema(END)["y"] == "mixed<string, int64>"


def test_a_column_that_some_files_lack_is_null_there(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", t=hours(2), y=[0, 1])
    put(tmp_path / "b.parquet", t=hours(2, naive("2024-02-01")), y=[2, 3], x=["u", "v"])
    found = ParquetSource(config(tmp_path)).read(["x"], None, END)
    assert found["x"].to_pylist() == [None, None, "u", "v"]
    only_old = ParquetSource(config(tmp_path)).read(["x"], None, datetime(2024, 2, 1, 1, tzinfo=UTC)).slice(0, 2)
    assert only_old["x"].type == pa.string()


def test_numbers_of_different_width_are_brought_together_and_text_is_told_as_mixed(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", t=hours(2), y=pa.array([0, 1], pa.int8()), x=pa.array([1.0, 2.5]))
    put(tmp_path / "b.parquet", t=hours(2, naive("2024-02-01")), y=pa.array([0.5, None], pa.float32()), x=["3", "u"])
    source = ParquetSource(config(tmp_path))
    assert source.schema(END) == {"t": "timestamp[us, tz=UTC]", "y": "double", "x": "mixed<double, string>"}
    assert source.read(["y", "x"], None, END).to_pydict() == {"y": [0, 1, 0.5, None], "x": ["1", "2.5", "3", "u"]}


@pytest.mark.fault("A6")
@pytest.mark.parametrize("sixteenth", range(16))
def test_a_torn_file_is_refused_with_its_path_and_nothing_is_read(tmp_path: Path, sixteenth: int) -> None:
    put(tmp_path / "a.parquet", t=hours(50), y=list(range(50)))
    whole = put(tmp_path / "b.parquet", t=hours(50), y=list(range(50))).read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[: len(whole) * sixteenth // 16])
    with pytest.raises(DataError, match=r"b\.parquet cannot be read") as caught:
        ParquetSource(config(tmp_path)).read(["y"], None, END)
    assert "write the file again" in caught.value.fix


@pytest.mark.fault("A6")
def test_a_damaged_page_is_refused_with_its_path(tmp_path: Path) -> None:
    file = put(tmp_path / "a.parquet", t=hours(50), y=[f"value {i}" for i in range(50)])
    damaged = bytearray(file.read_bytes())
    start = pq.ParquetFile(file).metadata.row_group(0).column(1).dictionary_page_offset
    damaged[start : start + 40] = b"\xff" * 40
    file.write_bytes(damaged)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        ParquetSource(config(tmp_path)).read(["y"], None, END)


@pytest.mark.fault("A6")
@pytest.mark.parametrize("content", [b"", b"t,y\n2024-01-01,1\n", b"PAR1" + b"\0" * 40 + b"PAR1"])
def test_what_is_no_parquet_is_refused_with_its_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        ParquetSource(config(tmp_path)).schema(END)


@pytest.mark.fault("A6")
@pytest.mark.parametrize("content", [b"", b"PAR1\0\0\0\1\0\0", b't,y\n2024-01-01,1\n2024-01-02,"1\n2024-01-03,4,4,4'])
def test_what_is_no_csv_is_refused_with_its_path(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.csv (cannot be read|has no column 't')"):
        CsvSource(config(tmp_path)).read(["y"], None, END)


NAMES = ['"; drop table x; --', "../x", "n" * 300, "new\nline", "A", "a", "a.b", "a'b", "naïve 表", "c0", "w", " pad "]


@pytest.mark.fault("A14")
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_hostile_column_names_are_only_names(tmp_path: Path, kind: str) -> None:
    table = pa.table({"t": hours(3), "y": [1, 2, 3]} | {name: [i, i + 1, i + 2] for i, name in enumerate(NAMES)})
    if kind == "csv":
        pa.csv.write_csv(table, tmp_path / "a.csv")
    else:
        pq.write_table(table, tmp_path / "a.parquet")
    source = (CsvSource if kind == "csv" else ParquetSource)(config(tmp_path))
    found = source.read(NAMES[::-1], None, END)
    assert found.column_names == NAMES[::-1]
    assert found.to_pydict() == {name: table[name].to_pylist() for name in NAMES[::-1]}


@pytest.mark.fault("A14")
@quick
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1).filter(
        lambda s: s not in ("t", "y")
    )
)
def test_any_text_may_name_a_column(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = tmp_path_factory.mktemp("feed")
    put(root / "a.parquet", **{"t": hours(2), "y": [0, 1], name: [7, 8]})
    assert ParquetSource(config(root)).read([name], None, END)[name].to_pylist() == [7, 8]


@pytest.mark.fault("A14")
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_name_that_stands_twice_is_refused_only_when_it_is_asked_for(tmp_path: Path, kind: str) -> None:
    table = pa.Table.from_arrays([hours(2), pa.array([0, 1]), pa.array([2, 3]), pa.array([4, 5])], ["t", "x", "x", "y"])
    if kind == "csv":
        (tmp_path / "a.csv").write_text("t,x,x,y\n2024-01-01,0,2,4\n2024-01-01 01:00,1,3,5\n")
    else:
        pq.write_table(table, tmp_path / "a.parquet")
    source = (CsvSource if kind == "csv" else ParquetSource)(config(tmp_path))
    assert source.read(["y"], None, END)["y"].to_pylist() == [4, 5]
    with pytest.raises(DataError, match="'x' stands twice"):
        source.read(["x"], None, END)


def test_nothing_found_names_the_path_and_what_lies_nearby(tmp_path: Path) -> None:
    (tmp_path / "feed.parquet").touch()
    with pytest.raises(DataError, match=r"no \.parquet file matches .*feeds.* holds 'feed\.parquet'"):
        ParquetSource(config(tmp_path, "feeds/*.parquet")).schema(END)


def test_a_folder_is_read_in_full_but_for_files_in_the_making(tmp_path: Path) -> None:
    put(tmp_path / "day=2" / "a.parquet", t=hours(1), y=[2])
    put(tmp_path / "day=1" / "b.parquet", t=hours(1), y=[1])
    for name in (".b.parquet", "_tmp/b.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    assert ParquetSource(config(tmp_path)).read(["y"], None, END)["y"].to_pylist() == [1, 2]
    assert ParquetSource(config(tmp_path, "day=*/*.parquet")).read(["y"], None, END)["y"].to_pylist() == [1, 2]
    assert ParquetSource(config(tmp_path, "day=2/a.parquet")).read(["y"], None, END)["y"].to_pylist() == [2]


def test_an_unknown_column_is_refused_with_the_nearest(tmp_path: Path) -> None:
    put(tmp_path / "a.parquet", t=hours(1), y=[2], amount=[1])
    with pytest.raises(DataError, match=r"no column 'amuont'.*'amount'"):
        ParquetSource(config(tmp_path)).read(["amuont"], None, END)


def test_csv_answers_what_parquet_answers(tmp_path: Path) -> None:
    table = pa.table(
        {
            "t": hours(60, naive("2024-10-26T12:00")),
            "y": pa.array(range(60)).cast(pa.float64()),
            "x": pa.array([None if i % 7 == 0 else i / 4 for i in range(60)]),
            "n": pa.array([None if i % 5 == 0 else i for i in range(60)]),
            "s": pa.array([None if i % 3 == 0 else f'a,"{i}\n' for i in range(60)]),
            "b": pa.array([i % 2 == 0 for i in range(60)]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    pa.csv.write_csv(table.set_column(1, "y", pc.add(table["y"], 0.5)), tmp_path / "a.csv")
    pq.write_table(table.set_column(1, "y", pc.add(table["y"], 0.5)), tmp_path / "a.parquet")
    made = config(tmp_path, zone="Europe/Paris")
    start, end = datetime(2024, 10, 26, 20, tzinfo=UTC), datetime(2024, 10, 27, 20, tzinfo=UTC)
    assert CsvSource(made).schema(end) == ParquetSource(made).schema(end)
    columns = ["s", "t", "x", "y", "n", "b"]
    assert CsvSource(made).read(columns, start, end).equals(ParquetSource(made).read(columns, start, end))


def test_later_csv_rows_change_no_type_of_earlier_ones(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("t,y,x,code\n2024-01-01,1,5,01\n2024-01-02T00:00:00+00:00,2,,02\n")
    source, as_of = CsvSource(config(tmp_path)), datetime(2024, 1, 3, tzinfo=UTC)
    before = dict(source.schema(as_of)), source.read(["x", "y", "code"], None, as_of)
    assert before[0] == {"t": "timestamp[us, tz=UTC]", "y": "int64", "x": "int64", "code": "string"}
    with file.open("a") as more:
        more.write("2024-01-03,oops,inf,x\n2024-01-04 10:00,2.5,1,x\n")
    assert (dict(source.schema(as_of)), source.read(["x", "y", "code"], None, as_of)) == before
    assert {n: source.schema(END)[n] for n in ("x", "y")} == {"x": "double", "y": "string"}


def test_a_csv_time_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,y\n2024-01-01,1\n01/02/2024,2\n")
    with pytest.raises(DataError, match=r"'t' in .* holds no timestamps but other text in 1 rows"):
        CsvSource(config(tmp_path)).schema(END)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_cached_source_answers_what_its_source_answers(tmp_path: Path, kind: str) -> None:
    parts = [
        {"t": hours(30), "y": pa.array(range(30)), "x": pa.array(range(30)), "s": pa.array(["u", None] * 15)},
        {
            "t": hours(30, naive("2024-01-02")),
            "y": pa.array(range(30)),
            "x": pa.array([0.5] * 30),
            "new": pa.array([1] * 30),
        },
        {"t": hours(3, naive("2024-01-04")), "y": pa.array(range(3)), "x": pa.array(["p", "q", "r"])},
    ]
    for i, part in enumerate(parts):
        if kind == "csv":
            pa.csv.write_csv(pa.table(part), tmp_path / f"{i}.csv")
        else:
            put(tmp_path / f"{i}.parquet", **part)
    inner = (CsvSource if kind == "csv" else ParquetSource)(config(tmp_path))
    cached = CachedSource(inner, ["t", *inner.schema(END)])
    for day in range(1, 7):
        end = datetime(2024, 1, day, 6, tzinfo=UTC)
        columns = list(inner.schema(end))
        assert cached.schema(end) == inner.schema(end)
        for start in (None, end - timedelta(hours=20), end - timedelta(days=9)):
            assert cached.read(columns, start, end).equals(inner.read(columns, start, end))


def test_a_file_that_was_written_anew_is_read_anew(tmp_path: Path) -> None:
    file = put(tmp_path / "a.parquet", t=hours(2), y=[0, 1])
    source = ParquetSource(config(tmp_path))
    assert len(source.read(["y"], None, END)) == 2
    put(file, t=hours(3), y=[0, 1, 2])
    assert len(source.read(["y"], None, END)) == 3


def test_int96_times_without_statistics_are_read(tmp_path: Path) -> None:
    sink = io.BytesIO()
    pq.write_table(
        pa.table({"t": hours(5), "y": range(5)}), sink, use_deprecated_int96_timestamps=True, write_statistics=False
    )
    (tmp_path / "a.parquet").write_bytes(sink.getvalue())
    assert ParquetSource(config(tmp_path)).read(["y"], datetime(2024, 1, 1, 3, tzinfo=UTC), END)["y"].to_pylist() == [
        3,
        4,
    ]


# ── fsspec URLs ───────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def memory() -> Any:
    """An empty file system behind memory:// URLs."""
    found = fsspec.filesystem("memory")
    found.store.clear()
    yield found
    found.store.clear()


def pour(remote: Any, path: str, table: Any) -> None:
    sink = io.BytesIO()
    if path.endswith(".csv"):
        pa.csv.write_csv(table, sink)
    else:
        pq.write_table(table, sink, row_group_size=7)
    remote.pipe(path, sink.getvalue())


@pytest.mark.parametrize("kind", ["parquet", "csv"])
@pytest.mark.parametrize("path", ["memory://feed", "memory://feed/*.{}", "memory://feed/a.{}", "env:FEED"])
def test_a_url_is_read_as_a_local_path_is(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch, kind: str, path: str
) -> None:
    monkeypatch.setenv("FEED", "memory://feed")
    table = pa.table({"t": hours(30), "y": pa.array(range(30)), "s": pa.array(["u", None, "v"] * 10)})
    pour(memory, f"/feed/a.{kind}", table)
    pour(memory, f"/feed/_tmp/a.{kind}", table.slice(3))
    made = config(tmp_path, path.format(kind))
    source = (CsvSource if kind == "csv" else ParquetSource)(made)
    check_source(source, END, time="t")
    start = datetime(2024, 1, 1, 20, tzinfo=UTC)
    assert source.read(["y", "s"], start, END).equals(table.select(["y", "s"]).slice(20))
    cached = CachedSource(source, ["t", "y", "s"])
    assert cached.read(["s"], start, END).equals(source.read(["s"], start, END))


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_remote_file_that_was_written_anew_is_read_anew(tmp_path: Path, memory: Any, kind: str) -> None:
    pour(memory, f"/feed/a.{kind}", pa.table({"t": hours(2), "y": [0, 1]}))
    source = (CsvSource if kind == "csv" else ParquetSource)(config(tmp_path, "memory://feed"))
    assert source.read(["y"], None, END)["y"].to_pylist() == [0, 1]
    pour(memory, f"/feed/a.{kind}", pa.table({"t": hours(2), "y": [2, 3]}))
    assert source.read(["y"], None, END)["y"].to_pylist() == [2, 3]
    pour(memory, f"/feed/b.{kind}", pa.table({"t": hours(1, naive("2024-02-01")), "y": [4]}))
    assert source.read(["y"], None, END)["y"].to_pylist() == [2, 3, 4]


def test_private_copies_of_remote_files_go_with_their_source(
    tmp_path: Path, memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    pour(memory, "/feed/a.csv", pa.table({"t": hours(2), "y": [0, 1]}))
    source = CsvSource(config(tmp_path, "memory://feed"))
    source.schema(END)
    assert len(list(tmp_path.glob("lr-retune-*"))) == 1
    del source
    gc.collect()
    assert not list(tmp_path.glob("lr-retune-*"))


def test_a_file_url_is_a_local_path(tmp_path: Path) -> None:
    put(tmp_path / "feed" / "a.parquet", t=hours(2), y=[0, 1])
    source = ParquetSource(config(tmp_path, f"file://{tmp_path}/feed"))
    assert source.read(["y"], None, END)["y"].to_pylist() == [0, 1]


def test_a_url_that_leads_nowhere_is_told_with_what_lies_nearby(tmp_path: Path, memory: Any) -> None:
    pour(memory, "/feed/a.parquet", pa.table({"t": hours(2), "y": [0, 1]}))
    with pytest.raises(DataError, match=r"no \.parquet file matches memory://feed/b.*holds 'a\.parquet'"):
        ParquetSource(config(tmp_path, "memory://feed/b.parquet")).schema(END)
    memory.pipe("/feed/a.parquet", b"PAR1 and no more")
    with pytest.raises(DataError, match=r"memory:///?feed/a\.parquet cannot be read"):
        ParquetSource(config(tmp_path, "memory://feed/a.parquet")).schema(END)
    with pytest.raises(ConfigError, match="nonsense"):
        ParquetSource(config(tmp_path, "nonsense://feed/a.parquet")).schema(END)


@pytest.mark.skipif(find_spec("s3fs") is not None, reason="s3fs is installed here")
def test_a_protocol_whose_package_is_absent_names_it(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="Install s3fs"):
        ParquetSource(config(tmp_path, "s3://bucket/rows.parquet")).schema(END)


@pytest.mark.fault("B4")
def test_what_is_secret_in_a_url_is_not_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEED", "sftp://me:hush-5c@127.0.0.1:1/rows?sig=hush-5c")
    with pytest.raises(RetuneError) as caught:
        ParquetSource(config(tmp_path, "env:FEED")).schema(END)
    assert isinstance(caught.value, DependencyError)
    assert "hush-5c" not in str(caught.value)


def test_a_place_that_does_not_answer_is_no_fault_of_the_data(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match=r"http://127\.0\.0\.1:1/rows\.parquet cannot be re"):
        ParquetSource(config(tmp_path, "http://127.0.0.1:1/rows.parquet")).schema(END)


@pytest.mark.fault("A11")
@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_file_that_changes_while_it_is_read_is_read_again_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def write(n: int) -> None:
        table = pa.table({"t": hours(n), "y": pa.array(range(n))})
        (pa.csv.write_csv if kind == "csv" else pq.write_table)(table, tmp_path / f"a.{kind}")

    write(9)
    source = (CsvSource if kind == "csv" else ParquetSource)(config(tmp_path))
    times, real = [1], FileSource._read

    def meanwhile(self: Any, *words: Any) -> Any:
        found = real(self, *words)
        if times[0]:
            times[0] -= 1
            write(20 + times[0])
        return found

    monkeypatch.setattr(FileSource, "_read", meanwhile)
    assert len(source.read(["y"], None, END)) == 20
    times[0] = 9
    with pytest.raises(DataError, match="change while they are read"):
        source.read(["y"], None, END)


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_every_clock_comes_in_utc(tmp_path: Path, kind: str) -> None:
    table = pa.table({"t": hours(3), "y": [0, 1, 2], "known": hours(3, naive("2024-07-01")), "came": hours(3)})
    if kind == "csv":
        pa.csv.write_csv(table, tmp_path / "a.csv")
    else:
        pq.write_table(table, tmp_path / "a.parquet")
    made = config(tmp_path, zone="Europe/Paris", label_time="known", available_time="came")
    source = (CsvSource if kind == "csv" else ParquetSource)(made)
    assert {source.schema(END)[n] for n in ("t", "known", "came")} == {"timestamp[us, tz=UTC]"}
    found = source.read(["came", "known"], None, END)
    assert found["known"][0].as_py() == datetime(2024, 6, 30, 22, tzinfo=UTC)
    assert found["came"][0].as_py() == datetime(2023, 12, 31, 23, tzinfo=UTC)
