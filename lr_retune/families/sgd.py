"""Linear models by stochastic gradient descent: scikit-learn's home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from lr_retune.errors import ConfigError
from lr_retune.families.checks import check_rate, check_rows, constant_loss
from lr_retune.families.sgd_files import dumps
from lr_retune.families.sgd_model import IMPORTANCE_FILE, MODEL_FILE, SGDModel, scores
from lr_retune.families.sgd_params import checked, complete
from lr_retune.families.sgd_transform import columns, transform
from lr_retune.records import Files, FitData, Fits, FittedModel, Range, canonical

CLASSES = np.array([0.0, 1.0])


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
    """One fit: the estimator as it trains, and the weights it had after each epoch."""

    estimator: Any
    weights: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)  # coef and intercept as SGD sees labels
    ended: bool = False  # a loss was not finite


class SGDFits:
    """Estimators in memory over one transformed matrix."""

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
        self._fits[handle] = _Fit(self._estimator(learning_rate))
        return handle

    def _estimator(self, learning_rate: float) -> Any:
        kind = SGDClassifier if self._binary else SGDRegressor
        return kind(**self._params, learning_rate="constant", eta0=learning_rate)

    def _step(self, estimator: Any, x: Any, y: np.ndarray, weight: np.ndarray) -> None:
        more = {"classes": CLASSES} if self._binary else {}
        estimator.partial_fit(x, y, sample_weight=weight, **more)

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        """Train ``steps`` more epochs per fit; a fit ends after its first loss that is not finite."""
        # The transform leaves nothing but finite numbers; scikit-learn would look through them once per epoch.
        with np.errstate(all="ignore"), config_context(assume_finite=True):
            return [self._train(self._fits[handle], steps) for handle in which]

    def _train(self, fit: _Fit, steps: int) -> np.ndarray:
        curve: list[float] = []
        while len(curve) < steps and not fit.ended:
            curve.append(self._epoch(fit))
            fit.ended = not np.isfinite(curve[-1])
        return np.array(curve, dtype=np.float64)

    def _epoch(self, fit: _Fit) -> float:
        # scikit-learn shuffles by random_state alone, so rows come in an order that seed and epoch fix.
        words = np.random.SeedSequence([self._seed, len(fit.weights)]).generate_state(1)
        fit.estimator.random_state = int(words[0])
        try:
            self._step(fit.estimator, self._x, self._y, self._weight)
        except ValueError as error:
            if "overflow" not in str(error):
                raise
            return float("nan")  # weights left the range of floats: the fit diverged
        fit.weights.append((fit.estimator.coef_.copy(), fit.estimator.intercept_.copy()))
        return float(self._data.curve_loss(self._data.valid.y, self._score(fit, len(fit.weights))))

    def set_rate(self, which: int, learning_rate: float) -> None:
        """Step by another rate from the next epoch on."""
        check_rate(learning_rate)
        self._fits[which].estimator.eta0 = learning_rate

    def score(self, which: int, steps: int) -> np.ndarray:
        """Scores of the valid rows, shape ``(n_valid,)``."""
        return self._score(self._trained(which, steps), steps)

    def _score(self, fit: _Fit, steps: int) -> np.ndarray:
        return scores(self._served(fit, steps), self._valid)

    def _served(self, fit: _Fit, steps: int) -> Any:
        """The estimator as it is served: with the weights after ``steps`` epochs, in the labels' own units."""
        coef, intercept = fit.weights[steps - 1]
        made = self._estimator(fit.estimator.eta0)
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


def _center_and_scale(y: np.ndarray) -> tuple[float, float]:
    scale = float(y.std())
    return float(y.mean()), scale if scale > 0 else 1.0


def _weights(data: FitData, balanced: bool) -> np.ndarray:
    """Weights of rows with a mean of 1, so that they do not act as a rate."""
    weight = np.ones(len(data.train)) if data.train.weight is None else data.train.weight
    if balanced:
        weight = weight * compute_sample_weight("balanced", data.train.y)
    return np.asarray(weight / weight.mean(), dtype=np.float64)
