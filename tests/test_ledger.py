import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_retune.errors import ConfigError, ConflictError, DependencyError, IntegrityError
from lr_retune.records import TickLoss, content_digest
from lr_retune.stores.ledger import Ledger, Promotion
from lr_retune.stores.memory import MemoryRegistry
from lr_retune.stores.models import MemoryModels
from lr_retune.stores.promotion import Stores
from tests import store_rig as rig
from tests.rig.machine import FusedLedger

T0 = datetime(2020, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "state" / "ledger.db"


def url(file):
    return f"sqlite:///{file}"


def filled(file, entries=4):
    ledger = Ledger(url(file))
    for k in range(entries):
        ledger.append("m", "decision", f"d{k}", T0 + k * DAY, {"figure": k / 3})
    return ledger


def edit(file, statement):
    with sqlite3.connect(file) as connection:
        changed = connection.execute(statement).rowcount
    connection.close()
    assert changed >= 1


def test_entries_come_back_in_order_with_their_time(file):
    found = filled(file).entries("m")
    assert [(e.seq, e.key, e.as_of) for e in found] == [(k + 1, f"d{k}", T0 + k * DAY) for k in range(4)]
    assert found[1].record == {"as_of": (T0 + DAY).isoformat(), "figure": 1 / 3}


def test_the_same_key_twice_is_one_entry_and_the_first_content_stays(file):
    ledger = filled(file)
    again = ledger.append("m", "decision", "d1", T0, {"figure": 99})
    assert again.record["figure"] == 1 / 3
    assert len(ledger.entries("m")) == 4


def test_the_newest_entry_is_last_and_an_unknown_model_is_told(file):
    ledger = filled(file)
    assert ledger.last("m").key == "d3"
    with pytest.raises(ConfigError, match="nothing about other"):
        ledger.last("other")


def test_the_same_entries_give_the_same_chain_on_any_machine(tmp_path):
    chains = [[e.digest for e in filled(tmp_path / name).entries("m")] for name in ("a.db", "b.db")]
    assert chains[0] == chains[1]


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("update entries set record = replace(record, '0.3333', '0.4333') where seq = 2", "entry 2 of m"),
        ("update entries set kind = 'move' where seq = 2", "entry 2 of m"),
        ("update entries set as_of = as_of + 1 where seq = 3", "entry 3 of m carries another time"),
        ("delete from entries where seq = 2", "entry 2 of m is missing"),
        ("delete from entries where seq = 4", "ends at entry 3, and 4 were written"),
        ("update heads set head = 'f00', version = '9'", "the head of m is f00"),
    ],
)
@pytest.mark.fault("G6")
def test_whatever_is_changed_behind_its_back_is_found(file, statement, told):
    ledger = filled(file)
    assert ledger.verify("m") == []
    edit(file, statement)
    assert any(told in problem for problem in ledger.verify("m"))


@pytest.mark.fault("G6")
@settings(max_examples=40, deadline=None)
@given(
    bodies=st.lists(st.dictionaries(st.text(max_size=5), st.floats() | st.text()), min_size=1, max_size=5),
    data=st.data(),
)
def test_one_changed_character_anywhere_breaks_the_chain(bodies, data):
    ledger = Ledger("sqlite://")
    for k, body in enumerate(bodies):
        ledger.append("m", "decision", str(k), T0, body)
    assert ledger.verify("m") == []
    seq = data.draw(st.integers(1, len(bodies)))
    with ledger._writes.begin() as c:
        text = c.exec_driver_sql("select record from entries where seq = ?", (seq,)).scalar()
        at = data.draw(st.integers(0, len(text) - 1))
        other = text[:at] + ("x" if text[at] != "x" else "y") + text[at + 1 :]
        c.exec_driver_sql("update entries set record = ? where seq = ?", (other, seq))
    assert ledger.verify("m") != []


@pytest.mark.fault("F-6")
def test_many_writers_at_once_lose_nothing(file):
    Ledger(url(file))

    def work(writer):
        mine = Ledger(url(file), busy=30)
        for k in range(10):
            mine.append("m", "decision", f"{writer}-{k}", T0, {"k": k})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    ledger = Ledger(url(file))
    assert [e.seq for e in ledger.entries("m")] == list(range(1, 41))
    assert ledger.verify("m") == []


