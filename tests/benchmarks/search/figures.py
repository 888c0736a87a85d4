"""What the searches of many times come to: shares, regrets, losses on later rows, and the bars they are held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks.search.rows import MOST_STEPS, Found

DRAWS = 10_000
Walked = Mapping[str, Sequence[Mapping[str, Found]]]  # set → time → row


@dataclass(frozen=True)
class Line:
    """A row of the table. Shares and losses in per cent; each time counts the same, for later rows each set."""

    name: str
    fits: float
    work: float  # of grid10
    cpu: float  # of grid10
    refit: float  # work of a last fit, of grid10
    regret: tuple[float, ...]  # on valid, above dense, one for each time; below 0 a rate in between won
    lowest: float  # mean regret of the luckiest trial of each time, taken or not
    later: tuple[float, ...]  # on later rows, above dense's winner: mean of each set
    steps: float  # median
    serving: float  # median, CPU milliseconds for 1,000 rows

    @property
    def middle(self) -> float:
        return float(np.median(self.regret))

    @property
    def p90(self) -> float:
        return float(np.quantile(self.regret, 0.9))


def line(name: str, walked: Walked, dense: str) -> Line:
    """One row over all sets and times."""
    every = [found for times in walked.values() for found in times]
    mine, ten = [f[name] for f in every], [f["grid10"] for f in every]
    return Line(
        name=name,
        fits=float(np.mean([len(f.trials) for f in mine])),
        work=_share([f.work for f in mine], [f.work for f in ten]),
        cpu=_share([f.cpu for f in mine], [f.cpu for f in ten]),
        refit=_share([f.refit for f in mine], [f.work for f in ten]),
        regret=tuple(above(f[name].valid, f[dense].valid) for f in every),
        lowest=float(np.mean([above(f[name].lowest, f[dense].valid) for f in every])),
        later=tuple(float(np.mean([above(f[name].later, f[dense].later) for f in times])) for times in walked.values()),
        steps=float(np.median([f.steps for f in mine])),
        serving=float(np.median([f.serving for f in mine])),
    )


def above(loss: float, base: float) -> float:
    """Per cent above another loss."""
    return 100 * (loss / base - 1)


def _share(part: Sequence[float], whole: Sequence[float]) -> float:
    return 100 * float(np.mean(np.divide(part, whole)))


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """95 % of the means of values drawn again with replacement."""
    drawn = np.random.default_rng(seed).choice(np.asarray(values), (DRAWS, len(values)))
    low, high = np.quantile(drawn.mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


# ── bars ──────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Bar:
    """What was promised, and what came."""

    text: str
    found: str
    met: bool | None  # None: told without a bar


def bars(family: str, lines: Mapping[str, Line], peers: Sequence[str]) -> list[Bar]:
    """All that a family is held to."""
    return _trees(lines, peers) if family == "lightgbm" else _linear(lines, peers)


def _trees(lines: Mapping[str, Line], peers: Sequence[str]) -> list[Bar]:
    ours, fast, average = lines["bracket"], lines["bracket fast"], lines["bracket: average"]
    later = float(np.mean(ours.later))
    return [
        _most("bracket: rounds, % of grid10", ours.work, 38),
        *_regrets("bracket", ours, {"median": 0.1, "mean": 0.5, "p90": 1.0}),
        _most("bracket: later rows, % above dense's winner, mean of sets", later, 0.3),
        _most("  upper end of its interval", interval(ours.later)[1], 0.7),
        *(_no_worse(ours, lines[name]) for name in ("fixed .05", "keep")),
        *(_cheaper(ours, lines[name]) for name in ("grid10", *peers)),
        _most("aim, bracket fast: rounds, % of grid10", fast.work, 20),
        _most("aim, bracket fast: regret %, mean", float(np.mean(fast.regret)), 0.6),
        _most("aim, average: later rows, upper end of the interval", interval(average.later)[1], 0.0),
    ]


def _linear(lines: Mapping[str, Line], peers: Sequence[str]) -> list[Bar]:
    found: list[Bar] = []
    for name, most in (("kpass", 14), ("kpass, schedules", 30)):
        if name in lines:
            found.append(_most(f"{name}: epochs of one column, % of grid10", lines[name].work, most))
            found.extend(_regrets(name, lines[name], {"median": 0.0, "p90": 1.5}))
            found.extend(_cheaper(lines[name], lines[peer]) for peer in ("grid10", *peers))
    if "kpass, schedules" in lines:
        best = float(np.mean(lines["kpass, schedules"].regret))
        found.append(_most("aim, schedules: regret %, mean, against the best constant rate", best, 0.0))
    return found


def _most(text: str, found: float, most: float) -> Bar:
    return Bar(f"{text} <= {most:g}", f"{found:.2f}", round(found, 2) <= most)


def _regrets(name: str, found: Line, most: Mapping[str, float]) -> list[Bar]:
    values = {"median": found.middle, "mean": float(np.mean(found.regret)), "p90": found.p90}
    told = [_most(f"{name}: regret %, {which}", values[which], limit) for which, limit in most.items()]
    return [*told, Bar(f"{name}: regret %, worst, told", f"{max(found.regret):.2f}", None)]


def _no_worse(ours: Line, other: Line) -> Bar:
    gap = np.subtract(ours.later, other.later)
    low, high = interval(gap.tolist())
    mean = float(gap.mean())
    text = f"{ours.name}: later rows, % above {other.name}, mean of sets <= 0"
    return Bar(text, f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]", round(mean, 2) <= 0)


def _cheaper(ours: Line, peer: Line) -> Bar:
    """Counted work and CPU of the searches alone: a peer's last fit is not held against it."""
    met = ours.work < peer.work and ours.cpu < peer.cpu and round(ours.middle, 3) <= round(peer.middle, 3)
    said = f"work {ours.work:.0f} : {peer.work:.0f}, CPU {ours.cpu:.0f} : {peer.cpu:.0f}"
    text = f"{ours.name}: cheaper than {peer.name}, median regret no higher"
    return Bar(text, f"{said}, regret {ours.middle:.3f} : {peer.middle:.3f}", met)


# ── the laboratory ────────────────────────────────────────────────────────────────────────────────
UNSTOPPED = "HalvingGridSearchCV without early stopping, by its schedule"
LABORATORY = {  # work in per cent of grid10, on other rows of these and other sets
    "lightgbm": {
        "dense (25)": 391.0,
        UNSTOPPED: 318.0,
        "Optuna TPE20 + Hyperband": 98.0,
        "bracket": 37.0,
        "fixed .05": 8.0,
        "fixed .1": 6.0,
        "keep": 13.0,
    },
    "sgd": {"kpass": 13.5, "kpass, schedules": 28.0},
}


def against_laboratory(family: str, lines: Mapping[str, Line], walked: Walked) -> list[tuple[str, float, float]]:
    """Row, work here, work there."""
    ten = [found["grid10"].work for times in walked.values() for found in times]
    here = {name: found.work for name, found in lines.items()}
    here[UNSTOPPED] = _share([halved(10, MOST_STEPS[family])] * len(ten), ten)
    return [(name, here[name], told) for name, told in LABORATORY[family].items() if name in here]


def halved(candidates: int, cap: int, factor: int = 3) -> int:
    """Steps of a HalvingGridSearchCV in which no fit is stopped early.

    >>> halved(10, 2000)  # 10 x 222 + 4 x 666 + 2 x 1998
    8880
    """
    rungs = [factor**k for k in range(candidates) if factor**k <= candidates]
    first = cap // rungs[-1]
    return sum(-(-candidates // rung) * first * rung for rung in rungs)
