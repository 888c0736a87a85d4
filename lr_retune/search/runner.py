"""Fits that train a stretch at a time: how far each came, whether it may go on, and the trial that it ends as."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lr_retune import schedules
from lr_retune.errors import ConfigError, RetuneError
from lr_retune.records import Cost, Fits, SearchOptions, Trial, TrialState
from lr_retune.search.early_stop import NO_FIT, far_above, starved


@dataclass(slots=True)
class Runner:
    """One fit on its way."""

    number: int
    rate: float
    schedule: str = "constant"
    handle: int = NO_FIT
    since: int = 0  # step from which its patience counts anew
    curve: list[float] = field(default_factory=list)  # finite losses only
    trained: int = 0  # steps, one that ended the fit included
    state: TrialState | None = None  # None: it may go on
    loss: float | None = None  # the user's metric at the steps to serve, once it is scored
    note: str = ""
    known: Trial | None = None  # how it went before: nothing is trained anew

    @property
    def lowest(self) -> float:
        """The lowest loss so far, infinite before the first step."""
        return min(self.curve, default=math.inf)

    @property
    def steps(self) -> int:
        """Steps to serve: where the curve was lowest."""
        return self.curve.index(self.lowest) + 1 if self.curve else 0

    def end(self, state: TrialState, note: str = "") -> None:
        """Let it train no further."""
        self.state, self.note = state, note

    def trial(self, train_rows: int) -> Trial:
        """What is recorded of it; one that might still go on is starved."""
        if self.state is None:
            self.end("starved", starved(self.trained))
        assert self.state is not None
        begun = self.handle != NO_FIT or self.known is not None
        cost = Cost(1, self.trained, self.trained * train_rows) if begun else Cost()
        way, curve = self.schedule, tuple(self.curve)
        return Trial(
            self.number, "candidate", self.rate, way, self.loss, self.steps, self.state, curve, cost, self.note
        )


def begin(
    fits: Fits, number: int, rate: float, options: SearchOptions | None = None, schedule: str = "constant"
) -> Runner:
    """Start a fit; one that cannot start has failed. Raises ConfigError for a schedule the family cannot follow.

    With ``options``, a trial that a killed search remembered is told again, step by step, and trains nothing.
    """
    known = None if options is None else options.recall(number, rate, schedule, "candidate")
    runner = Runner(number, rate, schedule, known=None if known is None or known.state == "failed" else known)
    try:
        if runner.known is None or runner.known.state == "complete":
            runner.handle = fits.add(rate, schedule)
    except RetuneError as error:
        if isinstance(error, ConfigError) and schedule != "constant":
            raise  # a schedule that this family cannot follow: no other rate would change that
        runner.end("failed", str(error))
    return runner


def running(runners: Iterable[Runner]) -> list[Runner]:
    """Those that may go on."""
    return [runner for runner in runners if runner.state is None]


def advance(fits: Fits, runners: Sequence[Runner], until: int, options: SearchOptions) -> None:
    """Train to step ``until`` or to the end of each one's patience, and no step further: counted work is exact.

    Fits that a family trains in one pass over the rows share it.
    """
    until = min(until, options.max_steps)
    while group := [runner for runner in running(runners) if runner.trained < until]:
        _train(fits, group, min(min(until, _last(r, options)) - r.trained for r in group))
        for runner in running(group):
            if runner.trained >= _last(runner, options):
                runner.end("complete")


def _last(runner: Runner, options: SearchOptions) -> int:
    """The step at which its patience or its schedule ends, if nothing better comes until then."""
    patience = schedules.patience(runner.schedule, options.patience)
    patient, end = max(runner.steps, runner.since) + patience, schedules.end(runner.schedule)
    return patient if end is None else min(patient, end)


def _train(fits: Fits, group: Sequence[Runner], steps: int) -> None:
    for runner in group:
        if runner.known is not None:
            _tell_again(runner, runner.known, steps)
    new = [runner for runner in group if runner.known is None]
    try:
        parts = fits.advance([runner.handle for runner in new], steps) if new else []
    except RetuneError as error:
        for runner in new:
            runner.end("failed", str(error))
        return
    for runner, part in zip(new, parts, strict=True):
        _take(runner, [float(loss) for loss in part], steps)


def _tell_again(runner: Runner, known: Trial, steps: int) -> None:
    bad = [math.nan] * (known.cost.steps - len(known.curve))  # the step that ended the fit
    part = [*known.curve, *bad][runner.trained : runner.trained + steps]
    if len(part) < steps:
        runner.end(known.state, known.note)
    _take(runner, part, len(part))


def _take(runner: Runner, part: Sequence[float], steps: int) -> None:
    """Book what a fit has trained; one that came less far than asked for cannot go on."""
    good = next((i for i, loss in enumerate(part) if not math.isfinite(loss)), len(part))
    runner.curve += part[:good]
    runner.trained += len(part)
    if good < len(part):
        runner.end("diverged", f"the loss is not finite from step {len(runner.curve) + 1} on")
    elif len(part) < steps and runner.curve:
        runner.end("complete")
    elif len(part) < steps:
        runner.end("failed", "not one step could be taken: the rows give nothing to learn")


def found(fits: Fits, runner: Runner, options: SearchOptions) -> tuple[Trial, int]:
    """The trial that a fit ends as, and its handle: nonsense is diverged, what is complete is scored."""
    if runner.state in ("complete", "pruned") and (note := far_above(runner.lowest, fits.baseline)):
        runner.end("diverged", note)
    score(fits, runner, options)
    trial = runner.trial(fits.train_rows)
    options.progress(trial)
    return trial, runner.handle


def score(fits: Fits, runner: Runner, options: SearchOptions) -> None:
    """Score a complete fit by the user's metric, failed where it cannot be told; what is new is remembered."""
    if runner.known is not None:
        runner.loss = runner.known.loss if runner.state == "complete" else None
        return
    if runner.state == "complete":
        _measure(fits, runner, options)
    options.remember(runner.trial(fits.train_rows))


def _measure(fits: Fits, runner: Runner, options: SearchOptions) -> None:
    try:
        loss = options.loss(fits.score(runner.handle, runner.steps))
    except RetuneError as error:
        runner.end("failed", str(error))
        return
    if math.isfinite(loss):
        runner.loss = loss
    else:
        runner.end("failed", "the metric on valid is not a finite number: check valid's labels")
