"""What the whole gate promotes: models worse by the margin, and models that are better.

`PASS` counts not-worse and better alike, `better` the latter. At the margin the challenger is truly 1 % worse; "same
rate" asks no floor of it, the hardest case. Noncentrality 3: the true gain is three standard errors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from tests.benchmarks.judge.worlds import Means, codes, settings, upper

REPLAYS = 2000
TICKS = (7, 14, 28, 60)
NONCENTRAL = 3.0
Row = tuple[str, dict[int, Means], bool, str]


def rows() -> Iterator[Row]:
    """Name, world by ticks, whether the rate is the champion's, and what is counted."""
    for sd in (0.003, 0.01, 0.03, 0.09):
        yield (
            f"worse by 1 %, sd {100 * sd:.1f} %, same rate",
            dict.fromkeys(TICKS, Means(gain=-0.01, sd=sd)),
            True,
            "PASS",
        )
    unequal = Means(gain=-0.01, sd=0.01, unequal=1.0)
    yield "worse by 1 %, sd 1 %, unequal ticks", dict.fromkeys(TICKS, unequal), True, "PASS"
    truly = {ticks: Means(gain=NONCENTRAL * 0.03 / math.sqrt(ticks)) for ticks in TICKS}
    yield "gain of 3 standard errors, sd 3 %", truly, False, "better"
    for gain in (0.02, 0.04, 0.06):
        yield f"gain {100 * gain:.0f} %, sd 3 %", dict.fromkeys(TICKS, Means(gain=gain)), False, "PASS"
    yield "equal models, sd 0.3 %, new rate", dict.fromkeys(TICKS, Means(sd=0.003)), False, "PASS"
    yield "equal models, sd 3 %, new rate", dict.fromkeys(TICKS, Means()), False, "PASS"


def cell(world: Means, ticks: int, replays: int, counted: str, *, same_rate: bool) -> str:
    """Share counted and its upper 95 % limit."""
    config = settings()
    above = 0.0 if counted == "better" else -config.gates.margin
    found = codes(world, ticks, replays, config, above=above, same_rate=same_rate)
    hits = sum(code == "LRR201" or (counted == "PASS" and code == "LRR200") for code in found)
    return f"{100 * hits / replays:5.1f} <{100 * upper(hits, replays):5.1f}"


def table(quick: bool) -> str:
    """All rows, in percent."""
    replays = 20 if quick else REPLAYS
    lines = [f"{'%':45}" + "".join(f"{f'T = {ticks}':>16}" for ticks in TICKS)]
    for name, worlds, same_rate, counted in rows():
        cells = [cell(worlds[ticks], ticks, replays, counted, same_rate=same_rate) for ticks in TICKS]
        lines.append(f"{counted + ': ' + name:45}" + "".join(f"{text:>16}" for text in cells))
    return "\n".join([*lines, f"{replays} holdouts a cell; <: upper 95 % limit"])
