"""Slices: a gain over all must not be paid for by some."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np

from lr_retune.config import Config
from lr_retune.judge.guards.common import LEAST_TICKS, Answer, blind, not_asked, verdict
from lr_retune.judge.paired import Comparison, paired
from lr_retune.metrics import Loss, loss_for
from lr_retune.records import HoldoutScores, TuneResult, Verdict, content_digest

State = Literal["HARM", "OK", "UNKNOWN"]
LEAST_ROWS, LEAST_POSITIVES = 200, 20
HARMED, SAFE = -0.02, -0.10  # relative gains: a point below the first is harm, an interval above the second is safe
LEVEL = 0.05  # one-sided, over all slices together, whatever alpha a look has left: less would show less harm
FLIPS = 999
THIN = "a loss of 5 % in a thin slice is missed four times in five"


def slices(scores: HoldoutScores, _result: TuneResult, config: Config) -> Verdict:
    """Whether the challenger harms a slice: FAIL on demonstrated harm, and where a critical slice is not safe."""
    if unseen := blind(scores):
        return verdict("slices", unseen)
    if not config.gates.slices:
        return verdict("slices", not_asked("[gates] slices names no column"))
    found = _found(scores, config)
    sizes = _sizes(scores)
    shown = {name: f"{_shown(state, seen)} of {sizes[name]} rows" for name, (state, seen) in found.items()}
    return verdict("slices", _answer(_states(found), config), shown)


def _shown(state: State, seen: Comparison | None) -> str:
    """``OK +1.0 % [-0.2, +2.2]``: state, gain and its interval, as far as they are known."""
    if seen is None or math.isnan(seen.effect):
        return state
    known = math.isfinite(seen.low) and math.isfinite(seen.high)
    ends = f" [{100 * seen.low:+.1f}, {100 * seen.high:+.1f}]" if known else ""
    return f"{state} {100 * seen.effect:+.1f} %{ends}"


def _sizes(scores: HoldoutScores) -> dict[str, int]:
    """Rows of each slice that `rows_of` names."""
    sizes: dict[str, int] = {}
    for column, levels in scores.slices.items():
        names, counts = np.unique(levels, return_counts=True)
        sizes |= {f"{column}={name}": int(n) for name, n in zip(names, counts, strict=True) if n >= LEAST_ROWS}
        if len(thin := counts[counts < LEAST_ROWS]):
            sizes[_thin(column, len(thin))] = int(thin.sum())
    return sizes


def _thin(column: str, levels: int) -> str:
    return f"{column}=any of {levels} thin levels"


def _answer(states: Mapping[str, tuple[State, float]], config: Config) -> Answer:
    told = {state: [name for name, found in states.items() if found[0] == state] for state in ("HARM", "OK", "UNKNOWN")}
    if told["HARM"]:
        worse = ", ".join(f"{name} ({100 * states[name][1]:+.1f} %)" for name in told["HARM"])
        return "LRR311", "FAIL", f"worse on {worse}"
    asked = config.gates.critical
    unsafe = [name for name in states if states[name][0] != "OK" and _critical(name, asked)]
    unseen = [c for c in asked if not any(_critical(name, (c,)) for name in states)]
    if unsafe or unseen:
        return "LRR312", "INCONCLUSIVE", f"critical, and not shown to be safe: {_some([*unsafe, *unseen])}"
    unknown = f"; unknown: {_some(told['UNKNOWN'])}: {THIN}" if told["UNKNOWN"] else ""
    safe = f"{len(told['OK'])} of them safe, as a loss of {-SAFE:.0%} is excluded"
    return "LRR310", "PASS", f"a loss beyond {-HARMED:.0%} is shown in none of {len(states)} slices, {safe}{unknown}"


def _critical(name: str, asked: tuple[str, ...]) -> bool:
    return name in asked or name.partition("=")[0] in asked


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _states(found: Mapping[str, tuple[State, Comparison | None]]) -> dict[str, tuple[State, float]]:
    return {name: (state, math.nan if seen is None else seen.effect) for name, (state, seen) in found.items()}


def _found(scores: HoldoutScores, config: Config) -> dict[str, tuple[State, Comparison | None]]:
    loss, named = loss_for(config.metric), dict(rows_of(scores))
    enough = {name: rows for name, rows in named.items() if filled(scores, rows, config)}
    harmed = harmed_of(scores, list(enough.values()), loss)
    found: dict[str, tuple[State, Comparison | None]] = dict.fromkeys(named, ("UNKNOWN", None))
    for (name, rows), harm in zip(enough.items(), harmed, strict=True):
        seen = _compared(scores, rows, loss, config.gates.alpha)
        safe = seen.low > SAFE or bool((scores.champion[rows] == scores.challenger[rows]).all())
        found[name] = ("HARM" if harm else "OK" if safe else "UNKNOWN"), seen
    return found


def _compared(scores: HoldoutScores, rows: np.ndarray, loss: Loss, alpha: float) -> Comparison:
    y, tick = scores.y[rows], scores.tick[rows]
    return paired(y, scores.champion[rows], scores.challenger[rows], tick, loss, alpha=alpha)


def rows_of(scores: HoldoutScores) -> Iterator[tuple[str, np.ndarray]]:
    """Slices with the positions of their rows; levels of few rows are one slice, as a column may have thousands."""
    for column, levels in scores.slices.items():
        names, where, counts = np.unique(levels, return_inverse=True, return_counts=True)
        for name, rows in zip(names, np.split(np.argsort(where, kind="stable"), np.cumsum(counts)[:-1]), strict=True):
            if len(rows) >= LEAST_ROWS:
                yield f"{column}={name}", rows
        if thin := int((counts < LEAST_ROWS).sum()):
            yield _thin(column, thin), np.array([], dtype=np.int64)


def filled(scores: HoldoutScores, rows: np.ndarray, config: Config) -> bool:
    """Whether a slice holds enough rows, ticks and, of a binary task, of each class to tell anything."""
    y = scores.y[rows]
    enough = len(y) >= LEAST_ROWS and len(np.unique(scores.tick[rows])) >= LEAST_TICKS
    return enough and (config.task != "binary" or min((y > 0.5).sum(), (y <= 0.5).sum()) >= LEAST_POSITIVES)


def harmed_of(scores: HoldoutScores, of: list[np.ndarray], loss: Loss) -> list[bool]:
    """Which slices are worse, significantly over all of them together and by more than 2 %.

    Mean losses: max-t by joint sign flips of ticks (Westfall & Young 1993; Romano & Wolf 2005), which keeps the
    dependence between slices. Pooled metrics: each slice's interval at `LEVEL` over the number of slices.
    """
    if not of:
        return []
    if loss.rows is None:
        found = [_compared(scores, m, loss, LEVEL / len(of)) for m in of]
        return [bool(f.high < 0 and f.effect < HARMED) for f in found]
    d, w, base = _tick_differences(scores, of, loss)
    seed = int(content_digest([d, w])[:8], 16)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(FLIPS, d.shape[1]))
    t, lowest = _t(d, w, np.ones((1, d.shape[1])))[:, 0], _t(d, w, signs).min(axis=0)
    p = (1 + (lowest[:, None] <= t[None, :]).sum(axis=0)) / (FLIPS + 1)
    return [bool(x) for x in (p <= LEVEL) & ((d * w).sum(axis=1) < HARMED * base)]


def _tick_differences(
    scores: HoldoutScores, of: list[np.ndarray], loss: Loss
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per slice and tick the mean gain and the share of the slice's rows, ``(slices, ticks)``; and the old loss."""
    assert loss.rows is not None
    old = loss.rows(scores.y, scores.champion)
    gain = old - loss.rows(scores.y, scores.challenger)
    ticks, where = np.unique(scores.tick, return_inverse=True)
    rows = np.array([np.bincount(where[m], minlength=len(ticks)) for m in of], dtype=float)
    sums = np.array([np.bincount(where[m], gain[m], minlength=len(ticks)) for m in of])
    d = np.divide(sums, rows, out=np.zeros_like(sums), where=rows > 0)
    return d, rows / rows.sum(axis=1, keepdims=True), np.array([old[m].mean() for m in of])


def _t(d: np.ndarray, w: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Weighted t of each slice over its ticks under each row of signs, ``(slices, flips)``; 0 where nothing differs.

    CR2 as in `lr_retune.judge.paired`, with the square written out so that all flips are three products of matrices.
    """
    share = np.divide(w**2, 1 - w, out=np.zeros_like(w), where=w < 1)
    mean = (w * d) @ signs.T
    own, total = (share * d**2).sum(axis=1)[:, None], share.sum(axis=1)[:, None]
    spread = own - 2 * mean * ((share * d) @ signs.T) + mean**2 * total
    se = np.sqrt(np.maximum(spread, 1e-18 * own))  # rounding is no spread
    return np.asarray(np.divide(mean, se, out=np.zeros_like(mean), where=se > 0))
