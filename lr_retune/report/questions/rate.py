"""How the loss depends on the learning rate, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lr_retune.report.blocks import (
    Block,
    Case,
    Commands,
    Figure,
    Note,
    Section,
    day,
    finite,
    number,
    percent,
    short,
    table,
    trials,
    unsigned,
)
from lr_retune.report.plots import rate_plot
from lr_retune.report.smooth import levels


def section(case: Case) -> Section:
    """Loss against rate, where rates were tried."""
    return Section("rate", "How does the loss depend on the learning rate?", _answer(case), tuple(_blocks(case)))


def _answer(case: Case) -> str:
    result = case.result
    if result is None:
        return f"No rate was tried; the champion's is {short(case.after.get('learning_rate'))}."
    if result["challenger"] is None:
        return "No rate gave a model that could be judged."
    rate, told = short(result["challenger"]["learning_rate"]), result.get("estimate")
    if result["same_rate"]:
        return f"The challenger carries the old rate, the champion's {rate}."
    zone = f", any of {short(told['low'])} to {short(told['high'])} cannot be told from the best" if told else ""
    return f"{rate} was chosen{zone}.{_wall(result)}"


def _wall(result: Mapping[str, Any]) -> str:
    side = result.get("at_wall")
    return f" It stands at the {side} wall of [search] learning_rate: a wider range may be better." if side else ""


def _blocks(case: Case) -> Iterator[Block]:
    result = case.result
    if result is None:
        yield from _last(case)
        return
    fitted = [t for t in trials(result) if not t.schedule.startswith(("range(", "average("))]
    chosen, told = (result["challenger"] or {}).get("learning_rate"), result.get("estimate")
    if not any(t.role == "candidate" for t in fitted) and not case.sweeps:
        yield Note("A refit tries no other rates; the last search of the rate tells how the loss depends on it.")
        yield from _last(case)
        return
    picture = rate_plot(fitted, chosen, (case.before or {}).get("learning_rate"), told)
    yield Figure(picture, f"{_caption(told, lost=any(t.loss is None for t in fitted))}{_edge(fitted, chosen)}")
    if case.sweeps:
        yield Figure(case.sweeps, "Range test: the loss while the rate rises within one fit.")
    if told:
        yield from _told(told, fitted)
    if said := result.get("reason") or (told or {}).get("reason"):
        yield Note(f"{said[:1].upper()}{said[1:]}.")
    if finite(result.get("lead")) and not result["same_rate"]:
        yield Note(f"On valid the new rate leads the old one by {percent(result['lead'], 2)} of its loss.")


def _last(case: Case) -> Iterator[Block]:
    """The way to the page on which the rate was searched last."""
    if case.searched is not None:
        command = f"lr-retune report --decision {case.searched['decision'][:16]}"
        yield Commands(((command, f"the page of the last search, of {day(case.searched['as_of'])}"),))


def _edge(fitted: list[Any], chosen: float | None) -> str:
    """Where the rate that was taken is an end of those that were tried."""
    rates = [t.learning_rate for t in fitted if t.role == "candidate"]
    if chosen is None or len(rates) < 2 or min(rates) < chosen < max(rates):
        return ""
    end, beyond = ("lowest", "lower") if chosen <= min(rates) else ("highest", "higher")
    return f" {short(chosen)} is the {end} rate that was tried: nothing is known of {beyond} ones."


def _caption(told: Mapping[str, Any] | None, *, lost: bool) -> str:
    marks = "Dots: candidates; orange: the old rate; hollow: the default rate."
    marks += " Rates without a loss are marked at the upper edge by what became of them." if lost else ""
    if not told:
        return f"Loss on valid of every rate that was fitted. {marks}"
    told_of = (
        "Line and band: the smooth curve and one standard deviation of a trial. Shaded: rates as good as the best."
    )
    return f"{told_of} {marks}"


def _told(told: Mapping[str, Any], fitted: list[Any]) -> Iterator[Block]:
    best = min((t.loss for t in fitted if t.role == "candidate" and finite(t.loss)), default=None)
    smooth = {short(rate): (number(rate), number(loss)) for rate, loss in levels(told, best)}
    yield table("The smooth curve", ("learning rate", "loss"), smooth.values(), folded=True)
    rows: list[tuple[Any, ...]] = [
        ("spread of a trial around the curve", unsigned(told["noise"])),
        ("lowest rate as good as the best", number(told["low"])),
        ("highest rate as good as the best", number(told["high"])),
        ("evidence that came from earlier searches", unsigned(told["earlier"])),
    ]
    yield table("How sure it is", ("what", "value"), rows, pairs=True)
