"""The tables: every arm on every set, our default against its bars, and which variant the other sets would choose."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean, median

from tests.benchmarks.policies.measure import GRID, Line

OURS = ("policy", "none", "age-60", "age-90", "cheap", "short", "short-none", "long", "long-none")
HEAD = "{:<20} {:<18} {:>9} {:>9} {:>8} {:>5} {:>9} {:>9} {:>9} {:>9} {:>8} {:>7} {:>7}"
Found = Mapping[str, Sequence[Line]]


def lines(found: Found) -> Iterator[str]:
    """All of them."""
    columns = ("set", "arm", "loss", "excess %", "never %", "ticks", "retrains", "promoted", "rollback", "holds")
    yield HEAD.format(*columns, "ticks %", "work %", "CPU s")
    for name, each in found.items():
        for line in each:
            counts = (line.runs, line.retrains, line.promotions, line.rollbacks, line.holds)
            shown = (f"{line.loss:.4g}", f"{_excess(line, each):.2f}", f"{_above(line, each, 'never'):+.2f}", *counts)
            often = f"{_of_ticks(line):.1f}"
            yield HEAD.format(name, line.arm, *shown, often, _work(line, each), f"{line.cpu_s:.0f}")
    yield from ("", *_over_sets(found), "", *_left_out(found))


def _over_sets(found: Found) -> Iterator[str]:
    form = "{:<18} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>12} {:>8} {:>14}"
    yield "excess over the best line of each set, over the sets"
    figures = ("median %", "mean %", "worst %", "ticks %", "most", "work %", "most")
    yield form.format("arm", *figures, "never: mean", "worst", "above by .5 %")
    for arm in dict.fromkeys(line.arm for each in found.values() for line in each):
        held = [(line, each) for each in found.values() for line in each if line.arm == arm]
        excess = [_excess(*pair) for pair in held]
        never = [_above(*pair, "never") for pair in held]
        shown = (f"{value:.2f}" for value in (median(excess), fmean(excess), max(excess)))
        more = [*_mean_and_most(_of_ticks(line) for line, _ in held), *_mean_and_most(_share(*pair) for pair in held)]
        yield form.format(arm, *shown, *more, f"{fmean(never):+.2f}", f"{max(never):+.2f}", sum(v > 0.5 for v in never))


def _left_out(found: Found) -> Iterator[str]:
    """For each set the variant that has the least mean excess on all others, and what it then brings."""
    table = {name: {line.arm: _excess(line, each) for line in each} for name, each in found.items()}
    ours = [arm for arm in OURS if all(arm in row for row in table.values())]
    if len(table) < 3 or len(ours) < 2 or ours[0] != "policy":
        return
    chosen = {}
    yield "chosen by all other sets: variant, its excess % here, and that of policy"
    for name in table:
        others = [row for other, row in table.items() if other != name]
        chosen[name] = min(ours, key=lambda arm: (fmean(row[arm] for row in others), ours.index(arm)))
        yield f"{name:<20} {chosen[name]:<12} {table[name][chosen[name]]:>7.2f} {table[name]['policy']:>7.2f}"
    for told, values in (
        ("chosen", [table[name][arm] for name, arm in chosen.items()]),
        ("policy", [row["policy"] for row in table.values()]),
    ):
        yield f"{told:<20} median {median(values):.2f}, mean {fmean(values):.2f}, worst {max(values):.2f}"


def _of(each: Sequence[Line], arm: str) -> Line | None:
    return next((line for line in each if line.arm == arm), None)


def _excess(line: Line, each: Sequence[Line]) -> float:
    return (line.loss / min(other.loss for other in each) - 1) * 100


def _above(line: Line, each: Sequence[Line], arm: str) -> float:
    base = _of(each, arm)
    return float("nan") if base is None else (line.loss / base.loss - 1) * 100


def _of_ticks(line: Line) -> float:
    return 100 * line.retrains / max(line.runs, 1)


def _share(line: Line, each: Sequence[Line]) -> float | None:
    """Work as a share of a grid at every tick."""
    grid = _of(each, GRID)
    if grid is None or not grid.retrains:
        return None
    return 100 * line.row_steps / (grid.row_steps / grid.retrains * grid.runs)


def _mean_and_most(values: Iterable[float | None]) -> tuple[str, str]:
    known = [value for value in values if value is not None]
    return (f"{fmean(known):.1f}", f"{max(known):.1f}") if known else ("–", "–")


def _work(line: Line, each: Sequence[Line]) -> str:
    found = _share(line, each)
    return "–" if found is None else f"{found:.1f}"
