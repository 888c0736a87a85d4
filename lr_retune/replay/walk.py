"""Walking: the main path at simulated times, once per policy, on in-memory stores."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from lr_retune import steps
from lr_retune.config import Config, RateRange
from lr_retune.data.feed import Feed
from lr_retune.data.ticks import shift, tick_start
from lr_retune.errors import ConfigError, RetuneError
from lr_retune.plugins import Plugins, find, load_plugins
from lr_retune.records import Champion, Contract, HoldoutScores, Report, Rows, Span, TuneResult, Verdict
from lr_retune.replay.arms import Arm, arms_of
from lr_retune.replay.cache import Cache
from lr_retune.replay.glance import glance
from lr_retune.replay.held import EVER, Prints, held
from lr_retune.replay.once import Once
from lr_retune.replay.remembered import Answers
from lr_retune.replay.shared import shared
from lr_retune.retune import first_model, retune
from lr_retune.stores.promotion import Stores
from lr_retune.watch.policy import decide

P = ParamSpec("P")
T = TypeVar("T")
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Walk:
    """What one policy did, and how its champions answered the rows that came."""

    name: str
    reports: tuple[Report | RetuneError, ...]  # one per run time after the first
    y: np.ndarray  # (n,) labels
    score: np.ndarray  # (n,) by the champion that was in production when the row came
    time: np.ndarray  # (n,) int64 microseconds, ascending
    filed: tuple[str, ...]  # digest of each entry of its ledger, as canonical JSON
    timing: Mapping[str, float] = field(compare=False, metadata={"outside": True})  # cpu_s, as if walked alone


def instants(config: Config, start: datetime, end: datetime, every: int) -> list[datetime]:
    """Simulated run times: tick starts from ``start`` to ``end``, every so many ticks.

    Raises
    ------
    ConfigError
        If there are fewer than two.
    """
    tick, zone = config.schedule.tick, config.schedule.timezone
    times, at = [], tick_start(start, tick, zone)
    while at <= end:
        times.append(at)
        at = shift(at, every, tick, zone)
    if len(times) < 2:
        raise ConfigError(
            f"nothing to replay from {start} to {end}", why="at least two run times are needed", fix="widen the stretch"
        )
    return times


def walk(
    config: Config,
    times: Sequence[datetime],
    against: Sequence[str | Arm],
    *,
    cache: Path | None = None,
    progress: Tell = lambda _message: None,
) -> list[Walk]:
    """Each policy at the same run times; the first of them is when the first champion is trained.

    A live run at these times decides the same, under the same ids.

    Parameters
    ----------
    against
        Policies, by name or with a configuration of their own.
    cache
        A folder that keeps every answer, so that a killed walk is taken up where it was; None: nothing is kept.

    Raises
    ------
    ConfigError
        For an unknown policy.
    DataError
        If there is not enough history before the first time.
    """
    arms = arms_of(against)
    world = World(config, times, cache)
    return [world.walk(arm, progress) for arm in arms]


class World:
    """One stretch of history: its rows in memory, the first champion, and what policies share.

    Parameters
    ----------
    times
        Run times, ascending.
    cache
        See `walk`.
    """

    def __init__(self, config: Config, times: Sequence[datetime], cache: Path | None = None) -> None:
        self.config, self.times = config, list(times)
        plugins = load_plugins(config)
        self._feeds = held(config, plugins.feeds)
        self.cache = Cache(cache, Prints(self._feeds, times).until)
        self._once, self._answers = Once(self.cache.spare), Answers(self.cache.spare)
        self.plugins = self._sharing(config, plugins)
        self._served: dict[tuple[str, Span], tuple[Rows, np.ndarray]] = {}
        stores = Stores.in_memory(config, self.cache.models)
        self._born = first_model(config, stores, times[0], plugins=self.plugins, step=self.cache)
        self.first = stores.bootstrap(*self._born)

    def walk(self, arm: Arm, progress: Tell = lambda _message: None) -> Walk:
        """One policy through all run times."""
        config, plugins = self._dressed(arm)
        stores = Stores.in_memory(config, self.cache.models, whole=arm.policy is decide)
        stores.bootstrap(*self._born)
        started, spared = time.process_time(), self.cache.spared_s
        reports, served = [], []
        for at, until in pairwise(self.times):
            progress(f"{arm.name} {at:%Y-%m-%d}")
            if at > self.times[0]:  # the first champion was trained then
                reports.append(self._one(config, plugins, stores, at, arm))
            served.append(self._serve(stores, stores.champion(until), Span(at, until)))
        cpu = time.process_time() - started + self.cache.spared_s - spared
        y, when = (np.concatenate([getattr(rows, name) for rows, _ in served]) for name in ("y", "time"))
        filed = tuple(hashlib.sha256(text.encode()).hexdigest() for text in stores.ledger.texts(config.name))
        score = np.concatenate([score for _, score in served])
        return Walk(arm.name, tuple(reports), y, score, when, filed, {"cpu_s": cpu})

    def rows(self, contract: Contract, span: Span) -> Rows:
        """Rows of a span with the labels that they have at last.

        A served model answers rows whose columns broke as if these were missing, so nothing is left out.
        """
        return Feed(self.config, self.plugins.feeds, EVER).rows(contract, span, missing=contract.names).labelled()

    def _one(self, config: Config, plugins: Plugins, stores: Stores, at: datetime, arm: Arm) -> Report | RetuneError:
        try:
            return retune(
                config, stores, at, step=self.cache if arm.looks else self._blind, policy=arm.policy, plugins=plugins
            )
        except RetuneError as error:  # a live run would have ended so too; the champion serves on
            return error

    def _blind(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a step for a policy that looks at nothing."""
        asked: Any = glance if function is steps.observe else function
        return self.cache(asked, *args, **kwargs)  # type: ignore[no-any-return]

    def _serve(self, stores: Stores, champion: Champion, span: Span) -> tuple[Rows, np.ndarray]:
        """Rows that arrived while ``champion`` served, and its scores, shape ``(n,)``."""
        key = (champion.model, span)
        if key not in self._served:
            rows = self.rows(champion.contract, span)
            model = steps.load_model(self.config, champion.family, stores.files(champion))
            self._served[key] = replace(rows, x=rows.x[:0]), model.predict(rows.x)  # nobody asks for the features again
        return self._served[key]

    def _sharing(self, config: Config, plugins: Plugins) -> Plugins:
        """The parts of a configuration over the rows in memory, with what policies share of both."""
        feeds, family = self._once.of(config, self._feeds), shared(config, plugins.family, self._answers)
        return replace(plugins, feeds=feeds, family=family)

    def _dressed(self, arm: Arm) -> tuple[Config, Plugins]:
        config = arm.config or self.config
        plugins = self.plugins
        if config is not self.config:
            plugins = self._sharing(config, load_plugins(config))
        if not arm.gated:
            plugins = replace(plugins, gates=(ungated,))
        if arm.strategy is None:
            return config, plugins
        search = config.search.model_copy(update={"strategy": arm.strategy})
        if arm.rate is not None:
            search = search.model_copy(update={"learning_rate": RateRange(low=arm.rate, high=arm.rate)})
        strategy = find("strategies", arm.strategy)
        return config.model_copy(update={"search": search}), replace(plugins, strategy=strategy)


def ungated(scores: HoldoutScores, result: TuneResult, config: Config) -> Verdict:
    """Let every challenger pass that has scores: what a timer without a judge does."""
    del result, config
    there = bool(np.isfinite(scores.challenger).all())
    return Verdict("ungated", "always", "PASS" if there else "ERROR", "this baseline promotes whatever it trains")
