"""The steps of the main path: what each reads, which rooms it joins, what it hands on.

Steps exchange references and small records; rows are read inside a step and never leave it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

import numpy as np

from lr_retune import average, encoding
from lr_retune.config import Config, Metric, Model, resolve_secret
from lr_retune.data.feed import Feed
from lr_retune.data.plan import freeze, spans
from lr_retune.data.ticks import edges, shift, tick_start
from lr_retune.errors import DataError, DependencyError, RetuneError
from lr_retune.guarded import guarded, vouched
from lr_retune.judge import limits
from lr_retune.judge.gates import sane_predictions
from lr_retune.judge.judgement import judge_scores, tick_values
from lr_retune.judge.looks import at_level, look_at, told
from lr_retune.logged import SCORE_ONLY, LoggedScores
from lr_retune.metrics import Loss, curve_loss_for, loss_for
from lr_retune.plugins import Group, Plugins, load_family, provider, strategy_of
from lr_retune.records import (
    TRAINING_ACTIONS,
    Acceptance,
    Answered,
    Budget,
    Candidate,
    Champion,
    ColumnDrift,
    Contract,
    Facts,
    Fault,
    Feeds,
    Files,
    FitData,
    FittedModel,
    History,
    HoldoutScores,
    Judgement,
    LossEvidence,
    Past,
    PastDecision,
    Plan,
    Probe,
    Range,
    Report,
    Rows,
    SearchOptions,
    Span,
    Trial,
    TuneResult,
    micros,
    plain,
)
from lr_retune.report.plots import curves_plot, rate_plot, series_plot
from lr_retune.report.range_plot import range_plot
from lr_retune.search.ahead import side_by_side
from lr_retune.search.arm import Named
from lr_retune.search.arms import run
from lr_retune.search.follow import follow, newest
from lr_retune.search.range_test import swept
from lr_retune.stores.bundle import judged, kept, native, pack, unpack_contract, unpack_golden, unpack_meta
from lr_retune.stores.promotion import Stores
from lr_retune.watch.drift import column_drift, score_drift
from lr_retune.watch.fixable import change, risen, rows_to_judge
from lr_retune.watch.probe import Twins, probed, ticks_to_meet
from lr_retune.watch.series import evidence, rebased, tick_losses
from lr_retune.watch.serving import selective_labels, serving_faults
from lr_retune.watch.suspicion import suspicion, usual

UNREADABLE = ("missing_column", "retyped_column")
NO_PAST = Past()
_WEEK, _MONDAY = timedelta(days=7), datetime(1970, 1, 5, tzinfo=UTC)
MOST_ROWS = 200_000  # scored of the watched ticks together, and never fewer than 20,000 of a tick
RARE = 0.05  # share of positives below which the ranking is watched beside the loss
GOLDEN_ROWS = 16  # enough to notice another model, few enough to read


# ── observe ───────────────────────────────────────────────────────────────────────────────────────
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
    span = _watched(config, champion, horizon, as_of)
    faults = _waived(_faults(config, feed, champion, span, looked), stores.accepted(as_of))
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
    broken = _still_broken(config, feed, champion, span, history, stores.accepted(as_of))
    return _measured(config, feed, stores, champion, span, base, history.rebased(champion.model), broken)


def _still_broken(
    config: Config, feed: Feed, champion: Champion, span: Span, history: History, accepted: Acceptance | None
) -> tuple[Span, ...]:
    """Watched ticks that a fault held and that nobody has mended in the feed since: their losses prove nothing."""
    tick, zone = config.schedule.tick, config.schedule.timezone
    found, looked = [], None
    for past in history.decisions:
        end = tick_start(past.as_of, tick, zone)
        start = shift(end, -1, tick, zone) if looked is None else min(looked, shift(end, -1, tick, zone))
        looked = end
        if "feed_fault" in past.codes and start >= span.start and end <= span.end:
            faults = feed.check(champion.contract, Span(start, end), champion.importance, config.watch.matters)
            if any(f.matters and f.column is not None for f in _waived(faults, accepted)):
                found.append(Span(start, end))
    return tuple(found)


def _alias_moved(stores: Stores) -> str | None:
    """Where the alias was moved to by hand; a registry that is away delays no decision, only a promotion."""
    try:
        return stores.registry_alias_moved()
    except DependencyError:
        return None


def feed_faults(
    config: Config, feeds: Feeds, champion: Champion, as_of: datetime, accepted: Acceptance | None
) -> tuple[Fault, ...]:
    """What `observe` would find wrong with the feed, without looking further."""
    feed = Feed(config, feeds, as_of)
    return _waived(_faults(config, feed, champion, _watched(config, champion, feed.horizon(), as_of)), accepted)


def _waived(faults: Sequence[Fault], accepted: Acceptance | None) -> tuple[Fault, ...]:
    """What a person accepted is told and blocks no more."""
    if accepted is None:
        return tuple(faults)
    said = {*accepted.waived, *((name, "new_column") for name in accepted.columns)}
    fix = "accepted: trainings learn it as such rows reach train"
    return tuple(replace(f, matters=False, fix=fix) if (f.column, f.code) in said else f for f in faults)


def _faults(
    config: Config, feed: Feed, champion: Champion, span: Span, looked: datetime | None = None
) -> tuple[Fault, ...]:
    newest = _newest(config, feed, span)
    if looked is not None:
        since = tick_start(looked, config.schedule.tick, config.schedule.timezone)
        newest = Span(max(span.start, min(newest.start, since)), span.end)
    return feed.check(champion.contract, newest, champion.importance, config.watch.matters)


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
    model, unseen = _champions(config, stores, champion)
    score = model.predict(rows.x)
    served = _served(config, feed, stores, champion, span, score)
    rows, score = scored(champion.contract, rows, score)
    served = (*served, *_selective(config, rows, score, base.horizon))
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
    ranks = _ranks(config, held)
    return replace(
        base,
        rows=len(rows),
        matured_rows=sum(tick.matured for tick in ticks if tick.mature),
        positives=_positives(rows, base.horizon) if config.task == "binary" else None,
        ticks=ticks,
        loss=evidence(*asked, config.policy, signals=1 if ranks is None else 2),
        ranking=None
        if ranks is None
        else _ranking(config, ranks, (held, before), (rows, score), calendar, base.horizon),
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


def rows_per_tick(config: Config, span: Span) -> int:
    """How many rows of each tick of a watched span are scored."""
    ticks = len(edges(span.start, span.end, config.schedule.tick, config.schedule.timezone)) - 1
    return max(MOST_ROWS // max(ticks, 1), 20_000)


def _ranks(config: Config, held: Rows) -> Loss | None:
    """The ranking to watch beside a proper loss, where positives are rare."""
    known = held.labelled().y
    rare = config.task == "binary" and len(known) > 0 and float(known.mean()) < RARE
    return loss_for(Metric(name="pr_auc")) if rare and not loss_for(config.metric).ranks else None


def _ranking(
    config: Config,
    loss: Loss,
    held: tuple[Rows, np.ndarray],
    now: tuple[Rows, np.ndarray],
    calendar: np.ndarray,
    horizon: datetime | None,
) -> LossEvidence | None:
    (rows, score), known = held, ~np.isnan(held[0].y)
    promised = tick_values(rows.y[known], score[known], rows.tick[known], loss)
    whole = loss.value(rows.y[known], score[known])
    return evidence(tick_losses(*now, loss, calendar, horizon), whole, promised, config.policy, signals=2)


def _served(
    config: Config, feed: Feed, stores: Stores, champion: Champion, span: Span, score: np.ndarray
) -> tuple[Fault, ...]:
    """Logged scores against the champion's own, on rows it served; a replayed champion never served any."""
    if champion.mode == "score_only":  # the log is the champion: nothing to hold it against
        return _unlogged(score)
    logged = feed.logged(span, rows_per_tick(config, span)) if stores.shows else None
    if logged is None:
        return ()
    if logged.version is None:
        # servers load a new champion some time after it is promoted, and the log does not say when
        ours = logged.time > micros(stores.crowned(champion) + config.schedule.tick)
    else:
        ours = np.isin(logged.version.astype(str), [champion.model, str(champion.version)])
    return tuple(serving_faults(logged, score, ours, config.policy.min_rows))


