"""What is wrong with the feed, and what of it a person has accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.data.ticks import shift, tick_start
from lr_retune.records import Acceptance, Champion, Fault, Feeds, History, Span
from lr_retune.steps.rows import newest_ticks, watched


def feed_faults(
    config: Config, feeds: Feeds, champion: Champion, as_of: datetime, accepted: Acceptance | None
) -> tuple[Fault, ...]:
    """What `observe` would find wrong with the feed, without looking further."""
    feed = Feed(config, feeds, as_of)
    return waived(faults_of(config, feed, champion, watched(config, champion, feed.horizon(), as_of)), accepted)


def faults_of(
    config: Config, feed: Feed, champion: Champion, span: Span, looked: datetime | None = None
) -> tuple[Fault, ...]:
    """What the contract finds in the ticks since somebody last looked."""
    newest = newest_ticks(config, feed, span)
    if looked is not None:
        since = tick_start(looked, config.schedule.tick, config.schedule.timezone)
        newest = Span(max(span.start, min(newest.start, since)), span.end)
    return feed.check(champion.contract, newest, champion.importance, config.watch.matters)


def waived(faults: Sequence[Fault], accepted: Acceptance | None) -> tuple[Fault, ...]:
    """What a person accepted is told and blocks no more."""
    if accepted is None:
        return tuple(faults)
    said = {*accepted.waived, *((name, "new_column") for name in accepted.columns)}
    fix = "accepted: trainings learn it as such rows reach train"
    return tuple(replace(f, matters=False, fix=fix) if (f.column, f.code) in said else f for f in faults)


def still_broken(
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
            if any(f.matters and f.column is not None for f in waived(faults, accepted)):
                found.append(Span(start, end))
    return tuple(found)
