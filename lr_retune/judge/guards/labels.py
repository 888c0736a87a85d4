"""Label rates: whether the labels of one level changed as labels of no level did before.

Labels flipped in one slice make a challenger look better the more of them there are: the holdout carries the same
flips. What they cannot hide is that the slice's share of positives left the others' company.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from lr_retune.config import Config
from lr_retune.judge.guards.common import LEAST_TICKS, Answer, blind, not_asked, verdict
from lr_retune.records import Column, HoldoutScores, LabelHistory, TuneResult, Verdict

LEVEL = 0.01  # two-sided, over all levels together
MATERIAL = 0.0025  # labels that changed, as a share of the new rows: fewer harm little
BEYOND = 1.25  # times the largest change of any level between earlier windows
LEAST_MOVE = 0.1  # log-odds: what levels move from window to window at least
LEAST_BLOCKS = 8  # earlier windows that tell what is usual
LEAST_OTHERS = 3  # levels of a column that tell what one of them would have done
FIFTHS = 5
LEAST_ROWS, LEAST_POSITIVES = 200, 20


def label_rates(scores: HoldoutScores, _result: TuneResult, config: Config) -> Verdict:
    """Whether no level's share of positives moved beyond what levels did between earlier windows."""
    return verdict("label_rates", blind(scores) or _answer(scores.history, config))


