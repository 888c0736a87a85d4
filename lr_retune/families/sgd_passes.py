"""Many fits in one pass over the rows: how their weights, rates and averages lie in memory, whatever walks the rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from lr_retune.families.sgd_params import ALPHA, CLASSIFIER

VECTOR = 4  # numbers that a processor adds at once: columns are padded to whole vectors
LOSSES = {"log_loss": 0, "modified_huber": 1, "squared_error": 2, "huber": 3, "epsilon_insensitive": 4}
STEEPEST = 1e12  # MAX_DLOSS of scikit-learn: slopes are clipped to it
LEAST_SCALE = 1e-9  # a smaller scale is multiplied out into its weights
_SPARSE_PULL = 0.01  # SPARSE_INTERCEPT_DECAY

Weights = tuple[np.ndarray, np.ndarray]  # coef and intercept as scikit-learn shapes them
Walk = Callable[[Any, np.ndarray, Any, Any, np.ndarray, np.ndarray, float], None]


@dataclass(slots=True)
class Column:
    """One fit between epochs: its weights, and their average over all steps."""

    coef: np.ndarray  # (2, n_columns)
    intercept: np.ndarray  # (2,)


@dataclass(frozen=True, slots=True)
class Rates:
    """The rate of each column at each row: its own ``eta0`` times a shape that columns may share."""

    eta0: np.ndarray  # (n_fits,)
    shapes: np.ndarray  # (n_shapes, n_rows)
    which: np.ndarray  # (n_fits,), int64: a row of shapes


class Passes:
    """Passes over the same rows, each for all columns that have seen as many epochs.

    Parameters
    ----------
    walk
        What takes the steps, row by row: compiled or not.
    params
        scikit-learn's parameters of the estimator, without the rate.
    x
        A dense or CSR matrix of float64.
    y, weight
        Labels (0 and 1 for classes) and weights of its rows.
    """

    def __init__(self, walk: Walk, params: Mapping[str, Any], x: Any, y: np.ndarray, weight: np.ndarray) -> None:
        penalty = params.get("penalty", "l2")
        ratio = {"l1": 1.0, "elasticnet": params.get("l1_ratio", 0.15) or 0.0}.get(penalty, 0.0)
        self._walk, self._width, self._classes = walk, x.shape[1], params["loss"] in CLASSIFIER
        self._clips = penalty in ("l1", "elasticnet")
        self._pull = float(bool(params.get("fit_intercept", True))) * (_SPARSE_PULL if sparse.issparse(x) else 1.0)
        self._average = int(params.get("average", False))
        loss = (LOSSES[params["loss"]], float(params.get("epsilon", 0.1)))
        shrinks = penalty in ("l2", "elasticnet")
        self._how = (*loss, float(params.get("alpha", ALPHA)), float(ratio), shrinks, self._clips, self._average)
        labels = np.where(y > 0, 1.0, -1.0) if params["loss"] == "modified_huber" else y
        self._rows = (*_cells(x), labels, weight)

    def column(self) -> Column:
        """A fit that has learned nothing."""
        return Column(np.zeros((2, self._width)), np.zeros(2))

    def epoch(
        self, columns: Sequence[Column], rates: Rates, order: np.ndarray, done: int
    ) -> tuple[list[Weights | None], np.ndarray]:
        """Teach each column the rows once more.

        Parameters
        ----------
        columns, rates
            The fits, which are changed, and their rates.
        order
            All rows, in the order they are taken.
        done
            Epochs that the columns have seen.

        Returns
        -------
        tuple of list and numpy.ndarray
            Coefficients and intercept of each fit as an estimator would hold them (None where a weight is not finite
            any more), and the rates of its first and last step, shape ``(n_fits, 2)``.
        """
        count, padded = len(columns), -(-len(columns) // VECTOR) * VECTOR
        coef = np.zeros((2, self._width, padded))
        for k, column in enumerate(columns):
            coef[:, :, k] = column.coef
        base = np.array([column.intercept for column in columns])
        begun, used = base[:, 0].copy(), np.zeros((count, 2))
        scale = np.repeat([[1.0], [0.0], [1.0]], count, axis=1)  # wscale, average_a, average_b
        paid = np.zeros((self._width if self._clips else 0, padded))
        room = (np.zeros(padded), scale, np.zeros(count), paid)
        steps = (rates.eta0, rates.shapes, rates.which, used, self._pull, *room)
        self._walk(self._rows, order, self._how, steps, coef, base, 1.0 + done * len(order))
        for k, column in enumerate(columns):
            column.coef, column.intercept = coef[:, :, k].copy(), base[k].copy()
        averaged = int(0 < self._average <= (done + 1) * len(order))
        found = [self._weights(column, averaged) for column in columns]
        if averaged and self._classes:
            # scikit-learn's classifier forgets the plain intercept between calls of partial_fit once it averages.
            for column, intercept in zip(columns, begun, strict=True):
                column.intercept[0] = intercept
        return found, used

    def _weights(self, column: Column, averaged: int) -> Weights | None:
        """Only the plain weights are looked at, as in scikit-learn: an average of finite numbers is finite."""
        if not (np.isfinite(column.coef[0]).all() and np.isfinite(column.intercept[0])):
            return None
        coef = column.coef[averaged].copy()
        return coef[None] if self._classes else coef, column.intercept[averaged : averaged + 1].copy()


def _cells(x: Any) -> tuple[Any, ...]:
    """Where each row starts, the column of each cell (of one row, where all are alike), the cells, which of both."""
    if sparse.issparse(x):
        return x.indptr.astype(np.int64), x.indices.astype(np.int64), x.data, False
    return np.arange(x.shape[0] + 1) * x.shape[1], np.arange(x.shape[1]), np.ascontiguousarray(x).ravel(), True
