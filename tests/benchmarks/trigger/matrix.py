"""The shared sets as loss matrices: the model of every window on every tick, trained once and kept."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
SETS = (
    "bank_marketing",
    "bitcoin_otc",
    "dc_bikeshare",
    "elec2",
    "employment_ma",
    "fraud_handbook_sim",
    "gas_turbine_nox",
    "hotel_cancel",
    "metro_traffic",
    "noaa_weather",
    "vic_elec",
)
NO_FEATURES = ("step", "ts", "label_ts", "y")
LIBRARIES = ("lightgbm", "numpy")


@dataclass(frozen=True)
class Settings:
    """How a set is cut and what is trained on it; the laboratory's figures."""

    rows: int = 24_000  # at most, by systematic thinning
    ticks: int = 80  # whole days where a set has them, of rows as equal as that allows
    window: int = 14  # ticks a model is trained on
    shortest: int = 4  # the first models, whose losses are only promises, have fewer
    trees: int = 40
    rate: float = 0.1
    twin_trees: int = 30
    twin_rate: float = 0.4 / 3  # the model's progress in fewer trees, as the probe's twins do
    twin_every: int = 2  # of the window's rows, the share that a twin learns from


@dataclass(frozen=True)
class Matrix:
    """One set. Model ``s`` has learned the ticks before ``s``, so tick ``s`` is the first that it may serve.

    Losses are log loss (binary) or L1 (regression); NaN where no model was trained and on ticks that it has learned.
    """

    name: str
    binary: bool
    categorical: np.ndarray  # (n_features,) bool
    tick: np.ndarray  # (n,) int64: tick of each row, ascending
    x: np.ndarray  # (n, n_features) float64; codes of categories
    y: np.ndarray  # (n,)
    loss: np.ndarray  # (T, T): model s on tick t
    twin: np.ndarray  # (T, T): the same of the small twins
    settings: Settings

    @property
    def ticks(self) -> int:
        return len(self.loss)

    @property
    def rows(self) -> np.ndarray:
        """Rows of each tick, shape ``(T,)``."""
        return np.bincount(self.tick, minlength=self.ticks)

    def slots(self, start: int, end: int) -> slice:
        """Where the rows of the ticks ``[start, end)`` stand."""
        first, last = np.searchsorted(self.tick, (start, end))
        return slice(int(first), int(last))

    def promise(self, s: int, back: int = 7) -> np.ndarray:
        """Losses out of sample that were known when model ``s`` was trained: of the one trained ``back`` ticks before.

        For the first models, of the earliest there is.
        """
        first = max(s - back, self.settings.shortest)
        return self.loss[first, first:s]


def load(name: str, settings: Settings | None = None) -> Matrix:
    """The matrix of a shared set: from the cache, else trained, which takes ten seconds or so."""
    settings = settings or Settings()
    file = file_of(name, settings)
    if not file.exists():
        built = _built(name, settings)
        store(file, {f.name: getattr(built, f.name) for f in fields(built) if f.name not in ("name", "settings")})
    with np.load(file) as held:
        arrays = {key: held[key] for key in held.files}
    binary = bool(arrays.pop("binary"))
    return Matrix(name=name, settings=settings, binary=binary, **arrays)


def load_all(names: Sequence[str] = SETS, settings: Settings | None = None, jobs: int = 2) -> dict[str, Matrix]:
    """Several sets; those that are not in the cache are trained side by side."""
    settings = settings or Settings()
    absent = [name for name in names if not file_of(name, settings).exists()]
    if absent:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            list(pool.map(_ensure, absent, [settings] * len(absent)))
    return {name: load(name, settings) for name in names}


def _ensure(name: str, settings: Settings) -> None:
    load(name, settings)


# ── cache ─────────────────────────────────────────────────────────────────────────────────────────
def file_of(name: str, settings: Settings, more: Mapping[str, Any] | None = None) -> Path:
    """Where it is kept: named by the set's content, what is done with it and the libraries that do it."""
    content = hashlib.sha256((DATA / f"{name}.parquet").read_bytes()).hexdigest()
    said = [content, asdict(settings), [version(library) for library in LIBRARIES], dict(more or {})]
    key = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / "lr_retune_trigger" / f"{name}-{key}.npz"


