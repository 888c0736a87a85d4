from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune import average
from lr_retune.config import Config, load_config
from lr_retune.errors import ConfigError, DependencyError
from lr_retune.families.lightgbm import LightGBM
from lr_retune.families.sgd import SGD
from lr_retune.records import Budget, Cost, FitData, Fits, Range, Rows, SearchOptions, Trial
from lr_retune.retune import bootstrap, retune, search_only
from lr_retune.search.ahead import side_by_side
from lr_retune.search.arm import Named
from lr_retune.search.arms import Arms, run
from lr_retune.search.choose import LEAD, answered, lead
from lr_retune.search.estimate import relative_error
from lr_retune.search.grid import grid, random
from lr_retune.search.live import Live
from lr_retune.stores.journal import Journal
from lr_retune.stores.promotion import Stores
from lr_retune.testing import ToyFits
from lr_retune.watch.baselines import always_search
from tests.rig.dying import Dying
from tests.worlds import day, world

NOISY = {"bagging_fraction": 0.5, "bagging_freq": 1, "num_leaves": 4}


def loss_on(rows: Rows) -> Callable[[np.ndarray], float]:
    return lambda score: float(np.mean(np.abs(score - rows.y)))


def data(seed: int = 0, rows: int = 600) -> FitData:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 3))
    y = x[:, 0] + np.sin(3 * x[:, 1]) + rng.normal(scale=0.5, size=rows)
    tick = np.arange(rows, dtype=np.int64)
    half = rows // 2
    parts = [Rows(x[s], y[s], tick[s], tick[s]) for s in (slice(None, half), slice(half, None))]
    return FitData(*parts, "regression", (), "mae", lambda y, score: float(np.mean(np.abs(y - score))))


def options(rows: FitData, **changes: object) -> SearchOptions:
    base = SearchOptions(Range(0.02, 0.3), 4, 300, 15, 0, loss_on(rows.valid))
    return replace(base, **changes)  # type: ignore[arg-type]


def searched(params: dict[str, object], old: Named | None, **changes: object) -> Arms:
    rows = data()
    return run(LightGBM(params, 1), rows, options(rows, **changes), strategy=grid, old=old, user_range=None)


# ── other seeds and old rows ──────────────────────────────────────────────────────────────────────
def test_a_new_rate_is_fitted_by_two_more_seeds_where_the_seed_matters() -> None:
    found = searched(NOISY, Named(0.9))
    assert set(found.repeats) == {"challenger", "control"}
    assert [len(made) for made in found.repeats.values()] == [2, 2]
    assert {trial.learning_rate for trial, _ in found.repeats["control"]} == {0.9}
    losses = [trial.loss for trial, _ in found.repeats["challenger"]]
    assert len(set(losses)) == 2
    assert found.cost["repeats"].fits == 5  # a glance and four
    assert [len(made) for made in found.apart.values()] == [3, 3]
    assert found.cost["apart"].fits == 6
    chose = {t.loss for t in found.trials} | {t.loss for each in found.repeats.values() for t, _ in each}
    assert not chose & {trial.loss for made in found.apart.values() for trial, _ in made}


def test_a_family_that_leaves_nothing_to_chance_is_not_fitted_again() -> None:
    found = searched({"num_leaves": 4}, Named(0.9))
    assert found.repeats == found.apart == {}
    rate = found.models["challenger"][0].learning_rate
    assert (found.cost["repeats"].fits, found.cost["repeats"].steps) == (1, max(5, math.ceil(1 / rate) + 2))


