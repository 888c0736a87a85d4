"""Changing the champion: what is refused first, and the one way by which the head moves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from lr_retune.config import Config
from lr_retune.errors import ConfigError, ConflictError, HeldError
from lr_retune.records import Champion, Files, content_digest, plain
from lr_retune.stores.bundle import champion_from
from lr_retune.stores.ledger import Entry, Head, Kind
from lr_retune.stores.moves import Request
from lr_retune.stores.sound import Sound


class Changes(Sound):
    """Promotion and rollback."""

    def promote(
        self, decision: str, actor: str, reason: str, as_of: datetime | None = None, *, force: bool = False
    ) -> Champion:
        """Promote a challenger that passed and was not promoted, on a person's word.

        Raises
        ------
        ConfigError
            If the decision has no passed settlement.
        ConflictError
            If the champion is not the one it beat.
        HeldError
            If it waits for an approval, or as `refuse_unfit` says.
        """
        found = self._chronicle.settlement_of(decision)
        if found is None or found.status != "PASS":
            raise ConfigError(f"decision {decision[:12]} has no challenger that passed", fix="see `lr-retune history`")
        if found.waits is not None and found.waits.mode == "approval":
            raise HeldError(
                f"the challenger of decision {decision[:12]} waits for an approval",
                why='[promote] mode was "approval" when it was judged',
                fix=f"`lr-retune approve {decision[:12]} --reason …`, by somebody else than its author",
            )
        return self.promote_settled(
            self._entry(found), {"person": True, "actor": actor, "reason": reason}, as_of, force=force
        )

    def promote_settled(
        self, entry: Entry, why: Mapping[str, Any], as_of: datetime | None, *, force: bool = False
    ) -> Champion:
        """Verify a settlement with PASS as it stands now, and promote its challenger; ``why`` goes into the move.

        Raises
        ------
        ConflictError
            If the champion is not the one it beat.
        HeldError
            As `refuse_unfit` says.
        """
        self.refuse_unfit(entry, force=force)
        if any(move.id == entry.record["decision"]["id"] for move in self._chronicle.moves[:-1]):
            raise ConflictError(
                f"decision {entry.record['decision']['id'][:12]} made a champion before, and another came after it",
                why="a decision moves the champion once at most",
                fix="`lr-retune rollback --to VERSION` puts a former champion back",
            )
        champion = self._promote(entry, {**why, "force": force}, as_of)
        self._show(self._settlement(entry.key), {})
        return champion

    def rollback(
        self,
        to: str | None,
        actor: str,
        reason: str,
        as_of: datetime,
        reproduces: Callable[[Files], bool],
        decision: str | None = None,
    ) -> Champion:
        """Put an earlier champion back, by the same protocol.

        Parameters
        ----------
        to
            A registry version; None takes the newest earlier champion that is sound.
        actor, reason
            Who asked, and why; recorded.
        reproduces
            Whether model files give their golden predictions; called after their digest was checked.
        decision
            The id of the run's decision that asked for it; None when a person did.

        Raises
        ------
        HeldError
            If no earlier champion is sound.
        """
        if decision and (done := [m for m in self._chronicle.moves if m.id == decision]):
            return self.numbered(done[-1])
        head = self.ledger.head(self.name)
        target = self._sound(self._earlier(head, to), reproduces, strict=to is not None)
        id = decision or content_digest(
            {"kind": "rollback", "from": head.head, "epoch": head.epoch, "to": target.model}
        )
        champion = replace(target, epoch=head.epoch + 1)
        record = {"decision": {"id": target.decision, "action": "rollback"}, "as_of": as_of, "next": plain(champion)}
        why = {"person": decision is None, "actor": actor, "reason": reason}
        return self._carry("rollback", id, head, champion, as_of, record, why)

    def refuse_unfit(self, entry: Entry, *, force: bool = False) -> None:
        """Whether a settled challenger may be promoted as things stand now.

        Raises
        ------
        HeldError
            If it was rolled back and not lifted, or its files are gone; if it was judged under another configuration,
            unless ``force``.
        """
        decision, digest = entry.record["decision"]["id"], entry.record["next"]["model"]
        self._refuse_frozen(digest)
        self._refuse_pruned(digest)
        if judged_otherwise(entry, self.config) and not force:
            raise HeldError(
                f"decision {decision[:12]} was judged under another configuration than this one",
                why="what passed then need not pass the gates of today",
                fix="run again, or add --force with a reason",
            )

    def refuse_overtaken(self, entry: Entry) -> None:
        """Say so before a person's word is filed in vain.

        Raises
        ------
        ConflictError
            If the champion is not the one that the challenger met.
        """
        if not self.unbeaten(entry):
            raise ConflictError(
                f"{self.name} has another champion than the one this challenger beat",
                why="somebody else promoted or rolled back first",
                fix="run again: a challenger is judged against the new champion",
            )

    def _promote(self, entry: Entry, why: Mapping[str, Any], as_of: datetime | None = None) -> Champion:
        record = entry.record
        id, next_, beaten = record["decision"]["id"], record["next"], record["champion"]
        if not why["person"]:
            self._refuse_paused(id, entry.as_of)
        head = self.ledger.head(self.name)
        expected = Head(beaten["model"], beaten["epoch"], head.version)
        shown = {**record, "replaces": head.version}
        why = {**why, "settlement": entry.key}
        return self._carry("promote", id, expected, champion_from(next_), as_of or entry.as_of, shown, why)

    def _refuse_paused(self, decision: str, as_of: datetime) -> None:
        held = self._chronicle.pause
        if held is None or as_of >= held.until:
            return
        self.ledger.abandon(self.name, decision)
        raise HeldError(
            f"the challenger of decision {decision[:12]} passed and is not promoted: {self.name} is paused",
            why=f"until {held.until.isoformat()} by {held.by}: {held.why}",
            fix=f"`lr-retune promote {decision[:12]}` does it all the same; `lr-retune resume` ends the pause",
        )

    def _carry(
        self,
        kind: Kind,
        id: str,
        expected: Head,
        champion: Champion,
        as_of: datetime,
        record: Mapping[str, Any],
        why: Mapping[str, Any],
    ) -> Champion:
        self._refuse_frozen(champion.model)
        self._mover.carry(Request(id, kind, expected, champion, as_of, record, why))
        return self.numbered(next(move for move in self._chronicle.moves if move.id == id))


def judged_otherwise(settlement: Entry, config: Config) -> bool:
    """Whether a challenger was judged under another configuration; where things are stored does not count."""
    return bool(settlement.record["config"] != config.digest)
