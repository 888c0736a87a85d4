"""The flow that acts: the whole path, from looking to a promoted version or the reason why not."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from prefect import flow

from pipelines.common import Tick, carried, run_name

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from lr_retune.records import Report


@flow(name="lr-retune", flow_run_name=run_name, persist_result=False)
def retune(config: str, as_of: datetime | None = None) -> State[Any]:
    """Observe, decide, tune, judge, promote; first tidy up what a killed run left behind.

    Ends Completed (tagged with the outcome); Failed (tag held) when the feed broke its contract or a person has to
    look; Failed with what, why and what to do on an error. Steps are tried again only when a service was away. A second
    run for the same ``as_of`` finds the decision in the ledger and changes nothing.
    Without a server, `lr-retune run` does the same.

    Parameters
    ----------
    config
        Path of a retune.toml on the worker, or ``block:NAME``.
    as_of
        Simulated now; the scheduled time of this run by default.
    """
    from lr_retune.retune import retune as path

    return carried(path, config, as_of, tidy=True, then=_nothing_more)


def _nothing_more(_tick: Tick, _found: Report) -> None:
    """The registry and the ledger were told by the path itself."""
