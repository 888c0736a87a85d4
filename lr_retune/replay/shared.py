"""A family whose fits policies share: one of the same rows, seed, rate and schedule is not trained again."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import fields
from functools import partial

import numpy as np

from lr_retune.config import Config
from lr_retune.records import Family, Files, FitData, Fits, FittedModel, Rows, content_digest
from lr_retune.replay.remembered import Answers, Begun
from lr_retune.replay.shared_fits import SharedFits


def shared(config: Config, family: Family, answers: Answers) -> SharedFamily:
    """The family of a configuration, with the answers that all policies share."""
    asked = config.model_dump(mode="json", include={"model", "metric", "task"})
    return SharedFamily(family, answers, content_digest(asked))


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
