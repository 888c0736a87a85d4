"""The CI verdict on a registered version: re-verified from ledger, files and registry, never believed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from lr_retune.config import format_duration
from lr_retune.errors import ConfigError, DependencyError, IntegrityError, RetuneError
from lr_retune.records import NOT_ASKED, content_digest, iso
from lr_retune.stores.changes import judged_otherwise
from lr_retune.stores.chronicle import waits_of
from lr_retune.stores.ledger import Entry
from lr_retune.stores.promotion import Stores
from lr_retune.stores.status import full_id

RuleStatus = Literal["PASS", "FAIL", "INCONCLUSIVE", "ERROR", "CONFLICT", "TAMPERED"]

GATE_RULES = {
    "LRR501": "The ledger's hash chain holds: no entry was edited, removed or reordered.",
    "LRR502": "The version is known to the ledger: a decision judged it, or made it champion.",
    "LRR503": "The model files are, byte for byte, those that were judged.",
    "LRR504": "The judge's verdict was PASS.",
    "LRR505": "The verdict has not expired ([gates] expires).",
    "LRR506": "The champion that the challenger beat is still champion, or the version is champion itself.",
    "LRR507": "The registry's champion alias points where the ledger says.",
    "LRR508": "The challenger was judged under this very configuration (where things are stored may differ).",
    "LRR509": "Where [promote] mode asks for a person, somebody has approved the challenger.",
}
ASKS_REGISTRY = ("LRR503", "LRR507")
# A deployment job waits for the answer: MLflow has 6 s, twice, for one request, and so long for all of them together.
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "6", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
TOGETHER = 20.0  # seconds
# Several failures at once: integrity before conflict before dependency before FAIL before INCONCLUSIVE.
_EXIT: tuple[tuple[RuleStatus, int], ...] = (
    ("TAMPERED", 6),
    ("CONFLICT", 5),
    ("ERROR", 4),
    ("FAIL", 1),
    ("INCONCLUSIVE", 10),
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule's answer."""

    code: str
    status: RuleStatus
    reason: str


@dataclass(frozen=True, slots=True)
class Forced:
    """A person's word that a version goes out although a rule did not pass."""

    actor: str
    reason: str
    ledger_row: int


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What a deployment job acts on."""

    model: str
    version: str | None
    decision: str | None
    rules: tuple[Rule, ...]
    expires_at: str | None
    forced: Forced | None = None

    @property
    def exit_code(self) -> int:
        """0 only when every rule passed, or a person overruled those that did not."""
        return 0 if self.forced is not None else self._found

    @property
    def status(self) -> Literal["PASS", "FAIL", "INCONCLUSIVE", "ERROR"]:
        """The contract's word for what the rules say, overruled or not."""
        words: dict[int, Literal["PASS", "FAIL", "INCONCLUSIVE", "ERROR"]] = {0: "PASS", 1: "FAIL", 10: "INCONCLUSIVE"}
        return words.get(self._found, "ERROR")

    @property
    def _found(self) -> int:
        found = {rule.status for rule in self.rules}
        return next((code for status, code in _EXIT if status in found), 0)


def verdict(
    stores: Stores, model: str | None, *, version: str | None, decision: str | None, now: datetime
) -> GateVerdict:
    """Check a version, or the challenger of a decision, against everything that was recorded.

    Parameters
    ----------
    model
        The name the caller expects; None takes the configured one.
    now
        When the verdict is asked for; expiry counts up to it.

    Raises
    ------
    ConfigError
        If ``model`` is not the configured one, or several decisions begin with ``decision``.
    DependencyError, IntegrityError
        If the ledger itself cannot be read: `unanswered` makes a verdict of it.
    """
    if model not in (None, stores.name):
        raise ConfigError(
            f"this configuration is about {stores.name!r}, not {model!r}", fix="name its retune.toml with -c"
        )
    for name, value in PATIENCE.items():
        os.environ.setdefault(name, value)
    subject = _Subject(stores, version, None if decision is None else full_id(stores, decision))
    patience = _Patience(TOGETHER)
    rules = tuple(_told(code, look, stores, subject, now, patience) for code, look in _RULES.items())
    expires = None if subject.settlement is None else iso(subject.settlement.as_of + stores.config.gates.expires)
    return GateVerdict(stores.name, subject.version, subject.decision, rules, expires)


