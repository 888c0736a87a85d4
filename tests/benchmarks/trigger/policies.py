"""What policies would have lost on a set, read off its matrix: ours, timers, what others do, and the best there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import lru_cache, partial
from itertools import pairwise

import numpy as np

from lr_retune.config import Config
from lr_retune.records import TRAINING_ACTIONS, Cost, Facts, History, Probe
from lr_retune.watch import occasion
from lr_retune.watch.drift import jensenshannon, wasserstein
from lr_retune.watch.policy import decide, probe_due
from tests.benchmarks.trigger.facts import Ledger, Served, day, observed
from tests.benchmarks.trigger.matrix import Matrix, load

AFTER = 3, 8  # ticks after a retrain that tell what it brought
MEET = 3  # newest ticks that the twins meet on, each with a fresh twin of its own
DRIFT = 0.1  # Evidently's thresholds: of a column, and of the share of columns
DRIFTED = 0.5
FEW_VALUES = 5  # numbers of fewer values count as categories, see Evidently's registry.py

Clock = Callable[[Config, Sequence[float]], Config]  # what former retrains brought → the age that is asked for now
Rule = Callable[[Matrix, int, int], bool]  # matrix, tick the model serves from, newest tick → retrain before the next


@dataclass(frozen=True)
class Outcome:
    """One policy on one set."""

    name: str
    loss: float  # mean over the ticks served
    retrains: tuple[int, ...]  # first tick of each new model
    ticks: int
    reasons: tuple[str, ...] = ()  # code of each retrain
    probes: int = 0
    codes: Mapping[str, int] | None = None  # first code of every decision

    @property
    def by_age(self) -> int:
        """Retrains that only age asked for."""
        return self.reasons.count("age")


def first_tick(m: Matrix) -> int:
    """The first that is scored: a whole window lies before it."""
    return m.settings.window


def walked(m: Matrix, rule: Rule, offset: int = 0) -> Outcome:
    """A rule that needs no history; the first model is ``offset`` ticks older in its eyes."""
    s, lost, retrains = first_tick(m), 0.0, []
    seen = s - offset
    for t in range(s, m.ticks):
        lost += m.loss[s, t]
        if t + 1 < m.ticks and rule(m, seen, t):
            s = seen = t + 1
            retrains.append(s)
    return Outcome(m.name, lost / (m.ticks - first_tick(m)), tuple(retrains), m.ticks - first_tick(m))


# ── ours ──────────────────────────────────────────────────────────────────────────────────────────
def run(name: str, config: Config) -> Outcome:
    """The real `decide` on a shared set; every retrain is promoted, as the laboratory's were."""
    return ours(load(name), config)


def ours(m: Matrix, asked: Config, clock: Clock | None = None) -> Outcome:
    """The real `decide`, asked at the end of every tick; ``clock`` sets its ``max_age``."""
    s, lost, reasons, retrains, codes = first_tick(m), 0.0, [], [], Counter[str]()
    ledger, past = Ledger(day(s)), [s]
    for t in range(s, m.ticks):
        lost += m.loss[s, t]
        history = ledger.history
        config = asked if clock is None else clock(asked, _brought(m, past, t))
        served = Served(str(s), s, m.loss[s, s : t + 1], m.rows[s : t + 1], m.promise(s))
        facts = observed(served, history, config)
        if probe_due(facts, history, config):
            facts = replace(facts, probe=probed(m, s, t, facts, history, config))
        decision = decide(facts, history, config)
        trains = decision.action in TRAINING_ACTIONS
        said = tuple(reason.code for reason in decision.reasons)
        ledger.remember(facts, decision.id, decision.action, said, "promoted" if trains else "kept")
        codes[said[0]] += 1
        if trains and t + 1 < m.ticks:
            s = t + 1
            retrains.append(s)
            past.append(s)
            reasons.append(said[0])
    probes = sum(d.probe is not None for d in ledger.decisions)
    ticks = m.ticks - first_tick(m)
    return Outcome(m.name, lost / ticks, tuple(retrains), ticks, tuple(reasons), probes, dict(codes))


def _brought(m: Matrix, models: Sequence[int], t: int) -> list[float]:
    """Of each retrain, how surely it bettered the model that it replaced, on the ticks from then on."""
    each = [(m.loss[a, b : t + 1], m.loss[b, b : t + 1]) for a, b in pairwise(models)]
    return [z for old, new in each if (z := sureness(old, new)) is not None]


def sureness(old: np.ndarray, new: np.ndarray) -> float | None:
    """Standard errors by which the new model is better on up to 8 ticks; None before 3 of them."""
    gain = (old - new)[: AFTER[1]]
    gain = gain[np.isfinite(gain)]
    if len(gain) < AFTER[0]:
        return None
    return float(gain.mean() / max(gain.std(ddof=1) / np.sqrt(len(gain)), 1e-12))


