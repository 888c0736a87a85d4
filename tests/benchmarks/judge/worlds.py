"""Holdouts whose truth is known: what two models cost on the same rows, tick by tick."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lr_retune.config import Config, parse_config
from lr_retune.judge.gates import paired_loss
from lr_retune.judge.legs import LEGS
from lr_retune.judge.limits import too_thin, undecidable
from lr_retune.judge.paired import paired
from lr_retune.metrics import loss_for
from lr_retune.records import Candidate, HoldoutScores, TuneResult

ROWS = 40  # a tick
CHEAP = {name: LEGS[name] for name in ("cr2_t", "ewc_t")}
World = Callable[[np.random.Generator, int], HoldoutScores]


@dataclass(frozen=True, slots=True)
class Means:
    """Two models judged by a mean loss; gains are shares of the champion's.

    Row differences have the sd 1; what a tick's rows share has ``rho`` times the error that its rows alone would have.
    """

    gain: float = 0.0
    rho: float = 2.6
    sd: float = 0.03  # of a tick's difference, a share of the champion's loss
    memory: float = 0.0  # correlation of a tick with the next
    tails: bool = False  # rows differ by Student's t with 3 degrees of freedom
    skew: bool = False  # B a bit better on most ticks, seldom much worse: minus a lognormal
    unequal: float = 0.0  # sd of the logarithm of a tick's rows
    entities: int = 0  # that stay, with sizes by Zipf's law; their own effect is as large as a row's
    named: bool = True

    def __call__(self, rng: np.random.Generator, ticks: int) -> HoldoutScores:
        """One holdout."""
        tick = np.repeat(np.arange(ticks), self._sizes(rng, ticks))
        n = len(tick)
        row = rng.standard_t(3, n) / math.sqrt(3) if self.tails else rng.normal(size=n)
        difference = row + self.rho / math.sqrt(ROWS) * self._shared(rng, ticks)[tick]
        entity = None
        if self.entities:
            size = 1.0 / np.arange(1, self.entities + 1)
            entity = rng.choice(self.entities, n, p=size / size.sum())
            difference += rng.normal(size=self.entities)[entity]
        champion = np.full(n, math.sqrt((1 + self.rho**2) / ROWS) / self.sd)
        challenger = champion * (1.0 - self.gain) - difference
        return HoldoutScores(np.zeros(n), tick, champion, challenger, entity=entity if self.named else None)

    def _sizes(self, rng: np.random.Generator, ticks: int) -> np.ndarray:
        spread = np.exp(self.unequal * rng.normal(size=ticks) - self.unequal**2 / 2)
        return np.maximum(2, np.round(ROWS * spread)).astype(int)

    def _shared(self, rng: np.random.Generator, ticks: int) -> np.ndarray:
        found = rng.normal(size=ticks)
        for t in range(1, ticks):
            found[t] = self.memory * found[t - 1] + math.sqrt(1 - self.memory**2) * found[t]
        if self.skew:
            found = (math.exp(0.5) - np.exp(found)) / math.sqrt((math.e - 1) * math.e)
        return found


@dataclass(frozen=True, slots=True)
class Ranks:
    """Two classifiers that are equally good by symmetry: each has noise, and luck with a tick's rows, of its own."""

    positives: int = 220
    rows: int = 2000
    shared: float = 0.5  # sd of what a tick adds to the scores of its positives, in units of row noise
    step: float = 0.0  # scores are rounded to it: ties

    def __call__(self, rng: np.random.Generator, ticks: int) -> HoldoutScores:
        """One holdout."""
        y = np.zeros(self.rows)
        y[rng.permutation(self.rows)[: self.positives]] = 1
        tick = np.arange(self.rows) * ticks // self.rows
        signal = 1.5 * y + rng.normal(size=self.rows)
        arms = [self._score(rng, signal, y, tick, ticks) for _ in range(2)]
        return HoldoutScores(y, tick, *arms)

    def _score(
        self, rng: np.random.Generator, signal: np.ndarray, y: np.ndarray, tick: np.ndarray, ticks: int
    ) -> np.ndarray:
        own = 0.5 * rng.normal(size=len(y)) + y * self.shared * rng.normal(size=ticks)[tick]
        score = 1.0 / (1.0 + np.exp(3.0 - signal - own))
        found = np.round(score / self.step) * self.step if self.step else score
        return np.clip(found, 0.001, 0.999)


