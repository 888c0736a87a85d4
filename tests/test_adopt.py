"""What a team registered by MLflow's own means, taken over from the command line and lived with."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from lr_retune.config import load_config
from lr_retune.errors import DataError, IntegrityError
from lr_retune.families.foreign import CannotLoad, read, read_text
from lr_retune.quarantine import survives
from lr_retune.retune import retune
from lr_retune.stores.promotion import Stores
from lr_retune.watch.baselines import always
from tests.conftest import Answer
from tests.worlds import day, world, write

Cli = Callable[..., Answer]


class Unsafe:
    """Leaves a mark wherever it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.mark,)

    def predict(self, x: Any) -> Any:
        return np.zeros(len(x))


def trained(folder: Path) -> tuple[Any, Any]:
    """A LightGBM model and an SGD pipeline of somebody else, on the world as it was before it changed."""
    import lightgbm as lgb
    from sklearn.linear_model import SGDRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame = pq.read_table(folder / "rows.parquet").to_pandas()
    frame = frame[frame["ts"] < day(60)]
    x, y = frame[["kind", "b", "a"]].astype({"kind": "category"}), frame["y"]
    params = {"learning_rate": 0.125, "num_leaves": 7, "num_threads": 1, "verbosity": -1}
    booster = lgb.train(params, lgb.Dataset(x, y), 40)
    pipeline = make_pipeline(StandardScaler(), SGDRegressor(eta0=0.02, learning_rate="constant", random_state=0))
    return booster, pipeline.fit(x[["b", "a"]], y)


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1: LightGBM; 2: skops; 3: cloudpickle, all by MLflow's own log_model; scores of 3 are logged."""
    folder = tmp_path_factory.mktemp("team")
    more = '[predictions]\npath = "scores.parquet"\ntime = "at"\nscore = "p"\nkey = "id"\nversion = "by"\n'
    path = world(folder, changed=70, more=more)
    table = pq.read_table(folder / "rows.parquet")
    columns = {name: table.column(name).to_pylist() for name in table.column_names}
    write(folder, columns | {"id": list(range(len(table)))})
    path.write_text(path.read_text().replace('label = "y"', 'label = "y"\nid = "id"'))
    booster, pipeline = trained(folder)
    frame = table.to_pandas()
    served = [*range(0, len(table), 10), *range(1, len(table), 2)]  # six rows of ten were logged
    scores = pipeline.predict(frame[["b", "a"]]) + 0.5
    log = {
        "id": served,
        "at": [columns["ts"][i] for i in served],
        "p": scores[served].tolist(),
        "by": ["3"] * len(served),
    }
    write(folder, log, "scores.parquet")
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")
        patch.chdir(folder)
        import mlflow
        import mlflow.lightgbm
        import mlflow.sklearn

        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        mlflow.create_experiment("team", artifact_location=(folder / "theirs").as_uri())
        mlflow.set_experiment("team")
        kept = {"registered_model_name": "demo", "pip_requirements": ["scikit-learn"]}
        with mlflow.start_run():
            mlflow.lightgbm.log_model(booster, name="trees", **kept)
            mlflow.sklearn.log_model(pipeline, name="line", serialization_format="skops", **kept)
            mlflow.sklearn.log_model(Unsafe(folder / "ran"), name="odd", serialization_format="cloudpickle", **kept)
        mlflow.MlflowClient().set_registered_model_alias("demo", "champion", "1")
    return folder


