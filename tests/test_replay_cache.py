"""What a replay keeps: it files what a live run files, and a kept answer is the answer whoever asks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lr_retune import steps
from lr_retune.config import Config, Policy, load_config
from lr_retune.errors import ConfigError
from lr_retune.records import Facts, Judgement, Plan, Report, TuneResult, canonical, content_digest
from lr_retune.replay import Walk, replay, walk
from lr_retune.replay.arms import overridden
from lr_retune.replay.kept import Cleared, clear
from lr_retune.replay.keys import OBSERVED
from lr_retune.replay.lived import Lived, relived
from lr_retune.replay.side import Pace
from lr_retune.replay.thaw import frozen, thawed
from lr_retune.retune import bootstrap, retune
from lr_retune.stores.promotion import Stores
from tests.worlds import day, rows, world, write

TRAINS = "[policy]\nmax_age = '14d'\nmax_search_age = '10d'\nprobe = false\n"
TIMES = [day(at) for at in (100, 110, 120, 140, 155, 159)]
ARMS = ["policy", "always"]


def small(folder: Path) -> Config:
    path = world(folder, more=TRAINS, changed=105, delay=3)
    text = path.read_text(encoding="utf-8").replace("points = 3", "points = 2").replace("low = 0.05", "low = 0.2")
    path.write_text(text, encoding="utf-8")
    return load_config(path, environ={})


def filed(walked: list[Walk]) -> list[tuple[str, ...]]:
    return [each.filed for each in walked]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Path, list[Walk]]:
    """A configuration, a cache that was filled under it, and what was walked meanwhile."""
    folder = tmp_path_factory.mktemp("made")
    config = small(folder)
    return config, folder / "cache", walk(config, TIMES, ARMS, cache=folder / "cache")


# ── exact ─────────────────────────────────────────────────────────────────────────────────────────
def test_a_replay_files_byte_for_byte_what_the_live_run_filed(made: tuple[Config, Path, list[Walk]]) -> None:
    config, cache, walked = made
    stores = Stores.open(config)
    bootstrap(config, stores, TIMES[0])
    live = [retune(config, stores, at) for at in TIMES[1:-1]]
    assert "search" in {r.decision.action for r in live}
    assert "promoted" in {r.outcome for r in live}
    assert [r.decision for r in live] == [r.decision for r in walked[0].reports if isinstance(r, Report)]
    assert tuple(content_digest(e.record) for e in stores.ledger.entries(config.name)) == walked[0].filed
    assert relived(config, stores.ledger, cache=cache) == Lived(len(walked[0].filed), len(walked[0].filed), ())
    eager = overridden("eager", {"policy": {"cooldown": 4}}, config).config
    assert eager is not None
    found = relived(eager, stores.ledger, cache=cache)
    assert 0 < found.equal < found.entries
    assert (found.different[0][0], found.different[0][2]) == ("settlement", TIMES[0])  # it names the configuration


def test_a_ledger_without_a_run_cannot_be_lived_through(made: tuple[Config, Path, list[Walk]]) -> None:
    with pytest.raises(ConfigError, match="cannot be lived through once more"):
        relived(made[0], Stores.in_memory(made[0]).ledger)


def test_records_come_back_from_json_as_they_were(made: tuple[Config, Path, list[Walk]]) -> None:
    reports = [r for each in made[2] for r in each.reports if isinstance(r, Report)]
    parts = ((Facts, "facts"), (Plan, "plan"), (TuneResult, "result"), (Judgement, "judgement"))
    found = [(kind, value) for r in reports for kind, name in parts if (value := getattr(r, name)) is not None]
    assert {kind for kind, _ in found} == {kind for kind, _ in parts}
    for kind, value in found:
        again = thawed(frozen(value), kind)
        assert type(again) is kind
        assert canonical(again) == canonical(value)
        assert frozen(again) == frozen(value)


# ── kept ──────────────────────────────────────────────────────────────────────────────────────────
def test_what_is_kept_is_not_run_again_and_changes_nothing(made: tuple[Config, Path, list[Walk]]) -> None:
    config, cache, first = made
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.json")}
    again = walk(config, TIMES, ARMS, cache=cache)
    assert filed(again) == filed(first)
    assert all(np.array_equal(a.score, b.score) for a, b in zip(again, first, strict=True))
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.json")} == before


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from pathlib import Path
from lr_retune.config import load_config
from lr_retune.replay import walk, cache
from tests.test_replay_cache import ARMS, TIMES
kept, left = cache.Cache._keep, [int(sys.argv[2])]
def keep(self, key, found):
    kept(self, key, found)
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
cache.Cache._keep = keep
folder = Path(sys.argv[1])
walk(load_config(folder / "retune.toml", environ={}), TIMES, ARMS, cache=folder / "cache")
"""


