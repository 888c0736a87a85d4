"""Where a gain came from: fresh data, the new learning rate, or the luck of a seed.

Four corners, old or new rows by old or new rate, each a bundle of fits by seed. A fit's seed moves its loss on all
ticks alike, so more ticks do not average it away: the error has a tick part and a seed part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lr_retune.judge.paired import Contrast, StudentT, cr2_t
from lr_retune.records import Effect, Origin

SEEDS = 3  # fits of an arm, at least, before anything is claimed of a rate
MANY = 1000  # seeds that nobody will fit
POWER = 2.8  # z of .975 and of .8: an effect of so many standard errors is told 4 times in 5
_OLD, _DATA, _BOTH, _RATE = "champion", "control", "challenger", "old_rows"
EFFECTS: dict[str, dict[str, float]] = {
    "data": {_OLD: 1.0, _DATA: -1.0},  # fresh rows at the old rate
    "rate": {_DATA: 1.0, _BOTH: -1.0},  # the new rate on fresh rows
    "data_at_new_rate": {_RATE: 1.0, _BOTH: -1.0},
    "rate_on_old_rows": {_OLD: 1.0, _RATE: -1.0},
    "data_main": {_OLD: 0.5, _RATE: 0.5, _DATA: -0.5, _BOTH: -0.5},
    "rate_main": {_OLD: 0.5, _DATA: 0.5, _RATE: -0.5, _BOTH: -0.5},
    "interaction": {_DATA: 1.0, _BOTH: -1.0, _OLD: -1.0, _RATE: 1.0},
}


@dataclass(frozen=True, slots=True)
class Arm:
    """Fits of one corner that differ by seed alone."""

    losses: np.ndarray  # (seeds,) on the holdout
    ticks: np.ndarray  # (seeds, ticks) the same by tick: means, or jackknife pseudo-values of a pooled metric


def attribute(losses: Mapping[str, float], arms: Mapping[str, Arm]) -> dict[str, float | None]:
    """Relative gains, each a share of the champion's loss; total = data + rate + luck.

    Total is of the very models that may be exchanged. Where arms were fitted by several seeds, data and rate are of
    their means, and luck is what the seeds of these models add.

    Parameters
    ----------
    losses
        By corner, of the judged fits. A gain whose arms are missing, or a champion without loss, gives None.
    arms
        By corner, the fits that tell what data and rate brought.

    Examples
    --------
    >>> losses = {"champion": 1.0, "control": 0.75, "challenger": 0.5}
    >>> attribute(losses, {name: Arm(np.array([loss]), np.empty((1, 0))) for name, loss in losses.items()})
    {'total': 0.5, 'data': 0.25, 'rate': 0.25}
    """
    mean = {name: float(arm.losses.mean()) for name, arm in arms.items()}
    base = losses.get(_OLD, math.nan)
    found = {"total": _gain({_OLD: 1.0, _BOTH: -1.0}, losses, base)}
    found |= {name: _gain(EFFECTS[name], mean, base) for name in ("data", "rate")}
    if any(len(arm.losses) > 1 for arm in arms.values()):
        total, data, rate = (math.nan if gain is None else gain for gain in found.values())
        luck = total - data - rate
        found["luck"] = luck if math.isfinite(luck) else None
    return found


def _gain(parts: Mapping[str, float], losses: Mapping[str, float], base: float) -> float | None:
    gain = sum(k * losses.get(name, math.nan) for name, k in parts.items()) / base if base > 0 else math.nan
    return gain if math.isfinite(gain) else None


@np.errstate(all="ignore")
def origin(
    arms: Mapping[str, Arm], weights: np.ndarray, *, alpha: float = 0.05, seed_matters: bool | None = None
) -> Origin | None:
    """Every effect of the four corners that the arms allow, with its interval and whether it is a finding.

    The variance of a contrast Σ k_c L_c is that of its tick series, averaged over seeds, plus s² Σ k_c² / S_c, where
    s² is the variance between seeds pooled over arms; degrees of freedom are Satterthwaite's (1946). The tick part is
    the wider of CR2-t and of cosines (Lazarus et al. 2018). What seeds and ticks share is counted twice: wider.

    Parameters
    ----------
    arms
        By corner; ``champion`` is a must. Those with 3 seeds or more may be claimed about.
    weights
        Share of each tick, ``(ticks,)``.
    alpha
        One-sided level of either end.
    seed_matters
        False: training leaves nothing to chance, and ticks are all there is. None: not known.
    """
    base = float(arms[_OLD].losses[0]) if _OLD in arms else math.nan
    if not base > 0 or len(weights) < 2:
        return None
    variance, df = (0.0, math.inf) if seed_matters is False else _seeds(arms)
    seeds = min((len(arms[name].losses) for name in (_DATA, _BOTH) if name in arms), default=1)
    error = _Error(weights, base, alpha, variance, df, seed_matters is False or seeds >= SEEDS)
    effects = {name: _effect(k, arms, error) for name, k in EFFECTS.items() if k.keys() <= arms.keys()}
    return Origin(
        effects=effects,
        seeds=seeds,
        ticks=len(weights),
        seed_matters=seed_matters,
        seed_sd=math.sqrt(variance) / base if math.isfinite(variance) else None,
        seeds_needed=_needed(effects["rate"], seeds) if "rate" in effects and seed_matters is not False else None,
    )


@dataclass(frozen=True, slots=True)
class _Error:
    """What every effect's error is made of."""

    weights: np.ndarray  # (ticks,)
    base: float
    alpha: float
    variance: float  # of a fit's loss between seeds; NaN: not known
    df: float
    enough: bool  # seeds stand behind what is claimed


