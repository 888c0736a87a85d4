"""The benchmark of policies runs, keeps what it found, and prints it again."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lr_retune.config import Config, load_config
from tests.benchmarks.policies import __main__ as benchmark
from tests.benchmarks.policies import measure
from tests.benchmarks.sets import Setup
from tests.worlds import day, world


def test_it_prints_the_same_figures_twice_and_walks_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = world(tmp_path, changed=105)

    def configured(*_args: object, **_more: object) -> Config:
        return load_config(path, environ={})

    setup = Setup("regression", "mae", day(100), day(140), 1, 1)
    monkeypatch.setattr(measure, "configured", configured)
    monkeypatch.setattr(measure, "SETUPS", {"demo": setup})
    monkeypatch.setattr(measure, "CLOCK", {"demo": 10})
    words = ["policies", "--sets", "demo", "--cache", str(tmp_path / "cache"), "--arms", "never,policy,clock+grid10"]
    monkeypatch.setattr(sys, "argv", words)
    printed = []
    for _ in range(2):
        benchmark.main()
        printed.append(capsys.readouterr().out)
        monkeypatch.setattr(measure, "_walked", None)  # nothing is walked a second time
    assert printed[0] == printed[1]
    rows = [line.split() for line in printed[0].splitlines() if line.startswith("demo ")]
    assert [row[1] for row in rows] == ["never", "policy", "clock+grid10"]
    assert rows[0][3:7] != rows[1][3:7]
    assert "above by .5 %" in printed[0]


def test_spans_are_halved_and_doubled_in_whole_ticks_that_a_gate_can_judge(tmp_path: Path) -> None:
    config = load_config(world(tmp_path), environ={})
    found = {arm.name: arm.config for arm in measure.arms_of(config, 7)}
    short, long = found["short"], found["long-none"]
    assert short is not None
    assert long is not None
    assert [w.days for w in (short.window.train, short.window.valid, short.window.holdout)] == [30, 7, 7]
    assert [w.days for w in (long.window.train, long.window.valid, long.window.holdout)] == [120, 28, 28]
    assert (short.promote.refit, long.promote.refit) == ("after_pass", "none")
