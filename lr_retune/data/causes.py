"""The likely cause of a fault, in words: a guess, told only where the rows leave little else to think of."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow.compute as pc

from lr_retune.data import columns
from lr_retune.data.kinds import micros_of, text
from lr_retune.data.parquet import at
from lr_retune.data.rules import NOTHING, STAND_INS, missing, outside, unreadable
from lr_retune.data.seen import Seen
from lr_retune.records import Column, Fault

_FACTORS: dict[float, tuple[str, str]] = {  # ratio → as if values came (larger by it, smaller by it)
    24: ("hours stood for days", "days stood for hours"),
    60: ("seconds stood for minutes, or minutes for hours", "minutes stood for seconds, or hours for minutes"),
    100: (
        "a share were written in per cent, or cents for euros",
        "per cent were written as a share, or euros for cents",
    ),
    1e3: ("g stood for kg, or milliseconds for seconds", "kg stood for g, or seconds for milliseconds"),
    3600: ("seconds stood for hours", "hours stood for seconds"),
    86_400: ("seconds stood for days", "days stood for seconds"),
    1e6: ("microseconds stood for seconds", "seconds stood for microseconds"),
}
_NEAR = 0.25  # log ratio: medians of a few hundred skewed rows scatter by a tenth, and factors are further apart
_LOST = ("all_null", "null_share", "infinite")
_TOGETHER = 3  # columns that break alike are one incident
_NEARLY = 0.95  # of the broken rows lie where the guess says
_SPOT = 0.8  # of all rows: a larger part of them is no place to speak of
_BY_CHANCE = 1e-6
_MOST_LEVELS = 50
_COMMA = re.compile(r"\s*-?[\d.\s]*\d,\d+\s*")
_UNIT = re.compile(r"\s*([^\d\s.,+-]*)\s*-?\d+(?:[.,]\d+)*\s*([^\d\s.,+-]*)\s*")


def explained(seen: Seen, column: Column, faults: Sequence[Fault], among: Seen | None = None) -> list[Fault]:
    """Faults of one column with the likely cause behind what was seen: since when, in which rows, what it looks like.

    A cause is told once. ``among``: more rows, of which those that were judged are the newest.
    """
    if column.name not in seen.table.column_names:
        return list(faults)
    told, found = "", []
    for fault in faults:
        hits, guess = _Broken(among or seen, column, fault).hits, next(_guesses(_Broken(seen, column, fault)), "")
        place = "" if hits is None else _place(among or seen, hits, column.name)
        found.append(replace(fault, what=f"{fault.what}{place}{f': {guess}?' if guess and guess != told else ''}"))
        told = told or guess
    return found


def together(seen: Seen, faults: Sequence[Fault]) -> tuple[Fault, ...]:
    """The same faults; what three columns or more share comes first, as one incident."""
    for group, words in _groups(seen, faults):
        first, *others = sorted(group, key=lambda f: not f.matters)
        head = replace(first, what=f"{len(group)} columns {words}: {first.what}")
        return (head, *others, *(f for f in faults if f not in group))
    return tuple(faults)


@dataclass(frozen=True)
class _Broken:
    """One faulty column and the rows that make it so."""

    seen: Seen
    column: Column
    fault: Fault

    @cached_property
    def raw(self) -> Any:
        return self.seen.table.column(self.column.name)

    @cached_property
    def values(self) -> np.ndarray:
        return columns.numbers(self.raw)

    @cached_property
    def hits(self) -> np.ndarray | None:
        """Bool, shape ``(n,)``; None: the fault is not one of some rows."""
        code = self.fault.code
        if code in _LOST:
            return missing(self.raw, self.column)
        if code == "out_of_range":
            return outside(self.column, self.values)  # NaN compares as False
        if code == "new_levels":
            levels, where = columns.distinct(self.raw)
            old = set(self.column.levels)
            hits: np.ndarray = np.array([v is not None and v not in old for v in levels], dtype=bool)[where]
            return hits
        return None


def _guesses(one: _Broken) -> Iterator[str]:
    code = one.fault.code
    if code in ("unit_change", "out_of_range"):
        yield from _factor(one)
    if code == "out_of_range":
        yield from _stand_in(one)
    if code == "constant" and one.column.kind == "number" and float(one.values[0]) in STAND_INS:
        yield "a default that stands for missing"
    if code == "new_levels":
        yield from _levels(one)
    if code == "retyped_column" and one.column.kind == "number":
        yield from _words(one)


# ── what the values look like ─────────────────────────────────────────────────────────────────────
def _factor(one: _Broken) -> Iterator[str]:
    """A known factor between the broken rows' median and the learned one."""
    rows = one.values[one.hits] if one.hits is not None else one.values
    known, usual = rows[np.isfinite(rows)], one.column.median
    if not len(known) or not usual or np.mean(np.sign(known) == np.sign(usual)) < _NEARLY:
        return
    if len(known) < _SPOT * len(one.values) and one.hits is not None and len(np.unique(known)) < 3:
        return  # a few rows of one value: no distribution that was scaled
    times = float(np.quantile(known, 0.5, method="lower")) / usual
    if not 0 < times < math.inf:
        return
    ratio = math.log(times)
    near = min(_FACTORS, key=lambda f: abs(abs(ratio) - math.log(f)))
    if abs(abs(ratio) - math.log(near)) <= _NEAR:
        yield f"as if {_FACTORS[near][ratio < 0]}"


