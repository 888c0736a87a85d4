"""The commands of every day: pause and resume, prune, status of many models, shell completion."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_retune.config import load_config
from lr_retune.errors import DependencyError, HeldError
from lr_retune.records import TRAINING_ACTIONS, Fault, History
from lr_retune.stores.memory import MemoryRegistry
from lr_retune.stores.mlflow import MLflowRegistry
from lr_retune.stores.models import FileModels
from lr_retune.stores.pauses import pause, resume
from lr_retune.stores.promotion import Stores, models_folder
from lr_retune.stores.prune import prune, waste
from lr_retune.watch.policy import decide
from lr_retune.watch.reasons import REASONS
from tests.conftest import Answer
from tests.test_policy import BROKEN, NOW, RECENT, STALE, config, facts, settled
from tests.worlds import day, world

spec = importlib.util.spec_from_file_location("daily_rig", Path(__file__).with_name("store_rig.py"))
assert spec is not None
assert spec.loader is not None
rig = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rig)

Cli = Callable[..., Answer]
DAY = timedelta(days=1)
BORN, RETUNED = day(100), day(106)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a champion of a sound world; its next run trains, for age."""
    from lr_retune.retune import bootstrap

    folder = tmp_path_factory.mktemp("lived")
    loaded = load_config(world(folder, more='[policy]\nmax_age = "7d"'), environ={})
    bootstrap(loaded, Stores.open(loaded), BORN)
    return folder


def stores_of(folder: Path) -> Stores:
    return Stores.open(load_config(folder / "retune.toml", environ={}))


# ── pause ─────────────────────────────────────────────────────────────────────────────────────────
HELD = {"paused_until": NOW + 5 * DAY, "paused_by": "ann", "paused_why": "release freeze"}


@pytest.mark.parametrize(
    ("seen", "past", "action", "codes"),
    [
        (facts(0.2, alarm=True), RECENT, "keep", ("paused", "loss_rose")),
        (facts(0.2, alarm=True), History(), "keep", ("paused", "loss_rose")),
        (facts(), RECENT, "keep", ("paused", "as_promised")),
        (facts(faults=(BROKEN,)), RECENT, "fix_feed", ("feed_fault", "paused")),
        (facts(faults=(STALE,)), RECENT, "fix_feed", ("stale", "paused")),
        (facts(alias_moved="7"), RECENT, "ask", ("alias_moved", "paused")),
    ],
)
def test_while_paused_nothing_changes_and_no_alarm_is_silenced(
    seen: Any, past: History, action: str, codes: tuple[str, ...]
) -> None:
    free = decide(seen, past, config())
    held = decide(seen, replace(past, **HELD), config())
    assert (held.action, tuple(r.code for r in held.reasons)) == (action, codes)
    told = next(r.text for r in held.reasons if r.code == "paused")
    assert told.startswith("paused until 2019-04-06T00:00:00+00:00 by ann: release freeze")
    assert action != "keep" or told.endswith(f"without it: {free.action}")
    assert {r for r in held.reasons if r.code != "paused"} == set(free.reasons)
    assert held.id != free.id
    assert "paused" in REASONS


@settings(max_examples=60)
@given(
    rise=st.floats(0, 2),
    alarm=st.booleans(),
    days=st.floats(0, 400),
    faults=st.lists(st.sampled_from([BROKEN, STALE, replace(BROKEN, matters=False)]), max_size=2),
    left=st.integers(-3, 3),
)
def test_a_pause_never_trains_and_after_its_end_it_was_never_there(
    rise: float, alarm: bool, days: float, faults: list[Fault], left: int
) -> None:
    seen, past = facts(rise, alarm=alarm, faults=tuple(faults)), settled(days)
    held = decide(seen, replace(past, paused_until=NOW + left * DAY), config())
    if left <= 0:
        assert held == decide(seen, past, config())
    else:
        assert held.action not in TRAINING_ACTIONS


