"""When a probe is due, and what probes say: whether fresh data mends it, and what was lost so far. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from lr_retune.config import Config
from lr_retune.records import HELD, JUDGED, LEAST_HELD, Facts, History, LossEvidence, PastDecision, Probe
from lr_retune.watch.worth import current

CHANGES = frozenset({"loss_rose", "ranking_fell", "suspicion_alone", "contract_changed"})
ANSWERS = frozenset({"loss_rose", "ranking_fell", "follow_up"})  # trainings that learn a change they know the start of
SMALL = 0.003  # share of the promise that a retrain must mend for a probe to speak for it
SURE = 1.64  # standard errors: one-sided 95 %
MENDED = 0.25  # of a rise: what mends less leaves the world as hard as it got
LEARNED = 4  # ticks after a change before a fresh model can know it
FIRST = 2  # ticks to a quiet probe, then doubling up to those that one meets on: none goes unseen
MEASURED = 3  # steps from probe to probe before they tell its luck
AGREES = 1.0  # standard errors by which a fresh model must be better where other evidence has spoken
BACK = (2, 4, 8)  # probes that are taken together, the newest
RESTLESS = 40  # ticks after a promotion in which a world that was seen to move is believed to move again
LONGEST = 8  # ticks that one probe speaks for
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
        or gap >= _clock(facts, history)
    )


def _moving(facts: Facts, history: History, config: Config) -> bool:
    """A loss halfway to an alarm, or a suspicion that no probe has looked at; each for a while."""
    seen = _probed(facts, history)
    if facts.suspicion and facts.suspicion.raised and not (seen and seen[-1].suspected):
        return True
    found = [each for each in (facts.loss, facts.ranking) if each and each.cusum > config.policy.cusum_h / 2]
    since = min((each.since for each in found if each.since is not None), default=None)
    return since is not None and sum(d.as_of >= since + late(facts) for d in seen) < PATIENT


def risen(facts: Facts) -> LossEvidence | None:
    """The loss, or the ranking, that is worse beyond doubt."""
    return next((each for each in (facts.loss, facts.ranking) if each is not None and each.alarm), None)


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
    looked = any(d.as_of >= reached and d.as_of != facts.as_of for d in _probed(facts, history))
    return None if trained or looked else found


def late(facts: Facts) -> timedelta:
    """How long labels take: what a look knows ended so long before it."""
    return timedelta(0) if facts.horizon is None else facts.as_of - facts.horizon


def _alone(facts: Facts, config: Config) -> int:
    """Ticks after which a change can be trained on alone, as a holdout after it is cut: a third of them at least."""
    least, most = config.window.min_ticks, config.ticks(config.window.holdout)
    ticks = sum(tick.mature and tick.matured > 0 for tick in facts.ticks)
    held = math.ceil(rows_to_judge(facts, config) * ticks / facts.matured_rows) if facts.matured_rows else most
    return max(least + min(max(held, LEAST_HELD), most), math.ceil(least * HELD / (HELD - 1)))


def rows_to_judge(facts: Facts, config: Config) -> int:
    """Rows of a holdout that the gates ask for, and a tenth more."""
    rows = config.gates.min_rows
    if facts.positives is not None:
        rows = max(rows, config.gates.min_positives * facts.matured_rows // max(facts.positives, 1))
    return rows + rows // 10


def known(facts: Facts, history: History, config: Config) -> Probe | None:
    """The champion's newest probe, where it is of this very tick: a second look at the same rows has it too."""
    last = next((d.probe for d in reversed(_probed(facts, history))), None)
    return last if last is not None and _ticks(facts.as_of, last.as_of, config) < CLOSE else None


def _probed(facts: Facts, history: History) -> list[PastDecision]:
    """Decisions about this champion that made a probe, not those that had it from an earlier look."""
    return [d for d in history.about(facts.champion) if d.probe and d.probe.as_of == d.as_of]


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
    return probe.learned >= LEARNED and probe.gain + SURE * probe.error < _mended(loss)


def lasts(loss: LossEvidence) -> bool:
    """Whether the risen loss is a level: of as many ticks as a fresh model needs to know it, and not of few odd ones.

    The sum may have left zero long before the rise: one odd tick is an alarm then, and would be taken for the level.
    """
    level = current(loss) if loss.level is None else loss.level
    return loss.changed >= LEARNED and level - loss.promised >= (current(loss) - loss.promised) / 2


def too_early(probe: Probe, loss: LossEvidence) -> bool:
    """Whether a training now would learn too little of the change: nothing at all, or what makes it worse."""
    if not probe.learned:
        return probe.gain - SURE * probe.error < _mended(loss)
    return probe.learned < LEARNED and probe.gain + probe.error < 0


def unproven(probe: Probe, loss: LossEvidence) -> bool:
    """Whether a fresh model is better neither beyond chance nor by enough of the rise."""
    return probe.gain < min(AGREES * probe.error, _mended(loss))


def _mended(loss: LossEvidence) -> float:
    return MENDED * (current(loss) - loss.promised)


def settles(probe: Probe, promised: float, config: Config) -> bool:
    """Whether a fresh model is hardly better by anything that counts: a probe too weak to tell settles nothing."""
    most = probe.gain + SURE * probe.error
    return not helps(probe, promised, config) and most < config.policy.gain * abs(promised)


def lost(facts: Facts, history: History, config: Config) -> float:
    """Loss that probes since the last settlement found fixable, summed over the ticks between them."""
    total, before = 0.0, history.last_settled
    for probe in _since_settled(facts, history):
        total = max(0.0, total + (probe.gain - 0.5 * probe.error) * min(_ticks(probe.as_of, before, config), LONGEST))
        before = probe.as_of
    return total