def _unlogged(score: np.ndarray) -> tuple[Fault, ...]:
    """Rows that count for nothing, as no score was logged that stands for the champion."""
    missing = int(np.isnan(score).sum())
    if not missing:
        return ()
    what = f"{missing:,} of {len(score):,} watched rows have no logged score; they are left out of every loss"
    return (Fault("unlogged_scores", None, what, "log a score for every row that the champion serves", matters=False),)


def scored(contract: Contract, rows: Rows, score: np.ndarray) -> tuple[Rows, np.ndarray]:
    """Rows with the scores that stand for a model nobody loads; others are left out, as is the column of scores."""
    if contract.score is None:
        return rows, score
    known = np.isfinite(score)
    kept = rows.take(known)
    return replace(kept, x=kept.x[:, :-1]), score[known]


def _selective(config: Config, rows: Rows, score: np.ndarray, horizon: datetime | None) -> tuple[Fault, ...]:
    if horizon is None:
        return ()
    complete = rows.time < micros(horizon)
    return tuple(selective_labels(score[complete], ~np.isnan(rows.y[complete]), config.policy.min_rows))


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


def excused(faults: Sequence[Fault]) -> tuple[str, ...]:
    """Columns that are missing or unreadable and do not matter: they count as missing values."""
    return tuple(f.column for f in faults if f.column is not None and f.code in UNREADABLE and not f.matters)


