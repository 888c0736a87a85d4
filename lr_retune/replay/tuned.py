"""Trigger settings for one model: chosen by replay on the first part of history, held against the default on the last.

What is chosen on a part looks better there than it is, so nothing that is said of it comes from that part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from lr_retune.config import Config, format_duration
from lr_retune.data.feed import Feed
from lr_retune.data.ticks import edges
from lr_retune.errors import ConfigError
from lr_retune.judge.blocks import Pair, pairs_of
from lr_retune.records import Cost, HoldoutScores, Span, micros
from lr_retune.replay.arms import ARMS, Arm, overridden
from lr_retune.replay.held import EVER
from lr_retune.replay.side import walked
from lr_retune.replay.table import Row, tabulate
from lr_retune.replay.walk import Tell, Walk, World

DEFAULT, NEVER = "as configured", "never"
CHEAPER = 0.75  # of the default's work: what saves less is not worth another setting
LEAST = 8  # run times in each part
Changes = Mapping[str, Any]  # of [policy]


@dataclass(frozen=True, slots=True)
class Settings:
    """One candidate: what it would change in [policy]."""

    name: str
    changes: Changes


@dataclass(frozen=True, slots=True)
class Finding:
    """A candidate that was chosen on the first part, as the last part shows it beside the default."""

    settings: Settings
    question: str  # better: is its loss lower; cheaper: is it no worse by more than [gates] margin, for less work
    chosen: Row  # on the first part
    held: Row  # on the last
    pair: Pair  # there, the default first
    holds: bool


@dataclass(frozen=True, slots=True)
class Tuned:
    """What to set, or that the default is as good."""

    split: datetime  # the last part begins
    end: datetime
    first: tuple[Row, ...]  # every policy on the first part
    held: tuple[Row, ...]  # default and never on the last; of the candidates only those in `findings`
    findings: tuple[Finding, ...]
    cost: Cost  # of all walks, counted as each policy alone would
    timing: Mapping[str, float] = field(default_factory=dict, metadata={"outside": True})

    @property
    def proposed(self) -> Settings | None:
        """The better settings, else the cheaper ones; None: keep what is configured."""
        return next((each.settings for each in self.findings if each.holds), None)


def grid(config: Config) -> list[Settings]:
    """The candidates: the other profile, half and twice the age, both at once, and age without a probe.

    >>> from pathlib import Path
    >>> from lr_retune.config import parse_config
    >>> raw = {"config_version": 1, "name": "m", "task": "binary", "metric": {"name": "log_loss"}}
    >>> raw["data"] = {"path": "x", "time": "t", "label": "y"}
    >>> [each.name for each in grid(parse_config(raw, root=Path()))]
    ['cheap_retrain', 'max_age 15d', 'max_age 60d', 'cheap_retrain, max_age 15d', 'age trains']
    """
    asked = config.policy
    other = "careful" if asked.profile == "cheap_retrain" else "cheap_retrain"
    half = max(asked.max_age // 2, config.schedule.tick) // config.schedule.tick * config.schedule.tick
    shorter, longer = format_duration(half), format_duration(2 * asked.max_age)
    found = [
        Settings(other, {"profile": other}),
        Settings(f"max_age {shorter}", {"max_age": shorter}),
        Settings(f"max_age {longer}", {"max_age": longer}),
        Settings(f"{other}, max_age {shorter}", {"profile": other, "max_age": shorter}),
    ]
    return [*found, Settings("age trains", {"probe": False})] if asked.probe else found


def tune(
    config: Config,
    times: Sequence[datetime],
    candidates: Sequence[Settings],
    *,
    held_out: float = 1 / 3,
    cache: Path | None = None,
    jobs: int = 1,
    progress: Tell = lambda _message: None,
) -> Tuned:
    """Walk every candidate, the default and ``never`` once; choose on the first part, ask on the last.

    Two questions are asked at most, and share ``[gates] alpha``. Is the candidate of least loss (with ``[worth]``, of
    least cost) better? Is the one of least work, among those that are no worse on the first part, no worse by more than
    ``[gates] margin``? A policy goes into the last part with the champion that it has then.

    Parameters
    ----------
    times
        Run times, as `lr_retune.replay.instants` has them.
    held_out
        Share of them that nothing is chosen by.
    cache, jobs
        As `lr_retune.replay.replay` has them.

    Raises
    ------
    ConfigError
        If a part holds fewer than `LEAST` run times.
    DataError
        As `lr_retune.replay.replay`.
    """
    asked = list(candidates)
    split = times[_place(times, held_out, config.schedule.tick)]
    own = [Arm(DEFAULT, config=config), *(_arm(config, each) for each in asked), ARMS[NEVER]]
    with walked(config, times, own, cache, jobs, progress) as (world, walks):
        first = tabulate(config, [_cut(each, times, None, split) for each in walks]).policies
        late = [_cut(each, times, split, None) for each in walks]
        held = {row.name: row for row in tabulate(config, late).policies}
        named = {each.name: each for each in late}
        picks = chosen(config, first, (split - times[0]) / timedelta(days=1))
        evidence = _evidence(config, world, Span(split, times[-1]), named[DEFAULT])
        findings = tuple(
            _finding(
                config, next(s for s in asked if s.name == row.name), question, row, held, named, evidence, len(picks)
            )
            for question, row in picks.items()
        )
    return Tuned(
        split=split,
        end=times[-1],
        first=first,
        held=(held[DEFAULT], held[NEVER]),
        findings=findings,
        cost=sum((row.cost for row in (*first, *held.values())), Cost()),
        timing={"cpu_s": sum(each.timing["cpu_s"] for each in walks)},
    )


def _place(times: Sequence[datetime], held_out: float, tick: timedelta) -> int:
    place = round((len(times) - 1) * (1 - held_out))
    if place < LEAST or len(times) - 1 - place < LEAST:
        needed = math.ceil(LEAST / min(held_out, 1 - held_out)) + 1
        often = (times[-1] - times[0]) // tick // needed
        raise ConfigError(
            f"{len(times) - 1} run times give {place} to choose by and {len(times) - 1 - place} to hold out",
            why=f"each part needs {LEAST} at least",
            fix="widen --from and --to" + (f", or run more often: --every {often}" if often else ""),
        )
    return place


def _arm(config: Config, settings: Settings) -> Arm:
    return overridden(settings.name, {"policy": settings.changes}, config, origin=settings.name)


def _cut(walk: Walk, times: Sequence[datetime], start: datetime | None, end: datetime | None) -> Walk:
    """A walk's run times and rows within a part."""
    low, high = start or times[0], end or times[-1]
    rows = (walk.time >= micros(low)) & (walk.time < micros(high))
    runs = [report for at, report in zip(times[1:-1], walk.reports, strict=True) if low <= at < high]
    return replace(walk, reports=tuple(runs), y=walk.y[rows], score=walk.score[rows], time=walk.time[rows])


