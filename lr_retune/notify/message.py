"""What a message says: a cause in the words of the decision's page, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lr_retune.answers import clipped, printable
from lr_retune.config import Config
from lr_retune.errors import RetuneError
from lr_retune.masks import masked
from lr_retune.records import iso
from lr_retune.report.headline import headline
from lr_retune.review import case_of
from lr_retune.stores.causes import Cause
from lr_retune.stores.outbox import Due
from lr_retune.stores.promotion import Stores

SCHEMA_VERSION = 1
LONGEST = 1_500  # characters of a sentence; chat services cut at 3,000 and more

_NAMES = {
    "data_incident": "data incident",
    "alarm": "loss alarm",
    "ask": "question for a person",
    "approval": "approval",
    "suggestion": "suggestion",
    "promotion": "promotion",
    "rollback": "rollback",
}
# What is done about it, by the outcome that scripts know.
_DONE = {
    "held": "held until somebody has acted",
    "mended": "the feed keeps its contract again",
    "kept": "nothing is trained yet",
    "over": "over",
    "accepted": "the world got harder, and its level is accepted",
    "rejected": "the challenger did not pass",
    "inconclusive": "the evidence does not suffice for the challenger",
    "suggested": "a challenger passed, nothing is promoted",
    "awaiting_approval": "a challenger passed and waits for a person",
    "approved": "approved, not promoted yet",
    "expired": "nobody answered in time",
    "outdated": "another champion came first",
    "promoted": "the challenger is champion",
    "rolled_back": "a former champion is champion again",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One message, ready to be sent."""

    key: str  # the same for the same message, however often it is sent
    title: str
    sentence: str
    fields: Mapping[str, Any]

    @property
    def body(self) -> bytes:
        """JSON for a webhook; chat services that take Slack's messages show its ``text``."""
        said = {**self.fields, "key": self.key, "sentence": self.sentence, "text": f"*{_chat(self.title)}*"}
        commands = self.fields.get("commands") or {}
        told = (_chat(self.sentence), *(f"{_chat(name)}: `{_chat(line)}`" for name, line in commands.items()))
        said["text"] = "\n".join([said["text"], *(line for line in told if line)])
        return masked(json.dumps(said, sort_keys=True, allow_nan=False)).encode()

    @property
    def plain(self) -> str:
        """The same for services that take text."""
        lines = (f"{name}: {line}" for name, line in (self.fields.get("commands") or {}).items())
        return masked("\n".join([self.sentence, *lines]))


def message(config: Config, stores: Stores, due: Due) -> Message:
    """What a channel is told of a cause as it stands."""
    cause, fields = due.cause, _fields(stores, due)
    done = "a first champion" if cause.action == "bootstrap" else _DONE.get(cause.outcome, f"{cause.action} is due")
    if cause.joined and due.event == "changed":
        done = "another fault has joined"
    ended = " is over" if due.event == "ended" else ""
    title = f"{config.name}: {_NAMES[cause.name]}{ended}{'' if done == 'over' else f': {done}'}"
    return Message(due.key, title, clipped(printable(_sentence(config, stores, cause)), LONGEST), fields)


def sample(config: Config, key: str, as_of: str) -> Message:
    """What `lr-retune notify --test` sends."""
    fields = {"schema_version": SCHEMA_VERSION, "model": config.name, "cause": "test", "event": "happened"}
    said = "This is a test: nothing has happened."
    fields |= {"since": as_of, "as_of": as_of, "action": "keep", "outcome": "kept", "decision": None, "run_id": None}
    return Message(key, f"{config.name}: a test message", said, {**fields, "commands": {"look": "lr-retune status"}})


def _fields(stores: Stores, due: Due) -> dict[str, Any]:
    cause, now = due.cause, stores.reigning
    return {
        "schema_version": SCHEMA_VERSION,
        "model": stores.name,
        "cause": cause.name,
        "id": cause.id,
        "event": due.event,
        "since": iso(cause.since),
        "as_of": iso(cause.as_of),
        "action": cause.action,
        "outcome": cause.outcome or None,
        "expires_at": None if cause.until is None else iso(cause.until),
        "champion": {"version": now.version, "learning_rate": now.learning_rate},
        "decision": cause.decision,
        "run_id": stores.run_of(cause.decision),
        "commands": _commands(cause, due.event),
    }


def _commands(cause: Cause, event: str) -> dict[str, str]:
    """What to type: to look, and to answer or undo."""
    id, found = cause.decision[:16], {"look": f"lr-retune explain {cause.decision[:16]}"}
    if event == "ended":
        return found
    if cause.name == "approval":
        return found | {"approve": f"lr-retune approve {id} --reason …", "reject": f"lr-retune reject {id} --reason …"}
    if cause.name == "suggestion" or (cause.name, cause.about) == ("ask", "not_promoted"):
        return found | {"promote": f"lr-retune promote {id}"}
    if cause.name == "data_incident":
        return found | {"compare": "lr-retune contract diff"}
    if cause.name == "promotion" and cause.action != "bootstrap":
        return found | {"undo": "lr-retune rollback --reason …"}
    return found


def _sentence(config: Config, stores: Stores, cause: Cause) -> str:
    """The page's first words about the decision that brought the cause where it stands."""
    try:
        found = headline(case_of(config, stores, cause.decision))
    except (RetuneError, KeyError):  # a ledger of older days, or files that are gone: the cause is told all the same
        return f"Decision {cause.decision[:16]} at {iso(cause.as_of)}."
    if cause.phase != "ended":
        joined = f"Joined since {cause.since:%Y-%m-%d %H:%M} UTC: {'; '.join(cause.joined)}." if cause.joined else ""
        return " ".join(part for part in (joined, found.sentence, found.lead) if part)
    ticks = (cause.as_of - cause.since) // config.schedule.tick
    lasted = "less than a tick" if not ticks else "1 tick" if ticks == 1 else f"{ticks} ticks"
    return f"It lasted {lasted}, since {cause.since:%Y-%m-%d %H:%M} UTC. {found.sentence} {found.lead}".strip()


def _chat(text: str) -> str:
    """Text in which a chat service finds no link and nobody to call, as Slack's documentation escapes it."""
    return printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
