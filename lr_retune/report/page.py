"""One decision as a self-contained HTML page; the only module that imports Jinja.

The page asks for nothing and runs nothing: its policy forbids scripts, its style is inline under a hash, its pictures
are SVG elements. Everything that is not a picture of our own making is escaped by the template engine.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lr_retune.records import plain
from lr_retune.report import timeline
from lr_retune.report.blocks import Block, Case, Figure, Section, Table, day, table
from lr_retune.report.headline import headline
from lr_retune.report.island import island
from lr_retune.report.plots import SHADES
from lr_retune.report.questions import answered
from lr_retune.report.svg import BLUE, GREEN, INK, ORANGE, RED
from lr_retune.report.timeline import Life
from lr_retune.report.vocabulary import vocabulary

_PLACE = Path(__file__).with_name("templates")
_THEMED = {INK: "ink", BLUE: "blue", ORANGE: "orange", RED: "red", GREEN: "green"}  # colours of pictures → of the page
LARGEST = 1_000_000  # bytes


def decision_page(case: Case) -> bytes:
    """The page of one decision; the same case gives the same bytes."""
    sections = [*answered(case), *_raw(case)]
    head = headline(case)
    title = f"{case.model} {day(case.as_of)}: {head.word}"
    return rendered(
        "decision.html",
        title=title,
        case=case,
        head=head,
        sections=sections,
        day=day(case.as_of),
        island=island(case),
    )


def timeline_page(life: Life) -> bytes:
    """The page of a model's life; the same life gives the same bytes."""
    ends = [day(event.as_of) for event in life.events] or [""]
    title = f"{life.model}: timeline"
    told = {"life": life, "since": ends[0], "until": ends[-1], "sections": timeline.sections(life)}
    return rendered("timeline.html", title=title, island=timeline.figures(life), **told)


def _raw(case: Case) -> list[Section]:
    """Rows as they are, only where the configuration asks for them."""
    if case.golden is None:
        return []
    columns: Mapping[str, Any] = case.golden["columns"]
    rows = zip(*columns.values(), case.golden["scores"], strict=True)
    shown: Table = table("Golden rows, whose scores identify the model", (*columns, "score"), rows, folded=True)
    told = "Shown because [report] raw_values is true. Do not pass this page on."
    return [Section("raw", "Which rows identify the challenger?", told, (shown,))]


def rendered(template: str, *, island: Mapping[str, Any], **context: Any) -> bytes:
    """A template of this room with style, policy and its figures for machines."""
    style = themed_style()
    found = (
        _environment()
        .get_template(template)
        .render(
            style=Markup(style),
            policy=policy(style),
            island=data_island(island),
            words=vocabulary(),
            **context,
        )
    )
    return found.encode()


def data_island(value: Mapping[str, Any]) -> Markup:
    """JSON that no character of can end the element it stands in."""
    text = json.dumps(plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&'":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def policy(style: str) -> str:
    """What the page may do: show its own style, nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


@lru_cache(maxsize=1)
def themed_style() -> str:
    """The style sheet, with a rule for every colour of the pictures."""
    rules = [
        f'figure [{part}="{color}"]{{{part}:var(--{name})}}'
        for color, name in _THEMED.items()
        for part in ("fill", "stroke")
    ]
    rules += [
        f'figure [{part}="{color}"]{{{part}:color-mix(in srgb,var(--blue) {100 * k / 6:.0f}%,var(--orange))}}'
        for k, color in enumerate(SHADES)
        if color not in _THEMED
        for part in ("fill", "stroke")
    ]
    return "\n".join([(_PLACE / "style.css").read_text(encoding="utf-8").strip(), *rules])


@lru_cache(maxsize=1)
def _environment() -> Environment:
    found = Environment(
        loader=FileSystemLoader(_PLACE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters["svg"] = Markup
    found.filters["kind"] = _kind
    found.filters["visible"] = visible
    return found


def _kind(block: Block) -> str:
    return type(block).__name__.lower()


def visible(text: str) -> str:
    r"""Text without characters that steer a terminal when it is copied from the page.

    >>> print(visible("a\x1b[31mb"))
    a␛[31mb
    """
    return re.sub(r"(?<=\d) (?=%)", "\u00a0", "".join(_shown(c) for c in text))  # a figure keeps its unit


def _shown(character: str) -> str:
    if character.isprintable():
        return character
    return chr(0x2400 + ord(character)) if ord(character) < 32 else "�"


def words(blocks: Iterable[Block]) -> list[str]:
    """Captions of all blocks, for tests and tables of contents."""
    return [block.caption for block in blocks if isinstance(block, (Table, Figure))]
