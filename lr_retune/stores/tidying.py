"""Finishing, or undoing, what a crash left half done."""

from __future__ import annotations

from lr_retune.errors import ConflictError, DependencyError, HeldError
from lr_retune.stores.chronicle import Settlement
from lr_retune.stores.firsts import Firsts
from lr_retune.stores.ledger import Promotion
from lr_retune.stores.moves import moved_by_hand
from lr_retune.stores.rebuild import restore


class Tidying(Firsts):
    """Reconciliation."""

    def reconcile(self, *, strict: bool = False, alias: bool = False) -> list[str]:
        """Finish or undo what a crash left half done; one sentence per thing tidied or noticed.

        Parameters
        ----------
        strict
            Raise when the registry does not answer, instead of saying so; also look for runs that
            were left running although the ledger is clean, and put back what the registry lost.
        alias
            With ``strict``: point the champion alias at the ledger's champion where there is none.
        """
        notes: list[str] = []
        try:
            self._tidy(notes, thorough=strict, alias=alias)
        except DependencyError as error:
            if strict:
                raise
            notes.append(str(error))
        return notes

    def _tidy(self, notes: list[str], *, thorough: bool, alias: bool) -> None:
        if thorough:
            notes += restore(self, alias=alias)
        for row in self.ledger.promotions(self.name, "PREPARED"):
            notes.append(f"decision {row.decision[:12]}: {row.kind} {self._resume(row)}")
        for row in self.ledger.promotions(self.name, "CLAIMED"):
            self._mover.finish(row)
            notes.append(f"decision {row.decision[:12]}: {row.kind} to version {row.version} was finished")
        for settlement in self._chronicle.settlements:
            if self._approved(settlement) and self.ledger.promotion(self.name, settlement.decision) is None:
                notes.append(f"decision {settlement.decision[:12]}: promote, approved, {self._carried(settlement)}")
        shown = self.ledger.projected(self.name)
        for settlement in self._chronicle.settlements:
            outcome = self._shown_as(settlement)
            if shown.get(settlement.key, ("", None))[0] != outcome:
                self._show(settlement, {})
                notes.append(f"decision {settlement.decision[:12]}: {outcome} is now shown in the registry")
        if notes or thorough:
            notes += self.registry.sweep(self.name, self._final)
        if moved := self.registry_alias_moved():
            notes.append(self._left_alone(moved))

    def _left_alone(self, moved: str) -> str:
        if moved == "none":
            error = moved_by_hand(
                self.name, self.registry.called("champion"), self.ledger.head(self.name).version, None
            )
            return f"{error.what}; {error.fix}"
        return f"the champion alias of {self.name} was moved by hand to {moved}; it was left there"

    def _resume(self, row: Promotion) -> str:
        """Promote a challenger that passed while the registry was away; give anything else up.

        So is one that nobody has approved, and one that was on its way before ``[promote] mode`` asked for people.
        """
        found = self._chronicle.settlement_of(row.decision)
        head = self.ledger.head(self.name)
        if (
            found is not None
            and found.status == "PASS"
            and (self._approved(found) or (found.waits is None and self.config.promote.mode == "auto"))
            and (head.head, head.epoch) == (row.expected, row.expected_epoch)
        ):
            return self._carried(found)
        self.ledger.abandon(self.name, row.decision)
        return "had not begun and was given up"

    def _carried(self, settlement: Settlement) -> str:
        said = self._chronicle.said.get(settlement.key)
        why = {"person": False} if said is None else {"person": True, "actor": said.by, "reason": said.why}
        try:
            self._promote(self._entry(settlement), why, None if said is None else said.as_of)
        except (ConflictError, HeldError) as error:
            return f"was given up: {error.what}"
        return "was finished"

    def _approved(self, settlement: Settlement) -> bool:
        said = self._chronicle.said.get(settlement.key)
        return said is not None and said.answer == "approved"

    def _final(self, decision: str) -> bool:
        row = self.ledger.promotion(self.name, decision)
        if row is None:  # settled and not promoted; but an empty ledger knows nothing of what is running
            return bool(self.ledger.head(self.name).head)
        return row.state in ("COMMITTED", "ABANDONED")
