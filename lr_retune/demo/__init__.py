"""The whole loop on real data, in a folder of its own: what a user would do, at simulated times."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

from lr_retune import answers
from lr_retune.config import Config, load_config
from lr_retune.data.ticks import shift
from lr_retune.errors import ConfigError
from lr_retune.plugins import load_plugins
from lr_retune.records import Champion, Report
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


DEMAND = Tour("demand.toml", "demand.parquet", datetime(2014, 6, 2, tzinfo=UTC), datetime(2015, 10, 19, tzinfo=UTC), 28)


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
    config = unpack(folder, {tour.config: "retune.toml", tour.data: tour.data})
    stores, plugins = Stores.open(config), load_plugins(config)
    say(born(tour.start, bootstrap(config, stores, tour.start, plugins=plugins)))
    at = tour.start
    while (at := shift(at, tour.every, config.schedule.tick, config.schedule.timezone)) <= tour.end:
        say(look(at, retune(config, stores, at, plugins=plugins)))
    return ending(config, stores, at, folder, say, "mean absolute error in rides an hour")


def unpack(folder: Path, content: Mapping[str, str]) -> Config:
    """Copy files of the package, by name and name in the folder, and read the configuration among them.

    Raises
    ------
    ConfigError
        If the folder exists and is not empty.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(
            f"{folder} is not empty", why="the demo starts from nothing", fix="remove it or choose another --folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, target in content.items():
        with as_file(files("lr_retune.demo") / name) as source:
            shutil.copyfile(source, folder / target)
    return load_config(folder / "retune.toml", environ={})


def born(at: datetime, first: Champion) -> str:
    """One line on the first champion."""
    return f"{at:%Y-%m-%d}  {'bootstrap':<12} {_rate(first)}, holdout loss {answers.short(first.promised)}"


def look(at: datetime, found: Report) -> str:
    """One line on one look."""
    return f"{at:%Y-%m-%d}  {found.outcome:<12} {found.decision.action}: {found.decision.reasons[0].text}"


def _rate(champion: Champion) -> str:
    return f"learning rate {champion.learning_rate:.4g}"


def ending(
    config: Config, stores: Stores, at: datetime, folder: Path, say: Callable[[str], None], unit: str
) -> dict[str, Any]:
    """The story once more, as the ledger tells it, and where to look on; ``unit``: what a loss is."""
    settled = {
        e.record["decision"]["id"]: e.record for e in stores.ledger.entries(config.name) if e.kind == "settlement"
    }
    decisions = [d for d in past(stores, at) if d["action"] != "keep"]
    rows = [(d["as_of"][:10], d["action"], d["outcome"], *_losses(settled.get(d["id"]))) for d in decisions]
    head = (
        "as of",
        "action",
        "outcome",
        "old rate",
        "new rate",
        "champion",
        "old rate, fresh data",
        "challenger",
        "gain",
    )
    champion, toml = stores.champion(at), folder / "retune.toml"
    here = "" if shutil.which("lr-retune") else f"{os.path.relpath(Path(sys.executable).parent)}/"
    why = f"explain {decisions[-1]['id']}" if decisions else "history"
    commands = {
        "why": f"{here}lr-retune {why} -c {toml}",
        "gate": f"{here}lr-retune gate --version {champion.version} -c {toml}",
        "undo": f"{here}lr-retune rollback -c {toml}",
        "look": f"{here}mlflow ui --backend-store-uri sqlite:///{folder / 'mlflow.db'}",
    }
    for line in (
        "",
        f"What the ledger holds (loss on the holdout, {unit}):",
        "",
        *answers.table(head, rows),
        "",
    ):
        say(line)
    say(
        f"champion now: version {champion.version}, {_rate(champion)}, promised loss {answers.short(champion.promised)}"
    )
    for name, command in commands.items():
        say(f"  {name}:  {command}")
    return {
        "folder": str(folder),
        "decisions": decisions,
        "champion": answers.champion(config, champion),
        "commands": commands,
    }


def _losses(record: Mapping[str, Any] | None) -> tuple[Any, ...]:
    if record is None or record["result"]["challenger"] is None:
        return ("–",) * 6
    losses, rates = record["judgement"]["losses"], (record["champion"], record["result"]["challenger"])
    figures = (losses["champion"], losses.get("control"), losses["challenger"])
    gain = record["judgement"]["attribution"]["total"]
    return (*(f"{r['learning_rate']:.4g}" for r in rates), *map(answers.short, figures), f"{gain:+.1%}")
