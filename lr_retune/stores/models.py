"""Model files by the digest of their content: put once, checked on every read."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from lr_retune.errors import DependencyError, IntegrityError
from lr_retune.records import Files, files_digest

_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_PART = re.compile(r"(?!\.+$)[^/\\:%\x00-\x1f\x7f]{1,200}")  # of a path that a team chose
DRAFT = ".draft-"
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Stored:
    """One model folder: its size, and when somebody last put it there."""

    size: int  # bytes
    put: datetime


class Models(Protocol):
    """Where model files lie."""

    def put(self, files: Files) -> str:
        """Keep files and return their digest; keeping them again changes nothing."""

    def get(self, digest: str) -> dict[str, bytes]:
        """The files of a digest, checked.

        Raises
        ------
        IntegrityError
            If they are absent or are not what the digest says.
        """

    def has(self, digest: str) -> bool:
        """Whether files lie there, unchecked."""

    def stored(self) -> dict[str, Stored]:
        """Everything that lies there, by digest."""

    def drop(self, digest: str) -> None:
        """Delete the files of a digest; absent ones are no error."""

    def sweep(self, before: datetime) -> int:
        """Delete what crashes left half written before then; returns its bytes."""


def checked(files: Files, digest: str, where: str) -> dict[str, bytes]:
    """The files, if they are what the digest says.

    Raises
    ------
    IntegrityError
        If not: nothing of them may be loaded.
    """
    found = files_digest(files)
    if found != digest:
        raise IntegrityError(
            f"the model files in {where} have digest {found[:12]}, recorded is {digest[:12]}",
            why="a file was changed, added or lost after it was judged",
            fix="restore the folder from a backup, or `lr-retune rollback`; nothing of it was loaded",
        )
    return dict(files)


def safe_name(name: str) -> str:
    """A file name that cannot leave its folder.

    Raises
    ------
    IntegrityError
        If it could.
    """
    if not _FILE.fullmatch(name):
        raise IntegrityError(f"{name[:80]!r} is no name for a model file", fix="use letters, digits and . _ -")
    return name


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its path from there with forward slashes.

    Raises
    ------
    IntegrityError
        For a link, a device, or a name that could lead elsewhere on some system.
    """
    root, found = folder.resolve(), {}
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise IntegrityError(f"{parts[-1][:80]!r} is no plain file", why="registered models hold plain files only")
        if not path.is_file():
            continue
        if not all(map(_PART.fullmatch, parts)):
            why = "a name with a slash, a backslash, a colon, an escape or a control character may lead elsewhere"
            raise IntegrityError(f"{'/'.join(parts)[:80]!r} is no path for a model file", why=why)
        found["/".join(parts)] = path.read_bytes()
    return found


class MemoryModels:
    """Model files in memory, for replay and tests."""

    def __init__(self) -> None:
        self._files: dict[str, dict[str, bytes]] = {}

    def put(self, files: Files) -> str:
        digest = files_digest({safe_name(name): data for name, data in files.items()})
        self._files.setdefault(digest, dict(files))
        return digest

    def get(self, digest: str) -> dict[str, bytes]:
        if digest not in self._files:
            raise _absent(digest, "memory")
        return checked(self._files[digest], digest, "memory")

    def has(self, digest: str) -> bool:
        return digest in self._files

    def stored(self) -> dict[str, Stored]:
        never = datetime.min.replace(tzinfo=UTC)
        return {digest: Stored(sum(map(len, files.values())), never) for digest, files in sorted(self._files.items())}

    def drop(self, digest: str) -> None:
        self._files.pop(digest, None)

    def sweep(self, before: datetime) -> int:
        del before  # nothing is half written in memory
        return 0


