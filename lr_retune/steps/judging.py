"""The step in which champion and challenger meet on later rows."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np

from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.errors import DataError
from lr_retune.guarded import guarded, vouched
from lr_retune.judge import limits
from lr_retune.judge.judgement import judge_scores
from lr_retune.judge.looks import at_level, look_at, told
from lr_retune.logged import SCORE_ONLY
from lr_retune.plugins import Plugins
from lr_retune.records import Candidate, Contract, HoldoutScores, Judgement, Plan, Report, Rows, TuneResult
from lr_retune.steps.files import champions, scorer
from lr_retune.steps.fitting import users_loss
from lr_retune.steps.rows import excused, scored
from lr_retune.stores.promotion import Stores


def judge(config: Config, plugins: Plugins, stores: Stores, plan: Plan, seen: Report, result: TuneResult) -> Judgement:
    """Meet the champion on the holdout that nothing was tuned on, with the alpha that earlier looks at it left."""
    feed, gaps, champion = Feed(config, plugins.feeds, plan.as_of), excused(seen.facts.faults), seen.champion
    every, seen_by_champion = (feed.rows(c, plan.holdout, gaps) for c in (plan.contract, champion.contract))
    entity = feed.entities(plan.holdout)
    demand_same_rows(every, seen_by_champion, entity)
    ours, theirs = every.labelled(), seen_by_champion.labelled()
    score = scorer(config, stores, result.family)
    files = stores.files(champion)
    model, unseen = champions(config, stores, champion)
    reigning = unseen.predict(theirs.x)
    known = np.isfinite(reigning) | (champion.mode != SCORE_ONLY)
    entity = None if entity is None else entity[~np.isnan(every.y)][known]
    if champion.mode == SCORE_ONLY:
        ours, theirs, reigning = _both_scored(ours, theirs, reigning)
    scores = HoldoutScores(
        y=ours.y,
        tick=ours.tick,
        champion=reigning,
        challenger=score(result.challenger, ours),
        control=score(result.control, ours) if result.control else None,
        fixed=score(result.fixed, ours) if result.fixed else None,
        arms={name: tuple(score(fit, ours) for fit in fits) for name, fits in _further(result).items()},
        entity=entity,
        suspects=suspects_of(plan.contract, ours) if entity is None else {},
    )
    scores = guarded(scores, feed, plan, champion, files, known, gaps)
    scores = replace(scores, best=stores.best_promise(plan.as_of))
    scores = replace(scores, golden=vouched(feed, plan, champion, model.predict, partial(score, result.challenger)))
    met = stores.looks(stores.key(champion, plan, seen.decision.action))
    look = look_at(scores.tick, "" if result.challenger is None else result.challenger.model, met, config.gates.alpha)
    return told(judge_scores(scores, result, at_level(config, look), plugins.gates), look)


def _both_scored(ours: Rows, theirs: Rows, met: np.ndarray) -> tuple[Rows, Rows, np.ndarray]:
    """The same rows for both sides: those whose score was logged."""
    known = np.isfinite(met)
    if not known.any():
        raise DataError(
            f"none of the {len(met):,} labelled holdout rows has a logged score of the champion",
            why="its files are not loaded: only logged scores could be compared",
            fix="look whether the feed of logged scores stands still",
        )
    return ours.take(known), theirs.take(known), met[known]


def _further(result: TuneResult) -> dict[str, tuple[Candidate, ...]]:
    """The fits that only tell where a gain came from: none that chose the rate may tell what it is worth."""
    told = {"control": result.repeats.get("control", ())} if result.same_rate else result.apart
    found = {name: fits for name, fits in told.items() if fits}
    return found if result.old_rows is None else {**found, "old_rows": (result.old_rows,)}


def suspects_of(contract: Contract, rows: Rows) -> dict[str, np.ndarray]:
    """Category columns of many levels of which one holds a large part of the rows: customers, perhaps."""
    found = {contract.names[i]: rows.x[:, i] for i in contract.categorical}
    coded = {name: np.where(np.isnan(codes), -1, codes).astype(np.int64) for name, codes in found.items()}
    return {name: codes for name, codes in coded.items() if limits.dominated(codes)}


def demand_same_rows(ours: Rows, theirs: Rows, entity: np.ndarray | None) -> None:
    """Raise DataError unless both reads gave the same rows, and an entity for each."""
    same = np.array_equal(ours.time, theirs.time) and np.array_equal(ours.y, theirs.y, equal_nan=True)
    if same and (entity is None or len(entity) == len(ours)):
        return
    raise DataError(
        f"two reads of the holdout gave {len(ours):,} and {len(theirs):,} rows that are not the same",
        why="champion and challenger are compared on identical rows or not at all",
        fix="let no job rewrite the feed while a run reads it, and run again",
    )


def promise(config: Config, plugins: Plugins, stores: Stores, plan: Plan, result: TuneResult) -> Judgement:
    """What a first model promises: its holdout loss, with nobody to compare it to."""
    rows = Feed(config, plugins.feeds, plan.as_of).rows(plan.contract, plan.holdout).labelled()
    score = scorer(config, stores, result.family)(result.challenger, rows)
    rows, score = scored(plan.contract, rows, score)
    alone = HoldoutScores(y=rows.y, tick=rows.tick, champion=score, challenger=score)
    judgement = judge_scores(alone, result, config, ())
    if result.challenger is not None and not np.isfinite(judgement.losses["challenger"]):
        raise DataError(
            f"{config.metric.name} is not defined on the {len(rows):,} labelled rows of the holdout",
            why="a first champion must promise a loss that later ticks can be held to",
            fix="choose another [metric] name, widen [window] holdout, or check the label column",
        )
    return judgement


def holdout_loss(
    config: Config, plugins: Plugins, stores: Stores, plan: Plan, seen: Report | None, candidate: Candidate
) -> float:
    """The user's metric, as a loss, of one model on the holdout."""
    gaps = () if seen is None else excused(seen.facts.faults)
    rows = Feed(config, plugins.feeds, plan.as_of).rows(plan.contract, plan.holdout, gaps).labelled()
    return users_loss(config, rows)(scorer(config, stores, plugins.family.name)(candidate, rows))
