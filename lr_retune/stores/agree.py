"""What the chain proves about every other row: heads, promotions, settlements, projections, tick losses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from lr_retune.records import canonical, iso
from lr_retune.stores import schema as db
from lr_retune.stores.chain import REGISTERED, Link, time_of
from lr_retune.stores.keys import BORN, key_of

MOVED = ("CLAIMED", "COMMITTED")


def disagreements(c: Connection, model: str, links: Sequence[Link], head: RowMapping | None) -> Iterator[str]:
    """One sentence per row that says something else than a chain that holds."""
    rows = {row["decision"]: row for row in _rows(c, db.promotions, model)}
    moves = [link for link in links if link.kind == "move"]
    settled = {link.key: link.record for link in links if link.kind == "settlement"}
    versions = _versions(links)
    yield from _head(model, head, moves, versions)
    yield from _moves(moves, rows, versions, settled)
    approved = {link.key for link in links if link.kind == "approval" and link.record["answer"] == "approved"}
    yield from _unapproved(moves, settled, approved)
    yield from _thawed(links)
    yield from _unmoved(rows, {move.key for move in moves}, list(settled.values()))
    decided = {link.key: link.record for link in links if link.kind == "decision"}
    for key, record in settled.items():
        yield from (f"settlement {key[:12]}: {told}" for told in _settlement(model, key, record, decided))
    shown = {row["key"] for row in _rows(c, db.projections, model)}
    yield from (f"{key[:12]} stands as shown in the registry and was never settled" for key in shown - set(settled))
    yield from _ticks(decided.values(), _rows(c, db.ticks, model))
    yield from _strangers(c)


def _rows(c: Connection, table: sa.Table, model: str) -> Sequence[RowMapping]:
    return c.execute(sa.select(table).where(table.c.model == model)).mappings().all()


def _versions(links: Sequence[Link]) -> dict[str, str | None]:
    """Decision of a move → its version in the registry, as last told by the chain."""
    found: dict[str, str | None] = {}
    for link in links:
        if link.kind == "move" and "version" in link.record:
            found[link.key] = link.record["version"]
        elif link.kind == REGISTERED:
            found |= link.record["versions"]
    return found


# ── who is champion ───────────────────────────────────────────────────────────────────────────────
def _head(
    model: str, head: RowMapping | None, moves: Sequence[Link], versions: Mapping[str, str | None]
) -> Iterator[str]:
    if head is None:
        return
    last = moves[-1].record.get("candidate") or "" if moves else ""
    if head["epoch"] != len(moves):
        yield f"the head of {model} has moved {len(moves)} times, its epoch says {head['epoch']}"
    if head["head"] != last:
        yield f"the head of {model} is {_named(head['head'])}, its last move says {_named(last)}"
    told = versions.get(moves[-1].key, head["version"]) if moves else None
    if head["version"] != told:
        yield f"the head of {model} is version {head['version']}, its last move says {told}"


def _moves(
    moves: Sequence[Link],
    rows: Mapping[str, RowMapping],
    versions: Mapping[str, str | None],
    settled: Mapping[str, Mapping[str, Any]],
) -> Iterator[str]:
    before = ""
    for epoch, move in enumerate(moves):
        record, row, about = move.record, rows.get(move.key), f"decision {move.key[:12]}"
        if record["expected"] != before:
            yield f"{about} moved the champion from {_named(record['expected'])}, it was {_named(before)}"
        before = record["candidate"]
        if row is None or row["state"] not in MOVED:
            state = "missing" if row is None else row["state"]
            yield f"{about} moved the champion in entry {move.seq}, its promotion is {state}"
            continue
        wanted = {"kind": record.get("kind", row["kind"]), "expected": record["expected"], "expected_epoch": epoch}
        wanted |= {"candidate": record["candidate"], "version": versions.get(move.key, row["version"])}
        yield from _differing(f"the promotion of {about}", row, wanted)
        by = settled.get(record.get("settlement", ""), {})
        if (next_ := by.get("next")) is not None and next_["model"] != record["candidate"]:
            yield f"{about} moved the champion to another model than the one that was judged"


def _unapproved(moves: Sequence[Link], settled: Mapping[str, Mapping[str, Any]], approved: set[str]) -> Iterator[str]:
    for move in moves:
        key = move.record.get("settlement", "")
        waits = settled.get(key, {}).get("waits") or {}
        if waits.get("mode") == "approval" and key not in approved:
            yield f"decision {move.key[:12]} waited for an approval, and moved the champion without one"


def _thawed(links: Sequence[Link]) -> Iterator[str]:
    """Promotions of a model that a rollback had frozen; ledgers from before freezing know forced ones."""
    frozen: set[str] = set()
    for link in links:
        if link.kind == "lift":
            frozen.discard(link.record["digest"])
        if link.kind != "move":
            continue
        if link.record.get("kind") == "promote" and link.record["candidate"] in frozen and not link.record.get("force"):
            yield f"decision {link.key[:12]} promoted model {_named(link.record['candidate'])}, which is frozen"
        if link.record.get("kind") == "rollback":
            frozen.add(link.record["expected"])


def _unmoved(rows: Mapping[str, RowMapping], moved: set[str], settled: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Promotions without a move: none may say it was done, nor speak of another model than was judged."""
    for decision, row in rows.items():
        if decision in moved:
            continue
        about = f"the promotion of decision {decision[:12]}"
        if row["state"] not in ("PREPARED", "ABANDONED"):
            yield f"{about} is {row['state']}, and no entry moved the champion"
        own = [s["next"] for s in settled if s["decision"]["id"] == decision and s.get("next")]
        if own and (row["candidate"], row["expected_epoch"] + 1) not in [(n["model"], n["epoch"]) for n in own]:
            yield f"{about} speaks of another model or epoch than its settlement"
        if own and row["version"] is not None:
            yield f"{about} names version {row['version']}, and no entry moved the champion"


