"""The picture of a range test: loss against a rate that rose within each fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from lr_retune.report import svg
from lr_retune.report.svg import BLUE, BOTTOM, CENTRE, INK, LEFT, MIDDLE, ORANGE, RIGHT, TOP, Axis

_LABELS = 36  # pixels above the plot for the names of band and rate


class Band(Protocol):
    """What one sweep says: a rate, and how far its noise lets it be told."""

    @property
    def low(self) -> float:
        """Lower end."""

    @property
    def rate(self) -> float:
        """What it suggests."""

    @property
    def high(self) -> float:
        """Upper end."""


Sweep = tuple[np.ndarray, np.ndarray, Band | None]


def range_plot(sweeps: Sequence[Sweep], fitted: float | None) -> str:
    """Loss on valid while the rate rises (log axis), as one SVG element; the band spans what all sweeps say.

    Losses far above where a sweep began are drawn at the upper edge.

    Parameters
    ----------
    sweeps
        Rates and losses, each of shape ``(steps,)``, and what the sweep says; None where it is flat.
    fitted
        The rate that was fitted after the test, None if none was.
    """
    shown = [_usable(*sweep) for sweep in sweeps]
    said = [band for _, _, band in shown if band is not None]
    marks = [*_positive(fitted), *(rate for band in said for rate in (band.low, band.high))]
    x = svg.axis([*(float(r) for rates, _, _ in shown for r in rates), *marks], LEFT, RIGHT, log=True)
    y = svg.axis([level for _, losses, _ in shown for level in _levels(losses)], BOTTOM, TOP + _LABELS)
    parts = svg.frame(x, y, "learning rate, rising", "curve loss on valid")
    parts += _band(said, x)
    for rate in _positive(fitted):
        parts.append(svg.line(x.at(rate), _LABELS, x.at(rate), BOTTOM, color=BLUE, dash="6 3", width=1.5))
        parts.append(svg.text(x.at(rate), 29, f"fitted {rate:.4g}", anchor=_anchor(x.at(rate)), color=BLUE))
    for sweep in shown:
        parts += _one(*sweep, x, y)
    if not said:
        parts.append(svg.text(CENTRE, MIDDLE, "flat: nothing is suggested" if shown else "no sweeps"))
    return svg.picture(_title(shown, said), parts)


def _usable(rates: np.ndarray, losses: np.ndarray, band: Band | None) -> Sweep:
    rates, losses = np.asarray(rates, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    count = min(len(rates), len(losses))
    good = np.isfinite(rates[:count]) & (rates[:count] > 0) & np.isfinite(losses[:count])
    known = band is not None and all(map(_positive, (band.low, band.rate, band.high)))
    return rates[:count][good], losses[:count][good], band if known else None


def _positive(rate: float | None) -> list[float]:
    return [rate] if rate is not None and math.isfinite(rate) and rate > 0 else []


def _levels(losses: np.ndarray) -> list[float]:
    """The part of the loss scale where the fall is seen, whatever the largest rates did."""
    return [float(losses.min()), float(losses[0]), float(np.sort(losses)[len(losses) // 2])] if len(losses) else []


def _band(said: Sequence[Band], x: Axis) -> list[str]:
    if not said:
        return []
    low, high = min(band.low for band in said), max(band.high for band in said)
    left, right = x.at(low), x.at(high)
    width = max(right - left, 1.0)
    shade = f'<rect x="{left:.1f}" y="{_LABELS}" width="{width:.1f}" height="{BOTTOM - _LABELS}" fill="{ORANGE}"/>'
    name = f"band {low:.4g} to {high:.4g}"
    return [f'<g opacity="0.15">{shade}</g>', svg.text(left, 14, name, anchor=_anchor(left), color=ORANGE)]


def _anchor(at: float) -> str:
    return "end" if at > CENTRE else "start"


def _one(rates: np.ndarray, losses: np.ndarray, band: Band | None, x: Axis, y: Axis) -> list[str]:
    points = [(x.at(float(rate)), y.at(float(loss))) for rate, loss in zip(rates, losses, strict=True)]
    parts = [svg.path(points, color=INK if band is None else BLUE)]
    if band is not None and len(rates):
        place = int(np.argmin(np.abs(np.log(rates) - math.log(band.rate))))
        told = f"{len(rates)} steps: suggests {band.rate:.4g}, {band.low:.4g} to {band.high:.4g}"
        parts.append(svg.dot(*points[place], color=ORANGE, told=told))
    return parts


def _title(shown: Sequence[Sweep], said: Sequence[Band]) -> str:
    what = f"{len(said)} suggest a rate" if said else "none suggests a rate"
    return f"Range test, loss on valid while the rate rises: {len(shown)} sweeps, {what}"
