"""One set walked by every arm, and what is kept of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from lr_retune.config import Config, format_duration
from lr_retune.records import content_digest
from lr_retune.replay import ARMS, Arm, World, instants
from lr_retune.replay.arms import arm, overridden
from lr_retune.replay.keys import common
from lr_retune.replay.table import tabulate
from lr_retune.watch.baselines import timer
from tests.benchmarks.sets import SETS, configured

ROWS = {"fraud_handbook_sim": 72_000}
CLOCK = {  # ticks between two trainings by the calendar
    "bank_marketing": 2,
    "bitcoin_otc": 4,
    "dc_bikeshare": 14,
    "elec2": 14,
    "employment_ma": 10,
    "fraud_handbook_sim": 4,
    "gas_turbine_nox": 14,
    "hotel_cancel": 14,
    "metro_traffic": 21,
    "noaa_weather": 10,
    "vic_elec": 14,
}
YEARS = {"train": "3640d", "valid": "364d", "holdout": "728d"}  # in ticks as others have them: 130, 13 and 26
SETUPS = SETS | {"noaa_weather": replace(SETS["noaa_weather"], tick="28d", window=YEARS)}
EVERY = 10  # trainings by the calendar to one search by grid10
GRID = "clock+grid10"
SEARCH = {"learning_rate": {"low": 0.1, "high": 0.4}, "points": 10, "patience": 30}
SPANS = {"short": 0.5, "long": 2.0}


@dataclass(frozen=True)
class Line:
    """One arm on one set."""

    arm: str
    loss: float
    runs: int
    retrains: int
    promotions: int
    rollbacks: int
    holds: int
    row_steps: int
    probes: int
    cpu_s: float  # of the walk with whatever had to be run


def arms_of(config: Config, clock: int) -> list[Arm]:
    """Everybody who walks; what the bars are about comes first."""
    refits, seldom = partial(timer, ticks=clock), partial(timer, ticks=clock * EVERY, action="search")
    trigger = Arm("policy-ungated", gated=False)  # what the trigger brings without its judge
    clocks = [Arm("clock", refits, looks=False), Arm("clock-ungated", refits, gated=False, looks=False)]
    grid = Arm(GRID, seldom, strategy="grid", looks=False)
    cheap = overridden("cheap", {"policy": {"profile": "cheap_retrain"}}, config)
    return [arm("never"), ARMS["policy"], trigger, *clocks, grid, cheap, *variants(config)]


def variants(config: Config) -> list[Arm]:
    found = [overridden("none", {"promote": {"refit": "none"}}, config)]
    ages = {f"age-{ticks}": format_duration(ticks * config.schedule.tick) for ticks in (60, 90)}
    found += [overridden(name, {"policy": {"max_age": age}}, config) for name, age in ages.items()]
    for name, factor in SPANS.items():
        window = {key: _times(getattr(config.window, key), factor, config) for key in ("train", "valid", "holdout")}
        found.append(overridden(name, {"window": window}, config))
        found.append(overridden(f"{name}-none", {"window": window, "promote": {"refit": "none"}}, config))
    return found


def _times(span: timedelta, factor: float, config: Config) -> str:
    """Whole ticks, seven at least: no gate judges fewer."""
    tick = config.schedule.tick
    return format_duration(max(7, round(span / tick * factor)) * tick)


def measured(name: str, cache: Path, only: Sequence[str], tell: Callable[[str], None]) -> list[Line]:
    """All arms on one set; an arm that was walked before is read back."""
    setup = SETUPS[name]
    folder = cache / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    config = configured(name, setup, folder, "after_pass", most=ROWS.get(name, 24_000), more={"search": SEARCH})
    times = instants(config, setup.start, setup.end, 1)
    world: World | None = None
    found = []
    for each in arms_of(config, CLOCK[name]):
        if only and each.name not in only:
            continue
        asked = [each.name, (each.config or config).digest, SEARCH, ROWS.get(name), times, common(config)]
        kept = (
            cache
            / "lines"
            / f"{name}-{each.name.replace('/', '_').replace(':', '_')}-{content_digest(asked)[:12]}.json"
        )
        if not kept.exists():
            world = world or World(config, times, cache / name)
            _keep(kept, asdict(_walked(world, each)))
        found.append(Line(**json.loads(kept.read_text(encoding="utf-8"))))
        tell(f"{name} {found[-1]}")
    return found


def _walked(world: World, arm: Arm) -> Line:
    started = time.process_time()
    walked = world.walk(arm)
    row = tabulate(world.config, [walked]).policies[0]
    probes = sum(r.facts.probe is not None for r in walked.reports if not isinstance(r, Exception))
    return Line(
        arm.name,
        row.loss,
        len(walked.reports),
        row.retrains,
        row.promotions,
        row.rollbacks,
        row.holds,
        row.cost.row_steps,
        probes,
        round(time.process_time() - started, 1),
    )


def _keep(file: Path, line: Mapping[str, object]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(line), encoding="utf-8")
    part.replace(file)
