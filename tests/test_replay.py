"""The time machine: it decides what a live run decides, sees no future, and repeats."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lr_retune.config import Config, load_config
from lr_retune.errors import ConfigError, DataError
from lr_retune.metrics import loss_for
from lr_retune.records import Report
from lr_retune.replay import USUAL, Walk, instants, replay, tabulate, walk
from lr_retune.retune import bootstrap
from lr_retune.steps import load_model
from lr_retune.stores.promotion import Stores
from tests.worlds import day, rows, world, write

FAST = "[policy]\nmax_age = '14d'\n"  # so that a quiet stretch trains as well


def small(folder: Path, **shape: object) -> Config:
    """A world whose feed may come in several files."""
    path = world(folder, more=FAST, **shape)
    text = path.read_text(encoding="utf-8").replace("rows.parquet", "rows*.parquet").replace("points = 3", "points = 2")
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ={})


def decided(walked: Walk) -> list[tuple[str, str]]:
    return [(r.decision.id, r.outcome) if isinstance(r, Report) else (type(r).__name__, str(r)) for r in walked.reports]


TIMES = [day(at) for at in range(100, 149, 8)]


# ── it is the main path ───────────────────────────────────────────────────────────────────────────
def test_a_row_is_scored_by_the_model_that_was_champion_when_it_came(tmp_path: Path) -> None:
    config = small(tmp_path, changed=105)
    (found,) = walk(config, TIMES, ["always-ungated"])
    columns = rows(changed=105)
    when = np.array([t.timestamp() for t in columns["ts"]])
    served = [r.champion for r in found.reports if isinstance(r, Report)]
    assert [r.outcome for r in found.reports if isinstance(r, Report)] == ["promoted"] * (len(TIMES) - 2)
    assert len({c.model for c in served}) == len(served)
    loss, at = loss_for(config.metric), 0
    per_interval = []
    for start, end in pairwise(TIMES):
        count = int(((when >= start.timestamp()) & (when < end.timestamp())).sum())
        part = slice(at, at + count)
        assert np.array_equal(found.y[part], columns["y"][(when >= start.timestamp()) & (when < end.timestamp())])
        per_interval.append(loss.value(found.y[part], found.score[part]))
        at += count
    assert at == len(found.y)
    # trained on the changed world at last: the model promoted at a run time answers from that very time on
    assert per_interval[-1] < 0.65 * max(per_interval)


def test_the_first_rows_after_a_promotion_are_the_new_champions(tmp_path: Path) -> None:
    config = small(tmp_path, changed=105)
    times = [day(100), day(135), day(136)]
    frozen, fresh = walk(config, times, ["never", "always-ungated"])
    before = int((np.array([t < day(135) for t in rows(changed=105)["ts"] if day(100) <= t < day(136)])).sum())
    assert np.array_equal(frozen.score[:before], fresh.score[:before])
    assert not np.isclose(frozen.score[before:], fresh.score[before:]).any()


def test_labels_that_came_after_the_last_run_time_are_scored_too(tmp_path: Path) -> None:
    config = small(tmp_path, delay=10)
    (found,) = walk(config, [day(110), day(115), day(120)], ["never"])
    assert len(found.y) == sum(day(110) <= t < day(120) for t in rows()["ts"])
    assert not np.isnan(found.y).any()


def test_a_champion_that_is_met_again_is_not_read_again(tmp_path: Path) -> None:
    config = small(tmp_path)
    first, other = (
        stores.files(bootstrap(config, stores, at))
        for at, stores in ((at, Stores.in_memory(config)) for at in (day(100), day(110)))
    )
    copy = {name: bytes(bytearray(data)) for name, data in first.items()}  # other objects, the same content
    assert load_model(config, "lightgbm", first) is load_model(config, "lightgbm", copy)
    assert load_model(config, "lightgbm", first) is not load_model(config, "lightgbm", other)


# ── it sees no future ─────────────────────────────────────────────────────────────────────────────
def poison(folder: Path, cut: datetime) -> None:
    """What comes at or after ``cut``: other labels, other values, a file with another type and another column."""
    columns = rows(delay=3, changed=105)
    came = np.array([t.timestamp() for t in columns["ts"]]) >= cut.timestamp()
    known = np.array([t.timestamp() for t in columns["label_ts"]]) > cut.timestamp()
    columns["y"] = np.where(known, 1e5 - columns["y"], columns["y"])
    columns["b"] = np.where(came, -1e9, columns["b"])
    columns["kind"] = [
        f"new{i % 50}" if late else k for i, (k, late) in enumerate(zip(columns["kind"], came, strict=True))
    ]
    write(folder, columns)
    late = {"ts": [cut + timedelta(hours=1)], "label_ts": [cut + timedelta(days=1)], "y": [1.0], "a": ["text"]}
    write(folder, late | {"b": [1.0], "kind": ["x"], "extra": [True]}, "rows-late.parquet")


@pytest.mark.fault("C1", "A10")
def test_rows_and_labels_that_come_later_change_no_decision(tmp_path: Path) -> None:
    arms = ["always", "policy"]
    cut = TIMES[-3]
    clean = walk(small(tmp_path / "clean", changed=105, delay=3), TIMES, arms)
    config = small(tmp_path / "poisoned", changed=105, delay=3)
    poison(tmp_path / "poisoned", cut)
    poisoned = walk(config, TIMES, arms)
    upto = TIMES.index(cut)  # reports begin at the second run time
    for one, other in zip(clean, poisoned, strict=True):
        assert decided(one)[:upto] == decided(other)[:upto]
        assert decided(one)[upto:] != decided(other)[upto:]
        rows_before = sum(TIMES[0] <= t < cut for t in rows()["ts"])
        assert np.array_equal(one.score[:rows_before], other.score[:rows_before])


# ── the table ─────────────────────────────────────────────────────────────────────────────────────
def test_twice_the_same_is_the_same_table(tmp_path: Path) -> None:
    config = small(tmp_path, changed=105)
    first, again = (replay(config, day(100), day(124), ["always+grid", "policy"], every=8) for _ in range(2))
    assert first == again
    assert [row.name for row in first.policies] == ["always+grid", "policy"]


def test_the_table_counts_what_each_policy_did(tmp_path: Path) -> None:
    config = small(tmp_path, changed=105)
    found = replay(config, day(100), day(140), every=8)
    assert [each.name for each in found.policies] == list(USUAL)
    row = {each.name: each for each in found.policies}
    assert found.ticks == 5
    assert found.rows == sum(day(100) <= t < day(140) for t in rows()["ts"])
    assert (row["never"].retrains, row["never"].promotions, row["never"].cost.steps) == (0, 0, 0)
    assert {
        name: row[name].retrains for name in ("always", "always-ungated", "always+grid", "fixed-05")
    } == dict.fromkeys(("always", "always-ungated", "always+grid", "fixed-05"), 4)
    assert row["always-ungated"].promotions == 4 > row["always"].promotions
    fits = {name: row[name].cost.fits - row[name].promotions for name in row}  # what passed was fitted once more
    assert fits["always"] == fits["fixed-05"] == fits["always-ungated"] == 4
    assert fits["always+grid"] == 4 * config.search.points
    refits = 4 if row["always"].promotions == 0 else pytest.approx(4, abs=1.6 * row["always"].promotions)
    assert row["always"].refits_worth == refits  # the unit is its own refit, whoever walks beside it
    assert min(each.excess_pct for each in found.policies) == 0
    assert row["never"].excess_pct == pytest.approx((row["never"].loss / min(r.loss for r in found.policies) - 1) * 100)
    assert row["never"].excess_pct == max(each.excess_pct for each in found.policies) > 10


def test_the_fixed_rate_is_005_whatever_the_configured_range(tmp_path: Path) -> None:
    config = small(tmp_path, changed=105)
    (found,) = walk(config, TIMES[:4], ["fixed-05"])
    tried = {
        r.result.challenger.learning_rate
        for r in found.reports
        if isinstance(r, Report) and r.result and r.result.challenger
    }
    assert tried == {0.05}


def test_a_policy_walks_the_same_alone_and_among_others(tmp_path: Path) -> None:
    config = small(tmp_path, changed=105)
    times = TIMES[:4]
    together = {each.name: each for each in walk(config, times, ["always", "policy", "always-ungated"])}
    for name, among in together.items():
        (alone,) = walk(config, times, [name])
        assert decided(alone) == decided(among)
        assert np.array_equal(alone.score, among.score)


def test_a_run_time_that_ends_in_an_error_keeps_the_champion_and_is_counted(tmp_path: Path) -> None:
    config = small(tmp_path)
    columns = rows()
    bad = np.array([day(110) <= t < day(111) for t in columns["ts"]])
    columns["y"] = np.where(bad, np.inf, columns["y"])  # no label: nothing is trained on a window that holds it
    write(tmp_path, columns)
    times = [day(100), day(105), day(113), day(118)]
    (found,) = walk(config, times, ["always"])
    table = tabulate(config, [found])
    assert [type(r) for r in found.reports] == [Report, DataError]
    assert table.policies[0].errors == {"DataError": 1}
    assert table.policies[0].retrains == 1
    assert len(found.y) == sum(day(100) <= t < day(118) for t in columns["ts"]) - bad.sum()


def test_rows_whose_columns_broke_are_answered_and_scored(tmp_path: Path) -> None:
    config = small(tmp_path)
    columns = rows()
    early = {
        k: [v for v, t in zip(values, columns["ts"], strict=True) if t < day(110)] for k, values in columns.items()
    }
    late = {
        k: [v for v, t in zip(values, columns["ts"], strict=True) if t >= day(110)] for k, values in columns.items()
    }
    write(tmp_path, early)
    write(tmp_path, late | {"a": ["broken"] * len(late["a"])}, "rows-late.parquet")
    (found,) = walk(config, [day(100), day(105), day(115), day(120)], ["policy"])
    assert len(found.y) == sum(day(100) <= t < day(120) for t in columns["ts"])
    assert np.isfinite(found.score).all()
    assert [r.decision.action for r in found.reports if isinstance(r, Report)] == ["keep", "fix_feed"]


# ── what is refused ───────────────────────────────────────────────────────────────────────────────
def test_an_unknown_policy_is_refused_before_a_row_is_read(tmp_path: Path) -> None:
    config = small(tmp_path)
    (tmp_path / "rows.parquet").unlink()
    with pytest.raises(ConfigError, match="no replay policy named 'sometimes'"):
        replay(config, day(100), day(120), ["sometimes"])


def test_a_stretch_without_two_run_times_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at least two run times"):
        replay(small(tmp_path), day(100), day(105), every=8)


def test_a_stretch_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="0 labelled rows give no mae"):
        replay(small(tmp_path), day(161), day(170), ["never"], every=4)


def test_run_times_are_tick_starts_of_the_calendar(tmp_path: Path) -> None:
    config = small(tmp_path)
    zone = config.schedule.model_copy(update={"timezone": "Europe/Paris"})
    times = instants(config.model_copy(update={"schedule": zone}), day(88) + timedelta(hours=5), day(93), 1)
    assert times[0] == datetime(2024, 3, 28, 23, tzinfo=UTC)
    assert times[3] == datetime(2024, 3, 31, 22, tzinfo=UTC)  # the clocks went forward: a day of 23 hours
