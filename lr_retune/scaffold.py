"""A first retune.toml, guessed from a data file: what `lr-retune init` writes."""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lr_retune.config import Config, Gates, format_duration, parse_config, toml
from lr_retune.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

FIRST_ROWS = 50_000  # enough to tell a row number or an identifier from a feature
MIN_TICK_ROWS = 5  # median rows of a tick; fewer make its loss mere noise
TICKS = [timedelta(hours=1), timedelta(hours=6), timedelta(days=1), timedelta(days=7), timedelta(days=28)]
RUNS, LOOKS = 14, 60  # trainings and looks of a first replay: told within minutes
RARE = 0.1  # share of positives below which ranking them is the question
LABEL_TIMES = ("label_ts", "label_time", "label_at", "label_date", "labelled_at", "labeled_at", "known_at")
MAX_WAIT = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Sight:
    """What the file shows."""

    task: str
    positives: float  # share; 0 for regression
    tick: timedelta
    tick_rows: float  # median rows of a tick
    ticks: int  # whole ticks from the first to the last row
    label_time: str | None
    wait: timedelta | None  # by then 99 % of the labels are known
    exclude: tuple[str, ...]
    id: str | None = None  # joins labels that lie in a file of their own


def scaffold(
    file: Path,
    label: str,
    time: str,
    task: str | None = None,
    name: str | None = None,
    *,
    folder: Path | None = None,
    labels: Path | None = None,
    id: str | None = None,
) -> str:
    """The text of a commented retune.toml that passes validation.

    Parameters
    ----------
    file
        Parquet, or CSV by its ending.
    label, time
        Columns of the label and of the event time.
    task
        ``binary`` or ``regression``; two distinct labels mean binary when None.
    name
        Of the registered model; from the file's name when None.
    folder
        Where the text will be written: the path in it is relative to that. The working directory when None.
    labels
        The file that holds the labels, where it is another one.
    id
        The column that joins the two; guessed when None.

    Raises
    ------
    ConfigError
        For a column that is not there or cannot play its role, or too short a history.
    DataError
        If the file cannot be read.
    """
    root = (folder or Path.cwd()).resolve()
    sight = look(file, label, time, task) if labels is None else look_apart(file, labels, label, time, task, id)
    title = name if name is not None else _name(file.stem)
    places = {"path": _relative(file, root), "time": time, "label": label, "source": _format(file)}
    if labels is not None:
        places |= {"labels": _relative(labels, root), "labels_source": _format(labels)}
    text = "\n".join(_lines(title, sight, places)) + "\n"
    parse_config(tomllib.loads(text), root=root, origin="the new file")
    return text


