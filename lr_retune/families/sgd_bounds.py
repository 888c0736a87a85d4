"""How large a skops archive would grow, told from its directory and headers before anything is unpacked."""

from __future__ import annotations

import io
import math
import zipfile

import numpy as np

SCHEMA = "schema.json"
MOST_FILES, MOST_BYTES, MOST_SCHEMA = 10_000, 256 << 20, 32 << 20  # far beyond any linear model
DEFLATED = 1032  # to one, at most: https://zlib.net/zlib_tech.html
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def bounded(data: bytes) -> None:
    """Look at every size before anything is unpacked or allocated.

    Raises
    ------
    ValueError
        If it would grow beyond any linear model, or holds something else than a schema and plain arrays.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if len(entries) > MOST_FILES or sum(map(_grown, entries)) > MOST_BYTES:
            raise ValueError(f"it would unpack to more than {MOST_FILES} files or {MOST_BYTES >> 20} MB")
        if _grown(archive.getinfo(SCHEMA)) > MOST_SCHEMA:
            raise ValueError(f"its schema has more than {MOST_SCHEMA >> 20} MB")
        for entry in entries:
            if entry.filename != SCHEMA:
                _plain_array(archive, entry)


def _grown(entry: zipfile.ZipInfo) -> int:
    """Bytes it may unpack to: its directory may lie, as zipfile cuts only what was unpacked already."""
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{entry.filename!r} is packed by method {entry.compress_type}")
    packed = entry.compress_size * (DEFLATED if entry.compress_type == zipfile.ZIP_DEFLATED else 1)
    return max(entry.file_size, packed)


def _plain_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """An array that is as large as its header says: numpy allocates by the header alone."""
    with archive.open(entry) as file:
        read = _HEADERS.get(np.lib.format.read_magic(file))
        if read is None:
            raise ValueError(f"{entry.filename!r} has a header of another version")
        shape, _, dtype = read(file)
        if dtype.hasobject or math.prod(shape) * dtype.itemsize != entry.file_size - file.tell():
            raise ValueError(f"{entry.filename!r} is no plain array of its own size")
