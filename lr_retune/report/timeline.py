"""A model's life on one page: production loss with what happened, the rates, what it all cost and brought."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lr_retune.records import TickLoss, micros
from lr_retune.report import svg
from lr_retune.report.blocks import (
    Block,
    Cell,
    Figure,
    Section,
    amount,
    day,
    finite,
    number,
    several,
    share,
    status,
    table,
)
from lr_retune.report.svg import BLUE, BOTTOM, CENTRE, GREEN, INK, LEFT, MIDDLE, ORANGE, RED, RIGHT, TOP, Axis

SMOOTHED = 15  # ticks that one point of the line is the median of
_MARKS = {  # outcome → colour and length of its upright
    "promoted": (GREEN, ""),
    "rolled_back": (RED, ""),
    "held": (RED, "2 3"),
    "rejected": (ORANGE, "2 3"),
    "inconclusive": (ORANGE, "2 3"),
    "awaiting_approval": (ORANGE, "6 3"),
    "suggested": (ORANGE, "6 3"),
}


@dataclass(frozen=True, slots=True)
class Event:
    """One decision, or one change of the champion without one."""

    as_of: str
    id: str
    action: str
    outcome: str
    why: str
    rate: float | None = None  # of the champion afterwards
    version: str | None = None
    steps: int = 0  # trained for it
    data: float | None = None  # gain that fresh data brought
    new_rate: float | None = None  # gain that a new rate brought


@dataclass(frozen=True, slots=True)
class Life:
    """What is known of a model from its birth on."""

    model: str
    events: tuple[Event, ...]  # by time
    ticks: tuple[TickLoss, ...]  # of whoever was champion then, by time
    unit: str = "steps"


def sections(life: Life) -> tuple[Section, ...]:
    """Loss, rates, cost, gains, and every decision."""
    return (_loss(life), _rates(life), _work(life), _gains(life), _log(life))


def _counted(life: Life) -> str:
    found = [event.outcome for event in life.events]
    return ", ".join(f"{found.count(name)} {name.replace('_', ' ')}" for name in dict.fromkeys(found))


def _loss(life: Life) -> Section:
    known = [t for t in life.ticks if t.loss is not None]
    told = f"{several(len(known), 'tick')} with a loss; {_counted(life)}." if known else f"{_counted(life)}."
    line = f"Dots: ticks. Line: the median of {SMOOTHED} neighbours."
    seen = f"{line} Solid: the champion changed. Dotted: somebody was judged or held, and the champion stayed."
    return Section("loss", "What did production lose, and what happened?", told, (Figure(_picture(life), seen),))


def _picture(life: Life) -> str:
    known = [t for t in life.ticks if t.loss is not None and t.mature]
    times = [*(float(micros(t.start)) for t in known), *(_at(e) for e in life.events)]
    x = Axis(min(times, default=0.0), max(times, default=0.0) + 1.0, LEFT + 6, RIGHT - 6)
    y = svg.axis([float(t.loss or 0.0) for t in known], BOTTOM, TOP)
    named = [(_at(e), day(e.as_of)[:10]) for e in life.events[:: max(1, -(-len(life.events) // 5))]]
    parts = svg.frame(x, y, "tick (UTC)", "loss", named)
    for event in life.events:
        if event.outcome in _MARKS:
            color, dash = _MARKS[event.outcome]
            told = svg.safe(f"{day(event.as_of)}: {event.outcome.replace('_', ' ')}. {event.why}")
            upright = svg.line(x.at(_at(event)), TOP, x.at(_at(event)), BOTTOM, color=color, dash=dash, width=1.5)
            parts.append(f"<g>{upright}<title>{told}</title></g>")
    seen = [(float(micros(t.start)), float(t.loss or 0.0)) for t in known]
    dots = "".join(svg.dot(x.at(at), y.at(loss), color=BLUE, radius=1.5) for at, loss in seen)
    parts.append(f'<g opacity="0.45">{dots}</g>')
    parts.append(svg.path([(x.at(at), y.at(loss)) for at, loss in _calm(seen)], color=BLUE, width=2))
    names = [name for name in _MARKS if any(e.outcome == name for e in life.events)]
    parts += [
        svg.text(RIGHT - 92 * i, 14, name.replace("_", " "), anchor="end", color=_MARKS[name][0], size=11)
        for i, name in enumerate(names)
    ]
    if not times:
        parts.append(svg.text(CENTRE, MIDDLE, "nothing yet", color=INK))
    return svg.picture(f"Production loss of {life.model} with {several(len(life.events), 'event')}", parts)


def _calm(seen: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The median of each tick and the neighbours around it: single odd ticks do not hide where the loss goes."""
    half = SMOOTHED // 2
    around = [sorted(loss for _, loss in seen[max(0, i - half) : i + half + 1]) for i in range(len(seen))]
    return [(at, near[len(near) // 2]) for (at, _), near in zip(seen, around, strict=True)]


def _at(event: Event) -> float:
    return float(micros(datetime.fromisoformat(event.as_of)))


def _rates(life: Life) -> Section:
    changed = [e for e in life.events if e.outcome in ("promoted", "rolled_back")]
    rates = list(dict.fromkeys(e.rate for e in changed))
    told = f"{several(len(changed), 'champion')} with {several(len(rates), 'learning rate')}."
    rows = [(day(e.as_of), e.version, number(e.rate), status(e.outcome), Cell(e.id[:16], code=True)) for e in changed]
    head = ("as of", "version", "learning rate", "how", "decision")
    return Section("rates", "Which learning rates served?", told, (table("Champions", head, rows, id="rates"),))


def _work(life: Life) -> Section:
    rows, total = [], 0
    for event in life.events:
        total += event.steps
        if event.steps:
            rows.append((day(event.as_of), event.action, amount(event.steps), amount(total)))
    head = ("as of", "action", f"{life.unit} trained", "until then")
    blocks: tuple[Block, ...] = (table("Counted work", head, rows, id="work"),) if rows else ()
    return Section("work", "What has it cost so far?", f"{total:,} {life.unit} of training in all.", blocks)


def _gains(life: Life) -> Section:
    judged = [e for e in life.events if finite(e.data) and e.outcome != "rejected"]
    kept = [e for e in judged if e.outcome == "promoted"]
    data, rate = (sum(getattr(e, name) or 0.0 for e in kept) for name in ("data", "new_rate"))
    told = f"Over {several(len(kept), 'promotion')}, fresh data brought {share(data).text} and new rates "
    told += f"{share(rate).text}, each a share of the champion's loss of its day, added up."
    rows = [(day(e.as_of), status(e.outcome), share(e.data), share(e.new_rate)) for e in judged]
    head = ("as of", "outcome", "fresh data", "new rate")
    blocks: tuple[Block, ...] = (table("Gains on the holdouts", head, rows, id="gains"),) if rows else ()
    return Section("gains", "What did fresh data bring, what the rates?", told, blocks)


def _log(life: Life) -> Section:
    rows = [
        (day(e.as_of), Cell(e.id[:16], code=True), e.action, status(e.outcome.replace("_", " ")), e.why)
        for e in reversed(life.events)
    ]
    shown = table("Decisions, the newest first", ("as of", "decision", "action", "outcome", "why"), rows, id="log")
    return Section("log", "What was decided, and why?", f"{several(len(life.events), 'decision')}.", (shown,))


def figures(life: Life) -> Mapping[str, Any]:
    """The same for machines."""
    ticks: Sequence[TickLoss] = life.ticks
    return {"schema_version": 1, "model": life.model, "events": life.events, "ticks": ticks, "unit": life.unit}
