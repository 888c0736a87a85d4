"""Gains with their intervals, one below the other, against the bounds that they were held to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lr_retune.report import svg
from lr_retune.report.blocks import Tone, finite, percent
from lr_retune.report.svg import BLUE, GREEN, INK, ORANGE, RED, RIGHT, Axis

_COLORS: dict[Tone, str] = {"good": GREEN, "bad": RED, "warn": ORANGE, "calm": BLUE}
_NAMES, _ROW, _HEAD, _FOOT = 216, 34, 30, 44  # pixels: width of the names, heights


@dataclass(frozen=True, slots=True)
class Gain:
    """One relative gain, better to the right."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    tone: Tone = "calm"


def forest_plot(title: str, gains: Sequence[Gain], bounds: Sequence[tuple[float, str]] = ()) -> str:
    """Gains as dots with whiskers, as one SVG element.

    Parameters
    ----------
    gains
        From top to bottom; one without a value keeps its line and a dash.
    bounds
        Shares with their names, drawn as dashed uprights.
    """
    bottom = _HEAD + _ROW * max(len(gains), 1)
    known = [v for g in gains for v in (g.value, g.low, g.high) if finite(v)]
    x = _scale([*known, *(at for at, _ in bounds)])
    parts = [svg.line(_NAMES, bottom, RIGHT, bottom)]
    for value in x.ticks():
        parts.append(f'<g opacity="0.25">{svg.line(x.at(value), _HEAD - 6, x.at(value), bottom)}</g>')
        named = percent(value, _digits(x)) if abs(value) > 1e-9 else "0 %"
        parts.append(svg.mark(x.at(value), bottom + 16, named))
    parts.append(svg.line(x.at(0.0), _HEAD - 6, x.at(0.0), bottom, width=1.5))
    for at, name in bounds:
        parts.append(svg.line(x.at(at), _HEAD - 6, x.at(at), bottom, color=ORANGE, dash="4 3", width=1.5))
        side = "middle" if at > 0 else "end"  # beside the line of no gain, not across it
        parts.append(svg.text(x.at(at), _HEAD - 12, name, anchor=side, color=ORANGE, size=11))
    for i, gain in enumerate(gains):
        parts += _one(gain, x, _HEAD + _ROW * i + _ROW / 2)
    parts.append(svg.text(_NAMES, bottom + 36, "← worse", anchor="start", size=11))
    parts.append(svg.text(RIGHT, bottom + 36, "better →", anchor="end", size=11))
    return svg.picture(title, parts, height=bottom + _FOOT)


def _scale(known: Sequence[float]) -> Axis:
    low, high = min([0.0, *known]), max([0.0, *known])
    pad = 0.08 * (high - low) or 0.01
    return Axis(low - pad, high + pad, _NAMES, RIGHT)


def _digits(x: Axis) -> int:
    return 0 if x.high - x.low > 0.08 else 1 if x.high - x.low > 0.008 else 2


def _one(gain: Gain, x: Axis, y: float) -> list[str]:
    color = _COLORS[gain.tone]
    parts = [svg.text(0, y + 4, _clipped(gain.name), anchor="start", size=12)]
    if gain.value is None or not finite(gain.value):
        return [*parts, svg.text(x.at(0.0) + 10, y + 4, "not known", anchor="start", color=INK, size=11)]
    told = f"{gain.name}: {percent(gain.value, 2)}"
    if gain.low is not None and gain.high is not None and finite(gain.low) and finite(gain.high):
        a, b = x.at(gain.low), x.at(gain.high)
        parts.append(svg.line(a, y, b, y, color=color, width=2.5))
        parts += [svg.line(end, y - 5, end, y + 5, color=color, width=2) for end in (a, b)]
        told += f", {percent(gain.low, 2)} to {percent(gain.high, 2)}"
    return [*parts, svg.dot(x.at(gain.value), y, color=color, radius=5, told=told)]


def _clipped(name: str) -> str:
    return name if len(name) <= 32 else f"{name[:31]}…"
