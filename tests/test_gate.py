"""What a deployment job is told about a version, whatever happened to ledger, files, registry and names."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from lr_retune.config import load_config
from lr_retune.errors import DependencyError, HeldError
from lr_retune.report.gate import form
from lr_retune.stores.gate import GateVerdict, Rule, RuleStatus, _Patience
from lr_retune.stores.promotion import Stores
from tests import store_rig
from tests.conftest import Answer

Cli = Callable[..., Answer]
FORMS = ("text", "json", "markdown", "github", "junit")
CONFIG = """\
config_version = 1
name = "fraud"
task = "binary"
data = { path = "x.parquet", time = "at", label = "y" }
metric = { name = "log_loss" }
"""
NOW = "2019-03-20"  # four days after the last settlement


class Place(NamedTuple):
    """A folder with a story: version 1 was born, 2 promoted; then one challenger of every kind was judged."""

    folder: Path
    judged: dict[str, str]  # what became of a challenger → its decision

    def stores(self) -> Stores:
        return Stores.open(load_config(self.folder / "retune.toml", environ={}))


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("told")
    (folder / "retune.toml").write_text(CONFIG, encoding="utf-8")
    stores = Stores.open(load_config(folder / "retune.toml", environ={}))
    store_rig.born(stores)
    store_rig.promote(stores, 13)
    judged = {}
    for days, status in ((14, "FAIL"), (15, "INCONCLUSIVE"), (16, "ERROR")):
        judged[status] = store_rig.promote(stores, days, 0.05 + days / 1000, status).decision.id
    stores.registry.set_alias("fraud", "champion", "1")  # in the way of a challenger that passes
    with pytest.raises(HeldError):
        store_rig.promote(stores, 17, 0.09)
    stores.registry.set_alias("fraud", "champion", "2")
    judged["PASS"] = stores.ledger.last("fraud").record["decision"]["id"]
    return Place(folder, judged)


@pytest.fixture
def place(told: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    folder = tmp_path / "live"
    shutil.copytree(told.folder, folder)
    monkeypatch.chdir(folder)
    return Place(folder, told.judged)


def sql(file: Path, text: str, *values: Any) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        assert connection.execute(text, values).rowcount > 0


def status_of(found: Answer, code: str) -> str:
    status: str = next(rule["status"] for rule in found.json["rules"] if rule["code"] == code)
    return status


# ── one cause, one code ───────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("judged", "code", "status"),
    [("PASS", 0, "PASS"), ("FAIL", 1, "FAIL"), ("INCONCLUSIVE", 10, "INCONCLUSIVE"), ("ERROR", 4, "ERROR")],
)
def test_a_challenger_is_told_as_it_was_judged(cli: Cli, place: Place, judged: str, code: int, status: str) -> None:
    found = cli("gate", "--decision", place.judged[judged], "--as-of", NOW, "--json")
    assert (found.code, found.json["status"]) == (code, status)
    assert status_of(found, "LRR504") == status
    assert found.json["expires_at"].startswith("2019-03-")


@pytest.mark.parametrize("as_of", [NOW, "2029-01-01"])
def test_the_champion_passes_by_its_own_committed_row_for_as_long_as_it_reigns(
    cli: Cli, place: Place, as_of: str
) -> None:
    found = cli("gate", "--version", 2, "--as-of", as_of, "--json")
    assert (found.code, {rule["status"] for rule in found.json["rules"]}) == (0, {"PASS"})


def test_a_first_champion_passes_too(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("retune.toml").write_text(CONFIG, encoding="utf-8")
    store_rig.born(Stores.open(load_config(Path("retune.toml"), environ={})))
    assert cli("gate", "--version", 1).code == 0


def test_a_verdict_expires(cli: Cli, place: Place) -> None:
    asked = ("gate", "--decision", place.judged["PASS"], "--json")
    assert cli(*asked, "--as-of", "2019-03-25").code == 0  # judged on the 18th, valid for 7 days
    late = cli(*asked, "--as-of", "2019-03-25T00:00:01")
    assert (late.code, status_of(late, "LRR505")) == (1, "FAIL")


@pytest.mark.fault("G7")
@pytest.mark.parametrize("subject", [("--version", 9), ("--version", ""), ("--decision", "beef"), ("--decision", "")])
def test_what_the_ledger_does_not_know_fails(cli: Cli, place: Place, subject: tuple[str, object]) -> None:
    found = cli("gate", *subject, "--as-of", NOW, "--json")
    assert (found.code, status_of(found, "LRR502")) == (1, "FAIL")


def test_a_champion_that_changed_meanwhile_is_a_conflict(cli: Cli, place: Place) -> None:
    place.stores().rollback(None, "ann", "slow", store_rig.BORN + 18 * store_rig.DAY, lambda _files: True)
    for subject in (("--version", 2), ("--decision", place.judged["PASS"])):
        found = cli("gate", *subject, "--as-of", NOW, "--json")
        assert (found.code, status_of(found, "LRR506")) == (5, "CONFLICT")
    assert cli("gate", "--version", 1, "--as-of", "2029-01-01").code == 0  # back by its own row


def test_a_promotion_cut_short_is_no_pass(cli: Cli, place: Place) -> None:
    sql(place.folder / "lr_retune.db", "UPDATE promotions SET state = 'CLAIMED' WHERE version = '2'")
    found = cli("gate", "--version", 2, "--as-of", NOW, "--json")
    assert (found.code, status_of(found, "LRR506")) == (4, "ERROR")


# ── mismatches: 6 ─────────────────────────────────────────────────────────────────────────────────
def edit_entry(place: Place) -> None:
    sql(place.folder / "lr_retune.db", "UPDATE entries SET record = replace(record, '0.42', '0.41')")


def drop_entry(place: Place) -> None:
    sql(place.folder / "lr_retune.db", "DELETE FROM entries WHERE seq = 3")


def move_head(place: Place) -> None:
    sql(place.folder / "lr_retune.db", "UPDATE heads SET head = ?", "e" * 64)


def edit_file(place: Place) -> None:
    digest = place.stores().champion(store_rig.BORN + 20 * store_rig.DAY).model
    file = place.folder / "lr_retune_models" / digest / "model.txt"
    file.write_bytes(file.read_bytes() + b" ")


def point_elsewhere(place: Place) -> None:
    place.stores().registry.set_alias("fraud", "champion", "1")


def drop_alias(place: Place) -> None:
    sql(place.folder / "mlflow.db", "DELETE FROM registered_model_aliases WHERE alias = 'champion'")


def swap_artifact(place: Place) -> None:
    """Version 2 shows version 1's files."""
    sql(
        place.folder / "mlflow.db",
        "UPDATE model_versions SET (source, storage_location) = "
        "(SELECT source, storage_location FROM model_versions WHERE version = 1) WHERE version = 2",
    )


