"""The main path, end to end: it retunes where that is worth it, sees no future, and repeats to the byte."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lr_retune.config import Config, load_config
from lr_retune.errors import DependencyError
from lr_retune.records import canonical
from lr_retune.retune import bootstrap, retune, watch
from lr_retune.stores.ledger import Ledger
from lr_retune.stores.memory import MemoryRegistry
from lr_retune.stores.models import MemoryModels
from lr_retune.stores.promotion import Stores
from lr_retune.watch.baselines import always, always_search
from tests.worlds import day, rows, world, write


def started(path: Path, at: int = 100) -> tuple[Config, Stores]:
    config = load_config(path, environ={})
    stores = Stores.in_memory(config)
    bootstrap(config, stores, day(at))
    return config, stores


def test_a_quiet_feed_is_kept(tmp_path: Path) -> None:
    config, stores = started(world(tmp_path))
    found = retune(config, stores, day(115))
    assert (found.outcome, found.decision.action) == ("kept", "keep")
    assert found.decision.reasons[0].code == "as_promised"
    assert found.champion == stores.champion(day(116))


def test_a_changed_world_is_retuned_and_the_better_model_promoted(tmp_path: Path) -> None:
    config, stores = started(world(tmp_path, changed=100))
    before = stores.champion(day(100))
    outcomes = [retune(config, stores, day(at)) for at in range(104, 150, 4)]
    promoted = [found for found in outcomes if found.outcome == "promoted"]
    assert promoted
    assert promoted[0].decision.reasons[0].code == "loss_rose"
    assert stores.champion(day(151)).model != before.model
    assert promoted[0].judgement is not None
    assert promoted[0].judgement.losses["challenger"] < promoted[0].judgement.losses["champion"]


def test_watch_records_and_changes_nothing(tmp_path: Path) -> None:
    config, stores = started(world(tmp_path, changed=100))
    before = stores.champion(day(110))
    found = watch(config, stores, day(112))
    assert found.decision.action in ("refit", "search")
    assert stores.champion(day(113)) == before
    assert [d.id for d in stores.history(day(113)).decisions] == [found.decision.id]


def test_every_decision_that_trains_has_a_control_and_a_fixed_arm(tmp_path: Path) -> None:
    config, stores = started(world(tmp_path))
    found = retune(config, stores, day(115), policy=always_search)
    assert found.result is not None
    assert {trial.role for trial in found.result.trials} == {"candidate", "control", "fixed"}
    assert found.judgement is not None
    assert set(found.judgement.losses) == {"champion", "challenger", "control", "fixed"}
    losses, gains = found.judgement.losses, found.judgement.attribution
    assert gains["total"] == pytest.approx(1 - losses["challenger"] / losses["champion"])
    assert gains["total"] == pytest.approx((gains["data"] or 0) + (gains["rate"] or 0))


def test_the_same_run_twice_is_one_decision_and_one_promotion(tmp_path: Path) -> None:
    config, stores = started(world(tmp_path, changed=100))
    first, again = (retune(config, stores, day(116), policy=always) for _ in range(2))
    assert first.decision.id == again.decision.id
    assert first.outcome == again.outcome
    assert stores.ledger.verify(config.name) == []
    assert len(stores.ledger.promotions(config.name)) == 1 + (first.outcome == "promoted")


# ── nothing reads the future ──────────────────────────────────────────────────────────────────────
def poisoned(folder: Path, as_of: datetime) -> None:
    """What arrives at or after ``as_of``: flipped labels, infinite features, an extra column in a later file."""
    columns = rows(delay=5, changed=100)
    when = np.array([t.timestamp() for t in columns["ts"]])
    known = np.array([t.timestamp() for t in columns["label_ts"]])
    cut = as_of.timestamp()
    columns["y"] = np.where(known > cut, -1e6 - columns["y"], columns["y"])
    columns["a"] = np.where(when >= cut, np.inf, columns["a"])
    write(folder, columns)
    later = {
        "ts": [as_of + timedelta(days=1)],
        "label_ts": [as_of + timedelta(days=2)],
        "y": [1e9],
        "a": ["text"],
        "b": [1.0],
        "kind": ["new"],
        "extra": [1.0],
    }
    write(folder, later, "rows-later.parquet")


@pytest.mark.fault("C1", "A10")
def test_rows_and_labels_that_arrive_later_change_not_one_byte(tmp_path: Path) -> None:
    as_of, seen = day(117), []
    for name in ("clean", "poisoned"):
        path = world(tmp_path / name, delay=5, changed=100)
        path.write_text(path.read_text().replace("rows.parquet", "rows*.parquet"), encoding="utf-8")
        if name == "poisoned":
            poisoned(tmp_path / name, as_of)
        config, stores = started(path, at=106)
        found = retune(config, stores, as_of, policy=always_search)
        assert found.judgement is not None
        seen.append([e.digest for e in stores.ledger.entries(config.name)] + [canonical(found)])
    assert seen[0] == seen[1]


# ── same inputs, same bytes ───────────────────────────────────────────────────────────────────────
SCRIPT = """
import json, sys
from lr_retune.config import load_config
from lr_retune.records import canonical
from lr_retune.retune import bootstrap, retune
from lr_retune.stores.promotion import Stores
from lr_retune.watch.baselines import always_search
from lr_retune.report.plots import rate_plot
from datetime import UTC, datetime
config = load_config(sys.argv[1], environ={})
stores = Stores.in_memory(config)
first = bootstrap(config, stores, datetime(2024, 4, 10, tzinfo=UTC))
found = retune(config, stores, datetime(2024, 4, 25, tzinfo=UTC), policy=always_search)
print(json.dumps([first.model, found.result.challenger.model, canonical(found), rate_plot(found.result.trials, 0.1)]
    + [entry.digest for entry in stores.ledger.entries(config.name)]))
