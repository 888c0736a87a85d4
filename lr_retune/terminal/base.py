"""What every screen is made of: inert text, tones, trends, tables that fit the width."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from lr_retune.answers import printable, short
from lr_retune.masks import masked

TONES = {
    "good": ("promoted", "pass", "approved"),
    "bad": ("rejected", "fail", "error", "stale", "problem", "rolled_back", "frozen"),
    "warn": ("held", "inconclusive", "awaiting_approval", "suggested", "unsettled", "waits", "paused", "not told"),
}
STYLES = {"good": "green", "bad": "red", "warn": "yellow", "calm": "", "quiet": "bright_black", "name": "bold"}
BARS = "▁▂▃▄▅▆▇█"
NOTHING = "·"


def show(what: RenderableType) -> None:
    """Draw on standard output, as wide as the terminal is."""
    Console(file=sys.stdout, highlight=False, markup=False, emoji=False).print(what)


def text(value: Any, tone: str = "calm", *, clip: bool = False) -> Text:
    """Words that may hold names from a feed: no markup, no escape, no secret in them acts or shows."""
    said = short(value) if isinstance(value, float) else "–" if value is None else str(value)
    clipped = {"overflow": "ellipsis", "no_wrap": True} if clip else {}
    return Text(masked(printable(said)), style=STYLES[tone], **clipped)  # type: ignore[arg-type]


def tone(word: str) -> str:
    """How an outcome, a verdict or a sign of trouble looks."""
    return next((name for name, words in TONES.items() if word.lower() in words), "calm")


def outcome(word: str | None) -> Text:
    """An outcome in words and in its tone."""
    known = word or "unsettled"
    return text(known.replace("_", " "), "quiet" if known == "kept" else tone(known))


def trend(values: Sequence[float | None], width: int = 24) -> Text:
    """The newest values as bars, the lowest as the lowest; a dot where there is none.

    >>> trend([1.0, None, 2.0, 1.5]).plain
    '▁·█▅'
    """
    newest = list(values)[-width:]
    known = [v for v in newest if v is not None and math.isfinite(v)]
    low, span = min(known, default=0.0), max(known, default=0.0) / 2 - min(known, default=0.0) / 2
    shares = ((v / 2 - low / 2) / span if span > 0 else 0.0 for v in known)  # halves: no difference of two is too large
    heights = (BARS[round(share * (len(BARS) - 1))] for share in shares)
    drawn = (NOTHING if v is None or not math.isfinite(v) else next(heights) for v in newest)
    return Text("".join(drawn), style="cyan", no_wrap=True)


def versus(value: float | None, other: float | None) -> Text:
    """How far a loss lies above or below another, in per cent: below is better."""
    if value is None or not other or not math.isfinite(value / other):
        return text("")
    share = value / abs(other) - math.copysign(1.0, other)
    return text(f"{share:+.1%}", "good" if share < 0 else "bad" if share > 0 else "calm")


def grid(rows: Iterable[tuple[str | Text, RenderableType]]) -> Table:
    """Names on the left, what is said of them on the right."""
    made = Table.grid(padding=(0, 2))
    made.add_column(no_wrap=True)
    made.add_column(overflow="fold", ratio=1)
    for name, said in rows:
        made.add_row(text(name, "name") if isinstance(name, str) else name, said)
    return made


def table(*columns: tuple[str, dict[str, Any]]) -> Table:
    """A table under a thin line; a column's options are Rich's."""
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 1, 0, 0))
    for name, options in columns:
        made.add_column(name, **options)
    return made


RIGHT: dict[str, Any] = {"justify": "right", "no_wrap": True}
WHOLE: dict[str, Any] = {"no_wrap": True}
REST: dict[str, Any] = {"overflow": "ellipsis", "no_wrap": True, "ratio": 1}
