"""Linear fits in memory, trained epoch by epoch, and the estimators they become: scikit-learn's home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from lr_retune.errors import ConfigError
from lr_retune.families.checks import check_rate, constant_loss
from lr_retune.families.sgd_files import dumps
from lr_retune.families.sgd_model import IMPORTANCE_FILE, MODEL_FILE, SGDModel, linked, scores
from lr_retune.families.sgd_params import ALPHA
from lr_retune.families.sgd_passes import Column, Passes, Rates
from lr_retune.families.sgd_transform import columns, transform
from lr_retune.records import FitData, FittedModel, canonical
from lr_retune.schedules import CUT, LEAST, Schedule, adaptive_cuts, parse, rates

CLASSES = np.array([0.0, 1.0])
CONSTANT = parse("constant")
OWN = ("invscaling", "optimal")  # beside constant, what scikit-learn knows by the same name and formula


@dataclass(slots=True)
class _Fit:
    """One fit: what trains it, and what it had after each epoch."""

    rate: float
    schedule: Schedule
    column: Column
    weights: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # coef and intercept as SGD sees labels
    curve: list[float] = field(default_factory=list)
    used: list[np.ndarray] = field(default_factory=list)  # rate of the first and last step of each epoch
    ended: bool = False  # a loss was not finite, or the schedule has come to its end

    @property
    def cuts(self) -> tuple[int, ...]:
        """Epochs after which an adaptive rate was divided."""
        return adaptive_cuts(self.curve, int(self.schedule.args[0])) if self.schedule.name == "adaptive" else ()


class SGDFits:
    """Fits in memory over one transformed matrix: all of them take each epoch in one pass."""

    def __init__(self, params: Mapping[str, Any], data: FitData, *, seed: int, balanced: bool) -> None:
        self._params = dict(params)
        self._data = data
        self._seed = seed
        self._binary = data.task == "binary"
        self._fits: dict[int, _Fit] = {}
        self._started = 0
        self._transform = transform(data)
        self._x = self._transform.fit_transform(data.train.x)
        self._valid = self._transform.transform(data.valid.x)
        self._center, self._scale = (0.0, 1.0) if self._binary else _center_and_scale(data.train.y)
        self._y = (data.train.y - self._center) / self._scale
        self._weight = _weights(data, balanced)
        self._alpha = float(self._params.get("alpha", ALPHA))

    @property
    def train_rows(self) -> int:
        """Rows trained on."""
        return len(self._data.train)

    @property
    def baseline(self) -> float:
        """Curve loss on valid of the best constant learned on train."""
        return constant_loss(self._data)

    def check(self) -> None:
        """Raise scikit-learn's ValueError where it refuses a parameter."""
        more = {"classes": CLASSES} if self._binary else {}
        self._estimator(0.01).partial_fit(self._x[:2], self._y[:2], sample_weight=np.ones(2), **more)

    def add(self, learning_rate: float, schedule: str = "constant") -> int:
        """Start a fit; raises ConfigError for a rate that is no step, and for a schedule that means nothing here."""
        check_rate(learning_rate)
        found = parse(schedule)
        if found.name == "optimal" and not self._alpha > 0:
            raise ConfigError("schedule 'optimal' needs alpha above 0", why="its rate is 1 / (alpha t)")
        handle = self._started
        self._started += 1
        self._fits[handle] = _Fit(learning_rate, found, self._passes.column())
        return handle

    @cached_property
    def _passes(self) -> Passes:
        try:
            from lr_retune.families.sgd_kernel import walk
        except ImportError:  # numba lags behind new versions of Python and NumPy
            from lr_retune.families.sgd_plain import walk
        return Passes(walk, self._params, self._x, self._y, self._weight)

    def _estimator(self, rate: float, schedule: Schedule = CONSTANT) -> Any:
        kind = SGDClassifier if self._binary else SGDRegressor
        more = {"power_t": schedule.args[0]} if schedule.name == "invscaling" else {}
        named = schedule.name if schedule.name in OWN else "constant"
        return kind(**self._params, learning_rate=named, eta0=rate, **more)

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        """Train ``steps`` more epochs per fit; a fit ends with its schedule, or after a loss that is not finite."""
        fits = [self._fits[handle] for handle in which]
        begun = [len(fit.curve) for fit in fits]
        with np.errstate(all="ignore"):
            for _ in range(steps):
                for done, group in _of_one_age(fits).items():
                    self._epoch(group, done)
        return [np.array(fit.curve[start:], dtype=np.float64) for fit, start in zip(fits, begun, strict=True)]

    def _epoch(self, fits: Sequence[_Fit], done: int) -> None:
        """One more epoch for fits with ``done`` epochs behind them, in an order of rows that seed and epoch fix."""
        order = np.random.default_rng([self._seed, done]).permutation(self.train_rows)
        found, used = self._passes.epoch([fit.column for fit in fits], self._rates(fits, done), order, done)
        for fit, weights, ends in zip(fits, found, used, strict=True):
            fit.used.append(ends)
            if weights is not None:
                fit.weights.append(weights)
            fit.curve.append(float("nan") if weights is None else self._loss(fit))
            fit.ended = not np.isfinite(fit.curve[-1]) or _over(fit)

    def _rates(self, fits: Sequence[_Fit], done: int) -> Rates:
        """Columns of one schedule share its shape, which is computed once per epoch."""
        steps = np.arange(done * self.train_rows, (done + 1) * self.train_rows)
        ways = [(fit.schedule, fit.cuts) for fit in fits]
        kinds = list(dict.fromkeys(ways))
        shapes = [rates(way, 1.0, steps, self.train_rows, alpha=self._alpha, cuts=cuts) for way, cuts in kinds]
        eta0 = np.array([1.0 if fit.schedule.name == "optimal" else fit.rate for fit in fits])
        return Rates(eta0, np.array(shapes), np.array([kinds.index(way) for way in ways], dtype=np.int64))

    def trace(self, which: int) -> np.ndarray:
        """The rates that the first and the last step of each epoch took, shape ``(n_epochs, 2)``."""
        return np.array(self._fits[which].used).reshape(-1, 2)

    def _loss(self, fit: _Fit) -> float:
        """What ``score`` gives as a curve loss, without scikit-learn's checks: they cost as much as an epoch."""
        coef, intercept = fit.weights[-1]
        raw = self._valid @ (coef.ravel() * self._scale) + (intercept[0] * self._scale + self._center)
        return float(self._data.curve_loss(self._data.valid.y, linked(self._params["loss"], raw)))

    def set_rate(self, which: int, learning_rate: float) -> None:
        """Another base rate from the next epoch on."""
        check_rate(learning_rate)
        self._fits[which].rate = learning_rate

    def score(self, which: int, steps: int) -> np.ndarray:
        """Scores of the valid rows, shape ``(n_valid,)``."""
        return scores(self._served(self._trained(which, steps), steps), self._valid)

    def _served(self, fit: _Fit, steps: int) -> Any:
        """The estimator as it is served: with the weights after ``steps`` epochs, in the labels' own units."""
        coef, intercept = fit.weights[steps - 1]
        made = self._estimator(fit.rate, fit.schedule)
        if self._binary:
            made.classes_ = CLASSES
        elif made.loss != "squared_error":
            made.epsilon *= self._scale
        made.coef_ = coef * self._scale
        made.intercept_ = intercept * self._scale + self._center
        made.n_features_in_ = self._x.shape[1]
        made.n_iter_, made.t_ = steps, 1.0 + steps * self.train_rows
        return made

    def drop(self, which: int) -> None:
        """Free the weights of a fit; dropping twice does nothing."""
        self._fits.pop(which, None)

    def finish(self, which: int, steps: int) -> FittedModel:
        """The fit as it was after ``steps`` epochs, as one pipeline from encoded rows to scores."""
        estimator = self._served(self._trained(which, steps), steps)
        pipeline = Pipeline([("transform", self._transform), ("sgd", estimator)])
        shares = {"importance": self._importance(np.abs(estimator.coef_).ravel())}
        return SGDModel({MODEL_FILE: dumps(pipeline), IMPORTANCE_FILE: canonical(shares).encode()})

    def _importance(self, size: np.ndarray) -> np.ndarray:
        """|coef| x standard deviation of its column on train, summed per feature, as shares."""
        scaler = StandardScaler(with_mean=False).fit(self._x)
        numbers, levels = columns(self._data)
        owner = [*numbers, *(feature for feature, count in levels.items() for _ in range(count))]
        effect = np.bincount(owner, size * np.sqrt(scaler.var_), self._data.train.x.shape[1])
        total = effect.sum()
        return effect / total if total > 0 else effect

    def _trained(self, which: int, steps: int) -> _Fit:
        fit = self._fits[which]
        if not 1 <= steps <= len(fit.weights):
            raise ValueError(f"1 <= steps <= {len(fit.weights)} (epochs trained) must hold, got {steps}")
        return fit


