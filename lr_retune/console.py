"""What every command shares: how it ends, which stores it opens, what time it is, how it speaks."""

from __future__ import annotations

import getpass
import json
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, Protocol, TypeVar
from zoneinfo import ZoneInfo

import typer

from lr_retune.errors import ConfigError, DependencyError, RetuneError
from lr_retune.masks import masking

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lr_retune.config import Config
    from lr_retune.records import Trial
    from lr_retune.stores.promotion import Stores

P = ParamSpec("P")
T = TypeVar("T")

INTERRUPTED, TERMINATED = 130, 143
YEARS = range(1970, 2200)  # what the files and databases underneath can hold


# ── how a command ends ────────────────────────────────────────────────────────────────────────────
def main(app: typer.Typer) -> NoReturn:
    """Run a command and end with its documented exit code."""
    for stream in (sys.stdout, sys.stderr):  # a name or a dash that the terminal's encoding lacks is no bug
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    signal.signal(signal.SIGTERM, _terminated)
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    with masking(sys.stdout, sys.stderr):
        code = _ended(app)
    sys.exit(code)


def _ended(app: typer.Typer) -> int:
    try:
        code = app(standalone_mode=False, prog_name="lr-retune")
    except (KeyboardInterrupt, typer.Abort):
        return _stopped(INTERRUPTED)
    except _Terminated:
        return _stopped(TERMINATED)
    except RetuneError as error:
        return _failed(error)
    except Exception as error:  # noqa: BLE001 - the last door: a bug still ends with a documented code
        return _no_command(error) if type(error).__name__ == "NoArgsIsHelpError" else _failed(_named(error))
    return _stopped(code) if code == INTERRUPTED else code if isinstance(code, int) else 0  # typer's own Ctrl-C


class _Terminated(BaseException):
    """SIGTERM, as Python's own KeyboardInterrupt is for Ctrl-C: no library swallows it."""


def _terminated(_signal: int, _frame: object) -> NoReturn:
    raise _Terminated


def _stopped(code: int) -> int:
    return _tell(
        "stopped by a signal", "", "nothing is lost: run the same command again, it takes up what is there", code
    )


def _failed(error: RetuneError) -> int:
    return _tell(error.what, error.why, error.fix, error.exit_code)


def _tell(what: str, why: str, fix: str, code: int) -> int:
    """The error on stderr for people; with --json as an object on stdout too."""
    from lr_retune.answers import answer, printable

    if wants_json(sys.argv[1:]):
        words = {"what": what, "why": why, "fix": fix, "exit_code": code}
        typer.echo(json.dumps(answer(_command(sys.argv[1:]), ok=False, error=words)))
    for label, text in (("error", what), ("why", why), ("do", fix)):
        for line in text.splitlines():
            typer.echo(f"{label}: {printable(line)}", err=True)
    return code


def _no_command(error: Any) -> int:
    error.show()  # the help, on stderr
    return ConfigError.exit_code


def wants_json(words: Sequence[str]) -> bool:
    """Whether a script reads the answer."""
    asked = {"--json", "--output=json"} & set(words)
    return bool(asked) or any(pair == ("--output", "json") for pair in pairwise(words))


def _command(words: Sequence[str]) -> str:
    named = []
    for word in words:
        if word.startswith("-"):
            break
        named.append(word)
    return " ".join(named[: 2 if named[:1] in (["config"], ["audit"], ["demo"], ["contract"]) else 1])


def _named(error: Exception) -> RetuneError:
    """What the words of a command, or a bug, amount to."""
    if hasattr(error, "format_message"):  # typer brings a click of its own from .25 on: no class to name
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "lr-retune"
        return ConfigError(error.format_message(), fix=f"see `{path} --help`")
    if os.environ.get("LR_RETUNE_DEBUG"):
        traceback.print_exception(error)
    if isinstance(error, OSError):
        where = f" {error.filename}" if error.filename else ""
        return DependencyError(f"cannot read or write{where}", why=error.strerror or str(error), fix="mend it")
    return RetuneError(
        f"unexpected {type(error).__name__}: {error}",
        why="this is a bug in lr-retune; the champion was not touched by it",
        fix="run again with LR_RETUNE_DEBUG=1 and report what it prints",
    )


# ── what a command opens ──────────────────────────────────────────────────────────────────────────
def load(path: Path) -> Config:
    """The configuration, or an error that also says what to do."""
    from lr_retune.config import load_config

    try:
        return load_config(path)
    except ConfigError as error:
        advice = f"mend {path}; `lr-retune config schema` lists every key"
        raise ConfigError(error.what, why=error.why, fix=error.fix or advice) from None


@contextmanager
def opened(
    path: Path, *, tidy: bool = False, create: bool = False, tells: bool = False
) -> Iterator[tuple[Config, Stores]]:
    """Configuration and stores.

    Parameters
    ----------
    tidy
        Tidy up after a crash first: for commands that write aliases.
    create
        Make a ledger where there is none: for the first command only. Others see an empty one.
    tells
        Send what there is to tell afterwards, as every command does that tidies: it may have changed something.
    """
    from lr_retune.answers import printable

    config = load(path)
    stores = _stores(config, create)
    with telling(config, stores) if tidy or tells else nullcontext():
        if tidy:
            for line in stores.reconcile():
                typer.echo(f"note: {printable(line)}", err=True)
        yield config, stores


