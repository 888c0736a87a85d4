"""The golden set's file: rows with features and labels that a person vouches for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from lr_retune.data import columns
from lr_retune.data.derive import derive
from lr_retune.data.kinds import in_one, micros_of, to_utc
from lr_retune.errors import DataError
from lr_retune.records import Contract, Rows, Span, micros
from lr_retune.records import at as instant

if TYPE_CHECKING:
    from lr_retune.data.feed import Feed

LEAST_ROWS = 100  # fewer tell nothing about a model


def read_golden(feed: Feed, contract: Contract) -> Rows:
    """The golden rows as a model of this contract reads them; their times are their order.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column, holds fewer than 100 rows or a label that is none.
    """
    table = golden_table(feed)
    code = feed.feeds.transform(contract.transform) if contract.transform and feed.feeds.transform else None
    if code is not None and not set(code.outputs) <= set(table.column_names):
        if lacking := sorted(set(code.inputs) - set(table.column_names)):
            raise _lacks(feed, lacking)
        table = derive(table, code, str(contract.transform))
    if lacking := [name for name in contract.names if name not in table.column_names]:
        raise _lacks(feed, lacking)
    x = np.empty((len(table), len(contract.columns)))
    for i, column in enumerate(contract.columns):
        try:
            x[:, i] = columns.encoded(table.column(column.name), column)
        except ValueError as error:
            raise columns.not_of_kind(column.name, column.kind, error) from None
    order = np.arange(len(table), dtype=np.int64)
    return Rows(x, columns.numbers(table.column(str(feed.config.label))), order, order, None)


def read_audited(feed: Feed, contract: Contract, span: Span, missing: Collection[str] = ()) -> tuple[Rows, np.ndarray]:
    """Labelled rows of the feed that are golden too, and their vouched labels, ``(n,)``.

    They are the same by time and features; what stands twice is left out, as is every row where the golden file has no
    time of rows.
    """
    at = _times(golden_table(feed), feed.config.data.time, feed.config.schedule.timezone)
    here = (at >= micros(span.start)) & (at < micros(span.end))
    if not here.any():
        nothing = np.empty((0, len(contract.columns))), *(np.empty(0) for _ in range(3))
        return Rows(*nothing), np.empty(0)
    golden = read_golden(feed, contract)
    asked = Span(instant(at[here].min()), instant(at[here].max() + 1))
    rows = feed.rows(contract, asked, missing).labelled()
    rows = rows.take(np.isin(rows.time, at[here]))
    theirs, ours = _single(rows.x, rows.time), _single(golden.x, at)
    both = [(i, ours[key]) for key, i in theirs.items() if key in ours]
    return rows.take(np.array([i for i, _ in both], dtype=np.int64)), golden.y[[j for _, j in both]]


def _times(table: Any, name: str, timezone: str) -> np.ndarray:
    """When the rows were, ``(n,)`` microseconds; all of them never where no timestamps are told."""
    try:
        return micros_of(to_utc(in_one(table.column(name)), timezone))
    except (KeyError, TypeError):
        return np.full(len(table), np.iinfo(np.int64).min)


def _single(x: np.ndarray, time: np.ndarray) -> dict[bytes, int]:
    """Position of each row by its content, for rows that stand there once; a copy may have lost a last digit."""
    with np.errstate(over="ignore"):
        coarse = np.nan_to_num(x.astype(np.float32), nan=np.inf) + np.float32(0)
    keys = [features.tobytes() + at.tobytes() for features, at in zip(coarse, time, strict=True)]
    counts = Counter(keys)
    return {key: i for i, key in enumerate(keys) if counts[key] == 1}


def golden_table(feed: Feed) -> Any:
    """The file, with its label checked; see `read_golden`."""
    import pyarrow.csv
    import pyarrow.parquet
    from pyarrow import ArrowException

    path, label = feed.config.place(str(feed.config.gates.golden)), str(feed.config.label)
    read = pyarrow.csv.read_csv if path.endswith((".csv", ".csv.gz")) else pyarrow.parquet.read_table
    try:
        table = read(path)
    except (OSError, ArrowException) as error:
        fix = "write the file (Parquet or CSV), or leave out [gates] golden"
        raise DataError(f"[gates] golden cannot be read: {feed.config.gates.golden}", why=str(error), fix=fix) from None
    if label not in table.column_names:
        raise _lacks(feed, [label])
    y = columns.numbers(table.column(label))
    sound = np.isin(y, (0.0, 1.0)) if feed.config.task == "binary" else np.isfinite(y)
    if len(y) < LEAST_ROWS or not sound.all():
        why = f"{len(y)} rows, {int((~sound).sum())} of them without a sound label; at least {LEAST_ROWS} are needed"
        raise DataError(f"[gates] golden is no golden set: {feed.config.gates.golden}", why=why, fix="mend the file")
    return table


def _lacks(feed: Feed, names: list[str]) -> DataError:
    why = "a golden row has the model's features and the label, under the names of the feed"
    told = f"[gates] golden, {feed.config.gates.golden}, has no column {', '.join(map(repr, names))}"
    return DataError(told, why=why, fix="write these columns into the file")
