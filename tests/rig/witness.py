"""What really happened outside, seen without the points: statements, connections, and files that changed."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tests.rig.points import Points

Files = dict[str, tuple[int, int, int, int]]


class Witness:
    """Notes in ``bare`` what passed no point, and in ``wrote`` how many points had changed something by each one.

    It knows no client by name. Every statement of any SQLAlchemy engine in the process and every connection of a
    Python socket is heard where it happens; every change of a file below ``folder`` is found by looking at the folder
    whenever a point begins.
    """

    def __init__(self, points: Points, folder: Path) -> None:
        self.bare: list[str] = []
        self.wrote: list[int] = []
        self._points, self._folder = points, folder
        self._files, self._stated = self._look(), 0
        points.enter, points.leave = self._enter, self._leave
        sa.event.listen(sa.engine.Engine, "before_cursor_execute", self._hear)
        socket.socket.connect = self._watched(socket.socket.connect)  # type: ignore[method-assign]

    def last(self) -> None:
        """Look once more, after the last point."""
        self._compare()

    def _enter(self) -> None:
        self._compare()
        self._stated = len(self._points.statements)

    def _leave(self) -> None:
        if self._points.inside:
            return
        files = self._look()
        changed = files != self._files or len(self._points.statements) > self._stated
        self.wrote.append((self.wrote[-1] if self.wrote else 0) + changed)
        self._files = files

    def _compare(self) -> None:
        files = self._look()
        for name in sorted({name for name, _ in files.items() ^ self._files.items()}):
            self._note(f"a change of {name}")
        self._files = files

    def _look(self) -> Files:
        found = Files()
        for folder, _, names in os.walk(self._folder):
            for place in (folder, *(os.path.join(folder, name) for name in names)):
                told = os.lstat(place)
                found[os.path.relpath(place, self._folder)] = (
                    told.st_ino,
                    told.st_mode,
                    told.st_size,
                    told.st_mtime_ns,
                )
        return found

    def _hear(self, _c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not self._points.inside:
            self._note(f"SQL {statement.split(None, 1)[0]}")

    def _watched(self, connect: Callable[..., Any]) -> Callable[..., Any]:
        def called(one: socket.socket, address: Any) -> Any:
            if not self._points.inside:
                self._note("a connection of a socket")
            return connect(one, address)

        return called

    def _note(self, what: str) -> None:
        before = self._points.names[-1] if self._points.names else "the start"
        self.bare.append(f"{what} after {before} passed no point")
