"""The step that fixes the window of a training."""

from __future__ import annotations

from datetime import datetime

from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.data.plan import freeze
from lr_retune.plugins import Plugins
from lr_retune.records import Acceptance, Plan, Report
from lr_retune.steps.probing import answered_by
from lr_retune.steps.rows import excused


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
    answered = answered_by(config, seen.facts, since, cut) if answers and since is not None else None
    after = None if before is None else before.cut
    return freeze(feed, config, seen.champion.contract, excused(seen.facts.faults), accepted, answered, after)
