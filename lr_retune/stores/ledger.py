"""The authority: an append-only hash chain per model and the row that promotions compare and set."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy import exc
from sqlalchemy.engine import Connection, RowMapping

from lr_retune.errors import ConfigError, ConflictError, DependencyError, IntegrityError
from lr_retune.records import Facts, TickLoss, canonical, content_digest, micros, plain
from lr_retune.stores import migrations, statements
from lr_retune.stores import schema as db
from lr_retune.stores.chain import REGISTERED, chain_digest, time_of
from lr_retune.stores.engine import in_memory, is_busy, open_engine, parse
from lr_retune.stores.verify import verify as examine

State = Literal["PREPARED", "CLAIMED", "COMMITTED", "ABANDONED"]
Kind = Literal["promote", "rollback", "bootstrap"]
Number = tuple[str | None, str | None]  # a version in the registry and the run it came from
T = TypeVar("T")
ATTEMPTS = 4  # of a whole transaction, each with the driver's own busy timeout
PAUSE = 0.25  # seconds after a lost connection, then twice as long: a server that restarts is soon back
RECENT = 16  # entries whose records are kept parsed, of a ledger in memory: nobody changes a record
Parse = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One link of the chain."""

    seq: int
    kind: str
    key: str
    as_of: datetime
    record: dict[str, Any]
    digest: str


@dataclass(frozen=True, slots=True)
class Head:
    """Who is champion: digest (empty for nobody), fencing token and registry version."""

    head: str = ""
    epoch: int = 0
    version: str | None = None


@dataclass(frozen=True, slots=True)
class Promotion:
    """One way to a new head and how far it got."""

    decision: str
    kind: Kind
    expected: str
    expected_epoch: int
    candidate: str
    version: str | None = None
    run_id: str | None = None
    state: State = "PREPARED"


