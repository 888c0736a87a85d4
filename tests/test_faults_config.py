"""A wrong, hostile, secret or edited configuration and the real commands: exit code, words, nothing touched."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import tomllib
import tracemalloc
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_retune.config import MAX_BYTES, Config, load_config, parse_config
from lr_retune.errors import ConfigError, HeldError
from lr_retune.stores.promotion import Stores
from tests import store_rig
from tests.conftest import Answer
from tests.worlds import GOOD, day, world

Cli = Callable[..., Answer]
READERS = (
    ("check",), ("config", "show"), ("bootstrap",), ("watch",), ("run",), ("search",), ("reconcile",), ("status",),
    ("history",), ("audit", "verify"), ("rollback",), ("promote", "abc"), ("gate", "--version", "1"),
    ("replay", "--from", "2024-01-01", "--to", "2024-02-01"),
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "retune.toml").write_text(GOOD, encoding="utf-8")
    return tmp_path


def refused(cli: Cli, folder: Path, told: str, *words: str) -> None:
    """Every command ends with 2, says why, and leaves the folder as it was."""
    before = sorted(path.name for path in folder.rglob("*"))
    for command in (words,) if words else READERS:
        found = cli(*command)
        assert found.code == 2, (command, found)
        assert told in found.out + found.err, (command, found)
        assert "Traceback" not in found.err
    assert sorted(path.name for path in folder.rglob("*")) == before


# ── B1: wrong keys and values ─────────────────────────────────────────────────────────────────────
@pytest.mark.fault("B1")
def test_a_typo_stops_every_command_with_its_line_and_the_nearest_key(cli: Cli, folder: Path) -> None:
    (folder / "retune.toml").write_text(GOOD + "\n[search]\nponits = 3\n", encoding="utf-8")
    refused(cli, folder, "search.ponits (line 14): unknown key; did you mean 'points'?")


@pytest.mark.fault("B1")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[search]\npoints = 3\npoints = 4", "Cannot overwrite a value (at line 14, column 11)"),
        ("[metric]\nquantile = 0.1", "Cannot declare ('metric',) twice (at line 12, column 8)"),
        ('[policy]\nbudget = "1e-3"', 'policy.budget (line 13): Input should be a valid number, got "1e-3"'),
        ('[promote]\nmode = "on"', "promote.mode (line 13)"),
        ('[model]\nthreads = "no"', 'model.threads (line 13): Input should be a valid integer, got "no"'),
        ("[schedule]\ntick = 12:30:00", "schedule.tick (line 13)"),
        ('[window]\ntrain = "365 d"', "window.train (line 13): must be a whole number and a unit"),
        ('[window]\ntrain = "12mo"', "window.train (line 13): must be a whole number and a unit"),
        ("[search]\npoints = 1e3", "search.points (line 13): Input should be a valid integer, got 1000.0"),
        ("[search]\npoints = yes", "not valid TOML"),
        ("search:\n  points: 3", "not valid TOML"),
    ],
)
def test_a_wrong_value_is_told_with_its_line(cli: Cli, folder: Path, text: str, told: str) -> None:
    (folder / "retune.toml").write_text(f"{GOOD}{text}\n", encoding="utf-8")
    refused(cli, folder, told, "check")


# ── B2: contradictions ────────────────────────────────────────────────────────────────────────────
def parsed(**tables: Any) -> Config:
    raw = tomllib.loads(GOOD)
    return parse_config({**raw, **{k: {**raw.get(k, {}), **v} for k, v in tables.items()}}, root=Path())


days = st.integers(0, 60)


@pytest.mark.fault("B2")
@settings(deadline=None)
@given(train=days, valid=days, holdout=days, tick=st.sampled_from([1, 2, 7]), least=st.integers(3, 20))
def test_spans_that_contradict_each_other_are_refused_and_no_others(
    train: int, valid: int, holdout: int, tick: int, least: int
) -> None:
    window = {"train": f"{train}d", "valid": f"{valid}d", "holdout": f"{holdout}d"}
    tables = {"window": window, "gates": {"min_ticks": least}, "schedule": {"tick": f"{tick}d"}}
    sound = 0 < valid <= train and 0 < holdout <= train and -(-holdout // tick) >= least
    if sound:
        assert parsed(**tables).window.holdout == timedelta(days=holdout)
    else:
        with pytest.raises(ConfigError, match=r"window\.(train|valid|holdout)"):
            parsed(**tables)


finite = st.floats(-2, 2, allow_nan=False)


@pytest.mark.fault("B2")
@settings(deadline=None)
@given(low=finite, high=finite)
def test_a_range_of_rates_is_taken_only_above_0_and_in_order(low: float, high: float) -> None:
    tables = {"search": {"learning_rate": {"low": low, "high": high}}}
    if 0 < low <= high:
        assert parsed(**tables).search.learning_rate is not None
    else:
        with pytest.raises(ConfigError, match=r"search\.learning_rate"):
            parsed(**tables)


@pytest.mark.fault("B2")
@settings(deadline=None)
@given(alpha=finite, margin=finite, floor=finite, budget=finite, retrain=finite)
def test_shares_and_costs_outside_their_bounds_are_refused_by_name(
    alpha: float, margin: float, floor: float, budget: float, retrain: float
) -> None:
    tables: dict[str, Any] = {
        "gates": {"alpha": alpha, "margin": margin, "floor": floor},
        "policy": {"budget": budget},
        "worth": {"retrain": retrain, "loss_1pct_per_day": 1.0},
    }
    sound = {
        "gates.alpha": 0 < alpha < 0.5,
        "gates.margin": 0 < margin < 1,
        "gates.floor": 0 <= floor < 1,
        "policy.budget": budget > 0,
        "worth.retrain": retrain >= 0,
    }
    if all(sound.values()):
        assert parsed(**tables).gates.alpha == alpha
        return
    with pytest.raises(ConfigError) as caught:
        parsed(**tables)
    assert {name for name in sound if f"{name}:" in str(caught.value)} == {n for n, holds in sound.items() if not holds}


# ── B3: size and depth ────────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("B3")
def test_a_file_of_100_mb_is_refused_after_its_first_page(cli: Cli, folder: Path) -> None:
    with (folder / "retune.toml").open("wb") as file:
        file.write(b"a = 1\n")
        file.truncate(100_000_000)  # sparse: no disk is used
    with pytest.raises(ConfigError, match="is larger than 100,000 bytes"):
        load_config(folder / "retune.toml", {})  # warm: the message's own imports are not counted
    tracemalloc.start()
    try:
        refused(cli, folder, "is larger than 100,000 bytes", "check")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * MAX_BYTES


@pytest.mark.fault("B3")
@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="there is no /dev/zero to read for ever")
def test_a_file_without_an_end_is_refused(cli: Cli, folder: Path) -> None:
    (folder / "retune.toml").unlink()
    (folder / "retune.toml").symlink_to("/dev/zero")
    refused(cli, folder, "is larger than", "check")


@pytest.mark.fault("B3")
@pytest.mark.parametrize(
    "text",
    [
        "[" + ".".join(["a"] * 5000) + "]",
        "[model]\nparams = " + "{a = " * 200 + "1" + "}" * 200,
        "[data]\nexclude = " + "[" * 500 + "]" * 500,
        "\n".join(f"[[a{'.a' * i}]]" for i in range(60)),
    ],
    ids=["table", "inline tables", "lists", "arrays of tables"],
)
def test_deep_nesting_is_refused_at_once(cli: Cli, folder: Path, text: str) -> None:
    (folder / "retune.toml").write_text(f"{GOOD}{text}\n" if "[data]" not in text else text, encoding="utf-8")
    started = time.process_time()
    refused(cli, folder, "retune.toml", "check")
    assert time.process_time() - started < 5


# ── B4: secrets ───────────────────────────────────────────────────────────────────────────────────
CANARY = "c4nary-7f3a"


def port_of_nobody() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A real MLflow server on the loopback, and the folder of its database and artifacts."""
    home, port = tmp_path_factory.mktemp("server"), port_of_nobody()
    stored = ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", str(home / "artifacts")]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "1", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (home / "log").open("wb") as log, subprocess.Popen(
        [*command, *stored], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=os.environ | quiet, cwd=home,
        start_new_session=True,
    ) as server:  # fmt: skip
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server)
            yield f"127.0.0.1:{port}", home
        finally:
            os.killpg(server.pid, 15)
            server.wait(30)


def wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        assert server.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("the server did not answer within two minutes")


def holding(folder: Path) -> list[str]:
    """Files that hold the secret."""
    return [
        str(p.relative_to(folder))
        for p in sorted(folder.rglob("*"))
        if p.is_file() and CANARY.encode() in p.read_bytes()
    ]


def spoken(cli: Cli, *commands: tuple[object, ...]) -> dict[int, int]:
    """Each command for people and as JSON; no word of it holds the secret. How often each code came."""
    codes: dict[int, int] = {}
    for words in commands:
        for form in ((), ("--json",)):
            found = cli(*words, *form)
            assert CANARY not in found.out + found.err, words
            codes[found.code] = codes.get(found.code, 0) + 1
    return codes


@pytest.mark.fault("B4", "G8")
def test_a_password_is_used_and_stands_nowhere(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mlflow_server: tuple[str, Path]
) -> None:
    host, served = mlflow_server
    world(tmp_path, changed=105, more='[state]\nurl = "file:secret/ledger"\n[mlflow]\ntracking_uri = "env:TRACKING"\n')
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "ledger").write_text("sqlite:///lr_retune.db\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRACKING", f"http://me:{CANARY}@{host}")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", CANARY)  # whatever the environment holds is not a run's to keep
    monkeypatch.setenv("LEDGER_PASSWORD", CANARY)
    at, later = ("--as-of", day(100).isoformat()), ("--as-of", day(158).isoformat())
    first = cli("bootstrap", *at)
    ran = cli("run", *later, "--json")
    assert (first.code, ran.code) == (0, 0), first.err + ran.err
    assert ran.json["outcome"] == "promoted"
    assert CANARY not in first.out + first.err + ran.out + ran.err
    commands = [
        ("config", "show"),
        ("check", *later),
        ("history",),
        ("status", *later),
        ("reconcile",),
        ("watch", *later),
    ]
    ends = spoken(cli, *commands, ("gate", "--version", "2", *later), ("audit", "verify"), ("bootstrap", *later))
    assert ends == {0: 16, 2: 2}  # the second bootstrap is refused
    assert holding(tmp_path) == []
    assert holding(served) == []
    assert (served / "mlflow.db").stat().st_size > 0
    assert list(served.rglob("decision.json"))


