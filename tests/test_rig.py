"""The rig in small: a third of the kills of three operations on SQLite, a few on PostgreSQL, and that no call hides."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lr_retune.stores.promotion import Stores
from tests import store_rig as made
from tests.postgres import Postgres, postgres
from tests.rig.kills import Fault, apart
from tests.rig.operations import OPERATIONS
from tests.rig.place import in_child
from tests.rig.rounds import Told, contradictions, rounds

__all__ = ["postgres"]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills are forked")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def found(request: pytest.FixtureRequest) -> dict[str, Any]:
    """All of it in a process of its own: the rig wraps clients for its life, and forks."""
    try:
        url = [request.getfixturevalue("postgres").database()]
    except pytest.skip.Exception:
        url = []
    command = [sys.executable, "-m", "tests.rig.small", *url]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert ended.returncode == 0, ended.stderr[-4000:]
    seen: dict[str, Any] = json.loads(ended.stdout)
    return seen


@pytest.mark.fault("E1", "E2", "E7")
def test_a_third_of_all_kills_leaves_one_champion_and_a_valid_ledger_after_one_reconcile(found: dict[str, Any]) -> None:
    assert found["sqlite"]["wrong"] == []
    assert {"after", "lost", "torn"} <= set(found["sqlite"]["modes"])  # before a call: mostly after the one before it
    assert found["sqlite"]["calls"] > 70


@pytest.mark.fault("E1", "F-2")
def test_kills_on_postgresql_too(found: dict[str, Any]) -> None:
    if "postgres" not in found:
        pytest.skip("PostgreSQL is not installed")
    assert found["postgres"]["wrong"] == []
    assert found["postgres"]["calls"] > 3


def test_no_operation_makes_a_call_that_is_no_point(found: dict[str, Any]) -> None:
    assert found["hidden"] == {name: [] for name in OPERATIONS}


def test_a_client_call_without_a_point_is_heard(found: dict[str, Any]) -> None:
    begins = {"set_registered_model_alias": "SQL", "rename": "a change of"}
    for call, lines in found["heard"].items():
        assert any(line.startswith(begins[call]) for line in lines), call


def test_a_fork_that_fails_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert in_child(lambda: 1 / 0, tmp_path / "told.json")
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_only_kills_without_a_change_between_them_count_as_the_same() -> None:
    modes = [("before", 0), ("after", 0), ("lost", 0)], [("before", 0), ("after", 1), ("lost", 1)]
    faults = [Fault("promote", p, "call", mode, state) for p, told in enumerate(modes, 1) for mode, state in told]
    assert [(f.point, f.mode) for f in apart(faults)] == [(1, "before"), (1, "lost"), (2, "after"), (2, "lost")]


def test_of_eight_promoters_at_once_one_wins_every_round(tmp_path: Path) -> None:
    told, wrong = rounds(tmp_path, f"sqlite:///{tmp_path / 'ledger.db'}", 8)
    assert wrong == []
    assert sorted(each.outcome for each in told) == ["conflict"] * 56 + ["promoted"] * 8


def test_of_eight_promoters_at_once_on_postgresql_one_wins_every_round(tmp_path: Path, postgres: Postgres) -> None:
    assert rounds(tmp_path, postgres.database(), 4)[1] == []


def test_a_promotion_that_was_lost_is_told(tmp_path: Path) -> None:
    stores = Stores.in_memory(made.config(tmp_path))
    first = made.born(stores).model
    second = made.promote(stores).champion.model
    told = [Told(0, 0, "promoted", second, first), Told(0, 1, "promoted", "f" * 64, first)]
    assert list(contradictions(stores, [told[0], replace(told[1], outcome="conflict")], 1, 2)) == []
    assert [line.split(":")[0] for line in contradictions(stores, told, 1, 2)] == ["round 0", "round 0"]
    assert next(iter(contradictions(stores, told, 2, 2))) == "1 moves in 2 rounds"
