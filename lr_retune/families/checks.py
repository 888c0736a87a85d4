"""What rows must be like before a library may train on them: libraries take nonsense in silence."""

from __future__ import annotations

import numpy as np

from lr_retune.errors import ConfigError, DataError
from lr_retune.records import FitData, Rows


def check_rows(data: FitData, *, least: int) -> None:
    """Refuse labels, weights and sizes that a library would train on without a word.

    Parameters
    ----------
    data
        What the fit would see.
    least
        Training rows that the family needs for anything but a constant.

    Raises
    ------
    DataError
        For too few rows, labels that are NaN, infinite or of one class, and weights no sum can be made of.
    """
    _check_sizes(data, least)
    for span, rows in (("train", data.train), ("valid", data.valid)):
        _check_labels(rows, span, data.task)
    if data.task == "binary" and len(np.unique(data.train.y)) < 2:
        raise DataError(
            f"all {len(data.train):,} training labels are {data.train.y[0]:g}",
            why="one class teaches nothing",
            fix="widen [window] train, or check the label column",
        )
    _check_weights(data.train.weight)


def _check_sizes(data: FitData, least: int) -> None:
    if len(data.train) < least:
        why = f"the family needs {least} to learn anything but a constant"
        raise DataError(f"only {len(data.train)} training rows", why=why, fix="widen [window] train")
    if not len(data.valid):
        raise DataError("no validation rows", why="early stopping has nothing to look at", fix="widen [window] valid")
    if data.train.x.shape[1] != data.valid.x.shape[1]:
        seen = f"train has {data.train.x.shape[1]} features, valid {data.valid.x.shape[1]}"
        raise DataError(seen, why="both must come from one contract")


def _check_labels(rows: Rows, span: str, task: str) -> None:
    with np.errstate(over="ignore"):
        bad = int(np.sum(~np.isfinite(rows.y.astype(np.float32))))  # LightGBM keeps labels as float32
    if bad:
        raise DataError(
            f"{bad} of {len(rows):,} {span} labels are missing, infinite or beyond float32",
            why="a fit on them gives nonsense without an error",
            fix="train on labelled rows only and check the label column",
        )
    if task == "binary" and (odd := np.setdiff1d(rows.y, (0.0, 1.0))).size:
        raise DataError(
            f"{span} has the label {odd[0]:g}", why="a binary label is 0 or 1", fix="check the label column"
        )


def _check_weights(weight: np.ndarray | None) -> None:
    if weight is None:
        return
    if not np.all(np.isfinite(weight)) or np.any(weight < 0) or not np.any(weight > 0):
        raise DataError(
            "training weights must be finite, not negative and not all 0",
            why=f"{int(np.sum(~(weight >= 0)))} are negative or missing, {int(np.sum(weight == 0))} are 0",
            fix="check the column named in [data] weight",
        )


def check_rate(learning_rate: float) -> None:
    """Refuse a rate that is no step.

    Raises
    ------
    ConfigError
        Unless 0 < learning_rate < infinity.
    """
    if not 0 < learning_rate < float("inf"):
        raise ConfigError(f"0 < learning_rate must hold and be finite, got {learning_rate}")


def check_constant(schedule: str, family: str) -> None:
    """Refuse a rate that changes over a fit, for a family whose rate cannot.

    Raises
    ------
    ConfigError
        Unless the schedule is ``constant``.
    """
    if schedule != "constant":
        fix = 'leave out [search] schedules, or set it to ["constant"]'
        raise ConfigError(
            f"family {family} has no schedule {schedule!r}", why="its rate is constant over a fit", fix=fix
        )


def constant_loss(data: FitData) -> float:
    """Curve loss on valid of the best constant learned on train."""
    return float(data.curve_loss(data.valid.y, np.full(len(data.valid), best_constant(data))))


def best_constant(data: FitData) -> float:
    """The constant with the lowest curve loss on train, of mean, median and the wanted quantile, honouring weights."""
    y, weight = data.train.y, data.train.weight
    mean = float(np.average(y, weights=weight))
    if data.task == "binary":
        return mean
    levels = [0.5, data.quantile]
    quantiles = np.quantile(y, levels, weights=weight, method="inverted_cdf")
    constants = [mean, *(float(q) for q in quantiles)]
    return min(constants, key=lambda constant: data.curve_loss(y, np.full(len(y), constant)))
