"""The judge's benchmark runs, its worlds hold the truths they name, and its short cut changes no answer."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from lr_retune.judge.gates import paired_loss
from tests.benchmarks.judge.worlds import Late, Means, Ranks, codes, outcome, refused, settings, upper


@pytest.mark.parametrize("part", ["size", "ranks", "power", "outlook", "cost"])
def test_every_part_makes_its_table(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"tests.benchmarks.judge.{part}")
    if hasattr(module, "TICKS") and part != "cost":
        monkeypatch.setattr(module, "TICKS", (14,))
    text = module.table(True)
    assert "%" in text or "ms" in text


@pytest.mark.parametrize("world", [Means(), Means(memory=0.3), Means(skew=True), Means(rho=0.0, tails=True, sd=0.003)])
def test_models_that_should_be_equal_are_equal_on_average(world: Means) -> None:
    rng = np.random.default_rng(1)
    gains = []
    for _ in range(400):
        s = world(rng, 14)
        gains.append((s.champion - s.challenger).mean())
    assert abs(np.mean(gains)) < 4 * np.std(gains) / 20


def test_early_labels_flatter_and_mature_ticks_do_not() -> None:
    rng = np.random.default_rng(1)
    gains = {
        naive: np.mean([(s.champion - s.challenger).mean() for s in (Late(naive)(rng, 14) for _ in range(300))])
        for naive in (False, True)
    }
    assert abs(gains[False]) < 0.03 < gains[True]


def test_the_short_cut_changes_no_answer() -> None:
    config, rng = settings(), np.random.default_rng(4)
    for scores in (Means(gain=0.005 * (i % 7))(rng, 14) for i in range(60)):
        code = refused(scores, config, 0.0)
        whole = paired_loss(scores, outcome(), config).code
        assert (code == whole) if code else (code is None or whole != "LRR201")


def test_a_cell_is_the_same_on_every_run_and_ties_are_ties() -> None:
    assert list(codes(Means(), 14, 20, settings())) == list(codes(Means(), 14, 20, settings()))
    assert len(np.unique(Ranks(step=0.05)(np.random.default_rng(0), 7).champion)) < 22


def test_the_upper_limit_is_that_of_the_binomial() -> None:
    assert upper(0, 100) == pytest.approx(1 - 0.05**0.01)
    assert upper(100, 2000) == pytest.approx(0.0588, abs=0.0005)