def _watched(config: Config, champion: Champion, horizon: datetime | None, as_of: datetime) -> Span:
    """Whole ticks since the champion's holdout, at most `[watch] ticks` of them with labels."""
    tick, zone = config.schedule.tick, config.schedule.timezone
    end = tick_start(as_of, tick, zone)
    newest = end if config.labels.mode == "none" else min(horizon or end, end)
    start = max(champion.reference.end, shift(tick_start(newest, tick, zone), -config.watch.ticks, tick, zone))
    return Span(min(start, end), end)


def _newest(config: Config, feed: Feed, span: Span) -> Span:
    """The newest ticks that hold enough rows to check: one tick where it is large enough."""
    tick, zone = config.schedule.tick, config.schedule.timezone
    for count in (1, 2, 7, 14, 28):
        start = max(span.start, shift(span.end, -count, tick, zone))
        newest = Span(start, span.end)
        if start == span.start or feed.holds(newest.start, newest.end, config.policy.min_rows):
            return newest
    return span


def _drift(
    config: Config, feed: Feed, models: tuple[FittedModel, FittedModel], champion: Champion, span: Span
) -> tuple[ColumnDrift, ...]:
    limit, ((a, before), (b, now)) = config.watch.drift_threshold, _compared(config, feed, models, champion, span)
    columns = column_drift(a, b, champion.contract.inputs, champion.importance, limit)
    return (*columns, score_drift(before[0], now[0], limit))


def _compared(
    config: Config, feed: Feed, models: tuple[FittedModel, FittedModel], champion: Champion, span: Span
) -> tuple[tuple[Any, tuple[np.ndarray, np.ndarray]], ...]:
    """Sampled reference and current rows: readable, with a model's scores and the labels; ``models`` in that order."""
    found = []
    for model, each in zip(models, (champion.reference, span), strict=True):
        table, rows = feed.sample(champion.contract, each, config.watch.sample, config.seed)
        score = model.predict(rows.x)
        if champion.contract.score is not None:
            known = np.isfinite(score)
            table, rows = table.select(champion.contract.inputs.names).filter(known), rows.take(known)
            score = score[known]
        found.append((table, (score, rows.y)))
    return tuple(found)


