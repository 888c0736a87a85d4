"""The shared sets as episodes: rows to train on, to stop and choose by, and later ones that nothing was tuned on."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lr_retune.config import Config, parse_config
from lr_retune.data.feed import Feed
from lr_retune.data.plan import freeze
from lr_retune.metrics import curve_loss_for, loss_for
from lr_retune.plugins import load_feeds
from lr_retune.records import FitData, Rows

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
MOST_ROWS = {"lightgbm": 16_000, "sgd": 8_000}  # the newest of train


@dataclass(frozen=True)
class Stream:
    """Which part of a set is walked, and how its window is cut."""

    metric: str
    start: datetime
    every: int  # days between two times
    days: tuple[int, int, int] = (364, 28, 28)  # train, valid, later
    tick: str = "1d"
    keys: dict[str, dict[str, str]] = field(default_factory=dict)  # more of the configuration

    @property
    def task(self) -> str:
        return "regression" if self.metric == "mae" else "binary"


def _on(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


LATE = {"data": {"label_time": "label_ts"}}
SETS = {
    "bank_marketing": Stream("log_loss", _on(2009, 7, 20), 91, (364, 84, 84), "7d"),
    "bitcoin_otc": Stream("log_loss", _on(2012, 9, 3), 154, (728, 91, 91), "7d"),
    "dc_bikeshare": Stream("mae", _on(2013, 4, 8), 455),
    "elec2": Stream("log_loss", _on(1997, 8, 4), 105),
    "employment_ma": Stream("log_loss", _on(2015, 9, 7), 182, (112, 28, 28)),
    "fraud_handbook_sim": Stream("log_loss", _on(2018, 6, 18), 28, (14, 7, 7), "1d", LATE),
    "gas_turbine_nox": Stream("mae", _on(2012, 9, 3), 210),
    "hotel_cancel": Stream("log_loss", _on(2016, 10, 3), 70, keys={**LATE, "labels": {"max_delay": "90d"}}),
    "metro_traffic": Stream("mae", _on(2016, 10, 3), 182),
    "noaa_weather": Stream("log_loss", _on(1977, 1, 3), 1820, (7280, 728, 728), "7d"),
    "vic_elec": Stream("mae", _on(2013, 8, 5), 105),
}


@dataclass(frozen=True)
class Episode:
    """The rows of one time."""

    config: Config
    seed: int  # of the peers' draws: one seed for all would be luck or the lack of it
    data: FitData
    later: Rows
    valid_loss: Callable[[np.ndarray], float]  # score → the user's metric as a loss
    later_loss: Callable[[np.ndarray], float]


def episodes(name: str, family: str, times: int, folder: Path) -> Iterator[Episode]:
    """A set at ``times`` times; ``folder`` takes what has to be written first."""
    stream = SETS[name]
    config = configured(name, family, folder)
    feeds = load_feeds(config)
    for number in range(times):
        feed = Feed(config, feeds, stream.start + timedelta(days=stream.every * number))
        yield _cut(config, feed, zlib.crc32(f"{name} {number}".encode()))


def configured(name: str, family: str, folder: Path) -> Config:
    """The set as a user would configure it."""
    stream = SETS[name]
    path = _spread(folder) if name == "employment_ma" else DATA / f"{name}.parquet"
    train, valid, later = (f"{days}d" for days in stream.days)
    columns = {"path": str(path), "time": "ts", "label": "y", "exclude": ["step"]}
    sections = {
        "schedule": {"tick": stream.tick},
        "data": {**columns, **stream.keys.get("data", {})},
        "labels": stream.keys.get("labels", {}),
        "window": {"train": train, "valid": valid, "holdout": later},
        "model": {"family": family},
        "metric": {"name": stream.metric},
    }
    return parse_config({"config_version": 1, "name": name, "task": stream.task, **sections}, root=folder)


def _spread(folder: Path) -> Path:
    """Yearly interviews stand at one instant each; here they are spread over their year in the order given."""
    path = folder / "employment_ma.parquet"
    if path.exists():
        return path
    table = pq.read_table(DATA / path.name)
    year = table.column("ts").cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]")
    _, first, rows = np.unique(year, return_index=True, return_counts=True)
    share = (np.arange(len(year)) - np.repeat(first, rows)) / np.repeat(rows, rows)
    time = year + (share * 364 * 86_400e6).astype("timedelta64[us]")
    spread = table.set_column(table.column_names.index("ts"), "ts", pa.array(time, pa.timestamp("us")))
    pq.write_table(spread, path)
    return path


def _cut(config: Config, feed: Feed, seed: int) -> Episode:
    plan = freeze(feed, config)
    train, valid, later = (feed.rows(plan.contract, s).labelled() for s in (plan.train, plan.valid, plan.holdout))
    newest = train.take(slice(-MOST_ROWS[config.model.family], None))  # type: ignore[arg-type]
    curve, categorical = curve_loss_for(config.metric), plan.contract.categorical
    data = FitData(newest, valid, config.task, categorical, config.metric.name, curve)
    loss = loss_for(config.metric)
    return Episode(config, seed, data, later, partial(loss.value, valid.y), partial(loss.value, later.y))
