"""What doctor knows of the machine: libraries, time zones, sockets, mounts, servers that do not answer."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

from lr_retune.checks import Found, Problem, blocking
from lr_retune.config import Config
from lr_retune.errors import DependencyError

BREAKS = {
    "sqlalchemy": "Prefect does not start with it",
    "fastapi": "Prefect's server does not even import with it",
    "pandas": "Evidently and MLflow do not work with it",
}
REMOTE = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "lustre")
LISTENS = "0A"  # the kernel's number for a listening socket, see proc(5)
WAIT = 3.0  # seconds for a server's first word
PREFECT = "PREFECT_API_URL"


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine as doctor may ask it."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    room: int = 1_000_000_000  # bytes: less is told, a tenth of it blocks
    patience: float = 15.0  # seconds for one look
    sockets: tuple[Path, ...] = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
    mounts: Path = Path("/proc/mounts")
    locks: Path = Path("/proc/locks")


@dataclass(slots=True)
class Case:
    """What the looks share: what was read before, and what answers."""

    machine: Machine
    config: Config = field(init=False)  # the first look reads it, and the others say that they need it
    now: datetime = field(init=False)
    answers: set[str] = field(default_factory=set)
    details: dict[str, str] = field(default_factory=dict)  # look → what it saw, told beside what it is about


def note(code: str, what: str, why: str = "", fix: str = "") -> Found:
    """Something to know; it stops nothing."""
    return Problem(code=code, what=what, why=why, fix=fix, blocks=False), 0


# ── libraries ─────────────────────────────────────────────────────────────────────────────────────
def libraries(_case: Case) -> Iterator[Found]:
    """Installed versions against what lr-retune was built for; nothing is imported."""
    from importlib.metadata import PackageNotFoundError, requires, version

    from packaging.requirements import Requirement

    for wanted in map(Requirement, requires("lr-retune") or ()):
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        try:
            seen = version(wanted.name)
        except PackageNotFoundError:
            fix = f"pip install '{wanted.name}{wanted.specifier}'"
            yield blocking("libraries", DependencyError(f"{wanted.name} is not installed", fix=fix))
            continue
        if not wanted.specifier.contains(seen, prereleases=True):
            yield _unfit(wanted.name, seen, str(wanted.specifier))


def _unfit(name: str, seen: str, wanted: str) -> Found:
    what = f"{name} {seen} is installed, lr-retune was built for {name}{wanted}"
    fix = f"pip install '{name}{wanted}', or install lr-retune with -c deploy/constraints.txt"
    if why := BREAKS.get(name):
        return blocking("libraries", DependencyError(what, why=why, fix=fix))
    return note("libraries", what, "nobody has tried them together", fix)


def timezones(_case: Case) -> Iterator[Found]:
    """Even UTC is read from the time zone data."""
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        ZoneInfo.no_cache("Europe/Paris")
    except (ZoneInfoNotFoundError, OSError) as error:
        raise DependencyError(
            "this machine has no time zone data",
            why=f"{error}; no [schedule] timezone can be understood",
            fix="apt-get install tzdata, or pip install tzdata",
        ) from None
    yield from ()


# ── servers ───────────────────────────────────────────────────────────────────────────────────────
def silent(url: str) -> str | None:
    """Why no HTTP server answers there soon, or None: any answer at all is one."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=WAIT)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/health")
        connection.getresponse()
    except (OSError, HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return None


def unreachable(host: str, port: int) -> str | None:
    """Why nothing accepts a connection there soon, or None."""
    try:
        socket.create_connection((host, port), WAIT).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def prefect(case: Case) -> Iterator[Found]:
    """Flows hand their states to that server; without it none starts."""
    url = case.machine.environ.get(PREFECT)
    if url and (why := silent(url)):
        raise DependencyError(
            f"{PREFECT} is {_bare(url)}, and nobody answers there",
            why=f"{why}; scheduled flows do not start, `lr-retune run` from cron does",
            fix="start it with `prefect server start`, or unset the variable",
        )
    yield from ()


def _bare(url: str) -> str:
    """Scheme, host and path: a user's name or a token stays unsaid."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_local(url: str) -> bool:
    """Whether a URL leads to this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "0.0.0.0", "::1", socket.gethostname()) or host.startswith("127.")


def listens_publicly(machine: Machine, port: int) -> bool:
    """Whether anything on this machine accepts connections to a port from elsewhere."""
    for table in machine.sockets:
        if not table.exists():
            continue
        for line in table.read_text().splitlines()[1:]:
            address, state = line.split()[1], line.split()[3]
            host, _, number = address.rpartition(":")
            if state == LISTENS and int(number, 16) == port and not _loopback(host):
                return True
    return False


def _loopback(host: str) -> bool:
    """The kernel writes addresses as words in its own byte order, see proc(5)."""
    return host.endswith("7F") if len(host) == 8 else host in ("0" * 24 + "01000000", "0" * 16 + "FFFF00000100007F")


# ── files ─────────────────────────────────────────────────────────────────────────────────────────
def file_system(machine: Machine, place: Path) -> str:
    """The kind of file system a path lies on; empty where nobody can tell."""
    if not machine.mounts.exists():
        return ""
    mounts = [line.split() for line in machine.mounts.read_text().splitlines()]
    held = [(len(words[1]), words[2]) for words in mounts if place.is_relative_to(words[1].replace("\\040", " "))]
    return max(held)[1] if held else ""


def holder(machine: Machine, file: Path) -> str:
    """Which process holds a lock on a file, where the kernel tells."""
    if not machine.locks.exists():
        return ""
    inode = str(file.stat().st_ino)
    rows = [line.split() for line in machine.locks.read_text().splitlines()]
    pids = sorted({row[-4] for row in rows if row[-3].rpartition(":")[2] == inode and row[-4] != "-1"})
    return ", ".join(f"process {pid}{_command(pid)}" for pid in pids)


def _command(pid: str) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:  # another user's, or gone
        return ""
    return f" ({words[:60]})" if words else ""
