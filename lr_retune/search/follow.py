"""A refit right after a change: as many steps as before, since no rows can be spared to stop by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lr_retune.records import Cost, Family, FitData, Rows, SearchOptions, Trial
from lr_retune.search.arm import Arm, Found, Named, averaged
from lr_retune.search.arms import Arms
from lr_retune.search.live import Live

NEWEST = 0.1  # share of train whose loss is told in place of valid's
MOST = 2.0  # times more or fewer steps for other rows


def follow(family: Family, data: FitData, options: SearchOptions, old: Named, steps: int, rows: int) -> Arms:
    """Fit the champion's rate and schedule on all rows, for the champion's steps.

    Parameters
    ----------
    data
        Its valid rows are empty; the newest of train stand in where a loss is told, and nothing is chosen by it.
    steps, rows
        Of the champion. Where steps are served, as trees are, more rows bear more of them in proportion; else fewer
        rows need more passes. Between half and twice as many are taken, and no more than ``options.max_steps``.
    """
    ratio = len(data.train) / max(rows, 1)
    ratio = min(max(ratio if family.steps_are_served else 1 / max(ratio, 1e-9), 1 / MOST), MOST)
    count = min(max(1, round(steps / len(old.parts) * ratio)), options.max_steps)
    fits = Live(family.start(replace(data, valid=newest(data.train)), seed=options.seed))
    found = [_fitted(fits, part, number, count, options) for number, part in enumerate(old.parts)]
    arm = averaged(fits, found, len(found), options) if len(found) > 1 else Arm(found[0][0], (found[0],))
    work = sum((trial.cost for trial, _ in found), Cost())
    trials = [trial for trial, _ in found] + ([arm.trial] if len(found) > 1 else [])
    made = arm.made(fits)
    return Arms(
        trials=tuple(trials),
        models={"challenger": made, "control": made},
        cost={"search": Cost(), "control": work, "fixed": Cost()},
        same_rate=True,
        reason=f"right after a change nothing is held back to stop by: {count} steps, from the champion's {steps}",
    )


def _fitted(fits: Live, name: tuple[float, str], number: int, steps: int, options: SearchOptions) -> Found:
    handle = fits.add(*name)
    curve = tuple(float(value) for value in fits.advance([handle], steps)[0])
    cost = Cost(1, len(curve), len(curve) * fits.train_rows)
    loss = options.loss(fits.score(handle, len(curve)))
    note = "on the newest rows of train, which it has seen"
    return Trial(number, "control", *name, loss, len(curve), "complete", curve, cost, note), handle


def newest(train: Rows) -> Rows:
    """The rows on which a loss is told where none are held back."""
    return train.take(np.arange(len(train) - max(1, round(NEWEST * len(train))), len(train)))
