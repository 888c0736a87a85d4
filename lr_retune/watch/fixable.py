"""When a probe is due, and what probes say: whether fresh data mends it, and what was lost so far. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from lr_retune.config import Config
from lr_retune.records import JUDGED, TRAINING_ACTIONS, Facts, History, LossEvidence, PastDecision, Probe
from lr_retune.watch.worth import current

CHANGES = frozenset({"loss_rose", "ranking_fell", "regret", "suspicion_alone", "contract_changed"})
ANSWERS = frozenset({"loss_rose", "ranking_fell", "follow_up"})  # trainings that learn a change they know the start of
SMALL = 0.003  # share of the promise that a retrain must mend for a probe to speak for it
SURE = 1.64  # standard errors: one-sided 95 %
MENDED = 0.25  # of a rise: what mends less leaves the world as hard as it got
LEARNED = 4  # ticks after a change before a fresh model can know it
FIRST, LAST = 2, 16  # ticks between quiet probes: doubling
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
    gap = _ticks(facts.as_of, last, config)
    if gap < CLOSE:
        return False
    return (
        old
        or _moving(facts, history, config)
        or follow_up(facts, history, config) is not None
        or gap >= _clock(facts, history, config)
    )


def _moving(facts: Facts, history: History, config: Config) -> bool:
    """A loss halfway to an alarm, or a suspicion that no probe has looked at; each for a while."""
    seen = [d for d in history.about(facts.champion) if d.probe]
    if facts.suspicion and facts.suspicion.raised and not (seen and seen[-1].suspected):
        return True
    found = [each for each in (facts.loss, facts.ranking) if each and each.cusum > config.policy.cusum_h / 2]
    since = min((each.since for each in found if each.since is not None), default=None)
    return since is not None and sum(d.as_of >= since for d in seen) < PATIENT


def risen(facts: Facts) -> LossEvidence | None:
    """The loss, or the ranking, that is worse beyond doubt."""
    return next((each for each in (facts.loss, facts.ranking) if each is not None and each.alarm), None)


def follow_up(facts: Facts, history: History, config: Config) -> PastDecision | None:
    """The change that was answered by training and is due for a second look, if any."""
    found = next((d for d in reversed(history.decisions) if CHANGES & set(d.codes) and d.outcome in JUDGED), None)
    if found is None:
        return None
    marks = [found.as_of + n * config.schedule.tick for n in config.policy.follow_ups]
    reached = max((mark for mark in marks if mark <= facts.as_of), default=None)
    if reached is None:
        return None
    looked = any(d.as_of >= reached and (d.probe or d.action in TRAINING_ACTIONS) for d in history.decisions)
    return None if looked else found


def change(facts: Facts, history: History, config: Config) -> datetime | None:
    """Estimated start of the change that is going on, or that was answered and is due for another look."""
    if (worse := risen(facts)) is not None:
        return worse.since
    answered = follow_up(facts, history, config)
    return None if answered is None else answered.since


def helps(probe: Probe, promised: float, config: Config) -> bool:
    """Whether a fresh model was better, beyond its standard error and by an amount that counts."""
    return probe.gain > max(config.policy.sure * probe.error, SMALL * abs(promised))


def mends_nothing(probe: Probe, loss: LossEvidence) -> bool:
    """Whether a fresh model that knows the change is about as bad: the world got harder."""
    risen = current(loss) - loss.promised
    return probe.learned >= LEARNED and probe.gain + SURE * probe.error < MENDED * risen


def too_early(probe: Probe, loss: LossEvidence, config: Config) -> bool:
    """Whether a training now would learn nothing of the change, and is no better for other reasons."""
    return probe.learned == 0 and not helps(probe, loss.promised, config)


def lost(facts: Facts, history: History, config: Config) -> float:
    """Loss that probes since the last settlement found fixable, summed over the ticks between them.

    Nothing, as long as probes that met on different ticks do not prove it together.
    """
    settled = history.last_settled
    found = [d.probe for d in history.about(facts.champion) if d.probe and (settled is None or d.as_of > settled)]
    found += [facts.probe] if facts.probe else []
    if not _proven(found, config):
        return 0.0
    total, before = 0.0, settled
    for probe in found:
        total = max(0.0, total + (probe.gain - 0.5 * probe.error) * min(_ticks(probe.as_of, before, config), LAST))
        before = probe.as_of
    return total


def _proven(probes: Sequence[Probe], config: Config) -> bool:
    """Whether the newest probes that share no tick, two at least, are together better by ``proof`` standard errors."""
    if not config.policy.proof:
        return True
    apart: list[Probe] = []
    for probe in reversed(probes):
        if not apart or _ticks(apart[-1].as_of, probe.as_of, config) >= apart[-1].ticks:
            apart.append(probe)
    gains = np.cumsum([probe.gain for probe in apart])
    errors = np.sqrt(np.cumsum([probe.error**2 for probe in apart]))
    return bool((gains[1:] > config.policy.proof * errors[1:]).any())


def _clock(facts: Facts, history: History, config: Config) -> int:
    """Ticks from one quiet probe to the next."""
    promised = 0.0 if facts.loss is None else facts.loss.promised
    quiet = 0
    for past in reversed([d.probe for d in history.about(facts.champion) if d.probe]):
        if helps(past, promised, config):
            return CLOSE if not quiet else min(FIRST * 2 ** (quiet - 1), LAST)
        quiet += 1
    return int(min(FIRST * 2**quiet, LAST))


def _last_probe(facts: Facts, history: History) -> datetime | None:
    probes = [d.as_of for d in history.about(facts.champion) if d.probe]
    return max([*probes, *([history.last_settled] if history.last_settled else [])], default=None)


def _ticks(now: datetime, before: datetime | None, config: Config) -> int:
    """Whole ticks between two times; very many since never."""
    return 10**6 if before is None else max(0, (now - before + timedelta(seconds=1)) // config.schedule.tick)
