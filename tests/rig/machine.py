"""Promotions, rollbacks, hands on the alias and crashes in any order, held against a list of who was champion."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import exc

from lr_retune.errors import ConflictError, DependencyError, HeldError, RetuneError
from lr_retune.records import Champion
from lr_retune.stores import ledger as ledgers
from lr_retune.stores.approvals import approve, reject
from lr_retune.stores.freeze import lift
from lr_retune.stores.ledger import Ledger
from lr_retune.stores.memory import MemoryRegistry
from lr_retune.stores.models import MemoryModels
from lr_retune.stores.promotion import Stores
from tests import store_rig as made

CALLS = {"find", "register", "alias", "set_alias", "versions", "download", "log_decision", "log_monitor", "sweep"}
KINDS = ("run", "run", "rollback", "yes")
REACH = 24  # calls of the longest operation, a little more
FAULTS = st.tuples(st.integers(1, REACH), st.sampled_from(["before", "after", "lost"]))


class CrashError(BaseException):
    """The process ends here."""


class Fuse:
    """Burns at the n-th outside call from now: before it, after it, or instead of its answer."""

    def __init__(self) -> None:
        self.left, self.mode = 0, ""

    def set(self, left: int = 0, mode: str = "") -> None:
        """Zero calls: never."""
        self.left, self.mode = left, mode

    def through(self, call: Callable[..., Any], error: Exception) -> Callable[..., Any]:
        """The call, with the fuse in it."""

        def fused(*words: Any) -> Any:
            self.left -= 1
            here = self.left == 0
            if here and self.mode == "before":
                raise CrashError
            found = call(*words)
            if here and self.mode == "after":
                raise CrashError
            if here and self.mode == "lost":
                raise error
            return found

        return fused


class FusedRegistry(MemoryRegistry):
    """A registry in memory with a fuse in every call."""

    fuse = Fuse()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name not in CALLS:
            return found
        return super().__getattribute__("fuse").through(found, DependencyError("the answer was lost"))


class FusedLedger(Ledger):
    """A ledger with a fuse in every transaction that writes."""

    fuse = Fuse()

    def _transact(self, work: Any) -> Any:
        lost = exc.OperationalError("COMMIT", None, Exception("the answer was lost"), connection_invalidated=True)
        return self.fuse.through(super()._transact, lost)(work)


class Promotions(RuleBasedStateMachine):
    """The model: digests in the order they became champion, and which of them a rollback took out."""

    def __init__(self) -> None:
        super().__init__()
        self._pause, ledgers.PAUSE = ledgers.PAUSE, 0.0
        self.fuse = Fuse()
        self.registry, self.models = FusedRegistry(), MemoryModels()
        self.ledger = FusedLedger("sqlite://")
        self.registry.fuse = self.ledger.fuse = self.fuse
        self.asks = False
        self.line: list[str] = []
        self.out: set[str] = set()
        self.waiting: dict[str, tuple[str, int]] = {}  # passed and not promoted: decision → model, epoch it beat
        self.past: list[Champion] = []
        self.rates: list[float] = []
        self.by_hand = False
        self.day = 1

    def teardown(self) -> None:
        ledgers.PAUSE = self._pause

    # ── what is done ──────────────────────────────────────────────────────────────────────────────
    @initialize(mode=st.sampled_from(["auto", "approval"]))
    def birth(self, mode: str) -> None:
        words = {"mode": mode, "approval_expires": "3650d"}
        self.config = made.config(tempfile.gettempdir(), promote=words, gates={"expires": "3650d"})
        self.asks = mode == "approval"
        self.stores = self._opened()
        self.line.append(made.born(self.stores, self._rate()).model)

    @rule(status=st.sampled_from(["PASS", "PASS", "PASS", "FAIL", "INCONCLUSIVE"]), again=st.booleans())
    def run(self, status: str, again: bool) -> None:
        """A run judges a challenger; repeated, it answers the same."""
        run, model, decision = self._run(self._rate(), status)
        if status != "PASS":
            assert run() in ("rejected", "inconclusive")
            return
        if self.asks:
            assert run() == "awaiting_approval"
        elif self.by_hand:
            self._refused(run, HeldError)
        else:
            assert run() == "promoted"
            self.line.append(model)
            assert not again or run() == "promoted"
            return
        self.waiting[decision] = (model, len(self.line))

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def offer_again(self, data: st.DataObject) -> None:
        """A model that was rolled back does not come back on its own."""
        model = data.draw(st.sampled_from(sorted(self.out)))
        rate = next(rate for rate in self.rates if made.result(self.stores, rate).challenger.model == model)
        run, _, _ = self._run(rate, "PASS")
        assert run() == "rejected"

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def lift(self, data: st.DataObject) -> None:
        """It may, on a person's word."""
        model = data.draw(st.sampled_from(sorted(self.out)))
        assert lift(self.stores, model, actor="ann", reason="was not its fault", now=self._tomorrow())[1] is not None
        self.out.discard(model)

    @precondition(lambda self: len(self.past) > 1)
    @rule(data=st.data())
    def run_late(self, data: st.DataObject) -> None:
        """A challenger that beat somebody who is champion no longer."""
        old = data.draw(st.sampled_from(self.past))
        if old.epoch == len(self.line):
            return
        run, model, decision = self._run(self._rate(), "PASS", old)
        if self.asks:
            assert run() == "awaiting_approval"
        else:
            self._refused(run, ConflictError)
        self.waiting[decision] = (model, old.epoch)

    @rule()
    def roll_back(self) -> None:
        back, target = self._rollback()
        if target is None or self.by_hand:
            self._refused(back, HeldError)
        else:
            back()
            self._rolled(target)

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def say_yes(self, data: st.DataObject) -> None:
        """To one that passed and waits; who is not the champion's successor any more meets a conflict."""
        decision = data.draw(st.sampled_from(sorted(self.waiting)))
        model, epoch = self.waiting[decision]
        yes = self._yes(decision)
        if epoch != len(self.line):
            self._refused(yes, ConflictError)
        elif self.by_hand:
            self._refused(yes, HeldError)
        else:
            yes()
            self.line.append(model)
            del self.waiting[decision]

    @precondition(lambda self: self.asks and self.waiting)
    @rule(data=st.data())
    def say_no(self, data: st.DataObject) -> None:
        """The first answer stands."""
        decision = data.draw(st.sampled_from(sorted(self.waiting)))
        entry = self.stores.settlement(decision)
        said = self.stores.said.get(entry.key)
        words = {"actor": "bob", "reason": "not today", "now": self._tomorrow()}
        if said is not None and said.answer == "approved":
            self._refused(lambda: reject(self.stores, decision, **words), ConflictError)
            return
        reject(self.stores, decision, **words)
        self._refused(self._yes(decision), ConflictError)
        del self.waiting[decision]

    @rule(data=st.data())
    def move_the_alias(self, data: st.DataObject) -> None:
        """By hand, to any version; back to the champion's, too."""
        version = data.draw(st.sampled_from(self.registry.versions("fraud")))
        self.registry.set_alias("fraud", "champion", version)
        self.by_hand = version != self.ledger.head("fraud").version

    @rule()
    def reconcile(self) -> None:
        self.stores = self._opened()
        told = self.stores.reconcile()
        assert any("by hand" in note for note in told) == self.by_hand

    @precondition(lambda self: not self.by_hand)
    @rule(faults=st.lists(FAULTS, min_size=1, max_size=3), kind=st.sampled_from(KINDS), again=st.booleans())
    def crash(self, faults: list[tuple[int, str]], kind: str, again: bool) -> None:
        """In something that moves the champion, then in the reconciles after it; the last one is left alone."""
        act, target, decision = self._any(kind)
        if target is None:
            return
        self._burn(act, faults[0])
        for fault in faults[1:]:
            self._burn(lambda: self.stores.reconcile(), fault)
        self.stores = self._opened()
        self.stores.reconcile()
        done = self.ledger.head("fraud").epoch > len(self.line)
        assert not (done and self.asks and kind == "run")
        if again:
            act()
        settled = kind == "run" and self.stores.settlement(decision) is not None
        if done or (again and not (self.asks and kind == "run")):
            self._rolled(target) if kind == "rollback" else self.line.append(target)
            self.waiting.pop(decision, None)
        elif settled:
            self.waiting[decision] = (target, len(self.line))

    # ── what must hold ────────────────────────────────────────────────────────────────────────────
    @invariant()
    def the_ledger_knows_the_champion(self) -> None:
        head = self.ledger.head("fraud")
        assert (head.head, head.epoch) == (self.line[-1], len(self.line))
        assert self.ledger.promotions("fraud", "PREPARED", "CLAIMED") == []
        assert self.ledger.verify("fraud") == []
        champion = self.stores.champion(made.BORN + (self.day + 1) * made.DAY)
        assert champion.model == self.line[-1]
        if champion.epoch not in [each.epoch for each in self.past]:
            self.past.append(champion)

    @invariant()
    def the_alias_shows_the_champion_unless_somebody_moved_it(self) -> None:
        seen, head = self.registry.alias("fraud", "champion"), self.ledger.head("fraud")
        assert (seen != head.version) == self.by_hand
        if not self.by_hand:
            self.stores.verify_files(head.head, seen)

    # ── inside ────────────────────────────────────────────────────────────────────────────────────
    def _opened(self) -> Stores:
        return Stores(self.ledger, self.registry, self.models, self.config)

    def _rate(self) -> float:
        self.rates.append(0.01 + len(self.rates) / 1000)
        return self.rates[-1]

    def _run(self, rate: float, status: str, beaten: Champion | None = None) -> tuple[Callable[[], str], str, str]:
        at = self._tomorrow()
        days = self.day
        met = beaten or self.stores.champion(at)
        model = made.result(self.stores, rate).challenger.model

        def run() -> str:
            return str(made.promote(self.stores, days, rate, status, met).outcome)

        return run, model, made.seen(met, at).decision.id

    def _rollback(self) -> tuple[Callable[[], Any], str | None]:
        at = self._tomorrow()
        id = f"rollback-{self.day}"
        gone = {self.line[-1], *self.out}
        target = next((model for model in self.line[::-1] if model not in gone), None)
        return lambda: self.stores.rollback(None, "run", "worse", at, lambda _: True, decision=id), target

    def _yes(self, decision: str) -> Callable[[], Any]:
        now = self._tomorrow()
        if self.asks:
            return lambda: approve(self.stores, decision, actor="ann", reason="she says so", now=now)
        return lambda: self.stores.promote(decision, "ann", "she says so", now)

    def _any(self, kind: str) -> tuple[Callable[[], Any], str | None, str]:
        if kind == "rollback":
            return (*self._rollback(), "")
        if kind == "run":
            return self._run(self._rate(), "PASS")
        fresh = [id for id, (_, epoch) in self.waiting.items() if epoch == len(self.line)]
        return (self._yes(fresh[0]), self.waiting[fresh[0]][0], fresh[0]) if fresh else (len, None, "")

    def _tomorrow(self) -> datetime:
        self.day += 1
        return made.BORN + self.day * made.DAY

    def _rolled(self, target: str) -> None:
        self.out.add(self.line[-1])
        self.line.append(target)

    def _burn(self, act: Callable[[], Any], fault: tuple[int, str]) -> None:
        self.fuse.set(*fault)
        with suppress(CrashError, RetuneError):
            act()
        self.fuse.set()
        self.stores = self._opened()

    def _refused(self, act: Callable[[], Any], error: type[RetuneError]) -> None:
        try:
            act()
        except error:
            return
        raise AssertionError(f"a {error.__name__} was due")
