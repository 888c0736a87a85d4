"""A person's word on a challenger that passed: who may give it, until when, and what it then does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lr_retune.errors import ConfigError, ConflictError, HeldError
from lr_retune.records import Champion, Waits, iso
from lr_retune.stores.chronicle import Said, waits_of
from lr_retune.stores.ledger import Entry
from lr_retune.stores.promotion import Stores

UNKNOWN_AUTHOR = "LRR410: nobody is known as the author of this challenger, so the approver was compared with nobody"


@dataclass(frozen=True, slots=True)
class Answered:
    """What an answer did."""

    champion: Champion  # after it
    said: Said  # the answer that stands
    repeated: bool  # it was given before, and nothing was done now
    notes: tuple[str, ...] = ()


def approve(stores: Stores, decision: str, *, actor: str, reason: str, now: datetime) -> Answered:
    """Promote a waiting challenger by the usual protocol, after everything its verdict said was verified again.

    The first answer stands: approving what was approved changes nothing, and finishes what a crash interrupted.

    Raises
    ------
    ConfigError
        If the decision waits for nobody, or actor or reason are missing.
    ConflictError
        If the champion has changed since the verdict, or the challenger was rejected.
    HeldError
        If the approver is the author, the approval has expired, or the challenger may not be promoted now.
    IntegrityError
        If the model files are not those that were judged.
    """
    entry, waits = _asked(stores, decision, actor, reason)
    if (said := stores.said.get(entry.key)) is not None:
        return _again(stores, entry, said, "approved")
    author = str(entry.record.get("author") or "")
    _refuse_author(author, actor, decision)
    _refuse_late(waits, decision, now)
    stores.refuse_unfit(entry)
    try:
        stores.refuse_overtaken(entry)
    except ConflictError:
        if (said := stores.said.get(entry.key)) is None:
            raise
        return _again(stores, entry, said, "approved")  # somebody gave the same answer, and it was this challenger
    stores.verify_files(entry.record["next"]["model"])
    said, first = _say(stores, entry, "approved", actor, reason, now)
    if not first:  # somebody else was faster
        return _again(stores, entry, said, "approved")
    return Answered(_promoted(stores, entry, said), said, repeated=False, notes=() if author else (UNKNOWN_AUTHOR,))


def reject(stores: Stores, decision: str, *, actor: str, reason: str, now: datetime) -> Answered:
    """Record that a waiting challenger is not wanted; the champion stays.

    Raises
    ------
    ConfigError
        If the decision waits for nobody, or actor or reason are missing.
    ConflictError
        If it was approved before.
    """
    entry, _ = _asked(stores, decision, actor, reason)
    said, first = _say(stores, entry, "rejected", actor, reason, now)
    if not first:
        return _again(stores, entry, said, "rejected")
    stores.show(entry)
    return Answered(stores.reigning, said, repeated=False)


def standing(stores: Stores, now: datetime) -> list[dict[str, Any]]:
    """Every challenger that was not promoted by its run, oldest first, and how it stands.

    ``state``: waiting, approved (not promoted yet), promoted, rejected, expired, outdated (the champion has changed
    since), suggested.
    """
    return list(_standing(stores, now))


def _standing(stores: Stores, now: datetime) -> Iterator[dict[str, Any]]:
    moved = {move.id for move in stores.moves}
    for settlement in stores.settlements:
        if (waits := settlement.waits) is None:
            continue
        entry = stores.settlement(settlement.decision)
        if entry is None or entry.key != settlement.key:
            continue
        said, next_ = stores.said.get(settlement.key), entry.record["next"]
        state = "promoted" if settlement.decision in moved else _state(stores, waits, said, entry, now)
        yield {
            "decision": settlement.decision,
            "mode": waits.mode,
            "state": state,
            "as_of": iso(settlement.as_of),
            "expires_at": None if waits.until is None else iso(waits.until),
            "learning_rate": next_["learning_rate"],
            "loss": next_["promised"],
            "author": entry.record.get("author") or None,
            "by": None if said is None else said.by,
            "reason": None if said is None else said.why,
        }


def _state(stores: Stores, waits: Waits, said: Said | None, entry: Entry, now: datetime) -> str:
    if said is not None and said.answer == "rejected":
        return "rejected"
    if not stores.unbeaten(entry):
        return "outdated"
    if said is not None:
        return "approved"
    if waits.mode == "suggest":
        return "suggested"
    return "expired" if waits.until is not None and now >= waits.until else "waiting"


def _asked(stores: Stores, decision: str, actor: str, reason: str) -> tuple[Entry, Waits]:
    if not actor.strip() or not reason.strip():
        raise ConfigError(
            "an answer needs --actor and --reason", why="the ledger keeps who said so, and why", fix="say who and why"
        )
    entry = stores.settlement(decision)
    waits = None if entry is None else waits_of(entry.record)
    if entry is None or waits is None or waits.mode != "approval":
        raise ConfigError(
            f"decision {decision[:12]} waits for no approval",
            why='only a challenger that passed while [promote] mode was "approval" does',
            fix="see `lr-retune status`; `lr-retune promote` takes what was only suggested",
        )
    return entry, waits


def _refuse_author(author: str, actor: str, decision: str) -> None:
    if author.strip().casefold() == actor.strip().casefold():
        raise HeldError(
            f"{actor} asked for the run of decision {decision[:12]} and cannot approve its challenger",
            why="four eyes see more than two",
            fix="let somebody else approve or reject it",
        )


def _refuse_late(waits: Waits, decision: str, now: datetime) -> None:
    if waits.until is not None and now >= waits.until:
        raise HeldError(
            f"the approval of decision {decision[:12]} could be given until {iso(waits.until)}",
            why="[promote] approval_expires and [gates] expires: production may have changed since the verdict",
            fix="`lr-retune run` judges anew",
        )


def _say(stores: Stores, entry: Entry, answer: str, actor: str, reason: str, now: datetime) -> tuple[Said, bool]:
    """File an answer; the ledger keeps one for each question, and tells whether it is this one."""
    decision = entry.record["decision"]["id"]
    body = {"answer": answer, "actor": actor, "reason": reason, "judged_by": decision}
    body |= {"author": entry.record.get("author") or None}
    filed = stores.ledger.append(stores.name, "approval", entry.key, now, body)
    said = stores.said[entry.key]
    mine = {name: filed.record[name] for name in body} == body and filed.as_of == now
    return said, mine


def _again(stores: Stores, entry: Entry, said: Said, wanted: str) -> Answered:
    if said.answer != wanted:
        raise ConflictError(
            f"decision {entry.record['decision']['id'][:12]} was {said.answer} by {said.by or 'somebody'} before",
            why=said.why,
            fix="the first answer stands; `lr-retune run` judges anew",
        )
    if said.answer == "approved" and not any(move.id == entry.record["decision"]["id"] for move in stores.moves):
        return Answered(_promoted(stores, entry, said), said, repeated=True)
    return Answered(stores.reigning, said, repeated=True)


def _promoted(stores: Stores, entry: Entry, said: Said) -> Champion:
    why = {"person": True, "actor": said.by, "reason": said.why}
    return stores.promote_settled(entry, why, said.as_of)
