"""The whole path with everything in PostgreSQL: rows, labels that come late, and the ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lr_retune.errors import ConflictError
from lr_retune.stores.ledger import Ledger, Promotion
from tests.conftest import Answer
from tests.postgres import PASSWORD, Postgres, fill, postgres

__all__ = ["postgres"]
T = datetime(2024, 1, 1, tzinfo=UTC)

CONFIG = """\
config_version = 1
name = "bank"
task = "binary"
[schedule]
tick = "1d"
[data]
source = "sql"
url = "env:FEED_URL"
table = "bank.calls"
time = "{time}"
label = "{label}"
exclude = {exclude}
[window]
train = "120d"
valid = "28d"
holdout = "28d"
[model]
params = {{ num_leaves = 7, min_data_in_leaf = 20 }}
[metric]
name = "log_loss"
[search]
points = 2
max_steps = 100
learning_rate = {{ low = 0.05, high = 0.3 }}
[watch]
drift = "native"
stale_ticks = 9
[policy]
max_age = "14d"
[state]
url = "env:LEDGER_URL"
"""
MORE = """\
[mlflow]
tracking_uri = "sqlite:///mlflow.db"
"""


@pytest.fixture
def bank(
    tmp_path: Path, postgres: Postgres, shared_data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> tuple[Path, str]:
    """A part of the real calls in PostgreSQL, under names that are no kind ones; the ledger's database."""
    table = pq.read_table(shared_data("bank_marketing"))
    table = table.filter(
        pc.and_(
            pc.less(table["ts"], pa.scalar(datetime.fromisoformat("2008-08-30"))),
            pc.equal(pc.bit_wise_and(table["step"], 7), 0),
        )
    )
    plain = {f.name: table[f.name].cast(_plain(f.type)) for f in table.schema if f.name not in ("month", "day_of_week")}
    names = {"ts": 'when "called"', "y": "answer; yes %(y)s"}
    feed, ledger = postgres.database(), postgres.database()
    with postgres.engine(feed.rpartition("/")[2]).begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA bank")
    fill(feed, "calls", pa.table({names.get(name, name): column for name, column in plain.items()}), schema="bank")
    monkeypatch.setenv("FEED_URL", feed)
    monkeypatch.setenv("LEDGER_URL", ledger)
    told = {"time": names["ts"].replace('"', '\\"'), "label": names["y"], "exclude": '["step"]'}
    (tmp_path / "retune.toml").write_text(CONFIG.format(**told) + MORE)
    return tmp_path / "retune.toml", ledger


def _plain(kind: Any) -> Any:
    if pa.types.is_dictionary(kind):
        return pa.string()
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us")
    return pa.float64() if pa.types.is_floating(kind) else pa.int64()


@pytest.mark.fault("B4")
def test_real_calls_are_retuned_from_postgresql_and_the_ledger_stands_there(
    bank: tuple[Path, str], cli: Callable[..., Answer]
) -> None:
    path, ledger = bank
    said = [
        cli("bootstrap", "-c", path, "--as-of", "2008-08-08", "--json"),
        cli("run", "-c", path, "--as-of", "2008-08-25", "--json"),
        cli("run", "-c", path, "--as-of", "2008-08-25", "--json"),
        cli("audit", "verify", "-c", path, "--json"),
        cli("check", "-c", path, "--as-of", "2008-08-25", "--json"),
        cli("history", "-c", path, "--json"),
    ]
    assert [answer.code for answer in said] == [0] * 6, [answer.err for answer in said]
    assert said[1].json["decision"]["action"] in ("refit", "search")
    assert said[1].json["outcome"] in ("promoted", "rejected", "inconclusive")
    assert said[2].json["decision"]["id"] == said[1].json["decision"]["id"]
    assert len(Ledger(ledger).entries("bank")) >= 3
    assert PASSWORD not in "".join(answer.out + answer.err for answer in said)