def unanswered(model: str | None, version: str | None, decision: str | None, error: RetuneError) -> GateVerdict:
    """The verdict where the ledger cannot be read: never a PASS."""
    status: RuleStatus = "TAMPERED" if isinstance(error, IntegrityError) else "ERROR"
    return GateVerdict(model or "", version, decision, (Rule("LRR501", status, str(error)),), None)


def force(stores: Stores, found: GateVerdict, *, actor: str, reason: str, now: datetime) -> GateVerdict:
    """Let a known version with sound files go out although a rule did not pass, and file who said so.

    Where a rule could not be asked, or something is not what was recorded, the verdict stays what it is.
    """
    refused = {rule.status for rule in found.rules} & {"TAMPERED", "ERROR"}
    missing = {rule.code for rule in found.rules if rule.status != "PASS"} & {"LRR502", "LRR503"}
    if not found.exit_code or refused or missing:
        return found
    overruled = [rule.code for rule in found.rules if rule.status != "PASS"]
    body: dict[str, Any] = {"version": found.version, "judged_by": found.decision, "overruled": overruled}
    body |= {"actor": actor, "reason": reason}
    key = content_digest({"kind": "forced", "model": stores.name, "as_of": now, **body})
    row = stores.ledger.append(stores.name, "forced", key, now, body)
    return replace(found, forced=Forced(actor, reason, row.seq))


