from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_retune.config import Metric
from lr_retune.metrics import Loss, loss_for
from lr_retune.records import Column, Contract, Rows, Suspicion, canonical
from lr_retune.watch import calibrate
from lr_retune.watch.suspicion import Usual, suspicion, usual

DAY = 86_400_000_000
LOG_LOSS, MAE = loss_for(Metric(name="log_loss")), loss_for(Metric(name="mae"))
LATER = datetime(1971, 1, 1, tzinfo=UTC)
CONTRACT = Contract(
    1,
    (Column("main", "number"), Column("side", "number"), Column("kind", "category", ("a", "b", "c")), *(
        Column(f"idle{i}", "number") for i in range(4)
    )),
    10_000,
)  # fmt: skip
IMPORTANCE = {"main": 0.7, "side": 0.15, "kind": 0.13, "idle0": 0.02}
IDLE = slice(3, 7)


def drawn(
    days: int, rows: int, *, seed: int, first: int = 0, shift: float = 0.0, idle: float = 0.0, sign: float = 1.0
) -> tuple[Rows, np.ndarray]:
    """Rows of so many days, and the scores of a model that knows the truth of the days before a change of ``sign``."""
    rng = np.random.default_rng(seed)
    n = days * rows
    x = rng.normal(size=(n, len(CONTRACT.columns)))
    x[:, 0] += shift
    x[:, IDLE] += idle
    x[:, 2] = rng.integers(0, 3, n)
    rest = 0.5 * x[:, 1] + np.array([0.4, 0.0, -0.4])[x[:, 2].astype(int)] - 1.5
    chance, score = (1 / (1 + np.exp(-(s * 1.2 * x[:, 0] + rest))) for s in (sign, 1.0))
    tick = np.repeat(np.arange(first, first + days), rows) * DAY
    return Rows(x, (rng.random(n) < chance).astype(float), tick + DAY // 2, tick), score


def known(rows: int = 500, days: int = 28, **changes: float) -> Usual:
    found = usual(*drawn(days, rows, seed=1, **changes), CONTRACT, IMPORTANCE, LOG_LOSS, binary=True)  # type: ignore[arg-type]
    assert found is not None
    return found


KNOWN = known()


def seen(rows: Rows, score: np.ndarray, horizon: datetime | None = None, among: Usual = KNOWN) -> Suspicion:
    found = suspicion(among, rows, score, horizon)
    assert found is not None
    return found


def names(found: Suspicion) -> list[str]:
    return [s.name for s in found.raised]


def joined(*parts: tuple[Rows, np.ndarray]) -> tuple[Rows, np.ndarray]:
    columns = [np.concatenate([getattr(rows, key) for rows, _ in parts]) for key in ("x", "y", "time", "tick")]
    return Rows(*columns), np.concatenate([score for _, score in parts])


# ── what it is for ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("rows", [200, 500, 2_000])
def test_a_shift_of_the_dominant_column_is_suspected_on_its_first_tick_and_named(rows: int) -> None:
    before = drawn(5, rows, seed=2, first=28)
    after = drawn(1, rows, seed=3, first=33, shift=1.5)
    found = seen(*joined(before, after), among=known(rows))
    assert {"main", "score"} <= set(names(found))
    assert not {"side", "kind"} & set(names(found))
    assert ("estimated_loss" in names(found)) == (rows >= 500)  # fewer rows want a second tick for that


def test_columns_of_no_importance_raise_nothing_however_far_they_move() -> None:
    found = seen(*drawn(3, 500, seed=4, first=28, idle=5.0))
    assert names(found) == []
    assert {s.name for s in found.signals} == {"score", "estimated_loss", "main", "side", "kind"}


def test_a_smaller_shift_waits_for_a_second_tick() -> None:
    before, one, two = (
        drawn(d, 500, seed=5 + d, first=f, shift=s) for d, f, s in ((3, 28, 0.0), (1, 31, 0.35), (2, 31, 0.35))
    )
    assert "main" not in names(seen(*joined(before, one)))
    main = next(s for s in seen(*joined(before, two)).signals if s.name == "main")
    assert (main.raised, main.beyond) == (True, 2)
    assert main.usual[1] < main.limit < main.value


def test_the_estimate_says_what_the_loss_becomes_when_only_rows_move() -> None:
    rows, score = drawn(3, 4_000, seed=6, first=28, shift=1.5)
    held, before = drawn(28, 500, seed=1)
    came = LOG_LOSS.value(rows.y, score) / LOG_LOSS.value(held.y, before) - 1
    assert seen(rows, score).estimated == pytest.approx(came, abs=0.04)


def test_matured_labels_that_disagree_switch_the_estimate_off_with_figures() -> None:
    rows, score = drawn(4, 500, seed=7, first=28, sign=-1.0)
    assert seen(rows, score).estimated == pytest.approx(0.0, abs=0.05)  # no score can see it
    checked = seen(rows, score, LATER)
    assert checked.estimated is None
    assert "realised on 4 matured ticks" in checked.off
    assert "estimated_loss" not in {s.name for s in checked.signals}


def test_labels_that_agree_or_are_not_complete_leave_the_estimate_on() -> None:
    rows, score = drawn(6, 500, seed=8, first=28)
    assert seen(rows, score, LATER).off == ""
    changed, wrong = drawn(4, 500, seed=7, first=28, sign=-1.0)
    assert seen(changed, wrong, datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=28)).off == ""


