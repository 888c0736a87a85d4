"""Loss against work: who is dominated, at which price of a refit each policy costs least, and a line of advice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from lr_retune.config import Config
from lr_retune.replay.table import Best, Row, Table

OURS = "policy"
DAYS = "days of 1 % of loss"  # the price of a refit where nobody said what loss costs
NEXT_TO_NOTHING = 0.5  # per cent of loss


def compared(config: Config, table: Table) -> Table:
    """The table with dominance, prices and advice.

    Cost of a policy at the price p of a refit: p times its work in refits, and what its loss above the table's best
    costs over the days that were replayed. The policies that cost least at some price are the corners of the lower
    convex hull of loss over work.
    """
    rows = [replace(row, dominated_by=dominator(row, table.policies)) for row in table.policies]
    scale, unit = _scale(config, table.days)
    prices = _prices(rows, scale)
    rows = [replace(row, best=None if row.name not in prices else Best(*prices[row.name], unit)) for row in rows]
    told = replace(table, policies=tuple(rows))
    return replace(told, advice=advice(config, told))


def dominator(row: Row, rows: Sequence[Row]) -> str | None:
    """The policy of least loss among those with no more loss and no more work than ``row``, and less of one."""
    ours = (row.loss, row.cost.row_steps)
    better = [(r.loss, r.cost.row_steps, n) for n, r in enumerate(rows) if _beats((r.loss, r.cost.row_steps), ours)]
    return rows[min(better)[2]].name if better else None


def _beats(one: tuple[float, int], other: tuple[float, int]) -> bool:
    return one[0] <= other[0] and one[1] <= other[1] and one != other


def _scale(config: Config, days: float) -> tuple[float, str]:
    """What one per cent of loss over the whole stretch costs, and in which unit."""
    if config.worth is None:
        return days, DAYS
    return days * config.worth.loss_1pct_per_day, config.worth.currency


def hull(rows: Sequence[Row]) -> list[Row]:
    """Corners of the lower convex hull of loss over work, cheapest first, down to the least loss."""
    found: list[Row] = []
    for row in sorted(rows, key=lambda r: (r.refits_worth, r.loss, r.name)):
        if found and row.loss >= found[-1].loss:
            continue
        while len(found) > 1 and _slope(found[-2], found[-1]) <= _slope(found[-2], row):
            found.pop()
        if len(found) == 1 and row.refits_worth == found[0].refits_worth:
            found.pop()
        found.append(row)
    return found


def _slope(one: Row, other: Row) -> float:
    """Per cent of loss that a refit's worth of work takes off between two corners."""
    return (one.excess_pct - other.excess_pct) / (other.refits_worth - one.refits_worth)


def _prices(rows: Sequence[Row], scale: float) -> dict[str, tuple[float, float | None]]:
    """Corner → lowest and highest price of a refit at which it costs least."""
    corners = hull(rows)
    bounds = [None, *(_slope(a, b) * scale for a, b in pairwise(corners)), 0.0]
    return {row.name: (low or 0.0, high) for row, (high, low) in zip(corners, pairwise(bounds), strict=True)}


# ── advice ────────────────────────────────────────────────────────────────────────────────────────
def advice(config: Config, table: Table) -> str:
    """One line: what to run here, and what a new learning rate brings."""
    if len({row.loss for row in table.policies}) == 1:
        return "No policy changed the loss here: the first model served all along, or as well as any."
    return f"{_what(config, table)} {_search(table)}".strip()


def _what(config: Config, table: Table) -> str:
    corners = [row for row in table.policies if row.best is not None]
    if config.worth is not None:
        price = config.worth.retrain
        least = next(row for row in corners if row.best and _covers(row.best, price))
        return f"At {price:,.2f} {config.worth.currency} a refit, {least.name} costs least ({_told(least)})."
    ours = next((row for row in table.policies if row.name == OURS), None)
    if ours is not None and ours.dominated_by is not None:
        better = f"{ours.dominated_by} has no more loss for no more work"
        return f"{OURS} ({_told(ours)}) is dominated: {better}; `lr-retune tune-policy` looks for other settings."
    if ours is not None and ours.best is not None:
        return f"{OURS} ({_told(ours)}) costs least where {_range(ours.best)}."
    told = "; ".join(f"{row.name} where {_range(row.best)}" for row in corners if row.best)
    return f"What costs least hangs on the price of a refit: {told}."


def _covers(best: Best, price: float) -> bool:
    return best.low <= price and (best.high is None or price <= best.high)


def _told(row: Row) -> str:
    times = f"{row.retrains} retrain{'' if row.retrains == 1 else 's'}"
    return f"{row.excess_pct:+.1f} % of loss, {times}"


def _range(best: Best) -> str:
    if best.high is None:
        return f"a refit costs more than {best.low:,.3g} {best.unit}"
    low = f"{best.low:,.3g} to " if best.low else "less than "
    return f"a refit costs {low}{best.high:,.3g} {best.unit}"


def _search(table: Table) -> str:
    """What the search of a new rate added to refits at the old one."""
    named = {row.name: row for row in table.policies}
    if not {"always", "always+grid"} <= named.keys():
        return ""
    old, new = named["always"], named["always+grid"]
    gain = (1 - new.loss / old.loss) * 100 if old.loss > 0 else 0.0
    times = new.cost.row_steps / old.cost.row_steps if old.cost.row_steps else 0.0
    what = f"Searching the rate each time changed the loss of refits at the old rate by {0.0 - gain:+.1f} %"
    said = f"{what} for {times:.0f} times the work"
    return f"{said}: not worth it here." if gain < NEXT_TO_NOTHING else f"{said}."
