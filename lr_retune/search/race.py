"""Which rates are tried when all of them share each pass over the rows: many at first, fewer after epochs 1, 2, 4, 8.

For linear models, and any family that advances many fits at about the price of one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from lr_retune.errors import RetuneError
from lr_retune.records import Cost, Fits, Range, SearchOptions, Trial, TrialState
from lr_retune.search.early_stop import DIVERGED, NO_FIT
from lr_retune.search.grid import rates

MOST = 29
PER_DECADE = 4  # rates
KEEP = {1: 16, 2: 10, 4: 6, 8: 3}  # epoch → fits that may go on
PATIENCE = 5  # epochs; a step of most families is less than that, so the user's is often longer
TIE = 0.001  # share of the loss within which the smaller rate wins: valid cannot tell them apart, later rows could


@dataclass(slots=True)
class _Runner:
    """One rate in the race."""

    number: int
    rate: float
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
        self.state, self.note = state, note


def race(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    """Train up to 29 rates side by side and drop the slower ones; the last three are stopped early.

    ``options.points`` is not read; patience is 5 epochs at most. Losers are dropped from memory.
    """
    runners = [_start(fits, number, rate) for number, rate in enumerate(_rates(options.space))]
    for epoch in range(1, options.max_steps + 1):
        running = _running(runners)
        if not running:
            break
        _advance(fits, running)
        for runner in running:
            _look(runner, fits.baseline, min(options.patience, PATIENCE))
        _thin(runners, KEEP.get(epoch, MOST), epoch, fits.baseline)
        _drop(fits, [runner for runner in running if runner.state not in (None, "complete")])
    for runner in _running(runners):
        runner.end("starved", f"still improving after {len(runner.curve)} steps: raise max_steps")
    _settle(fits, runners, options)
    return [(_trial(runner, fits, options), runner.handle) for runner in runners]


def _rates(space: Range) -> list[float]:
    """Largest first; as dense in a narrow space as in the widest, and no denser.

    >>> _rates(Range(0.01, 0.1)), len(_rates(Range(1e-6, 10.0)))
    ([0.1, 0.0562341, 0.0316228, 0.0177828, 0.01], 29)
    """
    wanted = math.ceil(PER_DECADE * math.log10(space.high / space.low) - 1e-9) + 1
    return list(dict.fromkeys(rates(space, min(wanted, MOST))))


def _running(runners: Sequence[_Runner]) -> list[_Runner]:
    return [runner for runner in runners if runner.state is None]


def _start(fits: Fits, number: int, rate: float) -> _Runner:
    runner = _Runner(number, rate)
    try:
        runner.handle = fits.add(rate)
    except RetuneError as error:
        runner.end("failed", str(error))
    return runner


def _advance(fits: Fits, running: Sequence[_Runner]) -> None:
    """One epoch for all; a runner that can take none has ended."""
    try:
        parts = fits.advance([runner.handle for runner in running], 1)
    except RetuneError as error:
        for runner in running:
            runner.end("failed", str(error))
        return
    for runner, part in zip(running, parts, strict=True):
        runner.trained += len(part)
        if not len(part):
            note = "" if runner.curve else "not one step could be taken: the rows give nothing to learn"
            runner.end("complete" if runner.curve else "failed", note)
        elif math.isfinite(part[0]):
            runner.curve.append(float(part[0]))
        else:
            runner.end("diverged", f"the loss is not finite from step {runner.trained} on")


def _look(runner: _Runner, baseline: float, patience: int) -> None:
    """End a fit that has had enough."""
    if runner.state is None and len(runner.curve) - runner.steps >= patience:
        runner.end("complete")
    if runner.state == "complete" and _nonsense(runner, baseline):
        runner.end("diverged", _above(runner, baseline))


def _nonsense(runner: _Runner, baseline: float) -> bool:
    return math.isfinite(baseline) and runner.lowest > baseline + DIVERGED * abs(baseline)


def _above(runner: _Runner, baseline: float) -> str:
    return f"its best loss {runner.lowest:.6g} is far above the best constant's {baseline:.6g}"


def _thin(runners: Sequence[_Runner], keep: int, epoch: int, baseline: float) -> None:
    """Only the first ``keep`` go on; fits that are complete take their places but lose nothing."""
    ranked = sorted((r for r in runners if r.state in (None, "complete")), key=lambda r: (r.lowest, r.rate))
    for place, runner in enumerate(ranked[keep:], keep + 1):
        if runner.state is not None:
            continue
        # Far above the constant a larger rate has diverged; a smaller one may merely be slow.
        if runner.rate > ranked[0].rate and _nonsense(runner, baseline):
            runner.end("diverged", _above(runner, baseline))
        else:
            runner.end("pruned", f"place {place} of {len(ranked)} after {epoch} epochs, {keep} went on")


def _settle(fits: Fits, runners: Sequence[_Runner], options: SearchOptions) -> None:
    """Score the complete fits by the user's metric and free all but the winner's."""
    for runner in runners:
        if runner.state == "complete":
            _score(runner, fits, options)
    ranked = [(runner.loss, runner) for runner in runners if runner.loss is not None]
    if ranked:
        lowest = min(loss for loss, _ in ranked)
        winner = min((r for loss, r in ranked if loss <= lowest + TIE * abs(lowest)), key=lambda r: r.rate)
        for loss, runner in ranked:
            if runner is not winner and winner.loss is not None and loss <= winner.loss:
                runner.loss = None
                runner.end("pruned", f"less than {TIE:.1%} better than trial {winner.number}, whose rate is smaller")
        ranked = [(loss, runner) for loss, runner in ranked if runner is winner]
    _drop(fits, [runner for runner in runners if all(runner is not first for _, first in ranked)])


def _score(runner: _Runner, fits: Fits, options: SearchOptions) -> None:
    try:
        loss = options.loss(fits.score(runner.handle, runner.steps))
    except RetuneError as error:
        runner.end("failed", str(error))
        return
    if math.isfinite(loss):
        runner.loss = loss
    else:
        runner.end("failed", "the metric on valid is not a finite number: check valid's labels")


def _drop(fits: Fits, losers: Sequence[_Runner]) -> None:
    for runner in losers:
        if runner.handle != NO_FIT:
            fits.drop(runner.handle)


def _trial(runner: _Runner, fits: Fits, options: SearchOptions) -> Trial:
    assert runner.state is not None
    cost = Cost(int(runner.handle != NO_FIT), runner.trained, runner.trained * fits.train_rows)
    loss = "no loss" if runner.loss is None else f"loss {runner.loss:.6g}"
    options.progress(f"rate {runner.rate:g}: {runner.state}, {loss} at {runner.steps} of {runner.trained} steps")
    return Trial(
        runner.number,
        "candidate",
        runner.rate,
        "constant",
        runner.loss,
        runner.steps,
        runner.state,
        tuple(runner.curve),
        cost,
        runner.note,
    )
