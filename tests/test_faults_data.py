"""What a broken feed does to the real commands: exit code, words, and a champion that stays."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lr_retune.config import load_config
from lr_retune.stores.promotion import Stores
from tests.conftest import Answer
from tests.worlds import AGE_TRAINS, day, rows, world, write

Cli = Callable[..., Answer]
Columns = dict[str, Any]
DAYS, BORN, NOW = 160, 100, 112
TIMES = rows(DAYS)["ts"]
ROWS = len(TIMES)
LATE = np.array([t >= day(104) for t in TIMES])
HOSTILE = [
    '"; drop table x; --',
    "../../etc/passwd",
    "x" * 300,
    "new\nline",
    "A",
    "::error::x",
    "##[error]x",
    "<script>alert(1)</script>",
    "\x1b[31m",
    "",
    "日本",
    "a b=c|d`e`",
    "%0A",
    'a,b:c"{}[]',
    "temp.max",
]


def columns(**shape: Any) -> Columns:
    """`rows` and a column that cannot matter."""
    return rows(DAYS, **shape) | {"idle": [1.0] * ROWS}


@pytest.fixture(scope="module")
def born(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a first champion, real ledger and real MLflow."""
    from lr_retune.retune import bootstrap

    folder = tmp_path_factory.mktemp("born")
    path = world(folder)
    write(folder, columns())
    config = load_config(path, environ={})
    champion = bootstrap(config, Stores.open(config), day(BORN))
    assert champion.importance["idle"] == 0
    assert champion.importance["a"] > 0.1
    return folder


@pytest.fixture
def home(born: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    shutil.copytree(born, folder)
    return folder


def at(command: str, folder: Path, n: int = NOW) -> list[object]:
    return [command, "-c", folder / "retune.toml", "--as-of", day(n).isoformat()]


def production(folder: Path) -> tuple[Any, ...]:
    """Everything that may not change: head, moves, settlements, versions, aliases."""
    stores = Stores.open(load_config(folder / "retune.toml", environ={}))
    assert stores.ledger.verify("demo") == []
    kinds = [entry.kind for entry in stores.ledger.entries("demo") if entry.kind != "decision"]
    aliases = [stores.registry.alias("demo", name) for name in ("champion", "challenger", "previous")]
    return stores.ledger.head("demo"), kinds, stores.registry.versions("demo"), aliases


def blocked(cli: Cli, folder: Path, words: str, commands: tuple[str, ...] = ("check", "watch", "run")) -> None:
    before = production(folder)
    for command in commands:
        found = cli(*at(command, folder))
        assert found.code == 3, (command, found)
        assert words in found.out + found.err
        assert "Traceback" not in found.err
    assert production(folder) == before


def told(cli: Cli, folder: Path, words: str) -> None:
    before = production(folder)
    for command in ("check", "watch", "run"):
        found = cli(*at(command, folder))
        assert found.code == 0, (command, found)
        assert words in found.out
    assert production(folder) == before


# ── A1: columns ───────────────────────────────────────────────────────────────────────────────────
def without(name: str) -> Callable[[Columns], Columns]:
    return lambda c: {key: value for key, value in c.items() if key != name}


@pytest.mark.fault("A1")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("a"), "'a' is missing"),
        (lambda c: {("a_new" if key == "a" else key): value for key, value in c.items()}, "renamed to 'a_new'?"),
        (lambda c: c | {"a": [f"v{value:.3f}x" for value in c["a"]]}, "'a' was numbers and is string"),
        (without("y"), "the label column 'y' is missing"),
        (without("ts"), "rows.parquet has no column 'ts'"),
    ],
    ids=["missing", "renamed", "retyped", "no label", "no time"],
)
def test_a_column_that_matters_and_is_gone_blocks_and_is_named(
    cli: Cli, home: Path, change: Callable[[Columns], Columns], words: str
) -> None:
    write(home, change(columns()))
    blocked(cli, home, words)


@pytest.mark.fault("A1")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without("idle"), "'idle' is missing"),
        (lambda c: c | {"idle": ["text"] * ROWS}, "'idle' was numbers and is string"),
        (lambda c: c | {"extra": c["a"]}, "'extra' (double) is new and not used"),
        (lambda c: dict(reversed(c.items())), ""),
    ],
    ids=["missing", "retyped", "extra", "reordered"],
)
def test_a_column_that_does_not_matter_is_told_and_blocks_nothing(
    cli: Cli, home: Path, change: Callable[[Columns], Columns], words: str
) -> None:
    write(home, change(columns()))
    told(cli, home, words)