# ── probe ─────────────────────────────────────────────────────────────────────────────────────────
def probe(
    config: Config, plugins: Plugins, stores: Stores, champion: Champion, facts: Facts, history: History
) -> Probe | None:
    """Small twins, one on the champion's rows and one on those that a training would have now, meet on the newest."""
    trained, horizon = stores.trained_on(champion), facts.horizon
    mature = [tick for tick in facts.ticks if tick.mature and tick.matured]
    if trained is None or horizon is None or not mature:
        return None
    feed, gaps = Feed(config, plugins.feeds, facts.as_of), excused(facts.faults)
    met = Span(
        mature[-min(ticks_to_meet([t.matured for t in mature], config.policy.min_rows), len(mature))].start, horizon
    )
    ours = champion.family == plugins.family.name  # another family starts anew, and keeps its rows to search by
    since = change(facts, history, config) if ours else None
    try:
        answered = None if since is None else _answered(config, facts, since)
        fresh, _, _ = spans(feed, config, horizon, answered, trained.cut)
        met = Span(max(met.start, fresh.end), met.end)
        stale, known, seen = (
            feed.rows(champion.contract, each, gaps).labelled() for each in (trained.train, fresh, met)
        )
        tick, zone = config.schedule.tick, config.schedule.timezone
        cut = since is not None and shift(since, config.window.min_ticks, tick, zone) <= fresh.end
        data = _fit_data_of(config, champion.contract, known, seen)
        taught, begun = (None if time is None else micros(time) for time in (trained.since, since))
        twins = Twins(stale, known, seen, taught=taught, since=begun, cut=cut)
        return probed(twins, plugins.family, champion, data, loss_for(config.metric), facts.as_of, seed=config.seed)
    except RetuneError:  # files that are gone, too little history, one class: a look must not fail for it
        return None


def _answered(config: Config, facts: Facts, since: datetime, cut: datetime | None = None) -> Answered:
    return Answered(since, cut, rows_to_judge(facts, config))


def drift_page(config: Config, plugins: Plugins, stores: Stores, seen: Report, history: History) -> bytes | None:
    """Evidently's page where a person will want it: first tick, alarm, a decision that trains, and once a week."""
    champion, facts, decision = seen.champion, seen.facts, seen.decision
    alarm = risen(facts) is not None or bool(facts.suspicion and facts.suspicion.raised)
    due = not history.decisions or alarm or decision.action in TRAINING_ACTIONS or _new_week(history, facts.as_of)
    if not stores.shows or config.watch.drift == "native" or not (due or config.watch.drift == "evidently"):
        return None
    from lr_retune.watch.evidently import report  # 10 CPU seconds of import: paid only here

    feed = Feed(config, plugins.feeds, facts.as_of)
    span = _watched(config, champion, facts.horizon, facts.as_of)
    model, unseen = _champions(config, stores, champion)
    (a, (before, known)), (b, (now, learned)) = _compared(config, feed, (unseen, model), champion, span)
    limit, labels = config.watch.drift_threshold, (known, learned)
    page, _ = report(a, b, champion.contract.inputs, before, now, limit, labels=labels, task=config.task)
    return page


def _new_week(history: History, as_of: datetime) -> bool:
    """Nobody has looked since this week began."""
    return (as_of - _MONDAY) // _WEEK != (history.decisions[-1].as_of - _MONDAY) // _WEEK


# ── freeze ────────────────────────────────────────────────────────────────────────────────────────
def plan(
    config: Config,
    plugins: Plugins,
    as_of: datetime,
    seen: Report | None,
    before: Plan | None = None,
    accepted: Acceptance | None = None,
    since: datetime | None = None,
) -> Plan:
    """Fix the window: spans counted back from the label horizon, contract and digest.

    ``seen`` is None for a first model: the contract is learned from nothing. ``before``: the champion's own window, as
    far as it is known. ``accepted``: what a person said of a
    feed that changed. ``since``: the change that a refit answers, whose rows must not all be held back.
    """
    feed = Feed(config, plugins.feeds, as_of)
    if seen is None:
        return freeze(feed, config)
    cut = None if seen.facts.probe is None else seen.facts.probe.cut
    ours = seen.champion.family == plugins.family.name  # another family cannot go on from the champion's steps
    answers = ours and since is not None and seen.decision.action == "refit"
    answered = _answered(config, seen.facts, since, cut) if answers and since is not None else None
    after = None if before is None else before.cut
    return freeze(feed, config, seen.champion.contract, excused(seen.facts.faults), accepted, answered, after)


