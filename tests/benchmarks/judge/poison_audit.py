"""Label flips of one slice against a label audit: rows of the feed drawn at random whose labels a person knows.

The windows and attacks of `poison`; the rows are drawn from train and holdout, and the attacker flips them like all
others. "errs": the share of rows in which the person names the wrong label, and what [gates] label_noise says (its
default is .1 %). No models: the guard reads labels alone.
"""

from __future__ import annotations

import numpy as np

from lr_retune.judge.guards.audit import audit_of, audited
from tests.benchmarks.judge.poison import DATA, REAL, SHARES, Attack, settings, upper, windows

CELLS = [
    (size, errs)
    for errs, sizes in ((0.0, (500, 1000)), (0.001, (1000, 2000, 4000)), (0.01, (2000, 4000)))
    for size in sizes
]
CLEAN = 5  # audits of each clean window
Cell = tuple[int, float]
Hits = dict[Cell, dict[float, list[bool]]]


def held(attack: Attack, y: np.ndarray, size: int, errs: float) -> bool:
    """Whether an audit of so many rows holds a challenger whose feed has these labels."""
    stream, there = attack.stream, np.flatnonzero(attack.train | attack.held)
    rows = attack.rng.choice(there, min(size, len(there)), replace=False)
    vouched = np.where(attack.rng.random(len(rows)) < errs, 1 - stream.y[rows], stream.y[rows])
    audit = audit_of(stream.x[rows], stream.columns, vouched, y[rows])
    answer = audited(audit, settings(golden="golden.parquet", label_noise=errs))
    return answer is not None and answer[1] != "PASS"


def found(name: str, replays: int, cells: list[Cell]) -> Hits:
    """Audited rows and errors → share of flipped rows → whether each challenger was held; 0: clean ones."""
    hits: Hits = {cell: {share: [] for share in (0.0, *SHARES)} for cell in cells}
    for stream, seed in windows(name, replays):
        attack = Attack(stream, seed)
        labels = [(0.0, stream.y)] * CLEAN
        labels += [(share, each[0]) for share in SHARES if (each := attack.flipped(share)) is not None]
        for cell in cells:
            for share, y in labels:
                hits[cell][share].append(held(attack, y, *cell))
    return hits


def table(quick: bool) -> str:
    """Shares of challengers that were held, by audited rows and errors of the person, and by set."""
    names = ["synthetic"] if quick else ["synthetic", *(n for n in REAL if (DATA / f"{n}.parquet").exists())]
    cells = CELLS[:1] if quick else CELLS
    each = {name: found(name, 2 if quick else 10, cells) for name in names}
    heads = ("none", *(f"{100 * share:g} %" for share in SHARES))
    lines = [f"{'flipped share of rows':<30}" + "".join(f"{head:>13}" for head in heads)]
    for cell in cells:
        total = {share: [hit for of in each.values() for hit in of[cell][share]] for share in (0.0, *SHARES)}
        lines.append(_row(f"{cell[0]:,} rows, errs {100 * cell[1]:g} %", total))
    lines += [_row(f"2,000, .1 %: {name}", of[2000, 0.001]) for name, of in each.items() if (2000, 0.001) in of]
    return "\n".join([*lines, "none, <: one-sided 95 % limit of the false holds"])


def _row(head: str, hits: dict[float, list[bool]]) -> str:
    cells = (f"{100 * sum(of) / len(of):.1f} % ({len(of)})" if of else "-" for of in hits.values())
    clean = hits[0.0]
    return f"{head:<30}" + "".join(f"{cell:>13}" for cell in cells) + f"  < {100 * upper(sum(clean), len(clean)):.1f} %"