# ── A2: values ────────────────────────────────────────────────────────────────────────────────────
def late(name: str, value: float, share: float = 1.0) -> Columns:
    """Columns where a share of the newest days has another value."""
    c = columns()
    hit = LATE & (np.random.default_rng(0).uniform(size=ROWS) < share)
    return c | {name: np.where(hit, value, np.asarray(c[name], dtype=float))}


@pytest.mark.fault("A2")
@pytest.mark.parametrize(
    ("value", "share", "words"),
    [
        (np.nan, 1.0, "'a' has no value in"),
        (np.inf, 1.0, "of them infinite"),
        (-np.inf, 0.3, "of them infinite"),
        (1e308, 0.3, "'a' is far outside"),
        (5e-324, 1.0, "'a' is 4.941e-324 in all"),
        (0.0, 1.0, "'a' is 0 in all"),
    ],
)
def test_values_that_no_feed_should_hold_block_where_they_matter(
    cli: Cli, home: Path, value: float, share: float, words: str
) -> None:
    write(home, late("a", value, share))
    blocked(cli, home, words)
    write(home, late("idle", value, share))
    assert cli(*at("watch", home)).code == 0


@pytest.mark.fault("A2")
def test_a_model_learns_from_wild_values_without_ever_seeing_infinity(cli: Cli, tmp_path: Path) -> None:
    path, c = world(tmp_path, more=AGE_TRAINS), columns()
    values, chance = np.array(c["a"]), np.random.default_rng(1)
    for wild in (np.nan, np.inf, -np.inf, 1e308, 5e-324):
        values[chance.uniform(size=ROWS) < 0.03] = wild
    write(tmp_path, c | {"a": values, "empty": np.full(ROWS, np.nan), "constant": np.ones(ROWS)})
    assert cli(*at("bootstrap", tmp_path, BORN)).code == 0
    found = cli(*at("run", tmp_path, 131), "--json")
    assert found.code == 0
    assert found.json["outcome"] in ("promoted", "rejected", "inconclusive")  # by age: it was trained and judged
    config = load_config(path, environ={})
    stores = Stores.open(config)
    contract = stores.champion(day(132)).contract
    assert all(np.isfinite([c.low, c.high, c.median]).all() for c in contract.columns if c.low is not None)
    sane = next(v for v in found.json["verdicts"] if v["gate"] == "sane_predictions")
    assert sane["status"] == "PASS"


# ── A3: labels ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("A3")
def test_an_infinite_label_blocks_whether_it_is_watched_or_trained_on(cli: Cli, home: Path, tmp_path: Path) -> None:
    write(home, late("y", np.inf, 0.01))
    blocked(cli, home, "labels are not finite numbers")
    world(tmp_path / "new")
    c = columns()
    write(tmp_path / "new", c | {"y": np.where(np.arange(ROWS) == 3000, np.inf, c["y"])})
    found = cli(*at("bootstrap", tmp_path / "new", BORN))
    assert (found.code, "'y'" in found.err) == (3, True)


def binary(folder: Path, y: Callable[[np.ndarray], Any], metric: str = "log_loss") -> Path:
    path, c = world(folder, task="binary", metric=metric), columns(task="binary")
    write(folder, c | {"y": y(np.array(c["y"]))})
    return path


HELD_OUT = np.array([t >= day(86) for t in TIMES])
UNBORN = np.array([t >= day(BORN) for t in TIMES])


@pytest.mark.fault("A3")
@pytest.mark.parametrize("metric", ["log_loss", "roc_auc", "pr_auc"])
@pytest.mark.parametrize(
    ("y", "words"),
    [
        (lambda y: np.zeros(ROWS), "rows of train"),
        (lambda y: np.ones(ROWS), "hold no negatives"),
        (lambda y: np.where(HELD_OUT, 0.0, y), "rows of holdout"),
        (lambda y: np.where(np.arange(ROWS) == 3000, 2.0, y), "labels must be 0 or 1"),
    ],
    ids=["all 0", "all 1", "no positives in the holdout", "a third class"],
)
def test_one_class_or_a_third_makes_no_first_champion(
    cli: Cli, tmp_path: Path, metric: str, y: Callable[[np.ndarray], Any], words: str
) -> None:
    binary(tmp_path, y, metric)
    for command in ("check", "bootstrap"):
        found = cli(*at(command, tmp_path, BORN))
        assert found.code == 3
        assert words in found.out + found.err
    assert Stores.open(load_config(tmp_path / "retune.toml", environ={})).ledger.entries("demo") == []


