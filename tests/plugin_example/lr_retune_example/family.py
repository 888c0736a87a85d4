"""Componentwise linear boosting: each step moves one coefficient, the one that explains the residuals best.

The step is Bühlmann and Yu's L2 boosting, https://doi.org/10.1198/016214503000125; for a binary task the residuals
are those of the log loss. The learning rate is the share of the best coefficient that a step takes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lr_retune.errors import ConfigError, IntegrityError
from lr_retune.families.checks import check_constant, check_rate, check_rows, constant_loss
from lr_retune.records import Files, FitData, Fits, FittedModel, Range

MODEL_FILE = "model.json"
STILL = 1e-12  # a step that explains less than this share of a standard deviation is none


class LinearBoosting:
    """Linear models grown step by step; it has no parameters and one thread is all it needs.

    >>> LinearBoosting({}, threads=1).step_unit
    'steps'
    """

    name = "linear_boosting"
    step_unit = "steps"
    default_rate = 0.1
    default_range = Range(0.01, 1.0)
    default_strategy = "grid"
    default_patience = 50
    default_schedules = ("constant",)
    steps_are_served = False  # however many, they end in one coefficient per column

    def __init__(self, params: Mapping[str, Any], threads: int) -> None:
        if params:
            raise ConfigError(f"linear_boosting takes no params, got {sorted(params)}", fix="empty [model] params")

    def start(self, data: FitData, *, seed: int) -> Fits:
        """Standardise once for all fits."""
        check_rows(data, least=10)
        return LinearFits(data)

    def load(self, files: Files) -> FittedModel:
        """The model in ``model.json``."""
        try:
            return LinearModel(**json.loads(files[MODEL_FILE]))
        except (KeyError, ValueError, TypeError) as error:
            raise IntegrityError(f"{MODEL_FILE} is missing or torn", why=str(error), fix="restore the file") from error


@dataclass
class Path:
    """One fit: which coefficient moved at each step, by how much, and the margins it has come to."""

    rate: float
    train: np.ndarray  # (n_train,) margin so far
    valid: np.ndarray  # (n_valid,)
    moves: list[tuple[int, float]] = field(default_factory=list)


class LinearFits:
    """Fits over one standardised matrix."""

    def __init__(self, data: FitData) -> None:
        self._data = data
        self._columns = columns_of(data)
        self._x, self._valid = (design(rows.x, self._columns) for rows in (data.train, data.valid))
        weight = np.ones(len(data.train)) if data.train.weight is None else data.train.weight
        self._weight = weight / weight.sum()
        self._norms = self._weight @ np.square(self._x)
        self._start = link(float(np.average(data.train.y, weights=self._weight)), data.task)
        self._paths: dict[int, Path] = {}
        self._added = 0

    @property
    def train_rows(self) -> int:
        return len(self._data.train)

    @property
    def baseline(self) -> float:
        return constant_loss(self._data)

    def add(self, learning_rate: float, schedule: str = "constant") -> int:
        check_rate(learning_rate)
        check_constant(schedule, LinearBoosting.name)
        train, valid = (np.full(len(rows), self._start) for rows in (self._data.train, self._data.valid))
        self._paths[self._added] = Path(learning_rate, train, valid)
        self._added += 1
        return self._added - 1

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        with np.errstate(all="ignore"):  # a rate that is far too large ends in inf, and the curve tells
            return [self._grow(self._paths[handle], steps) for handle in which]

    def _grow(self, path: Path, steps: int) -> np.ndarray:
        curve = []
        for _ in range(steps):
            if not self._step(path):
                break
            score = answer(path.valid, self._data.task)
            curve.append(float(self._data.curve_loss(self._data.valid.y, score)))
        return np.array(curve, dtype=np.float64)

    def _step(self, path: Path) -> bool:
        """Move the coefficient that lowers the squared error of the residuals most; False: none does."""
        residual = self._data.train.y - answer(path.train, self._data.task)
        slope = (self._weight * residual) @ self._x
        gain = np.square(slope) / self._norms
        best = int(np.argmax(gain))
        if gain[best] <= STILL:
            return False
        delta = float(path.rate * slope[best] / self._norms[best])
        path.moves.append((best, delta))
        path.train += delta * self._x[:, best]
        path.valid += delta * self._valid[:, best]
        return True

    def set_rate(self, which: int, learning_rate: float) -> None:
        check_rate(learning_rate)
        self._paths[which].rate = learning_rate

    def score(self, which: int, steps: int) -> np.ndarray:
        return self.finish(which, steps).predict(self._data.valid.x)

    def drop(self, which: int) -> None:
        self._paths.pop(which, None)

    def finish(self, which: int, steps: int) -> FittedModel:
        moves = self._paths[which].moves
        if not 1 <= steps <= len(moves):
            raise ValueError(f"1 <= steps <= {len(moves)} (steps taken) must hold, got {steps}")
        coefficients = np.zeros(self._x.shape[1])
        for column, delta in moves[:steps]:
            coefficients[column] += delta
        return LinearModel(
            self._data.task, self._start, self._columns, coefficients.tolist(), self._data.train.x.shape[1]
        )


class LinearModel:
    """Coefficients over standardised columns: numbers, and one column per level of a category."""

    def __init__(
        self,
        task: str,
        start: float,
        columns: Sequence[Mapping[str, Any]],
        coefficients: Sequence[float],
        features: int,
    ) -> None:
        self._content = {
            "task": task,
            "start": start,
            "columns": list(columns),
            "coefficients": list(coefficients),
            "features": features,
        }
        self._task, self._start, self._columns, self._features = task, start, columns, features
        self._coefficients = np.array(coefficients, dtype=np.float64)

    def predict(self, x: np.ndarray) -> np.ndarray:
        return answer(self._start + design(x, self._columns) @ self._coefficients, self._task)

    def importance(self) -> np.ndarray:
        """Share of the absolute standardised coefficients; a category has those of its levels."""
        owner = [column["feature"] for column in self._columns]
        total = np.bincount(owner, np.abs(self._coefficients), minlength=self._features)
        return total / total.sum() if total.sum() > 0 else total

    def files(self) -> dict[str, bytes]:
        return {MODEL_FILE: json.dumps(self._content, sort_keys=True).encode()}


def columns_of(data: FitData) -> list[dict[str, Any]]:
    """Columns of the design, learned on train: a number with its clip, mean and scale, or one level of a category."""
    found: list[dict[str, Any]] = []
    for feature, values in enumerate(data.train.x.T):
        seen = values[~np.isnan(values)]
        if feature in data.categorical:
            found += [{"feature": feature, "level": level} for level in np.unique(seen).tolist()]
        elif len(seen) and np.ptp(seen):
            low, high = np.quantile(seen, (0.001, 0.999))
            clipped = np.clip(seen, low, high)
            scale = float(clipped.std()) or 1.0
            found.append({"feature": feature, "low": low, "high": high, "mean": float(clipped.mean()), "scale": scale})
    return found


def design(x: np.ndarray, columns: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Shape ``(n_rows, n_columns)``; a missing value is the mean of its column, an unseen level is no level."""
    out = np.zeros((len(x), len(columns)))
    for i, column in enumerate(columns):
        values = x[:, column["feature"]]
        if "level" in column:
            out[:, i] = values == column["level"]
        else:
            clipped = np.clip(values, column["low"], column["high"])
            out[:, i] = np.nan_to_num((clipped - column["mean"]) / column["scale"], nan=0.0)
    return out


def link(mean: float, task: str) -> float:
    """The margin of a constant answer."""
    return float(np.log(mean / (1 - mean))) if task == "binary" else mean


def answer(margin: np.ndarray, task: str) -> np.ndarray:
    """Margins to values, or to probabilities of class 1."""
    if task != "binary":
        return np.asarray(margin, dtype=np.float64)
    return np.asarray(1 / (1 + np.exp(-np.clip(margin, -500, 500))), dtype=np.float64)
