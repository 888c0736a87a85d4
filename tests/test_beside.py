"""What is told beside the verdict: the other arms by the judge's own procedure, reliability curves, stretches."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_retune.config import Metric
from lr_retune.judge import beside
from lr_retune.judge.gates import paired_loss
from lr_retune.metrics import loss_for
from lr_retune.records import HoldoutScores
from tests.test_judge import config, result

DAY = 86_400_000_000
LOSS = loss_for(Metric(name="log_loss"))


def scores(rows: int, ticks: int = 14, seed: int = 0) -> HoldoutScores:
    rng = np.random.default_rng(seed)
    truth = rng.beta(2, 5, rows)
    y = (rng.random(rows) < truth).astype(float)
    worse = np.clip(truth + 0.1 * rng.normal(size=rows), 0.01, 0.99)
    tick = np.sort(rng.integers(0, ticks, rows)) * DAY
    return HoldoutScores(y=y, tick=tick, champion=worse, challenger=truth)


def test_the_old_rates_interval_is_the_challengers_where_both_score_alike() -> None:
    found = scores(2_000)
    found = replace(found, control=found.challenger, fixed=np.full(3, 0.5))
    told = beside.arms(found, LOSS, 0.05)
    judged = paired_loss(found, result(), config("binary", "log_loss"))
    assert (told["control"].value, told["control"].low, told["control"].high) == (
        judged.effect,
        judged.low,
        judged.high,
    )
    assert told["fixed"].value is None  # one score per row, or nothing is told
    assert beside.arms(scores(100), LOSS, 0.05) == {}


@settings(max_examples=30)
@given(st.integers(0, 3_000), st.integers(0, 5))
def test_no_bin_tells_of_few_rows_and_all_rows_stand_in_one_stretch(rows: int, seed: int) -> None:
    found = scores(rows, seed=seed)
    for curve in beside.calibration(found).values():
        assert len(curve) <= beside.BINS
        assert all(each.rows >= beside.LEAST for each in curve)
        assert sum(each.rows for each in curve) <= rows
    stretched = beside.stretches(found, LOSS)
    assert sum(each.rows for each in stretched) == rows
    assert all(a.last < b.first for a, b in pairwise(stretched))


def test_honest_scores_lie_on_the_diagonal_and_shy_ones_do_not() -> None:
    found = scores(20_000)
    shy = replace(found, champion=0.3 + 0.2 * (found.challenger - 0.3))
    curves = beside.calibration(shy)
    assert max(abs(each.predicted - each.observed) for each in curves["challenger"]) < 0.04
    assert abs(curves["champion"][-1].predicted - curves["champion"][-1].observed) > 0.15
    assert sum(each.rows for each in curves["challenger"]) == 20_000


def test_a_model_without_finite_scores_has_no_curve_and_no_loss() -> None:
    found = replace(scores(500), challenger=np.full(500, np.nan))
    assert beside.calibration(found).keys() == {"champion"}
    assert {each.losses["challenger"] for each in beside.stretches(found, LOSS)} == {None}


def test_a_lead_that_wears_off_shows_in_the_stretches() -> None:
    found = scores(7_000)
    late = found.tick >= 7 * DAY
    fading = replace(found, challenger=np.where(late, found.champion, found.challenger))
    gains = [
        (each.losses["champion"] or 0.0) - (each.losses["challenger"] or 0.0) for each in beside.stretches(fading, LOSS)
    ]
    assert min(gains[:3]) > 0
    assert gains[-3:] == pytest.approx([0.0] * 3)
