"""The guards: what stops a challenger whose loss is better."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune.config import GATES, Config, parse_config
from lr_retune.errors import ConfigError
from lr_retune.judge.gates import paired_loss, sane_predictions
from lr_retune.judge.guards.audit import above, audit_of, found_from
from lr_retune.judge.guards.calibration import calibration, psi, score_shift
from lr_retune.judge.guards.common import RULES
from lr_retune.judge.guards.golden import golden
from lr_retune.judge.guards.labels import label_rates, tally
from lr_retune.judge.guards.served import alert_rate, serving_cost, too_good
from lr_retune.judge.guards.slices import slices
from lr_retune.records import Candidate, Column, Gate, HoldoutScores, TuneResult
from lr_retune.testing import check_gate, toy_config

DAY = 86_400_000_000


def config(task: str = "regression", metric: str = "mae", **gates: Any) -> Config:
    data = {"path": "rows.parquet", "time": "at", "label": "n"}
    raw = {"config_version": 1, "name": "rides", "task": task, "data": data, "metric": {"name": metric}, "gates": gates}
    return parse_config(raw, root=Path())


def binary(metric: str = "log_loss", **gates: Any) -> Config:
    return config("binary", metric, **gates)


def result(*, steps: int = 100, size: int = 1000, **importance: float) -> TuneResult:
    model = Candidate("m" * 64, 0.1, "constant", steps, 1.0, size, importance)
    return TuneResult("lightgbm", "grid", "rounds", model, None, None, ())


def answer(
    gate: Gate, scores: HoldoutScores, settings: Config, found: TuneResult | None = None
) -> tuple[str, str, str]:
    verdict = gate(scores, found or result(), settings)
    assert verdict.code in RULES
    return verdict.code, verdict.status, verdict.reason


def regression(gain: float = 0.1, *, ticks: int = 28, rows: int = 40, seed: int = 0) -> HoldoutScores:
    """Errors near 10 of labels that vary; the challenger's are smaller by ``gain``."""
    rng = np.random.default_rng(seed)
    tick = np.repeat(np.arange(ticks), rows)
    y = rng.normal(0, 30, len(tick))
    error = rng.normal(0, 10, len(tick))
    noise = 0.3 * rng.normal(size=len(tick))
    return HoldoutScores(y, tick, y + error, y + error * (1 - gain) + noise)


def classes(*, ticks: int = 28, rows: int = 300, seed: int = 0, shift: float = 0.0) -> HoldoutScores:
    """Calibrated scores of the champion; the challenger's log odds are moved by ``shift``."""
    rng = np.random.default_rng(seed)
    tick = np.repeat(np.arange(ticks), rows)
    logit = rng.normal(-2, 1, len(tick))
    y = (rng.random(len(tick)) < 1 / (1 + np.exp(-logit))).astype(float)
    champion = 1 / (1 + np.exp(-(logit + 0.1 * rng.normal(size=len(tick)))))
    challenger = 1 / (1 + np.exp(-(logit + shift + 0.1 * rng.normal(size=len(tick)))))
    return HoldoutScores(y, tick, champion, challenger)


# ── all of them ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("task", ["regression", "binary"])
@pytest.mark.parametrize("name", [*GATES, "label_rates"])
def test_every_gate_of_the_house_conforms(name: str, task: str) -> None:
    (point,) = entry_points(group="lr_retune.gates", name=name)
    check_gate(point.load(), config=toy_config(task))


def test_label_rates_is_asked_only_where_somebody_wants_it() -> None:
    assert "label_rates" not in config().gates.names
    assert "label_rates" in config(names=[*GATES, "label_rates"]).gates.names


@pytest.mark.parametrize("task", ["regression", "binary"])
def test_a_guard_passes_a_sound_challenger_where_nothing_is_configured(task: str) -> None:
    scores, settings = (regression(), config()) if task == "regression" else (classes(), binary())
    for name in GATES[2:]:
        (point,) = entry_points(group="lr_retune.gates", name=name)
        assert answer(point.load(), scores, settings)[1] == "PASS", name


def test_critical_slices_are_slices() -> None:
    assert config(slices=["country"], critical=["country=FR"]).gates.critical == ("country=FR",)
    with pytest.raises(ConfigError, match=r"gates\.critical.*columns of slices"):
        config(critical=["country"])


