"""Evidently's page: its figures are ours, its awkward inputs are left out, its bytes repeat, its names are inert.

The module costs about 40 CPU seconds, ten of them Evidently's import.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lr_retune.records import Column, Contract
from lr_retune.watch.drift import column_drift, score_drift, wasserstein
from lr_retune.watch.evidently import inert, report

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"
HOSTILE = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a\nb\u2028c", "=cmd()", "<!--", ""]
DRAW = np.random.default_rng(5)
SCORES = DRAW.random(900), 0.9 * DRAW.random(700)


def labelled(*sides: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    one, two = sides
    return one, two


LABELS = labelled(*(np.where(DRAW.random(len(s)) < 0.1, np.nan, s > DRAW.random(len(s))) for s in SCORES))
WEEKDAY = datetime(2024, 4, 17, tzinfo=UTC)  # the day after the last look of `lived`, and in its week
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


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
    return report(awkward(900, 0), awkward(700, 1), KINDS, *SCORES, 0.1, labels=LABELS)


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


def kinds_of_columns(n: int, seed: int, moved: float) -> pa.Table:
    draw = np.random.default_rng(seed)
    normal = draw.normal(size=n)
    return pa.table(
        {
            "normal": normal + moved,
            "tails": draw.standard_t(2, n) * (1 + moved),
            "skewed": np.exp(normal + moved),
            "count": draw.poisson(3 + moved, n).astype(float),
            "zeros": np.where(draw.random(n) < 0.9, 0.0, normal + moved),
            "flag": (draw.random(n) < 0.2 + moved / 4).astype(float),
            "holes": pa.array(np.where(draw.random(n) < 0.4, np.nan, normal + moved), from_pandas=True),
            "tiny": 1e-6 * (normal + moved),
            "large": 1e9 + 1e6 * (normal + moved),
            "few": pa.array(draw.choice(["a", "b", "c"], n, p=[0.5 - moved / 4, 0.3, 0.2 + moved / 4]), pa.string()),
            "many": pa.array([f"l{int(v)}" for v in draw.gamma(2, 10 + 5 * moved, n)], pa.string()),
            "gaps": pa.array([None if v == "b" else v for v in draw.choice(["a", "b", "c"], n)], pa.string()),
        }
    )


@pytest.mark.parametrize(("reference", "current", "moved"), [(3000, 250, 0.0), (250, 3000, 1.0), (20_000, 5_000, 0.05)])
def test_the_twins_agree_on_every_kind_of_column(reference: int, current: int, moved: float) -> None:
    a, b = kinds_of_columns(reference, 1, 0.0), kinds_of_columns(current, 2, moved)
    kinds = contract(**{f.name: "category" if f.type == pa.string() else "number" for f in a.schema})
    scores = 1 / (1 + np.exp(-a["normal"].to_numpy())), 1 / (1 + np.exp(-b["normal"].to_numpy()))
    figures = report(a, b, kinds, *scores, 0.1)[1]
    native = {d.column: d.statistic for d in (*column_drift(a, b, kinds, {}, 0.1), score_drift(*scores, 0.1))}
    assert len(native) == 13
    assert native == pytest.approx(figures, abs=0.005)


# ── quality and data ──────────────────────────────────────────────────────────────────────────────
def words(content: bytes) -> str:
    """What the page says before any library of it."""
    return content.decode().partition("</head>")[0]


def test_the_page_holds_drift_quality_where_labels_are_known_and_the_columns(
    page: tuple[bytes, dict[str, float]],
) -> None:
    told = words(page[0])
    for title in ("Drift", "Quality, where labels are known", "Data"):
        assert f'"title": "{title}"' in told
    assert "LogLoss" in told
    assert "Left out" in page[0].decode()


def test_a_regression_is_judged_by_its_errors() -> None:
    draw = np.random.default_rng(0)
    labels = labelled(*(score + draw.normal(0, 0.1, len(score)) for score in SCORES))
    content, figures = report(awkward(900, 0), awkward(700, 1), KINDS, *SCORES, 0.1, labels=labels, task="regression")
    assert "Mean Absolute Error" in words(content) or "MAE" in words(content)
    assert "LogLoss" not in words(content)
    assert not math.isnan(figures["plain"])


@pytest.mark.parametrize("label", [np.nan, 1.0])
def test_labels_that_judge_nothing_leave_the_drift_and_are_told(label: float) -> None:
    labels = labelled(*(np.full(len(score), label) for score in SCORES))
    a, b = kinds_of_columns(900, 1, 0.0), kinds_of_columns(700, 2, 0.0)
    content, figures = report(a, b, contract(normal="number"), *SCORES, 0.1, labels=labels)
    assert "<p>Quality: too few rows of either side have a label</p>" in content.decode()
    assert figures["normal"] == pytest.approx(wasserstein(a["normal"], b["normal"]), abs=0.005)


def test_a_part_that_crashes_leaves_the_others_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from evidently.presets import ClassificationPreset

    def broken(self: object, context: object) -> None:  # as its division by a class without rows does
        raise ZeroDivisionError

    monkeypatch.setattr(ClassificationPreset, "generate_metrics", broken)
    a, b = kinds_of_columns(900, 1, 0.0), kinds_of_columns(700, 2, 0.0)
    content, figures = report(a, b, contract(normal="number"), *SCORES, 0.1, labels=LABELS)
    assert "<p>Quality, where labels are known: Evidently failed with ZeroDivisionError</p>" in content.decode()
    assert '"title": "Data"' in words(content)
    assert not math.isnan(figures["normal"])


@pytest.mark.fault("A13")
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_shows_it_without_an_error_and_without_asking_for_anything(
    tmp_path: Path, page: tuple[bytes, dict[str, float]]
) -> None:
    (tmp_path / "page.html").write_bytes(page[0])
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=10000")
    asked = (
        str(CHROMIUM),
        *options,
        *quiet,
        f"--user-data-dir={tmp_path}/profile",
        "--dump-dom",
        f"file://{tmp_path}/page.html",
    )
    found = subprocess.run(asked, capture_output=True, text=True, timeout=180, check=True)
    drawn = found.stdout.partition("<body>")[2].partition("<script>")[0]
    for text in ("Dataset Drift", "LogLoss", "missing", "Left out, since Evidently cannot compare them"):
        assert text in drawn
    said = [line for line in found.stderr.splitlines() if "CONSOLE" in line and "source: chrome://" not in line]
    assert not said  # errors, and whatever the page's policy refuses to fetch; the browser's own pages may talk


# ── what a routine tick pays ──────────────────────────────────────────────────────────────────────
LOOK = """
import sys
from lr_retune.cli import main
sys.argv = ["lr-retune", "watch", "--as-of", sys.argv[1]]
try:
    main()
except SystemExit as ended:
    print(ended.code, "evidently" in sys.modules)
"""


def test_a_routine_tick_does_not_import_evidently(home: Path) -> None:
    environ = {**os.environ, "LR_RETUNE__WATCH__DRIFT": "auto"}
    command = [sys.executable, "-W", "error", "-c", LOOK, WEEKDAY.isoformat()]
    found = subprocess.run(command, cwd=home, env=environ, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "0 False", found.stdout + found.stderr


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
    again = report(awkward(900, 0), awkward(700, 1), KINDS, *SCORES, 0.1, labels=LABELS)
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
