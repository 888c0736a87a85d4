import importlib.util
import math
import socket
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lr_retune.errors import DependencyError, HeldError, IntegrityError
from lr_retune.records import files_digest
from lr_retune.stores.describe import NO_BREAK
from lr_retune.stores.mlflow import MLflowRegistry
from lr_retune.stores.promotion import Stores, models_folder

_spec = importlib.util.spec_from_file_location("store_rig", Path(__file__).with_name("store_rig.py"))
rig = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rig)

AT = rig.BORN + 13 * rig.DAY


def values(run, key):
    return run.data.metrics.get(key)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A birth, two watched days and a promotion on a real MLflow, from another working directory."""
    root, elsewhere = tmp_path_factory.mktemp("project"), tmp_path_factory.mktemp("elsewhere")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(elsewhere)
        stores = Stores.open(rig.config(root))
        rig.born(stores)
        report = rig.promote(stores)
        assert list(elsewhere.iterdir()) == []
    return stores, report, root


def test_everything_lies_beside_the_configuration(told):
    stores, _, root = told
    assert {p.name for p in root.iterdir()} == {"lr_retune.db", "lr_retune_models", "mlflow.db", "mlartifacts"}
    assert models_folder(stores.config) == root / "lr_retune_models"


def test_a_version_tells_what_it_replaced_by_how_much_and_how_to_undo_it(told):
    stores, report, _ = told
    version = stores.registry._client.get_model_version("fraud", report.champion.version)
    assert "Replaced version 1 on 2019-03-14 (search)" in version.description
    assert "a gain of +2.3%, 90 % interval +0.5% to +3.5%" in version.description
    assert "lr-retune rollback" in version.description
    assert version.tags["lr_retune.decision_id"] == report.decision.id
    assert version.tags["lr_retune.digest"] == report.champion.model
    assert version.tags["lr_retune.learning_rate"] == "0.07"
    assert version.tags["lr_retune.replaces"] == "1"
    assert stores.registry.alias("fraud", "champion") == stores.registry.alias("fraud", "challenger") == "2"
    assert stores.registry.alias("fraud", "previous") == "1"


def test_a_run_shows_the_decision_and_one_child_per_trial(told):
    stores, report, _ = told
    client = stores.registry._client
    run = client.get_run(report.run_id)
    assert run.info.run_name == "2019-03-14 promoted: search, rate 0.07"
    assert run.info.status == "FINISHED"
    assert values(run, "loss.challenger") == 0.42
    assert run.data.params["champion_learning_rate"] == "0.1"
    assert "| paired_loss (LRR101) | PASS | better by 2 % \\| on 28 ticks |" in run.data.tags["mlflow.note.content"]
    assert [a.path for a in client.list_artifacts(report.run_id)] == ["decision.json", "model"]
    children = stores.registry._search(f"tags.`mlflow.parentRunId` = '{report.run_id}'")
    assert [(c.info.run_name, c.info.status) for c in children] == [
        ("candidate, rate 0.07", "FINISHED"),
        ("candidate, rate 9", "FAILED"),
    ]
    curve = client.get_metric_history(children[0].info.run_id, "valid_loss")
    assert [(m.step, m.value) for m in curve] == [(1, 0.6), (2, 0.5), (3, 0.42)]


@pytest.mark.fault("E7")
def test_repeating_a_settled_run_adds_nothing(told):
    stores, report, _ = told
    before = len(stores.registry._search(""))
    assert rig.promote(stores).run_id == report.run_id
    record = _record(stores)
    stores.registry.log_decision("fraud", record, record["result"]["trials"], {})
    assert len(stores.registry._search("")) == before
    assert stores.registry.versions("fraud") == ["1", "2"]
    assert stores.registry.find("fraud", report.decision.id) == "2"
    assert stores.registry.find("fraud", "unknown") is None


def _record(stores):
    settled = [e.record for e in stores.ledger.entries("fraud") if e.kind == "settlement"]
    return settled[-1] | {"outcome": "promoted"}


@pytest.mark.fault("F11")
def test_no_metric_is_ever_infinite(told):
    _, _, root = told
    connection = sqlite3.connect(root / "mlflow.db")
    logged = [row[0] for row in connection.execute("select value from metrics")]
    connection.close()
    assert len(logged) > 8
    assert all(math.isfinite(value) and abs(value) < 1e6 for value in logged)


def test_the_monitor_run_shows_each_mature_tick_once(told):
    stores, report, _ = told
    monitor = stores.registry._monitor("fraud")

    def shown():
        return stores.registry._client.get_metric_history(monitor.info.run_id, "loss")

    first = [(m.step, m.value) for m in shown()]
    assert [value for _, value in first] == [0.45, 0.44]  # two mature ticks; the third waits for labels
    assert first[1][0] == first[0][0] + 1
    stores.registry.log_monitor("fraud", report.facts.ticks)
    assert [(m.step, m.value) for m in shown()] == first
    late = replace(report.facts.ticks[2], mature=True)
    stores.registry.log_monitor("fraud", [*report.facts.ticks[:2], late])
    assert [m.value for m in shown()] == [0.45, 0.44, 0.43]


def test_the_monitor_run_reads_as_a_log_of_every_decision_with_the_way_to_its_page(told):
    stores, report, _ = told
    row = {"action": "keep", "outcome": "kept", "run": None, "page": "2019-03-13T0000-abc.html", "id": "abc"}
    kept = [{**row, "as_of": "2019-03-13T00:00:00+00:00", "why": "![x](http://y) <b> | all\nwell"}] * 31
    judged = {**row, "as_of": "2019-03-14T00:00:00+00:00", "outcome": "promoted", "run": report.run_id, "why": "old"}
    stores.registry.tell("fraud", [*kept, judged])
    run = stores.registry._monitor("fraud")
    lines = run.data.tags["mlflow.note.content"].splitlines()
    home = f"#/experiments/{run.info.experiment_id}/runs"
    newest, before = lines[4], lines[5]
    day = "2019-03-14".replace("-", NO_BREAK)
    assert newest == f"| [{day}]({home}/{report.run_id}/artifacts/decision.html) | promoted | keep | old |"
    assert f"]({home}/{run.info.run_id}/artifacts/decisions/2019-03-13T0000-abc.html)" in before
    assert before.endswith(r"| \!\[x\](http://y) &lt;b> \| all well |".replace(r"\!", "!"))
    assert lines[-1] == "2 older: `lr-retune history`"


def test_a_run_stands_at_the_time_of_its_decision_also_where_it_is_made_again(told):
    stores, report, _ = told
    info = stores.registry._client.get_run(report.run_id).info
    assert info.start_time == info.end_time == int(AT.timestamp() * 1000)


def test_a_downloaded_version_is_the_judged_one_and_a_changed_one_is_refused(told):
    stores, report, root = told
    version, digest = report.champion.version, report.champion.model
    assert files_digest(stores.registry.download("fraud", version)) == digest
    folder = models_folder(stores.config) / digest
    folder.rename(root / "aside")
    assert files_digest(stores.files(report.champion)) == digest
    assert folder.is_dir()
    (root / "aside").rename(folder.with_name("0" * 64))
    [stored] = [f for f in (root / "mlartifacts").rglob("model.txt") if report.run_id in str(f)]
    content = stored.read_bytes()
    stored.write_bytes(b"hostile")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    with pytest.raises(IntegrityError, match="version 2"):
        stores.files(report.champion)
    stored.write_bytes(content)
    stores.files(report.champion)


def test_runs_left_running_are_ended_when_their_decision_is_final(told):
    stores, _, _ = told
    registry = stores.registry
    lost = registry._run("fraud", "lost-decision", "lost")
    notes = stores.reconcile(strict=True)
    assert notes == [f"run {lost.info.run_id} was left running by a crash and is marked KILLED"]
    assert registry._client.get_run(lost.info.run_id).info.status == "KILLED"
    assert stores.reconcile(strict=True) == []


@pytest.mark.fault("E5", "E6", "G5")
def test_an_alias_moved_in_mlflow_holds_the_next_promotion(told):
    stores, _, _ = told
    client = stores.registry._client
    assert stores.registry_alias_moved() is None
    client.set_registered_model_alias("fraud", "champion", "1")
    assert stores.registry_alias_moved() == "1"
    with pytest.raises(HeldError):
        rig.promote(stores, days=20, rate=0.03)
    client.delete_registered_model_alias("fraud", "champion")
    assert stores.registry_alias_moved() == "none"
    client.set_registered_model_alias("fraud", "champion", "2")
    assert stores.registry_alias_moved() is None


def test_a_hostile_name_reaches_no_query():
    registry = MLflowRegistry(rig.config("."))
    for name in ("x' or '1' = '1", "a\nb", "../x", ""):
        with pytest.raises(DependencyError, match="cannot stand in"):
            registry._run("fraud", name, "title") if name else registry.find("fraud", name)


def remote(root, port):
    return MLflowRegistry(rig.config(root, mlflow={"tracking_uri": f"http://127.0.0.1:{port}"}))


@pytest.mark.fault("F-1")
def test_an_mlflow_that_is_down_is_a_dependency_error_soon(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        started = time.monotonic()
        with pytest.raises(DependencyError, match=r"MLflow at http://127\.0\.0\.1") as error:
            remote(tmp_path, closed.getsockname()[1]).alias("fraud", "champion")
    assert error.value.exit_code == 4
    assert time.monotonic() - started < 30


@pytest.mark.fault("F-1")
def test_an_mlflow_that_never_answers_is_a_dependency_error_in_time(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(DependencyError):
            remote(tmp_path, silent.getsockname()[1]).alias("fraud", "champion")
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("damage", ["corrupt", "locked", "folder"])
@pytest.mark.fault("F-6")
def test_an_embedded_store_that_cannot_be_used_is_told_soon(tmp_path, damage):
    file = tmp_path / "mlflow.db"
    holder = None
    if damage == "corrupt":
        file.write_bytes(b"garbage" * 1000)
    elif damage == "folder":
        file.mkdir()
    else:
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN EXCLUSIVE")
    started = time.monotonic()
    try:
        with pytest.raises(DependencyError, match=r"mlflow\.db"):
            MLflowRegistry(rig.config(tmp_path)).alias("fraud", "champion")
    finally:
        if holder is not None:
            holder.close()
    assert time.monotonic() - started < 30
