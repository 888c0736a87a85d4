"""`lr-retune check`: everything that can be known to be wrong before a run, read-only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TypedDict

from lr_retune.config import Config, load_config
from lr_retune.errors import RetuneError


class Problem(TypedDict):
    """One thing to mend."""

    code: str
    what: str
    why: str
    fix: str


def problems(path: Path, time: Callable[[Config], datetime]) -> tuple[list[Problem], int]:
    """All problems found and the exit code of the first that blocks.

    Parameters
    ----------
    path
        The retune.toml.
    time
        Configuration to simulated now.
    """
    found: list[Problem] = []
    worst = 0
    config: Config | None = None
    for code, look in _LOOKS:
        try:
            if code == "config":
                config = load_config(path)
                time(config)
            elif config is not None:
                found += look(config, time(config))
        except RetuneError as error:
            found.append({"code": code, "what": error.what, "why": error.why, "fix": error.fix})
            worst = worst or error.exit_code
    return found, worst


def _nothing(_config: Config, _as_of: datetime) -> Iterator[Problem]:
    yield from ()


def _plugins(config: Config, _as_of: datetime) -> Iterator[Problem]:
    from lr_retune.plugins import find

    find("sources", config.data.source)
    find("families", config.model.family)
    find("strategies", config.search.strategy)
    for name in config.gates.names:
        find("gates", name)
    yield from ()


def _data(config: Config, as_of: datetime) -> Iterator[Problem]:
    """Columns, label clock and spans; learns the contract that a bootstrap would learn."""
    from lr_retune.data.feed import Feed
    from lr_retune.data.plan import freeze
    from lr_retune.plugins import find

    freeze(Feed(config, find("sources", config.data.source)(config), as_of), config, None)
    yield from ()


def _stores(config: Config, as_of: datetime) -> Iterator[Problem]:
    """Ledger and registry, where they exist already: a check creates nothing."""
    if not _exists(config.state_url()):
        return
    from lr_retune.stores.promotion import Stores

    stores = Stores.open(config)
    if stores.ledger.head(config.name).head and (moved := stores.registry_alias_moved()):
        yield {
            "code": "alias_moved",
            "what": f"the registry's champion alias points at {moved}, the ledger says otherwise",
            "why": "it was moved by hand or by another tool",
            "fix": "look who did it; then `lr-retune rollback` or point the alias back",
        }


def _exists(url: str) -> bool:
    head, _, path = url.partition(":///")
    return not head.startswith("sqlite") or Path(path).exists()


_LOOKS: tuple[tuple[str, Callable[[Config, datetime], Iterator[Problem]]], ...] = (
    ("config", _nothing),
    ("plugins", _plugins),
    ("data", _data),
    ("stores", _stores),
)
