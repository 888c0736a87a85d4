import importlib.util
import shutil
from pathlib import Path

import pytest

from lr_retune.errors import ConfigError, DependencyError, HeldError
from lr_retune.stores.audit import audit
from lr_retune.stores.ledger import Ledger
from lr_retune.stores.memory import MemoryRegistry
from lr_retune.stores.models import MemoryModels
from lr_retune.stores.promotion import Stores
from tests.postgres import postgres

__all__ = ["postgres"]

_spec = importlib.util.spec_from_file_location("store_rig", Path(__file__).with_name("store_rig.py"))
rig = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rig)

AT = rig.BORN + 13 * rig.DAY


def lived(stores):
    """A birth, two promotions, a refusal and a rollback to the first of the two: versions 1, 2, 3, 2."""
    rig.born(stores)
    rig.promote(stores)
    rig.promote(stores, days=20, rate=0.03, status="FAIL")
    rig.promote(stores, days=30, rate=0.05)
    stores.rollback(None, "ann", "complaints", AT + 40 * rig.DAY, lambda _files: True)
    return stores


@pytest.fixture
def stores(tmp_path):
    return lived(Stores.in_memory(rig.config(tmp_path)))


def on(stores, registry):
    """The same ledger and model files beside another registry."""
    return Stores(stores.ledger, registry, stores.models, stores.config)


def aliases(stores):
    return {role: stores.registry.alias("fraud", role) for role in ("champion", "challenger", "previous")}


def whole(stores):
    """Everything that the ledger knows is shown, and nothing is left to do."""
    found = audit(stores, registry=True)
    assert (found.problems, found.registry) == ((), "agrees")
    assert stores.reconcile(strict=True) == []
    decisions = {
        entry.record["decision"]["id"] for entry in stores.ledger.entries("fraud") if entry.kind == "settlement"
    }
    assert stores.registry.present("fraud") == decisions
    return True


def test_a_registry_that_was_lost_is_rebuilt_from_the_ledger(stores):
    before = aliases(stores), stores.registry.monitors, stores.champion(AT + 99 * rig.DAY)
    new = on(stores, MemoryRegistry())
    notes = new.reconcile(strict=True)
    assert (aliases(new), new.registry.monitors, new.champion(AT + 99 * rig.DAY)) == before
    assert new.registry.versions("fraud") == ["1", "2", "3"]
    assert {run["outcome"] for run in new.registry.runs.values()} == {"promoted", "rejected"}
    assert any("4 judged decisions are shown again" in note and "stay lost" in note for note in notes)
    assert whole(new)
    assert new.rollback("1", "ann", "further back", AT + 50 * rig.DAY, lambda _files: True).version == "1"


def test_numbers_that_differ_afterwards_are_chained_and_used(stores):
    registry = MemoryRegistry()
    for _ in range(2):  # somebody else's versions came first
        registry._versions.setdefault("fraud", []).append(("", {}))
    new = on(stores, registry)
    assert any("version 4, was 2" in note for note in new.reconcile(strict=True))
    assert new.ledger.head("fraud").version == new.champion(AT + 99 * rig.DAY).version == "4"
    assert aliases(new) == {"champion": "4", "challenger": "5", "previous": "5"}
    told = [entry.record["versions"] for entry in new.ledger.entries("fraud") if entry.kind == "registered"]
    assert [sorted(numbers.values()) for numbers in told] == [["3", "4", "4", "5"]]
    assert new.ledger.verify("fraud") == []
    assert whole(new)
    report = rig.promote(new, days=60, rate=0.02)
    assert (report.outcome, report.champion.version) == ("promoted", "6")
    assert aliases(new)["previous"] == "4"
    assert whole(new)


@pytest.mark.fault("F-2")
def test_a_ledger_on_postgresql_is_learned_from_and_learns_the_same(tmp_path, postgres):
    config = rig.config(tmp_path)
    old = lived(Stores(Ledger(postgres.database()), MemoryRegistry(), MemoryModels(), config))
    assert audit(old, registry=True).registry == "agrees"
    registry = MemoryRegistry()
    registry._versions["fraud"] = [("", {})]
    new = on(old, registry)
    new.reconcile(strict=True)
    assert aliases(new) == {"champion": "3", "challenger": "4", "previous": "4"}
    assert new.ledger.head("fraud").version == "3"
    assert whole(new)


