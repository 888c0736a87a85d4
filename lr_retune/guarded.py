"""What the guards need beside two columns of scores: slices, golden rows, earlier labels, what the champion was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from lr_retune.data.feed import Feed
from lr_retune.data.golden import read_audited, read_golden
from lr_retune.data.levels import level_names
from lr_retune.judge.guards.audit import audit_of
from lr_retune.judge.guards.labels import tally
from lr_retune.logged import SCORE_ONLY
from lr_retune.records import Champion, Files, HoldoutScores, LabelAudit, LabelHistory, Plan, Rows, Span, micros
from lr_retune.stores.bundle import native, unpack_meta

PER_TICK, MOST_ROWS = 2_000, 200_000  # rows of earlier labels: at least of each tick, and of all together


def guarded(
    scores: HoldoutScores,
    feed: Feed,
    plan: Plan,
    champion: Champion,
    files: Files,
    known: np.ndarray,
    gaps: Sequence[str],
) -> HoldoutScores:
    """The judge's evidence with what the guards named in ``[gates] names`` ask for, golden rows apart.

    ``known`` is a mask of the labelled holdout rows: those that `scores` holds.
    """
    same, loaded = champion.question == feed.config.question, champion.mode != SCORE_ONLY
    return replace(
        scores,
        slices=_slices(feed, plan.holdout, known),
        history=_history(feed, plan, champion, gaps),
        audit=_audit(feed, plan, gaps),
        promised=champion.promised_ticks if same else (),
        served=(champion.steps, sum(len(data) for data in native(files).values())) if loaded else None,
        threshold=unpack_meta(files).get("threshold"),
    )


def vouched(
    feed: Feed,
    plan: Plan,
    champion: Champion,
    before: Callable[[np.ndarray], np.ndarray],
    after: Callable[[Rows], np.ndarray],
) -> HoldoutScores | None:
    """The golden set as both models answer it, or None; a champion that is not loaded answers NaN."""
    gates = feed.config.gates
    if gates.golden is None or "golden" not in gates.names:
        return None
    rows = read_golden(feed, plan.contract)
    silent = champion.mode == SCORE_ONLY
    old = np.full(len(rows), np.nan) if silent else before(read_golden(feed, champion.contract).x)
    return HoldoutScores(rows.y, rows.tick, old, after(rows))


def _slices(feed: Feed, span: Span, known: np.ndarray) -> Mapping[str, np.ndarray]:
    if "slices" not in feed.config.gates.names:
        return {}
    labelled, found = slice_levels(feed, span)
    return {name: levels[labelled][known] for name, levels in found.items()}


def slice_levels(feed: Feed, span: Span) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Which rows of a span are labelled, and the level of each row in the columns of ``[gates] slices``, ``(n,)``.

    Raises
    ------
    DataError
        If one of the columns is missing.
    """
    gates = feed.config.gates
    if not gates.slices:
        return np.zeros(0, dtype=bool), {}
    for name in gates.slices:
        feed.demand(name)
    table = feed.raw([*gates.slices, *feed.needed()], span.start, span.end, feed.config.model.transform)
    return ~np.isnan(feed.labels(table).y), {name: level_names(table.column(name)) for name in gates.slices}


def _audit(feed: Feed, plan: Plan, gaps: Sequence[str]) -> LabelAudit | None:
    """Both labels of each golden row that the challenger was trained, tuned or judged on."""
    gates = feed.config.gates
    if gates.golden is None or "golden" not in gates.names:
        return None
    rows, vouched = read_audited(feed, plan.contract, Span(plan.train.start, plan.holdout.end), gaps)
    return audit_of(rows.x, plan.contract.columns, vouched, rows.y)


def _history(feed: Feed, plan: Plan, champion: Champion, gaps: Sequence[str]) -> LabelHistory | None:
    """Labels since train began, those after the champion's own holdout apart."""
    config, span = feed.config, Span(plan.train.start, plan.holdout.end)
    if config.task != "binary" or "label_rates" not in config.gates.names:
        return None
    if not span.start < champion.reference.end < span.end:
        return None
    per_tick = max(PER_TICK, MOST_ROWS // max(config.ticks(span.end - span.start), 1))
    rows = feed.rows(plan.contract, span, gaps, per_tick=per_tick).labelled()
    return tally(rows.x, plan.contract.columns, rows.y, rows.tick, micros(champion.reference.end))
