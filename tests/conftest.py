"""What several test files share: the shared data, small configurations, the command line in this process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
hypothesis.settings.register_profile("here", deadline=None)  # two noisy cores: a slow example is no failure
hypothesis.settings.load_profile("here")
# A shell without job control starts what runs behind it deaf to SIGINT, and every child inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
STRICT = bool(os.environ.get("LR_RETUNE_NO_SKIP"))  # set where every tool and data set is installed


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Where everything is installed, a test that skips is a test that fails."""
    found = yield
    report = found.get_result()
    if STRICT and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may skip: {report.longrepr}"


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """Path of a shared data set, or a skip that says which one is absent."""

    def path(name: str) -> Path:
        found = SHARED / f"{name}.parquet"
        if not found.exists():
            pytest.skip(f"{found.name} is not in ../shared/data")
        return found

    return path


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out)
        return found


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Run a command in this process and return its exit code and words."""
    from lr_retune.cli import main

    def run(*words: object) -> Answer:
        monkeypatch.setattr(sys, "argv", ["lr-retune", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        seen = capsys.readouterr()
        code = ended.value.code
        return Answer(code if isinstance(code, int) else 0, seen.out, seen.err)

    return run


# ── a model that has lived ────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose world changed at day 70: version 1 was born at day 100, version 2 promoted on day 106."""
    from lr_retune.config import load_config
    from lr_retune.retune import bootstrap, retune
    from lr_retune.stores.promotion import Stores
    from lr_retune.watch.baselines import always
    from tests.worlds import day, world

    folder = tmp_path_factory.mktemp("lived")
    config = load_config(world(folder, changed=70), environ={})
    stores = Stores.open(config)
    bootstrap(config, stores, day(100))
    assert retune(config, stores, day(106), policy=always).outcome == "promoted"
    return folder


@pytest.fixture
def home(lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the current folder."""
    folder = tmp_path / "home"
    shutil.copytree(lived, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with rows and a configuration, nothing else, as the current one."""
    from tests.worlds import world

    world(tmp_path / "fresh")
    monkeypatch.chdir(tmp_path / "fresh")
    return tmp_path / "fresh"
