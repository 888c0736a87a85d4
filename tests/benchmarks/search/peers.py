"""What other libraries do with the same rows, range, early stopping and threads: Optuna, and scikit-learn's searches.

Each returns the rate it names, the steps it has trained and their CPU. A last fit at that rate is counted apart: none
of them keeps the model it has found.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import lightgbm as lgb
import numpy as np
import optuna
from scipy import sparse
from scipy.stats import loguniform
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - scikit-learn wants it so
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.model_selection import HalvingGridSearchCV, PredefinedSplit, RandomizedSearchCV

from lr_retune.families.lightgbm_params import complete as lightgbm_params
from lr_retune.families.sgd_model import scores
from lr_retune.families.sgd_params import complete as sgd_params
from lr_retune.families.sgd_transform import transform
from lr_retune.records import FitData
from lr_retune.search.grid import rates
from tests.benchmarks.search.rows import GRID, MOST_STEPS, PATIENCE
from tests.benchmarks.search.streams import Episode
from tests.benchmarks.search.work import Clocked, Lent

Peer = Callable[[Episode, Lent | Clocked], tuple[float, float, float]]  # → rate, steps, CPU; fits for who drives them
TRIALS = 20
LOOK = {"lightgbm": 10, "sgd": 1}  # steps between two reports to the pruner
RATE = {"lightgbm": "learning_rate", "sgd": "eta0"}
LENGTH = {"lightgbm": "n_estimators", "sgd": "max_iter"}


# ── Optuna ────────────────────────────────────────────────────────────────────────────────────────
def hyperband(episode: Episode, fits: Lent | Clocked) -> tuple[float, float, float]:
    """20 trials of TPE, pruned by Hyperband up to the cap; all else as Optuna comes."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    family = episode.config.model.family
    space, cap = GRID[family], MOST_STEPS[family]
    pruner = optuna.pruners.HyperbandPruner(max_resource=cap)
    # Hyperband deals trials to its brackets by a hash of the study's name, which is random unless given
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=episode.seed), pruner=pruner, study_name=f"{episode.seed}"
    )
    began, trained = time.process_time(), 0

    def objective(trial: optuna.Trial) -> float:
        nonlocal trained
        handle = fits.add(trial.suggest_float(RATE[family], space.low, space.high, log=True))
        done, lowest, at = 0, math.inf, 0
        while done < cap and done - at < PATIENCE[family]:
            part = fits.advance([handle], 1)[0]
            done, trained = done + len(part), trained + len(part)
            if not len(part) or not math.isfinite(part[0]):
                break
            if part[0] < lowest:
                lowest, at = float(part[0]), done
            if done % LOOK[family] == 0:
                trial.report(float(part[0]), done)
                if trial.should_prune():
                    raise optuna.TrialPruned
        return lowest

    study.optimize(objective, n_trials=TRIALS)
    return float(study.best_params[RATE[family]]), float(trained), fits.cpu(time.process_time() - began)


# ── scikit-learn ──────────────────────────────────────────────────────────────────────────────────
def halving(episode: Episode, _fits: Lent | Clocked) -> tuple[float, float, float]:
    """The ten rates of grid10, halved by length up to the cap."""
    family = episode.config.model.family
    grid = {RATE[family]: rates(GRID[family], 10)}
    how = {"resource": LENGTH[family], "max_resources": MOST_STEPS[family], "random_state": episode.seed}
    return _searched(episode, lambda model, common: HalvingGridSearchCV(model, grid, **how, **common))


def randomized(episode: Episode, _fits: Lent | Clocked) -> tuple[float, float, float]:
    """Ten rates drawn evenly on the log scale."""
    family = episode.config.model.family
    drawn = {RATE[family]: loguniform(GRID[family].low, GRID[family].high)}
    how = {"n_iter": 10, "random_state": episode.seed}
    return _searched(episode, lambda model, common: RandomizedSearchCV(model, drawn, **how, **common))


def _searched(episode: Episode, build: Callable[[Any, dict[str, Any]], Any]) -> tuple[float, float, float]:
    began, data, family, counted = time.process_time(), episode.data, episode.config.model.family, Counter()
    model, x, y, valid, more = (_trees if family == "lightgbm" else _linear)(data, counted)
    split = PredefinedSplit(np.r_[np.full(len(data.train), -1), np.zeros(len(data.valid), dtype=int)])

    def score(model: Any, x: Any, _y: np.ndarray) -> float:
        found = -data.curve_loss(valid, scores(model, x))
        return found if math.isfinite(found) else -math.inf

    with np.errstate(all="ignore"):
        common = {"cv": split, "refit": False, "scoring": score, "return_train_score": False, "n_jobs": 1}
        found = build(model, common).fit(x, y, **more)
    return float(found.best_params_[RATE[family]]), float(counted.steps), time.process_time() - began


