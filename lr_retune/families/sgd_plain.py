"""One pass over the rows for K columns of weights, by NumPy: where numba cannot be imported.

The steps of ``sgd_kernel.walk`` with the same numbers but for the order of sums, some twenty times slower.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lr_retune.families.sgd_passes import LEAST_SCALE, STEEPEST


def walk(rows: Any, order: np.ndarray, how: Any, steps: Any, coef: np.ndarray, base: np.ndarray, t: float) -> None:
    """Take one step per row for all columns; ``coef``, ``base`` and the rates used are written."""
    starts, places, cells, dense, labels, weights = rows
    kind, epsilon, alpha, l1, shrinks, clips, average = how
    eta0, shapes, which, used, pull, _, scale, owed, paid = steps
    count = len(eta0)
    w, mean = coef[:, :, :count]
    for place, row in enumerate(order):
        low, high = starts[row], starts[row + 1]
        here, values = slice(None) if dense else places[low:high], cells[low:high]
        rate = eta0 * shapes[which, place]
        used[:, 0 if place == 0 else 1] = rate
        # Sums down whole padded columns: a product of matrices would add in an order that hangs on their number.
        score = (values[:, None] * coef[0][here]).sum(axis=0)[:count] * scale[0] + base[:, 0]
        slope = np.clip(_slope(kind, epsilon, labels[row], score), -STEEPEST, STEEPEST)
        update = -rate * slope * weights[row]
        if shrinks:
            scale[0] *= np.maximum(0.0, 1.0 - (1.0 - l1) * rate * alpha)
            for k in map(int, np.flatnonzero(scale[0] < LEAST_SCALE)):
                _multiply_out(w[:, k], mean[:, k], scale[:, k], average)
        step = update / scale[0]
        w[here] += np.multiply.outer(values, step)
        base[:, 0] += update * pull
        owed += l1 * rate * alpha
        if 0 < average <= t:
            mean[here] += np.multiply.outer(values, step * -scale[1])
            _average(t - average + 1, base, scale)
        if clips:
            _clip(w, here, scale[0], owed, paid[:, :count])
        t += 1
    for k in range(count):
        _multiply_out(w[:, k], mean[:, k], scale[:, k], average)


def _slope(kind: int, epsilon: float, y: float, p: np.ndarray) -> Any:
    """Derivative of the loss with regard to the scores; see the kernel."""
    if kind == 0:
        tail = np.exp(-np.maximum(p, -37.0))
        return np.where(p > -37.0, ((1.0 - y) - y * tail) / (1.0 + tail), np.exp(np.minimum(p, 0.0)) - y)
    if kind == 1:
        z = p * y
        return np.where(z >= 1.0, 0.0, np.where(z >= -1.0, 2.0 * (1.0 - z) * -y, -4.0 * y))
    off = p - y
    if kind == 2:
        return np.asarray(off)
    if kind == 3:
        return np.where(np.abs(off) <= epsilon, off, np.where(off >= 0, epsilon, -epsilon))
    return np.where(off > epsilon, 1.0, np.where(-off > epsilon, -1.0, 0.0))


def _average(now: float, base: np.ndarray, scale: np.ndarray) -> None:
    if now > 1:
        scale[2] /= 1.0 - 1.0 / now
    scale[1] += 1.0 / now * scale[2] * scale[0]
    base[:, 1] += (base[:, 0] - base[:, 1]) / now


def _clip(w: np.ndarray, here: Any, scale: np.ndarray, owed: np.ndarray, paid: np.ndarray) -> None:
    old, due = w[here], paid[here]
    sign = scale * old
    new = np.where(sign > 0.0, np.maximum(0.0, old - (owed + due) / scale), old)
    new = np.where(sign < 0.0, np.minimum(0.0, old + (owed - due) / scale), new)
    paid[here] = due + scale * (new - old)  # first: for dense rows ``old`` is a view
    w[here] = new


def _multiply_out(w: np.ndarray, mean: np.ndarray, scale: np.ndarray, average: int) -> None:
    if average > 0:
        mean[:] = (mean + scale[1] * w) * (1.0 / scale[2])
        scale[1], scale[2] = 0.0, 1.0
    w *= scale[0]
    scale[0] = 1.0
