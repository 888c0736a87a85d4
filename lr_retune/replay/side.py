"""Policies one after the other or side by side in processes of their own, with how long it will still take."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path

from lr_retune.config import Config
from lr_retune.replay.arms import Arm
from lr_retune.replay.kept import in_use
from lr_retune.replay.walk import Tell, Walk, World


class Pace:
    """Tells what is being done, and how long the rest takes if it goes on like this."""

    def __init__(self, tell: Tell, parts: int) -> None:
        self._tell, self._parts, self._done, self._began = tell, max(parts, 1), 0, time.monotonic()

    def __call__(self, message: str, *, done: int = 1) -> None:
        """A part begins; ``done`` parts were finished before it since the last call."""
        share = self._done / self._parts
        left = (time.monotonic() - self._began) * (1 - share) / share if share else None
        self._tell(f"{message}{'' if left is None else f', {spoken(left)} left'}")
        self._done += done


def spoken(seconds: float) -> str:
    """A duration in one unit.

    >>> spoken(42.3), spoken(600.0), spoken(9000.0)
    ('42 s', '10 min', '2.5 h')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


@contextmanager
def walked(
    config: Config, times: Sequence[datetime], arms: Sequence[Arm], cache: Path | None, jobs: int, tell: Tell
) -> Iterator[tuple[World, list[Walk]]]:
    """The world and each arm's walk, in the order of ``arms``; processes share their answers in ``cache``."""
    if jobs == 1 or len(arms) == 1:
        with in_use(cache):
            world, pace = World(config, times, cache), Pace(tell, len(arms) * (len(times) - 1))
            yield world, [world.walk(arm, pace) for arm in arms]
        return
    with tempfile.TemporaryDirectory(prefix="lr_retune_replay-") as lent:
        folder = Path(lent) if cache is None else cache
        with in_use(folder):
            world = World(config, times, folder)  # the first champion is trained once
            yield world, _side_by_side(config, times, arms, folder, jobs, tell)


def _side_by_side(
    config: Config, times: Sequence[datetime], arms: Sequence[Arm], cache: Path, jobs: int, tell: Tell
) -> list[Walk]:
    pace, found = Pace(tell, len(arms)), dict[str, Walk]()
    pace(f"{len(arms)} policies, {jobs} at a time", done=0)
    context = get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_enter, initargs=(config, times, cache)) as pool:
        asked = [pool.submit(_walk, arm) for arm in sorted(arms, key=_dear, reverse=True)]
        for future in as_completed(asked):
            walk = future.result()
            found[walk.name] = walk
            pace(f"{walk.name} is done")
    return [found[arm.name] for arm in arms]


def _dear(arm: Arm) -> tuple[bool, bool]:
    """What takes long begins first."""
    return arm.strategy is not None, not arm.looks


_world: list[World] = []  # of a worker process


def _enter(config: Config, times: Sequence[datetime], cache: Path) -> None:
    _world[:] = [World(config, times, cache)]


def _walk(arm: Arm) -> Walk:
    return _world[0].walk(arm)
