"""Rows as a model reads them at a time: features, the label horizon, the contract and the check against it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from lr_retune import encoding
from lr_retune.config import Config
from lr_retune.data import checks, columns
from lr_retune.data.join import ids
from lr_retune.data.kinds import DUPLICATE, kind_of, micros_of
from lr_retune.data.labels import weights
from lr_retune.data.parquet import at
from lr_retune.data.reader import Reader, between
from lr_retune.data.repeats import repeated_share, repeats
from lr_retune.data.seen import Seen
from lr_retune.data.thin import share
from lr_retune.data.ticks import edges, shift, tick_start
from lr_retune.errors import DataError
from lr_retune.records import Column, Contract, Fault, Feeds, Rows, Span, micros

__all__ = ["Feed", "between", "rows_digest"]
Kind = Literal["number", "category"]
_HISTORY = 10  # spans before the checked one that tell what is usual
_MORE_TICKS = 3  # read beyond the longest label delay, so that a mature tick is usually among them


class Feed(Reader):
    """One model's rows as a model reads them, their label horizon and their contract, at ``as_of``."""

    def __init__(self, config: Config, feeds: Feeds, as_of: datetime) -> None:
        super().__init__(config, feeds, as_of)
        self._identifiers: dict[str, str] = {}

    # ── columns ───────────────────────────────────────────────────────────────────────────────────
    @property
    def _ours(self) -> Mapping[str, str]:
        """`types` under the configured transform: what a training would see."""
        return self.types(self.config.model.transform)

    def columns(self) -> dict[str, Kind]:
        """Features and their kinds: ``[data] features``, or all but roles and ``exclude``.

        Raises
        ------
        DataError
            If a configured column is missing, or files disagree about a column's type.
        """
        data = self.config.data
        for name in (*(data.features or ()), *data.categorical, *filter(None, [data.entity]), *self.needed()):
            self.demand(name)
        for name in self._wanted():
            self._demand_one_type(name)
        return self.readable()

    def readable(self) -> dict[str, Kind]:
        """`columns` of what is there; one whose type differs between files can be read as categories."""
        named, types, out = self.config.data.categorical, self._ours, self.left_out()
        kept = [name for name in self._wanted() if name not in out and types.get(name, DUPLICATE) != DUPLICATE]
        mixed = {name for name in kept if types[name].startswith("mixed<")}
        return {n: "category" if n in named or n in mixed else kind_of(types[n]) or "number" for n in kept}

    def left_out(self) -> dict[str, str]:
        """Columns that could have been features but are none, and why."""
        types = {n: self._ours[n] for n in self._wanted() if n in self._ours}
        unusable = {n: f"{t} is no type a model reads" for n, t in types.items() if not _usable(t)}
        empty = {n: "holds no value" for n, t in types.items() if t == "null"}
        return unusable | empty | self._identifiers

    def _wanted(self) -> list[str]:
        data, roles = self.config.data, self.config.roles
        if data.features is not None:
            return list(data.features)
        return [name for name in self._ours if name not in roles and name not in data.exclude]

    def needed(self) -> list[str]:
        """Columns that every encoded row needs beside its features."""
        data, config = self.config.data, self.config
        named = (data.time, config.label, config.label_time, data.weight)
        unlabelled = config.labels.mode == "none" and config.label not in self.schema
        return [n for n in named if n is not None and not (unlabelled and n in (config.label, config.label_time))]

    def _demand_one_type(self, name: str) -> None:
        kind = self._ours[name]
        if kind.startswith("mixed<") or kind == DUPLICATE:
            why = "stands twice in a file" if kind == DUPLICATE else f"differs between files: {kind}"
            raise DataError(
                f"column {name!r} {why}", fix="write the files with one type and one name, or list it in [data] exclude"
            )

    def _raw_rows(self, contract: Contract, span: Span, per_tick: int | None) -> pa.Table:
        names, choose = [*contract.names, *self.needed()], self._of_each_tick(span, per_tick)
        if choose is None:  # train spans are large, and nobody asks for them twice
            return self.raw(names, span.start, span.end, contract.transform)
        return self.held(names, span, contract.transform, choose, f"{per_tick} a tick")

    # ── the label horizon ─────────────────────────────────────────────────────────────────────────
    def horizon(self) -> datetime | None:
        """End of the newest tick before which every tick's labels are complete; None if there is none.

        A tick is complete when ``[labels] quorum`` of its rows are labelled or ``max_delay`` has passed since its end.
        """
        if self.config.labels.mode == "none":
            return self._last_labelled()
        tick, zone = self.config.schedule.tick, self.config.schedule.timezone
        end = tick_start(self.as_of, tick, zone)
        start = shift(tick_start(self.as_of - self.config.label_max_delay, tick, zone), -_MORE_TICKS, tick, zone)
        table = self.raw(self.needed(), start, end)
        cuts = edges(start, end, tick, zone)
        place = np.searchsorted(cuts, micros_of(table.column(self.config.data.time)), side="right") - 1
        rows = np.bincount(place, minlength=len(cuts) - 1)
        labelled = np.bincount(place[~np.isnan(self.labels(table).y)], minlength=len(cuts) - 1)
        waited = cuts[1:] <= micros(self.as_of - self.config.label_max_delay)
        # 1e-9: .95 × 20 is 19.000000000000004 in binary, and 19 labels of 20 are the quorum
        mature = waited | (labelled >= self.config.labels.quorum * rows - 1e-9)
        complete = len(mature) if mature.all() else int(np.argmin(mature))
        held = np.flatnonzero(rows[:complete])
        return at(cuts[held[-1] + 1]) if len(held) else self._older_horizon(start)

    def _older_horizon(self, before: datetime) -> datetime | None:
        """Every tick before ``before`` has waited long enough: the end of the newest that holds rows."""
        found = self.times(None, before)
        if not len(found):
            return None
        tick, zone = self.config.schedule.tick, self.config.schedule.timezone
        return shift(tick_start(at(found[-1]), tick, zone), 1, tick, zone)

    def _last_labelled(self) -> datetime | None:
        """Where production brings no labels: the end of the newest tick that has them."""
        table = self.raw(self.needed(), None, self.as_of)
        time, known = micros_of(table.column(self.config.data.time)), ~np.isnan(self.labels(table).y)
        ticks, where = np.unique(self._ticks(time), return_inverse=True)
        share = np.bincount(where, weights=known) / np.bincount(where) if len(ticks) else ticks
        full = ticks[share >= self.config.labels.quorum - 1e-9]
        return shift(at(full[-1]), 1, self.config.schedule.tick, self.config.schedule.timezone) if len(full) else None

    # ── the contract ──────────────────────────────────────────────────────────────────────────────
    def learn(self, span: Span, previous: Contract | None = None) -> Contract:
        """What the features are on the rows of ``span``.

        With ``previous`` columns and kinds are its own, new levels are appended (codes never change), ranges are
        learned anew, and the version counts up if a level was added.

        Raises
        ------
        DataError
            If a column is missing or not of its kind.
        """
        kinds = self.columns() if previous is None else {c.name: c.kind for c in previous.columns}
        table = self.raw(list(kinds), span.start, span.end, self.config.model.transform)
        return self.learn_from(table, kinds, previous)

    def learn_from(
        self, table: pa.Table, kinds: Mapping[str, Kind], previous: Contract | None, missing: Collection[str] = ()
    ) -> Contract:
        """`learn` on rows at hand; columns in ``missing`` stay as they were in ``previous``."""
        old = {} if previous is None else {c.name: c for c in previous.columns}
        # one whose kind was accepted anew is unreadable to the champion only
        unread = {name for name in missing if name in old and old[name].kind == kinds.get(name)}
        found = [
            old[name] if name in unread else columns.learn(self._column(table, name), name, kind, _levels(old, name))
            for name, kind in kinds.items()
        ]
        if previous is not None:
            grown = any(c.name not in old or len(c.levels) != len(old[c.name].levels) for c in found)
            return Contract(previous.version + grown, tuple(found), len(table), self.config.model.transform)
        self._identifiers = {
            c.name: f"{len(c.levels)} levels in {len(table)} rows: an identifier"
            for c in found
            if columns.is_identifier(c, len(table))
        }
        kept = tuple(c for c in found if c.name not in self._identifiers)
        if not kept:
            raise DataError("no feature is left", why=str(self.left_out()), fix="name features in [data] features")
        return Contract(1, kept, len(table), self.config.model.transform)

    def _column(self, table: pa.Table, name: str) -> Any:
        if name not in table.column_names:
            self.demand(name)
            self._demand_one_type(name)
        return table.column(name)

    # ── encoded rows ──────────────────────────────────────────────────────────────────────────────
    def rows(
        self, contract: Contract, span: Span, missing: Collection[str] = (), *, per_tick: int | None = None
    ) -> Rows:
        """Encoded rows of ``span``; labels as known at ``as_of``.

        Parameters
        ----------
        missing
            Columns that may lack or have another type: the model then sees missing values.
        per_tick
            At most so many rows of each tick, drawn by ``seed`` and the tick alone; None: all.

        Raises
        ------
        DataError
            If another column is missing or its values are not of its kind.
        """
        asked = ("rows", contract, span, tuple(missing), per_tick)
        return self.once(asked, lambda: self.encode(contract, self._raw_rows(contract, span, per_tick), missing))

    def rows_in(self, table: pa.Table, contract: Contract, span: Span, missing: Collection[str] = ()) -> Rows:
        """`rows` of a span whose raw rows are at hand."""
        return self.once(("rows", contract, span, tuple(missing), None), lambda: self.encode(contract, table, missing))

    def encode(self, contract: Contract, table: pa.Table, missing: Collection[str] = ()) -> Rows:
        """`rows` of raw rows at hand."""
        x = np.empty((len(table), len(contract.columns)), dtype=np.float64)
        for i, column in enumerate(contract.columns):
            x[:, i] = self._encoded(table, column, column.name in missing)
        time = micros_of(table.column(self.config.data.time))
        return Rows(x, self.labels(table).y, time, self._ticks(time), weights(table, self.config.data.weight))

    def entities(self, span: Span) -> np.ndarray | None:
        """Whom the rows of `rows` are about, as whole numbers ``(n,)``; None without ``[data] entity``.

        A row without a value is about somebody of its own.

        Raises
        ------
        DataError
            If the column is missing, or holds numbers too large to tell apart.
        """
        name = self.config.data.entity
        if name is None:
            return None
        self.demand(name)
        column = self.raw([name], span.start, span.end, self.config.model.transform).column(name)
        codes = ids(column).dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return np.where(codes < 0, -1 - np.arange(len(codes)), codes)

    def _encoded(self, table: pa.Table, column: Column, lenient: bool) -> Any:
        try:
            return columns.encoded(self._column(table, column.name), column)
        except (ValueError, DataError) as error:
            if lenient:
                known = column.kind == "number" and column.name in table.column_names
                return encoding.numbers(columns.legible(table.column(column.name))) if known else np.nan
            if isinstance(error, DataError):
                raise
            raise columns.not_of_kind(column.name, column.kind, error) from None

    def _ticks(self, time: np.ndarray) -> np.ndarray:
        if not len(time):
            return time
        schedule = self.config.schedule
        cuts = edges(at(time[0]), at(time[-1] + 1), schedule.tick, schedule.timezone)
        return cuts[np.searchsorted(cuts, time, side="right") - 1]

    def table(self, contract: Contract, span: Span, limit: int, seed: int) -> pa.Table:
        """Features of at most ``limit`` rows in time order, numbers as float64 and categories as text, for reports.

        Columns that are missing or not of their kind are null.
        """
        return self._shown(self.some(contract.names, span, limit, seed, contract.transform), contract)

    def sample(self, contract: Contract, span: Span, limit: int, seed: int) -> tuple[pa.Table, Rows]:
        """`table`, and the same rows encoded, with their labels; columns that cannot be read are missing values."""

        def make() -> tuple[pa.Table, Rows]:
            raw = self.some([*contract.names, *self.needed()], span, limit, seed, contract.transform)
            return self._shown(raw, contract), self.encode(contract, raw, contract.names)

        return self.once(("sample", contract, span, limit, seed), make)

    def _shown(self, raw: pa.Table, contract: Contract) -> pa.Table:
        return pa.table({c.name: _shown(raw, c) for c in contract.columns})

    def digest(self, spans: Sequence[Span], contract: Contract, missing: Collection[str] = ()) -> str:
        """sha256 over the encoded content of the rows of ``spans``: features, labels, times, weights."""
        return rows_digest([self.rows(contract, span, missing) for span in spans])

    # ── the check ─────────────────────────────────────────────────────────────────────────────────
    def check(
        self, contract: Contract, span: Span, importance: Mapping[str, float], matters: float
    ) -> tuple[Fault, ...]:
        """Every way in which the rows of ``span`` break the contract, worst first within the feed, then by column.

        Features are judged on ``[watch] sample`` rows where there are more; labels, weights and ids on all.

        Parameters
        ----------
        importance
            Feature → share of the champion's importance; empty: every column matters.
        matters
            Share from which a column blocks.
        """
        asked = ("check", contract, span, tuple(sorted(importance.items())), matters)
        return self.once(asked, lambda: self._check(contract, span, importance, matters))

    def _check(
        self, contract: Contract, span: Span, importance: Mapping[str, float], matters: float
    ) -> tuple[Fault, ...]:
        data, contract = self.config.data, contract.inputs
        more = [name for name in (data.id, *self._new_categories(contract)) if name is not None]
        limit, seed, transform = self.config.watch.sample, self.config.seed, contract.transform
        table = self.some([*contract.names, *self.needed(), *more], span, limit, seed, transform)
        every = table if len(table) < limit else self._roles(span)
        earlier = span.start - _HISTORY * (span.end - span.start)
        like = share(len(table) / max(len(every), 1), seed)
        seen = Seen(
            config=self.config,
            as_of=self.as_of,
            schema=self.types(transform),
            contract=contract,
            span=span,
            table=table,
            every=every,
            labels=self.labels(every),
            newest=self.newest(),
            importance=importance,
            matters=matters,
            before=lambda name: self.raw([name], earlier, span.start, transform, like).column(name),
            repeated=lambda names, enough: self._repeated(names, enough, span, transform, table, every),
            joined=self.joined(span),
            derived=self.starved(transform),
        )
        return checks.check(seen)

    def _roles(self, span: Span) -> pa.Table:
        """What every row plays a part in beside its features."""
        return self.raw([*self.needed(), *filter(None, [self.config.data.id])], span.start, span.end)

    def _repeated(
        self, names: Sequence[str], enough: float, span: Span, transform: str | None, table: pa.Table, every: pa.Table
    ) -> tuple[float, float]:
        """Shares of rows that repeat another in these columns, and that repeat none."""
        if len(table) == len(every):
            return repeats(table, names)
        times = micros_of(every.column(self.config.data.time))
        return repeated_share(
            lambda asked, choose: self.raw(asked, span.start, span.end, transform, choose).select(list(asked)),
            times,
            names,
            self.config.watch.sample,
            enough,
        )

    def _new_categories(self, contract: Contract) -> list[str]:
        return [n for n in self._wanted() if n not in contract.names and kind_of(self.schema.get(n, "")) == "category"]


def rows_digest(parts: Sequence[Rows]) -> str:
    """sha256 over the bytes of several spans' rows."""
    total = hashlib.sha256()
    for rows in parts:
        total.update(f"{rows.x.shape};".encode())
        for array in (rows.x, rows.y, rows.time, rows.weight):
            total.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


def _levels(old: Mapping[str, Column], name: str) -> tuple[str, ...]:
    return old[name].levels if name in old else ()


def _usable(kind: str) -> bool:
    return kind == "null" or kind_of(kind) is not None or kind.startswith("mixed<") or kind == DUPLICATE


def _shown(raw: pa.Table, column: Column) -> Any:
    try:
        return columns.readable(raw.column(column.name), column)
    except (ValueError, KeyError):
        return columns.absent(len(raw), column)
