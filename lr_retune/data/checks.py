"""The feed held against its contract: rows, roles, labels, repeats; columns are judged by `rules`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import pyarrow.compute as pc

from lr_retune.data import columns
from lr_retune.data.causes import explained, together
from lr_retune.data.kinds import kind_of, micros_of
from lr_retune.data.labels import raw_weights
from lr_retune.data.rules import column_faults
from lr_retune.data.seen import Seen
from lr_retune.data.swaps import swapped
from lr_retune.data.ticks import edges, shift, tick_start
from lr_retune.records import Column, Fault, iso

_REPEATS = 0.01
_LOST = 0.9  # of the labels: ids are written in another way
_UNUSED = "`lr-retune contract accept` lets the next training read it; [data] exclude silences this"
_OF_ALL = ("missing_column", "retyped_column")  # what is said of them is no figure of rows
_FEW_ALONE = 0.1  # of the rows repeat no other
_DELIVERED_TWICE = 0.45  # coarse times and few categories repeat up to .38 of the rows by nature


def check(seen: Seen) -> tuple[Fault, ...]:
    """Every fault with its likely cause: of the feed, then of its columns in the contract's order.

    Columns that broke alike, three or more, come first and together.
    """
    if not seen.schema:  # without any row nothing is known about columns
        return (*_no_rows(seen), *_stale(seen))
    rules = (_no_rows, _stale, _roles, _bad_labels, _joined_labels, _bad_weights, _repeated_ids, _repeated_rows)
    feed = [fault for rule in rules for fault in rule(seen)]
    newest = _newest(seen)
    pairs = swapped(newest)
    each = [
        fault
        for column in seen.contract.columns
        for fault in (_swap(seen, column.name, pairs) if column.name in pairs else _column(seen, newest, column))
    ]
    return tuple(_of_sample(seen, fault) for fault in together(seen, (*feed, *each, *_new_columns(seen))))


def _of_sample(seen: Seen, fault: Fault) -> Fault:
    """A column's figures with the rows they are of, where those are not all."""
    if len(seen.table) == len(seen.every) or fault.column not in seen.contract.names or fault.code in _OF_ALL:
        return fault
    return replace(fault, what=f"{fault.what} ({len(seen.table):,} rows drawn from {len(seen.every):,})")


def _swap(seen: Seen, name: str, pairs: Mapping[str, str]) -> list[Fault]:
    what = f"{name!r} looks as {pairs[name]!r} did, and that as this did: were they swapped?"
    return [Fault("out_of_range", name, what, "bring each column under its own name", seen.important(name))]


def _column(seen: Seen, newest: Seen, column: Column) -> list[Fault]:
    """What is wrong since somebody looked; or on the newest ticks alone, where ticks nobody looked at hide it."""
    found = explained(seen, column, list(column_faults(seen, column)))
    if newest is seen or any(fault.matters for fault in found):
        return found
    late = explained(newest, column, list(column_faults(newest, column)), seen)
    return late if any(fault.matters for fault in late) else found or late


def _newest(seen: Seen) -> Seen:
    """The newest ticks that hold enough rows by themselves; all that is seen where those are all."""
    schedule, times = seen.config.schedule, micros_of(seen.table.column(seen.config.data.time))
    starts = edges(seen.span.start, seen.span.end, schedule.tick, schedule.timezone)[:-1]
    firsts = [int(first) for first in np.searchsorted(times, starts)]
    enough = [first for first in firsts if len(times) - first >= seen.config.policy.min_rows]
    return replace(seen, table=seen.table.slice(enough[-1])) if enough and enough[-1] else seen


# ── the feed ──────────────────────────────────────────────────────────────────────────────────────
def _no_rows(seen: Seen) -> Iterator[Fault]:
    if seen.span.start == seen.span.end:
        yield Fault("no_rows", None, "no whole tick has passed since the champion was judged", "wait for one", False)
    elif not len(seen.table):
        what = f"no rows between {iso(seen.span.start)} and {iso(seen.span.end)}"
        yield Fault("no_rows", None, what, "wait for rows; if they are late, look at the job that writes them", False)


def _stale(seen: Seen) -> Iterator[Fault]:
    """Whole ticks without a row since the newest one: counted in the data, so runs that were missed change nothing."""
    schedule, late = seen.config.schedule, seen.config.watch.stale_ticks
    now = tick_start(seen.as_of, schedule.tick, schedule.timezone)
    fix = "look at the job that writes the files"
    if seen.newest is None:
        yield Fault("stale_source", None, "there is no row at all", fix, True)
        return
    since = shift(tick_start(seen.newest, schedule.tick, schedule.timezone), 1, schedule.tick, schedule.timezone)
    empty = 0 if since >= now else len(edges(since, now, schedule.tick, schedule.timezone)) - 1
    if empty:
        what = f"no rows for {empty} of {late} ticks: the newest is from {iso(seen.newest)}"
        yield Fault("stale_source", None, what, fix, empty >= late)


