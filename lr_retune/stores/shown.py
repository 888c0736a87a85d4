"""What the registry shows of the ledger, and what it lost."""

from __future__ import annotations

from collections.abc import Mapping

from lr_retune.errors import DependencyError
from lr_retune.records import Decision, Facts, Outcome, canonical
from lr_retune.stores.chronicle import Settlement
from lr_retune.stores.known import Known
from lr_retune.stores.ledger import Entry


class Shown(Known):
    """The registry beside the ledger."""

    def record(self, facts: Facts, decision: Decision, page: bytes | None = None) -> list[str]:
        """File an observation and its decision; returns what could not be shown in the registry."""
        body = {"facts": facts, "decision": decision}
        self.ledger.observe(self.name, decision.id, facts, body)
        extra = {} if facts.loss is None else {"promised": facts.loss.promised, "cusum": facts.loss.cusum}
        try:
            self.registry.log_monitor(self.name, facts.ticks, extra, _drift(page))
        except DependencyError as error:
            return [str(error)]  # the ledger has it: the next tick shows what is missing
        return []

    def show(self, entry: Entry) -> None:
        """Let the registry show what became of a settlement; if it is away, `reconcile` does."""
        try:
            self._show(self._settlement(entry.key), {})
        except DependencyError:
            return

    def show_again(self, settlement: Settlement) -> None:
        """Show a settlement whose run the registry lost."""
        self._show(settlement, {}, again=True)

    def unshown(self, there: set[str]) -> list[Settlement]:
        """Settlements whose run is not among those of ``there``, and was not deleted by `lr-retune prune`."""
        runs, pruned = self.ledger.projected(self.name), self._chronicle.pruned_runs
        lost = [s for s in self._chronicle.settlements if s.decision not in there]
        return [s for s in lost if runs.get(s.key, ("", None))[1] not in pruned]

    def registry_alias_moved(self) -> str | None:
        """The version that the champion alias was moved to by hand ("none" if it is gone), or None."""
        head = self.ledger.head(self.name)
        if not head.head or self.ledger.promotions(self.name, "CLAIMED"):
            return None
        seen = self.registry.alias(self.name, "champion")
        return None if seen is not None and seen == head.version else (seen or "none")

    def _shown_as(self, settlement: Settlement) -> Outcome:
        return self._chronicle.outcome(settlement) or "held"

    def _show(
        self, settlement: Settlement, attachments: Mapping[str, bytes | str], *, again: bool = False
    ) -> tuple[Outcome, str]:
        outcome = self._shown_as(settlement)
        shown, run = self.ledger.projected(self.name).get(settlement.key, ("", None))
        if again or shown != outcome or run is None:
            record = self._entry(settlement).record
            pages = {"decision.json": canonical(record), **attachments} if self.shows else attachments
            trials = record["result"]["trials"]
            run = self.registry.log_decision(self.name, {**record, "outcome": outcome}, trials, pages)
            self.ledger.project(self.name, settlement.key, outcome, run)
        return outcome, run


def _drift(page: bytes | None) -> dict[str, bytes | str]:
    return {} if page is None else {"drift.html": page}