@pytest.fixture
def place(team: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The team's own folder, without what lr-retune kept of an earlier test."""
    monkeypatch.chdir(team)
    (team / "lr_retune.db").unlink(missing_ok=True)
    shutil.rmtree(team / "lr_retune_models", ignore_errors=True)
    return team


def stores_of(folder: Path) -> Stores:
    return Stores.open(load_config(folder / "retune.toml"))


def alias(folder: Path) -> str | None:
    return stores_of(folder).registry.alias("demo", "champion")


def point(folder: Path, version: str) -> None:
    stores_of(folder).registry.set_alias("demo", "champion", version)


def file_of(folder: Path, name: str) -> Path:
    [found] = (folder / "theirs").rglob(name)
    return found


def test_a_registered_lightgbm_model_is_taken_over_watched_beaten_and_gone_back_to(place: Path, cli: Cli) -> None:
    point(place, "1")
    made = cli("adopt", "--model", "demo", "--version", "1", "--as-of", day(100).isoformat(), "--json")
    assert made.code == 0, made.err
    champion = made.json["champion"]
    assert (made.json["mode"], champion["version"], champion["learning_rate"]) == ("loaded", "1", 0.125)
    assert champion["steps"] == 40
    stores = stores_of(place)
    kept = stores.champion(day(101))
    assert kept.contract.names == ("kind", "b", "a")
    assert kept.contract.columns[0].levels == ("x", "y", "z")
    assert alias(place) == "1"
    assert stores.ledger.verify("demo") == []
    look = cli("watch", "--as-of", day(104).isoformat(), "--json")
    assert look.code == 0, look.err
    assert look.json["facts"]["loss"]["value"] is not None
    assert cli("adopt", "--model", "demo", "--version", "2").code == 2  # without a reason
    report = retune(stores.config, stores, day(106), policy=always)
    assert report.outcome == "promoted"
    assert alias(place) == report.champion.version != "1"
    back = cli("rollback", "--reason", "as a test", "--as-of", day(107).isoformat(), "--json")
    assert back.code == 0, back.err
    assert back.json["champion"]["version"] == alias(place) == "1"
    assert cli("audit", "verify", "--registry").code == 0
    assert cli("gate", "--version", "1", "--as-of", day(107).isoformat()).code == 0


def test_the_judge_scores_an_adopted_model_as_its_own_library_does(place: Path, cli: Cli) -> None:
    point(place, "1")
    assert cli("adopt", "--model", "demo", "--version", "1", "--as-of", day(100).isoformat()).code == 0
    from lr_retune.steps import load_model
    from lr_retune.stores.bundle import unpack_golden

    stores = stores_of(place)
    champion = stores.champion(day(101))
    golden = unpack_golden(stores.files(champion))
    import pandas as pd

    frame = pd.DataFrame(golden["columns"])[["kind", "b", "a"]]
    booster, _ = trained(place)
    frame["kind"] = pd.Categorical(frame["kind"], ["x", "y", "z"])
    assert np.allclose(booster.predict(frame), golden["scores"], rtol=0, atol=1e-12)
    assert load_model(stores.config, champion.family, stores.files(champion)).files().keys() == {"model.txt"}


def test_a_skops_pipeline_is_read_by_our_own_allowlist(place: Path, cli: Cli) -> None:
    point(place, "2")
    made = cli("adopt", "--model", "demo", "--version", "2", "--as-of", day(100).isoformat(), "--json")
    assert made.code == 0, made.err
    assert (made.json["mode"], made.json["champion"]["learning_rate"]) == ("loaded", 0.02)
    assert cli("watch", "--as-of", day(104).isoformat(), "--json").code == 0
    assert stores_of(place).champion(day(101)).contract.names == ("b", "a")


@pytest.mark.fault("G1")
def test_a_pickle_is_never_loaded_and_its_logged_scores_stand_for_it(place: Path, cli: Cli) -> None:
    point(place, "3")
    made = cli("adopt", "--model", "demo", "--version", "3", "--as-of", day(100).isoformat(), "--json")
    assert made.code == 0, made.err
    assert made.json["mode"] == made.json["champion"]["mode"] == "score_only"
    assert "LRR421" in made.err
    look = cli("watch", "--as-of", day(104).isoformat(), "--json")
    assert look.code == 0, look.err
    assert "unlogged_scores" in {fault["code"] for fault in look.json["facts"]["faults"]}
    stores = stores_of(place)
    report = retune(stores.config, stores, day(106), policy=always)
    assert report.outcome == "promoted"
    assert report.plan is not None
    assert report.plan.contract.score is None
    assert "p@3" not in report.plan.contract.names
    assert alias(place) == report.champion.version
    met = cli("compare", "--models", f"3,{alias(place)}", "--as-of", day(150).isoformat(), "--json")
    assert (met.code, met.json["leaks"]) == (10, ["3"])  # nobody told what it has learned from
    assert met.json["rows"] > 0
    assert "LRR252" in {pair["code"] for pair in met.json["pairs"]}
    back = cli("rollback", "--reason", "as a test", "--as-of", day(107).isoformat(), "--json")
    assert back.code == 0, back.err
    assert "golden predictions were skipped" in back.err
    assert back.json["champion"]["version"] == alias(place) == "3"
    assert not (place / "ran").exists()


def test_a_swapped_pickle_stops_the_rollback_to_it(place: Path, cli: Cli) -> None:
    point(place, "3")
    assert cli("adopt", "--model", "demo", "--version", "3", "--as-of", day(100).isoformat()).code == 0
    stores = stores_of(place)
    assert retune(stores.config, stores, day(106), policy=always).outcome == "promoted"
    file, now = file_of(place, "model.pkl"), alias(place)
    content = file.read_bytes()
    try:
        file.write_bytes(content + b"\0")
        back = cli("rollback", "--to", "3", "--reason", "as a test", "--as-of", day(107).isoformat())
        assert (back.code, alias(place)) == (6, now)
        assert "model.pkl" in back.err
    finally:
        file.write_bytes(content)
    assert not (place / "ran").exists()


@pytest.mark.fault("G1")
def test_a_pickle_laid_into_a_registered_folder_is_detected(place: Path, cli: Cli) -> None:
    point(place, "1")
    assert cli("adopt", "--model", "demo", "--version", "1", "--as-of", day(100).isoformat()).code == 0
    laid = file_of(place, "model.lgb").with_name("model.pkl")
    try:
        laid.write_bytes(b"\x80\x04.")
        assert cli("gate", "--version", "1", "--as-of", day(101).isoformat()).code == 6
    finally:
        laid.unlink()


def test_without_logged_scores_a_pickle_is_refused_with_words(place: Path, cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "plain.toml"
    text = (place / "retune.toml").read_text().replace('"rows.parquet"', f'"{place}/rows.parquet"')
    mlflow = f'[mlflow]\ntracking_uri = "sqlite:///{place}/mlflow.db"\n'
    path.write_text(text[: text.index("[predictions]")] + mlflow)
    told = cli("adopt", "-c", path, "--model", "demo", "--version", "3", "--as-of", day(100).isoformat())
    assert told.code == 2
    assert "cannot be loaded safely, and no logged score stands for it" in told.err
    named = cli(
        "adopt", "-c", path, "--model", "demo", "--version", "3", "--scores", "a", "--as-of", day(100).isoformat()
    )
    assert named.code == 2
    assert "could be a feature" in named.err


def test_another_models_name_is_refused(place: Path, cli: Cli) -> None:
    told = cli("adopt", "--model", "other", "--version", "1")
    assert told.code == 2
    assert 'set name = "other"' in told.err


# ── files alone ───────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def text(team: Path) -> bytes:
    return file_of(team, "model.lgb").read_bytes()


@pytest.mark.fault("G2")
def test_a_torn_or_crafted_lightgbm_text_ends_a_child_and_not_this_process(text: bytes) -> None:
    torn = text[: len(text) // 2] + b"\nend of parameters\n"
    with pytest.raises(IntegrityError, match="first reading"):
        survives("lightgbm", {"model.txt": torn}, 3)
    survives("lightgbm", {"model.txt": text}, 3)


@pytest.mark.fault("G2")
def test_a_lightgbm_text_that_loops_is_given_up(text: bytes) -> None:
    with pytest.raises(IntegrityError, match=r"did not answer|signal"):
        survives("lightgbm", {"model.txt": text}, 3, wall_s=0.01)


def test_a_text_tells_rate_trees_and_levels(text: bytes) -> None:
    found = read_text(text)
    assert (found.learning_rate, found.steps, found.names) == (0.125, 40, ("kind", "b", "a"))
    assert found.levels == {"kind": ("x", "y", "z")}
    with pytest.raises(DataError, match="objective"):
        read_text(text.replace(b"objective=regression", b"objective=lambdarank"))
    for broken in (text[:2000], b"", b"\x00" * 99, text.replace(b"feature_names=kind b a", b"feature_names=kind b")):
        with pytest.raises(IntegrityError):
            read_text(broken)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("data/model.joblib", b"anything"),
        ("weights", b"\x80\x04\x95"),
        ("weights", b"\x1f\x8b\x08"),
        ("code/hook.py", b"import os"),
    ],
)
def test_what_runs_when_it_is_read_is_left_unread_whatever_it_is_called(text: bytes, name: str, data: bytes) -> None:
    with pytest.raises(CannotLoad, match="would run it"):
        read({"model.lgb": text, name: data})


# ── kept, lost and found again ────────────────────────────────────────────────────────────────────
OURS = ("lr_retune.adopted", "lr_retune.decision_id", "lr_retune.digest")


def adopted(cli: Cli, version: str, *more: str) -> Answer:
    words = ("--model", "demo", "--version", version, "--as-of", day(100).isoformat(), "--json", *more)
    made = cli("adopt", *words)
    assert made.code == 0, made.err
    return made


@pytest.mark.fault("G5", "E6")
def test_marks_that_somebody_took_off_an_adopted_version_are_put_back(place: Path, cli: Cli) -> None:
    point(place, "1")
    adopted(cli, "1")
    client = stores_of(place).registry._client
    for tag in OURS:
        client.delete_model_version_tag("demo", "1", tag)
    assert cli("audit", "verify", "--registry").code == 6
    found = cli("reconcile", "--json")
    assert (found.code, "version 1 of demo, which was adopted, is marked as adopted again" in found.out) == (0, True)
    assert cli("audit", "verify", "--registry").code == 0
    assert set(OURS) <= set(client.get_model_version("demo", "1").tags)
    assert cli("reconcile", "--json").json["tidied"] == []


@pytest.mark.fault("G1", "G5")
def test_a_version_that_was_swapped_and_unmarked_is_not_taken_over_again(place: Path, cli: Cli) -> None:
    point(place, "1")
    adopted(cli, "1")
    client, file = stores_of(place).registry._client, file_of(place, "model.lgb")
    content = file.read_bytes()
    try:
        file.write_bytes(content.replace(b"leaf_value=", b"leaf_value=9", 1))
        client.delete_model_version_tag("demo", "1", OURS[-1])
        found = cli("reconcile", "--json")
        assert "cannot be taken over again" in found.out
        assert cli("gate", "--version", "1", "--as-of", day(101).isoformat()).code == 6
    finally:
        file.write_bytes(content)
    assert "marked as adopted again" in cli("reconcile").out
    assert cli("audit", "verify", "--registry").code == 0


@pytest.mark.fault("E6")
def test_an_adopted_version_that_was_deleted_is_told_and_can_be_adopted_anew(place: Path, cli: Cli) -> None:
    stores = stores_of(place)
    client = stores.registry._client
    first = client.get_model_version("demo", "1")
    copy = str(client.create_model_version("demo", first.source, first.run_id).version)
    point(place, copy)
    adopted(cli, copy)
    client.delete_model_version("demo", copy)
    for _ in range(2):  # it says so until it is mended, and learns no number twice
        found = cli("reconcile")
        assert "is gone from the registry, and its files were nowhere else" in found.out + found.err
    assert len([entry for entry in stores.ledger.entries("demo") if entry.kind == "registered"]) == 1
    assert cli("audit", "verify", "--registry").code == 6
    assert cli("run", "--as-of", day(158).isoformat()).code in (6, 10)  # held: nobody fills the gap
    again = str(client.create_model_version("demo", first.source, first.run_id).version)
    point(place, again)
    adopted(cli, again, "--reason", "registered again")
    assert (alias(place), stores_of(place).champion(day(158)).version) == (again, again)


def test_a_version_adopted_twice_is_gone_back_to_as_it_was(place: Path, cli: Cli) -> None:
    point(place, "1")
    adopted(cli, "1")
    first = stores_of(place).champion(day(158)).model
    later = ("--as-of", day(130).isoformat(), "--reason", "a newer promise")
    assert cli("adopt", "--model", "demo", "--version", "1", *later).code == 0
    assert stores_of(place).champion(day(158)).model != first
    assert cli("audit", "verify", "--registry").code == 0
    back = cli("rollback", "--reason", "as a test", "--as-of", day(131).isoformat())
    assert back.code == 0, back.err
    assert stores_of(place).champion(day(158)).model == first
    assert cli("audit", "verify", "--registry").code == 0
    assert cli("reconcile", "--json").json["tidied"] == []
    assert cli("gate", "--version", "1", "--as-of", day(131).isoformat()).code == 0


def test_prune_leaves_an_adopted_model_alone_whoever_asks(place: Path, cli: Cli, tmp_path: Path) -> None:
    point(place, "1")
    adopted(cli, "1")
    stores = stores_of(place)
    folder = place / "lr_retune_models" / stores.champion(day(101)).model
    for at in (106, 130):
        retune(stores.config, stores, day(at), policy=always)
    os.utime(folder, (0, 0))
    other = place / "other.toml"
    try:
        other.write_text((place / "retune.toml").read_text().replace('name = "demo"', 'name = "other"'))
        assert cli("bootstrap", "-c", other, "--as-of", day(100).isoformat()).code == 0
        for words in ((), ("-c", other)):
            done = cli("prune", "--keep", "1d", *words)
            assert done.code == 0, done.err
            assert folder.is_dir()
    finally:
        other.unlink()
    assert "1" in stores_of(place).registry.versions("demo")
    assert cli("rollback", "--to", "1", "--reason", "as a test", "--as-of", day(131).isoformat()).code == 0
