"""One fit of a race: what it has shown so far, when it has had enough, and the trial it becomes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from lr_retune import schedules
from lr_retune.records import Cost, SearchOptions, Trial, TrialState
from lr_retune.schedules import Schedule
from lr_retune.search.early_stop import DIVERGED, NO_FIT


@dataclass(slots=True)
class Runner:
    """A rate and its schedule in the race."""

    number: int
    rate: float
    schedule: Schedule
    handle: int = NO_FIT
    curve: list[float] = field(default_factory=list)
    trained: int = 0  # epochs, one that ended the fit included
    state: TrialState | None = None  # None: it runs
    loss: float | None = None
    note: str = ""

    @property
    def lowest(self) -> float:
        return min(self.curve, default=math.inf)

    @property
    def steps(self) -> int:
        return self.curve.index(self.lowest) + 1 if self.curve else 0

    def end(self, state: TrialState, note: str = "") -> None:
        """Leave the race."""
        self.state, self.note = state, note

    def take(self, loss: float | None) -> None:
        """One more epoch and its loss; None: the fit could take none and has ended."""
        if loss is None:
            note = "" if self.curve else "not one step could be taken: the rows give nothing to learn"
            self.end("complete" if self.curve else "failed", note)
            return
        self.trained += 1
        if math.isfinite(loss):
            self.curve.append(loss)
        else:
            self.end("diverged", f"the loss is not finite from step {self.trained} on")

    def look(self, baseline: float, patience: int) -> None:
        """End a fit that has had enough."""
        stalled = len(self.curve) - self.steps >= schedules.patience(self.schedule, patience)
        if self.state is None and (stalled or len(self.curve) == self.schedule.end):
            self.end("complete")
        if self.state == "complete" and self.nonsense(baseline):
            self.end("diverged", self.above(baseline))

    def nonsense(self, baseline: float) -> bool:
        """Whether its best loss is far above what the best constant scores."""
        return math.isfinite(baseline) and self.lowest > baseline + DIVERGED * abs(baseline)

    def above(self, baseline: float) -> str:
        return f"its best loss {self.lowest:.6g} is far above the best constant's {baseline:.6g}"

    def trial(self, train_rows: int, options: SearchOptions) -> Trial:
        """What is recorded of it."""
        assert self.state is not None
        cost = Cost(int(self.handle != NO_FIT), self.trained, self.trained * train_rows)
        loss = "no loss" if self.loss is None else f"loss {self.loss:.6g}"
        told = f"rate {self.rate:g} {self.schedule}" if self.schedule.name != "constant" else f"rate {self.rate:g}"
        options.progress(f"{told}: {self.state}, {loss} at {self.steps} of {self.trained} steps")
        way, curve = str(self.schedule), tuple(self.curve)
        return Trial(
            self.number, "candidate", self.rate, way, self.loss, self.steps, self.state, curve, cost, self.note
        )
