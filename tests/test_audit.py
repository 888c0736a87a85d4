import importlib.util
import random
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from lr_retune.config import CAUSES
from lr_retune.errors import ConfigError, DependencyError
from lr_retune.stores import schema
from lr_retune.stores.audit import audit
from lr_retune.stores.chain import chain_digest
from lr_retune.stores.ledger import Promotion
from lr_retune.stores.outbox import Outbox
from lr_retune.stores.pauses import pause
from lr_retune.stores.promotion import Stores
from lr_retune.stores.verify import verify

_spec = importlib.util.spec_from_file_location("store_rig", Path(__file__).with_name("store_rig.py"))
rig = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rig)

AT = rig.BORN + 13 * rig.DAY
# Columns whose edit `audit verify` does not tell, and why that changes no answer.
FREE = {
    ("entries", "created_at"): "the database's clock: nothing reads it",
    ("promotions", "run_id"): "a link into MLflow, where the version carries its own",
    (
        "projections",
        "outcome",
    ): "a note of what was shown: where it differs, reconcile shows it again",
    ("projections", "run_id"): "a link into MLflow: a run is found by its decision's tag",
    **{("outbox", column.name): "a note of what was told: at worst it is told again" for column in schema.outbox.c},
    ("schema_version", "version"): "higher is refused, lower is carried over once more",
}
# Rows that may go: a note of what was shown is made again.
FREE_ROWS = {"outbox", "projections", "schema_version"}
# An attempt that moved nothing and was settled nowhere decides nothing: only `late` is one here.
IDLE = ("promotions", "late")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A birth, a promotion, a refusal, a rollback, a pause, and an attempt that was given up."""
    made = Stores.in_memory(rig.config(tmp_path_factory.mktemp("audit")))
    rig.born(made)
    rig.promote(made)
    rig.promote(made, days=20, rate=0.03, status="FAIL")
    made.rollback(None, "ann", "complaints", AT + 30 * rig.DAY, lambda _files: True)
    pause(made, AT + 60 * rig.DAY, actor="ann", reason="audit", as_of=AT + 31 * rig.DAY)
    made.ledger.prepare("fraud", Promotion("late", "promote", "a" * 64, 2, "b" * 64))
    made.ledger.abandon("fraud", "late")
    Outbox(made.ledger, "fraud", ("webhook",), CAUSES).join()
    assert made.ledger.verify("fraud") == []
    return made


def told(ledger, statement):
    """What is found after an edit that is then undone."""
    with ledger._writes.connect() as c, c.begin() as transaction:
        c.execute(statement)
        found = verify(c, "fraud")
        transaction.rollback()
    return found


def other(value, rng):
    """Something of the same kind that is not it."""
    if isinstance(value, str) and value:
        at = rng.randrange(len(value))
        return value[:at] + ("0" if value[at] != "0" else "1") + value[at + 1 :]
    if isinstance(value, int | float):
        return value + rng.choice([-1, 1])
    return "9" if value in (None, "") else None


def cells(ledger):
    found = []
    with ledger._reads.connect() as c:
        for table in schema.tables.sorted_tables:
            found += [(table, dict(row)) for row in c.execute(sa.select(table)).mappings()]
    return found


def here(table, row):
    return [table.c[column.name] == row[column.name] for column in table.primary_key]


@pytest.mark.fault("G6")
def test_an_edit_of_any_column_of_any_row_is_found_or_changes_no_answer(stores):
    rng, silent, seen = random.Random(6), set(), 0
    for table, row in cells(stores.ledger):
        if (table.name, row.get("decision")) == IDLE:
            continue
        for column in table.c:
            new = other(row[column.name], rng) if column.name != "created_at" else sa.text("'2000-01-01 00:00:00'")
            seen += 1
            try:
                found = told(stores.ledger, table.update().where(*here(table, row)).values({column.name: new}))
            except sa.exc.IntegrityError:
                continue  # the database itself refuses it
            if not found:
                silent.add((table.name, column.name))
    assert silent == set(FREE)
    assert seen > 150


@pytest.mark.fault("G6")
def test_a_row_that_goes_is_found_wherever_something_rests_on_it(stores):
    gone = {}
    for table, row in cells(stores.ledger):
        if (table.name, row.get("decision")) != IDLE:
            gone.setdefault(table.name, []).append(bool(told(stores.ledger, table.delete().where(*here(table, row)))))
    assert {name for name, found in gone.items() if not all(found)} == FREE_ROWS
    assert set(gone) == {table.name for table in schema.tables.sorted_tables}


@pytest.mark.fault("G6")
def test_two_entries_in_another_order_are_found(stores):
    e = schema.entries.c
    swapped = sa.case((e.seq == 3, 1004), (e.seq == 4, 1003), else_=e.seq)
    assert told(stores.ledger, schema.entries.update().values(seq=swapped))


FORGED = {
    "a promotion nobody made": schema.promotions.insert().values(
        model="fraud", decision="forged", kind="promote", expected="c" * 64, expected_epoch=3,
        candidate="d" * 64, version="9", run_id="r", state="COMMITTED",
    ),
    "a claim nobody made": schema.promotions.update().where(schema.promotions.c.decision == "late").values(
        state="CLAIMED", expected_epoch=7
    ),
    "a tick nobody saw": schema.ticks.insert().values(
        model="fraud", start=0, champion="a" * 64, end=1, rows=1, matured=1, loss=0.1, mature=1, label_cut=2
    ),
    "rows of a model without a head": schema.ticks.insert().values(
        model="stranger", start=0, champion="a" * 64, end=1, rows=1, matured=1, loss=0.1, mature=1, label_cut=2
    ),
    "a settlement shown that was none": schema.projections.insert().values(
        model="fraud", key="forged", outcome="promoted", run_id="r"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FORGED)
@pytest.mark.fault("G6")
def test_a_forged_row_is_found(stores, what):
    assert told(stores.ledger, FORGED[what])


def rewrite(c, kind, old, new):
    """Edit the last record of a kind and make the chain whole again, as somebody with the source could."""
    e, h, prev = schema.entries.c, schema.heads.c, ""
    rows = c.execute(sa.select(schema.entries).where(e.model == "fraud").order_by(e.seq)).mappings().all()
    at = max(row["seq"] for row in rows if row["kind"] == kind and old in row["record"])
    for row in rows:
        record = row["record"].replace(old, new) if row["seq"] == at else row["record"]
        digest = chain_digest(prev, row["kind"], row["key"], record)
        c.execute(schema.entries.update().where(e.seq == row["seq"]).values(record=record, prev=prev, digest=digest))
        prev = digest
    c.execute(schema.heads.update().where(h.model == "fraud").values(tail=prev))


@pytest.mark.parametrize(
    ("kind", "old", "new", "said"),
    [
        ("settlement", '"seed":0', '"seed":1', "its content gives the key"),
        ("settlement", '"status":"FAIL"', '"status":"PASS"', "it names no next champion"),
        ("settlement", '"action":"search"', '"action":"refit"', "gives the key"),
        ("settlement", '"reasons":[{"code":"age"', '"reasons":[{"code":"rise"', "not the one that was filed"),
        ("move", '"version":"2"', '"version":"1"', "version"),
        ("move", '"kind":"rollback"', '"kind":"promote"', "kind"),
    ],
)
@pytest.mark.fault("G6")
def test_a_chain_made_whole_again_over_an_edit_contradicts_itself_and_its_pinned_tail(stores, kind, old, new, said):
    pin = audit(stores).tail
    with stores.ledger._writes.connect() as c, c.begin() as transaction:
        rewrite(c, kind, old, new)
        found = verify(c, "fraud")
        newest = c.execute(sa.select(schema.heads.c.tail)).scalar()
        transaction.rollback()
    assert any(said in line for line in found)
    assert not pin.endswith(newest)


@pytest.mark.fault("G6")
def test_a_tail_cut_off_together_with_its_head_is_found_by_the_pin_alone(tmp_path):
    stores = Stores.in_memory(rig.config(tmp_path))
    rig.born(stores)
    before = audit(stores)
    pause(stores, AT, actor="ann", reason="audit", as_of=rig.BORN)
    pin = audit(stores).tail
    assert audit(stores, before.tail).problems == audit(stores, pin[:12]).problems == ()
    seq, digest = before.tail.split(":")

    def cut(c: sa.Connection) -> None:
        c.execute(schema.entries.delete().where(schema.entries.c.seq > int(seq)))
        c.execute(schema.heads.update().values(seq=int(seq), tail=digest))

    stores.ledger.writing(cut)
    assert audit(stores).problems == ()
    assert "its tail was cut off" in audit(stores, pin).problems[0]
    assert "written anew" in audit(stores, f"{seq}:{'0' * 64}").problems[0]
    with pytest.raises(ConfigError, match="SEQ:DIGEST"):
        audit(stores, "the newest")


# ── ledger against registry ───────────────────────────────────────────────────────────────────────
def swap(registry):
    registry._versions["fraud"][1][1]["model.txt"] = b"other"


def retag(registry):
    registry._versions["fraud"][1] = ("another decision", registry._versions["fraud"][1][1])


@pytest.mark.parametrize(
    ("tamper", "said"),
    [
        (lambda registry: registry.set_alias("fraud", "champion", "1"), "alias champion points at 1"),
        (lambda registry: registry._aliases.clear(), "alias champion points at none"),
        (lambda registry: registry.forget("fraud", ["1"], []), "version 1 of fraud is gone"),
        (swap, "version 2 of fraud carries"),
        (retag, "version 2 of fraud carries decision another"),
    ],
)
@pytest.mark.fault("G5")
def test_a_registry_that_says_otherwise_is_found(tmp_path, tamper, said):
    stores = Stores.in_memory(rig.config(tmp_path))
    rig.born(stores)
    rig.promote(stores)
    assert (audit(stores, registry=True).problems, audit(stores, registry=True).registry) == ((), "agrees")
    tamper(stores.registry)
    found = audit(stores, registry=True)
    assert any(said in problem for problem in found.problems), found
    assert found.registry == "differs"
    assert stores.ledger.verify("fraud") == []


@pytest.mark.fault("F-1")
def test_with_the_registry_away_the_ledger_is_verified_and_that_is_said(stores, monkeypatch):
    def away(_name):
        raise DependencyError("MLflow is away")

    monkeypatch.setattr(stores.registry, "shelf", away)
    found = audit(stores, registry=True)
    assert (found.problems, found.registry) == ((), "away")
    assert "MLflow is away" in found.notes[0]
    assert found.exit_code == 4
    assert (audit(stores).registry, audit(stores).exit_code) == ("not asked", 0)


# ── the commands ──────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("E6", "G5", "G6")
def test_the_commands_tell_it_in_their_exit_codes(home, cli):
    whole = cli("audit", "verify", "--registry", "--json")
    assert (whole.code, whole.json["registry"], whole.json["problems"]) == (0, "agrees", [])
    pin = whole.json["tail"]
    assert cli("audit", "verify", "--expect", pin).code == 0
    assert f"tail: {pin}" in cli("audit", "verify").out
    with sqlite3.connect(home / "mlflow.db") as connection:
        connection.execute("DELETE FROM registered_model_aliases WHERE alias = 'champion'")
    connection.close()
    assert "points at none" in cli("audit", "verify", "--registry").out
    assert cli("audit", "verify", "--registry").code == 6
    told = cli("reconcile", "--json")
    assert (told.code, "reconcile --restore" in told.json["tidied"][-1]) == (0, True)
    assert cli("reconcile", "--restore", "--json").json["tidied"] == ["the alias champion points at version 2 again"]
    assert cli("audit", "verify", "--registry").code == 0
    assert cli("audit", "verify", "--expect", "99:" + pin.partition(":")[2]).code == 6
    assert cli("audit", "verify", "--expect", "nonsense").code == 2
