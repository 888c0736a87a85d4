"""The step that makes Evidently's page, on the days when a person will want it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.plugins import Plugins
from lr_retune.records import TRAINING_ACTIONS, History, Report
from lr_retune.steps.files import champions
from lr_retune.steps.rows import compared, watched
from lr_retune.stores.promotion import Stores
from lr_retune.watch.occasion import risen

_WEEK, _MONDAY = timedelta(days=7), datetime(1970, 1, 5, tzinfo=UTC)


def drift_page(config: Config, plugins: Plugins, stores: Stores, seen: Report, history: History) -> bytes | None:
    """Evidently's page where a person will want it: first tick, alarm, a decision that trains, and once a week."""
    champion, facts, decision = seen.champion, seen.facts, seen.decision
    alarm = risen(facts) is not None or bool(facts.suspicion and facts.suspicion.raised)
    due = not history.decisions or alarm or decision.action in TRAINING_ACTIONS or _new_week(history, facts.as_of)
    if not stores.shows or config.watch.drift == "native" or not (due or config.watch.drift == "evidently"):
        return None
    from lr_retune.watch.evidently import report  # 10 CPU seconds of import: paid only here

    feed = Feed(config, plugins.feeds, facts.as_of)
    span = watched(config, champion, facts.horizon, facts.as_of)
    model, unseen = champions(config, stores, champion)
    (a, (before, known)), (b, (now, learned)) = compared(config, feed, (unseen, model), champion, span)
    limit, labels = config.watch.drift_threshold, (known, learned)
    page, _ = report(a, b, champion.contract.inputs, before, now, limit, labels=labels, task=config.task)
    return page


def _new_week(history: History, as_of: datetime) -> bool:
    """Nobody has looked since this week began."""
    return (as_of - _MONDAY) // _WEEK != (history.decisions[-1].as_of - _MONDAY) // _WEEK
