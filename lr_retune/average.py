"""The mean of several models of one family: how it is named, stored and asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lr_retune.records import Files, FittedModel

_PART = "part"  # part0.model.txt, part1.model.txt, …


class Average:
    """Models that answer together: the mean of their scores with equal weights.

    Parameters
    ----------
    parts
        At least two models of one family, trained on the same features.
    """

    def __init__(self, parts: Sequence[FittedModel]) -> None:
        self._parts = tuple(parts)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Mean of the probabilities, or of the values, shape ``(n,)``."""
        return mean([part.predict(x) for part in self._parts])

    def importance(self) -> np.ndarray:
        """Mean share per feature, shape ``(n_features,)``."""
        return mean([part.importance() for part in self._parts])

    def work(self) -> float:
        """That of all parts; not a number where one does not count."""
        return sum(part.work() if hasattr(part, "work") else float("nan") for part in self._parts)

    def files(self) -> dict[str, bytes]:
        """The native files of all parts, numbered."""
        return {
            f"{_PART}{number}.{name}": data
            for number, part in enumerate(self._parts)
            for name, data in part.files().items()
        }


def mean(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Equal weights; summed in the order given, so the same bytes come out."""
    return np.asarray(sum(scores[1:], start=scores[0]) / len(scores), dtype=np.float64)


def load(files: Files, one: Callable[[Files], FittedModel]) -> FittedModel:
    """A model of one family, or the average of several; ``one`` loads a single model."""
    parts = _parts(files)
    return Average([one(part) for part in parts]) if parts else one(files)


def _parts(files: Files) -> list[Mapping[str, bytes]]:
    found: dict[int, dict[str, bytes]] = {}
    for name, data in files.items():
        number, dot, own = name.removeprefix(_PART).partition(".")
        if name.startswith(_PART) and dot and number.isdigit():
            found.setdefault(int(number), {})[own] = data
    return [found[number] for number in sorted(found)]


def named(parts: Sequence[tuple[float, str]]) -> str:
    """How an average stands where a model has its schedule.

    >>> named([(0.15, "constant"), (0.07, "constant")]), parts("average(0.15 constant + 0.07 constant)")
    ('average(0.15 constant + 0.07 constant)', ((0.15, 'constant'), (0.07, 'constant')))
    """
    return f"average({' + '.join(f'{float(rate)!r} {schedule}' for rate, schedule in parts)})"


def parts(schedule: str) -> tuple[tuple[float, str], ...]:
    """Rate and schedule of each part; none for what is no average."""
    if not schedule.startswith("average("):
        return ()
    found = (part.split(" ", 1) for part in schedule.removeprefix("average(").removesuffix(")").split(" + "))
    return tuple((float(rate), own) for rate, own in found)
