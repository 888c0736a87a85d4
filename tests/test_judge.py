from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from lr_retune.config import Config, Metric, parse_config
from lr_retune.judge.gates import RULES, paired_loss, sane_predictions
from lr_retune.judge.judgement import judge_scores
from lr_retune.judge.legs import LEGS, Resampled, StudentT, bootstrap_t, cr2_t, ewc_t
from lr_retune.judge.limits import dominated
from lr_retune.judge.outlook import detectable
from lr_retune.judge.paired import Comparison, Contrast, paired
from lr_retune.judge.shape import shape_of
from lr_retune.metrics import loss_for
from lr_retune.records import Candidate, Gate, HoldoutScores, TuneResult, Verdict

MAE = loss_for(Metric(name="mae"))
DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def config(task: str = "regression", metric: str = "mae", **gates: Any) -> Config:
    raw = {
        "config_version": 1,
        "name": "rides",
        "task": task,
        "data": {"path": "rows.parquet", "time": "at", "label": "n"},
        "metric": {"name": metric},
        "gates": gates,
    }
    return parse_config(raw, root=Path())


def result(*, same_rate: bool = False) -> TuneResult:
    model = Candidate("m" * 64, 0.1, "constant", 10, 1.0, 100, {})
    return TuneResult("lightgbm", "grid", "rounds", model, None, None, (), same_rate=same_rate)


def regression(gain: float, *, tick_sd: float = 0.0, ticks: int = 28, rows: int = 24, seed: int = 0) -> HoldoutScores:
    """Row losses near 10; the challenger's are smaller by ``gain``, plus what its ticks share."""
    rng = np.random.default_rng(seed)
    tick = np.repeat(np.arange(ticks), rows)
    champion = 10 + rng.random(len(tick))
    shared = tick_sd * rng.normal(size=ticks)[tick]
    challenger = champion * (1 - gain) + shared + 0.01 * rng.normal(size=len(tick))
    return HoldoutScores(np.zeros(len(tick)), tick, champion, challenger)


