"""The step that asks small twins whether a training would help."""

from __future__ import annotations

from datetime import datetime

from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.data.plan import spans
from lr_retune.data.ticks import shift
from lr_retune.errors import RetuneError
from lr_retune.metrics import loss_for
from lr_retune.plugins import Plugins
from lr_retune.records import Answered, Champion, Facts, History, Probe, Span, micros
from lr_retune.steps.fitting import fit_data_of
from lr_retune.steps.rows import excused
from lr_retune.stores.promotion import Stores
from lr_retune.watch.occasion import change, rows_to_judge
from lr_retune.watch.probe import Twins, probed, ticks_to_meet


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
        answered = None if since is None else answered_by(config, facts, since)
        fresh, _, _ = spans(feed, config, horizon, answered, trained.cut)
        met = Span(max(met.start, fresh.end), met.end)
        stale, known, seen = (
            feed.rows(champion.contract, each, gaps).labelled() for each in (trained.train, fresh, met)
        )
        tick, zone = config.schedule.tick, config.schedule.timezone
        cut = since is not None and shift(since, config.window.min_ticks, tick, zone) <= fresh.end
        data = fit_data_of(config, champion.contract, known, seen)
        taught, begun = (None if time is None else micros(time) for time in (trained.since, since))
        twins = Twins(stale, known, seen, taught=taught, since=begun, cut=cut)
        return probed(twins, plugins.family, champion, data, loss_for(config.metric), facts.as_of, seed=config.seed)
    except RetuneError:  # files that are gone, too little history, one class: a look must not fail for it
        return None


def answered_by(config: Config, facts: Facts, since: datetime, cut: datetime | None = None) -> Answered:
    """The change that a training would answer."""
    return Answered(since, cut, rows_to_judge(facts, config))