def test_a_lead_that_other_seeds_do_not_confirm_leaves_the_old_rate() -> None:
    class Fickle(ToyFits):
        """The better rate of seed 0 is the worse one of every other seed."""

        def __init__(self, seed: int) -> None:
            super().__init__()
            self.sign = 1 if seed == 0 else -1

        def _step(self, handle: int) -> float:
            loss = super()._step(handle) + self.sign * self._rates[handle]
            self.live[handle][-1] = loss
            return loss

        def finish(self, which: int, steps: int) -> object:  # type: ignore[override]
            return object()

    class Family:
        name, step_unit, default_rate, default_range = "fickle", "steps", 0.1, Range(0.004, 0.4)

        def start(self, data: FitData, *, seed: int) -> Fits:
            return Fickle(seed)  # type: ignore[return-value]

    rows = data()
    asked = options(rows, loss=lambda score: float(score[0]), space=Range(0.05, 0.05))
    found = run(Family(), rows, asked, strategy=grid, old=Named(0.2), user_range=Range(0.05, 0.05))  # type: ignore[arg-type]
    assert found.models["challenger"][0].role == "candidate"  # the old rate is outside the user's range
    found = run(Family(), rows, asked, strategy=grid, old=Named(0.2), user_range=None)  # type: ignore[arg-type]
    assert found.models["challenger"][0].role == "control"
    assert len(found.repeats["challenger"]) == 2


def test_the_new_rate_is_fitted_on_the_champions_rows_and_scored_on_theirs() -> None:
    before = data(seed=1)
    found = searched({"num_leaves": 4}, Named(0.9, data=before, loss=loss_on(before.valid)))
    trial, model = found.models["old_rows"]
    assert trial.learning_rate == found.models["challenger"][0].learning_rate
    assert trial.loss == pytest.approx(loss_on(before.valid)(model.predict(before.valid.x)))
    assert found.cost["old_rows"].fits == 1


def test_the_same_rate_needs_no_fit_on_the_old_rows() -> None:
    before = data(seed=1)
    rows = data()
    old = Named(0.1, data=before, loss=loss_on(before.valid))
    found = run(LightGBM({}, 1), rows, options(rows), strategy=None, old=old, user_range=None)
    assert found.same_rate
    assert "old_rows" not in found.models


def test_old_rows_that_cannot_be_learned_from_do_not_end_a_search() -> None:
    before = data()
    broken = replace(before, train=before.train.take(np.arange(1)))
    found = searched({"num_leaves": 4}, Named(0.9, data=broken, loss=loss_on(before.valid)))
    assert "challenger" in found.models
    assert "old_rows" not in found.models


# ── the plain rate ────────────────────────────────────────────────────────────────────────────────
class Scored(ToyFits):
    """Fits of which nothing but the scores is asked."""

    def __init__(self, scores: Sequence[np.ndarray]) -> None:
        super().__init__()
        self.scores = scores

    def score(self, which: int, steps: int) -> np.ndarray:
        return self.scores[which]


def rivals(seed: int, better: float, noise: float) -> tuple[list[tuple[Trial, int]], SearchOptions, Scored]:
    """Four rates, the last of them plain: the others err less by a share, each with a noise of its own."""
    rng = np.random.default_rng(seed)
    y, common = rng.normal(size=400), rng.normal(size=400)
    scores = [y + (1 - better * (n < 3)) * common + noise * rng.normal(size=400) for n in range(4)]
    asked = SearchOptions(Range(0.01, 0.3), 4, 300, 15, 0, lambda score: float(np.mean(np.abs(score - y))))
    made = [
        Trial(n, "candidate", rate, "constant", asked.loss(scores[n]), round(5 / rate), "complete")
        for n, rate in enumerate((0.2, 0.1, 0.02, 0.05))
    ]
    return [(trial, trial.number) for trial in made], asked, Scored(scores)


@given(seed=st.integers(0, 999), better=st.floats(-0.05, 0.1), noise=st.floats(0.01, 0.5))
def test_what_answers_in_place_of_the_plain_rate_leads_it_beyond_chance(seed: int, better: float, noise: float) -> None:
    (*found, plain), asked, fits = rivals(seed, better, noise)
    seen, parts = answered(found, plain, asked, fits)
    assert seen is not None
    ((trial, handle),) = parts
    assert trial.number == seen.number
    if trial is not plain[0]:
        error = relative_error(asked.loss, fits.scores[handle], fits.scores[plain[1]])
        assert error is not None
        assert lead(trial, plain[0]) > LEAD * error
        assert "stays" not in seen.reason
    elif not seen.reason.startswith("rate 0.05 "):
        assert ". The search takes the default rate 0.05: rate 0." in seen.reason