def binary(*, positives: int = 200, rows: int = 2000, ticks: int = 20, seed: int = 0) -> HoldoutScores:
    rng = np.random.default_rng(seed)
    y = np.zeros(rows)
    y[rng.permutation(rows)[:positives]] = 1
    champion = np.clip(0.3 * y + 0.1 + 0.5 * rng.random(rows), 0.01, 0.99)
    challenger = np.clip(champion + 0.1 * (y - 0.5) + 0.02 * rng.normal(size=rows), 0.01, 0.99)
    return HoldoutScores(y, np.arange(rows) * ticks // rows, champion, challenger)


def answer(gate: Gate, scores: HoldoutScores, settings: Config, *, same_rate: bool = False) -> tuple[str, str]:
    verdict = gate(scores, result(same_rate=same_rate), settings)
    assert verdict.code in RULES
    return verdict.code, verdict.status


# ── the paired comparison ─────────────────────────────────────────────────────────────────────────
def test_equal_ticks_give_the_t_over_tick_means() -> None:
    s = regression(0.01, tick_sd=0.3)
    found = paired(s.y, s.champion, s.challenger, s.tick, MAE, legs={"cr2_t": cr2_t})
    means = (s.champion - s.challenger).reshape(28, 24).mean(axis=1)
    known = stats.ttest_1samp(means, 0, alternative="greater")
    assert found.p_superior == pytest.approx(known.pvalue)
    assert found.low * found.base == pytest.approx(known.confidence_interval(0.95).low)
    assert found.effect == pytest.approx(means.mean() / s.champion.mean())
    shifted = stats.ttest_1samp(means, -0.01 * s.champion.mean(), alternative="greater")
    assert found.p_noninferior(0.01) == pytest.approx(shifted.pvalue)


@given(st.lists(st.integers(1, 500), min_size=2, max_size=12), st.integers(0, 99))
def test_unequal_ticks_give_cr2_with_the_smaller_satterthwaite_df(sizes: list[int], seed: int) -> None:
    """Against the textbook form: explicit matrices, no algebra."""
    w = np.array(sizes) / sum(sizes)
    assume(w.max() < 0.9)  # beyond it the closed form loses digits; the gate stops at 0.4
    values = np.random.default_rng(seed).normal(size=len(w))
    leg = cr2_t(Contrast(float(w @ values), values, w))
    centre = np.eye(len(w)) - np.outer(np.ones(len(w)), w)
    form = centre.T @ np.diag(w**2 / (1 - w)) @ centre
    assert leg.se**2 == pytest.approx(values @ form @ values)
    known = [
        np.trace(form @ omega) ** 2 / np.trace(form @ omega @ form @ omega)
        for omega in (np.diag(1 / w), np.eye(len(w)))
    ]
    assert leg.df == pytest.approx(min(*known, len(w) - 1))


@pytest.mark.parametrize("name", ["rmse", "wape"])
def test_pooled_metrics_are_judged_by_the_jackknife_over_ticks(name: str) -> None:
    loss, s = loss_for(Metric(name=name)), regression(0.02, tick_sd=0.2, ticks=9)  # type: ignore[arg-type]
    y = s.y + 3
    found = paired(y, s.champion, s.challenger, s.tick, loss, legs={"cr2_t": cr2_t})

    def gain(keep: np.ndarray) -> float:
        return loss.value(y[keep], s.champion[keep]) - loss.value(y[keep], s.challenger[keep])

    whole = gain(s.tick >= 0)
    pseudo = [9 * whole - 8 * gain(s.tick != t) for t in range(9)]
    assert found.effect == pytest.approx(whole / loss.value(y, s.champion))
    assert found.p_superior == pytest.approx(stats.t.sf(whole / (np.std(pseudo, ddof=1) / 3), 8))


def test_a_rankings_gain_is_a_share_of_what_is_missing_to_one() -> None:
    s, loss = binary(), loss_for(Metric(name="pr_auc"))
    found = paired(s.y, s.champion, s.challenger, s.tick, loss)
    ap_a, ap_b = (1 - loss.value(s.y, arm) for arm in (s.champion, s.challenger))
    assert found.effect == pytest.approx((ap_b - ap_a) / (1 - ap_a))


@given(st.floats(-0.05, 0.05), st.integers(0, 50), st.floats(0.1, 10))
def test_order_of_rows_and_unit_do_not_matter_and_swapping_mirrors(gain: float, seed: int, unit: float) -> None:
    s = regression(gain, tick_sd=0.5, ticks=8, rows=5, seed=seed)
    found = paired(s.y, s.champion, s.challenger, s.tick, MAE)
    order = np.random.default_rng(seed).permutation(len(s.y))
    other = paired(s.y, unit * s.champion[order], unit * s.challenger[order], s.tick[order], MAE)
    assert (other.effect, other.low, other.high) == pytest.approx((found.effect, found.low, found.high), abs=1e-9)
    mirrored = paired(s.y, s.challenger, s.champion, s.tick, MAE)
    ends = (-found.high * found.base, -found.low * found.base)
    assert (mirrored.low * mirrored.base, mirrored.high * mirrored.base) == pytest.approx(ends, abs=1e-9)


def test_the_largest_p_and_the_widest_bounds_count() -> None:
    s = regression(0.01, tick_sd=0.3)
    every = paired(s.y, s.champion, s.challenger, s.tick, MAE)
    alone = [paired(s.y, s.champion, s.challenger, s.tick, MAE, legs={name: leg}) for name, leg in LEGS.items()]
    assert every.low == min(one.low for one in alone)
    assert every.high == max(one.high for one in alone)
    assert every.p_superior == max(one.p_superior for one in alone)
    assert every.low == next(one.low for one in alone if one.bound_by == every.bound_by)


@given(st.integers(7, 40), st.floats(0, 0.9), st.integers(0, 99))
def test_slow_swings_widen_the_cosine_test_as_the_textbook_has_it(ticks: int, memory: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=ticks).cumsum() * memory + np.arange(ticks) % 3
    leg = ewc_t(Contrast(float(values.mean()), values, np.full(ticks, 1 / ticks)))
    waves, u = int(leg.df), values - values.mean()
    sums = [
        math.sqrt(2 / ticks) * sum(u[t] * math.cos(math.pi * j * (t + 0.5) / ticks) for t in range(ticks))
        for j in range(1, waves + 1)
    ]
    assert leg.se == pytest.approx(math.sqrt(sum(x * x for x in sums) / waves / ticks))
    assert waves == (4 if ticks < 20 else 6 if ticks < 40 else 8)


def test_the_bootstrap_leans_against_skew_and_gives_the_same_bytes_again() -> None:
    """A bit better on most days, much worse on few: the t trusts such ticks too much."""
    skewed = -np.exp(np.random.default_rng(1).normal(size=28))
    contrast = Contrast(float(skewed.mean()), skewed, np.full(28, 1 / 28))
    found, t = bootstrap_t(contrast), cr2_t(contrast)
    assert found.lower(0.05) < t.lower(0.05)
    assert found.upper(0.05) < t.upper(0.05)
    assert bootstrap_t(contrast).lower(0.05) == found.lower(0.05)
    mirrored = bootstrap_t(Contrast(-contrast.estimate, -skewed, contrast.weights))
    assert mirrored.upper(0.05) == pytest.approx(-found.lower(0.05))


def test_draws_that_are_coarser_than_alpha_bound_nothing() -> None:
    drawn = Resampled(1.0, 0.5, np.sort(np.random.default_rng(0).normal(size=99)))
    assert (drawn.lower(0.009), drawn.upper(0.009)) == (-np.inf, np.inf)
    assert (drawn.lower(0.01), drawn.upper(0.01)) == (1 - 0.5 * drawn.draws[-1], 1 - 0.5 * drawn.draws[0])


@given(st.floats(0.001, 0.4), st.floats(-1, 1), st.integers(0, 20))
def test_a_bound_lies_where_p_reaches_alpha(alpha: float, gain: float, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=12) + gain
    contrast = Contrast(float(values.mean()), values, np.full(12, 1 / 12))
    for leg in LEGS.values():
        found = leg(contrast, alpha)
        low = found.lower(alpha)
        assert found.p_above(low - 1e-9) <= alpha + 1e-9
        assert found.p_above(low + 1e-9) >= alpha - 1e-9


def test_customers_that_stay_widen_the_interval_where_they_are_named() -> None:
    rng = np.random.default_rng(5)
    entity = rng.choice(100, 2800, p=(w := 1 / np.arange(1, 101)) / w.sum())
    tick, champion = np.repeat(np.arange(28), 100), 10 + rng.random(2800)
    challenger = champion + rng.normal(size=100)[entity] + 0.1 * rng.normal(size=2800)
    y = np.zeros(2800)
    named = paired(y, champion, challenger, tick, MAE, entity=entity)
    unnamed = paired(y, champion, challenger, tick, MAE)
    assert named.low < unnamed.low < unnamed.high < named.high
    assert named.bound_by == "two_way_t"
    assert named.entities == pytest.approx(1 / ((np.bincount(entity) / 2800) ** 2).sum())
    one_each = paired(y, champion, challenger, tick, MAE, entity=np.arange(2800))
    assert (one_each.low, one_each.high) == pytest.approx((unnamed.low, unnamed.high), rel=0.02)


@pytest.mark.parametrize("ticks", [7, 14, 28])
def test_the_detectable_gain_is_called_better_about_four_times_in_five(ticks: int) -> None:
    rng, tick = np.random.default_rng(3), np.repeat(np.arange(ticks), 2)
    better, y = 0, np.zeros(2 * ticks)
    error = StudentT(0.0, 0.02 / math.sqrt(ticks), ticks - 1.0)
    gain = detectable(Comparison(0.0, 1.0, 2 * ticks, ticks, 1 / ticks, 0.05, {"cr2_t": error}))
    for values in rng.normal(gain, 0.02, (1000, ticks)):
        better += paired(y, np.ones(2 * ticks), 1 - np.repeat(values, 2), tick, MAE).low > 0
    assert better / 1000 == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize(("ticks", "unequal"), [(7, False), (14, False), (14, True)])
def test_equal_models_are_called_better_or_worse_at_most_at_the_stated_rate(ticks: int, *, unequal: bool) -> None:
    """Tick means vary 2.6 times more than their rows explain: the usual size on real streams."""
    rng, replays, rows = np.random.default_rng(11), 1000, 20
    better = worse = 0
    for _ in range(replays):
        sizes = np.maximum(2, rows * np.exp(rng.normal(size=ticks) - 0.5)).astype(int) if unequal else rows
        tick = np.repeat(np.arange(ticks), sizes)
        champion = 100 + rng.random(len(tick))
        shared = math.sqrt((2.6**2 - 1) / rows) * rng.normal(size=ticks)[tick]
        challenger = champion + rng.normal(size=len(tick)) + shared
        found = paired(np.zeros(len(tick)), champion, challenger, tick, MAE)
        better += found.p_superior <= 0.05
        worse += found.high < 0
    limit = stats.binom.ppf(0.999, replays, 0.05)
    assert 0 < better <= limit
    assert 0 < worse <= limit


# ── the gates ─────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("gain", "tick_sd", "same_rate", "expected"),
    [
        (0.05, 0.1, False, ("LRR201", "PASS")),
        (-0.05, 0.1, False, ("LRR202", "FAIL")),
        (0.05, 5.0, False, ("LRR203", "INCONCLUSIVE")),
        (0.002, 0.05, False, ("LRR204", "INCONCLUSIVE")),
        (0.002, 0.15, True, ("LRR200", "PASS")),
        (-0.001, 0.05, True, ("LRR204", "INCONCLUSIVE")),
    ],
)
def test_the_verdict_follows_interval_margin_and_floor(
    gain: float, tick_sd: float, expected: tuple[str, str], *, same_rate: bool
) -> None:
    assert answer(paired_loss, regression(gain, tick_sd=tick_sd), config(), same_rate=same_rate) == expected