def first_replay(file: Path, time: str, config: Config) -> str | None:
    """The words that replay the newer part of a file at up to `LOOKS` run times; None where it is too short for `RUNS`.

    The first model needs train, valid and holdout before it, and gets two fifths of the file where it is longer.
    """
    times = _times(_read(file, [time]), time)
    tick, window = config.schedule.tick, config.window
    first, last = (datetime.fromtimestamp(int(times[end]) / 1e6, UTC) for end in (0, -1))
    needed = (window.min_ticks + config.ticks(window.valid) + config.ticks(window.holdout) + 2) * tick
    start = max(first + 0.4 * (last - first), first + needed)
    ticks = (last - start) // tick
    if ticks < RUNS:
        return None
    every = max(1, ticks // LOOKS)
    paces = f"--every {every} --train-every {every * max(1, ticks // RUNS // every)}"
    return f"lr-retune replay --from {start:%Y-%m-%d} --to {last:%Y-%m-%d} {paces} --html replay.html"


# ── look ──────────────────────────────────────────────────────────────────────────────────────────
def look(file: Path, label: str, time: str, task: str | None = None) -> Sight:
    """Read what the guesses need: all times and labels, and the first rows of everything."""
    first = _read(file, None)
    for column in (label, time):
        _must_exist(column, first.column_names, file)
    others = set(first.column_names) - {label, time}
    label_time = next((n for n in _label_times(label) if n in others and _is_time(first, n)), None)
    table = _read(file, [label, time, *([] if label_time is None else [label_time])])
    times, values = _times(table, time), _labels(table, label)
    kind, positives = _task(values, label, task)
    tick, tick_rows, ticks = _tick(times)
    roles = {label, time, label_time}
    exclude = tuple(n for n in first.column_names if n not in roles and _no_feature(first, n))
    wait = None if label_time is None else _wait(table, time, label_time)
    return Sight(kind, positives, tick, tick_rows, ticks, label_time, wait, exclude)


def look_apart(file: Path, labels: Path, label: str, time: str, task: str | None, id: str | None) -> Sight:
    """`look` where labels lie in a file of their own."""
    first, theirs = _read(file, None), _read(labels, None)
    _must_exist(time, first.column_names, file)
    _must_exist(label, theirs.column_names, labels)
    key = _shared_id(first, theirs, time, label) if id is None else id
    for table, where in ((first, file), (theirs, labels)):
        _must_exist(key, table.column_names, where)
    clocks = [n for n in theirs.column_names if _is_time(theirs, n)]
    known_at = next((n for n in _label_times(label) if n in clocks), clocks[0] if len(clocks) == 1 else None)
    if known_at is None:
        why = f"its time columns are {clocks}" if clocks else "it has no time column"
        fix = f"keep when each label became known in one of {', '.join(LABEL_TIMES[:3])}"
        raise ConfigError(f"{labels} does not say when its labels became known", why=why, fix=fix)
    rows, known = _read(file, [time, key]), _read(labels, [key, label, known_at])
    kind, positives = _task(_labels(known, label), label, task)
    tick, tick_rows, ticks = _tick(_times(rows, time))
    exclude = tuple(n for n in first.column_names if n not in (time, key, label) and _no_feature(first, n))
    joined = rows.append_column(known_at, _joined_clock(rows, known, key, known_at))
    return Sight(kind, positives, tick, tick_rows, ticks, known_at, _wait(joined, time, known_at), exclude, key)


def _shared_id(first: pa.Table, theirs: pa.Table, time: str, label: str) -> str:
    both = [n for n in first.column_names if n in theirs.column_names and n not in (time, label)]
    if len(both) != 1:
        raise ConfigError(
            "what joins rows and labels is not plain", why=f"columns in both files: {both}", fix="name it with --id"
        )
    return str(both[0])


def _joined_clock(rows: pa.Table, known: pa.Table, key: str, clock: str) -> Any:
    """When each row's label became known; null where none did."""
    import pyarrow as pa

    from lr_retune.data.join import lookup, newest

    utc = known.set_column(
        known.column_names.index(clock), clock, pa.array(_micros(known, clock)).cast(pa.timestamp("us", "UTC"))
    )
    found = lookup(rows.column(key), newest(utc, key, clock), key, [clock])[clock]
    return found.cast(pa.timestamp("us"))


def _relative(file: Path, root: Path) -> str:
    return Path(os.path.relpath(file.resolve(), root)).as_posix()


def _format(file: Path) -> str:
    return "csv" if file.suffix.lower() == ".csv" else "parquet"


def _read(file: Path, columns: list[str] | None) -> pa.Table:
    """These columns of all rows, or all columns of the first rows."""
    import pyarrow as pa

    try:
        return _read_csv(file, columns) if _format(file) == "csv" else _read_parquet(file, columns)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{file} cannot be read", why=str(error), fix="name one Parquet or CSV file") from None


def _read_parquet(file: Path, columns: list[str] | None) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as opened:
        if columns is not None:
            return opened.read(columns)
        batches = list(_some(opened.iter_batches(FIRST_ROWS)))
        return pa.Table.from_batches(batches, opened.schema_arrow)


def _read_csv(file: Path, columns: list[str] | None) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    if columns is not None:
        return csv.read_csv(file, convert_options=csv.ConvertOptions(include_columns=columns))
    with csv.open_csv(file) as opened:
        return pa.Table.from_batches(list(_some(opened)), opened.schema)


def _some(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    seen = 0
    for batch in batches:
        yield batch
        seen += batch.num_rows
        if seen >= FIRST_ROWS:
            return


def _must_exist(column: str, known: Sequence[str], file: Path) -> None:
    if known.count(column) == 1:
        return
    if column in known:
        raise ConfigError(f"{file} has several columns named {column!r}", fix="give each column a name of its own")
    near = difflib.get_close_matches(column, known, n=1, cutoff=0.5)
    fix = f"did you mean {near[0]!r}?" if near else f"columns: {', '.join(map(repr, known))}"
    raise ConfigError(f"{file} has no column {column!r}", fix=fix)


# ── times and labels ──────────────────────────────────────────────────────────────────────────────
def _label_times(label: str) -> tuple[str, ...]:
    return (f"{label}_ts", f"{label}_time", f"{label}_at", *LABEL_TIMES)


def _is_time(table: pa.Table, name: str) -> bool:
    import pyarrow as pa

    kind = table.schema.field(name).type
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _times(table: pa.Table, name: str) -> np.ndarray:
    """Event times in microseconds, sorted."""
    found = _micros(table, name)
    known = np.sort(found[~np.isnat(found)]).astype(np.int64)
    if not known.size:
        raise ConfigError(f"column {name!r} holds no time", fix="name the event-time column with --time")
    return known


def _micros(table: pa.Table, name: str) -> np.ndarray:
    import pyarrow as pa

    column = table[name]
    if isinstance(column.type, pa.DictionaryType):
        column = column.cast(column.type.value_type)
    if not (_is_time(table, name) or pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise ConfigError(f"column {name!r} is no time but {column.type}", fix="name a timestamp column with --time")
    zone = getattr(column.type, "tz", None)
    try:
        cast = column.cast(pa.timestamp("us", zone), safe=False)
    except pa.ArrowException:
        why = "its texts are no ISO 8601 times"
        raise ConfigError(f"column {name!r} cannot be read as time", why=why, fix="store it as a timestamp") from None
    return np.asarray(cast.to_numpy(), dtype="datetime64[us]")


def _wait(table: pa.Table, time: str, label_time: str) -> timedelta | None:
    """Whole days after which 99 % of the known labels were known."""
    delay = _micros(table, label_time) - _micros(table, time)
    known = delay[~np.isnat(delay)].astype(np.int64)
    if not known.size:
        return None
    days = math.ceil(float(np.quantile(known, 0.99)) / 86_400e6)
    return min(max(timedelta(days=days), timedelta(days=1)), MAX_WAIT)


def _labels(table: pa.Table, name: str) -> np.ndarray:
    import pyarrow as pa

    try:
        values = table[name].cast(pa.float64(), safe=False).to_numpy()
    except pa.ArrowException:
        kind = table.schema.field(name).type
        raise ConfigError(
            f"label {name!r} is no number but {kind}", fix="store labels as 0 and 1, or numbers"
        ) from None
    known: np.ndarray = values[np.isfinite(values)]
    return known


def _task(values: np.ndarray, label: str, asked: str | None) -> tuple[str, float]:
    """The task, and the share of positives."""
    distinct = np.unique(values)
    if distinct.size < 2:
        raise ConfigError(f"label {label!r} has fewer than two distinct values", fix="name the label with --label")
    if (asked or ("binary" if distinct.size == 2 else "regression")) != "binary":
        return asked or "regression", 0.0
    if not np.array_equal(distinct, [0.0, 1.0]):
        fix = "store the two classes as 0 and 1, or give --task regression"
        raise ConfigError(
            f"label {label!r} is not binary", why=f"it holds {distinct.size} values, not 0 and 1", fix=fix
        )
    return "binary", float(values.mean())


# ── guesses ───────────────────────────────────────────────────────────────────────────────────────
def _tick(times: np.ndarray) -> tuple[timedelta, float, int]:
    """A day; longer where days are too sparse, shorter where days are too few."""
    needed = 3 * _min_ticks()
    shown = {tick: _density(times, tick) for tick in TICKS}
    dense = [tick for tick in TICKS if shown[tick][0] >= MIN_TICK_ROWS and shown[tick][1] >= needed]
    if not dense:
        days, moments = (times[-1] - times[0]) / 86_400e6, np.unique(times).size
        what = f"{times.size:,} rows at {moments:,} different times in {days:,.0f} days are too short a history"
        why = f"train, valid and holdout need {needed} ticks, most of them with {MIN_TICK_ROWS} rows"
        raise ConfigError(what, why=why, fix="collect more, or name a finer time column with --time")
    day = TICKS.index(timedelta(days=1))
    tick = min(dense, key=lambda t: (abs(TICKS.index(t) - day), -TICKS.index(t)))
    return tick, *shown[tick]


def _density(times: np.ndarray, tick: timedelta) -> tuple[float, int]:
    """Median rows of a tick, empty ones counted, and whole ticks from the first to the last row."""
    width = tick // timedelta(microseconds=1)
    slots = times // width
    rows = np.sort(np.unique(slots, return_counts=True)[1])
    middle = int(slots[-1] - slots[0] + 1) // 2 - int(slots[-1] - slots[0] + 1 - rows.size)  # empty ticks sort first
    return float(rows[middle]) if middle >= 0 else 0.0, int((times[-1] - times[0]) // width)


def _min_ticks() -> int:
    return int(Gates.model_fields["min_ticks"].default)


def _spans(sight: Sight) -> tuple[timedelta, timedelta]:
    """Train, and valid = holdout: a year and 28 ticks or more where rows are few, within 60 and 15 % of the history."""
    gates = Gates()
    rows = 1.2 * gates.min_rows / sight.tick_rows  # a margin for thin ticks and late labels
    positives = 1.2 * gates.min_positives / (sight.tick_rows * sight.positives) if sight.positives else 0.0
    held = min(max(28, math.ceil(max(rows, positives))), int(sight.ticks * 0.15))
    held = max(held, gates.min_ticks)
    train = min(
        max(math.ceil(timedelta(days=365) / sight.tick), 4 * held), int(sight.ticks * 0.6), sight.ticks - 2 * held
    )
    return max(train, held) * sight.tick, held * sight.tick


def _no_feature(table: pa.Table, name: str) -> bool:
    """No number or category, a row number, or an identifier."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, column = table.schema.field(name).type, table[table.schema.names.index(name)]
    if isinstance(kind, pa.DictionaryType):
        kind = kind.value_type
        column = column.cast(kind)
    if pa.types.is_integer(kind):
        steps = np.diff(column.drop_null().to_numpy().astype(np.float64))
        return bool(steps.size > 20 and (np.all(steps > 0) or np.all(steps < 0)))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        known = len(column) - column.null_count
        return bool(known > 20 and pc.count_distinct(column, mode="only_valid").as_py() == known)
    return not (pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind))


def _name(stem: str) -> str:
    """A model name from a file name.

    >>> _name("Türen & fenster (2)"), _name("***")
    ('T-ren-fenster-2', 'model')
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-._")[:100] or "model"


# ── write ─────────────────────────────────────────────────────────────────────────────────────────
def _lines(title: str, sight: Sight, data: dict[str, str]) -> list[str]:
    """All keys with a comment each. No comment repeats a name: a name may hold a line break."""
    train, held = map(format_duration, _spans(sight))
    metric = "mae" if sight.task == "regression" else ("pr_auc" if sight.positives < RARE else "log_loss")
    return [
        *_keys(
            None,
            config_version=(1, "of this file's format"),
            name=(title, "the registered model"),
            task=(sight.task, "binary (labels 0 and 1) or regression"),
            seed=(0, "same rows and seed: same answer"),
        ),
        *_keys(
            "schedule",
            tick=(format_duration(sight.tick), "one observation per tick"),
            timezone=("UTC", "ticks start at midnight there"),
        ),
        *_keys(
            "data",
            source=(data["source"], "parquet, csv, duckdb, sql, or an installed plug-in"),
            path=(data["path"], "relative to this file"),
            time=(data["time"], "when the event happened"),
            **_label_keys(sight, data),
            exclude=(list(sight.exclude), "no features: row numbers, identifiers, other times"),
        ),
        *_label_feed(sight, data),
        *_keys(
            "window",
            train=(train, "rows to learn from, before valid and holdout"),
            valid=(held, "rows the learning rate is chosen on"),
            holdout=(held, "newer rows that judge the challenger once"),
        ),
        *_keys("model", family=("lightgbm", "what is trained"), threads=(1, "CPU threads of a fit")),
        *_keys("metric", name=(metric, "what good means; the gate compares it")),
        *_keys(
            "search",
            strategy=("auto", "bracket for trees, kpass for linear models; or grid, random, halving, optuna, …"),
            effort=("balanced", "or fast, thorough"),
        ),
        *_keys(
            "policy",
            max_age=(format_duration(30 * max(sight.tick, timedelta(days=1))), "look again after that, however calm"),
            max_search_age=("180d", "search the learning rate anew after that long"),
            cooldown=(3, "ticks of rest after a settled decision"),
        ),
        *_keys("mlflow", tracking_uri=("sqlite:///mlflow.db", "or env:NAME, file:PATH where it holds a password")),
        *_keys("state", url=("sqlite:///lr_retune.db", "the ledger; or env:NAME, file:PATH")),
    ]


def _label_keys(sight: Sight, data: dict[str, str]) -> dict[str, tuple[Any, str]]:
    if sight.id is not None:
        return {"id": (sight.id, "joins the labels below; unique")}
    label = {"label": (data["label"], "what is predicted")}
    if sight.label_time is not None:
        return {**label, "label_time": (sight.label_time, "when the label became known")}
    told = "how long after the event the label is known; or label_time, a column"
    return {**label, "label_delay": ("0d", told)}


def _label_feed(sight: Sight, data: dict[str, str]) -> list[str]:
    """The section about labels, where there is anything to say."""
    keys: dict[str, tuple[Any, str]] = {}
    if sight.id is not None:
        keys = {
            "source": (data["labels_source"], "labels lie in a feed of their own"),
            "path": (data["labels"], "relative to this file"),
            "label": (data["label"], "what is predicted"),
            "known_at": (sight.label_time, "when it became known; the last valid revision wins"),
        }
    if sight.wait and sight.task == "binary":
        keys["quorum"] = (1.0, "rare positives may come last: wait for every label, or for max_delay")
    if sight.wait:
        keys["max_delay"] = (format_duration(sight.wait), "later labels are waited for no longer")
    return _keys("labels", **keys) if keys else []


def _keys(table: str | None, **keys: tuple[Any, str]) -> list[str]:
    head = [] if table is None else ["", f"[{table}]"]
    return [*head, *(f"{key} = {toml(value)}  # {comment}" for key, (value, comment) in keys.items())]
