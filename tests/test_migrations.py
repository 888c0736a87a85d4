import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import exc
from sqlalchemy.pool import NullPool

from lr_retune.errors import IntegrityError
from lr_retune.stores import schema
from lr_retune.stores.chronicle import Chronicle
from lr_retune.stores.ledger import Ledger
from lr_retune.stores.migrations import v0001_first
from tests.postgres import Postgres, postgres

__all__ = ["postgres"]
OLD = Path(__file__).with_name("fixtures") / "ledger_v1.sql"  # written by the lr-retune before version 2
T = datetime(2020, 1, 1, tzinfo=UTC)
TABLES = [table for table in schema.tables.sorted_tables if table.name != "schema_version"]
FIRST = [table for table in TABLES if table.name != "outbox"]  # that version 1 had


@pytest.fixture
def old(tmp_path: Path) -> str:
    """The URL of a ledger of version 1: a birth, a promotion, a refusal, a rollback, a promotion given up."""
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as connection:
        connection.executescript(OLD.read_text(encoding="utf-8"))
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def old_on_postgres(old: str, postgres: Postgres) -> str:
    """The same on a server, beside the tables of an MLflow that keeps its own Alembic version there."""
    url = postgres.database()
    with engine(url).begin() as connection:
        with Operations.context(MigrationContext.configure(connection)):
            v0001_first.upgrade()
        for table in (schema.schema_version, *FIRST):
            with engine(old).connect() as source:
                rows = source.execute(sa.select(table)).mappings().all()
            connection.execute(table.insert(), [dict(row) for row in rows])
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('of mlflow')")
    return url


def engine(url: str) -> sa.Engine:
    return sa.create_engine(url, poolclass=NullPool)


def rows(url: str) -> dict[str, set[tuple[object, ...]]]:
    with engine(url).connect() as c:
        return {table.name: {tuple(row) for row in c.execute(sa.select(table))} for table in FIRST}


def shape(url: str) -> dict[str, object]:
    seen = sa.inspect(engine(url))
    return {
        table.name: (
            [(c["name"], str(c["type"]), c["nullable"]) for c in seen.get_columns(table.name)],
            [(i["name"], i["column_names"], i["unique"]) for i in seen.get_indexes(table.name)],
        )
        for table in TABLES
    }


def carried(url: str, fresh: str) -> None:
    before = rows(url)
    assert Ledger(url, create=False).schema == 1
    ledger, after = Ledger(url), rows(url)
    assert ledger.schema == 3
    assert ledger.verify("fraud") == []
    for name in ("entries", "promotions", "projections", "ticks"):
        assert before[name] <= after[name], name
        assert len(after[name]) - len(before[name]) == (name == "entries")
    [pinned] = [entry for entry in ledger.entries("fraud") if entry.kind == "registered"]
    assert pinned.seq == len(before["entries"]) + 1
    assert sorted(pinned.record["versions"].values()) == ["1", "1", "2"]
    assert [move.kind for move in Chronicle(ledger, "fraud").moves] == ["bootstrap", "promote", "rollback"]
    Ledger(fresh)
    assert shape(url) == shape(fresh)
    assert rows(url) == after, "opening it again changes nothing"


@pytest.mark.fault("E11")
def test_a_ledger_of_the_first_schema_is_carried_over_without_losing_a_row(old: str, tmp_path: Path) -> None:
    carried(old, f"sqlite:///{tmp_path / 'fresh.db'}")


@pytest.mark.fault("E11")
def test_on_postgresql_too_and_the_alembic_version_of_mlflow_stays(old_on_postgres: str, postgres: Postgres) -> None:
    carried(old_on_postgres, postgres.database())
    with engine(old_on_postgres).connect() as c:
        assert c.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all() == ["of mlflow"]


def at_once(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: Ledger(url, busy=30).schema, range(4)))
    assert found == [3] * 4
    ledger = Ledger(url)
    assert [entry.kind for entry in ledger.entries("fraud")].count("registered") == 1
    assert ledger.verify("fraud") == []


def test_of_many_that_start_at_once_one_carries_it_over(old: str) -> None:
    at_once(old)


def test_of_many_that_start_at_once_on_postgresql_one_carries_it_over(old_on_postgres: str) -> None:
    at_once(old_on_postgres)


def test_of_many_that_start_at_once_on_an_empty_server_one_makes_the_tables(postgres: Postgres) -> None:
    url = postgres.database()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: Ledger(url).schema, range(4))) == [3] * 4


@pytest.mark.fault("E11")
def test_a_run_under_way_during_the_upgrade_goes_on(old: str) -> None:
    under_way = Ledger(old, create=False)
    Ledger(old)
    under_way.append("fraud", "decision", "late", T, {})
    assert under_way.verify("fraud") == []


def twice(url: str, statement: str) -> None:
    """The step is refused as a whole."""
    with engine(url).begin() as c:
        c.exec_driver_sql(statement)
    before = rows(url)
    with pytest.raises(IntegrityError, match="restore it from a backup") as error:
        Ledger(url)
    assert error.value.exit_code == 6
    assert rows(url) == before
    assert Ledger(url, create=False).schema == 1
    assert sa.inspect(engine(url)).get_indexes("entries") == []


TWIN = (
    "INSERT INTO entries SELECT model, 99, kind, key, as_of, record, prev, digest, created_at "
    "FROM entries WHERE seq = 1"
)
UNREADABLE = "UPDATE entries SET record = 'no JSON' WHERE kind = 'decision'"  # met after the indexes were made


@pytest.mark.parametrize("statement", [TWIN, UNREADABLE])
def test_an_edited_ledger_is_not_carried_over_and_nothing_of_it_changes(old: str, statement: str) -> None:
    twice(old, statement)


def test_on_postgresql_a_step_that_fails_changes_nothing_either(old_on_postgres: str) -> None:
    twice(old_on_postgres, UNREADABLE)


def test_tick_losses_that_a_crash_lost_are_filled_in(old: str) -> None:
    before = rows(old)["ticks"]
    with engine(old).begin() as c:
        c.exec_driver_sql("DELETE FROM ticks WHERE start = (SELECT min(start) FROM ticks)")
        c.exec_driver_sql("UPDATE ticks SET loss = .9, label_cut = 0 WHERE start = (SELECT max(start) FROM ticks)")
    assert Ledger(old).verify("fraud") == []
    assert rows(old)["ticks"] == before


def again(url: str) -> None:
    Ledger(url)
    twin = TWIN.replace("99", "(SELECT max(seq) + 1 FROM entries)")
    forged = "UPDATE promotions SET state = 'COMMITTED', expected_epoch = 1 WHERE decision = 'late'"
    for statement in (twin, forged):
        with pytest.raises(exc.IntegrityError), engine(url).begin() as c:
            c.exec_driver_sql(statement)


def test_the_database_itself_refuses_a_second_entry_of_a_key_and_a_second_move_of_an_epoch(old: str) -> None:
    again(old)


def test_so_does_postgresql(old_on_postgres: str) -> None:
    again(old_on_postgres)


def test_a_ledger_of_today_is_opened_without_alembic() -> None:
    code = (
        "import sys; from lr_retune.stores.ledger import Ledger; Ledger('sqlite://'); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
