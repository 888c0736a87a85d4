"""False alarms where nothing changes but ticks differ as real ones do: ticks of the shared sets in random order."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property, partial
from multiprocessing import get_context

import numpy as np

from lr_retune.config import Config
from lr_retune.records import TRAINING_ACTIONS, Cost, Facts, Probe
from lr_retune.watch import occasion
from lr_retune.watch.policy import probe_due
from tests.benchmarks.trigger import matrix
from tests.benchmarks.trigger.facts import Ledger, Served, answered, day, observed
from tests.benchmarks.trigger.matrix import Matrix, row_losses, trained
from tests.benchmarks.trigger.policies import DRIFTED, MEET, Clock, share_of_columns, sureness

REFERENCE = 20  # ticks whose losses are the promise
MONITORED = 40  # ticks after them
CHANGED = 10  # monitored ticks before a planted rise
KNOWN = 2  # ticks after it that a fresh twin must have learned to be free of it
RISES = (0.1, 0.2, 0.5)
DRAWS = 10_000  # of sets, with replacement
NORMAL_999 = 3.0902  # one-sided 99.9 % of a normal


@dataclass(frozen=True)
class Amount:
    """How much is drawn of each set."""

    folds: int = 13  # models, each of 14 ticks drawn at random
    orders: int = 35  # of the other ticks, for each model
    fresh: int = 16  # twins of other ticks that a probe may meet
    drift_folds: int = 3  # on which Evidently's rule is asked


QUICK = Amount(folds=3, orders=4, fresh=8, drift_folds=1)


@dataclass(frozen=True)
class Folds:
    """Models of random ticks on all others; NaN on the ticks that they have learned."""

    name: str
    rows: np.ndarray  # (T,)
    loss: np.ndarray  # (folds, T)
    variance: np.ndarray  # (folds, T): of the rows' losses
    twins: np.ndarray  # (folds, 1 + fresh, T): the model's own small twin, and twins of other ticks
    drifted: np.ndarray  # (drift_folds, T): share of columns, by Evidently's statistics


@dataclass(frozen=True)
class Count:
    """What happened on one set, and on how many monitored ticks."""

    ticks: int
    orders: int
    events: int  # retrains, or alarms; none that only age asked for
    alarms: int = 0  # spells of evidence beyond doubt, answered or not
    reasons: tuple[str, ...] = ()
    aged: int = 0  # retrains that only age asked for

    @property
    def rate(self) -> float:
        """For each 1,000 ticks."""
        return 1000 * self.events / self.ticks

    @property
    def aged_rate(self) -> float:
        return 1000 * self.aged / self.ticks

    @property
    def alarm_rate(self) -> float:
        return 1000 * self.alarms / self.ticks


# ── models ────────────────────────────────────────────────────────────────────────────────────────
def folds(name: str, amount: Amount) -> Folds:
    """Trained once and kept beside the matrices."""
    settings = matrix.Settings()
    file = matrix.file_of(name, settings, {"folds": [amount.folds, amount.fresh, amount.drift_folds]})
    if not file.exists():
        matrix.store(file, _built(matrix.load(name, settings), amount))
    with np.load(file) as held:
        return Folds(name, **{key: held[key] for key in held.files})


def _built(m: Matrix, amount: Amount) -> dict[str, np.ndarray]:
    rng = _rng(m.name, 0)
    known = [np.sort(rng.permutation(m.ticks)[: m.settings.window]) for _ in range(amount.folds)]
    found = [_scored(m, each, twin=False) for each in known]
    twins = [[each, *(_others(m, each, rng) for _ in range(amount.fresh))] for each in known]
    return {
        "rows": m.rows,
        "loss": np.array([loss for loss, _ in found]),
        "variance": np.array([variance for _, variance in found]),
        "twins": np.array([[_scored(m, each, twin=True)[0] for each in group] for group in twins]),
        "drifted": np.array([_drifted(m, each) for each in known[: amount.drift_folds]]),
    }


def _rng(name: str, number: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(name.encode()), number])


def _others(m: Matrix, known: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    free = np.setdiff1d(np.arange(m.ticks), known)
    return np.sort(rng.permutation(free)[: m.settings.window])


def _scored(m: Matrix, known: np.ndarray, *, twin: bool) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the row losses of every tick; NaN on the ticks learned."""
    rows = np.flatnonzero(np.isin(m.tick, known))[:: m.settings.twin_every if twin else 1]
    score = trained(m, m.x[rows], m.y[rows], m.settings, twin=twin).predict(m.x, num_threads=1)
    lost = row_losses(m, score, slice(None))
    mean = np.bincount(m.tick, lost, m.ticks) / m.rows
    variance = np.bincount(m.tick, np.square(lost), m.ticks) / m.rows - np.square(mean)
    mean[known] = variance[known] = np.nan
    return mean, variance


