"""The finished trials of a search that is under way: what a killed one need not train again."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from lr_retune.records import Cost, Role, Trial, canonical


class Journal:
    """One file per model with the trials of its newest search; another search's are forgotten.

    A fit is the same each time, so a trial that is read back stands for the fit. A line that a crash tore is
    ignored, and so is a file that cannot be written: a journal saves work and decides nothing.

    Parameters
    ----------
    path
        The file; None keeps nothing.
    key
        Digest of all that the search depends on.
    """

    def __init__(self, path: Path | None, key: str) -> None:
        self._path = path
        self._known = {} if path is None else _read(path, key)
        if path is not None:  # written anew: nothing may follow a torn line
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                lines = [canonical({"search": key}), *map(canonical, self._known.values())]
                new = path.with_suffix(".new")
                new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
                new.replace(path)
            except OSError:  # what lies there is another search's: nothing may be added to it
                self._path = None

    def recall(self, number: int, learning_rate: float, schedule: str, role: Role) -> Trial | None:
        """The trial if it was finished before."""
        return self._known.get((number, learning_rate, schedule, role))

    def remember(self, trial: Trial) -> None:
        """Write down a finished trial."""
        if self._path is not None:
            with suppress(OSError), self._path.open("a", encoding="utf-8") as file:
                file.write(canonical(trial) + "\n")


def _read(path: Path, key: str) -> dict[tuple[int, float, str, str], Trial]:
    found: dict[tuple[int, float, str, str], Trial] = {}
    with suppress(OSError, ValueError, KeyError, TypeError, IndexError):
        first, *lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines if json.loads(first) == {"search": key} else ():
            trial = trial_from(json.loads(line))  # a torn line ends the reading
            found[(trial.number, trial.learning_rate, trial.schedule, trial.role)] = trial
    return found


def trial_from(value: dict[str, Any]) -> Trial:
    """A trial from its plain form."""
    return Trial(**{**value, "curve": tuple(value["curve"]), "cost": Cost(**value["cost"])})