@contextmanager
def telling(config: Config, stores: Stores, to: Callable[[Sequence[str]], None] | None = None) -> Iterator[None]:
    """Notify whom ``[notify]`` names once the work in it is done, or has failed: the ledger says what there is to tell.

    Parameters
    ----------
    to
        Takes what could not be delivered; a warning by default.
    """
    if not config.notify.channels:
        yield
        return
    from lr_retune.notify.deliver import begin, deliver

    begin(config, stores)
    try:
        yield
    except Exception:
        (to or warn)(deliver(config, stores, clock()))
        raise
    (to or warn)(deliver(config, stores, clock()))


def clock() -> datetime:
    """Now, as this machine says: what is sent and tried again is about the real time, whatever a run simulates."""
    return datetime.now(UTC)  # noqa: TID251 - the one clock: a command's own now


def _stores(config: Config, create: bool) -> Stores:
    from lr_retune.stores.ledger import Ledger
    from lr_retune.stores.mlflow import MLflowRegistry
    from lr_retune.stores.models import FileModels
    from lr_retune.stores.promotion import Stores, models_folder

    if create or exists(config.state_url()):
        return Stores.open(config)
    return Stores(Ledger("sqlite://"), MLflowRegistry(config), FileModels(models_folder(config)), config)


def exists(url: str) -> bool:
    """False only for a SQLite file that is not there; a server is asked by whoever needs it."""
    head, _, path = url.partition(":///")
    return not head.startswith("sqlite") or Path(path).exists()


def moment(config: Config, text: str | None, *, ahead: bool = False, option: str = "--as-of") -> datetime:
    """The time that an option says, or now; resolved once. ``ahead``: a time that may well lie in the future.

    Raises
    ------
    ConfigError
        If it is no time, or none that files can hold.
    """
    if text is None:
        return clock()
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            found = found.replace(tzinfo=ZoneInfo(config.schedule.timezone))
        found = found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise _no_time(option, text, "ISO 8601 is understood") from None
    if found.year not in YEARS:
        raise _no_time(option, text, f"it must lie between {YEARS[0]} and {YEARS[-1]}")
    if not ahead and found > clock() + timedelta(days=1):
        warn([f"{option} {text} lies in the future: no row and no label of it is known yet"])
    return found


def _no_time(option: str, text: str, why: str) -> ConfigError:
    fix = "write it like 2019-03-01 or 2019-03-01T06:00+01:00"
    return ConfigError(f"{option} {text!r} is no time to run at", why=why, fix=fix)


def stretch(config: Config, start: str, end: str) -> tuple[datetime, datetime]:
    """``--from`` and ``--to``.

    Raises
    ------
    ConfigError
        If one is no time, or the first does not lie before the last.
    """
    first, last = moment(config, start, option="--from"), moment(config, end, ahead=True, option="--to")
    if first >= last:
        why = "rows are walked forward in time"
        raise ConfigError(f"--from {start} does not lie before --to {end}", why=why, fix="swap them, or widen them")
    return first, last


# ── how a command speaks ──────────────────────────────────────────────────────────────────────────
def warn(notes: Sequence[str]) -> None:
    """What went wrong beside the answer, for people and log files."""
    for note in notes:
        typer.echo(f"warning: {note}", err=True)


def say(
    as_json: bool, fields: dict[str, Any], lines: Sequence[str], drawn: Callable[[], RenderableType] | None = None
) -> None:
    """One JSON object, or lines whose names cannot steer a terminal or a CI log.

    Parameters
    ----------
    drawn
        The same for a terminal, where there is one and nobody asked for plain text.
    """
    from lr_retune.answers import printable

    if as_json:
        typer.echo(json.dumps(fields, allow_nan=False))
        return
    if drawn is not None and draws(sys.stdout):
        from lr_retune.terminal.base import show

        show(drawn())
        return
    for line in lines:
        typer.echo(printable(line))


def draws(stream: Any) -> bool:
    """Whether a stream is a terminal that takes more than plain text."""
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM", "dumb") in ("dumb", "unknown")
    return bool(stream.isatty()) and not plain and "utf" in (getattr(stream, "encoding", None) or "").lower()


class Watching(Protocol):
    """Who is told how a command goes."""

    def __call__(self, message: Trial | str, /) -> None:
        """Of a trial that ended, or what else there is to say."""

    def step(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a step of the main path."""


class _Nobody:
    def __call__(self, _message: Trial | str, /) -> None:
        return

    def step(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)


@contextmanager
def progress(what: str, config: Config | None = None) -> Iterator[Watching]:
    """How a command goes, on a terminal; silence elsewhere.

    Parameters
    ----------
    config
        Of a search: it may say where that ends.
    """
    if not draws(sys.stderr):
        yield _Nobody()
        return
    from lr_retune.terminal.live import goal, watching

    with watching(what, goal(config)) as watcher:
        if what == "search":  # a search is all that it does
            watcher.search()
        yield watcher


def refuse_overwriting(path: Path, *, force: bool) -> None:
    """Say so before any work is done.

    Raises
    ------
    ConfigError
        If there is a file, unless ``force``.
    """
    if path.exists() and not force:
        raise ConfigError(f"{path} exists", why="nothing is overwritten", fix="choose another --output or give --force")


def write(path: Path, text: str) -> None:
    """Write a file that a person asked for.

    Raises
    ------
    ConfigError
        If that is not possible there.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"{path} cannot be written", why=why, fix="choose another --output") from None


def at(path: Path, default: Path) -> str:
    """How the next command names the configuration."""
    return "" if path == default else f" -c {shlex.quote(str(path))}"


def user() -> str:
    """Who runs this, as far as the machine knows."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container without a user of that number
        return ""
