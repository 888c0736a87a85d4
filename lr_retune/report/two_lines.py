"""Champion and challenger as two lines of few points: reliability curves, and the loss as ticks pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lr_retune.report import svg
from lr_retune.report.blocks import finite
from lr_retune.report.svg import BLUE, BOTTOM, INK, LEFT, ORANGE, RIGHT, TOP, Axis

COLORS = {"champion": ORANGE, "challenger": BLUE}


@dataclass(frozen=True, slots=True)
class Point:
    """One mark with what it says."""

    x: float
    y: float
    told: str


def lines_plot(title: str, lines: Mapping[str, Sequence[Point]], names: tuple[str, str], *, fair: bool = False) -> str:
    """Lines by name as one SVG element.

    Parameters
    ----------
    names
        Of the axes.
    fair
        Draw the diagonal on which a score says what happens, with both axes from zero.
    """
    known = {name: [p for p in points if finite(p.x) and finite(p.y)] for name, points in lines.items()}
    every = [p for points in known.values() for p in points]
    x, y = _axes([p.x for p in every], [p.y for p in every], fair)
    parts = svg.frame(x, y, *names)
    if fair:
        end = min(x.high, y.high)
        parts.append(svg.line(x.at(0.0), y.at(0.0), x.at(end), y.at(end), color=INK, dash="4 3"))
    for i, (name, points) in enumerate(known.items()):
        color = COLORS.get(name, INK)
        parts.append(svg.path([(x.at(p.x), y.at(p.y)) for p in points], color=color, width=2))
        parts += [svg.dot(x.at(p.x), y.at(p.y), color=color, radius=3.5, told=f"{name}: {p.told}") for p in points]
        parts.append(svg.text(RIGHT - 96 * i, 14, name, anchor="end", color=color))
    return svg.picture(title, parts)


def _axes(xs: list[float], ys: list[float], fair: bool) -> tuple[Axis, Axis]:
    if not fair:
        return svg.axis(xs, LEFT + 12, RIGHT - 12), svg.axis(ys, BOTTOM, TOP)
    most = 1.05 * max([*xs, *ys], default=1.0) or 1.0
    return Axis(0.0, most, LEFT, RIGHT), Axis(0.0, most, BOTTOM, TOP)