def test_the_reason_tells_losses_rows_ticks_and_interval() -> None:
    verdict = paired_loss(regression(0.05, tick_sd=0.1), result(), config())
    assert verdict.reason == "loss 9.993 against 10.52 on the same 672 rows of 28 ticks: gain 5.0 % [4.7, 5.3]; better"
    assert (verdict.effect, verdict.low, verdict.high) == pytest.approx((0.05, 0.047, 0.053), abs=0.001)


def test_an_undecided_reason_tells_what_would_have_shown_and_a_range_of_further_ticks() -> None:
    reason = paired_loss(regression(0.05, tick_sd=5.0), result(), config()).reason
    assert "worse by 1.0 % is not excluded; gains that such rows call better 4 times in 5: " in reason
    assert re.search(r": \d+\.\d % on these 28 ticks, \d+\.\d % on 14, \d+\.\d % on 60; ", reason)
    assert reason.endswith(
        "about 130 to more than 400 more ticks at the present gain; never, if the true gain is below 0.5 %"
    )
    low = paired_loss(
        regression(-0.001, tick_sd=0.05),
        result(),
        config(),
    ).reason
    assert low.endswith("more ticks do not help at the present gain: it lies below the 0.5 % asked")


def test_every_verdict_of_the_comparison_says_what_it_stands_for() -> None:
    s, settings = regression(0.05, tick_sd=0.1), config(margin=0.02, alpha=0.1)
    sentence = "worse than the champion by more than 2 % on ticks like these, it would get PASS at most 10 times in 100"
    few = regression(0.05, ticks=6, rows=100)
    for scores in (s, few, regression(0.05, tick_sd=5.0)):
        assert sentence in paired_loss(scores, result(), settings).promise
    assert "No [data] entity is set" in paired_loss(s, result(), settings).promise
    named = replace(s, entity=np.arange(len(s.y)))
    assert "[data] entity" not in paired_loss(named, result(), settings).promise