"""


@pytest.mark.fault("D5")
def test_two_folders_two_time_zones_and_two_hash_seeds_give_the_same_bytes(tmp_path: Path) -> None:
    answers = []
    for folder, zone, seed in (("one", "UTC", "1"), ("two/deep", "Pacific/Chatham", "2")):
        path = world(tmp_path / folder)
        environ = os.environ | {"TZ": zone, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(path)],
            env=environ,
            cwd=path.parent,
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(json.loads(done.stdout))
    assert answers[0] == answers[1]


def test_labels_that_come_late_move_the_horizon_not_the_rows(tmp_path: Path) -> None:
    config, stores = started(world(tmp_path, delay=7), at=110)
    found = watch(config, stores, day(120))
    assert found.facts.horizon == day(113)
    assert found.facts.rows > found.facts.matured_rows > 0


def test_a_parquet_file_written_in_another_order_gives_the_same_answer(tmp_path: Path) -> None:
    plain, shuffled = world(tmp_path / "plain"), world(tmp_path / "shuffled")
    table = pq.read_table(shuffled.parent / "rows.parquet")
    order = np.random.default_rng(1).permutation(len(table))
    pq.write_table(table.take(pa.array(order)), shuffled.parent / "rows.parquet")
    assert started(plain)[1].champion(day(101)).model == started(shuffled)[1].champion(day(101)).model


# ── what a second reading found ───────────────────────────────────────────────────────────────────
def changed(path: Path, *pairs: tuple[str, str]) -> Config:
    text = path.read_text(encoding="utf-8")
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ={})


def test_a_promise_is_measured_again_when_the_metric_changes(tmp_path: Path) -> None:
    path = world(tmp_path)
    config, stores = started(path)
    before = watch(config, stores, day(115)).facts.loss
    after = watch(changed(path, ('name = "mae"', 'name = "rmse"')), stores, day(115)).facts.loss
    assert before is not None
    assert after is not None
    assert after.promised > 1.1 * before.promised  # a root mean square is above a mean absolute error
    assert not after.alarm


def test_an_excluded_column_is_given_up_with_the_next_challenger(tmp_path: Path) -> None:
    path = world(tmp_path)
    _, stores = started(path)
    config = changed(path, ('label = "y"', 'label = "y"\nexclude = ["b"]'))
    found = retune(config, stores, day(115), policy=always)
    assert found.result is not None
    assert found.result.challenger is not None
    assert set(found.result.challenger.importance) == {"a", "kind"}


def test_a_fault_of_a_day_on_which_nobody_looked_is_found_at_the_next_look(tmp_path: Path) -> None:
    path = world(tmp_path)
    columns = rows()
    broken = np.array([day(110) <= t < day(111) for t in columns["ts"]])
    columns["a"] = np.where(broken, columns["a"] * 1000, columns["a"])
    write(tmp_path, columns)
    config, stores = started(path)
    assert watch(config, stores, day(109)).decision.action == "keep"
    late = watch(config, stores, day(113))
    assert late.decision.action == "fix_feed"
    assert "'a'" in late.decision.reasons[0].text


class Away(MemoryRegistry):
    """A registry that does not answer when a model is registered."""

    away = False

    def register(self, *words: Any) -> Any:
        if self.away:
            raise DependencyError("the registry does not answer")
        return super().register(*words)


def settles(config: Config, stores: Stores, at: int) -> bool:
    try:
        return bool(retune(config, stores, day(at), policy=always).decision)
    except DependencyError:
        return False


@pytest.mark.fault("F-1")
def test_a_challenger_that_passed_while_the_registry_was_away_is_promoted_when_it_is_back(tmp_path: Path) -> None:
    config = load_config(world(tmp_path, changed=100), environ={})
    registry = Away()
    stores = Stores(Ledger("sqlite://"), registry, MemoryModels(), config)
    first = bootstrap(config, stores, day(100))
    registry.away = True
    at = next(at for at in range(116, 160, 8) if not settles(config, stores, at))  # until a challenger passes
    assert stores.champion(day(at + 1)) == first
    registry.away = False
    assert any("was finished" in note for note in stores.reconcile())
    assert stores.champion(day(at + 1)).model != first.model
    assert stores.ledger.verify(config.name) == []


@pytest.mark.fault("H5")
def test_a_rollback_is_followed_by_a_cooldown(tmp_path: Path) -> None:
    config, stores = started(world(tmp_path, changed=100))
    at = 112
    while retune(config, stores, day(at), policy=always).outcome != "promoted":
        at += 4
    stores.rollback(None, "ops", "it felt wrong", day(at + 1), lambda _files: True)
    assert watch(config, stores, day(at + 2)).decision.reasons[0].code in ("cooldown", "no_evidence")