class Ledger:
    """One database that may hold the ledgers of many models.

    Parameters
    ----------
    url
        A SQLAlchemy URL; ``sqlite://`` keeps everything in memory.
    busy
        Seconds that one attempt waits for another writer.
    create
        Make the tables where there are none, and carry older ones over to today's schema.

    Raises
    ------
    ConfigError
        If there are none, unless ``create``.
    DependencyError
        If the database cannot be opened, is corrupt or stays locked.
    IntegrityError
        If a newer lr-retune wrote it.
    """

    def __init__(self, url: str, *, busy: float = 5.0, create: bool = True) -> None:
        self.url = parse(url)
        with self._told():
            self._reads = open_engine(self.url, busy)
        self._writes = self._reads.execution_options(writes=True)
        self._found: dict[tuple[str, ...], Any] = {}  # since the last write, of a ledger that nobody else can write to
        self._parse: Parse = lru_cache(RECENT)(json.loads) if in_memory(self.url) else json.loads
        self._bring_up(create)

    @property
    def schema(self) -> int | None:
        """The version of its tables; None where there are none."""
        return self._read(migrations.version)

    @property
    def _where(self) -> str:
        return self.url.set(query={}).render_as_string(hide_password=True)

    # ── the chain ─────────────────────────────────────────────────────────────────────────────────
    def append(self, model: str, kind: str, key: str, as_of: datetime, body: Mapping[str, Any]) -> Entry:
        """Add an entry, or return the one that already has this kind and key."""
        return self._write(lambda c: _append(c, model, kind, key, as_of, body, self._parse))

    def entry(self, model: str, kind: str, key: str) -> Entry | None:
        """The entry of a kind with a key, or None."""
        return self._read(lambda c: _find(c, model, kind, key, self._parse), "entry", model, kind, key)

    def entries(self, model: str, *, after: int = 0) -> list[Entry]:
        """Entries with seq > ``after``, in order."""

        def work(c: Connection) -> list[Entry]:
            rows = c.execute(statements.AFTER, {"model": model, "after": after}).mappings()
            return [_entry(row, self._parse) for row in rows]

        return list(self._read(work, "entries", model, str(after)))

    def texts(self, model: str) -> list[str]:
        """The records of all entries as they are kept: canonical JSON, in order."""
        rows = self._read(lambda c: list(c.execute(statements.AFTER, {"model": model, "after": 0}).mappings()))
        return [row["record"] for row in rows]

    def models(self) -> list[str]:
        """Names of all models it knows."""
        query = sa.select(db.heads.c.model).order_by(db.heads.c.model)
        return self._read(lambda c: list(c.execute(query).scalars()))

    def last(self, model: str) -> Entry:
        """The newest entry.

        Raises
        ------
        ConfigError
            If the ledger knows nothing of the model.
        """
        e = db.entries.c
        query = sa.select(db.entries).where(e.model == model).order_by(e.seq.desc()).limit(1)
        row = self._read(lambda c: c.execute(query).mappings().first())
        if row is None:
            raise ConfigError(f"the ledger holds nothing about {model}", fix="run `lr-retune bootstrap`")
        return _entry(row)

    def verify(self, model: str) -> list[str]:
        """Recompute the chain and hold every row against it; one sentence per contradiction, none when all agree."""
        return self._read(lambda c: examine(c, model))

    # ── the head and promotions ───────────────────────────────────────────────────────────────────
    def head(self, model: str) -> Head:
        """The champion's row; an empty head when there is none."""
        return self._read(lambda c: _head(c, model), "head", model)

    def promotion(self, model: str, decision: str) -> Promotion | None:
        """The promotion of a decision, or None."""
        asked = {"model": model, "decision": decision}
        row = self._read(
            lambda c: c.execute(statements.PROMOTION, asked).mappings().first(), "promotion", model, decision
        )
        return None if row is None else _promotion(row)

    def promotions(self, model: str, *states: State) -> list[Promotion]:
        """Promotions in one of the states, all when none is named; by the epoch they aim at."""
        p = db.promotions.c
        query = sa.select(db.promotions).where(p.model == model).order_by(p.expected_epoch, p.decision)
        if states:
            query = query.where(p.state.in_(states))
        found = self._read(lambda c: [_promotion(r) for r in c.execute(query).mappings()], "promotions", model, *states)
        return list(found)

    def prepare(self, model: str, promotion: Promotion) -> Promotion:
        """File the intent; one that was claimed or committed before is returned as it is."""
        return self._write(lambda c: _prepare(c, model, promotion))

    def claim(self, model: str, promotion: Promotion, as_of: datetime, body: Mapping[str, Any]) -> None:
        """Move the head, mark the promotion CLAIMED and chain a ``move`` entry, all or nothing.

        Raises
        ------
        ConflictError
            If the head is no longer the one the promotion expects.
        """
        begun: list[bool] = []

        def work(c: Connection) -> None:
            # a connection that is lost during the commit does not say whether it was done: the ledger does
            if not (begun and _is_claimed(c, model, promotion, as_of, body)):
                begun.append(True)
                _claim(c, model, promotion, as_of, body)

        self._write(work)

    def commit(self, model: str, decision: str) -> None:
        """A claimed promotion is done."""
        self._write(lambda c: _mark(c, model, decision, "CLAIMED", "COMMITTED"))

    def abandon(self, model: str, decision: str) -> None:
        """A prepared promotion is given up; one that was claimed meanwhile stays."""
        self._write(lambda c: _mark(c, model, decision, "PREPARED", "ABANDONED"))

    def renumber(self, model: str, versions: Mapping[str, Number], as_of: datetime, why: str) -> Entry:
        """Learn the registry's new numbers of old moves: chained, and at once in every row that names them.

        Parameters
        ----------
        versions
            Decision of a move → version and run; None for one that the registry holds no longer, since its
            number may be given to another model.
        """
        tried: list[str] = []  # keys of attempts whose answer was lost: what was done is not done again
        return self._write(lambda c: _renumber(c, model, versions, as_of, why, tried))

    # ── what the registry has been shown ──────────────────────────────────────────────────────────
    def projected(self, model: str) -> dict[str, tuple[str, str | None]]:
        """Settlement key → outcome shown and its run."""
        rows = self._read(
            lambda c: list(c.execute(statements.PROJECTED, {"model": model}).mappings()), "projected", model
        )
        return {row["key"]: (row["outcome"], row["run_id"]) for row in rows}

    def project(self, model: str, key: str, outcome: str, run_id: str | None) -> None:
        """Note that a settlement stands in the registry."""
        where = {"model": model, "key": key}
        self._write(lambda c: _upsert(c, db.projections, where, {"outcome": outcome, "run_id": run_id}))

    # ── tick losses ───────────────────────────────────────────────────────────────────────────────
    def put_ticks(self, model: str, champion: str, ticks: Sequence[TickLoss], label_cut: datetime) -> None:
        """Upsert tick losses; what was computed with later labels stays."""
        self._write(lambda c: _put_ticks(c, model, champion, ticks, micros(label_cut)))

    def observe(self, model: str, key: str, facts: Facts, body: Mapping[str, Any]) -> Entry:
        """Add a decision together with the tick losses it saw, all or nothing."""

        def work(c: Connection) -> Entry:
            entry = _append(c, model, "decision", key, facts.as_of, body, self._parse)
            _put_ticks(c, model, facts.champion, facts.ticks, micros(facts.as_of))
            return entry

        return self._write(work)

    def ticks(self, model: str, champion: str) -> list[TickLoss]:
        """The series of one champion, oldest first."""
        t = db.ticks.c
        query = sa.select(db.ticks).where(t.model == model, t.champion == champion).order_by(t.start)
        return self._read(lambda c: [_tick(row) for row in c.execute(query).mappings()])

    # ── tables beside the chain ───────────────────────────────────────────────────────────────────
    def reading(self, work: Callable[[Connection], T]) -> T:
        """What one transaction finds that only reads."""
        return self._read(work)

    def writing(self, work: Callable[[Connection], T]) -> T:
        """What one transaction does; it is tried again as a whole where another writer was in its way."""
        return self._write(work)

    def _bring_up(self, create: bool) -> None:
        found = self.schema
        if found is None and not create:
            raise ConfigError(f"there is no ledger in {self._where} yet", fix="run `lr-retune bootstrap`")
        if found is not None and found > db.SCHEMA_VERSION:
            raise IntegrityError(
                f"the ledger has schema version {found}, this lr-retune knows {db.SCHEMA_VERSION}",
                why="a newer lr-retune wrote it",
                fix="upgrade lr-retune on this machine",
            )
        if create and found != db.SCHEMA_VERSION:
            self._write(migrations.bring_up)

    # ── transactions ──────────────────────────────────────────────────────────────────────────────
    def _read(self, work: Callable[[Connection], T], *asked: str) -> T:
        """What ``work`` finds; in memory, what was ``asked`` since the last write is not looked up again."""
        if asked and asked in self._found:
            return self._found[asked]  # type: ignore[no-any-return]
        with self._told(), self._reads.begin() as connection:
            found = work(connection)
        if asked and in_memory(self.url):
            self._found[asked] = found
        return found

    def _write(self, work: Callable[[Connection], T]) -> T:
        self._found.clear()
        with self._told():
            lost = False
            for attempt in range(ATTEMPTS - 1):
                try:
                    return self._transact(work)
                except (exc.IntegrityError, exc.OperationalError) as error:
                    lost = lost or error.connection_invalidated
                    if not (lost or isinstance(error, exc.IntegrityError) or is_busy(error)):
                        raise
                if lost:
                    time.sleep(PAUSE * 2**attempt)
            return self._transact(work)

    def _transact(self, work: Callable[[Connection], T]) -> T:
        with self._writes.begin() as connection:
            return work(connection)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except ImportError as error:
            raise DependencyError(
                f"the driver for {self.url.drivername} is not installed",
                why=str(error),
                fix="pip install 'lr-retune[postgres]' and write postgresql+psycopg://… in [state] url",
            ) from error
        except (exc.SQLAlchemyError, OSError) as error:
            why = str(getattr(error, "orig", None) or error).splitlines()[0]
            raise DependencyError(
                f"the ledger {self._where} does not answer",
                why=why,
                fix="check the path, its permissions and who else writes to it; restore a backup if it is corrupt",
            ) from error


