"""How often the whole gate calls equal classifiers better by a ranking, with ties and with few positives.

As ``size``: share called better (stated: 5 %), its upper 95 % limit, and in brackets what a guard stopped.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks.judge.size import REPLAYS, Row, shares
from tests.benchmarks.judge.worlds import Ranks, settings


def rows() -> Iterator[Row]:
    """All worlds."""
    rank, area = settings("pr_auc"), settings("roc_auc")
    yield "average precision, 220 positives", Ranks(), rank, (7, 14, 28)
    yield "average precision, ties (.05)", Ranks(step=0.05), rank, (7, 14, 28)
    yield "average precision, 30 positives", Ranks(positives=30), rank, (14, 28)
    yield "AUC, 220 positives", Ranks(), area, (7, 14, 28)


def table(quick: bool) -> str:
    """All rows."""
    return shares(rows(), 20 if quick else REPLAYS)
