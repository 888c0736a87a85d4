import importlib.util
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from lr_retune.errors import ConfigError, ConflictError, DependencyError, HeldError, IntegrityError
from lr_retune.records import files_digest
from lr_retune.stores.filed import environment
from lr_retune.stores.ledger import Ledger
from lr_retune.stores.memory import MemoryRegistry
from lr_retune.stores.models import FileModels, MemoryModels
from lr_retune.stores.promotion import Stores, models_folder

_spec = importlib.util.spec_from_file_location("store_rig", Path(__file__).with_name("store_rig.py"))
rig = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rig)

AT = rig.BORN + 13 * rig.DAY


@pytest.fixture
def stores(tmp_path):
    return Stores.in_memory(rig.config(tmp_path))


def yes(_files):
    return True


def test_without_a_champion_the_error_names_the_command(stores):
    with pytest.raises(ConfigError, match="lr-retune bootstrap") as error:
        stores.champion(AT)
    assert error.value.exit_code == 2


def test_a_bootstrap_makes_the_first_champion_and_refuses_a_second(stores):
    champion = rig.born(stores)
    assert champion.version == "1"
    assert stores.champion(AT) == replace(champion, run_id=stores.champion(AT).run_id)
    assert stores.history(AT).born == rig.BORN
    with pytest.raises(ConfigError, match="has a champion already"):
        rig.born(stores, rate=0.2)


def test_a_champion_is_not_seen_before_it_was_born(stores):
    rig.born(stores)
    with pytest.raises(ConfigError, match="had no champion at"):
        stores.champion(rig.BORN - rig.DAY)


def test_a_challenger_that_passed_becomes_champion_with_its_own_promise(stores):
    old = rig.born(stores)
    report = rig.promote(stores)
    new = report.champion
    assert report.outcome == "promoted"
    assert (new.learning_rate, new.epoch, new.promised) == (0.07, old.epoch + 1, 0.42)
    assert stores.registry.alias("fraud", "champion") == new.version == "2"
    assert stores.registry.alias("fraud", "previous") == "1"
    assert stores.ledger.verify("fraud") == []


@pytest.mark.parametrize(
    ("status", "outcome"), [("FAIL", "rejected"), ("ERROR", "rejected"), ("INCONCLUSIVE", "inconclusive")]
)
@pytest.mark.fault("H1")
def test_nothing_but_a_pass_promotes(stores, status, outcome):
    old = rig.born(stores)
    report = rig.promote(stores, status=status)
    assert report.outcome == outcome
    assert report.champion.model == old.model == stores.champion(AT + rig.DAY).model
    assert stores.history(AT + rig.DAY).last_settled == AT


@pytest.mark.fault("D2")
def test_a_run_without_any_model_settles_as_inconclusive(stores):
    champion = rig.born(stores)
    nothing = replace(rig.result(stores, 0.07), challenger=None)
    report = stores.settle(rig.seen(champion, AT), rig.plan(AT), nothing, rig.judgement("PASS"))
    assert report.outcome == "inconclusive"
    assert stores.registry.versions("fraud") == ["1"]


@pytest.mark.fault("E7")
def test_the_same_run_repeated_gives_the_same_answer_and_one_version(stores):
    rig.born(stores)
    first, second = rig.promote(stores), rig.promote(stores)
    assert first == second
    assert stores.registry.versions("fraud") == ["1", "2"]
    assert len(stores.history(AT + rig.DAY).decisions) == 1


def test_a_run_does_not_see_its_own_promotion_and_the_next_one_does(stores):
    old = rig.born(stores)
    new = rig.promote(stores).champion
    assert stores.champion(AT).model == old.model
    assert stores.champion(AT + rig.DAY).model == new.model


def test_history_is_cut_strictly_before_as_of(stores):
    rig.born(stores)
    rig.promote(stores)
    assert stores.history(AT).decisions == ()
    past = stores.history(AT + rig.DAY)
    assert [(d.action, d.outcome, d.codes) for d in past.decisions] == [("search", "promoted", ("age",))]
    assert past.last_search == AT


