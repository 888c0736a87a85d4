"""Simulated card payments: customers, terminals, what fraudsters do, and when it becomes known.

The model is that of the Fraud Detection Handbook (Le Borgne, Siblini, Lebichot, Bontempi: "Reproducible Machine
Learning for Credit Card Fraud Detection – Practical Handbook", 2022, chapters 3.2 and 3.5), written anew from its
description. Where it goes beyond: labels that arrive late and are revised, and two planted changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

DAY: Final = 86_400  # seconds
BURN_IN: Final = 37  # days before the first row: the longest window and the delay of its labels
WINDOWS: Final = (1, 7, 30)  # days
RISK_DELAY: Final = 7  # days that a terminal's risk lags behind
LATEST: Final = 14  # days until the last label, and the last revision of one
RADIUS: Final = 5.0  # how far a customer goes, on a square of 100
OFTEN: Final = 1.0  # payments a day at most; 4 in the handbook: here more customers pay less often each
LIMIT: Final = 22_000  # cents; scenario 1: whatever costs more is fraud
TERMINALS_A_DAY: Final = 2 / 10_000  # scenario 2: share of terminals that are newly compromised
CUSTOMERS_A_DAY: Final = 3 / 5_000  # scenarios 3 and 4: share of customers whose card is newly stolen
TERMINAL_DAYS: Final = 28
CUSTOMER_DAYS: Final = 14
TIMES: Final = 5  # scenario 3: a third of the stolen card's payments, at five times the amount
TESTS_A_DAY: Final = 0.5  # scenario 4: small payments at night, made to see whether a card works
BUSIER: Final = 1.3  # the harmless change: everybody pays by card more often


@dataclass(frozen=True, slots=True)
class World:
    """One story: its chance, its size, and the days from which it changes (None: never)."""

    seed: int
    days: int = 196
    customers: int = 4_000
    terminals: int = 8_000
    busier: int | None = None  # more payments by the same customers: harmless
    card_testing: int | None = None  # scenario 4 takes the place of scenario 3: a change of concept
    start: datetime = datetime(2025, 1, 6, tzinfo=UTC)  # a Monday

    def at(self, day: int) -> datetime:
        """Midnight at which a day starts."""
        return self.start + timedelta(days=day)


@dataclass(frozen=True, slots=True)
class Payments:
    """Payments by time, each array of shape ``(n,)``."""

    second: np.ndarray  # int64, since the world's start; negative in the burn-in
    customer: np.ndarray
    terminal: np.ndarray
    cents: np.ndarray  # int64
    fraud: np.ndarray  # bool

    def __len__(self) -> int:
        return len(self.second)

    @property
    def day(self) -> np.ndarray:
        """Day of each payment."""
        return self.second // DAY

    def where(self, which: np.ndarray) -> Payments:
        """A selection, or another order."""
        return Payments(*(getattr(self, name)[which] for name in self.__slots__))


@dataclass(frozen=True, slots=True)
class Reports:
    """What is said about each payment, and when: seconds after it."""

    first: np.ndarray  # bool: fraud, as said at first
    after: np.ndarray  # int64
    revised: np.ndarray  # bool: the first report was wrong, and is corrected
    corrected: np.ndarray  # int64

    def by(self, fraud: np.ndarray, delay: int) -> np.ndarray:
        """Payments that are known as fraud ``delay`` seconds later."""
        wrong = self.revised & (self.corrected > delay)
        return np.asarray((self.after <= delay) & (fraud ^ wrong), dtype=bool)


def simulate(world: World) -> tuple[pa.Table, pa.Table]:
    """Transactions with their rolling features, and labels by the time they became known.

    The same world gives the same tables. Two worlds that differ only in a planted change are equal before it, but
    for the numbers in ``tx_id`` after it.
    """
    paid = _payments(world)
    paid = _with_frauds(world, paid)
    told = _reports(world, paid)
    kept = paid.second >= 0
    columns = {name: values[kept] for name, values in _features(paid, told).items()}
    return _transactions(world, paid.where(kept), columns), _labels(world, paid, told, kept)


def _rng(world: World, part: int) -> np.random.Generator:
    """Each part draws from a stream of its own, so a change of one leaves the others as they were."""
    return np.random.default_rng([world.seed, part])


# ── who pays where, when and how much ─────────────────────────────────────────────────────────────
def _payments(world: World) -> Payments:
    """Genuine payments in time order."""
    people, made = _rng(world, 0), _rng(world, 1)
    near, first, count = _near(people, world)
    mean, often = people.uniform(5, 100, world.customers), people.uniform(0, OFTEN, world.customers)
    usual = _drawn(made, often * (count > 0), mean, range(-BURN_IN, world.days))
    extra = (
        []
        if world.busier is None
        else [_drawn(_rng(world, 2), often * (BUSIER - 1) * (count > 0), mean, range(world.busier, world.days))]
    )
    second, customer, cents, place = (np.concatenate(parts) for parts in zip(usual, *extra, strict=True))
    terminal = near[first[customer] + (place * count[customer]).astype(np.int64)]
    found = Payments(second, customer, terminal, cents, np.zeros(len(second), dtype=bool))
    return found.where(np.argsort(second, kind="stable"))


def _near(rng: np.random.Generator, world: World) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Terminals within reach, customer after customer; where each customer's start, and how many they are."""
    from scipy.spatial import KDTree

    home, shop = rng.uniform(0, 100, (world.customers, 2)), rng.uniform(0, 100, (world.terminals, 2))
    reach = KDTree(shop).query_ball_point(home, RADIUS, return_sorted=True)
    count = np.array([len(found) for found in reach])
    return np.concatenate(reach).astype(np.int64), np.cumsum(count) - count, count


