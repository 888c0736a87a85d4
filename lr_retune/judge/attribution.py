"""Where a gain came from: fresh data, or the new learning rate."""

from __future__ import annotations

import math
from collections.abc import Mapping

_STEPS = {"total": ("champion", "challenger"), "data": ("champion", "control"), "rate": ("control", "challenger")}


def attribute(losses: Mapping[str, float]) -> dict[str, float | None]:
    """Relative gains, each a share of the champion's loss; total = data + rate.

    Parameters
    ----------
    losses
        Arm → holdout loss. ``control`` is the champion's rate on the challenger's data. A gain whose arms are
        missing, or a champion without loss, gives None.

    Examples
    --------
    >>> attribute({"champion": 1.0, "control": 0.75, "challenger": 0.5})
    {'total': 0.5, 'data': 0.25, 'rate': 0.25}
    """
    base = losses.get("champion", math.nan)
    return {name: _gain(losses.get(a, math.nan), losses.get(b, math.nan), base) for name, (a, b) in _STEPS.items()}


def _gain(before: float, after: float, base: float) -> float | None:
    gain = (before - after) / base if base > 0 else math.nan
    return gain if math.isfinite(gain) else None