def store(file: Path, arrays: Mapping[str, Any]) -> None:
    """All or nothing."""
    file.parent.mkdir(exist_ok=True)
    part = file.with_suffix(f".{os.getpid()}.part")
    with part.open("wb") as stream:
        np.savez(stream, **arrays)
    part.replace(file)


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────
def _built(name: str, settings: Settings) -> Matrix:
    table = pq.read_table(DATA / f"{name}.parquet")
    table = table.take(_thinned(len(table), settings.rows))
    names = [n for n in table.column_names if n not in NO_FEATURES]
    columns = [_codes(table.column(n)) for n in names]
    categorical = np.array([pa.types.is_dictionary(table.column(n).type) for n in names])
    y = table.column("y").to_numpy().astype(np.float64)
    tick = _ticks(table.column("ts").to_numpy().astype("datetime64[D]"), settings.ticks)
    none = np.empty((0, 0))
    cut = Matrix(
        name, set(np.unique(y)) <= {0.0, 1.0}, categorical, tick, np.column_stack(columns), y, none, none, settings
    )
    return replace(cut, loss=_losses(cut, settings, twin=False), twin=_losses(cut, settings, twin=True))


def _thinned(rows: int, most: int) -> np.ndarray:
    return np.arange(rows) if rows <= most else np.arange(most) * rows // most


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    """Numbers as they are; categories as codes, missing ones as NaN."""
    if not pa.types.is_dictionary(column.type):
        return np.asarray(column.to_numpy(), dtype=np.float64)
    codes = column.unify_dictionaries().combine_chunks().indices.to_numpy(zero_copy_only=False)
    return np.asarray(codes, dtype=np.float64)


def _ticks(day: np.ndarray, wanted: int) -> np.ndarray:
    """Whole days, as many as bring at least ``wanted`` ticks; by order where the set has too few days."""
    n = len(day)
    _, number = np.unique(day, return_inverse=True)
    if number[-1] + 1 < wanted:
        return np.arange(n) * wanted // n
    last = np.searchsorted(number, number, side="right") - 1  # a day falls into the tick of its last row
    for parts in range(wanted, 4 * wanted):
        _, tick = np.unique(last * parts // n, return_inverse=True)
        if tick[-1] + 1 >= wanted:
            break
    return np.asarray(tick, dtype=np.int64)


# ── models ────────────────────────────────────────────────────────────────────────────────────────
def _losses(cut: Matrix, settings: Settings, *, twin: bool) -> np.ndarray:
    ticks = int(cut.tick[-1]) + 1
    found = np.full((ticks, ticks), np.nan)
    count = np.bincount(cut.tick, minlength=ticks)
    for s in range(settings.shortest, ticks):
        rows = cut.slots(max(0, s - settings.window), s)
        rows = slice(rows.start, rows.stop, settings.twin_every if twin else 1)
        later = cut.slots(s, ticks)
        score = trained(cut, cut.x[rows], cut.y[rows], settings, twin=twin).predict(cut.x[later], num_threads=1)
        lost = np.bincount(cut.tick[later], row_losses(cut, score, later), ticks)
        found[s, s:] = lost[s:] / count[s:]
    return found


def trained(cut: Matrix, x: np.ndarray, y: np.ndarray, settings: Settings, *, twin: bool = False) -> Any:
    """LightGBM as it comes but for rate and trees, with the objective that the family takes for the metric."""
    import lightgbm as lgb

    params = {
        "objective": "binary" if cut.binary else "regression_l1",
        "learning_rate": settings.twin_rate if twin else settings.rate,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
        "seed": 0,
    }
    data = lgb.Dataset(x, y, categorical_feature=np.flatnonzero(cut.categorical).tolist())
    return lgb.train(params, data, settings.twin_trees if twin else settings.trees)


def row_losses(cut: Matrix, score: np.ndarray, which: slice | np.ndarray) -> np.ndarray:
    """Log loss or absolute error of these rows, shape ``(n,)``."""
    y = cut.y[which]
    if not cut.binary:
        return np.asarray(np.abs(y - score))
    given = np.clip(np.abs(1.0 - y - score), 1e-15, 1.0)
    return np.asarray(-np.log(given))
