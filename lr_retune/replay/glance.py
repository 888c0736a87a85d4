"""A look for policies that look at nothing: what is wrong with the feed, and no model is asked."""

from __future__ import annotations

from datetime import datetime

from lr_retune import steps
from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.plugins import Plugins
from lr_retune.records import Champion, Facts, History
from lr_retune.stores.promotion import Stores


def glance(
    config: Config, plugins: Plugins, stores: Stores, champion: Champion, as_of: datetime, history: History
) -> Facts:
    """`steps.observe` without losses and drift: a timer does not pay for what it does not read."""
    del history
    return Facts(
        as_of=as_of,
        champion=champion.model,
        horizon=Feed(config, plugins.feeds, as_of).horizon(),
        rows=0,
        matured_rows=0,
        positives=None,
        ticks=(),
        loss=None,
        faults=steps.feed_faults(config, plugins.feeds, champion, as_of, stores.accepted(as_of)),
        question=config.question,
    )
