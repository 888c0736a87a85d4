"""What searches cost beside steps: peak memory of each row, and what the whole search step adds to its fits."""

from __future__ import annotations

import ctypes
import gc
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from lr_retune.config import Config, parse_config
from lr_retune.plugins import Plugins, load_plugins
from lr_retune.records import Family, FitData, Fits, SearchOptions
from lr_retune.retune import bootstrap, retune
from lr_retune.stores.promotion import Stores
from lr_retune.watch.baselines import always_search
from tests.benchmarks.search import tables
from tests.benchmarks.search.peers import PEERS, Peer
from tests.benchmarks.search.rows import FAMILIES, Row, Tried, fits_for, options_for, rows_of
from tests.benchmarks.search.streams import SETS, Episode, configured, episodes
from tests.benchmarks.search.work import Trained, one_pass

T = TypeVar("T")
SET = "metro_traffic"  # of the overhead


# ── memory ────────────────────────────────────────────────────────────────────────────────────────
def memory(family: str, name: str, folder: Path) -> dict[str, float]:
    """Peak of each row above what the process held before it, in a process of its own; MB."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(peaks, family, name, folder).result()


def peaks(family: str, name: str, folder: Path) -> dict[str, float]:
    """MB by row; nothing where the system does not tell."""
    warnings.simplefilter("ignore")
    if not Path("/proc/self/clear_refs").exists():
        return {}
    episode = next(iter(episodes(name, family, 1, folder)))
    if family == "sgd":
        one_pass(episode.data)  # compiles the kernel
    asked: dict[str, Callable[[], object]] = {}
    for row in rows_of(family)[1:]:  # dense is what others are measured by
        asked[row.name] = partial(_search, row, episode)
    asked |= {title: partial(_ask, peer, episode) for title, peer in PEERS.items()}
    return {title: _peak(run) for title, run in asked.items()}


def _search(row: Row, episode: Episode) -> Tried:
    return row.strategy(FAMILIES[episode.config.model.family].start(episode.data, seed=0), options_for(row, episode))


def _ask(peer: Peer, episode: Episode) -> tuple[float, float, float]:
    family = episode.config.model.family
    return peer(episode, fits_for(episode, Trained(FAMILIES[family], episode.data) if family == "lightgbm" else 1.0))


def _peak(run: Callable[[], object]) -> float:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is from now on
    before = _held("VmRSS")
    run()
    return _held("VmHWM") - before


def _held(what: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(float(line.split()[1]) / 1024 for line in lines if line.startswith(what))


# ── overhead ──────────────────────────────────────────────────────────────────────────────────────
def overheads(families: Sequence[str], folder: Path) -> str:
    """CPU of one run of the main path that searches, its search step taken apart, one line per family."""
    shown = [_overhead(family, folder) for family in families]
    steps = ("search step", "fits", "metric", "reading", "own", "own % (aim <= 10)")
    return tables.aligned([(f"CPU s on {SET}", *steps, "judge, MLflow, ledger", "before"), *shown])


def _overhead(family: str, folder: Path) -> tuple[str, ...]:
    warnings.simplefilter("ignore")
    spent: Counter[str] = Counter()
    config, stream = _stored(family, folder), SETS[SET]
    plugins = _timed(load_plugins(config), spent)
    stores = Stores.open(config)
    bootstrap(config, stores, stream.start, plugins=plugins)
    spent.clear()  # imports, tables and the compiler are behind us
    began = time.process_time()
    when = stream.start + timedelta(days=stream.every)
    retune(config, stores, when, step=_stepped(spent), policy=always_search, plugins=plugins)
    whole = time.process_time() - began
    search, fits, metric = spent["tune"], spent["fits"] - spent["curve"], spent["curve"] + spent["metric"]
    own = search - fits - metric - spent["reading"]
    after = spent["judge"] + spent["settle"]
    figures = (search, fits, metric, spent["reading"], own, 100 * own / search, after, whole - search - after)
    return (family, *(f"{figure:.2f}" for figure in figures))


def _stored(family: str, folder: Path) -> Config:
    """The set's configuration with stores of its own, as a new user has them."""
    config = configured(SET, family, folder)
    own = folder / family
    own.mkdir()
    shown = config.model_dump(mode="json", exclude_none=True)
    return parse_config({**shown, "watch": {"drift": "native"}}, root=own)


def _stepped(spent: Counter[str]) -> Callable[..., Any]:
    def step(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        if function.__name__ == "tune":
            spent.clear()  # rows that were read before are not the search's
        return _clocked(function, spent, function.__name__)(*args, **kwargs)

    return step


def _clocked(function: Callable[..., T], spent: Counter[str], name: str) -> Callable[..., T]:
    def run(*args: Any, **kwargs: Any) -> T:
        began = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent[name] += time.process_time() - began  # type: ignore[assignment]

    return run


def _timed(plugins: Plugins, spent: Counter[str]) -> Plugins:
    def strategy(fits: Fits, options: SearchOptions) -> Tried:
        return plugins.strategy(fits, replace(options, loss=_clocked(options.loss, spent, "metric")))

    feeds = replace(plugins.feeds, data=_Timed(plugins.feeds.data, spent, "reading"))
    return replace(plugins, strategy=strategy, family=_TimedFamily(plugins.family, spent), feeds=feeds)


class _Timed:
    """Something whose methods are on a clock."""

    def __init__(self, inner: Any, spent: Counter[str], name: str) -> None:
        self._inner, self._spent, self._name = inner, spent, name

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return _clocked(found, self._spent, self._name) if callable(found) else found


class _TimedFamily:
    """A family whose fits tell the CPU they take, that of the metric at each step among it."""

    def __init__(self, family: Family, spent: Counter[str]) -> None:
        self._family, self._spent = family, spent

    def start(self, data: FitData, *, seed: int) -> Any:
        data = replace(data, curve_loss=_clocked(data.curve_loss, self._spent, "curve"))
        return _TimedFits(_clocked(self._family.start, self._spent, "fits")(data, seed=seed), self._spent, "fits")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._family, name)


class _TimedFits(_Timed):
    @property
    def baseline(self) -> float:
        return float(_clocked(lambda: self._inner.baseline, self._spent, self._name)())
