"""The first step: what production shows since the champion was judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.data.ticks import edges
from lr_retune.errors import DependencyError
from lr_retune.judge.judgement import tick_values
from lr_retune.metrics import loss_for
from lr_retune.plugins import Plugins
from lr_retune.records import Champion, ColumnDrift, Facts, FittedModel, History, PastDecision, Rows, Span, micros
from lr_retune.steps.feed import faults_of, still_broken, waived
from lr_retune.steps.files import champions
from lr_retune.steps.ranking import ranked, ranking_of
from lr_retune.steps.rows import UNREADABLE, compared, excused, rows_per_tick, scored, watched
from lr_retune.steps.served import selective, serving_of
from lr_retune.stores.promotion import Stores
from lr_retune.watch.drift import column_drift, score_drift
from lr_retune.watch.series import evidence, rebased, tick_losses
from lr_retune.watch.suspicion import suspicion, usual


def observe(
    config: Config,
    plugins: Plugins,
    stores: Stores,
    champion: Champion,
    as_of: datetime,
    history: History,
) -> Facts:
    """Look at the ticks since the champion was judged: rows, matured labels, losses, drift, faults.

    Faults are sought in all ticks since somebody last looked, and a loss that was accepted as the world's is what
    later ones are held against.
    """
    looked = history.decisions[-1].as_of if history.decisions else None
    feed = Feed(config, plugins.feeds, as_of)
    horizon = feed.horizon()
    span = watched(config, champion, horizon, as_of)
    faults = waived(faults_of(config, feed, champion, span, looked), stores.accepted(as_of))
    base = Facts(
        as_of=as_of,
        champion=champion.model,
        horizon=horizon,
        rows=0,
        matured_rows=0,
        positives=None,
        ticks=(),
        loss=None,
        faults=faults,
        alias_moved=_alias_moved(stores),
        question=config.question,
    )
    if any(fault.matters and fault.code in UNREADABLE for fault in faults):
        return base  # nothing can be scored, and the fault says why
    broken = still_broken(config, feed, champion, span, history, stores.accepted(as_of))
    return _measured(config, feed, stores, champion, span, base, history.rebased(champion.model), broken)


def _alias_moved(stores: Stores) -> str | None:
    """Where the alias was moved to by hand; a registry that is away delays no decision, only a promotion."""
    try:
        return stores.registry_alias_moved()
    except DependencyError:
        return None


def _measured(
    config: Config,
    feed: Feed,
    stores: Stores,
    champion: Champion,
    span: Span,
    base: Facts,
    harder: PastDecision | None,
    broken: Sequence[Span] = (),
) -> Facts:
    gaps = excused(base.faults)
    rows = feed.rows(champion.contract, span, gaps, per_tick=rows_per_tick(config, span))
    model, unseen = champions(config, stores, champion)
    score = model.predict(rows.x)
    served = serving_of(config, feed, stores, champion, span, score)
    rows, score = scored(champion.contract, rows, score)
    served = (*served, *selective(config, rows, score, base.horizon))
    base = replace(base, faults=(*base.faults, *served))
    calendar = edges(span.start, span.end, config.schedule.tick, config.schedule.timezone)
    ticks = tuple(
        replace(tick, mature=False) if any(b.start <= tick.start < b.end for b in broken) else tick
        for tick in tick_losses(rows, score, loss_for(config.metric), calendar, base.horizon)
    )
    asked = ticks, *_promise(config, feed, unseen, champion, gaps)
    if harder is not None and harder.since is not None and harder.level is not None:
        asked = rebased(*asked, harder.since, harder.level)
    held = feed.rows(champion.contract, champion.reference, gaps, per_tick=rows_per_tick(config, champion.reference))
    held, before = scored(champion.contract, held, unseen.predict(held.x))
    ranks = ranking_of(config, held)
    return replace(
        base,
        rows=len(rows),
        matured_rows=sum(tick.matured for tick in ticks if tick.mature),
        positives=_positives(rows, base.horizon) if config.task == "binary" else None,
        ticks=ticks,
        loss=evidence(*asked, config.policy, signals=1 if ranks is None else 2),
        ranking=None if ranks is None else ranked(config, ranks, (held, before), (rows, score), calendar, base.horizon),
        suspicion=suspicion(
            usual(
                held,
                before,
                champion.contract.inputs,
                champion.importance,
                loss_for(config.metric),
                binary=config.task == "binary",
                floor=config.watch.drift_threshold,
                seed=config.seed,
            ),
            rows,
            score,
            base.horizon,
        ),
        drift=_drift(config, feed, (unseen, model), champion, span),
    )


def _positives(rows: Rows, horizon: datetime | None) -> int:
    """Positives of mature ticks."""
    return 0 if horizon is None else int((rows.y[rows.time < micros(horizon)] == 1).sum())


def _promise(
    config: Config, feed: Feed, model: FittedModel, champion: Champion, gaps: Sequence[str]
) -> tuple[float, tuple[float, ...]]:
    """What was promised; measured again on the same rows where the metric, the ticks or the label changed since."""
    if champion.question == config.question:
        return champion.promised, champion.promised_ticks
    rows, loss = feed.rows(champion.contract, champion.reference, gaps).labelled(), loss_for(config.metric)
    rows, score = scored(champion.contract, rows, model.predict(rows.x))
    return loss.value(rows.y, score), tick_values(rows.y, score, rows.tick, loss)


def _drift(
    config: Config, feed: Feed, models: tuple[FittedModel, FittedModel], champion: Champion, span: Span
) -> tuple[ColumnDrift, ...]:
    limit, ((a, before), (b, now)) = config.watch.drift_threshold, compared(config, feed, models, champion, span)
    met = (champion.mode, champion.contract, champion.reference, span, tuple(sorted(champion.importance.items())))
    columns = feed.once(
        ("drift", *met), lambda: column_drift(a, b, champion.contract.inputs, champion.importance, limit)
    )
    return (*columns, score_drift(before[0], now[0], limit))
