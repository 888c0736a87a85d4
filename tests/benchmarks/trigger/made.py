"""Planted changes on generated streams: what cries wolf, and how many ticks everything takes to be found.

Each life: a LightGBM of 60 trees trained once for a kind of stream, 28 ticks out of sample, then ticks that the real
feed check, suspicion, evidence, probe (two small models) and policy look at one by one. Labels come with the tick. A
retrain that was decided is taken to bring the same model with the newest ticks as its promise: ticks after it are no
evidence of what a retrain would bring, so delays count up to the first one. Half an hour of two free cores, ``quick``
three minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from multiprocessing import get_context
from statistics import median

import numpy as np

from tests.benchmarks.search.figures import Bar
from tests.benchmarks.search.tables import aligned, bars
from tests.benchmarks.trigger.lives import AGING, CONFIG, REFERENCE, Life, Seen
from tests.benchmarks.trigger.streams import CHANGES, COMMON, DOMINANT, NAMES, RARE, RARE_CHANGES, STABLE, Change, Kind

BEFORE = 6  # stable ticks of a life before its change
LONG = 100  # ticks of a stable life
LARGE = 10_000  # rows of a tick
JOBS = 2
HARMLESS = next(change for change in CHANGES if change.name.startswith("harmless"))
EVERY = {change.name: change for change in (STABLE, *CHANGES, *RARE_CHANGES)}


@dataclass(frozen=True)
class Amount:
    """How much is walked."""

    common: tuple[Kind, ...] = COMMON
    rare: tuple[Kind, ...] = RARE
    stable: int = 10  # lives of 100 ticks where nothing changes, and where only harmless columns do
    changed: int = 10  # lives of each change
    ticks: int = 20  # looked at after a change

    def of(self, kind: Kind, lives: int) -> int:
        """Large ticks are slow, and tell the same with half as many lives."""
        return lives if kind.rows < LARGE else max(1, lives // 2)


QUICK = Amount(common=COMMON[1:2], rare=RARE[:1], stable=2, changed=3, ticks=14)


# ── walks ─────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Walk:
    """One life after its change, tick by tick, and what became of the loss."""

    change: str
    seen: tuple[Seen, ...]
    rise: float  # realised loss over the promise, a share
    late: int = 0

    def first(self, told: Callable[[Seen], bool]) -> int | None:
        """Ticks from the change to what is told, the changed tick itself being the first; None: never."""
        return next((i for i, seen in enumerate(self.seen, 1) if told(seen)), None)

    @property
    def named(self) -> bool:
        """Whether the dominant column is among what was suspected first."""
        found = self.first(lambda s: bool(s.suspected))
        return found is not None and NAMES[DOMINANT] in self.seen[found - 1].suspected

    def spells(self, told: Callable[[Seen], bool]) -> int:
        """How often it begins."""
        each = [False, *map(told, self.seen)]
        return sum(now and not before for before, now in pairwise(each))


@dataclass(frozen=True)
class Asked:
    """One life to be walked."""

    kind: Kind
    change: str
    seed: int
    ticks: int
    before: int = BEFORE
    late: int = 0
    whole: bool = False  # to the end, whatever was decided


def walk(asked: Asked) -> Walk:
    """Stable ticks, then the change, up to the first retrain."""
    config = CONFIG if asked.late or not asked.whole else AGING
    life, change, seen = Life(asked.kind, asked.seed, asked.late, config=config), EVERY[asked.change], []
    promised = float(np.mean(life.promise))
    for _ in range(asked.before):
        life.step(STABLE, 0)
    for since in range(asked.ticks):
        seen.append(life.step(change, since))
        if seen[-1].trains and not asked.whole:
            break
    later = [tick.loss for tick in life.losses[REFERENCE + asked.before :] if tick.loss is not None]
    return Walk(asked.change, tuple(seen), float(np.mean(later)) / promised - 1, asked.late)


def walked(asked: Sequence[Asked], jobs: int = JOBS) -> list[Walk]:
    """Side by side; the same whatever the number of processes."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return list(pool.map(walk, asked))


Cells = dict[tuple[Kind, str], list[Walk]]
Line = Callable[[Kind, str, Sequence[Walk]], tuple[str, ...]]


