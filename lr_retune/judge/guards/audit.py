"""The label audit: whether golden rows that a person labelled anew still have the labels that the feed gives them.

Flips of one slice look like a world that changed: from scores and counts alone, drift and poisoning cannot be told
apart, not even by who knows the slice (``tests.benchmarks.judge --parts poison_oracle``). A row whose truth is known
can tell: its label differs or it does not, whatever drifts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lr_retune.config import Config
from lr_retune.judge.guards.common import Answer
from lr_retune.judge.guards.labels import levels
from lr_retune.records import Column, LabelAudit

LEVEL = 0.01  # one-sided, of all rows; and again of all levels together
LEAST_ROWS = 100
POWER = 0.9


def audited(audit: LabelAudit | None, config: Config) -> Answer | None:
    """Whether labels differ from the vouched ones by no more than honest noise, over all rows and in each level.

    None where too few rows stand in both places.
    """
    if config.gates.golden is None or audit is None or len(audit.vouched) < LEAST_ROWS:
        return None
    rows, noise = len(audit.vouched), config.gates.label_noise
    differs = ~np.isclose(audit.found, audit.vouched, rtol=1e-6, atol=1e-9)
    told = f"{int(differs.sum())} of {rows} golden rows have another label in the feed"
    p, name = _least(audit, differs, noise)
    alone = p * len(audit.names) < LEVEL
    if not alone and above(int(differs.sum()), rows, noise) >= LEVEL:
        return "LRR350", "PASS", f"{told}, {100 * found_from(rows, noise):.2g} % would be seen 9 times in 10"
    where = f", most strikingly where {name}" if alone else ""
    return "LRR356", "INCONCLUSIVE", f"{told}, more than honest noise of {100 * noise:g} % explains{where}"


def above(hits: int, rows: int, rate: float) -> float:
    """P of at least so many hits in so many rows at this rate.

    >>> above(0, 100, 0.0), above(1, 100, 0.0), round(above(7, 2000, 0.001), 4)
    (1.0, 0.0, 0.0045)
    """
    from scipy.special import bdtrc

    return 1.0 if hits <= 0 else float(bdtrc(hits - 1, rows, rate))


def found_from(rows: int, noise: float) -> float:
    """The least share of labels that differ, spread over all rows, which so many rows show nine times in ten.

    >>> round(100 * found_from(500, 0.0), 2), round(100 * found_from(2000, 0.001), 2)
    (0.46, 0.53)
    """
    from scipy.special import betaincinv

    hits = next(k for k in range(1, rows + 1) if above(k, rows, noise) < LEVEL)
    return float(betaincinv(hits, rows - hits + 1, POWER))


def _least(audit: LabelAudit, differs: np.ndarray, noise: float) -> tuple[float, str]:
    """The level whose labels differ least by chance, and its p."""
    each = [
        (above(int(differs[of].sum()), int(of.sum()), noise), name)
        for name, of in zip(audit.names, audit.members, strict=True)
    ]
    return min(each, default=(1.0, ""))


def audit_of(x: np.ndarray, columns: Sequence[Column], vouched: np.ndarray, found: np.ndarray) -> LabelAudit:
    """The evidence from encoded rows ``(n, columns)``, their vouched labels and those of the feed, ``(n,)``."""
    everything = np.ones(len(x), dtype=bool)
    named = [each for i, column in enumerate(columns) for each in levels(x[:, i], column, everything)]
    members = np.array([of for _, of in named], dtype=bool).reshape(len(named), len(x))
    return LabelAudit(vouched, found, tuple(name for name, _ in named), members)