@pytest.mark.fault("A3")
@pytest.mark.parametrize(("since", "code"), [(UNBORN, "age"), (LATE, "loss_rose")])
def test_without_positives_no_challenger_passes(cli: Cli, tmp_path: Path, since: np.ndarray, code: str) -> None:
    binary(tmp_path, lambda y: np.where(since, 0.0, y))
    assert cli(*at("bootstrap", tmp_path, BORN)).code == 0
    found = cli(*at("run", tmp_path, 130), "--json")
    assert (found.code, found.json["decision"]["reasons"][0]["code"]) == (0, code)
    if code == "loss_rose":  # the holdout of its challenger holds no positive at all
        assert found.json["outcome"] == "inconclusive"
        assert "LRR212" in [verdict["code"] for verdict in found.json["verdicts"]]
    assert found.json["champion"]["version"] == "1"


@pytest.mark.fault("A3")
def test_rows_without_any_label_teach_nothing(cli: Cli, tmp_path: Path) -> None:
    world(tmp_path)
    write(tmp_path, columns() | {"y": np.full(ROWS, np.nan)})
    found = cli(*at("bootstrap", tmp_path, BORN))
    assert (found.code, "has a label" in found.err) == (3, True)


# ── A4: sizes ─────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("A4")
@pytest.mark.parametrize("size", range(11))
def test_a_handful_of_rows_is_too_little_to_start_with_and_to_judge_by(
    cli: Cli, home: Path, tmp_path: Path, size: int
) -> None:
    world(tmp_path / "new")
    write(tmp_path / "new", {name: values[:size] for name, values in columns().items()})
    found = cli(*at("bootstrap", tmp_path / "new", BORN))
    assert found.code == 3
    assert ("not enough history" if size else "no rows") in found.err

    cut, stop = np.searchsorted([t.timestamp() for t in TIMES], [day(n).timestamp() for n in (100, 111)])
    few = np.r_[0:cut, stop : stop + size]
    write(home, {name: [values[i] for i in few] for name, values in columns().items()})
    found = cli(*at("run", home), "--json")
    assert (found.code, found.json["outcome"]) == ((0, "kept") if size else (3, "held"))  # none in 12 ticks: stale
    assert found.json["decision"]["reasons"][0]["code"] == ("too_few_rows" if size else "stale")


# ── A6: torn files ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("A6")
@pytest.mark.parametrize("sixteenth", range(16))
def test_a_torn_file_is_an_error_with_its_path(cli: Cli, home: Path, sixteenth: int) -> None:
    file = home / "rows.parquet"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) * sixteenth // 16])
    blocked(cli, home, "rows.parquet", ("check", "watch", "run") if sixteenth in (0, 8, 15) else ("watch",))


@pytest.mark.fault("A6")
@pytest.mark.parametrize("content", [b"", b"PAR2" + b"x" * 100 + b"PAR2", b"ts,y,a,b\n2024-01-01,1,2,3\n"])
def test_what_is_no_parquet_is_an_error_with_its_path(cli: Cli, home: Path, content: bytes) -> None:
    (home / "rows.parquet").write_bytes(content)
    blocked(cli, home, "rows.parquet")
    entries = Stores.open(load_config(home / "retune.toml", environ={})).ledger.entries("demo")
    assert not [entry for entry in entries if entry.kind == "decision"]  # nothing was seen, nothing is decided


# ── A8: the same event twice ──────────────────────────────────────────────────────────────────────
@pytest.mark.fault("A8")
def test_a_file_delivered_twice_blocks(cli: Cli, home: Path) -> None:
    c = columns()
    again = np.flatnonzero(LATE)
    write(home, {name: [*values, *(values[i] for i in again)] for name, values in c.items()})
    blocked(cli, home, "repeat another in time, label and every feature")


@pytest.mark.fault("A8")
def test_the_same_event_in_train_and_holdout_is_a_leak(cli: Cli, tmp_path: Path) -> None:
    path, c = world(tmp_path, more=AGE_TRAINS), columns()
    path.write_text(path.read_text().replace('label = "y"', 'label = "y"\nid = "event"'), encoding="utf-8")
    events = [f"e{i}" for i in range(ROWS)]
    write(tmp_path, c | {"event": [*events[:5500], events[2000], *events[5501:]]})
    for command in ("check", "bootstrap"):
        found = cli(*at(command, tmp_path, BORN))
        assert found.code == 3
        assert "holdout rows are events of train or valid: they share 'event'" in found.out + found.err
    write(tmp_path, c | {"event": events})
    assert cli(*at("bootstrap", tmp_path, BORN)).code == 0
    write(tmp_path, c | {"event": [*events[:7400], *events[3000:3200], *events[7600:]]})  # old events come once more
    found = cli(*at("run", tmp_path, 131))  # age asks for a challenger
    assert (found.code, "they share 'event'" in found.err) == (3, True)
    assert production(tmp_path)[2] == ["1"]


