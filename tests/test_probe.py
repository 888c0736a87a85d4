"""The twin probe: what a retrain would bring, at a small part of its price."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from lr_retune.config import Metric, load_config
from lr_retune.data.feed import Feed
from lr_retune.data.plan import spans
from lr_retune.data.spans import plan_spans, spans_after_change
from lr_retune.families.lightgbm import LightGBM
from lr_retune.families.sgd import SGD
from lr_retune.metrics import curve_loss_for, loss_for
from lr_retune.plugins import load_plugins
from lr_retune.records import (
    Answered,
    Champion,
    Contract,
    Family,
    FitData,
    Probe,
    Rows,
    SearchOptions,
    Span,
    at,
    micros,
)
from lr_retune.retune import bootstrap, retune, watch
from lr_retune.search.arm import Named
from lr_retune.search.follow import follow
from lr_retune.stores.promotion import Stores
from lr_retune.watch.probe import GRID, SHARE, Twins, _luck, probed
from tests.worlds import day, world

DAY = timedelta(days=1)
START = datetime(2024, 1, 1, tzinfo=UTC)
METRIC = Metric(name="mae")
TREES, LINEAR = LightGBM({"num_leaves": 7, "min_data_in_leaf": 20}, 1), SGD({}, 1)


def rows(days: int, *, first: int = 0, slope: float = 1.0, noise: float = 0.3, seed: int = 0, a_day: int = 60) -> Rows:
    draw = np.random.default_rng(seed)
    count = days * a_day
    x = draw.normal(size=(count, 3))
    y = slope * 3 * x[:, 0] + x[:, 1] + noise * draw.normal(size=count)
    tick = np.repeat([micros(START + (first + d) * DAY) for d in range(days)], a_day)
    return Rows(x, y, tick + np.tile(np.arange(a_day), days), tick)


def joined(*parts: Rows) -> Rows:
    return Rows(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("x", "y", "time", "tick")))


def champion(family: Family = TREES, rate: float = 0.1, steps: int = 100) -> Champion:
    span = Span(START, START + DAY)
    about = (Contract(1, (), 0), 1.0, (1.0,), span, "q", "d", 1)
    return Champion("demo", "m" * 64, family.name, rate, "constant", steps, {}, *about)


def probe(twins: Twins, family: Family = TREES, steps: int = 100, rate: float = 0.1) -> Probe:
    data = FitData(twins.fresh, twins.met, "regression", (), "mae", curve_loss_for(METRIC))
    found = probed(twins, family, champion(family, rate, steps), data, loss_for(METRIC), START, seed=0)
    assert found is not None
    return found


@pytest.mark.parametrize(("family", "rate", "steps"), [(TREES, 0.1, 100), (LINEAR, 0.01, 20)])
def test_a_changed_world_is_fixable_and_a_noisier_one_is_not(family: Family, rate: float, steps: int) -> None:
    old, since = rows(60), micros(START + 60 * DAY)

    def after(**world: float) -> Probe:
        new = rows(14, first=60, seed=1, **world)  # type: ignore[arg-type]
        fresh, met = joined(old, new.take(new.tick < micros(START + 68 * DAY))), rows(6, first=68, seed=2, **world)  # type: ignore[arg-type]
        return probe(Twins(old, fresh, met, since), family, steps, rate)

    changed, noisier, same = after(slope=-1.0), after(noise=2.0), after()
    assert changed.gain > 5 * changed.error > 0
    assert changed.learned == 8
    for nothing in (noisier, same):
        assert nothing.gain < 0.1 * changed.gain


def test_a_few_ticks_after_a_change_are_enough_to_see_that_it_can_be_learned() -> None:
    old, new = rows(60), rows(3, first=60, slope=-1.0, seed=1)
    met = rows(4, first=63, slope=-1.0, seed=2)
    found = probe(Twins(old, joined(old, new), met, micros(START + 60 * DAY)))
    assert found.gain > 3 * found.error
    assert (found.learned, found.cut, found.ticks, found.rows) == (3, None, 4, 240)


def test_train_begins_at_the_change_where_the_time_since_then_alone_does_better() -> None:
    old, new = rows(60), rows(30, first=60, slope=-1.0, seed=1)
    met = rows(4, first=90, slope=-1.0, seed=2)
    twins = Twins(old, joined(old, new), met, micros(START + 60 * DAY), cut=True)
    assert probe(twins).cut == START + 60 * DAY
    assert probe(replace(twins, cut=False)).cut is None


@pytest.mark.parametrize("steps", [5, 40, 400])
@pytest.mark.parametrize("days", [30, 300])
def test_a_probe_takes_a_small_part_of_a_grid(steps: int, days: int) -> None:
    known = rows(days)
    found = probe(Twins(known, rows(days, seed=1), rows(4, first=days, seed=2)), steps=steps)
    grid = GRID * steps * len(known)
    assert found.cost.row_steps <= max(SHARE * grid, 2 * 100 * min(steps, 30))  # twins of 100 rows are the least


def test_too_little_to_tell_is_no_probe() -> None:
    few, many = rows(1), rows(30)
    data = FitData(many, few, "regression", (), "mae", curve_loss_for(METRIC))
    for twins in (Twins(few, many, rows(4)), Twins(many, few, rows(4)), Twins(many, many, few)):
        assert probed(twins, TREES, champion(), data, loss_for(METRIC), START, seed=0) is None


def test_the_same_rows_and_seed_give_the_same_probe() -> None:
    twins = Twins(rows(60), rows(60, seed=1), rows(4, first=60, seed=2))
    assert probe(twins) == probe(twins)


# ── spans and weights after a change ──────────────────────────────────────────────────────────────
def test_right_after_a_change_only_a_short_holdout_is_kept_from_learning(tmp_path: Path) -> None:
    config = load_config(world(tmp_path), environ={})
    since = START + 90 * DAY
    for days, held in ((5, 7), (21, 7), (30, 10), (60, 14)):  # a third of the time since then, the usual 14 at most
        horizon = since + days * DAY
        train, valid, holdout = spans_after_change(config, horizon, START, Answered(since))
        assert (holdout.end, (holdout.end - holdout.start) // DAY) == (horizon, held)
        assert train.end == valid.start == valid.end == holdout.start
        assert train.start == plan_spans(config, train.end + 28 * DAY, START)[0].start
    horizon = since + 60 * DAY
    assert spans_after_change(config, horizon, START, Answered(since, since))[0].start == since
    assert (
        spans_after_change(config, since + 15 * DAY, START, Answered(since, since))[0].start < since
    )  # under min_ticks would be left


def test_rows_since_a_change_weigh_as_much_as_all_before() -> None:
    known = rows(100)
    weighed = known.emphasised(micros(START + 90 * DAY)).weight
    assert weighed is not None
    assert weighed[: 90 * 60].sum() == pytest.approx(weighed[90 * 60 :].sum())
    twenty = known.emphasised(micros(START + 99 * DAY)).weight
    assert twenty is not None
    assert twenty.max() == 20.0
    assert (known.emphasised(micros(START + 200 * DAY)).weight == 1.0).all()


@pytest.mark.parametrize(("family", "rate", "steps", "wanted"), [(TREES, 0.1, 50, 100), (LINEAR, 0.01, 20, 10)])
def test_a_refit_after_a_change_takes_the_champions_steps_scaled_by_rows(
    family: Family, rate: float, steps: int, wanted: int
) -> None:
    train = rows(60)
    empty = train.take(np.zeros(len(train), dtype=bool))
    data = FitData(train, empty, "regression", (), "mae", curve_loss_for(METRIC))
    options = SearchOptions(family.default_range, 1, 500, 50, 0, lambda score: float(np.mean(np.abs(score))))
    arms = follow(family, data, options, Named(rate), steps, len(train) // 5)
    assert arms.models["challenger"][0].steps == arms.trials[0].steps == wanted
    assert arms.same_rate
    assert arms.cost["control"].row_steps == wanted * len(train)


# ── on the main path ──────────────────────────────────────────────────────────────────────────────
def test_a_change_is_waited_for_answered_and_followed_up(tmp_path: Path) -> None:
    config = load_config(world(tmp_path, changed=100), environ={})
    stores = Stores.in_memory(config)
    bootstrap(config, stores, day(100))
    seen = [retune(config, stores, day(d)) for d in range(103, 119)]
    codes = [found.decision.reasons[0].code for found in seen]
    assert codes.index("too_early") < codes.index("loss_rose") < codes.index("follow_up")
    promoted = [found for found in seen if found.outcome == "promoted"]
    assert promoted
    plan = promoted[0].plan
    assert plan is not None
    assert plan.valid.start == plan.valid.end
    assert plan.train.end > day(100)  # it has learned of the change
    probes = [d.probe for d in stores.history(day(200)).decisions if d.probe]
    assert probes
    assert probes[0] == next(found.facts.probe for found in seen if found.facts.probe)


def test_a_look_that_only_watches_probes_too_and_trains_nothing(tmp_path: Path) -> None:
    config = load_config(world(tmp_path, changed=100), environ={})
    stores = Stores.in_memory(config)
    bootstrap(config, stores, day(100))
    found = watch(config, stores, day(112))
    assert found.facts.probe is not None
    assert found.facts.probe.gain > 0
    assert at(micros(day(112))) == found.facts.probe.as_of


def test_what_a_probe_found_is_known_for_its_tick_and_only_in_the_units_of_its_metric(tmp_path: Path) -> None:
    config = load_config(path := world(tmp_path, changed=100), environ={})
    stores = Stores.open(config)
    bootstrap(config, stores, day(100))
    first = watch(config, stores, day(112))
    second = watch(config, stores, day(112) + timedelta(minutes=30))
    assert first.facts.probe is not None
    assert second.facts.probe == first.facts.probe
    assert [r.code for r in second.decision.reasons] == [r.code for r in first.decision.reasons]
    path.write_text(path.read_text().replace('"mae"', '"wape"'), encoding="utf-8")
    other = Stores.open(load_config(path, environ={})).history(day(113)).decisions
    assert [(d.probe, d.since, d.level) for d in other] == [(None, None, None)] * 2


def test_a_change_is_left_behind_as_soon_as_its_own_ticks_suffice(tmp_path: Path) -> None:
    config = load_config(world(tmp_path, changed=100, days=160), environ={})
    stores = Stores.in_memory(config)
    bootstrap(config, stores, day(100))
    seen = [retune(config, stores, day(d)) for d in range(105, 124)]
    plans = [found.plan for found in seen if found.plan is not None and found.outcome == "promoted"]
    assert plans[-1].cut is not None
    assert plans[-1].train.start >= plans[-1].cut >= day(99)
    assert stores.trained_on(stores.champion(day(130))) == plans[-1]
    feed = Feed(config, load_plugins(config).feeds, day(150))
    assert spans(feed, config, day(150), after=plans[-1].cut)[0].start == plans[-1].cut
    assert spans(feed, config, day(130), after=plans[-1].cut)[0].start < plans[-1].cut  # too little would be left


def test_the_holdout_after_a_change_holds_as_many_rows_as_the_gates_ask_for(tmp_path: Path) -> None:
    config = load_config(world(tmp_path), environ={})
    feed = Feed(config, load_plugins(config).feeds, day(120))
    for rows_wanted, ticks in (
        (0, 7),
        (400, 7),
        (450, 8),
        (700, 12),
        (10**9, 14),
    ):  # 60 rows a day, the usual 14 at most
        holdout = spans(feed, config, day(120), Answered(day(117), rows=rows_wanted))[2]
        assert (holdout.end - holdout.start) // DAY == ticks, rows_wanted


def test_a_champion_of_another_family_says_nothing_of_the_length_of_a_fit() -> None:
    twins = Twins(rows(60), rows(60, seed=1), rows(4, first=60, seed=2))
    data = FitData(twins.fresh, twins.met, "regression", (), "mae", curve_loss_for(METRIC))
    found = probed(twins, TREES, replace(champion(), family="sgd", steps=1), data, loss_for(METRIC), START, seed=0)
    assert found is not None
    assert found.cost.steps == 2 * 30


def test_what_the_better_of_two_fresh_models_owes_to_being_chosen_is_taken_off() -> None:
    rng, found = np.random.default_rng(3), []
    for _ in range(2000):
        first, second = rng.normal(size=(2, 4))
        best = max(first, second, key=np.mean)
        found.append((best.mean(), best.mean() - _luck(first, second)))
    raw, fair = np.mean(found, axis=0)
    assert raw > 0.25
    assert abs(fair) < 0.1
    assert _luck(np.full(4, 5.0), np.zeros(4)) == 0.0  # beyond doubt better: nothing is luck