class Mortal(MemoryRegistry):
    """Goes away at its n-th call, before it or with its answer lost."""

    left, late = 10**9, False

    def __getattribute__(self, name):
        found = object.__getattribute__(self, name)
        if name not in ("register", "set_alias", "log_decision", "log_monitor"):
            return found

        def counted(*args):
            self.left -= 1
            if self.left or self.late:
                answer = found(*args)
            if not self.left:
                raise DependencyError(f"{name} is away")
            return answer

        return counted


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.fault("E1", "F-1")
def test_a_rebuild_that_is_cut_short_anywhere_is_finished_by_the_next(tmp_path, late):
    calls = 0
    for n in range(1, 30):
        old = lived(Stores.in_memory(rig.config(tmp_path)))
        new = on(old, Mortal())
        new.registry.left, new.registry.late = n, late
        try:
            new.reconcile(strict=True)
        except DependencyError:
            calls += 1
            new.registry.left = 10**9
            new.reconcile(strict=True)
        new.registry.left = 10**9
        assert aliases(new) == aliases(old), n
        assert new.registry.versions("fraud") == ["1", "2", "3"], n
        assert whole(new)
        if calls < n:
            break
    assert calls > 9


@pytest.mark.fault("E6")
def test_a_champion_alias_that_is_gone_is_set_on_a_person_s_word_only(stores):
    del stores.registry._aliases["fraud", "champion"]
    [note] = stores.reconcile(strict=True)
    assert "no champion of fraud in the registry" in note
    assert "reconcile --restore" in note
    assert stores.registry.alias("fraud", "champion") is None
    with pytest.raises(HeldError, match="no champion of fraud in the registry"):
        rig.promote(stores, days=60, rate=0.02)
    assert stores.registry.alias("fraud", "champion") is None
    assert "the alias champion points at version 2 again" in stores.reconcile(strict=True, alias=True)
    assert stores.registry.alias("fraud", "champion") == "2"
    assert whole(stores)


@pytest.mark.fault("E6")
def test_a_version_deleted_under_its_alias_is_registered_again_and_waits_for_a_person(stores):
    stores.registry.forget("fraud", ["2"], [])
    del stores.registry._aliases["fraud", "champion"]
    notes = stores.reconcile(strict=True)
    assert "version 4, was 2" in notes[0]
    assert "the ledger says version 4" in notes[-1]
    assert aliases(stores) == {"champion": None, "challenger": "3", "previous": "3"}
    stores.reconcile(strict=True, alias=True)
    assert aliases(stores)["champion"] == stores.ledger.head("fraud").version == "4"
    assert whole(stores)


@pytest.mark.fault("E5")
def test_an_alias_moved_by_hand_is_left_even_on_that_word(stores):
    stores.registry.set_alias("fraud", "champion", "1")
    [note] = stores.reconcile(strict=True, alias=True)
    assert "was moved by hand to 1" in note
    assert stores.registry.alias("fraud", "champion") == "1"


def test_one_lost_version_and_one_lost_run_come_back_alone(stores):
    lost = next(run for run, told in stores.registry.runs.items() if told["outcome"] == "rejected")
    stores.registry.forget("fraud", ["1"], [lost])
    before = aliases(stores)
    notes = stores.reconcile(strict=True)
    assert len(notes) == 2
    assert stores.registry.versions("fraud")[-1] == "4"
    assert aliases(stores) == before
    assert whole(stores)


def test_what_was_pruned_stays_pruned_and_is_told(stores):
    first = stores.moves[0].champion.model
    body = {"models": [first], "versions": ["1"], "runs": [], "actor": "ann", "keep_days": 1.0}
    stores.ledger.append("fraud", "prune", "p", AT + 50 * rig.DAY, body)
    stores.models.drop(first)
    new = on(stores, MemoryRegistry())
    notes = new.reconcile(strict=True)
    assert sum("`lr-retune prune` deleted its files" in note for note in notes) == 1
    assert new.registry.versions("fraud") == ["1", "2"]
    assert aliases(new) == {"champion": "1", "challenger": "2", "previous": "2"}
    assert audit(new, registry=True).problems == ()


