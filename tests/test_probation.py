"""A new champion on probation: what harm is, how often it is seen where there is none, and who rolls back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune.config import Config, Metric, load_config
from lr_retune.judge.probation import against_former, against_promise, first_look, level, windows
from lr_retune.metrics import loss_for
from lr_retune.records import Facts, Reason, Report
from lr_retune.retune import bootstrap, retune, watch
from lr_retune.stores.freeze import frozen
from lr_retune.stores.pages import path_of
from lr_retune.stores.pauses import pause
from lr_retune.stores.promotion import Stores
from lr_retune.watch.baselines import always
from tests.benchmarks.probation.table import CALM, ends, table
from tests.worlds import START, day, rows, world, write

MAE = loss_for(Metric(name="mae"))
BACK = 112  # the day on which the world is again what it was before day 70


# ── the test of harm ──────────────────────────────────────────────────────────────────────────────
def scores(ticks: int, worse: float, seed: int = 0, each: int = 30) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    tick = np.repeat(np.arange(ticks), each)
    former = 1.0 + 0.2 * rng.random(len(tick))
    return np.zeros(len(tick)), former * (1 + worse + 0.05 * rng.normal(size=ticks)[tick]), former, tick


@given(st.integers(3, 60), st.floats(0.001, 0.4))
def test_the_looks_of_a_probation_share_its_alpha(of: int, alpha: float) -> None:
    for loss in (MAE, loss_for(Metric(name="pr_auc"))):
        first = first_look(of, loss)
        tests = [newest for ticks in range(first, of + 1) for newest in windows(ticks, first)]
        assert min(tests) >= min(first, of)
        assert len(tests) * level(of, loss, alpha) == pytest.approx(alpha)


def test_harm_is_proven_where_it_is_and_not_where_it_is_not() -> None:
    look = level(14, MAE, 0.05)
    bad = against_former(*scores(5, 0.5), MAE, 0.01, look)
    assert bad.proven
    assert bad.effect == pytest.approx(0.5, abs=0.1)
    assert not against_former(*scores(14, 0.0), MAE, 0.01, look).proven
    assert not against_former(*scores(14, -0.5), MAE, 0.01, look).proven


def test_champions_that_differ_nowhere_do_no_harm() -> None:
    y, _, former, tick = scores(14, 0.0)
    assert not against_former(y, former, former, tick, MAE, 0.01, 0.5).proven
    assert not against_promise([1.0] * 9, [1.0] * 9, 0.01, 0.5).proven
    assert not against_promise([1.0], [], 0.01, 0.5).proven


def test_a_promise_that_is_broken_by_more_than_the_spread_of_ticks_is_harm() -> None:
    rng = np.random.default_rng(1)
    promised = 1 + 0.05 * rng.normal(size=28)
    assert against_promise((1.5 + 0.05 * rng.normal(size=6)).tolist(), promised.tolist(), 0.01, 0.004).proven
    assert not against_promise((1.0 + 0.05 * rng.normal(size=6)).tolist(), promised.tolist(), 0.01, 0.004).proven


# ── the watcher ───────────────────────────────────────────────────────────────────────────────────
def switched(folder: Path, *, more: str = "", back: int | None = BACK, delay: int | None = None) -> Config:
    """A world that changed at day 70 and, from day ``back`` on, is what it was before."""
    path = world(folder, changed=70, more=more, delay=delay)
    columns = rows(changed=70, delay=delay)
    if back is not None:
        undone = [t >= day(back) for t in columns["ts"]]
        columns["y"] = np.where(undone, columns["y"] + 6 * np.asarray(columns["a"]), columns["y"])
    write(folder, columns)
    return load_config(path, environ={})


def promoted(config: Config, stores: Stores) -> Report:
    """Version 1 knows the world before day 70, version 2 the one after it."""
    bootstrap(config, stores, day(74))
    found = retune(config, stores, day(106), policy=always)
    assert found.outcome == "promoted"
    return found


@pytest.fixture(scope="module")
def harmed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Config, Stores, list[Report]]:
    config = switched(tmp_path_factory.mktemp("harmed"))
    stores = Stores.open(config)
    promoted(config, stores)
    return config, stores, [retune(config, stores, day(n)) for n in range(107, 124)]


@pytest.mark.fault("H3", "H5")
def test_a_planted_regression_is_rolled_back_by_the_watcher_once_and_frozen(
    harmed: tuple[Config, Stores, list[Report]],
) -> None:
    config, stores, reports = harmed
    (back,) = [r for r in reports if r.outcome == "rolled_back"]
    assert day(BACK + 2) <= back.facts.as_of <= day(BACK + 8)
    reason = back.decision.reasons[0]
    assert (reason.code, back.champion.version) == ("probation_failed", "1")
    assert "worse than" in reason.text
    assert stores.registry.alias("demo", "champion") == stores.ledger.head("demo").version == "1"
    (held,) = frozen(stores)
    assert (held["version"], held["by"], held["reason"]) == ("2", "lr-retune", reason.text)
    assert [m.kind for m in stores.moves] == ["bootstrap", "promote", "rollback"]
    assert all(r.facts.probation is None for r in reports if r.facts.as_of > back.facts.as_of)
    assert stores.history(day(140)).rolled_back == back.facts.as_of
    assert stores.ledger.verify("demo") == []
    pages = {m.kind: path_of(config, m.id, m.as_of).read_text(encoding="utf-8") for m in stores.moves}
    assert "Version 1 is champion again, instead of version 2." in pages["rollback"]
    assert "Since then: rolled back to version 1 on" in pages["promote"]


def test_a_run_that_rolled_back_is_repeated_without_a_second_move(harmed: tuple[Config, Stores, list[Report]]) -> None:
    config, stores, reports = harmed
    back = next(r for r in reports if r.outcome == "rolled_back")
    again = retune(config, stores, back.facts.as_of)
    assert (again.decision, again.outcome, again.champion.version) == (back.decision, "rolled_back", "1")
    assert len(stores.moves) == 3


def test_a_probation_that_goes_well_ends_in_a_recorded_fact_and_is_not_asked_again(tmp_path: Path) -> None:
    config = switched(tmp_path, back=None, more="[promote]\nprobation = 5")
    stores = Stores.in_memory(config)
    promoted(config, stores)
    states: list[Any] = []
    for n in range(107, 115):
        found = retune(config, stores, day(n))
        states.append(None if found.facts.probation is None else found.facts.probation.state)
    assert states[:5] == ["waiting", "waiting", "waiting", "on", "passed"]
    assert states[5:] == [None, None, None]
    passed = [d for d in stores.history(day(200)).decisions if "probation_passed" in d.codes]
    assert [d.as_of for d in passed] == [day(111)]
    assert retune(config, stores, day(111)).facts.probation is not None  # a repeated run sees what it saw
    assert [m.kind for m in stores.moves] == ["bootstrap", "promote"]


def test_without_labels_a_probation_waits_and_says_so(tmp_path: Path) -> None:
    config = switched(tmp_path, delay=6, back=108)
    stores = Stores.in_memory(config)
    promoted(config, stores)
    early = watch(config, stores, day(108)).decision.reasons
    assert Reason("probation", next(r.text for r in early if r.code == "probation")) in early
    assert any("too few to judge by" in r.text for r in early)
    assert stores.ledger.head("demo").version == "2"


def test_a_look_alone_tells_harm_and_moves_nothing(tmp_path: Path) -> None:
    config, at = switched(tmp_path, back=107), day(118)
    stores = Stores.in_memory(config)
    promoted(config, stores)
    assert watch(config, stores, at).decision.action == "rollback"
    assert stores.ledger.head("demo").version == "2"
    pause(stores, day(130), actor="ann", reason="freeze", as_of=at)
    held = retune(config, stores, at)
    assert (held.decision.action, held.decision.reasons[0].code) == ("ask", "paused")
    suggest = config.model_copy(update={"promote": config.promote.model_copy(update={"mode": "suggest"})})
    assert _action(suggest, held.facts) == "ask"
    none = config.model_copy(update={"promote": config.promote.model_copy(update={"probation": 0})})
    assert watch(none, stores, at).facts.probation is None


def _action(config: Config, facts: Facts) -> str:
    from lr_retune.records import History
    from lr_retune.watch.policy import decide

    return decide(facts, History(born=START), config).action


def test_a_former_champion_whose_files_are_gone_leaves_the_promise_to_be_held_to(tmp_path: Path) -> None:
    config = switched(tmp_path, back=None)
    columns = rows(changed=70)
    columns["y"] = np.where([when >= day(107) for when in columns["ts"]], 3 * columns["y"], columns["y"])
    write(tmp_path, columns)
    stores = Stores.in_memory(config)
    promoted(config, stores)
    seen = watch(config, stores, day(118)).facts.probation
    assert seen is not None
    assert (seen.basis, seen.state) == ("former", "on")  # the world got harder for both
    stores.models._files.pop(stores.moves[0].champion.model)  # type: ignore[attr-defined]
    stores.registry._versions["demo"][0][1].clear()  # type: ignore[attr-defined]
    found = watch(config, stores, day(118)).facts.probation
    assert found is not None
    assert (found.basis, found.state) == ("promise", "on")  # told; there is nobody to go back to
    assert found.p is not None
    assert found.alpha is not None
    assert found.p < found.alpha
    assert stores.ledger.head("demo").version == "2"


def test_a_former_champion_that_nobody_loads_is_stood_for_by_the_promise(tmp_path: Path) -> None:
    config = switched(tmp_path, back=None)
    columns = rows(changed=70)
    columns["y"] = np.where([when >= day(107) for when in columns["ts"]], 3 * columns["y"], columns["y"])
    write(tmp_path, columns)
    stores = Stores.in_memory(config)
    promoted(config, stores)
    first = stores._chronicle.moves[0]
    stores._chronicle._moves[0] = replace(first, champion=replace(first.champion, mode="score_only"))
    found = watch(config, stores, day(118))
    assert found.facts.probation is not None
    assert (found.facts.probation.basis, found.decision.action) == ("promise", "rollback")
    assert "worse than promised" in found.decision.reasons[0].text


def test_the_benchmark_of_probations_runs_and_finds_a_doubled_loss_at_once() -> None:
    assert set(ends(CALM[0], 1.0, 5)) <= {3, 4}
    told = table(2)
    assert "rolled back in error" in told
    assert "+20% from tick 7 on" in told