def doubling(first: int, least: int = 4, most: int = 30) -> Clock:
    """An age that halves where the last retrain was better beyond its standard error, and doubles where it was not."""

    def clock(config: Config, brought: Sequence[float]) -> Config:
        age = first
        for sure in brought:
            age = max(least, age // 2) if sure > 1 else min(most, 2 * age)
        return _of_age(config, age)

    return clock


def _of_age(config: Config, ticks: int) -> Config:
    policy = config.policy.model_copy(update={"max_age": timedelta(days=ticks)})
    return config.model_copy(update={"policy": policy})


def probed(m: Matrix, s: int, t: int, facts: Facts, history: History, config: Config) -> Probe | None:
    """The twin of the champion's window against twins of the windows right before each of the newest ticks.

    None where fewer than two ticks are no longer the champion's first: a fresh model would be the champion.
    """
    met = np.arange(max(s + 1, t + 1 - MEET), t + 1)
    if len(met) < 2:
        return None
    gains = m.twin[s, met] - m.twin[met, met]
    since = occasion.change(facts, history, config)
    known = range(max(0, t - m.settings.window), t)
    after = [i for i in known if since is None or day(i) >= since]
    rows, trees = int(m.rows[known.start : t].sum()), m.settings.twin_trees
    count = 1 + len(met)
    return Probe(
        as_of=facts.as_of,
        gain=float(gains.mean()),
        error=float(gains.std(ddof=1) / np.sqrt(len(met))),
        ticks=len(met),
        rows=int(m.rows[met].sum()),
        learned=len(after),
        cut=None,
        available=rows,
        cost=Cost(count, count * trees, count * trees * rows // m.settings.twin_every),
    )


# ── others ────────────────────────────────────────────────────────────────────────────────────────
def never(m: Matrix, s: int, t: int) -> bool:
    return False


def timer(every: int) -> Rule:
    """A clock."""
    return lambda _m, s, t: t + 1 - s >= every


def worse(share: float, cooldown: int = 1) -> Rule:
    """The newest tick's loss against the mean of the promise."""

    def rule(m: Matrix, s: int, t: int) -> bool:
        return t + 1 - s >= cooldown and m.loss[s, t] > (1 + share) * m.promise(s).mean()

    return rule


def evidently(cooldown: int = 1) -> Rule:
    """Evidently's default: half of the columns drifted, the newest tick against the rows that were trained on."""
    return lambda m, s, t: t + 1 - s >= cooldown and drifted_share(m.name, s, t) >= DRIFTED


@lru_cache(maxsize=100_000)
def drifted_share(name: str, s: int, t: int) -> float:
    """Share of columns beyond Evidently's threshold, by its statistics."""
    m = _held(name)
    reference, current = m.slots(max(0, s - m.settings.window), s), m.slots(t, t + 1)
    return share_of_columns(m, m.x[reference], m.x[current])


@lru_cache(maxsize=16)
def _held(name: str) -> Matrix:
    return load(name)


def share_of_columns(m: Matrix, reference: np.ndarray, current: np.ndarray) -> float:
    """The rule of its registry for more than 1,000 reference rows: W1 for numbers, else Jensen-Shannon."""
    found = [_moved(a, b, bool(c)) > DRIFT for a, b, c in zip(reference.T, current.T, m.categorical, strict=True)]
    return float(np.mean(found))


def _moved(a: np.ndarray, b: np.ndarray, category: bool) -> float:
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    if category or len(np.unique(np.concatenate([a, b]))) <= FEW_VALUES:
        return jensenshannon(a.tolist(), b.tolist())
    return wasserstein(a, b)


# ── the best there is ─────────────────────────────────────────────────────────────────────────────
def oracle(m: Matrix, most: int | None = None) -> np.ndarray:
    """The least mean loss with exactly 0, 1, … retrains at the best times, all of them known beforehand."""
    first, last = first_tick(m), m.ticks
    count = last - first
    most = count - 1 if most is None else min(most, count - 1)
    # until[i, j]: loss of the model of tick first + i up to, not with, tick first + j
    until = np.full((count, count + 1), np.inf)
    for i in range(count):
        until[i, i:] = np.concatenate([[0.0], np.cumsum(m.loss[first + i, first + i :])])
    best = np.full(count, np.inf)  # loss before the model of tick i takes over, so many retrains done
    best[0] = 0.0
    found = []
    for _ in range(most + 1):
        found.append(float((best + until[:, count]).min()))
        best = np.array([np.inf, *((best[:i] + until[:i, i]).min() for i in range(1, count))])
    return np.array(found) / count


def needed(found: np.ndarray, loss: float) -> int | None:
    """Fewest retrains that an oracle needs for this loss; None: more than it has."""
    enough = np.flatnonzero(found <= loss * (1 + 1e-12))
    return int(enough[0]) if len(enough) else None


# ── all of them ───────────────────────────────────────────────────────────────────────────────────
def others() -> dict[str, Rule]:
    """The rows of the table but ours, by name."""
    timers = {f"every {k}": timer(k) for k in (2, 4, 8, 16)}
    return {
        "never": never,
        "every tick": timer(1),
        **timers,
        "Evidently default": evidently(),
        "Evidently, cooldown 4": evidently(4),
        "5 % worse": worse(0.05),
        "5 % worse, cooldown 4": worse(0.05, 4),
    }


def table(matrices: Mapping[str, Matrix], configs: Mapping[str, Config]) -> dict[str, dict[str, Outcome]]:
    """Every policy on every set: policy → set → outcome."""
    rules = {name: partial(walked, rule=rule) for name, rule in others().items()}
    rules |= {name: partial(ours, asked=config) for name, config in configs.items()}
    return {name: {key: rule(m) for key, m in matrices.items()} for name, rule in rules.items()}


def phases(m: Matrix, every: int) -> list[Outcome]:
    """A timer in each of its phases: which tick it starts at is luck."""
    return [walked(m, timer(every), offset) for offset in range(every)]


def excess(found: Mapping[str, Outcome], best: Sequence[float]) -> np.ndarray:
    """Per cent above the best of each set."""
    return np.array([100 * (o.loss / b - 1) for o, b in zip(found.values(), best, strict=True)])
