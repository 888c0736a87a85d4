"""Version 2: the database itself refuses a second entry of one key and a second move of one epoch; versions are pinned.

Version 1 rested on a read before the insert, and the registry's version numbers stood in no chained entry: an edited
number could not be told. New moves carry theirs; this step chains those of the old ones. It also fills in the tick
losses that a crash between a decision and its ticks lost: the two are one transaction now.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from lr_retune.errors import IntegrityError
from lr_retune.records import canonical, micros
from lr_retune.stores.agree import latest_ticks
from lr_retune.stores.chain import REGISTERED, chain_digest, time_of

revision = "2"
down_revision = "1"

KEY = "schema-2"
MOVED = "state IN ('CLAIMED', 'COMMITTED')"
_entries = sa.table("entries", *map(sa.column, ("model", "seq", "kind", "key", "as_of", "record", "prev", "digest")))
_heads = sa.table("heads", *map(sa.column, ("model", "seq", "tail")))
_ticks = sa.table(
    "ticks",
    *map(sa.column, ("model", "champion", "start", "end", "rows", "matured", "loss", "mature", "label_cut")),
)
_promotions = sa.table("promotions", *map(sa.column, ("model", "decision", "version", "expected_epoch", "state")))


def upgrade() -> None:
    """Two unique indexes, and one entry per model that has moved."""
    _refuse_twins("entries", "model, kind, key")
    _refuse_twins("promotions", "model, expected_epoch", MOVED)
    op.create_index("entries_key", "entries", ["model", "kind", "key"], unique=True, if_not_exists=True)
    moved = sa.text(MOVED)
    op.create_index(
        "promotions_epoch",
        "promotions",
        ["model", "expected_epoch"],
        unique=True,
        if_not_exists=True,
        sqlite_where=moved,
        postgresql_where=moved,
    )
    for head in op.get_bind().execute(sa.select(_heads)).all():
        _pin(head)
        _fill(head.model)


def _refuse_twins(table: str, key: str, where: str = "1 = 1") -> None:
    found = op.get_bind().exec_driver_sql(f"SELECT {key} FROM {table} WHERE {where} GROUP BY {key} HAVING count(*) > 1")
    if twin := found.first():
        raise IntegrityError(
            f"the ledger holds two rows of {table} for {', '.join(map(str, twin))}",
            why="no lr-retune writes the second: the database was edited; it was not carried over to the new schema",
            fix="restore it from a backup",
        )


def _pin(head: Any) -> None:
    c, e, p = op.get_bind(), _entries.c, _promotions.c
    rows = c.execute(sa.select(p.decision, p.version).where(p.model == head.model, sa.text(MOVED)))
    versions = {row.decision: row.version for row in rows}
    known = c.execute(sa.select(e.seq).where(e.model == head.model, e.kind == REGISTERED, e.key == KEY)).first()
    at = c.execute(sa.select(e.as_of).where(e.model == head.model, e.seq == head.seq)).scalar()
    if not versions or known is not None or at is None:
        return
    why = "version numbers of moves from before moves carried them"
    record = canonical({"versions": versions, "reason": why, "as_of": time_of(at)})
    digest = chain_digest(head.tail, REGISTERED, KEY, record)
    row = {"seq": head.seq + 1, "kind": REGISTERED, "key": KEY, "as_of": at, "record": record, "prev": head.tail}
    c.execute(_entries.insert().values(model=head.model, digest=digest, **row))
    c.execute(_heads.update().where(_heads.c.model == head.model).values(seq=head.seq + 1, tail=digest))


def _fill(model: str) -> None:
    c, e, t = op.get_bind(), _entries.c, _ticks.c
    texts = c.execute(sa.select(e.record).where(e.model == model, e.kind == "decision").order_by(e.seq)).scalars()
    for at, seen in latest_ticks(map(_read, texts)).items():
        champion, tick = at[0], seen[-1]
        times = {name: micros(datetime.fromisoformat(tick[name])) for name in ("start", "end", "label_cut")}
        here = (t.model == model, t.champion == champion, t.start == times["start"])
        cut = c.execute(sa.select(t.label_cut).where(*here)).scalar()
        if cut is None or cut < times["label_cut"]:
            figures = {"rows": tick["rows"], "matured": tick["matured"], "loss": tick["loss"]}
            c.execute(_ticks.delete().where(*here))
            row = {**times, **figures, "mature": int(tick["mature"])}
            c.execute(_ticks.insert().values(model=model, champion=champion, **row))


def _read(text: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise IntegrityError(
            "an entry of the ledger cannot be read",
            why=f"it was edited: {error}; nothing was carried over to the new schema",
            fix="restore it from a backup",
        ) from None
    return found