def test_the_evidence_is_finite_and_names_the_test_that_bound() -> None:
    verdict = paired_loss(binary(), result(), config("binary", "pr_auc"))
    numbers = [value for value in verdict.evidence.values() if isinstance(value, float)]
    assert all(map(math.isfinite, numbers))
    assert verdict.evidence["bound_by"] in LEGS
    assert verdict.evidence["p_superior"] == max(verdict.evidence[f"p_superior.{name}"] for name in LEGS)
    assert "(told, not judged: log loss gain" in verdict.reason
    assert paired_loss(binary(), result(), config("binary", "pr_auc")) == verdict


def test_ticks_that_repeat_one_another_or_change_midway_decide_nothing() -> None:
    rng = np.random.default_rng(2)
    waves, step = np.sin(np.arange(28) / 28 * 4 * np.pi), np.where(np.arange(8) < 4, 0.3, 0.0)
    for shared, code in ((waves, "LRR218"), (step, "LRR219")):
        tick = np.repeat(np.arange(len(shared)), 80)
        champion = 10 + rng.random(len(tick))
        challenger = champion * 0.95 + shared[tick] + 0.01 * rng.normal(size=len(tick))
        verdict = paired_loss(HoldoutScores(np.zeros(len(tick)), tick, champion, challenger), result(), config())
        assert (verdict.code, verdict.status) == (code, "INCONCLUSIVE")
        assert "more ticks" in verdict.reason
        decisive = champion * 0.2 + shared[tick] + 0.01 * rng.normal(size=len(tick))
        scores = HoldoutScores(np.zeros(len(tick)), tick, champion, decisive)
        assert answer(paired_loss, scores, config()) == ("LRR201", "PASS")


