"""Answers of steps, kept in memory and on disk: policies that meet the same question share the work, and so do days.

A file holds one answer and the digest of it; one that a crash tore, or that somebody altered, is made again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from lr_retune.config import Config
from lr_retune.errors import DependencyError, IntegrityError
from lr_retune.records import Candidate, Files, TuneResult, content_digest
from lr_retune.replay import keys
from lr_retune.replay.thaw import frozen, thawed
from lr_retune.stores.models import FileModels, MemoryModels
from lr_retune.stores.promotion import models_folder

P = ParamSpec("P")
T = TypeVar("T")


LATELY = 64 * 1024**2  # bytes of model files that are kept in memory once they were read and checked


class KeptModels(MemoryModels):
    """Model files in a folder, where other processes find them; in memory without one that can be written."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__()
        self._disk = None if folder is None else FileModels(folder, durable=False)
        self._read: dict[str, dict[str, bytes]] = {}  # by digest, the newest last
        self._room = LATELY

    def put(self, files: Files) -> str:
        if self._disk is not None:
            with suppress(DependencyError):
                return self._disk.put(files)
        return super().put(files)

    def get(self, digest: str) -> dict[str, bytes]:
        if self._disk is None or super().has(digest):
            return super().get(digest)
        if digest not in self._read:
            self._read[digest] = self._disk.get(digest)
            self._room -= sum(map(len, self._read[digest].values()))
        while self._room < 0:
            self._room += sum(map(len, self._read.pop(next(iter(self._read))).values()))
        return dict(self._read[digest]) if digest in self._read else self._disk.get(digest)

    def has(self, digest: str) -> bool:
        return super().has(digest) or (self._disk is not None and self._disk.has(digest))

    def sound(self, digest: str) -> bool:
        """Whether files are there and are what the digest says; others are deleted."""
        try:
            self.get(digest)
        except IntegrityError:
            if self._disk is not None:
                self._disk.drop(digest)
            return False
        return True


class Cache:
    """Runs steps; one that was run before, on the same rows with the same question, is not run again.

    Parameters
    ----------
    folder
        Where answers are kept for other processes and days; None: nowhere.
    until
        A digest of the rows that came before a time, None for a time that none is known of: nothing is kept then.
    """

    def __init__(self, folder: Path | None, until: keys.Until) -> None:
        self.models = KeptModels(None if folder is None else folder / "models")
        self._folder, self._until = folder, until
        self._known: dict[str, Any] = {}
        self._spent: dict[str, float] = {}  # CPU seconds of what was run here
        self.spared_s = 0.0  # CPU seconds that were not spent again

    def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """A step's answer."""
        if function not in keys.KEYED or kwargs:
            return function(*args, **kwargs)
        name, depends, kind = keys.KEYED[function]
        config: Any = args[0]
        until = self._until(keys.as_of(name, args))
        if until is None:
            return function(*args, **kwargs)
        key = f"{name}-{keys.key(config, name, depends(*args), until)}"
        return self._answer(key, kind, lambda: function(*args, **kwargs))  # type: ignore[no-any-return]

    def spare(self, seconds: float) -> None:
        """CPU seconds that somebody would have spent alone."""
        self.spared_s += seconds

    def _answer(self, key: str, kind: Any, run: Callable[[], Any]) -> Any:
        if key not in self._known and self._find(key, kind):
            return self._known[key]
        if key in self._known:
            self.spare(self._spent.get(key, 0.0))
            return self._known[key]
        started, spared = time.process_time(), self.spared_s
        found = run()
        self._spent[key] = time.process_time() - started + self.spared_s - spared
        self._known[key] = found
        self._keep(key, found)
        return found

    def _find(self, key: str, kind: Any) -> bool:
        """Whether it lies on disk, whole and with its models."""
        if self._folder is None:
            return False
        with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            digest, text = self._place(key).read_text(encoding="utf-8").split("\n", 1)
            found = thawed(text, kind)
            if digest == content_digest(text) and all(map(self.models.sound, _models(found))):
                self._known[key] = found
                return True
        return False

    def _keep(self, key: str, found: Any) -> None:
        """All or nothing, and no error where nothing can be written: a cache decides nothing."""
        if self._folder is None:
            return
        text, place = frozen(found), self._place(key)
        with suppress(OSError):
            place.parent.mkdir(parents=True, exist_ok=True)
            part = place.with_suffix(f".{os.getpid()}.part")
            part.write_text(f"{content_digest(text)}\n{text}", encoding="utf-8")
            part.replace(place)

    def _place(self, key: str) -> Path:
        assert self._folder is not None  # asked only where there is one
        return self._folder / "answers" / f"{key}.json"


def _models(found: Any) -> list[str]:
    """Digests of the models that an answer names."""
    if not isinstance(found, TuneResult):
        return []
    single = (found.challenger, found.control, found.fixed, found.old_rows, found.refit)
    many = [each for fits in (*found.repeats.values(), *found.apart.values()) for each in fits]
    return [c.model for c in (*single, *many) if isinstance(c, Candidate)]


def folder_of(config: Config, asked: Path | None) -> Path:
    """Where a replay keeps its answers: as asked, else beside the folder of model files."""
    return models_folder(config).parent / f".replay-{config.name}" if asked is None else asked
