"""Whether a ledger is what was written: the hash chain, the row it ends in, and then every other row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection, RowMapping

from lr_retune.records import canonical
from lr_retune.stores import schema as db
from lr_retune.stores.agree import disagreements
from lr_retune.stores.chain import Link, chain_digest, time_of


def verify(c: Connection, model: str) -> list[str]:
    """One sentence per contradiction.

    A chain that does not hold proves nothing about other rows, so these are held against a sound one only.
    """
    e, h = db.entries.c, db.heads.c
    rows = c.execute(sa.select(db.entries).where(e.model == model).order_by(e.seq)).mappings().all()
    head = c.execute(sa.select(db.heads).where(h.model == model)).mappings().first()
    if broken := [*_chain(model, rows), *_tail(model, rows, head)]:
        return broken
    links = [Link(row["seq"], row["kind"], row["key"], json.loads(row["record"])) for row in rows]
    return list(disagreements(c, model, links, head))


def _chain(model: str, rows: Sequence[RowMapping]) -> Iterator[str]:
    prev, seq = "", 0
    for row in rows:
        if row["seq"] != seq + 1:
            yield f"entry {seq + 1} of {model} is missing"
        if row["prev"] != prev or row["digest"] != chain_digest(row["prev"], row["kind"], row["key"], row["record"]):
            yield f"entry {row['seq']} of {model} ({row['kind']} {row['key']}) was changed after it was written"
        elif canonical(time_of(row["as_of"])) != canonical(json.loads(row["record"])["as_of"]):
            yield f"entry {row['seq']} of {model} carries another time than its record"
        prev, seq = row["digest"], row["seq"]


def _tail(model: str, rows: Sequence[RowMapping], head: RowMapping | None) -> Iterator[str]:
    end = (rows[-1]["seq"], rows[-1]["digest"]) if rows else (0, "")
    if head is None and rows:
        yield f"the head row of {model} is missing: it tells how many entries were written"
    elif head is not None and (head["seq"], head["tail"]) != end:
        yield f"the ledger of {model} ends at entry {end[0]}, and {head['seq']} were written"
