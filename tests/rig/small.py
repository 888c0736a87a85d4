"""What every build can afford of the rig, as JSON: ``python -m tests.rig.small [URL of an empty database]``."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.rig.__main__ import memory
from tests.rig.kills import CALLS, Rig, apart, drawn
from tests.rig.operations import OPERATIONS

THREE = ("promote", "rollback", "reconcile a crash")
TAKEN_OFF = ("set_registered_model_alias", "rename")  # the points of two calls
FEW = 1 / 30
SEED = 20


def done(rig: Rig, names: tuple[str, ...], share: float, torn: float) -> dict[str, Any]:
    """A share of the calls' faults that differ, and of statements in the middle of a transaction."""
    faults = [f for name, course in rig.courses(names).items() for f in apart(list(course.faults(name)))]
    calls = drawn([f for f in faults if f.mode in CALLS], share, SEED)
    middle = drawn([f for f in faults if f.mode not in CALLS], torn, SEED)
    ended = list(rig.run(sorted(calls + middle, key=lambda f: names.index(f.operation))))
    return {
        "modes": sorted({fault.mode for fault in ended}),
        "calls": len(calls),
        "wrong": [f"{fault}: {fault.wrong}" for fault in ended if fault.wrong],
    }


def main(url: str | None) -> None:
    """Print what was found."""
    with tempfile.TemporaryDirectory(dir=memory()) as folder:
        rig = Rig(Path(folder)).warm()
        found: dict[str, Any] = {"sqlite": done(rig, THREE, 1 / 3, FEW)}
        found["hidden"] = {name: course.bare for name, course in rig.courses(list(OPERATIONS)).items()}
        found["heard"] = {call: rig.course("promote", without=call).bare for call in TAKEN_OFF}
        if url is not None:
            found["postgres"] = done(rig.move(url), ("promote",), FEW, FEW)
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:] or [None])
