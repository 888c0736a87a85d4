import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from lr_retune import encoding
from lr_retune.records import Column, Contract, files_digest
from lr_retune.stores.bundle import pack
from lr_retune.stores.mlflow import MLflowRegistry
from lr_retune.stores.models import MemoryModels

_spec = importlib.util.spec_from_file_location("store_rig", Path(__file__).with_name("store_rig.py"))
rig = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rig)

CONTRACT = Contract(1, (Column("amount", "number"), Column("kind", "category", ("shop", "web", "3"))), 400)
ROWS = [
    {"amount": 1.5, "kind": "shop"},
    {"amount": -2, "kind": "web"},
    {"amount": None, "kind": "3"},
    {"amount": 0.25, "kind": None},
    {"amount": 3.75, "kind": "never seen"},
    {"amount": None, "kind": None},
]


def trained():
    import lightgbm

    rng = np.random.default_rng(3)
    kind = rng.integers(0, 3, 400)
    x = np.column_stack([rng.normal(size=400), np.where(rng.random(400) < 0.1, np.nan, kind)])
    y = (x[:, 0] + (kind == 1) + rng.normal(size=400) > 0.5).astype(float)
    params = {"objective": "binary", "num_threads": 1, "verbose": -1, "seed": 1, "min_data_per_group": 5}
    return lightgbm.train(params, lightgbm.Dataset(x, y, categorical_feature=[1]), 8)


@pytest.fixture(scope="module")
def model():
    booster = trained()
    x = encoding.matrix({name: [row[name] for row in ROWS] for name in CONTRACT.names}, CONTRACT.features)
    scores = booster.predict(x, num_threads=1)
    meta = {"family": "lightgbm", "task": "binary", "learning_rate": 0.1}
    native = {"model.txt": booster.model_to_string().encode()}
    return pack(native, CONTRACT, meta, {"columns": {}, "scores": []}), scores


@pytest.fixture(scope="module")
def registered(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    registry, record = MLflowRegistry(rig.config(root)), {"decision": {"id": "d1", "action": "bootstrap"}}
    version, run_id = registry.register("fraud", record | {"as_of": rig.BORN}, model[0])
    registry.set_alias("fraud", "champion", version)
    registry._client.set_terminated(run_id)
    return registry, version, root


@pytest.fixture(scope="module")
def server(registered):
    """`mlflow models serve` as a person would start it; ended by its own process group."""
    _, _, root = registered
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/fraud@champion"]
    command += ["--env-manager", "local", "-h", "127.0.0.1", "-p", str(port), "-w", "1"]
    log = root / "serve.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/ping", process, log)
            yield f"http://127.0.0.1:{port}/invocations"
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


def wait_for(url, process, log):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            time.sleep(0.3)
    pytest.fail(f"no answer to /ping: {log.read_text()}")


def ask(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def split(rows, columns=("amount", "kind")):
    return {"dataframe_split": {"columns": list(columns), "data": [[row[c] for c in columns] for row in rows]}}


def test_the_judge_s_scores_tell_rows_apart(model):
    assert len(np.unique(model[1].round(6))) >= 4  # else equality below would prove nothing


@pytest.mark.parametrize("body", [split(ROWS), {"dataframe_records": ROWS}, split(ROWS, ("kind", "amount"))])
def test_served_json_rows_get_the_scores_that_the_judge_saw(server, model, body):
    status, answer = ask(server, body)
    assert status == 200, answer
    np.testing.assert_allclose(answer["predictions"], model[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("row", ROWS)
def test_a_single_row_is_served_like_the_same_row_among_others(server, model, row):
    status, answer = ask(server, {"dataframe_records": [row]})
    assert status == 200, answer
    assert answer["predictions"] == pytest.approx([model[1][ROWS.index(row)]], abs=1e-9)


@pytest.mark.parametrize("amount", ["much", {"a": 1}, [1]])
def test_a_value_of_the_wrong_type_is_a_client_error(server, amount):
    status, answer = ask(server, split([{"amount": amount, "kind": "shop"}]))
    assert status == 400, answer


def test_serving_starts_without_lr_retune(registered):
    registry, version, _ = registered
    uri = registry._client.get_model_version_download_uri("fraud", version).removeprefix("file://")
    code = f"""
import sys
sys.modules["lr_retune"] = None  # an import of it would raise ImportError
import mlflow.pyfunc, pandas as pd
model = mlflow.pyfunc.load_model({uri!r})
print(float(model.predict(pd.DataFrame({{"amount": [1.5], "kind": ["shop"]}}))[0]))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout.strip().splitlines()[-1]) < 1


@pytest.mark.fault("F7", "G1")
def test_no_pickle_lies_in_a_registered_model(registered, model):
    registry, version, root = registered
    assert files_digest(registry.download("fraud", version)) == MemoryModels().put(model[0])
    stored = [file for file in (root / "mlartifacts").rglob("*") if file.is_file()]
    assert stored
    for file in stored:
        assert file.suffix in {".txt", ".json", ".py", ".yaml", ""}, file
        assert not file.read_bytes().startswith(b"\x80"), file
    assert "python_model: " not in next(f for f in stored if f.name == "MLmodel").read_text()


def test_requirements_are_pinned(registered):
    _, _, root = registered
    [file] = (root / "mlartifacts").rglob("requirements.txt")
    wanted = sorted(line.split("==")[0] for line in file.read_text().split())
    assert wanted == ["lightgbm", "mlflow", "numpy", "pandas"]
    assert all("==" in line for line in file.read_text().split())
