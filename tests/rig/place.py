"""Where the stores of the rig lie: a folder, and a database on a server, that can be put back to a saved state."""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from lr_retune.stores import schema as db
from lr_retune.stores.promotion import Stores
from tests import store_rig as made

VARIABLE = "LR_RETUNE_RIG_LEDGER"
Rows = dict[str, list[dict[str, Any]]]


class Place:
    """One folder; with ``url``, its ledger lies in that database, which is this rig's alone."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.live, self._backup, self._url = folder / "live", folder / "backup", url
        self._rows: Rows | None = None  # None: no tables
        os.environ[VARIABLE] = url or ""  # a configuration holds no password

    def beside(self, url: str) -> Place:
        """The same folder with the ledger in a database."""
        return Place(self.live.parent, url)

    def open(self) -> Stores:
        """The stores that lie there."""
        state = {} if self._url is None else {"state": {"url": f"env:{VARIABLE}"}}
        return Stores.open(made.config(self.live, **state))

    def clear(self) -> None:
        """Nothing but a registry that never saw a model: MLflow makes its tables once a process, so they are given."""
        shutil.rmtree(self.live, ignore_errors=True)
        self.live.mkdir(parents=True)
        if self.blank.exists():
            shutil.copy(self.blank, self.live / "mlflow.db")
        self._put(None)

    @property
    def blank(self) -> Path:
        """A database of MLflow with tables and nothing in them."""
        return self.live.with_name("blank.db")

    def save(self) -> None:
        """Remember all of it."""
        shutil.rmtree(self._backup, ignore_errors=True)
        shutil.copytree(self.live, self._backup)
        self._rows = self._taken()

    def restore(self) -> None:
        """Put back what was saved."""
        shutil.rmtree(self.live)
        shutil.copytree(self._backup, self.live)
        self._put(self._rows)

    def _engine(self) -> sa.Engine:
        return sa.create_engine(self._url or "sqlite://", poolclass=NullPool)

    def _taken(self) -> Rows | None:
        if self._url is None or not sa.inspect(self._engine()).has_table("entries"):
            return None
        with self._engine().connect() as c:
            tables = db.tables.sorted_tables
            return {table.name: [dict(row) for row in c.execute(sa.select(table)).mappings()] for table in tables}

    def _put(self, rows: Rows | None) -> None:
        if self._url is None:
            return
        with self._engine().begin() as c:  # it waits for what a killed client left on the server
            if rows is None:
                db.tables.drop_all(c)
                return
            for table in db.tables.sorted_tables:
                c.execute(table.delete())
                if rows[table.name]:
                    c.execute(table.insert(), rows[table.name])


def in_child(work: Callable[[], Any], answer: Path) -> int:
    """Run in a fork, which writes what ``work`` returns as JSON; its wait status."""
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            found = work()
            answer.write_text(json.dumps(found, default=str), encoding="utf-8")
            code = 0
        except BaseException:  # noqa: BLE001 - a child ends here whatever happens
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitpid(child, 0)[1]


def told(work: Callable[[], Any], answer: Path) -> Any:
    """What ``work`` returns in a fork.

    Raises
    ------
    RuntimeError
        If it fails.
    """
    if in_child(work, answer):
        raise RuntimeError("a step failed by itself; its traceback stands above")
    return json.loads(answer.read_text(encoding="utf-8"))