def test_a_paused_model_keeps_and_says_so_until_it_is_resumed(cli: Cli, home: Path) -> None:
    at = day(108).isoformat()
    words = ("--until", "2024-05-01", "--reason", "release freeze", "--actor", "ann", "--as-of", RETUNED.isoformat())
    held = cli("pause", *words, "--json")
    assert held.code == 0, held
    assert held.json["champion"] == held.json["previous"]
    assert held.json["ledger_row"] == stores_of(home).ledger.last("demo").seq
    pause = {"until": "2024-05-01T00:00:00+00:00", "by": "ann", "reason": "release freeze"}
    assert held.json["paused"] == pause
    for command in ("watch", "run"):
        found = cli(command, "--as-of", at, "--json")
        assert (found.code, found.json["decision"]["action"]) == (0, "keep")
        assert [r["code"] for r in found.json["decision"]["reasons"]] == ["paused", "age"]
        assert "release freeze; without it: refit" in found.json["decision"]["reasons"][0]["text"]
    assert "release freeze" in cli("history").out
    told = cli("status", "--as-of", at, "--json")
    assert (told.code, told.json["models"][0]["paused"]) == (0, pause)
    assert "PAUSED: nothing is trained or promoted until 2024-05-01" in cli("status", "--as-of", at).out
    assert cli("status", "--as-of", "2024-05-01", "--json").json["models"][0]["paused"] is None
    assert cli("pause", "--until", "2024-04-20", "--reason", "shorter", "--as-of", at).code == 0
    assert cli("status", "--as-of", day(111).isoformat(), "--json").json["models"][0]["paused"] is None
    assert "resumed" in cli("resume", "--reason", "done").out
    again = cli("resume", "--json")
    assert (again.code, again.json["paused"]) == (0, None)
    assert "was not paused" in cli("resume").out
    assert cli("run", "--as-of", at, "--json").json["decision"]["action"] == "refit"
    assert cli("audit", "verify").code == 0


@pytest.mark.parametrize(
    "words",
    [
        ("--until", "2024-04-01", "--reason", "r", "--as-of", "2024-04-16"),
        ("--until", "2024-04-16", "--reason", "r", "--as-of", "2024-04-16"),
        ("--until", "2024-05-01", "--reason", "  ", "--as-of", "2024-04-16"),
        ("--until", "soon", "--reason", "r"),
        ("--until", "2024-05-01"),
    ],
)
def test_a_pause_that_cannot_be_is_refused_and_not_recorded(cli: Cli, home: Path, words: tuple[str, ...]) -> None:
    rows = len(stores_of(home).ledger.entries("demo"))
    assert cli("pause", *words).code == 2
    assert len(stores_of(home).ledger.entries("demo")) == rows


def test_a_model_that_never_lived_cannot_be_paused_in_silence(cli: Cli, tmp_path: Path) -> None:
    path = world(tmp_path)
    for words in (("pause", "--until", "2099-01-01", "--reason", "r"), ("resume",), ("prune",)):
        found = cli(*words, "-c", path)
        assert (found.code, "bootstrap" in found.err) == (2, True)
    assert not (tmp_path / "lr_retune.db").exists()


def hold(stores: Stores, days: float, until: float = 60) -> None:
    pause(stores, rig.BORN + until * DAY, actor="ann", reason="freeze", as_of=rig.BORN + days * DAY)


def test_a_run_that_was_under_way_when_the_pause_came_promotes_nothing(tmp_path: Path) -> None:
    stores = Stores.in_memory(rig.config(tmp_path))
    born = rig.born(stores)
    hold(stores, 13)
    with pytest.raises(HeldError, match="paused"):
        rig.promote(stores)
    assert stores.ledger.head("fraud").head == born.model
    decision = stores.history(rig.BORN + 99 * DAY).decisions[-1].id
    assert stores.promote(decision, "bob", "urgent").version == "2"  # a person's word goes on counting
    assert stores.ledger.verify("fraud") == []


def test_what_a_crash_left_half_done_is_given_up_while_paused_and_done_after_it(tmp_path: Path) -> None:
    stores = Stores.in_memory(rig.config(tmp_path))
    rig.born(stores)

    def away(*_: Any) -> Any:
        raise DependencyError("away")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryRegistry, "register", away)
        with pytest.raises(DependencyError):
            rig.promote(stores)
    hold(stores, 14)
    assert any("given up" in note and "paused" in note for note in stores.reconcile())
    assert stores.ledger.promotions("fraud", "PREPARED", "CLAIMED") == []
    assert stores.ledger.head("fraud").version == "1"
    ended, held = resume(stores, actor="ann", reason="", as_of=rig.BORN + 15 * DAY)
    assert ended is not None
    assert held is not None
    assert rig.promote(stores).outcome == "promoted"


