"""How a ledger of an older schema becomes one of today's: a step per version, all of them in one transaction."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from lr_retune.stores import schema as db

LOCK = 0x6C72_7265_7475_6E65  # any number that no other program takes: "lrretune"


def version(c: Connection) -> int | None:
    """The schema's version; None where there are no tables.

    The number stands in a table of its own and not in Alembic's, which belongs to MLflow where both share a database.
    """
    if not sa.inspect(c).has_table(db.schema_version.name):
        return None
    found: int | None = c.execute(sa.select(sa.func.max(db.schema_version.c.version))).scalar()
    return found or 1


def bring_up(c: Connection) -> None:
    """Make today's tables, or carry older ones over; of two processes that start at once, one does it."""
    if c.dialect.name == "postgresql":  # SQLite's writers wait for each other anyway
        c.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    found = version(c)
    if found is None:
        db.tables.create_all(c)
    elif found < db.SCHEMA_VERSION:
        _upgrade(c, found)
    else:
        return
    c.execute(db.schema_version.delete())
    c.execute(db.schema_version.insert().values(version=db.SCHEMA_VERSION))


def _upgrade(c: Connection, found: int) -> None:
    # imported by the one command that needs it
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    folder = str(Path(__file__).parent)
    steps = ScriptDirectory(folder, version_locations=[folder]).iterate_revisions("head", str(found))
    with Operations.context(MigrationContext.configure(c)):
        for step in reversed(list(steps)):
            step.module.upgrade()
