"""Where decisions' pages lie: beside the ledger, and in the registry beside the run they are about."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lr_retune.config import Config
from lr_retune.errors import DependencyError
from lr_retune.stores.promotion import Stores, models_folder
from lr_retune.stores.status import past

_END = datetime.max.replace(tzinfo=UTC)


def path_of(config: Config, decision: str, as_of: datetime) -> Path:
    """The file of one decision's page."""
    beside = models_folder(config)
    folder = beside.with_name(f"{beside.name.removesuffix('_models')}_pages") / config.name
    return folder / f"{as_of.astimezone(UTC):%Y-%m-%dT%H%M}-{decision[:16]}.html"


def keep(config: Config, stores: Stores, decision: str, as_of: datetime, page: bytes) -> list[str]:
    """Write a page whole or not at all, and show it in the registry; returns what the registry could not be shown.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    file = path_of(config, decision, as_of)
    write(file, page)
    run = stores.run_of(decision)
    try:
        stores.registry.attach(stores.name, run, {"decision.html" if run else file.name: page})
        stores.registry.tell(stores.name, list(_log(config, stores)))
    except DependencyError as error:
        return [str(error)]
    return []


def _log(config: Config, stores: Stores) -> Iterator[dict[str, Any]]:
    """Every decision with its run, where it has one, and its page's name."""
    shown = stores.ledger.projected(stores.name)
    runs = {s.decision: shown[s.key][1] for s in stores.settlements if s.key in shown}
    for row in past(stores, _END):
        page = path_of(config, row["id"], datetime.fromisoformat(row["as_of"])).name
        yield {**row, "run": runs.get(row["id"]), "page": page}


def write(file: Path, page: bytes) -> None:
    """A whole file or none.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(f".{os.getpid()}.tmp")
    half.write_bytes(page)
    half.replace(file)


def outcome_of(stores: Stores, decision: str) -> str:
    """What became of a decision, as far as the ledger knows today."""
    found = next((d for d in stores.history(_END).decisions if d.id == decision), None)
    if found is not None:
        return found.outcome or ("held" if stores.settled(decision) else "unsettled")
    move = next((m for m in stores.moves if m.id == decision), None)
    return "rolled_back" if move is not None and move.kind == "rollback" else "promoted"
