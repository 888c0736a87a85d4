"""Two models that serve at once, each some of the rows: whether one is better, looked at as often as one likes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from lr_retune.config import Config, Metric
from lr_retune.data.feed import Feed
from lr_retune.errors import ConfigError, DataError
from lr_retune.judge.sequential import Sequence as Bounds
from lr_retune.judge.sequential import always_valid, ticks_to_tell
from lr_retune.metrics import loss_for
from lr_retune.plugins import Plugins, load_plugins
from lr_retune.records import Contract, Rows, Span, at, iso

NO_COLUMNS = Contract(1, (), 0)


@dataclass(frozen=True, slots=True)
class LiveArm:
    """One of the two, as far as it was seen."""

    name: str
    rows: int  # labelled rows of mature ticks
    loss: float  # mean over them


@dataclass(frozen=True, slots=True)
class Live:
    """What the labelled rows of two live arms say."""

    metric: str
    start: datetime
    end: datetime
    arms: tuple[LiveArm, LiveArm]
    ticks: tuple[datetime, ...]  # starts of those that count: both arms have labelled rows there
    left_out: int  # mature ticks without labelled rows of both
    bounds: Bounds  # of the first arm's loss less the second's: above zero, the second is better
    more: (
        tuple[int, int] | None
    )  # further ticks until it would be told, if it stays about so; None: decided or hopeless

    @property
    def better(self) -> str | None:
        """The arm that is better; None where that is not told."""
        sign = self.bounds.sign
        return None if sign == 0 else self.arms[1 if sign > 0 else 0].name


def live(
    config: Config,
    start: datetime,
    as_of: datetime,
    names: Sequence[str] = (),
    *,
    plugins: Plugins | None = None,
) -> Live:
    """Compare the arms of the feed of served scores on the rows that each of them answered.

    Rows must have been given to arms by chance. A tick counts once, however many rows it has; a tick whose labels
    are not complete waits, as labels that come early are no fair sample.

    Parameters
    ----------
    start
        When both began to serve.
    names
        Their two versions as ``[predictions] version`` has them; empty: those that are there.

    Raises
    ------
    ConfigError
        If no served scores with versions are configured, or there are not two arms.
    DataError
        If no tick has labelled rows of both.
    """
    if config.predictions is None or config.predictions.version is None:
        raise ConfigError(
            "nothing tells which model answered which row",
            why="a live comparison needs served scores with the arm that gave them",
            fix="set [predictions] with version, the column that names the arm",
        )
    plugins = plugins or load_plugins(config)
    feed = Feed(config, plugins.feeds, as_of)
    end = feed.horizon()
    if end is None or end <= start:
        raise DataError(f"no tick since {iso(start)} has complete labels", fix="wait for labels, or look further back")
    span = Span(start, end)
    rows, logged = feed.rows(NO_COLUMNS, span), feed.logged(span)
    if logged is None or logged.version is None:
        raise DataError("no served scores can be read", fix="check [predictions] and [data] id")
    usable = np.isfinite(logged.score) & np.isfinite(rows.y)
    arm = np.where(usable, logged.version.astype(str), "")
    pair = _pair(arm, names)
    metric = _additive(config)
    loss = loss_for(metric).rows
    assert loss is not None  # it is additive
    values = np.full(len(rows), np.nan)
    values[usable] = loss(rows.y[usable], logged.score[usable])
    ticks, difference, left_out = _by_tick(rows, values, arm, pair)
    if not len(ticks):
        raise DataError(f"no tick has labelled rows of both {pair[0]} and {pair[1]}", fix="check the versions named")
    bounds = always_valid(difference, alpha=config.gates.alpha)
    one, two = (LiveArm(name, int((arm == name).sum()), float(values[arm == name].mean())) for name in pair)
    more = None if bounds.decided is not None else ticks_to_tell(difference, alpha=config.gates.alpha)
    return Live(metric.name, start, end, (one, two), tuple(at(int(t)) for t in ticks), left_out, bounds, more)


def _pair(arm: np.ndarray, names: Sequence[str]) -> tuple[str, str]:
    there = sorted(set(arm) - {""})
    asked = list(dict.fromkeys(names)) or there
    if len(asked) != 2 or (lacking := sorted(set(asked) - set(there))):
        told = f"{', '.join(lacking)} answered no labelled row" if len(asked) == 2 else f"{len(asked)} arms"
        raise ConfigError(
            f"two arms are compared: {told}",
            why=f"labelled rows were answered by {', '.join(there) or 'none'}",
            fix="name two of these with --models A,B",
        )
    return asked[0], asked[1]


def _additive(config: Config) -> Metric:
    """The user's metric where it is a mean over rows; else the proper loss of the task.

    A ranking of few rows is another figure than one of many, so arms of unequal size could not be compared by it.
    """
    if loss_for(config.metric).rows is not None:
        return config.metric
    return Metric(name="log_loss" if config.task == "binary" else "mae")


def _by_tick(
    rows: Rows, values: np.ndarray, arm: np.ndarray, pair: tuple[str, str]
) -> tuple[np.ndarray, np.ndarray, int]:
    """Ticks with both arms, and the first's mean loss less the second's in each; and how many other ticks there are."""
    ticks, place = np.unique(rows.tick, return_inverse=True)
    means = []
    for name in pair:
        mine = arm == name
        count = np.bincount(place[mine], minlength=len(ticks))
        total = np.bincount(place[mine], weights=values[mine], minlength=len(ticks))
        means.append(np.where(count > 0, total / np.maximum(count, 1), math.nan))
    difference = means[0] - means[1]
    both = np.isfinite(difference)
    return ticks[both], difference[both], int((~both).sum())
