"""``python -m tests.rig``: kills at every point, or many promoters at once; prints what was lost."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.postgres import cluster
from tests.rig.kills import Rig, apart, drawn
from tests.rig.operations import OPERATIONS
from tests.rig.rounds import LIFE, PROMOTERS, rounds

MODES = ("before", "after", "lost", "torn")


def main() -> int:
    """Run what was asked for; 0 when nothing is wrong."""
    words = argparse.ArgumentParser(prog="python -m tests.rig", description=__doc__)
    words.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite", help="where the ledger lies")
    words.add_argument("--all", action="store_true", help="every fault, not a third of them")
    words.add_argument("--share", type=float, default=1 / 3, help="another share than a third")
    words.add_argument("--seed", type=int, default=0)
    words.add_argument("--same", action="store_true", help="kills too that leave the very bytes of another one")
    words.add_argument("--only", choices=list(OPERATIONS), help="one operation")
    words.add_argument("--rounds", type=int, help="instead of kills: so many rounds of 8 promoters at once")
    words.add_argument("--steps", type=int, help="instead of kills: so many steps of the state machine, in memory")
    asked = words.parse_args()
    if asked.steps:
        return _walk(asked.steps, asked.seed)
    with tempfile.TemporaryDirectory(dir=memory()) as folder, _database(asked.store) as url:
        if asked.rounds:
            return _compete(Path(folder), asked.store, url or f"sqlite:///{folder}/ledger.db", asked.rounds)
        rig = Rig(Path(folder), url).warm()
        bad = 0
        for name, operation in OPERATIONS.items():
            if asked.store in operation.stores and asked.only in (None, name):
                bad += _kill(rig, name, 1.0 if asked.all else asked.share, asked.seed, same=asked.same)
        _say(f"{asked.store}: {bad} wrong, {_cpu():.0f} CPU seconds")
    return 1 if bad else 0


def _walk(count: int, chance: int) -> int:
    from hypothesis import HealthCheck, seed, settings
    from hypothesis.stateful import run_state_machine_as_test

    from tests.rig.machine import Promotions

    each = 50
    chosen = settings(
        max_examples=count // each, stateful_step_count=each, deadline=None, suppress_health_check=list(HealthCheck)
    )
    run_state_machine_as_test(seed(chance)(Promotions), settings=chosen)
    _say(f"{count // each} lives of at most {each} steps: 0 wrong, {_cpu():.0f} CPU seconds")
    return 0


def _compete(folder: Path, store: str, url: str, count: int) -> int:
    won, lost, bad = 0, 0, 0
    for number, start in enumerate(range(0, count, LIFE)):
        place = folder / str(number)
        place.mkdir()
        told, wrong = rounds(place, url, min(LIFE, count - start), name=f"model{number}")
        won += sum(each.outcome == "promoted" for each in told)
        lost += sum(each.outcome == "conflict" for each in told)
        bad += len(wrong)
        for line in wrong:
            _say(f"  {line}")
        done = min(count, start + LIFE)
        _say(f"{store}: {done} rounds of {PROMOTERS} promoters: {won} won, {lost} were told of a conflict, {bad} lost")
    _say(f"{bad} lost, {_cpu():.0f} CPU seconds")
    return 1 if bad else 0


def _kill(rig: Rig, name: str, share: float, seed: int, *, same: bool) -> int:
    """Kill one operation at its points; how much is wrong."""
    course = rig.courses([name])[name]
    faults = list(course.faults(name))
    ended = list(rig.run(drawn(faults if same else apart(faults), share, seed)))
    modes = Counter(fault.mode for fault in ended)
    told = ", ".join(f"{modes[mode]} {mode}" for mode in MODES)
    wrong = [fault for fault in ended if fault.wrong]
    _say(f"{name}: {len(course.calls)} calls, {len(faults)} faults; {len(ended)} done ({told}), {len(wrong)} wrong")
    for line in [*course.bare, *(f"{fault}: {'; '.join(fault.wrong)}" for fault in wrong)]:
        _say(f"  {line}")
    return len(wrong) + len(course.bare)


def _cpu() -> float:
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - what a command is for


def memory() -> str | None:
    """A file system in memory, where there is one: a killed process loses nothing there either."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextmanager
def _database(store: str) -> Iterator[str | None]:
    if store == "sqlite":
        yield None
        return
    with cluster() as postgres:
        yield postgres.database()


if __name__ == "__main__":
    sys.exit(main())
