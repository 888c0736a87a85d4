"""A model's timeline: gathers from the ledger what happened since its birth, and has it drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from lr_retune.records import Champion, TickLoss, iso
from lr_retune.report.timeline import Event, Life
from lr_retune.stores.chronicle import Move
from lr_retune.stores.promotion import Stores
from lr_retune.stores.status import past

_END = datetime.max.replace(tzinfo=UTC)


def timeline(stores: Stores) -> bytes:
    """The page of everything the ledger knows about a model."""
    from lr_retune.report.page import timeline_page  # Jinja: paid only here

    return timeline_page(life(stores))


def life(stores: Stores) -> Life:
    """Events by time, and the loss of whoever was champion at each tick."""
    entries = [e.record for e in stores.ledger.entries(stores.name) if e.kind == "settlement"]
    settled = {record["decision"]["id"]: record for record in entries}
    told = past(stores, _END)
    known = {each["id"] for each in told}
    told += [_moved(move) for move in stores.moves if move.id not in known]
    changed = {move.id: stores.numbered(move) for move in stores.moves}
    events = [_event(each, settled.get(each["id"]), changed.get(each["id"])) for each in told]
    unit = entries[-1]["result"]["step_unit"] if entries else "steps"
    return Life(stores.name, tuple(sorted(events, key=lambda e: (e.as_of, e.id))), _ticks(stores), unit)


def _moved(move: Move) -> dict[str, Any]:
    """A change of the champion without a decision of the policy: birth, or a person's word."""
    outcome = "rolled_back" if move.kind == "rollback" else "promoted"
    why = "the first champion" if move.kind == "bootstrap" else ""
    return {"id": move.id, "as_of": iso(move.as_of), "action": move.kind, "outcome": outcome, "why": why}


def _event(told: Mapping[str, Any], settled: Mapping[str, Any] | None, now: Champion | None) -> Event:
    made = Event(told["as_of"], told["id"], told["action"], told["outcome"], told["why"])
    if now is not None:
        made = replace(made, rate=now.learning_rate, version=now.version)
    if settled is None:
        return made
    gains = settled["judgement"].get("attribution") or {}
    steps = sum(column["steps"] for column in settled["result"]["cost"].values())
    return replace(made, steps=steps, data=gains.get("data"), new_rate=gains.get("rate"))


def _ticks(stores: Stores) -> tuple[TickLoss, ...]:
    """The newest champion that saw a tick tells its loss: it served it last."""
    found: dict[datetime, TickLoss] = {}
    for move in stores.moves:
        found |= {tick.start: tick for tick in stores.ledger.ticks(stores.name, move.champion.model)}
    return tuple(found[start] for start in sorted(found))