def cells(asked: Sequence[Asked], line: Line, jobs: int = JOBS) -> Iterator[tuple[str, Kind, str, list[Walk]]]:
    """Walks of each kind of stream and change, in the order asked, each with its line as soon as it is walked."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        came = zip(asked, pool.map(walk, asked), strict=True)
        for (kind, name), group in groupby(came, key=lambda pair: (pair[0].kind, pair[0].change)):
            walks = [walk for _, walk in group]
            yield "  ".join(line(kind, name, walks)), kind, name, walks


# ── tables ────────────────────────────────────────────────────────────────────────────────────────
def blocked(seen: Seen) -> bool:
    return bool(seen.faults)


def suspected(seen: Seen) -> bool:
    return bool(seen.suspected)


def alarmed(seen: Seen) -> bool:
    """Beyond doubt, or halfway there where a probe agreed and the policy acted on it."""
    return seen.alarm or seen.ranking or (seen.trains and seen.codes[0] in ("loss_rose", "ranking_fell"))


def trained(seen: Seen) -> bool:
    """For what was seen; what only age asked for is counted apart."""
    return seen.trains and not aged(seen)


def aged(seen: Seen) -> bool:
    return seen.trains and seen.codes[0] == "age"


FOUND: tuple[tuple[str, Callable[[Seen], bool]], ...] = (
    ("blocked", blocked),
    ("suspected", suspected),
    ("loss alarm", alarmed),
    ("retrain", trained),
)


def table(quick: bool, lives: int | None = None) -> Iterator[str]:
    """Each line as it comes, then both tables and the bars; ``lives`` of each cell in place of ten."""
    amount = QUICK if quick else Amount()
    amount = amount if lives is None else replace(amount, stable=lives, changed=lives)
    quiet, moved = Cells(), Cells()
    for found, asked, line in ((quiet, stable(amount), _still_cells), (moved, planted(amount), changed_cells)):
        for text, kind, name, walks in cells(asked, line):
            found[kind, name] = walks
            yield text
    yield (
        "for each 1,000 ticks; spells of what goes on count once; 95 % upper bound by Poisson\n"
        + aligned([_still_head(), *(_still_cells(kind, name, walks) for (kind, name), walks in quiet.items())])
    )
    yield (
        "median tick at which it is found, the changed one being 1 (share of lives that find it)\n"
        + aligned([_changed_head(), *(changed_cells(kind, name, walks) for (kind, name), walks in moved.items())])
    )
    yield bars(_bars(quiet, moved))


def stable(amount: Amount) -> list[Asked]:
    """Lives in which nothing changes that counts."""
    kinds = [(kind, STABLE) for kind in amount.rare]
    kinds += [(kind, change) for kind in amount.common for change in (STABLE, HARMLESS)]
    return [each for kind, change in kinds for each in _still(kind, change, amount)]


def planted(amount: Amount) -> list[Asked]:
    """Lives in which something changes after some ticks."""
    kinds = [(kind, change) for kind in amount.rare for change in RARE_CHANGES]
    kinds += [(kind, change) for kind in amount.common for change in CHANGES if change != HARMLESS]
    return [each for kind, change in kinds for each in _changed(kind, change, amount)]


def _still(kind: Kind, change: Change, amount: Amount) -> list[Asked]:
    lives = range(amount.of(kind, amount.stable))
    return [Asked(kind, change.name, 1_000 + seed, LONG, before=0, whole=True) for seed in lives]


def _changed(kind: Kind, change: Change, amount: Amount) -> list[Asked]:
    ticks = 3 if change.fault else amount.ticks
    return [Asked(kind, change.name, seed, ticks) for seed in range(amount.of(kind, amount.changed))]


def label(kind: Kind, name: str) -> str:
    rare = ", 1 % positives" if kind in RARE else ""
    return f"{kind.rows:,} rows{rare}: {name}"


def _still_head() -> tuple[str, ...]:
    return ("", "ticks", *(name for name, _ in FOUND), "retrain, 95 % bound", "by age", "why")


def _still_cells(kind: Kind, name: str, walks: Sequence[Walk]) -> tuple[str, ...]:
    ticks = sum(len(w.seen) for w in walks)
    each = [sum(w.spells(told) for w in walks) for _, told in FOUND]
    why = Counter(s.codes[0] for w in walks for s in w.seen if s.trains)
    return (
        label(kind, name),
        f"{ticks:,}",
        *(f"{1000 * count / ticks:.1f}" for count in each),
        f"{upper(each[-1], ticks):.1f}",
        f"{1000 * sum(w.spells(aged) for w in walks) / ticks:.1f}",
        ", ".join(f"{code} {count}" for code, count in sorted(why.items())) or "-",
    )


def upper(events: int, ticks: int) -> float:
    """95 % upper bound of a rate for each 1,000."""
    from scipy.special import pdtri

    return float(1000 * pdtri(events, 0.05) / ticks)


def _changed_head() -> tuple[str, ...]:
    return ("", "loss %", "estimated %", *(name for name, _ in FOUND), "x0 named", "first retrain by")


def changed_cells(kind: Kind, name: str, walks: Sequence[Walk]) -> tuple[str, ...]:
    said = [seen.estimated for w in walks for seen in w.seen[:3] if seen.estimated is not None]
    why = Counter(w.seen[-1].codes[0] for w in walks if w.seen[-1].trains)
    return (
        label(kind, name),
        f"{100 * np.mean([w.rise for w in walks]):+.0f}",
        f"{100 * np.mean(said):+.0f}" if said else "off",
        *(delays([w.first(told) for w in walks]) for _, told in FOUND),
        f"{100 * np.mean([w.named for w in walks]):.0f} %",
        ", ".join(f"{code} {count}" for code, count in sorted(why.items())) or "-",
    )


def delays(found: Sequence[int | None]) -> str:
    """Median over all lives, those that never find it last."""
    there = [tick for tick in found if tick is not None]
    if not there:
        return "never"
    middle = middle_of(found)
    return f"{'never' if middle is None else f'{middle:g}'} ({100 * len(there) / len(found):.0f} %)"


def middle_of(found: Sequence[int | None]) -> float | None:
    """Median tick; None where half of the lives never find it."""
    middle = float(median(float("inf") if tick is None else tick for tick in found))
    return None if middle == float("inf") else middle


# ── bars ──────────────────────────────────────────────────────────────────────────────────────────
def _bars(still: Cells, changed: Cells) -> list[Bar]:
    large = [w for (kind, name), walks in still.items() if name == STABLE.name and kind.rows >= 2000 for w in walks]
    harmless = [w for (_, name), walks in still.items() if name == HARMLESS.name for w in walks]
    faults = [w for (_, name), walks in changed.items() if EVERY[name].fault for w in walks]
    dominant = [w for (_, name), walks in changed.items() if name == "dominant +1.5 sd" for w in walks]
    concept = {k: walks for (k, name), walks in changed.items() if name.startswith("concept") and k.rows >= 2000}
    rare = {k.rows: walks for (k, name), walks in changed.items() if name == RARE_CHANGES[0].name}
    ticks = sum(len(w.seen) for w in large)
    rate = 1000 * sum(w.spells(trained) for w in large) / ticks
    wrong = sum(w.spells(trained) for w in harmless), sum(w.spells(trained) for w in faults)
    first = sum(w.first(blocked) == 1 for w in faults)
    named = sum(w.first(suspected) == 1 and w.named for w in dominant)
    found = [
        Bar(
            "at most 2 false retrains per 1,000 stable ticks of 2,000 rows or more",
            f"{rate:.1f} of {ticks:,}",
            rate <= 2,
        ),
        Bar("no retrain on harmless drift", str(wrong[0]), wrong[0] == 0),
        Bar("no retrain on a data fault", str(wrong[1]), wrong[1] == 0),
        Bar("each data fault blocks at its first tick", f"{first} of {len(faults)}", first == len(faults)),
        Bar("dominant column suspected at tick 1 and named", f"{named} of {len(dominant)}", named == len(dominant)),
    ]
    slow = [(f"concept found within 3 ticks, {k.rows:,} rows", walks, 3) for k, walks in concept.items()]
    slow += [
        (f"loss +20 % at 1 % positives, {rows:,} rows", walks, 14 if rows < 20_000 else 4)
        for rows, walks in rare.items()
    ]
    for text, walks, limit in slow:
        middle = middle_of([w.first(alarmed) for w in walks])
        met = middle is not None and middle <= limit
        found.append(Bar(f"{text}: within {limit}", "never" if middle is None else f"{middle:g}", met))
    return found