@given(seed=st.integers(0, 999), better=st.floats(-0.05, 0.1), few=st.floats(0.1, 2), more=st.floats(0, 2))
def test_the_more_is_asked_of_a_lead_the_sooner_the_plain_rate_stays(
    seed: int, better: float, few: float, more: float
) -> None:
    (*found, plain), asked, fits = rivals(seed, better, 0.2)
    if answered(found, plain, asked, fits, few)[1] == [plain]:
        assert answered(found, plain, asked, fits, few + more)[1] == [plain]


@pytest.mark.parametrize(("better", "rate"), [(0.003, 0.05), (0.1, None)])
def test_a_hairs_breadth_leaves_the_plain_rate_and_a_clear_lead_does_not(better: float, rate: float | None) -> None:
    (*found, plain), asked, fits = rivals(0, better, 0.1)
    ((trial, _),) = answered(found, plain, asked, fits)[1]
    assert (trial.learning_rate == 0.05) == (rate is not None)
    assert lead(min((t for t, _ in found), key=lambda t: t.loss or 0.0), plain[0]) > 0  # the lowest leads in both


def test_the_plain_rate_is_one_of_several_where_steps_cost_nothing_to_serve_or_more_than_a_rate_is_asked() -> None:
    (*found, plain), asked, fits = rivals(0, 0.003, 0.1)
    assert answered(found, plain, asked, fits)[1] == [plain]
    lowest = min([*found, plain], key=lambda each: each[0].loss or 0.0)
    assert lowest is not plain
    assert answered(found, plain, replace(asked, steps_are_served=False), fits)[1] == [lowest]
    assert len(answered(found, plain, replace(asked, answer="average"), fits)[1]) == 3
    ((cheap, _),) = answered(found, plain, replace(asked, answer="cheap_to_serve"), fits)[1]
    assert cheap.learning_rate == 0.2


def near_plain(old: Named | None, user_range: Range | None, plain: float = 0.05) -> Arms:
    """A search that tries one rate right beside .05."""
    rows, family = data(), LightGBM({}, 1)
    family.default_rate = plain
    asked = options(rows, space=Range(0.0501, 0.0501))
    return run(family, rows, asked, strategy=grid, old=old, user_range=user_range)


def test_the_plain_rate_answers_unless_the_user_forbids_it_or_it_is_no_good() -> None:
    found = near_plain(None, None)
    assert found.models["challenger"][0].learning_rate == 0.05
    assert found.reason.count("The search takes the default rate 0.05: rate 0.0501 ") == 1
    assert (found.cost["search"].fits, found.cost["fixed"].fits) == (1, 1)
    assert near_plain(None, Range(0.0501, 0.3)).models["challenger"][0].learning_rate == 0.0501
    assert near_plain(None, None, plain=0.9).models["challenger"][0].learning_rate == 0.0501
    unfinished = near_plain(None, None, plain=1e-4)
    assert {trial.role: trial.state for trial in unfinished.trials}["fixed"] == "starved"
    assert unfinished.models["challenger"][0].learning_rate == 0.0501


def test_the_plain_rate_too_has_to_lead_the_old_one_beyond_chance() -> None:
    near = near_plain(Named(0.0502), None)
    assert near.same_rate
    assert near.reason.index("The search takes the default rate 0.05") < near.reason.index("The old rate stays")
    far = near_plain(Named(0.9), None)
    assert far.models["challenger"][0].learning_rate == 0.05
    assert not far.same_rate


