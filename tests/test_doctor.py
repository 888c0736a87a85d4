"""Every broken set-up that doctor knows, really broken: it is told by name, with what to do and the right exit code."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from lr_retune.console import moment
from lr_retune.doctor import GRAVEST, Diagnosis, examine, gravest
from lr_retune.doctor_machine import Machine, listens_publicly, silent
from lr_retune.stores.mlflow import MLflowRegistry
from tests.conftest import Answer
from tests.postgres import PASSWORD, Postgres, postgres
from tests.worlds import day, rows, write

__all__ = ["postgres"]
Cli = Callable[..., Answer]
BORN, RETUNED = day(100), day(106)
NOW = "2024-04-17T12:00:00+00:00"
CALM = {"future_rows"}  # the world of these tests has rows after its now


def ask(folder: Path, at: str = NOW, **machine: Any) -> Diagnosis:
    return examine(folder / "retune.toml", lambda config: moment(config, at), Machine(**machine))


def python(code: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-c", code]
    return subprocess.run(words, cwd=cwd, capture_output=True, text=True, timeout=120, check=False, **options)


DOCTOR = "import sys; sys.argv = ['lr-retune', 'doctor', '--json']; from lr_retune.cli import main; main()"


def change(old: str, new: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        text = (folder / "retune.toml").read_text()
        assert old in text
        (folder / "retune.toml").write_text(text.replace(old, new), encoding="utf-8")

    return edit


def add(text: str) -> Callable[[Path], None]:
    return change("[gates]", f"{text}\n[gates]")


def sql(file: str, *statements: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        with closing(sqlite3.connect(folder / file)) as connection, connection:
            assert sum(connection.execute(statement).rowcount for statement in statements) > 0

    return edit


def flip(file: str) -> Callable[[Path], None]:
    """A few bytes in the middle of a database, as a bad disk does it."""

    def edit(folder: Path) -> None:
        with (folder / file).open("r+b") as stream:
            for page in (3, 5):
                stream.seek(4096 * page)
                stream.write(b"\xff" * 64)

    return edit


def champion_files(folder: Path, version: str = "2") -> Path:
    with closing(sqlite3.connect(folder / "lr_retune.db")) as connection:
        row = connection.execute("SELECT candidate FROM promotions WHERE version = ?", (version,)).fetchone()
    return folder / "lr_retune_models" / row[0]


def alter(version: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = champion_files(folder, version) / "model.txt"
        file.write_bytes(file.read_bytes() + b"\n")

    return edit


def tear(folder: Path) -> None:
    file = folder / "rows.parquet"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def lose_column(folder: Path) -> None:
    write(folder, {name: values for name, values in rows(changed=100).items() if name != "a"})


def forget_files(folder: Path) -> None:
    shutil.rmtree(champion_files(folder))
    shutil.rmtree(folder / "lr_retune_models")


def closed_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


NO_SERVER = f"http://127.0.0.1:{closed_port()}"
BROKEN = {
    "no retune.toml": (lambda f: (f / "retune.toml").unlink(), "config", 2, "lr-retune init"),
    "torn toml": (change("[data]", "[data"), "config", 2, "line 5"),
    "unknown key": (change("points = 3", "pints = 3"), "config", 2, "did you mean 'points'"),
    "unknown plug-in": (change('strategy = "grid"', 'strategy = "gird"'), "plugins", 2, "did you mean 'grid'"),
    "secret not set": (add('[mlflow]\ntracking_uri = "env:NO_SUCH_VARIABLE"'), "secrets", 2, "export NO_SUCH_VARIABLE"),
    "no database": (lambda f: (f / "lr_retune.db").write_bytes(b"no" * 9999), "database", 4, "is corrupt"),
    "flipped bytes": (flip("lr_retune.db"), "database", 4, "restore it from a backup"),
    "newer ledger": (sql("lr_retune.db", "UPDATE schema_version SET version = 99"), "database", 6, "upgrade lr-retune"),
    "edited entry": (
        sql("lr_retune.db", "UPDATE entries SET record = replace(record, 'PASS', 'FAIL') WHERE kind = 'settlement'"),
        "ledger",
        6,
        "was changed after it was written",
    ),
    "altered champion": (alter("2"), "models", 6, "restore the folder from a backup"),
    "half done": (
        sql("lr_retune.db", "UPDATE promotions SET state = 'CLAIMED' WHERE version = '2'"),
        "unfinished",
        10,
        "lr-retune reconcile",
    ),
    "alias moved": (
        sql("mlflow.db", "UPDATE registered_model_aliases SET version = 1 WHERE alias = 'champion'"),
        "alias_moved",
        10,
        "points at 1, the ledger says version 2",
    ),
    "MLflow's database flipped": (flip("mlflow.db"), "mlflow", 4, "MLflow's database"),
    "MLflow down": (add(f'[mlflow]\ntracking_uri = "{NO_SERVER}"'), "mlflow", 4, "Connection refused"),
    "PostgreSQL away": (
        add(f'[state]\nurl = "postgresql+psycopg://{NO_SERVER.removeprefix("http://")}/x"'),
        "database",
        4,
        "nobody answers at 127.0.0.1",
    ),
    "no driver": (add('[state]\nurl = "postgresql+pg8000://db/x"'), "database", 4, "lr-retune[postgres]"),
    "torn feed": (tear, "data", 3, "rows.parquet"),
    "no feed": (lambda f: (f / "rows.parquet").unlink(), "data", 3, "rows.parquet"),
    "column gone": (lose_column, "missing_column", 3, "bring the column back"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
@pytest.mark.fault("F-1", "F-2", "F-6", "B1", "A6", "G6")
def test_whatever_is_broken_is_named_with_what_to_do_and_ends_with_its_code(cli: Cli, home: Path, case: str) -> None:
    damage, code, exit_code, words = BROKEN[case]
    damage(home)
    found = cli("doctor", "--as-of", NOW, "--json")
    assert found.code == exit_code, found
    problem = next(p for p in found.json["problems"] if p["code"] == code)
    assert words in " ".join(str(part) for part in problem.values())
    assert problem["blocks"]
    assert problem["fix"]
    assert not found.json["ok"]
    assert {p["code"] for p in found.json["problems"] if p["blocks"]} == {code}  # nothing else is blamed for it


def test_a_sound_folder_is_well_and_nothing_in_it_changes(cli: Cli, home: Path) -> None:
    before = {p: p.read_bytes() for p in home.rglob("*") if p.is_file()}
    found = cli("doctor", "--as-of", NOW)
    assert found.code == 0
    assert "PROBLEM" not in found.out
    assert "ok       the ledger's hash chain holds" in found.out
    assert {p: p.read_bytes() for p in home.rglob("*") if p.is_file()} == before
    assert {p["code"] for p in cli("doctor", "--as-of", NOW, "--json").json["problems"]} == CALM


def test_before_the_first_champion_there_is_nothing_wrong_and_nothing_is_made(cli: Cli, fresh: Path) -> None:
    before = sorted(fresh.iterdir())
    found = cli("doctor", "--as-of", BORN.isoformat(), "--json")
    assert found.code == 0, found
    assert "`lr-retune bootstrap` makes it" in found.json["problems"][0]["fix"]
    assert {look["state"] for look in found.json["looks"]} == {"ok", "note", "skipped"}
    assert sorted(fresh.iterdir()) == before


def test_several_things_are_told_at_once_and_the_gravest_decides(cli: Cli, home: Path) -> None:
    alter("2")(home)
    tear(home)
    found = cli("doctor", "--as-of", day(150).isoformat(), "--json")
    assert (found.code, {p["code"] for p in found.json["problems"]}) == (6, {"models", "unattended", "data"})
    assert cli("check", "--as-of", day(150).isoformat()).code == 3  # doctor knows more
    change('strategy = "grid"', 'strategy = "gird"')(home)
    found = cli("doctor", "--as-of", day(150).isoformat(), "--json")
    assert {p["code"] for p in found.json["problems"]} >= {"plugins", "models", "unattended"}
    assert next(look for look in found.json["looks"] if look["look"] == "data")["state"] != "ok"
    for place, code in enumerate(GRAVEST):
        assert gravest({*GRAVEST[place:], 0}) == code
    assert gravest({0}) == gravest(set()) == 0


# ── what is told and stops nothing ────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (alter("1"), "models", "a rollback would find nothing"),
        (lambda f: shutil.rmtree(champion_files(f)), "models", "fetches them from version 2"),
        (change('name = "demo"', 'name = "demand"'), "no_champion", "it knows demo"),
        (sql("lr_retune.db", "DELETE FROM projections"), "unfinished", "not shown in MLflow yet"),
    ],
)
def test_what_stops_nothing_is_told_as_a_note(
    cli: Cli, home: Path, damage: Callable[[Path], None], code: str, words: str
) -> None:
    damage(home)
    found = cli("doctor", "--as-of", NOW, "--json")
    assert found.code == 0, found
    problem = next(p for p in found.json["problems"] if p["code"] == code)
    assert (problem["blocks"], words in " ".join(map(str, problem.values()))) == (False, True), problem
    assert f"note     {code}: " in cli("doctor", "--as-of", NOW).out


@pytest.mark.fault("H4")
def test_files_that_are_gone_here_and_in_the_registry_are_no_note(cli: Cli, home: Path) -> None:
    forget_files(home)
    shutil.rmtree(home / "mlartifacts", ignore_errors=True)
    add('[mlflow]\ntracking_uri = "sqlite:///other.db"')(home)
    found = cli("doctor", "--as-of", NOW, "--json")
    assert found.code == 6
    assert "models" in {p["code"] for p in found.json["problems"]}


@pytest.mark.parametrize(("at", "code", "name"), [(day(109), 1, "unattended"), (day(90), 0, "clock")])
def test_nobody_looks_any_more_or_the_clock_runs_behind(cli: Cli, home: Path, at: Any, code: int, name: str) -> None:
    found = cli("doctor", "--as-of", at.isoformat(), "--json")
    assert (found.code, name in {p["code"] for p in found.json["problems"]}) == (code, True)


@pytest.mark.fault("E9", "A10")
def test_rows_in_the_future_of_now_are_counted(home: Path) -> None:
    told = next(p for p in ask(home).problems if p["code"] == "future_rows")
    assert told["what"].startswith(
        f"{sum(t > moment_of(NOW) for t in rows(changed=100)['ts']):,} rows lie in the future"
    )
    assert not told["blocks"]


def moment_of(text: str) -> Any:
    from datetime import datetime, timedelta

    return datetime.fromisoformat(text) + timedelta(hours=1)


def test_a_pause_is_told(cli: Cli, home: Path) -> None:
    cli("pause", "--until", "2024-05-01", "--reason", "freeze", "--actor", "ann", "--as-of", NOW)
    found = cli("doctor", "--as-of", NOW, "--json")
    told = next(p for p in found.json["problems"] if p["code"] == "paused")
    assert (found.code, told["what"], told["why"]) == (0, "paused until 2024-05-01T00:00:00+00:00 by ann", "freeze")


# ── the machine ───────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("name", "version", "why"),
    [
        ("sqlalchemy", "2.1.0", "Prefect does not start"),
        ("fastapi", "0.151.0", "does not even import"),
        ("pandas", "3.0.1", "Evidently"),
        ("skops", "0.1", None),
    ],
)
@pytest.mark.fault("F16")
def test_a_version_that_breaks_the_parts_is_told_by_name(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, version: str, why: str | None
) -> None:
    info = tmp_path / "site" / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = ask(home)
    (told,) = [p for p in found.problems if p["code"] == "libraries"]
    assert told["what"].startswith(f"{name} {version} is installed, lr-retune was built for {name}")
    assert (found.code, told["blocks"]) == ((4, True) if why else (0, False))
    assert (why or "nobody has tried") in told["why"]
    assert f"pip install '{name}" in told["fix"]


def test_a_lightgbm_without_its_runtime_is_told_with_the_package_that_brings_it(home: Path, tmp_path: Path) -> None:
    broken = tmp_path / "site" / "lightgbm"
    broken.mkdir(parents=True)
    lost = "libgomp.so.1: cannot open shared object file: No such file or directory"
    (broken / "__init__.py").write_text(f"raise OSError({lost!r})\n")
    done = python(DOCTOR, home, env=os.environ | {"PYTHONPATH": str(broken.parent)})
    told = next(p for p in json.loads(done.stdout)["problems"] if p["code"] == "plugins")
    assert (told["what"], "libgomp1" in told["fix"]) == ("lightgbm cannot be imported", True)
    assert done.returncode == 4


def test_a_machine_without_time_zones_is_told(home: Path, tmp_path: Path) -> None:
    empty = tmp_path / "site" / "tzdata"
    empty.mkdir(parents=True)
    (empty / "__init__.py").write_text("")
    done = python(DOCTOR, home, env=os.environ | {"PYTHONPATH": str(empty.parent), "PYTHONTZPATH": ""})
    told = json.loads(done.stdout)["problems"][0]
    assert (done.returncode, told["code"], "tzdata" in told["fix"]) == (4, "timezones", True)


NOBODY = """
import os, sys
from pathlib import Path
from lr_retune import doctor_stores
from lr_retune.config import load_config
from lr_retune.doctor_machine import Machine
from lr_retune.stores import promotion
case = doctor_stores.Case(Machine())
case.config = load_config(Path("retune.toml"))
if os.getuid() == 0:
    os.setuid(65534)  # root may write anywhere: somebody else has to try
