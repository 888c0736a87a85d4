"""Where files lie: local paths, globs and folders, and the same behind any fsspec URL."""

from __future__ import annotations

import glob
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from lr_retune.config import Config
from lr_retune.errors import ConfigError, DataError, DependencyError

_PRIVATE = re.compile(r"(?<=://)[^/@\s]*@|\?.*", re.DOTALL)  # a user and password, or a signature
_LOCAL = ("", "file", "local")


@dataclass(frozen=True, slots=True)
class File:
    """One file as it was found; ``mark`` is another one after it was written anew."""

    name: str  # for people
    path: str
    mark: str
    remote: Any = field(default=None, compare=False, repr=False)  # fsspec file system; None: local

    def opened(self) -> Any:
        """What pyarrow reads: a path, or a seekable file object."""
        if self.remote is None:
            return self.path
        with reached(self.name):
            return self.remote.open(self.path, "rb")

    def copied(self, owner: object) -> Path:
        """A path that lives as long as ``owner``: the file's own, or that of a private copy."""
        if self.remote is None:
            return Path(self.path)
        folder = tempfile.mkdtemp(prefix="lr-retune-")
        weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
        with reached(self.name):
            self.remote.get_file(self.path, f"{folder}/rows")
        return Path(folder, "rows")


def find(config: Config, suffix: str) -> list[File]:
    """Files that ``[data] path`` names, sorted by name; relative paths are relative to the configuration.

    In a folder, names that begin with a dot or an underscore are skipped: writers use them for files in the making.

    Raises
    ------
    ConfigError
        If there is no path, or its protocol is unknown.
    DataError
        If there is no file, with what lies nearby.
    DependencyError
        If the package for the protocol is not installed, or the place does not answer.
    """
    if config.data.path is None:
        raise ConfigError("path is missing", fix="set it to a file, a folder, a glob or an fsspec URL")
    place = config.place(config.data.path)
    protocol = place.partition("://")[0] if "://" in place else ""
    if protocol in _LOCAL:
        return _local(Path(place.removeprefix(f"{protocol}://")), suffix)
    return _remote(place, suffix)


def shown(place: str) -> str:
    """A path or URL without what may be secret in it.

    >>> shown("sftp://me:hush@host/rows?sig=1")
    'sftp://host/rows'
    """
    return _PRIVATE.sub("", place) if "://" in place else place


@contextmanager
def reached(name: str) -> Iterator[None]:
    """Whatever a protocol's package raises, with the name of what it was asked for.

    Raises
    ------
    DependencyError
        For anything but a missing file.
    DataError
        If the file has gone.
    """
    try:
        yield
    except FileNotFoundError:
        fix = "look whether a job moved it while it was read, and run again"
        raise DataError(f"{shown(name)} is gone", fix=fix) from None
    except Exception as error:  # noqa: BLE001 - each protocol's package has errors of its own
        why = f"{type(error).__name__}: {shown(str(error))[:200]}"
        fix = "check the address, the credentials in the environment and the network"
        raise DependencyError(f"{shown(name)} cannot be reached", why=why, fix=fix) from None


# ── local ─────────────────────────────────────────────────────────────────────────────────────────
def _local(pattern: Path, suffix: str) -> list[File]:
    if pattern.is_dir():
        below = (p for p in pattern.rglob(f"*{suffix}") if p.is_file())
        files = [p for p in below if _finished(p.relative_to(pattern).parts)]
    elif pattern.is_file():
        files = [pattern]
    else:
        files = [p for p in map(Path, glob.glob(str(pattern), recursive=True)) if p.is_file()]
    if not files:
        folder = next(p for p in pattern.parents if p.is_dir())
        raise _nothing(str(pattern), suffix, str(folder), (p.name for p in folder.iterdir()))
    return [_described(path) for path in sorted(files, key=lambda p: p.as_posix())]


def _described(path: Path) -> File:
    with reached(str(path)):
        stat = path.stat()
    return File(str(path), str(path), f"{stat.st_mtime_ns} {stat.st_size}")


def _finished(parts: Iterable[str]) -> bool:
    return not any(part.startswith((".", "_")) for part in parts)


def _nothing(pattern: str, suffix: str, folder: str, names: Iterable[str]) -> DataError:
    near = sorted(names)[:10]
    return DataError(
        f"no {suffix} file matches {pattern}",
        why=f"{folder} holds {', '.join(map(repr, near)) or 'nothing'}",
        fix="set path to a file, a folder or a glob; relative paths start at the configuration's folder",
    )


# ── remote ────────────────────────────────────────────────────────────────────────────────────────
def _remote(url: str, suffix: str) -> list[File]:
    remote, pattern = _system(url)
    with reached(url):
        remote.invalidate_cache()  # listings are kept otherwise, and a new file would not be seen
        if files := _matching(remote, pattern, suffix):
            return [File(shown(remote.unstrip_protocol(p)), p, str(remote.ukey(p)), remote) for p in files]
        folder = str(PurePosixPath(pattern).parent)
        near = remote.ls(folder, detail=False) if remote.isdir(folder) else []
    raise _nothing(shown(url), suffix, shown(remote.unstrip_protocol(folder)), (PurePosixPath(n).name for n in near))


def _system(url: str) -> tuple[Any, str]:
    import fsspec

    try:
        remote, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise DependencyError(
            f"{shown(url)} cannot be read without another package",
            why=str(error),
            fix="install that package beside lr-retune",
        ) from None
    except ValueError as error:
        raise ConfigError(f"{shown(url)} cannot be read", why=str(error), fix="correct path") from None
    return remote, str(path)


def _matching(remote: Any, pattern: str, suffix: str) -> list[str]:
    if remote.isfile(pattern):
        return [pattern]
    if not remote.isdir(pattern):
        return sorted(p for p in remote.glob(pattern) if remote.isfile(p)) if glob.has_magic(pattern) else []
    below = (p for p in remote.find(pattern) if p.endswith(suffix))
    root = pattern.rstrip("/")
    return sorted(p for p in below if _finished(PurePosixPath(p.removeprefix(root)).parts[1:]))
