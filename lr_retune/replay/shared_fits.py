"""Fits over what others have answered: only what nobody knows is trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count

import numpy as np

from lr_retune.records import Fits, FittedModel
from lr_retune.replay.remembered import Begun, Told

Name = tuple[float, str]  # rate and schedule of a fit


@dataclass(slots=True, eq=False)
class _Fit:
    name: Name
    told: Told
    inner: int = -1  # handle of the family; -1: nothing had to be trained yet
    trained: int = 0  # steps of that
    done: int = 0  # steps that were asked for and taken
    asked: list[int] = field(default_factory=list)  # steps of each call
    short: bool = False  # a call was answered with fewer steps
    own: bool = False  # no name tells any more how it was trained

    def lacks(self, steps: int) -> bool:
        return len(self.told.curve) < self.done + steps and not self.told.ended

    def learn(self, part: np.ndarray, steps: int, step_s: float) -> None:
        """What the family answered to a call for so many steps."""
        told, end = self.told, self.trained + len(part)
        if end > len(told.curve):
            told.curve = np.concatenate([told.curve[: self.trained], part])
        told.ended = told.ended or (len(part) < steps and not self.own)
        told.step_s, self.trained = step_s, end

    def leave(self) -> None:
        """From now on the family's fit is asked, and nobody is told."""
        self.told, self.trained, self.own = Told(self.told.curve[: self.done]), self.done, True

    def take(self, steps: int) -> np.ndarray:
        part = self.told.curve[self.done : self.done + steps].copy()
        self.asked.append(steps)
        self.done, self.short = self.done + len(part), len(part) < steps
        return part


class SharedFits:
    """`Fits` over what others have answered; what nobody has is trained and remembered.

    A fit that is steered by `set_rate`, or that goes on after it could not, is nobody else's from then on: the family
    is asked the same calls once more, and its answers are not shared.
    """

    def __init__(
        self, begin: Callable[[], Fits], begun: Begun, spare: Callable[[float], None], fits: Fits | None = None
    ) -> None:
        self._begin, self._begun, self._spare, self._given = begin, begun, spare, fits
        self._fits: dict[int, _Fit] = {}
        self._handles = count()

    @cached_property
    def _live(self) -> Fits:
        if self._given is not None:
            return self._given
        self._spare(-self._begun.start_s)
        return self._begin()

    @property
    def train_rows(self) -> int:
        """Rows trained on."""
        return self._begun.train_rows

    @property
    def baseline(self) -> float:
        """Curve loss on valid of the best constant learned on train."""
        if self._begun.baseline is None:
            self._begun.baseline = self._live.baseline
        return self._begun.baseline

    def add(self, learning_rate: float, schedule: str = "constant") -> int:
        """Another fit; raises what the family raises."""
        key, inner = (repr(learning_rate), schedule), -1
        if key not in self._begun.fits:
            inner = self._live.add(learning_rate, schedule)
            self._begun.fits[key] = Told()
        handle = next(self._handles)
        self._fits[handle] = _Fit((learning_rate, schedule), self._begun.fits[key], inner)
        return handle

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        """The next losses of the curves; only what nobody knows is trained, side by side as far as it can be."""
        fits = [self._fits[handle] for handle in which]
        for fit in fits:
            if fit.short and steps:
                self._part(fit)
        lacking = [fit for fit in fits if fit.lacks(steps)]
        self._train(lacking, [fit.done + steps - fit.trained for fit in lacking])
        parts = [fit.take(steps) for fit in fits]
        known = [fit.told.step_s * len(part) for fit, part in zip(fits, parts, strict=True) if fit not in lacking]
        self._spare(sum(known))
        return parts

    def set_rate(self, which: int, learning_rate: float) -> None:
        """Steer a fit, which is nobody else's from now on."""
        self._part(self._fits[which])
        self._live.set_rate(self._fits[which].inner, learning_rate)

    def score(self, which: int, steps: int) -> np.ndarray:
        """Scores of the valid rows with the first ``steps`` steps."""
        fit = self._fits[which]
        if steps > fit.done or steps not in fit.told.scores:
            fit.told.scores[steps] = self._live.score(self._trained(fit), steps)
            self._begun.size += fit.told.scores[steps].nbytes
        return fit.told.scores[steps]

    def drop(self, which: int) -> None:
        """Free a fit; what it answered stays."""
        if (fit := self._fits.pop(which, None)) is not None:
            self._drop(fit)

    def _drop(self, fit: _Fit) -> None:
        if fit.inner >= 0:
            self._live.drop(fit.inner)

    def finish(self, which: int, steps: int) -> FittedModel:
        """The fit cut back to its first ``steps`` steps."""
        fit = self._fits[which]
        if steps > fit.done or steps not in fit.told.models:
            fit.told.models[steps] = self._live.finish(self._trained(fit), steps)
            self._begun.size += sum(map(len, fit.told.models[steps].files().values()))
        return fit.told.models[steps]

    def _trained(self, fit: _Fit) -> int:
        """The family's handle of a fit that has taken its steps."""
        self._train([fit], [fit.done - fit.trained])
        return fit.inner

    def _train(self, fits: Sequence[_Fit], steps: Sequence[int]) -> None:
        """So many more steps for each of the family's fits; as many as lack the same take them together."""
        for fit in fits:
            if fit.inner < 0:
                fit.inner = self._live.add(*fit.name)
        for missing in sorted({number for number in steps if number > 0}):
            group = [fit for fit, number in zip(fits, steps, strict=True) if number == missing]
            started = time.process_time()
            try:
                parts = self._live.advance([fit.inner for fit in group], missing)
            except BaseException:
                for fit in group:  # how far it came is not known
                    fit.leave()
                raise
            step_s = (time.process_time() - started) / max(sum(map(len, parts)), 1)
            for fit, part in zip(group, parts, strict=True):
                fit.learn(part, missing, step_s)

    def _part(self, fit: _Fit) -> None:
        if fit.own:
            return
        if fit.inner < 0 or fit.trained != fit.done or fit.short:
            self._drop(fit)
            fit.inner = self._live.add(*fit.name)
            for steps in fit.asked:
                self._live.advance([fit.inner], steps)
        fit.leave()