@pytest.mark.parametrize("rows", [24, 200])
@pytest.mark.parametrize("effect", [0.0, 0.4])
def test_stable_ticks_are_suspected_once_in_a_thousand_at_most(rows: int, effect: float) -> None:
    """480 ticks of 8 references each; two suspicions of 480 at a rate of 1 in 1,000 have a chance of 1 in 12."""
    raised = 0
    for seed in range(8):
        rng = np.random.default_rng(seed)
        day = effect * rng.normal(size=88)
        all_rows, score = joined(
            *(drawn(1, rows, seed=100 * seed + d, first=d, shift=float(day[d])) for d in range(88))
        )
        first = all_rows.tick < 28 * DAY
        among = usual(all_rows.take(first), score[first], CONTRACT, IMPORTANCE, LOG_LOSS, binary=True)
        for now in range(28, 88):
            which = (all_rows.tick > (now - 9) * DAY) & (all_rows.tick <= now * DAY) & ~first
            raised += bool(names(seen(all_rows.take(which), score[which], among=among)))  # type: ignore[arg-type]
    assert raised <= 2


# ── laws ──────────────────────────────────────────────────────────────────────────────────────────
@given(st.integers(0, 1000))
@settings(max_examples=15)
def test_the_order_of_rows_within_ticks_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, score = drawn(4, 120, seed=9, first=28, shift=0.4)
    order = np.lexsort((rng.random(len(rows)), rows.tick))
    shuffled, plain = (seen(rows.take(o), score[o], LATER) for o in (order, np.arange(len(rows))))
    for a, b in zip(shuffled.signals, plain.signals, strict=True):
        assert (a.name, a.beyond, a.raised) == (b.name, b.beyond, b.raised)
        assert a.value == pytest.approx(b.value, rel=1e-9)  # sums differ in their last bit
    held, before = drawn(10, 120, seed=1)
    order = np.lexsort((rng.random(len(held)), held.tick))
    one, two = (
        usual(held.take(o), before[o], CONTRACT, IMPORTANCE, LOG_LOSS, binary=True)
        for o in (np.arange(len(held)), order)
    )
    assert one is not None
    assert two is not None
    for first, second in zip(one.measures, two.measures, strict=True):
        assert first.limits == pytest.approx(second.limits, rel=1e-9)


def test_large_ticks_are_drawn_from_the_same_way_each_time() -> None:
    rows, score = drawn(2, 12_000, seed=9, first=28)
    assert canonical(seen(rows, score, LATER)) == canonical(seen(rows, score, LATER))


AWKWARD = ("nan", "constant", "huge", "one_class", "nan_score", "constant_score", "no_labels", "code", "alternating")


def _damaged(rows: Rows, score: np.ndarray, kind: str, column: int) -> tuple[Rows, np.ndarray]:
    x, y, score = rows.x.copy(), rows.y.copy(), score.copy()
    value = {"nan": np.nan, "constant": 0.0, "huge": 1e300, "code": 99.0}.get(kind)
    if value is not None:
        x[:, column] = value
    if kind == "alternating":
        x[::2, column] *= 1e200
    if kind in ("one_class", "no_labels"):
        y[:] = 0.0 if kind == "one_class" else np.nan
    if kind in ("nan_score", "constant_score"):
        score[:] = np.nan if kind == "nan_score" else 0.5
    return Rows(x, y, rows.time, rows.tick), score


@given(
    st.sampled_from(AWKWARD),
    st.sampled_from(AWKWARD),
    st.integers(0, 3),
    st.sampled_from([0, 1, 7, 8, 28]),
    st.sampled_from([0, 1, 2, 5]),
    st.sampled_from([1, 30, 80]),
    st.sampled_from([LOG_LOSS, MAE, loss_for(Metric(name="pr_auc")), loss_for(Metric(name="cost"))]),
)
@settings(max_examples=120)
def test_nothing_that_a_feed_brings_makes_it_raise_or_say_what_is_no_number(
    before: str, after: str, column: int, held: int, days: int, rows: int, loss: Loss
) -> None:
    reference = _damaged(*drawn(held, rows, seed=1), before, column)
    current = _damaged(*drawn(days, rows, seed=2, first=28), after, column)
    among = usual(*reference, CONTRACT, IMPORTANCE, loss, binary=loss is not MAE)
    for horizon in (None, LATER):
        found = suspicion(among, *current, horizon)
        if held < 8 or not days:
            assert found is None
        if found is not None:
            figures = [v for s in found.signals for v in (s.value, s.limit, *s.usual)]
            assert np.isfinite([*figures, found.estimated or 0.0]).all()


