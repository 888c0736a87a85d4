"""`lr-retune check`: everything that can be known to be wrong before a run, read-only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from lr_retune.config import Config
from lr_retune.console import exists, load
from lr_retune.errors import ConfigError, DataError, DependencyError, HeldError, IntegrityError, RetuneError
from lr_retune.records import Acceptance, Champion, Fault

if TYPE_CHECKING:
    from lr_retune.stores.ledger import Ledger


class Problem(TypedDict):
    """One thing to mend, or to know."""

    code: str
    what: str
    why: str
    fix: str
    blocks: bool  # False: told, and nothing stops for it


Found = tuple[Problem, int]  # with its exit code


def examine(path: Path, time: Callable[[Config], datetime]) -> tuple[list[Problem], int]:
    """All problems, and the exit code of the first that blocks.

    Parameters
    ----------
    path
        The retune.toml.
    time
        Configuration to simulated now.
    """
    try:
        config = load(path)
        as_of = time(config)
    except RetuneError as error:
        problem, code = blocking("config", error)
        return [problem], code
    found: dict[str, Found] = {}  # by what is wrong: two looks may meet the same thing
    for name, look in LOOKS.items():
        for problem, code in gathered(name, look(config, as_of)):
            found.setdefault(problem["what"], (problem, code))
    return [p for p, _ in found.values()], next((code for _, code in found.values() if code), 0)


def gathered(name: str, look: Iterator[Found]) -> Iterator[Found]:
    """What a look finds; an error ends it and is found too."""
    try:
        yield from look
    except RetuneError as error:
        yield blocking(name, error)


def blocking(code: str, error: RetuneError) -> Found:
    """An error as something to mend, with its exit code."""
    return Problem(code=code, what=error.what, why=error.why, fix=error.fix, blocks=True), error.exit_code


def _plugins(config: Config, _as_of: datetime) -> Iterator[Found]:
    from lr_retune.plugins import Group, find

    feeds = [feed for feed in (config.data, config.labels, config.predictions) if feed is not None and feed.given]
    asked: list[tuple[Group, str]] = [("sources", feed.source) for feed in feeds]
    asked += [("strategies", s) for s in [config.search.strategy] if s != "auto"]
    asked += [*(("gates", name) for name in config.gates.names)]
    looks: list[tuple[str, Callable[[], Any]]] = [(name, partial(find, group, name)) for group, name in asked]
    looks.append((config.model.family, partial(_family, config)))
    for name, look in looks:
        try:
            look()
        except RetuneError as error:
            yield blocking("plugins", error)
        except (ImportError, OSError) as error:  # a library that is there and does not load, such as without libgomp
            yield blocking("plugins", _unloadable(name, error))


def _family(config: Config) -> None:
    """It refuses parameters it does not know, and schedules that its strategy would not try."""
    from lr_retune.plugins import load_family, strategy_of

    strategy_of(config, load_family(config.model))


def _unloadable(name: str, error: Exception) -> DependencyError:
    lacking = "libgomp" in str(error)
    fix = "apt-get install libgomp1 (or your system's OpenMP runtime)" if lacking else "install its package anew"
    return DependencyError(f"{name} cannot be imported", why=f"{type(error).__name__}: {error}", fix=fix)


# ── stores ────────────────────────────────────────────────────────────────────────────────────────
def _ledger(config: Config, _as_of: datetime) -> Iterator[Found]:
    """Where there is none yet, whether there could be one: a check creates nothing."""
    if (ledger := ledger_of(config)) is None:
        demand_room(config.state_url(), "the ledger")
    elif broken := ledger.verify(config.name):
        why, fix = "somebody edited the database", "restore it from a backup; see `lr-retune audit verify`"
        yield from (blocking("ledger", IntegrityError(line, why=why, fix=fix)) for line in broken)


def ledger_of(config: Config) -> Ledger | None:
    """The ledger, or None where there is none yet.

    Raises
    ------
    DependencyError, IntegrityError
        If it does not answer, or is a newer lr-retune's.
    """
    from lr_retune.stores.ledger import Ledger

    if not exists(config.state_url()):
        return None
    try:
        return Ledger(config.state_url(), create=False)
    except ConfigError:
        return None


def _registry(config: Config, _as_of: datetime) -> Iterator[Found]:
    from lr_retune.stores.mlflow import MLflowRegistry

    if not exists(config.tracking_uri()):
        demand_room(config.tracking_uri(), "MLflow's database")
        seen = None
    else:
        seen = MLflowRegistry(config).alias(config.name, "champion")
    if (ledger := ledger_of(config)) is None or ledger.promotions(config.name, "CLAIMED"):
        return  # nobody is champion yet, or the alias is still on its way
    head = ledger.head(config.name)
    if head.head and seen != head.version:
        error = HeldError(
            f"the registry's champion alias points at {seen or 'nothing'}, the ledger says version {head.version}",
            why="it was moved by hand or by another tool; runs hold until a person has decided",
            fix=f"look who did it; point the alias {config.mlflow.aliases.champion} back, "
            "or `lr-retune reconcile` after a crash or a loss",
        )
        yield blocking("alias_moved", error)


def demand_room(url: str, what: str) -> None:
    """Raise DependencyError where a SQLite file could not be made; `what` names it."""
    path = Path(url.partition(":///")[2])
    folder = next(p for p in path.absolute().parents if p.exists())
    if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        raise DependencyError(
            f"{what} cannot be made at {path}", why=f"{folder} cannot be written", fix="mend its permissions"
        )


# ── data ──────────────────────────────────────────────────────────────────────────────────────────
def _data(config: Config, as_of: datetime) -> Iterator[Found]:
    """The feed held against the champion's contract, or what a bootstrap would learn; then the spans."""
    from lr_retune.data.feed import Feed
    from lr_retune.data.plan import freeze
    from lr_retune.plugins import load_feeds
    from lr_retune.steps import excused, feed_faults

    feeds = load_feeds(config)
    feed = Feed(config, feeds, as_of)
    champion, accepted = _champion(config, as_of)
    if champion is None:
        freeze(feed, config)
        return
    faults = feed_faults(config, feeds, champion, as_of, accepted)
    yield from map(_fault, faults)
    trains = config.labels.mode != "none"  # else a run plans nothing, and a feed without a label is as it should be
    if trains and not any(fault.matters for fault in faults):
        freeze(feed, config, champion.contract, excused(faults), accepted)


