"""Version 1: the tables as the first lr-retune made them; a step back never happens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None


def upgrade() -> None:
    """Five tables and the version."""
    op.create_table("schema_version", sa.Column("version", sa.Integer, primary_key=True, autoincrement=False))
    op.create_table(
        "entries",
        _model(),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        _text("kind", 20),
        _text("key", 100),
        sa.Column("as_of", sa.BigInteger, nullable=False),
        sa.Column("record", sa.Text, nullable=False),
        _text("prev", 64),
        _text("digest", 64),
        sa.Column("created_at", sa.DateTime, server_default=sa.func.current_timestamp()),
    )
    op.create_table(
        "heads",
        _model(),
        sa.Column("head", sa.String(64), nullable=False, server_default=""),
        sa.Column("epoch", sa.Integer, nullable=False, server_default="0"),
        sa.Column("version", sa.String(20)),
        sa.Column("seq", sa.Integer, nullable=False, server_default="0"),
        sa.Column("tail", sa.String(64), nullable=False, server_default=""),
    )
    op.create_table(
        "promotions",
        _model(),
        sa.Column("decision", sa.String(100), primary_key=True),
        _text("kind", 20),
        _text("expected", 64),
        sa.Column("expected_epoch", sa.Integer, nullable=False),
        _text("candidate", 64),
        sa.Column("version", sa.String(20)),
        sa.Column("run_id", sa.String(64)),
        _text("state", 20),
    )
    op.create_table(
        "projections",
        _model(),
        sa.Column("key", sa.String(100), primary_key=True),
        _text("outcome", 30),
        sa.Column("run_id", sa.String(64)),
    )
    op.create_table(
        "ticks",
        _model(),
        sa.Column("start", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("champion", sa.String(64), primary_key=True),
        sa.Column("end", sa.BigInteger, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("matured", sa.Integer, nullable=False),
        sa.Column("loss", sa.Float(53)),
        sa.Column("mature", sa.Integer, nullable=False),
        sa.Column("label_cut", sa.BigInteger, nullable=False),
    )


def _model() -> sa.Column[str]:
    return sa.Column("model", sa.String(100), primary_key=True)


def _text(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length), nullable=False)
