"""Answers of past replays: held while a replay runs, and deleted once they are old and nobody is reading them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lr_retune.config import Config
from lr_retune.replay.cache import folder_of
from lr_retune.stores.models import FileModels


@dataclass(frozen=True, slots=True)
class Cleared:
    """What went, or would go."""

    answers: int = 0
    size: int = 0  # bytes, with their models
    notes: tuple[str, ...] = ()


def kept_in(config: Config, asked: Path | None) -> tuple[Path, list[str]]:
    """Where a replay keeps its answers, and what a person is told where nothing can be written there."""
    folder = folder_of(config, asked)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return folder, []
    return folder, [f"answers cannot be kept in {folder}: a replay that is stopped begins anew; --cache names another"]


@contextmanager
def in_use(folder: Path | None) -> Iterator[None]:
    """Keep `clear` away meanwhile: a replay asks later for models whose answers it has found.

    A folder that cannot be made or locked is no error: where nothing can be kept, nothing is cleared.
    """
    with suppress(OSError):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        yield


def clear(folder: Path, before: datetime, *, dry_run: bool = False) -> Cleared:
    """Delete answers and models that were written before a time; a later replay makes again what it misses.

    Nothing goes while a replay runs, on this folder, in any process.
    """
    if not folder.is_dir():
        return Cleared()
    with _locked(folder, alone=True) as alone:
        if not alone:
            return Cleared(notes=(f"answers of replays in {folder} were left: a replay is running",))
        store = FileModels(folder / "models")
        answers = [file for file in sorted((folder / "answers").glob("*")) if _written(file) < before]
        models = {digest: kept.size for digest, kept in store.stored().items() if kept.put < before}
        size = sum(file.lstat().st_size for file in answers) + sum(models.values())
        if not dry_run:
            for file in answers:
                file.unlink()
            for digest in models:
                store.drop(digest)
            size += store.sweep(before)
    return Cleared(len(answers), size)


@contextmanager
def _locked(folder: Path | None, *, alone: bool = False) -> Iterator[bool]:
    """Whether the lock was had; the system releases it when a process dies."""
    handle = None if folder is None else _opened(folder)
    try:
        yield handle is not None and _had(handle, alone)
    finally:
        if handle is not None:
            os.close(handle)


def _opened(folder: Path) -> int | None:
    with suppress(OSError):
        return os.open(folder, os.O_RDONLY)
    return None


def _had(handle: int, alone: bool) -> bool:
    with suppress(OSError, ImportError):  # systems without such locks clear nothing
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB if alone else fcntl.LOCK_SH)
        return True
    return False


def _written(file: Path) -> datetime:
    return datetime.fromtimestamp(file.lstat().st_mtime, UTC)
