from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.objects import FlowRun
from prefect.plugins import load_prefect_collections
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Cancelling, Pending, Running
from prefect.testing.utilities import prefect_test_harness

from lr_retune import retune as main_path
from lr_retune.config import load_config
from lr_retune.errors import (
    ConfigError,
    ConflictError,
    DataError,
    DependencyError,
    HeldError,
    IntegrityError,
)
from lr_retune.review import case_of
from lr_retune.stores.outbox import undelivered
from lr_retune.stores.promotion import Stores
from pipelines import artifacts, common, deploy, process, sweep, telling
from pipelines.blocks import RetuneConfig
from pipelines.masks import MASK, Secrets
from pipelines.retune import retune
from pipelines.watch import watch
from tests import worlds

TRACKER, PASSWORD = "http://bob:Wint3r%20is@tracker", "Wint3r is"
PREFECT_YAML = Path(__file__).resolve().parents[1] / "deploy" / "prefect.yaml"
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",  # Prefect's and its server's own
    "ignore::ResourceWarning",  # Prefect's event loops and clients, collected whenever
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=180):
        yield


@pytest.fixture(scope="module")
def born(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world with a champion that is 40 days old at day 160: age asks for a refit."""
    folder = tmp_path_factory.mktemp("born")
    config = load_config(worlds.world(folder, more=worlds.AGE_TRAINS))
    main_path.bootstrap(config, Stores.open(config), worlds.day(120))
    return folder


@pytest.fixture
def world(born: Path, tmp_path: Path) -> Path:
    """A copy of it; MLflow's files stay where they were written, the ledger is this test's own."""
    shutil.copytree(born, tmp_path / "world")
    return tmp_path / "world" / "retune.toml"


def rows(path: Path) -> list[tuple[str, str, datetime]]:
    config = load_config(path)
    return [(e.kind, e.key, e.as_of) for e in Stores.open(config).ledger.entries(config.name)]


def told(kind: str) -> str:
    """All that Prefect's server keeps of a kind."""
    with get_client(sync_client=True) as client:
        answer = client._client.post(f"/{kind}/filter", json={"limit": 200})
        answer.raise_for_status()
        return str(answer.text)


def heard_of(prefix: str) -> list[dict[str, Any]]:
    """Events that the server keeps, once two looks in a row find the same ones."""
    found: list[dict[str, Any]] = []
    for _ in range(60):
        with get_client(sync_client=True) as client:
            answer = client._client.post(
                "/events/filter", json={"filter": {"event": {"prefix": [prefix]}}, "limit": 50}
            )
        answer.raise_for_status()
        if found and len(found) == len(answer.json()["events"]):
            break
        found = answer.json()["events"]
        time.sleep(2)
    return found


# ── flows ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("E7")
def test_a_flow_walks_the_path_of_the_command_and_a_second_run_at_the_same_time_changes_nothing(
    server: None, world: Path, born: Path, tmp_path: Path, cli: Any
) -> None:
    shutil.copytree(born, tmp_path / "twin")
    twin = cli("run", "-c", tmp_path / "twin" / "retune.toml", "--as-of", worlds.day(160).isoformat(), "--json").json
    looked = watch(str(world), worlds.day(160), return_state=True)
    assert looked.message.startswith("retrain-due: refit")
    first = retune(str(world), worlds.day(160), return_state=True)
    assert first.is_completed()
    assert first.message.startswith(f"{twin['outcome']}: refit, decision {twin['decision']['id'][:12]}")
    before = rows(world)
    assert before == rows(tmp_path / "twin" / "retune.toml")
    second = retune(str(world), worlds.day(160), return_state=True)
    assert second.message == first.message
    emitted = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(telling, "emit", lambda event, *_: emitted.append(event))
        assert watch(str(world), worlds.day(160), return_state=True).message == looked.message
    assert emitted == [telling.DECISION]  # settled: no retrain is due
    assert rows(world) == before
    assert "demo 2024-06-09" in told("flow_runs")  # model and tick
    kept = told("artifacts")
    assert f"## demo: {twin['outcome']}" in kept
    for question in ("Why now?", "What did it cost?", "How do I undo it, or repeat it?"):
        assert f"### {question.replace('?', chr(92) * 2 + '?')}" in kept
    assert {"demo-decision", "demo-verdicts", "demo-trials"} <= set(re.findall(r"demo-[a-z]+", kept))
    assert "tune demo 2024-06-09" in told("task_runs")
    heard = heard_of("lr-retune.")
    (news,) = [e for e in heard if e["event"] == telling.NEWS[twin["outcome"]]]  # once, though it ran twice
    assert news["resource"]["prefect.resource.id"] == telling.resource("demo")
    assert (news["payload"]["decision"], news["payload"]["gain"].keys()) == (
        twin["decision"]["id"],
        {"effect", "low", "high"},
    )
    assert {e["event"] for e in heard} == {telling.DECISION, telling.RETRAIN_DUE, news["event"]}
    assert not [key for e in heard for key in ("contract", "ticks", "rows") if key in e["payload"]]


def test_nothing_to_do_is_completed_and_a_feed_that_broke_its_contract_is_failed(server: None, world: Path) -> None:
    kept = retune(str(world), worlds.day(123), return_state=True)
    assert (kept.is_completed(), kept.message[:5]) == (True, "kept:")
    columns = worlds.rows()
    del columns["a"]
    worlds.write(world.parent, columns)
    held = retune(str(world), worlds.day(160), return_state=True)
    assert (held.is_failed(), held.name, held.message[:14]) == (True, "Failed", "held: fix_feed")
    assert re.search(r"\ba\b.*missing|missing.*\ba\b", held.message)


def test_a_configuration_that_is_wrong_ends_failed_with_what_to_do(server: None, tmp_path: Path) -> None:
    state = watch(str(tmp_path / "none.toml"), worlds.day(160), return_state=True)
    assert state.is_failed()
    assert "ConfigError" in state.message
    assert "cannot be read" in state.message


@pytest.mark.fault("F-3")
@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (DependencyError("away"), 3),
        (OSError("disk"), 3),
        (ConfigError("x"), 1),
        (DataError("x"), 1),
        (HeldError("x"), 1),
        (ConflictError("x"), 1),
        (IntegrityError("x"), 1),
        (ValueError("bug"), 1),
    ],
)
def test_only_what_may_be_back_in_a_minute_is_tried_again(
    server: None, monkeypatch: pytest.MonkeyPatch, error: Exception, attempts: int
) -> None:
    monkeypatch.setattr(common, "RETRY_DELAYS", (0.0, 0.0))
    seen = []

    def work(live: object) -> None:
        seen.append(live)
        raise error

    @flow
    def once() -> None:
        common.step_of(Secrets([]))(work, Unprintable())

    assert once(return_state=True).is_failed()
    assert len(seen) == attempts


