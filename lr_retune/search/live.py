"""Fits that can be asked for again: what was dropped, or trained elsewhere, is trained once more when it is needed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from lr_retune.records import Cost, Fits, FittedModel


@dataclass(slots=True)
class _Fit:
    rate: float
    schedule: str
    inner: int  # handle of the family; -1 when dropped
    steps: int = 0
    steered: bool = False  # its rate was changed on the way, so it cannot be trained again from its name


class Live:
    """The family's fits; a fit's name, rate and schedule, is enough to have it back.

    Strategies drop what has lost, and a search that was killed knows trials whose fits are gone. A permanent row, an
    average or a cheaper tie may still want them.

    Parameters
    ----------
    fits
        The family's.
    kept
        Names that are never dropped.
    """

    def __init__(self, fits: Fits, kept: Collection[tuple[float, str]] = ()) -> None:
        self._fits, self._kept = fits, frozenset(kept)
        self._known: dict[int, _Fit] = {}
        self._finished: dict[tuple[int, int], FittedModel] = {}
        self.again = Cost()  # work that was done once more

    @property
    def baseline(self) -> float:
        """Curve loss on valid of the best constant learned on train."""
        return self._fits.baseline

    @property
    def train_rows(self) -> int:
        """Rows trained on."""
        return self._fits.train_rows

    def add(self, learning_rate: float, schedule: str = "constant") -> int:
        """Start a fit; raises what the family raises."""
        handle = len(self._known)
        self._known[handle] = _Fit(learning_rate, schedule, self._fits.add(learning_rate, schedule))
        return handle

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        """Train on."""
        fits = [self._known[handle] for handle in which]
        parts = self._fits.advance([fit.inner for fit in fits], steps)
        for fit, part in zip(fits, parts, strict=True):
            fit.steps += len(part)
        return parts

    def set_rate(self, which: int, learning_rate: float) -> None:
        """Change the rate from the next step on."""
        self._known[which].steered = True
        self._fits.set_rate(self._known[which].inner, learning_rate)

    def score(self, which: int, steps: int) -> np.ndarray:
        """Scores of the valid rows."""
        return self._fits.score(self._trained(which, steps), steps)

    def drop(self, which: int) -> None:
        """Free a fit; dropping twice does nothing."""
        fit = self._known.get(which)
        if fit is None or (fit.rate, fit.schedule) in self._kept:
            return
        if fit.inner >= 0 and not fit.steered:
            self._fits.drop(fit.inner)
            fit.inner, fit.steps = -1, 0

    def finish(self, which: int, steps: int) -> FittedModel:
        """The fit cut back to its first ``steps`` steps."""
        if (which, steps) not in self._finished:
            self._finished[which, steps] = self._fits.finish(self._trained(which, steps), steps)
        return self._finished[which, steps]

    def _trained(self, which: int, steps: int) -> int:
        fit = self._known[which]
        if fit.inner < 0:
            fit.inner = self._fits.add(fit.rate, fit.schedule)
        if fit.steps < steps:
            missing = steps - fit.steps
            self.again += Cost(int(fit.steps == 0), missing, missing * self.train_rows)
            self.advance([which], missing)
        return fit.inner
