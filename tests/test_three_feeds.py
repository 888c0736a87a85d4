"""Rows, labels and logged scores as production has them: apart, late, revised, and joined as they were known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune.config import Config, parse_config
from lr_retune.data import join
from lr_retune.data.feed import Feed
from lr_retune.errors import ConfigError, DataError
from lr_retune.plugins import load_feeds
from lr_retune.records import Logged, Span
from lr_retune.watch.serving import serving_faults
from tests.conftest import Answer
from tests.worlds import START, day, rows, write

HOUR = timedelta(hours=1)


def config(folder: Path, *, task: str = "binary", labels: dict[str, Any] | None = None, **data: Any) -> Config:
    raw: dict[str, Any] = {
        "config_version": 1,
        "name": "fraud",
        "task": task,
        "data": {"path": "rows.parquet", "time": "ts", "id": "tx", **data},
        "labels": {
            "path": "labels.parquet",
            "label": "fraud",
            "known_at": "seen",
            "max_delay": "10d",
            **(labels or {}),
        },
        "metric": {"name": "log_loss" if task == "binary" else "mae"},
    }
    return parse_config(raw, root=folder)


def feeds(folder: Path, labels: list[tuple[Any, Any, datetime]], count: int = 6, **more: Any) -> None:
    """Rows one a day from START, ids 0…; labels as (id, value, known at)."""
    write(
        folder,
        {"tx": list(range(count)), "ts": [day(i) + HOUR for i in range(count)], "a": [float(i) for i in range(count)]}
        | more,
    )
    key, value, known = zip(*labels, strict=True)
    write(folder, {"tx": list(key), "fraud": list(value), "seen": list(known)}, "labels.parquet")


def labels_at(made: Config, as_of: datetime, count: int = 6) -> list[float | None]:
    feed = Feed(made, load_feeds(made), as_of)
    table = feed.raw(feed.needed(), START, day(count))
    return [None if np.isnan(y) else y for y in feed.labels(table).y.tolist()]


# ── the as-of join ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("C2")
def test_a_label_is_what_was_known_then_and_the_last_valid_revision_wins(tmp_path: Path) -> None:
    feeds(
        tmp_path,
        [
            (0, 0.0, day(2)),
            (0, 1.0, day(5)),  # charged back later
            (1, 1.0, day(3)),
            (1, None, day(4)),  # an empty revision takes nothing back
            (1, 7.0, day(4)),  # nor does one that is no label
            (3, 0.0, day(6)),
        ],
    )
    made = config(tmp_path)
    assert labels_at(made, day(2) - HOUR)[:2] == [None, None]
    assert labels_at(made, day(2))[0] == 0.0
    assert labels_at(made, day(4) + HOUR)[:2] == [0.0, 1.0]
    assert labels_at(made, day(7)) == [1.0, 1.0, None, 0.0, None, None]


@pytest.mark.fault("C2")
def test_what_is_no_label_is_told_where_no_valid_one_came(tmp_path: Path) -> None:
    feeds(tmp_path, [(0, 7.0, day(2)), (1, 1.0, day(2))])
    made = config(tmp_path)
    feed = Feed(made, load_feeds(made), day(7))
    assert feed.labels(feed.raw(feed.needed(), START, day(6))).bad.tolist() == [True, False, False, False, False, False]


@pytest.mark.fault("C2")
def test_two_labels_of_one_time_are_counted_and_the_later_in_order_counts(tmp_path: Path) -> None:
    feeds(tmp_path, [(0, 0.0, day(2)), (0, 1.0, day(2)), (1, 0.0, day(1)), (1, 1.0, day(3)), (9, 1.0, day(3))])
    made = config(tmp_path)
    feed = Feed(made, load_feeds(made), day(7))
    found = feed.joined(Span(START, day(6)))
    assert found is not None
    assert (found.labels, found.strays, found.revised, found.conflicts) == (5, 1, 2, 1)
    assert labels_at(made, day(7))[:2] == [1.0, 1.0]


@given(
    revisions=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([0.0, 1.0, 2.0, None]), st.integers(0, 30)), max_size=30
    ),
    now=st.integers(0, 31),
)
def test_the_join_is_the_newest_valid_revision_by_definition(
    revisions: list[tuple[int, float | None, int]], now: int
) -> None:
    known = [r for r in revisions if r[2] <= now]
    table = pa.table(
        {
            "id": pa.array([r[0] for r in known], pa.int64()),
            "y": pa.array([r[1] for r in known], pa.float64()),
            "at": pa.array([day(r[2]) for r in known], pa.timestamp("us", "UTC")),
        }
    )
    latest = join.newest(table, "id", "at", join.usable(table.column("y"), "binary"))
    got = join.lookup(pa.array([0, 1, 2, 3, 4]), latest, "id", ["y"])["y"].to_pylist()
    for id in range(5):
        mine = [r for r in known if r[0] == id]
        valid = [r for r in mine if r[1] in (0.0, 1.0)]
        wanted = max(enumerate(valid or mine), key=lambda e: (e[1][2], e[0]), default=None)
        assert got[id] == (None if wanted is None else wanted[1][1])


@pytest.mark.parametrize("keys", [["0", "1", "2"], [0.0, 1.0, 2.0], [" 0", "1 ", "2"]])
def test_ids_of_another_type_are_the_same_ids(tmp_path: Path, keys: list[Any]) -> None:
    feeds(tmp_path, [(key, 1.0, day(3)) for key in keys])
    assert labels_at(config(tmp_path), day(7)) == [1.0, 1.0, 1.0, None, None, None]


BIG = 2**60


@pytest.mark.parametrize("kind", [pa.float64(), pa.decimal128(38, 0)])
def test_ids_that_cannot_be_told_apart_are_refused_and_not_joined(tmp_path: Path, kind: pa.DataType) -> None:
    """A database may hand out whole numbers as decimals, which are read as floats: neighbours become one."""
    count = [BIG + i for i in range(6)]
    feeds(
        tmp_path,
        [(key, float(i % 2), day(7)) for i, key in enumerate(count)],
        tx=pa.array(count).cast(kind, safe=False),
    )
    with pytest.raises(DataError, match="2\\^53"):
        labels_at(config(tmp_path), day(8))
    feeds(tmp_path, [(key, float(i % 2), day(7)) for i, key in enumerate(count)], tx=count)
    assert labels_at(config(tmp_path), day(8)) == [0.0, 1.0] * 3


def test_ids_that_are_bytes_are_told_apart(tmp_path: Path) -> None:
    keys = [bytes([200 + i]) * 16 for i in range(6)]  # no text: each byte would become the same sign
    feeds(tmp_path, [(key, float(i % 2), day(7)) for i, key in enumerate(keys)], tx=keys)
    assert labels_at(config(tmp_path), day(8)) == [0.0, 1.0] * 3
    feeds(tmp_path, [(key, 1.0, day(7)) for key in ("0", "1")], tx=[f"{i}".encode() for i in range(6)])
    assert labels_at(config(tmp_path), day(8))[:3] == [1.0, 1.0, None]


def test_a_key_of_another_name_and_a_column_of_the_label_s_name_in_the_rows(tmp_path: Path) -> None:
    """The label feed is the truth: what the rows call the same is neither label nor feature."""
    feeds(tmp_path, [(0, 1.0, day(2))], fraud=[0.0] * 6)
    write(tmp_path, {"which": [0], "fraud": [1.0], "seen": [day(2)]}, "labels.parquet")
    made = config(tmp_path, labels={"key": "which"})
    assert labels_at(made, day(7))[0] == 1.0
    assert list(Feed(made, load_feeds(made), day(7)).columns()) == ["a"]


@pytest.mark.fault("C1")
def test_the_horizon_follows_the_label_feed(tmp_path: Path) -> None:
    feeds(tmp_path, [(i, 0.0, day(i + 2)) for i in range(6)])
    made = config(tmp_path)
    assert Feed(made, load_feeds(made), day(4) + HOUR).horizon() == day(3)
    assert Feed(made, load_feeds(made), day(20)).horizon() == day(6)


def test_labels_of_no_row_block_only_as_nearly_all_there_is(tmp_path: Path) -> None:
    count = 40
    feeds(tmp_path, [(f"TX-{i}", 0.0, day(i) + 2 * HOUR) for i in range(count)], count=count)
    made = config(tmp_path)
    feed = Feed(made, load_feeds(made), day(count))
    contract = feed.learn(Span(START, day(20)))
    (fault,) = [f for f in feed.check(contract, Span(day(20), day(count)), {}, 0.01) if f.code == "unmatched_labels"]
    assert fault.matters
    assert "write ids alike" in fault.fix


def test_an_empty_label_feed_says_so(tmp_path: Path) -> None:
    feeds(tmp_path, [(0, 1.0, day(300))])
    made = config(tmp_path)
    with pytest.raises(DataError, match="the label feed brought no 'fraud' before"):
        Feed(made, load_feeds(made), day(7)).columns()


# ── rows that arrive late themselves ──────────────────────────────────────────────────────────────
@pytest.mark.fault("C1")
def test_a_row_exists_from_the_time_it_arrived(tmp_path: Path) -> None:
    arrived = [day(0) + 2 * HOUR, day(9), None, day(3) + 2 * HOUR, day(4) + 2 * HOUR, day(5) + 2 * HOUR]
    feeds(tmp_path, [(0, 1.0, day(2))], landed=arrived)
    made = config(tmp_path, available_time="landed")
    assert list(Feed(made, load_feeds(made), day(7)).columns()) == ["a"]
    for as_of, there in ((day(7), [0, 3, 4, 5]), (day(9), [0, 1, 3, 4, 5]), (day(3) + HOUR, [0])):
        feed = Feed(made, load_feeds(made), as_of)
        assert feed.raw(["a"], None, as_of).column("a").to_pylist() == [float(i) for i in there]
        assert len(feed.times(None, as_of)) == len(there)


# ── what the configuration refuses ────────────────────────────────────────────────────────────────
@pytest.mark.fault("B2")
@pytest.mark.parametrize(
    ("data", "labels", "told"),
    [
        ({"label": "y"}, {}, "data.label: must be left out where [labels] is a feed of its own"),
        ({"label_delay": "7d"}, {}, "data.label_delay: must be left out"),
        ({"label_time": "k"}, {}, "data.label_time: must be left out"),
        ({"id": None}, {}, "data.id: required, and missing: [labels] is joined by it"),
        ({}, {"known_at": None}, "labels.known_at: required, and missing"),
        ({}, {"path": None}, "labels.label: belongs to labels in a feed of their own"),
        ({}, {"table": "a", "query": "b"}, "labels: table and query exclude each other"),
    ],
)
def test_contradictions_between_feeds_are_refused(
    tmp_path: Path, data: dict[str, Any], labels: dict[str, Any], told: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        config(tmp_path, labels=labels, **data)
    assert told in str(refused.value)


# ── the loop on three feeds, by the real command line ─────────────────────────────────────────────
CONFIG = """\
config_version = 1
name = "apart"
task = "regression"
[data]
path = "rows.parquet"
time = "ts"
id = "id"
[labels]
{labels}
{more}
[window]
train = "60d"
valid = "14d"
holdout = "14d"
[model]
params = {{ num_leaves = 7, min_data_in_leaf = 20 }}
[metric]
name = "mae"
[search]
strategy = "fixed"
max_steps = 300
[watch]
drift = "native"
[gates]
min_rows = 200
"""
LABELS = 'path = "labels.parquet"\nlabel = "y"\nknown_at = "seen"\nmax_delay = "10d"'
PREDICTIONS = '[predictions]\npath = "served.parquet"\ntime = "at"\nscore = "score"\nversion = "version"'


def apart(folder: Path, days: int = 160, delay: int = 5, **shape: Any) -> dict[str, Any]:
    """A world whose labels lie in a file of their own and come ``delay`` days late; returns its rows with labels."""
    made = rows(days, **shape)
    n = len(made["ts"])
    made["id"] = [f"r{i}" for i in range(n)]
    order = np.random.default_rng(1).permutation(n)  # labels arrive in no order
    labels = {
        "id": [made["id"][i] for i in order],
        "y": [float(made["y"][i]) for i in order],
        "seen": [made["ts"][i] + timedelta(days=delay) for i in order],
    }
    write(folder, {name: column for name, column in made.items() if name != "y"})
    write(folder, labels, "labels.parquet")
    return made


def served(folder: Path, made: dict[str, Any], since: int, until: int, version: str, twist: float = 0.0) -> None:
    """What production logged: the champion's scores of the days [since, until), each ``twist`` off."""
    from lr_retune.config import load_config
    from lr_retune.steps import load_model
    from lr_retune.stores.promotion import Stores

    loaded = load_config(folder / "retune.toml")
    stores = Stores.open(loaded)
    champion = stores.champion(day(until))
    which = [i for i, at in enumerate(made["ts"]) if day(since) <= at < day(until)]
    feed = Feed(loaded, load_feeds(loaded), day(until))
    x = feed.rows(champion.contract, Span(day(since), day(until))).x
    score = load_model(loaded, champion.family, stores.files(champion)).predict(x) + twist
    found = {"id": [made["id"][i] for i in which], "at": [made["ts"][i] for i in which], "score": score.tolist()}
    write(folder, {**found, "version": [version] * len(which)}, "served.parquet")


