"""Figures as plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tests.benchmarks.search.figures import Bar, Line, interval

SAID = {True: "yes", False: "NO", None: "told"}
HEAD = (
    "",
    "work %",
    "CPU %",
    "refit %",
    "regret %: mean",
    "median",
    "p90",
    "max",
    "lowest: mean",
    "later %: mean",
    "95 % of means",
    "worst set",
)


def results(lines: Sequence[Line]) -> str:
    """One line per row."""
    return aligned([HEAD, *map(_cells, lines)])


def _cells(line: Line) -> tuple[str, ...]:
    low, high = interval(line.later)
    return (
        line.name,
        f"{line.work:.1f}",
        f"{line.cpu:.1f}",
        f"{line.refit:.0f}" if line.refit else "-",
        f"{np.mean(line.regret):.2f}",
        f"{line.middle:.2f}",
        f"{line.p90:.2f}",
        f"{max(line.regret):.2f}",
        f"{line.lowest:.2f}",
        f"{np.mean(line.later):+.2f}",
        f"[{low:+.2f}, {high:+.2f}]",
        f"{max(line.later):+.1f}",
    )


def serving(lines: Sequence[Line], peaks: Mapping[str, float], held: str) -> str:
    """What is served, and the memory that its search took."""
    head = ("", "steps", "ms/1,000 rows", f"MB above {held}")
    told = {name: f"{peak:.0f}" for name, peak in peaks.items()}
    shown = [(x.name, f"{x.steps:.0f}", f"{x.serving:.2f}", told.get(x.name, "-")) for x in lines]
    return aligned([head, *shown])


def by_set(names: Sequence[str], parts: Mapping[str, Mapping[str, Line]]) -> str:
    """Work, mean regret and later loss of some rows on each set."""
    head = ("", *(f"{name}: work, regret, later %" for name in names))
    shown = [
        (name, *(f"{(x := lines[row]).work:.0f} {np.mean(x.regret):+.2f} {x.later[0]:+.2f}" for row in names))
        for name, lines in parts.items()
    ]
    return aligned([head, *shown])


def bars(found: Sequence[Bar]) -> str:
    """What was promised, what came, and whether it is met."""
    return aligned([("", "found", "met"), *((bar.text, bar.found, SAID[bar.met]) for bar in found)])


def laboratory(found: Sequence[tuple[str, float, float]]) -> str:
    """Work here against the laboratory's."""
    shown = [(name, f"{ours:.1f}", f"{told:g}", f"{100 * (ours / told - 1):+.0f} %") for name, ours, told in found]
    return aligned([("work, % of grid10", "here", "laboratory", "apart"), *shown])


def aligned(lines: Sequence[tuple[str, ...]]) -> str:
    """The first column to the left, figures to the right."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])
        for cells in lines
    )
