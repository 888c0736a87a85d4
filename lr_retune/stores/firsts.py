"""Champions that beat nobody: the first model, and one that a team had registered."""

from __future__ import annotations

from dataclasses import replace

from lr_retune.errors import ConfigError, DataError
from lr_retune.records import Champion, Judgement, Plan, TuneResult, content_digest, plain
from lr_retune.stores.filed import environment
from lr_retune.stores.keys import BORN, birth_key
from lr_retune.stores.settling import Settling, champion_of


class Firsts(Settling):
    """Bootstrap and adoption."""

    def refuse_second_bootstrap(self) -> None:
        """Say so before a first model is trained in vain.

        Raises
        ------
        ConfigError
            If there is a champion.
        """
        if (head := self.ledger.head(self.name)).head:
            raise ConfigError(
                f"{self.name} has a champion already, {head.head[:12]}",
                why="a bootstrap never replaces one",
                fix="use `lr-retune run`, or `lr-retune rollback`",
            )

    def bootstrap(self, plan: Plan, result: TuneResult, judgement: Judgement) -> Champion:
        """Make the first champion; by the same protocol, against an empty head.

        Raises
        ------
        ConfigError
            If there is a champion.
        DataError
            If no trial gave a model.
        """
        self.refuse_second_bootstrap()
        if result.served is None:
            raise DataError("no trial gave a model", why="every fit failed", fix="see `lr-retune search`")
        head = self.ledger.head(self.name)
        id = birth_key(self.name, result.served.model, head.epoch)
        champion = champion_of(
            self.name, result, result.served, judgement, plan, self.config.question, id, head.epoch + 1
        )
        decision = {"id": id, "action": "bootstrap", "reasons": []}
        body = {"status": BORN, "decision": decision, "plan": plan, "result": result, "judgement": judgement}
        body |= {"key": id, "next": champion, "config": self.config.digest, "environment": environment()}
        entry = self.ledger.append(self.name, "settlement", id, plan.as_of, body | {"seed": self.config.seed})
        why = {"person": False, "settlement": id}
        born = self._carry("bootstrap", id, head, champion, plan.as_of, entry.record, why)
        _, run = self._show(self._settlement(id), {})
        return replace(born, run_id=run)

    def refuse_adoption(self, reason: str) -> None:
        """Say so before a registered model is read in vain.

        Raises
        ------
        ConfigError
            If there is a champion, and no reason to replace it.
        """
        if (head := self.ledger.head(self.name)).head and not reason:
            raise ConfigError(
                f"{self.name} has a champion already, {head.head[:12]}",
                why="an adoption replaces it without a comparison, on a person's word",
                fix="add --reason, and --actor who says so",
            )

    def adopt(
        self, plan: Plan, result: TuneResult, judgement: Judgement, *, version: str, actor: str, reason: str
    ) -> Champion:
        """Make a version that a team registered the champion, by the same protocol; it is not registered again.

        Raises
        ------
        ConfigError
            If there is a champion, and no reason to replace it.
        IntegrityError
            If the registered files are not those that were measured.
        """
        self.refuse_adoption(reason)
        assert result.challenger is not None  # measured by the caller
        head, candidate = self.ledger.head(self.name), result.challenger
        id = content_digest({"kind": "adopt", "model": self.name, "candidate": candidate.model, "epoch": head.epoch})
        made = champion_of(self.name, result, candidate, judgement, plan, self.config.question, id, head.epoch + 1)
        made = replace(made, mode="score_only" if result.family == "score_only" else "loaded")
        record = {"decision": {"id": id, "action": "adopt"}, "as_of": plan.as_of, "next": plain(made)}
        why = {"person": bool(head.head), "actor": actor, "reason": reason, "adopted": version}
        return self._carry("promote" if head.head else "bootstrap", id, head, made, plan.as_of, record, why)
