"""What doctor knows of one model's ledger, registry, model files and feed."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from lr_retune.checks import Found, Problem, blocking, demand_room, gathered, ledger_of
from lr_retune.config import resolve_secret
from lr_retune.console import exists
from lr_retune.doctor_machine import (
    PREFECT,
    REMOTE,
    Case,
    Machine,
    file_system,
    holder,
    is_local,
    listens_publicly,
    note,
    silent,
    unreachable,
)
from lr_retune.errors import ConfigError, DependencyError, HeldError, IntegrityError, RetuneError
from lr_retune.records import Champion, iso

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from lr_retune.stores.chronicle import Chronicle
    from lr_retune.stores.ledger import Ledger
    from lr_retune.stores.models import FileModels

SLACK = timedelta(hours=1)  # clocks of two machines may differ by that
CENTURY = timedelta(days=36_500)
LOCKED = 2.0  # seconds that a healthy writer needs at most
UNATTENDED = 1  # the exit code of a stale status


# ── what retune.toml leads to ─────────────────────────────────────────────────────────────────────
def secrets(case: Case) -> Iterator[Found]:
    """Every ``env:`` and ``file:`` of the configuration."""
    config, missing = case.config, False
    feeds = [feed for feed in (config.data, config.labels, config.predictions) if feed is not None]
    named = [config.state.url, config.mlflow.tracking_uri, *(v for f in feeds for v in (f.path, f.url) if v)]
    for value in dict.fromkeys(named):
        try:
            resolve_secret(value, config.root)
        except ConfigError as error:
            missing = True
            yield blocking("secrets", error)
    if not missing:
        case.answers.add("secrets")


def folders(case: Case) -> Iterator[Found]:
    """Databases and model files: whether they may be written, and whether their file system can lock."""
    from lr_retune.stores.promotion import models_folder

    for url, what in ((case.config.state_url(), "the ledger"), (case.config.tracking_uri(), "MLflow's database")):
        if (file := _file(url)) is None:
            continue
        yield from gathered("folders", _writable(url, file, what))
        if (kind := file_system(case.machine, file)) in REMOTE:
            why = "SQLite's locks are not reliable there: two writers may corrupt it"
            yield note("folders", f"{what} {file} lies on {kind}", why, "keep it on a local disk, or use PostgreSQL")
    place = models_folder(case.config)
    if place.exists() and not os.access(place, os.W_OK | os.X_OK):
        yield blocking("folders", _read_only("the folder of model files", place))


def _writable(url: str, file: Path, what: str) -> Iterator[Found]:
    demand_room(url, what)  # SQLite writes its journal beside the file
    if file.exists() and not os.access(file, os.W_OK):
        raise _read_only(what, file)
    yield from ()


def _read_only(what: str, place: Path) -> DependencyError:
    return DependencyError(
        f"{what} {place} cannot be written", why=f"user {os.getuid()} may not", fix="mend its permissions"
    )


def disk(case: Case) -> Iterator[Found]:
    """Room for model files, ledger and MLflow's artefacts."""
    from lr_retune.stores.promotion import models_folder

    named = [models_folder(case.config), *filter(None, map(_file, (case.config.tracking_uri(),)))]
    places = [next(p for p in (place, *place.parents) if p.exists()) for place in named]
    for place in {place.stat().st_dev: place for place in reversed(places)}.values():
        free = shutil.disk_usage(place).free
        if free >= case.machine.room:
            continue
        what, why = f"{free / 1e6:,.0f} MB are free at {place}", "a run that cannot write its model files ends with 4"
        fix = "free some, such as by `lr-retune prune --keep 90d`"
        full = free < case.machine.room / 10
        yield blocking("disk", DependencyError(what, why=why, fix=fix)) if full else note("disk", what, why, fix)


# ── databases and servers ─────────────────────────────────────────────────────────────────────────
def database(case: Case) -> Iterator[Found]:
    """The ledger's: sound, free, reachable, of a version that is known."""
    from sqlalchemy.engine import make_url

    from lr_retune.stores.schema import SCHEMA_VERSION

    url = case.config.state_url()
    if not exists(url):
        yield note("database", "there is no ledger yet", "", "`lr-retune bootstrap` makes it with the first champion")
        return
    if (file := _file(url)) is not None:
        ills = list(gathered("database", _sqlite("database", case.machine, file, "the ledger")))
        yield from ills
        if ills and not _opens(file):
            return
    else:
        _reached(make_url(url))
    if (ledger := ledger_of(case.config)) is None:
        yield note("database", "the database holds no ledger yet", "", "`lr-retune bootstrap` makes it")
        return
    case.answers.add("ledger")
    case.details["database"] = f" (schema version {ledger.schema})"
    if ledger.schema != SCHEMA_VERSION:
        what = f"the ledger has schema version {ledger.schema}, this lr-retune writes {SCHEMA_VERSION}"
        yield note("database", what, "an older lr-retune made it", "nothing: the next run carries it over")
    yield from _named(ledger, case.config.name)


