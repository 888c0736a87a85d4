"""Models that were loaded lately: reading trees takes longer than asking them, and a tick meets its champion often."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from lr_retune.records import FittedModel

MOST = 64 * 1024**2  # bytes of the files that kept models were read from
ANSWERS = 8  # of one model


class Loaded:
    """A model that was read from its files; rows that nobody can change are answered once."""

    def __init__(self, model: FittedModel) -> None:
        self._model = model
        self._answers: dict[int, tuple[weakref.ref[np.ndarray], np.ndarray]] = {}

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Scores, shape ``(n,)``."""
        if x.flags.writeable:
            return self._model.predict(x)
        rows, score = self._answers.get(id(x), (None, None))
        if rows is None or score is None or rows() is not x:  # ids are given again
            score = self._model.predict(x)
            score.flags.writeable = False
            self._answers[id(x)] = weakref.ref(x), score
            while len(self._answers) > ANSWERS:
                del self._answers[next(iter(self._answers))]
        return score

    def importance(self) -> np.ndarray:
        """Shares per feature, shape ``(n_features,)``."""
        return self._model.importance()

    def files(self) -> dict[str, bytes]:
        """Native files."""
        return self._model.files()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)  # what some models can beside that


class Shelf:
    """Loaded models by all that they were read from; the one asked for longest ago goes first."""

    def __init__(self) -> None:
        self._kept: dict[Any, tuple[FittedModel, int]] = {}

    def get(self, key: Any, size: int, load: Callable[[], FittedModel]) -> FittedModel:
        """The model of a key, of so many bytes of files."""
        found = self._kept.pop(key, None) or (Loaded(load()), size)
        self._kept[key] = found
        while len(self._kept) > 1 and sum(size for _, size in self._kept.values()) > MOST:
            del self._kept[next(iter(self._kept))]
        return found[0]
