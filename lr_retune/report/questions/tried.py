"""What was tried: spans, trials and their learning curves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lr_retune.report.blocks import (
    Block,
    Case,
    Cell,
    Figure,
    Section,
    Table,
    amount,
    cells,
    day,
    number,
    several,
    status,
    table,
    trials,
)
from lr_retune.report.plots import curves_plot
from lr_retune.report.spans import spans_plot

IDLE = {
    "keep": "Nothing: the champion stays as it is, so no model was trained.",
    "fix_feed": "Nothing: no model is trained on a feed that is broken.",
    "ask": "Nothing: a person decides first.",
    "rollback": "Nothing new was trained: a former champion was put back.",
}

ROLES = {"candidate": "candidate", "control": "old rate", "fixed": "default rate"}


def section(case: Case) -> Section:
    """What was fitted on which rows."""
    return Section("tried", "What was tried?", _answer(case), tuple(_blocks(case)))


def _answer(case: Case) -> str:
    result = case.result
    if result is None:
        return IDLE.get(case.decision["action"], "Nothing was judged.")
    found = result["trials"]
    ended = [(state, sum(t["state"] == state for t in found)) for state in dict.fromkeys(t["state"] for t in found)]
    states = ", ".join(f"{count} {state}" for state, count in ended)
    what = "A refit at the champion's rate on fresh data" if result["strategy"] == "refit" else _searched(result)
    shared = sum(str(t["note"] or "").startswith("the fit of trial") for t in found)
    same = f", of which {shared} {'is' if shared == 1 else 'are'} the fit of another one" if shared else ""
    return f"{what}: {several(len(found), 'trial')} ({states}){same}."


def _searched(result: Mapping[str, Any]) -> str:
    return f"The learning rate was searched anew by {result['strategy']}, on {result['family']}"


def _blocks(case: Case) -> Iterator[Block]:
    result = case.result
    if case.settled is None or result is None:
        return
    plan = case.settled["plan"]
    yield Figure(spans_plot(plan), "Each span is later than the one before it; the judge's rows served nothing else.")
    rows = [
        (name, day(plan[name]["start"]), day(plan[name]["end"]), amount(plan["rows"].get(name)), use)
        for name, use in (("train", "fitted on"), ("valid", "the rate was chosen on"), ("holdout", "judged on, once"))
        if plan[name]["start"] != plan[name]["end"]  # where nothing is chosen, nothing is held back for it
    ]
    yield table("Windows", ("span", "from", "until", "labelled rows", "use"), rows)
    fitted = [t for t in trials(result) if not t.schedule.startswith(("range(", "average("))]
    if any(t.role == "candidate" and t.curve for t in fitted):
        seen = f"Loss on valid after each of the {result['step_unit']}; a dot where it was lowest."
        yield Figure(curves_plot(fitted, result["step_unit"]), seen)
    yield _table(result)


def _table(result: Mapping[str, Any]) -> Table:
    won, refit = (result["challenger"] or {}).get("learning_rate"), result["strategy"] == "refit"
    shaped = any(t["schedule"] != "constant" for t in result["trials"])
    rows = [
        cells(
            t["number"],
            _role(t, won, refit=refit),
            number(t["learning_rate"]),
            *([t["schedule"]] if shaped else []),
            amount(t["steps"]),
            number((t.get("cost") or {}).get("steps"), 9),
            number(t["loss"]),
            status(t["state"]),
            t["note"] or "",
        )
        for t in result["trials"]
    ]
    schedule = ("schedule",) if shaped else ()
    head = ("no.", "role", "learning rate", *schedule, result["step_unit"], "trained", "loss on valid", "ended", "note")
    return table("Trials", head, rows, id="trials", folded=len(rows) > 12)


def _role(trial: Mapping[str, Any], won: float | None, *, refit: bool) -> Cell:
    role = ROLES.get(trial["role"], trial["role"])
    if refit and trial["role"] == "control":
        return Cell(f"{role}: challenger", tone="good")
    chosen = trial["role"] == "candidate" and trial["learning_rate"] == won
    return Cell(f"{role}, chosen", tone="good") if chosen else Cell(role)
