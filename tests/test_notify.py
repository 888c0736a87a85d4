"""One message for each cause, signed, once; and no notifier, however slow or dead, in the way of a decision."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import importlib.util
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lr_retune.config import CAUSES, Config, load_config
from lr_retune.errors import ConfigError, DependencyError
from lr_retune.notify import channels, post
from lr_retune.notify.deliver import attempts, begin, deliver
from lr_retune.records import Fault, LossEvidence, Reason, Report
from lr_retune.stores import approvals
from lr_retune.stores.causes import causes
from lr_retune.stores.ledger import Ledger
from lr_retune.stores.memory import MemoryRegistry
from lr_retune.stores.models import MemoryModels
from lr_retune.stores.outbox import Outbox, undelivered
from lr_retune.stores.promotion import Stores
from tests.conftest import Answer
from tests.postgres import Postgres, postgres
from tests.worlds import day

spec = importlib.util.spec_from_file_location("notify_rig", Path(__file__).with_name("store_rig.py"))
assert spec is not None
assert spec.loader is not None
rig = importlib.util.module_from_spec(spec)
spec.loader.exec_module(rig)

__all__ = ["postgres"]
Cli = Callable[..., Answer]
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)
BROKEN = Fault("all_null", "amount", "amount: all null\x1b[31m <script> ::error::", "mend it", matters=True)
ALARM = LossEvidence(0.6, 0.5, 0.7, 0.43, 0.01, 9.0, rig.BORN, alarm=True)
CALM = replace(ALARM, value=0.43, cusum=0.0, alarm=False)


# ── a receiver on the loopback ────────────────────────────────────────────────────────────────────
class Receiver:
    """Keeps what it is sent, and answers as it is told to."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.raw: list[tuple[dict[str, str], bytes]] = []
        self.answer: Callable[[dict[str, Any]], int] = lambda _said: 204
        self.drips = threading.Event()
        mine = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                said = json.loads(body)
                mine.raw.append((dict(self.headers), body))
                code = mine.answer(said)
                if code == 0:  # byte by byte, for as long as anybody listens
                    self.drip()
                    return
                if 200 <= code < 300:
                    mine.got.append(said)
                self.send_response(code)
                self.send_header("Location", f"{mine.url}/elsewhere")
                self.end_headers()

            def drip(self) -> None:
                mine.drips.set()
                self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
                for _ in range(100):
                    try:
                        self.wfile.write(b"a")
                    except OSError:
                        return
                    time.sleep(0.05)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def told(self) -> list[tuple[str, str, str, str | None]]:
        return [(m["cause"], m["event"], m["action"], m["outcome"]) for m in self.got]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def stores(receiver: Receiver, tmp_path: Path) -> Stores:
    """A champion, and a channel that knows of it."""
    made = Stores.in_memory(config(tmp_path, receiver.url))
    begin(made.config, made)
    rig.born(made)
    return made


def config(root: Path, url: str, promote: str = "auto", **notify: Any) -> Config:
    made: Config = rig.config(root, notify={"webhook": url, "timeout": "1s", **notify}, promote={"mode": promote})
    return made


def look(stores: Stores, n: int, action: str = "keep", code: str = "as_promised", **facts: Any) -> Report:
    """What a tick's look files."""
    at = rig.BORN + n * DAY
    seen = rig.seen(stores.champion(at), at, action)
    seen = replace(seen, facts=replace(seen.facts, **{"loss": CALM, **facts}))
    seen = replace(seen, decision=replace(seen.decision, reasons=(Reason(code, "because\x1b]0;evil"),)))
    stores.record(seen.facts, seen.decision)
    return seen


def tick(stores: Stores, n: int, action: str = "keep", code: str = "as_promised", **facts: Any) -> None:
    """A run that trains nothing, as a command ends it."""
    look(stores, n, action, code, **facts)
    assert deliver(stores.config, stores, NOW + n * DAY) == []


def retrained(stores: Stores, n: int, status: str, rate: float = 0.07) -> None:
    seen = look(stores, n, "refit", "loss_rose", loss=ALARM)
    stores.settle(seen, rig.plan(seen.facts.as_of), rig.result(stores, rate), rig.judgement(status))
    assert deliver(stores.config, stores, NOW + n * DAY) == []