def test_a_replay_that_was_killed_is_taken_up_where_it_was(
    tmp_path: Path, made: tuple[Config, Path, list[Walk]]
) -> None:
    config = small(tmp_path)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), "12"], check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.json")}
    assert len(kept) >= 12
    torn = min(path for path in kept if path.name.startswith("tune"))
    torn.write_text(torn.read_text(encoding="utf-8")[:-40], encoding="utf-8")  # as if the disk had lost a part
    resumed = walk(config, TIMES, ARMS, cache=tmp_path / "cache")
    assert [[r.outcome for r in w.reports if isinstance(r, Report)] for w in resumed] == [
        [r.outcome for r in w.reports if isinstance(r, Report)] for w in made[2]
    ]
    assert all(np.array_equal(a.score, b.score) for a, b in zip(resumed, made[2], strict=True))
    changed = {path for path, time in kept.items() if path.stat().st_mtime_ns != time}
    assert changed == {torn}


def test_models_that_were_altered_are_made_again(tmp_path: Path, made: tuple[Config, Path, list[Walk]]) -> None:
    shutil.copytree(made[1], tmp_path / "cache")
    for file in (tmp_path / "cache" / "models").rglob("*.txt"):
        file.write_bytes(file.read_bytes() + b" ")
    again = walk(made[0], TIMES, ["policy"], cache=tmp_path / "cache")
    assert filed(again) == filed(made[2])[:1]


def test_a_cache_that_cannot_be_written_decides_nothing(tmp_path: Path, made: tuple[Config, Path, list[Walk]]) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    assert filed(walk(made[0], TIMES[:3], ["never"], cache=tmp_path / "file"))


def aged(cache: Path, pattern: str) -> None:
    for place in cache.glob(pattern):
        os.utime(place, (0, 0))


def test_answers_that_are_old_are_cleared_and_made_again(tmp_path: Path, made: tuple[Config, Path, list[Walk]]) -> None:
    cache, cut = tmp_path / "cache", datetime(1980, 1, 1, tzinfo=UTC)
    shutil.copytree(made[1], cache)
    aged(cache, "models/*")
    aged(cache, "answers/judge*")
    gone, young = set(cache.glob("answers/judge*")), set(cache.glob("answers/*")) - set(cache.glob("answers/judge*"))
    told = clear(cache, cut, dry_run=True)
    assert gone <= set(cache.rglob("*"))
    assert clear(cache, cut) == told
    assert (told.answers, told.size > 0, told.notes) == (len(gone), True, ())
    assert set(cache.glob("answers/*")) == young
    assert filed(walk(made[0], TIMES, ["policy"], cache=cache)) == filed(made[2])[:1]
    assert clear(cache, cut).answers == clear(tmp_path / "absent", cut).answers == 0


