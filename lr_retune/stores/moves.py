"""The promotion protocol: PREPARED → registered → CLAIMED → alias → read back → COMMITTED.

The ledger's compare-and-set decides who is champion; the registry's alias only shows it, because
MLflow overwrites aliases unconditionally and keeps no history of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from lr_retune.errors import ConflictError, HeldError
from lr_retune.records import Champion, Files, Registry, TickLoss
from lr_retune.stores.bundle import adopted, untouched
from lr_retune.stores.ledger import Head, Kind, Ledger, Promotion
from lr_retune.stores.models import Models, checked
from lr_retune.stores.prune import Shelved


class Board(Registry, Protocol):
    """A registry that also shows runs: MLflow, or memory."""

    shows: bool  # whether anybody looks: pages are made only then

    def called(self, alias: str) -> str:
        """The configured name of champion, challenger or previous; every other method takes these three."""

    def versions(self, name: str) -> list[str]:
        """Version numbers, oldest first."""

    def download(self, name: str, version: str) -> Files:
        """A version's model files; the caller checks their digest."""

    def originals(self, name: str, version: str) -> Files:
        """Every file of a registered version, by relative path, as a team put it there; nothing is loaded."""

    def log_decision(
        self, name: str, record: Mapping[str, Any], trials: Sequence[Any], attachments: Mapping[str, bytes | str], /
    ) -> str:
        """Show one settled decision and return its run."""

    def attach(self, name: str, run: str | None, attachments: Mapping[str, bytes | str], /) -> None:
        """Put pages beside a run, or beside the production history where a decision has no run."""

    def tell(self, name: str, rows: Sequence[Mapping[str, Any]], /) -> None:
        """Show a model's decisions as a log: those of `status.past`, with ``run`` and ``page``."""

    def log_monitor(
        self,
        name: str,
        ticks: Sequence[TickLoss],
        facts_extra: Mapping[str, float] | None = None,
        attachments: Mapping[str, bytes | str] | None = None,
        /,
    ) -> int:
        """Show tick losses that were not shown before; how many."""

    def shelf(self, name: str) -> list[Shelved]:
        """Every version, oldest first."""

    def present(self, name: str) -> set[str]:
        """Decisions that a run shows."""

    def sweep(self, name: str, final: Callable[[str], bool], /) -> list[str]:
        """End runs that a crash left running, where ``final(decision id)``."""


@dataclass(frozen=True, slots=True)
class Request:
    """One wanted change of the champion."""

    id: str  # of the move: the decision's, or its own for a person's rollback
    kind: Kind
    expected: Head
    champion: Champion  # after it
    as_of: datetime
    record: Mapping[str, Any]  # what the version is registered with; its decision id is the version's tag
    why: Mapping[str, Any]  # person, actor, reason, settlement: into the move's ledger entry