def _roles(seen: Seen) -> Iterator[Fault]:
    data = seen.config.data
    roles = {"label": seen.config.label, "label_time": seen.config.label_time, "weight": data.weight, "id": data.id}
    roles |= {"available_time": data.available_time}
    if seen.config.labels.mode == "none":
        roles |= {"label": None, "label_time": None}
    for role, name in roles.items():
        if name is not None and name not in seen.schema:
            what = f"the {role} column {name!r} is missing{seen.hint(name)}"
            optional = role == "id" and not seen.config.labels.given
            joined = role in ("label", "label_time") and seen.config.labels.given
            if joined:
                what = f"the label feed brought no {name!r}{seen.hint(name)}"
            key = {"label": "[labels] path or label", "label_time": "[labels] path or known_at"}[role] if joined else ""
            fix = (
                f"look whether labels arrive, or correct {key}"
                if joined
                else f"bring it back, or correct [data] {role}"
            )
            yield Fault("missing_column", name, what, fix, not optional)


def _bad_labels(seen: Seen) -> Iterator[Fault]:
    if bad := int(seen.labels.bad.sum()):
        law = "0 or 1" if seen.config.task == "binary" else "finite numbers"
        what = f"{bad:,} of {len(seen.every):,} labels are not {law}"
        yield Fault("bad_label", seen.config.label, what, "mend the labels where they are written", True)


def _joined_labels(seen: Seen) -> Iterator[Fault]:
    """How labels of their own feed fit the rows: another way of writing ids loses all of them."""
    found, name = seen.joined, seen.config.label
    if found is None or not found.labels:
        return
    if found.astray:
        lost = found.strays >= _LOST * found.labels
        what = f"{found.strays:,} of {found.labels:,} labels that arrived belong to no row"
        fix = "look whether both feeds write ids alike" if lost else "nothing, if their rows are kept elsewhere"
        yield Fault("unmatched_labels", name, what, fix, lost)
    if found.revised:
        what = f"{found.revised:,} ids had their label changed; the last valid one counts"
        yield Fault("revised_labels", name, what, "nothing, if revisions are usual", False)
    if found.conflicts:
        what = f"{found.conflicts:,} ids have two labels at the same time; the later in order counts"
        yield Fault("conflicting_labels", name, what, "look at the job that writes labels", False)


def _bad_weights(seen: Seen) -> Iterator[Fault]:
    name = seen.config.data.weight
    if name is None or name not in seen.every.column_names:
        return
    found = raw_weights(seen.every, name)
    if bad := int((~np.isfinite(found) | (found < 0)).sum()):
        what = f"{bad:,} of {len(found):,} weights are no finite numbers of at least 0"
        yield Fault("bad_weight", name, what, "mend the weights where they are written", True)


def _repeated_ids(seen: Seen) -> Iterator[Fault]:
    name = seen.config.data.id
    if name is None or name not in seen.every.column_names or kind_of(seen.schema[name]) is None:
        return
    known = pc.drop_null(seen.every.column(name))
    if not len(known):  # Arrow counts nothing in a column without a type
        return
    repeats = len(known) - pc.count_distinct(known).as_py()
    if repeats:
        what = f"{repeats:,} of {len(known):,} rows repeat an id"
        fix = "remove the repeated rows, or name a column in [data] id that is unique"
        yield Fault("duplicate_ids", name, what, fix, repeats > _REPEATS * len(known))


def _repeated_rows(seen: Seen) -> Iterator[Fault]:
    data, rows = seen.config.data, len(seen.every)
    named = (data.time, seen.config.label, *seen.contract.names)
    names = [n for n in named if n is not None and n in seen.table.column_names]
    keys = [n for n in names if n == data.time or kind_of(seen.schema[n])]
    share, alone = seen.repeated(keys, _REPEATS)
    if share > _REPEATS:
        what = f"{round(share * rows):,} of {rows:,} rows repeat another in time, label and every feature"
        fix = "look whether a file was delivered twice"
        yield Fault("duplicate_rows", None, what, fix, share >= _DELIVERED_TWICE and alone <= _FEW_ALONE)


def _new_columns(seen: Seen) -> Iterator[Fault]:
    for name in seen.new if len(seen.table) else ():
        if not _identifies(seen, name):
            what = f"{name!r} ({seen.schema[name]}) is new and not used"
            yield Fault("new_column", name, what, _UNUSED, False)


def _identifies(seen: Seen, name: str) -> bool:
    if kind_of(seen.schema[name]) != "category" or name not in seen.table.column_names:
        return False
    levels, where = columns.distinct(seen.table.column(name))
    return len(levels) > len(where) / 2
