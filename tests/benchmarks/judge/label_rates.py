"""Label rates: how often clean histories of the shared sets are held, tick by tick, and flips of one level.

Counts alone, no models: earlier and new ticks slide over each set. Positives of one random level (at most a quarter of
the rows) are called negative over all new ticks. The guard is not among the default gates; this table is why.
"""

from __future__ import annotations

import numpy as np

from lr_retune.judge.guards.labels import label_rates, tally
from lr_retune.records import HoldoutScores, LabelHistory, TuneResult
from tests.benchmarks.judge.poison import DATA, REAL, SHARES, Stream, made, real, settings

WINDOWS = ((336, 28), (168, 14), (84, 7))  # earlier and new ticks
NOTHING = TuneResult("toy", "grid", "rounds", None, None, None, ())
_Y = (np.arange(700) % 2).astype(float)


def held(history: LabelHistory) -> bool:
    """Whether the guard holds labels of this history."""
    blank = HoldoutScores(_Y, np.arange(700) // 25, np.abs(_Y - 0.4), np.abs(_Y - 0.4), history=history)
    with np.errstate(all="ignore"):
        return label_rates(blank, NOTHING, settings()).status != "PASS"


def counted(stream: Stream, old: int, new: int, most: int) -> list[tuple[Stream, int]]:
    """Windows of at most so many positions, with the first new tick."""
    ends = np.arange(int(stream.tick.min()) + old + new, int(stream.tick.max()) + 2)
    found = []
    for end in ends[:: max(len(ends) // most, 1)]:
        keep = (stream.tick >= end - old - new) & (stream.tick < end)
        found.append((Stream(stream.x[keep], stream.columns, stream.y[keep], stream.tick[keep]), int(end) - new))
    return found


def flipped(stream: Stream, since: int, share: float, rng: np.random.Generator) -> np.ndarray | None:
    """Labels with positives of one level of one column called negative; None where no level holds enough."""
    new = stream.tick >= since
    wanted = round(share * new.sum())
    for i in rng.permutation(len(stream.columns)):
        values = stream.x[:, i]
        if stream.columns[i].kind == "number":
            values = np.searchsorted(np.unique(np.nanquantile(values, (0.2, 0.4, 0.6, 0.8))), values, side="right")
        for level in rng.permutation(np.unique(values[np.isfinite(values)])):
            hits = np.flatnonzero(new & (values == level) & (stream.y == 1))
            if len(hits) >= wanted > 0 and (values[new] == level).mean() <= 0.25:
                y = stream.y.copy()
                y[rng.choice(hits, wanted, replace=False)] = 0.0
                return y
    return None


def line(name: str, stream: Stream, old: int, new: int, most: int) -> str:
    """One row of the table."""
    rng, found = np.random.default_rng(0), counted(stream, old, new, most)
    clean = [held(tally(s.x, s.columns, s.y, s.tick, since)) for s, since in found]
    cells = [_share(clean)]
    for share in SHARES:
        labels = [(s, since, flipped(s, since, share, rng)) for s, since in found[::2]]
        cells.append(_share([held(tally(s.x, s.columns, y, s.tick, since)) for s, since, y in labels if y is not None]))
    return f"{name:<20}{old:>4} +{new:>3}" + "".join(f"{cell:>12}" for cell in cells)


def table(quick: bool) -> str:
    """Shares of windows that were held."""
    head = ["none", *(f"{100 * s:g} %" for s in SHARES)]
    lines = [f"{'flipped share of new rows':<29}" + "".join(f"{cell:>12}" for cell in head)]
    if quick:
        return "\n".join([*lines, line("synthetic", made(0), 84, 7, 3)])
    for name in (n for n in REAL if (DATA / f"{n}.parquet").exists()):
        stream = real(name)
        lines += [line(name, stream, *w, 30) for w in WINDOWS if stream.tick.max() > sum(w) + 5]
    return "\n".join(lines)


def _share(hits: list[bool]) -> str:
    return f"{100 * sum(hits) / len(hits):.0f} % ({len(hits)})" if hits else "-"
