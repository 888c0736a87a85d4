"""Faults of sections D to F that reach the stores: another environment, readers in between, half an upload."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from lr_retune.errors import DependencyError, IntegrityError
from lr_retune.records import files_digest
from lr_retune.stores import filed
from lr_retune.stores.ledger import Ledger
from lr_retune.stores.memory import MemoryRegistry
from lr_retune.stores.models import MemoryModels
from lr_retune.stores.promotion import Stores
from tests import store_rig as rig

AT = rig.BORN + 13 * rig.DAY
LATE = rig.BORN + 3000 * rig.DAY


@pytest.mark.fault("D7")
def test_what_was_settled_under_other_libraries_is_not_taken_for_the_answer_of_these(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = Stores.in_memory(rig.config(tmp_path))
    champion = rig.born(stores)
    words = rig.seen(champion, AT), rig.plan(AT), rig.result(stores, 0.07)
    stores.settle(*words, rig.judgement("FAIL"))
    monkeypatch.setattr(filed, "_version", lambda _name: "99.0")
    assert stores.settle(*words, rig.judgement("INCONCLUSIVE")).outcome == "inconclusive"
    told = [entry.record for entry in stores.ledger.entries("fraud") if entry.kind == "settlement"][1:]
    assert [record["status"] for record in told] == ["FAIL", "INCONCLUSIVE"]
    assert told[0]["environment"]["lightgbm"] != told[1]["environment"]["lightgbm"] == "99.0"


@pytest.mark.fault("E8")
def test_a_reader_amid_promotions_always_gets_the_files_of_the_champion_it_was_told(tmp_path: Path) -> None:
    config, registry, models = rig.config(tmp_path), MemoryRegistry(), MemoryModels()
    stores, reader = (Stores(Ledger(config.state_url(), busy=20), registry, models, config) for _ in range(2))
    rig.born(stores)
    seen: list[tuple[str, int]] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            champion, version = reader.champion(LATE), str(registry.alias("fraud", "champion"))
            served = files_digest(registry.download("fraud", version))
            recorded = {each.version: each.candidate for each in reader.ledger.promotions("fraud")}
            fits = files_digest(reader.files(champion)) == champion.model and recorded[version] == served
            seen.append((champion.model if fits else "out of step", champion.epoch))

    thread = threading.Thread(target=read)
    thread.start()
    line = [rig.promote(stores, days, 0.01 + days / 1000).champion.model for days in range(1, 41)]
    done.set()
    thread.join()
    first = stores.moves[0].champion.model
    assert {model for model, _ in seen} <= {first, *line}
    assert [epoch for _, epoch in seen] == sorted(epoch for _, epoch in seen)
    assert len(set(seen)) > 1


@pytest.fixture
def torn_upload(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, bool]:
    """MLflow's upload of a model folder loses the file with the trees, and says so or not."""
    real, how = MlflowClient.log_artifacts, {"torn": True, "told": True}

    def upload(client: MlflowClient, run_id: str, folder: str, path: str | None = None) -> None:
        if path == "model" and how["torn"]:
            half = tmp_path / "half"
            shutil.rmtree(half, ignore_errors=True)
            shutil.copytree(folder, half)
            next(half.rglob("model.txt")).unlink()
            real(client, run_id, str(half), path)
            if how["told"]:
                raise OSError("503 Slow Down")
            return
        real(client, run_id, folder, path)

    monkeypatch.setattr(MlflowClient, "log_artifacts", upload)
    return how


@pytest.mark.fault("F-4")
def test_half_an_upload_is_no_version_and_a_copy_that_is_not_whole_is_refused(
    tmp_path: Path, torn_upload: dict[str, bool]
) -> None:
    stores = Stores.open(rig.config(tmp_path))
    with pytest.raises(DependencyError, match="503"):
        rig.born(stores)
    assert stores.registry.versions("fraud") == []
    torn_upload["torn"] = False
    champion = rig.born(stores)
    stores.verify_files(champion.model, champion.version)
    torn_upload |= {"torn": True, "told": False}
    new: Any = rig.promote(stores).champion
    with pytest.raises(IntegrityError, match="version 2") as error:
        stores.verify_files(new.model, new.version)
    assert error.value.exit_code == 6
    assert files_digest(stores.files(new)) == new.model
