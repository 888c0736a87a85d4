"""Where models stand: one in full, many at a glance with what waits for somebody below."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.text import Text

from lr_retune.answers import needs_of_status, short
from lr_retune.terminal.base import REST, RIGHT, WHOLE, grid, outcome, table, text, tone, trend, versus

WIDE = 110  # columns, from which the reason of the last decision has room


def status(models: Sequence[Mapping[str, Any]], more: Sequence[str] = ()) -> RenderableType:
    """One model as a panel; several as a table, and what each needs.

    Parameters
    ----------
    more
        Lines that were asked for beside it.
    """
    drawn: RenderableType = _one(models[0]) if len(models) == 1 else _Many(models)
    return Group(drawn, *map(text, more)) if more else drawn


def needs(model: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What waits for somebody: its sign in capitals, and a sentence."""
    return [(sign, said) for sign, _, said in (line.strip().partition(": ") for line in needs_of_status(model))]


def _sign(sign: str) -> Text:
    found = tone(sign.split(" by ")[0])
    return text(sign, "warn" if found == "calm" else found)


def _one(model: Mapping[str, Any]) -> RenderableType:
    champion = model["champion"]
    if champion is None:
        bare = needs(model) or [("no champion yet", "`lr-retune bootstrap` makes the first one")]
        return _panel(model, grid((_sign(sign), text(said)) for sign, said in bare), "")
    rows: list[tuple[str | Text, RenderableType]] = [
        ("champion", text(f"since decision {champion['since_decision'][:16]}")),
    ]
    rows += [("loss", _loss(model))]
    rows += [("last look", _looked(model))]
    rows += [("why", text(reason)) for reason in model["last_reasons"][:1]]
    rows += [("", text(reason)) for reason in model["last_reasons"][1:]]
    rows += [(_sign(sign), text(said)) for sign, said in needs(model)]
    if model["last_decision"] is not None:
        rows.append(("more", text(f"lr-retune explain {model['last_decision']}", "quiet")))
    return _panel(model, grid(rows), f"version {champion['version']}, rate {short(champion['learning_rate'])}")


def _panel(model: Mapping[str, Any], body: RenderableType, said: str) -> Panel:
    title = Text.assemble(text(model["name"], "name"), "  " if said else "", text(said))
    return Panel(body, title=title, title_align="left", box=box.ROUNDED, border_style=_border(model), padding=(0, 1))


def _border(model: Mapping[str, Any]) -> str:
    return "red" if model["problems"] or model["stale"] else "yellow" if needs_of_status(model) else "bright_black"


def _loss(model: Mapping[str, Any]) -> Text:
    promised, seen = model["champion"]["loss"], model["loss"]
    if seen is None:
        return text(f"promised {short(promised)}")
    alarm = Text.assemble("  ", text("alarm", "bad")) if seen["alarm"] else ""
    told = Text.assemble(text(short(seen["value"])), " of ", text(short(seen["promised"])), " promised  ")
    return Text.assemble(trend(model["recent"]), "  ", told, versus(seen["value"], seen["promised"]), alarm)


def _looked(model: Mapping[str, Any]) -> Text:
    at = text(str(model["last_look"] or "never")[:16].replace("T", " "))
    if model["last_decision"] is None:
        return Text.assemble(at, text(" UTC, when the champion was made"))
    return Text.assemble(at, " UTC  ", text(model["last_action"]), " → ", outcome(model["last_outcome"]))


class _Many:
    """A table that says more where there is room."""

    def __init__(self, models: Sequence[Mapping[str, Any]]) -> None:
        self._models = models

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        wide = options.max_width >= WIDE
        last = [("why", REST)] if wide else []
        made = table(
            ("model", {"min_width": 8}), ("ver.", RIGHT), ("rate", RIGHT), ("loss", RIGHT), ("to promise", RIGHT),
            ("trend", WHOLE), ("looked at", WHOLE), ("state", WHOLE), *last,
        )  # fmt: skip
        made.expand = wide
        for model in self._models:
            why = [text(next(iter(model.get("last_reasons") or []), ""), clip=True)] if wide else []
            made.add_row(*_row(model, 24 if wide else 10), *why)
        yield made
        if waiting := list(_waiting(self._models)):
            yield Text()
            yield grid(waiting)


def _waiting(models: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Text, RenderableType]]:
    """What the same is asked of several is said once, the gravest first."""
    found: dict[tuple[str, str], list[str]] = {}
    for model in models:
        for need in needs(model):
            found.setdefault(need, []).append(model["name"])
    for (sign, said), names in sorted(found.items(), key=lambda each: tone(each[0][0]) != "bad"):
        yield _sign(sign), Text.assemble(text(", ".join(names), "name"), ": ", text(said))


def _row(model: Mapping[str, Any], width: int) -> list[Text]:
    champion, seen = model["champion"], model.get("loss")
    name = text(model["name"], "name", clip=True)
    if champion is None:
        return [name, *(text("–") for _ in range(4)), text(""), text("never"), text("no champion", "warn")]
    return [
        name,
        text(champion["version"]),
        text(champion["learning_rate"]),
        text(None if seen is None else seen["value"], "bad" if seen is not None and seen["alarm"] else "calm"),
        text(None) if seen is None else versus(seen["value"], seen["promised"]),
        trend(model["recent"], width),
        text(str(model["last_look"])[:10], "bad" if model["stale"] else "calm"),
        _state(model),
    ]


def _state(model: Mapping[str, Any]) -> Text:
    """What is wrong with it or waits; else what came of the last look."""
    signs = sorted((sign.split(" by ")[0] for sign, _ in needs(model)), key=lambda sign: tone(sign) != "bad")
    if signs:
        return _sign(signs[0])
    return outcome(model["last_outcome"]) if model["last_decision"] is not None else text("born", "quiet")
