"""Axes and marks as SVG text; coordinates are finite whatever the numbers are."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 624, 24, 252  # of the plot area, in pixels
CENTRE, MIDDLE = (LEFT + RIGHT) / 2, (TOP + BOTTOM) / 2
# Mid tones: contrast of at least 4.2 : 1 with a white and with a dark page (#0d1117), so no style sheet is needed.
INK, BLUE, ORANGE, RED, GREEN = "#777777", "#3576e3", "#b8650a", "#dc3c3c", "#25855a"
_LARGEST = 1.7e308


@dataclass(frozen=True, slots=True)
class Axis:
    """Values to pixels; what lies outside is drawn at the edge."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """The pixel of a finite value."""
        low, high, inside = (self._scaled(v) for v in (self.low, self.high, value))
        share = (inside - low) / (high - low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def _scaled(self, value: float) -> float:
        return math.log(max(value, 5e-324)) if self.log else value / 4  # a quarter: differences stay finite

    def ticks(self) -> list[float]:
        """Round values within the axis, at most eight; its ends where there are none."""
        found = _decades(self.low, self.high) if self.log else _steps(self.low, self.high)
        return found if 2 <= len(found) <= 8 else [self.low, self.high]


def axis(values: Iterable[float], start: float, end: float, *, log: bool = False) -> Axis:
    """An axis around finite values, which are positive where it is logarithmic; a made-up one around none."""
    known = list(values) or [0.01, 0.1] if log else list(values) or [0.0, 1.0]
    low, high = min(known), max(known)
    if log:
        low, high = max(low / 1.15, 5e-324), min(high * 1.15, _LARGEST)
        return Axis(low, high if high > low else 2 * low, start, end, log)
    pad = 0.06 * (high / 4 - low / 4) * 4 or 0.05 * abs(low) or 1.0
    return Axis(max(low - pad, -_LARGEST), min(high + pad, _LARGEST), start, end)


def _steps(low: float, high: float) -> list[float]:
    rough = (high / 4 - low / 4) / 1.5
    size = 10.0 ** math.floor(math.log10(rough)) if rough > 1e-300 else 0.0
    step = next((size * m for m in (1, 2, 5, 10) if size * m >= rough), 0.0)
    if not step or not math.isfinite(low / step):
        return []
    first = math.ceil(low / step)
    return [v for k in range(9) if math.isfinite(v := (first + k) * step) and v <= high]


def _decades(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for digits in ((1, 2, 3, 5), (1, 3), (1,)):
        values = [float(f"{d}e{p}") for p in range(first, last + 1) for d in digits] if last - first < 40 else []
        if len(found := [v for v in values if low <= v <= high]) <= 8:
            return found
    return []


def text(x: float, y: float, content: str, *, anchor: str = "middle", color: str = INK, size: int = 12) -> str:
    """One line of escaped text."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="{color}">{safe(content)}</text>'
    )


def mark(x: float, y: float, label: str) -> str:
    """A tick's label below its place, moved where it would stick out at the right."""
    most = RIGHT + 10
    beyond = x + 3.5 * len(label) > most
    return text(most if beyond else x, y, label, anchor="end" if beyond else "middle", size=11)


def safe(content: str) -> str:
    """Text that cannot become markup; characters that XML forbids are left out."""
    return html.escape("".join(c for c in content if c.isprintable()))


def line(x1: float, y1: float, x2: float, y2: float, *, color: str = INK, dash: str = "", width: float = 1) -> str:
    """A straight line."""
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{color}" stroke-width="{width}"{dashed}/>'


def path(points: Sequence[tuple[float, float]], *, color: str, width: float = 1.5) -> str:
    """A line through points; nothing for fewer than two."""
    if len(points) < 2:
        return ""
    through = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{through}" fill="none" stroke="{color}" stroke-width="{width}" stroke-linejoin="round"/>'


def dot(x: float, y: float, *, color: str, radius: float = 4, hollow: bool = False, told: str = "") -> str:
    """A round mark with a tooltip."""
    fill = "none" if hollow else color
    shape = f'cx="{x:.1f}" cy="{y:.1f}" r="{radius}" fill="{fill}" stroke="{color}" stroke-width="1.5"'
    return f"<circle {shape}><title>{safe(told)}</title></circle>"


def frame(x: Axis, y: Axis, x_name: str, y_name: str, marks: Sequence[tuple[float, str]] | None = None) -> list[str]:
    """Grid lines, tick labels (``marks`` on the x axis where given) and the names of both axes."""
    parts = [line(LEFT, BOTTOM, RIGHT, BOTTOM)]
    for value in y.ticks():
        parts.append(f'<g opacity="0.25">{line(LEFT, y.at(value), RIGHT, y.at(value))}</g>')
        parts.append(text(LEFT - 6, y.at(value) + 4, f"{value:.5g}", anchor="end", size=11))
    for value, label in marks if marks is not None else [(v, f"{v:.4g}") for v in x.ticks()]:
        parts.append(line(x.at(value), BOTTOM, x.at(value), BOTTOM + 4))
        parts.append(mark(x.at(value), BOTTOM + 17, label))
    parts.append(text(CENTRE - 60, HEIGHT - 10, x_name))
    parts.append(text(8, HEIGHT - 10, f"↑ {y_name}", anchor="start"))
    return parts


def picture(name: str, parts: Iterable[str], *, height: float = HEIGHT) -> str:
    """A whole SVG element, with its name for screen readers."""
    # MLflow's viewer shows nothing of a picture without a width and a height of its own.
    size = f'width="{WIDTH}" height="{height:g}" viewBox="0 0 {WIDTH} {height:g}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{safe(name)}"'
    body = "\n".join(part for part in parts if part)
    return f'{head} font-family="system-ui, sans-serif">\n<title>{safe(name)}</title>\n{body}\n</svg>\n'
