"""What a broken column looks like.

Limits follow the trigger study: a share must exceed its limit and be far beyond chance (as z > 6), so small
windows cannot shout. Rules that a season or a trend would break are widened, since a model is retrained *for*
those: a value counts as out of range a whole learned range beyond it, and new levels block only as a majority.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from lr_retune.data import columns
from lr_retune.data.kinds import kind_of
from lr_retune.data.seen import Seen
from lr_retune.records import Column, Fault

_CHANCE = 1e-9  # P(z > 6)
_NULL_POINTS = 0.01
_RANGE_SHARE = 0.02
_OUTSIDE = 0.002  # of the learned rows lie outside their 0.1 and 99.9 % quantiles
_LEVEL_SHARE = 0.01
_RECODED = 0.9  # unseen levels in so many rows: another code book, not new merchants or a snowy week
_UNIT = 10.0  # a median ten times larger or smaller
_FAR = 2.0  # learned ranges, or magnitudes, beyond the learned range
STAND_INS = (0.0, -1.0, -9.0, -99.0, -999.0, -9999.0, -99999.0, 999.0, 9999.0, 99999.0, 999999.0)  # for missing
NOTHING = frozenset({"-", "?", "#n/a", "missing", "n/a", "na", "nan", "nil", "none", "null", "undefined", "unknown"})
_ALONE = 0.9  # of the values on the wrong side of a range are one stand-in: a cold week brings its neighbours too
_GAP = 2.0  # times more rows far beyond the range than just beyond it
_DECADES = 1e4  # a wider range has no smallest value to speak of
_ODDS = 2.5  # of a null that is usual: so much they swing from season to season
_STANDSTILL = 0.5  # of the rows: an earlier standstill of that length makes one natural (months, indicators)
_GONE = "gone for good? see `lr-retune contract diff`"
_BACK, _TYPE = (
    f"bring the column back; {_GONE}",
    "bring the old type back; changed for good? see `lr-retune contract diff`",
)
_SHOWN = 5  # level names told


def column_faults(seen: Seen, column: Column) -> Iterator[Fault]:
    """Faults of one column.

    Raises nothing: what cannot be read is a fault.
    """
    name, important = column.name, seen.important(column.name)
    if name not in seen.schema:
        what = f"{name!r} is missing{seen.hint(name)}"
        yield Fault("missing_column", name, what, _BACK, important)
        return
    if name not in seen.table.column_names:
        yield Fault(
            "retyped_column", name, f"{name!r} stands twice in a file", "give each column its own name", important
        )
        return
    if column.kind == "category" and (unread := unreadable(seen.schema[name])):
        yield Fault("retyped_column", name, f"{name!r} was categories and holds {unread}", _TYPE, important)
        return
    judge = _number if column.kind == "number" else _category
    try:
        for code, what, fix, blocks in judge(seen, column, seen.table.column(name)):
            yield Fault(code, name, f"{name!r} {what}", fix, important and blocks)
    except ValueError:
        wanted = "numbers" if column.kind == "number" else "categories"
        what = f"{name!r} was {wanted} and is {seen.schema[name]}{seen.hint(name)}"
        yield Fault("retyped_column", name, what, _TYPE, important)


Finding = tuple[str, str, str, bool]  # code, what, fix, whether it blocks where the column matters


def _number(seen: Seen, column: Column, array: Any) -> Iterator[Finding]:
    values = columns.numbers(array)
    if kind_of(str(array.type)) == "category" and len(values):
        yield "retyped_column", "came as text that reads as numbers", "write numbers as numbers", False
    known = values[np.isfinite(values)]
    yield from _missing(seen, column, len(values), len(values) - len(known), int(np.isinf(values).sum()))
    if not len(known) or column.low is None or column.high is None or column.median is None:
        return
    for rule in (_unit_change, _out_of_range, _constant):
        yield from rule(seen, column, known)


def _category(seen: Seen, column: Column, array: Any) -> Iterator[Finding]:
    levels, where = columns.distinct(array)
    counts = np.bincount(where, minlength=len(levels)).tolist()
    of = {level: n for level, n in zip(levels, counts, strict=True) if level is not None}
    rows, known = sum(counts), sum(of.values())
    yield from _missing(seen, column, rows, rows - known, 0)
    # a month or a campaign holds one level for long: the next one is new, and nothing is broken
    ruled = known > 0 and max(of.values()) >= _RECODED * known
    natural = ruled and _stood_still(columns.distinct(seen.before(column.name))[1], known)
    if known:
        yield from _new_levels(seen, column, of, rows, recoded=not natural)
    if len(of) == 1 and len(column.levels) > 1 and known >= seen.config.policy.min_rows and not natural:
        yield "constant", f"holds one level in {known:,} rows", "look whether the feed still fills it", True


def _new_levels(seen: Seen, column: Column, of: Mapping[str, int], rows: int, *, recoded: bool) -> Iterator[Finding]:
    old = set(column.levels)
    new = {level: n for level, n in of.items() if level not in old}
    hits = sum(new.values())
    if hits > _LEVEL_SHARE * rows and _beyond_chance(hits, rows, 1 / max(seen.contract.rows, 1)):
        names = ", ".join(_named(level) for level in sorted(new, key=lambda level: (-new[level], level))[:_SHOWN])
        what = f"has {len(new)} new levels in {hits / rows:.1%} of the rows: {names}"
        fix = "nothing, if they are real: the next training learns them"
        empty = sum(n for level, n in new.items() if level.strip().casefold() in NOTHING) > _NULL_POINTS * rows
        yield "new_levels", what, fix, recoded and (hits >= _RECODED * rows or empty)


def _missing(seen: Seen, column: Column, rows: int, lost: int, infinite: int) -> Iterator[Finding]:
    if not rows or column.null_share == 1.0:
        return
    also = f", {infinite:,} of them infinite" if infinite else ""
    share, usual = lost / rows, max(column.null_share, 1 / max(seen.contract.rows, 1))
    if share == 1.0 and _beyond_chance(lost, rows, usual):
        yield "all_null", f"has no value in {rows:,} rows{also}", "look at the job that fills it", True
        return
    more = share > _most_nulls(column.null_share) and _beyond_chance(lost, rows, usual)
    what = f"lacks a value in {share:.1%} of the rows, {column.null_share:.1%} before{also}"
    blocks = more and not (column.null_share > _NULL_POINTS and _comes_and_goes(seen, column, share, rows))
    if infinite:
        yield "infinite", what, "divide by what may be zero with care; infinite counts as missing", blocks
    elif more:
        yield "null_share", what, "look at the job that fills it", blocks


def _most_nulls(usual: float) -> float:
    """Share of missing values that is still usual: a point more, or other odds where some are usual."""
    swing = _ODDS * usual / (1 + (_ODDS - 1) * usual) if usual > _NULL_POINTS else 0.0
    return max(usual + _NULL_POINTS, swing)


def _comes_and_goes(seen: Seen, column: Column, share: float, rows: int) -> bool:
    """Whether as much was missing more than once before, and came back each time by itself."""
    raw = seen.before(column.name)
    try:
        bad = _shares(missing(raw, column), rows) >= share - _NULL_POINTS
    except ValueError:
        return False
    return int((bad[:-1] & ~bad[1:]).sum()) > 1


def _shares(lost: np.ndarray, rows: int) -> np.ndarray:
    """Share of true values in blocks of about ``rows`` consecutive ones."""
    blocks = np.array_split(lost, max(len(lost) // max(rows, 1), 1))
    return np.array([block.mean() if len(block) else 0.0 for block in blocks])


def missing(raw: Any, column: Column) -> np.ndarray:
    """Rows without a value, infinite ones among them; bool, shape ``(n,)``.

    Raises
    ------
    ValueError
        If the values are not of the column's kind.
    """
    if column.kind == "number":
        finite: np.ndarray = np.isfinite(columns.numbers(raw))
        return ~finite
    levels, where = columns.distinct(raw)
    none: np.ndarray = np.array([level is None for level in levels], dtype=bool)[where]
    return none


def _out_of_range(seen: Seen, column: Column, known: np.ndarray) -> Iterator[Finding]:
    low, high = _bounds(column)
    hits = int(outside(column, known).sum())
    usual = max(_OUTSIDE, 2 / max(seen.contract.rows, 1))
    if hits > _RANGE_SHARE * len(known) and _beyond_chance(hits, len(known), usual):
        earlier = columns.legible(seen.before(column.name))
        if not outside(column, np.concatenate([earlier[np.isfinite(earlier)], known]))[-len(known) :].any():
            return  # the spans before it climbed there step by step
        what = f"is far outside {low:.4g} to {high:.4g} in {hits / len(known):.1%} of the rows"
        yield "out_of_range", what, "look at units and sentinels such as -999", True


def outside(column: Column, values: np.ndarray) -> np.ndarray:
    """Rows far beyond the learned range, or that hold a stand-in for missing just beyond it; bool, shape ``(n,)``."""
    low, high = _bounds(column)
    far = _FAR * max(high - low, abs(low), abs(high))
    if far == 0:
        return np.zeros(len(values), dtype=bool)
    below, above = values < low, values > high
    hits = _apart((values < low - far) | (values > high + far), below | above)
    if low > 0 and not low.is_integer() and high < _DECADES * low:  # no count: a tenth of the smallest is another unit
        hits |= _apart((values > 0) & (values < low / _UNIT), (values > 0) & below)
    for side in (below, above):
        for stand_in in STAND_INS[1:] if low.is_integer() and low < _UNIT else STAND_INS:  # counts fall to 0
            same = side & (values == stand_in)
            others = side.sum() - same.sum() - _OUTSIDE * len(values)  # a few lie there by nature
            if same.any() and others <= (1 - _ALONE) * same.sum():
                hits |= same
    return hits


def _apart(far: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """``far`` where a gap parts it from the range; nothing where rows climbed there: a burst, a spike, a trend."""
    near = beyond.sum() - far.sum() - 2 * _OUTSIDE * len(far)  # a few lie there by nature
    return far if near <= far.sum() / _GAP else np.zeros(len(far), dtype=bool)


def _unit_change(seen: Seen, column: Column, known: np.ndarray) -> Iterator[Finding]:
    """A median ten times off, and a spread that went with it: cold months move only the first."""
    low, high = _bounds(column)
    lowest, median, highest = columns.quantiles(known)
    if not column.median or median / column.median <= 0 or len(known) < seen.config.policy.min_rows:
        return
    ratio, spread = median / column.median, highest - lowest
    # day 12 of the year is no tenth of day 184: whole numbers that stay whole were not divided
    whole = low.is_integer() and high.is_integer() and bool((known == np.floor(known)).all())
    # a median near zero has no ratio to speak of: an indicator that moves from -0.1 to -3 kept its unit
    inside = low - (high - low) <= median <= high + (high - low)
    scaled = 0 < low < high < _DECADES * low and lowest > _UNIT / 2 * low and highest > _UNIT / 2 * high
    larger = ratio > _UNIT and (not inside or scaled)
    smaller = ratio < 1 / _UNIT and 0 < spread * _UNIT < high - low and not whole
    if larger or smaller:
        what = f"has the median {median:.4g}, {column.median:.4g} before: {ratio:.3g} times"
        yield "unit_change", what, "look whether the unit was changed", True


def _constant(seen: Seen, column: Column, known: np.ndarray) -> Iterator[Finding]:
    low, high = _bounds(column)
    if low == high or len(known) < seen.config.policy.min_rows or (known != known[0]).any():
        return
    earlier = columns.legible(seen.before(column.name))
    if not _stood_still(earlier, len(known)):
        what = f"is {known[0]:.4g} in all {len(known):,} rows"
        yield "constant", what, "look whether the feed still fills it", len(earlier) >= len(known)


def _stood_still(earlier: np.ndarray, rows: int) -> bool:
    """Whether a column held one value over a stretch as long as this one before."""
    changes = np.flatnonzero(earlier[1:] != earlier[:-1])
    runs = np.diff(np.concatenate(([-1], changes, [len(earlier) - 1])))
    return bool(runs.max(initial=0) >= _STANDSTILL * rows)


def _beyond_chance(hits: int, rows: int, usual: float) -> bool:
    """The exact binomial tail: P(at least ``hits``) under the usual share."""
    from scipy.special import bdtrc

    return bool(usual < 1 and hits > 0 and bdtrc(hits - 1, rows, usual) < _CHANCE)


def _bounds(column: Column) -> tuple[float, float]:
    return (0.0, 0.0) if column.low is None or column.high is None else (column.low, column.high)


def unreadable(kind: str) -> str:
    """What a column holds that is no category, or nothing.

    >>> unreadable("mixed<string, list<element: string>>"), unreadable("mixed<int64, string>")
    ('list<element: string>', '')
    """
    if not kind.startswith("mixed<"):
        return ""
    parts = re.split(r", (?![^<\[]*[>\]])", kind.removeprefix("mixed<").removesuffix(">"))
    return ", ".join(part for part in parts if kind_of(part) is None and "binary" not in part)


def _named(level: str) -> str:
    return repr(level if len(level) <= 40 else level[:39] + "…")
