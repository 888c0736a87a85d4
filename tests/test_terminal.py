"""What a person sees on a terminal: it fits, says what plain lines say, and nothing in a name acts on it."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console, RenderableType

from lr_retune import console, masks
from lr_retune.config import Config, load_config
from lr_retune.records import Trial
from lr_retune.stores.promotion import Stores
from lr_retune.stores.status import story
from lr_retune.terminal.base import table, text, trend, versus
from lr_retune.terminal.decisions import explained, history
from lr_retune.terminal.live import Goal, Watcher, goal
from lr_retune.terminal.models import status
from tests.conftest import Answer
from tests.worlds import day, world

Cli = Callable[..., Answer]
HOSTILE = "[bold red]x[/] \x1b[31m\x1b]0;title\x07 ::error:: :smile: ##[error] \u202e"
SGR = re.compile(r"\x1b\[[0-9;]*m")
FIGURES = {"value": 1.1, "promised": 1.0, "alarm": True}


def drawn(what: RenderableType, width: int = 80, *, colour: bool = False) -> str:
    out = io.StringIO()
    kind = "standard" if colour else None
    made = Console(
        file=out, width=width, force_terminal=colour, color_system=kind, highlight=False, markup=False, emoji=False
    )
    made.print(what)
    return out.getvalue()


def model(name: str = "bike", **changes: Any) -> dict[str, Any]:
    known: dict[str, Any] = {
        "name": name,
        "champion": {"version": "3", "learning_rate": 0.0478, "loss": 1.0, "since_decision": "a" * 16},
        "last_look": "2024-04-16T00:00:00+00:00",
        "last_decision": "0fd04654e85d841a",
        "last_action": "keep",
        "last_outcome": "kept",
        "last_reasons": ["as promised", "drift of a"],
        "loss": FIGURES,
        "recent": [1.0, None, 1.2, 1.1],
        "stale": False,
        "stale_after": "2d",
        "paused": None,
        "approvals": [],
        "suggestions": [],
        "frozen": [],
        "undelivered": [],
        "problems": [],
    }
    return known | changes


# ── many models at a glance ───────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("width", [80, 140])
def test_a_model_and_many_of_them_fit_and_what_waits_is_said_once(width: int) -> None:
    undelivered = [{"error": "HTTP 500"}]
    paused = {"until": "2024-12-27", "by": "ann", "reason": "freeze"}
    several = [
        model("a-model-with-a-name-that-is-much-too-long-for-this", stale=True),
        model("b", stale=True, paused=paused),
        model("c", undelivered=undelivered, last_outcome="promoted"),
        model("d", champion=None, problems=["no config"], loss=None, recent=[]),
        model("e", champion=None, loss=None, recent=[]),
    ]
    for found in (drawn(status(several), width), *(drawn(status([each]), width) for each in several)):
        assert max(map(len, found.splitlines())) <= width
    many = drawn(status(several, ["hindsight: more"]), width)
    flat = " ".join(many.split())
    assert flat.count("nobody has looked for more than 2d") == 1
    assert "STALE a-model-with-a-name-that-is-much-too-long-for-this, b: nobody" in flat
    assert re.search(r"^b .*STALE", many, re.MULTILINE)
    assert re.search(r"^c .*NOT TOLD", many, re.MULTILINE)
    assert re.search(r"^e .*no champion", many, re.MULTILINE)
    assert re.search(r"PROBLEM +d: no config", many)
    assert many.index("PROBLEM  ") < many.index("PAUSED ")
    assert "hindsight: more" in many
    assert ("as promised" in many) == (width == 140)
    one = drawn(status(several[1:2]), width)
    for words in ("version 3, rate 0.0478", "1.1 of 1 promised", "+10.0%", "alarm", "PAUSED", "drift of a"):
        assert words in one


def test_a_folder_stands_for_the_models_in_it(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place, name in (("a/retune.toml", "a"), ("b/retune.toml", "b"), ("c.toml", "c")):
        file = world(tmp_path / "made", days=2)
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(file.read_text().replace('name = "demo"', f'name = "{name}"'))
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "made/retune.toml").unlink()
    found = cli("status", "-c", ".", "-c", "a/retune.toml", "--json")
    assert [each["name"] for each in found.json["models"]] == ["c", "a", "b"]
    empty = cli("status", "-c", "made")
    assert (empty.code, "holds no retune.toml" in empty.err) == (2, True)


# ── decisions ─────────────────────────────────────────────────────────────────────────────────────
def decisions() -> list[dict[str, Any]]:
    found = [("kept", None, ""), ("promoted", "2", ""), ("rejected", None, "rejected"), ("unsettled", None, "")]
    return [
        {
            "id": f"{i}fd04654e85d841a",
            "as_of": f"2024-04-{16 + i}T00:00:00+00:00",
            "action": "refit",
            "outcome": outcome,
            "version": version,
            "why": "because " * 40,
            "approval": {"state": "expired"} if outcome == "unsettled" else None,
        }
        for i, (outcome, version, _) in enumerate(found)
    ]


@pytest.mark.parametrize("width", [80, 140])
def test_a_history_reads_as_a_log_one_line_each(width: int) -> None:
    found = drawn(history(decisions()), width).rstrip("\n").splitlines()
    assert len(found) == 2 + 4
    assert max(map(len, found)) <= width
    assert re.match(r"2024-04-17 +1fd04654 +refit +promoted +2 +because .*…", found[3])
    assert "unsettled (expired)" in found[5]
    later = [each | {"as_of": each["as_of"].replace("00:00:00", "06:30:00")} for each in decisions()]
    assert "2024-04-17 06:30" in drawn(history(later), width)
    assert drawn(history([])).strip() == "no decisions yet"


@pytest.mark.parametrize("width", [80, 140])
def test_a_decision_is_drawn_with_everything_its_plain_lines_say(home: Path, width: int) -> None:
    config = load_config(home / "retune.toml", environ={})
    stores = Stores.open(config)
    promoted = stores.moves[-1].id
    record, lines = story(stores, promoted)
    found = drawn(explained(stores, record), width)
    assert max(map(len, found.splitlines())) <= width
    assert "refit → promoted" in found
    assert promoted[:16] in found
    flat = " ".join(re.sub("[│╭╮╰╯─]", " ", found).split())
    figures = re.findall(r"\d+\.\d{2,}", " ".join(lines))
    assert len(figures) > 5
    assert all(figure in flat for figure in figures)
    for verdict in record["settlement"]["judgement"]["verdicts"]:
        assert verdict["code"] == "LRR300" or verdict["code"] in flat
    assert "champion is then version 2" in flat
    assert "undo lr-retune rollback" in flat
    born, _ = story(stores, stores.moves[0].id)
    assert "bootstrap → promoted" in drawn(explained(stores, born), width)


# ── nothing in a name acts ────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("G9")
def test_markup_escapes_and_commands_in_names_stay_words() -> None:
    reasons = [HOSTILE]
    several = [model(HOSTILE, last_reasons=reasons, problems=[HOSTILE]), model("b", last_action=HOSTILE)]
    listed = [each | {"why": HOSTILE, "id": HOSTILE, "action": HOSTILE} for each in decisions()]
    for what in (status(several), status(several[:1]), status(several[1:]), history(listed)):
        for width in (80, 200):
            bare = SGR.sub("", drawn(what, width, colour=True))
            assert not any(c in bare for c in "\x1b\x07\u202e\U0001f604")
            assert "##[" not in bare
    assert "[bold red]x[/]" in drawn(status(several), 200)
    assert ":smile:" in drawn(history(listed), 200)


@given(said=st.text(max_size=60), width=st.integers(20, 160))
@settings(max_examples=60)
def test_whatever_a_cell_holds_nothing_but_our_own_colours_reaches_the_terminal(said: str, width: int) -> None:
    made = table(("a", {}), ("b", {}))
    made.add_row(text(said), text(said, "bad", clip=True))
    bare = SGR.sub("", drawn(made, width, colour=True))
    assert all(c.isprintable() or c == "\n" for c in bare)


def test_a_secret_is_masked_before_a_cell_is_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "_held", {"a-secret-of-some-length"})
    found = drawn(status([model(last_reasons=["no answer from a-secret-of-some-length"])]), 24)
    assert "***" in found
    assert "length" not in found


# ── figures ───────────────────────────────────────────────────────────────────────────────────────
@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=True, allow_infinity=True)), max_size=50))
def test_a_trend_is_as_long_as_what_it_shows(values: list[float | None]) -> None:
    assert len(trend(values, 20).plain) == min(len(values), 20)


def test_how_far_a_loss_lies_from_another_is_told_with_the_right_sign() -> None:
    told = [versus(*pair).plain for pair in ((1.1, 1.0), (0.9, 1.0), (1.0, 1.0), (None, 1.0), (1.0, 0.0), (1.0, None))]
    assert told == ["+10.0%", "-10.0%", "+0.0%", "", "", ""]
    assert versus(-1.1, -1.0).plain == "-10.0%"


# ── a search as it goes ───────────────────────────────────────────────────────────────────────────
def trial(number: int, rate: float, loss: float | None, role: Any = "candidate", state: Any = "complete") -> Trial:
    return Trial(number, role, rate, "constant", loss, 10, state)


def test_a_search_tells_its_trials_the_best_one_and_how_long_yet() -> None:
    now = [0.0]
    watcher = Watcher("run", Goal(fits=4), lambda: now[0])
    assert watcher.line().plain == "run · loading · 0 s"

    def tune() -> str:
        now[0] = 10.0
        watcher(trial(0, 9.0, None, state="diverged"))
        assert "1 of 4 trials · last: rate 9 diverged" in watcher.line().plain
        assert watcher.left() is None
        now[0] = 14.0
        watcher(trial(1, 0.1, 0.5))
        watcher(trial(9, 0.05, 0.4, "fixed"))
        now[0] = 15.0
        assert watcher.line().plain == (
            "run · searching · 2 of 4 trials · best 0.4 at rate 0.05 · 15 s · about 7 s left"
        )
        return "done"

    assert watcher.step(tune) == "done"
    assert watcher.left() is None
    watcher("a word")
    assert "a word" in watcher.line().plain
    free = Watcher("search", Goal(seconds=60), lambda: now[0])
    free.search()
    now[0] += 20
    free(trial(0, 0.1, 0.5))
    assert "1 trial · best 0.5 at rate 0.1 · 20 s · about 40 s left" in free.line().plain
    assert "search" in drawn(free)


def test_what_a_configuration_says_of_a_searchs_end_is_known(tmp_path: Path) -> None:
    made = load_config(world(tmp_path, days=2), environ={})

    def asked(**search: Any) -> Config:
        return made.model_copy(update={"search": made.search.model_copy(update=search)})

    assert goal(asked()) == Goal(fits=3)
    assert goal(asked(strategy="bracket")) == goal(None) == Goal()
    budget = made.search.budget.model_copy(update={"fits": 2, "seconds": 9.0})
    assert goal(asked(budget=budget)) == Goal(fits=2, seconds=9.0)


# ── where there is no terminal ────────────────────────────────────────────────────────────────────
def test_only_a_terminal_that_takes_colours_is_drawn_on(monkeypatch: pytest.MonkeyPatch) -> None:
    tty = SimpleNamespace(isatty=lambda: True, encoding="utf-8")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert console.draws(tty)
    assert not console.draws(SimpleNamespace(isatty=lambda: False, encoding="utf-8"))
    assert not console.draws(SimpleNamespace(isatty=lambda: True, encoding="ascii"))
    monkeypatch.setenv("TERM", "dumb")
    assert not console.draws(tty)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not console.draws(tty)


def on_a_terminal(folder: Path, *words: str, **variables: str) -> str:
    """What a command writes to a pseudo terminal of 80 columns."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "PYTHONIOENCODING": "utf-8", **variables}
    command = [sys.executable, "-m", "lr_retune.cli", *words]
    with subprocess.Popen(command, cwd=folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        parts = []
        try:
            while part := os.read(ours, 4096):
                parts.append(part)
        except OSError:  # Linux ends a terminal that nobody holds any more with an error
            pass
        running.wait(60)
    os.close(ours)
    return b"".join(parts).decode().replace("\r\n", "\n")


def test_a_terminal_is_drawn_on_and_without_colours_or_with_json_it_gets_what_a_pipe_gets(home: Path, cli: Cli) -> None:
    words = ("status", "--as-of", day(107).isoformat())
    seen = on_a_terminal(home, *words, NO_COLOR="")
    assert "╭─ demo  version 2" in SGR.sub("", seen)
    assert "\x1b[" in seen
    assert on_a_terminal(home, *words, NO_COLOR="1") == cli(*words).out
    assert json.loads(on_a_terminal(home, *words, "--json", NO_COLOR="")) == cli(*words, "--json").json