# ── one message for each cause ────────────────────────────────────────────────────────────────────
def test_thirty_ticks_of_one_incident_are_two_messages(stores: Stores, receiver: Receiver) -> None:
    for n in range(1, 31):
        tick(stores, n, "fix_feed", "feed_fault", faults=(BROKEN,))
    for n in range(31, 34):
        tick(stores, n, faults=(replace(BROKEN, matters=False),))
    assert receiver.told == [
        ("promotion", "happened", "bootstrap", "promoted"),
        ("data_incident", "began", "fix_feed", "held"),
        ("data_incident", "ended", "fix_feed", "mended"),
    ]
    first, last = receiver.got[1:]
    assert first["since"] == last["since"] == "2019-03-02T00:00:00+00:00"
    assert last["as_of"] == "2019-04-01T00:00:00+00:00"
    assert "It lasted 30 ticks" in last["sentence"]
    assert "The feed must be mended first." in first["sentence"]


def test_another_fault_in_an_open_incident_is_one_message_more(stores: Stores, receiver: Receiver) -> None:
    elsewhere, otherwise = replace(BROKEN, column="shop", what="shop: all null"), replace(BROKEN, code="unit_change")
    small = replace(BROKEN, column="hour", matters=False)
    for n, faults in enumerate([(BROKEN,)] * 3 + [(BROKEN, elsewhere)] * 3 + [(BROKEN, small)] * 2):
        tick(stores, n + 1, "fix_feed", "feed_fault", faults=faults)
    for n, faults in enumerate([(elsewhere,), (otherwise, elsewhere), (BROKEN,), ()]):
        tick(stores, n + 9, "fix_feed" if faults else "keep", "feed_fault", faults=faults)
    began, spread, changed, ended = receiver.got[1:]
    assert [m["event"] for m in (began, spread, changed, ended)] == ["began", "changed", "changed", "ended"]
    assert [m["as_of"][:10] for m in (spread, changed)] == ["2019-03-05", "2019-03-11"]
    assert len({m["id"] for m in receiver.got[1:]}) == 1
    assert "another fault has joined" in spread["text"]
    assert spread["sentence"].startswith("Joined since 2019-03-02 00:00 UTC: shop: all null. ")
    assert "amount: all null" in changed["sentence"]
    assert "It lasted 11 ticks" in ended["sentence"]


def test_a_tick_without_rows_mends_no_feed_and_a_look_at_the_past_ends_nothing(
    stores: Stores, receiver: Receiver
) -> None:
    tick(stores, 5, "fix_feed", "feed_fault", faults=(BROKEN,))
    tick(stores, 6, "keep", "stale", faults=(Fault("no_rows", None, "no rows", "wait", matters=False),))
    tick(stores, 3)
    assert [t[:2] for t in receiver.told[1:]] == [("data_incident", "began")]


def test_an_alarm_is_told_when_it_begins_when_its_answer_changes_and_when_it_ends(
    stores: Stores, receiver: Receiver
) -> None:
    for n in (1, 2, 3):
        tick(stores, n, "keep", "not_worth", loss=ALARM)
    retrained(stores, 4, "FAIL")
    tick(stores, 5, "keep", "cooldown", loss=ALARM)
    tick(stores, 6, "keep", "no_evidence", loss=None)
    retrained(stores, 10, "FAIL", 0.08)
    retrained(stores, 20, "INCONCLUSIVE", 0.09)
    tick(stores, 21)
    tick(stores, 22)
    assert receiver.told[1:] == [
        ("alarm", "began", "keep", "kept"),
        ("alarm", "changed", "refit", "rejected"),
        ("alarm", "changed", "refit", "inconclusive"),
        ("alarm", "ended", "refit", "over"),
    ]
    assert len({m["id"] for m in receiver.got[1:]}) == 1
    assert len({m["key"] for m in receiver.got}) == len(receiver.got)


def test_an_alarm_that_its_own_run_answers_with_a_promotion_is_told_as_that_promotion(
    stores: Stores, receiver: Receiver
) -> None:
    retrained(stores, 4, "PASS")
    tick(stores, 5)
    assert receiver.told[1:] == [("promotion", "happened", "promote", "promoted")]
    said = receiver.got[1]
    assert said["commands"] == {
        "look": f"lr-retune explain {said['decision'][:16]}",
        "undo": "lr-retune rollback --reason …",
    }
    assert said["champion"] == {"version": "2", "learning_rate": 0.07}
    assert "Version 2 replaces version 1." in said["text"]


