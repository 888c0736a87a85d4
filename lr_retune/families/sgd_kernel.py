"""One pass over the rows for K columns of weights: scikit-learn's plain SGD, compiled by numba.

Each column takes the steps of ``_plain_sgd`` in sklearn/linear_model/_sgd_fast.pyx and _weight_vector.pyx, in the same
order of operations, whatever columns run beside it. Compiled once per process, in about 2 CPU seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

from lr_retune.families.sgd_passes import LEAST_SCALE, STEEPEST

Code = TypeVar("Code", bound=Callable[..., Any])


def _compiled(function: Code) -> Code:
    """By numba without fastmath, which would reorder operations; kept on disk only where NUMBA_CACHE_DIR says."""
    kept = "NUMBA_CACHE_DIR" in os.environ  # else it would be the folder of the package
    return cast(Code, numba.njit(nogil=True, error_model="numpy", cache=kept)(function))


@_compiled
def walk(rows: Any, order: Any, how: Any, steps: Any, coef: Any, base: Any, t: float) -> None:
    """Take one step per row and column; ``coef``, ``base`` and the rates used are written."""
    starts, places, cells, dense, labels, weights = rows
    kind, epsilon, alpha, l1, shrinks, clips, average = how
    eta0, shapes, which, used, pull, work, scale, owed, paid = steps
    for place in range(len(order)):
        row = order[place]
        low, high = starts[row], starts[row + 1]
        here, values = places[0 if dense else low :], cells[low:high]
        _dot(work, here, values, coef[0])
        for k in range(len(eta0)):
            rate = eta0[k] * shapes[which[k], place]
            used[k, 0 if place == 0 else 1] = rate
            score = work[k] * scale[0, k] + base[k, 0]
            slope = _slope(kind, epsilon, labels[row], score)
            update = -rate * min(max(slope, -STEEPEST), STEEPEST) * weights[row]
            if shrinks:
                scale[0, k] *= max(0.0, 1.0 - (1.0 - l1) * rate * alpha)
                if scale[0, k] < LEAST_SCALE:
                    _multiply_out(coef[:, :, k], scale[:, k], average)
            work[k] = update / scale[0, k]
            base[k, 0] += update * pull
            owed[k] += l1 * rate * alpha
        _add(work, here, values, coef[0])
        if 0 < average <= t:
            for k in range(len(eta0)):
                work[k] *= -scale[1, k]
                _average(t - average + 1, base[k], scale[:, k])
            _add(work, here, values, coef[1])
        if clips:
            _clip(here, values, coef[0], scale, owed, paid)
        t += 1
    for k in range(len(eta0)):
        _multiply_out(coef[:, :, k], scale[:, k], average)


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
    """Inner loops run over columns, which lie side by side: compiled to vectors without a change of order."""
    for k in range(len(out)):
        out[k] = 0.0
    for j in range(len(values)):
        w, value = coef[places[j]], values[j]
        for k in range(len(out)):
            out[k] += w[k] * value


@_compiled
def _add(by: Any, places: Any, values: Any, coef: Any) -> None:
    for j in range(len(values)):
        w, value = coef[places[j]], values[j]
        for k in range(len(by)):
            w[k] += value * by[k]


@_compiled
def _average(now: float, base: Any, scale: Any) -> None:
    """Bottou's sparse average: Stochastic Gradient Descent Tricks (2012)."""
    if now > 1:
        scale[2] /= 1.0 - 1.0 / now
    scale[1] += 1.0 / now * scale[2] * scale[0]
    base[1] += (base[0] - base[1]) / now


@_compiled
def _clip(places: Any, values: Any, coef: Any, scale: Any, owed: Any, paid: Any) -> None:
    """Truncated gradient of the L1 penalty, Tsuruoka, Tsujii and Ananiadou (2009)."""
    for j in range(len(values)):
        w, due = coef[places[j]], paid[places[j]]
        for k in range(len(owed)):  # without branches, so that it is compiled to vectors
            old, size = w[k], scale[0, k]
            down, up = old - (owed[k] + due[k]) / size, old + (owed[k] - due[k]) / size
            down, up = down if down > 0.0 else 0.0, up if up < 0.0 else 0.0
            new = down if old > 0.0 else (up if old < 0.0 else old)
            due[k] += size * (new - old)
            w[k] = new


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
