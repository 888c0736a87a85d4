"""What fresh data brought and what the new learning rate."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lr_retune.report.blocks import Block, Case, Figure, Section, between, finite, percent, share, table
from lr_retune.report.forest import Gain, forest_plot

PARTS = {
    "data": "fresh data, old rate",
    "rate": "new rate, same data",
    "interaction": "both together",
    "total": "all of it",
}


def section(case: Case) -> Section:
    """The parts of a gain."""
    return Section("gain", "What came from fresh data, what from the rate?", _answer(case), tuple(_blocks(case)))


def _answer(case: Case) -> str:
    found = case.judgement.get("attribution") or {}
    if case.settled is None or case.before is None:
        return "No gain was measured."
    data, rate = found.get("data"), found.get("rate")
    if not finite(data):
        return "Not known: the old rate was not fitted on the fresh data."
    if (case.result or {}).get("same_rate"):
        return f"The rate stayed: all of {percent(found.get('total'))} came with fresh data."
    return f"Fresh data at the old rate brought {percent(data)}, the new rate {percent(rate)} on top."


def _blocks(case: Case) -> Iterator[Block]:
    found = {name: value for name, value in (case.judgement.get("attribution") or {}).items() if finite(value)}
    if not found or case.before is None:
        return
    names = [*(n for n in PARTS if n in found), *sorted(set(found) - set(PARTS))]
    spread: dict[str, Any] = case.judgement.get("attribution_intervals") or {}
    rows = [
        (name, PARTS.get(name, name.replace("_", " ")), found[name], spread.get(name) or (None, None)) for name in names
    ]
    gains = [Gain(told, value, ends[0], ends[1]) for _, told, value, ends in rows]
    caption = "Parts of the gain, each a share of the champion's loss on the holdout."
    yield Figure(forest_plot("Where the gain came from", gains), caption)
    told = [(text, share(value), between(*ends) or "–") for _, text, value, ends in rows]
    yield table("Parts of the gain", ("part", "gain", "interval"), told, id="attribution")
