"""What every run asks of a ledger, built once: building a statement takes longer than answering it."""

from __future__ import annotations

import sqlalchemy as sa

from lr_retune.stores import schema as db

_MODEL: sa.BindParameter[str] = sa.bindparam("model")
FIND = sa.select(db.entries).where(
    db.entries.c.model == _MODEL, db.entries.c.kind == sa.bindparam("kind"), db.entries.c.key == sa.bindparam("key")
)
AFTER = (
    sa.select(db.entries)
    .where(db.entries.c.model == _MODEL, db.entries.c.seq > sa.bindparam("after"))
    .order_by(db.entries.c.seq)
)
HEAD = sa.select(db.heads).where(db.heads.c.model == _MODEL)
CHAIN = sa.select(db.heads.c.seq, db.heads.c.tail).where(db.heads.c.model == _MODEL).with_for_update()
LINK = (
    db.heads.update()
    .where(db.heads.c.model == sa.bindparam("of"))
    .values(seq=sa.bindparam("last"), tail=sa.bindparam("end"))
)
ENTRY = db.entries.insert()
PROMOTION = sa.select(db.promotions).where(
    db.promotions.c.model == _MODEL, db.promotions.c.decision == sa.bindparam("decision")
)
PROJECTED = sa.select(db.projections).where(db.projections.c.model == _MODEL)
CUTS = sa.select(db.ticks.c.start, db.ticks.c.label_cut).where(
    db.ticks.c.model == _MODEL, db.ticks.c.champion == sa.bindparam("champion")
)
TICKS = db.ticks.insert()
LATER = db.ticks.update().where(
    db.ticks.c.model == sa.bindparam("of"),
    db.ticks.c.champion == sa.bindparam("by"),
    db.ticks.c.start == sa.bindparam("at"),
)
