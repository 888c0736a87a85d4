"""The commands as a script, a CI job and somebody at 3 a.m. meet them: words, JSON, exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest

from lr_retune import records
from lr_retune.config import load_config
from lr_retune.stores.promotion import Stores
from tests.conftest import Answer
from tests.worlds import day, rows, write

Cli = Callable[..., Answer]
HEAVY = ("mlflow", "prefect", "evidently", "lightgbm", "sklearn", "pandas", "duckdb")
COMMANDS = [
    "init", "check", "bootstrap", "watch", "run", "search", "replay", "promote", "rollback", "reconcile", "gate",
    "status", "history", "explain", "config show", "config schema", "audit verify", "demo demand", "demo fraud",
    "doctor", "pause", "resume", "prune", "deploy", "contract diff", "contract accept", "rejudge",
    "approve", "reject", "lift", "selfcheck", "report", "relive", "golden",
]  # fmt: skip
BORN, RETUNED = day(100), day(106)


def stores_of(folder: Path) -> Stores:
    return Stores.open(load_config(folder / "retune.toml", environ={}))


def decision_of(folder: Path) -> str:
    return stores_of(folder).history(day(900)).decisions[-1].id


def python(code: str, *words: object, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


# ── what is imported ──────────────────────────────────────────────────────────────────────────────
EACH = """
import contextlib, io, json, sys
from lr_retune.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["lr-retune", *words]
    out, err = (io.TextIOWrapper(io.BytesIO()) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as ended:
            assert ended.code in (0, 1, 2), (words, ended.code)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
"""


def test_help_and_version_import_nothing_heavy() -> None:
    words = [[], ["--help"], ["--version"], ["config"], ["nonsense"], *([*c.split(), "--help"] for c in COMMANDS)]
    done = python(EACH, json.dumps(words))
    assert done.returncode == 0, done.stderr
    assert not set(HEAVY) & set(json.loads(done.stdout))


def test_what_a_deployment_job_asks_imports_no_machine_learning(home: Path) -> None:
    words = [["status"], ["history"], ["explain", "age"], ["explain", decision_of(home)], ["gate", "--version", "2"]]
    done = python(EACH, json.dumps(words))
    assert done.returncode == 0, done.stderr
    assert not {"lightgbm", "sklearn", "evidently", "prefect", "duckdb"} & set(json.loads(done.stdout))
    told = python(EACH, json.dumps([["history"], ["explain", "LRR201"], ["audit", "verify"]]))
    assert "mlflow" not in json.loads(told.stdout)  # the ledger alone answers


# ── words of a command ────────────────────────────────────────────────────────────────────────────
def test_every_command_is_listed_with_what_it_does(cli: Cli) -> None:
    top = cli("--help")
    for command in {c.split()[0] for c in COMMANDS}:
        assert re.search(rf"^  {command} +[A-Z]", top.out, re.MULTILINE), command
    assert cli("--version").out.startswith("lr-retune 0.")


def test_a_call_without_words_shows_the_help_and_is_no_success(cli: Cli) -> None:
    for words in ((), ("config",), ("audit",), ("demo",), ("contract",)):
        found = cli(*words)
        assert (found.code, "Usage: lr-retune" in found.err) == (2, True)


@pytest.mark.parametrize("command", ["nonsense", "gat"])
def test_an_unknown_command_ends_with_2_and_says_so(cli: Cli, command: str) -> None:
    found = cli(command, "--json")
    assert found.code == 2
    assert f"No such command '{command}'" in found.err
    assert "do: see `lr-retune --help`" in found.err
    assert found.json["error"]["exit_code"] == 2


@pytest.mark.parametrize(
    "words", [("run", "--bogus"), ("replay",), ("init",), ("history", "--limit", "0"), ("promote",)]
)
def test_a_wrong_word_names_the_help_of_its_command(cli: Cli, words: tuple[str, ...]) -> None:
    found = cli(*words)
    assert found.code == 2
    assert f"see `lr-retune {words[0]} --help`" in found.err


# ── JSON, as the outside contract says ────────────────────────────────────────────────────────────
LOOK = {"decision", "facts"}
STATE = {"champion", "previous", "ledger_row"}
FIELDS: list[tuple[str, set[str]]] = [
    ("check --as-of 2024-04-17", {"ok", "problems"}),
    ("watch --as-of 2024-04-17", LOOK),
    (
        "run --as-of 2024-04-17",
        LOOK
        | {
            "outcome",
            "champion",
            "challenger",
            "control",
            "verdicts",
            "look",
            "attribution",
            "cost",
            "run_id",
            "timing",
        },
    ),
    (
        "search --as-of 2024-04-17 --strategy fixed --seed 3",
        {"strategy", "best", "control", "trials", "step_unit", "cost", "timing"},
    ),
    ("gate --version 2 --as-of 2024-04-17", {"model", "status", "rules", "expires_at"}),
    ("rollback --actor ann --reason slow", STATE),
    ("status --as-of 2024-04-17", {"models"}),
    ("history", {"decisions"}),
    ("explain stale", {"explanation"}),
    ("reconcile", {"ok", "tidied"}),
    ("audit verify", {"ok", "problems"}),
    ("config show", {"ok", "config"}),
    ("config schema", {"ok", "schema"}),
    (
        "replay --from 2024-04-10 --to 2024-04-20 --every 5 --against never,policy",
        {"policies", "ticks"},
    ),
]


@pytest.mark.parametrize(("words", "fields"), FIELDS)
def test_an_answer_is_one_json_object_with_the_fields_of_the_contract(
    cli: Cli, home: Path, words: str, fields: set[str]
) -> None:
    found = cli(*words.split(), "--json")
    assert found.code == 0, found
    assert found.out.count("\n") == 1
    assert (found.json["schema_version"], found.json["command"]) == (1, words.split(" -")[0].removesuffix(" stale"))
    assert fields <= set(found.json)
    assert found.err == ""
    assert cli(*words.split()).out != found.out


def test_a_promotion_answers_in_the_words_of_the_contract(cli: Cli, fresh: Path) -> None:
    write(fresh, rows(changed=100))
    born = cli("bootstrap", "--as-of", BORN.isoformat(), "--json").json
    assert set(born["champion"]) >= {"version", "learning_rate", "loss"}
    assert born["run_id"]
    when = day(112).isoformat()
    found = cli("run", "--as-of", when, "--json").json
    assert found["outcome"] == "promoted"
    assert found["challenger"]["version"] == found["champion"]["version"] == "2"
    assert set(found["control"]) >= {"learning_rate", "loss"}
    assert set(found["decision"]) == {"id", "action", "reasons"}
    assert {*found["facts"]} >= {"rows", "matured_rows", "ticks", "loss", "drift", "faults"}
    assert {*found["facts"]["ticks"][0]} == {"start", "end", "rows", "matured", "loss"}
    assert {*found["facts"]["loss"]} >= {"value", "low", "high", "promised"}
    drift = {"column", "method", "statistic", "threshold", "importance", "drifted"}
    assert {*found["facts"]["drift"][0]} >= drift
    assert {*found["verdicts"][0]} >= {"gate", "code", "status", "effect", "low", "high", "reason"}
    assert "at most 5 times in 100" in found["verdicts"][1]["promise"]
    assert {*found["verdicts"][1]["evidence"]} >= {"bound_by", "p_superior.ewc_t", "effective_ticks", "detectable_28"}
    assert {*found["timing"]} == {"cpu_s", "wall_s"}
    again = cli("run", "--as-of", when, "--json").json
    assert (again["decision"], again["champion"]) == (found["decision"], found["champion"])


def test_search_answers_in_the_words_of_the_contract_and_records_nothing(cli: Cli, home: Path) -> None:
    before = len(stores_of(home).ledger.entries("demo"))
    found = cli("search", "--as-of", "2024-04-17", "--json").json
    assert {*found["best"]} == {"learning_rate", "schedule", "steps", "loss", "trees"}
    assert {*found["trials"][0]} >= {"number", "learning_rate", "schedule", "loss", "state", "steps"}
    assert {*found["cost"]} == {"fits", "steps", "row_steps"}
    assert len(stores_of(home).ledger.entries("demo")) == before


# ── exit codes ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("outcome", "action", "plain", "strict"),
    [
        ("kept", "keep", 0, 0),
        ("promoted", "refit", 0, 0),
        ("rolled_back", "rollback", 0, 0),
        ("rejected", "refit", 0, 1),
        ("inconclusive", "search", 0, 10),
        ("suggested", "refit", 0, 10),
        ("awaiting_approval", "refit", 0, 10),
        ("held", "fix_feed", 3, 3),
        ("held", "ask", 10, 10),
        ("held", "refit", 10, 10),  # it passed, and a guard held it
    ],
)
def test_run_ends_as_the_rulings_say(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch, outcome: Any, action: Any, plain: int, strict: int
) -> None:
    import lr_retune.retune

    stores, config = stores_of(home), load_config(home / "retune.toml", environ={})
    seen = lr_retune.retune.watch(config, stores, day(107))
    ended = records.Report(outcome, seen.facts, records.Decision("d", action, ()), seen.champion)
    monkeypatch.setattr(lr_retune.retune, "retune", lambda *_, **__: ended)
    assert cli("run").code == plain
    assert cli("run", "--exit-code").code == strict


@pytest.mark.fault("E5", "E6")
@pytest.mark.parametrize("gone", [False, True])
def test_an_alias_moved_by_hand_holds_every_run_and_is_never_overwritten(cli: Cli, home: Path, gone: bool) -> None:
    registry = stores_of(home).registry
    if gone:
        with closing(sqlite3.connect(home / "mlflow.db")) as connection, connection:
            connection.execute("DELETE FROM registered_model_aliases WHERE alias = 'champion'")
    else:
        registry.set_alias("demo", "champion", "1")
    moved = registry.alias("demo", "champion")
    found = cli("run", "--as-of", day(107).isoformat(), "--json")
    assert (found.code, found.json["outcome"], found.json["decision"]["action"]) == (10, "held", "ask")
    assert cli("watch", "--as-of", day(107).isoformat()).code == 10
    checked = cli("check", "--as-of", day(107).isoformat(), "--json")
    assert (checked.code, [p["code"] for p in checked.json["problems"]]) == (10, ["alias_moved"])
    told = cli("status", "--as-of", day(107).isoformat())
    assert (told.code, "runs are held" in told.out) == (10, True)
    assert registry.alias("demo", "champion") == moved
    assert cli("rollback").code == 10
    assert registry.alias("demo", "champion") == moved


@pytest.mark.fault("H3", "H5")
def test_what_was_rolled_back_comes_back_only_when_a_person_lifts_it(cli: Cli, home: Path) -> None:
    decision = decision_of(home)
    back = cli("rollback", "--actor", "ann", "--reason", "wrong on Mondays", "--json").json
    assert (back["champion"]["version"], back["previous"]["version"]) == ("1", "2")
    assert back["ledger_row"] == stores_of(home).ledger.last("demo").seq
    assert cli("promote", decision, "--reason", "again").code == 10
    assert cli("promote", decision, "--force").code == 2
    assert cli("run", "--as-of", RETUNED.isoformat()).code in (0, 5, 10)
    assert stores_of(home).champion(day(900)).version == "1"
    assert cli("rollback").code == 10  # nobody is left to go back to
    assert cli("promote", decision, "--force", "--reason", "again").code == 10
    assert cli("rollback", "--to", 2).code == 10
    (frozen,) = cli("status", "--json").json["models"][0]["frozen"]
    assert (frozen["version"], frozen["by"], frozen["reason"]) == ("2", "ann", "wrong on Mondays")
    assert "FROZEN: version 2" in cli("status").out
    assert cli("lift", 2).code == cli("lift", 9, "--reason", "mended").code == 2
    lifted = cli("lift", 2, "--actor", "bob", "--reason", "Mondays are mended", "--json")
    assert (lifted.code, lifted.json["lifted"]["by"], lifted.json["champion"]["version"]) == (0, "ann", "1")
    assert "was not frozen" in cli("lift", frozen["model"][:8], "--reason", "twice").out
    assert cli("promote", decision, "--reason", "again").code == 5  # a decision moves the champion once
    assert cli("rollback", "--to", 2, "--reason", "mended").code == 0
    assert cli("audit", "verify").code == 0
    moves = [entry.key for entry in stores_of(home).ledger.entries("demo") if entry.kind == "move"]
    assert "rollback as of" in (told := cli("explain", moves[-2]).out)
    assert "by ann: wrong on Mondays; champion is then version 1" in told


@pytest.mark.fault("H4")
def test_a_rollback_to_files_that_were_changed_is_refused(cli: Cli, home: Path) -> None:
    digest = stores_of(home).ledger.promotions("demo")[0].candidate
    file = home / "lr_retune_models" / digest / "model.txt"
    file.write_bytes(file.read_bytes()[:-1])
    named = cli("rollback", "--to", 1)
    assert (named.code, "digest" in named.err) == (6, True)
    assert cli("rollback").code == 10  # no sound one is left
    assert stores_of(home).champion(day(900)).version == "2"


@pytest.mark.fault("H1")
def test_nothing_is_promoted_that_did_not_pass(cli: Cli, home: Path) -> None:
    cli("watch", "--as-of", day(107).isoformat())
    found = cli("promote", decision_of(home))
    assert (found.code, "no challenger that passed" in found.err) == (2, True)
    assert cli("promote", "0000").code == 2


def test_a_second_bootstrap_is_refused(cli: Cli, home: Path) -> None:
    found = cli("bootstrap", "--as-of", day(110).isoformat())
    assert (found.code, "has a champion already" in found.err) == (2, True)


@pytest.mark.fault("G6")
def test_an_edited_ledger_is_found_by_everyone_who_looks(cli: Cli, home: Path) -> None:
    with closing(sqlite3.connect(home / "lr_retune.db")) as connection, connection:
        connection.execute("UPDATE entries SET record = replace(record, 'PASS', 'FAIL') WHERE kind = 'settlement'")
    for words in (("audit", "verify"), ("status", "--as-of", RETUNED.isoformat())):
        found = cli(*words)
        assert (found.code, "was changed after it was written" in found.out) == (6, True)
    checked = cli("check", "--as-of", day(107).isoformat(), "--json")
    assert (checked.code, checked.json["problems"][0]["code"]) == (6, "ledger")


# ── status ────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("days", "code"), [(106, 0), (108, 0), (108.01, 1), (200, 1), (90, 0)])
def test_status_is_stale_when_nobody_has_looked_for_two_ticks(cli: Cli, home: Path, days: float, code: int) -> None:
    at = (BORN + (RETUNED - BORN) / 6 * (days - 100)).isoformat()
    found = cli("status", "--as-of", at, "--json")
    (model,) = found.json["models"]
    assert (found.code, model["stale"], model["champion"]["version"]) == (code, bool(code), "2")
    lines = cli("status", "--as-of", at).out
    assert ("STALE" in lines) == bool(code)
    assert "champion version 2, rate" in lines
    assert "{" not in lines


def test_status_tells_what_it_knows_when_mlflow_is_away(cli: Cli, home: Path) -> None:
    (home / "mlflow.db").write_bytes(b"no database" * 1000)
    found = cli("status", "--as-of", RETUNED.isoformat())
    assert found.code == 4
    assert "champion version 2" in found.out
    assert "PROBLEM: MLflow" in found.out


@pytest.mark.parametrize("words", ["status", "history", "audit verify", "reconcile", "watch", "run", "rollback"])
def test_before_the_first_champion_nothing_is_made_and_the_next_step_is_named(
    cli: Cli, fresh: Path, words: str
) -> None:
    found = cli(*words.split())
    assert found.code == (2 if words in ("watch", "run", "rollback") else 0)
    assert found.code == 0 or "run `lr-retune bootstrap`" in found.err
    assert sorted(p.name for p in fresh.iterdir()) == ["retune.toml", "rows.parquet"]


# ── explain ───────────────────────────────────────────────────────────────────────────────────────
def test_every_code_and_word_of_an_answer_is_explained(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lr_retune.codes import CHECKS
    from lr_retune.data.contract import FAULTS
    from lr_retune.judge.gates import RULES
    from lr_retune.stores.gate import GATE_RULES, RuleStatus
    from lr_retune.stores.settling import ROLLED_BACK
    from lr_retune.watch.reasons import REASONS

    monkeypatch.chdir(tmp_path)  # no configuration is needed
    words = [
        get_args(kind) for kind in (records.Action, records.Outcome, records.Status, records.TrialState, RuleStatus)
    ]
    codes = {*FAULTS, *RULES, *GATE_RULES, *REASONS, *CHECKS, ROLLED_BACK}.union(*words)
    package = Path(records.__file__).parent
    written = {code for file in package.rglob("*.py") for code in re.findall(r'"(LRR\d{3})"', file.read_text())}
    for code in sorted(codes | written):
        found = cli("explain", code)
        assert (found.code, len(found.out) > 30) == (0, True), code
    assert cli("explain", "lrr201").out.endswith(cli("explain", "LRR201").out.partition(": ")[2])


def test_explain_tells_a_decision_and_a_birth_in_full(cli: Cli, home: Path) -> None:
    decision = decision_of(home)
    found = cli("explain", decision[:6])
    assert f"decision {decision}" in found.out
    for word in ("refit", "LRR201", "challenger", "control", "fixed", "promote as of", "version 2"):
        assert word in found.out
    born = stores_of(home).ledger.promotions("demo")[0].decision
    assert "bootstrap as of 2024-04-10" in cli("explain", born[:8]).out
    assert decision in cli("history").out
    wrong = cli("explain", "0000")
    assert (wrong.code, "lr-retune history" in wrong.err) == (2, True)


# ── set up, by the words printed alone ────────────────────────────────────────────────────────────
def test_the_printed_words_lead_from_a_file_to_a_run(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, rows(160))
    todo = [["init", "--from", "rows.parquet", "--label", "y", "--time", "ts", "-o", "my model.toml"]]
    done = []
    while todo:
        words = todo.pop(0)
        found = cli(*words)
        done.append(words[0])
        assert found.code == 0 or words[0] == "run", found  # the rows ended long ago: the run says so
        printed = [shlex.split(line) for line in re.findall(r"lr-retune ([^,\n]+)", found.out)]
        todo += [line for line in printed if line[0] not in ("explain", *done)]
    assert done == ["init", "check", "bootstrap", "replay", "run"]
    assert found.code == 3
    assert "stale" in cli("history", "-c", "my model.toml", "--json").out
    assert cli("init", "--from", "rows.parquet", "--label", "y", "--time", "ts", "-o", "my model.toml").code == 2


def test_the_configuration_told_is_the_configuration_read(cli: Cli, fresh: Path) -> None:
    shown = cli("config", "show").out
    (fresh / "again.toml").write_text(shown, encoding="utf-8")
    assert cli("config", "show", "-c", "again.toml").out == shown
    assert json.loads(cli("config", "schema").out) == cli("config", "schema", "--json").json["schema"]


def change(old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / "retune.toml").read_text()
        assert old in text
        (folder / "retune.toml").write_text(text.replace(old, new), encoding="utf-8")

    return edit


def short_history(folder: Path) -> None:
    write(folder, rows(30))


def corrupt_ledger(folder: Path) -> None:
    (folder / "lr_retune.db").write_bytes(b"no database" * 1000)


AWAY = '[mlflow]\ntracking_uri = "http://127.0.0.1:9"\n[gates]'


@pytest.mark.parametrize(
    ("damage", "code", "look", "words"),
    [
        (lambda folder: (folder / "retune.toml").unlink(), 2, "config", "retune.toml"),
        (change("[data]", "[data"), 2, "config", "line 5"),
        (change('task = "regression"', 'tusk = "regression"'), 2, "config", "did you mean 'task'"),
        (change('strategy = "grid"', 'strategy = "gird"'), 2, "plugins", "did you mean 'grid'"),
        (change("[model]", '[model]\nfamily = "xgb"'), 2, "plugins", "installed: ['lightgbm'"),
        (lambda folder: (folder / "rows.parquet").rename(folder / "row.parquet"), 3, "data", "'row.parquet'"),
        (change('label = "y"', 'label = "yy"'), 3, "data", "near it: ['y'"),
        (short_history, 3, "data", "not enough history"),
        (corrupt_ledger, 4, "ledger", "lr_retune.db"),
        (change("[gates]", AWAY), 4, "registry", "127.0.0.1:9"),
    ],
)
def test_check_finds_what_is_wrong_and_says_what_why_and_what_to_do(
    cli: Cli, fresh: Path, damage: Callable[[Path], None], code: int, look: str, words: str
) -> None:
    damage(fresh)
    found = cli("check", "--as-of", BORN.isoformat(), "--json")
    assert found.code == code, found
    problem = next(p for p in found.json["problems"] if p["code"] == look)
    assert words in " ".join(str(part) for part in problem.values())
    assert problem["what"]
    assert problem["fix"]
    assert not found.json["ok"]
    lines = cli("check", "--as-of", BORN.isoformat())
    assert (lines.code, lines.out.startswith(f"{look}: ")) == (code, True)
    assert not (fresh / "mlflow.db").exists()


def test_check_on_a_sound_folder_says_ok_and_makes_nothing(cli: Cli, fresh: Path) -> None:
    before = sorted(fresh.iterdir())
    assert cli("check", "--as-of", BORN.isoformat()).out == "ok\n"
    assert sorted(fresh.iterdir()) == before


def test_several_problems_are_told_at_once(cli: Cli, fresh: Path) -> None:
    change('strategy = "grid"', 'strategy = "gird"')(fresh)
    corrupt_ledger(fresh)
    found = cli("check", "--json")
    assert [p["code"] for p in found.json["problems"]] == ["plugins", "ledger"]
    assert found.code == 2


# ── errors, signals, pipes ────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["run", "-c", "absent.toml"], 2),
        (["run", "-c", "."], 2),
        (["run", "--as-of", "yesterday"], 2),
        (["watch", "--as-of", "0001-01-01T00:00+14:00"], 2),
        (["search", "--strategy", "gird"], 2),
        (["replay", "--from", "2024-04-10", "--to", "2024-04-01"], 2),
        (["replay", "--from", "2024-04-10", "--to", "2024-04-12", "--against", "nobody"], 2),
        (["rollback", "--to", "77"], 2),
        (["promote", "nobody"], 2),
        (["explain", "nobody"], 2),
        (["init", "--from", "absent.parquet", "--label", "y", "--time", "ts", "-o", "new.toml"], 3),
        (["init", "--from", "rows.parquet", "--label", "yy", "--time", "ts", "-o", "new.toml"], 2),
        (["init", "--from", "rows.parquet", "--label", "y", "--time", "ts", "-o", "absent/new.toml"], 2),
        (["demo", "demand", "--folder", "."], 2),
    ],
)
def test_an_error_says_what_and_what_to_do_on_stderr_and_as_an_object_for_scripts(
    cli: Cli, home: Path, words: list[str], code: int
) -> None:
    found = cli(*words)
    assert (found.code, found.out) == (code, "")
    assert found.err.startswith("error: ")
    assert "\ndo: " in found.err
    assert "Traceback" not in found.err
    scripted = cli(*words, "--json")
    assert scripted.json["error"]["exit_code"] == scripted.code == code
    assert {*scripted.json["error"]} == {"what", "why", "fix", "exit_code"}
    assert scripted.json["command"] == (" ".join(words[:2]) if words[0] == "demo" else words[0])


def test_a_bug_is_told_as_a_bug(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lr_retune.retune

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a\nb\x1b[31m")

    monkeypatch.setattr(lr_retune.retune, "watch", broken)
    found = cli("watch", "--json")
    assert (found.code, found.json["error"]["exit_code"]) == (70, 70)
    assert "this is a bug in lr-retune" in found.err
    assert "\x1b" not in found.err
    monkeypatch.setenv("LR_RETUNE_DEBUG", "1")
    found = cli("watch")
    assert (found.code, "Traceback" in found.err, "broken" in found.err) == (70, True, True)


@pytest.mark.fault("F-5")
def test_a_full_disk_is_no_bug(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import lr_retune.retune

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "/data/x")

    monkeypatch.setattr(lr_retune.retune, "watch", full)
    found = cli("watch")
    assert (found.code, found.err) == (
        4,
        "error: cannot read or write /data/x\nwhy: No space left on device\ndo: mend it\n",
    )


SLEEP = """
import sys, time
import lr_retune.retune
def sleep(*_, **__):
    print("ready", flush=True)
    time.sleep(60)
lr_retune.retune.watch = sleep
sys.argv = ["lr-retune", "watch"]
from lr_retune.cli import main
main()
"""


@pytest.mark.fault("E12")
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_command_at_once_with_its_code(home: Path, sent: signal.Signals, code: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SLEEP], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        child.send_signal(sent)
        _, err = child.communicate(timeout=20)
    assert child.returncode == code
    assert err.strip().splitlines()[0] == "error: stopped by a signal"
    assert "Traceback" not in err


def test_an_answer_that_nobody_reads_is_no_success(home: Path) -> None:
    read, written = os.pipe()
    os.close(read)
    with subprocess.Popen(
        [sys.executable, "-m", "lr_retune.cli", "history"], stdout=written, stderr=subprocess.PIPE, text=True
    ) as child:
        os.close(written)
        _, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (1, "")


def test_a_terminal_that_lacks_a_letter_gets_another(home: Path) -> None:
    code = "import sys; sys.argv = ['lr-retune', *sys.argv[1:]]; from lr_retune.cli import main; main()"
    done = python(code, "explain", decision_of(home), PYTHONIOENCODING="iso8859-5")
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\xb7" in done.stdout


def test_all_strategies_are_compared_beside_the_old_rate_and_the_fixed_one(cli: Cli, home: Path) -> None:
    answer = cli("search", "--strategy", "all", "--as-of", "2024-04-17", "--json")
    assert answer.code == 0, answer.err
    rows = {row["strategy"]: row for row in answer.json["strategies"]}
    assert next(iter(rows)) == "bracket"
    assert "kpass" not in rows  # it belongs to the other family
    assert {"grid", "random", "halving", "optuna", "plateau", "range_test", "fixed 0.05"} < set(rows)
    assert [name for name in rows if name.startswith("keep ")] == [list(rows)[-1]]
    for row in rows.values():
        assert row["note"] or (row["best"]["loss"] > 0 and row["later_loss"] > 0)
    spent = rows["grid"]["cost"]["steps"]
    assert 0 < rows["fixed 0.05"]["cost"]["steps"] < spent
    table = cli("search", "--strategy", "all", "--as-of", "2024-04-17").out
    assert "later loss" in table
    assert "bracket" in table
