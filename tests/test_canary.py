"""A secret in every place that can carry one, and every command: no word, no log, no file tells it."""

from __future__ import annotations

import io
import logging
import sys
import typing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import typer
from pydantic import BaseModel, BeforeValidator
from typer.main import get_command

from lr_retune import masks
from lr_retune.cli import app
from lr_retune.config import Config, _secret
from tests.conftest import Answer
from tests.worlds import day, world

Cli = Callable[..., Answer]
CANARY = "c4nary-7f3a"
AT = ("--as-of", day(100).isoformat())
AWAY = "127.0.0.1:9"  # nobody listens on discard

# Every key that takes an address, and an address with a secret in it.
PLACES = {
    "data.path": f"s3://key:{CANARY}@{AWAY}/rows.parquet",
    "data.url": f"postgresql+psycopg://me:{CANARY}@{AWAY}/x",
    "labels.path": f"s3://key:{CANARY}@{AWAY}/labels.parquet",
    "labels.url": f"postgresql+psycopg://me:{CANARY}@{AWAY}/x",
    "predictions.path": f"s3://key:{CANARY}@{AWAY}/scores.parquet",
    "predictions.url": f"postgresql+psycopg://{AWAY}/x?password={CANARY}",
    "mlflow.tracking_uri": f"http://me:{CANARY}@{AWAY}",
    "notify.webhook": f"http://{AWAY}/services/{CANARY}",
    "state.url": f"postgresql+psycopg://me:{CANARY}@{AWAY}/x",
    "gates.golden": f"s3://key:{CANARY}@{AWAY}/golden.parquet",
    "search.dask": f"tls://me:{CANARY}@{AWAY}",
}
SQL = 'source = "sql"\nurl = "env:SECRET"\ntable = "feed"'
LINES = {
    "data.path": ('path = "rows.parquet"', 'path = "env:SECRET"'),
    "data.url": ('path = "rows.parquet"', SQL),
    "labels.path": ("[model]", '[labels]\npath = "env:SECRET"\nkey = "id"\n[model]'),
    "labels.url": ("[model]", f'[labels]\n{SQL}\nkey = "id"\n[model]'),
    "predictions.path": (
        "[model]",
        '[predictions]\npath = "env:SECRET"\ntime = "at"\nscore = "p"\nkey = "id"\n[model]',
    ),
    "predictions.url": ("[model]", f'[predictions]\n{SQL}\ntime = "at"\nscore = "p"\nkey = "id"\n[model]'),
    "mlflow.tracking_uri": ("[model]", '[mlflow]\ntracking_uri = "env:SECRET"\n[model]'),
    "notify.webhook": ("[model]", '[notify]\nwebhook = "env:SECRET"\nsecret_env = "SECRET"\n[model]'),
    "state.url": ("[model]", '[state]\nurl = "env:SECRET"\n[model]'),
    "gates.golden": ("min_rows = 200", 'min_rows = 200\ngolden = "env:SECRET"'),
    "search.dask": ('strategy = "grid"', 'strategy = "grid"\ndask = "env:SECRET"'),
}
# Words of commands that read retune.toml; another is asked without words, those that only write one are named below.
COMMANDS: dict[str, tuple[str, ...]] = {
    "adopt": ("--model", "demo", "--version", "1", *AT),
    "approve": ("0" * 64, *AT),
    "bootstrap": AT,
    "check": AT,
    "compare": ("--learning-rates", ".1,.2", "--from", "2024-03-01", *AT),
    "contract accept": AT,
    "contract diff": AT,
    "doctor": AT,
    "explain": ("0" * 64,),
    "gate": ("--version", "1", *AT),
    "golden": ("--out", "rows.parquet", *AT),
    "notify": ("--test",),
    "lift": ("0" * 64, "--reason", "x"),
    "pause": ("--until", "2030-01-01", "--reason", "x", *AT),
    "promote": ("0" * 64, *AT),
    "prune": AT,
    "reject": ("0" * 64, *AT),
    "rejudge": AT,
    "replay": ("--from", "2024-03-01", "--to", "2024-03-03"),
    "rollback": ("--reason", "x", *AT),
    "run": AT,
    "search": AT,
    "selfcheck": AT,
    "status": ("--hindsight", *AT),
    "tune-policy": ("--from", "2024-03-01", "--to", "2024-06-01"),
    "watch": AT,
}
WITHOUT = {"config schema", "demo demand", "demo fraud", "deploy", "init"}  # they open no place of these


