"""The ranking that is watched beside a proper loss, where positives are rare."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from lr_retune.config import Config, Metric
from lr_retune.judge.judgement import tick_values
from lr_retune.metrics import Loss, loss_for
from lr_retune.records import LossEvidence, Rows
from lr_retune.watch.series import evidence, tick_losses

RARE = 0.05  # share of positives below which the ranking is watched beside the loss


def ranking_of(config: Config, held: Rows) -> Loss | None:
    """The ranking to watch beside a proper loss, where positives are rare."""
    known = held.labelled().y
    rare = config.task == "binary" and len(known) > 0 and float(known.mean()) < RARE
    return loss_for(Metric(name="pr_auc")) if rare and not loss_for(config.metric).ranks else None


def ranked(
    config: Config,
    loss: Loss,
    held: tuple[Rows, np.ndarray],
    now: tuple[Rows, np.ndarray],
    calendar: np.ndarray,
    horizon: datetime | None,
) -> LossEvidence | None:
    """Evidence on the ranking."""
    (rows, score), known = held, ~np.isnan(held[0].y)
    promised = tick_values(rows.y[known], score[known], rows.tick[known], loss)
    whole = loss.value(rows.y[known], score[known])
    return evidence(tick_losses(*now, loss, calendar, horizon), whole, promised, config.policy, signals=2)