# ── prune ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def old_stores(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Versions 1, 2 and 3 were champions long ago, a challenger failed, another one failed lately."""
    folder = tmp_path_factory.mktemp("old")
    stores = Stores.open(rig.config(folder))
    rig.born(stores)
    rig.promote(stores, 13, 0.07)
    rig.promote(stores, 26, 0.05)
    rig.promote(stores, 40, 0.2, "FAIL")
    rig.promote(stores, 190, 0.3, "FAIL")
    for place in models_folder(rig.config(folder)).iterdir():
        os.utime(place, (0, 0))
    return folder


@pytest.fixture
def old(old_stores: Path, tmp_path: Path) -> Iterator[Stores]:
    """The same, put back afterwards where it was: MLflow keeps absolute paths and open databases."""
    backup = tmp_path / "backup"
    shutil.copytree(old_stores, backup)
    yield Stores.open(rig.config(old_stores))
    for folder in ("mlartifacts", "lr_retune_models"):
        shutil.rmtree(old_stores / folder)
        shutil.copytree(backup / folder, old_stores / folder)
    for file in ("mlflow.db", "lr_retune.db"):
        with closing(sqlite3.connect(backup / file)) as kept, closing(sqlite3.connect(old_stores / file)) as live:
            kept.backup(live)


LATER = rig.BORN + 200 * DAY


def go(stores: Stores, keep: int = 90, now: datetime = LATER) -> Any:
    shelf = MLflowRegistry(stores.config)
    found = waste(stores, shelf, keep * DAY, now)
    return prune(stores, shelf, found, actor="ann", keep=keep * DAY, now=now)


def sizes(stores: Stores) -> int:
    return sum(file.stat().st_size for file in stores.config.root.rglob("*") if file.is_file())


def runs_in(folder: Path) -> set[str]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        return {row[0] for row in connection.execute("SELECT run_uuid FROM runs")}


def test_what_nobody_needs_goes_and_what_somebody_may_need_stays(old: Stores) -> None:
    folder, before, runs = old.config.root, sizes(old), runs_in(old.config.root)
    digests = {row.version: row.candidate for row in old.ledger.promotions("fraud")}
    failed = [e.record["result"]["challenger"]["model"] for e in old.ledger.entries("fraud") if e.kind == "settlement"][
        3:
    ]
    done = go(old)
    assert done.counts == {
        "models": 2,
        "runs": 6,
        "versions": 1,
    }  # version 1, a failure; each with a run and two trials
    assert set(old.models.stored()) == {digests["2"], digests["3"], failed[1]}
    assert old.registry.versions("fraud") == ["2", "3"]
    assert len(runs_in(folder)) == len(runs) - 6
    assert old.registry.alias("fraud", "champion") == "3"
    freed = before - sizes(old)
    assert freed > 0
    assert abs(done.size - freed) < 20_000  # the ledger grew by an entry
    assert not [place for run in runs - runs_in(folder) for place in folder.joinpath("mlartifacts").rglob(run)]
    assert old.ledger.verify("fraud") == []
    assert old.reconcile(strict=True) == []  # nothing is shown a second time
    assert len(old.registry._search("tags.`lr_retune.monitor` = 'fraud'")) == 1


def test_the_ledger_tells_what_was_pruned_and_a_rollback_says_so(old: Stores) -> None:
    go(old)
    entry = old.ledger.last("fraud")
    assert (entry.kind, entry.record["actor"], entry.record["keep_days"]) == ("prune", "ann", 90)
    first = old.ledger.promotions("fraud")[0].candidate
    assert first in entry.record["models"]
    with pytest.raises(HeldError, match=r"deleted by `lr-retune prune` as of 2019-09-17.*ann asked"):
        old.rollback("1", "bob", "", LATER, lambda _: True)
    assert old.rollback(None, "bob", "worse", LATER, lambda _: True).version == "2"


def test_a_second_prune_finds_nothing_and_writes_nothing(old: Stores) -> None:
    go(old)
    rows = len(old.ledger.entries("fraud"))
    assert go(old).counts == {"models": 0, "runs": 0, "versions": 0}
    assert len(old.ledger.entries("fraud")) == rows


