"""What the log of served scores and the labels that arrived say about serving."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.records import Champion, Fault, Rows, Span, micros
from lr_retune.steps.rows import rows_per_tick
from lr_retune.stores.promotion import Stores
from lr_retune.watch.serving import selective_labels, serving_faults


def serving_of(
    config: Config, feed: Feed, stores: Stores, champion: Champion, span: Span, score: np.ndarray
) -> tuple[Fault, ...]:
    """Logged scores against the champion's own, on rows it served; a replayed champion never served any."""
    if champion.mode == "score_only":  # the log is the champion: nothing to hold it against
        return unlogged(score)
    logged = feed.logged(span, rows_per_tick(config, span)) if stores.shows else None
    if logged is None:
        return ()
    if logged.version is None:
        # servers load a new champion some time after it is promoted, and the log does not say when
        ours = logged.time > micros(stores.crowned(champion) + config.schedule.tick)
    else:
        ours = np.isin(logged.version.astype(str), [champion.model, str(champion.version)])
    return tuple(serving_faults(logged, score, ours, config.policy.min_rows))


def unlogged(score: np.ndarray) -> tuple[Fault, ...]:
    """Rows that count for nothing, as no score was logged that stands for the champion."""
    missing = int(np.isnan(score).sum())
    if not missing:
        return ()
    what = f"{missing:,} of {len(score):,} watched rows have no logged score; they are left out of every loss"
    return (Fault("unlogged_scores", None, what, "log a score for every row that the champion serves", matters=False),)


def selective(config: Config, rows: Rows, score: np.ndarray, horizon: datetime | None) -> tuple[Fault, ...]:
    """Whether labels arrive for some scores and not for others."""
    if horizon is None:
        return ()
    complete = rows.time < micros(horizon)
    return tuple(selective_labels(score[complete], ~np.isnan(rows.y[complete]), config.policy.min_rows))
