"""What the main path asks of the stores: who is champion, what happened, and changing it safely."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from lr_retune.config import Config
from lr_retune.errors import (
    ConfigError,
    ConflictError,
    DataError,
    DependencyError,
    HeldError,
    IntegrityError,
)
from lr_retune.records import (
    Acceptance,
    Candidate,
    Champion,
    Decision,
    Facts,
    Files,
    History,
    Judgement,
    Looked,
    Outcome,
    Past,
    PastDecision,
    Plan,
    Report,
    TuneResult,
    Verdict,
    Waits,
    canonical,
    content_digest,
    plain,
)
from lr_retune.stores.bundle import champion_from, plan_from
from lr_retune.stores.chronicle import Chronicle, Frozen, Move, Pause, Pruned, Said, Settlement, waits_of
from lr_retune.stores.journal import Journal
from lr_retune.stores.keys import BORN, birth_key, run_key
from lr_retune.stores.ledger import Entry, Head, Kind, Ledger, Promotion
from lr_retune.stores.memory import MemoryRegistry
from lr_retune.stores.models import FileModels, MemoryModels, Models, checked
from lr_retune.stores.moves import Board, Mover, Request, moved_by_hand
from lr_retune.stores.rebuild import restore

ROLLED_BACK = "LRR401"
LIBRARIES = ("numpy", "lightgbm", "scikit-learn", "skops")


def environment() -> dict[str, str]:
    """Versions that decide a model's bytes; read from metadata, nothing is imported."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


