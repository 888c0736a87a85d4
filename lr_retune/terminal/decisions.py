"""What was decided: a list that reads as a log, and one decision with its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.text import Text

from lr_retune.answers import clipped, ended, shaped, short, told_waits
from lr_retune.records import NOT_ASKED, Report, plain
from lr_retune.stores.pages import outcome_of
from lr_retune.stores.promotion import Stores
from lr_retune.terminal.base import REST, RIGHT, STYLES, WHOLE, grid, outcome, table, text, tone, trend, versus

ID = 8  # letters of an id in a list: enough for `lr-retune explain`
ARMS = ("challenger", "control", "fixed")
_SAID = {"control": "old rate, fresh data", "fixed": "fixed rate"}


def history(decisions: Sequence[Mapping[str, Any]], more: Sequence[str] = ()) -> RenderableType:
    """One line per decision, newest last.

    Parameters
    ----------
    more
        Lines that were asked for beside it.
    """
    if not decisions:
        return text("no decisions yet")
    made = table(
        ("as of", WHOLE), ("decision", WHOLE), ("action", WHOLE), ("outcome", WHOLE), ("ver.", RIGHT), ("why", REST)
    )
    made.expand = True
    days = all(each["as_of"][11:16] == "00:00" for each in decisions)
    for each in decisions:
        said, quiet = ended(each), each["outcome"] == "kept"
        made.add_row(
            text(each["as_of"][: 10 if days else 16].replace("T", " ")),
            text(each["id"][:ID], "quiet"),
            text(each["action"], "quiet" if quiet else "calm"),
            text(said.replace("_", " "), "quiet" if quiet else tone(str(each["outcome"]))),
            text(each["version"] or ""),
            text(each["why"], clip=True),
        )
    return Group(made, *map(text, more)) if more else made


def reported(found: Report) -> RenderableType:
    """A look or a run, as its command ends."""
    record: dict[str, Any] = {"decision": {"facts": plain(found.facts), "decision": plain(found.decision)}}
    if found.result is not None and found.judgement is not None:
        record["settlement"] = {"result": plain(found.result), "judgement": plain(found.judgement)}
    rate = f"{short(found.champion.learning_rate)}{shaped(found.champion.schedule)}"
    waits = [line.strip().partition(" ") for line in told_waits(found)]
    foot = [(name.rstrip(":"), said) for name, _, said in waits]
    foot += [("champion", f"version {found.champion.version}, rate {rate}")]
    return decision(record, found.outcome, [*foot, ("more", f"lr-retune explain {found.decision.id}")])


def explained(stores: Stores, record: Mapping[str, Any]) -> RenderableType:
    """What the ledger keeps of a decision."""
    id = next(e["decision"]["id"] for e in (record["decision"], record["settlement"], {"decision": {"id": ""}}) if e)
    came = outcome_of(stores, id) if id else ("rolled_back" if record["move"]["kind"] == "rollback" else "promoted")
    foot = [("page", f"lr-retune report --decision {id[:16]}")] if id else []
    if record["move"] is not None:
        foot = [(record["move"]["kind"], _changed(stores, record["move"])), *foot]
        newest = stores.moves[-1]
        if newest.kind != "bootstrap" and newest.champion.model == record["move"]["candidate"]:
            foot.append(("undo", "lr-retune rollback --reason …"))
    return decision(record, came, foot)


def _changed(stores: Stores, move: Mapping[str, Any]) -> str:
    """Who is champion then, by whose word."""
    made = next((stores.numbered(m) for m in stores.moves if m.champion.model == move["candidate"]), None)
    which = f"model {move['candidate'][:12]}" if made is None else f"version {made.version}"
    who = f" by {move['actor']}" if move.get("actor") else ""
    return f"champion is then {which}{who}{': ' + move['reason'] if move.get('reason') else ''}"


def decision(record: Mapping[str, Any], came: str, foot: Sequence[tuple[str, str]] = ()) -> RenderableType:
    """One decision with its evidence, from the ledger's records.

    Parameters
    ----------
    record
        ``decision``, ``settlement`` and ``move``, each None or absent where there is none.
    came
        Its outcome.
    foot
        What to say last: names and sentences.
    """
    blocks = [*_seen(record.get("decision")), *_judged(record.get("settlement"))]
    blocks += [Text(), grid((name, text(said)) for name, said in foot)] if foot else []
    told, at, id = _head(record)
    title = Text.assemble(text(told, "name"), " → ", outcome(came), text(f"  {at[:16].replace('T', ' ')} UTC"))
    style = STYLES[tone(came)] or "bright_black"
    return Panel(
        Group(*blocks), title=title, title_align="left", subtitle=text(id, "quiet"), subtitle_align="right",
        box=box.ROUNDED, border_style=style, padding=(0, 1),
    )  # fmt: skip


def _head(record: Mapping[str, Any]) -> tuple[str, str, str]:
    """Action, time and id."""
    seen, move = record.get("decision"), record.get("move")
    if seen is not None:
        return seen["decision"]["action"], seen["facts"]["as_of"], seen["decision"]["id"]
    known = move or record.get("settlement") or {}
    return known.get("kind", "bootstrap"), str(known.get("as_of", "")), ""


def _seen(entry: Mapping[str, Any] | None) -> Iterator[RenderableType]:
    if entry is None:
        return
    facts, loss = entry["facts"], entry["facts"].get("loss")
    reasons = [text(reason["text"]) for reason in entry["decision"]["reasons"]]
    rows: list[tuple[str | Text, RenderableType]] = [("why" if not i else "", r) for i, r in enumerate(reasons)]
    told = " ".join(reason["text"] for reason in entry["decision"]["reasons"])
    rows += [
        (
            text("fault" if f["matters"] else "told", "bad" if f["matters"] else "quiet"),
            text(f"{f['code']}: {f['what']}"),
        )
        for f in facts["faults"]
        if f["what"] not in told
    ]
    ticks = [tick["loss"] if tick.get("mature", True) else None for tick in facts["ticks"]]
    if loss is not None:
        between = f"  90 % {short(loss['low'])} to {short(loss['high'])}"
        said = Text.assemble(
            text(f"{short(loss['value'])} of {short(loss['promised'])} promised  "),
            versus(loss["value"], loss["promised"]),
        )
        rows.append(("loss", Text.assemble(trend(ticks, 40), "  ", said, text(between, "quiet"))))
    rows.append(("looked at", text(f"{facts['rows']:,} rows, {facts['matured_rows']:,} with a final label")))
    yield grid(rows)


def _judged(entry: Mapping[str, Any] | None) -> Iterator[RenderableType]:
    if entry is None:
        return
    result, judged = entry["result"], entry["judgement"]
    losses, beaten = judged["losses"], judged["losses"].get("champion")
    arms = table(
        ("holdout", WHOLE), ("rate", WHOLE), (result["step_unit"], RIGHT), ("loss", RIGHT), ("to champion", RIGHT)
    )
    if "champion" in losses:
        arms.add_row(text("champion"), text(""), text(""), text(beaten), text(""))
    for role in ARMS:
        if (arm := result.get(role)) is not None:
            rate = clipped(f"{short(arm['learning_rate'])}{shaped(arm['schedule'])}", 40)
            row = (text(_SAID.get(role, role)), text(rate), text(arm["steps"]), text(losses.get(role)))
            arms.add_row(*row, versus(losses.get(role), beaten))
    yield Text()
    yield arms
    asked = [v for v in judged["verdicts"] if v["code"] != NOT_ASKED]
    if asked:
        gates = table(
            ("verdict", WHOLE), ("code", WHOLE), ("gate", WHOLE), ("reason", {"overflow": "fold", "ratio": 1})
        )
        gates.expand = True
        for v in asked:
            gates.add_row(
                text(v["status"], tone(v["status"])), text(v["code"], "quiet"), text(v["gate"]), text(v["reason"])
            )
        yield Text()
        yield gates
    if notes := list(_notes(result, judged)):
        yield Text()
        yield grid(notes)


def _notes(result: Mapping[str, Any], judged: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    origin, look = judged.get("origin") or {}, judged.get("look") or {}
    promises = [v["promise"] for v in judged["verdicts"] if v.get("promise")]
    for name, said in (
        ("gain from", origin.get("told")),
        ("chosen for", result.get("reason")),
        ("may err", look.get("promise")),
    ):
        if said:
            yield name, text(said)
    for said in promises:
        yield "", text(said, "quiet")
