"""What goes on with a model, read from its ledger: causes that begin, change and end. One cause is told once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from lr_retune.records import TRAINING_ACTIONS, content_digest
from lr_retune.stores.chronicle import waits_of
from lr_retune.stores.keys import BORN
from lr_retune.stores.ledger import Entry

Phase = Literal["open", "ended", "once"]
STAYS = ("alias_moved", "probation_failed")  # what a person is asked, and stays until somebody has answered
NOT_PROMOTED = "not_promoted"  # a challenger passed, and nobody made it champion


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that somebody is told about, as it stands.

    It changes only when what is told of it does: a tick that brings nothing new leaves it as it is.
    """

    id: str  # the name and the decision it began with
    name: str  # of config.CAUSES
    since: datetime  # as_of of that decision
    phase: Phase
    action: str  # what is done about it
    outcome: str  # what came of that; empty: not known yet
    decision: str  # that brought it where it stands
    as_of: datetime  # of that decision
    about: str = ""  # what is asked
    until: datetime | None = None  # an answer is worth nothing from then on
    by_move: bool = False  # ended because the champion changed: that is told by itself
    faults: frozenset[tuple[str, str | None]] = frozenset()  # code and column of each that an incident ever had
    joined: tuple[str, ...] = ()  # what those say that came to it later, the newest first

    def key(self, model: str) -> str:
        """What makes two messages the same message: 64 hex digits."""
        return content_digest([model, self.id, self.phase, self.action, self.outcome, self.decision])


def causes(entries: Iterable[Entry]) -> list[Cause]:
    """Every cause that a ledger tells of, oldest first."""
    story = _Story()
    for entry in entries:
        _READERS.get(entry.kind, lambda _story, _entry: None)(story, entry)
    return list(story.found.values())


