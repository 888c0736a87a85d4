"""What a replay's table says: who is dominated, at which price a policy is best, and what hindsight would reach."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune.config import Config, Worth, parse_config
from lr_retune.errors import ConfigError
from lr_retune.records import Cost
from lr_retune.replay.arms import STANDING, Arm, arm, chosen, from_file
from lr_retune.replay.kept import kept_in
from lr_retune.replay.oracle import best_schedules
from lr_retune.replay.pareto import compared, hull
from lr_retune.replay.picture import loss_over_work, page
from lr_retune.replay.table import Oracle, Row, Table
from lr_retune.replay.told import fields, lines
from tests.worlds import GOOD


def config_of(more: str = "") -> Config:
    return parse_config(tomllib.loads(GOOD + more), root=Path())


def row(name: str, loss: float, refits: int) -> Row:
    cost = Cost(refits, refits * 10, refits * 1000)
    return Row(name, loss, (loss - 1) * 100, {"refit": refits}, {}, refits, 0, cost, {}, refits_worth=float(refits))


def table_of(*rows: Row) -> Table:
    return Table(tuple(rows), 50, 1000, days=100.0)


FOUR = (row("never", 1.2, 0), row("policy", 1.02, 4), row("timer:8", 1.1, 10), row("always", 1.0, 50))


def test_a_policy_is_dominated_by_one_with_no_more_loss_for_no_more_work() -> None:
    found = {r.name: r.dominated_by for r in compared(config_of(), table_of(*FOUR)).policies}
    assert found == {"never": None, "policy": None, "timer:8": "policy", "always": None}


def test_prices_without_worth_are_days_of_one_per_cent_of_loss() -> None:
    found = {r.name: r.best for r in compared(config_of(), table_of(*FOUR)).policies}
    assert found["timer:8"] is None
    assert found["never"] is not None
    assert found["policy"] is not None
    assert found["always"] is not None
    # never → policy: 18 % over 100 days for 4 refits; policy → always: 2 % for 46
    assert (found["never"].low, found["never"].high) == (pytest.approx(450), None)
    assert (found["policy"].low, found["policy"].high) == (pytest.approx(200 / 46), pytest.approx(450))
    assert (found["always"].low, found["always"].high) == (0.0, pytest.approx(200 / 46))


def test_prices_with_worth_are_money_and_the_advice_follows_the_price_of_a_retrain() -> None:
    for price, least in ((1.0, "always"), (40.0, "policy"), (10_000.0, "never")):
        config = config_of().model_copy(update={"worth": Worth(retrain=price, loss_1pct_per_day=2.0)})
        found = compared(config, table_of(*FOUR))
        assert found.advice.startswith(f"At {price:,.2f} EUR a refit, {least} costs least")
        assert {r.best.unit for r in found.policies if r.best} == {"EUR"}


def test_the_advice_says_that_our_policy_is_dominated_and_that_a_search_brings_nothing() -> None:
    rows = (row("never", 1.2, 0), row("policy", 1.1, 8), row("timer:8", 1.05, 7), row("always", 1.0, 50))
    told = compared(config_of(), table_of(*rows, replace(row("always+grid", 1.01, 550), retrains=50))).advice
    assert told.startswith("policy (+10.0 % of loss, 8 retrains) is dominated: timer:8 has no more loss")
    assert told.endswith("by +1.0 % for 11 times the work: not worth it here.")


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 40)), min_size=1, max_size=8), st.floats(0, 50))
def test_at_every_price_a_corner_of_the_hull_costs_least(made: list[tuple[int, int]], price: float) -> None:
    rows = [row(f"p{n}", 1 + loss / 100, work) for n, (work, loss) in enumerate(made)]
    cost = {r.name: price * r.refits_worth + r.excess_pct for r in rows}
    assert min(cost[r.name] for r in hull(rows)) == pytest.approx(min(cost.values()))
    found = compared(config_of(), replace(table_of(*rows), days=1.0)).policies
    at_price = [
        r.name for r in found if r.best and r.best.low <= price and (r.best.high is None or price <= r.best.high)
    ]
    assert at_price
    for name in at_price:
        assert cost[name] == pytest.approx(min(cost.values()))


def test_where_nothing_was_promoted_the_advice_says_so() -> None:
    rows = (row("never", 1.0, 0), row("policy", 1.0, 2), row("always", 1.0, 9))
    assert compared(config_of(), table_of(*rows)).advice.startswith("No policy changed the loss here")


# ── hindsight ─────────────────────────────────────────────────────────────────────────────────────
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 5), st.integers(0, 3))
def test_hindsight_is_the_least_of_all_schedules(seed: int, models: int, ticks: int, most: int) -> None:
    rng = np.random.default_rng(seed)
    lost, born = rng.uniform(1, 2, (models, ticks)), np.r_[0, rng.integers(0, ticks, models - 1)]
    found = best_schedules(lost, born, most)
    for changes in range(most + 1):
        sums = [
            sum(lost[m, t] for t, m in enumerate(path))
            for path in itertools.product(range(models), repeat=ticks)
            if path[0] == 0
            and all(born[m] <= t for t, m in enumerate(path))
            and sum(a != b for a, b in itertools.pairwise(path)) <= changes
        ]
        assert found[changes] == pytest.approx(min(sums))


# ── who walks ─────────────────────────────────────────────────────────────────────────────────────
def test_refit_fixed_rate_and_search_stand_in_every_table() -> None:
    names = [each.name for each in chosen(["never", " timer:7"], [], config_of())]
    assert names == ["never", "timer:7", *STANDING]


def test_a_policy_file_overrides_what_it_names_and_gets_the_keys_of_its_profile(tmp_path: Path) -> None:
    file = tmp_path / "eager.toml"
    file.write_text("[policy]\nprofile = 'cheap_retrain'\n[gates]\nmargin = 0.02\n", encoding="utf-8")
    base = config_of("[policy]\ncooldown = 5\n")
    found = from_file(file, base)
    assert found.name == "eager"
    assert found.config is not None
    assert (found.config.policy.cusum_h, found.config.policy.cooldown, found.config.gates.margin) == (3.0, 5, 0.02)
    file.write_text("", encoding="utf-8")
    same = from_file(file, base).config
    assert same is not None
    assert same.digest == base.digest


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[metric]\nname = 'brier'\n", "'metric' cannot be overridden"),
        ("policy = 3\n", "policy is no table"),
        ("[policy]\ncooldwn = 3\n", "cooldown"),
        ("[policy\n", "is not valid TOML"),
    ],
)
def test_a_policy_file_that_asks_another_question_is_refused(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=told):
        from_file(file, config_of())


@pytest.mark.parametrize("name", ["timer:0", "timer:", "timer+grid:3", "sometimes"])
def test_a_name_that_is_no_policy_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="no replay policy named"):
        arm(name)


# ── what is shown ─────────────────────────────────────────────────────────────────────────────────
def test_picture_page_and_lines_name_every_policy_and_cannot_be_steered_by_a_name() -> None:
    bad = row("<script>x</script>", 1.3, 3)
    found = replace(compared(config_of(), table_of(*FOUR, bad)), oracle=Oracle((0, 1), (1.2, 1.01)))
    drawn, whole = loss_over_work(found, "demo & co"), page(found, "demo & co")
    for each in found.policies[:-1]:
        assert each.name in drawn
        assert each.name in whole
        assert any(line.startswith(each.name) for line in lines(found))
    assert "<script" not in drawn + whole
    assert drawn in whole
    assert len(drawn) < 30_000


def test_what_trains_whatever_it_sees_can_be_asked_to_train_at_fewer_runs_than_others_look() -> None:
    found = {each.name: each.policy for each in chosen(["never", "policy"], [], config_of(), train_every=14)}
    plain = {each.name: each.policy for each in chosen(["never", "policy"], [], config_of())}
    assert {name for name in found if found[name] is not plain[name]} == set(STANDING)
    for name in STANDING:
        seen = found[name]
        assert isinstance(seen, partial)
        assert seen.keywords == {"ticks": 14, "action": "refit" if name == "always" else "search"}
    told = "\n".join(lines(replace(table_of(*FOUR), train_every=14)))
    assert "policies that train whatever they see (always, fixed-05 …) trained every 14 ticks" in told


def test_a_table_says_how_seldom_its_policies_looked() -> None:
    daily, seldom = table_of(*FOUR), replace(table_of(*FOUR), every=30)
    assert "--every 1" not in "\n".join(lines(daily))
    for told in ("\n".join(lines(seldom)), page(seldom, "demand")):
        assert "walked every 30 ticks, and a live run looks at each" in told


def test_the_command_walks_its_files_and_draws_what_it_found(
    cli: Callable[..., Any], fresh: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The walking itself is held elsewhere: here it answers with a table of its own."""
    asked: dict[str, Any] = {}

    def walked(_config: Config, _start: datetime, _end: datetime, arms: Sequence[Arm], **more: Any) -> Table:
        asked.update(more, arms=[each.name for each in arms])
        return compared(config_of(), table_of(*FOUR))

    monkeypatch.setattr("lr_retune.replay.replay", walked)
    (fresh / "eager.toml").write_text("[policy]\ncooldown = 1\n", encoding="utf-8")
    words = ["replay", "--from", "2024-04-10", "--to", "2024-04-20", "--against", "never,timer:7"]
    found = cli(*words, "--policy", "eager.toml", "--html", "page.html", "--jobs", "2", "--json")
    assert found.code == 0
    assert asked["arms"] == ["never", "timer:7", *STANDING, "eager"]
    assert (asked["jobs"], asked["every"]) == (2, 1)
    assert asked["cache"].parent == fresh
    assert (fresh / "page.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert found.json["policies"][1]["best"]["unit"] == "days of 1 % of loss"
    told = cli(*words, "--html", "picture.svg")
    assert (fresh / "picture.svg").read_text(encoding="utf-8").startswith("<svg")
    assert "policy costs least where a refit costs at least 4.35 and at most 450 days of 1 % of loss" in told.out


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (("--to", "2024-04-01"), "--from 2024-04-10 does not lie before --to 2024-04-01"),
        (("--to", "soon"), "--to 'soon' is no time to run at"),
        (("--html", "absent/page.html"), "its folder does not exist"),
        (("--html", "."), "it is a folder"),
        (("--html", "page.pdf"), "let it end in .html, the page, or .svg, the picture alone"),
        (("--policy", "absent.toml"), "check its name"),
        (
            ("--policy", "typo.toml"),
            "did you mean 'max_age'?\ndo: mend typo.toml; `lr-retune config schema` lists every key",
        ),
        (("--policy", "latin.toml"), "save it as UTF-8"),
        (("--policy", "policy.toml", "--against", "policy"), "each row of the table is named by its policy"),
    ],
)
def test_what_cannot_be_replayed_is_told_before_a_row_is_read(
    cli: Callable[..., Any], fresh: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...], told: str
) -> None:
    monkeypatch.setattr("lr_retune.replay.replay", None)
    (fresh / "latin.toml").write_bytes(b"# \xe9")
    (fresh / "policy.toml").write_bytes(b"")
    (fresh / "typo.toml").write_text("[policy]\nmax_agee = '7d'\n", encoding="utf-8")
    found = cli("replay", "--from", "2024-04-10", "--to", "2024-04-20", *asked)
    assert found.code == 2
    assert told in found.err


def test_a_folder_that_keeps_no_answers_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert kept_in(config_of(), tmp_path / "new") == (tmp_path / "new", [])
    assert "answers cannot be kept in" in kept_in(config_of(), tmp_path / "file")[1][0]


def test_the_fields_of_a_policy_keep_their_names() -> None:
    found = fields(compared(config_of(), table_of(*FOUR)))
    known = {"name", "loss", "excess_pct", "actions", "retrains", "cost", "promotions", "rollbacks"}
    assert known <= set(found["policies"][0])
    assert {"policies", "ticks", "oracle", "advice"} <= set(found)
