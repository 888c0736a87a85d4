"""Feature code of one's own: a number that a model can only use within a category."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np


class Within:
    """A number where a category has one level, else 0; missing where the number is.

    >>> import numpy as np
    >>> found = Within("a", "kind", "x")({"a": np.array([1.0, 2.0]), "kind": np.array(["x", "y"], dtype=object)})
    >>> found["a_if_x"].tolist()
    [1.0, 0.0]
    """

    def __init__(self, number: str, category: str, level: str) -> None:
        self._number, self._category, self._level = number, category, level
        self._out = f"{number}_if_{level}"
        self.inputs: Mapping[str, Literal["number", "category"]] = {number: "number", category: "category"}
        self.outputs: Mapping[str, Literal["number", "category"]] = {self._out: "number"}

    def __call__(self, columns: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        number = np.asarray(columns[self._number], dtype=np.float64)
        inside = np.asarray(columns[self._category]) == self._level
        return {self._out: np.where(inside | np.isnan(number), number, 0.0)}


a_within_kind = Within("a", "kind", "x")