@pytest.mark.fault("C1", "C2")
def test_labels_in_a_second_file_drive_the_whole_loop(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    """The same world with its labels in the rows decides the same."""
    made = apart(tmp_path / "apart", changed=120)
    (tmp_path / "apart" / "retune.toml").write_text(CONFIG.format(labels=LABELS, more=""))
    together = {name: column for name, column in made.items() if name != "id"}
    write(tmp_path / "together", together | {"id": made["id"], "seen": [t + timedelta(days=5) for t in made["ts"]]})
    text = CONFIG.format(labels='max_delay = "10d"', more="")
    text = text.replace('id = "id"', 'id = "id"\nlabel = "y"\nlabel_time = "seen"')
    (tmp_path / "together" / "retune.toml").write_text(text)
    answers = []
    for name in ("apart", "together"):
        here = ("-c", tmp_path / name / "retune.toml", "--json")
        assert cli("bootstrap", *here, "--as-of", day(110).isoformat()).code == 0
        found = cli("run", *here, "--as-of", day(150).isoformat())
        assert found.code == 0, found.err
        answers.append(found.json)
    apart_, together_ = answers
    assert apart_["outcome"] == together_["outcome"] == "promoted"
    assert apart_["facts"]["loss"] == together_["facts"]["loss"]
    assert apart_["challenger"]["loss"] == together_["challenger"]["loss"]


def test_logged_scores_that_the_champion_would_not_give_hold_the_run(
    tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    made = apart(tmp_path)
    (tmp_path / "retune.toml").write_text(CONFIG.format(labels=LABELS, more=PREDICTIONS))
    here = ("-c", tmp_path / "retune.toml", "--json")
    write(tmp_path, {"id": ["x"], "at": [day(0)], "score": [0.0], "version": ["0"]}, "served.parquet")
    assert cli("bootstrap", *here, "--as-of", day(110).isoformat()).code == 0
    now = ("--as-of", day(120).isoformat())
    served(tmp_path, made, 110, 120, "1")
    right = cli("watch", *here, *now)
    assert right.code == 0, right.err
    assert [f["code"] for f in right.json["facts"]["faults"]] == ["unlogged_scores"]  # the days before the champion
    served(tmp_path, made, 110, 120, "7", twist=1.0)  # another version's scores are no skew
    assert cli("watch", *here, *now).code == 0
    served(tmp_path, made, 110, 120, "1", twist=1.0)
    wrong = cli("watch", *here, *now)
    assert wrong.code == 3
    assert wrong.json["decision"]["action"] == "fix_feed"
    assert "logged scores are not what the champion says of these rows: 1 apart" in str(wrong.json["decision"])


def skewed(logged: np.ndarray, again: np.ndarray) -> bool:
    found = Logged(logged, np.zeros(len(logged), dtype=np.int64))
    return "serving_skew" in [f.code for f in serving_faults(found, again, np.ones(len(again), dtype=bool), 200)]


def test_a_log_that_rounds_is_no_skew_and_hides_none() -> None:
    rng = np.random.default_rng(0)
    rare, counts = rng.beta(0.2, 20, 5000), rng.gamma(2, 1, 5000)
    assert [d for d in range(2, 8) if skewed(np.round(rare, d), rare)] == []
    assert not skewed(np.round(rare, 3).astype(np.float32).astype(np.float64), rare)
    assert not skewed(np.round(counts), counts)
    wrong = [np.round(rare + 0.005, 3), np.round(100 * rare, 1), np.round(rng.permutation(rare), 3), np.zeros(5000)]
    assert all(skewed(each, rare) for each in wrong)
    assert skewed((rare > 0.05).astype(np.float64), rare)  # the decision in place of the score


def test_without_versions_a_champion_has_a_tick_to_be_loaded(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    made = apart(tmp_path)
    (tmp_path / "retune.toml").write_text(CONFIG.format(labels=LABELS, more=PREDICTIONS.replace("version =", "# ")))
    here = ("-c", tmp_path / "retune.toml", "--json")
    write(tmp_path, {"id": ["x"], "at": [day(0)], "score": [0.0], "version": ["0"]}, "served.parquet")
    assert cli("bootstrap", *here, "--as-of", day(110).isoformat()).code == 0
    served(tmp_path, made, 110, 120, "1")
    logged = pq.read_table(tmp_path / "served.parquet").to_pydict()
    before = [i for i, at in enumerate(logged["at"]) if at < day(110) + 6 * HOUR]
    logged["score"] = [s + 1.0 if i in before else s for i, s in enumerate(logged["score"])]  # by the model before
    write(tmp_path, logged, "served.parquet")
    assert cli("watch", *here, "--as-of", day(116).isoformat()).code == 0
    served(tmp_path, made, 110, 120, "1", twist=1.0)
    assert cli("watch", *here, "--as-of", day(117).isoformat()).code == 3


@pytest.mark.fault("C3")
def test_labels_that_come_with_the_score_are_told(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    """What the model would block gets no label: the loss on the rest flatters it."""
    made = apart(tmp_path, task="regression")
    (tmp_path / "retune.toml").write_text(CONFIG.format(labels=LABELS, more=""))
    here = ("-c", tmp_path / "retune.toml", "--json")
    assert cli("bootstrap", *here, "--as-of", day(110).isoformat()).code == 0
    kept = [i for i, (at, a) in enumerate(zip(made["ts"], made["a"], strict=True)) if at < day(100) or a < 0.5]
    labels = {"id": [made["id"][i] for i in kept], "y": [float(made["y"][i]) for i in kept]}
    write(tmp_path, labels | {"seen": [made["ts"][i] + timedelta(days=5) for i in kept]}, "labels.parquet")
    found = cli("watch", *here, "--as-of", day(135).isoformat())
    told = [f for f in found.json["facts"]["faults"] if f["code"] == "selective_labels"]
    assert told
    assert not told[0]["matters"]
    assert "rows with one score lower" in told[0]["what"]


def test_without_labels_a_person_is_asked_once_and_nothing_trains(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    made = rows(220)
    labelled = day(110)
    made["y"] = [float(y) if at < labelled else None for y, at in zip(made["y"], made["ts"], strict=True)]
    made["a"] = [a + (3.0 if at >= day(135) else 0.0) for a, at in zip(made["a"], made["ts"], strict=True)]
    made["id"] = [f"r{i}" for i in range(len(made["ts"]))]
    write(tmp_path, made)
    text = CONFIG.format(labels='mode = "none"', more="").replace('id = "id"', 'id = "id"\nlabel = "y"')
    (tmp_path / "retune.toml").write_text(text)
    here = ("-c", tmp_path / "retune.toml", "--json")
    assert cli("bootstrap", *here, "--as-of", labelled.isoformat()).code == 0
    seen = {}
    for n in (120, 138, 139, 145, 175, 176):
        found = cli("run", *here, "--as-of", day(n).isoformat())
        reason = found.json["decision"]["reasons"][0]["code"]
        seen[n] = (found.code, found.json["decision"]["action"], reason)
    assert seen[120] == (0, "keep", "unlabelled")
    assert seen[138] == (10, "ask", "suspicion")
    assert seen[139] == seen[145] == (0, "keep", "unlabelled")  # asked once
    assert seen[175][:2] == (10, "ask")  # and again after max_age
    assert seen[176] == (0, "keep", "unlabelled")
    write(tmp_path, {name: column for name, column in made.items() if name != "y"})  # the old labels are archived
    assert cli("run", *here, "--as-of", day(180).isoformat()).code == 0
    assert cli("check", *here, "--as-of", day(180).isoformat()).code == 0
    search = cli("search", *here, "--as-of", day(180).isoformat())
    assert search.code == 3
    assert 'mode = "none"' in search.err