# ── slices ────────────────────────────────────────────────────────────────────────────────────────
def sliced(levels: int, *, harmed: float = 0.0, **shape: Any) -> HoldoutScores:
    """Levels in turn; on level a0 the challenger's errors are larger by ``harmed``."""
    scores = regression(**shape)
    names = np.array([f"a{i % levels}" for i in range(len(scores.y))])
    error = np.where(names == "a0", 1 + harmed, 1.0) * (scores.challenger - scores.y)
    return replace(scores, challenger=scores.y + error, slices={"area": names})


@pytest.mark.fault("H2")
@pytest.mark.parametrize("metric", ["mae", "rmse"])
def test_a_challenger_that_wins_over_all_and_loses_on_a_slice_fails_and_the_slice_is_named(metric: str) -> None:
    scores, settings = sliced(4, harmed=0.2), config(metric=metric, slices=["area"])
    assert paired_loss(scores, result(), config(metric=metric)).status == "PASS"
    code, status, reason = answer(slices, scores, settings)
    assert (code, status) == ("LRR311", "FAIL")
    assert "area=a0" in reason
    assert "area=a1" not in reason


def test_a_thin_slice_is_unknown_and_the_answer_says_what_that_hides() -> None:
    scores = sliced(100, harmed=5.0)
    code, status, reason = answer(slices, scores, config(slices=["area"]))
    assert (code, status) == ("LRR310", "PASS")
    assert "missed four times in five" in reason
    shown = slices(scores, result(), config(slices=["area"])).evidence
    assert shown == {"area=any of 100 thin levels": f"UNKNOWN of {len(scores.y)} rows"}


def test_a_reviewer_sees_the_state_of_every_slice() -> None:
    scores = sliced(4, harmed=0.2)
    shown, rows = slices(scores, result(), config(slices=["area"])).evidence, len(scores.y)
    assert sorted(shown) == ["area=a0", "area=a1", "area=a2", "area=a3"]
    assert str(shown["area=a0"]).startswith("HARM -")
    assert str(shown["area=a1"]).startswith("OK +")
    assert sum(int(str(told).rpartition(" of ")[2].removesuffix(" rows")) for told in shown.values()) == rows


def test_a_critical_slice_must_be_shown_to_be_safe() -> None:
    thin, filled = sliced(100), sliced(2)
    for asked in (["area"], ["area=a0"], ["area=nowhere"]):
        assert answer(slices, thin, config(slices=["area"], critical=asked))[:2] == ("LRR312", "INCONCLUSIVE")
    assert answer(slices, filled, config(slices=["area"], critical=["area"]))[:2] == ("LRR310", "PASS")


# ── calibration and spread ────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("D6")
def test_a_constant_or_miscalibrated_challenger_is_stopped() -> None:
    scores = classes(shift=1.0)
    assert answer(calibration, scores, binary("roc_auc"))[:2] == ("LRR321", "FAIL")
    assert answer(calibration, classes(), binary("roc_auc"))[:2] == ("LRR320", "PASS")
    constant = replace(scores, challenger=np.full_like(scores.y, scores.y.mean()))
    assert sane_predictions(constant, result(), binary()).code == "LRR102"
    far = replace(scores, challenger=scores.challenger**12)
    assert answer(score_shift, far, binary())[:2] == ("LRR326", "INCONCLUSIVE")
    assert answer(score_shift, scores, binary())[1] == "PASS"


def test_a_biased_regression_is_stopped_and_a_quantile_is_not_asked() -> None:
    scores = regression()
    biased = replace(scores, challenger=scores.challenger + 20)
    assert answer(calibration, biased, config())[:2] == ("LRR321", "FAIL")
    assert answer(calibration, biased, config(metric="pinball"))[0] == "LRR300"


def test_scores_that_move_to_the_labels_are_no_reason_to_hold() -> None:
    scores = regression()
    old = replace(scores, champion=scores.champion - 200)
    assert psi(old.champion, old.challenger) > 2
    assert answer(score_shift, old, config())[:2] == ("LRR325", "PASS")


def test_scores_of_few_values_that_hardly_moved_are_alike() -> None:
    scores = regression()
    steps = np.sign(scores.y)
    stump = replace(scores, champion=steps, challenger=steps - 0.01)
    assert psi(stump.champion, stump.challenger) > 2
    assert answer(score_shift, stump, config())[:2] == ("LRR325", "PASS")


