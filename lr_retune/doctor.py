"""`lr-retune doctor`: one look after the other at machine, stores and feed; each within bounds, and none writes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from lr_retune import checks, doctor_machine, doctor_notify, doctor_stores
from lr_retune.checks import Found, Problem, blocking, gathered
from lr_retune.config import Config
from lr_retune.console import load
from lr_retune.doctor_machine import Case, Machine
from lr_retune.errors import DependencyError, RetuneError

# Integrity before conflict before dependency before feed before configuration before stale before held.
GRAVEST = (6, 5, 4, 3, 2, 1, 10, 70)
LONG = 4  # times the patience: for a look that reads the feed or imports half the world


@dataclass(frozen=True, slots=True)
class Look:
    """One question, and what has to answer before it can be asked."""

    name: str
    about: str
    ask: Callable[[Case], Iterator[Found]]
    needs: tuple[str, ...] = ()
    long: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What one look found."""

    look: str
    about: str
    state: Literal["ok", "note", "problem", "skipped"]
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All looks, in order, and the gravest exit code."""

    looks: tuple[Seen, ...]
    code: int

    @property
    def problems(self) -> list[Problem]:
        return [problem for seen in self.looks for problem in seen.problems]


def examine(path: Path, time: Callable[[Config], datetime], machine: Machine | None = None) -> Diagnosis:
    """Ask everything; a look that fails or hangs hides no other.

    Parameters
    ----------
    path
        The retune.toml.
    time
        Configuration to now.
    machine
        What is known of the machine; the real one by default.
    """
    case = Case(machine or Machine())
    seen: list[Seen] = []
    codes: set[int] = set()
    told: set[str] = set()
    for look in (*_BEFORE, Look("config", "retune.toml is read", lambda case: _configured(case, path, time)), *_AFTER):
        if away := [need for need in look.needs if need not in case.answers]:
            seen.append(Seen(look.name, f"not asked: {_SAID[away[0]]}", "skipped"))
            continue
        heard = _bounded(look, case)
        found = [f for f in heard if f[0]["what"] not in told]
        told |= {problem["what"] for problem, _ in found}
        codes |= {code for _, code in found}
        if heard and not found:
            seen.append(Seen(look.name, f"not asked: {heard[0][0]['what']}", "skipped"))
        else:
            about = f"{look.about}{case.details.get(look.name, '')}"
            seen.append(Seen(look.name, about, _state(found), tuple(problem for problem, _ in found)))
    return Diagnosis(tuple(seen), gravest(codes))


def gravest(codes: set[int]) -> int:
    """The exit code that stands for several."""
    return next((code for code in GRAVEST if code in codes), 0)


def _state(found: list[Found]) -> Literal["ok", "note", "problem"]:
    if not found:
        return "ok"
    return "problem" if any(problem["blocks"] for problem, _ in found) else "note"


def _configured(case: Case, path: Path, time: Callable[[Config], datetime]) -> Iterator[Found]:
    case.config = load(path)
    case.now = time(case.config)
    case.answers.add("config")
    yield from ()


def _bounded(look: Look, case: Case) -> list[Found]:
    """A look in a thread of its own: a server that never answers is left behind when the patience is over."""
    found: list[Found] = []
    limit = case.machine.patience * (LONG if look.long else 1)

    def work() -> None:
        try:
            found.extend(gathered(look.name, look.ask(case)))
        except Exception as error:  # noqa: BLE001 - a look that breaks is told and hides no other
            found.append(blocking(look.name, _broken(look, error)))

    thread = threading.Thread(target=work, name=f"look-{look.name}", daemon=True)
    thread.start()
    thread.join(limit)
    if not thread.is_alive():
        return found
    told = DependencyError(
        f"looking whether {look.about} did not end within {limit:g} s",
        why="something underneath hangs or is very slow",
        fix="see `lr-retune check`, which takes its time" if look.long else "see what the other lines say",
    )
    return [*found, blocking(look.name, told)]


def _broken(look: Look, error: Exception) -> RetuneError:
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return DependencyError(f"cannot read{where}", why=error.strerror or str(error), fix="mend it")
    return RetuneError(
        f"the look {look.name} ended with {type(error).__name__}: {error}",
        why="this is a bug in lr-retune",
        fix="run again with LR_RETUNE_DEBUG=1 and report what it prints",
    )


def _shared(name: str) -> Callable[[Case], Iterator[Found]]:
    """A look of `lr-retune check`."""
    return lambda case: checks.LOOKS[name](case.config, case.now)


_SAID = {
    "config": "retune.toml cannot be read",
    "ledger": "there is no ledger that answers",
    "registry": "MLflow does not answer",
    "secrets": "a secret is not set",
}
_BEFORE = (
    Look("libraries", "every library has a version that works", doctor_machine.libraries),
    Look("timezones", "time zones are known", doctor_machine.timezones),
)
_AFTER = (
    Look("secrets", "every secret that retune.toml names is set", doctor_stores.secrets, ("config",)),
    Look("plugins", "every plug-in is installed and loads", _shared("plugins"), ("config",), long=True),
    Look("folders", "what must be written can be", doctor_stores.folders, ("config", "secrets")),
    Look("disk", "the disk has room", doctor_stores.disk, ("config", "secrets")),
    Look("database", "the ledger's database is sound and free", doctor_stores.database, ("config", "secrets")),
    Look("mlflow", "MLflow is sound and answers", doctor_stores.mlflow, ("config", "secrets")),
    Look("ledger", "the ledger's hash chain holds", _shared("ledger"), ("ledger",)),
    Look("unfinished", "no crash left anything half done", doctor_stores.unfinished, ("ledger",)),
    Look("registry", "the alias is where the ledger says", _shared("registry"), ("ledger", "registry"), long=True),
    Look("models", "the model files are what was judged", doctor_stores.models, ("ledger",)),
    Look("schedule", "somebody looks at every tick", doctor_stores.schedule, ("ledger",)),
    Look("data", "the feed can be read and keeps its contract", _shared("data"), ("config", "secrets"), long=True),
    Look("clock", "no row lies in the future", doctor_stores.clock, ("config", "secrets"), long=True),
    Look("prefect", "Prefect answers, where PREFECT_API_URL names a server", doctor_machine.prefect),
    Look("notify", "notifications arrive, where [notify] asks for them", doctor_notify.notify, ("config",)),
    Look("ports", "no server of ours listens to the world", doctor_stores.ports, ("config", "secrets")),
)
