"""What suggested challengers would have brought, told when asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lr_retune.config import load_config
from lr_retune.hindsight import FOLLOWED, hindsight
from lr_retune.plugins import load_plugins
from lr_retune.retune import bootstrap, retune
from lr_retune.stores.approvals import standing
from lr_retune.stores.promotion import Stores
from lr_retune.watch.baselines import always
from tests.conftest import Answer
from tests.worlds import day, world

Cli = Callable[..., Answer]


@pytest.fixture(scope="module")
def suggested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world changed at day 70; challengers of days 106 and 120 passed and were only suggested."""
    folder = tmp_path_factory.mktemp("suggested")
    path = world(folder, changed=70, more='[promote]\nmode = "suggest"')
    path.write_text(path.read_text().replace("points = 3", "points = 2").replace("max_steps = 400", "max_steps = 150"))
    config = load_config(path, environ={})
    stores = Stores.open(config)
    bootstrap(config, stores, day(100))
    for when in (106, 120):
        assert retune(config, stores, day(when), policy=always).outcome == "suggested"
    return folder


@pytest.fixture
def folder(suggested: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(suggested, tmp_path / "home")
    monkeypatch.chdir(tmp_path / "home")
    return tmp_path / "home"


def test_suggestions_are_held_against_what_served_on_rows_that_came_later(cli: Cli, folder: Path) -> None:
    asked = ("status", "--hindsight", "--as-of", day(158).isoformat())
    found = cli(*asked, "--json").json["models"][0]["hindsight"]
    assert [each["state"] for each in found] == ["suggested", "suggested", FOLLOWED]
    assert [each["from"] for each in found] == [day(106).isoformat(), day(120).isoformat(), day(106).isoformat()]
    for each in found:
        assert each["better"] == "suggested"
        assert each["difference"]["low"] > 0
        assert each["loss"]["suggested"] < each["loss"]["served"]
        assert sum(each["blocks"].values()) == each["ticks"]
    said = cli(*asked).out
    assert said.count("it would have been better") == 3
    assert "had each been followed in turn" in said


def test_history_tells_it_too_and_neither_does_unasked(cli: Cli, folder: Path) -> None:
    assert len(cli("history", "--hindsight", "--json").json["hindsight"]) == 3
    assert "hindsight" not in cli("history", "--json").json
    assert "hindsight" not in cli("status", "--as-of", day(121).isoformat(), "--json").json["models"][0]


def test_before_labels_have_come_there_is_nothing_to_tell_and_why(folder: Path) -> None:
    config = load_config(folder / "retune.toml", environ={})
    stores = Stores.open(config)
    found = hindsight(config, load_plugins(config), stores, day(120))
    assert [each.pair is None for each in found] == [False, True, False]
    assert "labels are complete until" in found[1].note


def test_who_was_promoted_meanwhile_is_what_served(cli: Cli, folder: Path) -> None:
    config = load_config(folder / "retune.toml", environ={})
    stores = Stores.open(config)
    plugins, newest = load_plugins(config), standing(stores, day(121))[-1]["decision"]
    early, before = (hindsight(config, plugins, stores, when)[0] for when in (day(140), day(158)))
    stores.promote(newest, actor="ann", reason="it is better", as_of=day(140))
    assert hindsight(config, plugins, stores, day(140))[0].served == early.served  # nothing of it is known by then
    after = hindsight(config, plugins, stores, day(158))
    assert [each.state for each in after] == ["outdated"]  # the promoted one served, and is left out
    assert after[0].served != before.served
    assert (after[0].suggested, after[0].rows) == (before.suggested, before.rows)


def test_files_that_are_gone_are_told_and_the_others_still_are(cli: Cli, folder: Path) -> None:
    config = load_config(folder / "retune.toml", environ={})
    stores = Stores.open(config)
    digest = stores.settlement(standing(stores, day(121))[0]["decision"]).record["next"]["model"]  # type: ignore[union-attr]
    shutil.rmtree(next(folder.glob(f"*_models/{digest}")))
    found = cli("status", "--hindsight", "--as-of", day(158).isoformat(), "--json").json["models"][0]["hindsight"]
    assert [each["difference"] is None for each in found] == [True, False, True]
    assert "no model files" in found[0]["note"]


def test_without_a_suggestion_it_says_so(cli: Cli, fresh: Path) -> None:
    assert "there is no challenger that passed" in cli("status", "--hindsight", "--as-of", day(107).isoformat()).out