def every_command(group: Any = None, before: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in (group or get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, (*before, name))
        else:
            yield " ".join((*before, name)), command


def addresses(model: type[BaseModel] = Config, before: tuple[str, ...] = ()) -> Iterator[str]:
    """Keys that refuse a password written out: those that may hold one by reference."""
    for name, field in model.model_fields.items():
        parts = [field.annotation, *typing.get_args(field.annotation)]
        told = [*field.metadata, *(m for part in parts for m in getattr(part, "__metadata__", ()))]
        if any(isinstance(each, BeforeValidator) and each.func is _secret for each in told):
            yield ".".join((*before, name))
        for part in parts:
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from addresses(part, (*before, name))


@pytest.mark.fault("B4", "G8")
def test_every_key_and_every_command_is_asked() -> None:
    assert sorted(addresses()) == sorted(PLACES) == sorted(LINES)
    commands = dict(every_command())
    assert {*COMMANDS, *WITHOUT} <= set(commands)
    wordless = commands.keys() - COMMANDS.keys() - WITHOUT
    assert [name for name in wordless if any(each.required for each in commands[name].params)] == []


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("canary")
    world(folder, days=101)
    return folder


@pytest.mark.fault("B4", "G8")
@pytest.mark.parametrize("place", PLACES)
def test_no_command_tells_the_secret_of_a_place(
    rows: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, place: str
) -> None:
    text, (old, new) = (rows / "retune.toml").read_text(), LINES[place]
    assert old in text
    (tmp_path / "retune.toml").write_text(text.replace(old, new, 1).replace('label = "y"', 'label = "y"\nid = "a"'))
    (tmp_path / "rows.parquet").symlink_to(rows / "rows.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", PLACES[place])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with warnings.catch_warnings(record=True) as warned, caplog.at_level(logging.DEBUG):
        for name in asked(place):
            told = cli(*name.split(), *COMMANDS.get(name, ()))
            assert CANARY not in told.out + told.err, name
            known = place == "search.dask"  # distributed refuses the address as a bug of its own kind
            assert told.code != 70 or known, (name, told.out, told.err)
    assert CANARY not in " ".join(str(each.message) for each in warned)
    files = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "rows.parquet"]
    assert [p.name for p in files if CANARY.encode() in p.read_bytes()] == []


def asked(place: str) -> list[str]:
    """All commands where one answers at once; where each waits for a server or trains, one of each kind."""
    if place in ("state.url", "data.url"):
        return [name for name, _ in every_command() if name not in WITHOUT]
    if place == "notify.webhook":
        return ["config show", "check", "notify", "bootstrap", "watch", "run", "status", "doctor"]
    opened = ("bootstrap", "gate") if place in ("data.path", "mlflow.tracking_uri", "search.dask") else ()
    return ["config show", "check", "status", *opened]


# ── the last door ─────────────────────────────────────────────────────────────────────────────────
@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "_held", set())


@pytest.mark.fault("B4", "G8")
@pytest.mark.parametrize("debug", [False, True])
def test_a_bug_a_warning_and_a_log_that_quote_a_secret_are_masked(
    rows: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, remembered: None, debug: bool
) -> None:
    from lr_retune.stores.promotion import Stores

    secret = f'{CANARY}"ü'
    monkeypatch.chdir(rows)
    monkeypatch.setenv("SECRET", f"http://me:{quote(secret)}@{AWAY}")
    if debug:
        monkeypatch.setenv("LR_RETUNE_DEBUG", "1")

    def broken(config: Config, **_: object) -> Stores:
        uri = config.model_copy(update={"mlflow": config.mlflow.model_copy(update={"tracking_uri": "env:SECRET"})})
        handler = logging.StreamHandler(sys.stderr)
        logging.getLogger("theirs").addHandler(handler)
        logging.getLogger("theirs").warning("opens %s", uri.tracking_uri())
        logging.getLogger("theirs").removeHandler(handler)
        sys.stderr.writelines([f"and {secret}\n"])
        typer.echo(f"out {secret}")
        raise ValueError(f"no such {uri.tracking_uri()} by {secret}")

    monkeypatch.setattr(Stores, "open", broken)
    told = cli("bootstrap", "--json")
    assert told.code == 70
    assert "opens http://me:***@" in told.err
    assert told.err.count("***") >= 4
    assert ("Traceback" in told.err) == debug
    assert not any(part in told.out + told.err for part in (CANARY, quote(secret)))
    assert "***" in told.out


@pytest.mark.parametrize(
    ("value", "hidden"),
    [
        ("postgresql://me:hushhush@db/x", {"hushhush"}),
        ("postgresql://me:hush%40hush@db/x", {"hush%40hush", "hush@hush"}),
        ("postgresql://db/x?password=hushhush&sslmode=verify-full", {"hushhush"}),
        ("https://h/?sig=hush%2Fhush", {"hush/hush"}),
        ("postgresql://postgres:postgres@db/x", set()),
        ("sqlite:///lr_retune.db", set()),
        ("http://[me:hushhush@db", {"http://[me:hushhush@db"}),
        ("a-token-as-a-whole", {"a-token-as-a-whole"}),
        ("short", set()),
    ],
)
def test_what_is_secret_of_an_address_is_masked_and_the_rest_is_shown(
    value: str, hidden: set[str], remembered: None
) -> None:
    masks.remember(value)
    assert masks._held == hidden
    shown = masks.masked(f"at {value} and {' '.join(sorted(hidden))}")
    assert not any(part in shown for part in hidden)
    assert shown.startswith("at ")


def test_a_stream_hands_on_everything_else(remembered: None) -> None:
    beneath = io.StringIO()
    stream = masks.Masked(beneath)
    assert stream.write("plain\n") == 6
    stream.flush()
    assert (beneath.getvalue(), stream.isatty()) == ("plain\n", False)
