"""Does the judge keep its stated error rate on this very model: equal twins of the champion meet over its history."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise

import numpy as np

from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.data.ticks import edges, shift, tick_start
from lr_retune.errors import ConfigError, DataError
from lr_retune.judge.equals import Meeting, false_passes, limits, meet
from lr_retune.metrics import curve_loss_for, loss_for
from lr_retune.plugins import Plugins, load_family, load_plugins
from lr_retune.records import (
    Candidate,
    Champion,
    Cost,
    Family,
    FitData,
    FittedModel,
    HoldoutScores,
    Rows,
    SearchOptions,
    Span,
    TuneResult,
    at,
    iso,
)
from lr_retune.search.arm import Named
from lr_retune.search.follow import follow, newest
from lr_retune.stores.promotion import Stores

SHARE = 0.8  # of the training rows that a twin draws: where no seed matters, rows still do
MOST = 2_000_000_000  # rows times steps of all twins together: fewer rows are drawn beyond
MOST_ROWS = 200_000  # of a window
LEAST = 3  # windows


@dataclass(frozen=True, slots=True)
class Asked:
    """What a check will do: told before it is done."""

    train: Span
    windows: tuple[Span, ...]
    fits: int
    rows: int  # that each twin draws
    steps: int

    @property
    def cost(self) -> Cost:
        """Of all fits, at most."""
        return Cost(self.fits, self.fits * self.steps, self.fits * self.steps * self.rows)

    @property
    def told(self) -> str:
        """One sentence."""
        pairs, windows, work = self.fits // 2, len(self.windows), self.cost.row_steps
        return (
            f"{self.fits} fits of {self.rows:,} rows by at most {self.steps:,} steps ({work:,} row-steps), "
            f"then {pairs} pairs meet in both directions on {windows} windows: {2 * pairs * windows} comparisons"
        )


@dataclass(frozen=True, slots=True)
class Checked:
    """The measured rate beside the stated one."""

    asked: Asked
    stated: float
    hits: int
    trials: int
    stopped: int  # by guards: they can be no PASS
    worth: float  # comparisons of one window, or of one pair, share their luck: as many independent ones

    @property
    def rate(self) -> float:
        """Share of comparisons in which one of two equal models was called better."""
        return self.hits / self.trials

    @property
    def limits(self) -> tuple[float, float]:
        """95 % limits of the rate."""
        return limits(self.rate * self.worth, self.worth)

    @property
    def ok(self) -> bool:
        """Whether the stated rate is not excluded."""
        return self.limits[0] <= self.stated


def selfcheck(
    config: Config,
    stores: Stores,
    as_of: datetime,
    *,
    pairs: int = 6,
    windows: int = 20,
    plugins: Plugins | None = None,
    tell: Callable[[str], None] = lambda _line: None,
) -> Checked:
    """Fit twins of the champion and let disjoint pairs of them meet in both directions, window by window.

    Twins have the champion's family, rate, schedule and steps; they differ by seed and by which rows they draw.
    A comparison is wrong where its lower bound lies above what the pair's neighbouring windows say the difference is,
    at the alpha of a first look; what the guards stop is no PASS. Nothing is recorded.

    Parameters
    ----------
    pairs, windows
        How many at most; more make the limits narrower, and cost more.
    tell
        Takes what it will cost, before it costs anything.

    Raises
    ------
    ConfigError
        If the champion is known by its scores alone.
    DataError
        If history holds fewer than three windows beside the rows to train on.
    """
    plugins = plugins or load_plugins(config)
    champion, feed = stores.champion(as_of), Feed(config, plugins.feeds, as_of)
    if champion.mode == "score_only":
        raise ConfigError(
            f"the champion of {config.name} is known by its scores alone",
            why="twins are fitted by its rate, schedule and steps, and nobody told them",
            fix="check again when a challenger of ours is champion",
        )
    train, spans = _spans(config, feed, windows)
    known = feed.rows(champion.contract, train).labelled()
    family = plugins.family if plugins.family.name == champion.family else load_family(config.model, champion.family)
    asked = _asked(champion, train, spans, len(known), 2 * pairs)
    tell(asked.told)
    data = FitData(
        train=known,
        valid=newest(known),
        task=config.task,
        categorical=champion.contract.categorical,
        objective=config.metric.name,
        curve_loss=curve_loss_for(config.metric),
        quantile=config.metric.quantile,
    )
    twins = [_twin(config, family, champion, data, asked, config.seed + 1 + n) for n in range(asked.fits)]
    met = [_met(config, champion, feed, span, twins) for span in spans]
    found = false_passes(list(zip(*met, strict=True)))
    return Checked(asked, config.gates.alpha, found.hits, found.trials, found.stopped, found.worth)


def _spans(config: Config, feed: Feed, most: int) -> tuple[Span, tuple[Span, ...]]:
    """The rows to train on, and every holdout of the configured length after them, newest ``most`` of them."""
    tick, zone = config.schedule.tick, config.schedule.timezone
    long, held, gap = (config.ticks(config.window.train), config.ticks(config.window.holdout), config.embargo_ticks)
    horizon = feed.horizon()
    first = None if horizon is None else feed.first(shift(horizon, -(long + gap + most * held), tick, zone))
    if horizon is None or first is None:
        raise _short(0, held)
    starts = edges(tick_start(first, tick, zone), horizon, tick, zone)
    there = len(starts) - 1
    count = min(most, max((there - long - gap) // held, min(LEAST, (there - config.window.min_ticks - gap) // held)))
    if count < LEAST:
        raise _short(there, held)
    bounds = [at(int(starts[there - held * n])) for n in range(count, -1, -1)]
    end = shift(bounds[0], -gap, tick, zone)
    start = max(at(int(starts[0])), shift(end, -long, tick, zone))
    return Span(start, end), tuple(Span(a, b) for a, b in pairwise(bounds))


def _short(there: int, held: int) -> DataError:
    return DataError(
        f"{there} ticks of history do not hold {LEAST} windows of {held} ticks and rows to train on before them",
        why="a pair's own neighbouring windows say what their difference is",
        fix="wait for more rows, or shorten [window] holdout",
    )


def _asked(champion: Champion, train: Span, windows: tuple[Span, ...], rows: int, fits: int) -> Asked:
    steps = 2 * champion.steps  # `follow` takes no more
    drawn = min(int(SHARE * rows), max(1000, MOST // (fits * steps)))
    return Asked(train, windows, fits, drawn, steps)


def _twin(config: Config, family: Family, champion: Champion, data: FitData, asked: Asked, seed: int) -> FittedModel:
    drawn = np.sort(np.random.default_rng(seed).choice(len(data.train), asked.rows, replace=False))
    own = replace(data, train=data.train.take(drawn))
    told = newest(own.train)
    loss = loss_for(config.metric)
    options = SearchOptions(
        space=family.default_range,
        points=1,
        max_steps=asked.steps,
        patience=family.default_patience,
        seed=seed,
        loss=lambda score: loss.value(told.y, score),
    )
    named = Named(champion.learning_rate, champion.schedule)
    return follow(family, own, options, named, champion.steps, len(own.train)).models["challenger"][1]


def _met(config: Config, champion: Champion, feed: Feed, span: Span, twins: list[FittedModel]) -> list[Meeting]:
    """One window: pairs of twins in both directions."""
    ticks = len(edges(span.start, span.end, config.schedule.tick, config.schedule.timezone)) - 1
    entity = feed.entities(span)
    every = feed.rows(champion.contract, span, per_tick=max(1, MOST_ROWS // ticks) if entity is None else None)
    known = ~np.isnan(every.y)
    rows, entity = every.take(known), None if entity is None else entity[known]
    score = [twin.predict(rows.x) for twin in twins]
    found = []
    for a, b in zip(score[::2], score[1::2], strict=True):
        found += [meet(_scores(rows, *each, entity), _result(champion), config) for each in ((a, b), (b, a))]
    return found


def _scores(rows: Rows, one: np.ndarray, other: np.ndarray, entity: np.ndarray | None) -> HoldoutScores:
    return HoldoutScores(y=rows.y, tick=rows.tick, champion=one, challenger=other, entity=entity)


def _result(champion: Champion) -> TuneResult:
    twin = Candidate("", champion.learning_rate, champion.schedule, champion.steps, float("nan"), 0, {})
    return TuneResult(champion.family, "selfcheck", "", twin, None, None, (), same_rate=True)


def lines(found: Checked) -> list[str]:
    """The answer in words."""
    asked, (low, high) = found.asked, found.limits
    first, last = asked.windows[0].start, asked.windows[-1].end
    told = f"{found.hits} of {found.trials} comparisons called one of two equal models better: {_pct(found.rate)}"
    end = "the limits do not exclude the stated rate" if found.ok else "more often than stated on this history"
    return [
        f"twins of the champion, trained on {iso(asked.train.start)} to {iso(asked.train.end)}: {asked.told}",
        f"windows: {len(asked.windows)}, from {iso(first)} to {iso(last)}; guards stopped {found.stopped} comparisons",
        f"false PASS measured: {told}, 95 % limits {_pct(low)} to {_pct(high)} "
        f"(they share windows and pairs, and say as much as {found.worth:.0f} independent ones)",
        f"false PASS stated: at most {_pct(found.stated)}: {end}",
    ]


def _pct(share: float) -> str:
    return f"{100 * share:.1f} %"