class Counter:
    """Steps that were trained, told by LightGBM's callback or counted by hand."""

    def __init__(self) -> None:
        self.steps = 0

    def __call__(self, _env: Any) -> None:
        self.steps += 1


def _trees(data: FitData, counted: Counter) -> tuple[Any, Any, np.ndarray, np.ndarray, dict[str, Any]]:
    """LightGBM's estimator, stacked rows, and what its fit is told."""
    params = lightgbm_params({}, data, seed=0, threads=1)
    params["metric"] = {"binary": "binary_logloss", "regression": "l1"}[data.task]
    kind = lgb.LGBMClassifier if data.task == "binary" else lgb.LGBMRegressor
    model = kind(n_estimators=MOST_STEPS["lightgbm"], n_jobs=params.pop("num_threads"), **params)
    stop = lgb.early_stopping(PATIENCE["lightgbm"], verbose=False)
    more = {
        "eval_X": data.valid.x,
        "eval_y": data.valid.y,
        "callbacks": [stop, counted],
        "categorical_feature": list(data.categorical),
    }
    x, y = np.vstack([data.train.x, data.valid.x]), np.r_[data.train.y, data.valid.y]
    return model, x, y, data.valid.y, more


def _linear(data: FitData, counted: Counter) -> tuple[Any, Any, np.ndarray, np.ndarray, dict[str, Any]]:
    """scikit-learn's estimator with early stopping on valid, rows transformed once, labels standardised."""
    binary = data.task == "binary"
    made = transform(data)
    train = made.fit_transform(data.train.x)
    valid = made.transform(data.valid.x)
    center, scale = (0.0, 1.0) if binary else (data.train.y.mean(), data.train.y.std())
    y, stop = (data.train.y - center) / scale, (data.valid.y - center) / scale
    kind = StoppedClassifier if binary else StoppedRegressor
    model = kind(**sgd_params({}, data), learning_rate="constant", max_iter=MOST_STEPS["sgd"], random_state=0)
    stack = sparse.vstack if sparse.issparse(train) else np.vstack
    more = {"watched": (valid, stop), "loss_of": data.curve_loss, "counted": counted}
    x = stack([train, valid])
    return model, x.tocsr() if sparse.issparse(x) else x, np.r_[y, stop], stop, more


def one_pass(data: FitData, passes: int = 8) -> float:
    """CPU seconds of scikit-learn's own pass over the rows of train, validation included: the median of some."""
    model, x, y, stop, more = _linear(data, Counter())
    model.set_params(eta0=1e-4)
    known = {"classes": np.unique(y)} if data.task == "binary" else {}
    train, found = len(data.train), []
    for _ in range(passes):
        began = time.process_time()
        model.partial_fit(x[:train], y[:train], **known)
        data.curve_loss(stop, scores(model, more["watched"][0]))
        found.append(time.process_time() - began)
    return float(np.median(found))


class _Stopped:
    """Epoch by epoch until patience runs out on the rows watched; the best weights are kept."""

    def fit(self: Any, x: Any, y: np.ndarray, *, watched: Any, loss_of: Any, counted: Counter) -> Any:
        more = {"classes": np.unique(y)} if isinstance(self, SGDClassifier) else {}
        lowest, at, kept = math.inf, 0, None
        for epoch in range(1, self.max_iter + 1):
            try:
                self.partial_fit(x, y, **more)
                loss = loss_of(watched[1], scores(self, watched[0]))
            except ValueError:  # floating-point overflow: the rate diverges
                loss = math.nan
            counted.steps += 1
            if loss < lowest:
                lowest, at, kept = loss, epoch, (self.coef_.copy(), self.intercept_.copy())
            if not math.isfinite(loss) or epoch - at >= PATIENCE["sgd"]:
                break
        if kept is not None:
            self.coef_, self.intercept_ = kept
        return self


class StoppedClassifier(_Stopped, SGDClassifier):
    """SGDClassifier with early stopping on rows of a later time."""


class StoppedRegressor(_Stopped, SGDRegressor):
    """SGDRegressor with early stopping on rows of a later time."""


PEERS: dict[str, Peer] = {
    "Optuna TPE20 + Hyperband": hyperband,
    "HalvingGridSearchCV": halving,
    "RandomizedSearchCV": randomized,
}