@dataclass(slots=True)
class _Story:
    found: dict[str, Cause] = field(default_factory=dict)
    settled: dict[str, Entry] = field(default_factory=dict)  # by key
    newest: datetime | None = None  # look; one at an earlier time says nothing about now

    def open(self, *names: str) -> list[Cause]:
        return [c for c in self.found.values() if c.phase == "open" and c.name in names]

    def begin(self, entry: Entry, name: str, decision: str, action: str, outcome: str, **more: Any) -> None:
        made = Cause(f"{name}-{decision}", name, entry.as_of, "open", action, outcome, decision, entry.as_of)
        self.found[made.id] = replace(made, **more)

    def change(self, cause: Cause, entry: Entry, decision: str, outcome: str, **more: Any) -> None:
        now = replace(cause, outcome=outcome, decision=decision, as_of=entry.as_of, **more)
        if (now.phase, now.action, now.outcome) != (cause.phase, cause.action, cause.outcome):
            self.found[cause.id] = now

    # ── what a look tells ─────────────────────────────────────────────────────────────────────────
    def look(self, entry: Entry) -> None:
        if self.newest is not None and entry.as_of < self.newest:
            return
        self.newest = entry.as_of
        decision, facts = entry.record["decision"], entry.record["facts"]
        self._expired(entry)
        self._incident(entry, decision, facts)
        self._alarm(entry, decision, facts)
        self._asked(entry, decision)

    def _expired(self, entry: Entry) -> None:
        for cause in self.open("approval"):
            if cause.until is not None and entry.as_of >= cause.until:
                self.change(cause, entry, cause.decision, "expired", phase="ended")

    def _incident(self, entry: Entry, decision: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        found = {(fault["code"], fault["column"]): fault["what"] for fault in facts["faults"] if fault["matters"]}
        broken = bool(found) or decision["action"] == "fix_feed"
        silent = any(reason["code"] == "stale" for reason in decision["reasons"])  # no rows: nothing was mended
        running = self.open("data_incident")
        if broken and not running:
            self.begin(entry, "data_incident", decision["id"], "fix_feed", "held", faults=frozenset(found))
        for cause in running if found else ():
            self._joined(cause, entry, decision["id"], found)
        for cause in running if not (broken or silent) else ():
            self.change(cause, entry, decision["id"], "mended", phase="ended")

    def _joined(self, cause: Cause, entry: Entry, decision: str, found: Mapping[tuple[str, str | None], str]) -> None:
        """Another column or another code is news; one that comes and goes is so once."""
        if new := {key: what for key, what in found.items() if key not in cause.faults}:
            known, said = cause.faults | set(new), (*new.values(), *cause.joined)
            now = replace(cause, decision=decision, as_of=entry.as_of, faults=known, joined=said)
            self.found[cause.id] = now

    def _alarm(self, entry: Entry, decision: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
        loss, running = facts["loss"], self.open("alarm")
        if loss is None:
            return  # nothing could be measured: neither an alarm nor its end
        action, harder = decision["action"], any(r["code"] == "harder" for r in decision["reasons"])
        rose = bool(loss["alarm"] or (facts.get("ranking") or {}).get("alarm"))
        if rose and not running and not harder:
            trains = action in (*TRAINING_ACTIONS, "rollback")
            self.begin(entry, "alarm", decision["id"], action if trains else "keep", "" if trains else "kept")
        for cause in running:
            if harder:
                self.change(cause, entry, decision["id"], "accepted", phase="ended")
            elif not rose:
                self.change(cause, entry, decision["id"], "over", phase="ended")

    def _asked(self, entry: Entry, decision: Mapping[str, Any]) -> None:
        codes = [reason["code"] for reason in decision["reasons"] if reason["code"] != "paused"]
        first = codes[0] if codes and decision["action"] in ("ask", "rollback") else ""
        running = self.open("ask", "rollback")
        for cause in running:
            if cause.about in STAYS and cause.about != first:
                self.change(cause, entry, decision["id"], "over", phase="ended")
        if first and not any(cause.about == first for cause in running):
            name, outcome = ("rollback", "") if decision["action"] == "rollback" else ("ask", "held")
            phase: Phase = "open" if first in STAYS else "once"
            self.begin(entry, name, decision["id"], decision["action"], outcome, about=first, phase=phase)

    # ── what a judge, a person and a change of the champion tell ──────────────────────────────────
    def judged(self, entry: Entry) -> None:
        self.settled[entry.key] = entry
        if entry.record["status"] != BORN:
            self._answered(entry, entry, entry.record["decision"]["id"])

    def adopted(self, entry: Entry) -> None:
        """A second decision that was settled by the challenger of a first one."""
        if (first := self.settled.get(entry.record["settlement"])) is not None:
            self._answered(entry, first, entry.key)

    def _answered(self, entry: Entry, settled: Entry, decision: str) -> None:
        action, waits = settled.record["decision"]["action"], waits_of(settled.record)
        outcome = {"PASS": "", "INCONCLUSIVE": "inconclusive"}.get(settled.record["status"], "rejected")
        if settled.record["status"] == "PASS" and waits is None:
            if entry is settled:
                self.begin(entry, "ask", decision, action, "held", about=NOT_PROMOTED)
            return  # the move that follows tells
        if waits is not None and outcome == "":
            outcome = "suggested" if waits.mode == "suggest" else "awaiting_approval"
            if entry is settled:
                name = "suggestion" if waits.mode == "suggest" else "approval"
                self.begin(entry, name, decision, action, outcome, until=waits.until, about=settled.key)
        for cause in self.open("alarm"):
            self.change(cause, entry, decision, outcome, action=action)

    def said(self, entry: Entry) -> None:
        for cause in self.open("approval"):
            if cause.about == entry.key:
                answer = entry.record["answer"]
                self.change(cause, entry, cause.decision, answer, phase="ended" if answer == "rejected" else "open")

    def moved(self, entry: Entry) -> None:
        record, outcome = entry.record, "rolled_back" if entry.record["kind"] == "rollback" else "promoted"
        for cause in self.open("alarm", "ask", "rollback", "approval", "suggestion"):
            if cause.about == "alias_moved":
                continue
            mine = cause.name == "alarm" or cause.decision == entry.key
            known = outcome if mine else "outdated"
            self.change(cause, entry, entry.key if mine else cause.decision, known, phase="ended", by_move=True)
        name = "rollback" if record["kind"] == "rollback" else "promotion"
        self.begin(entry, name, entry.key, record["kind"], outcome, phase="once")


_READERS = {
    "decision": _Story.look,
    "settlement": _Story.judged,
    "adoption": _Story.adopted,
    "approval": _Story.said,
    "move": _Story.moved,
}