class Unprintable:
    """An argument that nobody may walk through, hash, copy or print."""

    def _refuse(self, *_: object) -> Any:
        raise AssertionError("Prefect looked into a step's argument")

    __repr__ = __hash__ = __eq__ = __iter__ = __reduce_ex__ = __deepcopy__ = _refuse  # type: ignore[assignment]


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────
def test_a_block_brings_its_secrets_to_the_run_and_to_nobody_else(server: None, world: Path) -> None:
    ledger = world.parent / "lr_retune.db"
    world.write_text(world.read_text() + '\n[state]\nurl = "env:A_LEDGER"\n', encoding="utf-8")
    secret = f"sqlite:///{ledger}"
    RetuneConfig(path=str(world), environment={"A_LEDGER": secret}).save("ours", overwrite=True, _sync=True)
    assert watch("block:ours", worlds.day(150), return_state=True).is_completed()
    assert "A_LEDGER" not in os.environ

    lost = "postgresql+psycopg://bob:Wint3r%20is@127.0.0.1:1/ledger"
    RetuneConfig(path=str(world), environment={"A_LEDGER": lost}).save("ours", overwrite=True, _sync=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(common, "RETRY_DELAYS", ())
        state = watch("block:ours", worlds.day(151), return_state=True)
    assert state.is_failed()
    assert "DependencyError" in state.message
    assert "A_LEDGER" not in os.environ
    assert "block:ours" in told("flow_runs")
    for _ in range(120):  # the logs are sent in batches
        if "postgresql" in told("logs"):
            break
        time.sleep(0.5)
    assert "postgresql" in told("logs")
    kept = [told(kind) for kind in ("flow_runs", "task_runs", "logs", "artifacts")]
    for page in (*kept, ledger.read_bytes().decode("latin-1")):
        for hidden in (secret, lost, "Wint3r%20is", "Wint3r is"):
            assert hidden not in page


def test_a_block_that_is_not_there_is_named(server: None) -> None:
    state = watch("block:nobody", worlds.day(160), return_state=True)
    assert state.is_failed()
    assert "'nobody'" in state.message


def test_prefect_finds_the_block_by_its_entry_point() -> None:
    found = load_prefect_collections()["lr_retune"]
    assert not isinstance(found, Exception), found
    assert found.RetuneConfig is RetuneConfig


def test_a_secret_that_found_its_way_into_a_reason_is_not_on_the_page(world: Path) -> None:
    columns = worlds.rows()
    worlds.write(world.parent, {name: values for name, values in columns.items() if name != "a"})
    config = load_config(world)
    stores = Stores.open(config)
    found = main_path.watch(config, stores, worlds.day(160))
    case, secrets = case_of(config, stores, found.decision.id), Secrets(["is missing"])
    assert "is missing" in artifacts.summary(case)
    assert "is missing" not in artifacts.summary(artifacts.clean(case, secrets))
    clean = secrets.report(found)
    assert "is missing" not in str(telling.ended(clean).message)
    assert clean.decision.id == found.decision.id


@given(st.text(min_size=3), st.text(), st.text())
def test_no_secret_is_left_in_a_text_or_an_error(secret: str, before: str, after: str) -> None:
    secrets = Secrets([secret])
    assert secret not in secrets.masked(before + secret + after) or secret in MASK
    with pytest.raises(ConfigError) as caught, secrets.kept():
        raise ConfigError(f"{before}{secret}{after}", why=secret)
    assert caught.value.__cause__ is None
    assert secret not in caught.value.why or secret in MASK


def test_a_task_that_fails_logs_neither_the_secret_nor_a_cause_that_names_it(
    server: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(common, "RETRY_DELAYS", ())

    def work() -> None:
        cause = ValueError(f"{TRACKER} does not answer")
        raise DependencyError("the tracker is away", why=f"password {PASSWORD}") from cause

    @flow
    def once() -> None:
        common.step_of(Secrets([TRACKER]))(work)

    state = once(return_state=True)
    assert "the tracker is away" in caplog.text
    for hidden in (TRACKER, PASSWORD, "Wint3r%20is"):
        assert hidden not in caplog.text + str(state.message)


def test_a_bug_shows_its_place_and_not_the_secret_in_its_traceback() -> None:
    with pytest.raises(Exception, match=r"unexpected KeyError in .*line") as caught, Secrets(["hunter22"]).kept():
        raise KeyError("hunter22")
    assert "hunter22" not in str(caught.value)
    assert caught.value.__suppress_context__


# ── what is shown ─────────────────────────────────────────────────────────────────────────────────
@given(st.text())
def test_names_from_the_feed_are_no_markup(name: str) -> None:
    cell = artifacts._cell(name)
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", cell)  # without what CommonMark takes literally
    assert not set("<>[]`*_|\\#!~&\n\r") & set(bare)
    assert not re.search(r"www\.|://|@", bare)  # nor is there a bare link
    assert cell.isprintable()


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True))
def test_an_artifact_key_is_one_that_prefect_takes_and_only_this_models(name: str) -> None:
    key = artifacts._key(name)
    assert re.fullmatch(r"[a-z0-9-]+", key)
    assert artifacts._key(name.upper() + "x") != key