@pytest.mark.fault("A8")
def test_an_id_that_repeats_within_the_newest_ticks_blocks(cli: Cli, tmp_path: Path) -> None:
    path, c = world(tmp_path), columns()
    path.write_text(path.read_text().replace('label = "y"', 'label = "y"\nid = "event"'), encoding="utf-8")
    write(tmp_path, c | {"event": [f"e{i}" for i in range(ROWS)]})
    assert cli(*at("bootstrap", tmp_path, BORN)).code == 0
    write(tmp_path, c | {"event": [f"e{i // 2 if late else i}" for i, late in enumerate(LATE)]})
    blocked(cli, tmp_path, "repeat an id", ("watch", "run"))


# ── A10, A12: time ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("A10")
def test_rows_in_any_order_and_rows_of_the_future_change_no_decision(cli: Cli, home: Path) -> None:
    plain = cli(*at("watch", home), "--json").json["decision"]
    c = columns()
    order = np.random.default_rng(2).permutation(ROWS)
    shuffled = {name: [values[i] for i in order] for name, values in c.items()}
    shuffled["a"] = [1e9 if t >= day(NOW) else a for t, a in zip(shuffled["ts"], shuffled["a"], strict=True)]
    write(home, shuffled)
    assert cli(*at("watch", home), "--json").json["decision"] == plain


@pytest.mark.fault("A12")
def test_a_feed_that_stands_still_is_kept_with_a_reason_and_blocks_after_three_ticks(cli: Cli, home: Path) -> None:
    known = [i for i, t in enumerate(TIMES) if t < day(108)]
    old = {name: [values[i] for i in known] for name, values in columns().items()}
    write(home, old)
    seen = [cli(*at("run", home, n), "--json") for n in (108, 109, 110, 111, 112)]
    assert [found.code for found in seen] == [0, 0, 0, 3, 3]
    first = [found.json["decision"]["reasons"][0]["code"] for found in seen]
    assert first == ["as_promised", "stale", "stale", "stale", "stale"]
    assert [found.json["outcome"] for found in seen] == ["kept", "kept", "kept", "held", "held"]
    assert "no rows for 3 of 3 ticks" in seen[3].json["decision"]["reasons"][0]["text"]


@pytest.mark.fault("A12")
def test_three_empty_ticks_block_although_nobody_looked_meanwhile_and_the_same_day_again_is_no_news(
    cli: Cli, home: Path
) -> None:
    known = [i for i, t in enumerate(TIMES) if t < day(108)]
    again = [i for i in known if TIMES[i] >= day(107)]
    write(home, {name: [values[i] for i in [*known, *again]] for name, values in columns().items()})
    assert cli(*at("watch", home, 110)).code == 0
    assert cli(*at("watch", home, 111)).code == 3


# ── A14: names ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("A14", "G9")
def test_hostile_column_names_live_through_the_whole_loop_and_steer_nothing(cli: Cli, tmp_path: Path) -> None:
    world(tmp_path)
    c, noise = columns(), np.random.default_rng(3)
    carriers = {HOSTILE[0]: np.array(c["a"]), HOSTILE[1]: np.array(c["b"]), "a": c["kind"]}
    named = {name: noise.normal(size=ROWS) for name in HOSTILE} | carriers
    write(tmp_path, {"ts": c["ts"], "y": c["y"], **named})
    assert cli(*at("bootstrap", tmp_path, BORN)).code == 0
    found = cli(*at("run", tmp_path, 131), "--json")  # by age: everything that trains, judges and logs has run
    assert found.code == 0, found
    assert set(HOSTILE) <= {column["column"] for column in found.json["facts"]["drift"]}
    write(tmp_path, {"ts": c["ts"], "y": c["y"], "a": c["kind"]})
    for command in ("check", "watch"):
        gone = cli(*at(command, tmp_path, 135))
        assert gone.code == 3
        assert "\x1b" not in gone.out
        assert "##[" not in gone.out
        assert not [line for line in gone.out.splitlines() if line.startswith("::")]
        assert repr(HOSTILE[0]) in gone.out
