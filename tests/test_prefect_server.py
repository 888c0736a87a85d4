"""A real server, a real worker, real kills; every process is started here and ended here by its number."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from lr_retune.config import load_config
from lr_retune.records import iso
from lr_retune.retune import bootstrap
from lr_retune.stores.promotion import Stores
from pipelines.deploy import register
from tests import worlds

DEADLINE = 300.0  # seconds for any one thing; two noisy cores
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # Prefect's own
    "ignore::ResourceWarning",  # Prefect's clients, collected whenever
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def until(what: str, found: Callable[[], Any], deadline: float = DEADLINE) -> Any:
    """Poll for something true."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(1)
    raise AssertionError(f"not within {deadline:.0f} s: {what}")


class Rig:
    """A server on the loopback and the workers of one pool."""

    pool = "pool"

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder, self.url = folder, f"http://127.0.0.1:{self.port}/api"
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "LR_RETUNE"))},
            "PREFECT_HOME": str(folder / "prefect"),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5",
            "PREFECT_SERVER_CONCURRENCY_MAXIMUM_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
            "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "2",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PREFECT_WORKER_PREFETCH_SECONDS": "1",
            "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "1",
        }
        self.processes: list[subprocess.Popen[bytes]] = []
        self._start("server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))
        with temporary_settings({PREFECT_API_URL: self.url, PREFECT_HOME: folder / "prefect"}):
            until("the server answers", self._answers)

    def _start(self, name: str, *words: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "prefect", *words], env=self.environ, stdout=log, stderr=log, cwd=self.folder
            )
        self.processes.append(process)
        return process

    def _answers(self) -> bool:
        with get_client(sync_client=True) as client:
            return client.api_healthcheck() is None

    def worker(self) -> subprocess.Popen[bytes]:
        return self._start("worker", "worker", "start", "--pool", self.pool)

    def end(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def told(self) -> str:
        return "".join(log.read_text(errors="replace")[-3000:] for log in sorted(self.folder.glob("*.log")))


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    made = Rig(tmp_path_factory.mktemp("rig"))
    try:
        with temporary_settings({PREFECT_API_URL: made.url, PREFECT_HOME: made.folder / "prefect"}):
            yield made
    finally:
        made.end()


@pytest.fixture
def client(rig: Rig) -> Iterator[SyncPrefectClient]:
    with get_client(sync_client=True) as found:
        yield found


def right_now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - the server's cron goes by the real clock


def present(folder: Path, name: str) -> Path:
    """A world whose rows reach beyond now, with a champion that is 40 days old: age asks for a refit."""
    now = right_now()
    columns = worlds.rows()
    ahead = now + timedelta(days=2) - worlds.day(160)
    columns["ts"] = [time + ahead for time in columns["ts"]]
    worlds.write(folder, columns)
    path = folder / "retune.toml"
    text = worlds.CONFIG.format(task="regression", metric="mae", clock="", more=worlds.AGE_TRAINS)
    path.write_text(text.replace('"demo"', f'"{name}"', 1), encoding="utf-8")
    config = load_config(path)
    bootstrap(config, Stores.open(config), now - timedelta(days=40))
    return path


def stores(path: Path) -> Stores:
    return Stores.open(load_config(path))


def runs(client: SyncPrefectClient, deployment: str) -> list[FlowRun]:
    """Runs of a deployment, without those that are yet to come."""
    id = client.read_deployment_by_name(deployment).id
    answer = client._client.post("/flow_runs/filter", json={"deployments": {"id": {"any_": [str(id)]}}})
    found = FlowRun.model_validate_list(answer.json())
    return [run for run in found if run.state is not None and not run.state.is_scheduled()]


def started(client: SyncPrefectClient, deployment: str, **parameters: str) -> FlowRun:
    """A run that a person asks for."""
    id = client.read_deployment_by_name(deployment).id
    return client.create_flow_run_from_deployment(id, parameters=parameters)


def ended(client: SyncPrefectClient, deployment: str, rig: Rig) -> FlowRun:
    """The first run of a deployment that ended well."""

    def look() -> FlowRun | None:
        found = runs(client, deployment)
        for run in found:
            assert run.state is not None
            assert not run.state.is_failed(), f"{run.state.message}\n{rig.told()}"
        return next((run for run in found if run.state and run.state.is_completed()), None)

    done: FlowRun = until(f"a run of {deployment} is completed", look)
    return done


@pytest.mark.fault("E7")
def test_cron_makes_a_run_whose_decision_bears_its_scheduled_time_and_whose_event_starts_one_retune(
    rig: Rig, client: SyncPrefectClient, tmp_path: Path
) -> None:
    path = present(tmp_path, "cron-made")
    register(load_config(path), path, pool=rig.pool, cron="* * * * *")
    worker = rig.worker()
    until("cron has made a run", lambda: runs(client, "lr-watch/cron-made"))
    client.pause_deployment(client.read_deployment_by_name("lr-watch/cron-made").id)
    watched = ended(client, "lr-watch/cron-made", rig)
    due = watched.expected_start_time
    assert due is not None
    assert (due.second, due.microsecond, "auto-scheduled" in watched.tags) == (0, 0, True)
    decided = [e for e in stores(path).ledger.entries("cron-made") if e.kind == "decision"]
    assert [(e.as_of, e.record["decision"]["action"]) for e in decided] == [(due, "refit")]

    retuned = ended(client, "lr-retune/cron-made", rig)
    assert datetime.fromisoformat(retuned.parameters["as_of"]) == due
    assert retuned.parameters["config"] == str(path)
    assert retuned.name.removesuffix(" retune") == watched.name.removesuffix(" watch")
    assert ("settlement", due) in [(e.kind, e.as_of) for e in stores(path).ledger.entries("cron-made")]
    assert [run.id for run in runs(client, "lr-retune/cron-made")] == [retuned.id]
    assert stores(path).ledger.verify("cron-made") == []
    worker.terminate()
    worker.wait(60)


@pytest.mark.fault("E10", "F14", "F15")
def test_a_run_killed_with_its_worker_is_ended_and_the_next_one_gets_its_slot(
    rig: Rig, client: SyncPrefectClient, tmp_path: Path
) -> None:
    path = present(tmp_path, "killed")
    slow = path.with_name("slow.toml")  # the same model, with a search that takes minutes
    text = path.read_text().replace("points = 3", "points = 900").replace("patience = 20", "patience = 400")
    slow.write_text(text.replace("[policy]", '[policy]\nmax_search_age = "30d"'), encoding="utf-8")
    register(load_config(path), path, pool=rig.pool, cron="0 6 1 1 *")
    at = right_now().replace(microsecond=0)

    worker = rig.worker()
    first = started(client, "lr-retune/killed", config=str(slow), as_of=iso(at))
    pid = until("the first run is told where it runs", lambda: client.read_flow_run(first.id).infrastructure_pid)
    until("it tunes", lambda: _in_step(client, first, "tune"))
    worker.kill()  # first: it would report the death of its child
    worker.wait()
    os.kill(int(pid), signal.SIGKILL)

    rig.worker()
    second = started(client, "lr-retune/killed", as_of=iso(at + timedelta(seconds=1)))
    until("the second waits for the slot", lambda: _named(client, second, "AwaitingConcurrencySlot"))
    left = client.read_flow_run(first.id).state
    assert left is not None
    assert left.is_running()  # the fault: nobody has noticed

    started(client, f"lr-sweep/{rig.pool}")
    swept = until("the first is swept", lambda: _final(client, first))
    assert swept.is_crashed()
    assert "its process is gone" in swept.message
    done = until("the second ends", lambda: _final(client, second))
    assert done.is_completed(), f"{done.message}\n{rig.told()}"

    found = stores(path)
    assert found.ledger.verify("killed") == []
    assert found.ledger.promotions("killed", "PREPARED", "CLAIMED") == []
    assert _unfinished_mlflow_runs(path) == []


def _in_step(client: SyncPrefectClient, run: FlowRun, step: str) -> bool:
    answer = client._client.post(
        "/task_runs/filter",
        json={"flow_runs": {"id": {"any_": [str(run.id)]}}, "task_runs": {"name": {"like_": step}}},
    )
    return any(task["state_type"] == "RUNNING" for task in answer.json())


def _named(client: SyncPrefectClient, run: FlowRun, name: str) -> bool:
    state = client.read_flow_run(run.id).state
    return state is not None and state.name == name


def _final(client: SyncPrefectClient, run: FlowRun) -> Any:
    state = client.read_flow_run(run.id).state
    return state if state is not None and state.is_final() else None


def _unfinished_mlflow_runs(path: Path) -> list[str]:
    from mlflow.tracking import MlflowClient

    mlflow = MlflowClient(load_config(path).tracking_uri())
    experiments = [e.experiment_id for e in mlflow.search_experiments()]
    return [run.info.run_id for run in mlflow.search_runs(experiments) if run.info.status != "FINISHED"]