@pytest.mark.fault("B4", "G8")
@pytest.mark.parametrize(
    ("state", "tracking"),
    [
        ("postgresql+psycopg://me:{}@127.0.0.1:{}/x", "sqlite:///mlflow.db"),
        ("sqlite:///lr_retune.db", "http://me:{}@127.0.0.1:{}"),
        ("postgresql+psycopg://127.0.0.1:{1}/x?password={0}", "http://127.0.0.1:{1}/?access_token={0}"),
        ("nonsense://me:{}@127.0.0.1:{}", "nonsense://me:{}@127.0.0.1:{}"),
    ],
    ids=["ledger", "mlflow", "query", "scheme"],
)
def test_a_service_that_is_away_is_told_without_its_password(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, tracking: str
) -> None:
    world(tmp_path, days=110, more='[state]\nurl = "env:LEDGER"\n[mlflow]\ntracking_uri = "file:tracking"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEDGER", state.format(CANARY, port_of_nobody()))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    told = tracking.format(CANARY, port_of_nobody())
    (tmp_path / "tracking").write_text(told, encoding="utf-8")
    at = ("--as-of", day(100).isoformat())
    ends = spoken(cli, ("config", "show"), ("check", *at), ("run", *at), ("bootstrap", *at), ("gate", "--version", "1"))
    assert ends.pop(0) == 2  # config show
    assert set(ends) <= {1, 2, 4}  # nothing there, no champion, away
    assert 4 in ends or "nonsense" in state
    assert holding(tmp_path) == ["tracking"] * (CANARY in told)


@pytest.mark.fault("B4")
def test_a_password_written_into_the_file_stops_every_command_unseen(cli: Cli, folder: Path) -> None:
    (folder / "retune.toml").write_text(f'{GOOD}[state]\nurl = "postgresql://me:{CANARY}@db/x"\n', encoding="utf-8")
    refused(cli, folder, "must not hold a password")
    assert spoken(cli, *READERS) == {2: 2 * len(READERS)}


# ── B5: the environment ───────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("B5")
@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("LR_RETUNE__SEARCH__POINTS", "many", "search.points (set by LR_RETUNE__SEARCH__POINTS)"),
        ("LR_RETUNE__SEARCH__POINTS", "", "LR_RETUNE__SEARCH__POINTS is empty"),
        ("LR_RETUNE__WINDOW__TRAIN", "365", "window.train (set by LR_RETUNE__WINDOW__TRAIN)"),
        ("LR_RETUNE__GATES__ALPHA", "true", "gates.alpha (set by LR_RETUNE__GATES__ALPHA)"),
        ("LR_RETUNE__GATES__NAMES", "paired_loss", "gates.names (set by LR_RETUNE__GATES__NAMES)"),
        ("LR_RETUNE__SEARCH__PONITS", "3", "did you mean 'points'?"),
        ("LR_RETUNE__DATA", "rows", "data (set by LR_RETUNE__DATA)"),
        ("LR_RETUNE__", "1", "LR_RETUNE__"),
    ],
)
def test_a_wrong_variable_stops_a_command_and_is_named(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, told: str
) -> None:
    monkeypatch.setenv(variable, value)
    refused(cli, folder, told, "run")
    assert told in cli("run", "--json").json["error"]["what"]


