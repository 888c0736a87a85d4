"""The whole loop on real data, in a folder of its own: what a user would do, at simulated times."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from lr_retune import answers
from lr_retune.config import Config, load_config
from lr_retune.data.ticks import shift
from lr_retune.errors import ConfigError
from lr_retune.plugins import load_plugins
from lr_retune.retune import bootstrap, retune
from lr_retune.stores.promotion import Stores
from lr_retune.stores.status import past


@dataclass(frozen=True, slots=True)
class Tour:
    """Which part of history a demo walks through."""

    config: str
    data: str
    start: datetime
    end: datetime
    every: int  # ticks between two runs


DEMAND = Tour("demand.toml", "demand.parquet", datetime(2013, 6, 3, tzinfo=UTC), datetime(2016, 12, 26, tzinfo=UTC), 14)


def demand(folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Walk through years of bike-share rides with real stores.

    Parameters
    ----------
    folder
        A new folder: data, configuration, ledger and MLflow's database go there.
    say
        Takes one line at a time.

    Raises
    ------
    ConfigError
        If the folder exists and is not empty.
    """
    return _walk(DEMAND, folder, say)


def _walk(tour: Tour, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    config = _unpack(tour, folder)
    stores, plugins = Stores.open(config), load_plugins(config)
    first = bootstrap(config, stores, tour.start, plugins=plugins)
    say(
        f"{tour.start:%Y-%m-%d}  bootstrap: rate {first.learning_rate:.4g}, holdout loss {answers.short(first.promised)}"
    )
    at = tour.start
    while (at := shift(at, tour.every, config.schedule.tick, config.schedule.timezone)) <= tour.end:
        found = retune(config, stores, at, plugins=plugins)
        say(f"{at:%Y-%m-%d}  {found.outcome}: {found.decision.action}, {found.decision.reasons[0].text}")
    return _ending(config, stores, at, folder, say)


def _unpack(tour: Tour, folder: Path) -> Config:
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            f"{folder} is not empty", why="the demo starts from nothing", fix="remove it or choose another --folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in ((tour.config, "retune.toml"), (tour.data, tour.data)):
        with as_file(files("lr_retune.demo") / name) as source:
            shutil.copyfile(source, folder / target)
    return load_config(folder / "retune.toml", environ={})


def _ending(config: Config, stores: Stores, at: datetime, folder: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """The story once more, as the ledger tells it."""
    decisions = [d for d in past(stores, at + timedelta(days=1)) if d["action"] != "keep"]
    rows = [(d["as_of"][:10], d["action"], d["outcome"], d["why"][:80]) for d in decisions]
    champion = stores.champion(at)
    look = f"mlflow ui --backend-store-uri sqlite:///{folder / 'mlflow.db'}"
    for line in ("", *answers.table(("as of", "action", "outcome", "why"), rows), ""):
        say(line)
    say(
        f"champion now: version {champion.version}, rate {champion.learning_rate:.4g}, promised loss {answers.short(champion.promised)}"
    )
    say(f"what every decision was based on:  lr-retune explain {decisions[-1]['id']} -c {folder / 'retune.toml'}")
    say(f"runs, curves and versions:         {look}")
    return {
        "folder": str(folder),
        "decisions": decisions,
        "champion": answers.champion(config, champion),
        "mlflow": look,
    }