# ── serving ───────────────────────────────────────────────────────────────────────────────────────
def test_alerts_at_the_threshold_stay_within_the_ratio_that_was_accepted() -> None:
    scores = classes(shift=0.6)
    assert answer(alert_rate, scores, binary())[0] == "LRR300"
    assert answer(alert_rate, scores, binary(threshold=0.3))[:2] == ("LRR341", "FAIL")
    assert answer(alert_rate, scores, binary(threshold=0.3, alert_ratio=3.0))[:2] == ("LRR340", "PASS")
    assert answer(alert_rate, classes(), binary("cost"))[:2] == ("LRR340", "PASS")  # the metric's own threshold
    moved = replace(scores, threshold=0.3)  # the champion's version carries its own
    assert answer(alert_rate, moved, binary(threshold=1 / (1 + np.exp(0.247))))[:2] == ("LRR340", "PASS")


def test_scores_that_are_too_sure_on_both_sides_and_right_on_average_are_not_calibrated() -> None:
    scores = classes()
    odds = np.log(scores.champion / (1 - scores.champion))
    middle = min(np.linspace(-4, 0, 401), key=lambda m: abs(_sharp(odds, m).mean() - scores.y.mean()))
    sharp = replace(scores, challenger=_sharp(odds, middle))
    assert sharp.challenger.mean() == pytest.approx(scores.y.mean(), abs=0.002)
    assert answer(calibration, sharp, binary())[:2] == ("LRR321", "FAIL")


def _sharp(odds: np.ndarray, middle: float) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-3 * (odds - middle))))


@pytest.mark.parametrize(("most", "code"), [(60, "LRR340"), (24, "LRR340"), (None, "LRR341")])
def test_alerts_that_few_ticks_bring_may_be_chance(most: int | None, code: str) -> None:
    """Of 100 rows a tick 20 were alerts; now 60 in two ticks of seven, or in all of them."""
    tick, place = np.repeat(np.arange(7), 100), np.tile(np.arange(100), 7)
    loud = np.array([20] * 5 + [most] * 2 if most else [60] * 7)[tick]
    scores = HoldoutScores((place < 10).astype(float), tick, (place < 20) * 0.8 + 0.1, (place < loud) * 0.8 + 0.1)
    assert answer(alert_rate, scores, binary(threshold=0.5))[0] == code


@pytest.mark.fault("H2")
def test_a_challenger_that_is_far_slower_or_larger_to_serve_fails() -> None:
    scores = replace(regression(), served=(100, 100_000))
    assert answer(serving_cost, scores, config(), result(steps=1900))[1] == "PASS"
    assert answer(serving_cost, scores, config(), result(steps=2100))[:2] == ("LRR371", "FAIL")
    assert answer(serving_cost, scores, config(steps_ratio=30.0), result(steps=2100))[1] == "PASS"
    assert answer(serving_cost, scores, config(), result(size=3_000_000))[:2] == ("LRR371", "FAIL")
    assert answer(serving_cost, regression(), config())[0] == "LRR300"


def test_a_guard_that_passes_says_the_limit_that_was_kept() -> None:
    said = answer(calibration, classes(shift=0.2), binary())[2]
    assert said.endswith("points, 25 are allowed")
    served = replace(regression(), served=(100, 100_000), promised=(8.0,))
    said = answer(serving_cost, served, config(), result(steps=1))[2]
    assert said == "1 round and 1,000 bytes, the champion 100 and 100,000; at most 2,000 and 2,000,000 are allowed"
    assert answer(too_good, served, config())[2].split("; ")[1].startswith("suspect below ")


@pytest.mark.fault("A9")
def test_a_feature_that_knows_the_label_is_too_good_to_be_true() -> None:
    scores = replace(classes(), promised=(0.33, 0.35, 0.34))
    leak = replace(scores, challenger=np.clip(scores.y, 0.001, 0.999))
    assert paired_loss(leak, result(), binary()).status == "PASS"
    code, status, reason = answer(too_good, leak, binary(), result(paid_back=0.9, amount=0.1))
    assert (code, status) == ("LRR361", "INCONCLUSIVE")
    assert "'paid_back'" in reason
    assert answer(too_good, scores, binary())[:2] == ("LRR360", "PASS")
    won_back = replace(leak, challenger=scores.champion, champion=1 - scores.champion)  # the world had turned
    assert answer(too_good, won_back, binary())[:2] == ("LRR360", "PASS")
    as_before = replace(leak, best=0.001)  # an earlier champion was as good, before the world turned
    assert answer(too_good, as_before, binary())[:2] == ("LRR360", "PASS")


