"""Hindsight: the best schedule of the models that the walks trained, by dynamic programming."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lr_retune import steps
from lr_retune.metrics import loss_for
from lr_retune.records import Champion, Contract, Report, Span, micros
from lr_retune.replay.held import spans_of
from lr_retune.replay.table import Oracle, Table
from lr_retune.replay.walk import Walk, World


def hindsight(world: World, walked: Sequence[Walk], table: Table) -> Table:
    """The table with what hindsight would have reached, and how far above it each policy stays."""
    most = max(row.retrains for row in table.policies)
    found = best_schedules(*loss_matrix(world, walked), most)
    own = [_summed(world, each) for each in walked]
    least = [found[min(row.retrains, len(found) - 1)] for row in table.policies]
    above = [max(0.0, (mine / best - 1) * 100) if best > 0 else 0.0 for mine, best in zip(own, least, strict=True)]
    rows = [replace(row, oracle_pct=each) for row, each in zip(table.policies, above, strict=True)]
    return replace(table, policies=tuple(rows), oracle=Oracle(tuple(range(len(found))), tuple(found)))


def best_schedules(lost: np.ndarray, born: np.ndarray, most: int) -> list[float]:
    """The least loss with at most 0, 1, … ``most`` changes of the model.

    Parameters
    ----------
    lost
        Loss of model ``m`` on interval ``t``, as a share of all rows, shape ``(models, intervals)``; model 0 serves at
        the beginning.
    born
        First interval that a model may serve, shape ``(models,)``.

    Notes
    -----
    ``best[m]`` after interval ``t`` with ``r`` changes = lost[m, t] + min(best of m with r, best of any with r - 1).
    A change may go back to any model that is there, so that every policy is one of the schedules.
    """
    there = born[:, None] <= np.arange(lost.shape[1])[None, :]
    costs = np.where(there, lost, np.inf)
    before = np.full((most + 1, len(lost)), np.inf)
    before[:, 0] = 0.0
    for t in range(lost.shape[1]):
        changed = np.full_like(before, np.inf)
        if t:
            changed[1:] = before[:-1].min(axis=1, keepdims=True)
        before = costs[:, t] + np.minimum(before, changed)
    found: list[float] = np.minimum.accumulate(before.min(axis=1)).tolist()
    return found


def loss_matrix(world: World, walked: Sequence[Walk]) -> tuple[np.ndarray, np.ndarray]:
    """Every model that the walks trained, on all intervals from its birth on; see `best_schedules`."""
    models = _models(world, walked)
    lost = np.full((len(models), len(world.times) - 1), np.nan)
    born = np.array([start for start, _, _ in models.values()])
    for row, (digest, (start, family, contract)) in enumerate(models.items()):
        score_of = steps.load_model(world.config, family, world.cache.models.get(digest))
        rows = world.rows(contract, Span(world.times[start], world.times[-1]))
        lost[row, start:] = _by_interval(world, rows.time, rows.y, score_of.predict(rows.x), start)
    return lost / max(len(walked[0].y), 1), born


def _models(world: World, walked: Sequence[Walk]) -> Mapping[str, tuple[int, str, Contract]]:
    """Digest → first interval, family and contract; the first champion comes first."""
    first: Champion = world.first
    found = {first.model: (0, first.family, first.contract)}
    for each in walked:
        for n, report in enumerate(each.reports, start=1):
            if isinstance(report, Report) and report.result and report.plan and (made := report.result.served):
                found.setdefault(made.model, (n, report.result.family, report.plan.contract))
    return found


def _summed(world: World, walked: Walk) -> float:
    lost = _by_interval(world, walked.time, walked.y, walked.score, 0)
    return float(lost.sum() / max(len(walked.y), 1))


def _by_interval(world: World, time: np.ndarray, y: np.ndarray, score: np.ndarray, start: int) -> np.ndarray:
    """Loss times rows of each interval from ``start`` on; one that has no loss counts nothing."""
    loss = loss_for(world.config.metric)
    parts = spans_of(time, np.array([micros(at) for at in world.times[start:]]))
    lost = np.zeros(len(parts))
    for n, part in enumerate(parts):
        value = loss.value(y[part], score[part]) if part.stop > part.start else 0.0
        lost[n] = value * (part.stop - part.start) if math.isfinite(value) else 0.0
    return lost
