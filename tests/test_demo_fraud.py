from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lr_retune.config import Config
from lr_retune.demo import fraud as tour
from lr_retune.demo.simulator import BURN_IN, LATEST, RISK_DELAY, World, simulate
from lr_retune.errors import ConfigError
from lr_retune.stores.promotion import Stores
from tests.conftest import Answer

TINY = World(3, days=30, customers=120, terminals=900)
SMALL = World(0, customers=900, terminals=1_800)  # a quarter of the demo's payments
SHORT = replace(SMALL, days=140)


def truth(world: World) -> tuple[dict[str, np.ndarray], np.ndarray, pa.Table]:
    """Transactions as arrays with ``at`` in seconds, the last label of each, and all labels."""
    rows, labels = simulate(world)
    found = {name: rows.column(name).to_numpy() for name in rows.column_names if name != "ts"}
    found["at"] = seconds(rows.column("ts"))
    last = np.full(len(rows), -1)
    last[labels.column("tx_id").to_numpy()] = labels.column("fraud").to_numpy()
    return found, last, labels


def seconds(times: pa.ChunkedArray) -> np.ndarray:
    found: np.ndarray = times.cast("int64").to_numpy() // 1_000_000
    return found


# ── the simulated world ───────────────────────────────────────────────────────────────────────────
def test_the_same_seed_gives_the_same_tables_and_another_seed_another_story() -> None:
    first, again, other = (stored(simulate(world)) for world in (TINY, TINY, replace(TINY, seed=4)))
    assert first == again
    assert first[0] != other[0]
    assert first[1] != other[1]


def stored(tables: Sequence[pa.Table]) -> list[bytes]:
    files = [io.BytesIO() for _ in tables]
    for table, file in zip(tables, files, strict=True):
        pq.write_table(table, file)
    return [file.getvalue() for file in files]


@pytest.mark.parametrize("change", ["busier", "card_testing"])
def test_a_planted_change_leaves_every_payment_and_label_before_it_as_it_was(change: str) -> None:
    plain, changed = simulate(TINY), simulate(replace(TINY, **{change: 20}))
    day = pa.scalar(TINY.at(20))
    before = [rows.filter(pc.less(rows.column("ts"), day)) for rows in (plain[0], changed[0])]
    assert before[0].equals(before[1])
    known = [labels.filter(pc.less(labels.column("known_at"), day)) for labels in (plain[1], changed[1])]
    assert known[0].equals(known[1])
    assert len(plain[0]) != len(changed[0])


def test_every_payment_gets_a_label_within_two_weeks_and_some_are_revised() -> None:
    rows, last, labels = truth(World(1, days=60, customers=400, terminals=800))
    ids, known = labels.column("tx_id").to_numpy(), seconds(labels.column("known_at"))
    late = known - rows["at"][ids]
    assert (last >= 0).all()
    assert late.min() >= 86_400 - 1
    assert late.max() <= LATEST * 86_400
    assert (np.diff(known) >= 0).all()
    assert 0 < len(ids) - len(last) < 0.01 * len(last)  # revisions
    assert 0.003 < last.mean() < 0.03


def test_what_costs_more_than_the_limit_is_fraud_and_testers_pay_little_at_night() -> None:
    rows, last, _ = truth(replace(TINY, seed=6, customers=800))
    assert (rows["amount"] > 220).any()
    assert (last[rows["amount"] > 220] == 1).all()
    more, fraud, _ = truth(replace(TINY, seed=6, customers=800, card_testing=10))
    tests = (fraud == 1) & (more["amount"] < 5) & (more["night"] == 1)
    assert tests[more["at"] < TINY.at(10).timestamp()].sum() < 5
    assert tests[more["at"] >= TINY.at(10).timestamp()].sum() > 20


