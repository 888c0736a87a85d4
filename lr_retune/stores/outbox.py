"""What each channel has been told of each cause, and when the next try is; what there is to tell the ledger knows.

Nothing is put in and taken out: a message is due where the cause stands otherwise than the channel was told. So a crash
between a decision and its message loses nothing, and one between a message and its note sends it twice, by one key.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from lr_retune.config import Config
from lr_retune.records import at, iso
from lr_retune.stores import schema as db
from lr_retune.stores.causes import Cause, causes
from lr_retune.stores.ledger import Ledger

MINUTE = 60_000_000  # microseconds
LONGEST = 10  # doublings of the wait: 17 hours
SINCE = 3  # version of the schema
_KNOWN = ""  # the cause of the row that says a channel is known


@dataclass(frozen=True, slots=True)
class Delivery:
    """How a channel stands to a cause."""

    told: str = ""  # key of the last message that arrived
    tries: int = 0  # in vain, since then
    error: str = ""
    next_at: int = 0  # microseconds UTC, real time


@dataclass(frozen=True, slots=True)
class Due:
    """A message that has not arrived."""

    cause: Cause
    channel: str
    key: str
    before: Delivery

    @property
    def event(self) -> str:
        """What the receiver learns: began, changed, ended, or happened."""
        if self.cause.phase == "open":
            return "changed" if self.before.told else "began"
        return "ended" if self.cause.phase == "ended" else "happened"


class Outbox:
    """The messages of one model.

    Parameters
    ----------
    channels
        Names of those in use.
    on
        Names of the causes that are told.
    """

    def __init__(self, ledger: Ledger, model: str, channels: Sequence[str], on: Collection[str]) -> None:
        self._ledger, self._model, self._channels, self._on = ledger, model, channels, on

    def join(self) -> None:
        """Let new channels begin: they are told what is open now, and whatever comes; not what is over."""
        for channel in self._channels:
            if _KNOWN not in self._told(channel):
                over = {c.id: c.key(self._model) for c in self._causes() if c.phase != "open"}
                self._ledger.writing(partial(self._join, channel=channel, over=over))

    def due(self) -> list[Due]:
        """Messages that have not arrived, those first that were tried least; each cause has one at most."""
        if not self._channels:
            return []
        wanted, told = [c for c in self._causes() if c.name in self._on], map(self._told, self._channels)
        found = [
            Due(cause, channel, cause.key(self._model), known.get(cause.id, Delivery()))
            for channel, known in zip(self._channels, told, strict=True)
            for cause in wanted
            if _KNOWN in known or cause.phase == "open"
        ]
        found = [each for each in found if each.before.told != each.key]
        found = [each for each in found if each.before.told or not each.cause.by_move]
        return sorted(found, key=lambda each: (each.before.tries, each.cause.as_of, each.cause.id))

    def take(self, due: Due, now: int, *, force: bool = False) -> bool:
        """Whether this process may try now; another does not before the wait is over, which doubles with each try."""
        wait = MINUTE * 2 ** min(due.before.tries, LONGEST)
        return self._ledger.writing(lambda c: self._take(c, due, now, now + wait, force=force))

    def arrived(self, due: Due) -> None:
        """Note that a message was received."""
        self._note(due, {"told": due.key, "tries": 0, "error": "", "next_at": 0})

    def failed(self, due: Due, error: str) -> None:
        """Note why it was not."""
        self._note(due, {"error": error[:200]})

    # ── inside ────────────────────────────────────────────────────────────────────────────────────
    def _causes(self) -> list[Cause]:
        return causes(self._ledger.entries(self._model))

    def _told(self, channel: str) -> dict[str, Delivery]:
        b = db.outbox.c
        query = sa.select(b.cause, b.told, b.tries, b.error, b.next_at).where(*self._of(channel))
        return self._ledger.reading(lambda c: {row[0]: Delivery(*row[1:]) for row in c.execute(query)})

    def _of(self, channel: str) -> tuple[sa.ColumnElement[bool], ...]:
        return db.outbox.c.model == self._model, db.outbox.c.channel == channel

    def _join(self, c: Connection, *, channel: str, over: Mapping[str, str]) -> None:
        known = set(c.execute(sa.select(db.outbox.c.cause).where(*self._of(channel))).scalars())
        rows = [{"cause": id, "told": key} for id, key in {_KNOWN: "", **over}.items() if id not in known]
        if _KNOWN not in known:
            c.execute(db.outbox.insert(), [{"model": self._model, "channel": channel, **row} for row in rows])

    def _take(self, c: Connection, due: Due, now: int, after: int, *, force: bool) -> bool:
        b, here = db.outbox.c, (*self._of(due.channel), db.outbox.c.cause == due.cause.id)
        seen = c.execute(sa.select(b.told, b.tries, b.next_at).where(*here).with_for_update()).first()
        if seen is None:
            place = {"model": self._model, "channel": due.channel, "cause": due.cause.id}
            c.execute(db.outbox.insert().values(**place, tries=1, next_at=after))
            return True
        if (seen.told, seen.tries) != (due.before.told, due.before.tries) or (seen.next_at > now and not force):
            return False
        c.execute(db.outbox.update().where(*here).values(tries=seen.tries + 1, next_at=after))
        return True

    def _note(self, due: Due, values: Mapping[str, object]) -> None:
        here = (*self._of(due.channel), db.outbox.c.cause == due.cause.id)
        self._ledger.writing(lambda c: c.execute(db.outbox.update().where(*here).values(**values)))


def undelivered(ledger: Ledger, config: Config) -> list[dict[str, Any]]:
    """What has not arrived, for `status`, `doctor` and scripts; reads only, a ledger of older days too."""
    asked = config.notify
    if not asked.channels or (ledger.schema or 0) < SINCE:
        return []
    found = Outbox(ledger, config.name, asked.channels, asked.on).due()
    return [_told(each) for each in found]


def _told(due: Due) -> dict[str, Any]:
    cause, before = due.cause, due.before
    return {
        "channel": due.channel,
        "cause": cause.name,
        "event": due.event,
        "since": iso(cause.since),
        "as_of": iso(cause.as_of),
        "action": cause.action,
        "outcome": cause.outcome or None,
        "decision": cause.decision,
        "tries": before.tries,
        "error": before.error or None,
        "next_try": iso(at(before.next_at)) if before.next_at else None,
    }
