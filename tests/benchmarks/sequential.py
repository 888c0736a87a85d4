"""Whether an always-valid test keeps its word and what that costs: ``python -m tests.benchmarks.sequential``.

A/A: every labelled row of a real set is scored by one model, trained on the first third of the file, and given to one
of two arms by chance; 1,000 splits a set, looked at after every tick. Planted: the second arm's scores get noise until
its loss is so much higher.

- ``always valid``: share of splits in which zero ever lay outside its bounds. The claim is at most ``alpha`` = 5 %.
- ``t at every look``: the same of a two-sided t-test over ticks that is read again each time, from 7 ticks on.
- ``told``, ``median tick``: share of 200 planted splits that were told within the ticks there are, and when.
- ``t at the end``: share that one t-test on the last tick would have told.

All figures are the same on every run and machine.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightgbm as lgb
import numpy as np
import pyarrow.parquet as pq
from scipy.stats import t as student

from lr_retune.config import Metric
from lr_retune.judge.sequential import always_valid
from lr_retune.metrics import loss_for

DATA = Path(__file__).parents[3] / "shared" / "data"
ALPHA, SPLITS, PLANTED = 0.05, 1000, 200


@dataclass(frozen=True)
class Case:
    """A set and the metric of its rows."""

    name: str
    metric: str
    ticks: int
    share: float = 0.5  # of rows that the second arm answers


CASES = (
    Case("hotel_cancel", "log_loss", 30),
    Case("hotel_cancel", "log_loss", 90),
    Case("elec2", "log_loss", 90),
    Case("bank_marketing", "log_loss", 60),
    Case("fraud_handbook_sim", "log_loss", 60),
    Case("fraud_handbook_sim", "log_loss", 60, 0.1),
    Case("dc_bikeshare", "mae", 90),
    Case("dc_bikeshare", "mae", 90, 0.1),
    Case("gas_turbine_nox", "mae", 365),
)


@dataclass(frozen=True)
class Scored:
    """Rows after those the model learned: label, score, tick."""

    y: np.ndarray
    score: np.ndarray
    tick: np.ndarray


def scored(case: Case) -> Scored:
    """The newest ``ticks`` equal runs of rows behind the first third; a tick of a team's stream is as large."""
    frame = pq.read_table(DATA / f"{case.name}.parquet").to_pandas()
    y = frame.pop("y").to_numpy(float)
    x = frame.drop(columns=[n for n in ("ts", "step", "label_ts") if n in frame])
    first = len(y) // 3
    binary = case.metric == "log_loss"
    params = {"objective": "binary" if binary else "l1", "num_threads": 1, "verbose": -1, "seed": 0}
    model = lgb.train(params, lgb.Dataset(x[:first], y[:first]), num_boost_round=60)
    score = np.asarray(model.predict(x[first:], num_threads=1))
    rows = len(score)
    return Scored(y[first:], score, np.arange(rows) * case.ticks // rows)


def difference(case: Case, rows: Scored, score: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Per tick the first arm's mean loss less the second's, whose scores are ``score``; ticks with both arms."""
    loss = loss_for(Metric(name=case.metric)).rows
    assert loss is not None
    second = rng.random(len(rows.y)) < case.share
    values = np.where(second, loss(rows.y, score), loss(rows.y, rows.score))
    means = []
    for mine in (~second, second):
        count = np.bincount(rows.tick[mine], minlength=case.ticks)
        total = np.bincount(rows.tick[mine], weights=values[mine], minlength=case.ticks)
        means.append(np.where(count > 0, total / np.maximum(count, 1), np.nan))
    found = means[0] - means[1]
    return np.asarray(found[np.isfinite(found)])


def by_t(values: np.ndarray) -> np.ndarray:
    """Two-sided p of the mean after each tick, NaN before the seventh; shape ``(T,)``."""
    n = np.arange(1, len(values) + 1)
    mean = np.cumsum(values) / n
    with np.errstate(invalid="ignore", divide="ignore"):
        deviation = np.sqrt(np.maximum(np.cumsum(values**2) - n * mean**2, 0) / (n - 1))
        p = 2 * student.sf(np.abs(mean) / deviation * np.sqrt(n), n - 1)
    return np.where(n >= 7, p, np.nan)


def noisier(case: Case, rows: Scored, rise: float) -> np.ndarray:
    """Scores with so much noise, on the logits of probabilities, that the loss is higher by the share ``rise``."""
    loss, noise = loss_for(Metric(name=case.metric)), np.random.default_rng(1).normal(size=len(rows.y))
    base = loss.value(rows.y, rows.score)

    def with_noise(size: float) -> np.ndarray:
        if case.metric != "log_loss":
            return np.asarray(rows.score + size * noise)
        p = np.clip(rows.score, 1e-9, 1 - 1e-9)
        return np.asarray(1 / (1 + np.exp(-(np.log(p / (1 - p)) + size * noise))))

    low, high = 0.0, 10 * float(np.std(rows.y)) + 5
    for _ in range(40):
        half = (low + high) / 2
        low, high = (low, half) if loss.value(rows.y, with_noise(half)) > base * (1 + rise) else (half, high)
    return with_noise(high)


def upper(hits: int, of: int) -> float:
    """95 % upper limit of a share (Clopper-Pearson, one-sided)."""
    from scipy.stats import beta

    return float(beta.ppf(0.95, hits + 1, of - hits)) if hits < of else 1.0


def line(case: Case, splits: int, planted: int, rise: float) -> str:
    """One row of the table."""
    rows, rng = scored(case), np.random.default_rng(0)
    told = noisy = 0
    for _ in range(splits):
        found = difference(case, rows, rows.score, rng)
        told += always_valid(found, alpha=ALPHA).decided is not None
        noisy += bool((by_t(found) < ALPHA).any())
    worse = noisier(case, rows, rise)
    actual = loss_for(Metric(name=case.metric)).value(rows.y, worse) / loss_for(Metric(name=case.metric)).value(
        rows.y, rows.score
    )
    when, end = [], 0
    for _ in range(planted):
        found = difference(case, rows, worse, rng)
        seen = always_valid(found, alpha=ALPHA).decided
        when += [] if seen is None else [seen + 1]
        end += bool(by_t(found)[-1] < ALPHA)
    median = f"{np.median(when):.0f}" if when else "-"
    cells = (
        f"{case.name} {100 * (1 - case.share):.0f}:{100 * case.share:.0f}",
        f"{case.ticks}",
        f"{len(rows.y) // case.ticks:,}",
        f"{100 * told / splits:.1f} (<= {100 * upper(told, splits):.1f})",
        f"{100 * noisy / splits:.1f}",
        f"+{100 * (actual - 1):.1f}",
        f"{100 * len(when) / planted:.0f}",
        median,
        f"{100 * end / planted:.0f}",
    )
    return FORM.format(*cells)


FORM = "{:<26} {:>5} {:>9} {:>18} {:>16} {:>10} {:>7} {:>12} {:>13}"
HEAD = ("set, shares of the arms", "ticks", "rows/tick", "always valid %", "t at every look", "planted %", "told %")


def main(tell: Callable[[str], None] = print) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="An always-valid test on real streams.")
    parser.add_argument("--splits", type=int, default=SPLITS)
    parser.add_argument("--planted", type=int, default=PLANTED)
    parser.add_argument("--rise", type=float, default=0.1, help="share by which the planted arm loses more")
    asked = parser.parse_args()
    tell(FORM.format(*HEAD, "median tick", "t at the end"))
    for case in CASES:
        tell(line(case, asked.splits, asked.planted, asked.rise))


if __name__ == "__main__":
    main()