for problem, code in doctor_stores.folders(case):
    print(code, problem["what"])
"""


@pytest.mark.fault("F-5")
def test_a_folder_that_may_not_be_written_is_told(fresh: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="lr-retune-doctor-"))  # one that another user may enter
    try:
        shutil.copytree(fresh, folder, dirs_exist_ok=True)
        folder.chmod(0o555)
        done = python(NOBODY, folder)
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr
    assert [line.partition(" cannot")[0] for line in done.stdout.splitlines()] == [
        "4 the ledger",
        "4 MLflow's database",
    ]


@pytest.mark.fault("F-5")
def test_a_disk_that_is_nearly_full_is_told_and_a_full_one_blocks(home: Path) -> None:
    free = shutil.disk_usage(home).free
    for room, code, blocks in ((free * 2, 0, False), (free * 20, 4, True)):
        found = ask(home, room=room)
        (told,) = [p for p in found.problems if p["code"] == "disk"]
        assert (found.code, told["blocks"], "lr-retune prune" in told["fix"]) == (code, blocks, True)
    assert not [p for p in ask(home, room=free // 2).problems if p["code"] == "disk"]


@pytest.mark.fault("F-6")
def test_a_ledger_on_a_network_disk_is_told(home: Path, tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/vda / ext4 rw 0 0\nserver:/x {home.parent} nfs4 rw 0 0\n")
    told = [p["what"] for p in ask(home, mounts=mounts).problems if p["code"] == "folders"]
    assert told == [f"the ledger {home}/lr_retune.db lies on nfs4", f"MLflow's database {home}/mlflow.db lies on nfs4"]


HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN " + sys.argv[2])
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held(file: Path, how: str) -> Iterator[int]:
    words = [sys.executable, "-c", HOLD, str(file), how]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        yield child.pid
        child.communicate()


@pytest.mark.parametrize(("file", "code"), [("lr_retune.db", "database"), ("mlflow.db", "mlflow")])
@pytest.mark.parametrize("how", ["EXCLUSIVE", "IMMEDIATE"])
@pytest.mark.fault("F-6")
def test_a_database_that_another_process_holds_is_told_with_the_process(
    cli: Cli, home: Path, file: str, code: str, how: str
) -> None:
    started = time.monotonic()
    with held(home / file, how) as pid:
        found = cli("doctor", "--as-of", NOW, "--json")
    assert time.monotonic() - started < 60
    told = next(p for p in found.json["problems"] if p["code"] == code)
    assert (found.code, "is locked" in told["what"]) == (4, True), found
    if any(str((home / file).stat().st_ino) in line for line in Path("/proc/locks").read_text().splitlines()):
        assert f"process {pid}" in told["why"]


# ── servers ───────────────────────────────────────────────────────────────────────────────────────
@contextmanager
def black_hole() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        yield mute.getsockname()[1]


@pytest.mark.fault("F-1", "F-3")
def test_servers_that_never_answer_do_not_hang_it(cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with black_hole() as port:
        add(f'[mlflow]\ntracking_uri = "http://127.0.0.1:{port}"')(home)
        monkeypatch.setenv("PREFECT_API_URL", f"http://ann:hunter2@127.0.0.1:{port}/api")
        started = time.monotonic()
        found = cli("doctor", "--as-of", NOW, "--json")
        assert time.monotonic() - started < 30
    assert found.code == 4
    assert {p["code"] for p in found.json["problems"]} - CALM == {"mlflow", "prefect"}
    assert "hunter2" not in found.out
    assert next(s for s in found.json["looks"] if s["look"] == "registry")["state"] == "skipped"


def test_a_prefect_that_is_down_is_told_and_one_that_is_not_asked_for_is_not(home: Path) -> None:
    told = ask(home, environ={"PREFECT_API_URL": f"{NO_SERVER}/api"})
    assert told.code == 4
    assert "prefect server start" in next(p["fix"] for p in told.problems if p["code"] == "prefect")
    assert ask(home, environ={}).code == 0


@pytest.mark.fault("G11")
def test_a_port_that_is_open_to_the_world_is_told(home: Path, tmp_path: Path) -> None:
    with black_hole() as port:
        assert not listens_publicly(Machine(), port)
        head = "  sl  local_address rem_address   st\n"
        tables = {
            "private": f"   0: 0100007F:{port:04X} 00000000:0000 0A\n",
            "talking": f"   0: 00000000:{port:04X} 00000000:0000 01\n",
            "public": f"   0: 00000000:{port:04X} 00000000:0000 0A\n",
            "public6": f"   0: {'0' * 32}:{port:04X} {'0' * 32}:0000 0A\n",
        }
        for name, line in tables.items():
            (tmp_path / name).write_text(head + line)
            machine = Machine(sockets=(tmp_path / name,))
            assert listens_publicly(machine, port) == name.startswith("public"), name
        prefect = {"PREFECT_API_URL": f"http://localhost:{port}/api"}
        found = ask(home, environ=prefect, sockets=(tmp_path / "public",), patience=10)
    told = next(p for p in found.problems if p["code"] == "open_port")
    assert (told["what"], told["blocks"]) == (f"Prefect's port {port} is open to other machines", False)


def test_any_answer_of_a_server_is_an_answer() -> None:
    import threading
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Refuses(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Refuses) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert silent(f"http://127.0.0.1:{server.server_port}/api") is None
        thread.join()
    assert silent(NO_SERVER)


# ── looks that fail ───────────────────────────────────────────────────────────────────────────────
def test_a_look_that_hangs_is_left_behind_and_the_others_answer(home: Path) -> None:
    (home / "rows.parquet").unlink()
    os.mkfifo(home / "rows.parquet")  # opening it for reading waits for a writer, for ever
    started = time.monotonic()
    found = ask(home, patience=1.0)
    assert time.monotonic() - started < 40
    assert found.code in (3, 4)
    assert "data" in {p["code"] for p in found.problems}
    assert {seen.look for seen in found.looks if seen.state == "ok"} >= {"ledger", "models", "schedule"}
    for _ in range(3):  # whoever still waits goes home
        with (home / "rows.parquet").open("r+b", buffering=0):
            time.sleep(0.05)


def test_a_look_that_breaks_is_a_bug_and_hides_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr(MLflowRegistry, "alias", broken)
    tear(home)
    found = ask(home)
    assert {p["code"] for p in found.problems} - CALM == {"registry", "data"}
    assert found.code == 3
    assert "ZeroDivisionError: oh" in next(p["what"] for p in found.problems if p["code"] == "registry")


# ── PostgreSQL ────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("F-2")
def test_a_ledger_in_postgresql_is_looked_at_and_never_made(
    fresh: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lr_retune.stores.ledger import Ledger

    cluster: Postgres = request.getfixturevalue("postgres")
    url = cluster.database()
    monkeypatch.setenv("LEDGER", url)
    add('[state]\nurl = "env:LEDGER"')(fresh)
    empty = ask(fresh, BORN.isoformat())
    assert (empty.code, empty.problems[0]["what"]) == (0, "the database holds no ledger yet")
    with cluster.engine(url.rpartition("/")[2]).connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM pg_tables WHERE tablename = 'entries'").scalar() == 0
    Ledger(url)
    assert [p["code"] for p in ask(fresh, BORN.isoformat()).problems][:1] == ["no_champion"]
    monkeypatch.setenv("LEDGER", url.replace(PASSWORD, "wrong-7f3a"))
    refused = ask(fresh, BORN.isoformat())
    assert refused.code == 4
    told = next(p for p in refused.problems if p["code"] == "database")
    assert "password authentication failed" in told["why"]
    assert "wrong-7f3a" not in str(refused.problems)
