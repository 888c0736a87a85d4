"""init: the first retune.toml loads, fits the data's span, and survives hostile names."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lr_retune.config import Config, load_config, parse_config
from lr_retune.data.spans import plan_spans
from lr_retune.errors import ConfigError, DataError
from lr_retune.replay import instants
from lr_retune.scaffold import first_replay, scaffold
from tests.conftest import Answer
from tests.test_three_feeds import apart
from tests.worlds import day, world

REPO = Path(__file__).resolve().parents[1]
DATA = REPO.parent / "shared" / "data"


def rows(days: int, per_day: int = 10, rare: bool = False, seed: int = 0) -> dict[str, object]:
    draw, n = np.random.default_rng(seed), days * per_day
    start = datetime(2024, 1, 1, tzinfo=UTC)
    times = [start + timedelta(days=i // per_day, minutes=i % per_day) for i in range(n)]
    return {"ts": times, "y": (draw.random(n) < (0.05 if rare else 0.5)).astype(int), "x": draw.normal(size=n)}


def write(folder: Path, columns: dict[str, object], name: str = "rows.parquet") -> Path:
    pq.write_table(pa.table(columns), folder / name)
    return folder / name


def made(file: Path, **options: str) -> Config:
    text = scaffold(file, options.pop("label", "y"), options.pop("time", "ts"), folder=file.parent, **options)
    return parse_config(tomllib.loads(text), root=file.parent)


# ── guesses ───────────────────────────────────────────────────────────────────────────────────────
def test_two_labels_are_binary_and_rare_ones_are_ranked(tmp_path: Path) -> None:
    common, rare = made(write(tmp_path, rows(100))), made(write(tmp_path, rows(100, rare=True), "rare.parquet"))
    assert (common.task, common.metric.name, rare.metric.name) == ("binary", "log_loss", "pr_auc")


def test_other_labels_are_regression(tmp_path: Path) -> None:
    found = made(write(tmp_path, rows(100) | {"y": np.arange(1000.0)}))
    assert (found.task, found.metric.name) == ("regression", "mae")
    assert made(write(tmp_path, rows(100)), task="regression").metric.name == "mae"


@pytest.mark.parametrize(("days", "per_day", "tick"), [(1000, 24, 1), (400, 5, 1), (400, 4, 7), (2000, 1, 7)])
def test_sparse_days_make_longer_ticks(tmp_path: Path, days: int, per_day: int, tick: int) -> None:
    assert made(write(tmp_path, rows(days, per_day))).schedule.tick == timedelta(days=tick)


@pytest.mark.parametrize(("days", "per_day"), [(22, 40), (60, 20), (400, 10), (3000, 24), (3000, 1)])
def test_spans_fit_the_history(tmp_path: Path, days: int, per_day: int) -> None:
    window = made(write(tmp_path, rows(days, per_day))).window
    assert window.train + window.valid + window.holdout <= timedelta(days=days)
    assert window.train <= max(timedelta(days=0.6 * days), window.holdout)


def test_a_few_days_of_dense_rows_get_shorter_ticks(tmp_path: Path) -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    times = [start + timedelta(minutes=5 * i) for i in range(288 * 10)]
    found = made(write(tmp_path, {"ts": times, "y": np.arange(len(times)) % 2}))
    assert found.schedule.tick == timedelta(hours=6)


def test_useless_columns_are_excluded_and_the_label_clock_is_found(tmp_path: Path) -> None:
    columns = rows(100)
    n = 1000
    known = [t + timedelta(days=7) for t in columns["ts"]]  # type: ignore[attr-defined]
    columns |= {"step": range(n), "uid": [f"u{i}" for i in range(n)], "shop": ["a", "b"] * (n // 2)}
    columns |= {"label_ts": known, "seen": known, "nested": [[1]] * n, "age": [3] * n}
    found = made(write(tmp_path, columns))
    assert found.data.exclude == ("step", "uid", "seen", "nested")
    assert (found.data.label_time, found.data.label_delay) == ("label_ts", None)
    assert found.labels.max_delay == timedelta(days=7)


def test_the_name_comes_from_the_file_and_the_path_is_relative(tmp_path: Path) -> None:
    file = write(tmp_path, rows(100), "Bön & co (2).parquet")
    folder = tmp_path / "conf"
    folder.mkdir()
    config = parse_config(tomllib.loads(scaffold(file, "y", "ts", folder=folder)), root=folder)
    assert config.name == "B-n-co-2"
    assert os.path.samefile(folder / config.data.path, file)


def test_every_key_has_a_comment(tmp_path: Path) -> None:
    text = scaffold(write(tmp_path, rows(100)), "y", "ts", folder=tmp_path)
    keys = [line for line in text.splitlines() if " = " in line]
    assert len(keys) > 20
    assert all("  # " in line for line in keys)


def test_csv_is_read_like_parquet(tmp_path: Path) -> None:
    columns = rows(100) | {"shop": ["a", "b"] * 500}
    pa.csv.write_csv(pa.table(columns), tmp_path / "rows.csv")
    one, two = made(tmp_path / "rows.csv"), made(write(tmp_path, columns))
    assert one.data.source == "csv"
    assert one.model_dump(exclude={"data"}) == two.model_dump(exclude={"data"})


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────
def test_an_unknown_column_gets_the_nearest_name(tmp_path: Path) -> None:
    file = write(tmp_path, rows(100) | {"label": [0, 1] * 500})
    with pytest.raises(ConfigError, match=r"has no column 'lable'\. did you mean 'label'"):
        made(file, label="lable")
    with pytest.raises(ConfigError, match="columns: 'ts', 'y', 'x', 'label'"):
        made(file, time="zzz")


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        ({"y": ["a", "b"] * 500}, {}, "label 'y' is no number but string"),
        ({"y": [1, 2] * 500}, {}, "label 'y' is not binary"),
        ({"y": [0, 1, 2, 3] * 250}, {"task": "binary"}, "it holds 4 values, not 0 and 1"),
        ({"y": [1] * 1000}, {}, "fewer than two distinct values"),
        ({"y": [float("nan")] * 1000}, {}, "fewer than two distinct values"),
        ({}, {"time": "x"}, "column 'x' is no time but double"),
        ({"ts": ["soon"] * 1000}, {}, "cannot be read as time"),
        ({"ts": pa.array([None] * 1000, pa.timestamp("us"))}, {}, "holds no time"),
        ({}, {"name": "../x"}, "name (line 2)|name: String should match"),
        ({}, {"task": "ranking"}, "task"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(tmp_path: Path, change: dict, options: dict, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        made(write(tmp_path, rows(100) | change), **options)
    assert any(part in str(caught.value) for part in told.split("|"))


@pytest.mark.fault("A4")
def test_too_short_a_history_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"30 rows at 30 different times in 2 days are too short"):
        made(write(tmp_path, rows(3)))
    with pytest.raises(ConfigError):
        made(write(tmp_path, {"ts": pa.array([], pa.timestamp("us")), "y": pa.array([], pa.int64())}))


def test_many_rows_at_a_few_times_are_too_short_a_history(tmp_path: Path) -> None:
    times = [datetime(2015 + i // 500, 1, 1, tzinfo=UTC) for i in range(2000)]
    with pytest.raises(ConfigError, match="2,000 rows at 4 different times"):
        made(write(tmp_path, {"ts": times, "y": [0, 1] * 1000}))


@pytest.mark.fault("A6")
def test_a_file_that_is_none_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "torn.parquet").write_bytes(write(tmp_path, rows(100)).read_bytes()[:-9])
    (tmp_path / "zero.csv").write_bytes(b"")
    for name in ("torn.parquet", "zero.csv", "absent.parquet", "absent.csv", "."):
        with pytest.raises(DataError):
            made(tmp_path / name)


# ── hostile names ─────────────────────────────────────────────────────────────────────────────────
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@pytest.mark.fault("A14")
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(names, min_size=4, max_size=4, unique=True))
@example(["label_date", "y", "step", "x"])  # a word for when labels come, as the name of the time itself
def test_any_column_name_survives(tmp_path: Path, columns: list[str]) -> None:
    time, label, step, feature = columns
    base = rows(30)
    table = {time: base["ts"], label: base["y"], step: range(300), feature: base["x"]}
    found = made(write(tmp_path, table), time=time, label=label)
    assert (found.data.time, found.data.label, found.data.exclude) == (time, label, (step,))


# ── real files ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("name", ["fraud_handbook_sim", "hotel_cancel", "noaa_weather", "metro_traffic"])
def test_real_files_give_a_configuration_that_loads(name: str) -> None:
    if not (path := DATA / f"{name}.parquet").exists():
        pytest.skip(f"{path.name} is not in ../shared/data")
    found = made(path)
    assert found.data.exclude == ("step",)
    assert found.name == name


def test_the_demo_loads_and_its_columns_are_there() -> None:
    demo = REPO / "lr_retune" / "demo"
    config = parse_config(tomllib.loads((demo / "demand.toml").read_text()), root=demo)
    schema = pq.read_schema(demo / config.data.path)
    assert {config.data.time, config.data.label} <= set(schema.names)
    assert (demo / config.data.path).stat().st_size <= 700_000


def test_labels_in_a_second_file_are_joined_by_what_both_files_share(
    tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    apart(tmp_path, delay=5)
    text = scaffold(tmp_path / "rows.parquet", "y", "ts", folder=tmp_path, labels=tmp_path / "labels.parquet")
    made = parse_config(tomllib.loads(text), root=tmp_path)
    assert (made.data.id, made.label, made.label_time, made.task) == ("id", "y", "seen", "regression")
    assert made.labels.max_delay == timedelta(days=5)
    out = tmp_path / "retune.toml"
    words = ("--from", tmp_path / "rows.parquet", "--labels", tmp_path / "labels.parquet", "--time", "ts", "-o", out)
    assert cli("init", *words, "--label", "y").code == 0
    assert cli("check", "-c", out, "--as-of", "2024-06-01").code == 0
    refused = cli("init", *words, "--label", "y", "--id", "nothing", "--force")
    assert refused.code == 2
    assert "no column 'nothing'" in refused.err


def test_the_first_replay_of_a_file_is_told_with_its_dates_and_is_one(tmp_path: Path) -> None:
    path = world(tmp_path, days=160)
    config = load_config(path, environ={})
    words = first_replay(tmp_path / "rows.parquet", "ts", config)
    assert words is not None
    start, end, every, trains = (words.split()[n] for n in (3, 5, 7, 9))
    times = instants(config, datetime.fromisoformat(f"{start}T00:00+00:00"), day(159), int(every))
    assert int(every) <= int(trains) // 3
    assert 14 <= len(times) / int(trains) <= 28
    assert plan_spans(config, times[0], day(0))  # the first model has its history
    assert end == f"{day(159):%Y-%m-%d}"
    assert first_replay(tmp_path / "rows.parquet", "ts", narrowed(config)) is None


def narrowed(config: Config) -> Config:
    """The same with a window that leaves no run times."""
    window = config.window.model_copy(update={"holdout": timedelta(days=120)})
    return config.model_copy(update={"window": window})