def _answer(history: LabelHistory | None, config: Config) -> Answer:
    if config.task != "binary" or history is None:
        return not_asked("only classes can be flipped, and only a retrain has earlier labels")
    new = history.rows.shape[1] - history.since
    block = min(new, history.since // LEAST_BLOCKS)
    if block < LEAST_TICKS or not len(history.names):
        return "LRR302", "PASS", f"{history.since} earlier and {new} new ticks do not tell what is usual"
    return _judged(history, block)


def _judged(history: LabelHistory, block: int) -> Answer:
    starts = list(range(history.since % block, history.since, block))
    earlier = [_change(history, slice(0, s), slice(s, s + block)) for s in starts if s >= block]
    now = _change(history, slice(0, history.since), slice(history.since, None))
    usual = _usual(history.group, earlier, now)
    z = np.abs(now[0]) / np.sqrt(now[1] + usual)
    before = max((float((np.abs(d) / np.sqrt(v + usual)).max()) for d, v in earlier), default=0.0)
    moved = _moved(history)
    hit = (z > max(_critical(len(z)), BEYOND * before)) & (np.abs(moved) > MATERIAL)
    if not hit.any():
        return "LRR330", "PASS", f"{len(z)} levels keep the company of the others"
    worst = int(np.argmax(np.where(hit, z, 0.0)))
    old, new = (_rate(history, worst, w) for w in (slice(0, history.since), slice(history.since, None)))
    told = f"{history.names[worst]}: {100 * old:.2f} % positives before, {100 * new:.2f} % now"
    labels = f"{100 * abs(moved[worst]):.2f} % of all labels are {'missing' if moved[worst] < 0 else 'too many'}"
    return "LRR331", "INCONCLUSIVE", f"{told}, the other levels did not follow; about {labels}"


def _critical(levels: int) -> float:
    from scipy.special import ndtri

    return float(-ndtri(LEVEL / (2 * levels)))


def _counts(history: LabelHistory, window: slice) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Positives and negatives of each level, and of all other rows, in a window of ticks."""
    hits, rows = history.positives[:, window].sum(axis=1), history.rows[:, window].sum(axis=1)
    all_hits, all_rows = (int(a[window].sum()) for a in (history.all_positives, history.all_rows))
    return hits, rows - hits, all_hits - hits, all_rows - rows - (all_hits - hits)


def _log_odds(history: LabelHistory, window: slice) -> tuple[np.ndarray, np.ndarray]:
    """Log odds of each level against all other rows, and its sampling variance (Woolf 1955, with Haldane's half)."""
    a, b, c, d = (n + 0.5 for n in _counts(history, window))
    return np.log(a / b) - np.log(c / d), 1 / a + 1 / b + 1 / c + 1 / d


def _change(history: LabelHistory, old: slice, new: slice) -> tuple[np.ndarray, np.ndarray]:
    (before, v), (after, w) = _log_odds(history, old), _log_odds(history, new)
    return after - before, v + w


def _usual(
    group: np.ndarray, earlier: Sequence[tuple[np.ndarray, np.ndarray]], now: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Variance of true changes of each level: the largest that its column showed earlier, or its other levels now.

    The estimate of DerSimonian & Laird 1986, never below what levels always move.
    """
    usual = np.full(len(group), LEAST_MOVE**2)
    for each in np.unique(group):
        of = group == each
        usual[of] = max([LEAST_MOVE**2, *(_between(d[of], v[of]) for d, v in earlier)])
    for level in range(len(group)):
        rest = (group == group[level]) & (np.arange(len(group)) != level)
        if rest.sum() >= LEAST_OTHERS:
            usual[level] = max(usual[level], _between(now[0][rest], now[1][rest]))
    return usual


def _between(change: np.ndarray, variance: np.ndarray) -> float:
    excess = float((change**2 / variance).sum()) - len(change)
    return max(0.0, excess / float((1 / variance).sum()))


def _moved(history: LabelHistory) -> np.ndarray:
    """Positives of each level beyond what the other levels lead to expect, share of all new rows."""
    before, _ = _log_odds(history, slice(0, history.since))
    a, b, c, d = _counts(history, slice(history.since, None))
    expected = (a + b) / (1 + np.exp(-before) * (d + 0.5) / (c + 0.5))
    return np.asarray((a - expected) / max(int(history.all_rows[history.since :].sum()), 1))


def _rate(history: LabelHistory, level: int, window: slice) -> float:
    rows = history.rows[level, window].sum()
    return float(history.positives[level, window].sum() / rows) if rows else math.nan


# ── the tally ─────────────────────────────────────────────────────────────────────────────────────
def tally(x: np.ndarray, columns: Sequence[Column], y: np.ndarray, tick: np.ndarray, since: int) -> LabelHistory:
    """Count labels by level and tick.

    Parameters
    ----------
    x
        Encoded rows, ``(n, columns)``; numbers are cut into fifths of the earlier rows.
    columns
        What they are.
    y, tick
        ``(n,)``; labels 0 or 1, and the start of each row's tick.
    since
        Start of the first new tick.
    """
    ticks, where = np.unique(tick, return_inverse=True)
    old, positive = tick < since, y > 0.5
    names: list[str] = []
    group: list[int] = []
    rows: list[np.ndarray] = []
    hits: list[np.ndarray] = []
    for i, column in enumerate(columns):
        for name, level in levels(x[:, i], column, old):
            if not _told(level, old, positive):
                continue
            names.append(name)
            group.append(i)
            rows.append(np.bincount(where[level], minlength=len(ticks)))
            hits.append(np.bincount(where[level & positive], minlength=len(ticks)))
    shape = (len(names), len(ticks))
    return LabelHistory(
        names=tuple(names),
        group=np.array(group, dtype=np.int64),
        rows=np.array(rows, dtype=np.int64).reshape(shape),
        positives=np.array(hits, dtype=np.int64).reshape(shape),
        all_rows=np.bincount(where, minlength=len(ticks)),
        all_positives=np.bincount(where[positive], minlength=len(ticks)),
        since=int((ticks < since).sum()),
    )


def _told(level: np.ndarray, old: np.ndarray, positive: np.ndarray) -> bool:
    """Whether a level holds enough rows to be told from chance, and not all of them."""
    enough = (level & old).sum() >= LEAST_ROWS and (level & ~old).sum() >= LEAST_ROWS // 2
    return bool(enough and (level & old & positive).sum() >= LEAST_POSITIVES and not level.all())


def levels(values: np.ndarray, column: Column, old: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Name and mask of the rows of each level of one column, ``(n,)``; rows of the mask ``old`` cut numbers."""
    known = np.isfinite(values)
    if column.kind == "category":
        for code in np.unique(values[known]):
            named = column.levels[int(code)] if 0 <= code < len(column.levels) else f"level {code:g}"
            yield f"{column.name}={named}", values == code
        return
    first = values[known & old]
    edges = np.unique(np.quantile(first, np.arange(1, FIFTHS) / FIFTHS)) if len(first) else first
    place = np.searchsorted(edges, values, side="right")
    for i in range(len(edges) + 1 if len(edges) else 0):
        low = f"{edges[i - 1]:.4g} ≤ " if i else ""
        high = f" < {edges[i]:.4g}" if i < len(edges) else ""
        yield f"{low}{column.name}{high}", known & (place == i)