# ── the ledger ────────────────────────────────────────────────────────────────────────────────────
def promotion(decision: str, expected: str, epoch: int) -> Promotion:
    return Promotion(decision, "promote", expected, epoch, f"model-{decision}", version=decision)


@pytest.mark.fault("F-2")
def test_a_ledger_whose_connection_is_ended_tries_the_whole_transaction_again(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.database()
    ledger, ended, real = Ledger(url), [0], Ledger._transact
    monkeypatch.setattr("lr_retune.stores.ledger.PAUSE", 0.01)

    def cut(self: Any, work: Callable[[Any], Any]) -> Any:
        def cut_short(c: Any) -> Any:
            found = work(c)  # done, and not yet committed
            if ended[0] % 2 == 0:
                assert postgres.end_sessions(url.rpartition("/")[2]) == 1
            ended[0] += 1
            return found

        return real(self, cut_short)

    monkeypatch.setattr(Ledger, "_transact", cut)
    ledger.append("m", "decision", "a", T, {"n": 1})
    ledger.prepare("m", promotion("a", "", 0))
    ledger.claim("m", promotion("a", "", 0), T, {"n": 1})
    ledger.commit("m", "a")
    assert ended[0] == 8
    monkeypatch.undo()
    assert [(e.seq, e.kind) for e in ledger.entries("m")] == [(1, "decision"), (2, "move")]
    assert (ledger.head("m").head, ledger.head("m").epoch) == ("model-a", 1)
    assert ledger.verify("m") == []


@pytest.mark.fault("F-2")
def test_a_claim_whose_commit_was_done_and_not_confirmed_is_no_conflict(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.database()
    ledger, real, unconfirmed = Ledger(url), Ledger._transact, [True]
    ledger.prepare("m", promotion("a", "", 0))
    monkeypatch.setattr("lr_retune.stores.ledger.PAUSE", 0.01)

    def silent(self: Any, work: Callable[[Any], Any]) -> Any:
        found = real(self, work)
        if unconfirmed.pop() if unconfirmed else False:
            with self._writes.begin() as connection:  # the answer to the commit never comes
                postgres.end_sessions(url.rpartition("/")[2])
                connection.exec_driver_sql("SELECT 1")
        return found

    monkeypatch.setattr(Ledger, "_transact", silent)
    ledger.claim("m", promotion("a", "", 0), T, {"n": 1})
    assert not unconfirmed
    assert (ledger.head("m").epoch, ledger.verify("m")) == (1, [])
    with pytest.raises(ConflictError, match="has moved the champion"):
        ledger.claim("m", promotion("a", "", 0), T, {"n": 1})


@pytest.mark.fault("F-2")
def test_one_of_many_wins_in_postgresql_and_every_entry_is_chained(postgres: Postgres) -> None:
    url = postgres.database()
    Ledger(url)
    won: list[str] = []

    def race(name: str) -> None:
        mine = Ledger(url)
        mine.append("m", "decision", name, T, {"n": name})
        mine.prepare("m", promotion(name, "", 0))
        try:
            mine.claim("m", promotion(name, "", 0), T, {})
            won.append(name)
        except ConflictError:
            pass

    threads = [threading.Thread(target=race, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger = Ledger(url)
    assert len(won) == 1
    assert ledger.head("m").head == f"model-{won[0]}"
    assert len(ledger.entries("m")) == 5
    assert ledger.verify("m") == []


@pytest.mark.fault("F-2")
def test_a_ledger_outlives_a_restart_of_the_server(postgres: Postgres) -> None:
    ledger = Ledger(postgres.database())
    ledger.append("m", "decision", "a", T, {"n": 1})
    postgres.run("pg_ctl", "restart", "-D", str(postgres.data), "-s", "-m", "immediate", "-w")
    ledger.append("m", "decision", "b", T, {"n": 2})
    assert [e.key for e in ledger.entries("m")] == ["a", "b"]