def test_nothing_is_cleared_while_a_replay_runs(tmp_path: Path, made: tuple[Config, Path, list[Walk]]) -> None:
    cache, later, during = tmp_path / "cache", datetime(2100, 1, 1, tzinfo=UTC), list[Cleared]()
    asked: Any = {"every": 20, "cache": cache, "progress": lambda _: during.append(clear(cache, later))}
    replay(made[0], TIMES[0], TIMES[2], ["never"], **asked)
    assert during
    assert {(each.answers, "a replay is running" in each.notes[0]) for each in during} == {(0, True)}
    assert clear(cache, later).answers > 0


def test_rows_that_changed_since_are_not_answered_from_the_cache(
    tmp_path: Path, made: tuple[Config, Path, list[Walk]]
) -> None:
    config, cut = made[0], TIMES[2]
    shutil.copytree(made[1], tmp_path / "cache")
    columns = rows(delay=3, changed=105)
    came = np.array([t >= cut for t in columns["ts"]])
    write(config.root, columns | {"b": np.where(came, -1e3, columns["b"])})
    try:
        warm = walk(config, TIMES, ARMS, cache=tmp_path / "cache")
        cold = walk(config, TIMES, ARMS)
    finally:
        write(config.root, columns)
    assert filed(warm) == filed(cold)
    for now, then in zip(warm, made[2], strict=True):
        assert [r.decision for r in now.reports[:2] if isinstance(r, Report)] == [
            r.decision for r in then.reports[:2] if isinstance(r, Report)
        ]
        assert now.filed != then.filed


def test_rows_after_the_stretch_change_nothing_and_cost_nothing(made: tuple[Config, Path, list[Walk]]) -> None:
    config, cache, first = made
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.json")}
    columns = rows(delay=3, changed=105)
    late = np.array([t >= TIMES[-1] for t in columns["ts"]])
    write(config.root, columns | {"b": np.where(late, -1e3, columns["b"]), "y": np.where(late, 1e3, columns["y"])})
    try:
        again = walk(config, TIMES, ARMS, cache=cache)
    finally:
        write(config.root, columns)
    assert late.any()
    assert filed(again) == filed(first)
    assert all(np.array_equal(a.score, b.score) for a, b in zip(again, first, strict=True))
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.json")} == before


def test_policies_side_by_side_give_the_table_of_one_after_the_other(
    tmp_path: Path, made: tuple[Config, Path, list[Walk]]
) -> None:
    config, cache, _ = made
    said: list[str] = []
    span = (config, day(100), day(120), [*ARMS, "never"])
    one = replay(*span, every=10, cache=cache)
    shutil.copytree(cache, tmp_path / "cache")
    two = replay(*span, every=10, cache=tmp_path / "cache", jobs=2, progress=said.append)
    assert one == two
    assert one.oracle is not None
    assert all(row.oracle_pct is not None for row in one.policies)
    assert {line.split()[0] for line in said} == {"3", *ARMS, "never"}


def test_what_is_left_is_told_once_a_part_is_done() -> None:
    said: list[str] = []
    pace = Pace(said.append, 4)
    for n in range(4):
        pace(f"part {n}")
    assert said[0] == "part 0"
    assert all(line.startswith(f"part {n}, ") and line.endswith("left") for n, line in enumerate(said) if n)


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────
def test_a_look_reads_no_more_of_the_policy_than_its_key_holds(
    made: tuple[Config, Path, list[Walk]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A policy that differs elsewhere shares its looks with others."""
    config, asked = made[0], set[str]()
    plain = Policy.__getattribute__

    def noted(self: Policy, name: str) -> Any:
        if name in Policy.model_fields:
            asked.add(name)
        return plain(self, name)

    from lr_retune.plugins import load_plugins
    from lr_retune.retune import first_model

    stores = Stores.in_memory(config)
    stores.bootstrap(*first_model(config, stores, TIMES[0]))
    monkeypatch.setattr(Policy, "__getattribute__", noted)
    champion, at = stores.champion(TIMES[2]), TIMES[2]
    steps.observe(config, load_plugins(config), stores, champion, at, stores.history(at))
    assert asked <= set(OBSERVED)
    assert {"cusum_h", "min_rows"} <= asked
