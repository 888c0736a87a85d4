"""Many promoters against one champion, round after round, each a process with its own connection."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from lr_retune.config import Config
from lr_retune.errors import ConflictError, RetuneError
from lr_retune.stores.ledger import Ledger
from lr_retune.stores.memory import MemoryRegistry
from lr_retune.stores.models import FileModels
from lr_retune.stores.promotion import Stores
from tests import store_rig as made

PROMOTERS = 8
LIFE = 100  # rounds of one model: the next ones are another model's, in the same ledger
PATIENCE = 120  # seconds that a promoter waits for the others before it gives up


class Shared(MemoryRegistry):
    """The registry in memory, served to other processes: numbers are given once, aliases to the last who writes."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = threading.Lock()

    def register(self, *words: Any) -> tuple[str, str | None]:
        with self._numbers:
            return super().register(*words)


class Far:
    """It, seen from another process."""

    shows = False

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._proxy, name)


class Manager(BaseManager):
    """The process that it lives in."""


Manager.register("Shared", Shared)


@dataclass(frozen=True)
class Told:
    """How one promoter's round ended."""

    round: int
    promoter: int
    outcome: str  # promoted, conflict, or an error in words
    model: str  # digest of its challenger
    beaten: str  # digest of the champion it was judged against


def rounds(
    folder: Path, url: str, count: int, promoters: int = PROMOTERS, *, name: str = "fraud"
) -> tuple[list[Told], list[str]]:
    """What every promoter of a new model was told, and every contradiction between that and what is stored."""
    fork = multiprocessing.get_context("fork")
    config = made.config(folder, name=name)
    with Manager(ctx=fork) as manager:
        far = Far(manager.Shared())  # type: ignore[attr-defined]
        first = _open(config, url, far)
        made.born(first)
        first.ledger._reads.dispose()  # no connection crosses a fork
        barrier = fork.Barrier(promoters)
        words = (config, url, far, barrier, count)
        workers = [fork.Process(target=_promote, args=(*words, number)) for number in range(promoters)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        told = sorted(_read(folder, promoters), key=lambda each: (each.round, each.promoter))
        last = _open(config, url, far)
        try:
            return told, list(contradictions(last, told, count, promoters))
        finally:
            last.ledger._reads.dispose()


def contradictions(stores: Stores, told: Sequence[Told], count: int, promoters: int) -> Iterator[str]:
    """One sentence per promotion that was lost, doubled, or reported and not done; and per broken row."""
    by_round = [[each for each in told if each.round == number] for number in range(count)]
    moves = stores.moves[1:]
    if len(moves) != count:
        yield f"{len(moves)} moves in {count} rounds"
    before = stores.moves[0].champion.model
    for number, (found, move) in enumerate(zip(by_round, moves, strict=False)):
        won = [each.model for each in found if each.outcome == "promoted"]
        lost = [each for each in found if each.outcome == "conflict"]
        if (len(won), len(lost)) != (1, promoters - 1):
            others = {each.outcome for each in found} - {"promoted", "conflict"}
            yield f"round {number}: {len(won)} won and {len(lost)} lost of {promoters} {sorted(others)}"
        if won != [move.champion.model]:
            yield f"round {number}: the ledger moved to another model than the one whose promoter was told so"
        if {each.beaten for each in found} != {before} or move.expected != before:
            yield f"round {number}: not everybody met the champion of the round before"
        before = move.champion.model
    head = stores.ledger.head(stores.name)
    if stores.registry.alias(stores.name, "champion") != head.version or head.head != before:
        yield "the alias, the head and the last winner differ"
    yield from stores.ledger.verify(stores.name)
    yield from (
        f"{p.decision} is still {p.state}" for p in stores.ledger.promotions(stores.name, "PREPARED", "CLAIMED")
    )


def _open(config: Config, url: str, far: Far) -> Stores:
    """With connections that stay: signing in to PostgreSQL anew would take most of a round."""
    ledger = Ledger(url, busy=60)
    pooled = sa.create_engine(ledger.url, hide_parameters=True) if not url.startswith("sqlite") else ledger._reads
    ledger._reads, ledger._writes = pooled, pooled.execution_options(writes=True)
    return Stores(ledger, far, FileModels(config.root / "models"), config)  # type: ignore[arg-type]


def _promote(config: Config, url: str, far: Far, barrier: Any, count: int, number: int) -> None:
    stores = _open(config, url, far)
    with (config.root / f"told-{number}.jsonl").open("w", encoding="utf-8") as file:
        for round_ in range(count):
            as_of = made.BORN + (round_ + 1) * made.DAY + number * made.DAY / 24
            champion = stores.champion(as_of)
            rate = 0.01 + 1e-6 * (PROMOTERS * round_ + number)
            words = (made.seen(champion, as_of), made.plan(as_of), made.result(stores, rate), made.judgement())
            barrier.wait(PATIENCE)
            outcome = _outcome(lambda words=words: stores.settle(*words).outcome)
            model = words[2].challenger.model
            file.write(json.dumps([round_, number, outcome, model, champion.model]) + "\n")
            barrier.wait(PATIENCE)


def _outcome(settle: Callable[[], str]) -> str:
    try:
        return settle()
    except ConflictError:
        return "conflict"
    except RetuneError as error:
        return str(error)


def _read(folder: Path, promoters: int) -> Iterator[Told]:
    for number in range(promoters):
        for line in (folder / f"told-{number}.jsonl").read_text(encoding="utf-8").splitlines():
            yield Told(*json.loads(line))
