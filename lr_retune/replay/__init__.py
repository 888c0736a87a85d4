"""The time machine: the main path at simulated times, on in-memory stores, policy against policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from lr_retune.config import Config
from lr_retune.replay.arms import ARMS, USUAL, Arm, arms_of, chosen
from lr_retune.replay.oracle import hindsight
from lr_retune.replay.pareto import compared
from lr_retune.replay.side import walked
from lr_retune.replay.table import Row, Table, tabulate
from lr_retune.replay.walk import Tell, Walk, World, instants, walk

__all__ = ["ARMS", "USUAL", "Arm", "Row", "Table", "Walk", "World", "chosen", "instants", "replay", "tabulate", "walk"]


def replay(
    config: Config,
    start: datetime,
    end: datetime,
    against: Sequence[str | Arm] = USUAL,
    *,
    every: int = 1,
    cache: Path | None = None,
    jobs: int = 1,
    progress: Tell = lambda _message: None,
) -> Table:
    """Walk the main path through history once per policy, and compare what they brought.

    Every policy starts from the same first champion, trained as of ``start``. All but ``always-ungated``
    meet the gates, the label clock and the holdout of a live run.

    Parameters
    ----------
    against
        Names of `ARMS`, timers, and arms with a configuration of their own.
    every
        Ticks between two runs.
    cache
        A folder that keeps every answer; see `walk`.
    jobs
        Policies walked at a time, each in a process of its own.

    Raises
    ------
    ConfigError
        For an unknown policy or an empty stretch.
    DataError
        If there is not enough history before ``start``, or no label after it.
    """
    arms, times = arms_of(against), instants(config, start, end, every)
    with walked(config, times, arms, cache, jobs, progress) as (world, walks):
        table = replace(tabulate(config, walks), days=(times[-1] - times[0]) / timedelta(days=1), every=every)
        return compared(config, hindsight(world, walks, table))
