"""Linear models by stochastic gradient descent: scikit-learn's home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import sparse
from sklearn import config_context
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from lr_retune.errors import ConfigError
from lr_retune.families.checks import check_rate, check_rows, constant_loss
from lr_retune.families.sgd_files import dumps
from lr_retune.families.sgd_model import IMPORTANCE_FILE, MODEL_FILE, SGDModel, linked, scores
from lr_retune.families.sgd_params import checked, complete
from lr_retune.families.sgd_transform import columns, transform
from lr_retune.records import Files, FitData, Fits, FittedModel, Range, canonical

if TYPE_CHECKING:
    from lr_retune.families.sgd_kernel import Kernel

CLASSES = np.array([0.0, 1.0])
# Cells of train from which on a search saves about what compiling the kernel costs once per process (2.5 CPU s). It
# counts rows only, so that a curve never depends on which fits run together.
LEAST_CELLS = 500_000


class SGD:
    """A linear model trained row by row; the rate scales each row's step.

    Numbers are clipped to the 0.1 % and 99.9 % quantiles of train, filled with its median and standardised;
    categories become one column per level of train, all 0 when missing or unseen. Labels of a regression are
    standardised while training, and weights of rows brought to a mean of 1, so a rate means the same whatever the
    units. The rate is constant over a fit unless the search changes it.

    Parameters
    ----------
    params
        ``loss``, ``penalty``, ``alpha``, ``l1_ratio``, ``epsilon`` (in standard deviations of the labels),
        ``fit_intercept``, ``average`` of scikit-learn, and ``class_weight = "balanced"`` (which moves
        probabilities away from frequencies); the loss follows the metric unless given.
    threads
        Not used: one fit runs on one thread.

    Raises
    ------
    ConfigError
        For parameters that are unknown or not the user's to set.

    Examples
    --------
    >>> SGD({"alpha": 1e-5}, threads=1).step_unit
    'epochs'
    """

    name = "sgd"
    step_unit = "epochs"
    default_rate = 0.01  # eta0 of both SGDRegressor and SGDClassifier in scikit-learn 1.8 and later
    default_range = Range(1e-6, 10.0)

    def __init__(self, params: Mapping[str, Any], threads: int) -> None:  # noqa: ARG002 - the protocol's arguments
        self._params = checked(params)

    def start(self, data: FitData, *, seed: int) -> Fits:
        """Check the rows and transform them once for all fits.

        Raises
        ------
        ConfigError
            If the metric has no loss here, or scikit-learn refuses a parameter.
        DataError
            If the rows cannot be learned from.
        """
        check_rows(data, least=2)
        params = complete(self._params, data)
        fits = SGDFits(params, data, seed=seed, balanced=self._params.get("class_weight") == "balanced")
        try:
            fits.check()  # a bad value speaks here, not once per trial
        except ValueError as error:
            why = " ".join(str(error).split())
            raise ConfigError("scikit-learn refuses model.params", why=why, fix="mend [model.params]") from error
        return fits

    def load(self, files: Files) -> FittedModel:
        """The model in ``model.skops``.

        Raises
        ------
        IntegrityError
            If a file is missing or torn, or holds anything but our pipeline.
        """
        return SGDModel(files)


@dataclass(slots=True)
class _Fit:
    """One fit: what trains it, and what it had after each epoch."""

    rate: float
    trainer: Any  # the kernel's column, or an estimator
    weights: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # coef and intercept as SGD sees labels
    curve: list[float] = field(default_factory=list)
    ended: bool = False  # a loss was not finite


class SGDFits:
    """Fits in memory over one transformed matrix: all of them take each epoch in one pass, where that pays."""

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
        self._step(self._estimator(SGD.default_rate), self._x[:2], self._y[:2], np.ones(2))

    def add(self, learning_rate: float) -> int:
        """Start a fit; raises ConfigError for a rate that is no step."""
        check_rate(learning_rate)
        handle = self._started
        self._started += 1
        trainer = self._estimator(learning_rate) if self._kernel is None else self._kernel.column()
        self._fits[handle] = _Fit(learning_rate, trainer)
        return handle

    @cached_property
    def _kernel(self) -> Kernel | None:
        if (self._x.nnz if sparse.issparse(self._x) else self._x.size) < LEAST_CELLS:
            return None
        try:
            from lr_retune.families.sgd_kernel import Kernel
        except ImportError:  # numba lags behind new versions of Python and NumPy
            return None
        return Kernel(self._params, self._x.shape[1])

    def _estimator(self, learning_rate: float) -> Any:
        kind = SGDClassifier if self._binary else SGDRegressor
        return kind(**self._params, learning_rate="constant", eta0=learning_rate)

    def _step(self, estimator: Any, x: Any, y: np.ndarray, weight: np.ndarray) -> None:
        more = {"classes": CLASSES} if self._binary else {}
        estimator.partial_fit(x, y, sample_weight=weight, **more)

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        """Train ``steps`` more epochs per fit; a fit ends after its first loss that is not finite."""
        fits = [self._fits[handle] for handle in which]
        begun = [len(fit.curve) for fit in fits]
        # The transform leaves nothing but finite numbers; scikit-learn would look through them once per epoch.
        with np.errstate(all="ignore"), config_context(assume_finite=True):
            for _ in range(steps):
                for done, group in _of_one_age(fits).items():
                    self._epoch(group, done)
        return [np.array(fit.curve[start:], dtype=np.float64) for fit, start in zip(fits, begun, strict=True)]

    def _epoch(self, fits: Sequence[_Fit], done: int) -> None:
        """One more epoch for fits with ``done`` epochs behind them, in an order of rows that seed and epoch fix."""
        order = np.random.default_rng([self._seed, done]).permutation(self.train_rows)
        rows = (self._x[order], self._y[order], self._weight[order])
        if self._kernel is None:
            found = [self._taught(fit, rows) for fit in fits]
        else:
            found = self._kernel.epoch([fit.trainer for fit in fits], [fit.rate for fit in fits], rows, done)
        for fit, weights in zip(fits, found, strict=True):
            if weights is not None:
                fit.weights.append(weights)
            fit.curve.append(float("nan") if weights is None else self._loss(fit))
            fit.ended = not np.isfinite(fit.curve[-1])

    def _taught(self, fit: _Fit, rows: tuple[Any, np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray] | None:
        """Coefficients and intercept after one more epoch by scikit-learn; None: they left the range of floats."""
        fit.trainer.set_params(eta0=fit.rate, shuffle=False)
        try:
            self._step(fit.trainer, *rows)
        except ValueError as error:
            if "overflow" not in str(error):
                raise
            return None
        return fit.trainer.coef_.copy(), fit.trainer.intercept_.copy()

    def _loss(self, fit: _Fit) -> float:
        """What ``score`` gives as a curve loss, without scikit-learn's checks: they cost as much as an epoch."""
        coef, intercept = fit.weights[-1]
        raw = self._valid @ (coef.ravel() * self._scale) + (intercept[0] * self._scale + self._center)
        return float(self._data.curve_loss(self._data.valid.y, linked(self._params["loss"], raw)))

    def set_rate(self, which: int, learning_rate: float) -> None:
        """Step by another rate from the next epoch on."""
        check_rate(learning_rate)
        self._fits[which].rate = learning_rate

    def score(self, which: int, steps: int) -> np.ndarray:
        """Scores of the valid rows, shape ``(n_valid,)``."""
        return scores(self._served(self._trained(which, steps), steps), self._valid)

    def _served(self, fit: _Fit, steps: int) -> Any:
        """The estimator as it is served: with the weights after ``steps`` epochs, in the labels' own units."""
        coef, intercept = fit.weights[steps - 1]
        made = self._estimator(fit.rate)
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
