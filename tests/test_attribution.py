"""Where a gain came from: laws of the arithmetic, honesty of the words, and the way from fits to the next decision."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune.answers import lines_of_report
from lr_retune.config import Config, Metric, load_config
from lr_retune.judge.attribution import Arm, attribute, origin
from lr_retune.judge.corners import corners
from lr_retune.judge.judgement import judge_scores
from lr_retune.judge.origin import told
from lr_retune.metrics import loss_for
from lr_retune.records import Candidate, HoldoutScores, Origin, TuneResult
from lr_retune.retune import bootstrap, retune
from lr_retune.stores.chronicle import _found
from lr_retune.stores.describe import metrics, note
from lr_retune.stores.promotion import Stores
from lr_retune.watch.baselines import always_search
from tests.benchmarks.judge import attribution as bench
from tests.worlds import day, world

EQUAL = np.full(28, 1 / 28)
CANDIDATE = Candidate("digest", 0.1, "constant", 10, 1.0, 1, {})


def arm(seed: int, mean: float, seeds: int = 3, spread: float = 0.0, noise: float = 0.01, ticks: int = 28) -> Arm:
    rng = np.random.default_rng(seed)
    values = mean + spread * rng.normal(size=(seeds, 1)) + noise * rng.normal(size=ticks)
    return Arm(values.mean(axis=1), values)


def four(rate: float = 0.03, data: float = 0.05, interaction: float = 0.0, **more: float) -> dict[str, Arm]:
    return {
        "champion": arm(1, 1.0, 1, **more),
        "control": arm(2, 1.0 - data, 3, **more),
        "old_rows": arm(3, 1.0 - rate, 1, **more),
        "challenger": arm(4, 1.0 - data - rate - interaction, 3, **more),
    }


def told_of(arms: dict[str, Arm], seed_matters: bool | None = True) -> Origin:
    found = origin(arms, EQUAL, seed_matters=seed_matters)
    assert found is not None
    return found


losses = st.lists(st.floats(0.5, 2.0), min_size=4, max_size=4)


# ── laws ──────────────────────────────────────────────────────────────────────────────────────────
@given(*[st.floats(0.01, 100)] * 3)
def test_gains_add_up(champion: float, control: float, challenger: float) -> None:
    one = {"champion": champion, "control": control, "challenger": challenger}
    found = attribute(one, {name: Arm(np.array([loss]), np.empty((1, 0))) for name, loss in one.items()})
    assert found["total"] is not None
    assert found["total"] == pytest.approx((found["data"] or 0) + (found["rate"] or 0), abs=1e-9 * (1 + champion))
    assert "luck" not in found


@given(st.lists(st.floats(0.5, 2.0), min_size=3, max_size=3), st.lists(st.floats(0.5, 2.0), min_size=3, max_size=3))
def test_luck_is_what_the_seeds_of_the_judged_fits_add(old: list[float], new: list[float]) -> None:
    arms = {"champion": [1.0], "control": old, "challenger": new}
    judged = {"champion": 1.0, "control": old[0], "challenger": 0.7}
    found = attribute(judged, {n: Arm(np.array(v), np.empty((len(v), 0))) for n, v in arms.items()})
    assert found["total"] == pytest.approx(0.3)
    assert found["luck"] == pytest.approx(np.mean(new) - 0.7, abs=1e-12)


def test_gains_of_missing_arms_are_not_known() -> None:
    one = {"champion": Arm(np.array([2.0]), np.empty((1, 0))), "challenger": Arm(np.array([1.0]), np.empty((1, 0)))}
    judged = {"champion": 2.0, "challenger": 1.0}
    assert attribute(judged, one) == {"total": 0.5, "data": None, "rate": None}
    for strange in (0.0, math.nan):
        none = one | {"champion": Arm(np.array([strange]), np.empty((1, 0)))}
        assert attribute(judged | {"champion": strange}, none) == dict.fromkeys(("total", "data", "rate"))
        assert origin(none, EQUAL) is None


@given(st.floats(-0.2, 0.2), st.floats(-0.2, 0.2), st.floats(-0.2, 0.2))
def test_main_effects_add_up_and_interaction_is_what_is_between_simple_ones(r: float, d: float, i: float) -> None:
    found = {name: effect.value for name, effect in told_of(four(r, d, i)).effects.items()}
    assert found["data_main"] + found["rate_main"] == pytest.approx(found["data"] + found["rate"], abs=1e-9)
    assert found["interaction"] == pytest.approx(found["rate"] - found["rate_on_old_rows"], abs=1e-9)


@given(losses)
def test_without_interaction_data_and_rate_are_the_main_effects(found: list[float]) -> None:
    champion, control, old_rows, _ = found
    values = {
        "champion": champion,
        "control": control,
        "old_rows": old_rows,
        "challenger": control + old_rows - champion,
    }
    if min(values.values()) <= 0:
        return
    ticks = np.sin(np.arange(28.0))
    arms = {name: Arm(np.array([v]), (v + 0.01 * k * ticks)[None]) for k, (name, v) in enumerate(values.items())}
    effects = told_of(arms, None).effects
    for name in ("data", "rate"):
        assert effects[name].value == pytest.approx(effects[f"{name}_main"].value, abs=1e-9)


@given(st.permutations(range(3)), st.permutations(range(3)))
def test_the_order_of_seeds_changes_no_effect(a: list[int], b: list[int]) -> None:
    arms = four(spread=0.01)
    for name, order in (("control", a), ("challenger", b)):
        arms[name] = Arm(arms[name].losses[order], arms[name].ticks[order])
    for name, effect in told_of(arms).effects.items():
        before = told_of(four(spread=0.01)).effects[name]
        assert (effect.value, effect.low, effect.high) == pytest.approx((before.value, before.low, before.high))


@given(st.integers(0, 50))
def test_arms_that_change_places_change_the_sign(seed: int) -> None:
    arms = {
        "champion": arm(seed, 1.0, 1),
        "control": arm(seed + 1, 0.95, spread=0.01),
        "challenger": arm(seed + 2, 0.93, spread=0.01),
    }
    one = told_of(arms).effects["rate"]
    other = told_of(arms | {"control": arms["challenger"], "challenger": arms["control"]}).effects["rate"]
    assert (other.value, other.low, other.high) == pytest.approx((-one.value, -one.high, -one.low))  # type: ignore[operator]
    assert one.claimed == other.claimed


@given(st.floats(0.01, 100))
def test_the_unit_of_the_loss_does_not_matter(unit: float) -> None:
    arms = four(spread=0.01)
    scaled = {name: Arm(a.losses * unit, a.ticks * unit) for name, a in arms.items()}
    one, other = told_of(arms).effects["rate"], told_of(scaled).effects["rate"]
    assert (other.low, other.high) == pytest.approx((one.low, one.high))


def test_seeds_that_differ_widen_the_interval_and_more_ticks_do_not_help() -> None:
    def width(ticks: int, spread: float) -> float:
        arms = {
            "champion": arm(0, 1.0, 1, ticks=ticks),
            "control": arm(1, 0.95, spread=spread, ticks=ticks),
            "challenger": arm(2, 0.93, spread=spread, ticks=ticks),
        }
        found = origin(arms, np.full(ticks, 1 / ticks), seed_matters=True)
        assert found is not None
        effect = found.effects["rate"]
        assert effect.low is not None
        assert effect.high is not None
        return effect.high - effect.low

    assert width(28, 0.02) > 2 * width(28, 0.0)
    assert width(400, 0.02) > 0.7 * width(28, 0.02)
    assert width(400, 0.0) < 0.5 * width(28, 0.0)


# ── what is a finding ─────────────────────────────────────────────────────────────────────────────
def test_a_rate_that_leads_beyond_ticks_and_seeds_is_a_finding() -> None:
    found = told_of(four(0.05, spread=0.002))
    assert found.effects["rate"].claimed
    assert found.seeds_needed is None
    assert "The new rate brought +" in told(found, same_rate=False)


def test_a_rate_that_costs_is_told_as_such() -> None:
    assert "The new rate cost -" in told(told_of(four(-0.05, spread=0.002)), same_rate=False)


def test_a_rate_within_the_seeds_noise_says_how_many_seeds_would_tell_it() -> None:
    found = told_of(four(0.02, spread=0.03, noise=0.001))
    rate = found.effects["rate"]
    assert not rate.claimed
    assert found.seeds_needed is not None
    assert rate.seed_se is not None
    assert rate.tick_se is not None
    room = ((rate.value or 0) / 2.8) ** 2 - rate.tick_se**2
    assert found.seeds_needed == max(4, math.ceil(3 * rate.seed_se**2 / room))
    assert f"about {found.seeds_needed} seeds an arm would be needed, not 3" in told(found, same_rate=False)


def test_a_rate_within_the_ticks_noise_asks_for_no_seeds() -> None:
    found = told_of(four(0.001, spread=0.0001, noise=0.1))
    assert found.seeds_needed is None
    assert "the noise of 28 ticks, whatever the seeds" in told(found, same_rate=False)


def test_one_fit_an_arm_claims_nothing_however_large_the_lead() -> None:
    arms = {name: Arm(a.losses[:1], a.ticks[:1]) for name, a in four(0.3).items()}
    found = told_of(arms, None)
    assert not any(effect.claimed for effect in found.effects.values())
    assert "a claim about a rate needs 3 seeds an arm, not 1" in told(found, same_rate=False)
    assert "how much of it is a seed's luck was not measured" in told(found, same_rate=False)


def test_where_training_leaves_nothing_to_chance_ticks_are_enough() -> None:
    arms = {name: Arm(a.losses[:1], a.ticks[:1]) for name, a in four(0.05).items()}
    found = told_of(arms, seed_matters=False)
    assert found.effects["rate"].claimed
    assert found.effects["rate"].seed_se == 0.0
    assert "and no seed matters" in told(found, same_rate=False)


def test_a_rate_that_works_on_some_rows_only_is_told_with_both_effects() -> None:
    text = told(told_of(four(-0.2, 0.05, 0.3)), same_rate=False)
    assert "the rate's worth depends on the rows" in text
    assert "depends on the rows" not in told(told_of(four(0.05)), same_rate=False)


# ── from scores to records ────────────────────────────────────────────────────────────────────────
def scored(spread: float = 0.0) -> HoldoutScores:
    rng = np.random.default_rng(0)
    tick = np.repeat(np.arange(28), 40)
    y = rng.normal(size=len(tick))

    def score(error: float) -> np.ndarray:
        return y + error * (1 + spread * rng.normal()) * (1 + 0.05 * rng.normal(size=28)[tick])

    arms = {name: tuple(score(error) for _ in range(3)) for name, error in (("control", 0.95), ("challenger", 0.85))}
    arms["old_rows"] = (score(0.9),)
    return HoldoutScores(y, tick, score(1.0), score(0.85), score(0.95), arms=arms)


def config(tmp_path: Path) -> Config:
    return load_config(world(tmp_path), environ={})


RESULT = TuneResult("lightgbm", "grid", "rounds", CANDIDATE, CANDIDATE, None, (), seed_matters=True)


def test_a_judgement_tells_findings_in_the_record_the_registry_and_words(tmp_path: Path) -> None:
    found = judge_scores(scored(), RESULT, config(tmp_path), ())
    assert found.origin is not None
    assert len(found.origin.effects) == 7
    assert found.origin.effects["rate"].claimed
    record = {
        "judgement": {
            "losses": found.losses,
            "attribution": found.attribution,
            "verdicts": [],
            "origin": {"effects": {"rate": {"low": 0.08, "high": 0.12}}, "told": found.origin.told},
        }
    }
    assert metrics(record)["gain.rate.low"] == 0.08
    assert metrics(record)["gain.rate"] == pytest.approx(0.1, abs=0.03)
    whole = record | {
        "as_of": "2024-01-01T00:00:00+00:00",
        "decision": {"action": "search", "reasons": []},
        "champion": {"learning_rate": 0.1},
        "result": {"challenger": {"learning_rate": 0.2}},
    }
    assert "The new rate brought +" in note("m", whole)


def test_at_the_champions_rate_its_other_seeds_stand_behind_the_datas_effect(tmp_path: Path) -> None:
    s = scored(0.02)
    same = replace(s, challenger=s.control, arms={"control": s.arms["control"]})
    found = judge_scores(same, replace(RESULT, same_rate=True), config(tmp_path), ())
    assert found.origin is not None
    assert (found.origin.seeds, found.attribution["rate"]) == (4, 0.0)
    assert set(found.origin.effects) == {"data"}
    assert "new rate" not in found.origin.told


def test_a_pooled_metric_is_split_by_the_jackknife_over_ticks() -> None:
    s = scored()
    arms, weights = corners(s, loss_for(Metric(name="rmse")), same_rate=False)
    assert weights == pytest.approx(EQUAL)
    assert arms["control"].ticks.mean(axis=1) == pytest.approx(arms["control"].losses, rel=0.02)
    means, _ = corners(s, loss_for(Metric(name="mae")), same_rate=False)
    assert means["control"].ticks @ EQUAL == pytest.approx(means["control"].losses)


def test_scores_of_another_shape_and_no_rows_give_no_effect(tmp_path: Path) -> None:
    s = scored()
    bad = replace(s, control=np.zeros((3, 2)), arms={})
    found = judge_scores(bad, RESULT, config(tmp_path), ())
    assert found.attribution["rate"] is None
    none = HoldoutScores(*[np.array([])] * 4)
    assert judge_scores(none, RESULT, config(tmp_path), ()).origin is None


def test_only_a_finding_makes_the_next_decision_search_again() -> None:
    assert _found({"attribution": {"rate": 0.2}}) is None  # of before there were errors
    assert _found({"origin": {"effects": {"rate": {"value": 0.2, "claimed": False}}}}) is None
    assert _found({"origin": {"effects": {"rate": {"value": 0.2, "claimed": True}}}}) == 0.2


def test_the_main_path_scores_other_seeds_and_old_rows_and_tells_what_they_say(tmp_path: Path) -> None:
    settings = load_config(world(tmp_path), environ={})
    params = {**settings.model.params, "bagging_fraction": 0.5, "bagging_freq": 1}
    settings = settings.model_copy(update={"model": settings.model.model_copy(update={"params": params})})
    stores = Stores.in_memory(settings)
    bootstrap(settings, stores, day(110))
    found = retune(settings, stores, day(115), policy=always_search)
    assert found.judgement is not None
    assert found.judgement.origin is not None
    assert found.judgement.origin.told
    assert f"  {found.judgement.origin.told}" in lines_of_report(found)


def test_the_seeds_that_chose_a_rate_have_no_part_in_what_is_said_of_it(tmp_path: Path) -> None:
    lucky = replace(scored(), challenger=scored().y)
    found = judge_scores(lucky, RESULT, config(tmp_path), ())
    assert found.origin is not None
    assert found.origin.effects["rate"] == judge_scores(scored(), RESULT, config(tmp_path), ()).origin.effects["rate"]  # type: ignore[union-attr]
    assert found.attribution["luck"] == pytest.approx(0.85, abs=0.05)
    alone = judge_scores(replace(lucky, arms={}), RESULT, config(tmp_path), ())
    assert alone.origin is not None
    assert not alone.origin.effects["rate"].claimed


# ── the benchmark's own arithmetic ────────────────────────────────────────────────────────────────
def test_planted_rates_are_told_and_chosen_ones_flatter_by_the_seeds_that_chose_them() -> None:
    told = bench.effects((3, 14, 0.003, 0.0), 0.05, 10)
    assert (bench.signs(told) == 1).all()
    taken, same, other = bench.chosen((28, 0.02, 0.0), 60)
    assert 0 < taken < 1
    assert np.mean([e.value for e in same]) > np.mean([e.value for e in other])  # type: ignore[arg-type]