def test_an_alias_of_somebody_else_a_younger_file_and_a_longer_keep_protect(old: Stores) -> None:
    shelf = MLflowRegistry(old.config)
    assert waste(old, shelf, 300 * DAY, LATER).counts == {"models": 0, "runs": 0, "versions": 0}
    failed = old.ledger.entries("fraud")
    lost = next(e.record for e in failed if e.kind == "settlement" and e.record["status"] == "FAIL")
    os.utime(models_folder(old.config) / lost["result"]["challenger"]["model"])  # a run has just made it again
    old.registry.set_alias("fraud", "shadow", "1")
    found = waste(old, shelf, 90 * DAY, datetime.fromtimestamp(time.time(), UTC))
    assert found.versions == ()
    assert lost["result"]["challenger"]["model"] not in found.models
    assert "within a day" in found.notes[0]


def test_a_challenger_that_passed_and_waits_for_a_person_is_never_pruned(tmp_path: Path) -> None:
    stores = Stores.in_memory(rig.config(tmp_path))
    rig.born(stores)
    hold(stores, 13)
    with pytest.raises(HeldError):
        rig.promote(stores)
    waiting = stores.ledger.entries("fraud")[-1].record["next"]["model"]
    rig_now = rig.BORN + 400 * DAY
    assert waiting not in waste(stores, stores.registry, 90 * DAY, rig_now).models
    resume(stores, actor="ann", reason="", as_of=rig_now)
    stores.promote(stores.history(rig_now).decisions[-1].id, "bob", "at last", rig_now)
    assert stores.champion(rig_now + DAY).model == waiting


def test_other_models_of_the_ledger_keep_their_files(tmp_path: Path) -> None:
    """Two models in one ledger share a folder of model files, and here even one content."""
    one = Stores.in_memory(rig.config(tmp_path))
    other = Stores(one.ledger, one.registry, one.models, rig.config(tmp_path, name="churn"))
    for stores in (one, other):
        rig.born(stores, 0.1 if stores is one else 0.2)
        rig.promote(stores, 13, 0.07)  # the same files in both
        rig.promote(stores, 26, 0.05 if stores is one else 0.06)
    rig.promote(one, 40, 0.04)
    now = rig.BORN + 400 * DAY
    gone = prune(one, one.registry, waste(one, one.registry, 90 * DAY, now), actor="ann", keep=90 * DAY, now=now).gone
    assert one.moves[0].champion.model in gone
    assert one.moves[1].champion.model == other.moves[1].champion.model
    for move in other.moves:
        assert one.models.has(move.champion.model)


class Died(BaseException):
    """What a kill is to the code that runs: nothing after it happens."""


@pytest.mark.parametrize(
    ("owner", "name", "nth"), [(MLflowRegistry, "_forget", 0), (MLflowRegistry, "_forget", 3), (FileModels, "drop", 1)]
)
@pytest.mark.fault("E1")
def test_a_prune_that_was_killed_is_finished_by_the_next_one(
    old: Stores, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, nth: int
) -> None:
    calls, real = [], getattr(owner, name)

    def dying(self: Any, *args: Any) -> Any:
        calls.append(args)
        if len(calls) > nth:
            raise Died
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying)
        with pytest.raises(Died):
            go(old)
    stores = Stores.open(old.config)
    go(stores)
    assert len(stores.models.stored()) == 3
    assert stores.registry.versions("fraud") == ["2", "3"]
    assert waste(stores, MLflowRegistry(old.config), 90 * DAY, LATER).counts == {"models": 0, "runs": 0, "versions": 0}
    assert stores.ledger.verify("fraud") == []
    with pytest.raises(HeldError, match="prune"):
        stores.rollback("1", "bob", "", LATER, lambda _: True)