def test_ticks_that_remember_count_for_fewer() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=4000)
    for t in range(1, len(values)):
        values[t] += 0.5 * values[t - 1]
    found = shape_of(Contrast(float(values.mean()), values, np.full(4000, 1 / 4000)))
    assert found.autocorrelation == pytest.approx(0.5, abs=0.05)
    assert found.effective == pytest.approx(4000 * (1 - found.autocorrelation) / (1 + found.autocorrelation))


def test_an_alpha_that_fine_needs_fourteen_ticks_and_no_alpha_makes_do_with_six() -> None:
    s = regression(0.05, tick_sd=0.1, ticks=10, rows=60)
    assert answer(paired_loss, s, config(alpha=0.01)) == ("LRR217", "INCONCLUSIVE")
    assert answer(paired_loss, s, config()) == ("LRR201", "PASS")
    few = regression(0.05, tick_sd=0.1, ticks=6, rows=100)
    assert answer(paired_loss, few, config(min_ticks=3)) == ("LRR211", "INCONCLUSIVE")


def test_an_unnamed_customer_with_a_fifth_of_the_rows_undoes_a_pass_only_where_its_rows_share_errors() -> None:
    rng, n = np.random.default_rng(8), 28 * 60
    tick, codes = np.repeat(np.arange(28), 60), np.where(rng.random(n) < 0.35, 0, rng.integers(1, 60, n))
    champion, noise = 10 + rng.random(n), 0.1 * rng.normal(size=n)
    assert dominated(codes)
    for theirs, code in ((4.0, "LRR223"), (0.3, "LRR201")):
        challenger = champion - np.where(codes == 0, theirs, 0.3 if code == "LRR201" else 0.0) + noise
        scores = HoldoutScores(np.zeros(n), tick, champion, challenger, suspects={"customer": codes})
        verdict = paired_loss(scores, result(), config())
        assert verdict.code == code, verdict.reason
        assert ("customer" in verdict.reason) == (code == "LRR223")
    assert not dominated(codes % 10)
    assert not dominated(rng.integers(0, 60, n))