# ── B6: edited between verdict and promotion ──────────────────────────────────────────────────────
NOW = "2019-03-20"


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Version 1 in production, and the decision of a challenger that passed and waits."""
    folder = tmp_path_factory.mktemp("judged")
    (folder / "retune.toml").write_text(GOOD, encoding="utf-8")
    stores = Stores.open(load_config(folder / "retune.toml", environ={}))
    store_rig.born(stores)
    stores.registry.set_alias("fraud", "other", "1")
    stores.registry._client.delete_registered_model_alias("fraud", "champion")
    with pytest.raises(HeldError):  # an alias that went away holds the promotion back
        store_rig.promote(stores, 17, 0.09)
    stores.registry.set_alias("fraud", "champion", "1")
    return folder, stores.ledger.last("fraud").record["decision"]["id"]


@pytest.fixture
def waiting(judged: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    shutil.copytree(judged[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return judged[1]


def edit(more: str) -> None:
    Path("retune.toml").write_text(GOOD + more, encoding="utf-8")


EDITS = {
    "an easier gate": "[gates]\nmargin = 0.2\n",
    "fewer gates": '[gates]\nnames = ["sane_predictions"]\n',
    "another seed": "",
    "a later expiry": '[gates]\nexpires = "300d"\n',
    "another window": '[window]\nholdout = "14d"\n',
}


@pytest.mark.fault("B6")
@pytest.mark.parametrize("change", EDITS)
def test_a_verdict_under_another_configuration_does_not_pass_the_gate(cli: Cli, waiting: str, change: str) -> None:
    asked = ("gate", "--decision", waiting, "--as-of", NOW, "--json")
    assert cli(*asked).code == 0
    edit(EDITS[change])
    if change == "another seed":
        Path("retune.toml").write_text(GOOD.replace("[data]", "seed = 7\n[data]"), encoding="utf-8")
    found = cli(*asked)
    assert found.code == 1
    failed = [rule["code"] for rule in found.json["rules"] if rule["status"] != "PASS"]
    assert failed == ["LRR508"]
    assert "another configuration" in found.out


@pytest.mark.fault("B6")
def test_a_verdict_under_another_configuration_is_promoted_only_by_force(cli: Cli, waiting: str) -> None:
    edit(EDITS["an easier gate"])
    found = cli("promote", waiting, "--as-of", NOW)
    assert found.code == 10
    assert "another configuration" in found.err
    assert cli("gate", "--version", 1, "--as-of", NOW).code == 0  # the champion stayed
    forced = cli("promote", waiting, "--as-of", NOW, "--force", "--reason", "reviewed")
    assert forced.code == 0
    assert cli("gate", "--version", 2, "--as-of", NOW).code == 0  # champion by its own committed row


@pytest.mark.fault("B6")
def test_where_things_are_stored_may_change_under_a_verdict(cli: Cli, waiting: str) -> None:
    for name in ("lr_retune.db", "lr_retune_models"):
        Path(name).rename(name.replace("lr_retune", "moved"))
    edit('[state]\nurl = "sqlite:///moved.db"\n')
    assert cli("gate", "--decision", waiting, "--as-of", NOW).code == 0
    assert cli("promote", waiting, "--as-of", NOW).code == 0


# ── B7: versions of the file ──────────────────────────────────────────────────────────────────────
VERSION_1 = """\
config_version = 1
name = "bike-demand"
task = "regression"
seed = 0
[schedule]
tick = "1d"
timezone = "Europe/Paris"
[data]
source = "parquet"
path = "rides/*.parquet"
time = "ts"
label = "y"
label_time = "label_ts"
exclude = ["step"]
categorical = ["kind"]
id = "key"
weight = "w"
lookback = "7d"
[labels]
quorum = 0.95
max_delay = "14d"
[window]
train = "365d"
valid = "28d"
holdout = "28d"
embargo = "1d"
min_ticks = 14
[model]
family = "lightgbm"
params = { num_leaves = 31 }
threads = 1
[metric]
name = "mae"
[search]
strategy = "grid"
points = 10
learning_rate = { low = 0.01, high = 0.3 }
max_steps = 2000
patience = 50
[policy]
max_age = "30d"
max_search_age = "180d"
cooldown = 3
min_rows = 200
min_positives = 20
cusum_k = 0.5
cusum_h = 6.0
tolerance = 0.02
budget = 0.25
[watch]
ticks = 40
drift = "auto"
sample = 50000
drift_threshold = 0.1
matters = 0.01
stale_ticks = 3
[worth]
retrain = 5
loss_1pct_per_day = 40
currency = "EUR"
[gates]
names = ["sane_predictions", "paired_loss"]
margin = 0.01
floor = 0.005
alpha = 0.05
min_ticks = 7
min_rows = 500
min_positives = 20
expires = "7d"
[promote]
mode = "auto"
refit = "none"
[mlflow]
tracking_uri = "sqlite:///mlflow.db"
experiment = "bikes"
[state]
url = "sqlite:///lr_retune.db"
"""


@pytest.mark.fault("B7")
def test_a_file_of_version_1_is_read_for_ever(cli: Cli, folder: Path) -> None:
    (folder / "retune.toml").write_text(VERSION_1, encoding="utf-8")
    shown = cli("config", "show")
    assert shown.code == 0
    written, read = tomllib.loads(VERSION_1), tomllib.loads(shown.out)
    for table, keys in written.items():
        pairs = keys.items() if isinstance(keys, dict) else ((table, keys),)
        for key, value in pairs:
            assert (read[table][key] if isinstance(keys, dict) else read[table]) == value, (table, key)


@pytest.mark.fault("B7")
@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("config_version = 2\n", "is newer than this lr-retune, which reads version 1: upgrade lr-retune"),
        ("config_version = 0\n", "config_version"),
        ('config_version = "1"\n', "must be the whole number 1"),
        ("", "config_version: required, and missing"),
    ],
)
def test_another_version_of_the_file_stops_every_command(cli: Cli, folder: Path, version: str, told: str) -> None:
    (folder / "retune.toml").write_text(GOOD.replace("config_version = 1\n", version), encoding="utf-8")
    refused(cli, folder, told)


# ── B8: code that lies about ──────────────────────────────────────────────────────────────────────
PLANTED = (
    "lightgbm", "mlflow", "pandas", "numpy", "pyarrow", "sklearn", "skops", "duckdb", "evidently", "sqlalchemy",
    "pydantic", "encoding", "served", "model", "grid", "paired_loss", "sitecustomize",
)  # fmt: skip


def plant(folder: Path, names: tuple[str, ...]) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        text = f"from pathlib import Path\nPath({str(folder)!r}, 'ran-{name}').touch()\nraise SystemExit(99)\n"
        (folder / f"{name}.py").write_text(text, encoding="utf-8")


@pytest.mark.fault("B8")
def test_the_command_imports_nothing_from_the_working_or_the_data_folder(tmp_path: Path) -> None:
    command = shutil.which("lr-retune", path=str(Path(sys.executable).parent))
    assert command is not None
    data = tmp_path / "rows"
    text = world(tmp_path, days=110).read_text(encoding="utf-8")
    data.mkdir()
    (tmp_path / "rows.parquet").rename(data / "rows.parquet")
    (tmp_path / "retune.toml").write_text(text.replace('"rows.parquet"', '"rows"'), encoding="utf-8")
    for folder in (tmp_path, data):
        plant(folder, PLANTED)
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [command, "bootstrap", "--as-of", day(100).isoformat()],
        cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("ran-*"))
    assert (tmp_path / "lr_retune.db").exists()


@pytest.mark.fault("B8")
@pytest.mark.parametrize(
    ("key", "value", "group"),
    [
        ("[model]\nfamily", "lightgbm.py", "families"),
        ("[model]\nfamily", "evil:Family", "families"),
        ("[search]\nstrategy", "./grid.py", "strategies"),
        ("[gates]\nnames", ["evil.gate:passes"], "gates"),
        ("[model]\ntransform", "evil:Transform", "transforms"),
    ],
)
def test_a_path_or_module_is_no_name_of_a_plugin(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch, key: str, value: object, group: str
) -> None:
    plant(folder, ("evil", "lightgbm", "grid"))
    monkeypatch.syspath_prepend(str(folder))  # even where Python itself would find it
    shown = str(value).replace("'", '"') if isinstance(value, list) else f'"{value}"'
    (folder / "retune.toml").write_text(f"{GOOD}{key} = {shown}\n", encoding="utf-8")
    found = cli("search")
    assert (found.code, f"no {group} plugin named" in found.err) == (2, True)
    assert not list(folder.rglob("ran-*"))
