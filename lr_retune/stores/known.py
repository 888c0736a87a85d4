"""Who was champion when, and what a run at some time knows of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy.engine import make_url

from lr_retune.errors import ConfigError
from lr_retune.records import Acceptance, Champion, History, Past, PastDecision, Plan, content_digest
from lr_retune.stores.bundle import plan_from
from lr_retune.stores.chronicle import Move
from lr_retune.stores.filed import Filed
from lr_retune.stores.ledger import Entry


class Known(Filed):
    """Champions and their history."""

    def champion(self, as_of: datetime) -> Champion:
        """The champion a run at ``as_of`` meets: its own promotion is not seen when it is repeated.

        Raises
        ------
        ConfigError
            If there is none yet.
        """
        if not self._chronicle.moves:
            # a file that is not there yet is read as an empty ledger in memory
            url = self.ledger.url if self.ledger.url.database else make_url(self.config.state_url())
            where = url.set(query={}).render_as_string(hide_password=True)
            raise ConfigError(
                f"{self.name} has no champion yet",
                why=f"the ledger {where} holds none",
                fix="run `lr-retune bootstrap`, or correct [state] url",
            )
        seen = [move for move in self._chronicle.moves if move.visible(as_of) or move.kind == "bootstrap"]
        first = seen[0]
        if first.kind == "bootstrap" and first.as_of > as_of:
            raise ConfigError(
                f"{self.name} had no champion at {as_of.isoformat()}",
                why=f"the first one was made for {first.as_of.isoformat()}",
                fix="use a later --as-of",
            )
        return self.numbered(seen[-1])

    @property
    def reigning(self) -> Champion:
        """The champion, whatever time a run simulates."""
        return self.numbered(self._chronicle.moves[-1])

    def numbered(self, move: Move) -> Champion:
        """A move's champion with the registry's numbers of today."""
        row = self.ledger.promotion(self.name, move.id)
        return move.champion if row is None else replace(move.champion, version=row.version, run_id=row.run_id)

    def crowned(self, champion: Champion) -> datetime:
        """When a champion took over."""
        return next(move.as_of for move in self._chronicle.moves if move.champion.epoch == champion.epoch)

    def former(self, champion: Champion) -> Champion | None:
        """Whom a judged challenger replaced; None where a champion came by another way."""
        for before, move in pairwise(self._chronicle.moves):
            if move.champion.epoch == champion.epoch and move.kind == "promote" and self.made(champion):
                return self.numbered(before)
        return None

    def winners(self, beaten: Champion, plan: Plan) -> list[Champion]:
        """Champions after ``beaten``, oldest first; without those that know later rows than ``plan``."""
        later = [self.numbered(move) for move in self._chronicle.moves if move.champion.epoch > beaten.epoch]
        return [each for each in later if each.reference.end <= plan.holdout.end]

    def best_promise(self, as_of: datetime) -> float | None:
        """The least loss that a champion before then was promoted on, in today's metric."""
        moves = (move for move in self._chronicle.moves if move.as_of < as_of or move.kind == "bootstrap")
        past = (move.champion for move in moves)
        return min((each.promised for each in past if each.question == self.config.question), default=None)

    def history(self, as_of: datetime) -> History:
        """What was decided strictly before ``as_of``."""
        found = self._chronicle.history(as_of)
        found = replace(found, decisions=tuple(_comparable(d, self.config.question) for d in found.decisions))
        accepted = self.accepted(as_of) if self._chronicle.moves else None
        return replace(found, accepted=accepted.as_of) if accepted is not None and accepted.waived else found

    def past(self, as_of: datetime, family: str) -> Past:
        """What helps a search at ``as_of``: earlier searches, and what the champion was trained on."""
        if not self._chronicle.moves:
            return Past()
        plan = self.trained_on(self.champion(as_of)) if self.shows or self.whole else None
        return Past(self._chronicle.searched(as_of, family), plan)

    def trained_on(self, champion: Champion) -> Plan | None:
        """The window that a champion was trained on; None where no search or refit of ours made it."""
        settled = self._chronicle.settlement_of(champion.decision)
        return None if settled is None else plan_from(self._entry(settled).record["plan"])

    def accepted(self, as_of: datetime) -> Acceptance | None:
        """What a person accepted about the feed that the champion does not know."""
        return self._chronicle.accepted(as_of, self.champion(as_of))

    def accept(self, as_of: datetime, body: Mapping[str, Any]) -> Entry:
        """Record that the feed has changed for good; see `Acceptance`."""
        return self.ledger.append(self.name, "contract", content_digest([body, as_of]), as_of, body)

    def made(self, champion: Champion) -> bool:
        """Whether it was judged or born here, so that the ledger can show it again."""
        return self._chronicle.settlement_of(champion.decision) is not None

    def taken_over(self, champion: Champion) -> bool:
        """Whether a team registered it, so that the registry alone holds its own files."""
        return champion.decision in self._chronicle.adopted

    def judged(self, champion: Champion) -> Mapping[str, Any]:
        """The record of the settlement that made it."""
        settled = self._chronicle.settlement_of(champion.decision)
        assert settled is not None  # asked only where `made`
        return self._entry(settled).record


def _comparable(decision: PastDecision, question: str) -> PastDecision:
    """Without figures in units of another metric, calendar or label; ledgers from before did not say which."""
    if decision.question in ("", question):
        return decision
    return replace(decision, since=None, level=None, probe=None)
