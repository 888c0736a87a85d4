"""What the gate's figures hide: whether scores say what happens, and whether a lead lasts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from lr_retune.report.blocks import Block, Case, Figure, amount, day, number, several, share, short, table, unsigned
from lr_retune.report.two_lines import Point, lines_plot

_DAY = timedelta(days=1)


def blocks(case: Case) -> Iterator[Block]:
    """Reliability curves of a binary task, then losses along the holdout; nothing where older records have none."""
    if case.before is not None:
        yield from _calibration(case.judgement.get("calibration") or {})
        yield from _stretches(case, list(case.judgement.get("stretches") or ()))


def _calibration(found: Mapping[str, Sequence[Mapping[str, Any]]]) -> Iterator[Block]:
    if not found:
        return
    order = [name for name in ("champion", "challenger") if name in found]
    lines = {name: [_mark(each) for each in found[name]] for name in order}
    seen = "Reliability: rows by score, tenth by tenth. Dashed: where a score says what happens; above it, more "
    seen += "positives came than were foretold."
    picture = lines_plot("Reliability curves on the holdout", lines, ("mean score", "share of positives"), fair=True)
    yield Figure(picture, seen)
    rows = [
        (name, amount(each["rows"]), unsigned(each["predicted"]), unsigned(each["observed"]))
        for name in order
        for each in found[name]
    ]
    head = ("model", "rows", "mean score", "positives")
    yield table("Do scores say what happens?", head, rows, id="calibration", folded=True)


def _mark(each: Mapping[str, Any]) -> Point:
    told = f"{each['rows']:,} rows, mean score {short(each['predicted'])}, positives {short(each['observed'])}"
    return Point(each["predicted"], each["observed"], told)


def _stretches(case: Case, found: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    if len(found) < 2 or case.settled is None:
        return
    end = datetime.fromisoformat(case.settled["plan"]["train"]["end"])
    ages = [(datetime.fromisoformat(each["first"]) - end) / _DAY for each in found]
    names = ("champion", "challenger")
    lines = {name: [p for age, s in zip(ages, found, strict=True) if (p := _at(age, s, name))] for name in names}
    seen = f"Loss along the holdout, in {several(len(found), 'stretch', 'stretches')} of neighbouring ticks: a lead "
    seen += "that is luck, or that wears off, does not show in all of them."
    axes = ("days since the rows that the challenger learned from", case.metric)
    yield Figure(lines_plot("Loss along the holdout", lines, axes), seen)
    rows = [
        (day(s["first"]), number(age, 3), amount(s["rows"]), *(number(s["losses"].get(n)) for n in names), _gain(s))
        for age, s in zip(ages, found, strict=True)
    ]
    head = ("from tick", "days since training", "rows", *names, "gain")
    yield table("Loss as ticks pass", head, rows, id="stretches", folded=True)


def _at(age: float, stretch: Mapping[str, Any], name: str) -> Point | None:
    loss = stretch["losses"].get(name)
    return None if loss is None else Point(age, loss, f"{day(stretch['first'])}, {short(loss)}")


def _gain(stretch: Mapping[str, Any]) -> Any:
    old, new = (stretch["losses"].get(name) for name in ("champion", "challenger"))
    return share((old - new) / old if old and new is not None else None)
