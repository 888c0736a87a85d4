"""How an entry of the ledger is hashed, timed and read back."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

REGISTERED = "registered"  # kind of the entries that tell the registry's numbers of earlier moves


@dataclass(frozen=True, slots=True)
class Link:
    """One entry of a chain that holds."""

    seq: int
    kind: str
    key: str
    record: dict[str, Any]


def chain_digest(prev: str, kind: str, key: str, record: str) -> str:
    """sha256 of the previous digest and this entry's content."""
    return hashlib.sha256("\n".join((prev, kind, key, record)).encode()).hexdigest()


def time_of(value: int) -> datetime:
    """The time of so many microseconds since 1970."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value)
