"""The windows of a training on one line of time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from lr_retune.records import micros
from lr_retune.report import svg
from lr_retune.report.blocks import day
from lr_retune.report.svg import BLUE, GREEN, INK, ORANGE, RIGHT, Axis

_SPANS = (("train", BLUE), ("valid", ORANGE), ("holdout", GREEN))
_TOP, _BAR, _HEIGHT = 26, 16, 64
_LEFT = 8


def spans_plot(plan: Mapping[str, Any]) -> str:
    """Train, valid and holdout as bars of their true length, as one SVG element."""
    spans = [(name, color, _at(plan[name]["start"]), _at(plan[name]["end"])) for name, color in _SPANS]
    known = [s for s in spans if s[3] > s[2]]
    low, high = min((s[2] for s in known), default=0.0), max((s[3] for s in known), default=1.0)
    x = Axis(low, high if high > low else low + 1, _LEFT, RIGHT)
    parts = []
    for name, color, start, end in known:
        left, width = x.at(start), max(x.at(end) - x.at(start) - 1.5, 1.0)
        told = svg.safe(f"{name}: {day(plan[name]['start'])} until {day(plan[name]['end'])}")
        box = f'x="{left:.1f}" y="{_TOP}" width="{width:.1f}" height="{_BAR}" rx="2" fill="{color}"'
        parts.append(f"<rect {box}><title>{told}</title></rect>")
        place, anchor = (RIGHT, "end") if name == known[-1][0] else (left, "start")
        parts.append(svg.text(place, _TOP - 8, name, anchor=anchor, color=color, size=12))
    if known:
        parts.append(svg.text(_LEFT, _HEIGHT - 6, day(plan[known[0][0]]["start"]), anchor="start", color=INK, size=11))
        parts.append(svg.text(RIGHT, _HEIGHT - 6, day(plan[known[-1][0]]["end"]), anchor="end", color=INK, size=11))
    return svg.picture("Windows: " + ", then ".join(s[0] for s in known), parts, height=_HEIGHT)


def _at(time: str) -> float:
    return float(micros(datetime.fromisoformat(time)))
