"""Fits that policies share: what one of the same rows, seed, rate and schedule has answered is not trained again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, partial
from itertools import count

import numpy as np

from lr_retune.config import Config
from lr_retune.records import Family, Files, FitData, Fits, FittedModel, Rows, content_digest

MOST = 256 * 1024**2  # bytes of answers that are remembered: scores and models of some hundred trainings
Name = tuple[float, str]  # rate and schedule of a fit


@dataclass(slots=True)
class Told:
    """What fits of one name have answered on some rows."""

    curve: np.ndarray = field(default_factory=lambda: np.empty(0))  # (n_steps,)
    ended: bool = False  # no step could be taken after the last of the curve
    scores: dict[int, np.ndarray] = field(default_factory=dict)  # steps → (n_valid,)
    models: dict[int, FittedModel] = field(default_factory=dict)  # by steps
    step_s: float = 0.0  # CPU seconds of one step


@dataclass(slots=True)
class Begun:
    """What is known of one set of rows and one seed."""

    train_rows: int
    start_s: float  # CPU seconds that it took to begin
    baseline: float | None = None
    fits: dict[tuple[str, str], Told] = field(default_factory=dict)  # a rate as it is written, and a schedule
    size: int = 0  # bytes of scores and models


class Answers:
    """All that fits have answered; where it grows too large, what was asked for longest ago is forgotten."""

    def __init__(self, spare: Callable[[float], None]) -> None:
        self._begun: dict[str, Begun] = {}  # the newest last
        self.spare = spare  # told CPU seconds that were not spent again

    def shared(self, config: Config, family: Family) -> SharedFamily:
        """The family of a configuration, with these answers."""
        return SharedFamily(
            family, self, content_digest(config.model_dump(mode="json", include={"model", "metric", "task"}))
        )

    def find(self, key: str) -> Begun | None:
        """What is known under a key."""
        if (found := self._begun.pop(key, None)) is not None:
            self._begun[key] = found
        return found

    def add(self, key: str, begun: Begun) -> None:
        """Remember one more, and forget the oldest where that is too much."""
        self._begun[key] = begun
        while len(self._begun) > 1 and sum(each.size for each in self._begun.values()) > MOST:
            del self._begun[next(iter(self._begun))]


class SharedFamily:
    """A family whose fits begin only where nobody knows the answer; it errs as the family does.

    Parameters
    ----------
    family
        The family itself, which other processes are given.
    question
        Tells apart what `FitData` does not: the family's parameters and the loss that a curve follows.
    """

    def __init__(self, family: Family, answers: Answers, question: str) -> None:
        self._family, self._answers, self._question = family, answers, question
        self.name, self.step_unit = family.name, family.step_unit
        self.default_rate, self.default_range = family.default_rate, family.default_range
        self.default_strategy, self.default_patience = family.default_strategy, family.default_patience
        self.default_schedules, self.steps_are_served = family.default_schedules, family.steps_are_served

    def start(self, data: FitData, *, seed: int) -> Fits:
        """Fits that know what others have answered; rows that were begun with before need no second look."""
        begin, key = partial(self._family.start, data, seed=seed), self._key(data, seed)
        if (begun := self._answers.find(key)) is not None:
            self._answers.spare(begun.start_s)
            return SharedFits(begin, begun, self._answers.spare)
        started = time.process_time()
        fits = begin()
        begun = Begun(fits.train_rows, time.process_time() - started)
        self._answers.add(key, begun)
        return SharedFits(begin, begun, self._answers.spare, fits)

    def load(self, files: Files) -> FittedModel:
        """The family's own."""
        return self._family.load(files)

    def __reduce__(self) -> tuple[Callable[[Family], Family], tuple[Family]]:
        return _itself, (self._family,)

    def _key(self, data: FitData, seed: int) -> str:
        asked = [self._question, seed, data.task, data.categorical, data.objective, data.quantile]
        found = hashlib.sha256(content_digest(asked).encode())
        for rows in (data.train, data.valid):
            for array in (getattr(rows, each.name) for each in fields(Rows)):
                found.update(b"-" if array is None else f"{array.shape}{array.dtype}".encode())
                found.update(b"" if array is None else np.ascontiguousarray(array).data)
        return found.hexdigest()


def _itself(family: Family) -> Family:
    return family


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
