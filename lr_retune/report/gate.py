"""A gate verdict in the forms that CI systems read; hostile names are inert in each."""

from __future__ import annotations

import html
import json
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


class Verdict(Protocol):
    """What the gate found."""

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


def render(found: Verdict, output: str) -> str:
    """One verdict as text, json, markdown, github annotations or junit.

    Raises
    ------
    ConfigError
        For another form.
    """
    if output not in _FORMS:
        raise ConfigError(
            f"no output form named {output!r}", why=f"there are {', '.join(_FORMS)}", fix="choose among these"
        )
    return _FORMS[output](found)


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


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
    return json.dumps(fields, ensure_ascii=False)


def _text(found: Verdict) -> str:
    head = f"{found.status}  {_line(found.model)} version {found.version or '–'}"
    return "\n".join([head, *(f"  {r.status:<12} {r.code}  {_line(r.reason)}" for r in found.rules)])


def _markdown(found: Verdict) -> str:
    head = f"### {found.status}: {html.escape(_line(found.model))} version {html.escape(found.version or '–')}"
    rows = [
        f"| {r.code} | {r.status} | {html.escape(_line(r.reason)).replace('|', '&#124;').replace('`', '&#96;')} |"
        for r in found.rules
    ]
    return "\n".join([head, "", "| rule | status | reason |", "|---|---|---|", *rows])


def _github(found: Verdict) -> str:
    """Workflow commands: % and line ends are encoded, as the runner's own toolkit does."""
    lines = []
    for rule in found.rules:
        level = "notice" if rule.status == "PASS" else "error"
        text = _line(rule.reason).replace("%", "%25")
        lines.append(f"::{level} title={rule.code}::{rule.status}: {text}")
    return "\n".join(lines)


def _junit(found: Verdict) -> str:
    failed = [r for r in found.rules if r.status != "PASS"]
    cases = []
    for rule in found.rules:
        reason = html.escape(_line(rule.reason), quote=True)
        body = "" if rule.status == "PASS" else f'<failure type="{rule.status}" message="{reason}"/>'
        cases.append(f'  <testcase classname="lr-retune.gate" name="{rule.code}">{body}</testcase>')
    name = html.escape(_line(found.model), quote=True)
    head = f'<testsuite name="{name}" tests="{len(found.rules)}" failures="{len(failed)}">'
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *cases, "</testsuite>"])


_FORMS: dict[str, Callable[[Verdict], str]] = {
    "text": _text,
    "json": _json,
    "markdown": _markdown,
    "github": _github,
    "junit": _junit,
}