def newer_schema(place: Place) -> None:
    sql(place.folder / "lr_retune.db", "UPDATE schema_version SET version = 99")


@pytest.mark.fault("G5", "G6", "G1", "E5", "E6")
@pytest.mark.parametrize(
    ("tamper", "rule"),
    [
        (edit_entry, "LRR501"),
        (drop_entry, "LRR501"),
        (move_head, "LRR501"),
        (newer_schema, "LRR501"),
        (edit_file, "LRR503"),
        (swap_artifact, "LRR503"),
        (point_elsewhere, "LRR507"),
        (drop_alias, "LRR507"),
    ],
)
@pytest.mark.parametrize("output", FORMS)
def test_what_is_not_as_recorded_ends_with_6_in_every_form(
    cli: Cli, place: Place, tamper: Callable[[Place], None], rule: str, output: str
) -> None:
    tamper(place)
    found = cli("gate", "--version", 2, "--as-of", NOW, "--output", output)
    assert found.code == 6
    line = next(line for line in found.out.splitlines() if rule in line)
    assert "TAMPERED" in line


CODES: dict[RuleStatus, int] = {"PASS": 0, "INCONCLUSIVE": 10, "FAIL": 1, "ERROR": 4, "CONFLICT": 5, "TAMPERED": 6}


def test_of_several_failures_the_gravest_gives_the_code() -> None:
    for found in itertools.product(CODES, repeat=3):
        gravest = min((CODES[status] for status in found), key=(6, 5, 4, 1, 10, 0).index)
        assert GateVerdict("m", "1", None, tuple(Rule("X", s, "") for s in found), None).exit_code == gravest


