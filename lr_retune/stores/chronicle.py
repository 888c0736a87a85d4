"""The ledger of one model as a story: decisions, settlements and moves, read once and then only forward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from lr_retune.records import (
    Acceptance,
    Action,
    Champion,
    Cost,
    History,
    Looked,
    Outcome,
    PastDecision,
    Probe,
    Searched,
    Trial,
    Waits,
)
from lr_retune.stores.bundle import champion_from, span_from
from lr_retune.stores.journal import trial_from
from lr_retune.stores.keys import BORN
from lr_retune.stores.ledger import Entry, Kind, Ledger

# What an action amounts to when nothing has to be judged.
_UNJUDGED: dict[Action, Outcome] = {"keep": "kept", "fix_feed": "held", "ask": "held"}
_JUDGED: dict[str, Outcome] = {"FAIL": "rejected", "ERROR": "rejected", "INCONCLUSIVE": "inconclusive"}


@dataclass(frozen=True, slots=True)
class Move:
    """One change of the champion."""

    id: str
    kind: Kind
    as_of: datetime
    person: bool  # asked for by a person: about now, whatever as_of a run simulates
    expected: str
    champion: Champion

    def visible(self, as_of: datetime) -> bool:
        """Whether a run at ``as_of`` may know it; its own promotion it may not, so it can be repeated."""
        return self.person or self.as_of < as_of


@dataclass(frozen=True, slots=True)
class Settlement:
    """One judged challenger."""

    key: str
    decision: str
    status: str
    as_of: datetime
    family: str
    strategy: str
    trials: tuple[Trial, ...]  # without their curves
    searched: Searched | None  # None: a refit
    champion: str = ""  # digest it met; empty: a first model met nobody
    looked: Looked | None = None  # None: nobody could have been promoted
    waits: Waits | None = None  # None: a PASS is promoted at once


@dataclass(frozen=True, slots=True)
class Pause:
    """A person's word that nothing changes for a while."""

    until: datetime
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Frozen:
    """A model that was rolled back: it never is champion again, unless a person lifts it."""

    as_of: datetime
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Said:
    """A person's answer about a challenger that waits for one: the first one stands."""

    answer: Literal["approved", "rejected"]
    as_of: datetime
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Pruned:
    """When a model's files were deleted on purpose, and by whom."""

    as_of: datetime
    by: str


