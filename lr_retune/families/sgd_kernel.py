"""Many rates in one pass over the rows: scikit-learn's plain SGD for K columns of weights, compiled by numba.

Each column takes the steps of ``_plain_sgd`` in sklearn/linear_model/_sgd_fast.pyx and _weight_vector.pyx, in the same
order of operations, whatever columns run beside it. Compiled once per process, in about 2 CPU seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import numba
import numpy as np
from scipy import sparse

from lr_retune.families.sgd_params import CLASSIFIER

LOSSES = {"log_loss": 0, "modified_huber": 1, "squared_error": 2, "huber": 3, "epsilon_insensitive": 4}
_BLOCK = 4  # columns whose sums are built together
_SPARSE_PULL = 0.01  # SPARSE_INTERCEPT_DECAY
_STEEPEST = 1e12  # MAX_DLOSS: slopes are clipped to it
_LEAST_SCALE = 1e-9  # a smaller scale is multiplied out into its weights

Code = TypeVar("Code", bound=Callable[..., Any])
Weights = tuple[np.ndarray, np.ndarray]  # coef and intercept as scikit-learn shapes them


def _compiled(function: Code) -> Code:
    """By numba without fastmath, which would reorder operations; kept on disk only where NUMBA_CACHE_DIR says."""
    kept = "NUMBA_CACHE_DIR" in os.environ  # else it would be the folder of the package
    return cast(Code, numba.njit(nogil=True, error_model="numpy", cache=kept)(function))


@dataclass(slots=True)
class Column:
    """One fit between epochs: its weights, and their average over all steps."""

    coef: np.ndarray  # (2, n_columns)
    intercept: np.ndarray  # (2,)


class Kernel:
    """One pass for all columns that have seen as many epochs.

    Parameters
    ----------
    params
        scikit-learn's parameters of the estimator, without the rate.
    width
        Columns of the matrix.
    """

    def __init__(self, params: Mapping[str, Any], width: int) -> None:
        penalty = params.get("penalty", "l2")
        ratio = {"l1": 1.0, "elasticnet": params.get("l1_ratio", 0.15) or 0.0}.get(penalty, 0.0)
        self._width = width
        self._classes, self._sides = params["loss"] in CLASSIFIER, params["loss"] == "modified_huber"
        self._shrinks, self._clips = penalty in ("l2", "elasticnet"), penalty in ("l1", "elasticnet")
        self._alpha, self._l1 = float(params.get("alpha", 1e-4)), float(ratio)
        self._pull = float(bool(params.get("fit_intercept", True)))
        self._average = int(params.get("average", False))
        loss = (LOSSES[params["loss"]], float(params.get("epsilon", 0.1)))
        self._how = (*loss, self._shrinks, self._clips, self._average)

    def column(self) -> Column:
        """A fit that has learned nothing."""
        return Column(np.zeros((2, self._width)), np.zeros(2))

    def epoch(
        self,
        columns: Sequence[Column],
        rates: Sequence[float],
        rows: tuple[Any, np.ndarray, np.ndarray],
        done: int,
    ) -> list[Weights | None]:
        """Teach each column the rows once more.

        Parameters
        ----------
        columns, rates
            The fits, which are changed, and their rates.
        rows
            A dense or CSR matrix of float64, labels (0 and 1 for classes) and weights, in the order they are taken.
        done
            Epochs that the columns have seen.

        Returns
        -------
        list
            Coefficients and intercept of each fit as an estimator would hold them; None where a weight is not
            finite any more.
        """
        coef = np.zeros((2, -(-len(columns) // _BLOCK), self._width, _BLOCK))
        for k, column in enumerate(columns):
            coef[:, k // _BLOCK, :, k % _BLOCK] = column.coef
        base = np.array([column.intercept for column in columns])
        begun, count = base[:, 0].copy(), len(rows[1])
        steps = self._steps(rates, self._pull * _SPARSE_PULL if sparse.issparse(rows[0]) else self._pull)
        _epoch(self._cells(*rows), self._how, steps, coef, base, 1.0 + done * count)
        for k, column in enumerate(columns):
            column.coef, column.intercept = coef[:, k // _BLOCK, :, k % _BLOCK].copy(), base[k].copy()
        averaged = int(0 < self._average <= (done + 1) * count)
        found = [self._weights(column, averaged) for column in columns]
        if averaged and self._classes:
            # scikit-learn's classifier forgets the plain intercept between calls of partial_fit once it averages.
            for column, intercept in zip(columns, begun, strict=True):
                column.intercept[0] = intercept
        return found

    def _weights(self, column: Column, averaged: int) -> Weights | None:
        """Only the plain weights are looked at, as in scikit-learn: an average of finite numbers is finite."""
        if not (np.isfinite(column.coef[0]).all() and np.isfinite(column.intercept[0])):
            return None
        coef = column.coef[averaged].copy()
        return coef[None] if self._classes else coef, column.intercept[averaged : averaged + 1].copy()

    def _cells(self, x: Any, y: np.ndarray, weight: np.ndarray) -> tuple[Any, ...]:
        """Where each row starts, the column of each cell (of one row, where all are alike), the cells, and so on."""
        labels = np.where(y > 0, 1.0, -1.0) if self._sides else y
        if sparse.issparse(x):
            return x.indptr.astype(np.int64), x.indices.astype(np.int64), x.data, False, labels, weight
        starts = np.arange(len(y) + 1) * self._width
        return starts, np.arange(self._width), np.ascontiguousarray(x).ravel(), True, labels, weight

    def _steps(self, rates: Sequence[float], pull: float) -> tuple[Any, ...]:
        """What a step of each column is made of, and room to work in."""
        rate = np.array(rates, dtype=np.float64)
        shrink = np.maximum(0.0, 1.0 - (1.0 - self._l1) * rate * self._alpha)
        scale = np.tile([1.0, 0.0, 1.0], (len(rate), 1))  # wscale, average_a, average_b
        work = np.zeros((-(-len(rate) // _BLOCK), _BLOCK))  # scores, then steps
        paid = np.zeros((len(rate), self._width if self._clips else 0))
        return rate, shrink, self._l1 * rate * self._alpha, pull, work, scale, np.zeros_like(rate), paid


# ── compiled ──────────────────────────────────────────────────────────────────────────────────────
@_compiled
def _epoch(rows: Any, how: Any, steps: Any, coef: Any, base: Any, t: float) -> None:
    starts, places, cells, dense, labels, weights = rows
    kind, epsilon, shrinks, clips, average = how
    rate, shrink, owes, pull, work, scale, owed, paid = steps
    for row in range(len(labels)):
        low, high = starts[row], starts[row + 1]
        here, values = places[0 if dense else low :], cells[low:high]
        _dot(work, here, values, coef[0])
        for k in range(len(rate)):
            score = work[k // _BLOCK, k % _BLOCK] * scale[k, 0] + base[k, 0]
            slope = _slope(kind, epsilon, labels[row], score)
            update = -rate[k] * min(max(slope, -_STEEPEST), _STEEPEST) * weights[row]
            if shrinks:
                scale[k, 0] *= shrink[k]
                if scale[k, 0] < _LEAST_SCALE:
                    _multiply_out(coef[:, k // _BLOCK, :, k % _BLOCK], scale[k], average)
            work[k // _BLOCK, k % _BLOCK] = update / scale[k, 0]
            base[k, 0] += update * pull
        _add(work, here, values, coef[0])
        if 0 < average <= t:
            for k in range(len(rate)):
                work[k // _BLOCK, k % _BLOCK] *= -scale[k, 1]
                _average(t - average + 1, base[k], scale[k])
            _add(work, here, values, coef[1])
        if clips:
            for k in range(len(rate)):
                owed[k] += owes[k]
                _clip(here, values, coef[0, k // _BLOCK, :, k % _BLOCK], scale[k, 0], owed[k], paid[k])
        t += 1
    for k in range(len(rate)):
        _multiply_out(coef[:, k // _BLOCK, :, k % _BLOCK], scale[k], average)


@_compiled
def _slope(kind: int, epsilon: float, y: float, p: float) -> float:
    """Derivative of the loss with regard to the score, as in _sgd_fast.pyx and _loss.pyx."""
    if kind == 0:
        if p > -37.0:
            tail = np.exp(-p)
            return ((1.0 - y) - y * tail) / (1.0 + tail)  # type: ignore[no-any-return]
        return np.exp(p) - y  # type: ignore[no-any-return]
    if kind == 1:
        z = p * y
        if z >= 1.0:
            return 0.0
        return 2.0 * (1.0 - z) * -y if z >= -1.0 else -4.0 * y
    off = p - y
    if kind == 2 or (kind == 3 and abs(off) <= epsilon):
        return off
    if kind == 3:
        return epsilon if off >= 0 else -epsilon
    return 1.0 if off > epsilon else (-1.0 if -off > epsilon else 0.0)


@_compiled
def _dot(out: Any, places: Any, values: Any, coef: Any) -> None:
    """Four sums at a time, written out: the compiler keeps them in registers only where they are no array."""
    for g in range(len(coef)):
        a = b = c = d = 0.0
        for j in range(len(values)):
            w, value = coef[g, places[j]], values[j]
            a += w[0] * value
            b += w[1] * value
            c += w[2] * value
            d += w[3] * value
        out[g, 0], out[g, 1], out[g, 2], out[g, 3] = a, b, c, d


@_compiled
def _add(by: Any, places: Any, values: Any, coef: Any) -> None:
    for g in range(len(coef)):
        a, b, c, d = by[g, 0], by[g, 1], by[g, 2], by[g, 3]
        for j in range(len(values)):
            w, value = coef[g, places[j]], values[j]
            w[0] += value * a
            w[1] += value * b
            w[2] += value * c
            w[3] += value * d


@_compiled
def _average(now: float, base: Any, scale: Any) -> None:
    """Bottou's sparse average: Stochastic Gradient Descent Tricks (2012)."""
    if now > 1:
        scale[2] /= 1.0 - 1.0 / now
    scale[1] += 1.0 / now * scale[2] * scale[0]
    base[1] += (base[0] - base[1]) / now


@_compiled
def _clip(places: Any, values: Any, w: Any, scale: float, owed: float, paid: Any) -> None:
    """Truncated gradient of the L1 penalty, Tsuruoka, Tsujii and Ananiadou (2009)."""
    for j in range(len(values)):
        f = places[j]
        old = w[f]
        if scale * old > 0.0:
            w[f] = max(0.0, old - (owed + paid[f]) / scale)
        elif scale * old < 0.0:
            w[f] = min(0.0, old + (owed - paid[f]) / scale)
        paid[f] += scale * (w[f] - old)


@_compiled
def _multiply_out(w: Any, scale: Any, average: int) -> None:
    """Weights without their scale; see reset_wscale."""
    for f in range(w.shape[1]):
        if average > 0:
            w[1, f] = (w[1, f] + scale[1] * w[0, f]) * (1.0 / scale[2])
        w[0, f] *= scale[0]
    scale[0] = 1.0
    if average > 0:
        scale[1], scale[2] = 0.0, 1.0
