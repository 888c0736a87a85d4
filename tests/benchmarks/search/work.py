"""What a search spends: fits that count the steps and CPU of their training, and may lend it to other searches.

LightGBM is deterministic, so a fit that two searches of an episode ask for is trained once, and each of them is
charged the steps and CPU that it took. SGD trains many fits in one pass, whose price depends on who runs together:
nothing is lent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lr_retune.families.sgd import SGD
from lr_retune.records import Family, FitData, FittedModel

Key = tuple[str, tuple[tuple[int, float], ...]]  # schedule, and the rate from which step on


class Trained:
    """Real fits of one episode, as far as anybody has asked for them."""

    def __init__(self, family: Family, data: FitData) -> None:
        began = time.process_time()
        self.fits = family.start(data, seed=0)
        self.start_cpu = time.process_time() - began
        self._tracks: dict[Key, tuple[int, list[float], list[float]]] = {}  # handle, curve, CPU until each step

    def handle(self, key: Key) -> int:
        if key not in self._tracks:
            schedule, rates = key
            self._tracks[key] = (self.fits.add(rates[0][1], schedule), [], [0.0])
        return self._tracks[key][0]

    def curve(self, key: Key, begin: int, end: int) -> tuple[np.ndarray, float]:
        """Losses of the steps from ``begin`` to ``end``, fewer where it cannot go on, and the CPU they took."""
        handle, curve, cpu = self._tracks[key]
        for step in range(len(curve), end):
            for changed, rate in key[1][1:]:
                if changed == step:
                    self.fits.set_rate(handle, rate)
            began = time.process_time()
            part = self.fits.advance([handle], 1)[0]
            if not len(part):
                break
            curve.append(float(part[0]))
            cpu.append(cpu[-1] + time.process_time() - began)
        end = min(end, len(curve))
        return np.array(curve[begin:end]), cpu[end] - cpu[begin]


class Lent:
    """One search's view of trained fits; implements `Fits`."""

    def __init__(self, trained: Trained) -> None:
        self._trained = trained
        self._fits: list[tuple[Key, int]] = []  # with the steps taken
        self.steps, self.charged, self.spent = 0, trained.start_cpu, 0.0
        self.dropped: set[int] = set()
        self.baseline = trained.fits.baseline
        self.train_rows = trained.fits.train_rows

    def add(self, learning_rate: float, schedule: str = "constant") -> int:
        self._trained.handle(key := (schedule, ((0, learning_rate),)))
        self._fits.append((key, 0))
        return len(self._fits) - 1

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        return [self._advance(handle, steps) for handle in which]

    def _advance(self, which: int, steps: int) -> np.ndarray:
        key, done = self._fits[which]
        began = time.process_time()
        curve, cpu = self._trained.curve(key, done, done + steps)
        self.spent += time.process_time() - began
        self.steps += len(curve)
        self.charged += cpu
        self._fits[which] = (key, done + len(curve))
        return curve

    def set_rate(self, which: int, learning_rate: float) -> None:
        (schedule, rates), done = self._fits[which]
        self._trained.handle(key := (schedule, (*rates, (done, learning_rate))))
        self._fits[which] = (key, done)

    def score(self, which: int, steps: int) -> np.ndarray:
        return self._trained.fits.score(self._trained.handle(self._fits[which][0]), steps)

    def drop(self, which: int) -> None:
        self.dropped.add(which)  # others may ask for it

    def finish(self, which: int, steps: int) -> FittedModel:
        return self._trained.fits.finish(self._trained.handle(self._fits[which][0]), steps)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._trained.fits, name)  # what a family offers beyond the protocol

    def work(self) -> float:
        """Rounds."""
        return float(self.steps)

    def cpu(self, whole: float) -> float:
        """CPU seconds of a search that took ``whole``, as if it had trained everything itself."""
        return whole - self.spent + self.charged


class Clocked:
    """Fits whose passes over the rows are timed; implements `Fits`."""

    def __init__(
        self, family: Family, data: FitData, unit: float, clock: Callable[[], float] = time.process_time
    ) -> None:
        began = clock()
        self._fits = family.start(data, seed=0)
        self._start, self._unit, self._clock = clock() - began, unit, clock
        self._done = 0.0
        self.dropped: set[int] = set()
        self.baseline, self.train_rows = self._fits.baseline, self._fits.train_rows

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        began = self._clock()
        parts = self._fits.advance(which, steps)
        cpu = self._clock() - began
        # one column's passes are the unit; several columns in one pass cost what the pass costs
        self._done += len(parts[0]) if len(which) == 1 else cpu / self._unit
        return parts

    def drop(self, which: int) -> None:
        self.dropped.add(which)  # a fit that is not complete may still be what a fixed rate serves

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fits, name)

    def work(self) -> float:
        """Epochs of one column; a pass of many columns counts as its CPU over that of one column's pass."""
        return self._done

    def cpu(self, whole: float) -> float:
        """CPU seconds of a search that took ``whole``, and of what it started with."""
        return whole + self._start


def one_pass(data: FitData, passes: int = 8) -> float:
    """CPU seconds of one column's pass over the rows, validation included: the median of some."""
    fits = SGD({}, 1).start(data, seed=0)
    handle = fits.add(SGD.default_rate)
    found = []
    for _ in range(passes):
        began = time.process_time()
        fits.advance([handle], 1)
        found.append(time.process_time() - began)
    return float(np.median(found))


def metered(family: Family, data: FitData, shared: Trained | float) -> Lent | Clocked:
    """Fits for one search: lent ones, or its own."""
    return Lent(shared) if isinstance(shared, Trained) else Clocked(family, data, shared)