class Chronicle:
    """Reads new entries only: a replay of a thousand ticks parses each entry once."""

    def __init__(self, ledger: Ledger, model: str) -> None:
        self._ledger, self._model, self._seq = ledger, model, 0
        self._decisions: list[PastDecision] = []
        self._settlements: dict[str, Settlement] = {}  # by key
        self._settled_by: dict[str, str] = {}  # decision → settlement key
        self._moves: list[Move] = []
        self._frozen: dict[str, Frozen] = {}
        self._adopted: set[str] = set()  # decisions that took over what a team had registered
        self._acceptances: list[Acceptance] = []
        self._pause: Pause | None = None
        self._pruned: dict[str, Pruned] = {}
        self._pruned_runs: set[str] = set()
        self._said: dict[str, Said] = {}  # by settlement key

    @property
    def moves(self) -> list[Move]:
        """Every move, oldest first."""
        self._read_on()
        return self._moves

    @property
    def settlements(self) -> list[Settlement]:
        """Every settlement, oldest first."""
        self._read_on()
        return list(self._settlements.values())

    @property
    def adopted(self) -> set[str]:
        """Decisions that took over a version which a team had registered."""
        self._read_on()
        return self._adopted

    @property
    def frozen(self) -> Mapping[str, Frozen]:
        """Digests that a rollback took out of production and that nobody has lifted since."""
        self._read_on()
        return self._frozen

    @property
    def pause(self) -> Pause | None:
        """The newest pause that was not taken back, over or not."""
        self._read_on()
        return self._pause

    @property
    def said(self) -> Mapping[str, Said]:
        """Settlement key → what a person answered."""
        self._read_on()
        return self._said

    @property
    def pruned(self) -> Mapping[str, Pruned]:
        """Digests whose files were deleted by `lr-retune prune`."""
        self._read_on()
        return self._pruned

    @property
    def pruned_runs(self) -> set[str]:
        """The registry's runs that `lr-retune prune` deleted."""
        self._read_on()
        return self._pruned_runs

    def accepted(self, as_of: datetime, champion: Champion) -> Acceptance | None:
        """What was accepted about a changed feed and the champion has not learned, if anything.

        The newest acceptance, with what earlier ones waive: one that was rolled back to learned none.
        """
        self._read_on()
        known = [each.key for each in self._acceptances]
        old = champion.contract.accepted
        open_ = self._acceptances[known.index(old) + 1 :] if old in known else self._acceptances
        newer = [each for each in open_ if each.as_of <= as_of]
        if not newer:
            return None
        return replace(newer[-1], waived=tuple(sorted({pair for each in newer for pair in each.waived})))

    def settlement_of(self, decision: str) -> Settlement | None:
        """The newest settlement of a decision, or None."""
        self._read_on()
        key = self._settled_by.get(decision)
        return None if key is None else self._settlements[key]

    def looks(self, key: str) -> tuple[Looked, ...]:
        """Looks filed before the settlement of this key, all where there is none yet, oldest first.

        In the ledger's order, whatever time a run simulates: ticks that judged somebody stay used, and a repeated run
        finds what it found at first.
        """
        self._read_on()
        known = list(self._settlements)
        before = known[: known.index(key)] if key in known else known
        return tuple(found for each in before if (found := self._settlements[each].looked) is not None)

    def searched(self, as_of: datetime, family: str) -> tuple[tuple[Trial, ...], ...]:
        """Trials of each search strictly before ``as_of``, oldest first; a refit is none."""
        past = [
            s for s in self.settlements if s.as_of < as_of and s.family == family and s.strategy != "refit" and s.trials
        ]
        return tuple(each.trials for each in sorted(past, key=lambda each: each.as_of))

    def outcome(self, settlement: Settlement) -> Outcome | None:
        """What became of a judged challenger; None: it passed and was not promoted."""
        if settlement.status in ("PASS", BORN):
            return "promoted" if any(move.id == settlement.decision for move in self.moves) else self._waits(settlement)
        return _JUDGED[settlement.status]

    def _waits(self, settlement: Settlement) -> Outcome | None:
        if settlement.waits is None:
            return None
        if settlement.waits.mode == "suggest":
            return "suggested"
        said = self._said.get(settlement.key)
        return "rejected" if said is not None and said.answer == "rejected" else "awaiting_approval"

    def history(self, as_of: datetime) -> History:
        """Everything strictly before ``as_of``, so that a run can be repeated with the same answer."""
        self._read_on()
        past = sorted((d for d in self._decisions if d.as_of < as_of), key=lambda d: d.as_of)
        born = [move.as_of for move in self._moves if move.kind == "bootstrap"]
        back = [move.as_of for move in self._moves if move.kind == "rollback" and move.as_of < as_of]
        decisions = tuple(replace(d, outcome=self._became(d)) for d in past)
        searched = [s.searched for s in self._settlements.values() if s.searched is not None and s.as_of < as_of]
        last = max(searched, key=lambda each: each.as_of, default=None)
        found = History(decisions, min(born, default=None), max(back, default=None), searched=last)
        if (held := self._pause) is None:
            return found
        return replace(found, paused_until=held.until, paused_by=held.by, paused_why=held.why)

    def _became(self, decision: PastDecision) -> Outcome | None:
        if decision.action in _UNJUDGED:
            return _UNJUDGED[decision.action]
        if decision.action == "rollback":
            return "rolled_back" if any(move.id == decision.id for move in self._moves) else None
        found = self.settlement_of(decision.id)
        return None if found is None else self.outcome(found)

    def _read_on(self) -> None:
        for entry in self._ledger.entries(self._model, after=self._seq):
            self._seq = entry.seq
            _READERS.get(entry.kind, lambda _self, _entry: None)(self, entry)

    def _decision(self, entry: Entry) -> None:
        found = entry.record["decision"]
        codes = tuple(reason["code"] for reason in found["reasons"])
        self._decisions.append(PastDecision(found["id"], entry.as_of, found["action"], codes, **_seen(entry.record)))

    def _settlement(self, entry: Entry) -> None:
        decision, result = entry.record["decision"]["id"], entry.record["result"]
        trials = tuple(trial_from(trial | {"curve": ()}) for trial in result["trials"])
        met = (entry.record.get("champion") or {}).get("model", "")
        made = (
            result["family"],
            result["strategy"],
            trials,
            _searched(entry),
            met,
            _looked(entry),
            waits_of(entry.record),
        )
        self._settlements[entry.key] = Settlement(entry.key, decision, entry.record["status"], entry.as_of, *made)
        self._settled_by[decision] = entry.key

    def _adoption(self, entry: Entry) -> None:
        self._settled_by[entry.key] = entry.record["settlement"]

    def _acceptance(self, entry: Entry) -> None:
        found = entry.record
        waived = tuple((column, code) for column, code in found["waived"])
        self._acceptances.append(Acceptance(entry.key, entry.as_of, found["version"], dict(found["columns"]), waived))

    def _move(self, entry: Entry) -> None:
        record: Mapping[str, Any] = entry.record
        champion = champion_from(record["champion"])
        self._moves.append(Move(entry.key, record["kind"], entry.as_of, record["person"], record["expected"], champion))
        if record.get("adopted") is not None:
            self._adopted.add(champion.decision)
        if record["kind"] == "rollback":
            self._frozen[record["expected"]] = Frozen(entry.as_of, record.get("actor", ""), record.get("reason", ""))

    def _lift(self, entry: Entry) -> None:
        self._frozen.pop(entry.record["digest"], None)

    def _paused(self, entry: Entry) -> None:
        record = entry.record
        self._pause = Pause(datetime.fromisoformat(record["until"]), record["actor"], record["reason"])

    def _resumed(self, _entry: Entry) -> None:
        self._pause = None

    def _approval(self, entry: Entry) -> None:
        record = entry.record
        self._said[entry.key] = Said(record["answer"], entry.as_of, record["actor"], record["reason"])

    def _prune(self, entry: Entry) -> None:
        self._pruned |= {digest: Pruned(entry.as_of, entry.record["actor"]) for digest in entry.record["models"]}
        self._pruned_runs |= set(entry.record["runs"])