def _head(c: Connection, model: str) -> Head:
    row = c.execute(statements.HEAD, {"model": model}).mappings().first()
    return Head(row["head"], row["epoch"], row["version"]) if row else Head()


def _find(c: Connection, model: str, kind: str, key: str, parse: Parse = json.loads) -> Entry | None:
    row = c.execute(statements.FIND, {"model": model, "kind": kind, "key": key}).mappings().first()
    return _entry(row, parse) if row else None


def _append(
    c: Connection,
    model: str,
    kind: str,
    key: str,
    as_of: datetime,
    body: Mapping[str, Any],
    parse: Parse = json.loads,
) -> Entry:
    if (found := _find(c, model, kind, key, parse)) is not None:
        return found
    # The row lock makes writers queue on PostgreSQL; the primary key (model, seq) refuses the rest.
    chain = c.execute(statements.CHAIN, {"model": model}).first()
    if chain is None:
        c.execute(db.heads.insert().values(model=model))
    seq, prev = (chain.seq + 1, chain.tail) if chain is not None else (1, "")
    text = canonical({**body, "as_of": as_of})
    digest = chain_digest(prev, kind, key, text)
    c.execute(statements.LINK, {"of": model, "last": seq, "end": digest})
    row = {"seq": seq, "kind": kind, "key": key, "as_of": micros(as_of), "record": text, "digest": digest}
    c.execute(statements.ENTRY, {"model": model, "prev": prev, **row})
    return Entry(seq, kind, key, as_of, parse(text), digest)


def _prepare(c: Connection, model: str, new: Promotion) -> Promotion:
    p = db.promotions.c
    here = (p.model == model, p.decision == new.decision)
    row = c.execute(sa.select(db.promotions).where(*here)).mappings().first()
    if row and row["state"] in ("CLAIMED", "COMMITTED"):
        return _promotion(row)
    fields = {
        "kind": new.kind, "expected": new.expected, "expected_epoch": new.expected_epoch,
        "candidate": new.candidate, "version": new.version, "run_id": new.run_id, "state": "PREPARED",
    }  # fmt: skip
    _upsert(c, db.promotions, {"model": model, "decision": new.decision}, fields)
    return new