def test_a_key_settled_under_another_decision_settles_that_one_too(stores):
    champion = rig.born(stores)
    same = rig.plan(AT, digest="d" * 64)
    for days in (0, 1):
        report = rig.seen(champion, AT + days * rig.DAY)
        stores.record(report.facts, report.decision)
        stores.settle(report, same, rig.result(stores, 0.07), rig.judgement("FAIL"))
    outcomes = [d.outcome for d in stores.history(AT + 2 * rig.DAY).decisions]
    assert outcomes == ["rejected", "rejected"]


def test_a_promotion_against_an_old_champion_is_a_conflict_and_changes_nothing(stores):
    old = rig.born(stores)
    winner = rig.promote(stores, rate=0.07).champion
    with pytest.raises(ConflictError) as error:
        rig.promote(stores, days=14, rate=0.05, champion=old)
    assert error.value.exit_code == 5
    assert stores.champion(AT + 9 * rig.DAY).model == winner.model
    assert stores.registry.alias("fraud", "champion") == winner.version
    assert stores.ledger.verify("fraud") == []


@pytest.mark.fault("E3", "H6")
def test_of_many_promoters_at_once_exactly_one_wins(tmp_path):
    registry, config = MemoryRegistry(), rig.config(tmp_path)
    one = Stores(Ledger(config.state_url()), registry, MemoryModels(), config)
    champion = rig.born(one)
    barrier, outcomes = threading.Barrier(4), []

    def work(number):
        mine = Stores(Ledger(config.state_url(), busy=20), registry, one.models, config)
        barrier.wait()
        try:
            report = rig.seen(champion, AT + number * rig.DAY)
            found = mine.settle(
                report, rig.plan(AT + number * rig.DAY), rig.result(mine, 0.01 * (number + 1)), rig.judgement()
            )
            outcomes.append(found.outcome)
        except ConflictError:
            outcomes.append("conflict")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict", "conflict", "conflict", "promoted"]
    head = one.ledger.head("fraud")
    assert head.epoch == 2
    assert registry.alias("fraud", "champion") == head.version
    assert one.ledger.verify("fraud") == []


@pytest.mark.fault("E5", "G5")
def test_an_alias_moved_by_hand_is_told_and_never_overwritten(stores):
    rig.born(stores)
    rig.promote(stores)
    stores.registry.set_alias("fraud", "champion", "1")
    assert stores.registry_alias_moved() == "1"
    with pytest.raises(HeldError, match="by hand") as error:
        rig.promote(stores, days=20, rate=0.03)
    assert error.value.exit_code == 10
    assert any("moved by hand to 1" in note for note in stores.reconcile())
    assert stores.registry.alias("fraud", "champion") == "1"


@pytest.mark.fault("E6")
def test_a_deleted_alias_is_no_first_deployment(stores):
    rig.born(stores)
    stores.registry._aliases.clear()
    assert stores.registry_alias_moved() == "none"
    with pytest.raises(HeldError, match="no champion of fraud in the registry"):
        rig.promote(stores)


def test_a_passed_challenger_held_back_can_be_promoted_by_a_person(stores):
    rig.born(stores)
    rig.promote(stores)
    stores.registry.set_alias("fraud", "champion", "1")
    report = rig.seen(stores.champion(AT + 7 * rig.DAY), AT + 7 * rig.DAY)
    with pytest.raises(HeldError):
        rig.promote(stores, days=20, rate=0.03)
    stores.registry.set_alias("fraud", "champion", "2")
    champion = stores.promote(report.decision.id, "ann", "alias put back")
    assert champion.learning_rate == 0.03
    assert stores.registry.alias("fraud", "champion") == champion.version
    with pytest.raises(ConfigError, match="no challenger that passed"):
        stores.promote("nobody", "ann", "why not")


def test_a_late_promote_meets_the_champion_that_came_meanwhile(stores):
    rig.born(stores)
    stores.registry.set_alias("fraud", "challenger", "1")
    stores.registry._aliases["fraud", "champion"] = "9"
    report = rig.seen(stores.champion(AT), AT)
    with pytest.raises(HeldError):
        rig.promote(stores)
    stores.registry.set_alias("fraud", "champion", "1")
    rig.promote(stores, days=14, rate=0.02)
    with pytest.raises(ConflictError):
        stores.promote(report.decision.id, "ann", "too late")


