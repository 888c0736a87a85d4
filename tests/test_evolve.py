"""A feed that changes for good: seen, held, accepted by a person, learned by the next training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lr_retune.config import load_config
from lr_retune.evolve import accept
from lr_retune.plugins import load_plugins
from lr_retune.records import TRAINING_ACTIONS, Report
from lr_retune.replay.walk import ungated
from lr_retune.retune import bootstrap, retune
from lr_retune.stores.chronicle import Chronicle
from lr_retune.stores.ledger import Entry
from lr_retune.stores.promotion import Stores
from lr_retune.watch.baselines import always
from tests.conftest import Answer
from tests.worlds import AGE_TRAINS, day, rows, world, write

BORN, CHANGED, NOW = 110, 130, 150


def changed(folder: Path, change: Callable[[dict[str, Any]], None], *, since: int = CHANGED, days: int = 200) -> None:
    """The world again, cut in two files; the later one is changed."""
    early, late = rows(days), rows(days)
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
    path = world(tmp_path, days=200, more=AGE_TRAINS)
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
    assert trained.json["decision"]["action"] in TRAINING_ACTIONS, trained.json["decision"]
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


# ── over several trainings ────────────────────────────────────────────────────────────────────────
def trainings(folder: Path, change: Callable[[dict[str, Any]], None], *days: int) -> tuple[Stores, list[Report]]:
    """A champion from before the change, an acceptance at NOW, then a refit that is promoted at each of the days."""
    path = world(folder, days=max(days))
    text = path.read_text().replace('path = "rows.parquet"', 'path = "rows"')
    path.write_text(text.replace("max_steps = 400", "max_steps = 2000"))
    changed(folder, change, days=max(days))
    config = load_config(path)
    plugins = replace(load_plugins(config), gates=(ungated,))
    stores = Stores.open(config)
    bootstrap(config, stores, day(BORN), plugins=plugins)
    assert accept(config, stores, day(NOW), actor="ada", reason="for good")[0] is not None
    return stores, [retune(config, stores, day(n), plugins=plugins, policy=always) for n in days]


@pytest.mark.fault("A1")
@pytest.mark.parametrize("change", [in_cents, as_text])
def test_what_was_accepted_holds_no_run_until_it_was_learned_and_is_not_given_up_after(
    tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    """The first training ends before the change: valid and holdout lie in between."""
    stores, found = trainings(tmp_path, change, NOW + 1, NOW + 15, NOW + 60, NOW + 110)
    assert [report.outcome for report in found] == ["promoted"] * 4
    assert not any(fault.matters for report in found for fault in report.facts.faults)
    acceptance = next(e.key for e in ledger(tmp_path) if e.kind == "contract")
    learned = [report.champion.contract.accepted for report in found]
    assert learned == [None, None, acceptance, acceptance]  # and no later training forgets it
    assert stores.accepted(day(NOW + 20)) is not None
    assert stores.accepted(day(NOW + 200)) is None  # or the next real fault of that kind would be let through


def test_a_column_that_was_accepted_as_text_is_learned_as_text(tmp_path: Path) -> None:
    _, (first, _) = trainings(tmp_path, as_text, NOW + 1, NOW + 60)
    assert {c.name: c.kind for c in first.champion.contract.columns}["a"] == "category"


def test_a_champion_that_was_rolled_back_to_is_excused_by_all_it_has_not_learned(tmp_path: Path) -> None:
    def both(late: dict[str, Any]) -> None:
        in_cents(late)
        del late["b"]

    path = world(tmp_path, days=200)
    path.write_text(path.read_text().replace('path = "rows.parquet"', 'path = "rows"'))
    changed(tmp_path, both)
    config = load_config(path)
    stores = Stores.open(config)
    born = bootstrap(config, stores, day(BORN))
    first, _ = accept(config, stores, day(NOW), actor="ada", reason="cents", only=["a"])
    assert first is not None
    stores.accept(day(NOW + 1), {**first.record, "waived": [("b", "all_null")], "version": 3})
    newest = stores.accepted(day(NOW + 2))
    assert newest is not None
    assert newest.version == 3
    assert {column for column, _ in newest.waived} == {"a", "b"}
    learned = replace(born, contract=replace(born.contract, accepted=first.key))
    after = Chronicle(stores.ledger, "demo").accepted(day(NOW + 2), learned)
    assert after is not None
    assert after.waived == (("b", "all_null"),)
    assert Chronicle(stores.ledger, "demo").accepted(day(NOW - 1), learned) is None
