"""What fresh data brought and what the new learning rate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lr_retune.report.blocks import Block, Case, Figure, Note, Section, between, finite, percent, share, table
from lr_retune.report.forest import Gain, forest_plot

PARTS = {
    "data": "fresh data, old rate",
    "rate": "new rate, same data",
    "interaction": "both together",
    "luck": "luck of these models' seeds",
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
    spread = {**((case.judgement.get("origin") or {}).get("effects") or {}), "total": case.paired}
    rows = [(PARTS.get(name, name.replace("_", " ")), found[name], spread.get(name) or {}) for name in names]
    gains = [Gain(told, value, ends.get("low"), ends.get("high")) for told, value, ends in rows]
    yield Figure(forest_plot("Where the gain came from", gains), _caption(case, spread))
    told = [(text, share(v), between(e.get("low"), e.get("high")) or "–", _finding(e)) for text, v, e in rows]
    yield table("Parts of the gain", ("part", "gain", case.interval, "beyond chance"), told, id="attribution")
    if said := (case.judgement.get("origin") or {}).get("told"):
        yield Note(said)


def _caption(case: Case, spread: Mapping[str, Any]) -> str:
    told = "Parts of the gain, each a share of the champion's loss on the holdout."
    if not any((spread.get(name) or {}).get("low") is not None for name in PARTS if name != "total"):
        return told
    seeds = (case.judgement.get("origin") or {}).get("seeds") or 1
    luck = f"of ticks and of {seeds} seeds" if seeds > 1 else "of ticks alone, as one seed was fitted"
    return (
        f"{told} Whiskers of the parts count the luck {luck}, by a method made to tell causes apart; that of all of it "
        "is the gate's. So the same fit may show two intervals."
    )


def _finding(effect: Mapping[str, Any]) -> str:
    """Whether chance is excluded: that of ticks, and that of seeds where several fits tell it."""
    low, high = effect.get("low"), effect.get("high")
    if low is None or high is None:
        return "–"
    if not (low > 0 or high < 0):
        return "no"
    return "yes" if effect.get("claimed", True) else "by ticks; seeds were not asked"