def test_a_champion_whose_files_are_damaged_gets_no_alias(stores):
    stores.models._files[stores.ledger.head("fraud").head]["model.txt"] = b"other"
    new = on(stores, MemoryRegistry())
    notes = new.reconcile(strict=True)
    assert any("once version 2, cannot be registered again" in note for note in notes)
    assert any("no champion of fraud in the registry" in note for note in notes)
    assert new.registry.alias("fraud", "champion") is None
    assert new.ledger.head("fraud").version is None, "its number is another model's now"
    assert new.ledger.verify("fraud") == []
    with pytest.raises(HeldError):
        rig.promote(new, days=60, rate=0.02)
    new.models._files[new.ledger.head("fraud").head] = dict(rig.files(0.07))  # from a backup
    new.reconcile(strict=True, alias=True)
    assert new.registry.alias("fraud", "champion") == new.ledger.head("fraud").version == "4"
    new.reconcile(strict=True)
    assert whole(new)


# ── a real MLflow ─────────────────────────────────────────────────────────────────────────────────
NAMES = {"champion": "production", "challenger": "next-up", "previous": "before"}


def named(stores):
    aliases = stores.registry._client.get_registered_model("fraud").aliases
    return {name: str(version) for name, version in aliases.items()}


def pages(stores):
    """What MLflow says of every version and decision, apart from its own ids."""
    client, found = stores.registry._client, {}
    for shelved in stores.registry.shelf("fraud"):
        version = client.get_model_version("fraud", shelved.version)
        found[shelved.version] = (version.description, version.tags)
    for decision in stores.registry.present("fraud"):
        run = stores.registry._run("fraud", decision, "")
        children = stores.registry._search(f"tags.`mlflow.parentRunId` = '{run.info.run_id}'")
        names = sorted(child.info.run_name for child in children)
        found[decision] = (run.info.run_name, run.info.status, run.data.metrics, run.data.params, names)
    monitor = stores.registry._monitor("fraud").info.run_id
    found["monitor"] = [(m.step, m.value) for m in client.get_metric_history(monitor, "loss")]
    found["aliases"] = named(stores)
    return found


@pytest.mark.fault("E6", "G5")
def test_an_mlflow_replaced_by_an_empty_one_shows_the_same_again_under_the_configured_aliases(tmp_path):
    config = rig.config(tmp_path, mlflow={"aliases": NAMES})
    stores = lived(Stores.open(config))
    before = pages(stores)
    assert before["aliases"] == {"production": "2", "next-up": "3", "before": "3"}
    assert "models:/fraud@production" in stores.registry._client.get_registered_model("fraud").description
    shutil.rmtree(tmp_path / "mlartifacts")
    empty = {"tracking_uri": "sqlite:///anew/mlflow.db", "aliases": NAMES}
    new = Stores.open(rig.config(tmp_path, mlflow=empty))
    assert audit(new, registry=True).registry == "differs"
    new.reconcile(strict=True)
    assert pages(new) == before
    assert whole(new)
    client = new.registry._client
    client.delete_run(new.registry._run("fraud", new.moves[0].id, "").info.run_id)
    client.delete_model_version("fraud", "2")
    notes = new.reconcile(strict=True)
    assert any("version 4, was 2" in note for note in notes)
    assert any("1 judged decisions are shown again" in note for note in notes)
    assert "production" in notes[-1] or "--restore" in notes[-1]
    assert new.registry_alias_moved() == "none"
    new.reconcile(strict=True, alias=True)
    assert named(new) == {"production": "4", "next-up": "3", "before": "3"}
    assert whole(new)


@pytest.mark.parametrize(
    "aliases", [{"champion": "latest"}, {"previous": "v3"}, {"challenger": "a b"}, {"champion": ""}]
)
def test_an_alias_that_mlflow_refuses_is_refused_with_the_configuration(tmp_path, aliases):
    with pytest.raises(ConfigError, match=r"mlflow\.aliases"):
        rig.config(tmp_path, mlflow={"aliases": aliases})


def test_two_aliases_of_one_name_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="three different names"):
        rig.config(tmp_path, mlflow={"aliases": {"champion": "Previous"}})
