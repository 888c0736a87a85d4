"""Names in retune.toml to installed entry points; nothing is ever imported from a data folder."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import entry_points
from typing import Any, Literal

from lr_retune.config import Config, Model
from lr_retune.errors import ConfigError
from lr_retune.records import Family, Feeds, Gate, Strategy, Trial
from lr_retune.schedules import parse

# They try constant rates only; a plug-in's strategy is asked to say so itself.
SIDE_BY_SIDE = frozenset({"fixed", "grid", "random"})  # they know their rates beforehand
CONSTANT = frozenset({"bracket", "fixed", "grid", "halving", "optuna", "plateau", "random", "range_test"})
Group = Literal["sources", "families", "strategies", "gates", "transforms", "schedulers"]


@dataclass(frozen=True, slots=True)
class Plugins:
    """The parts one model's loop is made of."""

    feeds: Feeds
    family: Family
    strategy: Strategy
    gates: tuple[Gate, ...]
    tell: Callable[[Trial | str], None] = lambda _message: None  # who watches a search is told of each trial


def installed(group: Group) -> list[str]:
    """Names that may stand in retune.toml."""
    return sorted({point.name for point in entry_points(group=f"lr_retune.{group}")})


@cache  # reading every distribution's metadata costs 20 ms
def find(group: Group, name: str) -> Any:
    """Load one entry point.

    Raises
    ------
    ConfigError
        If nothing of that name is installed; says what is.
    """
    for point in entry_points(group=f"lr_retune.{group}", name=name):
        return point.load()
    known = installed(group)
    near = difflib.get_close_matches(name, known, n=1)
    raise ConfigError(
        f"no {group} plugin named {name!r}",
        why=f"installed: {known}",
        fix=f"did you mean {near[0]!r}?" if near else "install the package that brings it, or choose one of these",
    )


@cache
def provider(group: Group, name: str) -> str | None:
    """The installed package that brings an entry point, as pip writes it: ``name==version``."""
    for point in entry_points(group=f"lr_retune.{group}", name=name):
        return None if point.dist is None else f"{point.dist.name}=={point.dist.version}"
    return None


def load_family(model: Model, name: str | None = None) -> Family:
    """The family of a configuration, or of a champion that has another one."""
    ours = name is None or name == model.family
    built: Family = find("families", name or model.family)(model.params if ours else {}, model.threads)
    return built


def strategy_of(config: Config, family: Family) -> str:
    """The strategy that is asked for, or the family's own.

    Raises
    ------
    ConfigError
        If schedules are asked for that it would pass over in silence.
    """
    asked, schedules = config.search.strategy, config.search.schedules or []
    name = family.default_strategy if asked == "auto" else asked
    for text in schedules:
        if str(parse(text)) != "constant" and name in CONSTANT:
            why = f"strategy {name} tries constant rates only"
            fix = 'leave out [search] schedules; for family = "sgd", strategy kpass races them'
            raise ConfigError(f"schedule {text!r} would not be tried", why=why, fix=fix)
    if (config.search.jobs > 1 or config.search.dask) and name in (CONSTANT | {"kpass"}) - SIDE_BY_SIDE:
        why = f"strategy {name} asks each fit where to look next"
        raise ConfigError("[search] jobs and dask would change nothing", why=why, fix="leave them out, or use grid")
    return name


def load_feeds(config: Config) -> Feeds:
    """The sources of rows, labels and logged scores."""
    if config.model.transform is not None:
        find("transforms", config.model.transform)
    labels, predictions = config.labels, config.predictions
    return Feeds(
        data=find("sources", config.data.source)(config),
        labels=find("sources", labels.source)(config.reading(labels)) if labels.given else None,
        predictions=find("sources", predictions.source)(config.reading(predictions)) if predictions else None,
        transform=partial(find, "transforms"),
    )


def load_plugins(config: Config, tell: Callable[[Trial | str], None] = lambda _message: None) -> Plugins:
    """All parts of one model's loop; a typo fails here, before any row is read."""
    family = load_family(config.model)
    if config.search.answer == "cheap_to_serve" and not family.steps_are_served:
        why = f"a model of family {family.name} is as fast whatever its rate"
        raise ConfigError('[search] answer = "cheap_to_serve" has nothing to save', why=why, fix="leave it out")
    return Plugins(
        feeds=load_feeds(config),
        strategy=find("strategies", strategy_of(config, family)),
        gates=tuple(find("gates", name) for name in config.gates.names),
        family=family,
        tell=tell,
    )