def test_a_known_alarm_ends_with_the_promotion(stores: Stores, receiver: Receiver) -> None:
    tick(stores, 3, "keep", "not_worth", loss=ALARM)
    retrained(stores, 4, "PASS")
    assert sorted(receiver.told[2:]) == [
        ("alarm", "ended", "keep", "promoted"),
        ("promotion", "happened", "promote", "promoted"),
    ]


def test_a_level_that_is_accepted_ends_its_alarm(stores: Stores, receiver: Receiver) -> None:
    tick(stores, 3, "keep", "not_worth", loss=ALARM)
    tick(stores, 4, "keep", "harder", loss=ALARM)
    tick(stores, 5)
    assert receiver.told[1:] == [("alarm", "began", "keep", "kept"), ("alarm", "ended", "keep", "accepted")]


def test_a_question_that_stays_is_asked_once_and_one_of_a_moment_each_time(stores: Stores, receiver: Receiver) -> None:
    for n in (1, 2, 3):
        tick(stores, n, "ask", "alias_moved", alias_moved="7")
    tick(stores, 4)
    tick(stores, 5, "ask", "suspicion")
    tick(stores, 6, "keep", "unlabelled")
    tick(stores, 40, "ask", "suspicion")
    assert [t[:2] for t in receiver.told[1:]] == [
        ("ask", "began"),
        ("ask", "ended"),
        ("ask", "happened"),
        ("ask", "happened"),
    ]


def test_a_rollback_by_a_run_and_one_by_a_person_are_told_once_each(stores: Stores, receiver: Receiver) -> None:
    retrained(stores, 4, "PASS")
    seen = look(stores, 6, "rollback", "probation_failed")
    stores.rollback(None, "lr-retune", "worse", seen.facts.as_of, lambda _files: True, decision=seen.decision.id)
    assert deliver(stores.config, stores, NOW) == []
    retrained(stores, 8, "PASS", 0.2)
    stores.rollback(None, "ann", "complaints", rig.BORN + 9 * DAY, lambda _files: True)
    assert deliver(stores.config, stores, NOW) == []
    assert [t[:1] + t[2:] for t in receiver.told[1:]] == [
        ("promotion", "promote", "promoted"),
        ("rollback", "rollback", "rolled_back"),
        ("promotion", "promote", "promoted"),
        ("rollback", "rollback", "rolled_back"),
    ]


@pytest.mark.parametrize("end", ["approved", "rejected", "expired"])
def test_an_approval_is_told_when_it_waits_and_when_it_is_answered_or_too_late(
    receiver: Receiver, tmp_path: Path, end: str
) -> None:
    stores = Stores.in_memory(config(tmp_path, receiver.url, "approval"))
    begin(stores.config, stores)
    rig.born(stores)
    retrained(stores, 4, "PASS")
    waits = receiver.got[-1]
    assert (waits["cause"], waits["event"], waits["outcome"]) == ("approval", "began", "awaiting_approval")
    assert waits["expires_at"] is not None
    assert waits["commands"]["approve"] == f"lr-retune approve {waits['decision'][:16]} --reason …"
    if end == "expired":
        tick(stores, 5)
        tick(stores, 30)
    else:
        give = approvals.approve if end == "approved" else approvals.reject
        give(stores, waits["decision"], actor="ann", reason="seen", now=rig.BORN + 5 * DAY)
        assert deliver(stores.config, stores, NOW + 5 * DAY) == []
    outcome = {"approved": "promoted"}.get(end, end)
    told = [t for t in receiver.told if t[0] == "approval"]
    assert told == [("approval", "began", "refit", "awaiting_approval"), ("approval", "ended", "refit", outcome)]
    assert ("promotion" in [t[0] for t in receiver.told[1:]]) == (end == "approved")


