"""A scikit-learn pipeline that another team saved by skops, read through our own allowlist."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.pipeline import Pipeline, make_pipeline

from lr_retune.errors import IntegrityError
from lr_retune.families.foreign import CannotLoad, Foreign
from lr_retune.families.sgd_files import dumps, loads
from lr_retune.families.sgd_model import IMPORTANCE_FILE, MODEL_FILE
from lr_retune.families.sgd_params import CLASSIFIER

_SCHEDULES = {"constant": "constant", "optimal": "optimal"}


def read_skops(data: bytes) -> Foreign:
    """The pipeline, if it ends in SGD and holds only types that we trust.

    Raises
    ------
    CannotLoad
        For other types, another estimator, or a classifier that gives no probabilities of two classes.
    """
    try:
        found = loads(data)
    except IntegrityError as error:
        raise CannotLoad(f"{error.what}: {error.why}"[:300]) from None
    last = found[-1] if isinstance(found, Pipeline) else found
    if not isinstance(last, (SGDClassifier, SGDRegressor)) or not hasattr(last, "coef_"):
        raise CannotLoad(f"it ends in {type(last).__name__}: only a fitted SGDClassifier or SGDRegressor is ours")
    classifier = isinstance(last, SGDClassifier)
    if classifier and (list(last.classes_) != [0, 1] or last.loss not in CLASSIFIER):
        raise CannotLoad(f"classes {list(last.classes_)} by {last.loss}: probabilities of 0 and 1 are needed")
    if not isinstance(found, Pipeline):
        data = dumps(make_pipeline("passthrough", last))
    names = tuple(map(str, getattr(found, "feature_names_in_", ())))
    count = int(getattr(found, "n_features_in_", len(names)))
    return Foreign(
        family="sgd",
        files={MODEL_FILE: data, IMPORTANCE_FILE: json.dumps({"importance": _shares(last, count)}).encode()},
        names=names,
        count=count,
        learning_rate=float(last.eta0) or 0.01,  # what scikit-learn takes where a schedule does not ask for it
        schedule=_SCHEDULES.get(last.learning_rate, "constant"),
        steps=int(last.n_iter_),
        task="binary" if classifier else "regression",
    )


def _shares(last: Any, count: int) -> list[float]:
    """Shares of the weights' sizes where there is one weight a feature; else nothing is known."""
    weights = np.abs(np.ravel(last.coef_))
    total = float(weights.sum())
    return (weights / total).tolist() if len(weights) == count and 0 < total < np.inf else [0.0] * count
