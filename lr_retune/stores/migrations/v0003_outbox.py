"""Version 3: what the channels of ``[notify]`` have been told stands in a table of its own, in no chain."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "3"
down_revision = "2"


def upgrade() -> None:
    """One table, empty: which causes there are is read from the entries."""
    op.create_table(
        "outbox",
        *(sa.Column(name, sa.String(length), primary_key=True) for name, length in _KEY),
        sa.Column("told", sa.String(64), nullable=False, server_default=""),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("error", sa.String(200), nullable=False, server_default=""),
        sa.Column("next_at", sa.BigInteger, nullable=False, server_default="0"),
        if_not_exists=True,
    )


_KEY = (("model", 100), ("channel", 20), ("cause", 100))