class Stores:
    """One model's ledger, registry and model files.

    Parameters
    ----------
    ledger, registry, models
        The authority, what shows it, and where model files lie.
    config
        Its name, seed and digest go into keys and records.
    journal
        The file in which the newest search keeps its finished trials; None: nowhere.
    """

    def __init__(
        self, ledger: Ledger, registry: Board, models: Models, config: Config, journal: Path | None = None
    ) -> None:
        self.ledger, self.registry, self.models, self.config = ledger, registry, models, config
        self._journal = journal
        self.name = config.name
        self._mover = Mover(self.name, ledger, registry, models)
        self._chronicle = Chronicle(ledger, self.name)

    @classmethod
    def open(cls, config: Config) -> Stores:
        """The ledger and MLflow that the configuration names."""
        from lr_retune.stores.mlflow import MLflowRegistry

        folder = models_folder(config)
        journal = folder / f".search-{config.name}.jsonl"
        return cls(Ledger(config.state_url()), MLflowRegistry(config), FileModels(folder), config, journal)

    @classmethod
    def in_memory(cls, config: Config, models: Models | None = None) -> Stores:
        """Stores that leave no trace, for replay and tests; several may share model files."""
        return cls(Ledger("sqlite://"), MemoryRegistry(), models or MemoryModels(), config)

    @property
    def shows(self) -> bool:
        """Whether anybody looks at what is shown: pages are made only then."""
        return self.registry.shows

    # ── reading ───────────────────────────────────────────────────────────────────────────────────
    def champion(self, as_of: datetime) -> Champion:
        """The champion a run at ``as_of`` meets: its own promotion is not seen when it is repeated.

        Raises
        ------
        ConfigError
            If there is none yet.
        """
        if not self._chronicle.moves:
            where = self.ledger.url.set(query={}).render_as_string(hide_password=True)
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

    def crowned(self, champion: Champion) -> datetime:
        """When a champion took over."""
        return next(move.as_of for move in self._chronicle.moves if move.champion.epoch == champion.epoch)

    def former(self, champion: Champion) -> Champion | None:
        """Whom a judged challenger replaced; None where a champion came by another way."""
        for before, move in pairwise(self._chronicle.moves):
            if move.champion.epoch == champion.epoch and move.kind == "promote" and self.made(champion):
                return self.numbered(before)
        return None

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
        plan = self.trained_on(self.champion(as_of)) if self.shows else None
        return Past(self._chronicle.searched(as_of, family), plan)

    def trained_on(self, champion: Champion) -> Plan | None:
        """The window that a champion was trained on; None where no search or refit of ours made it."""
        settled = self._chronicle.settlement_of(champion.decision)
        return None if settled is None else plan_from(self._entry(settled).record["plan"])

    def journal(self, *depends: Any) -> Journal:
        """Finished trials of the newest search, if it is the one that ``depends`` tells."""
        key = content_digest([self.config.digest, environment(), *depends])
        return Journal(self._journal, key)

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

    def unshown(self, there: set[str]) -> list[Settlement]:
        """Settlements whose run is not among those of ``there``, and was not deleted by `lr-retune prune`."""
        runs, pruned = self.ledger.projected(self.name), self._chronicle.pruned_runs
        lost = [s for s in self._chronicle.settlements if s.decision not in there]
        return [s for s in lost if runs.get(s.key, ("", None))[1] not in pruned]

    def show_again(self, settlement: Settlement) -> None:
        """Show a settlement whose run the registry lost."""
        self._show(settlement, {}, again=True)

    def best_promise(self, as_of: datetime) -> float | None:
        """The least loss that a champion up to then was promoted on, in today's metric."""
        past = (move.champion for move in self._chronicle.moves if move.as_of <= as_of)
        return min((each.promised for each in past if each.question == self.config.question), default=None)

    @property
    def moves(self) -> Sequence[Move]:
        """Every change of the champion, oldest first."""
        return self._chronicle.moves

    def earlier(self) -> list[Champion]:
        """Champions that a rollback may go back to, newest first."""
        return self._earlier(self.ledger.head(self.name), None)

    @property
    def pause(self) -> Pause | None:
        """The newest pause that was not taken back, over or not."""
        return self._chronicle.pause

    @property
    def frozen(self) -> Mapping[str, Frozen]:
        """Digests that were rolled back and that nobody has lifted since."""
        return self._chronicle.frozen

    @property
    def pruned(self) -> Mapping[str, Pruned]:
        """Digests whose files were deleted by `lr-retune prune`."""
        return self._chronicle.pruned

    def registry_alias_moved(self) -> str | None:
        """The version that the champion alias was moved to by hand ("none" if it is gone), or None."""
        head = self.ledger.head(self.name)
        if not head.head or self.ledger.promotions(self.name, "CLAIMED"):
            return None
        seen = self.registry.alias(self.name, "champion")
        return None if seen is not None and seen == head.version else (seen or "none")

    def files(self, champion: Champion) -> dict[str, bytes]:
        """The champion's model folder, checked against the ledger's digest before anything loads it."""
        self._refuse_pruned(champion.model)
        return self._mover.files(champion.model)

    def verify_files(self, digest: str, version: str | None = None) -> None:
        """Check the model files of a digest, and the registry's copy of a version against it.

        Raises
        ------
        IntegrityError
            If one of them is not what was judged.
        """
        files = self._mover.files(digest)
        if version is not None:
            self._mover.untouched(files, version)
            checked(self.registry.download(self.name, version), digest, f"version {version} of {self.name}")

    def settlement(self, decision: str) -> Entry | None:
        """The ledger's entry on a decision's judged challenger; None for a first champion, which beat nobody."""
        found = self._chronicle.settlement_of(decision)
        return None if found is None or found.status == BORN else self._entry(found)

    def settled(self, decision: str) -> Entry | None:
        """The ledger's entry on whoever a decision judged, a first champion among them."""
        found = self._chronicle.settlement_of(decision)
        return None if found is None else self._entry(found)

    def run_of(self, decision: str) -> str | None:
        """The registry's run that shows a judged challenger."""
        found = self._chronicle.settlement_of(decision)
        return None if found is None else self.ledger.projected(self.name).get(found.key, ("", None))[1]

    def winners(self, beaten: Champion, plan: Plan) -> list[Champion]:
        """Champions after ``beaten``, oldest first; without those that know later rows than ``plan``."""
        later = [self.numbered(move) for move in self._chronicle.moves if move.champion.epoch > beaten.epoch]
        return [each for each in later if each.reference.end <= plan.holdout.end]

    @property
    def reigning(self) -> Champion:
        """The champion, whatever time a run simulates."""
        return self.numbered(self._chronicle.moves[-1])

    @property
    def settlements(self) -> Sequence[Settlement]:
        """Every judged challenger, oldest first."""
        return self._chronicle.settlements

    @property
    def said(self) -> Mapping[str, Said]:
        """Settlement key → what a person answered about it."""
        return self._chronicle.said

    def knows(self, decision: str) -> bool:
        """Whether a decision was judged before."""
        return self._chronicle.settlement_of(decision) is not None

    def looks(self, key: str) -> Sequence[Looked]:
        """Looks at holdouts that were filed before the settlement of ``key``, oldest first."""
        return self._chronicle.looks(key)

    def key(self, champion: Champion, plan: Plan, action: str) -> str:
        """What makes two runs the same run: whatever decides their bytes."""
        return run_key(
            model=self.name,
            action=action,
            champion=champion.model,
            epoch=champion.epoch,
            plan=plan.digest,
            config=self.config.digest,
            seed=self.config.seed,
            environment=environment(),
        )

    # ── writing ───────────────────────────────────────────────────────────────────────────────────
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
        champion = _champion(
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
        made = _champion(self.name, result, candidate, judgement, plan, self.config.question, id, head.epoch + 1)
        made = replace(made, mode="score_only" if result.family == "score_only" else "loaded")
        record = {"decision": {"id": id, "action": "adopt"}, "as_of": plan.as_of, "next": plain(made)}
        why = {"person": bool(head.head), "actor": actor, "reason": reason, "adopted": version}
        return self._carry("promote" if head.head else "bootstrap", id, head, made, plan.as_of, record, why)

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

    def unbeaten(self, entry: Entry) -> bool:
        """Whether the champion that a settled challenger met is champion still."""
        head, beaten = self.ledger.head(self.name), entry.record["champion"]
        return (head.head, head.epoch) == (beaten["model"], beaten["epoch"])

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

    def show(self, entry: Entry) -> None:
        """Let the registry show what became of a settlement; if it is away, `reconcile` does."""
        try:
            self._show(self._settlement(entry.key), {})
        except DependencyError:
            return

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

    # ── inside ────────────────────────────────────────────────────────────────────────────────────
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
            next_ = _champion(
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

    def _refuse_frozen(self, digest: str) -> None:
        if (held := self._chronicle.frozen.get(digest)) is None:
            return
        raise HeldError(
            f"model {digest[:12]} was rolled back by {held.by or 'somebody'} as of {held.as_of.isoformat()}",
            why=f"{held.why or 'no reason was given'}; it is frozen until a person lifts it",
            fix=f"`lr-retune lift {digest[:12]} --reason …`, if it may be champion again",
        )

    def _refuse_pruned(self, digest: str) -> None:
        gone = self._chronicle.pruned.get(digest)
        if gone is None or self.models.has(digest):
            return
        raise HeldError(
            f"the files of model {digest[:12]} were deleted by `lr-retune prune` as of {gone.as_of.isoformat()}",
            why=f"{gone.by or 'somebody'} asked for it; the ledger keeps what it was, and its files are nowhere",
            fix="choose a younger version from `lr-retune history`, or restore its folder from a backup",
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

    def numbered(self, move: Move) -> Champion:
        """A move's champion with the registry's numbers of today."""
        row = self.ledger.promotion(self.name, move.id)
        return move.champion if row is None else replace(move.champion, version=row.version, run_id=row.run_id)

    def _earlier(self, head: Head, to: str | None) -> list[Champion]:
        past = [self.numbered(move) for move in self._chronicle.moves[::-1]]
        if to is not None:
            found = [c for c in past if c.version == to][:1]
            if not found:
                there = ", ".join(sorted({str(c.version) for c in past}))
                fix = "choose one of these with --to"
                raise ConfigError(f"version {to} was never champion", why=f"champions were: {there}", fix=fix)
            self._refuse_frozen(found[0].model)
            return found
        out = {head.head, *self._chronicle.frozen}
        return [c for c in past if c.model not in out]

    def _sound(self, candidates: Sequence[Champion], reproduces: Callable[[Files], bool], *, strict: bool) -> Champion:
        faults: list[str] = []
        for candidate in candidates:
            try:
                files = self.files(candidate)
                self._mover.untouched(files, candidate.version)
                if reproduces(files):
                    return candidate
                faults.append(f"version {candidate.version} does not reproduce its golden predictions")
            except (IntegrityError, DependencyError, HeldError) as error:
                if strict:
                    raise
                faults.append(str(error))
        if strict and faults:
            raise IntegrityError(faults[0], why="it would not serve what was judged", fix="choose another version")
        raise HeldError(
            f"{self.name} has no earlier champion to go back to",
            why="; ".join(faults) or "none was in production before, or all were rolled back and are frozen",
            fix="name a version with --to: `lr-retune history` tells which decision made which",
        )

    def _settlement(self, key: str) -> Settlement:
        return next(s for s in self._chronicle.settlements if s.key == key)

    def _entry(self, settlement: Settlement) -> Entry:
        entry = self.ledger.entry(self.name, "settlement", settlement.key)
        if entry is None:
            raise IntegrityError(
                f"settlement {settlement.key[:12]} has gone from the ledger", fix="run `lr-retune audit verify`"
            )
        return entry

    def _shown_as(self, settlement: Settlement) -> Outcome:
        return self._chronicle.outcome(settlement) or "held"

    def _show(
        self, settlement: Settlement, attachments: Mapping[str, bytes | str], *, again: bool = False
    ) -> tuple[Outcome, str]:
        outcome = self._shown_as(settlement)
        shown, run = self.ledger.projected(self.name).get(settlement.key, ("", None))
        if again or shown != outcome or run is None:
            record = self._entry(settlement).record
            pages = {"decision.json": canonical(record), **attachments}
            trials = record["result"]["trials"]
            run = self.registry.log_decision(self.name, {**record, "outcome": outcome}, trials, pages)
            self.ledger.project(self.name, settlement.key, outcome, run)
        return outcome, run


def judged_otherwise(settlement: Entry, config: Config) -> bool:
    """Whether a challenger was judged under another configuration; where things are stored does not count."""
    return bool(settlement.record["config"] != config.digest)


def models_folder(config: Config) -> Path:
    """Where model files lie: beside a SQLite ledger, else under the configuration's folder."""
    url = make_url(config.state_url())
    if url.drivername.startswith("sqlite") and url.database not in (None, "", ":memory:"):
        file = Path(str(url.database))
        return file.with_name(f"{file.stem}_models")
    return config.root / "lr_retune_models"


def _comparable(decision: PastDecision, question: str) -> PastDecision:
    """Without figures in units of another metric, calendar or label; ledgers from before did not say which."""
    if decision.question in ("", question):
        return decision
    return replace(decision, since=None, level=None, probe=None)


def _drift(page: bytes | None) -> dict[str, bytes | str]:
    return {} if page is None else {"drift.html": page}


def _champion(
    name: str,
    result: TuneResult,
    candidate: Candidate,
    judgement: Judgement,
    plan: Plan,
    question: str,
    decision: str,
    epoch: int,
) -> Champion:
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
