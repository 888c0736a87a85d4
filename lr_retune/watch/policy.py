"""What is worth doing: facts, history and configuration in, one decision with its reasons out. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import takewhile
from typing import NamedTuple

from lr_retune.config import Config, format_duration
from lr_retune.records import (
    JUDGED,
    PASSED,
    Action,
    Decision,
    Facts,
    History,
    LossEvidence,
    Probe,
    Reason,
    content_digest,
    iso,
)
from lr_retune.watch import occasion, proof
from lr_retune.watch.kind import kind
from lr_retune.watch.told import STALE_FAULTS, ago, doubt, explained, fault, level, probation, told, twins
from lr_retune.watch.worth import repays, rise, worth

_SUSPECT = 0.5  # of the champion's importance lies in drifted columns
_ESTIMATED = 0.1  # rise of the loss by calibrated scores, from which suspicion alone may act


class _Answer(NamedTuple):
    action: Action
    reasons: tuple[Reason, ...]


_Rule = Callable[[Facts, History, Config], _Answer | None]


def decide(facts: Facts, history: History, config: Config) -> Decision:
    """The first rule that answers; drift and small faults are told beside it, and never answer.

    Entries of the history that lie after ``facts.as_of`` are not seen.
    """
    past = _until(facts, history)
    action, reasons = answered(facts, past, config)
    answer = _unless_paused(_Answer(action, reasons), facts, past)
    return decision(answer.action, (*answer.reasons, *told(facts)), facts, config)


def answered(facts: Facts, history: History, config: Config) -> tuple[Action, tuple[Reason, ...]]:
    """What the first rule that speaks says, its probe's error no smaller than its luck."""
    seen = proof.with_luck(facts, history, config)
    return next(answer for rule in RULES if (answer := rule(seen, history, config)) is not None)


def probe_due(facts: Facts, history: History, config: Config) -> bool:
    """Whether the missing fact, what a retrain would bring, is worth a probe before `decide`."""
    past = _until(facts, history)
    if not config.policy.probe or facts.loss is None or facts.probe is not None or past.paused(facts.as_of):
        return False
    again = occasion.follow_up(facts, past, config) is not None  # a second look does not wait
    if any(rule(facts, past, config) for rule in BEFORE_PROBES if not (again and rule is _cooldown)):
        return False
    return occasion.due(facts, past, config, old=_old(facts, past, config))


def _until(facts: Facts, history: History) -> History:
    seen = sorted((d for d in history.decisions if d.as_of <= facts.as_of), key=lambda d: d.as_of)
    return replace(history, decisions=tuple(seen))


# ── rules, in order ───────────────────────────────────────────────────────────────────────────────
def _alias_moved(facts: Facts, _history: History, _config: Config) -> _Answer | None:
    if facts.alias_moved is None:
        return None
    text = f"the registry's champion is {facts.alias_moved}, the ledger's is {facts.champion[:12]}"
    return _Answer("ask", (Reason("alias_moved", text),))


def _feed_fault(facts: Facts, history: History, config: Config) -> _Answer | None:
    broken = [fault(f) for f in facts.faults if f.matters and f.code not in STALE_FAULTS]
    if not broken:
        return None
    found = [f"{broken[0]}{_lasting(facts, history, config)}", *broken[1:]]
    return _Answer("fix_feed", tuple(Reason("feed_fault", text) for text in found))


def _lasting(facts: Facts, history: History, config: Config) -> str:
    """How long this incident has been open; nothing where it opens now."""
    held = list(takewhile(lambda d: "feed_fault" in d.codes, reversed(history.decisions)))
    if not held:
        return ""
    ticks = (facts.as_of - held[-1].as_of) // config.schedule.tick + 1
    return f" (held since {held[-1].as_of:%Y-%m-%d}: {ticks} ticks in a row)"


def _probation(facts: Facts, _history: History, config: Config) -> _Answer | None:
    """A rollback needs no fresh rows and waits for no cooldown; where nothing is promoted, a person is asked."""
    found = facts.probation
    if found is None or found.state != "failed":
        return None
    action: Action = "ask" if config.promote.mode == "suggest" else "rollback"
    return _Answer(action, (Reason("probation_failed", probation(found)),))


def _stale(facts: Facts, _history: History, _config: Config) -> _Answer | None:
    """The feed counts its empty ticks in the data, so a run that was missed or repeated changes nothing."""
    found = [f for f in facts.faults if f.code in STALE_FAULTS]
    if not found:
        return None
    worst = next((f for f in found if f.matters), found[-1])
    return _Answer("fix_feed" if worst.matters else "keep", (Reason("stale", fault(worst)),))


def _without_labels(facts: Facts, history: History, config: Config) -> _Answer | None:
    """Suspicion and age ask a person, once in max_age; nothing trains."""
    if config.labels.mode != "none":
        return None
    asked = [d for d in history.decisions if d.action == "ask" and {"suspicion", "age"} & set(d.codes)]
    recent = [d for d in asked if facts.as_of - d.as_of < config.policy.max_age]
    if (why := doubt(facts, _SUSPECT)) and not any("suspicion" in d.codes for d in recent):
        return _Answer("ask", (Reason("suspicion", f"{why}; get labels of recent rows to know whether it hurts"),))
    settled = history.last_settled
    if not recent and (settled is None or facts.as_of - settled >= config.policy.max_age):
        limit = format_duration(config.policy.max_age)
        text = f"no label for {limit}: get labels of recent rows, or accept the model as it is"
        return _Answer("ask", (Reason("age", text),))
    return _Answer("keep", (Reason("unlabelled", "no labels arrive, so nothing trains"),))


