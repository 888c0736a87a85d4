"""What probes prove: whether fresh data mends it, beyond a probe's luck, and what was lost so far. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from lr_retune.config import Config
from lr_retune.records import Facts, History, LossEvidence, PastDecision, Probe
from lr_retune.watch.worth import current

CHANGES = frozenset({"loss_rose", "ranking_fell", "suspicion_alone", "contract_changed"})
ANSWERS = frozenset({"loss_rose", "ranking_fell", "follow_up"})  # trainings that learn a change they know the start of
SMALL = 0.003  # share of the promise that a retrain must mend for a probe to speak for it
SURE = 1.64  # standard errors: one-sided 95 %
MENDED = 0.25  # of a rise: what mends less leaves the world as hard as it got
LEARNED = 4  # ticks after a change before a fresh model can know it
MEASURED = 3  # steps from probe to probe before they tell its luck
AGREES = 1.0  # standard errors by which a fresh model must be better where other evidence has spoken
BACK = (2, 4, 8)  # probes that are taken together, the newest
RESTLESS = 40  # ticks after a promotion in which a world that was seen to move is believed to move again
LONGEST = 8  # ticks that one probe speaks for


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


def leans(probe: Probe, promised: float) -> bool:
    """Whether a fresh model was better by more than may be nothing: a hint, and no proof."""
    return probe.gain > max(AGREES * probe.error, SMALL * abs(promised))


def lost(facts: Facts, history: History, config: Config) -> float:
    """Loss that probes since the last settlement found fixable, summed over the ticks between them."""
    total, before = 0.0, history.last_settled
    for probe in _since_settled(facts, history):
        total = max(0.0, total + (probe.gain - 0.5 * probe.error) * min(ticks(probe.as_of, before, config), LONGEST))
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
    return any(ticks(facts.as_of, d.as_of, config) <= RESTLESS for d in moved)


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


def _since_settled(facts: Facts, history: History) -> list[Probe]:
    """Oldest first."""
    settled = history.last_settled
    found = [d.probe for d in probed(facts, history) if d.probe and (settled is None or d.as_of > settled)]
    new = facts.probe is not None and all(probe.as_of != facts.probe.as_of for probe in found)
    return found + ([facts.probe] if facts.probe and new else [])


def probed(facts: Facts, history: History) -> list[PastDecision]:
    """Decisions about this champion that made a probe, not those that had it from an earlier look."""
    return [d for d in history.about(facts.champion) if d.probe and d.probe.as_of == d.as_of]


def _apart(probes: Sequence[Probe], config: Config) -> list[Probe]:
    """Newest first, those that share no tick; ``probes`` oldest first."""
    apart: list[Probe] = []
    for probe in reversed(probes):
        if not apart or ticks(apart[-1].as_of, probe.as_of, config) >= apart[-1].ticks:
            apart.append(probe)
    return apart


def ticks(now: datetime, before: datetime | None, config: Config) -> int:
    """Whole ticks between two times; very many since never."""
    return 10**6 if before is None else max(0, (now - before + timedelta(seconds=1)) // config.schedule.tick)
