"""The verdict at the top of a page: one word, one sentence, and the few figures that matter."""

from __future__ import annotations

from dataclasses import dataclass

from lr_retune.report.blocks import TONES, Case, Tone, between, day, finite, percent, short
from lr_retune.report.questions.gate import counted, gain
from lr_retune.report.questions.undo import became, by


@dataclass(frozen=True, slots=True)
class Headline:
    """What somebody reads who reads nothing else."""

    tone: Tone
    word: str
    sentence: str
    lead: str  # why it was looked at, and what decided
    figures: tuple[tuple[str, str, str], ...]  # name, value, what it is held against


def headline(case: Case) -> Headline:
    """The verdict of one decision."""
    tone, word = TONES.get(case.outcome, "warn"), case.outcome.replace("_", " ")
    if case.ended is not None:
        undone = case.ended["what"] == "rolled back"
        tone, word = ("warn" if undone else "calm"), f"{word}, later {_fate(word, case.ended['what'])}"
    return Headline(tone, word, _sentence(case), _lead(case), tuple(_figures(case)))


def _sentence(case: Case) -> str:
    old = f"version {case.before['version']}" if case.before and case.before.get("version") else "the champion"
    new = f"version {case.after['version']}" if case.after.get("version") else "the challenger"
    said = {
        "kept": f"{_capital(old)} stays. Nothing was worth doing.",
        "rejected": f"{_capital(old)} stays. The challenger did not pass.",
        "inconclusive": f"{_capital(old)} stays. The evidence does not suffice to replace it.",
        "promoted": f"{_capital(new)} replaces {old}.",
        "rolled_back": f"{_capital(new)} is champion again, instead of {old}.",
        "suggested": f"{_capital(old)} stays. The challenger passed; somebody else promotes it.",
        "awaiting_approval": f"{_capital(old)} stays for now. The challenger passed and waits for a person.",
        "held": f"{_capital(old)} stays. {_held(case)}",
    }
    if case.ended is not None and case.outcome in ("promoted", "rolled_back"):
        return f"{_made(case, _capital(new), old)}, and was {became(case.ended)} on {day(case.ended['as_of'])}."
    if case.outcome == "rejected" and any(each["what"] == "rejected" for each in case.later):
        return f"{_capital(old)} stays. The challenger passed, and a person turned it down."
    if case.outcome == "promoted" and case.before is None:
        return f"{_capital(new)} is the first champion."
    return said.get(case.outcome, f"{_capital(old)} stays. Nothing has been settled yet.")


def _fate(word: str, ended: str) -> str:
    return "undone" if word == ended else ended  # a rollback that was rolled back


def _made(case: Case, new: str, old: str) -> str:
    """What the decision did, once its champion is one no more."""
    if case.before is None:
        return f"{new} was the first champion"
    return f"{new} replaced {old}" if case.outcome == "promoted" else f"{new} was champion again, instead of {old}"


def _lead(case: Case) -> str:
    reasons = case.decision.get("reasons") or []
    first = reasons[0]["text"] if reasons else case.word
    told = [f"Why now: {first}."] if first else []
    lost = next((v for v in case.verdicts if v["status"] != "PASS"), None)
    if lost is not None:
        told.append(f"What decided: {lost['gate'].replace('_', ' ')}, {lost['reason']}.")
    elif case.settled is not None and case.before is not None:
        told.append(f"What decided: {counted(case)}.")
    since = [f"{became(each)} on {day(each['as_of'])}{by(each)}" for each in case.later]
    return " ".join([*told, *([f"Since then: {'; '.join(since)}."] if since else [])])


def _held(case: Case) -> str:
    if case.settled is not None:
        return "The challenger passed and was not promoted."
    return {"fix_feed": "The feed must be mended first.", "ask": "A person has to decide."}.get(
        case.decision["action"], "Somebody has to look first."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _figures(case: Case) -> list[tuple[str, str, str]]:
    losses, found = case.judgement.get("losses") or {}, case.paired
    figures = []
    if case.settled is not None and finite(losses.get("challenger")):
        told = f"champion {short(losses.get('champion'))}" if case.before else "its promise"
        figures.append((f"{case.metric} on the holdout", short(losses["challenger"]), told))
    if case.before is not None and finite(gain(case, "challenger")):
        ends = between(found.get("low"), found.get("high"))
        figures.append(("gain", percent(gain(case, "challenger")), f"{case.interval} {ends}" if ends else ""))
    loss = (case.facts or {}).get("loss") or {}
    if case.settled is None and finite(loss.get("value")):
        figures.append(("loss in production", short(loss["value"]), f"promised {short(loss.get('promised'))}"))
    return [*figures, *_rate(case), *_seen(case)]


def _rate(case: Case) -> list[tuple[str, str, str]]:
    old, new = (case.before or {}).get("learning_rate"), case.after.get("learning_rate")
    tried = ((case.result or {}).get("challenger") or {}).get("learning_rate")
    beside = "" if old is None else "unchanged" if tried in (None, old) else f"tried {short(tried)}"
    if old is not None and new != old:
        beside = f"before {short(old)}"
    name = "learning rate in production" if case.ended is None else "learning rate it put in production"
    return [(name, short(new), beside)] if finite(new) else []


def _seen(case: Case) -> list[tuple[str, str, str]]:
    if case.settled is not None:
        plan = case.settled["plan"]
        return [("judged on", f"{plan['rows']['holdout']:,} rows", f"since {day(plan['holdout']['start'])}")]
    if case.facts is None:
        return []
    return [("looked at", f"{case.facts['rows']:,} rows", f"{case.facts['matured_rows']:,} with a final label")]