def _too_few_rows(facts: Facts, _history: History, config: Config) -> _Answer | None:
    rows, positives = config.policy.min_rows, config.policy.min_positives
    if facts.matured_rows < rows:
        text = f"{facts.matured_rows} labelled rows in the watched ticks, at least {rows} are needed"
    elif config.task == "binary" and facts.positives is not None and facts.positives < positives:
        text = f"{facts.positives} labelled positives in the watched ticks, at least {positives} are needed"
    else:
        return None
    return _Answer("keep", (Reason("too_few_rows", text),))


def _cooldown(facts: Facts, history: History, config: Config) -> _Answer | None:
    """Wait after a judged challenger; twice as long after each one in a row that was not promoted."""
    settled, base = history.last_settled, config.policy.cooldown * config.schedule.tick
    missed = 0 if _new(facts, settled) else _missed(history)
    wait = max(base, min(base * 2**missed, config.policy.max_age))  # age speaks before a long wait does
    if settled is None or facts.as_of - settled >= wait:
        return None
    again = f" after {missed} in a row that did not pass" if missed else ""
    text = f"settled {ago(facts.as_of - settled)}, cooldown {format_duration(wait)}{again}"
    return _Answer("keep", (Reason("cooldown", text),))


def _new(facts: Facts, settled: datetime | None) -> bool:
    """Whether the loss rose after all the rows that the last challenger could be judged on."""
    worse = occasion.risen(facts)
    if settled is None or worse is None or worse.since is None:
        return False
    return worse.since > settled - occasion.late(facts)


def _missed(history: History) -> int:
    """Judged challengers in a row that did not pass, at most 10.

    What fresh data could not better then, it rarely can a few ticks later, and each look at the same ticks costs error.
    """
    judged = [d.outcome for d in history.decisions if d.outcome in JUDGED]
    failed = list(takewhile(lambda outcome: outcome not in PASSED, reversed(judged)))
    return min(len(failed), 10)


def _follow_up(facts: Facts, history: History, config: Config) -> _Answer | None:
    """Right after a change most rows are of the time before it: a second and a third look, a probe first."""
    change = occasion.follow_up(facts, history, config)
    if change is None or facts.loss is None or _too_few_rows(facts, history, config):
        return None
    if facts.probe is None or not proof.helps(facts.probe, facts.loss.promised, config):
        return None
    pays, why = repays(facts.probe, facts.loss, facts, history, config)
    text = f"a change was answered {ago(facts.as_of - change.as_of)}; {twins(facts.probe)}{why}"
    return _train("follow_up", text, facts, history, config) if pays else None


def _loss_rose(facts: Facts, history: History, config: Config) -> _Answer | None:
    loss = occasion.risen(facts)
    if loss is None or _too_few_rows(facts, history, config):
        return None
    code, words = _words(loss, facts)
    probe = facts.probe if loss is facts.loss else None  # it met on the loss, not on the ranking
    if probe is not None and (wait := _not_yet(words, probe, loss, config)) is not None:
        if wait.code != "harder" and _old(facts, history, config):
            return None  # it waits no longer than max_age
        return _Answer("keep", (wait, *explained(facts)))
    pays, why = worth(facts, loss, history, config)
    return _train(code, f"{words}; {why}", facts, history, config) if pays else None


def _not_yet(words: str, probe: Probe, loss: LossEvidence, config: Config) -> Reason | None:
    """Why a probe speaks against a training now, if it does."""
    seen = f"{words}; {twins(probe)}"
    if proof.mends_nothing(probe, loss):
        if proof.lasts(loss):
            return Reason("harder", f"{seen}: the world got harder, and from now on this is its level")
        return Reason("unproven", f"{seen}: few ticks are odd, and whether their level lasts, the next ones tell")
    if proof.too_early(probe, loss):
        return Reason("too_early", f"{seen}; a challenger would have to be judged on all that came since the change")
    if config.policy.proof and proof.unproven(probe, loss):
        return Reason("unproven", f"{seen}: that is too little to tell, and the next probe tells more")
    return None


def _words(loss: LossEvidence, facts: Facts) -> tuple[str, str]:
    """The code and the figures of what rose."""
    if loss is facts.loss:
        return "loss_rose", f"loss {rise(loss)}"
    return "ranking_fell", f"1 - PR-AUC {rise(loss)}"


def _regret(facts: Facts, history: History, config: Config) -> _Answer | None:
    if facts.probe is None or facts.loss is None or _too_few_rows(facts, history, config):
        return None
    lost, limit = proof.lost(facts, history, config), config.policy.regret * abs(facts.loss.promised)
    if lost <= limit or not proof.proven(facts, history, config):
        return None
    pays, why = repays(facts.probe, facts.loss, facts, history, config)
    text = f"{lost:.4g} lost in sum since the last look at challengers, by probes; a retrain is due from {limit:.4g} on"
    return _train("regret", text + why, facts, history, config) if pays else None


