"""The shared sets as a team would configure them: windows, ticks and the stretch that benchmarks walk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lr_retune.config import Config, parse_config

DATA = Path(__file__).parents[3] / "shared" / "data"
LONG = {"train": "364d", "valid": "56d", "holdout": "84d"}


@dataclass(frozen=True)
class Setup:
    """How a team with such a stream would configure it, and which part is walked."""

    task: str
    metric: str
    start: datetime
    end: datetime
    every: int  # ticks between two trainings by a timer
    look: int  # ticks between two looks of the policy
    tick: str = "1d"
    window: Mapping[str, str] = field(default_factory=dict)
    labels_late: bool = False
    thin: int = 1  # every so many rows of the file
    per_day: int | None = None  # rows of a made-up day, where the file's times are years


def _day(year: int, month: int, day: int) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


SETS = {
    "bank_marketing": Setup("binary", "log_loss", _day(2009, 4, 6), _day(2010, 11, 22), 4, 1, "7d", LONG),
    "bitcoin_otc": Setup("binary", "log_loss", _day(2012, 9, 3), _day(2015, 6, 1), 8, 2, "7d", LONG),
    "dc_bikeshare": Setup("regression", "mae", _day(2014, 1, 6), _day(2016, 1, 4), 42, 7),
    "elec2": Setup("binary", "log_loss", _day(1997, 6, 2), _day(1998, 11, 30), 28, 7),
    "employment_ma": Setup("binary", "log_loss", _day(2000, 8, 1), _day(2001, 7, 1), 21, 7, thin=6, per_day=80),
    "fraud_handbook_sim": Setup(
        "binary",
        "log_loss",
        _day(2018, 6, 18),
        _day(2018, 9, 24),
        7,
        7,
        window={"train": "28d", "valid": "14d", "holdout": "14d"},
        labels_late=True,
        thin=2,
    ),
    "gas_turbine_nox": Setup("regression", "mae", _day(2012, 6, 4), _day(2014, 6, 2), 42, 7),
    "hotel_cancel": Setup(
        "binary", "log_loss", _day(2016, 5, 2), _day(2017, 5, 1), 21, 7, window={"train": "182d"}, labels_late=True
    ),
    "metro_traffic": Setup("regression", "mae", _day(2016, 5, 2), _day(2018, 9, 3), 56, 7),
    "noaa_weather": Setup(
        "binary",
        "log_loss",
        _day(1965, 1, 4),
        _day(1997, 1, 6),
        104,
        26,
        "7d",
        {"train": "3650d", "valid": "364d", "holdout": "728d"},
    ),
    "vic_elec": Setup("regression", "mae", _day(2013, 6, 3), _day(2014, 12, 1), 35, 7),
}


def configured(
    name: str, setup: Setup, folder: Path, refit: str, *, most: int | None = None, more: Mapping[str, Any] | None = None
) -> Config:
    """The configuration of a set; its rows are put into ``folder``.

    Parameters
    ----------
    most
        Rows of the walked stretch and of what it is trained on, by systematic thinning; None: as the setup says.
    more
        Sections to set or to override.
    """
    file = folder / f"{name}.parquet"
    if not file.exists():
        pq.write_table(_rows(name, setup) if most is None else _fewer(name, setup, most), file)
    late = {"label_time": "label_ts"} if setup.labels_late else {}
    document = {
        "config_version": 1,
        "name": name,
        "task": setup.task,
        "schedule": {"tick": setup.tick},
        "data": {"path": str(file), "time": "ts", "label": "y", "exclude": ["step"], **late},
        "window": dict(setup.window),
        "metric": {"name": setup.metric},
        "search": {"learning_rate": {"low": 0.02, "high": 0.3}, "points": 5},
        "promote": {"refit": refit},
        **(more or {}),
    }
    return parse_config(document, root=folder)


def _rows(name: str, setup: Setup) -> pa.Table:
    table = pq.read_table(DATA / f"{name}.parquet")
    table = table.take(np.arange(0, table.num_rows, setup.thin))
    if setup.per_day is None:
        return table
    step = timedelta(days=1) // setup.per_day
    times = pa.array([datetime(2000, 1, 1) + step * n for n in range(table.num_rows)])  # noqa: DTZ001 as the files have it
    return table.set_column(table.column_names.index("ts"), "ts", times)


def _fewer(name: str, setup: Setup, most: int) -> pa.Table:
    """The rows from the first window on to the end of the stretch, thinned evenly."""
    table = _rows(name, setup)
    windows = {"train": "365d", "valid": "28d", "holdout": "28d", **setup.window}
    reach = timedelta(days=30 + sum(int(windows[n].removesuffix("d")) for n in ("train", "valid", "holdout")))
    when = table.column("ts").to_numpy().astype("datetime64[us]")
    first, last = (np.datetime64(at.replace(tzinfo=None)) for at in (setup.start - reach, setup.end))
    inside = np.flatnonzero((when >= first) & (when < last))
    kept = inside if len(inside) <= most else inside[np.arange(most) * len(inside) // most]
    return table.take(kept)
