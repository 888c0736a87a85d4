"""The loop on real (and one simulated) data, both families, by configuration alone."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lr_retune.config import load_config
from lr_retune.records import Report
from lr_retune.retune import bootstrap, retune
from lr_retune.stores.promotion import Stores

CONFIG = """\
config_version = 1
name = "real"
task = "{task}"
[data]
path = "{path}"
time = "ts"
{label}
[window]
{window}
[model]
{model}
[metric]
name = "{metric}"
[search]
points = 2
{rates}
[watch]
drift = "native"
[policy]
probe = false
"""
TREES = 'family = "lightgbm"\nparams = { num_leaves = 15 }'
LINE = 'family = "sgd"'
RATES = {"lightgbm": "learning_rate = { low = 0.1, high = 0.2 }", "sgd": "max_steps = 10\npatience = 3"}
IN_ROWS = 'label = "y"\nexclude = ["step"]'
LATE = IN_ROWS + '\nlabel_time = "label_ts"'
SHORT, LONG = 'train = "28d"\nvalid = "14d"\nholdout = "14d"', 'train = "365d"'


def on(year: int, month: int, day: int = 1) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


SETS = {
    "fraud_handbook_sim": ("binary", "log_loss", LATE, SHORT, on(2018, 7), [on(2018, 8, 15)]),
    "bank_marketing": ("binary", "log_loss", IN_ROWS, LONG, on(2009, 9), [on(2009, 10, 13), on(2009, 12, 8)]),
    "hotel_cancel": ("binary", "log_loss", "", LONG, on(2016, 7), [on(2016, 10), on(2017, 2)]),
    "dc_bikeshare": ("regression", "mae", IN_ROWS, LONG, on(2012, 6), [on(2012, 7, 15), on(2013, 6)]),
}


def apart(source: Path, folder: Path) -> tuple[Path, str]:
    """The set as production has it: cancellations become known in a file of their own, up to months later."""
    table = pq.read_table(source)
    pq.write_table(table.drop_columns(["y", "label_ts"]), folder / "rows.parquet")
    pq.write_table(table.select(["step", "y", "label_ts"]), folder / "labels.parquet")
    labels = '[labels]\npath = "labels.parquet"\nlabel = "y"\nknown_at = "label_ts"\nmax_delay = "90d"'
    return folder / "rows.parquet", f'id = "step"\n{labels}'


@pytest.mark.parametrize("family", ["lightgbm", "sgd"])
@pytest.mark.parametrize("name", SETS)
def test_the_loop_runs_on_real_data_by_configuration_alone(
    tmp_path: Path, shared_data: Callable[[str], Path], name: str, family: str
) -> None:
    task, metric, label, window, start, later = SETS[name]
    path = shared_data(name)
    if not label:
        path, label = apart(path, tmp_path)
    model = TREES if family == "lightgbm" else LINE
    text = CONFIG.format(
        task=task, path=path, label=label, window=window, model=model, metric=metric, rates=RATES[family]
    )
    (tmp_path / "retune.toml").write_text(text, encoding="utf-8")
    config = load_config(tmp_path / "retune.toml", environ={})
    stores = Stores.in_memory(config)
    assert bootstrap(config, stores, start).promised > 0
    found = [retune(config, stores, at) for at in later]
    assert any(each.result is not None for each in found), [each.decision for each in found]
    for each in found:
        if each.result is not None:
            judged(each)


def judged(found: Report) -> None:
    assert found.outcome in ("promoted", "rejected", "inconclusive")
    assert found.judgement is not None
    assert all(np.isfinite(loss) for loss in found.judgement.losses.values())
