"""A child process in which a model file of unknown making is parsed and asked once, before this one dares to."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lr_retune.errors import IntegrityError
from lr_retune.records import Files

CPU_S, WALL_S, BYTES = 60, 120, 4 << 30
_ONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each thread reserves address space


def survives(family: str, files: Files, features: int, *, wall_s: float = WALL_S) -> None:
    """Load a model's native files and score three rows, elsewhere.

    LightGBM's parser ends the whole process on a torn text and may loop on a crafted one.

    Raises
    ------
    IntegrityError
        If the child does not come back with three scores within its limits.
    """
    with tempfile.TemporaryDirectory(prefix="lr-retune-") as folder:
        for name, data in files.items():
            (Path(folder) / name).write_bytes(data)
        words = [sys.executable, "-I", "-m", "lr_retune.quarantine", family, folder, str(features)]
        kept = {k: v for k, v in os.environ.items() if k in ("PATH", "LANG", "LD_LIBRARY_PATH", "SYSTEMROOT")}
        try:
            ran = subprocess.run(
                words, env=kept | _ONE, capture_output=True, timeout=wall_s, check=False, stdin=subprocess.DEVNULL
            )
        except subprocess.TimeoutExpired:
            raise _refused(f"it did not answer within {wall_s:g} s") from None
    if ran.returncode:
        told = ran.stderr.decode("utf-8", "replace").strip().splitlines()
        killed = f"it ended the process that read it (signal {-ran.returncode})"
        raise _refused(killed if ran.returncode < 0 else (told or ["it cannot be read"])[-1][:200])


def _refused(why: str) -> IntegrityError:
    return IntegrityError(
        "the registered model file does not stand a first reading in a process of its own",
        why=why,
        fix="register the model anew, or name the column of its logged scores with --scores",
    )


def _limit() -> None:
    try:
        import resource
    except ImportError:  # Windows has none: the time limit stays
        return
    for kind, most in ((resource.RLIMIT_CPU, CPU_S), (resource.RLIMIT_AS, BYTES), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (most, most))


def _child(family: str, folder: str, features: str) -> None:
    import numpy as np

    from lr_retune.plugins import find

    files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    scores = find("families", family)({}, 1).load(files).predict(np.zeros((3, int(features))))
    if scores.shape != (3,):
        raise IntegrityError(f"three rows got scores of the shape {scores.shape}")


if __name__ == "__main__":
    _limit()
    _child(*sys.argv[1:])
