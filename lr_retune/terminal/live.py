"""A command as it goes, on standard error: which step, how many trials, the best so far, and how long yet."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from lr_retune.answers import short
from lr_retune.config import Config
from lr_retune.records import Trial
from lr_retune.terminal.base import text

P = ParamSpec("P")
T = TypeVar("T")
A_SECOND = 8  # drawn so often
_STAGES = {
    "observe": "looking at the newest ticks",
    "probe": "a probe: what would fresh data mend?",
    "probation": "holding the new champion to its promise",
    "drift_page": "comparing columns",
    "plan": "choosing the rows",
    "tune": "searching",
    "judge": "judging the challenger",
    "refit": "fitting what passed once more",
    "settle": "filing and promoting",
    "roll_back": "rolling back",
    "shown": "drawing the page",
}


@dataclass(frozen=True, slots=True)
class Goal:
    """Where a search ends, as far as that is known before it begins."""

    fits: int | None = None
    seconds: float | None = None


def goal(config: Config | None) -> Goal:
    """Where a configured search ends: some strategies know their rates beforehand, and a budget ends any."""
    if config is None:
        return Goal()
    asked = config.search
    rates = {"grid": asked.points, "random": asked.points, "fixed": 1}.get(asked.strategy)
    fits = min((n for n in (rates, asked.budget.fits) if n is not None), default=None)
    return Goal(fits if rates is not None else None, asked.budget.seconds)


class Watcher:
    """What is known so far; drawn a few times a second."""

    def __init__(self, what: str, goal: Goal, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._goal, self._clock = what, goal, clock
        self._began = clock()
        self._searching: float | None = None  # since when; None: not now
        self._stage, self._trials = "loading", list[Trial]()
        self._ends = list[float]()  # when each candidate ended
        self._spinner = Spinner("dots", style="cyan")

    def __call__(self, message: str | Trial) -> None:
        """Take a finished trial, or what else there is to say."""
        if isinstance(message, Trial):
            self._trials.append(message)
            self._ends += [self._clock()] if message.role == "candidate" else []
            self._stage = _STAGES["tune"]
        else:
            self._stage = message

    def step(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a step of the main path, and say which."""
        name = getattr(function, "__name__", "")
        self._stage = _STAGES.get(name, self._stage)
        if name == "tune":
            self.search()
        try:
            return function(*args, **kwargs)
        finally:
            self._searching = None

    def search(self) -> None:
        """From now on trials are told."""
        self._searching, self._trials, self._ends = self._clock(), [], []

    def line(self) -> Text:
        """Everything in one line."""
        said = [text(self._what, "name"), *([text(self._stage)] if self._stage else [])]
        if self._trials:
            of = f" of {self._goal.fits}" if self._goal.fits is not None else ""
            said.append(text(f"{len(self._ends)}{of} {'trial' if len(self._ends) == 1 and not of else 'trials'}"))
            said.append(self._best())
        said.append(text(f"{self._clock() - self._began:.0f} s", "quiet"))
        if (left := self.left()) is not None:
            said.append(text(f"about {left:.0f} s left", "quiet"))
        return Text(" · ").join(said)

    def left(self) -> float | None:
        """Seconds until the search ends, by the pace of its trials or by its budget; None: nobody knows."""
        if self._searching is None:
            return None
        now, ends, goal = self._clock(), self._ends, self._goal
        known = [] if goal.seconds is None else [goal.seconds - (now - self._searching)]
        if goal.fits is not None and len(ends) > 1:
            known.append((ends[-1] - ends[0]) / (len(ends) - 1) * (goal.fits - len(ends)) - (now - ends[-1]))
        return max(0.0, min(known)) if known and (goal.fits is None or len(ends) < goal.fits) else None

    def _best(self) -> Text:
        losses = [(t.loss, t.learning_rate) for t in self._trials if t.loss is not None]
        if not losses:
            return text(f"last: rate {short(self._trials[-1].learning_rate)} {self._trials[-1].state}")
        loss, rate = min(losses)
        return Text.assemble("best ", text(short(loss), "good"), text(f" at rate {short(rate)}"))

    def __rich_console__(self, _console: Console, _options: ConsoleOptions) -> RenderResult:
        made = Table.grid(padding=(0, 1))
        made.add_column(no_wrap=True)
        made.add_column(no_wrap=True, overflow="ellipsis")
        made.add_row(self._spinner, self.line())
        yield made


@contextmanager
def watching(what: str, goal: Goal) -> Iterator[Watcher]:
    """Draw on standard error while the work in it goes on; nothing of it stays."""
    watcher = Watcher(what, goal)
    console = Console(file=sys.stderr, highlight=False, markup=False, emoji=False)
    with Live(watcher, console=console, transient=True, refresh_per_second=A_SECOND):
        yield watcher
