"""A scikit-learn pipeline as skops bytes: the same model gives the same bytes, and only known types are read back."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from typing import Any

import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from lr_retune.errors import IntegrityError
from lr_retune.families.sgd_bounds import SCHEMA, bounded

# What our pipelines hold beyond the types that skops itself knows as safe; the served model has a copy of this list.
TRUSTED = ["numpy.clip", "numpy.dtype"]
_BROKEN = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, ImportError, AttributeError, LookupError, ValueError),
    *(TypeError, RuntimeError, MemoryError),  # RuntimeError: a cipher, a packing of its own, nesting without end
)


def dumps(model: Any) -> bytes:
    """The skops archive of a model, free of clock and addresses.

    skops names objects and files by their place in memory and stamps files with the time of day.
    """
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    numbers: dict[str, int] = {}
    schema = _renumbered(json.loads(contents.pop(SCHEMA)), numbers)
    files = {_renamed(name, numbers): data for name, data in contents.items()}
    files[SCHEMA] = json.dumps(schema, separators=(",", ":")).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name)  # dated 1980-01-01
            entry.create_system = 3  # else it would tell the operating system
            archive.writestr(entry, files[name])
    return out.getvalue()


def loads(data: bytes) -> Any:
    """The model in a skops archive.

    Raises
    ------
    IntegrityError
        If the archive is torn, would grow beyond all bounds, or holds a type that is neither skops' nor ours; there
        is no other reader to fall back on.
    """
    try:
        bounded(data)
        return skops.io.loads(data, trusted=TRUSTED)
    except UntrustedTypesFoundException as error:
        why = " ".join(str(error).split())
        raise IntegrityError("the model file holds types that are not trusted", why=why, fix="restore it") from error
    except _BROKEN as error:
        why = " ".join(str(error).split())[:300]
        raise IntegrityError("the model file cannot be read as skops", why=why, fix="restore the file") from error


def _renumbered(node: Any, numbers: dict[str, int]) -> Any:
    """The schema with ids and file names counted in order of appearance."""
    if isinstance(node, list):
        return [_renumbered(value, numbers) for value in node]
    if not isinstance(node, dict):
        return node
    found: dict[str, Any] = {}
    for key, value in node.items():
        if key == "__id__":
            found[key] = numbers.setdefault(str(value), len(numbers))
        elif key == "file":
            found[key] = _renamed(value, numbers)
        else:
            found[key] = _renumbered(value, numbers)
    return found


def _renamed(name: str, numbers: dict[str, int]) -> str:
    stem, _, suffix = name.partition(".")
    return f"{numbers.setdefault(stem, len(numbers))}.{suffix}"
