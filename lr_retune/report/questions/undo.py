"""How to repeat a decision, how to undo it, and what proves that it is the one that was made."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from lr_retune.report.blocks import Block, Case, Cell, Commands, Section, cells, day, table


def section(case: Case) -> Section:
    """Commands, digests, environment."""
    return Section("undo", "How do I undo it, or repeat it?", _answer(case), tuple(_blocks(case)))


def _answer(case: Case) -> str:
    if case.ended is not None:
        return _over(case, case.ended)
    if case.outcome == "promoted" and case.before is None:
        return "It is the first champion: there is nothing to go back to."
    if case.outcome == "rolled_back" and case.before:
        return (
            f"Two commands put version {case.before['version']} back, which is frozen until a person allows it again."
        )
    if case.outcome == "promoted":
        return f"One command puts version {case.before['version']} back." if case.before else ""
    if case.outcome == "awaiting_approval":
        return "Nothing has changed yet: approve it or reject it."
    return "Production was not changed, so there is nothing to undo."


def _over(case: Case, ended: Mapping[str, Any]) -> str:
    made, back = (known.get("version") for known in (case.after, case.before or {}))
    told = f"Version {made} was {became(ended)} on {day(ended['as_of'])}."
    if ended["what"] == "rolled back":
        return f"{told} Two commands put it back, as the rollback froze it."
    undone = f"To undo this decision too, go back to version {back}. " if back else ""
    return f"{told} {undone}The commands below verify files and golden predictions first."


def became(each: Mapping[str, Any]) -> str:
    """``rolled back to version 1``, ``replaced by version 3``, ``approved``."""
    joint = {"rolled back": " to", "replaced": " by"}.get(each["what"])
    return f"{each['what']}{joint} version {each['version']}" if joint else str(each["what"])


def by(each: Mapping[str, Any]) -> str:
    """Who did it and why, where anybody said so."""
    return (f" by {each['who']}" if each["who"] else "") + (f": {each['why']}" if each["why"] else "")


def commands(case: Case) -> tuple[tuple[str, str], ...]:
    """(command, what it does), to be run in the folder of retune.toml."""
    id = case.decision["id"]
    return (*urgent(case), *_again(case), (f"lr-retune explain {id}", "the ledger's own record"))


def urgent(case: Case) -> tuple[tuple[str, str], ...]:
    """Of them, what undoes the decision or what it waits for."""
    id = case.decision["id"]
    return (*_undo(case, id), *_next(case, id))


def _undo(case: Case, id: str) -> Iterator[tuple[str, str]]:
    made, back = (None if known is None else known.get("version") for known in (case.after, case.before))
    ended = None if case.ended is None else case.ended["what"]
    if case.outcome in ("promoted", "rolled_back"):
        if back is not None and ended != "rolled back":
            yield from _to(back, "undo", frozen=case.outcome == "rolled_back")
        if made is not None and ended is not None:
            yield from _to(made, "put back what this decision made", frozen=ended == "rolled back")
    if case.outcome == "awaiting_approval":
        yield f'lr-retune approve {id} --reason "…"', "promote the challenger"
        yield f'lr-retune reject {id} --reason "…"', "keep the champion"


def _to(version: Any, what: str, *, frozen: bool) -> Iterator[tuple[str, str]]:
    name = shlex.quote(str(version))
    if frozen:
        why = f"first: version {version} was frozen by the rollback, and may be champion again"
        yield f'lr-retune lift {name} --reason "…"', why
    told = f"{what}: version {version} is champion again, after its files and golden predictions were verified"
    yield f'lr-retune rollback --to {name} --reason "…"', told


def _next(case: Case, id: str) -> Iterator[tuple[str, str]]:
    if case.decision["action"] == "fix_feed":
        yield "lr-retune contract diff", "what the feed holds against its contract, after it was mended"
        yield 'lr-retune contract accept --reason "…"', "or accept the feed as it is now"
    if case.outcome == "held" and case.settled is not None and case.settled["status"] == "PASS":
        yield f"lr-retune promote {id}", "promote the challenger that passed"


def _again(case: Case) -> Iterator[tuple[str, str]]:
    if not case.word:  # a person's word is not repeated by a command
        command = "bootstrap" if case.facts is None else "run"
        same = "repeat: the same rows and configuration give the same decision"
        yield f"lr-retune {command} --as-of {case.as_of}", same
    yield "lr-retune audit verify", "prove that the ledger is what was written"


def _blocks(case: Case) -> Iterator[Block]:
    yield Commands(commands(case))
    if case.later:
        told = [(became(each), day(each["as_of"]), each["who"] or "–", each["why"] or "–") for each in case.later]
        yield table("What became of it", ("what", "as of", "by", "why"), told, id="later")
    rows = [cells("decision", Cell(case.decision["id"], code=True)), cells("as of", case.as_of)]
    settled = case.settled or {}
    digests = {
        "champion before": (case.before or {}).get("model"),
        "challenger": ((case.result or {}).get("challenger") or {}).get("model"),
        "its refit on all rows": ((case.result or {}).get("refit") or {}).get("model"),
        "rows of all spans": (settled.get("plan") or {}).get("digest"),
        "configuration": settled.get("config"),
    }
    rows += [cells(name, Cell(digest, code=True)) for name, digest in digests.items() if digest]
    if "seed" in settled:
        rows.append(cells("seed", settled["seed"]))
    rows += [cells(f"version of {name}", text) for name, text in sorted((settled.get("environment") or {}).items())]
    rows += [cells(f"ledger row {e['row']}, {e['kind']}", Cell(e["digest"], code=True)) for e in case.chain]
    if case.move is not None:
        who = f", by {case.move['actor']}" if case.move.get("actor") else ""
        rows.append(cells("champion changed", f"{case.move['kind']} as of {day(case.move['as_of'])}{who}"))
    yield table("What it was made from", ("what", "value"), rows, id="identity", pairs=True)
