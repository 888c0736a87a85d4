"""What nobody needs any more: old challengers' files, their versions and runs; never a ledger row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from lr_retune.records import content_digest

if TYPE_CHECKING:
    from lr_retune.stores.ledger import Entry
    from lr_retune.stores.promotion import Stores

FRESH = timedelta(days=1)  # a run writes its models some time before the ledger refers to them
ARMS = ("challenger", "control", "fixed", "refit")


@dataclass(frozen=True, slots=True)
class Shelved:
    """One registered version."""

    version: str
    digest: str | None  # None: not registered by lr-retune
    run_id: str | None  # its files lie under this run
    aliased: bool
    decision: str | None = None  # that registered it


@dataclass(frozen=True, slots=True)
class Shown:
    """One run that shows a decision or a trial of it."""

    run_id: str
    decision: str | None
    size: int  # bytes of its files, where they lie on this machine


class Shelf(Protocol):
    """A registry that can forget."""

    def shelf(self, name: str) -> list[Shelved]:
        """Every version, oldest first."""

    def shown(self, name: str) -> list[Shown]:
        """Every run of a decision and of its trials."""

    def forget(self, name: str, versions: Sequence[str], runs: Sequence[str]) -> tuple[int, list[str]]:
        """Delete versions and runs with their files; bytes that a database shrank by, and what is left to others."""


@dataclass(frozen=True, slots=True)
class Waste:
    """What may go: digests, version numbers, run ids."""

    models: tuple[str, ...]
    versions: tuple[str, ...]
    runs: tuple[str, ...]
    size: int  # bytes of files on this machine
    gone: tuple[str, ...] = ()  # digests that no store holds afterwards
    notes: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        return {"models": len(self.models), "runs": len(self.runs), "versions": len(self.versions)}


def waste(stores: Stores, shelf: Shelf, keep: timedelta, now: datetime) -> Waste:
    """Everything that nothing of the last ``keep`` refers to, and that is neither champion, previous nor awaited."""
    settled = [e for e in stores.ledger.entries(stores.name) if e.kind == "settlement"]
    shelved, stored = shelf.shelf(stores.name), stores.models.stored()
    needed = _needed(stores, settled, now - keep) | {v.digest for v in shelved if v.aliased and v.digest}
    fresh = {digest for digest, folder in stored.items() if folder.put >= now - FRESH} - needed
    needed |= fresh
    ours = {digest for entry in settled for digest in _models(entry)}
    others = _of_others(stores)
    # a folder beside a SQLite ledger is that ledger's alone; what a ledger on a server does not know may be another's
    alone = stores.ledger.url.drivername.startswith("sqlite")
    idle = {digest for digest in stored if alone or digest in ours} - needed - others
    models = {digest: stored[digest].size for digest in stored if digest in idle}
    old = [v for v in shelved if v.digest in ours - needed - others and not v.aliased]
    over = {_id(e) for e in settled if e.as_of < now - keep and _offered(e) not in needed}
    kept = {v.run_id for v in shelved if v not in old}
    runs = [r for r in shelf.shown(stores.name) if r.decision in over and r.run_id not in kept]
    return Waste(
        tuple(models),
        tuple(v.version for v in old),
        tuple(r.run_id for r in runs),
        sum(models.values()) + sum(r.size for r in runs),
        tuple(sorted({*models, *(v.digest for v in old if v.digest)})),
        (f"{len(fresh)} more model folders were written within a day: a run may be about to use them",)
        if fresh
        else (),
    )


def prune(stores: Stores, shelf: Shelf, found: Waste, *, actor: str, keep: timedelta, now: datetime) -> Waste:
    """Delete it, after the ledger has noted what will be missing; returns it with the bytes freed.

    A kill in between leaves a remainder that the next call finds.
    """
    swept = stores.models.sweep(now - FRESH)
    if any(found.counts.values()):
        days = keep / timedelta(days=1)
        body: dict[str, Any] = {
            "models": found.gone,
            "versions": found.versions,
            "runs": found.runs,
            "actor": actor,
            "keep_days": days,
        }
        key = content_digest({"kind": "prune", "model": stores.name, "as_of": now, **body})
        stores.ledger.append(stores.name, "prune", key, now, body)
    shrunk, notes = shelf.forget(stores.name, found.versions, found.runs)
    for digest in found.models:
        stores.models.drop(digest)
    return replace(found, size=found.size + swept + shrunk, notes=(*found.notes, *notes))


# ── what is needed ────────────────────────────────────────────────────────────────────────────────
def _needed(stores: Stores, settled: Sequence[Entry], cutoff: datetime) -> set[str]:
    found = {digest for entry in settled if entry.as_of >= cutoff for digest in _models(entry)}
    found |= set(_reigns(stores, cutoff))
    # a team's version stays in the registry, so what lets it be gone back to stays too
    found |= {move.champion.model for move in stores.moves if stores.taken_over(move.champion)}
    found |= {p.candidate for p in stores.ledger.promotions(stores.name, "PREPARED", "CLAIMED")}
    head = stores.ledger.head(stores.name)
    return found | {digest for entry in settled if _awaits(entry, head.head, head.epoch) for digest in _models(entry)}


def _of_others(stores: Stores) -> set[str]:
    """Whatever other models of this ledger ever referred to: all of them share one folder."""
    entries = [e for name in stores.ledger.models() if name != stores.name for e in stores.ledger.entries(name)]
    reigned = {str(entry.record["candidate"]) for entry in entries if entry.kind == "move"}
    return reigned | {digest for entry in entries if entry.kind == "settlement" for digest in _models(entry)}


def _reigns(stores: Stores, cutoff: datetime) -> Iterator[str]:
    """The champion, whom it replaced, whom a rollback would put back, and every one that came or went since then."""
    moves = stores.moves
    for move in (*moves[-1:], *(m for m in moves if m.as_of >= cutoff)):
        yield from (move.champion.model, move.expected)
    yield from (champion.model for champion in stores.earlier()[:1])


def _awaits(entry: Entry, head: str, epoch: int) -> bool:
    """Passed against the champion of today: a person may still promote it."""
    beaten: Mapping[str, Any] = entry.record.get("champion") or {}
    return entry.record["status"] == "PASS" and (beaten.get("model"), beaten.get("epoch")) == (head, epoch)


def _models(entry: Entry) -> list[str]:
    result = entry.record["result"]
    return [result[arm]["model"] for arm in ARMS if result.get(arm) is not None]


def _offered(entry: Entry) -> str | None:
    found = entry.record["next"] or entry.record["result"]["challenger"]
    return None if found is None else str(found["model"])


def _id(entry: Entry) -> str:
    return str(entry.record["decision"]["id"])
