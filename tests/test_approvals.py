"""What people say about a challenger that passed: approve, reject, too late, twice, at once."""

from __future__ import annotations

import importlib.util
import shutil
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lr_retune.config import load_config
from lr_retune.errors import ConfigError, ConflictError, DependencyError, HeldError, IntegrityError
from lr_retune.stores.approvals import approve, reject, standing
from lr_retune.stores.ledger import Ledger
from lr_retune.stores.memory import MemoryRegistry
from lr_retune.stores.models import MemoryModels
from lr_retune.stores.promotion import Stores
from lr_retune.stores.prune import waste
from tests.conftest import Answer
from tests.worlds import day, world

_spec = importlib.util.spec_from_file_location("store_rig", Path(__file__).with_name("store_rig.py"))
assert _spec is not None
assert _spec.loader is not None
rig = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rig)

Cli = Callable[..., Answer]
AT = rig.BORN + 13 * rig.DAY
SOON = AT + rig.DAY
BY = {"actor": "bob", "reason": "looks right"}


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    return waiting_stores(tmp_path)


def waiting_stores(folder: Path, mode: str = "approval", **promote: Any) -> Stores:
    """A champion, and nothing that waits yet."""
    found = Stores.in_memory(rig.config(folder, promote={"mode": mode, **promote}))
    rig.born(found)
    return found


def waits(stores: Stores, days: int = 13, rate: float = 0.07, author: str = "ann") -> str:
    """A challenger that passed and waits; its decision."""
    as_of = rig.BORN + days * rig.DAY
    report = rig.seen(stores.champion(as_of), as_of)
    stores.record(report.facts, report.decision)
    from dataclasses import replace

    judged = rig.judgement()
    done = stores.settle(replace(report, author=author), rig.plan(as_of), rig.result(stores, rate), judged)
    assert done.outcome in ("awaiting_approval", "suggested")
    return str(done.decision.id)


def states(stores: Stores, now: Any = SOON) -> list[str]:
    return [each["state"] for each in standing(stores, now)]


# ── one answer ────────────────────────────────────────────────────────────────────────────────────
def test_a_challenger_that_passed_waits_and_moves_nothing_until_somebody_approves(stores: Stores) -> None:
    decision = waits(stores)
    assert stores.ledger.head("fraud").version == stores.registry.alias("fraud", "champion") == "1"
    assert stores.ledger.promotions("fraud", "PREPARED", "CLAIMED") == []
    assert states(stores) == ["waiting"]
    done = approve(stores, decision, now=SOON, **BY)
    assert (done.champion.version, done.repeated, done.notes) == ("2", False, ())
    assert stores.registry.alias("fraud", "champion") == "2"
    assert states(stores) == ["promoted"]
    assert stores.history(SOON + rig.DAY).decisions[-1].outcome == "promoted"
    move = stores.ledger.entry("fraud", "move", decision)
    assert move is not None
    assert (move.record["actor"], move.record["reason"]) == ("bob", "looks right")
    assert stores.ledger.verify("fraud") == []
    assert stores.reconcile() == []


def test_a_challenger_that_waits_counts_as_judged_and_is_not_pruned(stores: Stores) -> None:
    waits(stores)
    assert stores.history(SOON).last_settled == AT
    waiting = stores.ledger.last("fraud").record["next"]["model"]
    assert waiting not in waste(stores, stores.registry, 90 * rig.DAY, AT + 400 * rig.DAY).models  # type: ignore[arg-type]


def test_a_rejected_challenger_stays_what_it_is(stores: Stores) -> None:
    decision = waits(stores)
    assert reject(stores, decision, now=SOON, **BY).champion.version == "1"
    assert states(stores) == ["rejected"]
    assert stores.history(SOON).decisions[-1].outcome == "rejected"
    assert reject(stores, decision, now=SOON, actor="eve", reason="me too").repeated
    with pytest.raises(ConflictError, match="rejected by bob"):
        approve(stores, decision, now=SOON, **BY)
    assert stores.ledger.head("fraud").version == "1"


