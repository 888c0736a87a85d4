"""How much faster a replay is than the naive loop: ``python -m tests.benchmarks.policies.speed``.

One set of ../shared/data, the policies of `arms_of`, the same run times. Naive: each policy by itself, every look read
from the file, every model trained. CPU seconds of this process; the ledgers of all policies are the same byte for byte.

- ``first``: rows read once, answers shared between the policies, nothing kept from earlier.
- ``one more policy``: a policy with another cooldown beside them, over kept answers; naive walks it by itself.
- ``again``: the whole replay over kept answers, as after a kill.
- With ``--jobs N`` also ``first`` by so many processes, which share answers and no fits, against naive: by the clock.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from lr_retune.config import Config
from lr_retune.plugins import Plugins, load_plugins
from lr_retune.replay import Arm, Walk, World, instants
from lr_retune.replay.arms import arm, overridden
from lr_retune.replay.cache import Cache
from lr_retune.replay.side import walked
from tests.benchmarks.policies.measure import CLOCK, ROWS, SEARCH, SETUPS, variants
from tests.benchmarks.sets import SETS, configured

T = TypeVar("T")


class Alone(World):
    """A stretch of history that holds no rows and remembers nothing."""

    def __init__(self, config: Config, times: Sequence[datetime]) -> None:
        super().__init__(config, times)
        plugins = load_plugins(config)
        self._feeds = replace(plugins.feeds, predictions=None)
        self.plugins = self._sharing(config, plugins)
        models = self.cache.models
        self.cache = Cache(None, lambda _as_of: None)
        self.cache.models = models

    def _sharing(self, config: Config, plugins: Plugins) -> Plugins:
        return replace(plugins, feeds=self._feeds)  # and fits of its own


def arms_of(config: Config, clock: int) -> list[Arm]:
    """Everybody a team might ask for, and variants of our default."""
    timers = [f"timer:{clock * n}" for n in (2, 4, 8)]
    named = ("never", "policy", "always", *timers, "always-ungated", "fixed-05", "metric-5pct", "evidently-default")
    cheap = overridden("cheap", {"policy": {"profile": "cheap_retrain"}}, config)
    ungated = Arm("policy-ungated", gated=False)
    return [*map(arm, named), arm(f"timer+search:{clock * 10}"), ungated, cheap, *variants(config)]


def compared(config: Config, times: Sequence[datetime], arms: Sequence[Arm], cache: Path, jobs: int = 1) -> list[str]:
    """The table."""
    more = overridden("cooldown-6", {"policy": {"cooldown": 6}}, config)
    began = time.perf_counter()
    naive, alone = _timed(lambda: [Alone(config, times).walk(arm) for arm in arms])
    naive_wall = time.perf_counter() - began
    naive_more, alone_more = _timed(lambda: [Alone(config, times).walk(more)])
    first, shared = _timed(lambda: _walked(config, times, arms, cache))
    added, shared_more = _timed(lambda: _walked(config, times, [more], cache))
    again, kept = _timed(lambda: _walked(config, times, arms, cache))
    same = all(_filed(alone) == _filed(other) for other in (shared, kept)) and _filed(alone_more) == _filed(shared_more)
    form = "{:<18} {:>9} {:>9} {:>9}"
    rows = (("first", naive, first), ("one more policy", naive_more, added), ("again", naive, again))
    head = f"{config.name}: {len(arms)} policies, {len(times) - 1} runs; equal bytes: {'yes' if same else 'NO'}"
    told = [form.format(name, f"{slow:.1f}", f"{fast:.1f}", f"{slow / fast:.1f} x") for name, slow, fast in rows]
    if jobs > 1:
        began = time.perf_counter()
        with walked(config, times, arms, cache.with_name("side"), jobs, lambda _message: None) as (_, beside):
            wall = time.perf_counter() - began
        same = "" if _filed(beside) == _filed(alone) else "; OTHER BYTES"
        ratio = f"{naive_wall / wall:.1f} x"
        told.append(form.format(f"clock, {jobs} at a time{same}", f"{naive_wall:.1f}", f"{wall:.1f}", ratio))
    return [head, form.format("", "naive s", "replay s", "faster"), *told]


def _walked(config: Config, times: Sequence[datetime], arms: Sequence[Arm], cache: Path) -> list[Walk]:
    world = World(config, times, cache)
    return [world.walk(arm) for arm in arms]


def _filed(walked: Sequence[Walk]) -> list[tuple[str, ...]]:
    return [each.filed for each in walked]


def _timed(run: Callable[[], T]) -> tuple[float, T]:
    started = time.process_time()
    found = run()
    return time.process_time() - started, found


def main() -> None:
    """Walk one set."""
    parser = argparse.ArgumentParser(description="A replay against the naive loop.")
    parser.add_argument("--set", default="bank_marketing", choices=list(SETS))
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    setup, clock = SETUPS[asked.set], CLOCK[asked.set]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        most = ROWS.get(asked.set, 24_000)
        config = configured(asked.set, setup, place, "after_pass", most=most, more={"search": SEARCH})
        times = instants(config, setup.start, setup.end, clock)[: asked.runs + 1]
        table = compared(config, times, arms_of(config, clock), place / "cache", asked.jobs)
        sys.stdout.write("\n".join(table) + "\n")


if __name__ == "__main__":
    main()
