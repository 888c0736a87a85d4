"""Filing a judged challenger, which promotes it if it passed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from lr_retune.records import Candidate, Champion, Judgement, Plan, Report, TuneResult, Verdict, Waits
from lr_retune.stores.changes import Changes
from lr_retune.stores.chronicle import waits_of
from lr_retune.stores.filed import environment
from lr_retune.stores.shown import _drift

ROLLED_BACK = "LRR401"


class Settling(Changes):
    """Settlements."""

    def settle(
        self,
        seen: Report,
        plan: Plan,
        result: TuneResult,
        judgement: Judgement,
        attachments: Mapping[str, bytes | str] | None = None,
    ) -> Report:
        """File a judged challenger, promote it if every gate passed, and show it.

        The same key settles once: a repeated call adopts the first result and finishes it.

        Returns
        -------
        Report
            ``seen`` with the outcome, the champion afterwards and the registry's run.

        Raises
        ------
        ConflictError, HeldError, DependencyError
            After the ledger holds the settlement; `reconcile` or a repeated run finishes it.
        """
        judgement = self._unless_rolled_back(result, judgement)
        key = self.key(seen.champion, plan, seen.decision.action)
        body = self._settlement_body(seen, plan, result, judgement) | {"key": key}
        entry = self.ledger.append(self.name, "settlement", key, seen.facts.as_of, body)
        if entry.record["decision"]["id"] != seen.decision.id:
            self.ledger.append(self.name, "adoption", seen.decision.id, seen.facts.as_of, {"settlement": key})
        champion = seen.champion
        waits = waits_of(entry.record)
        if entry.record["status"] == "PASS" and waits is None:
            champion = self._promote(entry, {"person": False})
        outcome, run = self._show(self._settlement(key), _drift(seen.page) | dict(attachments or {}))
        done = replace(seen, outcome=outcome, champion=champion, plan=plan, result=result, judgement=judgement)
        return replace(done, run_id=run, waits=waits)

    def _unless_rolled_back(self, result: TuneResult, judgement: Judgement) -> Judgement:
        if result.served is None or result.served.model not in self._chronicle.frozen:
            return judgement
        reason = "this very model was rolled back before and is frozen until `lr-retune lift`"
        verdict = Verdict("rolled_back", ROLLED_BACK, "FAIL", reason)
        return replace(judgement, verdicts=(*judgement.verdicts, verdict))

    def _settlement_body(self, seen: Report, plan: Plan, result: TuneResult, judgement: Judgement) -> dict[str, Any]:
        status = judgement.status if result.served or judgement.status != "PASS" else "INCONCLUSIVE"
        next_ = None
        if status == "PASS" and result.served is not None:
            epoch = seen.champion.epoch + 1
            next_ = champion_of(
                self.name, result, result.served, judgement, plan, self.config.question, seen.decision.id, epoch
            )
        return {
            "model": self.name,
            "status": status,
            "config": self.config.digest,
            "environment": environment(),
            "seed": self.config.seed,
            "facts": seen.facts,
            "decision": seen.decision,
            "plan": plan,
            "result": result,
            "judgement": judgement,
            "champion": seen.champion,
            "next": next_,
            "author": seen.author,
            "rules": self.config.rules,
            "waits": self._waits(status, seen.facts.as_of),
        }

    def _waits(self, status: str, as_of: datetime) -> Waits | None:
        """In the settlement itself, so that no crash can lose the question or put it twice."""
        mode, gates = self.config.promote.mode, self.config.gates
        if status != "PASS" or mode == "auto":
            return None
        expires = as_of + min(self.config.promote.approval_expires, gates.expires)
        return Waits(mode, expires if mode == "approval" else None)


def champion_of(
    name: str,
    result: TuneResult,
    candidate: Candidate,
    judgement: Judgement,
    plan: Plan,
    question: str,
    decision: str,
    epoch: int,
) -> Champion:
    """The champion that a candidate would be."""
    return Champion(
        name=name,
        model=candidate.model,
        family=result.family,
        learning_rate=candidate.learning_rate,
        schedule=candidate.schedule,
        steps=candidate.steps,
        importance=dict(candidate.importance),
        contract=plan.contract,
        promised=judgement.losses["challenger"],
        promised_ticks=tuple(judgement.challenger_ticks),
        reference=plan.holdout,
        question=question,
        decision=decision,
        epoch=epoch,
    )
