"""The ledger's tables, in types that SQLite and PostgreSQL share."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, DateTime, Float, Index, Integer, MetaData, String, Table, Text, func, text

SCHEMA_VERSION = 3  # a new one needs a step in migrations/

_MOVED = text("state IN ('CLAIMED', 'COMMITTED')")

tables = MetaData()

schema_version = Table("schema_version", tables, Column("version", Integer, primary_key=True, autoincrement=False))

# Append-only, one hash chain per model.
entries = Table(
    "entries",
    tables,
    Column("model", String(100), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("kind", String(20), nullable=False),
    Column("key", String(100), nullable=False),
    Column("as_of", BigInteger, nullable=False),  # microseconds UTC
    Column("record", Text, nullable=False),  # canonical JSON
    Column("prev", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created_at", DateTime, server_default=func.current_timestamp()),  # the database's clock; in no digest
    Index("entries_key", "model", "kind", "key", unique=True),
)

# Where the chain ends and who is champion: the one row that promotions compare and set.
heads = Table(
    "heads",
    tables,
    Column("model", String(100), primary_key=True),
    Column("head", String(64), nullable=False, server_default=""),
    Column("epoch", Integer, nullable=False, server_default="0"),
    Column("version", String(20)),
    Column("seq", Integer, nullable=False, server_default="0"),
    Column("tail", String(64), nullable=False, server_default=""),
)

promotions = Table(
    "promotions",
    tables,
    Column("model", String(100), primary_key=True),
    Column("decision", String(100), primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("expected", String(64), nullable=False),  # head it replaces; "" for none
    Column("expected_epoch", Integer, nullable=False),
    Column("candidate", String(64), nullable=False),
    Column("version", String(20)),
    Column("run_id", String(64)),
    Column("state", String(20), nullable=False),
    # the head's compare-and-set lets one promotion through an epoch; this holds even for a writer without it
    Index("promotions_epoch", "model", "expected_epoch", unique=True, sqlite_where=_MOVED, postgresql_where=_MOVED),
)

# Settlements already shown in the registry, by the outcome that was shown.
projections = Table(
    "projections",
    tables,
    Column("model", String(100), primary_key=True),
    Column("key", String(100), primary_key=True),
    Column("outcome", String(30), nullable=False),
    Column("run_id", String(64)),
)

ticks = Table(
    "ticks",
    tables,
    Column("model", String(100), primary_key=True),
    Column("start", BigInteger, primary_key=True, autoincrement=False),  # microseconds UTC
    Column("champion", String(64), primary_key=True),
    Column("end", BigInteger, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("matured", Integer, nullable=False),
    Column("loss", Float(53)),
    Column("mature", Integer, nullable=False),
    Column("label_cut", BigInteger, nullable=False),  # as_of that the labels were cut at
)

# What the channels of [notify] have been told of each cause; the causes themselves are read from the entries.
# A row whose cause is "" says that a channel is known: what was over before it began is not told.
outbox = Table(
    "outbox",
    tables,
    Column("model", String(100), primary_key=True),
    Column("channel", String(20), primary_key=True),
    Column("cause", String(100), primary_key=True),
    Column("told", String(64), nullable=False, server_default=""),  # key of the last message that arrived
    Column("tries", Integer, nullable=False, server_default="0"),  # in vain, since then
    Column("error", String(200), nullable=False, server_default=""),  # of the last of them
    Column("next_at", BigInteger, nullable=False, server_default="0"),  # no try before; microseconds UTC, real time
)
