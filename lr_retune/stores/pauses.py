"""A person's word that nothing changes for a while, and how it is taken back."""

from __future__ import annotations

from datetime import datetime

from lr_retune.errors import ConfigError
from lr_retune.records import content_digest, iso
from lr_retune.stores.chronicle import Pause
from lr_retune.stores.ledger import Entry
from lr_retune.stores.promotion import Stores


def pause(stores: Stores, until: datetime, *, actor: str, reason: str, as_of: datetime) -> Entry:
    """File that nothing is trained or promoted before ``until``; a pause before it is replaced.

    Raises
    ------
    ConfigError
        If ``until`` is no later than ``as_of``, or no reason is given.
    """
    if until <= as_of:
        raise ConfigError(
            f"a pause until {iso(until)} is over already", why=f"it is {iso(as_of)} now", fix="give a later --until"
        )
    if not reason.strip():
        raise ConfigError("a pause needs a --reason", why="whoever meets it has to know why", fix="say why")
    return _append(stores, "pause", as_of, {"until": iso(until), "actor": actor, "reason": reason})


def resume(stores: Stores, *, actor: str, reason: str, as_of: datetime) -> tuple[Entry | None, Pause | None]:
    """End the pause, which is returned; where there is none, nothing is filed."""
    held = stores.pause
    if held is None:
        return None, None
    return _append(stores, "resume", as_of, {"actor": actor, "reason": reason, "ended": iso(held.until)}), held


def _append(stores: Stores, kind: str, as_of: datetime, body: dict[str, str]) -> Entry:
    key = content_digest({"kind": kind, "model": stores.name, "as_of": as_of, **body})
    return stores.ledger.append(stores.name, kind, key, as_of, body)
