"""How often equal models pass in any of several looks: challengers on one range, one on more ticks, a year of weeks.

Every challenger is as good as the champion. Tick differences share half of their variance, which is the champion's
luck, and may be autocorrelated. A false PASS is a lower bound above the truth, by all legs of the paired comparison;
alpha is what `look_at` leaves. Printed: share of families with any false PASS, twice their standard error, and what is
stated; beside it the same with all of alpha at each look.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from scipy.special import stdtrit

from lr_retune.judge.legs import LEGS, cosines
from lr_retune.judge.looks import STATED, look_at
from lr_retune.judge.paired import Contrast
from lr_retune.records import Looked, Span, micros

REPLAYS, ALPHA, SHARED = 2000, 0.05, 0.5
START, DAY = datetime(2024, 1, 1, tzinfo=UTC), timedelta(days=1)
COUNTS, WEEKS = (1, 2, 5, 10, 20), (4, 13, 26, 52)
Asked = tuple[int, int, int]  # first tick, ticks, whose
Draw = Callable[[int], np.ndarray]  # (replays, ticks) of a challenger


def table(quick: bool) -> str:
    """Five families, each with independent and with autocorrelated ticks."""
    replays = 60 if quick else REPLAYS
    families = {
        "k challengers on one range, T = 14": ([(0, 14, k) for k in range(20)], COUNTS),
        "k challengers on one range, T = 28": ([(0, 28, k) for k in range(20)], COUNTS),
        "one challenger, from 28 ticks a week more at each of k looks": (
            [(0, 28 + 7 * k, 0) for k in range(20)],
            COUNTS,
        ),
        "a new challenger each week, newest 28 ticks, k weeks": ([(7 * k, 28, k) for k in range(52)], WEEKS),
        "the same challenger each week, newest 28 ticks, k weeks": ([(7 * k, 28, 0) for k in range(52)], WEEKS),
    }
    lines = []
    for title, (asked, counts) in families.items():
        lines += [title, "  correlation  alpha     " + "".join(f"{f'k = {k}':>14}" for k in counts)]
        for correlation in (0.0, 0.3):
            spent, naive = measured(asked, correlation, replays)
            lines.append(_row(f"{correlation:13.1f}  by look   ", spent, counts))
            lines.append(_row(f"{correlation:13.1f}  5 % each  ", naive, counts))
        lines += [
            f"  stated at most           {''.join(f'{_pct(min(1.0, stated(asked[:k]))):>14}' for k in counts)}",
            "",
        ]
    return "\n".join(lines)


def measured(asked: Sequence[Asked], correlation: float, replays: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """False PASSes ``(replays, looks)`` with the alpha of each look, and with all of it."""
    rng = np.random.default_rng(seed)
    last = max(start + ticks for start, ticks, _ in asked)
    champion, challengers = _ticks(rng, correlation, replays, last), {}
    spent = np.zeros((replays, len(asked)), dtype=bool)
    naive = np.zeros_like(spent)
    for n, ((start, ticks, who), alpha) in enumerate(zip(asked, alphas(asked), strict=True)):
        if who not in challengers:
            challengers = {who: _ticks(rng, correlation, replays, last)}  # earlier ones do not come back
        own = challengers[who][:, start : start + ticks]
        values = math.sqrt(SHARED) * champion[:, start : start + ticks] + math.sqrt(1 - SHARED) * own
        spent[:, n], naive[:, n] = passed(values, alpha), passed(values, ALPHA)
    return spent, naive


def alphas(asked: Sequence[Asked]) -> list[float]:
    """What the product lets each look spend, earlier ones being known."""
    past: list[Looked] = []
    found = []
    for start, ticks, who in asked:
        starts = [micros(START + DAY * t) for t in range(start, start + ticks)]
        found.append(look_at(starts, str(who), past, ALPHA).alpha)
        past.append(Looked(Span(START + DAY * start, START + DAY * (start + ticks)), str(who)))
    return found


def stated(asked: Sequence[Asked]) -> float:
    """The bounds of `lr_retune.judge.looks`: of one challenger, else of equally long ranges on so many ticks."""
    if len(asked) == 1:
        return ALPHA
    covered = max(start + ticks for start, ticks, _ in asked) / asked[0][1]
    return STATED * ALPHA * (1.0 if len({who for *_, who in asked}) == 1 else covered)


def passed(values: np.ndarray, alpha: float) -> np.ndarray:
    """Whether the lower bound of all legs lies above 0, for rows of ``(replays, ticks)``.

    The legs are the product's own; t and cosines are asked for all replays at once first, since few pass them.
    """
    ticks = values.shape[1]
    mean, centred = values.mean(axis=1), values - values.mean(axis=1, keepdims=True)
    se = values.std(axis=1, ddof=1) / math.sqrt(ticks)
    waves = min(cosines(ticks), ticks - 1)
    angle = np.pi / ticks * np.outer(np.arange(1, waves + 1), np.arange(ticks) + 0.5)
    slow = np.sqrt((2.0 / ticks * (centred @ np.cos(angle).T) ** 2).sum(axis=1) / (waves * ticks))
    found = (mean > stdtrit(ticks - 1.0, 1 - alpha) * se) & (mean > stdtrit(waves, 1 - alpha) * slow)
    equal = np.full(ticks, 1.0 / ticks)
    for row in np.flatnonzero(found):
        contrast = Contrast(float(mean[row]), values[row], equal)
        found[row] = all(leg(contrast, alpha).lower(alpha) > 0 for leg in LEGS.values())
    return found


def _ticks(rng: np.random.Generator, correlation: float, replays: int, ticks: int) -> np.ndarray:
    """Autoregressive noise of variance 1."""
    found = rng.normal(size=(replays, ticks))
    for t in range(1, ticks):
        found[:, t] = correlation * found[:, t - 1] + math.sqrt(1 - correlation**2) * found[:, t]
    return found


def _row(name: str, found: np.ndarray, counts: Sequence[int]) -> str:
    shares = [float(found[:, :k].any(axis=1).mean()) for k in counts]
    return name + "".join(f"{f'{100 * s:.1f} ± {200 * math.sqrt(s * (1 - s) / len(found)):.1f} %':>14}" for s in shares)


def _pct(share: float) -> str:
    return f"{100 * share:.3g} %"