def test_a_plain_rate_that_is_the_old_one_stays_and_is_said_to_once() -> None:
    found = near_plain(Named(0.05), None)
    assert found.same_rate
    assert found.reason.count("default rate") == 1
    assert found.repeats == {}


# ── averages ──────────────────────────────────────────────────────────────────────────────────────
def test_an_average_answers_with_the_mean_of_its_parts_and_comes_back_from_its_files() -> None:
    found = searched({"num_leaves": 4}, None, answer="average")
    trial, model = found.models["challenger"]
    rows = data()
    fits = LightGBM({"num_leaves": 4}, 1).start(rows, seed=0)
    parts = []
    for rate, schedule in average.parts(trial.schedule):
        one = next(t for t in found.trials if (t.learning_rate, t.schedule) == (rate, schedule) and t.loss is not None)
        handle = fits.add(rate)
        fits.advance([handle], one.steps)
        parts.append(fits.finish(handle, one.steps).predict(rows.valid.x))
    assert 2 <= len(parts) <= 3
    np.testing.assert_allclose(model.predict(rows.valid.x), np.mean(parts, axis=0), rtol=1e-12)
    again = average.load(model.files(), LightGBM({}, 1).load)
    np.testing.assert_array_equal(again.predict(rows.valid.x), model.predict(rows.valid.x))
    assert trial.loss == pytest.approx(loss_on(rows.valid)(model.predict(rows.valid.x)), rel=1e-12)
    assert model.importance().sum() == pytest.approx(1)


def test_an_averaged_champion_is_refitted_as_the_average_it_was() -> None:
    rows = data()
    name = Named(0.1, average.named([(0.2, "constant"), (0.05, "constant")]))
    found = run(LightGBM({}, 1), rows, options(rows), strategy=None, old=name, user_range=None)
    trial, model = found.models["challenger"]
    assert (trial.learning_rate, trial.schedule, trial.role) == (0.1, name.schedule, "control")
    assert found.same_rate
    assert len(model.files()) == 2
    assert found.cost["control"].fits == 2
    # the family's rate .05 is a part already: it is fitted once
    assert found.cost["fixed"].fits in (0, 1)


def average_config(folder: Path, **search: object) -> Config:
    config = load_config(world(folder, changed=100), environ={})
    return config.model_copy(update={"search": config.search.model_copy(update={"answer": "average", **search})})


def test_an_average_is_promoted_served_and_refitted(tmp_path: Path) -> None:

    config = average_config(tmp_path)
    stores = Stores.open(config)
    champion = bootstrap(config, stores, day(100))
    assert champion.schedule.startswith("average(")
    files = stores.files(champion)
    assert {name for name in files if name.startswith("part")} >= {"part0.model.txt", "part1.model.txt"}
    golden = json.loads(files["golden.json"])
    import mlflow
    import pandas as pd

    mlflow.set_tracking_uri(config.tracking_uri())
    try:
        served = mlflow.pyfunc.load_model(f"models:/{config.name}/{champion.version}")
        rows = pd.DataFrame(golden["columns"]).astype({"kind": object})
        np.testing.assert_allclose(served.predict(rows), golden["scores"], rtol=1e-12)
    finally:
        mlflow.set_tracking_uri(None)
    found = retune(config, stores, day(106), policy=always_search)
    assert found.result is not None
    assert found.result.control is not None
    assert found.result.control.schedule == champion.schedule


# ── fits that come back ───────────────────────────────────────────────────────────────────────────
def test_a_fit_that_was_dropped_is_trained_again_to_the_same_model_and_the_work_is_told() -> None:
    rows = data()
    live = Live(LightGBM({}, 1).start(rows, seed=0))
    handle = live.add(0.1)
    live.advance([handle], 20)
    before = live.finish(handle, 12).files()
    other = live.add(0.1)
    live.advance([other], 20)
    live.drop(other)
    assert live.again == Cost()
    assert live.finish(other, 12).files() == before
    assert live.again == Cost(1, 12, 12 * live.train_rows)