def test_one_customer_with_most_rows_decides_nothing() -> None:
    s = regression(0.05, tick_sd=0.1)
    for entity in (np.zeros(672, dtype=int), np.where(np.arange(672) % 2, 0, np.arange(672))):
        assert answer(paired_loss, replace(s, entity=entity), config()) == ("LRR222", "INCONCLUSIVE")
    assert answer(paired_loss, replace(s, entity=np.arange(671)), config()) == ("LRR103", "ERROR")


@pytest.mark.fault("H1")
def test_equal_models_and_models_a_constant_apart_are_inconclusive() -> None:
    s = regression(0.0)
    for challenger in (s.champion, s.champion.copy(), s.champion + 1.0):
        equal = HoldoutScores(s.y, s.tick, s.champion, challenger)
        assert answer(paired_loss, equal, config()) == ("LRR215", "INCONCLUSIVE")


@pytest.mark.fault("H1")
def test_a_gain_whose_interval_crosses_zero_and_the_margin_is_inconclusive() -> None:
    verdict = paired_loss(regression(0.0, tick_sd=2.0), result(), config())
    assert verdict.status == "INCONCLUSIVE"
    assert verdict.low is not None
    assert verdict.high is not None
    assert verdict.low < 0 < verdict.high


@pytest.mark.fault("A4")
@pytest.mark.parametrize("rows", [0, 1, 2, 10, 499])
@pytest.mark.parametrize("task", ["binary", "regression"])
def test_empty_and_small_holdouts_are_inconclusive(rows: int, task: str) -> None:
    metric = "log_loss" if task == "binary" else "mae"
    source = binary() if task == "binary" else regression(0.05)
    small = HoldoutScores(source.y[:rows], source.tick[:rows], source.champion[:rows], source.challenger[:rows])
    assert answer(paired_loss, small, config(task, metric)) == ("LRR210", "INCONCLUSIVE")
    assert answer(sane_predictions, small, config(task, metric))[1] in ("INCONCLUSIVE", "PASS")


@pytest.mark.fault("A4")
def test_few_ticks_heavy_ticks_and_one_row_per_tick() -> None:
    assert answer(paired_loss, regression(0.05, ticks=6, rows=100), config()) == ("LRR211", "INCONCLUSIVE")
    assert answer(paired_loss, regression(0.2, tick_sd=0.02, ticks=7, rows=100), config()) == ("LRR201", "PASS")
    s = regression(0.05)
    heavy = HoldoutScores(s.y, np.maximum(0, s.tick - 12), s.champion, s.challenger)
    assert answer(paired_loss, heavy, config()) == ("LRR214", "INCONCLUSIVE")
    assert answer(paired_loss, regression(0.05, tick_sd=0.1, ticks=600, rows=1), config()) == ("LRR201", "PASS")


@pytest.mark.fault("A3", "A4")
@pytest.mark.parametrize("metric", ["log_loss", "brier", "pr_auc", "roc_auc", "cost"])
@pytest.mark.parametrize("positives", [0, 1, 19, 1981, 2000])
def test_one_class_and_rare_positives_are_inconclusive(metric: str, positives: int) -> None:
    assert answer(paired_loss, binary(positives=positives), config("binary", metric)) == ("LRR212", "INCONCLUSIVE")


@pytest.mark.fault("A3")
def test_a_ranking_needs_positives_in_seven_ticks() -> None:
    s = binary()
    y = np.where(s.tick < 6, np.arange(len(s.y)) % 2, 0).astype(float)
    crowded = HoldoutScores(y, s.tick, s.champion, s.challenger)
    assert answer(paired_loss, crowded, config("binary", "pr_auc")) == ("LRR213", "INCONCLUSIVE")
    assert answer(paired_loss, crowded, config("binary", "log_loss"))[0] != "LRR213"


