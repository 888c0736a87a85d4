"""Small worlds for end-to-end tests: a feed whose truth is known, and its retune.toml."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

START = datetime(2024, 1, 1, tzinfo=UTC)
ROWS_A_DAY = 60

CONFIG = """\
config_version = 1
name = "demo"
task = "{task}"

[data]
path = "rows.parquet"
time = "ts"
label = "y"
{clock}

[window]
train = "60d"
valid = "14d"
holdout = "14d"

[model]
params = {{ num_leaves = 7, min_data_in_leaf = 20 }}

[metric]
name = "{metric}"

[search]
strategy = "grid"
points = 3
learning_rate = {{ low = 0.05, high = 0.3 }}
max_steps = 400
patience = 20

[watch]
drift = "native"

[gates]
min_rows = 200

{more}
"""

AGE_TRAINS = "[policy]\nprobe = false"  # a champion of some age is retrained, whatever a probe would say

# the least that is a configuration
GOOD = """\
config_version = 1
name = "fraud"
task = "binary"

[data]
path = "rows.parquet"
time = "ts"
label = "y"

[metric]
name = "log_loss"
"""


def day(n: int) -> datetime:
    """Midnight of the n-th day."""
    return START + timedelta(days=n)


def rows(
    days: int = 160, *, seed: int = 0, changed: int | None = None, task: str = "regression", delay: int | None = None
) -> dict[str, Any]:
    """Columns of a feed; from day ``changed`` on the effect of ``a`` is reversed."""
    rng = np.random.default_rng(seed)
    n = days * ROWS_A_DAY
    hours = np.sort(rng.uniform(0, days * 24, n))
    when = [START + timedelta(hours=float(h)) for h in hours]
    a, b = rng.normal(size=n), rng.normal(size=n)
    kind = rng.choice(["x", "y", "z"], n)
    sign = np.where(hours / 24 >= changed, -1.0, 1.0) if changed is not None else 1.0
    truth = 3 * sign * a + b + np.where(kind == "x", 2.0, 0.0)
    noise = rng.normal(size=n)
    y = truth + noise if task == "regression" else (truth + noise > 2).astype(float)
    columns: dict[str, Any] = {"ts": when, "y": y, "a": a, "b": b, "kind": kind.tolist()}
    if delay is not None:
        columns["label_ts"] = [t + timedelta(days=delay) for t in when]
    return columns


def write(folder: Path, columns: dict[str, Any], name: str = "rows.parquet") -> Path:
    """A Parquet file of columns."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    for i, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pa.timestamp("us", "UTC")))
    pq.write_table(table, folder / name)
    return folder / name


def world(folder: Path, *, task: str = "regression", metric: str = "mae", more: str = "", **shape: Any) -> Path:
    """A folder with rows.parquet and retune.toml; returns the configuration's path."""
    write(folder, rows(task=task, **shape))
    clock = 'label_time = "label_ts"' if shape.get("delay") is not None else ""
    path = folder / "retune.toml"
    path.write_text(CONFIG.format(task=task, metric=metric, clock=clock, more=more), encoding="utf-8")
    return path