# ── tune ──────────────────────────────────────────────────────────────────────────────────────────
def tune(
    config: Config,
    plugins: Plugins,
    stores: Stores,
    plan: Plan,
    seen: Report | None,
    past: Past = NO_PAST,
    *,
    alone: bool = False,
) -> TuneResult:
    """Search (or refit) on train and valid; the control arm and the fixed rate run beside it.

    Where a refit answers a change there is no valid, and the control arm is all there is: nothing could be chosen by.

    ``seen`` is None for a first model: there is no old rate, and the search alone decides. So it does ``alone``,
    where not even the fixed rate may take its place.
    """
    started = time.process_time(), time.perf_counter()
    feed = Feed(config, plugins.feeds, plan.as_of)
    gaps = () if seen is None else excused(seen.facts.faults)
    data = _fit_data(config, feed, plan, gaps)
    old = None if seen is None or alone else _old(config, plugins, plan, seen.champion, past, gaps)
    refit = seen is not None and seen.decision.action == "refit"
    options = _options(config, plugins, data.valid if len(data.valid) else newest(data.train), past)
    journal = stores.journal(plan, refit, past, None if old is None else (old.learning_rate, old.schedule))
    options = replace(options, recall=journal.recall, remember=journal.remember)
    if config.search.dask is not None:
        options = side_by_side(plugins.family, data, options, dask=resolve_secret(config.search.dask, config.root))
    elif config.search.jobs > 1:
        options = side_by_side(plugins.family, data, options, jobs=config.search.jobs)
    strategy = None if refit else plugins.strategy
    if seen is not None and old is not None and not len(data.valid):
        known = stores.trained_on(seen.champion)
        rows = len(data.train) if known is None else _learned(known, stores.files(seen.champion))
        arms = follow(plugins.family, data, options, old, seen.champion.steps, rows)
    else:
        walls = _user_range(config)
        arms = run(plugins.family, data, options, strategy=strategy, old=old, user_range=walls, fixed_counts=not alone)
    kept = golden(config, feed, plan)

    def save(made: tuple[Trial, FittedModel]) -> Candidate:
        return _save(config, plugins, stores, plan, kept, *made)

    saved = {role: save(made) for role, made in arms.models.items()}
    return TuneResult(
        family=plugins.family.name,
        strategy="refit" if refit else strategy_of(config, plugins.family),
        step_unit=plugins.family.step_unit,
        challenger=saved.get("challenger"),
        control=saved.get("control"),
        fixed=saved.get("fixed"),
        trials=arms.trials,
        at_wall=arms.at_wall,
        same_rate=arms.same_rate,
        estimate=arms.estimate,
        reason=arms.reason,
        lead=arms.lead,
        old_rows=saved.get("old_rows"),
        repeats={role: tuple(save(made) for made in each) for role, each in arms.repeats.items()},
        apart={role: tuple(save(made) for made in each) for role, each in arms.apart.items()},
        seed_matters=arms.seed_matters,
        cost=arms.cost,
        timing={"cpu_s": time.process_time() - started[0], "wall_s": time.perf_counter() - started[1]},
    )


def _learned(plan: Plan, files: Files) -> int:
    """Labelled rows that a champion's steps were taken on."""
    return sum(plan.rows.values()) if judged(files) != native(files) else plan.rows["train"]


def _old(config: Config, plugins: Plugins, plan: Plan, champion: Champion, past: Past, gaps: tuple[str, ...]) -> Named:
    """The champion's rate, with the rows it was trained on where they can still be read as they were."""
    if champion.family != plugins.family.name:  # its rate means nothing to another family
        return Named(plugins.family.default_rate)
    named = Named(champion.learning_rate, champion.schedule)
    if past.champion is None:
        return named
    before = replace(past.champion, contract=plan.contract)  # as the challenger will be asked
    try:
        data = _fit_data(config, Feed(config, plugins.feeds, before.as_of), before, gaps)
    except RetuneError:  # columns that did not exist then, files that are gone
        return named
    return replace(named, data=data, loss=_users_loss(config, data.valid))


