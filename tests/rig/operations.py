"""What is done to a model, and what must hold at every moment and after one reconcile."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lr_retune.errors import ConfigError
from lr_retune.stores.promotion import Stores
from tests import store_rig as made

AT = made.BORN + 13 * made.DAY
LATER = AT + 7 * made.DAY
OLD = Path(__file__).parents[1] / "fixtures" / "ledger_v1.sql"
Step = Callable[[Stores], Any]


# ── what is done ──────────────────────────────────────────────────────────────────────────────────
def born(stores: Stores) -> Any:
    with suppress(ConfigError):  # the repetition: there is a champion already
        return made.born(stores)


def promote(stores: Stores) -> Any:
    return made.promote(stores)


def rollback(stores: Stores) -> Any:
    return stores.rollback(None, "run", "worse than promised", LATER, lambda _files: True, decision="rollback-1")


def reconcile(stores: Stores) -> Any:
    return stores.reconcile(strict=True)


def upgrade(stores: Stores) -> Any:
    """Nothing more: a ledger of an older schema was carried over when it was opened."""
    return stores.ledger.schema


def half(stores: Stores) -> None:
    """A promotion that ended between its claim and the alias."""
    real = stores.registry.set_alias

    def away(name: str, alias: str, version: str) -> None:
        if alias == "champion":
            raise ConnectionError("the process ends here")
        real(name, alias, version)

    stores.registry.set_alias = away  # type: ignore[method-assign]
    with suppress(ConnectionError):
        promote(stores)


def bare(stores: Stores) -> None:
    """This machine loses its model files: they come from the registry."""
    shutil.rmtree(stores.models.folder)  # type: ignore[attr-defined]


def lost(stores: Stores) -> None:
    """The registry is lost as a whole, and with it the files of its versions."""
    folder = Path(stores.config.root)
    for name in ("mlflow.db", "mlartifacts"):
        place = folder / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    shutil.copy(folder.with_name("blank.db"), folder / "mlflow.db")


def old(folder: Path) -> None:
    """A ledger of the first schema, as another lr-retune left it, before anything of it is opened."""
    with closing(sqlite3.connect(folder / "lr_retune.db")) as connection:
        connection.executescript(OLD.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Operation:
    """Something that changes the stores, after what came before; repeating it must change nothing."""

    act: Step
    since: tuple[Step, ...] = ()
    found: Callable[[Path], None] | None = None  # what lies in the folder before anything is opened
    stores: tuple[str, ...] = ("sqlite", "postgres")
    shown: bool = True  # whether the registry has versions to agree with
    mend: Step = lambda stores: stores.reconcile()  # the one reconcile: as every run begins, or the command


OPERATIONS = {
    "bootstrap": Operation(born),
    "promote": Operation(promote, (born,)),
    "rollback": Operation(rollback, (born, promote)),
    "rollback, files fetched": Operation(rollback, (born, promote, bare)),
    "reconcile a crash": Operation(reconcile, (born, half)),
    "rebuild a lost registry": Operation(reconcile, (born, promote, lost), mend=reconcile),
    "upgrade an old ledger": Operation(upgrade, found=old, stores=("sqlite",), shown=False),
}


# ── what must hold ────────────────────────────────────────────────────────────────────────────────
def ill(stores: Stores) -> list[str]:
    """Invariants I1, I3 and I5 of the ledger that do not hold, at whatever moment."""
    name = stores.name
    found = stores.ledger.verify(name)
    moves = [e for e in stores.ledger.entries(name) if e.kind == "move"]
    if len({e.key for e in moves}) != len(moves):
        found.append("a decision moved the champion twice")
    for move in moves:
        if move.record.get("kind") != "promote":
            continue
        judged = stores.ledger.entry(name, "settlement", move.record["settlement"])
        beaten = {} if judged is None else judged.record["champion"]
        if judged is None or judged.record["status"] != "PASS" or beaten["model"] != move.record["expected"]:
            found.append(f"move {move.key[:12]} has no verdict that passed against the champion it replaced")
    return found


def unsettled(stores: Stores) -> list[str]:
    """What one reconcile must have left in order (I2, I4), after it: one champion, and all agree on it."""
    name, found = stores.name, ill(stores)
    head, seen = stores.ledger.head(name), stores.registry.alias(name, "champion")
    if seen != head.version:
        found.append(f"the alias points at {seen}, the ledger says {head.version}")
    if seen is not None:
        stores.verify_files(head.head, seen)
    found += [f"{p.kind} is still {p.state}" for p in stores.ledger.promotions(name, "PREPARED", "CLAIMED")]
    return found + [f"a second reconcile found: {note}" for note in stores.reconcile()]


def portrait(stores: Stores) -> dict[str, Any]:
    """Everything that two ways to the same end must agree in; run ids and times stand outside."""
    name, ledger, registry = stores.name, stores.ledger, stores.registry
    runs = registry._search(f"tags.`lr_retune.model` = '{name}'")  # type: ignore[attr-defined]
    names = {run.info.run_id: run.info.run_name for run in runs}
    return {
        "entries": [[e.kind, e.key, e.record] for e in ledger.entries(name)],
        "head": repr(ledger.head(name)),
        "promotions": [[p.decision, p.kind, p.state, p.version] for p in ledger.promotions(name)],
        "shown": sorted([key, outcome] for key, (outcome, _) in ledger.projected(name).items()),
        "aliases": {alias: registry.alias(name, alias) for alias in ("champion", "previous", "challenger")},
        "versions": [[s.version, s.digest, s.aliased] for s in registry.shelf(name)],
        "runs": sorted(
            [
                run.info.run_name, run.info.status, sorted(run.data.params.items()), sorted(run.data.metrics.items()),
                names.get(run.data.tags.get("mlflow.parentRunId", ""), ""),
            ]
            for run in runs
        ),
    }  # fmt: skip