def test_the_way_to_a_run_shows_no_password_and_only_where_a_browser_can_go() -> None:
    assert artifacts._run("http://bob:pw@mlflow.local:5000/base/", "abc") == "http://mlflow.local:5000/base/#/runs/abc"
    assert artifacts._run("sqlite:///mlflow.db", "abc") is None


# ── the dead ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("E10", "F15")
def test_a_process_lives_until_it_is_killed_and_its_number_alone_proves_nothing() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    mine = process.me()
    machine, boot, _, _ = mine.split("|")
    theirs = f"{machine}|{boot}|{child.pid}|{process._start(child.pid)}"
    assert (process.lives(mine), process.lives(theirs)) == (True, True)
    assert process.lives(f"elsewhere|{boot}|{child.pid}|1") is None
    if process._boot():
        assert process.lives(f"{machine}|another boot|{child.pid}|{process._start(child.pid)}") is False
        assert process.lives(f"{machine}|{boot}|{child.pid}|1") is False
    child.kill()
    for _ in range(1000):  # dead and not yet waited for
        if process.lives(theirs) is False:
            break
        time.sleep(0.01)
    assert process.lives(theirs) is False
    child.wait()
    assert process.lives(theirs) is False


GONE = process.me().rpartition("|")[0] + "|0"  # this number, started at another time


