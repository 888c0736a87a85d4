"""All gates over one challenger, and the losses behind their verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lr_retune.config import Config
from lr_retune.judge import beside
from lr_retune.judge.attribution import attribute, origin
from lr_retune.judge.corners import corners
from lr_retune.judge.origin import told
from lr_retune.metrics import Loss, loss_for
from lr_retune.records import Gate, HoldoutScores, Judgement, TuneResult, Verdict

_ARMS = ("champion", "challenger", "control", "fixed")


def judge_scores(scores: HoldoutScores, result: TuneResult, config: Config, gates: Sequence[Gate]) -> Judgement:
    """Ask every gate; add each arm's holdout loss, the challenger's promise and where a gain came from."""
    loss = loss_for(config.metric)
    arms = {name: values for name in _ARMS if (values := getattr(scores, name)) is not None}
    losses = {name: _value(loss, scores.y, values) for name, values in arms.items()}
    fits, weights = corners(scores, loss, same_rate=result.same_rate)
    apart = {name: arm for name, arm in fits.items() if not (result.same_rate and name == "challenger")}
    found = origin(apart, weights, alpha=config.gates.alpha / 2, seed_matters=result.seed_matters)
    return Judgement(
        verdicts=tuple(_ask(gate, scores, result, config) for gate in gates),
        losses=losses,
        challenger_ticks=tick_values(scores.y, scores.challenger, scores.tick, loss),
        attribution=attribute(losses, fits),
        origin=None if found is None else replace(found, told=told(found, same_rate=result.same_rate)),
        arms=beside.arms(scores, loss, config.gates.alpha),
        calibration=beside.calibration(scores) if config.task == "binary" else {},
        stretches=beside.stretches(scores, loss),
    )


def tick_values(y: np.ndarray, score: np.ndarray, tick: np.ndarray, loss: Loss) -> tuple[float, ...]:
    """Loss per tick in order of time, all arrays ``(n,)``; ticks where it is not defined are left out."""
    values = (_value(loss, y[rows], score[rows]) for rows in (tick == t for t in np.unique(tick)))
    return tuple(value for value in values if math.isfinite(value))


def _value(loss: Loss, y: np.ndarray, score: np.ndarray) -> float:
    return loss.value(y, score) if score.shape == y.shape else math.nan


def _ask(gate: Gate, scores: HoldoutScores, result: TuneResult, config: Config) -> Verdict:
    name = getattr(gate, "__name__", type(gate).__name__)
    try:
        verdict = gate(scores, result, config)
    except Exception as error:  # noqa: BLE001 a third party's gate may raise anything, and must not promote
        return Verdict(name, "LRR290", "ERROR", f"the gate raised {type(error).__name__}: {error}")
    if not isinstance(verdict, Verdict):
        return Verdict(name, "LRR290", "ERROR", f"the gate answered {type(verdict).__name__}, not a Verdict")
    return verdict
