from __future__ import annotations

import importlib
import math
import sys
from dataclasses import replace

import numpy as np
import pytest

from lr_retune.errors import ConfigError
from lr_retune.records import Budget, Range, SearchOptions
from lr_retune.testing import ToyFits

optuna = pytest.importorskip("lr_retune.search.optuna", exc_type=ConfigError).optuna


def options(**changes: object) -> SearchOptions:
    base = SearchOptions(Range(0.001, 1.0), 20, 4000, 20, 0, lambda score: float(score[0]))
    return replace(base, **changes)


def apart(rates: list[float]) -> float:
    """Mean distance from the toy's best rate, in e-folds."""
    return float(np.mean([abs(math.log(rate / 0.05)) for rate in rates]))


@pytest.mark.fault("D5")
def test_one_seed_is_one_search_whatever_ran_before() -> None:
    first, other, again = (optuna(ToyFits(), options(seed=seed)) for seed in (3, 4, 3))
    assert first == again
    assert [trial.learning_rate for trial, _ in first] != [trial.learning_rate for trial, _ in other]


def test_rates_gather_where_the_loss_is_low() -> None:
    draws = [[trial.learning_rate for trial, _ in optuna(ToyFits(), options(seed=seed))] for seed in range(6)]
    assert apart([rate for found in draws for rate in found[-8:]]) < 0.85 * apart(
        [r for found in draws for r in found[:4]]
    )


def test_the_pruner_ends_fits_at_its_rungs_and_by_its_own_word() -> None:
    found = [trial for seed in range(4) for trial, _ in optuna(ToyFits(), options(seed=seed))]
    cut = [trial for trial in found if trial.state == "pruned"]
    assert len(cut) >= 5
    assert {trial.cost.steps for trial in cut} <= {10, 30, 90, 270, 810, 2430}
    assert all(trial.note == f"Hyperband's word after {trial.cost.steps} steps" for trial in cut)


def test_rates_that_diverge_teach_it_to_keep_away() -> None:
    found = [trial for seed in range(6) for trial, _ in optuna(ToyFits(diverges_above=0.03), options(seed=seed))]
    late = [trial for trial in found if trial.number >= 12]
    early = [trial for trial in found if trial.number < 4]
    share = [sum(t.state == "diverged" for t in part) / len(part) for part in (early, late)]
    assert share[1] < 0.7 * share[0]


def test_one_rate_is_tried_once() -> None:
    (found,) = optuna(ToyFits(), options(space=Range(0.1, 0.1)))
    assert found[0].learning_rate == 0.1


def test_a_space_that_is_not_logarithmic_is_drawn_evenly() -> None:
    space = Range(0.1, 0.9, log=False)
    rates = [
        t.learning_rate for seed in range(30) for t, _ in optuna(ToyFits(), options(space=space, points=2, seed=seed))
    ]
    assert np.mean(rates) == pytest.approx(0.5, abs=0.1)


def test_a_budget_ends_the_study() -> None:
    assert len(optuna(ToyFits(), options(budget=Budget(fits=3)))) == 3


def test_nothing_is_written_and_optunas_voice_is_left_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    import optuna as library

    before = library.logging.get_verbosity()
    library.logging.set_verbosity(library.logging.INFO)
    try:
        optuna(ToyFits(), options(points=3))
        assert library.logging.get_verbosity() == library.logging.INFO
    finally:
        library.logging.set_verbosity(before)
    written = capfd.readouterr()
    assert (written.out, written.err) == ("", "")


def test_without_the_package_the_strategy_says_at_load_which_extra_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.delitem(sys.modules, "lr_retune.search.optuna")
    with pytest.raises(ConfigError, match=r"pip install 'lr-retune\[optuna\]'") as raised:
        importlib.import_module("lr_retune.search.optuna")
    assert raised.value.exit_code == 2