class _Patience:
    """Runs looks at a service with one deadline for all: a server that drips answers holds up no deployment."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._ends = seconds, time.monotonic() + seconds

    def __call__(self, look: Callable[[], tuple[RuleStatus, str]]) -> tuple[RuleStatus, str]:
        ended: list[tuple[RuleStatus, str] | Exception] = []

        def work() -> None:
            try:
                ended.append(look())
            except Exception as error:  # noqa: BLE001 whoever waits raises it again
                ended.append(error)

        thread = threading.Thread(target=work, daemon=True)  # the command ends even if it goes on waiting
        thread.start()
        thread.join(max(0.0, self._ends - time.monotonic()))
        if not ended:
            raise DependencyError(f"MLflow did not answer within {self._seconds:.0f} s in all", fix="ask again")
        if isinstance(ended[0], Exception):
            raise ended[0]
        return ended[0]


class _Subject:
    """The version in question: its move and the settlement that judged it."""

    def __init__(self, stores: Stores, version: str | None, decision: str | None) -> None:
        rows = stores.ledger.promotions(stores.name)
        found = [r for r in rows if (r.version == version if version is not None else r.decision == decision)]
        self.move = found[-1] if found else None
        self.version = version if version is not None else (self.move.version if self.move else None)
        self.decision = decision if decision is not None else (self.move.decision if self.move else None)
        settled = stores.settlement(self.decision) if self.decision else None
        self.settlement: Entry | None = settled
        self.digest: str | None = self.move.candidate if self.move else _offered(settled)
        self.known = self.move is not None or settled is not None
        head = stores.ledger.head(stores.name)
        self.is_champion = bool(head.head) and head.head == self.digest
        own = [r for r in rows if (r.candidate, r.expected_epoch + 1) == (head.head, head.epoch)]
        self.reigns = self.is_champion and any(r.state == "COMMITTED" for r in own)
        self.away: str | None = None  # why the registry did not answer: it is asked once


def _offered(entry: Entry | None) -> str | None:
    """What a decision would promote; where nothing passed, the challenger that it judged."""
    found = {} if entry is None else entry.record["next"] or entry.record["result"]["challenger"] or {}
    return found.get("model")


def _told(
    code: str,
    look: Callable[[Stores, _Subject, datetime], tuple[RuleStatus, str]],
    stores: Stores,
    subject: _Subject,
    now: datetime,
    patience: _Patience,
) -> Rule:
    if code in ASKS_REGISTRY and subject.away is not None:
        return Rule(code, "ERROR", f"not asked again: {subject.away}")
    try:
        if code in ASKS_REGISTRY:
            return Rule(code, *patience(lambda: look(stores, subject, now)))
        return Rule(code, *look(stores, subject, now))
    except IntegrityError as error:
        return Rule(code, "TAMPERED", str(error))
    except DependencyError as error:
        subject.away = str(error)
        return Rule(code, "ERROR", str(error))


def _chain(stores: Stores, _subject: _Subject, _now: datetime) -> tuple[RuleStatus, str]:
    broken = stores.ledger.verify(stores.name)
    return ("TAMPERED", "; ".join(broken)) if broken else ("PASS", "the ledger's chain holds")


def _known(_stores: Stores, subject: _Subject, _now: datetime) -> tuple[RuleStatus, str]:
    if subject.known:
        return "PASS", f"decision {subject.decision}"
    asked = f"version {subject.version}" if subject.version else f"decision {subject.decision}"
    return "FAIL", f"{asked} was never judged: the ledger does not know it"


def _files(stores: Stores, subject: _Subject, _now: datetime) -> tuple[RuleStatus, str]:
    if subject.digest is None:
        return "FAIL", "there are no model files to check"
    if (gone := stores.pruned.get(subject.digest)) is not None and not stores.models.has(subject.digest):
        return "FAIL", f"its files were deleted by `lr-retune prune` as of {iso(gone.as_of)}"
    stores.verify_files(subject.digest, subject.version)
    return "PASS", f"files have the recorded digest {subject.digest[:12]}"


def _passed(_stores: Stores, subject: _Subject, _now: datetime) -> tuple[RuleStatus, str]:
    if subject.settlement is None:
        if subject.reigns:
            return "PASS", "champion by its own committed row (bootstrap or rollback)"
        return "FAIL", "no verdict"
    status: RuleStatus = subject.settlement.record["status"]
    verdicts = subject.settlement.record["judgement"]["verdicts"]
    reasons = "; ".join(v["reason"] for v in verdicts if v["code"] != NOT_ASKED)
    return status, reasons or "no gate answered"


def _fresh(stores: Stores, subject: _Subject, now: datetime) -> tuple[RuleStatus, str]:
    if subject.reigns:
        return "PASS", "champion: its verdict was used in time"
    if subject.settlement is None:
        return "FAIL", "no verdict"
    age, limit = now - subject.settlement.as_of, stores.config.gates.expires
    told = f"judged as of {iso(subject.settlement.as_of)}, valid for {format_duration(limit)}"
    return ("PASS" if age <= limit else "FAIL"), told


def _still_beaten(stores: Stores, subject: _Subject, _now: datetime) -> tuple[RuleStatus, str]:
    if subject.reigns:
        return "PASS", "it is the champion"
    if subject.is_champion:
        return "ERROR", "its promotion was not finished: run `lr-retune reconcile`"
    if subject.settlement is None:
        return "FAIL", "no verdict"
    beaten: dict[str, Any] = subject.settlement.record["champion"]
    head = stores.ledger.head(stores.name)
    if (head.head, head.epoch) == (beaten["model"], beaten["epoch"]):
        return "PASS", "the champion it met is still champion"
    return "CONFLICT", "the champion has changed since the verdict: run again"


def _alias(stores: Stores, _subject: _Subject, _now: datetime) -> tuple[RuleStatus, str]:
    moved = stores.registry_alias_moved()
    if moved is None:
        return "PASS", "the champion alias points where the ledger says"
    return (
        "TAMPERED",
        f"the champion alias points at {moved}, the ledger says version {stores.ledger.head(stores.name).version}",
    )


def _same_question(stores: Stores, subject: _Subject, _now: datetime) -> tuple[RuleStatus, str]:
    if subject.reigns:
        return "PASS", "champion: its verdict was used under the configuration of its time"
    if subject.settlement is None:
        return "FAIL", "no verdict"
    if judged_otherwise(subject.settlement, stores.config):
        return "FAIL", "judged under another configuration than this one: run again"
    return "PASS", "judged under this configuration"


def _approved(stores: Stores, subject: _Subject, now: datetime) -> tuple[RuleStatus, str]:
    entry = subject.settlement
    waits = None if entry is None else waits_of(entry.record)
    if subject.reigns or entry is None or waits is None or waits.until is None:
        return "PASS", "champion" if subject.reigns else "nobody has to approve it"
    if (said := stores.said.get(entry.key)) is not None:
        return ("PASS" if said.answer == "approved" else "FAIL"), f"{said.answer} by {said.by}: {said.why}"
    if now >= waits.until:
        return "FAIL", f"nobody approved it until {iso(waits.until)}"
    return "INCONCLUSIVE", f"waits for `lr-retune approve` until {iso(waits.until)}"


_RULES: dict[str, Callable[[Stores, _Subject, datetime], tuple[RuleStatus, str]]] = {
    "LRR501": _chain,
    "LRR502": _known,
    "LRR503": _files,
    "LRR504": _passed,
    "LRR505": _fresh,
    "LRR506": _still_beaten,
    "LRR507": _alias,
    "LRR508": _same_question,
    "LRR509": _approved,
}
