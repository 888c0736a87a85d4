from __future__ import annotations

import math
from collections.abc import Callable
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
from lr_retune.judge.paired import Comparison, Contrast, cr2_t, paired
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
    found = paired(s.y, s.champion, s.challenger, s.tick, MAE)
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
    found = paired(y, s.champion, s.challenger, s.tick, loss)

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
    assert mirrored.p_superior == pytest.approx(1 - found.p_superior, abs=1e-9)


def test_the_widest_of_several_legs_counts() -> None:
    s = regression(0.01, tick_sd=0.3)
    wide = paired(
        s.y,
        s.champion,
        s.challenger,
        s.tick,
        MAE,
        legs=(cr2_t, lambda c: cr2_t(Contrast(c.estimate, 3 * c.values, c.weights))),
    )
    one = paired(s.y, s.champion, s.challenger, s.tick, MAE)
    assert wide.high - wide.low == pytest.approx(3 * (one.high - one.low))
    assert wide.p_superior > one.p_superior


def test_the_detectable_gain_is_found_better_four_times_in_five() -> None:
    ticks, sd, base = 14, 0.02, 1.0
    gain = Comparison(
        0.0, base, 0, ticks, 0.0, 0.05, (cr2_t(Contrast(0.0, sd * _standard(ticks), np.full(ticks, 1 / ticks))),)
    ).detectable()
    draws = np.random.default_rng(3).normal(gain, sd, (4000, ticks))
    better = stats.ttest_1samp(draws, 0, axis=1, alternative="greater").pvalue < 0.05
    assert better.mean() == pytest.approx(0.8, abs=0.03)


def _standard(count: int) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=count)
    return (values - values.mean()) / values.std(ddof=1)


@pytest.mark.parametrize(("ticks", "unequal"), [(7, False), (14, False), (14, True)])
def test_equal_models_are_called_better_or_worse_at_most_at_the_stated_rate(ticks: int, *, unequal: bool) -> None:
    """Tick means vary 2.6 times more than their rows explain: the usual size on real streams."""
    rng, replays, rows = np.random.default_rng(11), 1500, 20
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


def test_an_undecided_reason_tells_what_would_have_shown() -> None:
    reason = paired_loss(regression(0.05, tick_sd=5.0), result(), config()).reason
    assert "worse by 1.0 % is not excluded; a gain of" in reason
    assert reason.endswith("% would be told as better 4 times in 5 on such rows")


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
