"""Who is affected: the gain slice by slice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lr_retune.report.blocks import TONES, Block, Case, Cell, Figure, Note, Section, several, share, table
from lr_retune.report.forest import Gain, forest_plot

_SHOWN = re.compile(r"(HARM|OK|UNKNOWN)(?: ([+-]?\d+(?:\.\d+)?) %)?")  # how the gate writes a slice's state
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
    ordered = sorted(found, key=lambda s: (s[1] != "HARM", s[2] is None, s[2] or 0.0, s[0]))
    gains = [Gain(name, value, tone=TONES[state]) for name, state, value in ordered[:_DRAWN] if value is not None]
    if gains:
        yield Figure(forest_plot("Gain over the champion by slice", gains), "Gain over the champion by slice.")
    rows = [(name, Cell(state, tone=TONES[state]), share(value)) for name, state, value in ordered]
    yield table("Slices, those with harm first", ("slice", "state", "gain"), rows, id="slices")
    thin = sum(state == "UNKNOWN" for _, state, _ in found)
    if thin:
        yield Note(f"{several(thin, 'slice')} too thin to be told; harm there may be missed.", "warn")


def slice_gains(evidence: Mapping[str, Any]) -> list[tuple[str, str, float | None]]:
    """(slice, state, gain) of what the gate wrote; what reads otherwise is left out.

    >>> slice_gains({"country=FR": "HARM -3.1 %", "country=DE": "UNKNOWN", "note": "else"})
    [('country=FR', 'HARM', -0.031), ('country=DE', 'UNKNOWN', None)]
    """
    read = [(name, _SHOWN.fullmatch(str(text))) for name, text in evidence.items()]
    return [(name, m[1], round(float(m[2]) / 100, 6) if m[2] else None) for name, m in read if m]
