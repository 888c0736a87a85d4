"""Flow runs whose process is gone: Prefect shows them Running for ever, and they hold their deployment's only slot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger, runtime
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
)
from prefect.client.schemas.objects import StateType
from prefect.states import Completed, Crashed

from pipelines import process
from pipelines.telling import TAG

if TYPE_CHECKING:
    from uuid import UUID

    from prefect.client.schemas.objects import FlowRun, State

UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
PENDING = timedelta(minutes=15)  # a worker starts a process within seconds, on the busiest machine within minutes
RUNNING = timedelta(days=1)  # no tick may take longer where nobody can see the process


@flow(name="lr-sweep", flow_run_name="sweep", persist_result=False)
def sweep(pending_minutes: int = 15, running_hours: int = 24) -> State[Any]:
    """End dead runs of lr-retune's deployments as Crashed, so that their slots are free again.

    Parameters
    ----------
    pending_minutes
        How long a run may wait for its process, or for its cancellation.
    running_hours
        How long a run may take whose process is on a machine that cannot be seen from here.
    """
    found = _logged(timedelta(minutes=pending_minutes), timedelta(hours=running_hours))
    return Completed(message="; ".join(found) or "every unfinished run is alive")


def begin() -> None:
    """What each flow does first: say which process it is, and end runs that died before it."""
    with get_client(sync_client=True) as client:
        attempt = client.read_flow_run(_own()).run_count
        client.update_flow_run_labels(_own(), {process.LABEL: process.me(), process.ATTEMPT: attempt})
    _logged(PENDING, RUNNING)


def dead(run: FlowRun, now: datetime, pending: timedelta, running: timedelta) -> str | None:
    """Why a run cannot be alive, or None."""
    if run.state is None:
        return None
    alive = _alive(run)
    if alive is False:
        return "its process is gone"
    since = run.state.timestamp
    limit = running if run.state.is_running() else pending
    if alive is None and now - since > limit:
        return f"{run.state.name} since {since:%Y-%m-%d %H:%M} UTC, and no process to be seen"
    return None


def _alive(run: FlowRun) -> bool | None:
    """Whether its process runs; None where nobody here can know: elsewhere, or not begun (again, after a retry)."""
    begun = run.state is not None and not run.state.is_pending() and run.labels.get(process.ATTEMPT) == run.run_count
    return process.lives(str(run.labels[process.LABEL])) if begun else None


def _own() -> Any:
    return runtime.flow_run.id


def _logged(pending: timedelta, running: timedelta) -> list[str]:
    now = datetime.now(UTC)  # noqa: TID251 - how long a run has been silent is a matter of the real clock
    with get_client(sync_client=True) as client:
        found = _swept(client, now, pending, running)
    for line in found:
        get_run_logger().warning(line)
    return found


def _swept(client: SyncPrefectClient, now: datetime, pending: timedelta, running: timedelta) -> list[str]:
    told, deployments = [], []
    for run in client.read_flow_runs(flow_run_filter=_unfinished(tags=FlowRunFilterTags(all_=[TAG]))):
        if str(run.id) == str(_own()) or (why := dead(run, now, pending, running)) is None:
            continue
        if _ended_since(client, run):
            continue
        message = f"{why}: ended by lr-retune; the ledger is tidied by the next retune"
        client.set_flow_run_state(run.id, Crashed(message=message), force=True)  # leaves Pending too, frees the slot
        told.append(f"flow run {run.name}: {why}; it is Crashed now")
        deployments.append(run.deployment_id)
    for deployment in dict.fromkeys(deployments):
        if deployment is not None:
            _recount(client, deployment)
    return told


def _recount(client: SyncPrefectClient, deployment: UUID) -> None:
    """Make the count of taken slots what it counts.

    A dead run's lease runs out after five minutes and its slot goes to the next run; Prefect 3.8 then gives a slot
    back a second time when the dead run is ended, and it is the living one's.
    """
    if (limit := client.read_deployment(deployment).global_concurrency_limit) is None:
        return
    holders = client.read_flow_runs(flow_run_filter=_unfinished(deployment_id=_one(deployment)))
    if len(holders) != limit.active_slots:
        right = GlobalConcurrencyLimitUpdate(active_slots=len(holders))
        client.update_global_concurrency_limit(limit.name, right)


def _unfinished(**which: Any) -> FlowRunFilter:
    return FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)), **which)


def _one(deployment: UUID) -> FlowRunFilterDeploymentId:
    return FlowRunFilterDeploymentId(any_=[deployment])


def _ended_since(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Whether it said so itself while we looked for its process."""
    state = client.read_flow_run(run.id).state
    return state is None or run.state is None or state.id != run.state.id