def test_columns_that_differ_from_tick_to_tick_anyway_are_no_evidence() -> None:
    contract = Contract(1, tuple(Column(n, "number") for n in ("same", "day", "rising", "flag")), 1000)
    rng = np.random.default_rng(0)
    tick = np.repeat(np.arange(31), 200)
    x = rng.normal(size=(len(tick), 4))
    x[:, 1] = tick % 7
    x[:, 2] += 0.3 * tick
    x[:, 3] = rng.random(31)[tick]
    rows = Rows(x, np.zeros(len(tick)), tick * DAY, tick * DAY)
    held = tick < 28
    shares = dict.fromkeys(contract.names, 0.25)
    found = usual(rows.take(held), x[held, 0], contract, shares, MAE, binary=False)
    assert found is not None
    assert [m.name for m in found.measures] == ["score", "same"]
    assert names(seen(rows.take(~held), x[~held, 0], among=found)) == []


def test_fewer_than_eight_ticks_with_rows_do_not_tell_what_is_usual() -> None:
    for days, rows, told in ((7, 500, False), (8, 500, True), (14, 24, False), (28, 24, True)):
        found = usual(*drawn(days, rows, seed=1), CONTRACT, IMPORTANCE, LOG_LOSS, binary=True)
        assert (found is not None) is told, (days, rows)


def test_what_cannot_be_estimated_is_said() -> None:
    reference = drawn(28, 100, seed=1)
    said = {}
    for name in ("pr_auc", "log_loss"):
        for one_class in (False, True):
            rows, score = _damaged(*reference, "one_class", 0) if one_class else reference
            found = usual(rows, score, CONTRACT, IMPORTANCE, loss_for(Metric(name=name)), binary=True)
            said[name, one_class] = "" if found is None else found.off
    assert "ranks rows" in said["pr_auc", False]
    assert said["log_loss", False] == ""
    assert "one class" in said["log_loss", True]
    regression = usual(*reference, CONTRACT, IMPORTANCE, MAE, binary=False)
    assert regression is not None
    assert (regression.estimate, regression.off) == (None, "")


# ── arithmetic ────────────────────────────────────────────────────────────────────────────────────
@given(st.integers(0, 1000), st.integers(1, 60))
@settings(max_examples=30)
def test_the_calibration_is_scikit_learns_on_scores_that_repeat(seed: int, levels: int) -> None:
    from sklearn.isotonic import IsotonicRegression

    rng = np.random.default_rng(seed)
    score = rng.integers(0, levels, 250) / levels  # fewer rows than bins: each level has its own
    y = (rng.random(250) < score).astype(float)
    knots, share = calibrate.isotonic(score, y)
    assert share == pytest.approx(IsotonicRegression(out_of_bounds="clip").fit(score, y).predict(knots), abs=1e-9)
    assert (np.diff(share) >= 0).all()


@given(st.integers(0, 100), st.floats(0.2, 5), st.floats(-2, 2))
@settings(max_examples=30)
def test_a_ruler_measures_as_scipy_does_beyond_its_rounding(seed: int, scale: float, shift: float) -> None:
    from scipy.stats import wasserstein_distance

    rng = np.random.default_rng(seed)
    a, b = scale * rng.normal(size=4_000), scale * (rng.normal(size=1_000) + shift)
    ruler = calibrate.number_ruler(a)
    assert ruler is not None
    one, other = (ruler.counts(v, np.zeros(len(v), dtype=np.int64), 1) for v in (a, b))
    low, high = ruler.edges[0], ruler.edges[-1]
    wanted = wasserstein_distance(np.clip(a, low, high), np.clip(b, low, high)) / ruler.scale
    assert ruler.apart(other, one)[0][0] == pytest.approx(wanted, rel=0.06, abs=0.03)


def test_ticks_are_joined_to_blocks_from_the_newest_on() -> None:
    tick = np.repeat(np.arange(6), (10, 5, 5, 10, 40, 3))
    assert calibrate.blocks(tick, 10).tolist() == [0] * 10 + [1] * 10 + [2] * 10 + [3] * 43
    assert calibrate.blocks(tick, 1_000).max() == 0
    assert len(calibrate.blocks(np.empty(0, dtype=np.int64), 10)) == 0