def _fit_data(config: Config, feed: Feed, plan: Plan, gaps: tuple[str, ...]) -> FitData:
    train, valid = (feed.rows(plan.contract, span, gaps).labelled() for span in (plan.train, plan.valid))
    train = train if plan.since is None else train.emphasised(micros(plan.since))
    return _fit_data_of(config, plan.contract, train, valid)


def _fit_data_of(config: Config, contract: Contract, train: Rows, valid: Rows) -> FitData:
    return FitData(
        train=train,
        valid=valid,
        task=config.task,
        categorical=contract.categorical,
        objective=config.metric.name,
        curve_loss=curve_loss_for(config.metric),
        quantile=config.metric.quantile,
    )


def _user_range(config: Config) -> Range | None:
    asked = config.search.learning_rate
    return None if asked is None else Range(asked.low, asked.high)


def _options(config: Config, plugins: Plugins, valid: Rows, past: Past) -> SearchOptions:
    asked, family, began = config.search, plugins.family, time.perf_counter()
    return SearchOptions(
        space=_user_range(config) or family.default_range,
        points=asked.points,
        max_steps=asked.max_steps,
        patience=asked.patience or family.default_patience,
        seed=config.seed,
        loss=_users_loss(config, valid),
        schedules=family.default_schedules if asked.schedules is None else tuple(asked.schedules),
        effort=asked.effort,
        answer=asked.answer,
        steps_are_served=family.steps_are_served,
        earlier=past.trials,
        budget=Budget(asked.budget.fits, asked.budget.steps, asked.budget.seconds),
        elapsed=lambda: time.perf_counter() - began,
        progress=plugins.tell,
    )


def _users_loss(config: Config, valid: Rows) -> Callable[[np.ndarray], float]:
    return partial(loss_for(config.metric).value, valid.y)


def golden_rows(columns: Mapping[str, list[Any]], contract: Contract) -> np.ndarray:
    """Raw golden rows as a model reads them."""
    return encoding.matrix(columns, contract.features)


def golden(config: Config, feed: Feed, plan: Plan) -> dict[str, list[Any]]:
    """Raw rows whose scores identify a model for ever."""
    table = feed.table(plan.contract, plan.holdout, limit=GOLDEN_ROWS, seed=config.seed)
    columns: dict[str, list[Any]] = plain({name: table.column(name).to_pylist() for name in plan.contract.names})
    return columns


def _save(
    config: Config,
    plugins: Plugins,
    stores: Stores,
    plan: Plan,
    golden: Mapping[str, list[Any]],
    trial: Trial,
    model: FittedModel,
    beside: Files = MappingProxyType({}),
) -> Candidate:
    files = model.files()
    scores = model.predict(encoding.matrix(golden, plan.contract.features))
    meta = {
        "family": plugins.family.name,
        "task": config.task,
        "learning_rate": trial.learning_rate,
        "schedule": trial.schedule,
        "steps": trial.steps,
        **({} if config.decision_threshold is None else {"threshold": config.decision_threshold}),
        **_foreign(plugins, plan.contract),
    }
    digest = stores.models.put(
        pack({**files, **beside}, plan.contract, meta, {"columns": golden, "scores": scores.tolist()})
    )
    return Candidate(
        model=digest,
        learning_rate=trial.learning_rate,
        schedule=trial.schedule,
        steps=trial.steps,
        loss=trial.loss if trial.loss is not None else float("nan"),
        size=sum(len(data) for data in files.values()),
        importance=dict(zip(plan.contract.names, model.importance().tolist(), strict=True)),
        threshold=config.decision_threshold,
    )


