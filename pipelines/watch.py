"""The flow that looks: observe and decide at each tick, and say so when a retrain is worth it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from prefect import flow

from lr_retune.records import TRAINING_ACTIONS
from pipelines import telling
from pipelines.common import Tick, carried, run_name

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from lr_retune.records import Report


@flow(name="lr-watch", flow_run_name=run_name, persist_result=False)
def watch(config: str, as_of: datetime | None = None) -> State[Any]:
    """Observe and decide; records both, changes nothing.

    Ends Completed (tag kept, retrain-due or rollback-due), or Failed (tag held) when the feed broke its contract or a
    person has to look; the message says why.
    Without a server, `lr-retune watch` does the same.

    Parameters
    ----------
    config
        Path of a retune.toml on the worker, or ``block:NAME``.
    as_of
        Simulated now; the scheduled time of this run by default.
    """
    from lr_retune.retune import watch as path

    return carried(path, config, as_of, tidy=False, then=_ask_for_it)


def _ask_for_it(tick: Tick, found: Report) -> None:
    """Emit what starts `retune`, unless this decision was carried out before: a repeated look starts nothing anew."""
    acts, id = found.decision.action in (*TRAINING_ACTIONS, "rollback"), found.decision.id
    done = tick.stores.settlement(id) is not None or any(move.id == id for move in tick.stores.moves)
    if acts and not done:
        telling.emit(telling.RETRAIN_DUE, found, tick.reference)