class FileModels:
    """Model files in one folder each, named by their digest.

    Parameters
    ----------
    durable
        Whether what was put survives a power cut; a cache need not, since torn files are noticed and made again.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder, self._durable = folder, durable

    def put(self, files: Files) -> str:
        digest = files_digest({safe_name(name): data for name, data in files.items()})
        if self._holds(digest):
            self._touch(digest)
        else:
            try:
                self._write(files, self._place(digest))
            except OSError as error:
                raise DependencyError(
                    f"model files cannot be written to {self.folder}",
                    why=error.strerror or str(error),
                    fix="free or mount the disk",
                ) from error
        return digest

    def get(self, digest: str) -> dict[str, bytes]:
        place = self._place(digest)
        if not place.is_dir():
            raise _absent(digest, str(self.folder))
        return checked(self._read(place), digest, str(place))

    def has(self, digest: str) -> bool:
        return self._place(digest).is_dir()

    def stored(self) -> dict[str, Stored]:
        found = (place for place in self._places() if _DIGEST.fullmatch(place.name))
        return {place.name: Stored(_size(place), _changed(place)) for place in found}

    def drop(self, digest: str) -> None:
        place = self._place(digest)
        if place.is_dir():
            draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=self.folder))
            place.rename(draft / digest)  # a kill leaves a draft, never half a model under its digest
            shutil.rmtree(draft)

    def sweep(self, before: datetime) -> int:
        old = [place for place in self._places() if place.name.startswith(DRAFT) and _changed(place) < before]
        freed = sum(_size(place) for place in old)
        for place in old:
            shutil.rmtree(place)
        return freed

    def _places(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from (place for place in sorted(self.folder.iterdir()) if place.is_dir() and not place.is_symlink())

    def _touch(self, digest: str) -> None:
        """Somebody is about to refer to it: `prune` leaves it alone for a day."""
        with suppress(OSError):  # a folder that may only be read
            os.utime(self._place(digest))

    def _place(self, digest: str) -> Path:
        if not _DIGEST.fullmatch(digest):
            raise IntegrityError(f"{digest[:80]!r} is no digest", why="model folders are named by 64 hex digits")
        return self.folder / digest

    def _holds(self, digest: str) -> bool:
        try:
            return bool(self.get(digest))
        except IntegrityError:
            return False

    def _read(self, place: Path) -> dict[str, bytes]:
        root, found = place.resolve(), {}
        if root.parent != self.folder.resolve():
            raise IntegrityError(f"{place} is a link that leads out of its folder", fix="restore it from a backup")
        for file in sorted(place.iterdir()):
            if file.is_symlink() or not file.is_file():
                raise IntegrityError(f"{file} is no plain file", why="model folders hold plain files only")
            found[safe_name(file.name)] = file.read_bytes()
        return found

    def _write(self, files: Files, place: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=DRAFT, dir=self.folder))
        try:
            for name, data in files.items():
                with (draft / name).open("xb") as file:
                    file.write(data)
                    if self._durable:
                        file.flush()
                        os.fsync(file.fileno())
            draft.chmod(0o755)
            self._swap_in(draft, place)
            if self._durable:
                _sync(self.folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _swap_in(self, draft: Path, place: Path) -> None:
        try:
            draft.rename(place)
        except OSError:
            if self._holds(place.name):  # another process put the same content meanwhile
                return
            # What lies there is damaged: it goes aside into the draft's name, the good copy takes its place.
            aside = Path(tempfile.mkdtemp(prefix=DRAFT, dir=self.folder))
            place.rename(aside / "damaged")
            draft.rename(place)
            shutil.rmtree(aside, ignore_errors=True)


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*") if file.is_file())


def _changed(folder: Path) -> datetime:
    return datetime.fromtimestamp(folder.stat().st_mtime, UTC)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _absent(digest: str, where: str) -> IntegrityError:
    return IntegrityError(
        f"no model files for {digest[:12]} in {where}",
        why="the folder was deleted, or the ledger came from another machine",
        fix="restore the folder; with MLflow at hand the files are fetched from the registered version",
    )