def pictures(result: TuneResult, seen: Report) -> dict[str, str]:
    """What a person looks at first: loss against rate, curves, and production's ticks."""
    chosen = None if result.challenger is None else result.challenger.learning_rate
    promised = seen.champion.promised if seen.facts.loss is None else seen.facts.loss.promised
    fitted = [t for t in result.trials if not t.schedule.startswith(("range(", "average("))]
    found = {
        "learning_rate.svg": rate_plot(fitted, chosen, seen.champion.learning_rate),
        "curves.svg": curves_plot(fitted, result.step_unit),
        "production_loss.svg": series_plot(seen.facts.ticks, promised),
    }
    if sweeps := swept(result.trials):
        found["range_test.svg"] = range_plot(sweeps, chosen)
    return found


def _foreign(plugins: Plugins, contract: Contract) -> dict[str, Any]:
    """What serving needs of others: the packages that bring family and transform, and the raw columns it reads."""
    asked: list[tuple[Group, str | None]] = [("families", plugins.family.name), ("transforms", contract.transform)]
    packages = [provider(group, name) for group, name in asked if name is not None]
    found: dict[str, Any] = {"packages": [p for p in packages if p is not None and not p.startswith("lr-retune==")]}
    if contract.transform is not None and plugins.feeds.transform is not None:
        code = plugins.feeds.transform(contract.transform)
        found |= {"inputs": dict(code.inputs), "outputs": dict(code.outputs)}
    return found


# ── judge ─────────────────────────────────────────────────────────────────────────────────────────
def judge(config: Config, plugins: Plugins, stores: Stores, plan: Plan, seen: Report, result: TuneResult) -> Judgement:
    """Meet the champion on the holdout that nothing was tuned on, with the alpha that earlier looks at it left."""
    feed, gaps, champion = Feed(config, plugins.feeds, plan.as_of), excused(seen.facts.faults), seen.champion
    every, seen_by_champion = (feed.rows(c, plan.holdout, gaps) for c in (plan.contract, champion.contract))
    entity = feed.entities(plan.holdout)
    _demand_same_rows(every, seen_by_champion, entity)
    ours, theirs = every.labelled(), seen_by_champion.labelled()
    score = _scorer(config, stores, result.family)
    files = stores.files(champion)
    model, unseen = _champions(config, stores, champion)
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
        suspects=_suspects(plan.contract, ours) if entity is None else {},
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


def _suspects(contract: Contract, rows: Rows) -> dict[str, np.ndarray]:
    """Category columns of many levels of which one holds a large part of the rows: customers, perhaps."""
    found = {contract.names[i]: rows.x[:, i] for i in contract.categorical}
    coded = {name: np.where(np.isnan(codes), -1, codes).astype(np.int64) for name, codes in found.items()}
    return {name: codes for name, codes in coded.items() if limits.dominated(codes)}


def _demand_same_rows(ours: Rows, theirs: Rows, entity: np.ndarray | None) -> None:
    same = np.array_equal(ours.time, theirs.time) and np.array_equal(ours.y, theirs.y, equal_nan=True)
    if same and (entity is None or len(entity) == len(ours)):
        return
    raise DataError(
        f"two reads of the holdout gave {len(ours):,} and {len(theirs):,} rows that are not the same",
        why="champion and challenger are compared on identical rows or not at all",
        fix="let no job rewrite the feed while a run reads it, and run again",
    )


