"""Who is affected: the gain slice by slice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lr_retune.report.blocks import (
    TONES,
    Block,
    Case,
    Cell,
    Figure,
    Note,
    Section,
    amount,
    between,
    several,
    share,
    table,
)
from lr_retune.report.forest import Gain, forest_plot

_FIGURE = r"([+-]?\d+(?:\.\d+)?)"
_SHOWN = re.compile(  # how the gate writes a slice's state, with or without gain, interval and rows
    rf"(HARM|OK|UNKNOWN)(?: {_FIGURE} %(?: \[{_FIGURE}, {_FIGURE}\])?)?(?: of (\d+) rows)?"
)
STATES = (
    "HARM: shown to lose more than 2 %, over all slices together. OK: safe, as a loss of 10 % is excluded. "
    "UNKNOWN: neither, or too few rows or ticks to tell."
)
_DRAWN = 24  # a longer picture is a table


def section(case: Case) -> Section:
    """Each slice's gain, and whether harm was shown."""
    return Section("slices", "Is anybody worse off?", _answer(case), tuple(_blocks(case)))


def _verdict(case: Case) -> Mapping[str, Any]:
    return next((v for v in case.verdicts if v["gate"] == "slices"), {})


def _answer(case: Case) -> str:
    if case.settled is None or case.before is None:
        return "No new model was compared, so nobody is."
    found = _verdict(case)
    if not found or not found.get("evidence"):
        return "Not known: [gates] slices names no column, so only all rows together were compared."
    return f"{found['status']}: {found['reason']}."


def _blocks(case: Case) -> Iterator[Block]:
    found = slice_gains(_verdict(case).get("evidence") or {})
    if not found:
        return
    ordered = sorted(found, key=lambda s: (s.state != "HARM", s.gain is None, s.gain or 0.0, s.name))
    gains = [Gain(s.name, s.gain, s.low, s.high, TONES[s.state]) for s in ordered[:_DRAWN] if s.gain is not None]
    if gains:
        known = any(s.low is not None for s in found)
        told = "Gain over the champion by slice" + (
            f"; whiskers: {case.interval}, each slice by itself." if known else "; this record holds no intervals."
        )
        yield Figure(forest_plot("Gain over the champion by slice", gains), told)
    head = ("slice", "state", "rows", "gain", case.interval)
    yield table(f"Slices, those with harm first. {STATES}", head, [_row(each) for each in ordered], id="slices")
    thin = sum(s.state == "UNKNOWN" for s in found)
    if thin:
        yield Note(f"{several(thin, 'slice')} too thin to be told; harm there may be missed.", "warn")


def _row(one: Slice) -> tuple[Any, ...]:
    state, ends = Cell(one.state, tone=TONES[one.state]), between(one.low, one.high)
    return one.name, state, amount(one.rows), share(one.gain), ends or "–"


@dataclass(frozen=True, slots=True)
class Slice:
    """One slice as the gate wrote it; what is not known is None."""

    name: str
    state: str
    gain: float | None = None
    low: float | None = None
    high: float | None = None
    rows: int | None = None  # older records do not hold it


def slice_gains(evidence: Mapping[str, Any]) -> list[Slice]:
    """What the gate wrote, older records included; what reads otherwise is left out.

    >>> told = {"country=FR": "HARM -3.1 % [-5.2, -1.0] of 812 rows", "country=DE": "UNKNOWN", "note": "else"}
    >>> for found in slice_gains(told):
    ...     print(found)
    Slice(name='country=FR', state='HARM', gain=-0.031, low=-0.052, high=-0.01, rows=812)
    Slice(name='country=DE', state='UNKNOWN', gain=None, low=None, high=None, rows=None)
    """
    read = [(name, _SHOWN.fullmatch(str(text))) for name, text in evidence.items()]
    return [Slice(name, m[1], _share(m[2]), _share(m[3]), _share(m[4]), _count(m[5])) for name, m in read if m]


def _share(percent: str | None) -> float | None:
    return None if percent is None else round(float(percent) / 100, 6)


def _count(rows: str | None) -> int | None:
    return None if rows is None else int(rows)
