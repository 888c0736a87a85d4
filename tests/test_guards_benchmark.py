"""The benchmark of the guards flips what it says, and its parts run."""

from __future__ import annotations

import numpy as np
import pytest

from tests.benchmarks.judge import label_rates, poison_audit, poison_oracle, slices
from tests.benchmarks.judge.poison import FIRST, OLD, Attack, Replay, asked, made, upper


def test_flips_hit_one_level_and_are_the_share_that_is_told() -> None:
    stream = made(0, rows=100)
    replay = Replay(stream, 0)
    found = replay.flipped(0.01)
    assert found is not None
    y, part = found
    changed = y != stream.y
    assert changed[replay.train].sum() == round(0.01 * replay.train.sum())
    assert not changed[(stream.tick < OLD) | replay.gold].any()
    assert changed[stream.tick >= OLD + FIRST].any()
    assert 0 < part <= 1
    assert replay.flipped(0.5) is None  # no level holds so many positives
    assert asked(replay.scores(stream.y, replay.after))[:2] == (False, False)


def test_slices_without_harm_are_seldom_blocked_and_large_harm_always_is() -> None:
    assert slices.blocked(20, ticks=14, sd=0.15, harm=0.0) <= 2
    assert slices.blocked(5, ticks=14, sd=0.05, harm=0.2) == 5


def test_label_rates_are_measured_on_earlier_and_new_ticks() -> None:
    assert label_rates.table(quick=True).splitlines()[1].split()[:4] == ["synthetic", "84", "+", "7"]


def test_a_limit_of_a_share_is_the_exact_one() -> None:
    assert upper(0, 59) == pytest.approx(1 - 0.05 ** (1 / 59))
    assert upper(3, 3) == 1.0
    assert np.diff([upper(k, 50) for k in range(10)]).min() > 0


def test_an_audit_holds_flips_and_no_sound_labels() -> None:
    attack = Attack(made(0, rows=200), 0)
    poisoned = attack.flipped(0.01)
    assert poisoned is not None
    assert poison_audit.held(attack, poisoned[0], 2_000, 0.0)
    assert not poison_audit.held(attack, attack.stream.y, 2_000, 0.0)


def test_the_power_of_who_knows_the_slice_is_that_of_one_normal_test() -> None:
    seen = object.__new__(poison_oracle.Seen)
    seen.sum, seen.chance, seen.most = 0.0, 0.001, 1.0
    alone, drifting = poison_oracle.powers([[seen] * 10], 0.003)
    assert alone == pytest.approx([0.9123] * 10, abs=1e-3)
    assert drifting == [1.0] * 10  # ten windows without any drift
