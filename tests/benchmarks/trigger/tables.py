"""What the real ticks said, as plain text: policies over time, and the same ticks in random order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from lr_retune.config import Config
from tests.benchmarks.search.figures import Bar
from tests.benchmarks.search.tables import aligned, bars
from tests.benchmarks.trigger import policies
from tests.benchmarks.trigger.matrix import Matrix
from tests.benchmarks.trigger.policies import Outcome
from tests.benchmarks.trigger.shuffled import MONITORED, REFERENCE, Count, bound

LONGEST = 40  # ticks of the slowest timer that ours is held against
STILL = ("employment_ma", "vic_elec")  # quiet, and a trap


# ── policies over time ────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Run:
    """All policies on all sets, and what they are held against."""

    matrices: Mapping[str, Matrix]
    found: Mapping[str, Mapping[str, Outcome]]  # policy → set → outcome

    @cached_property
    def best(self) -> list[float]:
        """Loss of the best policy of this run on each set."""
        return [min(outcomes[name].loss for outcomes in self.found.values()) for name in self.matrices]

    @cached_property
    def oracles(self) -> dict[str, np.ndarray]:
        return {name: policies.oracle(m) for name, m in self.matrices.items()}

    @cached_property
    def timers(self) -> list[tuple[int, float, float]]:
        """Every clock, mean over its phases: ticks between retrains, mean excess %, retrains on all sets."""
        return [self._timer(every) for every in range(1, LONGEST + 1)]

    def _timer(self, every: int) -> tuple[int, float, float]:
        each = [policies.phases(m, every) for m in self.matrices.values()]
        above = [
            100 * (np.mean([o.loss for o in phases]) / best - 1) for phases, best in zip(each, self.best, strict=True)
        ]
        return every, float(np.mean(above)), float(sum(np.mean([len(o.retrains) for o in phases]) for phases in each))

    def excess(self, policy: str) -> np.ndarray:
        return policies.excess(self.found[policy], self.best)

    def retrains(self, policy: str) -> int:
        return sum(len(outcome.retrains) for outcome in self.found[policy].values())

    def by_age(self, policy: str) -> int:
        return sum(outcome.by_age for outcome in self.found[policy].values())

    def share(self, policy: str) -> float:
        """Per cent of the ticks."""
        return 100 * self.retrains(policy) / sum(outcome.ticks for outcome in self.found[policy].values())

    def against_oracle(self, policy: str) -> float:
        """Retrains over those that an oracle needs for the same loss, both summed over sets."""
        need = [policies.needed(self.oracles[name], o.loss) or 0 for name, o in self.found[policy].items()]
        return self.retrains(policy) / max(sum(need), 1)

    def oracle_excess(self, policy: str) -> float:
        """Mean excess % of an oracle with the same number of retrains on each set."""
        pairs = zip(self.found[policy].items(), self.best, strict=True)
        return float(np.mean([100 * (self.oracles[name][len(o.retrains)] / best - 1) for (name, o), best in pairs]))

    def slowest_timer(self, policy: str) -> tuple[int, float] | None:
        """The clock of fewest retrains that loses no more in the mean, and how many times ours it needs."""
        excess = float(self.excess(policy).mean())
        enough = [timer for timer in self.timers if timer[1] <= excess]
        if not enough:
            return None
        every, _, retrains = min(enough, key=lambda timer: timer[2])
        return every, retrains / max(self.retrains(policy), 1)


def over_time(run: Run, ours: Sequence[str]) -> str:
    """One line per policy, then one per set, then what was promised."""
    parts = [_summary(run), _by_set(run, ours)]
    parts += [f"{name}\n{bars(_held(run, name))}" for name in ours]
    return "\n\n".join(parts)


def _summary(run: Run) -> str:
    head = ("", "excess %: mean", "median", "worst", "% of ticks", "by age", "over oracle's", "oracle's excess %")
    return aligned([head, *(_policy(run, name) for name in run.found)])


def _policy(run: Run, name: str) -> tuple[str, ...]:
    excess = run.excess(name)
    return (
        name,
        f"{excess.mean():.2f}",
        f"{np.median(excess):.2f}",
        f"{excess.max():.1f}",
        f"{run.share(name):.1f}",
        str(run.by_age(name)),
        f"{run.against_oracle(name):.2f}",
        f"{run.oracle_excess(name):.2f}",
    )


def _by_set(run: Run, ours: Sequence[str]) -> str:
    shown = ("never", "every tick", "every 4", "5 % worse, cooldown 4", *ours)
    head = ("excess % (retrains)", "best", "oracle, as many", *shown)
    lines = [head]
    for i, name in enumerate(run.matrices):
        winner = min(run.found, key=lambda policy: run.found[policy][name].loss)
        retrains = len(run.found[ours[0]][name].retrains) if ours else 0
        least = 100 * (run.oracles[name][retrains] / run.best[i] - 1)
        cells = (f"{run.excess(p)[i]:.1f} ({len(run.found[p][name].retrains)})" for p in shown)
        lines.append((name, winner, f"{least:.1f} ({retrains})", *cells))
    return aligned(lines)


def _held(run: Run, name: str) -> list[Bar]:
    excess, timer = run.excess(name), run.slowest_timer(name)
    found = [
        _most("retrained, % of ticks", run.share(name), 10),
        _most("excess %, median", float(np.median(excess)), 2.5),
        _most("excess %, mean", float(excess.mean()), 5),
        _most("excess %, worst", float(excess.max()), 20),
        _timer_bar(timer),
        *(_most(f"{key}, % above never", _above_never(run, name, key), 0.3) for key in STILL if key in run.matrices),
        _most("aim: retrains over the oracle's", run.against_oracle(name), 2),
        _most("aim: excess %, median", float(np.median(excess)), 2),
        _most("aim: excess %, mean", float(excess.mean()), 4),
        _most("aim: excess %, worst", float(excess.max()), 12),
    ]
    return [*found, Bar("reasons", _counted(o.reasons for o in run.found[name].values()), None)]


def _timer_bar(timer: tuple[int, float] | None) -> Bar:
    text = "retrains of the best timer of equal loss, over ours: at least 2.5"
    if timer is None:
        return Bar(text, "no timer is as good", True)
    return Bar(text, f"{timer[1]:.2f} (every {timer[0]})", timer[1] >= 2.5)


def _above_never(run: Run, policy: str, name: str) -> float:
    return float(100 * (run.found[policy][name].loss / run.found["never"][name].loss - 1))


# ── random order ──────────────────────────────────────────────────────────────────────────────────
def in_random_order(found: Mapping[str, Mapping[str, Count]], ours: Sequence[str]) -> str:
    """One line per rule, one per set, and what was promised."""
    head = (
        "for each 1,000 ticks",
        "retrains",
        "95 % bound",
        "worst set",
        "by age",
        "spells of alarm",
        "orders",
        "reasons",
    )
    lines = [(rule, *_rule(counts)) for rule, counts in found.items()]
    sets = list(next(iter(found.values())))
    by_set = [("for each 1,000 ticks", *found), *((n, *(f"{found[r][n].rate:.1f}" for r in found)) for n in sets)]
    held = [bar for name in ours for bar in _alarm_bars(name, found[name])]
    return "\n\n".join([aligned([head, *lines]), aligned(by_set), bars(held)])


def _rule(counts: Mapping[str, Count]) -> tuple[str, ...]:
    rates = [count.rate for count in counts.values()]
    return (
        f"{np.mean(rates):.2f}",
        f"{_bound(counts):.2f}",
        f"{max(rates):.1f}",
        f"{np.mean([count.aged_rate for count in counts.values()]):.2f}",
        f"{np.mean([count.alarm_rate for count in counts.values()]):.2f}",
        f"{sum(count.orders for count in counts.values()):,}",
        _counted(count.reasons for count in counts.values()) or "-",
    )


def _bound(counts: Mapping[str, Count]) -> float:
    return bound([count.rate for count in counts.values()], sum(count.ticks for count in counts.values()))


def _alarm_bars(name: str, counts: Mapping[str, Count]) -> list[Bar]:
    upper = _bound(counts)
    text = f"{name}: retrains for each 1,000 ticks, upper bound"
    return [_most(text, upper, 6), _most(f"aim, {text}", upper, 1)]


def power(found: Mapping[str, Mapping[float, Sequence[int | None]]]) -> str:
    """How soon a planted rise of the loss is answered on the same ticks, by rule."""
    rises = list(next(iter(found.values())))
    head = ("median ticks to the retrain, never in 30", *(f"loss +{100 * rise:.0f} %" for rise in rises))
    return aligned([head, *((rule, *(_soon(delays[rise]) for rise in rises)) for rule, delays in found.items())])


def _soon(delays: Sequence[int | None]) -> str:
    median = float(np.median([np.inf if d is None else d for d in delays]))
    return f"{median:.0f}, {np.mean([d is None for d in delays]):.0%}"


# ── both ──────────────────────────────────────────────────────────────────────────────────────────
def settings(matrices: Mapping[str, Matrix], configs: Mapping[str, Config]) -> str:
    """What all rows have in common, and what ours are asked with."""
    cut = asdict(next(iter(matrices.values())).settings)
    said = [", ".join(f"{key} {value:.3g}" for key, value in cut.items())]
    for name, config in configs.items():
        policy = config.policy.model_dump(mode="json", exclude={"min_rows", "min_positives", "suspicion_ticks"})
        said.append(f"{name}: " + ", ".join(f"{key} {value}" for key, value in policy.items()))
    said.append(f"random order: {REFERENCE} ticks are the promise, {MONITORED} are watched")
    return "\n".join(said)


def _most(text: str, value: float, limit: float) -> Bar:
    return Bar(f"{text}: at most {limit:g}", f"{value:.2f}", bool(value <= limit))


def _counted(codes: object) -> str:
    found = Counter(code for each in codes for code in each)  # type: ignore[attr-defined]
    return ", ".join(f"{count} {code}" for code, count in found.most_common())