def _drawn(
    rng: np.random.Generator, often: np.ndarray, mean: np.ndarray, days: range
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Second, customer, cents and a number in [0, 1) that says where, for every payment of these days."""
    number = rng.poisson(often, (len(days), len(often)))
    day, customer = (np.repeat(i.ravel(), number.ravel()) for i in np.indices(number.shape))
    second = rng.normal(DAY / 2, 20_000, len(day)).astype(np.int64)
    level = mean[customer]
    amount = rng.normal(level, level / 2)
    amount = np.where(amount < 0, rng.uniform(0, 2 * level), amount)
    place = rng.random(len(day))
    awake = (second > 0) & (second < DAY)
    second += (day + days.start) * DAY
    return second[awake], customer[awake], np.rint(100 * amount[awake]).astype(np.int64), place[awake]


# ── what fraudsters do ────────────────────────────────────────────────────────────────────────────
def _with_frauds(world: World, paid: Payments) -> Payments:
    rng, change = _rng(world, 3), world.days if world.card_testing is None else world.card_testing
    taken = _victims(rng, world, world.terminals, TERMINALS_A_DAY, TERMINAL_DAYS)
    stolen = _victims(rng, world, world.customers, CUSTOMERS_A_DAY, CUSTOMER_DAYS)
    place = paid.day + BURN_IN
    spree = stolen[paid.customer, place] & (paid.day < change) & (rng.random(len(paid)) < 1 / 3)
    cents = np.where(spree, TIMES * paid.cents, paid.cents)
    fraud = (paid.cents > LIMIT) | taken[paid.terminal, place] | spree
    both = _joined(replace(paid, cents=cents, fraud=fraud), _tests(world, stolen, change))
    return both.where(np.argsort(both.second, kind="stable"))


def _victims(rng: np.random.Generator, world: World, number: int, a_day: float, lasting: int) -> np.ndarray:
    """Who is compromised on which day, bool ``(number, days)``; new ones come evenly, as many as the rate says."""
    days = BURN_IN + world.days
    due = np.floor(number * a_day * np.arange(days + 1)).astype(np.int64)
    began = np.repeat(np.arange(days), np.diff(due))
    who = rng.integers(number, size=len(began))
    found = np.zeros((number, days), dtype=bool)
    for victim, day in zip(who, began, strict=True):
        found[victim, day : day + lasting] = True
    return found


def _tests(world: World, stolen: np.ndarray, change: int) -> Payments:
    """Scenario 4: stolen cards are tried with a few euros at night, at terminals anywhere."""
    rng = _rng(world, 4)
    holder, place = np.nonzero(stolen[:, change + BURN_IN :])
    number = rng.poisson(TESTS_A_DAY, len(holder))
    customer, day = np.repeat(holder, number), np.repeat(place + change, number)
    second = day * DAY + rng.integers(0, 6 * 3_600, len(day))
    terminal = rng.integers(world.terminals, size=len(day))
    return Payments(second, customer, terminal, rng.integers(50, 500, len(day)), np.ones(len(day), dtype=bool))


def _joined(one: Payments, other: Payments) -> Payments:
    return Payments(*(np.concatenate([getattr(one, n), getattr(other, n)]) for n in one.__slots__))


# ── when it becomes known ─────────────────────────────────────────────────────────────────────────
def _reports(world: World, paid: Payments) -> Reports:
    """Frauds are reported within 1 to 14 days, all else settles within a week; a few first reports are wrong."""
    slow, wrong, late = _rng(world, 5).random((len(paid), 3)).T
    revised = wrong < np.where(paid.fraud, 0.05, 0.0005)
    said = paid.fraud ^ revised
    days = np.where(said, 1 + (LATEST - 1) * slow**2, 1 + 6 * slow)
    after = np.rint(days * DAY).astype(np.int64)
    corrected = after + np.ceil((LATEST * DAY - after) * late).astype(np.int64)
    return Reports(said, after, revised, corrected)


# ── features ──────────────────────────────────────────────────────────────────────────────────────
def _features(paid: Payments, told: Reports) -> dict[str, np.ndarray]:
    """What the handbook's chapter 3.5 derives; a terminal's risk counts only frauds known by then."""
    clock = paid.second % DAY
    found: dict[str, np.ndarray] = {
        "amount": paid.cents / 100,
        "weekend": (paid.day % 7 >= 5).astype(np.int8),  # the story starts on a Monday
        "night": (clock <= 6 * 3_600).astype(np.int8),
    }
    rolling = _Rolling(paid.second, paid.customer)
    for days in WINDOWS:
        number, spent = rolling.sums(paid.cents, days)
        found |= {f"customer_n_{days}d": number, f"customer_mean_{days}d": spent / number / 100}
    rolling, known = _Rolling(paid.second, paid.terminal), told.by(paid.fraud, RISK_DELAY * DAY)
    for days in WINDOWS:
        number, frauds = rolling.sums(known, days, RISK_DELAY)
        found |= {f"terminal_n_{days}d": number, f"terminal_risk_{days}d": frauds / np.maximum(number, 1)}
    return found


class _Rolling:
    """Sums over the past of one customer or terminal: one sorted key, two binary searches for each window."""

    def __init__(self, second: np.ndarray, who: np.ndarray) -> None:
        self._base = who * (2**33) + (second - second[0])  # no story lasts 2**32 seconds
        self._order = np.argsort(self._base, kind="stable")
        self._keys = self._base[self._order]

    def sums(self, values: np.ndarray, days: int, delay: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Number of payments in (t - delay - days, t - delay], and the sum of their values."""
        total = np.concatenate([[0], np.cumsum(values[self._order], dtype=np.int64)])
        last = np.searchsorted(self._keys, self._base - delay * DAY, side="right")
        before = np.searchsorted(self._keys, self._base - (delay + days) * DAY, side="right")
        return last - before, total[last] - total[before]


# ── tables ────────────────────────────────────────────────────────────────────────────────────────
def _transactions(world: World, paid: Payments, features: dict[str, np.ndarray]) -> pa.Table:
    import pyarrow as pa

    roles = {
        "tx_id": np.arange(len(paid)),
        "ts": _times(world, paid.second),
        "customer_id": paid.customer,
        "terminal_id": paid.terminal,
    }
    return pa.table({**roles, **features})


def _labels(world: World, paid: Payments, told: Reports, kept: np.ndarray) -> pa.Table:
    import pyarrow as pa

    ids = np.cumsum(kept) - 1
    again = kept & told.revised
    known = np.concatenate([(paid.second + told.after)[kept], (paid.second + told.corrected)[again]])
    order = np.argsort(known, kind="stable")
    fraud = np.concatenate([told.first[kept], paid.fraud[again]]).astype(np.int8)
    columns = {"tx_id": np.concatenate([ids[kept], ids[again]])[order], "fraud": fraud[order]}
    return pa.table({**columns, "known_at": _times(world, known[order])})


def _times(world: World, second: np.ndarray) -> pa.Array:
    import pyarrow as pa

    start = round(world.start.timestamp())
    return pa.array((second + start) * 1_000_000, pa.timestamp("us", tz="UTC"))
