"""Label flips of one slice: how often the guards hold the poisoned challenger, and how often a clean one.

The champion is trained on 42 clean ticks and judged on 14 more, the challenger on the next 56, and both meet on the 28
ticks after those. Positives of one random level (2 to 25 % of the rows) are called negative, so many that they are the
given share of all rows the challenger is trained on; a level without so many positives is not attacked. "flipped too":
the holdout is poisoned at the same rate; "sound": train alone. Golden rows are clean rows of the ticks since the
champion, at most 2,000 and a third of them, which nothing is trained on. Models are LightGBM of 40 trees; windows of
one set overlap, so its share is rougher than its count says.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lr_retune.config import GATES, Config, parse_config
from lr_retune.judge.guards.labels import levels
from lr_retune.metrics import loss_for
from lr_retune.plugins import find
from lr_retune.records import Candidate, Column, Gate, HoldoutScores, TuneResult

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
SHARES = (0.001, 0.0025, 0.005, 0.01, 0.02)
OLD, FIRST, SECOND = 56, 56, 28  # ticks: of the champion; new ones to train on; holdout
REAL = {  # rows of a tick; None: a day
    "fraud_handbook_sim": None,
    "bitcoin_otc": 150,
    "bank_marketing": 200,
    "employment_ma": 500,
    "hotel_cancel": None,
    "noaa_weather": 100,
    "elec2": 100,
}
GOLDEN = 2_000
FITTED = TuneResult(
    "lightgbm",
    "grid",
    "rounds",
    Candidate("m" * 64, 0.1, "constant", 40, 1.0, 60_000, {}),
    None,
    None,
    (),
    same_rate=True,
)


@dataclass(frozen=True)
class Stream:
    """Encoded rows in order of time."""

    x: np.ndarray
    columns: tuple[Column, ...]
    y: np.ndarray
    tick: np.ndarray

    def window(self, start: int) -> Stream:
        """The ticks of one replay, counted from zero."""
        keep = (self.tick >= start) & (self.tick < start + OLD + FIRST + SECOND)
        return Stream(self.x[keep], self.columns, self.y[keep], self.tick[keep] - start)


def settings(**gates: object) -> Config:
    """Binary, log loss, and what is said of the gates."""
    raw = {
        "config_version": 1,
        "name": "bench",
        "task": "binary",
        "data": {"path": "rows.parquet", "time": "ts", "label": "y"},
        "metric": {"name": "log_loss"},
        "gates": gates,
    }
    return parse_config(raw, root=Path())


def real(name: str) -> Stream:
    """A shared set; categories as codes."""
    import pyarrow.parquet as pq

    table = pq.read_table(DATA / f"{name}.parquet").to_pandas()
    columns, arrays = [], []
    for column in table.columns.difference(["step", "ts", "label_ts", "y"], sort=False):
        if str(table[column].dtype) == "category":
            columns.append(Column(column, "category", tuple(map(str, table[column].cat.categories))))
            codes = table[column].cat.codes.to_numpy(float)
            arrays.append(np.where(codes < 0, np.nan, codes))
        else:
            columns.append(Column(column, "number"))
            arrays.append(table[column].to_numpy(float))
    day, rows = table.ts.dt.floor("D"), REAL[name]
    tick = (day - day.min()).dt.days.to_numpy() if rows is None else np.arange(len(table)) // rows
    return Stream(np.column_stack(arrays), tuple(columns), table.y.to_numpy(float), tick)


def made(seed: int, *, rows: int = 400, drift: float = 0.15) -> Stream:
    """20 merchants and two numbers; about 7 % positives; merchants' rates drift, and ticks differ."""
    rng, ticks = np.random.default_rng(seed), OLD + FIRST + SECOND
    tick = np.repeat(np.arange(ticks), rows)
    n = len(tick)
    merchant, amount, age = rng.integers(0, 20, n), rng.normal(size=n), rng.normal(size=n)
    level = 0.5 * rng.normal(size=20) + drift * rng.normal(size=(ticks // 28 + 1, 20))
    logit = -3.1 + level[tick // 28, merchant] + 0.8 * amount + 0.2 * rng.normal(size=ticks)[tick]
    y = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float)
    names = tuple(f"m{i}" for i in range(20))
    columns = (Column("merchant", "category", names), Column("amount", "number"), Column("age", "number"))
    return Stream(np.column_stack([merchant.astype(float), amount, age]), columns, y, tick)


def windows(name: str, replays: int) -> Iterator[tuple[Stream, int]]:
    """Streams of one replay each, and a seed."""
    if name == "synthetic":
        yield from ((made(seed), seed) for seed in range(replays))
        return
    whole = real(name)
    last = int(whole.tick.max()) - OLD - FIRST - SECOND
    for start in np.unique(np.linspace(0, last, replays).astype(int)):
        yield whole.window(int(start)), int(start)


# ── one replay ────────────────────────────────────────────────────────────────────────────────────
class Attack:
    """Golden, train and holdout rows of one window, and labels that may be poisoned."""

    def __init__(self, stream: Stream, seed: int) -> None:
        self.stream, self.rng = stream, np.random.default_rng([seed, 1])
        since, tick = np.flatnonzero(stream.tick >= OLD), stream.tick
        self.gold = np.zeros(len(tick), dtype=bool)
        self.gold[self.rng.choice(since, min(GOLDEN, len(since) // 3), replace=False)] = True
        self.held = (tick >= OLD + FIRST) & ~self.gold
        self.train = (tick >= OLD) & (tick < OLD + FIRST) & ~self.gold

    def levels_of(self, i: int) -> Iterator[tuple[str, np.ndarray]]:
        """Name and rows of the levels of one column; numbers are cut into fifths."""
        return levels(self.stream.x[:, i], self.stream.columns[i], np.ones(len(self.stream.y), dtype=bool))

    def attackable(self, level: np.ndarray) -> bool:
        """Whether a level holds 2 to 25 % of the rows of train."""
        return bool(0.02 <= level[self.train].mean() <= 0.25)

    def flipped(self, share: float) -> tuple[np.ndarray, float] | None:
        """Labels with positives of one level called negative, and which share of its positives that is."""
        stream, wanted = self.stream, round(share * self.train.sum())
        masks = [level for i in range(len(stream.columns)) for _, level in self.levels_of(i)]
        for i in self.rng.permutation(len(masks)):
            hits = masks[i] & (stream.y == 1)
            trained = int((hits & self.train).sum())
            if trained >= wanted > 0 and self.attackable(masks[i]):
                y, part = stream.y.copy(), wanted / trained
                for rows in (hits & self.train, hits & self.held):
                    where = np.flatnonzero(rows)
                    y[self.rng.choice(where, round(len(where) * part), replace=False)] = 0.0
                return y, part
        return None


class Replay(Attack):
    """A champion of one window; challengers on labels that may be poisoned."""

    def __init__(self, stream: Stream, seed: int, *, challenger: bool = True) -> None:
        super().__init__(stream, seed)
        self.before = self.fitted(stream.y, stream.tick < OLD - 14)
        self.after = self.fitted(stream.y, self.train) if challenger else self.before
        loss = loss_for(settings().metric)
        own = (stream.tick == t for t in range(OLD - 14, OLD))
        self.promised = tuple(loss.value(stream.y[rows], self.before[rows]) for rows in own)

    def fitted(self, y: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Scores of all rows by a model of some of them."""
        import lightgbm

        kinds = [i for i, column in enumerate(self.stream.columns) if column.kind == "category"]
        data = lightgbm.Dataset(self.stream.x[rows], y[rows], categorical_feature=kinds)
        asked = {"objective": "binary", "num_leaves": 15, "verbose": -1, "num_threads": 1, "seed": 1}
        return np.asarray(lightgbm.train(asked, data, 40).predict(self.stream.x))

    def scores(self, y: np.ndarray, after: np.ndarray) -> HoldoutScores:
        """What the judge sees of a challenger, labels as given; golden labels are always sound."""
        golden = replace(self._of(self.gold, self.stream.y, after), tick=np.arange(self.gold.sum()))
        return replace(self._of(self.held, y, after), golden=golden, promised=self.promised, served=(40, 60_000))

    def _of(self, rows: np.ndarray, y: np.ndarray, after: np.ndarray) -> HoldoutScores:
        return HoldoutScores(y[rows], self.stream.tick[rows], self.before[rows], after[rows])


Found = tuple[bool, bool, bool]  # held by a guard of every user; with the golden set too; not promoted at all


def asked(scores: HoldoutScores) -> Found:
    """What the gates of the default answer."""
    config = settings(golden="golden.parquet")
    status = {name: gate(scores, FITTED, config).status != "PASS" for name, gate in gates().items()}
    guards = any(hit for name, hit in status.items() if name not in ("sane_predictions", "paired_loss", "golden"))
    return guards, guards or status["golden"], any(status.values())


def gates() -> dict[str, Gate]:
    """The default gates by name."""
    return {name: find("gates", name) for name in GATES}


@dataclass(frozen=True)
class Case:
    """One judged challenger."""

    name: str
    share: float  # of the rows it was trained on that are flipped; 0: clean
    part: float  # of the level's positives
    both: Found  # holdout flipped too
    sound: Found


def cases(name: str, clean: int, attacked: int) -> Iterator[Case]:
    """Clean challengers of ``clean`` windows, poisoned ones of ``attacked`` of them."""
    for number, (stream, seed) in enumerate(windows(name, clean)):
        replay = Replay(stream, seed)
        found = asked(replay.scores(stream.y, replay.after))
        yield Case(name, 0.0, 0.0, found, found)
        for share in SHARES if number % max(clean // attacked, 1) == 0 else ():
            poisoned = replay.flipped(share)
            if poisoned is not None:
                y, part = poisoned
                after = replay.fitted(y, replay.train)
                sound = np.where(replay.held, stream.y, y)
                both = replay.scores(y, after)
                yield Case(name, share, part, asked(both), asked(replay.scores(sound, after)))


# ── the table ─────────────────────────────────────────────────────────────────────────────────────
def table(quick: bool) -> str:
    """Shares of challengers that were held, by set and by the share of flipped rows."""
    warnings.simplefilter("ignore")
    names = ["synthetic"] if quick else ["synthetic", *(n for n in REAL if (DATA / f"{n}.parquet").exists())]
    clean, attacked = (2, 1) if quick else (20, 4)
    found = [case for name in names for case in cases(name, clean, attacked)]
    lines = []
    for title, pick in (
        ("held by a guard, nothing configured, holdout flipped too", lambda c: c.both[0]),
        ("held by a guard, golden set configured, holdout flipped too", lambda c: c.both[1]),
        ("held by a guard, golden set configured, holdout sound", lambda c: c.sound[1]),
        ("not promoted by guards and comparison together, holdout flipped too", lambda c: c.both[2]),
        ("not promoted by guards and comparison together, holdout sound", lambda c: c.sound[2]),
    ):
        lines += [title, _row("flipped share of rows", ["none", *(f"{100 * s:g} %" for s in SHARES)])]
        groups = [(name, [c for c in found if c.name == name]) for name in names]
        groups += [("all", found), ("all, half of a level's", [c for c in found if c.part >= 0.5 or not c.share])]
        for name, group in groups:
            hits = [[pick(c) for c in group if c.share == share] for share in (0.0, *SHARES)]
            lines.append(_row(name, [_share(h) for h in hits]))
        lines.append("")
    held = [c.both[1] for c in found if not c.share]
    lines.append(
        f"clean challengers held: {_share(held)}, one-sided 95 % limit {100 * upper(sum(held), len(held)):.1f} %"
    )
    return "\n".join(lines)


def upper(hits: int, n: int) -> float:
    """Clopper and Pearson's one-sided 95 % limit of a share (1934)."""
    from scipy.special import betaincinv

    return 1.0 if hits >= n else float(betaincinv(hits + 1, n - hits, 0.95))


def _share(hits: list[bool]) -> str:
    return f"{100 * sum(hits) / len(hits):.0f} % ({len(hits)})" if hits else "-"


def _row(head: str, cells: list[str]) -> str:
    return f"{head:<24}" + "".join(f"{cell:>13}" for cell in cells)
