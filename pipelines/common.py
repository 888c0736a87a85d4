"""What the flows share: the main path with every step a Prefect task, and a flow run's beginning and end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar
from zoneinfo import ZoneInfo

from prefect import get_run_logger, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client

from lr_retune import console
from lr_retune.errors import DependencyError, RetuneError
from lr_retune.records import Report
from pipelines import artifacts, blocks, sweep, telling
from pipelines.masks import Secrets

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from lr_retune.config import Config
    from lr_retune.retune import Step
    from lr_retune.stores.promotion import Stores

P = ParamSpec("P")
T = TypeVar("T")
RETRY_DELAYS = (10.0, 60.0)  # seconds: a restart, a fail-over; longer is for the next tick


class MainPath(Protocol):
    """`lr_retune.retune.watch` or `retune`."""

    def __call__(self, config: Config, stores: Stores, as_of: datetime, *, step: Step) -> Report: ...


@dataclass(frozen=True)
class Tick:
    """What one flow run works on."""

    reference: str
    config: Config
    stores: Stores
    as_of: datetime
    secrets: Secrets


Look = Callable[[Tick, Report], None]


# ── steps ─────────────────────────────────────────────────────────────────────────────────────────
def away(_task: object, _run: object, state: State[Any]) -> bool:
    """Whether a service was away: nothing else gets better by trying again."""
    return isinstance(state.data, (DependencyError, OSError))


def step_of(secrets: Secrets) -> Step:
    """Run each step as a Prefect task.

    A step's arguments are live objects (stores, plug-ins, arrays): they stay in a closure, where Prefect neither
    walks through them nor hashes, caches or stores them.
    """

    def step(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        @task(
            name=function.__name__,
            task_run_name=f"{function.__name__} {runtime.flow_run.name or ''}".strip(),
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=len(RETRY_DELAYS),
            retry_delay_seconds=list(RETRY_DELAYS),
            retry_condition_fn=away,
        )
        def run() -> T:
            with secrets.kept():
                return function(*args, **kwargs)

        return run()

    return step


# ── a flow run ────────────────────────────────────────────────────────────────────────────────────
def carried(path: MainPath, reference: str, as_of: datetime | None, *, tidy: bool, then: Look) -> State[Any]:
    """Walk the main path as this flow run.

    Parameters
    ----------
    reference
        A retune.toml, or ``block:NAME``.
    as_of
        When None, the time this flow run was scheduled for: a retry or a late start decides the same.
    tidy
        Finish what a killed run left in ledger and registry first; for the flow that writes aliases.
    then
        What else to do with the report.
    """
    sweep.begin()
    try:
        with blocks.opened(reference) as file:
            config = console.load(Path(file))
            with Secrets.of(config).kept():
                return _walked(path, _opened(reference, Path(file), config, as_of), tidy, then)
    except RetuneError as error:
        get_run_logger().error(str(error))
        return telling.failed(error)


def _opened(reference: str, file: Path, config: Config, as_of: datetime | None) -> Tick:
    secrets = Secrets.of(config)
    _, stores = step_of(secrets)(open_stores, file)
    moment = runtime.flow_run.scheduled_start_time if as_of is None else as_of
    return Tick(reference, config, stores, console.moment(config, moment.isoformat()), secrets)


def open_stores(file: Path) -> tuple[Config, Stores]:
    """The first step: a ledger on a server may be away."""
    with console.opened(file) as opened:
        return opened


def _walked(path: MainPath, tick: Tick, tidy: bool, then: Look) -> State[Any]:
    log, step = get_run_logger(), step_of(tick.secrets)

    def warn(notes: Sequence[str]) -> None:
        for note in notes:
            log.warning(tick.secrets.masked(note))

    with console.telling(tick.config, tick.stores, warn):
        warn(step(tick.stores.reconcile) if tidy else ())
        known = tick.stores.ledger.last(tick.config.name).seq
        found = tick.secrets.report(path(tick.config, tick.stores, tick.as_of, step=step))
    for reason in found.decision.reasons:
        log.info("%s: %s", found.decision.action, reason.text)
    for note in found.notes:
        log.warning(note)
    came = telling.outcome(found)
    telling.emit(telling.DECISION, found, tick.reference)
    if came in telling.NEWS and tick.stores.ledger.last(tick.config.name).seq > known:  # a repeated run is no news
        telling.emit(telling.NEWS[came], found, tick.reference)
    artifacts.show(tick.config, tick.stores, found, tick.secrets)
    then(tick, found)
    _tag(came)
    return telling.ended(found)


def _tag(outcome: str) -> None:
    """Where a list of runs shows what came of each."""
    with get_client(sync_client=True) as client:
        client.update_flow_run(runtime.flow_run.id, tags=sorted({*runtime.flow_run.tags, outcome}))


def run_name() -> str:
    """``bike-demand 2015-08-24``: the model and its time in the configured zone; Prefect shows the flow beside it."""
    given = runtime.flow_run.parameters
    as_of = given.get("as_of") or runtime.flow_run.scheduled_start_time
    try:
        with blocks.opened(str(given["config"])) as file:
            config = console.load(Path(file))
        moment = console.moment(config, as_of if isinstance(as_of, str) else as_of.isoformat())
    except RetuneError:  # the flow itself says what is wrong
        return str(given["config"])
    local = moment.astimezone(ZoneInfo(config.schedule.timezone))
    return f"{config.name} {local:%Y-%m-%d %H:%M}".removesuffix(" 00:00")