def test_a_tampered_ledger_outranks_a_champion_that_changed(cli: Cli, place: Place) -> None:
    place.stores().rollback(None, "ann", "slow", store_rig.BORN + 18 * store_rig.DAY, lambda _files: True)
    edit_entry(place)
    assert cli("gate", "--version", 2, "--as-of", NOW).code == 6


# ── what is away: 4, closed, in time ──────────────────────────────────────────────────────────────
def test_a_corrupt_ledger_is_an_error_in_every_form(cli: Cli, place: Place) -> None:
    (place.folder / "lr_retune.db").write_bytes(b"no database" * 1000)
    for output in FORMS:
        found = cli("gate", "--version", 2, "--output", output)
        assert found.code == 4
        assert "ERROR" in found.out
    assert ET.fromstring(found.out).attrib["errors"] == "1"


@pytest.mark.fault("F-1", "G7")
@pytest.mark.parametrize("away", ["refuses", "silent"])
def test_mlflow_away_is_an_error_within_thirty_seconds(place: Place, away: str) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:  # it listens and never answers
        port = server.getsockname()[1]
        if away == "refuses":
            server.close()
        config = place.folder / "retune.toml"
        config.write_text(f'{CONFIG}mlflow = {{ tracking_uri = "http://127.0.0.1:{port}" }}\n', encoding="utf-8")
        begun = time.monotonic()
        environ = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        done = subprocess.run(
            [sys.executable, "-m", "lr_retune.cli", "gate", "--version", "2", "--as-of", NOW, "--output", "junit"],
            cwd=place.folder,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 4, done
    assert ET.fromstring(done.stdout).attrib["errors"] == "2"
    assert "Traceback" not in done.stderr
    assert time.monotonic() - begun < 30


def test_a_server_that_drips_its_answers_has_one_deadline_for_all_of_them() -> None:
    patience, release = _Patience(0.2), threading.Event()

    def slow() -> tuple[RuleStatus, str]:
        release.wait(30)
        return "PASS", "late"

    for _ in range(2):
        with pytest.raises(DependencyError, match="in all"):
            patience(slow)
    release.set()


# ── a person overrules ────────────────────────────────────────────────────────────────────────────
WORD = ("--force", "--actor", "ann", "--reason", "known false alarm")


@pytest.mark.fault("G7")
@pytest.mark.parametrize("judged", ["FAIL", "INCONCLUSIVE"])
def test_a_verdict_is_overruled_by_name_and_reason_and_the_ledger_keeps_it(cli: Cli, place: Place, judged: str) -> None:
    asked = ("gate", "--decision", place.judged[judged], "--as-of", NOW)
    found = cli(*asked, *WORD, "--json")
    assert (found.code, found.json["status"]) == (0, judged)
    row = place.stores().ledger.last("fraud")
    assert (row.kind, row.record["actor"], row.record["reason"]) == ("forced", "ann", "known false alarm")
    assert row.record["overruled"] == [rule["code"] for rule in found.json["rules"] if rule["status"] != "PASS"]
    assert found.json["forced"] == {"actor": "ann", "reason": "known false alarm", "ledger_row": row.seq}
    assert place.stores().ledger.verify("fraud") == []
    assert cli(*asked).code == (1 if judged == "FAIL" else 10)  # the word was about that once
    for output in FORMS[:-1]:
        assert "ann" in cli(*asked, *WORD, "--output", output).out


@pytest.mark.parametrize(("tamper", "code"), [(edit_entry, 6), (edit_file, 6), (point_elsewhere, 6)])
def test_nobody_overrules_what_is_not_as_recorded(
    cli: Cli, place: Place, tamper: Callable[[Place], None], code: int
) -> None:
    tamper(place)
    before = place.stores().ledger.last("fraud").seq
    found = cli("gate", "--version", 2, "--as-of", NOW, *WORD, "--json")
    assert (found.code, "forced" in found.json) == (code, False)
    assert place.stores().ledger.last("fraud").seq == before


def test_nobody_overrules_what_was_never_judged(cli: Cli, place: Place) -> None:
    assert cli("gate", "--version", 9, "--as-of", NOW, *WORD).code == 1


# ── forms ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("subject", ["PASS", "FAIL", "INCONCLUSIVE", "ERROR"])
def test_every_form_tells_every_rule_and_ends_with_the_same_code(cli: Cli, place: Place, subject: str) -> None:
    asked = ("gate", "--decision", place.judged[subject], "--as-of", NOW)
    short = cli(*asked, "--json")
    answers = {output: cli(*asked, "--output", output) for output in FORMS}
    assert {found.code for found in answers.values()} == {short.code}
    assert answers["json"].out == short.out
    assert set(short.json) == {
        "schema_version", "command", "model", "version", "decision", "status", "rules", "expires_at",
    }  # fmt: skip
    for rule in short.json["rules"]:
        assert all(rule["code"] in found.out for found in answers.values())
    suite = ET.fromstring(answers["junit"].out)
    bad = [rule for rule in short.json["rules"] if rule["status"] != "PASS"]
    assert int(suite.attrib["tests"]) == len(suite.findall("testcase")) == len(short.json["rules"])
    assert int(suite.attrib["failures"]) + int(suite.attrib["errors"]) == len(bad)
    levels = [line.split(" ")[0] for line in answers["github"].out.splitlines()]
    assert levels.count("::notice") == len(short.json["rules"]) - len(bad)


HOSTILE = [
    "a\n::error::b",
    "a\r::set-output name=x::y",
    "##[error]x ##vso[task.setvariable variable=x]y",
    "\x1b[31mred\x9b31m",
    "<script>alert(1)</script>",
    "![x](https://e.vil/x.png) [y](javascript:z) www.e.vil a@e.vil @team",
    "a|b`c`*d*_e_ <!-- --> &lt;",
    '"/><failure message="',
    "]]> \x00\x0b\ufffe\ud800 \u202edcba",
    "=cmd()|' /C calc'!A0",
    "%0A::error::x%25",
]


@pytest.mark.fault("A13", "G9", "A14")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_inert_in_every_form(name: str) -> None:
    found = GateVerdict(name, name, name, (Rule("LRR502", "FAIL", name), Rule("LRR504", "PASS", name)), None)
    said = {output: form(output)(found) for output in FORMS}
    for output, text in said.items():
        assert all(c.isprintable() or c == "\n" for c in text), output  # no escape reaches a terminal
        assert not [line for line in text.splitlines() if line.lstrip().startswith("::")] or output == "github"
        assert "##[" not in text or output == "json"
        assert "##vso" not in text or output == "json"
    assert [line.split("::")[1].split(" ")[0] for line in said["github"].splitlines()] == ["error", "notice"]
    assert not re.search("%(?!25)", said["github"])
    suite = ET.fromstring(said["junit"])
    assert [len(case) for case in suite.findall("testcase")] == [1, 0]
    markdown = said["markdown"].splitlines()
    assert [line.count("|") for line in markdown[2:]] == [4, 4, 4, 4]
    for cell in (markdown[0].partition(": ")[2], *(line.split("|")[3] for line in markdown[4:])):
        assert not set("<>[]`*_!:.\"'@") & set(re.sub(r"&#\d+;", "", cell))


# ── the words of a CI author ──────────────────────────────────────────────────────────────────────
@pytest.mark.fault("G7")
@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 2),  # nothing to judge
        (("--version", 2, "--decision", "x"), 2),
        (("--version", 2, "--model", "another"), 2),
        (("--version", 2, "--output", "xml"), 2),
        (("--version", 2, "-c", "absent.toml"), 2),
        (("--version", 2, "--skip"), 2),
        (("--version", 2, "--force"), 2),
        (("--version", 2, "--force", "--actor", "ann"), 2),
        (("--version", 2, "--write", "junit"), 2),
        (("--version", 2, "--write", "xml=x"), 2),
    ],
)
def test_a_gate_that_was_asked_wrongly_never_passes(
    cli: Cli, place: Place, words: tuple[object, ...], code: int
) -> None:
    found = cli("gate", *words)
    assert found.code == code
    assert found.err.startswith("error: ")