def _seeds(arms: Mapping[str, Arm]) -> tuple[float, float]:
    """Variance between seeds, pooled over arms, and its degrees of freedom; infinite where no arm has two."""
    df = sum(len(arm.losses) - 1 for arm in arms.values())
    if not df:
        return math.nan, 0.0
    return sum(float(((arm.losses - arm.losses.mean()) ** 2).sum()) for arm in arms.values()) / df, float(df)


def _effect(parts: Mapping[str, float], arms: Mapping[str, Arm], error: _Error) -> Effect:
    estimate = sum(k * float(arms[c].losses.mean()) for c, k in parts.items())
    series = np.sum([k * arms[c].ticks.mean(axis=0) for c, k in parts.items()], axis=0)
    contrast = Contrast(estimate, series, error.weights)
    seeds = error.variance * sum(k**2 / len(arms[c].losses) for c, k in parts.items())
    seeds = seeds if math.isfinite(seeds) else 0.0  # not known: ticks alone, and nothing is claimed
    legs = [cr2_t(contrast), cosine_t(contrast)]
    width = float(np.max([_with(leg, seeds, error.df).half_width(error.alpha) for leg in legs]))
    gain, width = estimate / error.base, width / error.base
    if not math.isfinite(gain) or not width > 1e-12:
        return Effect(gain if math.isfinite(gain) else None)
    return Effect(
        gain,
        gain - width,
        gain + width,
        claimed=error.enough and abs(gain) > width,
        tick_se=max(leg.se for leg in legs) / error.base,
        seed_se=math.sqrt(seeds) / error.base,
    )


def _with(leg: StudentT, seeds: float, df: float) -> StudentT:
    """A leg whose variance is joined by that of seeds: Satterthwaite 1946, rounded down to whole degrees.

    Unrounded, 5.4 % of intervals at 60 ticks miss where seeds and ticks weigh alike; rounded, 4.9 %.
    """
    ticks = leg.se**2
    total = ticks + seeds
    below = ticks**2 / leg.df + (seeds**2 / df if seeds else 0.0)
    return StudentT(leg.estimate, math.sqrt(total), float(np.floor(total**2 / below)) if below > 0 else math.nan)


def cosine_t(contrast: Contrast) -> StudentT:
    """Long-run variance from a few cosines: Lazarus, Lewis, Stock & Watson 2018.

    Fewer than the gates' own: a claim rests on this leg and CR2-t alone, and keeps its rate at autocorrelations of .3.
    """
    ticks = len(contrast.weights)
    waves = min(next(k for limit, k in ((20, 3), (40, 5), (math.inf, 7)) if ticks < limit), ticks - 1)
    influence = ticks * contrast.weights * (contrast.values - contrast.weights @ contrast.values)
    angle = np.pi / ticks * np.outer(np.arange(1, waves + 1), np.arange(ticks) + 0.5)
    sums = math.sqrt(2.0 / ticks) * (np.cos(angle) @ influence)
    return StudentT(contrast.estimate, math.sqrt(float(sums @ sums) / (waves * ticks)), float(waves))


def _needed(rate: Effect, seeds: int) -> int | None:
    """Seeds an arm that would tell this effect 4 times in 5; None where it is told, or where ticks alone hide it."""
    if rate.claimed or rate.value is None or rate.tick_se is None or not rate.seed_se or seeds < SEEDS:
        return None
    room = (rate.value / POWER) ** 2 - rate.tick_se**2
    needed = rate.seed_se**2 * seeds / room if room > 0 else math.inf
    return max(math.ceil(needed), seeds + 1) if needed < MANY else None
