"""A private PostgreSQL from the installed binaries: no network, no other user's cluster, gone after the session."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

PASSWORD = "canary-7f3a"  # tests look for it in what is said
_SETTINGS = {
    "fsync": "off", "full_page_writes": "off", "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "", "shared_buffers": "16MB", "max_connections": "30", "timezone": "Asia/Tokyo",
}  # fmt: skip  # the time zone is none that a test asks for


@dataclass
class Postgres:
    """A running cluster."""

    binaries: Path
    data: Path
    user: list[str]  # words before a command that run it as somebody who may start PostgreSQL
    port: int = 0
    _names: Iterator[int] = field(default_factory=count)

    def database(self) -> str:
        """The URL of a fresh, empty database."""
        name = f"db{next(self._names)}"
        with self.engine("postgres").connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE template0"))
        return self.url(name)

    def url(self, name: str, password: str = PASSWORD) -> str:
        """The URL of a database."""
        address = URL.create("postgresql+psycopg", "tester", password, "127.0.0.1", self.port, name)
        return address.render_as_string(hide_password=False)

    def engine(self, name: str) -> sa.Engine:
        """An engine that keeps no connection."""
        return sa.create_engine(self.url(name), poolclass=NullPool)

    def end_sessions(self, name: str, but: int = 0) -> int:
        """End every session of a database, as an administrator or a restart would; how many there were."""
        ends = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = :name AND pid <> :but"
        with self.engine("postgres").connect() as connection:
            return int(connection.execute(sa.text(ends), {"name": name, "but": but}).scalar_one())

    def start(self) -> None:
        """On a port that is free."""
        for _ in range(3):  # somebody else may take the port first
            self.port = _free_port()
            settings = " ".join(f"-c {key}='{value}'" for key, value in _SETTINGS.items())
            if self._control("start", "-w", "-l", str(self.data / "log"), "-o", f"-p {self.port} {settings}") == 0:
                return
        pytest.fail(f"PostgreSQL does not start:\n{(self.data / 'log').read_text()}")

    def stop(self) -> None:
        """At once."""
        self._control("stop", "-m", "immediate")

    def _control(self, action: str, *words: str) -> int:
        return self.run("pg_ctl", action, "-D", str(self.data), "-s", *words).returncode

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[Any]:
        """One of PostgreSQL's programs."""
        command = [*self.user, str(self.binaries / program), *words]
        return subprocess.run(command, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)


class AbsentError(Exception):
    """Says what of PostgreSQL is not installed."""


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A cluster for this worker, or a skip that says what is absent."""
    try:
        with cluster() as made:
            yield made
    except AbsentError as error:
        pytest.skip(str(error))


@contextmanager
def cluster() -> Iterator[Postgres]:
    """A cluster of its own, ended with the block."""
    binaries = _binaries()
    if binaries is None:
        raise AbsentError("PostgreSQL's initdb and pg_ctl are not installed")
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        raise AbsentError("PostgreSQL does not start as root, and there is no runuser")
    # not below pytest's folder, which other users may not enter
    home = Path(tempfile.mkdtemp(prefix="lr-retune-postgres-"))
    user = []
    if os.geteuid() == 0:
        user = ["runuser", "-u", "postgres", "--"]
        shutil.chown(home, "postgres")
    made = Postgres(binaries, home / "data", user)
    try:
        _make(made, home / "password")
        made.start()
        try:
            yield made
        finally:
            made.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _make(cluster: Postgres, password: Path) -> None:
    password.write_text(PASSWORD)
    password.chmod(0o644)
    words = ["-U", "tester", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    made = cluster.run("initdb", "-D", str(cluster.data), f"--pwfile={password}", *words)
    assert made.returncode == 0, "initdb failed"


def _binaries() -> Path | None:
    """Debian keeps them apart by version; the newest."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: float(p.parent.name), reverse=True)
    if found := shutil.which("initdb"):
        places.insert(0, Path(found).resolve().parent)
    return next((p for p in places if (p / "initdb").exists() and (p / "pg_ctl").exists()), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fill(url: str, name: str, table: Any, *, key: str | None = None, schema: str | None = None) -> None:
    """A database table made of an Arrow table; times without a zone stay so."""
    import pyarrow as pa

    known: dict[Any, Any] = {
        pa.int64(): sa.BigInteger(), pa.float64(): sa.Double(), pa.string(): sa.Text(), pa.bool_(): sa.Boolean(),
        pa.date32(): sa.Date(), pa.timestamp("us"): sa.DateTime(),
        pa.timestamp("us", "UTC"): sa.DateTime(timezone=True),
    }  # fmt: skip
    columns = [
        sa.Column(f.name, known[f.type], primary_key=f.name == key, key=f"c{i}") for i, f in enumerate(table.schema)
    ]
    made = sa.Table(name, sa.MetaData(), *columns, schema=schema)
    renamed = table.rename_columns([column.key for column in columns])
    engine = sa.create_engine(url, poolclass=NullPool)
    with engine.begin() as connection:
        made.drop(connection, checkfirst=True)
        made.create(connection)
        if len(table):
            connection.execute(made.insert(), renamed.to_pylist())