def run_in(state: Any, minutes: float, at: str | None = None, attempt: int = 1) -> FlowRun:
    state.timestamp = worlds.START - timedelta(minutes=minutes)
    labels: dict[str, Any] = {process.LABEL: at, process.ATTEMPT: 1} if at else {}
    return FlowRun(flow_id=uuid4(), state=state, labels=labels, run_count=attempt)


@pytest.mark.fault("F14")
@pytest.mark.parametrize(
    ("run", "is_dead"),
    [
        (run_in(Running(), 3, at=process.me()), False),
        (run_in(Running(), 100_000, at=process.me()), False),  # it is seen to live: let it work
        (run_in(Running(), 3, at="elsewhere|b|1|1"), False),
        (run_in(Running(), 1441, at="elsewhere|b|1|1"), True),
        (run_in(Running(), 3, at=GONE), bool(process._boot())),
        (run_in(Running(), 3, at=GONE, attempt=2), False),  # a retry, in a process that has not said which
        (run_in(Pending(), 3, at=GONE), False),
        (run_in(Pending(), 14), False),
        (run_in(Pending(), 16), True),
        (run_in(Cancelling(), 16), True),
    ],
)
def test_a_run_is_dead_when_its_process_is_gone_or_nobody_has_seen_it_for_long(run: FlowRun, is_dead: bool) -> None:
    assert (sweep.dead(run, worlds.START, sweep.PENDING, sweep.RUNNING) is not None) is is_dead


@pytest.mark.fault("E10")
def test_ending_the_dead_takes_no_slot_from_the_living(server: None, world: Path) -> None:
    deploy.register(load_config(world), world, pool="here")
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("lr-retune/demo")
        limit = deployment.global_concurrency_limit
        assert limit is not None
        client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(limit=2))
        runs = [client.create_flow_run_from_deployment(deployment.id, state=Pending()) for _ in range(2)]
        for run, at in zip(runs, (GONE, process.me()), strict=True):
            client.set_flow_run_state(run.id, Running())
            client.update_flow_run_labels(run.id, {process.LABEL: at, process.ATTEMPT: 1})
        # As when the dead one's lease has run out: one slot is taken, and it is the living one's.
        client.update_global_concurrency_limit(limit.name, GlobalConcurrencyLimitUpdate(active_slots=1))
        assert "its process is gone" in sweep.sweep(return_state=True).message
        assert client.read_flow_run(runs[0].id).state.is_crashed()
        assert client.read_flow_run(runs[1].id).state.is_running()
        assert client.read_global_concurrency_limit_by_name(limit.name).active_slots == 1
        client.set_flow_run_state(runs[1].id, Cancelled(), force=True)


# ── deployments ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("F-3")
def test_without_a_server_deploying_says_what_to_start(world: Path) -> None:
    for url in ("http://127.0.0.1:1/api", None):
        with (
            temporary_settings(
                {PREFECT_API_URL: url} if url else {}, restore_defaults=None if url else {PREFECT_API_URL}
            ),
            pytest.raises(DependencyError, match=r"prefect server start --host 127\.0\.0\.1"),
        ):
            deploy.register(load_config(world), world)