# ── what was judged ───────────────────────────────────────────────────────────────────────────────
def _settlement(
    model: str, key: str, record: Mapping[str, Any], decided: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    try:
        again = key_of(model, record)
    except (KeyError, TypeError) as error:
        yield f"its record lacks {error}"
        return
    if {key, record.get("key", key)} != {again}:
        yield f"its content gives the key {again[:12]}"
    decision = record["decision"]
    if (known := decided.get(decision["id"])) is not None and known["decision"] != decision:
        yield "its decision is not the one that was filed"
    next_, challenger = record["next"], record["result"]["challenger"]
    if (next_ is not None) != (record["status"] in ("PASS", BORN)):
        yield f"its status is {record['status']}, and it names {'a' if next_ else 'no'} next champion"
    if next_ is None:
        return
    if (next_["decision"], next_["name"]) != (decision["id"], model):
        yield "its next champion is another decision's or another model's"
    if challenger is None or f'"{next_["model"]}"' not in canonical(record["result"]):
        yield "its next champion is no model of its result"
    if record["status"] == "PASS" and next_["epoch"] != record["champion"]["epoch"] + 1:
        yield "its next champion does not follow the one it beat"


# ── what was seen ─────────────────────────────────────────────────────────────────────────────────
def _ticks(decided: Iterable[Mapping[str, Any]], rows: Sequence[RowMapping]) -> Iterator[str]:
    """A tick loss stands as the decision with the latest labels saw it: both are written in one transaction."""
    wanted = latest_ticks(decided)
    for row in rows:
        start = iso(time_of(row["start"]))
        seen = wanted.pop((row["champion"], start), [])
        if _tick(row) not in [{name: tick[name] for name in _tick(row)} for tick in seen]:
            yield f"the loss of tick {start} of champion {_named(row['champion'])} is none that a decision saw last"
    for champion, start in wanted:
        yield f"the loss of tick {start} of champion {_named(champion)} is missing"


def latest_ticks(decided: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(champion, start) → the tick as seen with the latest labels; several looks may have had the same."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in decided:
        facts = record.get("facts") or {}
        for tick in facts.get("ticks", ()):
            at, cut = (facts["champion"], tick["start"]), facts["as_of"]
            seen = [other for other in found.get(at, []) if other["label_cut"] == cut]
            if seen or cut > max((other["label_cut"] for other in found.get(at, [])), default=""):
                found[at] = [*seen, {**tick, "label_cut": cut}]
    return found


def _tick(row: RowMapping) -> dict[str, Any]:
    times = {name: iso(time_of(row[name])) for name in ("start", "end", "label_cut")}
    return {**times, "rows": row["rows"], "matured": row["matured"], "loss": row["loss"], "mature": row["mature"]}


def _strangers(c: Connection) -> Iterator[str]:
    known = sa.select(db.heads.c.model)
    for table in (db.entries, db.promotions, db.projections, db.ticks):
        for name in c.execute(sa.select(table.c.model).where(table.c.model.not_in(known)).distinct()).scalars():
            yield f"{table.name} has rows of {name[:100]!r}, which has no head"


def _differing(about: str, row: RowMapping, wanted: Mapping[str, Any]) -> Iterator[str]:
    for name, value in wanted.items():
        if row[name] != value:
            yield f"{about} says {name} {_short(row[name])}, the chain says {_short(value)}"


def _named(digest: str) -> str:
    return digest[:12] or "nobody"


def _short(value: Any) -> str:
    return "nothing" if value in (None, "") else str(value)[:12]