def _stand_in(one: _Broken) -> Iterator[str]:
    """One value makes up the broken rows."""
    found = one.values[outside(one.column, one.values)]
    values, counts = np.unique(found, return_counts=True)
    if len(values) and counts.max() >= max(_NEARLY * len(found), 2):
        yield f"{float(values[np.argmax(counts)]):g} in place of missing"


def _levels(one: _Broken) -> Iterator[str]:
    raw, where = columns.distinct(one.raw)
    old, levels = set(one.column.levels), [v for v in raw if v is not None]
    new = [v for v in levels if v not in old]
    for other in one.seen.contract.columns:
        if other.name != one.column.name and len(new) > 1 and set(new) <= set(other.levels):
            theirs = set(_new(one.seen, other))
            if theirs and theirs <= old:
                yield f"levels of {other.name!r}, were columns swapped"
    plain = {v.strip().casefold() for v in old}
    if all(v.strip().casefold() in plain for v in new):
        yield "known levels in another case or with blanks"
    if len(levels) > len(where) / 2:
        yield "nearly one level a row: an identifier"
    if all(v.strip().casefold() in NOTHING for v in new):
        yield "a word in place of missing"


def _new(seen: Seen, column: Column) -> list[str]:
    """Levels of the rows that were never learned."""
    if column.name not in seen.table.column_names:
        return []
    try:
        levels = columns.distinct(seen.table.column(column.name))[0]
    except ValueError:
        return []
    return [v for v in levels if v is not None and v not in set(column.levels)]


def _words(one: _Broken) -> Iterator[str]:
    """Numbers that text hides."""
    if "string" not in (kind := one.seen.schema[one.column.name]) or unreadable(kind):
        return
    found = [v for v in text(pc.drop_null(one.raw)).to_pylist() if v and not _reads(v)]
    if not found:
        return
    if all(_COMMA.fullmatch(v) for v in found):
        yield "a decimal comma"
    affixes = {m.groups() if (m := _UNIT.fullmatch(v)) else None for v in found}
    if len(affixes) == 1 and (affix := affixes.pop()) and any(affix):
        yield f"{''.join(affix)!r} written with each number"


def _reads(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


# ── where the broken rows lie ─────────────────────────────────────────────────────────────────────
def _place(seen: Seen, hits: np.ndarray, name: str) -> str:
    """Since when, until when and in which rows only; nothing where they are spread."""
    said = [words for words in (_when(seen, hits), _which(seen, hits, name)) if words]
    return "".join(f", {words}" for words in said)


def _when(seen: Seen, hits: np.ndarray) -> str:
    """Broken rows all lie after a time, or before one, which chance would not do."""
    found = np.flatnonzero(hits)
    if not len(found):
        return ""
    first, last = int(found[0]), int(found[-1])
    share = len(found) / (last - first + 1)
    time = micros_of(seen.table.column(seen.config.data.time))
    began = (1 - share) ** first < _BY_CHANCE and first > 0
    ended = (1 - share) ** (len(hits) - 1 - last) < _BY_CHANCE and last < len(hits) - 1
    since = [f"since {_clock(seen, time[first])}"] if began else []
    return " ".join([*since, *([f"until {_clock(seen, time[last])}"] if ended else [])])


def _clock(seen: Seen, micros: int) -> str:
    local = at(micros).astimezone(ZoneInfo(seen.config.schedule.timezone))
    return f"{local.day} {local:%b %H:%M}"


def _which(seen: Seen, hits: np.ndarray, name: str) -> str:
    """Broken rows all bear one level of a category, which chance would not do."""
    total, best = int(hits.sum()), ("", 1.0)
    for column in seen.contract.columns:
        if column.kind != "category" or column.name == name or column.name not in seen.table.column_names:
            continue
        try:
            levels, where = columns.distinct(seen.table.column(column.name))
        except ValueError:
            continue
        if not 1 < len(levels) <= _MOST_LEVELS:
            continue
        rows, broken = np.bincount(where), np.bincount(where[hits], minlength=len(levels))
        most = int(np.argmax(broken))
        share = float(rows[most] / len(hits))
        if (
            broken[most] >= _NEARLY * total
            and share <= _SPOT
            and share ** int(broken[most]) < _BY_CHANCE
            and share < best[1]
        ):
            best = f"only where {column.name} = {levels[most] or 'missing'!r}", share
    return best[0]


# ── one cause of many columns ─────────────────────────────────────────────────────────────────────
def _groups(seen: Seen, faults: Sequence[Fault]) -> Iterator[tuple[list[Fault], str]]:
    """Three columns or more that broke alike."""
    gone = [f for f in faults if f.code == "missing_column"]
    if len(gone) >= _TOGETHER:
        yield gone, "are gone at once: another table, or an older job?"
    lost = [f for f in faults if f.code in _LOST]
    if len(lost) >= _TOGETHER:
        known = {c.name: c for c in seen.contract.columns}
        masks = [missing(seen.table.column(f.column), known[str(f.column)]).tobytes() for f in lost]
        most = max(dict.fromkeys(masks), key=masks.count)
        if masks.count(most) >= _TOGETHER:
            same = [f for f, mask in zip(lost, masks, strict=True) if mask == most]
            yield same, "lost their values in the same rows: a join that found nothing?"
    typed = [f for f in faults if f.code == "retyped_column"]
    if len(typed) >= _TOGETHER:
        yield typed, "changed their type at once: written by another tool?"
