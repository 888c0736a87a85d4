"""A feed that changes for good: seen, held, accepted by a person, learned by the next training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lr_retune.config import load_config
from lr_retune.stores.ledger import Entry
from lr_retune.stores.promotion import Stores
from tests.conftest import Answer
from tests.worlds import day, rows, world, write

BORN, CHANGED, NOW = 110, 130, 150


def changed(folder: Path, change: Callable[[dict[str, Any]], None], *, since: int = CHANGED) -> None:
    """The world again, cut in two files; the later one is changed."""
    early, late = rows(200), rows(200)
    for columns, keep in ((early, lambda t: t < day(since)), (late, lambda t: t >= day(since))):
        which = [i for i, t in enumerate(columns["ts"]) if keep(t)]
        for name in columns:
            columns[name] = [columns[name][i] for i in which]
    change(late)
    write(folder / "rows", early, "early.parquet")
    write(folder / "rows", late, "late.parquet")


def ledger(folder: Path) -> list[Entry]:
    """The chain of this model, which must hold."""
    found = Stores.open(load_config(folder / "retune.toml")).ledger
    assert found.verify("demo") == []
    return found.entries("demo")


@pytest.fixture
def born(tmp_path: Path, cli: Callable[..., Answer]) -> Callable[..., Answer]:
    """A first champion, and commands about it."""
    path = world(tmp_path, days=200)
    path.write_text(path.read_text().replace('path = "rows.parquet"', 'path = "rows"'))
    changed(tmp_path, lambda late: None)

    def run(*words: object, at: int = NOW) -> Answer:
        return cli(*words, "-c", path, "--as-of", day(at).isoformat(), "--json")

    assert run("bootstrap", at=BORN).code == 0
    return run


def without(name: str) -> Callable[[dict[str, Any]], None]:
    def change(late: dict[str, Any]) -> None:
        del late[name]

    return change


def with_new(late: dict[str, Any]) -> None:
    late["fresh"] = [float(i % 7) for i in range(len(late["ts"]))]
    late["token"] = [f"t{i}" for i in range(len(late["ts"]))]


def in_cents(late: dict[str, Any]) -> None:
    late["a"] = [100 * value + 1000 for value in late["a"]]


def as_text(late: dict[str, Any]) -> None:
    late["a"] = [f"about {value:.0f}" for value in late["a"]]


def test_the_same_feed_has_nothing_to_accept(born: Callable[..., Answer]) -> None:
    assert born("contract", "diff").json["differences"] == []
    found = born("contract", "accept", "--reason", "just so")
    assert (found.code, found.json["ledger_row"]) == (0, None)


@pytest.mark.fault("A1")
@pytest.mark.parametrize(
    ("change", "code"), [(without("a"), "all_null"), (in_cents, "out_of_range"), (as_text, "retyped_column")]
)
def test_a_change_that_holds_runs_goes_on_once_a_person_accepted_it(
    born: Callable[..., Answer], tmp_path: Path, change: Callable[[dict[str, Any]], None], code: str
) -> None:
    changed(tmp_path, change)
    assert born("run").code == 3
    found = born("contract", "diff")
    assert found.code == 3
    assert code in [d["code"] for d in found.json["differences"] if d["blocks"]]
    said = born("contract", "accept", "--actor", "ada", "--reason", "the source changed for good")
    assert said.json["version"] == 2
    assert born("contract", "diff").code == 0
    assert born("check").code == 0
    after = born("run", at=NOW + 1)
    assert after.code == 0, after.err
    assert "contract_changed" in [r["code"] for r in after.json["decision"]["reasons"]]
    assert after.json["challenger"] is not None
    again = born("run", at=NOW + 2)  # one refit, whatever became of it
    assert "contract_changed" not in [r["code"] for r in again.json["decision"]["reasons"]]


@pytest.mark.fault("A1")
def test_each_side_is_scored_on_its_own_columns(born: Callable[..., Answer], tmp_path: Path) -> None:
    changed(tmp_path, without("a"), since=CHANGED)
    assert born("contract", "accept", "--reason", "gone for good", at=165).code == 0
    found = born("run", at=165)
    assert all(v["status"] in ("PASS", "FAIL", "INCONCLUSIVE") for v in found.json["verdicts"]), found.json
    (settled,) = [e.record for e in ledger(tmp_path) if e.kind == "settlement" and e.record["status"] != "BORN"]
    contract = settled["plan"]["contract"]
    assert [c["name"] for c in contract["columns"]] == ["b", "kind"]
    assert [c["name"] for c in settled["champion"]["contract"]["columns"]] == ["a", "b", "kind"]
    assert contract["version"] == 2
    assert settled["judgement"]["losses"]["champion"] > 0


def test_a_new_column_never_blocks_and_is_read_once_accepted(born: Callable[..., Answer], tmp_path: Path) -> None:
    changed(tmp_path, with_new)
    assert born("run").code == 0
    found = born("contract", "diff")
    assert (found.code, found.json["gained"]) == (0, ["fresh"])  # the token is an identifier
    assert born("contract", "accept", "--reason", "a new feature").json["version"] == 2
    assert born("contract", "accept", "--reason", "again").json["ledger_row"] is None
    after = born("run", at=NOW + 1)
    assert "contract_changed" not in [r["code"] for r in after.json["decision"]["reasons"]]  # nothing was blocked
    trained = born("run", at=NOW + 45)  # age
    assert trained.json["decision"]["action"] == "refit", trained.json["decision"]
    plans = [e.record["plan"] for e in ledger(tmp_path) if e.kind == "settlement"]
    assert [c["name"] for c in plans[-1]["contract"]["columns"]] == ["a", "b", "kind", "fresh"]


def test_one_column_can_be_accepted_and_another_still_blocks(born: Callable[..., Answer], tmp_path: Path) -> None:
    def both(late: dict[str, Any]) -> None:
        in_cents(late)
        del late["b"]

    changed(tmp_path, both)
    assert born("contract", "accept", "--column", "a", "--reason", "cents now").code == 0
    found = born("run")
    assert found.code == 3
    assert "'b' has no value" in str(found.json["decision"]["reasons"])
    assert born("contract", "accept", "--column", "kind", "--reason", "no").code == 2
    assert born("contract", "accept", "--column", "b", "--reason", "gone too").json["version"] == 2
    assert born("run").code == 0


def test_an_acceptance_stands_in_the_ledger_with_its_author(born: Callable[..., Answer], tmp_path: Path) -> None:
    changed(tmp_path, in_cents)
    assert born("contract", "accept").code == 2  # no reason
    row = born("contract", "accept", "--actor", "ada", "--reason", "cents").json["ledger_row"]
    (entry,) = [e for e in ledger(tmp_path) if e.kind == "contract"]
    assert (entry.seq, entry.record["actor"], entry.record["reason"]) == (row, "ada", "cents")
    assert born("run", at=NOW - 5).code == 3  # before it was said it does not count
