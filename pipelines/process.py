"""Which operating-system process a flow run is, and whether it still lives."""

from __future__ import annotations

import os
import socket
from pathlib import Path

LABEL = "lr-retune.process"  # on the flow run; Prefect's own infrastructure_pid names no machine
ATTEMPT = "lr-retune.attempt"  # the run count that label belongs to: a retry is another process
_SEPARATOR = "|"


def me() -> str:
    """The running process, told apart from any other: machine, boot, number, start."""
    pid = os.getpid()
    return _SEPARATOR.join((_machine(), _boot(), str(pid), _start(pid)))


def lives(process: str) -> bool | None:
    """Whether a process runs; None for one of another machine or container, which cannot be seen from here."""
    machine, boot, pid, start = process.split(_SEPARATOR)
    if machine != _machine():
        return None
    return boot == _boot() and _exists(int(pid)) and _start(int(pid)) == start


def _machine() -> str:
    """Host name and process namespace: two containers may share a name, a reboot keeps both."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no /proc on this system
        return socket.gethostname()


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _start(pid: int) -> str:
    """Start time in clock ticks since boot, field 22 of proc_pid_stat(5): numbers are given out again, this is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _exists(pid: int) -> bool:
    if (state := _state(pid)) is not None:
        return state != "Z"  # killed, and its parent has not looked yet
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _state(pid: int) -> str | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return None
