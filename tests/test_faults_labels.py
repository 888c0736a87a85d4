"""Labels as production has them, late, revised and in conflict, do not alarm, train or flatter anybody."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from lr_retune.config import Config, load_config
from lr_retune.data.feed import Feed
from lr_retune.plugins import load_plugins
from lr_retune.records import Champion, Plan, Span
from lr_retune.retune import first_model, retune, watch
from lr_retune.stores.promotion import Stores
from lr_retune.watch.baselines import always_search
from tests.worlds import CONFIG, START, day, rows, write

BORN, WEEKS = 130, (137, 144, 151, 158)
LONGEST = 15  # days until every label is known


class Late(NamedTuple):
    """A stream whose labels come late, by class."""

    folder: Path
    config: Config
    label: np.ndarray  # the truth
    event: np.ndarray  # days since START
    known: np.ndarray  # days since START

    def share(self, start: float, end: float, known_by: float | None = None) -> float:
        """Positives among rows with start <= event < end; of the labels known by then, if asked."""
        within = (self.event >= start) & (self.event < end)
        if known_by is not None:
            within &= self.known <= known_by
        return float(self.label[within].mean())


def late(folder: Path, first: str) -> Late:
    """One world where nothing changes; the labels of class ``first`` come days before the others."""
    columns = rows(160, task="binary", seed=3)
    truth, event = np.asarray(columns["y"]), np.array([(t - START) / timedelta(days=1) for t in columns["ts"]])
    rng = np.random.default_rng(4)
    rare = (truth == 0) | (rng.uniform(size=len(truth)) < 0.3)
    columns = {name: [v for v, kept in zip(values, rare, strict=True) if kept] for name, values in columns.items()}
    truth, event = truth[rare], event[rare]
    quick = truth == (1 if first == "positives" else 0)
    delay = np.where(quick, rng.exponential(2, len(truth)), 6 + rng.exponential(4, len(truth))).clip(0.05, LONGEST)
    columns["label_ts"] = [t + timedelta(days=float(d)) for t, d in zip(columns["ts"], delay, strict=True)]
    write(folder, columns)
    # The quorum counts rows: were positives rarer than 1 - quorum and came last, a tick would count without them.
    more = '[labels]\nquorum = 1.0\nmax_delay = "15d"\n[policy]\nmax_age = "300d"\nmin_positives = 5\n'
    text = CONFIG.format(task="binary", metric="log_loss", clock='label_time = "label_ts"', more=more)
    path = folder / "retune.toml"
    path.write_text(text.replace("[gates]\n", "[gates]\nmin_positives = 5\n"), encoding="utf-8")
    return Late(folder, load_config(path, environ={}), truth, event, event + delay)


def born(config: Config, at: int = BORN) -> tuple[Stores, Champion, Plan]:
    stores = Stores.in_memory(config)
    made = first_model(config, stores, day(at))
    return stores, stores.bootstrap(*made), made[0]


@pytest.mark.fault("C1")
@pytest.mark.parametrize("first", ["positives", "negatives"])
def test_in_the_simulated_stream_the_newest_known_labels_lie(tmp_path: Path, first: str) -> None:
    """What the two tests below guard against is there: newest known labels have another share than the truth."""
    stream = late(tmp_path, first)
    truth, seen = stream.share(100, 158), stream.share(152, 158, known_by=158)
    assert seen > 2 * truth if first == "positives" else seen < truth / 2


@pytest.mark.fault("C1")
@pytest.mark.parametrize("first", ["positives", "negatives"])
def test_late_labels_of_one_class_raise_no_alarm_and_change_no_loss(tmp_path: Path, first: str) -> None:
    stream = late(tmp_path, first)
    stores, _, _ = born(stream.config)
    for now in WEEKS:
        found = watch(stream.config, stores, day(now))
        assert found.decision.action == "keep", found.decision
        assert found.facts.horizon is not None
        assert found.facts.horizon <= day(now - 6)
        counted = [tick for tick in found.facts.ticks if tick.mature]
        assert all(tick.end <= found.facts.horizon and tick.matured == tick.rows for tick in counted)
        assert found.facts.matured_rows == sum(tick.rows for tick in counted) > 0


@pytest.mark.fault("C1")
@pytest.mark.parametrize("first", ["positives", "negatives"])
def test_no_row_of_an_immature_tick_is_trained_or_judged_on(tmp_path: Path, first: str) -> None:
    stream = late(tmp_path, first)
    stores, _, _ = born(stream.config)
    found = retune(stream.config, stores, day(158), policy=always_search)
    assert found.plan is not None
    assert found.facts.horizon is not None
    assert found.plan.holdout.end <= found.plan.horizon == found.facts.horizon <= day(158 - 6)
    feed = Feed(stream.config, load_plugins(stream.config).feeds, day(158))
    for span in (found.plan.train, found.plan.valid, found.plan.holdout):
        start, end = ((edge - START) / timedelta(days=1) for edge in (span.start, span.end))
        used = feed.rows(found.plan.contract, span).labelled()
        assert used.y.mean() == stream.share(start, end)  # every label is there, so the share is the truth


# ── revised, repeated, in conflict ────────────────────────────────────────────────────────────────
Label = tuple[str, float | None, Any]


def told(folder: Path, *, messy: bool) -> Config:
    """Rows and, three days later, their labels in a feed of their own; ``messy``: with all that happens to labels."""
    columns = rows(120, seed=5)
    y, when = columns.pop("y"), columns["ts"]
    columns["tx"] = [f"t{i}" for i in range(len(when))]
    write(folder, columns)
    labels: list[Label] = [
        (id, float(v), t + timedelta(days=3)) for id, v, t in zip(columns["tx"], y, when, strict=True)
    ]
    if messy:
        labels = shuffled([*labels, *mess(labels)])
    ids, values, known = zip(*labels, strict=True)
    write(folder, {"tx": list(ids), "amount": list(values), "known": list(known)}, "labels.parquet")
    text = CONFIG.format(task="regression", metric="mae", clock="", more="")
    text = text.replace('label = "y"\n', 'id = "tx"\n')
    where = '[labels]\npath = "labels.parquet"\nlabel = "amount"\nknown_at = "known"\nmax_delay = "10d"\n'
    (folder / "retune.toml").write_text(text + where, encoding="utf-8")
    return load_config(folder / "retune.toml", environ={})


def mess(labels: list[Label]) -> list[Label]:
    """Repeats, first guesses, empty or infinite revisions, labels of nobody, and revisions from the future."""
    rng = np.random.default_rng(6)
    more: list[Label] = []
    for id, value, known in labels:
        kind = rng.choice(["none", "repeat", "guess", "empty", "infinite", "stray", "future"])
        hour = timedelta(hours=1)
        more += {
            "repeat": [(id, value, known)],
            "guess": [(id, 1e3, known - hour)],
            "empty": [(id, None, known + hour)],
            "infinite": [(id, float("inf"), known + hour)],
            "stray": [(f"nobody-{id}", 5.0, known)] if rng.uniform() < 0.1 else [],
            "future": [(id, -1e6, day(111))],
        }.get(str(kind), [])
    return more


def shuffled(labels: list[Label]) -> list[Label]:
    return [labels[i] for i in np.random.default_rng(7).permutation(len(labels))]


@pytest.mark.fault("C2")
def test_repeats_guesses_and_empty_revisions_give_the_same_model_to_the_byte(tmp_path: Path) -> None:
    made = []
    for name in ("clean", "messy"):
        (tmp_path / name).mkdir()
        _, champion, plan = born(told(tmp_path / name, messy=name == "messy"), at=110)
        made.append((champion.model, champion.promised, plan.digest, plan.horizon))
    assert made[0] == made[1]


@pytest.mark.fault("C2")
def test_a_revision_counts_from_the_time_it_became_known_and_is_told(tmp_path: Path) -> None:
    config = told(tmp_path, messy=True)
    stores, _, plan = born(config, at=110)
    plugins = load_plugins(config)
    before, after = (
        Feed(config, plugins.feeds, day(now)).rows(plan.contract, Span(day(90), day(100))).labelled().y
        for now in (110, 112)
    )
    assert before.min() > -100  # what is revised on day 111 is not known before
    assert (after == -1e6).any()
    said = [fault.what for fault in watch(config, stores, day(112)).facts.faults]
    assert any("had their label changed" in what for what in said), said


@pytest.mark.fault("C2")
def test_two_labels_of_one_row_at_one_time_are_told(tmp_path: Path) -> None:
    config = told(tmp_path, messy=False)
    stores, _, _ = born(config, at=110)
    labels = pq.read_table(tmp_path / "labels.parquet").to_pydict()
    fresh = [i for i, known in enumerate(labels["known"]) if known >= day(108)]
    twice = {name: [*values, *(values[i] for i in fresh)] for name, values in labels.items()}
    twice["amount"][-len(fresh) :] = [0.0] * len(fresh)
    write(tmp_path, twice, "labels.parquet")
    said = [fault.what for fault in watch(config, stores, day(112)).facts.faults]
    assert any("at the same time" in what for what in said), said


@pytest.mark.fault("C2")
def test_old_labels_that_are_delivered_once_more_hold_nothing(tmp_path: Path) -> None:
    config = told(tmp_path, messy=False)
    stores, _, _ = born(config, at=110)
    labels = pq.read_table(tmp_path / "labels.parquet").to_pydict()
    old = [i for i, known in enumerate(labels["known"]) if known < day(90)]
    again = {name: [*values, *(values[i] for i in old)] for name, values in labels.items()}
    again["known"][-len(old) :] = [day(111)] * len(old)  # most labels that arrive are those of rows long past
    write(tmp_path, again, "labels.parquet")
    found = watch(config, stores, day(112))
    assert found.decision.action == "keep", found.decision
    assert [fault.code for fault in found.facts.faults] == []