@pytest.mark.fault("A3")
@pytest.mark.parametrize("label", [math.nan, math.inf, 2.0])
def test_labels_that_are_missing_infinite_or_no_class_are_an_error(label: float) -> None:
    s = binary()
    s.y[3] = label
    assert answer(paired_loss, s, config("binary", "log_loss")) == ("LRR220", "ERROR")


@pytest.mark.fault("A3")
def test_a_metric_without_meaning_on_these_rows_is_inconclusive() -> None:
    nothing_to_share = regression(0.05, tick_sd=0.1)  # all labels are zero
    assert answer(paired_loss, nothing_to_share, config(metric="wape")) == ("LRR216", "INCONCLUSIVE")
    perfect = HoldoutScores(nothing_to_share.y, nothing_to_share.tick, nothing_to_share.y, nothing_to_share.challenger)
    assert answer(paired_loss, perfect, config()) == ("LRR216", "INCONCLUSIVE")


def _with(scores: HoldoutScores, arm: str, change: Callable[[np.ndarray], np.ndarray]) -> HoldoutScores:
    arms = {"champion": scores.champion, "challenger": scores.challenger}
    arms[arm] = change(arms[arm].copy())
    return HoldoutScores(scores.y, scores.tick, **arms)


def _hole(values: np.ndarray) -> np.ndarray:
    values[5] = np.inf
    return values


@pytest.mark.fault("D6")
@pytest.mark.parametrize(
    ("arm", "change", "expected"),
    [
        ("challenger", _hole, ("LRR101", "FAIL")),
        ("challenger", lambda v: np.full(len(v), 0.1), ("LRR102", "FAIL")),
        ("challenger", lambda v: v[:-1], ("LRR103", "ERROR")),
        ("challenger", lambda v: np.column_stack([v, v]), ("LRR103", "ERROR")),
        ("challenger", lambda v: 3 * v - 1, ("LRR104", "FAIL")),
        ("challenger", lambda v: v, ("LRR100", "PASS")),
    ],
)
def test_insane_predictions_never_pass(
    arm: str, change: Callable[[np.ndarray], np.ndarray], expected: tuple[str, str]
) -> None:
    assert answer(sane_predictions, _with(binary(), arm, change), config("binary", "log_loss")) == expected


@pytest.mark.fault("D6")
def test_scores_that_are_not_finite_cannot_be_compared() -> None:
    settings = config("binary", "log_loss")
    assert answer(paired_loss, _with(binary(), "challenger", _hole), settings) == ("LRR101", "FAIL")
    assert answer(paired_loss, _with(binary(), "champion", _hole), settings) == ("LRR221", "ERROR")


def test_a_diverged_challenger_does_not_pass() -> None:
    s = _with(regression(0.05), "challenger", lambda v: v * 1e200)
    for metric in ("mae", "rmse", "poisson", "pinball"):
        assert paired_loss(s, result(), config(metric=metric)).status in ("FAIL", "INCONCLUSIVE")


@given(st.data())
def test_the_gates_answer_whatever_the_numbers(data: st.DataObject) -> None:
    rows = data.draw(st.integers(0, 30))
    figures = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 1.0, 0.5])

    def column() -> np.ndarray:
        return np.array(data.draw(st.lists(figures, min_size=rows, max_size=rows)), dtype=np.float64)

    tick = np.array(data.draw(st.lists(st.integers(0, 8), min_size=rows, max_size=rows)), dtype=np.int64)
    scores = HoldoutScores(column(), tick, column(), column())
    metric = data.draw(st.sampled_from([("binary", "pr_auc"), ("binary", "log_loss"), ("regression", "rmse")]))
    settings = config(*metric, min_rows=1, min_ticks=3, min_positives=1)
    found = judge_scores(scores, result(), settings, (sane_predictions, paired_loss))
    assert all(v.code in RULES and v.reason for v in found.verdicts)


