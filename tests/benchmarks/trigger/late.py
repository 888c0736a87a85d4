"""The planted changes once more with labels 28 ticks late: what is said before any label of the change is known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tests.benchmarks.search.figures import Bar
from tests.benchmarks.search.tables import aligned, bars
from tests.benchmarks.trigger.made import Asked, Walk, alarmed, delays, middle_of, suspected, trained, walked
from tests.benchmarks.trigger.streams import Kind

LATE = 28
BEFORE = LATE + 3  # stable ticks first: some of the champion's own have all their labels
TICKS = 36  # looked at after the change
ROWS = 2_000
ASKED = (
    "all columns +.35 sd",
    "dominant +1.5 sd",
    "gradual, +.15 sd a tick",
    "concept: dominant reversed",
    "label rate x2",
    "nulls 50 %",
    "harmless: 17 columns +.8 sd",
)


def table(quick: bool) -> Iterator[str]:
    """Median ticks, and the bar."""
    kind, lives = Kind(ROWS), 2 if quick else 6
    names = ASKED[:4] if quick else ASKED
    asked = [
        Asked(kind, name, seed, TICKS, before=BEFORE, late=LATE, whole=True) for name in names for seed in range(lives)
    ]
    walks = walked(asked)
    found = {name: [walk for walk in walks if walk.change == name] for name in names}
    yield (
        f"{ROWS:,} rows a tick, labels {LATE} ticks late; median tick at which it is found, the changed one is 1\n"
        + aligned([_HEAD, *(_cells(name, each) for name, each in found.items())])
    )
    yield bars([_bar(found)])


_HEAD = ("", "loss %", "estimated %", "suspected", "x0 named", "loss alarm", "retrain", "by")


def _cells(name: str, walks: Sequence[Walk]) -> tuple[str, ...]:
    said = [seen.estimated for walk in walks for seen in walk.seen[:20] if seen.estimated is not None]
    why = Counter(next((seen.codes[0] for seen in walk.seen if seen.trains), "-") for walk in walks)
    return (
        name,
        f"{100 * np.mean([walk.rise for walk in walks]):+.0f}",
        f"{100 * np.mean(said):+.0f}" if said else "off",
        delays([walk.first(suspected) for walk in walks]),
        f"{100 * np.mean([walk.named for walk in walks]):.0f} %",
        delays([walk.first(alarmed) for walk in walks]),
        delays([walk.first(trained) for walk in walks]),
        ", ".join(f"{code} {count}" for code, count in sorted(why.items())),
    )


def _bar(found: Mapping[str, Sequence[Walk]]) -> Bar:
    """Of the changes of columns alone, the slowest median."""
    middles = [middle_of([walk.first(suspected) for walk in found[name]]) for name in ASKED[:2]]
    slowest = max(float("inf") if middle is None else middle for middle in middles)
    return Bar("a change of columns is suspected within 2 ticks", f"{slowest:g}", slowest <= 2)