@pytest.mark.fault("H3", "H5")
def test_a_rollback_restores_the_former_champion_and_bans_the_other(stores):
    old = rig.born(stores)
    bad = rig.promote(stores).champion
    back = stores.rollback(None, "ann", "complaints", AT + 2 * rig.DAY, yes)
    assert (back.model, back.version, back.epoch) == (old.model, "1", bad.epoch + 1)
    assert stores.registry.alias("fraud", "champion") == "1"
    again = rig.promote(stores, days=20)  # the same rate on the same bytes: the very model
    assert again.outcome == "rejected"
    assert again.judgement.verdicts[-1].code == "LRR401"
    with pytest.raises(HeldError, match="no earlier champion"):
        stores.rollback(None, "ann", "once more", AT + 3 * rig.DAY, yes)


def test_a_rollback_by_a_run_is_repeated_without_a_second_move(stores):
    rig.born(stores)
    rig.promote(stores)
    later = AT + 2 * rig.DAY
    first = stores.rollback(None, "run", "probation", later, yes, decision="d1")
    second = stores.rollback(None, "run", "probation", later, yes, decision="d1")
    assert first == second
    assert stores.ledger.head("fraud").epoch == first.epoch == 3
    assert stores.champion(later).epoch == 2
    assert stores.champion(later + rig.DAY).epoch == 3


def test_a_person_s_rollback_is_seen_by_runs_at_any_simulated_time(stores):
    old = rig.born(stores)
    rig.promote(stores)
    stores.rollback(None, "ann", "complaints", rig.BORN + 3000 * rig.DAY, yes)
    assert stores.champion(AT + rig.DAY).model == old.model


@pytest.mark.fault("H4")
def test_a_rollback_passes_over_a_version_that_does_not_reproduce_itself(stores):
    first = rig.born(stores)
    middle = rig.promote(stores, days=13, rate=0.07).champion
    rig.promote(stores, days=20, rate=0.05)
    refused = []

    def only_first(files):
        refused.append(files_digest(files))
        return files_digest(files) == first.model

    assert stores.rollback(None, "ann", "why", AT + 30 * rig.DAY, only_first).model == first.model
    assert refused == [middle.model, first.model]


@pytest.mark.fault("H4")
def test_a_rollback_to_a_named_bad_version_is_refused(stores):
    rig.born(stores)
    rig.promote(stores)
    with pytest.raises(IntegrityError, match="golden"):
        stores.rollback("1", "ann", "why", AT + rig.DAY, lambda _files: False)
    assert stores.ledger.head("fraud").version == "2"
    with pytest.raises(ConfigError, match="version 77 was never champion"):
        stores.rollback("77", "ann", "why", AT + rig.DAY, yes)


class Broken(MemoryRegistry):
    """Fails on one method until told otherwise."""

    broken = ""

    def __getattribute__(self, name):
        if name == object.__getattribute__(self, "broken"):
            raise DependencyError(f"{name} is away")
        return object.__getattribute__(self, name)


@pytest.mark.parametrize("method", ["register", "alias", "set_alias", "log_decision"])
@pytest.mark.fault("E1", "E2")
def test_a_registry_that_goes_away_loses_no_decision(tmp_path, method):
    config, registry = rig.config(tmp_path), Broken()
    stores = Stores(Ledger("sqlite://"), registry, MemoryModels(), config)
    rig.born(stores)
    registry.broken = method
    with pytest.raises(DependencyError):
        rig.promote(stores)
    assert any("is away" in note or "given up" in note for note in stores.reconcile())
    with pytest.raises(DependencyError):
        stores.reconcile(strict=True) if method == "alias" else rig.promote(stores)
    registry.broken = ""
    stores.reconcile()
    assert registry.alias("fraud", "champion") == stores.ledger.head("fraud").version
    report = rig.promote(stores)
    assert report.outcome == "promoted"
    assert registry.versions("fraud") == ["1", "2"]
    assert registry.alias("fraud", "champion") == "2"
    assert stores.reconcile() == []
    assert stores.ledger.verify("fraud") == []


