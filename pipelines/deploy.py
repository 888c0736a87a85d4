"""One model's deployments, triggers and limits on a Prefect server; registering twice changes nothing."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger, EventTrigger, Posture, ResourceSpecification
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.runner.storage import LocalStorage
from prefect.schedules import Cron, Schedule
from prefect.settings import PREFECT_API_URL

from lr_retune.config import Config
from lr_retune.errors import ConfigError, DependencyError
from pipelines.telling import RETRAIN_DUE, TAG, resource

DAY = timedelta(days=1)
SILENT = timedelta(minutes=10)  # three of Prefect's heartbeats, which come every 180 s
SILENT_NAME = "lr-retune: runs that fell silent"
SILENT_WORDS = "no heartbeat: its machine or its worker fell silent"
ENDS = ("Completed", "Failed", "Cancelled", "Crashed")
_HEARTBEAT = "prefect.flow-run.heartbeat"


def register(
    config: Config, path: Path, *, pool: str = "lr-retune", cron: str | None = None, timezone: str | None = None
) -> list[dict[str, str]]:
    """Make the work pool, three deployments and two automations on the server at PREFECT_API_URL, or update them.

    Parameters
    ----------
    path
        The retune.toml as flows find it on the worker, absolute.
    pool
        A process work pool; made if there is none.
    cron
        When to look; by default once a tick, and daily at 06:00 where ticks are a day or longer.
    timezone
        Of ``cron``; ``[schedule] timezone`` by default.

    Returns
    -------
    list
        One ``{kind, name, what}`` for each thing that stands on the server now.

    Raises
    ------
    ConfigError
        If ``cron`` or ``timezone`` is none.
    DependencyError
        If no server answers.
    """
    when = _schedule(cron or cron_of(config.schedule.tick), timezone or config.schedule.timezone)
    with _server() as client:
        _make_pool(client, pool)
        for deployment in (_watch(config, path, pool, when), _retune(config, path, pool), _sweep(pool)):
            deployment.apply()
        _make_silent(client)
    return _told(config, pool, when)


def cron_of(tick: timedelta) -> str:
    """When to look: once a tick, at least daily.

    >>> [cron_of(timedelta(hours=h)) for h in (24, 168, 6, 1, 0.25, 1.5)]
    ['0 6 * * *', '0 6 * * *', '0 */6 * * *', '0 */1 * * *', '*/15 * * * *', '*/30 * * * *']
    """
    if tick >= DAY:
        return "0 6 * * *"
    minutes = max(1, tick // timedelta(minutes=1))
    return f"*/{math.gcd(minutes, 60)} * * * *" if minutes % 60 else f"0 */{minutes // 60} * * *"


def _schedule(cron: str, timezone: str) -> Schedule:
    try:
        CronSchedule(cron=cron, timezone=timezone)
    except ValueError:
        fix = 'write --cron "0 6 * * *" --timezone Europe/Paris, or leave both out'
        raise ConfigError(f"{cron!r} in {timezone!r} is no schedule", why="cron has five fields", fix=fix) from None
    return Cron(cron, timezone=timezone, slug="tick")  # known by its slug, the schedule is updated and not doubled


def _server() -> SyncPrefectClient:
    """A client of a server that answers; Prefect itself would quietly start one that ends with this process."""
    url = PREFECT_API_URL.value()
    why = "it says which Prefect server keeps the deployments" if url is None else _unreachable()
    if why:
        raise DependencyError(
            f"no Prefect server answers at {url}" if url else "PREFECT_API_URL is not set",
            why=why,
            fix="run `prefect server start --host 127.0.0.1`, export PREFECT_API_URL=http://127.0.0.1:4200/api, "
            "deploy, then run `prefect worker start -p POOL`",
        )
    return get_client(sync_client=True)


def _unreachable() -> str:
    with get_client(sync_client=True) as client:
        error = client.api_healthcheck()
    return "" if error is None else str(error) or type(error).__name__


def _make_pool(client: SyncPrefectClient, name: str) -> None:
    from prefect.workers.process import ProcessWorker

    try:
        kind = client.read_work_pool(name).type
    except ObjectNotFound:
        kind = "process"
        template = ProcessWorker.get_default_base_job_template()
        client.create_work_pool(WorkPoolCreate(name=name, type=kind, base_job_template=template))
    if kind != "process":
        raise ConfigError(
            f"work pool {name!r} is of type {kind!r}",
            why="flows run where the feed, the ledger and lr-retune are: in a process of the worker",
            fix="name another --pool",
        )


# ── deployments ───────────────────────────────────────────────────────────────────────────────────
def _deployment(entrypoint: str, name: str, pool: str, folder: Path, words: str, **more: Any) -> RunnerDeployment:
    """A module path: the worker imports the installed package, and stores or fetches no code.

    Without a folder to work in, Prefect would copy the one of whoever deploys for each run. ``PYTHONSAFEPATH`` keeps
    Python from importing what lies in it: data folders hold no code of ours.
    """
    made: RunnerDeployment = RunnerDeployment.from_entrypoint(
        entrypoint,
        name=name,
        description=words,
        work_pool_name=pool,
        job_variables={"env": {"PYTHONSAFEPATH": "1"}},
        **more,
    )
    made.storage = LocalStorage(path=str(folder))
    return made


def _watch(config: Config, path: Path, pool: str, when: Schedule) -> RunnerDeployment:
    return _deployment(
        "pipelines.watch.watch",
        config.name,
        pool,
        path.parent,
        "Observes and decides at each tick; changes nothing. Its event starts lr-retune.",
        parameters={"config": str(path)},
        tags=[TAG, config.name],
        schedules=[when],
    )


def _retune(config: Config, path: Path, pool: str) -> RunnerDeployment:
    """One at a time, and the next one waits: a slot that a dead run holds then costs minutes, not a tick's decision.

    CANCEL_NEW would drop a run whenever the slot is taken, also by a run that was killed and not yet swept.
    """
    return _deployment(
        "pipelines.retune.retune",
        config.name,
        pool,
        path.parent,
        "The whole path from looking to promoting. Started by lr-watch's event for the same as_of.",
        parameters={"config": str(path)},
        tags=[TAG, config.name],
        concurrency_limit=ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE),
        triggers=[_retrain_due(config.name)],
    )


def _retrain_due(model: str) -> DeploymentEventTrigger:
    return DeploymentEventTrigger(
        name=f"lr-retune: {model} is due",
        description="A look at this model found that a retrain is worth it.",
        expect={RETRAIN_DUE},
        match=ResourceSpecification({"prefect.resource.id": resource(model)}),
        parameters={"config": "{{ event.payload.config }}", "as_of": "{{ event.payload.as_of }}"},
    )


def _sweep(pool: str) -> RunnerDeployment:
    return _deployment(
        "pipelines.sweep.sweep",
        pool,  # one for a machine with a worker, not one for each model
        pool,
        Path("/"),
        "Ends runs whose process is gone, so that the next one can start.",
        tags=[TAG],
        schedules=[Cron("*/10 * * * *", slug="sweep")],
    )


# ── automations ───────────────────────────────────────────────────────────────────────────────────
def _make_silent(client: SyncPrefectClient) -> None:
    """End runs on machines that went away: the server hears no heartbeat, and nobody there can sweep.

    Source: https://docs.prefect.io/v3/advanced/detect-zombie-flows
    """
    wanted = AutomationCore(
        name=SILENT_NAME,
        description=f"A run of lr-retune without a heartbeat for {SILENT.seconds // 60} minutes is Crashed.",
        trigger=EventTrigger(
            after={_HEARTBEAT},
            expect={_HEARTBEAT, *(f"prefect.flow-run.{end}" for end in ENDS)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": "tag", "prefect.resource.id": f"prefect.tag.{TAG}"}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=SILENT,
        ),
        actions=[ChangeFlowRunState(name=None, state=StateType.CRASHED, message=SILENT_WORDS, force=False)],
    )
    known = client.read_automations_by_name(SILENT_NAME)
    if known:
        client.update_automation(known[0].id, wanted)
    else:
        client.create_automation(wanted)


def _told(config: Config, pool: str, when: Schedule) -> list[dict[str, str]]:
    return [
        {"kind": "work pool", "name": pool, "what": f"prefect worker start -p {pool}"},
        {"kind": "deployment", "name": f"lr-watch/{config.name}", "what": f"{when.cron} ({when.timezone})"},
        {"kind": "deployment", "name": f"lr-retune/{config.name}", "what": "by lr-watch's event, one at a time"},
        {"kind": "deployment", "name": f"lr-sweep/{pool}", "what": "every 10 minutes"},
        {"kind": "automation", "name": f"lr-retune: {config.name} is due", "what": "starts lr-retune"},
        {"kind": "automation", "name": SILENT_NAME, "what": f"Crashed after {SILENT.seconds // 60} minutes"},
    ]
