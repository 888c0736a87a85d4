"""What anybody could see of the flips in champion's scores and labels who knew the attacked slice and its direction.

The statistic is the sum of label minus score over the slice's new rows, less what all rows show. It errs once in 20.
"chance alone": as if the world stood still and the champion knew every row's probability. "with drift": the spread of
the same slice's sum over the set's other clean windows is what drift does. A guard does not know the slice.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from tests.benchmarks.judge.poison import DATA, OLD, REAL, SHARES, Replay, windows

ERRS = 0.05
LEAST_WINDOWS = 8


class Seen:
    """One slice in one window; all figures are shares of the new rows."""

    def __init__(self, replay: Replay, level: np.ndarray) -> None:
        y, new = replay.stream.y, replay.stream.tick >= OLD
        score, rows, of = replay.before, int(new.sum()), level & new
        off = y - score
        self.sum = float(off[of].sum() - off[new].mean() * of.sum()) / rows
        self.chance = float(np.sqrt((score[of] * (1 - score[of])).sum())) / rows
        self.most = float((y[of & replay.train] == 1).sum() / replay.train.sum())


def seen(name: str, replays: int) -> list[list[Seen]]:
    """Each slice in all windows where it may be attacked."""
    found: dict[str, list[Seen]] = defaultdict(list)
    for stream, seed in windows(name, replays):
        replay = Replay(stream, seed, challenger=False)
        place: dict[str, int] = defaultdict(int)
        for i, column in enumerate(stream.columns):
            for each, level in replay.levels_of(i):
                place[column.name] += 1
                key = each if column.kind == "category" else f"{column.name}, part {place[column.name]}"
                if replay.attackable(level):
                    found[key].append(Seen(replay, level))
    return list(found.values())


def powers(slices: list[list[Seen]], share: float) -> tuple[list[float], list[float]]:
    """Power against flips of this share in each slice and window that holds them: chance alone, with drift."""
    from scipy.special import ndtr, ndtri

    beyond, alone, drifting = float(-ndtri(ERRS)), [], []
    for windows_of in slices:
        for i, each in enumerate(windows_of):
            if each.most < share:
                continue
            alone.append(float(ndtr(share / each.chance - beyond)))
            others = [other.sum for j, other in enumerate(windows_of) if j != i]
            if len(others) >= LEAST_WINDOWS:
                spread = np.std(others, ddof=1) * np.sqrt(1 + 1 / len(others))
                drifting.append(float(each.sum - share < np.mean(others) - beyond * spread))
    return alone, drifting


def table(quick: bool) -> str:
    """Power by set and flipped share."""
    names = ["synthetic"] if quick else ["synthetic", *(n for n in REAL if (DATA / f"{n}.parquet").exists())]
    lines = [f"{'chance alone / with drift':<26}" + "".join(f"{f'{100 * s:g} %':>16}" for s in SHARES)]
    means: dict[float, list[tuple[float, float]]] = defaultdict(list)
    for name in names:
        slices, cells = seen(name, 2 if quick else 20), []
        for share in SHARES:
            alone, drifting = powers(slices, share)
            cells.append(f"{_mean(alone)} / {_mean(drifting)}")
            if alone and drifting:
                means[share].append((float(np.mean(alone)), float(np.mean(drifting))))
        lines.append(f"{name:<26}" + "".join(f"{cell:>16}" for cell in cells))
    every = (f"{_mean([a for a, _ in means[s]])} / {_mean([b for _, b in means[s]])}" for s in SHARES)
    return "\n".join([*lines, f"{'mean over sets':<26}" + "".join(f"{cell:>16}" for cell in every)])


def _mean(values: list[float]) -> str:
    return f"{100 * np.mean(values):.0f} %" if values else "-"