def _suspicion_alone(facts: Facts, history: History, config: Config) -> _Answer | None:
    """Where labels come too late to wait for."""
    found, horizon = facts.suspicion, facts.horizon
    if found is None or horizon is None or (found.estimated or 0.0) < _ESTIMATED:
        return None
    if not any(signal.name == "estimated_loss" for signal in found.raised):
        return None
    late = (facts.as_of - horizon) // config.schedule.tick
    if late < config.policy.suspicion_ticks or _too_few_rows(facts, history, config):
        return None
    text = f"labels are {late} ticks late; estimated loss {found.estimated:+.1%}; {doubt(facts, _SUSPECT)}"
    return _train("suspicion_alone", text, facts, history, config)


def _contract_changed(facts: Facts, history: History, config: Config) -> _Answer | None:
    accepted, settled = history.accepted, history.last_settled
    if accepted is None or (settled is not None and settled >= accepted):
        return None
    text = f"a changed feed was accepted {ago(facts.as_of - accepted)}"
    return _train("contract_changed", text, facts, history, config)


def _age(facts: Facts, history: History, config: Config) -> _Answer | None:
    settled, limit = history.last_settled, config.policy.max_age
    if not _old(facts, history, config):
        return None
    if settled is None:
        return _train("age", "no challenger was ever judged", facts, history, config)
    text = f"settled {ago(facts.as_of - settled)}, max_age {format_duration(limit)}"
    if facts.probe is not None and facts.loss is not None and proof.settles(facts.probe, facts.loss.promised, config):
        return _Answer("keep", (Reason("nothing_fixable", f"{text}; {twins(facts.probe)}"),))
    return _train("age", text, facts, history, config)


def _old(facts: Facts, history: History, config: Config) -> bool:
    settled = history.last_settled
    return settled is None or facts.as_of - settled >= config.policy.max_age


def _keep(facts: Facts, history: History, config: Config) -> _Answer:
    if facts.loss is None:
        return _Answer("keep", (Reason("no_evidence", "fewer than two ticks have all their labels and a loss"),))
    if (loss := occasion.risen(facts)) is not None:
        words = _words(loss, facts)[1]
        return _Answer("keep", (Reason("not_worth", f"{words}; {worth(facts, loss, history, config)[1]}"),))
    return _Answer("keep", (Reason("as_promised", level(facts.loss, config)),))


# Age speaks before a lack of rows: a sparse model must not go for ever without a look, its judge says what is missing.
RULES: tuple[_Rule, ...] = (
    _alias_moved,
    _feed_fault,
    _probation,
    _stale,
    _without_labels,
    _contract_changed,
    _follow_up,
    _cooldown,
    _loss_rose,
    _regret,
    _suspicion_alone,
    _age,
    _too_few_rows,
    _keep,
)
# What answers before a probe could matter.
BEFORE_PROBES: tuple[_Rule, ...] = (
    _alias_moved,
    _feed_fault,
    _probation,
    _stale,
    _without_labels,
    _contract_changed,
    _cooldown,
    _too_few_rows,
)


def _unless_paused(answer: _Answer, facts: Facts, history: History) -> _Answer:
    """What changes nothing stays what it is, so that a pause silences no alarm; anything else becomes keep."""
    if history.paused_until is None or not history.paused(facts.as_of):
        return answer
    who = f" by {history.paused_by}" if history.paused_by else ""
    text = f"paused until {iso(history.paused_until)}{who}: {history.paused_why}"
    if answer.action in ("fix_feed", "ask"):
        return _Answer(answer.action, (*answer.reasons, Reason("paused", text)))
    if answer.action == "rollback":  # harm is told, and who paused decides
        return _Answer("ask", (Reason("paused", f"{text}; without it: rollback"), *answer.reasons))
    return _Answer("keep", (Reason("paused", f"{text}; without it: {answer.action}"), *answer.reasons))


# ── what the rules share ──────────────────────────────────────────────────────────────────────────
def _train(code: str, text: str, facts: Facts, history: History, config: Config) -> _Answer:
    """Refit at the old rate, or search where its optimum may have moved."""
    action, why = kind(facts, history, config, answers=code in proof.ANSWERS)
    seen = facts.probe if code != "follow_up" else None
    sure = seen is not None and facts.loss is not None and proof.helps(seen, facts.loss.promised, config)
    more = () if seen is None else (Reason("fixable" if sure else "unproven", twins(seen)),)
    return _Answer(action, (Reason(code, text), *more, *why, *explained(facts)))


def decision(action: Action, reasons: tuple[Reason, ...], facts: Facts, config: Config) -> Decision:
    """A decision whose id is what it was made of."""
    codes = [reason.code for reason in reasons]
    about = (config.name, facts.as_of, facts.champion, action, codes, content_digest(facts), config.digest)
    return Decision(content_digest(about)[:16], action, reasons)
