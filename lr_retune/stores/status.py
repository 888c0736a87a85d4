"""Where one model stands and what was decided about it, read from the ledger."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lr_retune.config import Config, format_duration
from lr_retune.errors import ConfigError
from lr_retune.records import PastDecision, iso
from lr_retune.stores.promotion import Stores

STALE_TICKS = 2  # nobody has looked for that long: a dead scheduler


def standing(stores: Stores, config: Config, now: datetime) -> dict[str, Any]:
    """Champion, last look, last decision; ``stale`` when the last look is older than two ticks."""
    head = stores.ledger.head(stores.name)
    if not head.head:
        return {"name": stores.name, "champion": None, "last_look": None, "stale": False}
    champion = stores.champion(now)
    past = stores.history(now).decisions
    last = past[-1] if past else None
    looked = last.as_of if last else stores.history(now).born
    age = None if looked is None else now - looked
    return {
        "name": stores.name,
        "champion": {
            "version": champion.version,
            "learning_rate": champion.learning_rate,
            "loss": champion.promised,
            "since_decision": champion.decision,
        },
        "last_look": None if looked is None else iso(looked),
        "last_decision": None if last is None else last.id,
        "last_action": None if last is None else last.action,
        "last_outcome": None if last is None else last.outcome,
        "stale": age is None or age > STALE_TICKS * config.schedule.tick,
        "stale_after": format_duration(STALE_TICKS * config.schedule.tick),
        "alias_moved": stores.registry_alias_moved(),
        "problems": stores.ledger.verify(stores.name),
    }


def past(stores: Stores, until: datetime) -> list[dict[str, Any]]:
    """Every decision as of ``until``, oldest first, with its outcome and its first reason."""
    reasons = {
        e.key: e.record["decision"]["reasons"] for e in stores.ledger.entries(stores.name) if e.kind == "decision"
    }
    return [_past(d, reasons[d.id]) for d in stores.history(until).decisions]


def _past(decision: PastDecision, reasons: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "id": decision.id,
        "as_of": iso(decision.as_of),
        "action": decision.action,
        "outcome": decision.outcome or "unsettled",
        "why": reasons[0]["text"] if reasons else "",
        "reasons": reasons,
    }


def story(stores: Stores, decision: str) -> tuple[dict[str, Any], list[str]]:
    """One decision in full: the record for scripts, lines for people.

    Raises
    ------
    ConfigError
        If the ledger has no such decision.
    """
    found = [e for e in stores.ledger.entries(stores.name) if e.kind == "decision" and e.key.startswith(decision)]
    if len(found) != 1:
        raise ConfigError(
            f"{'no' if not found else 'more than one'} decision or code {decision!r}",
            why=f"the ledger of {stores.name} was searched",
            fix="see `lr-retune history`",
        )
    record = found[0].record
    settled = stores.settlement(record["decision"]["id"])
    lines = [f"decision {record['decision']['id']} as of {record['facts']['as_of']}: {record['decision']['action']}"]
    lines += [f"  · {r['text']}" for r in record["decision"]["reasons"]]
    lines += [f"  · fault {f['code']}: {f['what']}" for f in record["facts"]["faults"]]
    if settled is not None:
        lines += [
            f"  {v['status']:<12} {v['code']} {v['gate']}: {v['reason']}"
            for v in settled.record["judgement"]["verdicts"]
        ]
    return {"decision": record, "settlement": None if settled is None else settled.record}, lines