class Mover:
    """Carries requests out, and finishes those that a crash interrupted."""

    def __init__(self, model: str, ledger: Ledger, registry: Board, models: Models) -> None:
        self.model, self.ledger, self.registry, self.models = model, ledger, registry, models

    def carry(self, request: Request) -> Promotion:
        """Make the request's champion the champion, once.

        Raises
        ------
        ConflictError
            If somebody else moved the champion first.
        HeldError
            If the registry's alias was moved by hand.
        IntegrityError
            If the model files are not what was judged.
        """
        expected = request.expected
        wanted = Promotion(request.id, request.kind, expected.head, expected.epoch, request.champion.model)
        row = self.ledger.prepare(self.model, wanted)
        if row.state == "PREPARED":
            row = self._claim(row, request)
        self.finish(row)
        return row

    def _claim(self, row: Promotion, request: Request) -> Promotion:
        files = self.files(row.candidate)
        version, run_id = self.registry.register(self.model, request.record, files)
        if request.kind == "promote":
            self.registry.set_alias(self.model, "challenger", version)
        row = replace(row, version=version, run_id=run_id, state="CLAIMED")
        try:
            self._guard(request.expected, request.why.get("adopted"))
            body = {"kind": request.kind, "champion": request.champion, **request.why}
            self.ledger.claim(self.model, row, request.as_of, body)
        except (ConflictError, HeldError):
            mine = self.ledger.promotion(self.model, request.id)
            if mine is not None and mine.state in ("CLAIMED", "COMMITTED"):
                return mine  # the same decision, carried by a process that started twice
            self.ledger.abandon(self.model, request.id)
            raise
        return row

    def _guard(self, expected: Head, adopted: str | None = None) -> None:
        # The alias is read before the head: a rival moves the head first and the alias after it, so
        # an alias that differs under an unmoved head was moved by no promotion of ours.
        seen = self.registry.alias(self.model, "champion")
        head = self.ledger.head(self.model)
        if (head.head, head.epoch) != (expected.head, expected.epoch):
            raise ConflictError(
                f"{self.model} has another champion than the one this challenger beat",
                why=f"somebody else promoted or rolled back first: epoch {head.epoch}, expected {expected.epoch}",
                fix="run again: the challenger is judged against the new champion",
            )
        if seen is not None and seen == adopted:
            return  # the team's own alias already shows what is taken over
        if seen != head.version or (seen is None and head.head):  # a rebuild could not register it again
            raise self._by_hand(head.version, seen)

    def finish(self, row: Promotion) -> None:
        """Bring the alias in step with a claimed promotion; safe to repeat, and for several at once."""
        if row.state != "CLAIMED":
            return
        if not self._is_head(row):
            self.ledger.commit(self.model, row.decision)
            return
        self.files(row.candidate)
        before = self._version_before(row)
        self._point(row, before)
        self.ledger.commit(self.model, row.decision)
        self._yield_to_newer(row)

    def _point(self, row: Promotion, before: str | None) -> None:
        seen = self.registry.alias(self.model, "champion")
        if seen not in (before, row.version):
            if not self._is_head(row):
                return  # a newer promotion finished this one first
            self.ledger.commit(self.model, row.decision)  # from here on it is a hand-moved alias like any other
            raise self._by_hand(row.version, seen)
        if before is not None and before != row.version:
            self.registry.set_alias(self.model, "previous", before)
        self.registry.set_alias(self.model, "champion", row.version or "")
        seen = self.registry.alias(self.model, "champion")
        if seen != row.version and self._is_head(row):
            raise self._by_hand(row.version, seen)

    def _yield_to_newer(self, row: Promotion) -> None:
        # A process that slept between claim and alias write may have put an old version over a newer one.
        head = self.ledger.head(self.model)
        if head.epoch == row.expected_epoch + 1 or head.version is None:
            return
        if self.registry.alias(self.model, "champion") == row.version != head.version:
            self.registry.set_alias(self.model, "champion", head.version)

    def untouched(self, files: Files, version: str | None) -> None:
        """Where a folder stands for an adopted version, hold that version's own files against the record.

        Raises
        ------
        IntegrityError
            If they are not what was adopted.
        """
        if (told := adopted(files)) is not None and version is not None:
            untouched(self.registry.originals(self.model, version), told, f"version {version} of {self.model}")

    def _by_hand(self, expected: str | None, seen: str | None) -> HeldError:
        return moved_by_hand(self.model, self.registry.called("champion"), expected, seen)

    def _is_head(self, row: Promotion) -> bool:
        head = self.ledger.head(self.model)
        return (head.head, head.epoch) == (row.candidate, row.expected_epoch + 1)

    def _version_before(self, row: Promotion) -> str | None:
        older = [
            p
            for p in self.ledger.promotions(self.model, "CLAIMED", "COMMITTED")
            if p.expected_epoch + 1 == row.expected_epoch
        ]
        return older[-1].version if older else None

    def files(self, digest: str) -> dict[str, bytes]:
        """A model's files, checked; fetched from the registry when this machine has none.

        Raises
        ------
        IntegrityError
            If they are not what was recorded. A damaged local folder is told, never healed in silence.
        """
        if self.models.has(digest):
            return self.models.get(digest)
        known = [p for p in self.ledger.promotions(self.model) if p.candidate == digest and p.version]
        if not known:
            return self.models.get(digest)
        version = str(known[-1].version)
        fetched = checked(self.registry.download(self.model, version), digest, f"version {version} of {self.model}")
        self.models.put(fetched)
        return fetched


def moved_by_hand(model: str, alias: str, expected: str | None, seen: str | None) -> HeldError:
    """The error for a champion alias that is not where the ledger put it."""
    if seen is None:
        return HeldError(
            f"there is no champion of {model} in the registry, the ledger says {_version(expected)}",
            why=f"the alias {alias} or its version was deleted, or the registry was lost; nothing fills the gap",
            fix="`lr-retune reconcile` restores a lost registry; `lr-retune reconcile --restore` the alias alone",
        )
    return HeldError(
        f"the registry's champion of {model} is {_version(seen)}, the ledger says {_version(expected)}",
        why="the alias was moved by hand, or by another tool; it is not overwritten in silence",
        fix=f"point the alias {alias} back to {_version(expected)} in the registry, then run again",
    )


def _version(number: str | None) -> str:
    return f"version {number}" if number else "none"