def test_the_author_cannot_approve_and_an_unknown_one_is_told(stores: Stores) -> None:
    decision = waits(stores)
    with pytest.raises(HeldError, match="cannot approve") as refused:
        approve(stores, decision, now=SOON, actor=" Ann ", reason="mine is good")
    assert refused.value.exit_code == 10
    assert states(stores) == ["waiting"]
    reject(stores, decision, now=SOON, actor="ann", reason="mine is bad")  # who withdraws needs nobody else
    unknown = waits(stores, 20, 0.05, author="")
    assert "LRR410" in approve(stores, unknown, now=AT + 8 * rig.DAY, **BY).notes[0]


# ── races ─────────────────────────────────────────────────────────────────────────────────────────
def test_approving_twice_changes_nothing_the_second_time(stores: Stores) -> None:
    decision = waits(stores)
    approve(stores, decision, now=SOON, **BY)
    entries = len(stores.ledger.entries("fraud"))
    again = approve(stores, decision, now=SOON + 90 * rig.DAY, actor="eve", reason="again")
    assert (again.repeated, again.said.by, again.champion.version) == (True, "bob", "2")
    assert len(stores.ledger.entries("fraud")) == entries
    with pytest.raises(ConflictError, match="approved by bob") as refused:
        reject(stores, decision, now=SOON, actor="eve", reason="no")
    assert refused.value.exit_code == 5


@pytest.mark.parametrize("own", [{"approval_expires": "2d"}, {"approval_expires": "90d"}])
def test_an_approval_after_its_end_or_after_the_verdict_s_is_refused(tmp_path: Path, own: dict[str, str]) -> None:
    stores = waiting_stores(tmp_path, **own)
    decision = waits(stores)
    last = AT + (2 if own["approval_expires"] == "2d" else 7) * rig.DAY
    with pytest.raises(HeldError, match="judges anew") as refused:
        approve(stores, decision, now=last, **BY)
    assert refused.value.exit_code == 10
    assert states(stores, last) == ["expired"]
    assert stores.ledger.head("fraud").version == "1"
    approve(stores, decision, now=last - timedelta(seconds=1), **BY)


def test_an_approval_after_the_champion_changed_is_a_conflict(stores: Stores) -> None:
    first, second = waits(stores), waits(stores, 14, 0.05)
    approve(stores, second, now=AT + 2 * rig.DAY, **BY)
    assert states(stores, AT + 2 * rig.DAY) == ["outdated", "promoted"]
    with pytest.raises(ConflictError) as refused:
        approve(stores, first, now=AT + 2 * rig.DAY, **BY)
    assert refused.value.exit_code == 5
    assert stores.ledger.entry("fraud", "approval", stores.settlement(first).key) is None  # type: ignore[union-attr]
    assert stores.ledger.verify("fraud") == []


@pytest.mark.parametrize("same", [True, False])
def test_of_answers_at_once_one_stands(tmp_path: Path, same: bool) -> None:
    config, registry = rig.config(tmp_path, promote={"mode": "approval"}), MemoryRegistry()
    one = Stores(Ledger(config.state_url()), registry, MemoryModels(), config)
    rig.born(one)
    decisions = [waits(one)] * 2
    if not same:
        decisions[1] = waits(one, 14, 0.05)
    barrier, ended = threading.Barrier(4), []

    def work(number: int) -> None:
        mine = Stores(Ledger(config.state_url(), busy=20), registry, one.models, config)
        barrier.wait()
        try:
            done = approve(mine, decisions[number % 2], now=AT + 2 * rig.DAY, actor=f"p{number}", reason="now")
            ended.append(done.said.by)
        except ConflictError:
            ended.append("conflict")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    head = one.ledger.head("fraud")
    assert head.epoch == 2
    assert registry.alias("fraud", "champion") == head.version
    assert len(ended) == 4
    assert len({by for by in ended if by != "conflict"}) == 1
    assert ended.count("conflict") == (0 if same else 2)
    assert one.ledger.verify("fraud") == []


