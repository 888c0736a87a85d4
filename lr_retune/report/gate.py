"""A gate verdict in the forms that CI systems read; hostile names are inert in each."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from lr_retune.errors import ConfigError


class Rule(Protocol):
    """One rule's answer."""

    @property
    def code(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def reason(self) -> str: ...


class Forced(Protocol):
    """Who overruled a verdict."""

    @property
    def actor(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def ledger_row(self) -> int: ...


class Verdict(Protocol):
    """What the gate found."""

    @property
    def forced(self) -> Forced | None: ...

    @property
    def model(self) -> str: ...
    @property
    def version(self) -> str | None: ...
    @property
    def decision(self) -> str | None: ...
    @property
    def expires_at(self) -> str | None: ...
    @property
    def status(self) -> str: ...
    @property
    def rules(self) -> Sequence[Rule]: ...


def form(output: str) -> Callable[[Verdict], str]:
    """How one verdict is told: text, json, markdown, github annotations or junit.

    Raises
    ------
    ConfigError
        For another form.
    """
    if output not in _FORMS:
        raise ConfigError(
            f"no output form named {output!r}", why=f"there are {', '.join(_FORMS)}", fix="choose among these"
        )
    return _FORMS[output]


def _line(text: str | None) -> str:
    """One line without terminal escapes, and without the ``##[…]`` and ``##vso[…]`` that CI runners obey anywhere."""
    if not text:
        return "–"
    return re.sub("#(?=#)", "# ", " ".join("".join(c if c.isprintable() else " " for c in text).split()))


def _cell(text: str | None) -> str:
    """A line in which Markdown and HTML find nothing to act on, mentions and links included."""
    coded = "".join(c if c.isalnum() or c in _PLAIN else f"&#{ord(c)};" for c in _line(text))
    return coded.replace("&#64;", "&#64;&#8203;")  # a space of no width: @name would still notify somebody


def _json(found: Verdict) -> str:
    rules = [{"code": r.code, "status": r.status, "reason": r.reason} for r in found.rules]
    fields: Mapping[str, Any] = {
        "schema_version": 1,
        "command": "gate",
        "model": found.model,
        "version": found.version,
        "decision": found.decision,
        "status": found.status,
        "rules": rules,
        "expires_at": found.expires_at,
    }
    if (who := found.forced) is not None:
        fields = {**fields, "forced": {"actor": who.actor, "reason": who.reason, "ledger_row": who.ledger_row}}
    return json.dumps(fields)


def _overruled(found: Verdict) -> str:
    """Empty where nobody did."""
    who = found.forced
    return "" if who is None else f"overruled by {who.actor}: {who.reason} (ledger row {who.ledger_row})"


def _text(found: Verdict) -> str:
    head = f"{found.status}  {_line(found.model)} version {_line(found.version)}"
    lines = [f"  {r.status:<12} {r.code}  {_line(r.reason)}" for r in found.rules]
    return "\n".join([head, *lines, *([f"  {_line(said)}"] if (said := _overruled(found)) else [])])


def _markdown(found: Verdict) -> str:
    head = f"### {found.status}: {_cell(found.model)} version {_cell(found.version)}"
    rows = [f"| {r.code} | {r.status} | {_cell(r.reason)} |" for r in found.rules]
    said = [f"**{_cell(said)}**", ""] if (said := _overruled(found)) else []
    return "\n".join([head, "", *said, "| rule | status | reason |", "|---|---|---|", *rows])


def _github(found: Verdict) -> str:
    """Workflow commands: % is encoded, as the runner's own toolkit does; line ends are gone."""
    lines = []
    for rule in found.rules:
        text = _line(rule.reason).replace("%", "%25")
        level = _LEVELS.get(rule.status, "error" if found.forced is None else "warning")
        lines.append(f"::{level} title={rule.code}::{rule.status}: {text}")
    if said := _overruled(found):
        lines.append(f"::warning title=forced::{_line(said).replace('%', '%25')}")
    return "\n".join(lines)


def _junit(found: Verdict) -> str:
    kinds = [_JUNIT.get(rule.status, "error") for rule in found.rules]
    cases = [_case(rule, kind) for rule, kind in zip(found.rules, kinds, strict=True)]
    counts = f'tests="{len(kinds)}" failures="{kinds.count("failure")}" errors="{kinds.count("error")}"'
    head = f'<testsuite name="{html.escape(_line(found.model))}" {counts}>'
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *cases, "</testsuite>"])


def _case(rule: Rule, kind: str) -> str:
    body = f'<{kind} type="{rule.status}" message="{html.escape(_line(rule.reason))}"/>' if kind else ""
    return f'  <testcase classname="lr-retune.gate" name="{rule.code}">{body}</testcase>'


_PLAIN = " ,;%–()+-"
_LEVELS = {"PASS": "notice", "INCONCLUSIVE": "warning"}
_JUNIT = {"PASS": "", "FAIL": "failure", "INCONCLUSIVE": "failure", "CONFLICT": "failure"}
_FORMS: dict[str, Callable[[Verdict], str]] = {
    "text": _text,
    "json": _json,
    "markdown": _markdown,
    "github": _github,
    "junit": _junit,
}
