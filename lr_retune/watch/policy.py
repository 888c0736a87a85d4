"""What is worth doing: facts, history and configuration in, one decision with its reasons out. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import takewhile
from typing import NamedTuple

from lr_retune.config import Config, format_duration
from lr_retune.records import Action, Decision, Facts, Fault, History, LossEvidence, Reason, content_digest, iso
from lr_retune.watch.worth import rise, worth

_SUSPECT = 0.5  # of the champion's importance lies in drifted columns
STALE_FAULTS = ("no_rows", "stale_source")  # nothing to read; may mend by itself, unlike a broken contract

REASONS: dict[str, str] = {
    "alias_moved": "Somebody moved the champion's alias by hand. It is never overwritten in silence: a person decides.",
    "feed_fault": "The feed broke its contract where it matters to the champion. Nothing is trained on broken data.",
    "stale": "The feed brought no rows. It may mend by itself; after [watch] stale_ticks such ticks it must be fixed.",
    "too_few_rows": "Fewer labelled rows than [policy] min_rows, or fewer positives than min_positives, in the "
    "watched ticks: nothing can be said.",
    "cooldown": "A challenger was judged less than [policy] cooldown ticks ago; its effect has to show first. The wait "
    "doubles with each challenger in a row that did not pass, up to [policy] max_age.",
    "loss_rose": "The loss is above the promise by more than the spread between ticks explains ([policy] cusum_k, "
    "cusum_h, tolerance), and a retrain is worth its cost.",
    "not_worth": "The loss rose beyond doubt, but a retrain would cost more than it saves ([worth], else [policy] "
    "budget).",
    "age": "No challenger was judged for [policy] max_age. A change that the watch cannot see is ruled out by a refit.",
    "search_age": "The learning rate was not searched for [policy] max_search_age, so it is searched anew.",
    "contract_changed": "A person accepted that the feed changed for good, and no challenger was judged since: a refit "
    "learns the new contract.",
    "suspicion": "No labels arrive ([labels] mode), and the score or columns of importance drifted: whether the loss "
    "rose, only labels can tell. A person is asked once for each max_age.",
    "unlabelled": "No labels arrive ([labels] mode). Nothing can be proved, so nothing trains and nothing is promoted.",
    "as_promised": "The loss is not above the promise by more than the spread between ticks explains.",
    "no_evidence": "Too few ticks have all their labels to compare the loss with the promise.",
    "drift_told": "Columns drifted. Drift explains, it never retrains: harmless drift is common, and harm shows in "
    "the loss.",
    "fault_told": "The feed broke its contract where the champion does not care. It is told and blocks nothing.",
    "paused": "A person paused the model: nothing is trained or promoted, runs go on observing, and the decision says "
    "what it would have been. A pause silences no alarm: a broken feed (exit code 3) and a moved alias (10) are told "
    "as ever, for serving suffers from them all the same. `lr-retune resume` ends it.",
    "never": "The policy keeps whatever happens: a baseline of replay.",
    "always": "The policy trains at every tick: a baseline of replay.",
}


class _Answer(NamedTuple):
    action: Action
    reasons: tuple[Reason, ...]


_Rule = Callable[[Facts, History, Config], _Answer | None]


def decide(facts: Facts, history: History, config: Config) -> Decision:
    """The first rule that answers; drift and small faults are told beside it, and never answer.

    Entries of the history that lie after ``facts.as_of`` are not seen.
    """
    seen = sorted((d for d in history.decisions if d.as_of <= facts.as_of), key=lambda d: d.as_of)
    past = replace(history, decisions=tuple(seen))
    answer = _unless_paused(next(a for rule in RULES if (a := rule(facts, past, config)) is not None), facts, past)
    return _decision(answer.action, (*answer.reasons, *_told(facts)), facts, config)


# ── rules, in order ───────────────────────────────────────────────────────────────────────────────
def _alias_moved(facts: Facts, _history: History, _config: Config) -> _Answer | None:
    if facts.alias_moved is None:
        return None
    text = f"the registry's champion is {facts.alias_moved}, the ledger's is {facts.champion[:12]}"
    return _Answer("ask", (Reason("alias_moved", text),))


def _feed_fault(facts: Facts, _history: History, _config: Config) -> _Answer | None:
    broken = [f for f in facts.faults if f.matters and f.code not in STALE_FAULTS]
    return _Answer("fix_feed", tuple(Reason("feed_fault", _words(f)) for f in broken)) if broken else None


def _stale(facts: Facts, _history: History, _config: Config) -> _Answer | None:
    """The feed counts its empty ticks in the data, so a run that was missed or repeated changes nothing."""
    found = [f for f in facts.faults if f.code in STALE_FAULTS]
    if not found:
        return None
    worst = next((f for f in found if f.matters), found[-1])
    return _Answer("fix_feed" if worst.matters else "keep", (Reason("stale", _words(worst)),))


def _without_labels(facts: Facts, history: History, config: Config) -> _Answer | None:
    """Suspicion and age ask a person, once in max_age; nothing trains."""
    if config.labels.mode != "none":
        return None
    asked = [d for d in history.decisions if d.action == "ask" and {"suspicion", "age"} & set(d.codes)]
    recent = [d for d in asked if facts.as_of - d.as_of < config.policy.max_age]
    if (doubt := _doubt(facts)) and not any("suspicion" in d.codes for d in recent):
        return _Answer("ask", (Reason("suspicion", f"{doubt}; get labels of recent rows to know whether it hurts"),))
    settled = history.last_settled
    if not recent and (settled is None or facts.as_of - settled >= config.policy.max_age):
        limit = format_duration(config.policy.max_age)
        text = f"no label for {limit}: get labels of recent rows, or accept the model as it is"
        return _Answer("ask", (Reason("age", text),))
    return _Answer("keep", (Reason("unlabelled", "no labels arrive, so nothing trains"),))


def _doubt(facts: Facts) -> str:
    """What drift makes one suspect, or nothing: the score, or columns that carry half of the importance."""
    columns = [c for c in facts.drift if (c.column, c.importance) != ("score", 1.0) and c.drifted]
    score = next((c for c in facts.drift if (c.column, c.importance) == ("score", 1.0) and c.drifted), None)
    share = math.fsum(c.importance for c in columns)
    said = [f"the score drifted ({score.robust:.3g} over {score.threshold:g})"] if score else []
    said += [f"columns with {share:.0%} of the importance drifted"] if share >= _SUSPECT else []
    return " and ".join(said)


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
    missed = _missed(history)
    wait = max(base, min(base * 2**missed, config.policy.max_age))  # age speaks before a long wait does
    if settled is None or facts.as_of - settled >= wait:
        return None
    again = f" after {missed} in a row that did not pass" if missed else ""
    text = f"settled {_ago(facts.as_of - settled)}, cooldown {format_duration(wait)}{again}"
    return _Answer("keep", (Reason("cooldown", text),))


def _missed(history: History) -> int:
    """Judged challengers in a row without a promotion, at most 10.

    What fresh data could not better then, it rarely can a few ticks later, and each look at the same ticks costs error.
    """
    judged = [d.outcome for d in history.decisions if d.outcome in ("rejected", "inconclusive", "promoted")]
    failed = list(takewhile(lambda outcome: outcome != "promoted", reversed(judged)))
    return min(len(failed), 10)


def _loss_rose(facts: Facts, history: History, config: Config) -> _Answer | None:
    if facts.loss is None or not facts.loss.alarm or _too_few_rows(facts, history, config):
        return None
    pays, why = worth(facts, facts.loss, history, config)
    return _train("loss_rose", f"{rise(facts, facts.loss)}; {why}", facts, history, config) if pays else None


def _contract_changed(facts: Facts, history: History, config: Config) -> _Answer | None:
    accepted, settled = history.accepted, history.last_settled
    if accepted is None or (settled is not None and settled >= accepted):
        return None
    text = f"a changed feed was accepted {_ago(facts.as_of - accepted)}"
    return _train("contract_changed", text, facts, history, config)


def _age(facts: Facts, history: History, config: Config) -> _Answer | None:
    settled, limit = history.last_settled, config.policy.max_age
    if settled is None:
        return _train("age", "no challenger was ever judged", facts, history, config)
    if facts.as_of - settled < limit:
        return None
    text = f"settled {_ago(facts.as_of - settled)}, max_age {format_duration(limit)}"
    return _train("age", text, facts, history, config)


def _keep(facts: Facts, history: History, config: Config) -> _Answer:
    if facts.loss is None:
        return _Answer("keep", (Reason("no_evidence", "fewer than two ticks have all their labels and a loss"),))
    if facts.loss.alarm:
        why = worth(facts, facts.loss, history, config)[1]
        return _Answer("keep", (Reason("not_worth", f"{rise(facts, facts.loss)}; {why}"),))
    return _Answer("keep", (Reason("as_promised", _level(facts.loss, config)),))


# Age speaks before a lack of rows: a sparse model must not go for ever without a look, its judge says what is missing.
RULES: tuple[_Rule, ...] = (
    _alias_moved,
    _feed_fault,
    _stale,
    _without_labels,
    _contract_changed,
    _cooldown,
    _loss_rose,
    _age,
    _too_few_rows,
    _keep,
)


def _unless_paused(answer: _Answer, facts: Facts, history: History) -> _Answer:
    """What changes nothing stays what it is, so that a pause silences no alarm; anything else becomes keep."""
    if history.paused_until is None or not history.paused(facts.as_of):
        return answer
    who = f" by {history.paused_by}" if history.paused_by else ""
    text = f"paused until {iso(history.paused_until)}{who}: {history.paused_why}"
    if answer.action in ("fix_feed", "ask"):
        return _Answer(answer.action, (*answer.reasons, Reason("paused", text)))
    return _Answer("keep", (Reason("paused", f"{text}; without it: {answer.action}"), *answer.reasons))


# ── what the rules share ──────────────────────────────────────────────────────────────────────────
def _train(code: str, text: str, facts: Facts, history: History, config: Config) -> _Answer:
    """Refit at the old rate, or search where the last search is too old."""
    searched, limit = history.last_search, config.policy.max_search_age
    if searched is not None and facts.as_of - searched < limit:
        return _Answer("refit", (Reason(code, text),))
    when = "never searched" if searched is None else f"searched {_ago(facts.as_of - searched)}"
    older = Reason("search_age", f"the learning rate was {when}, max_search_age {format_duration(limit)}")
    return _Answer("search", (Reason(code, text), older))


def _level(loss: LossEvidence, config: Config) -> str:
    interval = f"[{loss.low:.4g}, {loss.high:.4g}]"
    cusum = f"CUSUM {loss.cusum:.1f} of {config.policy.cusum_h:g} spreads"
    return f"loss {loss.value:.4g} {interval} against {loss.promised:.4g} promised, {cusum}"


def _told(facts: Facts) -> tuple[Reason, ...]:
    small = [Reason("fault_told", _words(f)) for f in facts.faults if not f.matters and f.code not in STALE_FAULTS]
    return (*small, *_drift(facts))


def _drift(facts: Facts) -> tuple[Reason, ...]:
    """One sentence; the champion's score stands in the list as the column named "score" of importance 1."""
    columns = [c for c in facts.drift if (c.column, c.importance) != ("score", 1.0)]
    drifted = [c for c in columns if c.drifted]
    score = any(c.drifted for c in facts.drift if c not in columns)
    if not drifted and not score:
        return ()
    share = math.fsum(c.importance for c in drifted)
    text = f"{len(drifted)} of {len(columns)} columns drifted, together {100 * share:.1f} % of importance"
    also = "; so did the score" if score else ""
    return (Reason("drift_told", f"{text}{also}"),)


def _words(fault: Fault) -> str:
    return f"{fault.what}; {fault.fix}" if fault.fix else fault.what


def _ago(span: timedelta) -> str:
    return f"{span.days} days ago" if span >= timedelta(days=2) else f"{span / timedelta(hours=1):.0f} hours ago"


def _decision(action: Action, reasons: tuple[Reason, ...], facts: Facts, config: Config) -> Decision:
    codes = [reason.code for reason in reasons]
    about = (config.name, facts.as_of, facts.champion, action, codes, content_digest(facts), config.digest)
    return Decision(content_digest(about)[:16], action, reasons)


# ── baselines of replay ───────────────────────────────────────────────────────────────────────────
def never(facts: Facts, history: History, config: Config) -> Decision:
    """Keep the first champion for ever."""
    del history
    return _decision("keep", (Reason("never", "this policy never trains"),), facts, config)


def always(facts: Facts, history: History, config: Config) -> Decision:
    """Refit at the old rate at every tick."""
    del history
    return _decision("refit", (Reason("always", "this policy refits at every tick"),), facts, config)


def always_search(facts: Facts, history: History, config: Config) -> Decision:
    """Search the rate at every tick."""
    del history
    return _decision("search", (Reason("always", "this policy searches at every tick"),), facts, config)
