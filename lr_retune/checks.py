"""`lr-retune check`: everything that can be known to be wrong before a run, read-only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TypedDict

from lr_retune.config import Config
from lr_retune.console import exists, load
from lr_retune.errors import DataError, DependencyError, HeldError, IntegrityError, RetuneError
from lr_retune.records import Champion, Fault


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
        problem, code = _error("config", error)
        return [problem], code
    found: dict[str, Found] = {}  # by what is wrong: two looks may meet the same thing
    for name, look in _LOOKS.items():
        try:
            for problem, code in look(config, as_of):
                found.setdefault(problem["what"], (problem, code))
        except RetuneError as error:
            problem, code = _error(name, error)
            found.setdefault(problem["what"], (problem, code))
    return [p for p, _ in found.values()], next((code for _, code in found.values() if code), 0)


def _error(name: str, error: RetuneError) -> Found:
    return Problem(code=name, what=error.what, why=error.why, fix=error.fix, blocks=True), error.exit_code


def _plugins(config: Config, _as_of: datetime) -> Iterator[Found]:
    from lr_retune.plugins import Group, find, load_family

    asked: list[tuple[Group, str]] = [("sources", config.data.source), ("strategies", config.search.strategy)]
    asked += [("gates", name) for name in config.gates.names]
    for group, name in asked:
        try:
            find(group, name)
        except RetuneError as error:
            yield _error("plugins", error)
    load_family(config.model)  # it refuses parameters it does not know


# ── stores ────────────────────────────────────────────────────────────────────────────────────────
def _ledger(config: Config, _as_of: datetime) -> Iterator[Found]:
    """Where there is none yet, whether there could be one: a check creates nothing."""
    from lr_retune.stores.ledger import Ledger

    if not exists(config.state_url()):
        _demand_room(config.state_url(), "the ledger")
    elif broken := Ledger(config.state_url()).verify(config.name):
        why, fix = "somebody edited the database", "restore it from a backup; see `lr-retune audit verify`"
        yield from (_error("ledger", IntegrityError(line, why=why, fix=fix)) for line in broken)


def _registry(config: Config, _as_of: datetime) -> Iterator[Found]:
    from lr_retune.stores.ledger import Ledger
    from lr_retune.stores.mlflow import MLflowRegistry

    if not exists(config.tracking_uri()):
        _demand_room(config.tracking_uri(), "MLflow's database")
        seen = None
    else:
        seen = MLflowRegistry(config).alias(config.name, "champion")
    head = Ledger(config.state_url() if exists(config.state_url()) else "sqlite://").head(config.name)
    if head.head and seen != head.version:
        error = HeldError(
            f"the registry's champion alias points at {seen or 'nothing'}, the ledger says version {head.version}",
            why="it was moved by hand or by another tool; runs hold until a person has decided",
            fix="look who did it; point the alias back, or `lr-retune reconcile` after a crash",
        )
        yield _error("alias_moved", error)


def _demand_room(url: str, what: str) -> None:
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
    from lr_retune.plugins import load_plugins
    from lr_retune.steps import excused, feed_faults

    plugins = load_plugins(config)
    feed = Feed(config, plugins.source, as_of)
    champion = _champion(config)
    if champion is None:
        freeze(feed, config)
        return
    faults = feed_faults(config, plugins, champion, as_of)
    yield from map(_fault, faults)
    if not any(fault.matters for fault in faults):
        freeze(feed, config, champion.contract, excused(faults))


def _champion(config: Config) -> Champion | None:
    """The champion, where the ledger has one and can be read; why not is told by `_ledger`."""
    from lr_retune.stores.chronicle import Chronicle
    from lr_retune.stores.ledger import Ledger

    with suppress(RetuneError):
        if exists(config.state_url()):
            moves = Chronicle(Ledger(config.state_url()), config.name).moves
            return moves[-1].champion if moves else None
    return None


def _fault(fault: Fault) -> Found:
    from lr_retune.data.contract import FAULTS

    problem = Problem(code=fault.code, what=fault.what, why=FAULTS[fault.code], fix=fault.fix, blocks=fault.matters)
    return problem, DataError.exit_code if fault.matters else 0


_LOOKS: dict[str, Callable[[Config, datetime], Iterator[Found]]] = {
    "plugins": _plugins,
    "data": _data,
    "ledger": _ledger,
    "registry": _registry,
}
