"""The label clock: everything a run reads passes here, and nothing that came at or after ``as_of`` exists."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lr_retune.config import Config
from lr_retune.data.columns import numbers
from lr_retune.data.derive import TYPES, derive
from lr_retune.data.join import Joined, fit, ids, lookup, newest, usable
from lr_retune.data.kinds import DUPLICATE, micros_of
from lr_retune.data.labels import Labels, known_labels
from lr_retune.data.parquet import at
from lr_retune.data.thin import Choose, Thin, among, by_tick, drawn, noted, read
from lr_retune.data.ticks import edges, shift, tick_start
from lr_retune.errors import DataError
from lr_retune.records import Feeds, Logged, Span, Transform, iso, micros

T = TypeVar("T")
_MICRO = timedelta(microseconds=1)
_RECENT = 1 / 50  # of a tick: where rows arrive all day, enough of them to see that they do


@dataclass(frozen=True, slots=True)
class _Held:
    """Rows that were read lately."""

    span: Span
    transform: str | None
    names: frozenset[str]
    how: str  # which rows; "all" where none was left out
    table: pa.Table

    def answers(self, names: Sequence[str], span: Span, transform: str | None, how: str) -> bool:
        """Whether rows that are asked for are among these."""
        return (self.span, self.transform) == (span, transform) and {*names} <= self.names and self.how in ("all", how)


class Reader:
    """One model's feeds as one table of raw rows, as it was known at ``as_of``.

    Parameters
    ----------
    feeds
        Rows and, where they stand apart, labels and logged scores; never asked for rows at or after ``as_of``.
    """

    def __init__(self, config: Config, feeds: Feeds, as_of: datetime) -> None:
        self.config, self.feeds, self.as_of = config, feeds, as_of
        self._revisions: tuple[datetime | None, pa.Table] | None = None  # the label feed, read from a time on
        self._last: tuple[_Held, ...] = ()  # two at most: one look asks for the reference and the watched ticks in turn

    def once(self, asked: tuple[Any, ...], make: Callable[[], T]) -> T:
        """What ``make`` makes of rows; where they never change, what it made before of the same ``asked``."""
        if self.feeds.once is None:
            return make()
        found: T = self.feeds.once((self.as_of, *asked), make)
        return found

    # ── columns ───────────────────────────────────────────────────────────────────────────────────
    @cached_property
    def schema(self) -> Mapping[str, str]:
        """Column name → Arrow type name, of files that hold a row before ``as_of``; labels that are joined too."""
        rows = self.feeds.data.schema(self.as_of)
        if self.feeds.labels is None or not rows:
            return rows
        theirs, joined = self.feeds.labels.schema(self.as_of + _MICRO), (self.config.label, self.config.label_time)
        return {n: k for n, k in rows.items() if n not in joined} | {n: k for n, k in theirs.items() if n in joined}

    def types(self, transform: str | None) -> Mapping[str, str]:
        """`schema` with the columns that feature code derives, where all it reads is there."""
        code = self._transform(transform)
        if code is None or not set(code.inputs) <= set(self.schema):
            return self.schema
        return {**self.schema, **{name: TYPES[kind] for name, kind in code.outputs.items()}}

    def starved(self, transform: str | None) -> dict[str, str]:
        """Columns that feature code cannot derive, and what it reads that is missing."""
        code = self._transform(transform)
        lacking = [] if code is None else [repr(n) for n in code.inputs if n not in self.schema]
        return dict.fromkeys(code.outputs, ", ".join(lacking)) if code is not None and lacking else {}

    def _transform(self, name: str | None) -> Transform | None:
        return None if name is None or self.feeds.transform is None else self.feeds.transform(name)

    def demand(self, name: str) -> None:
        """Refuse to go on without a column.

        Raises
        ------
        DataError
            If neither the feeds nor the configured transform bring it.
        """
        if not self.schema:
            raise DataError(
                f"the feed holds no rows before {iso(self.as_of)}", fix="check [data] path and the as-of time"
            )
        if self.feeds.labels is not None and name == self.config.label and name not in self.schema:
            fix = "look whether labels arrive, and at [labels] path, label and known_at"
            raise DataError(f"the label feed brought no {name!r} before {iso(self.as_of)}", fix=fix)
        known = self.types(self.config.model.transform)
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
            raise DataError(
                f"the feed has no column {name!r}", why=f"near it: {near}", fix="correct [data], or mend the feed"
            )

    # ── reading ───────────────────────────────────────────────────────────────────────────────────
    def raw(
        self,
        names: Sequence[str],
        start: datetime | None,
        end: datetime,
        transform: str | None = None,
        choose: Choose | None = None,
    ) -> pa.Table:
        """Raw columns of rows in [start, end) that were there at ``as_of``; columns the feed lacks are left out.

        Labels of their own feed are joined, and the outputs of a transform are derived. ``choose`` takes some of the
        rows by their times.
        """
        asked = list(dict.fromkeys([self.config.data.time, *names]))
        end = min(end, self.as_of)
        if not self.schema or (start is not None and start >= end):
            return pa.table({name: pa.nulls(0) for name in asked})
        self.demand(self.config.data.time)
        code = self._transform(transform)
        if code is None or not set(code.inputs) <= set(self.schema) or not set(code.outputs) & set(asked):
            table = self._labelled(asked, start, end, choose)
        else:
            plain = [n for n in asked if n not in code.outputs]
            table = derive(self._labelled([*plain, *code.inputs], start, end, choose), code, str(transform))
        return table.select([name for name in asked if name in table.column_names])

    def some(self, names: Sequence[str], span: Span, limit: int, seed: int, transform: str | None) -> pa.Table:
        """`raw` of at most ``limit`` rows, drawn by ``seed``."""
        return self.held(names, span, transform, drawn(limit, seed), f"{limit} by {seed}")

    def held(self, names: Sequence[str], span: Span, transform: str | None, choose: Choose, how: str) -> pa.Table:
        """`raw` of the rows that ``choose``, named by ``how``, takes; what was read lately is not read again."""
        held, which = next((h for h in self._last if h.answers(names, span, transform, how)), None), None
        if held is None:
            cut: list[bool] = []
            table = self.raw(names, span.start, span.end, transform, noted(choose, cut))
            held = _Held(span, transform, frozenset(names), how if any(cut) else "all", table)
            self._last = (held, *self._last[:1])
        elif held.how == "all":
            which = choose(micros_of(held.table.column(self.config.data.time)))
        asked = dict.fromkeys([self.config.data.time, *names])
        found = held.table.select([name for name in asked if name in held.table.column_names])
        return found if which is None else found.take(pa.array(which))

    def _of_each_tick(self, span: Span, limit: int | None) -> Choose | None:
        if limit is None:
            return None
        schedule = self.config.schedule
        return by_tick(limit, edges(span.start, span.end, schedule.tick, schedule.timezone), self.config.seed)

    def _labelled(self, names: Sequence[str], start: datetime | None, end: datetime, choose: Choose | None) -> pa.Table:
        """Rows with the labels that were known; only those that had arrived themselves."""
        data = self.config.data
        theirs = (self.config.label, self.config.label_time) if self.feeds.labels else ()
        joined = [n for n in names if n in theirs]
        served = [n for n in names if self._is_served(n)]
        plain = [n for n in names if n not in joined and n not in served]
        extra = [n for n in (data.available_time, data.id if joined or served else None) if n is not None]
        there = [n for n in dict.fromkeys([*plain, *extra]) if self.schema.get(n, DUPLICATE) != DUPLICATE]
        if choose is not None and data.available_time in self.schema:  # what arrived later must not change the draw
            clock = self.feeds.data.read([str(data.available_time)], start, end).column(data.available_time)
            choose = among(self._arrived(clock), choose)
        table = read(self.feeds.data, there, start, end, data.time, choose)
        if data.available_time is not None:
            self.demand(data.available_time)
            table = table.filter(pa.array(self._arrived(table.column(data.available_time))))
        for name, column in (self._labels_of(table, start, joined) if joined else {}).items():
            table = table.append_column(name, column)
        for name in served:
            table = table.append_column(name, self._served(table, start, name))
        return table

    def _is_served(self, name: str) -> bool:
        """Whether a name means the scores that one version logged: ``score@version``."""
        asked = self.config.predictions
        return asked is not None and name not in self.schema and name.startswith(f"{asked.score}@")

    def _served(self, rows: pa.Table, start: datetime | None, name: str) -> Any:
        """Logged scores of one version, one per row; null where none was logged."""
        asked, id = self.config.predictions, self.config.data.id
        empty = pa.nulls(len(rows), pa.float64())
        if asked is None or self.feeds.predictions is None or id not in rows.column_names:
            return empty
        if not self.feeds.predictions.schema(self.as_of):
            return empty
        key, since = str(asked.key or id), None if start is None else start - self.config.schedule.tick
        columns = [n for n in (asked.score, asked.time, asked.version) if n is not None]
        table = self.feeds.predictions.read([key, *columns], since, self.as_of)
        if asked.version is not None:
            table = table.filter(pc.equal(ids(table.column(asked.version)), name.rpartition("@")[2]))
        return lookup(rows.column(id), newest(table, key, asked.time), key, [asked.score])[asked.score]

    def _arrived(self, clock: Any) -> np.ndarray:
        when = micros_of(clock)
        return np.asarray((when <= micros(self.as_of)) & (when != np.iinfo(np.int64).min))

    def _labels_of(self, rows: pa.Table, start: datetime | None, columns: Sequence[str]) -> dict[str, Any]:
        id = self.config.data.id
        if id not in rows.column_names or self.config.label not in self.schema:
            return {}
        table = self.revisions(start)
        valid = usable(table.column(self.config.label), self.config.task)
        latest = newest(table, self._label_key, str(self.config.label_time), valid)
        return lookup(rows.column(id), latest, self._label_key, columns)

    @property
    def _label_key(self) -> str:
        return str(self.config.labels.key or self.config.data.id)

    def revisions(self, start: datetime | None) -> pa.Table:
        """Every label, and every change of one, that arrived from a tick before ``start`` up to ``as_of``.

        A label is sought from its row on: one known long before its row is none of it.
        """
        source, config = self.feeds.labels, self.config
        if source is None:
            raise ValueError("labels stand in the rows")
        since = None if start is None else start - config.schedule.tick
        if self._revisions is None or not _covers(self._revisions[0], since):
            names = [self._label_key, str(config.label), str(config.label_time)]
            self._revisions = since, source.read(names, since, self.as_of + _MICRO)
        known_from, table = self._revisions
        if since is None or since == known_from:
            return table
        return between(table, str(config.label_time), Span(since, max(since, self.as_of + _MICRO)))

    def times(self, start: datetime | None, end: datetime) -> np.ndarray:
        """Times of the rows in [start, end), int64 microseconds UTC, shape ``(n,)``."""
        return micros_of(self.raw([], start, end).column(self.config.data.time))

    def holds(self, start: datetime, end: datetime, rows: int) -> bool:
        """Whether [start, end) holds so many rows; where the last of them are enough, only they are read."""
        few = self._skips and len(self.times(end - (end - start) * _RECENT, end)) >= rows
        return few or len(self.times(start, end)) >= rows

    @property
    def _skips(self) -> bool:
        """Whether reading few rows is cheaper than reading all."""
        return isinstance(self.feeds.data, Thin)

    def newest(self) -> datetime | None:
        """Time of the newest row before ``as_of``."""
        tick, zone = self.config.schedule.tick, self.config.schedule.timezone
        now, end = tick_start(self.as_of, tick, zone), self.as_of
        soon = (end - tick * _RECENT, shift(now, -1, tick, zone)) if self._skips else ()
        for start in (*soon, shift(now, -self.config.watch.stale_ticks, tick, zone), None):
            found = self.times(start, end)
            if len(found):
                return at(found[-1])
            end = end if start is None else start
        return None

    def first(self, start: datetime | None = None) -> datetime | None:
        """Time of the first row, from ``start`` on."""
        found = self.times(start, self.as_of)
        return at(found[0]) if len(found) else None

    def labels(self, table: pa.Table) -> Labels:
        """Labels of raw rows as known at ``as_of``."""
        return known_labels(table, self.config, self.as_of)

    # ── the other feeds ───────────────────────────────────────────────────────────────────────────
    def joined(self, span: Span) -> Joined | None:
        """How the labels that arrived in the span fit the rows they may belong to."""
        config, id = self.config, str(self.config.data.id)
        if self.feeds.labels is None or config.label not in self.schema or id not in self.schema:
            return None
        arrived = between(self.revisions(span.start), str(config.label_time), span)
        rows = self.raw([id], span.start - config.label_max_delay, self.as_of)
        words = self._label_key, str(config.label), str(config.label_time)
        found = fit(arrived, *words, rows.column(id))
        # Labels of older rows are read for only where many are left over: delivered again, they are nobody's fault.
        return fit(arrived, *words, self.raw([id], None, self.as_of).column(id)) if found.astray else found

    def logged(self, span: Span, per_tick: int | None = None) -> Logged | None:
        """Scores that were served for the rows of `rows`, in their order; None where nothing is logged."""
        data, asked = self.config.data, self.config.predictions
        if asked is None:
            return self._logged_in_rows(span, per_tick) if data.score is not None else None
        if self.feeds.predictions is None or data.id not in self.schema:
            return None
        id, key = str(data.id), str(asked.key or data.id)
        columns = [n for n in (asked.score, asked.version, asked.time) if n is not None]
        if not self.feeds.predictions.schema(self.as_of):
            return None
        table = self.feeds.predictions.read([key, *columns], span.start - self.config.schedule.tick, self.as_of)
        rows = self.raw([id], span.start, span.end, choose=self._of_each_tick(span, per_tick)).column(id)
        found = lookup(rows, newest(table, key, asked.time), key, columns)
        version = None if asked.version is None else ids(found[asked.version]).to_numpy(zero_copy_only=False)
        return Logged(numbers(found[asked.score]), micros_of(found[asked.time]), version)

    def _logged_in_rows(self, span: Span, per_tick: int | None) -> Logged | None:
        data = self.config.data
        table = self.raw([str(data.score)], span.start, span.end, choose=self._of_each_tick(span, per_tick))
        if data.score not in table.column_names:
            return None
        return Logged(numbers(table.column(data.score)), micros_of(table.column(data.time)))


def _covers(known_from: datetime | None, since: datetime | None) -> bool:
    return known_from is None or (since is not None and known_from <= since)


def between(table: pa.Table, time: str, span: Span) -> pa.Table:
    """The slice of time-ordered raw rows that lies in a span."""
    low, high = np.searchsorted(micros_of(table.column(time)), [micros(span.start), micros(span.end)])
    return table.slice(low, high - low)
