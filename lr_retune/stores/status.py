"""Where one model stands and what was decided about it, read from the ledger."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from lr_retune.config import Config, format_duration
from lr_retune.errors import ConfigError, DependencyError, HeldError, IntegrityError, RetuneError
from lr_retune.records import Champion, History, PastDecision, iso
from lr_retune.stores.approvals import standing as standing_challengers
from lr_retune.stores.freeze import frozen
from lr_retune.stores.ledger import Entry
from lr_retune.stores.outbox import undelivered
from lr_retune.stores.promotion import Stores

STALE_TICKS = 2  # nobody has looked for that long: a dead scheduler
STALE_CODE = 1
RECENT = 40  # ticks of which the loss is told
SHORTEST = 4  # letters that may stand for a decision's id, as in git
_END = datetime.max.replace(tzinfo=UTC)
_FIRST = datetime.min.replace(tzinfo=UTC)


# ── where it stands ───────────────────────────────────────────────────────────────────────────────
def standing(stores: Stores, config: Config, now: datetime, *, simulated: bool = True) -> tuple[dict[str, Any], int]:
    """Champion, last look, last decision, problems; and the exit code.

    ``stale`` when the last look is older than two ticks: exit code 1. A broken chain (6) and a registry that does not
    answer (4) outrank it; a champion alias moved by hand (10) does not.
    """
    limit = STALE_TICKS * config.schedule.tick
    found: dict[str, Any] = {"name": stores.name, "champion": None, "last_look": None, "stale": False}
    found |= {"stale_after": format_duration(limit), "paused": None, "alias_moved": None, "problems": []}
    found |= {"approvals": [], "suggestions": [], "frozen": [], "undelivered": [], "loss": None, "recent": []}
    if not stores.ledger.head(stores.name).head:
        return found, 0
    history = stores.history(_END)
    last = history.decisions[-1] if history.decisions else None
    looked = last_look(history)
    moved, problems, code = _problems(stores)
    stale = is_stale(looked, config, now)
    if not simulated and looked is not None and looked - now > limit:  # it would silence the switch until then
        stale = True
        problems.append(f"the last look simulated {iso(looked)}, which is yet to come: nobody can tell who looks now")
    found |= {
        "champion": _champion(stores.champion(_END)),
        "last_look": None if looked is None else iso(looked),
        **_last(stores, last),
        "stale": stale,
        "paused": _pause(history, now),
        "frozen": frozen(stores),
        **_open(stores, now),
        "undelivered": undelivered(stores.ledger, config),
        "alias_moved": moved,
        "problems": problems,
    }
    return found, STALE_CODE if stale and code in (0, HeldError.exit_code) else code


def unknown(place: str, error: RetuneError) -> dict[str, Any]:
    """A model that cannot be read, in the same words."""
    found: dict[str, Any] = {"name": place, "champion": None, "last_look": None, "stale": False, "stale_after": None}
    found |= {"paused": None, "approvals": [], "suggestions": [], "frozen": [], "undelivered": []}
    found |= {"loss": None, "recent": []}
    return found | {"alias_moved": None, "problems": [str(error)]}


def last_look(history: History) -> datetime | None:
    """When somebody last observed; the birth of the champion counts."""
    return history.decisions[-1].as_of if history.decisions else history.born


def is_stale(looked: datetime | None, config: Config, now: datetime) -> bool:
    """Whether nobody has looked for two ticks."""
    return looked is None or now - looked > STALE_TICKS * config.schedule.tick


def _pause(history: History, now: datetime) -> dict[str, str] | None:
    if history.paused_until is None or not history.paused(now):
        return None
    return {"until": iso(history.paused_until), "by": history.paused_by, "reason": history.paused_why}


def _open(stores: Stores, now: datetime) -> dict[str, list[dict[str, Any]]]:
    """Challengers that a person may still answer for."""
    found = standing_challengers(stores, now)
    return {
        "approvals": [each for each in found if each["state"] in ("waiting", "approved")],
        "suggestions": [each for each in found if each["state"] == "suggested"],
    }


def _champion(found: Champion) -> dict[str, Any]:
    return {
        "version": found.version,
        "learning_rate": found.learning_rate,
        "loss": found.promised,
        "since_decision": found.decision,
    }


def _last(stores: Stores, last: PastDecision | None) -> dict[str, Any]:
    if last is None:
        return {"last_decision": None, "last_action": None, "last_outcome": None, "last_reasons": []}
    entry = stores.ledger.entry(stores.name, "decision", last.id)
    reasons = [] if entry is None else [reason["text"] for reason in entry.record["decision"]["reasons"]]
    return {
        "last_decision": last.id,
        "last_action": last.action,
        "last_outcome": last.outcome,
        "last_reasons": reasons,
        **({} if entry is None else _measured(entry.record["facts"])),
    }


def _measured(facts: dict[str, Any]) -> dict[str, Any]:
    """The loss that was seen last against its promise, and of the newest ticks whose labels are complete."""
    loss, ticks = facts["loss"], [tick["loss"] for tick in facts["ticks"] if tick["mature"]]
    names = ("value", "promised", "alarm")
    return {"loss": None if loss is None else {name: loss[name] for name in names}, "recent": ticks[-RECENT:]}


def _problems(stores: Stores) -> tuple[str | None, list[str], int]:
    """The moved alias, everything wrong in sentences, and the gravest exit code."""
    problems = stores.ledger.verify(stores.name)
    code = IntegrityError.exit_code if problems else 0
    try:
        moved = stores.registry_alias_moved()
    except DependencyError as error:
        return None, [*problems, str(error)], code or error.exit_code
    if moved is not None:
        ours = stores.ledger.head(stores.name).version
        problems.append(f"the registry's champion alias points at {moved}, the ledger says {ours}: runs are held")
    return moved, problems, code or (HeldError.exit_code if moved is not None else 0)


# ── what was decided ──────────────────────────────────────────────────────────────────────────────
def past(stores: Stores, until: datetime, now: datetime | None = None) -> list[dict[str, Any]]:
    """Every decision as of ``until``, oldest first, with its outcome, its first reason, and who was asked.

    ``now``: when an approval is held against its end; nothing expires without it.
    """
    asked = {each["decision"]: each for each in standing_challengers(stores, now or _FIRST)}
    reasons = {
        e.key: e.record["decision"]["reasons"] for e in stores.ledger.entries(stores.name) if e.kind == "decision"
    }
    versions = {row.decision: row.version for row in stores.ledger.promotions(stores.name)}
    return [
        _past(d, reasons[d.id], versions.get(d.id)) | {"approval": asked.get(d.id)}
        for d in stores.history(until).decisions
    ]


def _past(decision: PastDecision, reasons: list[dict[str, str]], version: str | None) -> dict[str, Any]:
    return {
        "id": decision.id,
        "as_of": iso(decision.as_of),
        "action": decision.action,
        "outcome": decision.outcome or "unsettled",
        "version": version if decision.outcome in ("promoted", "rolled_back") else None,
        "why": reasons[0]["text"] if reasons else "",
        "reasons": reasons,
    }


def full_id(stores: Stores, text: str) -> str:
    """The id that begins with ``text``, or ``text`` itself where there is none.

    Raises
    ------
    ConfigError
        If several do.
    """
    ids: set[str] = {e.record["decision"]["id"] for e in stores.ledger.entries(stores.name) if "decision" in e.record}
    ids |= {p.decision for p in stores.ledger.promotions(stores.name)}
    found = sorted(id for id in ids if id.startswith(text)) if len(text) >= SHORTEST else []
    if text in ids or not found:
        return text
    if len(found) > 1:
        raise ConfigError(
            f"{len(found)} decisions begin with {text!r}", why=", ".join(id[:16] for id in found[:5]), fix="write more"
        )
    return found[0]


def story(stores: Stores, text: str) -> tuple[dict[str, Any], list[str]]:
    """One decision in full: the record for scripts, lines for people.

    Raises
    ------
    ConfigError
        If the ledger has no such decision.
    """
    id = full_id(stores, text)
    entry, move = (stores.ledger.entry(stores.name, kind, id) for kind in ("decision", "move"))
    settled = stores.settlement(id)
    if entry is None and move is None:
        raise ConfigError(
            f"no decision or code {text!r}",
            why=f"the ledger of {stores.name} was searched; {SHORTEST} letters of an id are the fewest",
            fix="see `lr-retune history`",
        )
    lines = [] if entry is None else _decided(entry)
    lines += [] if settled is None else _judged(settled)
    lines += [] if move is None else _changed(stores, move)
    records = {"decision": entry, "settlement": settled, "move": move}
    return {name: None if e is None else e.record for name, e in records.items()}, lines


def _decided(entry: Entry) -> list[str]:
    decision, facts = entry.record["decision"], entry.record["facts"]
    return [
        f"decision {decision['id']} as of {facts['as_of']}: {decision['action']}",
        f"  seen: {facts['rows']} rows in {len(facts['ticks'])} ticks, {facts['matured_rows']} with a final label",
        *(f"  · {reason['text']}" for reason in decision["reasons"]),
        *(f"  · fault {fault['code']}: {fault['what']}" for fault in facts["faults"]),
    ]


def _judged(entry: Entry) -> list[str]:
    losses, result = entry.record["judgement"]["losses"], entry.record["result"]
    told = (entry.record["judgement"].get("origin") or {}).get("told")
    arms = [(role, result[role]) for role in ("challenger", "control", "fixed") if result[role] is not None]
    again = result.get("refit")
    return [
        f"  judged: {entry.record['status']}",
        *([f"    champion    loss {_short(losses['champion'])}"] if "champion" in losses else []),
        *(f"    {role:<11} loss {_short(losses.get(role))}  rate {arm['learning_rate']:.4g}" for role, arm in arms),
        *(
            f"    {v['status']:<12} {v['code']} {v['gate']}: {v['reason']}"
            for v in entry.record["judgement"]["verdicts"]
        ),
        *([f"  {told}"] if told else []),
        *(f"    {v['promise']}" for v in entry.record["judgement"]["verdicts"] if v.get("promise")),
        *([f"    fitted once more on all rows, to serve: model {again['model'][:12]}"] if again else []),
    ]


def _changed(stores: Stores, entry: Entry) -> list[str]:
    row, record = stores.ledger.promotion(stores.name, entry.key), entry.record
    champion = f"model {record['candidate'][:12]}" if row is None else f"version {row.version}"
    who = f" by {record['actor']}" if record.get("actor") else ""
    why = f": {record['reason']}" if record.get("reason") else ""
    return [f"  {record['kind']} as of {iso(entry.as_of)}{who}{why}; champion is then {champion}"]


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"