def test_who_finds_the_champion_changed_by_the_same_answer_is_told_so(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    decision = waits(stores)
    look = stores.refuse_overtaken

    def faster(entry: Any) -> None:
        monkeypatch.setattr(stores, "refuse_overtaken", look)
        approve(stores, decision, now=SOON, actor="carl", reason="now")
        look(entry)

    monkeypatch.setattr(stores, "refuse_overtaken", faster)
    done = approve(stores, decision, now=SOON, **BY)
    assert (done.said.by, done.repeated, stores.ledger.head("fraud").epoch) == ("carl", True, 2)


# ── what may be approved ──────────────────────────────────────────────────────────────────────────
def test_files_that_were_swapped_while_it_waited_are_refused_before_anything_is_filed(stores: Stores) -> None:
    decision = waits(stores)
    digest = stores.ledger.last("fraud").record["next"]["model"]
    stores.models._files[digest]["model.txt"] = b"left_child=0"  # type: ignore[attr-defined]
    with pytest.raises(IntegrityError) as refused:
        approve(stores, decision, now=SOON, **BY)
    assert refused.value.exit_code == 6
    assert stores.said == {}


@pytest.mark.parametrize("missing", ["actor", "reason"])
def test_an_answer_needs_a_name_and_a_reason(stores: Stores, missing: str) -> None:
    decision = waits(stores)
    for give in (approve, reject):
        with pytest.raises(ConfigError, match="--actor and --reason"):
            give(stores, decision, now=SOON, **{**BY, missing: " "})
    with pytest.raises(ConfigError, match="waits for no approval"):
        approve(stores, "unknown", now=SOON, **BY)


def test_nobody_promotes_past_an_approval_and_an_audit_finds_who_did(stores: Stores) -> None:
    decision = waits(stores)
    for force in (False, True):
        with pytest.raises(HeldError, match="waits for an approval"):
            stores.promote(decision, "ann", "impatient", SOON, force=force)
    entry = stores.settlement(decision)
    assert entry is not None
    stores.promote_settled(entry, {"person": True}, SOON)  # what no command does
    assert "waited for an approval" in " ".join(stores.ledger.verify("fraud"))


def test_an_approval_that_a_crash_cut_short_is_finished_by_reconcile(stores: Stores) -> None:
    decision = waits(stores)
    carry = stores._mover.carry

    def dies(_request: Any) -> Any:
        raise DependencyError("MLflow is away")

    stores._mover.carry = dies  # type: ignore[method-assign]
    with pytest.raises(DependencyError):
        approve(stores, decision, now=SOON, **BY)
    assert states(stores) == ["approved"]
    stores._mover.carry = carry  # type: ignore[method-assign]
    assert any("approved, was finished" in note for note in stores.reconcile())
    assert states(stores) == ["promoted"]
    assert stores.reconcile() == []
    assert approve(stores, decision, now=SOON, actor="eve", reason="again").repeated


def test_what_was_on_its_way_when_people_were_asked_for_is_given_up(tmp_path: Path) -> None:
    auto = Stores.in_memory(rig.config(tmp_path))
    rig.born(auto)
    real, auto.registry.register = auto.registry.register, lambda *_: (_ for _ in ()).throw(DependencyError("away"))
    with pytest.raises(DependencyError):
        rig.promote(auto)
    auto.registry.register = real
    now = Stores(auto.ledger, auto.registry, auto.models, rig.config(tmp_path, promote={"mode": "approval"}))
    assert any("given up" in note for note in now.reconcile())
    assert auto.ledger.head("fraud").version == "1"


# ── suggest ───────────────────────────────────────────────────────────────────────────────────────
def test_a_suggestion_promotes_nothing_and_waits_for_nobody(tmp_path: Path) -> None:
    stores = waiting_stores(tmp_path, "suggest")
    decision = waits(stores)
    assert stores.history(SOON).decisions[-1].outcome == "suggested"
    assert states(stores, AT + 900 * rig.DAY) == ["suggested"]
    assert stores.ledger.promotions("fraud", "PREPARED", "CLAIMED") == []
    assert stores.registry.versions("fraud") == ["1"]
    with pytest.raises(ConfigError, match="waits for no approval"):
        approve(stores, decision, now=SOON, **BY)
    assert stores.reconcile() == []
    assert stores.promote(decision, "bob", "I take it", SOON).version == "2"
    assert states(stores) == ["promoted"]


# ── the command line ──────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real model whose challenger passed and waits."""
    from lr_retune.retune import bootstrap, retune
    from lr_retune.watch.baselines import always

    folder = tmp_path_factory.mktemp("asked")
    config = load_config(world(folder, changed=70, more='[promote]\nmode = "approval"'), environ={})
    stores = Stores.open(config)
    bootstrap(config, stores, day(100))
    assert retune(config, stores, day(106), policy=always, author="ann").outcome == "awaiting_approval"
    return folder


@pytest.fixture
def place(asked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(asked, tmp_path / "live")
    monkeypatch.chdir(tmp_path / "live")
    return tmp_path / "live"


def test_status_history_gate_and_run_tell_what_waits(cli: Cli, place: Path) -> None:
    at = ("--as-of", day(107).isoformat())
    found = cli("status", *at, "--json")
    (waiting,) = found.json["models"][0]["approvals"]
    assert (found.code, waiting["state"], waiting["author"]) == (0, "waiting", "ann")
    assert f"lr-retune approve {waiting['decision']}" in cli("status", *at).out
    assert cli("history", "--json").json["decisions"][-1]["approval"]["decision"] == waiting["decision"]
    assert "awaiting_approval (expired)" in cli("history").out  # held against now, years later
    gate = cli("gate", "--decision", waiting["decision"], *at, "--json")
    assert (gate.code, gate.json["status"]) == (10, "INCONCLUSIVE")
    assert [r["code"] for r in gate.json["rules"] if r["status"] != "PASS"] == ["LRR509"]
    late = cli("gate", "--decision", waiting["decision"], "--as-of", day(120).isoformat(), "--json")
    assert late.code == 1
    again = cli("run", "--as-of", day(106).isoformat(), "--exit-code", "--json")
    assert again.code in (0, 10)


def test_approve_on_the_command_line_has_its_exit_codes(cli: Cli, place: Path) -> None:
    id = cli("status", "--as-of", day(107).isoformat(), "--json").json["models"][0]["approvals"][0]["decision"]
    at = ("--as-of", day(107).isoformat())
    assert cli("approve", id, "--actor", "bob", *at).code == 2
    assert cli("approve", id, "--actor", "ann", "--reason", "mine", *at).code == 10
    assert cli("approve", id, "--actor", "bob", "--reason", "late").code == 10
    done = cli("approve", id[:8], "--actor", "bob", "--reason", "good", *at, "--json")
    assert (done.code, done.json["champion"]["version"], done.json["previous"]["version"]) == (0, "2", "1")
    assert done.json["approval"] == {
        "decision": id, "answer": "approved", "by": "bob", "reason": "good", "as_of": day(107).isoformat(),
        "repeated": False,
    }  # fmt: skip
    (page,) = (place / "lr_retune_pages" / "demo").glob(f"*-{id[:16]}.html")
    assert "Version 2 replaces version 1." in page.read_text()
    assert "Since then: approved on 2024-04-17 by bob: good." in page.read_text()
    assert cli("approve", id, "--actor", "eve", "--reason", "me too").code == 0
    assert cli("reject", id, "--actor", "eve", "--reason", "no", *at).code == 5
    assert cli("gate", "--version", 2, *at).code == 0
    assert "by bob: good; champion is then version 2" in cli("explain", id).out


def test_the_page_of_a_rejected_challenger_says_who_turned_it_down(cli: Cli, place: Path) -> None:
    at = ("--as-of", day(107).isoformat())
    id = cli("status", *at, "--json").json["models"][0]["approvals"][0]["decision"]
    assert cli("reject", id, "--actor", "bob", "--reason", "not today", *at).code == 0
    (page,) = (place / "lr_retune_pages" / "demo").glob(f"*-{id[:16]}.html")
    assert "The challenger passed, and a person turned it down." in page.read_text()
    assert "Since then: rejected on 2024-04-17 by bob: not today." in page.read_text()
