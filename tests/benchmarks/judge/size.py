"""How often the whole gate calls equal models better: guards, all tests and both bounds, as a run asks them.

A row is a world in which both models cost the same. Printed for each number of ticks: share of holdouts that are called
better, its upper 95 % limit, and in brackets what a guard stopped. Stated: 5 %, or 1 % where the row says so. ``known
limit``: the promise does not hold there, and the README says so.
"""

from __future__ import annotations

from collections.abc import Iterator

from lr_retune.config import Config
from tests.benchmarks.judge.worlds import Late, Means, World, codes, settings, upper

REPLAYS = 2000
TICKS = (7, 14, 28, 60)
LATER = (14, 28, 60)
GUARDS = ("LRR217", "LRR218", "LRR219")
Row = tuple[str, World, Config, tuple[int, ...]]


def rows() -> Iterator[Row]:
    """All worlds."""
    mean, fine = settings(), settings(alpha=0.01)
    for rho in (0.0, 2.6, 4.2):
        yield f"rows only and {rho} x tick" if rho else "rows only", Means(rho=rho), mean, TICKS
    yield "unequal ticks, log-sd 1", Means(unequal=1.0), mean, TICKS
    yield "row errors of t3", Means(rho=0.0, tails=True, sd=0.003), settings(floor=0.0), TICKS
    yield "alpha .01", Means(), fine, LATER
    yield "alpha .01, unequal ticks", Means(unequal=1.0), fine, LATER
    yield "ticks correlate by .3", Means(memory=0.3), mean, TICKS
    yield "ticks correlate by .6 (known limit)", Means(memory=0.6), mean, TICKS
    yield "left skew (known limit)", Means(skew=True), mean, TICKS
    for count in (300, 1000):
        yield f"{count} Zipf customers, named", Means(entities=count), mean, (14, 28)
    yield "300 Zipf customers, not named (known limit)", Means(entities=300, named=False), mean, (14, 28)
    yield "labels late, mature ticks only", Late(), mean, (7, 14, 28)
    yield "labels late, every label there is (not ours)", Late(naive=True), mean, (7, 14, 28)


def cell(world: World, ticks: int, config: Config, replays: int) -> str:
    """Share called better, its limit, share stopped."""
    found = list(codes(world, ticks, replays, config))
    better, stopped = found.count("LRR201"), sum(code in GUARDS for code in found)
    found_shares = (better / replays, upper(better, replays), stopped / replays)
    return "{:4.1f} <{:4.1f} ({:2.0f})".format(*(100 * share for share in found_shares))


def shares(asked: Iterator[Row], replays: int) -> str:
    """A line a row, in percent."""
    lines = [f"{'called better, %':45}" + "".join(f"{f'T = {ticks}':>18}" for ticks in TICKS)]
    for name, world, config, sizes in asked:
        cells = [cell(world, ticks, config, replays) if ticks in sizes else "" for ticks in TICKS]
        lines.append(f"{name:45}" + "".join(f"{text:>18}" for text in cells))
    return "\n".join([*lines, f"{replays} holdouts a cell; <: upper 95 % limit; in brackets: stopped by a guard"])


def table(quick: bool) -> str:
    """All rows."""
    return shares(rows(), 20 if quick else REPLAYS)
