"""Why now: reasons, the loss over time, what columns and scores say, labels, faults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lr_retune.report.blocks import (
    Block,
    Case,
    Cell,
    Figure,
    Note,
    Section,
    Table,
    amount,
    day,
    number,
    percent,
    several,
    share,
    short,
    table,
    ticks,
)
from lr_retune.report.plots import series_plot

SERVING = (
    "It is the loss of the model that serves; the gate scores the same champion as it was judged, "
    "before its refit on all rows, so the two differ on the same rows."
)


def section(case: Case) -> Section:
    """What was seen, and which reasons it gave."""
    return Section("why", "Why now?", _answer(case), tuple(_blocks(case)))


def _answer(case: Case) -> str:
    reasons = case.decision.get("reasons") or []
    if not reasons and case.word:
        return _sentence(case.word)
    if not reasons:
        return "It is the first champion: there was none to keep." if case.facts is None else "No reason was recorded."
    return _sentence(reasons[0]["text"])


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _blocks(case: Case) -> Iterator[Block]:
    if reasons := case.decision.get("reasons"):
        rows = [(Cell(r["code"], code=True), r["text"]) for r in reasons]
        yield table("Reasons, the first one decided", ("code", "reason"), rows)
    if case.facts is None:
        return
    yield from _loss(case.facts)
    yield from _faults(case.facts)
    yield from _signals(case.facts)
    yield from _drift(case.facts)


def _loss(facts: Mapping[str, Any]) -> Iterator[Block]:
    seen, loss = ticks(facts), facts["loss"] or {}
    if not seen:
        return
    promised = loss.get("promised")
    mature = sum(t.mature for t in seen)
    told = f"The champion's loss in the {several(len(seen), 'tick')} that are watched"
    told += f"; {len(seen) - mature} hollow, whose labels are not complete" if mature < len(seen) else ""
    yield Figure(series_plot(seen, promised), f"{told}. {SERVING}")
    rows: list[tuple[Any, ...]] = [
        ("mean loss of complete ticks", number(loss.get("value"))),
        ("90 % interval, by the spread between ticks", f"{short(loss.get('low'))} to {short(loss.get('high'))}"),
        ("promised when it was judged", number(promised)),
        ("evidence of a rise (CUSUM), in spreads of a tick", number(loss.get("cusum"))),
    ]
    if loss.get("since"):
        rows.append(("likely start of a change", day(loss["since"])))
    if loss.get("visible") is not None:
        rows.append(("smallest rise that would show within 14 ticks", share(loss["visible"])))
    rows += [("label horizon", day(facts["horizon"])), ("rows seen", amount(facts["rows"]))]
    rows.append(("rows whose label is final", amount(facts["matured_rows"])))
    yield table("Production in figures", ("what", "value"), rows if loss else rows[-3:], pairs=True)
    yield _per_tick(facts)


def _per_tick(facts: Mapping[str, Any]) -> Table:
    rows = [
        (day(t["start"]), amount(t["rows"]), amount(t["matured"]), _share_of(t), number(t["loss"]), _state(t))
        for t in facts["ticks"]
    ]
    head = ("tick", "rows", "labelled", "coverage", "loss", "labels")
    return table("Loss and label coverage tick by tick", head, rows, id="ticks", folded=True)


def _share_of(tick: Mapping[str, Any]) -> Cell:
    covered = tick["matured"] / tick["rows"] if tick["rows"] else None
    return Cell(percent(covered, 0, signed=False), covered)


def _state(tick: Mapping[str, Any]) -> str:
    return "complete" if tick.get("mature", True) else "still arriving"


def _faults(facts: Mapping[str, Any]) -> Iterator[Block]:
    if facts["faults"]:
        rows = [
            (
                Cell(f["code"], code=True),
                f["column"],
                f["what"],
                Cell("blocks", tone="bad") if f["matters"] else Cell("told"),
                f["fix"],
            )
            for f in facts["faults"]
        ]
        yield table("What is wrong with the feed", ("code", "column", "what", "weight", "what to do"), rows)
    if facts.get("alias_moved"):
        yield Note(f"The champion alias was moved by hand; it points at {facts['alias_moved']}.", "warn")


def _signals(facts: Mapping[str, Any]) -> Iterator[Block]:
    probe = facts.get("probe")
    if probe:
        told = f"A small fresh model was better than a stale twin by {short(probe['gain'])} (standard error "
        told += f"{short(probe['error'])}) on {several(probe['ticks'], 'tick')}: what a retrain would bring."
        yield Note(told)
    raised = [s for s in (facts.get("suspicion") or {}).get("signals", ()) if s["raised"]]
    if raised:
        rows = [
            (s["name"], number(s["value"]), f"{short(s['usual'][0])} to {short(s['usual'][1])}", number(s["limit"]))
            for s in raised
        ]
        head = ("signal", "newest tick", "usual", "limit")
        yield table("Beyond what they usually do, before any label", head, rows)


def _drift(facts: Mapping[str, Any]) -> Iterator[Block]:
    found = sorted(facts["drift"], key=lambda d: (-_weight(d), d["column"]))
    if not found:
        return
    rows = [
        (
            d["column"],
            share_of_importance(d),
            number(d["robust"]),
            number(d["statistic"]),
            number(d["threshold"]),
            number(_weight(d)),
            Cell("drifted", tone="warn") if d["drifted"] else Cell("–"),
        )
        for d in found
    ]
    head = ("column", "importance", "effect, robust", "as Evidently has it", "limit", "importance × effect", "verdict")
    moved = sum(d["drifted"] for d in found)
    caption = f"Drift by importance × effect: {moved} of {len(found)} moved; drift alone retrains nothing"
    yield table(caption, head, rows, id="drift", folded=True)


def _weight(drift: Mapping[str, Any]) -> float:
    return float((drift["robust"] or 0.0) * (drift["importance"] or 0.0))


def share_of_importance(drift: Mapping[str, Any]) -> Cell:
    """The column's importance to the champion."""
    return Cell(percent(drift["importance"], signed=False), drift["importance"])
