"""Every call that stores/ makes to the outside, as a numbered point where it can die or lose its answer."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from lr_retune.errors import DependencyError

OURS = "lr_retune.stores"
READS = {"SELECT", "PRAGMA", "BEGIN", "SHOW", "SET", "ROLLBACK", "COMMIT"}  # first words that change no row
Owner = tuple[Any, str]  # a class or module and the name of a function in it


class Points:
    """Counts the outermost wrapped calls, and does what it was armed for at one of them.

    ``before`` kills this process with SIGKILL before the call with the armed number, ``after`` once it has acted;
    ``lost`` lets it act and gives its caller an error; ``torn`` kills before the armed number's statement among those
    that change rows, in the middle of a transaction.

    Attributes
    ----------
    names
        Calls in their order.
    statements
        First words of the statements that change rows, in their order.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.statements: list[str] = []
        self.inside = 0
        self.enter: Callable[[], None] = lambda: None  # who wants to know of each point
        self.leave: Callable[[], None] = lambda: None
        self._at, self._mode = 0, ""
        self._real: dict[str, list[tuple[Owner, Any]]] = {}

    def arm(self, at: int = 0, mode: str = "") -> None:
        """Act at the call or statement with this number, counted from 1 and from now; at none by default."""
        self.names, self.statements, self._at, self._mode = [], [], at, mode

    def install(self) -> Points:
        """Wrap every client that stores/ has; for the life of this process."""
        import mlflow.artifacts
        from mlflow import MlflowClient

        from lr_retune.stores.ledger import Ledger

        for name in client_methods():
            self._wrap((MlflowClient, name), name, _unreachable)
        self._wrap((mlflow.artifacts, "download_artifacts"), "download_artifacts", _unreachable)
        self._wrap((Ledger, "_transact"), "ledger write", _cut)
        self._wrap((Ledger, "_read"), "ledger read", _unread)
        for owner, name in ((os, "fsync"), (os, "utime"), (shutil, "rmtree"), (tempfile, "mkdtemp")):
            self._wrap((owner, name), name, _failed, _leaves)
        for name in ("mkdir", "rename", "replace", "chmod", "rmdir", "unlink", "write_bytes", "write_text"):
            self._wrap((Path, name), name, _failed, _leaves)
        self._hand_out()
        self._wrap((sqlite3, "connect"), "sqlite3", _failed, _called)
        sa.event.listen(sa.engine.Engine, "before_cursor_execute", self._state)
        return self

    def forget(self, name: str) -> None:
        """Take the wrapper off a call again: what somebody does who adds a client and no point."""
        for (owner, attribute), real in self._real.pop(name):
            setattr(owner, attribute, real)

    def _wrap(
        self,
        where: Owner,
        name: str,
        error: Callable[[], Exception],
        counts: Callable[..., bool] | None = None,
    ) -> None:
        """Make a point of a call; of everybody's function only where stores/ calls it and ``counts`` says so."""
        owner, attribute = where
        real = getattr(owner, attribute)

        @wraps(real)
        def point(*args: Any, **kwargs: Any) -> Any:
            if self.inside or (counts is not None and not (_ours() and counts(*args, **kwargs))):
                return real(*args, **kwargs)
            return self._pass(name, error, lambda: real(*args, **kwargs))

        setattr(owner, attribute, point)
        self._real.setdefault(name, []).append((where, real))

    def _hand_out(self) -> None:
        """Files that stores/ opens for writing act when they are flushed or closed, too."""
        real = Path.open

        @wraps(real)
        def opened(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if self.inside or not (_ours() and _opens(path, mode)):
                return real(path, mode, *args, **kwargs)
            return Written(self._pass("open", _failed, lambda: real(path, mode, *args, **kwargs)), self)

        Path.open = opened  # type: ignore[method-assign]

    def _pass(self, name: str, error: Callable[[], Exception], call: Callable[[], Any]) -> Any:
        self.names.append(name)
        mode = self._mode if len(self.names) == self._at and self._mode != "torn" else ""
        if mode == "before":
            _die()
        self.enter()
        self.inside += 1
        try:
            return call()
        finally:  # a refusal is an answer too
            self.inside -= 1
            self.leave()
            if mode == "after":
                _die()
            if mode == "lost":
                raise error()

    def _state(self, _c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        word = statement.split(None, 1)[0].upper()
        if word in READS:
            return
        self.statements.append(word)
        if self._mode == "torn" and len(self.statements) == self._at:
            _die()


class Written:
    """A file open for writing, whose calls are points."""

    def __init__(self, file: IO[Any], points: Points) -> None:
        self._file, self._points = file, points

    def __enter__(self) -> Written:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """What `os.fsync` asks for."""
        return self._file.fileno()

    def write(self, data: Any) -> int:
        """Into the buffer, or further."""
        return int(self._points._pass("write", _failed, lambda: self._file.write(data)))

    def flush(self) -> None:
        """To the system."""
        self._points._pass("flush", _failed, self._file.flush)

    def close(self) -> None:
        """With what is left in the buffer."""
        self._points._pass("close", _failed, self._file.close)


def client_methods() -> list[str]:
    """Public methods of MLflow's client."""
    from mlflow import MlflowClient

    return [name for name, value in vars(MlflowClient).items() if not name.startswith("_") and callable(value)]


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _unreachable() -> Exception:
    return ConnectionError("the answer was lost")


def _cut() -> Exception:
    return OperationalError("COMMIT", None, Exception("the answer was lost"), connection_invalidated=True)


def _unread() -> Exception:
    return DependencyError("the ledger's answer was lost")


def _failed() -> Exception:
    return OSError(5, "the answer was lost")


# ── which calls of everybody's functions are ours ─────────────────────────────────────────────────
def _ours() -> bool:
    return str(sys._getframe(2).f_globals.get("__name__", "")).startswith(OURS)


def scratch(path: Any) -> bool:
    """Whether it lies below the folder for temporary files, which nobody reads after a crash."""
    text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
    return text.startswith(tempfile.gettempdir() + os.sep)


def _leaves(*args: Any, **kwargs: Any) -> bool:
    place = kwargs.get("dir", args[0] if args else None)
    return place is not None and not scratch(place)


def _opens(path: Any, mode: str) -> bool:
    return any(letter in mode for letter in "wxa+") and not scratch(path)


def _called(*_args: Any, **_kwargs: Any) -> bool:
    return True