def test_prune_on_the_command_line_tells_before_it_does(cli: Cli, home: Path) -> None:
    for place in (home / "lr_retune_models").iterdir():
        os.utime(place, (0, 0))
    stray = home / "lr_retune_models" / ("0" * 64)
    stray.mkdir()
    (stray / "model.txt").write_bytes(b"x" * 1000)
    os.utime(stray, (0, 0))
    kept = home / ".replay-demo" / "answers" / "judge-0.json"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"x" * 500)
    os.utime(kept, (0, 0))
    told = cli("prune", "--keep", "90d", "--dry-run", "--json")
    assert (told.code, told.json["ok"], told.json["dry_run"]) == (0, True, True)
    assert told.json["deleted"]["models"] >= 1
    assert told.json["deleted"]["replay_answers"] == 1
    assert told.json["bytes"] >= 1500
    assert stray.exists()
    assert kept.exists()
    done = cli("prune", "--keep", "90d", "--json").json
    assert (done["deleted"], stray.exists(), kept.exists()) == (told.json["deleted"], False, False)
    assert cli("prune").out == "deleted: 0 models, 0 runs, 0 versions, 0 replay answers; 0.0 MB\n"
    assert cli("prune", "--keep", "soon").code == 2
    assert cli("status", "--as-of", RETUNED.isoformat()).code in (0, 1)
    assert cli("check", "--as-of", RETUNED.isoformat()).code == 0


# ── status of many ────────────────────────────────────────────────────────────────────────────────
def test_status_shows_every_model_and_ends_with_the_gravest_code(cli: Cli, home: Path, tmp_path: Path) -> None:
    other = world(tmp_path / "other")
    at = ("--as-of", BORN.isoformat())
    both = cli("status", "-c", "retune.toml", "-c", other, *at, "--json")
    assert (both.code, [m["champion"] is None for m in both.json["models"]]) == (0, [False, True])
    late = cli("status", "-c", "retune.toml", "-c", other, "--as-of", day(150).isoformat())
    assert (late.code, "STALE" in late.out, "no champion yet" in late.out) == (1, True, True)
    broken = cli("status", "-c", "retune.toml", "-c", "absent.toml", *at, "--json")
    assert (broken.code, len(broken.json["models"])) == (2, 2)
    assert broken.json["models"][1]["name"] == "absent.toml"
    assert "cannot be read" in broken.json["models"][1]["problems"][0]
    assert {*broken.json["models"][0]} >= {*broken.json["models"][1]} - {"problems"}
    assert "PROBLEM" in cli("status", "-c", "retune.toml", "-c", "absent.toml", *at).out
    assert cli("status", "-c", "absent.toml").code == 2


# ── shell completion ──────────────────────────────────────────────────────────────────────────────
COMPLETE = """
import contextlib, io, json, os, sys
from lr_retune.cli import main
words = sys.argv[1]
sys.argv = ["lr-retune"]
os.environ |= {"_LR_RETUNE_COMPLETE": "complete_bash", "COMP_WORDS": words}
os.environ["COMP_CWORD"] = str(len(words.split(" ")) - 1)
out = io.TextIOWrapper(io.BytesIO(), write_through=True)
try:
    with contextlib.redirect_stdout(out):
        main()
except SystemExit as ended:
    assert not ended.code, ended.code
heavy = {"mlflow", "prefect", "evidently", "lightgbm", "sklearn", "pandas", "duckdb", "numpy", "sqlalchemy"}
print(json.dumps([out.buffer.getvalue().decode().split(), sorted(heavy & set(sys.modules))]))
"""


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("lr-retune pr", {"promote", "prune"}),
        ("lr-retune con", {"config", "contract"}),
        ("lr-retune demo d", {"demand"}),
        ("lr-retune prune --dr", {"--dry-run"}),
        ("lr-retune search --strategy ", {"grid", "random", "fixed"}),
    ],
)
def test_the_shell_completes_commands_options_and_plugins(words: str, found: set[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", COMPLETE, words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    seen, heavy = json.loads(done.stdout)
    assert found <= set(seen)
    assert all(word.startswith(words.rpartition(" ")[2]) for word in seen)
    if "--strategy" not in words:
        assert heavy == []


def test_the_completion_script_is_printed_for_the_name_people_type(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("bash", "/bin/bash"))  # whatever started the tests
    found = cli("--show-completion", "bash")
    assert found.code == 0
    assert "_LR_RETUNE_COMPLETE=complete_bash" in found.out
    assert found.out.rstrip().endswith("lr-retune")


def test_a_look_that_simulated_the_future_does_not_mute_the_dead_mans_switch(cli: Cli, home: Path) -> None:
    assert cli("watch", "--as-of", "2099-01-01").err.count("lies in the future") == 1
    told = cli("status", "--json")
    assert told.code == 1
    assert told.json["models"][0]["stale"] is True
    assert "yet to come" in told.json["models"][0]["problems"][0]