# ── the golden set ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("C4")
def test_a_challenger_that_is_worse_on_golden_rows_fails_however_well_it_does_on_the_window() -> None:
    vouched = classes(ticks=4)
    poisoned = replace(vouched, challenger=vouched.challenger**2)
    settings, scores = binary(golden="golden.parquet"), classes()
    assert answer(golden, scores, binary())[0] == "LRR300"
    assert answer(golden, scores, settings)[:2] == ("LRR301", "INCONCLUSIVE")
    assert answer(golden, replace(scores, golden=poisoned), settings)[:2] == ("LRR351", "FAIL")
    assert answer(golden, replace(scores, golden=vouched), settings)[:2] == ("LRR350", "PASS")
    high = binary("roc_auc", golden="golden.parquet", golden_floor=0.95)
    assert answer(golden, replace(scores, golden=vouched), high)[:2] == ("LRR352", "FAIL")
    low = binary("log_loss", golden="golden.parquet", golden_floor=0.6)
    assert answer(golden, replace(scores, golden=vouched), low)[1] == "PASS"


# ── the label audit ───────────────────────────────────────────────────────────────────────────────
def audited(rows: int, *, flipped: int = 0, honest: int = 0, seed: int = 0) -> HoldoutScores:
    """Rows of 20 shops whose labels are known; positives of shop s3 are labelled good, and some rows anyhow."""
    rng = np.random.default_rng(seed)
    shop = rng.integers(0, 20, rows).astype(float)
    vouched = (rng.random(rows) < 0.5).astype(float)
    found = vouched.copy()
    found[np.flatnonzero((shop == 3) & (vouched == 1))[:flipped]] = 0
    wrong = rng.choice(rows, honest, replace=False)
    found[wrong] = 1 - vouched[wrong]
    scores = classes(ticks=7)
    return replace(scores, golden=scores, audit=audit_of(shop[:, None], [SHOPS], vouched, found))


@pytest.mark.fault("C4")
def test_labels_that_differ_from_vouched_ones_hold_the_challenger_and_the_level_is_named() -> None:
    settings = binary(golden="golden.parquet")
    code, status, reason = answer(golden, audited(2000, flipped=10), settings)
    assert (code, status) == ("LRR356", "INCONCLUSIVE")
    assert "10 of 2000 golden rows" in reason
    assert "shop=s3" in reason
    few = answer(golden, audited(2000, flipped=4), settings)  # no more than noise over all rows, but in one level
    assert few[0] == "LRR356"
    assert answer(golden, audited(2000, honest=20), settings)[0] == "LRR356"


def test_honest_noise_of_a_vouched_label_is_no_poison() -> None:
    settings = binary(golden="golden.parquet")
    code, status, reason = answer(golden, audited(2000, honest=2), settings)
    assert (code, status) == ("LRR350", "PASS")
    assert "0.53 % would be seen" in reason
    noisy = binary(golden="golden.parquet", label_noise=0.01)
    assert answer(golden, audited(2000, honest=20), noisy)[0] == "LRR350"
    assert answer(golden, audited(2000, honest=20, flipped=15), noisy)[0] == "LRR356"
    sure = binary(golden="golden.parquet", label_noise=0.0)
    assert answer(golden, audited(500), sure)[0] == "LRR350"
    assert answer(golden, audited(500, flipped=1), sure)[0] == "LRR356"


def test_a_label_audit_of_few_rows_says_nothing_and_harm_on_golden_rows_comes_first() -> None:
    settings = binary(golden="golden.parquet")
    assert answer(golden, audited(2000, flipped=10), binary())[0] == "LRR300"
    code, status, reason = answer(golden, audited(99, flipped=2), settings)
    assert (code, status) == ("LRR350", "PASS")
    assert "in the feed" not in reason
    poisoned = audited(2000, flipped=10)
    worse = replace(poisoned, golden=replace(poisoned, challenger=poisoned.challenger**2))
    assert answer(golden, worse, settings)[:2] == ("LRR351", "FAIL")


