"""Kills an operation at every point and examines what is left: how, where, and what came of it."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from lr_retune.errors import RetuneError
from lr_retune.stores import ledger
from tests.rig.operations import OPERATIONS, Operation, born, ill, portrait, promote, reconcile, rollback, unsettled
from tests.rig.place import Place, in_child, told
from tests.rig.points import Points
from tests.rig.witness import Witness

CALLS = ("before", "after", "lost")


@dataclass(frozen=True)
class Fault:
    """One thing that may go wrong, and what it left behind that it should not."""

    operation: str
    point: int
    call: str
    mode: str
    state: int  # how many points had changed something: kills with the same count leave the same bytes
    wrong: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.operation}: {self.mode} {self.call}, point {self.point}"


@dataclass(frozen=True)
class Course:
    """An operation that nothing disturbed."""

    calls: list[str]
    wrote: list[int]
    statements: list[str]
    bare: list[str]
    end: dict[str, Any]

    def faults(self, name: str) -> Iterator[Fault]:
        """Every call in every mode, and every statement that changes rows."""
        for point, call in enumerate(self.calls, 1):
            after = self.wrote[point - 1]
            before = self.wrote[point - 2] if point > 1 else 0
            for mode, state in zip(CALLS, (before, after, after), strict=True):
                yield Fault(name, point, call, mode, state)
        for point, word in enumerate(self.statements, 1):
            yield Fault(name, point, word, "torn", -1)


class Rig:
    """Forks a child per fault from one process that has imported and warmed everything."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        scratch = folder / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        tempfile.tempdir = str(scratch)
        ledger.PAUSE = 0.0  # nobody restarts meanwhile
        self.points = Points().install()
        self.place = Place(folder / "place", url)
        self._answer = folder / "answer.json"
        self._whole: dict[str, Course] = {}
        self._at = ""

    def warm(self) -> Rig:
        """Import and compile all there is to, so that no child does."""
        self.place.clear()
        stores = self.place.open()
        stores.registry.alias(stores.name, "champion")
        shutil.copy(self.place.live / "mlflow.db", self.place.blank)
        for step in (born, promote, rollback, reconcile):
            step(stores)
        portrait(stores)
        client = stores.registry._client  # type: ignore[attr-defined]
        for part in (client._tracking_client, client._get_registry_client()):
            part.store.engine.dispose()  # a child must open the file that lies there then
        stores.ledger._reads.dispose()
        gc.collect()
        gc.freeze()
        return self

    def move(self, url: str) -> Rig:
        """To a ledger in another, empty database."""
        self.place = self.place.beside(url)
        self._whole, self._at = {}, ""
        return self

    def course(self, name: str, without: str = "") -> Course:
        """Run an operation undisturbed under the eyes of the witness; ``without`` the point of one call."""
        operation = self._prepare(name)

        def work() -> dict[str, Any]:
            if without:
                self.points.forget(without)
            witness = Witness(self.points, self.place.live)
            self.points.arm()
            operation.act(self.place.open())
            witness.last()
            points = self.points
            return {
                "calls": points.names, "statements": points.statements, "wrote": witness.wrote, "bare": witness.bare
            }  # fmt: skip

        seen = told(work, self._answer)
        found = told(lambda: self._examine(operation), self._answer)
        if found["wrong"]:
            raise AssertionError(f"an undisturbed {name} is not whole: {found['wrong']}")
        return Course(**seen, end=found["end"])

    def courses(self, names: Sequence[str]) -> dict[str, Course]:
        """The undisturbed courses of several operations, each run once."""
        for name in names:
            if name not in self._whole:
                self._whole[name] = self.course(name)
        return {name: self._whole[name] for name in names}

    def run(self, faults: Sequence[Fault]) -> Iterator[Fault]:
        """The faults as they ended, in order of their operations."""
        for fault in faults:
            if self._at != fault.operation:
                self._prepare(fault.operation)
            self.place.restore()
            yield replace(fault, wrong=tuple(self._fault(fault)))

    def _prepare(self, name: str) -> Operation:
        operation, self._at = OPERATIONS[name], name
        self.place.clear()
        if operation.found is not None:
            operation.found(self.place.live)
        for earlier in operation.since:
            told(lambda earlier=earlier: earlier(self.place.open()) and None, self._answer)
        self.place.save()
        return operation

    def _fault(self, fault: Fault) -> list[str]:
        operation = OPERATIONS[fault.operation]

        def work() -> None:
            self.points.arm(fault.point, fault.mode)
            with suppress(*((RetuneError,) if fault.mode == "lost" else ())):
                operation.act(self.place.open())

        status = in_child(work, self._answer)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if killed != (fault.mode != "lost") or (not killed and status):
            return [f"the fault did not happen: status {status}"]
        try:
            found = told(lambda: self._examine(operation), self._answer)
        except RuntimeError:
            return ["the examination failed"]
        wrong: list[str] = found["wrong"]
        end = self._whole[fault.operation].end
        return wrong + [f"another end: {key}" for key in end if end[key] != found["end"][key]]

    def _examine(self, operation: Operation) -> dict[str, Any]:
        """The state a fault left, after one reconcile, and after the operation was repeated."""
        self.points.arm()
        stores = self.place.open()
        wrong = [f"before reconcile: {each}" for each in ill(stores)]
        if not operation.shown:
            return {"wrong": wrong, "end": {"entries": [[e.kind, e.key] for e in stores.ledger.entries(stores.name)]}}
        operation.mend(stores)
        wrong += unsettled(stores)
        operation.act(stores)
        wrong += [f"repeated: {each}" for each in unsettled(stores)]
        return {"wrong": wrong, "end": portrait(stores)}


def drawn(faults: Sequence[Fault], share: float, seed: int) -> list[Fault]:
    """A share of the faults, the same for the same seed."""
    count = round(share * len(faults))
    chosen = set(Random(seed).sample(range(len(faults)), count))
    return [fault for number, fault in enumerate(faults) if number in chosen]


def apart(faults: Sequence[Fault]) -> list[Fault]:
    """Without kills that leave the very bytes of an earlier one: nothing was changed between the two."""
    seen: set[tuple[str, int]] = set()
    found = []
    for fault in faults:
        killed = fault.mode in ("before", "after")
        if killed and (fault.operation, fault.state) in seen:
            continue
        if killed:
            seen.add((fault.operation, fault.state))
        found.append(fault)
    return found
