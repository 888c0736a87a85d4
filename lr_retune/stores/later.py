"""What became of a decision after its run: people's answers, and how its champion's reign ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lr_retune.records import iso
from lr_retune.stores.chronicle import Move
from lr_retune.stores.promotion import Stores


def later(stores: Stores, decision: str) -> tuple[dict[str, Any], ...]:
    """In order of time: ``what``, ``as_of``, ``who``, ``why``, and the ``version`` that is champion from then on."""
    return tuple(sorted(_found(stores, decision), key=lambda each: str(each["as_of"])))


def touched(stores: Stores, decision: str) -> tuple[str, ...]:
    """Decisions whose page tells something new once this one is told: itself, and whose champion it replaced."""
    moves = stores.moves
    return (decision, moves[-2].id) if len(moves) > 1 and moves[-1].id == decision else (decision,)


def _found(stores: Stores, decision: str) -> Iterator[dict[str, Any]]:
    settled = stores.settled(decision)
    said = None if settled is None else stores.said.get(settled.key)
    if said is not None:
        yield {"what": said.answer, "as_of": iso(said.as_of), "who": said.by, "why": said.why, "version": None}
    moves = list(stores.moves)
    for made, after in zip(moves, [*moves[1:], None], strict=True):
        if made.id != decision:
            continue
        if said is None and made.person and made.kind == "promote":
            yield _told(stores, made, "promoted")
        if after is not None:
            yield _told(stores, after, "rolled back" if after.kind == "rollback" else "replaced")


def _told(stores: Stores, move: Move, what: str) -> dict[str, Any]:
    entry = stores.ledger.entry(stores.name, "move", move.id)
    record = {} if entry is None else entry.record
    version = stores.numbered(move).version
    who, why = record.get("actor") or "", record.get("reason") or ""
    return {"what": what, "as_of": iso(move.as_of), "who": who, "why": why, "version": version}