@dataclass(frozen=True, slots=True)
class Late:
    """Labels come later for rows on which B is worse, so that early labels flatter it; the truth is no difference.

    A tick counts once 95 % of its labels have come (``[labels] quorum``), and with it all ticks before. ``naive``:
    every label that is there counts.
    """

    naive: bool = False
    delay: float = 1.0  # mean, in ticks, exponential

    def __call__(self, rng: np.random.Generator, ticks: int) -> HoldoutScores:
        """The newest ticks that count, and as many of them as were asked for."""
        every = Means()(rng, ticks + 12)
        waits = rng.exponential(self.delay, len(every.y))
        challenger = every.challenger + (waits / self.delay - 1.0)
        known = waits < every.tick.max() + 1 - every.tick
        came = np.bincount(every.tick, known) / np.bincount(every.tick)
        mature = len(came) if self.naive else int(np.argmax(came < 0.95)) if (came < 0.95).any() else len(came)
        kept = known & (every.tick < mature) & (every.tick >= mature - ticks)
        return HoldoutScores(every.y[kept], every.tick[kept], every.champion[kept], challenger[kept])


def settings(metric: str = "mae", **gates: Any) -> Config:
    """A configuration of the judge; the number of rows is the world's."""
    binary = metric in ("pr_auc", "roc_auc", "log_loss")
    raw = {
        "config_version": 1,
        "name": "benchmark",
        "task": "binary" if binary else "regression",
        "data": {"path": "rows.parquet", "time": "at", "label": "y"},
        "metric": {"name": metric},
        "gates": {"min_rows": 100, **gates},
    }
    return parse_config(raw, root=Path())


def outcome(*, same_rate: bool = False) -> TuneResult:
    """A search whose answer the judge has to look at."""
    model = Candidate("m" * 64, 0.1, "constant", 10, 1.0, 100, {})
    return TuneResult("lightgbm", "grid", "rounds", model, None, None, (), same_rate=same_rate)


def codes(
    world: World, ticks: int, replays: int, config: Config, *, above: float = 0.0, same_rate: bool = False
) -> Iterator[str]:
    """Codes of the whole gate, guards included, on so many holdouts; ``""`` where the gain may lie below ``above``.

    The largest p of all tests counts, so that what the two cheap ones refuse is not resampled.
    """
    seed = int.from_bytes(hashlib.sha256(repr((world, ticks)).encode()).digest()[:8], "big")
    rng, result = np.random.default_rng(seed), outcome(same_rate=same_rate)
    for _ in range(replays):
        scores = world(rng, ticks)
        code = refused(scores, config, above)
        yield paired_loss(scores, result, config).code if code is None else code


def refused(scores: HoldoutScores, config: Config, above: float) -> str | None:
    """The guard that stops these rows, or ``""`` where a cheap test does not exclude ``above``; None: ask them all."""
    if too_thin(scores, config):
        return None
    arms = scores.y, scores.champion, scores.challenger, scores.tick
    cheap = paired(*arms, loss_for(config.metric), alpha=config.gates.alpha, legs=CHEAP)
    if stopped := undecidable(cheap, config):
        return stopped[0]
    return "" if cheap.low <= above else None


def upper(hits: int, replays: int) -> float:
    """One-sided 95 % limit: Clopper & Pearson 1934."""
    from scipy.stats import beta

    return float(beta.ppf(0.95, hits + 1, replays - hits)) if hits < replays else 1.0