# ── a search that was killed ──────────────────────────────────────────────────────────────────────
class Killed(BaseException):
    """As sudden as a signal."""


def killing(journal: Journal, after: int) -> Callable[[Trial], None]:
    count = 0

    def remember(trial: Trial) -> None:
        nonlocal count
        journal.remember(trial)
        count += 1
        if count == after:
            raise Killed

    return remember


@pytest.mark.fault("D8")
@pytest.mark.parametrize("after", [1, 3, 4, 5])
def test_a_killed_search_ends_as_it_would_have_and_trains_no_finished_trial_twice(tmp_path: Path, after: int) -> None:
    rows, path = data(), tmp_path / "search.jsonl"
    whole = run(LightGBM({}, 1), rows, options(rows), strategy=grid, old=Named(0.9), user_range=None)
    journal = Journal(path, "a")
    asked = options(rows, recall=journal.recall, remember=killing(journal, after))
    with pytest.raises(Killed):
        run(LightGBM({}, 1), rows, asked, strategy=grid, old=Named(0.9), user_range=None)
    journal = Journal(path, "a")
    new: list[Trial] = []
    asked = options(rows, recall=journal.recall, remember=new.append)
    found = run(LightGBM({}, 1), rows, asked, strategy=grid, old=Named(0.9), user_range=None)
    assert found.trials == whole.trials
    assert {name: model.files() for name, (_, model) in found.models.items()} == {
        name: model.files() for name, (_, model) in whole.models.items()
    }
    assert len(new) == 6 - after  # four rates, control and fixed


def test_a_torn_line_of_a_journal_is_no_trial_and_another_search_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "search.jsonl"
    trial = Trial(0, "candidate", 0.1, "constant", 1.0, 2, "complete", (2.0, 1.0), Cost(1, 2, 20))
    journal = Journal(path, "a")
    journal.remember(trial)
    with path.open("a") as file:
        file.write('{"number": 1, "role": "cand')
    again = Journal(path, "a")
    assert again.recall(0, 0.1, "constant", "candidate") == trial
    assert again.recall(1, 0.2, "constant", "candidate") is None
    assert Journal(path, "b").recall(0, 0.1, "constant", "candidate") is None
    assert Journal(path, "a").recall(0, 0.1, "constant", "candidate") is None


def test_a_trial_after_a_torn_line_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "search.jsonl"
    trial = Trial(0, "candidate", 0.1, "constant", 1.0, 2, "complete", (2.0, 1.0), Cost(1, 2, 20))
    Journal(path, "a").remember(trial)
    with path.open("a") as file:
        file.write('{"number": 1, "role": "cand')
    Journal(path, "a").remember(replace(trial, number=1))
    again = Journal(path, "a")
    assert again.recall(0, 0.1, "constant", "candidate") == trial
    assert again.recall(1, 0.1, "constant", "candidate") == replace(trial, number=1)


# ── side by side ──────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("strategy", [grid, random])
def test_trials_side_by_side_give_the_answer_of_one_after_the_other(
    strategy: Callable[[Fits, SearchOptions], Sequence[tuple[Trial, int]]],
) -> None:
    rows, family = data(), LightGBM({"num_leaves": 4}, 1)
    alone = run(family, rows, options(rows), strategy=strategy, old=Named(0.9), user_range=None)  # type: ignore[arg-type]
    asked = side_by_side(family, rows, options(rows), jobs=2)
    together = run(family, rows, asked, strategy=strategy, old=Named(0.9), user_range=None)  # type: ignore[arg-type]
    assert together.trials == alone.trials
    assert together.models["challenger"][1].files() == alone.models["challenger"][1].files()
    assert 1 <= together.cost["again"].fits <= 2  # the lowest fits live in other processes


