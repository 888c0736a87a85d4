"""When a probe is due: something goes on, a change waits for its second look, or the clock says so. Pure."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

from lr_retune.config import Config
from lr_retune.records import HELD, JUDGED, LEAST_HELD, Facts, History, LossEvidence, PastDecision, Probe
from lr_retune.watch.proof import CHANGES, leans, probed, ticks

FIRST = 2  # ticks to a quiet probe, then doubling up to those that one meets on: none goes unseen
PATIENT = 12  # probes of one change, tick by tick; then the clock goes on
CLOSE = 1  # ticks between probes while something is going on


def due(facts: Facts, history: History, config: Config, *, old: bool) -> bool:
    """Whether a probe is worth its work: something is going on, or the clock says so.

    Parameters
    ----------
    old
        Whether the champion has reached its age.
    """
    last = _last_probe(facts, history)
    gap = ticks(facts.as_of, last, config)
    if gap < CLOSE:
        return False
    return (
        old
        or _moving(facts, history, config)
        or follow_up(facts, history, config) is not None
        or gap >= _clock(facts, history)
    )


def _moving(facts: Facts, history: History, config: Config) -> bool:
    """A loss halfway to an alarm, or a suspicion that no probe has looked at; each for a while."""
    seen = probed(facts, history)
    if facts.suspicion and facts.suspicion.raised and not (seen and seen[-1].suspected):
        return True
    found = [each for each in (facts.loss, facts.ranking) if each and each.cusum > config.policy.cusum_h / 2]
    since = min((each.since for each in found if each.since is not None), default=None)
    return since is not None and sum(d.as_of >= since + late(facts) for d in seen) < PATIENT


def _clock(facts: Facts, history: History) -> int:
    """Ticks from one quiet probe to the next."""
    promised = 0.0 if facts.loss is None else facts.loss.promised
    quiet, most = 0, FIRST
    for past in reversed([d.probe for d in probed(facts, history) if d.probe]):
        most = max(most, past.ticks)
        if leans(past, promised):
            return CLOSE if not quiet else min(FIRST * 2 ** (quiet - 1), most)
        quiet += 1
    return int(min(FIRST * 2**quiet, most))


def _last_probe(facts: Facts, history: History) -> datetime | None:
    probes = [d.as_of for d in probed(facts, history)]
    return max([*probes, *([history.last_settled] if history.last_settled else [])], default=None)


def known(facts: Facts, history: History, config: Config) -> Probe | None:
    """The champion's newest probe, where it is of this very tick: a second look at the same rows has it too."""
    last = next((d.probe for d in reversed(probed(facts, history))), None)
    return last if last is not None and ticks(facts.as_of, last.as_of, config) < CLOSE else None


def risen(facts: Facts) -> LossEvidence | None:
    """The loss, or the ranking, that is worse beyond doubt."""
    return next((each for each in (facts.loss, facts.ranking) if each is not None and each.alarm), None)


def change(facts: Facts, history: History, config: Config) -> datetime | None:
    """Estimated start of the change that is going on, or that was answered and is due for another look."""
    if (worse := risen(facts)) is not None:
        return worse.since
    answered = follow_up(facts, history, config)
    return None if answered is None else answered.since


def follow_up(facts: Facts, history: History, config: Config) -> PastDecision | None:
    """The change that was answered by training and is due for a second look, if any."""
    found = next((d for d in reversed(history.decisions) if CHANGES & set(d.codes) and d.outcome in JUDGED), None)
    if found is None:
        return None
    marks = [found.as_of + n * config.schedule.tick for n in config.policy.follow_ups]
    if found.since is not None:
        marks.append(found.since + _alone(facts, config) * config.schedule.tick + late(facts))
    reached = max((mark for mark in marks if mark <= facts.as_of), default=None)
    if reached is None:
        return None
    trained = any(d.as_of >= reached and d.outcome in JUDGED for d in history.decisions)
    looked = any(d.as_of >= reached and d.as_of != facts.as_of for d in probed(facts, history))
    return None if trained or looked else found


def late(facts: Facts) -> timedelta:
    """How long labels take: what a look knows ended so long before it."""
    return timedelta(0) if facts.horizon is None else facts.as_of - facts.horizon


def _alone(facts: Facts, config: Config) -> int:
    """Ticks after which a change can be trained on alone, as a holdout after it is cut: a third of them at least."""
    least, most = config.window.min_ticks, config.ticks(config.window.holdout)
    seen = sum(tick.mature and tick.matured > 0 for tick in facts.ticks)
    held = math.ceil(rows_to_judge(facts, config) * seen / facts.matured_rows) if facts.matured_rows else most
    return max(least + min(max(held, LEAST_HELD), most), math.ceil(least * HELD / (HELD - 1)))


def rows_to_judge(facts: Facts, config: Config) -> int:
    """Rows of a holdout that the gates ask for, and a tenth more."""
    rows = config.gates.min_rows
    if facts.positives is not None:
        rows = max(rows, config.gates.min_positives * facts.matured_rows // max(facts.positives, 1))
    return rows + rows // 10
