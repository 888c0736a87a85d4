"""What production's own scores say about the feed: serving skew, and labels that depend on the score. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lr_retune.records import Fault, Logged

_APART = 0.01  # of the scores' spread: beyond rounding in a log, below what moves a decision
_SHARE = 0.01  # of the logged rows
_DECIMALS = 8  # a log that rounds more finely need not be told from one that does not round
_UNLOGGED = 0.01
_RANK = 0.6  # P(a labelled row scores above an unlabelled one), or the other way round
_Z = 6.0  # standard errors beyond chance


def serving_faults(logged: Logged, again: np.ndarray, ours: np.ndarray, min_rows: int) -> Iterator[Fault]:
    """Serving skew, and rows without a logged score.

    Parameters
    ----------
    logged
        What was served for the rows.
    again
        The champion's scores of the same rows as they stand in the feed, shape ``(n,)``.
    ours
        Rows that the champion served, bool, shape ``(n,)``.
    min_rows
        Fewer logged rows prove nothing.
    """
    there = np.isfinite(logged.score)
    known = ours & there
    if there.sum() >= min_rows and logged.version is not None and not known.any():
        seen = sorted({str(v) for v in logged.version[there]})[:3]
        what = f"none of {there.sum():,} logged scores is the champion's: their versions are {', '.join(seen)}"
        yield Fault("foreign_scores", None, what, "look what serves, and how [predictions] version is written", False)
    if known.sum() >= min_rows:
        gap, spread = np.abs(logged.score[known] - again[known]), float(np.std(again))
        apart = gap > _APART * spread + _rounding(logged.score[known], spread) + 1e-6
        if (hits := int(apart.sum())) > _SHARE * len(gap):
            what = (
                f"{hits:,} of {len(gap):,} logged scores are not what the champion says of these rows: "
                f"{np.median(gap[apart]):.3g} apart in the median of these"
            )
            fix = "compare the features at serving with those in the feed, and the version that serves"
            yield Fault("serving_skew", None, what, fix, True)
    if (lost := int((~np.isfinite(logged.score)).sum())) > _UNLOGGED * len(again):
        what = f"{lost:,} of {len(again):,} rows have no logged score"
        yield Fault("unlogged_scores", None, what, "look whether all that is served is logged", False)


def _rounding(score: np.ndarray, spread: float) -> float:
    """Half a unit of the last decimal that a log keeps; 0 where it does not round, or coarser than scores spread.

    A rate of fraud of 1 % logged with three decimals is rounded by more than 1 % of its spread, and nothing is wrong.
    """
    near = 1e-7 * np.maximum(np.abs(score), 1.0)  # float32 keeps seven digits
    for decimals in range(_DECIMALS):
        # a coarser unit would excuse a log of nothing but zeros
        if 10.0**-decimals <= spread and (np.abs(score - np.round(score, decimals)) <= near).all():
            return 0.5 * 10.0**-decimals
    return 0.0


def selective_labels(score: np.ndarray, labelled: np.ndarray, min_rows: int) -> Iterator[Fault]:
    """Labels that come or stay away with the score, in ticks whose labels are complete.

    The rank statistic of Mann and Whitney (1947), with its large-sample standard error.
    """
    have, lack = int(labelled.sum()), int((~labelled).sum())
    if min(have, lack) < min_rows:
        return
    from scipy.stats import rankdata

    above = (float(rankdata(score)[labelled].sum()) - have * (have + 1) / 2) / (have * lack)
    error = np.sqrt((have + lack + 1) / (12 * have * lack))
    if max(above, 1 - above) >= _RANK and abs(above - 0.5) > _Z * error:
        where = "higher" if above > 0.5 else "lower"
        what = (
            f"{lack:,} rows of complete ticks have no label, and rows with one score {where} "
            f"(in {max(above, 1 - above):.0%} of pairs)"
        )
        fix = "keep a small random group whose outcome is always seen, and judge losses on labels with care"
        yield Fault("selective_labels", None, what, fix, False)
