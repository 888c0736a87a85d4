"""What a search's trials say together: a smooth loss over the rate, its noise, and rates that cannot be told apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lr_retune.report import svg
from lr_retune.report.svg import BLUE, BOTTOM, GREEN, Axis


def levels(estimate: Mapping[str, Any] | None, lowest: float | None) -> list[tuple[float, float]]:
    """(rate, loss) along the smooth curve; empty where a search gave none."""
    if not estimate or lowest is None:
        return []
    return [(rate, lowest + abs(lowest) * above) for rate, above in estimate["curve"] if rate > 0 and above is not None]


def drawn(estimate: Mapping[str, Any], lowest: float, x: Axis, y: Axis, top: float) -> list[str]:
    """Zone, band of one standard deviation of a trial, and curve; below everything else."""
    curve = [(rate, loss) for rate, loss in levels(estimate, lowest) if loss <= y.high]
    wide = abs(lowest) * (estimate["noise"] or 0.0)
    return [*_zone(estimate, x, top), _band(curve, wide, x, y), _line(curve, x, y)]


def _zone(estimate: Mapping[str, Any], x: Axis, top: float) -> list[str]:
    low, high = estimate["low"], estimate["high"]
    if not low or not high:
        return []
    left, right = x.at(low), max(x.at(high), x.at(low) + 2)
    box = f'x="{left:.1f}" y="{top}" width="{right - left:.1f}" height="{BOTTOM - top:.1f}"'
    told = svg.safe(f"rates from {low:.4g} to {high:.4g} cannot be told from the best")
    return [f'<rect {box} fill="{GREEN}" opacity="0.12"><title>{told}</title></rect>']


def _band(curve: list[tuple[float, float]], wide: float, x: Axis, y: Axis) -> str:
    if len(curve) < 2 or not wide:
        return ""
    edge = [(x.at(r), y.at(v + wide)) for r, v in curve] + [(x.at(r), y.at(v - wide)) for r, v in curve[::-1]]
    through = " ".join(f"{a:.1f},{b:.1f}" for a, b in edge)
    return f'<polygon points="{through}" fill="{BLUE}" opacity="0.14"/>'


def _line(curve: list[tuple[float, float]], x: Axis, y: Axis) -> str:
    return svg.path([(x.at(r), y.at(v)) for r, v in curve], color=BLUE, width=2)