def _guards(config: Config, as_of: datetime) -> Iterator[Found]:
    """What the guards are asked to look at, before a training has been paid for."""
    from lr_retune.data.feed import Feed
    from lr_retune.data.golden import golden_table
    from lr_retune.plugins import load_feeds

    feed = Feed(config, load_feeds(config), as_of)
    for name in config.gates.slices:
        try:
            feed.demand(name)
        except DataError as error:
            fix = "correct [gates] slices, or mend the feed"
            yield blocking("guards", DataError(f"[gates] slices: {error.what}", why=error.why, fix=fix))
    if config.gates.golden is not None:
        golden_table(feed)


def _champion(config: Config, as_of: datetime) -> tuple[Champion | None, Acceptance | None]:
    """The champion, where the ledger has one and can be read, and what was accepted since; why not: see `_ledger`."""
    from lr_retune.stores.chronicle import Chronicle

    with suppress(RetuneError):
        if (ledger := ledger_of(config)) is not None and (moves := (told := Chronicle(ledger, config.name)).moves):
            champion = moves[-1].champion
            return champion, told.accepted(as_of, champion)
    return None, None


def _fault(fault: Fault) -> Found:
    from lr_retune.data.contract import FAULTS

    problem = Problem(code=fault.code, what=fault.what, why=FAULTS[fault.code], fix=fault.fix, blocks=fault.matters)
    return problem, DataError.exit_code if fault.matters else 0


LOOKS: dict[str, Callable[[Config, datetime], Iterator[Found]]] = {
    "plugins": _plugins,
    "data": _data,
    "guards": _guards,
    "ledger": _ledger,
    "registry": _registry,
}
