"""A linear model as it is stored, loaded and asked."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.base import is_classifier
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.pipeline import Pipeline

from lr_retune.errors import DataError, IntegrityError
from lr_retune.families.sgd_files import loads
from lr_retune.records import Files

MODEL_FILE, IMPORTANCE_FILE = "model.skops", "importance.json"


class SGDModel:
    """A pipeline as it is stored: what is judged is what was read back from the file."""

    def __init__(self, files: Files) -> None:
        missing = sorted({MODEL_FILE, IMPORTANCE_FILE} - files.keys())
        if missing:
            raise IntegrityError(f"the model folder has no {missing[0]}", why=f"found {sorted(files)}")
        self._files = {name: files[name] for name in (MODEL_FILE, IMPORTANCE_FILE)}
        self._pipeline = loads(files[MODEL_FILE])
        if not isinstance(self._pipeline, Pipeline) or not isinstance(
            self._pipeline[-1], (SGDClassifier, SGDRegressor)
        ):
            raise IntegrityError(f"{MODEL_FILE} holds no pipeline that ends in SGD", fix="restore the file")
        self._importance = _shares(files[IMPORTANCE_FILE])

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities of class 1, or values, shape ``(n,)``; raises DataError for another number of features."""
        if not len(x):
            return np.empty(0)
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                # an adopted pipeline may have met its columns by name; the contract keeps their order
                warnings.filterwarnings("ignore", message="X does not have valid feature names", category=UserWarning)
                return scores(self._pipeline, x)
        except ValueError as error:
            raise DataError("the model cannot score these rows", why=" ".join(str(error).split())) from error

    def importance(self) -> np.ndarray:
        """Share of what moves the score per feature, shape ``(n_features,)``."""
        return self._importance.copy()

    def work(self) -> float:
        """Products of a weight and a value for one row."""
        return float(self._pipeline[-1].coef_.size)

    def files(self) -> dict[str, bytes]:
        """The pipeline as skops, and the shares of importance, which need train's spread, as JSON."""
        return dict(self._files)


def scores(model: Any, x: Any) -> np.ndarray:
    """Probabilities of class 1 or values, shape ``(n,)``, of an estimator or a pipeline."""
    score = model.predict_proba(x)[:, 1] if is_classifier(model) else model.predict(x)
    return np.asarray(score, dtype=np.float64)


def linked(loss: str, raw: np.ndarray) -> np.ndarray:
    """The same scores from what a linear model sums up, shape ``(n,)``, by scikit-learn's formulas."""
    if loss == "log_loss":
        return np.asarray(expit(raw))
    return (np.clip(raw, -1.0, 1.0) + 1.0) / 2.0 if loss == "modified_huber" else raw


def _shares(data: bytes) -> np.ndarray:
    try:
        return np.array(json.loads(data)["importance"], dtype=np.float64)
    except (ValueError, LookupError, TypeError) as error:
        raise IntegrityError(f"{IMPORTANCE_FILE} cannot be read", why=str(error), fix="restore the file") from error
