"""A replay as a picture, loss against work, and as a page that stands alone."""

from __future__ import annotations

import html
from collections.abc import Sequence

from lr_retune.records import canonical, plain
from lr_retune.replay.pareto import OURS, hull
from lr_retune.replay.table import Row, Table, notes
from lr_retune.report import svg
from lr_retune.report.svg import BLUE, BOTTOM, GREEN, INK, LEFT, ORANGE, RIGHT, TOP, Axis

_ROOM = 13  # pixels between two names
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse}th,td{padding:.2rem .6rem;text-align:right}"
    "th:first-child,td:first-child{text-align:left}tr{border-bottom:1px solid #8884}"
)
_HEAD = (
    "policy",
    "loss",
    "excess %",
    "retrains",
    "promotions",
    "rollbacks",
    "holds",
    "work in refits",
    "dominated by",
    "oracle +%",
)


_LEGEND = (
    "a hollow dot: another policy, or a mixture of two, has no more loss for no more work",
    "orange: your policy",
)


def loss_over_work(table: Table, title: str) -> str:
    """One SVG element: a dot per policy, the hull of those that are best at some price, and hindsight's curve.

    Work is drawn as log(1 + refits), so that none has a place.
    """
    rows = table.policies
    known = [row.loss for row in rows] + list(_curve(table))
    x, y = _work_axis(rows), svg.axis(known, BOTTOM, TOP)
    marks = [(1.0 + v, f"{v:,}") for v in (0, 1, 10, 100, 1000, 10_000) if 1 + v <= x.high]
    parts = svg.frame(x, y, "work, in refits at the old rate", "loss", marks)
    parts.append(svg.path([_place(x, y, row) for row in hull(rows)], color=BLUE, width=1.5))
    parts.append(svg.path([(x.at(1.0 + n), y.at(v)) for n, v in enumerate(_curve(table))], color=GREEN))
    parts += [_dot(x, y, row) for row in rows] + _names(x, y, rows)
    if table.oracle is not None:
        parts.append(
            svg.text(RIGHT, TOP - 8, "green: hindsight, with as many refits", anchor="end", color=GREEN, size=11)
        )
    parts.append(svg.text(LEFT, TOP - 8, "blue: best at some price of a refit", anchor="start", color=BLUE, size=11))
    return svg.picture(title, parts)


def _curve(table: Table) -> Sequence[float]:
    return () if table.oracle is None else table.oracle.loss


def _work_axis(rows: Sequence[Row]) -> Axis:
    return Axis(0.9, 1.6 * max(2.0, *(1.0 + row.refits_worth for row in rows)), LEFT, RIGHT, log=True)


def _place(x: Axis, y: Axis, row: Row) -> tuple[float, float]:
    return x.at(1.0 + row.refits_worth), y.at(row.loss)


def _dot(x: Axis, y: Axis, row: Row) -> str:
    color = ORANGE if row.name == OURS else INK if row.dominated_by else BLUE
    told = f"{row.name}: loss {row.loss:.4g}, {row.retrains} retrains, work of {row.refits_worth:.3g} refits"
    return svg.dot(*_place(x, y, row), color=color, hollow=row.dominated_by is not None, told=told)


def _names(x: Axis, y: Axis, rows: Sequence[Row]) -> list[str]:
    """Names beside the dots, moved apart from above to below where they would overlap."""
    parts: list[str] = []
    taken: list[tuple[float, float]] = []
    for row in sorted(rows, key=lambda r: (-r.loss, r.refits_worth)):
        (left, top), color = _place(x, y, row), ORANGE if row.name == OURS else INK
        ends = left > (LEFT + 3 * RIGHT) / 4
        place = top - 8 if ends else top + 4  # a line to the dot comes from the left
        while any(abs(place - other) < _ROOM and abs(left - seen) < 110 for seen, other in taken):
            place += _ROOM
        taken.append((left, place))
        at, anchor = (left - 8, "end") if ends else (left + 8, "start")
        if place > top + 4:  # a thin line leads from the dot to its name
            parts.append(f'<g opacity="0.5">{svg.line(left, top, at, place - 4)}</g>')
        parts.append(svg.text(at, place, row.name, anchor=anchor, color=color, size=11))
    return parts


def page(table: Table, title: str) -> str:
    """A page that asks for nothing and runs nothing: table, picture, advice, and the figures for machines."""
    cells = [_cells(row) for row in table.policies]
    body = "".join(f"<tr>{''.join(f'<td>{svg.safe(cell)}</td>' for cell in row)}</tr>" for row in cells)
    head = "".join(f"<th scope=col>{svg.safe(name)}</th>" for name in _HEAD)
    island = html.escape(canonical(plain(table)), quote=False)
    safe = svg.safe(title)
    told = "".join(f"<li>{svg.safe(note)}</li>" for note in [*_LEGEND, *notes(table)])
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{safe}</title>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<style>{_STYLE}</style></head><body><main><h1>{safe}</h1><p>{svg.safe(table.advice)}</p>"
        f"<figure>{loss_over_work(table, title)}</figure>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"<ul>{told}</ul>"
        f"<details><summary>figures</summary><pre>{island}</pre></details></main></body></html>\n"
    )


def _cells(row: Row) -> tuple[str, ...]:
    oracle = "–" if row.oracle_pct is None else f"{row.oracle_pct:.1f}"
    counts = (row.retrains, row.promotions, row.rollbacks, row.holds)
    return (
        row.name,
        f"{row.loss:.4g}",
        f"{row.excess_pct:.2f}",
        *map(str, counts),
        f"{row.refits_worth:.1f}",
        row.dominated_by or "–",
        oracle,
    )