def _named(ledger: Ledger, name: str) -> Iterator[Found]:
    """A renamed model looks like one that never lived."""
    others = [model for model in ledger.models() if model != name]
    if ledger.head(name).head:
        return
    why = f"it knows {', '.join(others)}: a new [name] starts from nothing" if others else ""
    yield note("no_champion", f"the ledger has no champion of {name}", why, "`lr-retune bootstrap` makes the first one")


def _reached(url: URL) -> None:
    """Driver and server of a database that is no file.

    Raises
    ------
    DependencyError
        If the driver is not installed, or nobody answers.
    """
    try:
        url.get_dialect().import_dbapi()
    except ImportError as error:
        raise DependencyError(
            f"the driver for {url.drivername} is not installed",
            why=str(error),
            fix="pip install 'lr-retune[postgres]' and write postgresql+psycopg://… in [state] url",
        ) from None
    if url.host and not url.host.startswith("/") and (why := unreachable(url.host, url.port or 5432)):
        raise DependencyError(
            f"nobody answers at {url.host}:{url.port or 5432}, where the ledger's database should be",
            why=why,
            fix="start the database, open the way to it, or mend [state] url",
        )


def mlflow(case: Case) -> Iterator[Found]:
    """A database file that is sound, or a server that answers; what is in it is another look's."""
    uri = case.config.tracking_uri()
    if (file := _file(uri)) is not None and exists(uri):
        ills = list(gathered("mlflow", _sqlite("mlflow", case.machine, file, "MLflow's database")))
        yield from ills
        if ills:
            return
    elif uri.startswith(("http:", "https:")) and (why := silent(uri)):
        told = case.config.mlflow.tracking_uri
        raise DependencyError(
            f"MLflow at {told} does not answer",
            why=f"{why}; runs go on deciding, nothing can be promoted",
            fix="start it or mend [mlflow] tracking_uri; then `lr-retune reconcile` catches up from the ledger",
        )
    case.answers.add("registry")


