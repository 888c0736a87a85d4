"""Which fits stay in memory while a search goes on: the leaders."""

from __future__ import annotations

from lr_retune.records import Fits, Trial
from lr_retune.search.choose import ranked


def add(found: list[tuple[Trial, int]], trial: tuple[Trial, int], fits: Fits, *, keep: int = 2) -> None:
    """Append a trial and drop whichever fit is no longer among the ``keep`` best complete ones.

    The two lowest tell together how rough the curve is.
    """
    held = [handle for _, handle in ranked(found)[:keep]]
    found.append(trial)
    now = [handle for _, handle in ranked(found)[:keep]]
    for handle in (*held, trial[1]):
        if handle not in now:
            fits.drop(handle)