def _seen(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a decision was about, as far as later ones ask."""
    facts = record["facts"]
    loss, ranking = facts["loss"] or {}, facts.get("ranking") or {}
    rose = ranking if ranking.get("alarm") and not loss.get("alarm") else loss
    probe, since = facts.get("probe"), rose.get("since")
    return {
        "champion": facts["champion"],
        "since": None if since is None else datetime.fromisoformat(since),
        "level": loss.get("level", loss.get("now")),
        "probe": None if probe is None else probe_from(probe),
        "question": facts.get("question", ""),
        "suspected": any(signal["raised"] for signal in (facts.get("suspicion") or {}).get("signals", ())),
    }


def waits_of(record: Mapping[str, Any]) -> Waits | None:
    """What a settlement waits for; None where its PASS is promoted at once."""
    found = record.get("waits")
    return None if found is None else Waits(found["mode"], found["until"] and datetime.fromisoformat(found["until"]))


def probe_from(record: Mapping[str, Any]) -> Probe:
    """A probe as the ledger keeps it."""
    times = {name: record[name] and datetime.fromisoformat(record[name]) for name in ("as_of", "cut")}
    return Probe(**{**record, **times, "cost": Cost(**record["cost"])})


def _searched(entry: Entry) -> Searched | None:
    """What the next decision may ask of a search; a refit is none, nor is a challenger judged again."""
    result, facts = entry.record["result"], entry.record.get("facts") or {}
    if result["strategy"] == "refit" or not result["trials"]:
        return None
    won = result["challenger"]
    below = [t for t in result["trials"] if won is None or t["learning_rate"] < won["learning_rate"]]
    nearest = max(below, key=lambda t: t["learning_rate"], default=None)
    return Searched(
        as_of=entry.as_of,
        rows=entry.record["plan"]["rows"]["train"],
        spread=(facts.get("loss") or {}).get("spread"),
        at_wall=result["at_wall"],
        starved=nearest is not None and nearest["state"] == "starved",
        rate_effect=_found(entry.record["judgement"]),
    )


def _looked(entry: Entry) -> Looked | None:
    """Whom a settlement judged on which ticks; those from before looks were counted spent all of their alpha."""
    record, challenger = entry.record, entry.record["result"]["challenger"]
    look = record["judgement"].get("look")
    if record["status"] == BORN or challenger is None or (look is not None and not look["counts"]):
        return None
    return Looked(span_from(record["plan"]["holdout"]), challenger["model"])


def _found(judgement: Mapping[str, Any]) -> float | None:
    """What the new rate brought, where that is no noise; records without errors claim nothing."""
    rate = ((judgement.get("origin") or {}).get("effects") or {}).get("rate") or {}
    return rate["value"] if rate.get("claimed") else None


_READERS = {
    "decision": Chronicle._decision,
    "settlement": Chronicle._settlement,
    "adoption": Chronicle._adoption,
    "move": Chronicle._move,
    "contract": Chronicle._acceptance,
    "pause": Chronicle._paused,
    "resume": Chronicle._resumed,
    "prune": Chronicle._prune,
    "approval": Chronicle._approval,
    "lift": Chronicle._lift,
}