@pytest.mark.fault("G7")
@pytest.mark.parametrize("lost", ["lr_retune.db", "lr_retune_models"])
def test_what_is_lost_never_passes(cli: Cli, place: Place, lost: str) -> None:
    target = place.folder / lost
    target.rename(target.with_name("gone"))
    gone = f"file://{place.folder}/nowhere"
    sql(place.folder / "mlflow.db", "UPDATE model_versions SET source = ?, storage_location = ?", gone, gone)
    found = cli("gate", "--version", 2, "--as-of", NOW)
    assert found.code in (1, 4, 6)
    assert not (place.folder / "lr_retune.db").exists() or lost != "lr_retune.db"  # a gate creates nothing


@pytest.mark.fault("G7")
def test_no_variable_skips_the_gate(cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SKIP", "LR_RETUNE_SKIP", "LR_RETUNE_FORCE", "LR_RETUNE_SKIP_GATE", "CI_SKIP"):
        monkeypatch.setenv(name, "1")
    assert cli("gate", "--decision", place.judged["FAIL"], "--as-of", NOW).code == 1


def test_the_first_letters_of_a_decision_will_do_where_they_are_unambiguous(cli: Cli, place: Place) -> None:
    full = place.judged["PASS"]  # the day and the champion: all of one month begin alike
    assert cli("gate", "--decision", full[:12], "--as-of", NOW, "--json").json["decision"] == full
    several = cli("gate", "--decision", full[:6], "--as-of", NOW)
    assert (several.code, "decisions begin with" in several.err) == (2, True)
    assert cli("gate", "--decision", full[:3], "--as-of", NOW).code == 1  # too short to stand for anything
    shown = cli("explain", full[:12], "--json").json["explanation"]
    assert shown["decision"]["decision"]["id"] == full
    moved = cli("promote", full[:12], "--actor", "ann", "--reason", "alias is back", "--as-of", NOW, "--json")
    assert (moved.code, moved.json["champion"]["version"]) == (0, "3")
    assert cli("gate", "--version", 3, "--as-of", NOW).code == 0


def test_one_verification_is_written_in_several_forms(cli: Cli, place: Place) -> None:
    found = cli("gate", "--version", 2, "--as-of", NOW, "--write", "junit=gate.xml", "--write", "markdown=gate.md")
    assert found.code == 0
    assert ET.fromstring(Path("gate.xml").read_text(encoding="utf-8")).attrib["failures"] == "0"
    assert Path("gate.md").read_text(encoding="utf-8").startswith("### PASS")


# ── what CI systems are given ─────────────────────────────────────────────────────────────────────
CI = Path(__file__).parents[1] / "deploy" / "ci"


@pytest.mark.parametrize(("subject", "code", "head"), [("version", 0, "### PASS"), ("decision", 1, "### FAIL")])
def test_the_action_ends_as_the_gate_does_and_fills_the_summary(
    place: Place, tmp_path: Path, subject: str, code: int, head: str
) -> None:
    action = yaml.safe_load((CI / "github" / "action.yml").read_text(encoding="utf-8"))
    (step,) = action["runs"]["steps"]
    assert "${{" not in step["run"]  # inputs reach the shell as variables, never as text of the script
    summary = tmp_path / "summary.md"
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environ |= dict.fromkeys(step["env"], "") | {"CONFIG": "retune.toml", "GITHUB_STEP_SUMMARY": str(summary)}
    environ |= {"VERSION": "2"} if subject == "version" else {"DECISION": place.judged["FAIL"]}
    environ |= {"RUNNER_TEMP": str(tmp_path)}
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", step["run"]],
        cwd=place.folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert summary.read_text(encoding="utf-8").startswith(head)
    assert "::notice title=LRR501::" in done.stdout


def test_the_other_ci_files_call_commands_that_exist(cli: Cli, place: Place) -> None:
    job = yaml.safe_load((CI / "gitlab.yml").read_text(encoding="utf-8"))["lr-retune-gate"]
    assert job["artifacts"]["reports"]["junit"] == "gate.xml"
    (line,) = [line for line in job["script"] if line.startswith("lr-retune gate")]
    words = [word.strip('"') for word in line.replace("$LR_RETUNE_CONFIG", "retune.toml").split()[1:]]
    assert cli(*[word.replace("$LR_RETUNE_VERSION", "2") for word in words]).code == 0
    hooks = yaml.safe_load((CI / "pre-commit.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    assert [cli(*hook["entry"].split()[1:]).code for hook in hooks] == [0]