def refit(
    config: Config, plugins: Plugins, stores: Stores, plan: Plan, result: TuneResult, seen: Report | None
) -> TuneResult:
    """Fit the recipe that passed once more, on train, valid and holdout: what serves has learned the newest rows.

    Rate and schedule are the judged model's, its steps grow with the rows. No row is left to judge the refit by, so it
    serves only if it is sane and no worse than the judged model on the holdout, which it has seen. The judged model
    stays in its folder: its holdout loss is the promise, and it stands for the champion where unseen scores are asked.
    """
    passed = result.challenger
    assert passed is not None  # it passed
    feed, gaps = Feed(config, plugins.feeds, plan.as_of), () if seen is None else excused(seen.facts.faults)
    everything = replace(plan, train=Span(plan.train.start, plan.holdout.end), valid=Span(*[plan.holdout.end] * 2))
    data = _fit_data(config, feed, everything, gaps)
    named, options = (
        Named(passed.learning_rate, passed.schedule),
        _options(config, plugins, newest(data.train), NO_PAST),
    )
    arms = follow(plugins.family, data, options, named, passed.steps, plan.rows["train"])
    trial, model = arms.models["challenger"]
    before = stores.models.get(passed.model)
    rows = feed.rows(plan.contract, plan.holdout, gaps).labelled()
    old = load_model(config, result.family, before).predict(rows.x)
    doubt = _doubt(
        HoldoutScores(y=rows.y, tick=rows.tick, champion=old, challenger=model.predict(rows.x)), result, config
    )
    found = replace(result, cost={**result.cost, "refit": arms.cost["control"]})
    if doubt:
        return replace(found, reason=_and(result.reason, f"the refit on all rows was dropped: {doubt}"))
    made = _save(config, plugins, stores, plan, golden(config, feed, plan), trial, model, kept(before))
    return replace(found, refit=made)


def _doubt(scores: HoldoutScores, result: TuneResult, config: Config) -> str | None:
    """Why a refit is not to serve: ``scores`` of the judged model and of the refit, on rows that only this has seen."""
    sane, loss = sane_predictions(scores, result, config), loss_for(config.metric)
    if sane.status != "PASS":
        return sane.reason
    old, new = loss.value(scores.y, scores.champion), loss.value(scores.y, scores.challenger)
    if new > old * (1 + config.gates.margin):
        return f"{config.metric.name} {new:.4g} on the holdout, which it has seen, against {old:.4g} before"
    return None


def _and(said: str, more: str) -> str:
    return f"{said}; {more}" if said else more


def promise(config: Config, plugins: Plugins, stores: Stores, plan: Plan, result: TuneResult) -> Judgement:
    """What a first model promises: its holdout loss, with nobody to compare it to."""
    rows = Feed(config, plugins.feeds, plan.as_of).rows(plan.contract, plan.holdout).labelled()
    score = _scorer(config, stores, result.family)(result.challenger, rows)
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
    return _users_loss(config, rows)(_scorer(config, stores, plugins.family.name)(candidate, rows))


def _scorer(config: Config, stores: Stores, family: str) -> Callable[[Candidate | None, Rows], np.ndarray]:
    def score(candidate: Candidate | None, rows: Rows) -> np.ndarray:
        if candidate is None:  # every trial failed: the gates answer ERROR on what is not a number
            return np.full(len(rows), np.nan)
        return load_model(config, family, stores.models.get(candidate.model)).predict(rows.x)

    return score


def _champions(config: Config, stores: Stores, champion: Champion) -> tuple[FittedModel, FittedModel]:
    """What serves, and what was judged: the same model, unless its recipe was fitted once more on all rows."""
    files = stores.files(champion)
    return load_model(config, champion.family, files), load_model(config, champion.family, judged(files))


def load_model(config: Config, family: str, files: Files) -> FittedModel:
    """A model from files whose digest was checked when they were read."""
    if family == SCORE_ONLY:
        return LoggedScores(unpack_contract(files))
    return _loaded(family, config.model.model_dump_json(), tuple(native(files).items()))


@lru_cache(maxsize=4)  # a tick meets its champion several times, and reading trees takes longer than asking them
def _loaded(family: str, model: str, files: tuple[tuple[str, bytes], ...]) -> FittedModel:
    return average.load(dict(files), load_family(Model.model_validate_json(model), family).load)


def reproduces(config: Config, files: Files) -> bool:
    """Whether a stored model still gives its golden predictions, to 1e-9; one that nobody loads has none."""
    if unpack_meta(files)["family"] == SCORE_ONLY:
        return True
    golden = unpack_golden(files)
    x = golden_rows(golden["columns"], unpack_contract(files))
    found = load_model(config, unpack_meta(files)["family"], files).predict(x)
    return bool(np.allclose(found, golden["scores"], rtol=0, atol=1e-9))