@pytest.mark.fault("D3")
def test_a_worker_that_is_killed_ends_the_search_with_a_reason_and_no_trial() -> None:
    rows, family = data(), Dying()
    new: list[Trial] = []
    asked = side_by_side(family, rows, options(rows, remember=new.append), jobs=2)
    with pytest.raises(DependencyError, match="process of the search died") as error:
        grid(family.start(rows, seed=0), asked)
    assert error.value.exit_code == 4
    assert new == []


def test_workers_of_a_dask_scheduler_give_the_same_trials() -> None:
    from distributed import LocalCluster

    rows, family = data(), LightGBM({"num_leaves": 4}, 1)
    alone = grid(family.start(rows, seed=0), options(rows))
    with LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
        asked = side_by_side(family, rows, options(rows), dask=cluster.scheduler_address)
        found = grid(Live(family.start(rows, seed=0)), asked)
    assert [trial for trial, _ in found] == [trial for trial, _ in alone]


@pytest.mark.fault("F-7")
def test_a_dask_scheduler_that_is_away_is_a_service_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lr_retune.search.ahead.PATIENCE", 0.5)
    rows, family = data(), LightGBM({"num_leaves": 4}, 1)
    asked = side_by_side(family, rows, options(rows), dask="tcp://127.0.0.1:9")
    with pytest.raises(DependencyError, match="Dask scheduler is away"):
        grid(family.start(rows, seed=0), asked)


def test_a_linear_model_can_be_searched_side_by_side_too() -> None:
    rows, family = data(), SGD({}, 1)
    limits = {"space": Range(1e-3, 1e-1), "patience": 3, "max_steps": 30}
    alone = run(family, rows, options(rows, **limits), strategy=grid, old=None, user_range=None)
    asked = side_by_side(family, rows, options(rows, **limits), jobs=2)
    assert run(family, rows, asked, strategy=grid, old=None, user_range=None).trials == alone.trials


# ── budgets ───────────────────────────────────────────────────────────────────────────────────────
def test_a_budget_of_fits_or_steps_is_kept_to_the_step() -> None:
    rows, family = data(), LightGBM({}, 1)
    for budget in (Budget(fits=2), Budget(steps=70), Budget(steps=1)):
        found = grid(family.start(rows, seed=0), options(rows, budget=budget))
        steps = sum(trial.cost.steps for trial, _ in found)
        assert len(found) <= (budget.fits or 4)
        assert steps <= (budget.steps or steps)
        assert found == grid(family.start(rows, seed=0), options(rows, budget=budget))


def test_a_budget_of_seconds_ends_the_search_when_the_clock_says_so() -> None:
    rows, clock = data(), iter([0.0, 1.0, 2.0, 3.0])
    asked = options(rows, budget=Budget(seconds=2.0), elapsed=lambda: next(clock))
    assert len(grid(LightGBM({}, 1).start(rows, seed=0), asked)) == 2


def test_who_watches_is_told_of_each_trial(tmp_path: Path) -> None:
    from lr_retune.plugins import load_plugins

    config = load_config(world(tmp_path), environ={})
    told: list[Trial] = []
    search_only(config, Stores.in_memory(config), day(100), plugins=load_plugins(config, told.append))
    assert len(told) == 3  # the fixed rate is the smallest of the grid
    assert (told[0].learning_rate, told[0].state) == (0.3, "complete")


@pytest.mark.parametrize(
    ("family", "strategy", "schedules", "told"),
    [
        ("lightgbm", "auto", ["cosine(12)"], "strategy bracket tries constant rates only"),
        ("sgd", "grid", ["constant", "one_cycle"], "strategy grid tries constant rates only"),
        ("sgd", "auto", ["one_cicle"], "did you mean 'one_cycle'"),
    ],
)
def test_a_schedule_that_nobody_would_try_is_refused(
    tmp_path: Path, family: str, strategy: str, schedules: list[str], told: str
) -> None:
    from lr_retune.plugins import load_plugins

    config = load_config(world(tmp_path), environ={})
    search = config.search.model_copy(update={"strategy": strategy, "schedules": schedules})
    model = config.model.model_copy(update={"family": family, "params": {}})
    with pytest.raises(ConfigError, match=told):
        load_plugins(config.model_copy(update={"search": search, "model": model}))


