"""Evidently's page: its figures are ours, its awkward inputs are left out, its bytes repeat, its names are inert."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lr_retune.records import Column, Contract
from lr_retune.watch.drift import column_drift, score_drift
from lr_retune.watch.evidently import inert, report

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
HOSTILE = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a\nb\u2028c", "=cmd()", "<!--", ""]
SCORES = np.linspace(0, 1, 300), np.linspace(0, 0.9, 300)


def contract(**kinds: str) -> Contract:
    return Contract(1, tuple(Column(name, kind) for name, kind in kinds.items()), 1000)  # type: ignore[arg-type]


def canonical(table: pa.Table) -> pa.Table:
    """Numbers as float64, categories as string."""
    text = {n: pa.types.is_dictionary(table.schema.field(n).type) for n in table.column_names}
    return pa.table({n: table[n].cast(pa.string() if text[n] else pa.float64()) for n in table.column_names})


def awkward(n: int, seed: int) -> pa.Table:
    draw = np.random.default_rng(seed)
    holes = pa.array([None if i % 3 == 0 else float(i % 7) for i in range(n)], pa.float64())
    return pa.table(
        {
            "plain": draw.normal(size=n),
            "holes": holes,
            "infinite": np.where(np.arange(n) % 10 == 0, np.inf, draw.normal(size=n)),
            "outlier": np.where(np.arange(n) == 3, 1e9, draw.normal(size=n)),
            "constant": np.ones(n),
            "null": pa.array([None] * n, pa.float64()),
            "huge": draw.normal(size=n) * 1e300,
            "near": 1e16 + 2.0 * draw.integers(0, 2, n),
            "levels": pa.array(draw.choice(HOSTILE, n).tolist(), pa.string()),
            "id": pa.array([f"{seed}-{i}" for i in range(n)], pa.string()),
            HOSTILE[0]: draw.normal(size=n),
            HOSTILE[1]: pa.array(draw.choice(["x", None], n).tolist(), pa.string()),
        }
    )


KINDS = contract(
    **{n: "category" if n in ("levels", "id", HOSTILE[1]) else "number" for n in awkward(2, 0).column_names}
)


@pytest.fixture(scope="module")
def page() -> tuple[bytes, dict[str, float]]:
    return report(awkward(900, 0), awkward(700, 1), KINDS, *SCORES, 0.1)


def test_awkward_columns_are_left_out_and_named_and_the_others_judged(page: tuple[bytes, dict[str, float]]) -> None:
    content, figures = page
    assert list(figures) == [*KINDS.names, "score"]
    assert [name for name, value in figures.items() if math.isnan(value)] == ["null", "huge", "near", "id"]
    assert "cannot compare them: null, huge, near, id</p>" in content.decode()


def test_its_figures_are_the_native_twins(page: tuple[bytes, dict[str, float]]) -> None:
    found = (*column_drift(awkward(900, 0), awkward(700, 1), KINDS, {}, 0.1), score_drift(*SCORES, 0.1))
    compared = {d.column: d.statistic for d in found if not math.isnan(page[1][d.column])}
    assert compared == pytest.approx({name: page[1][name] for name in compared}, abs=0.005)
    assert len(compared) == 9


@pytest.mark.parametrize(("name", "rows"), [("bank_marketing", 3000), ("hotel_cancel", 4000), ("dc_bikeshare", 4000)])
def test_the_twins_agree_on_real_columns(name: str, rows: int) -> None:
    if not (path := DATA / f"{name}.parquet").exists():
        pytest.skip(f"{path.name} is not in ../shared/data")
    table = pq.read_table(path)
    drop = [n for n in ("step", "ts", "label_ts", "y") if n in table.column_names]
    whole = canonical(table.drop_columns(drop))
    kinds = contract(**{f.name: "category" if f.type == pa.string() else "number" for f in whole.schema})
    reference, current = whole.slice(1000, rows), whole.slice(len(whole) - rows // 2)
    figures = report(reference, current, kinds, np.array([]), np.array([]), 0.1)[1]
    native = {d.column: d.statistic for d in column_drift(reference, current, kinds, {}, 0.1)}
    assert native == pytest.approx({n: figures[n] for n in kinds.names}, abs=0.005)


@pytest.mark.fault("A13")
def test_no_name_or_level_becomes_markup(page: tuple[bytes, dict[str, float]]) -> None:
    content = page[0].decode()
    assert content.count("alert(1)") > 0
    assert not re.search(r"<[^>]{0,40}alert\(1\)", content.partition("</head>")[0])
    assert "<script>alert" not in content
    assert "onerror=alert(1)>" not in content


@pytest.mark.fault("A13")
def test_the_page_may_fetch_and_send_nothing(page: tuple[bytes, dict[str, float]]) -> None:
    head = page[0].decode().partition("<style>")[0]
    assert "default-src 'none'" in head
    assert "connect-src" not in head
    assert os.environ["DO_NOT_TRACK"]


def test_names_stay_distinct_when_they_are_made_inert() -> None:
    shown = inert([*HOSTILE, "a" * 100, "a" * 200, "�", "\x00", "\x1b[31m"])
    assert len(set(shown.values())) == len(shown)
    assert all(v.isprintable() and not re.search(r"[<>&\"'`]", v) for v in shown.values())


def test_the_same_rows_give_the_same_bytes(page: tuple[bytes, dict[str, float]]) -> None:
    again = report(awkward(900, 0), awkward(700, 1), KINDS, *SCORES, 0.1)
    assert again[0] == page[0]
    assert json.dumps(again[1]) == json.dumps(page[1])


@pytest.mark.fault("A4")
@pytest.mark.parametrize("rows", [0, 1])
def test_an_empty_window_gives_a_page_that_says_so(rows: int) -> None:
    content, figures = report(awkward(300, 0), awkward(rows, 1), KINDS, SCORES[0], np.array([]), 0.1)
    assert all(map(math.isnan, figures.values()))
    assert "cannot compare them: plain, holes" in content.decode()


def test_a_missing_or_retyped_column_leaves_the_others() -> None:
    current = pa.table({"a": pa.array(["one", "two", "three"]), "b": [1.0, 2.0, 4.0]})
    reference = pa.table({"a": [1.0, 2.0, 3.0], "b": [1.0, 2.0, 3.0], "c": ["x", "y", "x"]})
    kinds = contract(a="number", b="number", c="category")
    figures = report(reference, current, kinds, np.array([]), np.array([]), 0.1)[1]
    assert [name for name, value in figures.items() if not math.isnan(value)] == ["b"]
