"""What a look at the rows of one tick costs: the fault check and drift of the native sketch, beside Evidently's report.

30 columns, 24 numbers and 6 categories, in five Parquet files a tick; the reference holds 100,000 rows. Each line is a
process of its own on one thread. Its imports are apart (the first command of a fresh process pays them); ``MB`` is the
peak above what the imports hold.

``native``: the whole check of the feed against its contract (`Feed.check`), the sample, the sketch of the reference
and every drift figure, from files. ``of all rows``: the same figures on every row, no sample drawn. ``Evidently``:
DataDriftPreset with the same methods on every row, read by pandas; its CPU is that of the report alone, without
reading. Drawing the champion's scores and its losses is not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NUMBERS, CATEGORIES, FILES = 24, 6, 5
REFERENCE = 100_000
QUICK, FULL = (10_000, 100_000), (10_000, 100_000, 1_000_000, 5_000_000)
AGAINST = 1_000_000  # rows of the bar beside Evidently
MOST_CPU, MOST_MB, LEAST_TIMES = 2.5, 500, 20
BORN, DAY = datetime(2024, 1, 1, tzinfo=UTC), timedelta(days=1)
CONFIG = """\
config_version = 1
name = "cost"
task = "binary"
[data]
path = "rows"
time = "ts"
label = "y"
[metric]
name = "log_loss"
"""


def table(quick: bool) -> Iterator[str]:
    """CPU seconds and peak MB per rows of a tick, with the bars."""
    found: dict[tuple[str, int], dict[str, float]] = {}
    for rows in QUICK if quick else FULL:
        with tempfile.TemporaryDirectory() as folder:
            made(Path(folder), rows)
            for arm in ("native", "of all rows", "Evidently"):
                if arm == "native" or rows <= AGAINST:
                    found[arm, rows] = _measured(arm, Path(folder))
    head = f"{'':12s}{'rows':>10s}{'import s':>10s}{'CPU s':>8s}{'MB':>7s}"
    yield "\n".join([head, *(_line(*key, of) for key, of in found.items()), "", *_bars(found, quick=quick)])


def _line(arm: str, rows: int, of: dict[str, float]) -> str:
    return f"{arm:12s}{rows:10,d}{of['imports']:10.2f}{of['cpu']:8.2f}{of['mb']:7.0f}"


def _bars(found: dict[tuple[str, int], dict[str, float]], *, quick: bool) -> list[str]:
    largest, shared = max(rows for _, rows in found), (QUICK[-1] if quick else AGAINST)
    look, native, theirs = found["native", largest], found["of all rows", shared], found["Evidently", shared]
    times, sampled = theirs["cpu"] / native["cpu"], theirs["cpu"] / found["native", shared]["cpu"]
    said = f"{largest:,} rows: {look['cpu']:.2f} CPU s, {look['mb']:.0f} MB; bar {MOST_CPU} and {MOST_MB}"
    beside = f"{shared:,} rows: Evidently takes {times:.0f}x the CPU on all rows, {sampled:.0f}x of a whole look"
    met = look["cpu"] <= MOST_CPU and look["mb"] <= MOST_MB
    bar = " (the bar is set at 1,000,000)" if quick else f"; bar {LEAST_TIMES}: {_word(sampled >= LEAST_TIMES)}"
    return [f"{said}{' at 5,000,000' if quick else ''}: {_word(met)}", beside + bar]


def _word(met: bool) -> str:
    return "met" if met else "MISSED"


# ── the rows ──────────────────────────────────────────────────────────────────────────────────────
def made(folder: Path, rows: int) -> None:
    """A reference on day 0, the tick on day 1, and the configuration."""
    (folder / "rows").mkdir()
    (folder / "retune.toml").write_text(CONFIG, encoding="utf-8")
    for day, n in enumerate((REFERENCE, rows)):
        for part in range(FILES):
            _write(folder / "rows" / f"{day}-{part}.parquet", n // FILES, day, part)


def _write(path: Path, rows: int, day: int, part: int) -> None:
    draw = np.random.default_rng([day, part])
    slot = 86_400_000_000 // FILES
    start = int(BORN.timestamp()) * 1_000_000 + day * 86_400_000_000 + part * slot
    columns: dict[str, Any] = {
        "ts": pa.array(np.sort(start + draw.integers(0, slot, rows)), pa.timestamp("us", "UTC")),
        "y": draw.integers(0, 2, rows).astype(float),
    }
    for i in range(NUMBERS):  # every third a count, the first one moves
        moved = 0.3 if day and not i else 0.0
        columns[f"n{i}"] = draw.poisson(20, rows).astype(float) if i % 3 == 2 else draw.normal(i + moved, 1.0, rows)
    for i in range(CATEGORIES):
        levels = pa.array([f"level {j}" for j in range(5 * (i + 1))])
        codes = pa.array(draw.integers(0, len(levels), rows).astype(np.int32))
        columns[f"c{i}"] = pa.DictionaryArray.from_arrays(codes, levels).cast(pa.string())
    pq.write_table(pa.table(columns), path)


# ── one process ───────────────────────────────────────────────────────────────────────────────────
def _measured(arm: str, folder: Path) -> dict[str, float]:
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    if not (folder / "contract.json").exists():
        _child("learn", folder, threads)
    found: dict[str, float] = json.loads(_child(arm, folder, threads))
    return found


def _child(arm: str, folder: Path, threads: dict[str, str]) -> str:
    words = [sys.executable, "-W", "ignore", "-m", __spec__.name, arm, str(folder)]
    environ = {**os.environ, **threads, "DO_NOT_TRACK": "1"}
    return subprocess.run(words, env=environ, check=True, capture_output=True, text=True).stdout.splitlines()[-1]


def _timed(imports: Callable[[], Any], work: Callable[[], float | None]) -> dict[str, float]:
    """CPU seconds of both, and the peak of ``work`` above that of the imports; ``work`` may say its own seconds."""
    started = time.process_time()
    imports()
    ready, held = time.process_time(), _peak()
    said = work()
    spent = time.process_time() - ready
    return {"imports": ready - started, "cpu": spent if said is None else said, "mb": _peak() - held}


def _peak() -> float:
    """Most memory that this process has held, MB; not that of the process it was forked from."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _native(folder: Path, sample: int | None) -> dict[str, float]:
    def imports() -> None:
        import pandas  # noqa: F401 - pyarrow does so itself at its first array
        import pyarrow.compute  # noqa: F401
        import scipy.special  # noqa: F401

        import lr_retune.data.feed
        import lr_retune.data.sources
        import lr_retune.watch.drift  # noqa: F401

    def work() -> None:
        from lr_retune.data.feed import Feed
        from lr_retune.records import Span
        from lr_retune.watch.drift import column_drift

        config, feeds = _configured(folder)
        if sample is not None:
            config = config.model_copy(update={"watch": config.watch.model_copy(update={"sample": sample})})
        feed, contract, tick = Feed(config, feeds, BORN + 2 * DAY), _contract(folder), Span(BORN + DAY, BORN + 2 * DAY)
        importance = dict.fromkeys(contract.names, 1 / len(contract.names))
        assert feed.holds(tick.start, tick.end, config.policy.min_rows)
        faults = feed.check(contract, tick, importance, config.watch.matters)
        current = feed.table(contract, tick, config.watch.sample, config.seed)
        reference = feed.table(contract, Span(BORN, BORN + DAY), config.watch.sample, config.seed)
        drift = column_drift(reference, current, contract, importance, config.watch.drift_threshold)
        assert not faults, faults
        assert [d.column for d in drift if d.drifted] == ["n0"]

    return _timed(imports, work)