def standing() -> dict[str, Any]:
    """What the server knows, short of its own numbers and times."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            left_out = ("id", "created", "updated", "last_polled", "flow_id", "global_concurrency_limit", "ids")
            return {k: plain(v) for k, v in sorted(value.items()) if k not in left_out and not k.endswith("_id")}
        return [plain(item) for item in value] if isinstance(value, list) else value

    with get_client(sync_client=True) as client:
        found = {}
        for kind in ("deployments", "automations", "work_pools", "v2/concurrency_limits"):
            answer = client._client.post(f"/{kind}/filter", json={})
            answer.raise_for_status()
            found[kind] = sorted((plain(item) for item in answer.json()), key=lambda item: json.dumps(item))
    return found


def test_registering_twice_changes_nothing_and_the_file_says_the_same(server: None, world: Path) -> None:
    config = load_config(world)
    listed = deploy.register(config, world, pool="here", cron="0 6 * * *", timezone="Europe/Paris")
    first = standing()
    assert deploy.register(config, world, pool="here", cron="0 6 * * *", timezone="Europe/Paris") == listed
    again = re.sub(r"prefect\.deployment\.[0-9a-f-]+", "", json.dumps(standing()))
    assert again == re.sub(r"prefect\.deployment\.[0-9a-f-]+", "", json.dumps(first))
    assert {"lr-watch/demo", "lr-retune/demo", "lr-sweep/here"} <= {line["name"] for line in listed}

    written = {d["entrypoint"]: d for d in yaml.safe_load(PREFECT_YAML.read_text(encoding="utf-8"))["deployments"]}
    made = {d["entrypoint"]: d for d in first["deployments"]}
    assert written.keys() == made.keys()
    for entrypoint, wanted in written.items():
        found = made[entrypoint]
        assert wanted["description"] == found["description"]
        assert [s["cron"] for s in wanted.get("schedules", [])] == [s["schedule"]["cron"] for s in found["schedules"]]
        assert wanted["work_pool"]["job_variables"] == found["job_variables"]
        assert [list(step) for step in wanted["pull"]] == [list(step) for step in found["pull_steps"]]
        assert wanted.get("concurrency_limit", {}).get("collision_strategy") == (
            (found["concurrency_options"] or {}).get("collision_strategy")
        )
    trigger = written["pipelines.retune.retune"]["triggers"][0]
    ours = deploy._retrain_due("bike-demand")
    assert (set(trigger["expect"]), trigger["parameters"], trigger["name"]) == (
        ours.expect,
        ours.parameters,
        ours.name,
    )
    assert trigger["match"] == ours.match.model_dump()


def test_a_schedule_that_is_none_is_refused_before_anything_is_made(world: Path) -> None:
    for cron, zone in (("hourly, please", "UTC"), ("0 6 * * *", "Mars/Olympus")):
        with pytest.raises(ConfigError, match="is no schedule"):
            deploy.register(load_config(world), world, cron=cron, timezone=zone)


@given(st.sampled_from([m for m in range(1, 1441) if 1440 % m == 0]))
def test_the_default_schedule_looks_at_least_once_a_tick(minutes: int) -> None:
    from prefect._vendor.croniter import croniter

    tick = timedelta(minutes=minutes)
    times = croniter(deploy.cron_of(tick), datetime(2024, 1, 1, 6, tzinfo=UTC))
    looks = [times.get_next(datetime) for _ in range(30)]
    assert all(later - earlier <= tick for earlier, later in pairwise(looks))


def test_a_flow_notifies_and_a_notifier_that_is_away_changes_nothing_about_it(server: None, world: Path) -> None:
    text = '[notify]\nwebhook = "http://127.0.0.1:9/hook"\n[gates]'
    world.write_text(world.read_text().replace("[gates]", text))
    looked = watch(str(world), worlds.day(166), return_state=True)
    assert looked.message.startswith("held: fix_feed")
    config = load_config(world)
    [lost] = undelivered(Stores.open(config).ledger, config)
    assert (lost["cause"], lost["tries"]) == ("data_incident", 1)
    assert "127.0.0.1 does not answer" in lost["error"]
