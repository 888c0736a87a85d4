"""Fits that train a stretch at a time: how far each came, whether it may go on, and the trial that it ends as."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from lr_retune.errors import RetuneError
from lr_retune.records import Cost, Fits, SearchOptions, Trial, TrialState
from lr_retune.search.early_stop import DIVERGED, NO_FIT


@dataclass(slots=True)
class Runner:
    """One fit on its way."""

    number: int
    rate: float
    handle: int = NO_FIT
    schedule: str = "constant"
    since: int = 0  # step from which its patience counts anew
    curve: list[float] = field(default_factory=list)  # finite losses only
    trained: int = 0  # steps, one that ended the fit included
    state: TrialState | None = None  # None: it may go on
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

    @property
    def begun(self) -> bool:
        """Whether there is, or was, a fit."""
        return self.handle != NO_FIT or self.known is not None

    def end(self, state: TrialState, note: str = "") -> None:
        """Let it train no further."""
        self.state, self.note = state, note


def begin(fits: Fits, number: int, rate: float, options: SearchOptions | None = None) -> Runner:
    """Start a fit of a constant rate; one that cannot start has failed.

    With ``options``, a trial that a killed search remembered is told again, step by step, and trains nothing.
    """
    runner = Runner(number, rate)
    known = None if options is None else options.recall(number, rate, "constant", "candidate")
    if known is not None and known.state != "failed":
        runner.known = known
    try:
        if runner.known is None or runner.known.state == "complete":
            runner.handle = fits.add(rate)
    except RetuneError as error:
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
        _train(fits, group, min(min(until, _patient(r, options)) - r.trained for r in group))
        for runner in running(group):
            if runner.trained >= _patient(runner, options):
                runner.end("complete")


def _patient(runner: Runner, options: SearchOptions) -> int:
    """The step at which its patience ends, if nothing better comes until then."""
    return max(runner.steps, runner.since) + options.patience


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
    """The trial that a fit ends as: one that might still go on is starved, nonsense is diverged, the rest is scored."""
    if runner.state is None:
        runner.end("starved", f"still improving after {runner.trained} steps: raise max_steps")
    if runner.state in ("complete", "pruned") and nonsense(runner.lowest, fits.baseline):
        above = f"its best loss {runner.lowest:.6g} is far above the best constant's {fits.baseline:.6g}"
        runner.end("diverged", above)
    loss = _loss(fits, runner, options) if runner.state == "complete" else None
    assert runner.state is not None
    trial = Trial(
        number=runner.number,
        role="candidate",
        learning_rate=runner.rate,
        schedule=runner.schedule,
        loss=loss,
        steps=runner.steps,
        state=runner.state,
        curve=tuple(runner.curve),
        cost=Cost(1, runner.trained, runner.trained * fits.train_rows) if runner.begun else Cost(),
        note=runner.note,
    )
    if runner.known is None:
        options.remember(trial)
    told = "no loss" if loss is None else f"loss {loss:.6g}"
    options.progress(f"rate {runner.rate:g}: {trial.state}, {told} at {trial.steps} of {runner.trained} steps")
    return trial, runner.handle


def nonsense(loss: float, baseline: float) -> bool:
    """Whether a loss lies far above the best constant's, as finite nonsense does."""
    return math.isfinite(baseline) and loss > baseline + DIVERGED * abs(baseline)


def _loss(fits: Fits, runner: Runner, options: SearchOptions) -> float | None:
    """The user's metric at the steps to serve; None, and failed, where it cannot be told."""
    if runner.known is not None:
        return runner.known.loss
    try:
        loss = options.loss(fits.score(runner.handle, runner.steps))
    except RetuneError as error:
        runner.end("failed", str(error))
        return None
    if math.isfinite(loss):
        return loss
    runner.end("failed", "the metric on valid is not a finite number: check valid's labels")
    return None