@pytest.mark.fault("D4")
def test_the_best_of_ten_noise_models_on_valid_is_called_better_at_most_at_the_stated_rate() -> None:
    """Chosen on one stretch, judged once on another: the winner's luck stays behind."""
    rng, replays = np.random.default_rng(5), 400
    tick = np.repeat(np.arange(14), 40)
    wins = {"valid": 0, "holdout": 0}
    for _ in range(replays):
        champion = 10 + rng.random(len(tick))
        arms = champion + 0.3 * rng.normal(size=(2, 10, 14))[:, :, tick]
        best = int(arms[0].mean(axis=1).argmin())
        for stretch, name in enumerate(wins):
            scores = HoldoutScores(np.zeros(len(tick)), tick, champion, arms[stretch, best])
            wins[name] += paired_loss(scores, result(), config()).code == "LRR201"
    assert wins["holdout"] <= stats.binom.ppf(0.999, replays, 0.05)
    assert wins["valid"] > 4 * wins["holdout"]  # the same rows for choosing and judging would deceive


@pytest.mark.skipif(not DATA.is_dir(), reason="the real streams (../shared/data) are not here")
def test_on_real_rides_last_weeks_hour_is_judged_better_than_the_weeks_level() -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(DATA / "dc_bikeshare.parquet").slice(40_000, 28 * 24).to_pydict()
    y, level, hour = (np.array(rows[name], dtype=np.float64) for name in ("y", "roll168_h24", "lag_168"))
    day = np.array([at.toordinal() for at in rows["ts"]])
    for champion, challenger, expected in ((level, hour, "LRR201"), (hour, level, "LRR202")):
        assert answer(paired_loss, HoldoutScores(y, day, champion, challenger), config())[0] == expected


# ── judgement and attribution ─────────────────────────────────────────────────────────────────────
def test_a_judgement_holds_every_arms_loss_and_the_challengers_promise() -> None:
    s = regression(0.05, tick_sd=0.1)
    scores = HoldoutScores(s.y, s.tick, s.champion, s.challenger, control=s.champion * 0.98, fixed=s.champion * 0.97)
    found = judge_scores(scores, result(), config(), (sane_predictions, paired_loss))
    assert found.status == "PASS"
    assert list(found.losses) == ["champion", "challenger", "control", "fixed"]
    assert len(found.challenger_ticks) == 28
    assert np.mean(found.challenger_ticks) == pytest.approx(found.losses["challenger"])
    assert found.attribution["data"] == pytest.approx(0.02)
    assert found.attribution["rate"] == pytest.approx(0.03, abs=0.003)


def test_at_the_champions_rate_all_of_the_gain_is_the_datas() -> None:
    found = judge_scores(regression(0.05), result(same_rate=True), config(), ())
    assert found.attribution["data"] == found.attribution["total"]
    assert found.attribution["rate"] == 0.0
    assert found.status == "INCONCLUSIVE"  # no gate was asked
    assert "control" not in found.losses


def test_a_gate_that_raises_or_answers_nonsense_is_an_error_and_promotes_nothing() -> None:
    def breaks(scores: HoldoutScores, result: TuneResult, config: Config) -> Verdict:
        raise RuntimeError("the fairness service is away")

    def mute(scores: HoldoutScores, result: TuneResult, config: Config) -> Any:
        return True

    found = judge_scores(regression(0.05, tick_sd=0.1), result(), config(), (paired_loss, breaks, mute))
    assert found.status == "ERROR"
    assert [(v.gate, v.code, v.status) for v in found.verdicts[1:]] == [
        ("breaks", "LRR290", "ERROR"),
        ("mute", "LRR290", "ERROR"),
    ]
    assert "the fairness service is away" in found.verdicts[1].reason


def test_a_search_without_any_model_is_an_error() -> None:
    s = regression(0.05)
    none = HoldoutScores(s.y, s.tick, s.champion, np.full(len(s.y), np.nan))
    empty = TuneResult("lightgbm", "grid", "rounds", None, None, None, ())
    assert sane_predictions(none, empty, config()).code == "LRR105"
    assert judge_scores(none, empty, config(), (sane_predictions, paired_loss)).status == "ERROR"
