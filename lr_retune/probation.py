"""The step that holds a new champion to its promise: both champions on the same rows, as soon as labels come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np

from lr_retune import steps
from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.errors import RetuneError
from lr_retune.judge.judgement import tick_values
from lr_retune.judge.probation import Harm, against_former, against_promise, first_look, level, look
from lr_retune.metrics import loss_for
from lr_retune.plugins import Plugins
from lr_retune.records import Champion, Facts, History, Probation, Report, Rows, Span, TickLoss, micros
from lr_retune.stores.promotion import Stores

Scored = tuple[Rows, np.ndarray]
ACTOR = "lr-retune"  # who rolls back in the ledger


def probation(
    config: Config, plugins: Plugins, stores: Stores, champion: Champion, facts: Facts, history: History
) -> Probation | None:
    """How a champion that a judge let pass does on the first ticks that the judge had not seen.

    It looks at the first ``[promote] probation`` ticks after its holdout that have their labels, whenever it is called:
    a late or repeated call says what a timely one says at the same labels. None: it is not on probation.
    """
    former, of = stores.former(champion), min(config.promote.probation, config.watch.ticks)
    if former is None or not of or config.labels.mode == "none":
        return None
    if history.probated(champion.model, stores.crowned(champion)):
        return None
    seen = [tick for tick in facts.ticks if tick.mature and tick.loss is not None][:of]
    promised = champion.promised if champion.question == config.question else None
    begun = Probation(champion.reference.end, len(seen), of, former.model, "waiting", promised=promised)
    if len(seen) < first_look(of, loss_for(config.metric)):
        return begun
    return _looked(config, stores, Feed(config, plugins.feeds, facts.as_of), champion, former, facts, begun)


def _looked(
    config: Config, stores: Stores, feed: Feed, champion: Champion, former: Champion, facts: Facts, begun: Probation
) -> Probation:
    seen = [tick for tick in facts.ticks if tick.mature and tick.loss is not None][: begun.of]
    ours = _scored(config, stores, feed, champion, facts, seen)
    if ours is None or _too_few(config, ours[0]):
        return begun
    theirs = None if former.mode == "score_only" else _scored(config, stores, feed, former, facts, seen)
    same = theirs is not None and np.array_equal(theirs[0].time, ours[0].time)

    def since(newest: int) -> np.ndarray:
        kept: np.ndarray = ours[0].tick >= micros(seen[-newest].start)
        return kept

    def ask(newest: int) -> Harm:
        kept = since(newest)
        return _harm(config, champion, begun.of, _cut(ours, kept), _cut(theirs, kept) if theirs and same else None)

    harm, newest = look(begun.ticks, first_look(begun.of, loss_for(config.metric)), ask)
    kept, possible = since(newest), same or former.mode == "score_only"  # nothing is gone back to that cannot be read
    ended: Literal["passed", "on"] = "passed" if begun.ticks == begun.of else "on"
    return replace(
        begun,
        state="failed" if harm.proven and possible else ended,
        basis="former" if same else "promise",
        newest=newest,
        loss=loss_for(config.metric).value(ours[0].y[kept], ours[1][kept]),
        other=harm.other,
        effect=harm.effect,
        p=harm.p,
        alpha=harm.alpha,
    )


def _cut(scored: Scored, kept: np.ndarray) -> Scored:
    return scored[0].take(kept), scored[1][kept]


def _harm(config: Config, champion: Champion, of: int, ours: Scored, theirs: Scored | None) -> Harm:
    loss, margin, (rows, score) = loss_for(config.metric), config.gates.margin, ours
    asked = level(of, loss, config.promote.probation_alpha)
    if _too_few(config, rows):
        return Harm(math.nan, asked, math.nan, math.nan)
    if theirs is not None:
        return against_former(rows.y, score, theirs[1], rows.tick, loss, margin, asked)
    promised = champion.promised_ticks if champion.question == config.question else ()
    return against_promise(tick_values(rows.y, score, rows.tick, loss), promised, margin, asked)


def roll_back(config: Config, stores: Stores, seen: Report) -> Report:
    """Put the former champion back because a decision says so: once, by the usual protocol, for its first reason.

    Raises
    ------
    ConflictError
        If somebody else moved the champion meanwhile.
    HeldError
        If no earlier champion is sound.
    """
    champion = stores.rollback(
        None,
        actor=ACTOR,
        reason=seen.decision.reasons[0].text,
        as_of=seen.facts.as_of,
        reproduces=partial(steps.reproduces, config),
        decision=seen.decision.id,
    )
    return replace(seen, outcome="rolled_back", champion=champion)


def _scored(
    config: Config, stores: Stores, feed: Feed, champion: Champion, facts: Facts, seen: Sequence[TickLoss]
) -> Scored | None:
    """Labelled rows of the ticks that count, and a champion's scores; None where they cannot be had."""
    try:
        model = steps.load_model(config, champion.family, stores.files(champion))
        gaps = (*steps.excused(facts.faults), *(champion.contract.names if champion.model != facts.champion else ()))
        watched = Span(facts.ticks[0].start, facts.ticks[-1].end)
        rows = feed.rows(
            champion.contract, Span(seen[0].start, seen[-1].end), gaps, per_tick=steps.rows_per_tick(config, watched)
        )
        rows = rows.take(np.isin(rows.tick, [micros(tick.start) for tick in seen]) & ~np.isnan(rows.y))
        rows, score = steps.scored(champion.contract, rows, model.predict(rows.x))
    except RetuneError:  # files that are gone or altered: whoever needs them says so
        if champion.model == facts.champion:
            raise
        return None
    return (rows, score) if np.isfinite(score).all() else None


def _too_few(config: Config, rows: Rows) -> bool:
    few = len(rows) < config.policy.min_rows
    return few or (config.task == "binary" and int((rows.y == 1).sum()) < config.policy.min_positives)
