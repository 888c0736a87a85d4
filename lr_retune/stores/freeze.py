"""A model that was rolled back is frozen: no run and no command makes it champion before a person lifts it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from lr_retune.errors import ConfigError
from lr_retune.records import content_digest, iso
from lr_retune.stores.chronicle import Frozen
from lr_retune.stores.promotion import Stores

SHORTEST = 4  # letters that may stand for a digest


def lift(stores: Stores, model: str, *, actor: str, reason: str, now: datetime) -> tuple[str, Frozen | None]:
    """Record that a frozen model may be champion again; its digest, and the freeze that ended if there was one.

    Nothing moves: `lr-retune rollback --to` does, or a run that trains this very model again and finds it good.

    Raises
    ------
    ConfigError
        If no former champion is meant, or actor or reason are missing.
    """
    if not actor.strip() or not reason.strip():
        raise ConfigError(
            "lifting a freeze needs --actor and --reason", why="the ledger keeps who said so", fix="say who and why"
        )
    digest = _meant(stores, model)
    if (held := stores.frozen.get(digest)) is None:
        return digest, None
    body = {"digest": digest, "actor": actor, "reason": reason, "frozen": iso(held.as_of)}
    key = content_digest({"kind": "lift", "model": stores.name, "as_of": now, "epoch": len(stores.moves), **body})
    stores.ledger.append(stores.name, "lift", key, now, body)
    return digest, held


def frozen(stores: Stores) -> list[dict[str, Any]]:
    """Every frozen model with its version, oldest first."""
    versions = {move.champion.model: stores.numbered(move).version for move in stores.moves}
    return [
        {"model": digest, "version": versions.get(digest), "since": iso(f.as_of), "by": f.by, "reason": f.why}
        for digest, f in stores.frozen.items()
    ]


def _meant(stores: Stores, model: str) -> str:
    past = [stores.numbered(move) for move in stores.moves]
    found = {each.model for each in past if each.version == model}
    if not found and len(model) >= SHORTEST:
        found = {each.model for each in past if each.model.startswith(model)}
    if len(found) != 1:
        told = f"{len(found)} models begin with {model!r}" if found else f"{model!r} was never champion"
        raise ConfigError(
            told, why="only a former champion can be frozen", fix="see `lr-retune status` for frozen ones"
        )
    return found.pop()