def chosen(config: Config, rows: Sequence[Row], days: float) -> dict[str, Row]:
    """Question → the candidate that it is about; none where nothing looks better or cheaper than the default."""
    named = {row.name: row for row in rows}
    default, tried = named[DEFAULT], [row for row in rows if row.name not in (DEFAULT, NEVER)]
    found = {}
    best = min(tried, key=lambda row: (price(config, row, days), row.cost.row_steps), default=default)
    if price(config, best, days) < price(config, default, days):
        found["better"] = best
    saving = [row for row in tried if _saves(row, default) and row.loss <= default.loss * (1 + config.gates.margin)]
    cheapest = min(saving, key=lambda row: (row.cost.row_steps, row.loss), default=None)
    return found if cheapest is None or cheapest is found.get("better") else {**found, "cheaper": cheapest}


def _saves(row: Row, default: Row) -> bool:
    return row.cost.row_steps <= CHEAPER * default.cost.row_steps and row.cost.row_steps < default.cost.row_steps


def price(config: Config, row: Row, days: float) -> float:
    """What a policy cost: its loss, or with ``[worth]`` retrains and loss in the currency."""
    if config.worth is None:
        return row.loss
    return row.retrains * config.worth.retrain + row.excess_pct * days * config.worth.loss_1pct_per_day


def _finding(
    config: Config,
    settings: Settings,
    question: str,
    row: Row,
    held: Mapping[str, Row],
    walks: Mapping[str, Walk],
    evidence: HoldoutScores,
    questions: int,
) -> Finding:
    gates = config.gates.model_copy(update={"alpha": config.gates.alpha / questions})
    asked = config.model_copy(update={"gates": gates})
    pair = pairs_of({name: walks[name].score for name in (DEFAULT, row.name)}, evidence, asked)[0]
    return Finding(settings, question, row, held[row.name], pair, holds(config, question, pair, held))


def holds(config: Config, question: str, pair: Pair, held: Mapping[str, Row]) -> bool:
    """Whether the last part answers the question with yes."""
    default, other = held[pair.first], held[pair.second]
    if question == "better":
        return pair.better == pair.second
    same = pair.wins == pair.losses == 0  # they served the same: no worse, whatever no interval says
    safe = pair.gap.low is not None and pair.code in ("LRR250", "LRR251")
    no_worse = same or (safe and pair.gap.low is not None and pair.gap.low > -config.gates.margin * default.loss)
    return no_worse and _saves(other, default)


def _evidence(config: Config, world: World, span: Span, walk: Walk) -> HoldoutScores:
    """Labels and ticks of the rows of the last part, and whom they are about where that is configured."""
    cuts = edges(span.start, span.end, config.schedule.tick, config.schedule.timezone)
    tick = cuts[np.searchsorted(cuts, walk.time, side="right") - 1]
    entity = None
    if config.data.entity is not None:
        feed = Feed(config, world.plugins.feeds, EVER)
        every = feed.rows(world.first.contract, span, missing=world.first.contract.names)
        whom = feed.entities(span)
        entity = None if whom is None else whom[~np.isnan(every.y)]
    return HoldoutScores(y=walk.y, tick=tick, champion=walk.y, challenger=walk.y, entity=entity)


# ── words ─────────────────────────────────────────────────────────────────────────────────────────
def toml(config: Config, settings: Settings) -> list[str]:
    """The lines of retune.toml that would change."""
    before = config.policy.model_dump(mode="json")
    width = max(len(f"{key} = {_value(value)}") for key, value in settings.changes.items())
    lines = [
        f"{f'{key} = {_value(value)}':<{width}}  # was {_value(before[key])}" for key, value in settings.changes.items()
    ]
    return ["[policy]", *lines]


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
