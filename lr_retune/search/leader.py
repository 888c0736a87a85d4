"""Which fits stay in memory while a search goes on: the leader's alone."""

from __future__ import annotations

from lr_retune.records import Fits, Trial
from lr_retune.search.choose import best


def add(found: list[tuple[Trial, int]], trial: tuple[Trial, int], fits: Fits) -> None:
    """Append a trial and drop the fit that has lost: the new one, or the leader until now."""
    leader = best(found)
    found.append(trial)
    now = best(found)
    for loser in (leader, trial):
        if loser is not None and loser is not now:
            fits.drop(loser[1])
