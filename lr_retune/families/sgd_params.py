"""Which of scikit-learn's SGD parameters a user may set, and which loss a metric asks for."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from lr_retune.errors import ConfigError
from lr_retune.records import FitData

CLASSIFIER = ("log_loss", "modified_huber")
REGRESSOR = ("squared_error", "huber", "epsilon_insensitive")
ALPHA = 1e-4  # scikit-learn's default
_ALLOWED = ("alpha", "average", "class_weight", "epsilon", "fit_intercept", "l1_ratio", "loss", "penalty")
_RATE = "the rate is searched: [search] learning_rate"
_EPOCHS = "epochs are found by early stopping: [search] max_steps and patience"
_NAMED_ELSEWHERE = {
    "eta0": _RATE,
    "learning_rate": "how the rate changes over a fit is searched: [search] schedules",
    "power_t": 'it stands in the schedule: [search] schedules = ["invscaling(0.25)"]',
    "max_iter": _EPOCHS,
    "tol": _EPOCHS,
    "early_stopping": f"scikit-learn's own holds out shuffled rows, not later ones; {_EPOCHS}",
    "validation_fraction": "valid is a span of time: [window] valid",
    "n_iter_no_change": "it stands in [search] patience",
    "warm_start": "every fit starts from nothing",
    "shuffle": "rows are always shuffled, by the seed and the epoch",
    "random_state": "it stands at the top of retune.toml, as seed",
    "verbose": "scikit-learn is kept silent: its lines would mix with the command's output",
    "n_jobs": "one fit of one column runs on one thread",
}
_NO_PROBABILITY = ("hinge", "squared_hinge", "perceptron")


def checked(params: Mapping[str, Any]) -> dict[str, Any]:
    """User parameters, by scikit-learn's names.

    Raises
    ------
    ConfigError
        For a name that is unknown or not the user's to set.
    """
    for name in sorted(params):
        if name in _NAMED_ELSEWHERE:
            raise ConfigError(f"model.params must not name {name}", why=_NAMED_ELSEWHERE[name], fix="remove it there")
        if name not in _ALLOWED:
            near = difflib.get_close_matches(name, _ALLOWED, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"use some of {', '.join(_ALLOWED)}"
            raise ConfigError(f"model.params: scikit-learn's SGD has no parameter {name[:80]!r} to set", fix=hint)
    if params.get("class_weight") not in (None, "balanced"):
        raise ConfigError(
            f'class_weight must be "balanced", got {params["class_weight"]!r}',
            fix="give other weights per row, by the column named in [data] weight",
        )
    return dict(params)


def complete(user: Mapping[str, Any], data: FitData) -> dict[str, Any]:
    """The estimator's parameters but its rate: the loss that the metric asks for, and the user's own.

    ``epsilon`` is in standard deviations of the training labels, as SGD sees them; ``class_weight`` stays out,
    since ``partial_fit`` takes it as weights of rows.

    Raises
    ------
    ConfigError
        If the loss or another parameter does not fit the task, or the metric has no loss here.
    """
    given = {name: value for name, value in user.items() if name != "class_weight"}
    params = {**(_metric_loss(data) if "loss" not in user else {}), **given}
    _check_loss(params["loss"], data.task)
    stray = {"binary": "epsilon", "regression": "class_weight"}.get(data.task)
    if stray in user:
        raise ConfigError(f"model.params must not name {stray}", why=f"it means nothing to a {data.task} task")
    return params


def _metric_loss(data: FitData) -> dict[str, Any]:
    if data.task == "binary":
        return {"loss": "log_loss"}
    if data.objective == "poisson":
        _refuse_metric("poisson", "a straight line goes below 0, where a Poisson mean cannot be")
    if data.objective == "pinball" and data.quantile != 0.5:
        _refuse_metric("pinball", f"scikit-learn's SGD has no loss whose best answer is the {data.quantile:g} quantile")
    if data.objective in ("mae", "wape", "pinball"):  # the median minimises all three
        return {"loss": "epsilon_insensitive", "epsilon": 0.0}
    return {"loss": "squared_error"}


def _refuse_metric(metric: str, why: str) -> None:
    fix = 'use [model] family = "lightgbm", or name a loss in [model] params that will do'
    raise ConfigError(f'family = "sgd" has no loss of its own for the metric {metric}', why=why, fix=fix)


def _check_loss(loss: Any, task: str) -> None:
    allowed = CLASSIFIER if task == "binary" else REGRESSOR
    if loss in allowed:
        return
    why = "its scores could not be compared with the champion's"
    if task == "binary" and loss in _NO_PROBABILITY:
        why = "a binary task is scored by probabilities, and this loss gives none"
    raise ConfigError(f"loss = {loss!r} does not fit a {task} task", why=why, fix=f"use one of {', '.join(allowed)}")