@pytest.mark.fault("F-6")
def test_a_ledger_that_stays_locked_is_a_dependency_error_within_bounds(file):
    ledger = filled(file)
    ledger = Ledger(url(file), busy=0.1)
    holder = sqlite3.connect(file, isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(DependencyError, match="locked") as error:
            ledger.append("m", "decision", "late", T0, {})
    finally:
        holder.close()
    assert error.value.exit_code == 4
    ledger.append("m", "decision", "late", T0, {})
    assert ledger.verify("m") == []


@pytest.mark.fault("F-6")
def test_a_corrupt_file_is_told_with_its_path(file):
    file.parent.mkdir()
    file.write_bytes(b"this is no database" * 100)
    with pytest.raises(DependencyError, match=r"ledger\.db.*not a database"):
        Ledger(url(file))


def test_a_folder_in_place_of_the_file_is_told_with_its_path(tmp_path):
    with pytest.raises(DependencyError, match=tmp_path.name):
        Ledger(url(tmp_path))


def test_a_broken_url_is_a_configuration_error():
    with pytest.raises(ConfigError, match=r"state\.url"):
        Ledger("not a url")


@pytest.mark.fault("E11")
def test_a_ledger_of_a_newer_version_is_refused(file):
    filled(file)
    edit(file, "update schema_version set version = 4")
    with pytest.raises(IntegrityError, match="upgrade lr-retune"):
        Ledger(url(file))


def test_the_head_moves_only_from_where_it_was_expected():
    ledger, candidate = Ledger("sqlite://"), content_digest("model")
    first = Promotion("d1", "bootstrap", "", 0, candidate, "1")
    ledger.prepare("m", first)
    ledger.claim("m", first, T0, {})
    assert (ledger.head("m").head, ledger.head("m").epoch, ledger.head("m").version) == (candidate, 1, "1")
    for stale in (Promotion("d2", "promote", "", 0, "b" * 64), Promotion("d3", "promote", candidate, 0, "b" * 64)):
        ledger.prepare("m", stale)
        with pytest.raises(ConflictError):
            ledger.claim("m", stale, T0, {})
    assert [e.kind for e in ledger.entries("m")] == ["move"]
    assert ledger.verify("m") == []


@pytest.mark.fault("E7")
def test_a_decision_moves_the_head_once_at_most():
    ledger = Ledger("sqlite://")
    first = Promotion("d1", "bootstrap", "", 0, "a" * 64, "1")
    ledger.prepare("m", first)
    ledger.claim("m", first, T0, {})
    assert ledger.prepare("m", first).state == "CLAIMED"
    with pytest.raises(ConflictError, match="once at most"):
        ledger.claim("m", replace(first, expected="a" * 64, expected_epoch=1), T0, {})
    ledger.abandon("m", "d1")
    assert ledger.promotion("m", "d1").state == "CLAIMED"
    ledger.commit("m", "d1")
    assert ledger.promotion("m", "d1").state == "COMMITTED"


def test_tick_losses_are_replaced_by_later_labels_and_never_by_earlier_ones():
    ledger = Ledger("sqlite://")
    early = TickLoss(T0, T0 + DAY, 10, 4, 0.9, mature=False)
    late = TickLoss(T0, T0 + DAY, 10, 10, 0.5)
    ledger.put_ticks("m", "c", [early], T0 + DAY)
    ledger.put_ticks("m", "c", [late], T0 + 9 * DAY)
    ledger.put_ticks("m", "c", [early], T0 + 2 * DAY)
    ledger.put_ticks("m", "other", [early], T0 + 2 * DAY)
    assert ledger.ticks("m", "c") == [late]
    assert ledger.ticks("m", "other") == [early]


def test_models_share_a_database_and_no_chain(file):
    ledger = filled(file)
    ledger.append("n", "decision", "d0", T0, {"figure": 0.0})
    assert ledger.entries("n")[0].seq == 1
    assert ledger.entries("n")[0].digest == ledger.entries("m")[0].digest


@pytest.mark.fault("F-2")
def test_new_numbers_whose_answer_was_lost_stand_in_the_chain_once(tmp_path):
    config = rig.config(tmp_path)
    ledger = FusedLedger(config.state_url())
    champion = rig.born(Stores(ledger, MemoryRegistry(), MemoryModels(), config))
    ledger.fuse.set(1, "lost")
    ledger.renumber("fraud", {champion.decision: ("7", "run-7")}, T0, "the registry lost its versions")
    assert [entry.kind for entry in ledger.entries("fraud")].count("registered") == 1
    assert ledger.head("fraud").version == "7"
    assert ledger.verify("fraud") == []