@pytest.mark.fault("C5")
def test_poison_that_comes_in_drops_is_found_by_the_golden_rows_of_all_rounds_together() -> None:
    settings = binary(golden="golden.parquet")
    rounds = [audited(200, flipped=round_ % 2, seed=round_) for round_ in range(20)]  # .5 % of every other round
    assert {answer(golden, each, settings)[1] for each in rounds} == {"PASS"}
    audits = [each.audit for each in rounds if each.audit is not None]
    vouched, found = (np.concatenate([getattr(a, name) for a in audits]) for name in ("vouched", "found"))
    shop = np.concatenate([np.argmax(a.members, axis=0) for a in audits]).astype(float)
    together = replace(rounds[0], audit=audit_of(shop[:, None], [SHOPS], vouched, found))
    code, _, reason = answer(golden, together, settings)
    assert code == "LRR356"
    assert "shop=s3" in reason


@given(st.integers(100, 4000), st.sampled_from([0.0, 0.001, 0.01]))
def test_what_an_audit_says_it_sees_it_sees_nine_times_in_ten(rows: int, noise: float) -> None:
    share = found_from(rows, noise)
    seen = next(k for k in range(1, rows) if above(k, rows, noise) < 0.01)
    assert above(seen, rows, share) == pytest.approx(0.9)
    assert share > noise


# ── label rates ───────────────────────────────────────────────────────────────────────────────────
SHOPS = Column("shop", "category", tuple(f"s{i}" for i in range(20)))


def payments(*, flipped: float = 0.0, drift: float = 0.0, days: int = 280, seed: int = 0) -> HoldoutScores:
    """20 shops; from day 252 a share of the positives of shop s3 is labelled good, and all rates drift."""
    rng = np.random.default_rng(seed)
    tick = np.repeat(np.arange(days), 400)
    shop = rng.integers(0, 20, len(tick))
    moving = drift * rng.normal(size=(20, days // 28 + 1))[shop, tick // 28]
    y = (rng.random(len(tick)) < 1 / (1 + np.exp(2.0 - moving))).astype(float)
    y[(tick >= 252) & (shop == 3) & (rng.random(len(tick)) < flipped)] = 0
    x = np.column_stack([shop.astype(float), rng.normal(size=len(tick))])
    history = tally(x, (SHOPS, Column("amount", "number")), y, tick * DAY, 252 * DAY)
    return replace(classes(ticks=7), history=history)


@pytest.mark.fault("C4")
def test_labels_flipped_in_one_level_are_held_and_the_level_is_named() -> None:
    code, status, reason = answer(label_rates, payments(flipped=0.9), binary())
    assert (code, status) == ("LRR331", "INCONCLUSIVE")
    assert "shop=s3" in reason
    assert "are missing" in reason


def test_clean_labels_pass_and_so_do_levels_that_always_move() -> None:
    for seed in range(10):
        assert answer(label_rates, payments(seed=seed), binary())[:2] == ("LRR330", "PASS")
    held = [answer(label_rates, payments(seed=seed, drift=0.5), binary())[1] for seed in range(10)]
    assert held.count("PASS") == 10


def test_too_short_a_history_does_not_tell() -> None:
    short = payments(flipped=0.9)
    assert short.history is not None
    cut = replace(short.history, since=14)
    assert answer(label_rates, replace(short, history=cut), binary())[:2] == ("LRR302", "PASS")
    assert answer(label_rates, short, config())[0] == "LRR300"


def test_numbers_are_cut_into_fifths_of_the_earlier_rows() -> None:
    history = payments().history
    assert history is not None
    fifths = [name for name in history.names if "amount" in name]
    assert len(fifths) == 5
    assert fifths[0].startswith("amount < ")
    assert history.rows[-5:].sum() == history.all_rows.sum()


def test_a_champion_that_is_not_loaded_leaves_the_golden_floor_to_be_asked() -> None:
    rows = classes(ticks=4)
    scores = replace(classes(), golden=replace(rows, champion=np.full_like(rows.y, np.nan)))
    floored = binary("roc_auc", golden="golden.parquet", golden_floor=0.6)
    assert answer(golden, scores, floored)[:2] == ("LRR350", "PASS")
    assert answer(golden, scores, binary("roc_auc", golden="golden.parquet"))[:2] == ("LRR301", "INCONCLUSIVE")
