"""Trigger settings by replay: chosen on the first part, asked on the last, and the default where it is as good."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lr_retune.config import Config, load_config, parse_config
from lr_retune.errors import ConfigError
from lr_retune.judge.blocks import pairs_of
from lr_retune.records import Cost, HoldoutScores
from lr_retune.replay import instants
from lr_retune.replay.table import Row
from lr_retune.replay.tuned import DEFAULT, NEVER, Settings, Tuned, _place, chosen, grid, holds, toml, tune
from tests.conftest import Answer
from tests.worlds import day, world

Cli = Callable[..., Answer]
WORTH = {"retrain": 100.0, "loss_1pct_per_day": 1.0}


def config(**more: object) -> Config:
    raw = {"config_version": 1, "name": "m", "task": "regression", "metric": {"name": "mae"}}
    return parse_config(raw | {"data": {"path": "x", "time": "t", "label": "y"}} | more, root=Path())


def row(name: str, loss: float, work: int, retrains: int = 1, excess: float = 0.0) -> Row:
    return Row(name, loss, excess, {}, {}, retrains, 0, Cost(1, 1, work), {})


# ── what is chosen ────────────────────────────────────────────────────────────────────────────────
def test_the_least_loss_and_the_least_work_are_chosen_and_never_is_not() -> None:
    rows = [row(DEFAULT, 1.0, 100), row("good", 0.9, 300), row("lean", 1.005, 40), row(NEVER, 0.8, 0)]
    assert {question: one.name for question, one in chosen(config(), rows, 30.0).items()} == {
        "better": "good",
        "cheaper": "lean",
    }


def test_what_loses_more_than_the_margin_or_saves_little_is_not_cheaper() -> None:
    rows = [row(DEFAULT, 1.0, 100), row("bad", 1.02, 10), row("same", 1.0, 80)]
    assert chosen(config(), rows, 30.0) == {}


def test_with_a_price_what_costs_least_is_chosen() -> None:
    rows = [row(DEFAULT, 1.0, 100, 5, 0.0), row("lean", 1.02, 90, 1, 2.0)]
    assert chosen(config(), rows, 100.0) == {}
    assert chosen(config(worth=WORTH), rows, 100.0)["better"].name == "lean"  # 100 + 200 against 500


def test_one_candidate_is_asked_one_question() -> None:
    rows = [row(DEFAULT, 1.0, 100), row("both", 0.9, 10)]
    assert list(chosen(config(), rows, 30.0)) == ["better"]


@pytest.mark.parametrize(
    ("gain", "question", "expected"),
    [(0.2, "better", True), (0.0, "better", False), (0.0, "cheaper", True), (-0.2, "cheaper", False)],
)
def test_only_the_interval_of_the_held_out_part_decides(gain: float, question: str, expected: bool) -> None:
    rng = np.random.default_rng(0)
    y, tick = np.zeros(3000), np.repeat(np.arange(30), 100)
    off = rng.normal(size=3000)
    other = off * (1 - gain) + rng.normal(0, 0.001, 3000)
    pair = pairs_of({DEFAULT: off, "x": other}, HoldoutScores(y, tick, y, y), config())[0]
    held = {DEFAULT: row(DEFAULT, float(np.abs(off).mean()), 100), "x": row("x", float(np.abs(other).mean()), 50)}
    assert holds(config(), question, pair, held) is expected


def test_settings_that_served_the_same_are_as_good() -> None:
    y, off = np.zeros(1000), np.random.default_rng(0).normal(size=1000)
    pair = pairs_of({DEFAULT: off, "x": off}, HoldoutScores(y, np.repeat(np.arange(10), 100), y, y), config())[0]
    assert holds(config(), "cheaper", pair, {DEFAULT: row(DEFAULT, 1.0, 100), "x": row("x", 1.0, 50)})
    assert not holds(config(), "better", pair, {DEFAULT: row(DEFAULT, 1.0, 100), "x": row("x", 1.0, 50)})


# ── the grid ──────────────────────────────────────────────────────────────────────────────────────
def test_candidates_are_valid_and_lines_say_what_was() -> None:
    asked = config(policy={"profile": "cheap_retrain", "max_age": "5d"})
    found = grid(asked)
    assert [each.name for each in found][:3] == ["careful", "max_age 2d", "max_age 10d"]
    assert toml(asked, Settings("", {"profile": "careful", "probe": False})) == [
        "[policy]",
        'profile = "careful"  # was "cheap_retrain"',
        "probe = false        # was true",
    ]


def test_age_alone_is_no_candidate_where_it_trains_anyway() -> None:
    assert "age trains" not in [each.name for each in grid(config(policy={"probe": False}))]


# ── on a tiny world ───────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Tuned]:
    """The world changed at day 86, and the champion of day 100 was hardly trained on what came since."""
    folder = tmp_path_factory.mktemp("tuned")
    path = world(folder, days=170, changed=86, more="[policy]\nmax_age = '200d'\nprobe = false\ncusum_h = 1000.0")
    text = path.read_text().replace("points = 3", "points = 2").replace("max_steps = 400", "max_steps = 60")
    path.write_text(text.replace('train = "60d"', 'train = "21d"').replace('= "14d"', '= "7d"'))
    asked = load_config(path, environ={})
    times = instants(asked, day(100), day(168), 4)
    return asked, tune(asked, times, [Settings("awake", {"max_age": "8d"})], held_out=0.5, cache=folder / "kept")


def test_a_setting_that_helps_on_the_last_part_too_is_proposed(tuned: tuple[Config, Tuned]) -> None:
    asked, found = tuned
    assert found.proposed is not None
    assert toml(asked, found.proposed) == ["[policy]", 'max_age = "8d"  # was "200d"']
    assert found.findings[0].pair.code == "LRR250"
    assert found.split == day(132)


def test_both_parts_count_their_own_retrains_and_work_adds_up(tuned: tuple[Config, Tuned]) -> None:
    _, found = tuned
    named = {one.name: one for one in found.first}
    assert list(named) == [DEFAULT, "awake", NEVER]
    assert named[NEVER].retrains == named[DEFAULT].retrains == 0
    assert named["awake"].retrains > 0
    held = found.findings[0].held
    assert found.cost.row_steps == named["awake"].cost.row_steps + held.cost.row_steps


def test_parts_of_too_few_run_times_are_refused(tuned: tuple[Config, Tuned]) -> None:
    asked, _ = tuned
    with pytest.raises(ConfigError, match="to choose by") as refused:
        tune(asked, instants(asked, day(100), day(140), 4), grid(asked))
    often = int(refused.value.fix.split("--every ")[1])  # so many ticks apart they would do
    assert 1 <= often < 4
    assert _place(instants(asked, day(100), day(140), often), 1 / 3, asked.schedule.tick)


def test_the_command_says_when_the_default_is_as_good(
    cli: Cli, tuned: tuple[Config, Tuned], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lr_retune.replay.tuned.grid", lambda _config: [Settings("asleep", {"max_age": "300d"})])
    root = tuned[0].root
    asked = ("tune-policy", "--from", day(100).isoformat(), "--to", day(168).isoformat(), "--every", "4")
    asked = (*asked, "--held-out", "0.5", "-c", root / "retune.toml", "--cache", root / "kept")
    found = cli(*asked)
    assert found.code == 0
    assert "Keep [policy] as it is" in found.out
    told = cli(*asked, "--json").json
    assert (told["decision"], told["toml"]) == (None, None)
    assert [one["name"] for one in told["policies"]] == [DEFAULT, "asleep", NEVER]