def _evidently(folder: Path) -> dict[str, float]:
    def imports() -> None:
        import evidently.presets  # noqa: F401
        import pandas  # noqa: F401

    def work() -> float:
        import pandas as pd
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        names = [f"n{i}" for i in range(NUMBERS)], [f"c{i}" for i in range(CATEGORIES)]
        definition = DataDefinition(numerical_columns=names[0], categorical_columns=names[1])
        frames = [
            pd.concat(
                [pd.read_parquet(p, columns=[*names[0], *names[1]]) for p in sorted(folder.glob(f"rows/{day}-*"))]
            )
            for day in (0, 1)
        ]
        started = time.process_time()
        reference, current = (
            Dataset.from_pandas(frame.reset_index(drop=True), data_definition=definition) for frame in frames
        )
        preset = DataDriftPreset(
            num_method="wasserstein", cat_method="jensenshannon", num_threshold=0.1, cat_threshold=0.1
        )
        Report([preset]).run(current, reference)
        return time.process_time() - started

    return _timed(imports, work)


def _configured(folder: Path) -> tuple[Any, Any]:
    from lr_retune.config import load_config
    from lr_retune.data.sources import ParquetSource
    from lr_retune.records import Feeds

    config = load_config(folder / "retune.toml", environ={})
    return config, Feeds(ParquetSource(config))


def _learn(folder: Path) -> dict[str, float]:
    """The contract as a champion carries it: reading it costs nothing."""
    from lr_retune.data.feed import Feed
    from lr_retune.records import Span, canonical

    feed = Feed(*_configured(folder), BORN + 2 * DAY)
    (folder / "contract.json").write_text(canonical(feed.learn(Span(BORN, BORN + DAY))), encoding="utf-8")
    return {}


def _contract(folder: Path) -> Any:
    from lr_retune.records import Column, Contract

    found = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
    columns = tuple(Column(**{**c, "levels": tuple(c["levels"])}) for c in found["columns"])
    return Contract(found["version"], columns, found["rows"])


ARMS: dict[str, Callable[[Path], dict[str, float]]] = {
    "learn": _learn,
    "native": lambda folder: _native(folder, None),
    "of all rows": lambda folder: _native(folder, 10**9),
    "Evidently": _evidently,
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arm", choices=[*ARMS, "table"])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    if asked.arm == "table":
        print(table(asked.quick))  # noqa: T201 - the answer
    else:
        print(json.dumps(ARMS[asked.arm](asked.folder)))  # noqa: T201 - read by the process that started this one