def _claim(c: Connection, model: str, p: Promotion, as_of: datetime, body: Mapping[str, Any]) -> None:
    if _find(c, model, "move", p.decision):
        raise ConflictError(
            f"decision {p.decision[:12]} has moved the champion of {model} before",
            why="a decision does so once at most",
        )
    h, seen = db.heads.c, db.promotions.c
    _append(c, model, "move", p.decision, as_of, _move(p, body))
    moved = c.execute(
        db.heads.update()
        .where(h.model == model, h.head == p.expected, h.epoch == p.expected_epoch)
        .values(head=p.candidate, epoch=p.expected_epoch + 1, version=p.version)
    )
    if moved.rowcount != 1:  # the entry above goes with the transaction
        raise ConflictError(
            f"{model} has another champion than the one this challenger beat",
            why="somebody else promoted or rolled back first",
            fix="run again: the challenger is judged against the new champion",
        )
    c.execute(
        db.promotions.update()
        .where(seen.model == model, seen.decision == p.decision)
        .values(state="CLAIMED", version=p.version, run_id=p.run_id)
    )


def _move(p: Promotion, body: Mapping[str, Any]) -> dict[str, Any]:
    """What the chain keeps of a claim: enough to tell a forged row of `promotions` or `heads`."""
    return {**body, "candidate": p.candidate, "expected": p.expected, "version": p.version}


def _is_claimed(c: Connection, model: str, p: Promotion, as_of: datetime, body: Mapping[str, Any]) -> bool:
    """Whether this very claim stands in the ledger."""
    wanted = json.loads(canonical({**_move(p, body), "as_of": as_of}))
    entry = _find(c, model, "move", p.decision)
    return entry is not None and entry.record == wanted


def _renumber(
    c: Connection, model: str, versions: Mapping[str, Number], as_of: datetime, why: str, tried: list[str]
) -> Entry:
    for key in tried:
        if (found := _find(c, model, REGISTERED, key)) is not None:
            return found
    numbers = {decision: version for decision, (version, _) in versions.items()}
    h, p = db.heads.c, db.promotions.c
    seq = c.execute(sa.select(h.seq).where(h.model == model)).scalar()
    body = {"versions": numbers, "reason": why}
    tried.append(content_digest([model, seq, body]))
    entry = _append(c, model, REGISTERED, tried[-1], as_of, body)
    for decision, (version, run_id) in versions.items():
        here = (p.model == model, p.decision == decision)
        c.execute(db.promotions.update().where(*here).values(version=version, run_id=run_id))
    newest = sa.select(p.decision).join(db.heads, sa.and_(h.model == p.model, h.epoch == p.expected_epoch + 1))
    last = c.execute(newest.where(p.model == model, p.state.in_(("CLAIMED", "COMMITTED")))).scalar()
    if last in numbers:
        c.execute(db.heads.update().where(h.model == model).values(version=numbers[last]))
    return entry


def _mark(c: Connection, model: str, decision: str, old: State, new: State) -> None:
    p = db.promotions.c
    here = (p.model == model, p.decision == decision, p.state == old)
    c.execute(db.promotions.update().where(*here).values(state=new))


def _upsert(c: Connection, table: sa.Table, key: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    where = [table.c[name] == value for name, value in key.items()]
    if c.execute(table.update().where(*where).values(**values)).rowcount == 0:
        c.execute(table.insert().values(**key, **values))


def _put_ticks(c: Connection, model: str, champion: str, ticks: Sequence[TickLoss], cut: int) -> None:
    known = c.execute(statements.CUTS, {"model": model, "champion": champion})
    cuts = {row.start: row.label_cut for row in known}
    rows = {
        micros(tick.start): {
            "end": micros(tick.end), "rows": tick.rows, "matured": tick.matured, "loss": plain(tick.loss),
            "mature": int(tick.mature), "label_cut": cut,
        }
        for tick in ticks
    }  # fmt: skip
    new = [{"model": model, "champion": champion, "start": at, **row} for at, row in rows.items() if at not in cuts]
    later = [
        {"of": model, "by": champion, "at": at, **row} for at, row in rows.items() if at in cuts and cuts[at] <= cut
    ]
    if new:
        c.execute(statements.TICKS, new)
    if later:
        c.execute(statements.LATER, later)


def _entry(row: RowMapping, parse: Parse = json.loads) -> Entry:
    return Entry(row["seq"], row["kind"], row["key"], time_of(row["as_of"]), parse(row["record"]), row["digest"])


def _promotion(row: RowMapping) -> Promotion:
    return Promotion(**{name: value for name, value in row.items() if name != "model"})


def _tick(row: RowMapping) -> TickLoss:
    return TickLoss(
        time_of(row["start"]), time_of(row["end"]), row["rows"], row["matured"], row["loss"], bool(row["mature"])
    )