def test_a_monitor_that_is_away_does_not_stop_a_record(tmp_path):
    registry = Broken()
    stores = Stores(Ledger("sqlite://"), registry, MemoryModels(), rig.config(tmp_path))
    champion = rig.born(stores)
    registry.broken = "log_monitor"
    report = rig.seen(champion, AT)
    assert stores.record(report.facts, report.decision) == ["log_monitor is away"]
    assert len(stores.history(AT + rig.DAY).decisions) == 1


@pytest.mark.fault("E4")
def test_a_process_that_slept_through_a_newer_promotion_does_not_win_the_alias(stores):
    rig.born(stores)
    registry = stores.registry
    real, slept = registry.set_alias, []

    def sleepy(name, alias, version):
        if alias == "champion" and not slept:
            slept.append(version)  # another process finishes this promotion and makes one of its own
            other = Stores(stores.ledger, registry, stores.models, stores.config)
            other.reconcile()
            rig.promote(other, days=20, rate=0.01)
        real(name, alias, version)

    registry.set_alias = sleepy
    try:
        rig.promote(stores)
    finally:
        registry.set_alias = real
    assert slept == ["2"]
    assert registry.alias("fraud", "champion") == stores.ledger.head("fraud").version == "3"


@pytest.mark.fault("G1", "G2")
def test_a_swapped_model_file_is_refused_before_anything_loads_it(tmp_path):
    config = rig.config(tmp_path)
    stores = Stores(Ledger(config.state_url()), MemoryRegistry(), FileModels(models_folder(config)), config)
    champion = rig.born(stores)
    file = models_folder(config) / champion.model / "model.txt"
    file.write_bytes(b"left_child=0")
    with pytest.raises(IntegrityError) as error:
        stores.files(champion)
    assert error.value.exit_code == 6
    file.unlink()
    with pytest.raises(IntegrityError):
        stores.files(champion)


def test_files_that_this_machine_lacks_come_from_the_registry_if_their_digest_holds(stores):
    champion = rig.born(stores)
    stores.models._files.clear()
    assert files_digest(stores.files(champion)) == champion.model
    stores.models._files.clear()
    stores.registry._versions["fraud"][0][1]["model.txt"] = b"other"
    with pytest.raises(IntegrityError, match="version 1"):
        stores.files(champion)


def test_the_key_depends_on_everything_that_decides_the_bytes(stores, tmp_path):
    champion, plan = rig.born(stores), rig.plan(AT)
    other = Stores(stores.ledger, stores.registry, stores.models, rig.config(tmp_path, seed=7))
    keys = {
        stores.key(champion, plan, "refit"),
        stores.key(replace(champion, epoch=9), plan, "refit"),
        stores.key(replace(champion, model="f" * 64), plan, "refit"),
        stores.key(champion, rig.plan(AT, digest="e" * 64), "refit"),
        other.key(champion, plan, "refit"),
        stores.key(champion, plan, "search"),
    }
    assert len(keys) == 6
    assert stores.key(replace(champion, version="8"), plan, "refit") == stores.key(champion, plan, "refit")
    assert set(environment()) == {"python", "numpy", "lightgbm", "scikit-learn", "skops"}


def test_a_settlement_is_found_by_its_decision_and_a_birth_is_none(stores):
    born = rig.born(stores)
    report = rig.promote(stores, status="FAIL")
    assert stores.settlement(report.decision.id).record["status"] == "FAIL"
    assert stores.settlement(born.decision) is None
    assert stores.settlement("unknown") is None


@pytest.mark.fault("G1", "G5")
def test_a_swapped_copy_in_the_registry_is_found_although_the_local_one_is_sound(stores):
    champion = rig.born(stores)
    stores.verify_files(champion.model, champion.version)
    stores.registry._versions["fraud"][0][1]["model.txt"] = b"other"
    stores.verify_files(champion.model)
    with pytest.raises(IntegrityError, match="version 1"):
        stores.verify_files(champion.model, champion.version)
