"""The gate's arithmetic: all arms on the same rows, the interval, the bounds, and every gate's answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lr_retune.report.blocks import (
    TONES,
    Block,
    Case,
    Cell,
    Figure,
    Note,
    Section,
    amount,
    between,
    finite,
    number,
    percent,
    several,
    share,
    short,
    status,
    table,
    unsigned,
)
from lr_retune.report.forest import Gain, forest_plot
from lr_retune.report.questions import beside
from lr_retune.report.questions.statistics import METHODS, statistic

ARMS = {
    "champion": "champion",
    "control": "old rate, fresh data",
    "fixed": "default rate, fresh data",
    "challenger": "challenger",
}
NOT_ASKED = "LRR300"  # a gate that had no question here
JUDGED = (
    "Both models are scored as they were judged, before any refit on all rows; "
    "the champion's loss in production, above, is its refit's."
)


def section(case: Case) -> Section:
    """Losses, gains with intervals, and which bound decided."""
    return Section("gate", "Did the challenger pass, and by which figures?", _answer(case), tuple(_blocks(case)))


def _answer(case: Case) -> str:
    if case.settled is None:
        return "Nobody was judged."
    if case.before is None:
        return f"A first champion beats nobody; its loss on the holdout is {short(_loss(case, 'challenger'))}."
    won = all(v["status"] == "PASS" for v in case.verdicts)
    return f"{'Yes' if won else 'No'}: {counted(case)}. {_interval(case)}".strip()


def counted(case: Case) -> str:
    """How many gates passed, did not, and had no question here."""
    idle = sum(v["code"] == NOT_ASKED for v in case.verdicts)
    lost = sum(v["status"] != "PASS" for v in case.verdicts)
    told = [f"{several(len(case.verdicts) - idle - lost, 'gate')} passed"]
    told += [f"{lost} did not"] if lost else []
    return ", ".join([*told, *([f"{idle} had nothing to ask"] if idle else [])])


def _seen(case: Case) -> str:
    known = any(finite(end) for arm in ARMS for end in interval(case, arm))
    whiskers = f" Whiskers: {case.interval} by the spread between ticks." if known else ""
    return f"Gain over the champion on identical rows.{whiskers} {JUDGED}"


def _interval(case: Case) -> str:
    found = case.paired
    told = between(found.get("low"), found.get("high"))
    return f"The gain is {percent(found['effect'])}, {case.interval} {told}." if told else ""


def _loss(case: Case, arm: str) -> Any:
    return case.judgement.get("losses", {}).get(arm)


def _blocks(case: Case) -> Iterator[Block]:
    if case.settled is None:
        return
    if case.before is not None:
        yield Figure(forest_plot("Gain over the champion on the holdout", _gains(case), _bounds(case)), _seen(case))
    yield table(
        "All arms on the same rows of the holdout",
        (
            "arm",
            "learning rate",
            case.result["step_unit"] if case.result else "steps",
            "loss" if case.metric == "loss" else f"loss ({case.metric})",
            "gain",
            case.interval,
        ),
        [_row(case, arm, name) for arm, name in ARMS.items() if finite(_loss(case, arm))],
        id="arms",
    )
    if case.verdicts:
        rows = [(v["gate"], Cell(v["code"], code=True), _status(v), v["reason"]) for v in case.verdicts]
        yield table("What every gate answered", ("gate", "code", "answer", "why"), rows, id="verdicts")
    yield from _arithmetic(case)
    yield from beside.blocks(case)
    yield from _look(case.judgement.get("look"))


def _status(verdict: Mapping[str, Any]) -> Cell:
    return Cell("not asked", tone="calm") if verdict["code"] == NOT_ASKED else status(verdict["status"])


def gain(case: Case, arm: str) -> float | None:
    """An arm's gain over the champion, a share of the champion's loss."""
    old, new = _loss(case, "champion"), _loss(case, arm)
    return (old - new) / old if finite(old) and finite(new) and old > 0 else None


def interval(case: Case, arm: str) -> tuple[float | None, float | None]:
    """An arm's interval, where one was measured."""
    found = case.paired if arm == "challenger" else (case.judgement.get("arms") or {}).get(arm) or {}
    return found.get("low"), found.get("high")


def _gains(case: Case) -> list[Gain]:
    tone = TONES.get(case.paired.get("status", ""), "calm")
    arms = [arm for arm in ("control", "fixed", "challenger") if finite(_loss(case, arm))]
    return [
        Gain(ARMS[arm], gain(case, arm), *interval(case, arm), tone=tone if arm == "challenger" else "calm")
        for arm in arms
    ]


def _bounds(case: Case) -> list[tuple[float, str]]:
    rules = case.rules
    found = [(-rules["margin"], f"margin {percent(-rules['margin'], 1)}")] if finite(rules.get("margin")) else []
    floor = asked_floor(case)
    return [*found, (floor, f"floor {percent(floor)}")] if floor else found


def asked_floor(case: Case) -> float | None:
    """The point gain that was asked: none at the champion's own rate."""
    if not finite(case.rules.get("floor")) or case.result is None:
        return None
    return 0.0 if case.result["same_rate"] else float(case.rules["floor"])


def _row(case: Case, arm: str, name: str) -> tuple[Any, ...]:
    fitted = case.before if arm == "champion" else (case.result or {}).get(arm)
    rate, steps = ((fitted or {}).get(key) for key in ("learning_rate", "steps"))
    told = "–" if arm == "champion" else between(*interval(case, arm)) or "–"
    own = Cell("–") if arm == "champion" else share(gain(case, arm))
    return name, number(rate), amount(steps), number(_loss(case, arm), 5), own, told


def _arithmetic(case: Case) -> Iterator[Block]:
    found, rules = case.paired, case.rules
    if not found or not rules:
        return
    floor = asked_floor(case)
    rows: list[tuple[Any, ...]] = [
        ("point gain (champion − challenger) / champion", share(found["effect"]), _held(found["effect"], floor)),
        ("floor asked of it", share(floor), "0 at the champion's rate, [gates] floor at a new one"),
        ("lower end of the interval", share(found["low"]), _held(found["low"], -rules["margin"], strict=True)),
        ("margin that it must exclude", share(-rules["margin"]), "[gates] margin"),
        ("upper end of the interval", share(found["high"]), _upper(found["high"])),
        (
            "one-sided level of each end",
            unsigned(case.alpha),
            "[gates] alpha, or what earlier looks left of it",
        ),
    ]
    yield table("The arithmetic of the comparison", ("figure", "value", "held against"), rows, id="arithmetic")
    told = {k: v for k, v in (found.get("evidence") or {}).items() if found["gate"] != "slices"}
    if told:
        rows = [
            (statistic(name), number(v) if finite(v) else METHODS.get(str(v), str(v)))
            for name, v in sorted(told.items())
        ]
        yield table("What a statistician asks next", ("figure", "value"), rows, folded=True)
    if found.get("promise") or case.judgement.get("promise"):
        yield Note(str(found.get("promise") or case.judgement["promise"]))


def _held(value: Any, bound: Any, *, strict: bool = False) -> str:
    if not finite(value) or not finite(bound):
        return "–"
    return "reached" if value > bound or (value == bound and not strict) else "not reached"


def _upper(high: Any) -> str:
    if not finite(high):
        return "–"
    return "below 0: worse, FAIL" if high < 0 else "not below 0, so not shown to be worse"


def _look(look: Mapping[str, Any] | None) -> Iterator[Block]:
    if look and look.get("promise"):
        yield Note(f"{look['promise'][:1].upper()}{look['promise'][1:]}.")