def _over(fit: _Fit) -> bool:
    """Whether the schedule has come to its end: scikit-learn's adaptive ends once its rate is no longer above 1e-6."""
    epochs, end = len(fit.curve), fit.schedule.end
    if fit.schedule.name == "adaptive" and (cuts := fit.cuts):
        return cuts[-1] == epochs and fit.rate / CUT ** (len(cuts) - 1) <= LEAST
    return end is not None and epochs >= end


def _of_one_age(fits: Sequence[_Fit]) -> dict[int, list[_Fit]]:
    """Fits that can go on, by the epochs behind them."""
    found: dict[int, list[_Fit]] = {}
    for fit in fits:
        if not fit.ended:
            found.setdefault(len(fit.weights), []).append(fit)
    return found


def _center_and_scale(y: np.ndarray) -> tuple[float, float]:
    scale = float(y.std())
    return float(y.mean()), scale if scale > 0 else 1.0


def _weights(data: FitData, balanced: bool) -> np.ndarray:
    """Weights of rows with a mean of 1, so that they do not act as a rate."""
    weight = np.ones(len(data.train)) if data.train.weight is None else data.train.weight
    if balanced:
        weight = weight * compute_sample_weight("balanced", data.train.y)
    return np.asarray(weight / weight.mean(), dtype=np.float64)