def _sqlite(code: str, machine: Machine, file: Path, what: str) -> Iterator[Found]:
    deadline = time.monotonic() + machine.patience / 2
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=LOCKED)) as connection:
            # A large database is looked at for a while, not to its end.
            connection.set_progress_handler(lambda: time.monotonic() > deadline, 100_000)
            told = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
        if told != ["ok"]:
            yield blocking(code, _corrupt(file, what, told[0]))
        if os.access(file, os.W_OK):
            with closing(sqlite3.connect(file, timeout=LOCKED, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")  # takes the lock and writes nothing
                connection.execute("ROLLBACK")
    except sqlite3.OperationalError as error:
        if "interrupted" not in str(error):
            yield blocking(code, _held(machine, file, what, str(error)))
    except sqlite3.DatabaseError as error:
        yield blocking(code, _corrupt(file, what, str(error)))


def _held(machine: Machine, file: Path, what: str, why: str) -> DependencyError:
    if "locked" not in why:
        return DependencyError(f"{what} {file} cannot be opened", why=why, fix="mend its permissions")
    who = holder(machine, file) or "another process"
    return DependencyError(
        f"{what} {file} is locked", why=f"{who} holds it; nobody else can write", fix="let it end, or end it"
    )


def _corrupt(file: Path, what: str, why: str) -> DependencyError:
    return DependencyError(
        f"{what} {file} is corrupt",
        why=" ".join(why.split())[:200],
        fix="stop all runs and restore it from a backup; `sqlite3 FILE .recover` saves what can be read",
    )


def _opens(file: Path) -> bool:
    """Whether rows can be read in spite of what was found."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True, timeout=0.1)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.Error:
        return False
    return True


def _file(url: str) -> Path | None:
    head, _, path = url.partition(":///")
    return Path(path) if head.startswith("sqlite") and path else None


# ── the model ─────────────────────────────────────────────────────────────────────────────────────
def _chronicle(case: Case) -> tuple[Ledger, Chronicle]:
    from lr_retune.stores.chronicle import Chronicle

    ledger = ledger_of(case.config)
    assert ledger is not None  # asked for only where one answers
    return ledger, Chronicle(ledger, case.config.name)


def unfinished(case: Case) -> Iterator[Found]:
    """Promotions on their way, and what the registry was not shown."""
    ledger, chronicle = _chronicle(case)
    for row in ledger.promotions(case.config.name, "PREPARED", "CLAIMED"):
        error = HeldError(
            f"{row.kind} of decision {row.decision[:12]} is half done ({row.state})",
            why="a crash left it, or a run is at it right now",
            fix="if no run is under way: `lr-retune reconcile`",
        )
        yield blocking("unfinished", error)
    shown = ledger.projected(case.config.name)
    late = [s for s in chronicle.settlements if shown.get(s.key, ("", None))[0] != (chronicle.outcome(s) or "held")]
    if late:
        what = f"{len(late)} judged challengers are not shown in MLflow yet"
        yield note("unfinished", what, "MLflow was away, or a crash came between", "`lr-retune reconcile`")


def models(case: Case) -> Iterator[Found]:
    """The champion's files, and those that a rollback would need."""
    from lr_retune.stores.models import FileModels
    from lr_retune.stores.promotion import models_folder

    _, chronicle = _chronicle(case)
    if not chronicle.moves:
        return
    files, champion = FileModels(models_folder(case.config)), chronicle.moves[-1].champion
    yield from gathered("models", _champions(case, files, champion))
    out = {champion.model, *chronicle.frozen}
    earlier = [move.champion.model for move in chronicle.moves[::-1] if move.champion.model not in out]
    for problem, _ in gathered("models", _intact(files, earlier[0])) if earlier else ():
        told = f"of the previous champion: {problem['what']}"
        yield note("models", told, "a rollback would find nothing sound to go back to", problem["fix"])


def _intact(files: FileModels, digest: str) -> Iterator[Found]:
    if files.has(digest):
        files.get(digest)
    yield from ()


def _champions(case: Case, files: FileModels, champion: Champion) -> Iterator[Found]:
    from lr_retune.stores.mlflow import MLflowRegistry
    from lr_retune.stores.models import checked

    if files.has(champion.model):
        files.get(champion.model)
        return
    ledger, _ = _chronicle(case)
    version = ledger.head(case.config.name).version
    try:
        if "registry" not in case.answers or version is None:
            files.get(champion.model)  # its error says what to do
        held = MLflowRegistry(case.config).download(case.config.name, str(version))
        checked(held, champion.model, f"version {version} of {case.config.name}")
    except DependencyError as error:
        raise IntegrityError(
            f"the files of the champion {champion.model[:12]} are gone from {files.folder}",
            why=f"and the registry does not give version {version}: {error.why or error.what}",
            fix="restore the folder from a backup, or `lr-retune rollback`",
        ) from None
    what = f"the champion's files are not in {files.folder}"
    yield note("models", what, "the folder was deleted", f"nothing: the next run fetches them from version {version}")


def schedule(case: Case) -> Iterator[Found]:
    """The dead-man's switch of `status`, pauses, and a clock that runs behind the ledger."""
    from lr_retune.config import format_duration
    from lr_retune.stores.status import STALE_TICKS, is_stale, last_look

    _, chronicle = _chronicle(case)
    history = chronicle.history(case.now + CENTURY)
    if not chronicle.moves:
        return
    if (looked := last_look(history)) is not None and looked > case.now + SLACK:
        why = "the clock of this machine runs behind, or somebody simulated a later --as-of"
        yield note("clock", f"the newest look is of {iso(looked)}, it is {iso(case.now)} now", why, "see `date -u`")
    if is_stale(looked, case.config, case.now):
        limit = format_duration(STALE_TICKS * case.config.schedule.tick)
        what = f"nobody has looked for more than {limit}: the last look is of {looked and iso(looked)}"
        fix = "see whether cron or the Prefect worker runs `lr-retune run`, and what its log says"
        yield (
            Problem(code="unattended", what=what, why="the scheduler is dead, or runs fail", fix=fix, blocks=True),
            UNATTENDED,
        )
    if history.paused_until is not None and history.paused(case.now):
        what = f"paused until {iso(history.paused_until)} by {history.paused_by}"
        yield note("paused", what, history.paused_why, "`lr-retune resume` ends it")


# ── feed and ports ────────────────────────────────────────────────────────────────────────────────
def clock(case: Case) -> Iterator[Found]:
    """Rows that no run will see before their time comes."""
    from lr_retune.plugins import load_feeds

    column = case.config.data.time
    try:
        rows = load_feeds(case.config).data.read([column], case.now + SLACK, case.now + CENTURY)
    except RetuneError:
        return  # the look at the data says why
    if rows.num_rows:
        newest = rows.column(column)[-1].as_py()
        what = f"{rows.num_rows:,} rows lie in the future of now, the newest at {iso(newest)}"
        why = "their times are local times read as UTC, or this machine's clock runs behind; runs do not see them yet"
        yield note("future_rows", what, why, f"see `date -u` and how {column} is written")


def ports(case: Case) -> Iterator[Found]:
    """Neither MLflow nor Prefect asks for a password by default: whoever reaches them may move aliases."""
    urls = {"MLflow": case.config.tracking_uri(), "Prefect": case.machine.environ.get(PREFECT, "")}
    for name, url in urls.items():
        if not url.startswith(("http:", "https:")) or not is_local(url):
            continue
        port = urlsplit(url).port or (443 if url.startswith("https") else 80)
        if listens_publicly(case.machine, port):
            what = f"{name}'s port {port} is open to other machines"
            why = "it asks for no password by default: whoever reaches it may move aliases and start runs"
            yield note("open_port", what, why, "start it with --host 127.0.0.1, or put a proxy with a login before it")
