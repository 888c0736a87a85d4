"""A/B on existing data: pairs of models judged block by block, and the command that asks for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_retune.config import Config, Metric, parse_config
from lr_retune.judge.blocks import best_of, by_block, level, pairs_of
from lr_retune.metrics import loss_for
from lr_retune.records import HoldoutScores
from tests.benchmarks.judge import versus as benchmark
from tests.conftest import Answer
from tests.worlds import day, world

Cli = Callable[..., Answer]


def config(metric: str = "mae", **gates: object) -> Config:
    task = "regression" if metric in ("mae", "rmse") else "binary"
    raw = {"config_version": 1, "name": "m", "task": task, "metric": {"name": metric}, "gates": gates}
    return parse_config(raw | {"data": {"path": "x.parquet", "time": "t", "label": "y"}}, root=Path())


def rows(blocks: int = 20, per_block: int = 50, seed: int = 0, **more: np.ndarray) -> HoldoutScores:
    y = np.random.default_rng(seed).normal(size=blocks * per_block)
    return HoldoutScores(y=y, tick=np.repeat(np.arange(blocks), per_block), champion=y, challenger=y, **more)


def off(asked: HoldoutScores, by: float, seed: int) -> np.ndarray:
    return np.asarray(asked.y + by * np.random.default_rng(seed).normal(size=len(asked.y)))


def test_the_better_of_three_is_named_and_pairs_stand_in_the_order_asked() -> None:
    asked = rows()
    found = pairs_of({"a": off(asked, 1.0, 1), "b": off(asked, 0.5, 2), "c": off(asked, 1.5, 3)}, asked, config())
    assert [(p.first, p.second, p.better) for p in found] == [("a", "b", "b"), ("a", "c", "a"), ("b", "c", "b")]
    assert best_of(found) == "b"
    assert {p.code for p in found} == {"LRR250"}


def test_nobody_is_best_while_one_pair_is_open() -> None:
    asked = rows()
    found = pairs_of({"a": off(asked, 1.0, 1), "b": off(asked, 1.0, 2), "c": off(asked, 2.0, 3)}, asked, config())
    assert [p.better for p in found] == [None, "a", "b"]
    assert best_of(found) is None


@settings(max_examples=25)
@given(st.integers(0, 50), st.floats(0.1, 10))
def test_swapping_two_models_mirrors_every_figure_and_units_cancel(seed: int, unit: float) -> None:
    asked = rows(blocks=12, per_block=50, seed=seed)
    a, b = off(asked, 1.0, seed + 1), off(asked, 1.1, seed + 2)
    one, other = (pairs_of(each, asked, config())[0] for each in ({"a": a, "b": b}, {"b": b, "a": a}))
    for forth, back in ((one.gap.low, other.gap.high), (one.gap.value, other.gap.value), (one.gap.high, other.gap.low)):
        assert forth == pytest.approx(-back)  # type: ignore[operator]
    assert (one.better, one.wins, one.losses) == (other.better, other.losses, other.wins)
    scaled = HoldoutScores(asked.y * unit, asked.tick, asked.y, asked.y)
    again = pairs_of({"a": a * unit, "b": b * unit}, scaled, config())[0]
    assert again.gap.share == pytest.approx(one.gap.share)
    assert again.better == one.better


def test_equal_models_are_seldom_told_apart_however_many_there_are() -> None:
    named = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        asked = rows(blocks=14, per_block=40, seed=seed)
        luck = np.repeat(rng.normal(0, 0.3, size=(3, 14)), 40, axis=1)  # what a block does to each model
        scores = {name: off(asked, 1.0, 1000 * seed + i) + luck[i] for i, name in enumerate("abc")}
        named += any(pair.better for pair in pairs_of(scores, asked, config()))
    assert named / 100 <= 0.05


def test_more_pairs_ask_more_of_each() -> None:
    assert level(config(), 1) == 0.025
    assert level(config(), 3) == pytest.approx(0.05 / 6)


def test_fewer_blocks_than_any_error_rate_needs_tell_nothing() -> None:
    asked = rows(blocks=6, per_block=200)
    found = pairs_of({"a": off(asked, 1.0, 1), "b": off(asked, 3.0, 2)}, asked, config())[0]
    assert (found.better, found.code) == (None, "LRR211")
    assert found.gap.value is not None  # the difference itself is told


def test_the_same_scores_twice_are_a_tie_and_no_finding() -> None:
    asked = rows()
    found = pairs_of({"a": off(asked, 1.0, 1), "b": off(asked, 1.0, 1)}, asked, config())[0]
    assert (found.better, found.code, found.ties) == (None, "LRR215", 20)


def test_a_slice_is_told_alone_and_a_thin_one_is_unknown() -> None:
    kind = np.tile(np.array(["x"] * 24 + ["y"] * 24 + ["z"] * 2), 20)
    asked = rows(slices={"kind": kind})
    a = off(asked, 1.0, 1)
    b = np.where(kind == "x", asked.y + 0.5 * (a - asked.y), a)
    found = pairs_of({"a": a, "b": b}, asked, config(min_rows=100))[0]
    assert {s.name: (s.state, s.better) for s in found.slices} == {
        "kind=x": ("told", "b"),
        "kind=y": ("even", None),
        "kind=any of 1 thin levels": ("UNKNOWN", None),
    }


def test_what_rows_of_one_customer_would_undo_is_not_told() -> None:
    blocks, per = 20, 60
    who = np.tile(np.r_[np.zeros(30, dtype=np.int64), 1 + np.arange(30) % 25], blocks)  # one has half of the rows
    asked = rows(blocks, per)
    a = off(asked, 1.0, 1)
    b = np.where(who == 0, asked.y + 0.9 * (a - asked.y), a)  # better for him alone
    suspected = HoldoutScores(asked.y, asked.tick, asked.y, asked.y, suspects={"who": who})
    assert pairs_of({"a": a, "b": b}, asked, config())[0].better == "b"
    found = pairs_of({"a": a, "b": b}, suspected, config())[0]
    assert (found.better, found.code) == (None, "LRR223")
    assert "'who'" in found.reason


@pytest.mark.parametrize(("metric", "beside"), [("log_loss", None), ("roc_auc", "log_loss")])
def test_a_ranking_has_its_proper_loss_beside_it(metric: str, beside: str | None) -> None:
    rng = np.random.default_rng(1)
    truth = rng.uniform(0.1, 0.9, size=2000)
    y = (rng.uniform(size=2000) < truth).astype(float)
    asked = HoldoutScores(y, np.repeat(np.arange(20), 100), y, y)
    found = pairs_of({"a": truth, "b": np.clip(truth + rng.normal(0, 0.2, 2000), 0.01, 0.99)}, asked, config(metric))[0]
    assert found.better == "a"
    assert (found.beside and found.beside.metric) == beside


def test_a_block_of_one_class_has_no_ranking_and_every_other_has_its_own() -> None:
    y, block = np.array([0.0, 0.0, 0.0, 1.0]), np.array([5, 5, 7, 7])
    found = by_block(y, np.array([0.1, 0.2, 0.3, 0.4]), block, loss_for(Metric(name="roc_auc")))
    assert math.isnan(found[0])
    assert found[1] == 0.0


def test_fits_that_differ_by_the_luck_of_a_seed_are_called_alike_only_where_seeds_are_counted() -> None:
    alone = over = 0
    for seed in range(60):
        asked, rng = rows(blocks=20, per_block=50, seed=seed), np.random.default_rng(seed)
        fits = [off(asked, 1.0, 7) * (1 + 0.05 * rng.normal()) for _ in range(6)]  # of one and the same rate
        scores, twins = {"a": fits[0], "b": fits[1]}, {"a": fits[2:4], "b": fits[4:]}
        alone += pairs_of(scores, asked, config())[0].better is not None
        over += pairs_of(scores, asked, config(), twins)[0].better is not None
    assert alone > 30
    assert over <= 6


def test_two_fits_of_a_rate_claim_nothing_and_three_do() -> None:
    asked = rows()
    fits = {
        name: [off(asked, by, i + 10 * n) for i in range(3)] for n, (name, by) in enumerate((("a", 1.0), ("b", 2.0)))
    }
    scores = {name: each[0] for name, each in fits.items()}
    two, three = (pairs_of(scores, asked, config(), {n: f[1:k] for n, f in fits.items()})[0] for k in (2, 3))
    assert (two.better, two.reason) == (None, "2 fits of each are too few, 3 at least")
    assert (three.better, three.code) == ("a", "LRR250")
    assert three.seed_sd is not None


def test_the_benchmark_of_comparisons_runs() -> None:
    assert len(benchmark.table(True).splitlines()) == 1 + len(benchmark.MODELS)


# ── the command ───────────────────────────────────────────────────────────────────────────────────
def test_two_versions_meet_on_rows_that_neither_has_learned_from(cli: Cli, home: Path) -> None:
    found = cli("compare", "--models", "1,champion", "--as-of", day(158).isoformat(), "--json")
    told = found.json
    assert found.code == 0
    assert told["decision"] == "champion"
    assert [arm["name"] for arm in told["arms"]] == ["1", "champion"]
    assert told["leaks"] == []
    assert told["from"] >= max(arm["learned"]["end"] for arm in told["arms"])
    assert told["difference"]["low"] > 0  # the first loses more
    assert told["blocks"]["losses"] > told["blocks"]["wins"]
    assert all(arm["work_per_1000"] > 0 for arm in told["arms"])
    again = cli("compare", "--models", "1,champion", "--as-of", day(158).isoformat(), "--json").json
    assert {**again, "timing": {}} == {**told, "timing": {}}


def test_rows_that_a_model_has_learned_from_name_nobody(cli: Cli, home: Path) -> None:
    asked = ("compare", "--models", "1,2", "--from", day(80).isoformat(), "--as-of", day(158).isoformat())
    found = cli(*asked)
    assert found.code == 10
    assert "LEAK: 2 has learned from rows until" in found.out
    assert "LRR252" in found.out
    assert cli(*asked, "--json").json["decision"] is None


def test_a_decision_stands_for_the_challenger_that_it_judged(cli: Cli, home: Path) -> None:
    newest = cli("history", "--json").json["decisions"][-1]["id"]
    found = cli("compare", "--models", f"1,{newest[:10]}", "--as-of", day(158).isoformat(), "--json").json
    assert found["arms"][1]["model"] == cli("run", "--as-of", day(107).isoformat(), "--json").json["champion"]["model"]


def test_altered_files_are_never_loaded(cli: Cli, home: Path) -> None:
    for file in home.glob("*_models/*/model.txt"):
        file.write_bytes(file.read_bytes() + b"\n")
    found = cli("compare", "--models", "1,2", "--as-of", day(158).isoformat())
    assert found.code == 6


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--models", "1,7"), "'7' is no model of demo"),
        (("--models", "champion,2"), "are the same model"),
        (("--models", "2"), "two or more different models"),
        (("--models", "1,2", "--learning-rates", ".1,.2"), "takes one of --models, --learning-rates and"),
        (("--learning-rates", ".1,x"), "are no numbers"),
        (("--learning-rates", ".1,-1"), "two or more different rates above 0"),
        (("--models", "1,2", "--blocks", "1h"), "shorter than a tick"),
        (("--models", "1,2", "--blocks", "soon"), "--blocks soon"),
        (("--models", "1,2", "--blocks", "0d"), "--blocks 0d is no length"),
        (("--models", "1,2", "--from", "2024-05-01", "--to", "2024-04-01"), "does not lie before --to 2024-04-01"),
        (("--sequential", "--from", "2024-03-01", "--blocks", "7d"), "takes --from and --models only"),
    ],
)
def test_what_cannot_be_asked_is_told(cli: Cli, home: Path, asked: tuple[str, ...], told: str) -> None:
    found = cli("compare", *asked, "--as-of", day(158).isoformat())
    assert found.code == 2
    assert told in found.err


def test_rates_are_fitted_as_of_the_first_row_and_need_no_champion(cli: Cli, fresh: Path) -> None:
    asked = ("compare", "--learning-rates", "0.1,1.5", "--from", day(100).isoformat(), "--as-of", day(159).isoformat())
    found = cli(*asked, "--json")
    told = found.json
    assert (found.code, told["decision"]) == (0, "0.1")
    assert {arm["learned"]["end"] for arm in told["arms"]} == {told["from"]}
    assert (told["block"], told["ticks"]) == ("1d", 59)
    weeks = cli(*asked, "--blocks", "7d", "--json").json
    assert (weeks["from"], weeks["to"], weeks["ticks"]) == (day(105).isoformat(), day(154).isoformat(), 7)  # Mondays
    words = cli(*asked)
    assert "0.1 is better than every other" in words.out
    assert "another seed makes no other model" in words.out


@pytest.mark.parametrize(
    ("start", "told"), [(day(170), "can be compared"), (day(10), "too little history"), (day(158), "no whole block")]
)
def test_a_stretch_that_holds_nothing_is_told(cli: Cli, fresh: Path, start: datetime, told: str) -> None:
    asked = ("--from", start.isoformat(), "--as-of", day(159).isoformat(), "--blocks", "2d")
    found = cli("compare", "--learning-rates", "0.1,0.2", *asked)
    assert found.code == 3
    assert told in found.err


def test_what_serves_with_less_work_is_told_where_no_loss_tells(cli: Cli, fresh: Path) -> None:
    asked = (
        "compare",
        "--learning-rates",
        "0.05,0.12",
        "--from",
        day(100).isoformat(),
        "--as-of",
        day(159).isoformat(),
    )
    found = cli(*asked)
    assert found.code == 10
    assert "0.12 answers with" in found.out
    assert "% of the work of 0.05, and costs at most" in found.out


def test_a_rate_without_a_model_is_told_with_its_reason(cli: Cli, tmp_path: Path) -> None:
    path = world(tmp_path, more="")
    path.write_text(path.read_text().replace("max_steps = 400", "max_steps = 40"))
    found = cli("compare", "--learning-rates", "0.001,0.3", "-c", path, "--as-of", day(159).isoformat())
    assert found.code == 3
    assert "rate 0.001 gives no model: starved" in found.err


def test_each_configured_slice_is_told(cli: Cli, fresh: Path) -> None:
    path = fresh / "retune.toml"
    path.write_text(path.read_text().replace("[gates]\n", '[gates]\nslices = ["kind"]\n'))
    asked = ("compare", "--learning-rates", "0.1,1.5", "--from", day(100).isoformat(), "--as-of", day(159).isoformat())
    found = cli(*asked, "--json").json["pairs"][0]["slices"]
    assert {each["slice"]: each["better"] for each in found} == {"kind=x": "0.1", "kind=y": "0.1", "kind=z": "0.1"}
    assert "slices, all together" in cli(*asked).out


def test_where_a_seed_matters_each_rate_is_fitted_by_three(cli: Cli, fresh: Path) -> None:
    path = fresh / "retune.toml"
    plain = 'family = "sgd"\nparams = { }'
    path.write_text(path.read_text().replace("params = { num_leaves = 7, min_data_in_leaf = 20 }", plain))
    asked = (
        "compare",
        "--learning-rates",
        "0.001,0.05",
        "--from",
        day(100).isoformat(),
        "--as-of",
        day(159).isoformat(),
    )
    three, one = (cli(*asked, *more, "--json").json for more in ((), ("--seeds", "1")))
    assert (three["seeds"], three["seed_matters"]) == (3, True)
    assert (one["seeds"], one["seed_matters"], one["pairs"][0]["seed_sd"]) == (1, None, None)
    assert three["pairs"][0]["seed_sd"] > 0
    assert three["arms"][0]["fit"]["fits"] == 3 * one["arms"][0]["fit"]["fits"]