def proven(facts: Facts, history: History, config: Config) -> bool:
    """Whether probes prove that a fresh model is better by an amount that counts: the newest one, and several together.

    ``[policy] proof`` falls to `SURE` as the loss rises to its alarm, and to `AGREES` where a change was answered
    lately: a world that was seen to move moves again. Nothing is proved before probes have told their luck.
    """
    if facts.probe is None or facts.loss is None or facts.probe.gain < config.policy.gain * abs(facts.loss.promised):
        return False
    if facts.probe.gain <= AGREES * facts.probe.error:
        return False
    proof, risen_by = config.policy.proof, min(1.0, max(0.0, facts.loss.cusum / config.policy.cusum_h))
    wanted = proof - (proof - min(proof, SURE)) * risen_by
    if _restless(facts, history, config):
        wanted = min(proof, AGREES)
    luck = _luck(history, config)
    apart = _apart(_since_settled(facts, history), config)
    return not proof or (luck is not None and sureness(apart, luck) >= wanted)


def _restless(facts: Facts, history: History, config: Config) -> bool:
    moved = (d for d in history.decisions if d.outcome == "promoted" and (CHANGES | ANSWERS) & set(d.codes))
    return any(_ticks(facts.as_of, d.as_of, config) <= RESTLESS for d in moved)


def sureness(apart: Sequence[Probe], luck: float = 0.0) -> float:
    """How far the mean gain of the newest probes lies above nothing, as a normal deviate; the largest of 2, 4, 8.

    Student's t with the ticks' degrees of freedom. The standard error is the larger of two: from the spread between
    ticks, and from that between all these probes, by successive differences, which a slow change hardly widens. Twins
    of few positives differ by the luck of their rows, too, and all ticks of one probe share that; ``luck`` is what
    earlier champions' probes said of it.
    """
    from scipy.special import ndtri, stdtr

    gains = np.array([probe.gain for probe in apart])
    if len(gains) > 1:
        luck = max(luck, math.sqrt(float(np.square(np.diff(gains)).mean()) / 2))
    best = -math.inf
    for count in (each for each in BACK if each <= len(apart)):
        within = math.sqrt(math.fsum(probe.error**2 for probe in apart[:count])) / count
        error = max(within, luck / math.sqrt(count), 1e-12)
        chance = stdtr(sum(probe.ticks - 1 for probe in apart[:count]), -gains[:count].mean() / error)
        best = max(best, -float(ndtri(max(float(chance), 1e-30))))
    return best


def _since_settled(facts: Facts, history: History) -> list[Probe]:
    """Oldest first."""
    settled = history.last_settled
    found = [d.probe for d in _probed(facts, history) if d.probe and (settled is None or d.as_of > settled)]
    new = facts.probe is not None and all(probe.as_of != facts.probe.as_of for probe in found)
    return found + ([facts.probe] if facts.probe and new else [])


def _apart(probes: Sequence[Probe], config: Config) -> list[Probe]:
    """Newest first, those that share no tick; ``probes`` oldest first."""
    apart: list[Probe] = []
    for probe in reversed(probes):
        if not apart or _ticks(apart[-1].as_of, probe.as_of, config) >= apart[-1].ticks:
            apart.append(probe)
    return apart


def with_luck(facts: Facts, history: History, config: Config) -> Facts:
    """The facts, their probe's error no smaller than what probes differ by from one to the next.

    Twins of few positives differ by the luck of their rows, which all ticks of one probe share, so that these cannot
    show it: at 1 % positives it is more than twice the error between ticks. It shows between probes of one champion.
    """
    if facts.probe is None:
        return facts
    luck = _luck(history, config)
    return (
        facts if luck is None or luck <= facts.probe.error else replace(facts, probe=replace(facts.probe, error=luck))
    )


def _luck(history: History, config: Config) -> float | None:
    """Standard deviation of a probe's gain by successive differences; None before there are enough of them."""
    steps: list[float] = []
    for champion in dict.fromkeys(d.champion for d in history.decisions if d.probe):
        probes = [d.probe for d in history.about(champion) if d.probe and d.probe.as_of == d.as_of]
        steps += np.diff([probe.gain for probe in _apart(probes, config)]).tolist()
    if len(steps) < MEASURED:
        return None
    return 1.4826 * float(np.median(np.abs(steps))) / math.sqrt(2)


def _clock(facts: Facts, history: History) -> int:
    """Ticks from one quiet probe to the next."""
    promised = 0.0 if facts.loss is None else facts.loss.promised
    quiet, most = 0, FIRST
    for past in reversed([d.probe for d in _probed(facts, history) if d.probe]):
        most = max(most, past.ticks)
        if past.gain > max(AGREES * past.error, SMALL * abs(promised)):
            return CLOSE if not quiet else min(FIRST * 2 ** (quiet - 1), most)
        quiet += 1
    return int(min(FIRST * 2**quiet, most))


def _last_probe(facts: Facts, history: History) -> datetime | None:
    probes = [d.as_of for d in _probed(facts, history)]
    return max([*probes, *([history.last_settled] if history.last_settled else [])], default=None)


def _ticks(now: datetime, before: datetime | None, config: Config) -> int:
    """Whole ticks between two times; very many since never."""
    return 10**6 if before is None else max(0, (now - before + timedelta(seconds=1)) // config.schedule.tick)