def test_rolling_features_are_what_a_walk_over_the_past_counts() -> None:
    """The first rows look back into the burn-in, which is not delivered; later ones can be counted by hand."""
    world = replace(TINY, days=BURN_IN + 20)
    rows, last, labels = truth(world)
    known = {}
    for i, fraud, at in zip(*(labels.column(n).to_pylist() for n in ("tx_id", "fraud", "known_at")), strict=True):
        known.setdefault(i, []).append((at.timestamp(), fraud))
    for i in range(len(last) - 1, len(last) - 400, -7):
        at = rows["at"][i]
        mine = (rows["customer_id"] == rows["customer_id"][i]) & (rows["at"] <= at)
        for days in (1, 7, 30):
            window = mine & (rows["at"] > at - days * 86_400)
            assert rows[f"customer_n_{days}d"][i] == window.sum()
            assert rows[f"customer_mean_{days}d"][i] == pytest.approx(rows["amount"][window].mean())
            end = at - RISK_DELAY * 86_400
            there = (rows["terminal_id"] == rows["terminal_id"][i]) & (rows["at"] <= end)
            there &= rows["at"] > end - days * 86_400
            frauds = [
                ([label for when, label in known[j] if when <= rows["at"][j] + RISK_DELAY * 86_400] or [0])[-1]
                for j in np.flatnonzero(there)
            ]
            assert rows[f"terminal_n_{days}d"][i] == len(frauds)
            assert rows[f"terminal_risk_{days}d"][i] == pytest.approx(np.mean(frauds) if frauds else 0)


# ── the tour ──────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True)
class Walked:
    """A tour that was walked, in stores that leave no trace: pages for people would be half of its cost."""

    found: dict[str, Any]
    lines: list[str]
    stores: list[Stores]


def walk(folder: Path, seed: int, size: World, *, drift: bool) -> Walked:
    lines: list[str] = []
    stores: list[Stores] = []

    def opened(config: Config) -> Stores:
        stores.append(Stores.in_memory(config))
        return stores[0]

    return Walked(tour.fraud(folder, lines.append, seed=seed, drift=drift, size=size, opened=opened), lines, stores)


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Walked:
    return walk(tmp_path_factory.mktemp("story") / "fraud", 2, SMALL, drift=True)


def test_the_broken_day_holds_once_and_the_mended_one_goes_on(walked: Walked) -> None:
    found, lines = walked.found, walked.lines
    held = [d for d in found["decisions"] if d["outcome"] == "held"]
    assert [(d["as_of"][:10], d["action"]) for d in held] == [("2025-05-05", "fix_feed")]
    assert any("'amount'" in line and "(exit code 3)" in line for line in lines)
    assert any(line.startswith("2025-05-06  kept") for line in lines)


def test_the_harmless_change_is_told_and_trains_nothing_and_the_harmful_one_is_mended(walked: Walked) -> None:
    found, lines, stores = walked.found, walked.lines, walked.stores[0]
    entries = [e.record["decision"] for e in stores.ledger.entries("card-fraud") if e.kind == "decision"]
    why = {d["id"]: d["reasons"][0]["code"] for d in entries}
    begun = {d["as_of"][:10]: why[d["id"]] for d in found["decisions"] if d["action"] in ("refit", "search")}
    changed = f"{SMALL.at(tour.CARD_TESTING):%Y-%m-%d}"
    assert "loss_rose" not in {code for at, code in begun.items() if at <= changed}
    assert any("columns drifted" in line for line in lines)
    assert "loss_rose" in {code for at, code in begun.items() if at > changed}
    assert [d for d in found["decisions"] if d["outcome"] == "promoted" and d["as_of"][:10] > changed]
    assert stores.ledger.verify("card-fraud") == []
    assert any(line.startswith("- Card testing: noticed") for line in lines)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_without_planted_changes_the_loss_promotes_nothing(tmp_path: Path, seed: int) -> None:
    walked = walk(tmp_path / "f", seed, SHORT, drift=False)
    found, lines = walked.found, walked.lines
    assert "led to 0 trainings and 0 promotions" in found["notes"][0]
    assert {d["action"] for d in found["decisions"]} <= {"refit", "search"}  # by age
    assert not any("(planted)" in line or "held" in line for line in lines)


def test_the_demo_starts_from_nothing(cli: Callable[..., Answer], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    found = cli("demo", "fraud", "--folder", tmp_path, "--seed", "1", "--no-drift")
    assert (found.code, found.out) == (2, "")
    assert "is not empty" in found.err
    with pytest.raises(ConfigError, match="not empty"):
        tour.fraud(tmp_path, print)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_the_last_label_is_waited_for_and_no_longer() -> None:
    from importlib.resources import files

    text = (files("lr_retune.demo") / "fraud.toml").read_text()
    assert 'max_delay = "15d"' in text
    assert timedelta(days=LATEST) < timedelta(days=15)