def _drifted(m: Matrix, known: np.ndarray) -> np.ndarray:
    reference = m.x[np.isin(m.tick, known)]
    free = np.setdiff1d(np.arange(m.ticks), known)
    found = np.full(m.ticks, np.nan)
    found[free] = [share_of_columns(m, reference, m.x[m.slots(t, t + 1)]) for t in free]
    return found


# ── ours ──────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Walk:
    """One order under the real rules."""

    retrains: tuple[tuple[int, str], ...]  # monitored tick, counted from 1, and code
    alarms: int  # spells of evidence beyond doubt, answered or not

    def delay(self) -> int | None:
        """Ticks from the planted change to the first retrain."""
        return next((tick - CHANGED for tick, _ in self.retrains if tick > CHANGED), None)


def watched(name: str, config: Config, amount: Amount, clock: Clock | None = None) -> Count:
    """Every order of a set; nothing changes."""
    walks = _walks(name, config, amount, 0.0, clock)
    reasons = tuple(code for walk in walks for _, code in walk.retrains)
    ticks, aged = len(walks) * MONITORED, reasons.count("age")
    return Count(ticks, len(walks), len(reasons) - aged, sum(walk.alarms for walk in walks), reasons, aged)


def delayed(name: str, config: Config, amount: Amount, rise: float) -> list[int | None]:
    """Ticks from a planted rise of the loss, a share of it, to the first retrain of each order; None: never."""
    few = replace(amount, orders=max(1, amount.orders // 7))
    return [walk.delay() for walk in _walks(name, config, few, rise)]


def _walks(name: str, config: Config, amount: Amount, rise: float, clock: Clock | None = None) -> list[Walk]:
    held, rng, found = folds(name, amount), _rng(name, 1), []
    for fold in range(amount.folds):
        free = np.flatnonzero(~np.isnan(held.loss[fold]))
        for _ in range(amount.orders):
            order = rng.permutation(free)
            one = Order(held.loss[fold, order], held.twins[fold][:, order], held.rows[order], rise)
            found.append(walked(one, config, rng, clock))
    return found


@dataclass(frozen=True)
class Order:
    """One model's ticks in one order; arrays share their last axis."""

    loss: np.ndarray  # (n,)
    twins: np.ndarray  # (1 + fresh, n): the model's own first; NaN on ticks learned
    rows: np.ndarray  # (n,)
    rise: float = 0.0  # planted: share of the loss from some tick on

    @cached_property
    def factor(self) -> np.ndarray:
        """What the planted rise makes of losses; it is kept to the end, so only the first answer to it counts."""
        return np.where(np.arange(len(self.loss)) < REFERENCE + CHANGED, 1.0, 1.0 + self.rise)

    def served(self, start: int, end: int) -> Served:
        """The champion since ``start``, promised what the 20 ticks before lost."""
        losses, before = self.loss * self.factor, slice(start - REFERENCE, start)
        return Served(str(start), start, losses[start:end], self.rows[start:end], losses[before])

    def other_twin(self, twin: int, end: int, rng: np.random.Generator) -> int | None:
        """A twin that has learned none of the newest ticks; None where the champion's has, or all others have."""
        usable = ~np.isnan(self.twins[:, end - MEET : end]).any(axis=1)
        if not usable[twin]:
            return None
        usable[twin] = False
        return int(rng.choice(np.flatnonzero(usable))) if usable.any() else None

    def brought(self, past: Sequence[tuple[int, int, int]], end: int) -> list[float]:
        """As `policies.ours` says it, by the twins, of each (tick, former, newer)."""
        each = [(self.twins[old, since:end], self.twins[new, since:end]) for since, old, new in past]
        return [z for old, new in each if (z := sureness(old, new)) is not None]

    def probe(self, pair: tuple[int, int], end: int, facts: Facts, since: datetime | None) -> Probe:
        """The twins meet; the fresh one is free of the rise as soon as it can have learned some ticks of it."""
        met, known = slice(end - MEET, end), range(end - MEET - matrix.Settings().window, end - MEET)
        knows = known.stop - REFERENCE - CHANGED >= KNOWN
        stale, fresh = self.twins[list(pair), met]
        gains = stale * self.factor[met] - fresh * (1.0 if knows else self.factor[met])
        rows = int(self.rows.mean() * len(known))
        return Probe(
            as_of=facts.as_of,
            gain=float(gains.mean()),
            error=float(gains.std(ddof=1) / np.sqrt(MEET)),
            ticks=MEET,
            rows=int(self.rows[met].sum()),
            learned=sum(since is None or day(i) >= since for i in known),
            cut=None,
            available=rows,
            cost=Cost(2, 60, 30 * rows),
        )


def walked(order: Order, asked: Config, rng: np.random.Generator, clock: Clock | None = None) -> Walk:
    """The real rules on one order; after a retrain the newest ticks are the promise, and the twin is another one."""
    past: list[tuple[int, int, int]] = []
    ledger, retrains, alarms, alarmed, start, twin = Ledger(day(REFERENCE)), [], 0, False, REFERENCE, 0
    for end in range(REFERENCE + 1, REFERENCE + MONITORED + 1):
        history = ledger.history
        config = asked if clock is None else clock(asked, order.brought(past, end))
        facts, fresh = observed(order.served(start, end), history, config), order.other_twin(twin, end, rng)
        if fresh is not None and probe_due(facts, history, config):
            since = occasion.change(facts, history, config)
            facts = replace(facts, probe=order.probe((twin, fresh), end, facts, since))
        action, codes = answered(facts, history, config)
        trains = action in TRAINING_ACTIONS
        ledger.remember(facts, str(end), action, codes, "promoted" if trains else "kept")
        now = facts.loss is not None and facts.loss.alarm
        alarms += now and not alarmed
        alarmed = now and not trains
        if trains:
            retrains.append((end - REFERENCE, codes[0]))
            newer = twin if fresh is None else fresh
            past.append((end, twin, newer))
            start, twin = end, newer
    return Walk(tuple(retrains), alarms)


# ── others ────────────────────────────────────────────────────────────────────────────────────────
def others(name: str, amount: Amount) -> dict[str, Count]:
    """Rules without a memory, on the same ticks: an alarm changes nothing for the next tick."""
    held, rng = folds(name, amount), _rng(name, 2)
    worse = rows = 0
    for fold in range(amount.folds):
        free = np.flatnonzero(~np.isnan(held.loss[fold]))
        for _ in range(amount.orders):
            order = rng.permutation(free)
            reference, now = order[:REFERENCE], order[REFERENCE : REFERENCE + MONITORED]
            above = held.loss[fold, now] - held.loss[fold, reference].mean()
            worse += int((above > 0.05 * held.loss[fold, reference].mean()).sum())
            error = held.variance[fold, now] / held.rows[now]
            error += np.average(held.variance[fold, reference]) / held.rows[reference].sum()
            rows += int((above > NORMAL_999 * np.sqrt(error)).sum())
    orders = amount.folds * amount.orders
    drifted = held.drifted[~np.isnan(held.drifted)]
    return {
        "5 % worse": Count(orders * MONITORED, orders, worse),
        "rows' mean, 99.9 %": Count(orders * MONITORED, orders, rows),
        "Evidently default": Count(len(drifted), amount.drift_folds, int((drifted >= DRIFTED).sum())),
    }


# ── all sets ──────────────────────────────────────────────────────────────────────────────────────
def measured(
    names: Sequence[str], configs: Mapping[str, Config], amount: Amount, jobs: int = 2
) -> dict[str, dict[str, Count]]:
    """Rule → set → count."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        rest = dict(zip(names, pool.map(partial(others, amount=amount), names), strict=True))
        found = {
            key: dict(zip(names, pool.map(partial(watched, config=config, amount=amount), names), strict=True))
            for key, config in configs.items()
        }
    rules = list(rest[names[0]])
    return {rule: {name: rest[name][rule] for name in names} for rule in rules} | found


def power(
    names: Sequence[str], configs: Mapping[str, Config], amount: Amount, jobs: int = 2
) -> dict[str, dict[float, list[int | None]]]:
    """Rule → planted rise → delays on all sets."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return {
            key: {
                rise: [
                    d
                    for each in pool.map(partial(delayed, config=config, amount=amount, rise=rise), names)
                    for d in each
                ]
                for rise in RISES
            }
            for key, config in configs.items()
        }


def bound(rates: Sequence[float], ticks: int, seed: int = 0) -> float:
    """95 % upper bound of the mean over sets, drawn anew with replacement; at least three events in all ticks.

    Three events: what none in so many ticks still allows, the rule of three.
    """
    drawn = np.random.default_rng(seed).choice(np.asarray(rates, dtype=np.float64), (DRAWS, len(rates)))
    return max(float(np.quantile(drawn.mean(axis=1), 0.95)), 3000 / ticks)