def test_what_is_as_fast_whatever_its_rate_cannot_be_made_cheaper_to_serve(tmp_path: Path) -> None:
    from lr_retune.plugins import load_plugins

    config = load_config(world(tmp_path), environ={})
    search = config.search.model_copy(update={"answer": "cheap_to_serve"})
    assert load_plugins(config.model_copy(update={"search": search})).family.steps_are_served
    model = config.model.model_copy(update={"family": "sgd", "params": {}})
    with pytest.raises(ConfigError, match="nothing to save"):
        load_plugins(config.model_copy(update={"search": search, "model": model}))


def test_a_lead_within_its_own_standard_error_leaves_the_old_rate() -> None:
    rows = data()
    asked = options(rows, space=Range(0.1, 0.1))
    near, far = Named(0.1001), Named(0.001)
    close = run(LightGBM({}, 1), rows, asked, strategy=grid, old=near, user_range=Range(0.05, 0.2), fixed_counts=False)
    assert close.lead is not None
    assert close.lead < 0.02
    assert close.same_rate
    wide = run(LightGBM({}, 1), rows, asked, strategy=grid, old=far, user_range=None, fixed_counts=False)
    assert wide.models["challenger"][0].learning_rate == 0.1
    assert not wide.same_rate


def test_what_a_budget_cut_is_no_control() -> None:
    rows = data()
    asked = options(rows, space=Range(0.9, 0.9), points=1, budget=Budget(steps=3))
    found = run(LightGBM({"num_leaves": 4}, 1), rows, asked, strategy=grid, old=Named(0.9), user_range=None)
    states = {trial.role: trial.state for trial in found.trials}
    assert states["candidate"] == "starved"
    assert states["control"] == "complete"


@pytest.mark.parametrize("strategy", [grid, random])
def test_one_rate_that_is_asked_for_many_times_is_fitted_once(
    strategy: Callable[[Fits, SearchOptions], Sequence[tuple[Trial, int]]],
) -> None:
    rows = data()
    asked = options(rows, space=Range(0.1, 0.1000002), points=5)
    found = run(LightGBM({}, 1), rows, asked, strategy=strategy, old=None, user_range=asked.space)  # type: ignore[arg-type]
    assert [trial.role for trial in found.trials].count("candidate") == 1
    assert found.estimate is not None


def test_the_name_of_an_average_loses_no_digit() -> None:
    parts = ((0.05123441, "constant"), (1 / 3, "one_cycle(12)"))
    assert average.parts(average.named(parts)) == parts


def test_a_journal_that_cannot_be_begun_adds_nothing_to_the_one_that_lies_there(tmp_path: Path) -> None:
    path = tmp_path / "search.jsonl"
    trial = Trial(0, "candidate", 0.1, "constant", 1.0, 2, "complete", (2.0, 1.0), Cost(1, 2, 20))
    Journal(path, "a").remember(trial)
    path.with_suffix(".new").mkdir()
    Journal(path, "b").remember(replace(trial, loss=99.0))
    path.with_suffix(".new").rmdir()
    assert Journal(path, "a").recall(0, 0.1, "constant", "candidate") == trial


def test_a_champion_of_another_family_lends_no_rate(tmp_path: Path) -> None:
    config = load_config(world(tmp_path, changed=100), environ={})
    model = config.model.model_copy(update={"family": "sgd", "params": {}})
    linear = config.model_copy(
        update={"model": model, "search": config.search.model_copy(update={"strategy": "auto", "learning_rate": None})}
    )
    stores = Stores.in_memory(linear)
    bootstrap(linear, stores, day(100))
    found = retune(config, stores, day(106), policy=always_search).result
    assert found is not None
    assert found.control is not None
    assert found.control.learning_rate == 0.05