def test_a_suggestion_is_told_and_a_challenger_that_nobody_promoted_asks_a_person(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = Stores.in_memory(config(tmp_path, receiver.url, "suggest"))
    begin(stores.config, stores)
    rig.born(stores)
    retrained(stores, 4, "PASS")
    assert receiver.told[-1] == ("suggestion", "began", "refit", "suggested")
    made = Stores.in_memory(config(tmp_path, receiver.url))
    begin(made.config, made)
    rig.born(made)

    def away(*_: Any, **__: Any) -> None:
        raise DependencyError("MLflow does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(made.registry, "register", away)
        with pytest.raises(DependencyError):
            retrained(made, 4, "PASS")
    assert deliver(made.config, made, NOW) == []
    assert receiver.told[-1] == ("ask", "began", "refit", "held")
    assert receiver.got[-1]["commands"]["promote"]


# ── who is told what ──────────────────────────────────────────────────────────────────────────────
def test_only_causes_that_are_asked_for_are_told(receiver: Receiver, tmp_path: Path) -> None:
    stores = Stores.in_memory(config(tmp_path, receiver.url, on=["promotion"]))
    begin(stores.config, stores)
    rig.born(stores)
    tick(stores, 1, "fix_feed", "feed_fault", faults=(BROKEN,))
    assert [t[0] for t in receiver.told] == ["promotion"]


def test_a_new_channel_is_told_what_is_open_and_nothing_that_is_over(receiver: Receiver, tmp_path: Path) -> None:
    old = rig.config(tmp_path)
    stores = Stores.in_memory(old)
    rig.born(stores)
    for n in (1, 2):
        look(stores, n, "fix_feed", "feed_fault", faults=(BROKEN,))
    look(stores, 3)
    look(stores, 4, "keep", "not_worth", loss=ALARM)
    assert undelivered(stores.ledger, old) == []
    new = Stores(stores.ledger, stores.registry, stores.models, config(tmp_path, receiver.url))
    assert [m["cause"] for m in undelivered(new.ledger, new.config)] == ["alarm"]
    tick(new, 5, "keep", "not_worth", loss=ALARM)
    tick(new, 6)
    assert receiver.told == [("alarm", "began", "keep", "kept"), ("alarm", "ended", "keep", "over")]


@pytest.mark.fault("G9")
def test_nothing_in_a_name_acts_on_a_terminal_a_log_or_a_chat(stores: Stores, receiver: Receiver) -> None:
    at = rig.BORN + DAY
    seen = rig.seen(stores.champion(at), at, "fix_feed")
    reasons = (Reason("feed_fault", "<!channel> & \x1b[31m::error:: ##[error] \u202e\ud800"),)
    seen = replace(seen, decision=replace(seen.decision, reasons=reasons), facts=replace(seen.facts, faults=(BROKEN,)))
    stores.ledger.append("fraud", "decision", seen.decision.id, at, {
        "facts": {"faults": [asdict(BROKEN)], "loss": None, "champion": seen.facts.champion, "rows": 0,
                  "matured_rows": 0, "ticks": []},
        "decision": {"id": seen.decision.id, "action": "fix_feed",
                     "reasons": [{"code": "feed_fault", "text": "<!channel> & \x1b[31m::error:: ##[error] \u202e"}]},
    })  # fmt: skip
    assert deliver(stores.config, stores, NOW) == []
    text = receiver.got[-1]["text"]
    assert "<" not in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "##[" not in text
    assert "&lt;!channel&gt; &amp; \\x1b[31m" in text
    assert "<!channel>" in receiver.got[-1]["sentence"]


# ── the signature ─────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("key", ["plain key", "whsec_" + base64.b64encode(b"raw bytes").decode()])
def test_whoever_has_the_key_can_verify_what_came_and_when(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("HOOK_KEY", key)
    stores = Stores.in_memory(config(tmp_path, receiver.url, secret_env="HOOK_KEY"))
    begin(stores.config, stores)
    rig.born(stores)
    assert deliver(stores.config, stores, NOW) == []
    headers, body = {name.lower(): value for name, value in receiver.raw[0][0].items()}, receiver.raw[0][1]
    id, at = headers["webhook-id"], headers["webhook-timestamp"]
    raw = b"raw bytes" if key.startswith("whsec_") else key.encode()
    wanted = hmac.new(raw, f"{id}.{at}.".encode() + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(wanted).decode()}"
    assert int(at) == int(NOW.timestamp())
    assert json.loads(body)["key"] == id


# ── notifiers that are slow, dead, broken ─────────────────────────────────────────────────────────
@pytest.mark.fault("F-8")
def test_a_receiver_that_fails_is_asked_once_a_run_and_later_gets_the_newest_state_once(
    stores: Stores, receiver: Receiver
) -> None:
    receiver.answer = lambda _said: 500
    look(stores, 1, "fix_feed", "feed_fault", faults=(BROKEN,))
    [note] = deliver(stores.config, stores, NOW)
    assert "HTTP 500" in note
    assert len(receiver.raw) == 1, "the second message would not arrive either"
    assert [m["tries"] for m in undelivered(stores.ledger, stores.config)] == [0, 1]
    look(stores, 2)
    receiver.answer = lambda _said: 204
    assert deliver(stores.config, stores, NOW + timedelta(seconds=30)) == []
    assert receiver.told == [("data_incident", "ended", "fix_feed", "mended")], "the other one waits for its time"
    assert deliver(stores.config, stores, NOW + HOUR) == []
    assert receiver.told[1:] == [("promotion", "happened", "bootstrap", "promoted")]
    assert undelivered(stores.ledger, stores.config) == []


def test_waits_double_and_a_message_that_one_process_sends_another_leaves(stores: Stores, receiver: Receiver) -> None:
    receiver.answer = lambda _said: 503
    at, tried = NOW, []
    for minute in range(64):
        at = NOW + timedelta(minutes=minute)
        if deliver(stores.config, stores, at):
            tried.append(minute)
    assert tried == [0, 1, 3, 7, 15, 31, 63]
    box = Outbox(stores.ledger, "fraud", ("webhook",), CAUSES)
    [due], later = box.due(), 10**18
    assert box.take(due, later)
    assert not box.take(due, later), "somebody is at it"
    assert not box.take(due, later, force=True)


def test_on_postgresql_the_outbox_is_kept_too_and_of_two_processes_one_sends(
    postgres: Postgres, receiver: Receiver, tmp_path: Path
) -> None:
    asked, url = config(tmp_path, receiver.url), postgres.database()
    stores = Stores(Ledger(url), MemoryRegistry(), MemoryModels(), asked)
    begin(asked, stores)
    rig.born(stores)
    box = Outbox(Ledger(url), "fraud", ("webhook",), CAUSES)
    [due] = box.due()
    with ThreadPoolExecutor(4) as pool:
        took = list(pool.map(lambda _: box.take(due, 1), range(4)))
    assert took.count(True) == 1
    box.failed(due, "away")
    assert [(m["tries"], m["error"]) for m in undelivered(stores.ledger, asked)] == [(1, "away")]
    assert deliver(asked, stores, NOW) == []
    assert [t[0] for t in receiver.told] == ["promotion"]
    assert undelivered(Ledger(url), asked) == []


def test_one_message_that_is_refused_keeps_no_other_back(stores: Stores, receiver: Receiver) -> None:
    receiver.answer = lambda said: 400 if said["cause"] == "promotion" else 200
    look(stores, 1, "fix_feed", "feed_fault", faults=(BROKEN,))
    assert "HTTP 400" in deliver(stores.config, stores, NOW)[0]
    assert [t[0] for t in receiver.told] == ["data_incident"]


@pytest.mark.fault("F-8")
def test_a_receiver_that_answers_byte_by_byte_is_left_behind(stores: Stores, receiver: Receiver) -> None:
    receiver.answer = lambda _said: 0
    [note] = deliver(stores.config, stores, NOW)
    assert receiver.drips.is_set()
    assert "no answer within" in note or "timed out" in note


@pytest.mark.fault("G10")
@pytest.mark.parametrize(
    ("at", "words"),
    [("169.254.169.254", "leads away from this machine"), ("10.0.0.7", "leads away from this machine")],
)
def test_a_name_that_leads_elsewhere_than_it_says_is_sent_nothing(
    stores: Stores, receiver: Receiver, monkeypatch: pytest.MonkeyPatch, at: str, words: str
) -> None:
    monkeypatch.setattr(post, "peer", lambda _sock: at)
    assert words in deliver(stores.config, stores, NOW)[0]
    assert receiver.raw == []


@pytest.mark.fault("G10")
def test_an_encrypted_address_may_be_inside_and_never_link_local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http.client.HTTPSConnection, "connect", lambda _self: None)
    for at, refused in (("169.254.169.254", True), ("fe80::1", True), ("0.0.0.0", True), ("10.0.0.7", False)):
        monkeypatch.setattr(post, "peer", lambda _sock, at=at: at)
        made = post._Secure("hooks.example.org")
        if refused:
            with pytest.raises(OSError, match="link-local"):
                made.connect()
        else:
            made.connect()


@pytest.mark.fault("G10")
def test_a_message_follows_no_redirect(stores: Stores, receiver: Receiver) -> None:
    receiver.answer = lambda _said: 307
    assert "HTTP 307" in deliver(stores.config, stores, NOW)[0]
    assert len(receiver.raw) == 1


@pytest.mark.fault("F-8")
def test_a_receiver_that_is_not_there_or_hangs_is_told_and_nothing_fails(tmp_path: Path) -> None:
    with socket.socket() as deaf:  # takes connections and never says a word
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        for port, words in ((9, "does not answer"), (deaf.getsockname()[1], ("no answer within", "timed out"))):
            stores = Stores.in_memory(config(tmp_path, f"http://127.0.0.1:{port}/hook"))
            begin(stores.config, stores)
            rig.born(stores)
            [note] = deliver(stores.config, stores, NOW)
            assert any(word in note for word in ((words,) if isinstance(words, str) else words)), note
            assert "/hook" not in note


def test_a_bug_in_a_channel_and_a_ledger_that_is_away_fail_no_decision(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(channels, "_webhook", broken)
    assert "ZeroDivisionError" in deliver(stores.config, stores, NOW)[0]

    def away(*_: Any, **__: Any) -> list[Any]:
        raise DependencyError("the ledger does not answer")

    monkeypatch.setattr(stores.ledger, "entries", away)
    assert deliver(stores.config, stores, NOW) == ["nobody could be notified: the ledger does not answer"]


# ── crashes ───────────────────────────────────────────────────────────────────────────────────────
def test_a_crash_between_a_message_and_its_note_sends_it_again_with_the_same_key(
    stores: Stores, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "arrived", killed)
        with pytest.raises(KeyboardInterrupt):
            deliver(stores.config, stores, NOW)
    assert deliver(stores.config, stores, NOW + HOUR) == []
    assert len(receiver.got) == 2
    assert receiver.got[0] == receiver.got[1]
    assert deliver(stores.config, stores, NOW + 2 * HOUR) == []
    assert len(receiver.got) == 2


KILLED = """
import os, sys
from lr_retune import console
from lr_retune.notify import deliver
deliver.send = lambda *_: os._exit(9)  # the process is gone when the decision is settled and nothing was sent
sys.argv = ["lr-retune", "watch", "--as-of", sys.argv[1]]
from lr_retune.cli import main
main()
"""


@pytest.mark.fault("E1", "F-8")
def test_a_run_that_is_killed_before_it_could_tell_is_told_by_the_next(
    home: Path, cli: Cli, receiver: Receiver
) -> None:
    file = home / "retune.toml"
    text = f'[notify]\nwebhook = "{receiver.url}"\n[schedule]\ntick = "1d"\n[gates]'
    file.write_text(file.read_text().replace("[gates]", text).replace('"rows.parquet"', '"gone.parquet"'))
    (home / "gone.parquet").symlink_to(home / "rows.parquet")
    broken = cut(home, until=108)
    code = [sys.executable, "-c", KILLED, broken]
    assert subprocess.run(code, cwd=home, capture_output=True, check=False).returncode == 9
    config = load_config(file, environ={})
    lost = undelivered(Stores.open(config).ledger, config)
    assert [(m["cause"], m["event"], m["tries"]) for m in lost] == [("data_incident", "began", 1)]
    assert receiver.got == []

    told = cli("status", "--as-of", broken)
    assert "NOT TOLD: 1 of its messages" in told.out
    assert "data_incident" in cli("notify").out
    [look] = [seen for seen in cli("doctor", "--as-of", broken, "--json").json["looks"] if seen["look"] == "notify"]
    assert look["state"] == "note"
    sent = cli("notify", "--send", "--json")
    assert (sent.code, sent.json["sent"], sent.json["undelivered"]) == (0, 1, [])
    assert receiver.told == [("data_incident", "began", "fix_feed", "held")]
    again = cli("watch", "--as-of", broken, "--json")
    assert (again.code, len(receiver.got)) == (3, 1), "the same look is the same cause"
    assert cli("notify").out == "every message has arrived\n"


def cut(home: Path, *, until: int) -> str:
    """A feed that has stood still for days; the time to look at it."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pq.read_table(home / "rows.parquet")
    (home / "gone.parquet").unlink()
    pq.write_table(table.filter(pc.less(table["ts"], day(until))), home / "gone.parquet")
    return day(until + 6).isoformat()


# ── commands and configuration ────────────────────────────────────────────────────────────────────
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the plug-ins that Apprise loads
def test_a_test_message_says_by_each_channel_whether_it_arrives(
    fresh: Path, cli: Cli, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = fresh / "retune.toml"
    assert cli("notify", "--test").code == 2
    text = '[notify]\nwebhook = "env:HOOK"\napprise_env = "PLACES"\n[gates]'
    file.write_text(file.read_text().replace("[gates]", text))
    monkeypatch.setenv("HOOK", f"{receiver.url}/services/T0/very-secret")
    monkeypatch.setenv("PLACES", f"json://127.0.0.1:{receiver.server.server_port}/another-secret")
    found = cli("notify", "--test", "--json")
    assert (found.code, [each["error"] for each in found.json["tests"]]) == (0, [None, None])
    assert [m.get("cause", m.get("title")) for m in receiver.got] == ["test", "demo: a test message"]
    receiver.answer = lambda _said: 404
    lost = cli("notify", "--test")
    assert lost.code == 4
    assert "webhook: 127.0.0.1 answers HTTP 404" in lost.out
    assert "secret" not in lost.out + lost.err
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "apprise", None)
        assert "pip install 'lr-retune[notify]'" in cli("notify", "--test").out
    monkeypatch.delenv("PLACES")
    assert "env:PLACES is empty" in cli("notify", "--test").out
    assert "every message has arrived" in cli("notify").out


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('webhook = "http://hooks.example.org/x"', "must be an https:// address"),
        ('webhook = "https://169.254.169.254/latest"', "link-local"),
        ('webhook = "https://[::ffff:169.254.169.254]/latest"', "link-local"),
        ('webhook = "ftp://hooks.example.org/x"', "must be an https:// address"),
        ('webhook = "https://me:hushhush@hooks.example.org"', "must not hold a password"),
        ('secret_env = "KEY"', "signs what"),
        ('webhook = "env:HOOK"\nsecret_env = "not a name"', "notify.secret_env"),
        ('webhook = "env:HOOK"\non = ["everything"]', "notify.on"),
        ('webhook = "env:HOOK"\ntimeout = "10min"', "between 1s and 1min"),
    ],
)
def test_a_configuration_that_could_not_be_meant_is_refused(fresh: Path, lines: str, words: str) -> None:
    file = fresh / "retune.toml"
    file.write_text(f"{file.read_text()}\n[notify]\n{lines}\n")
    with pytest.raises(ConfigError, match=words) as error:
        load_config(file, environ={})
    assert "hushhush" not in str(error.value)


def test_who_is_notified_decides_no_answer(tmp_path: Path) -> None:
    assert config(tmp_path, "https://a.example/x").digest == config(tmp_path, "https://b.example/y").digest


def test_a_secret_address_must_be_https_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "http://hooks.example.org/token-of-mine")
    stores = Stores.in_memory(config(tmp_path, "env:HOOK"))
    begin(stores.config, stores)
    rig.born(stores)
    [sent] = attempts(stores.config, stores, NOW)
    assert "env:HOOK must be an https:// address" in sent.error
    assert os.environ["HOOK"] not in sent.error


def test_every_cause_has_a_name_that_the_configuration_knows(stores: Stores) -> None:
    retrained(stores, 4, "PASS")
    assert {cause.name for cause in causes(stores.ledger.entries("fraud"))} <= set(CAUSES)
