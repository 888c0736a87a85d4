"""What a machine reads of a page: the record's figures without model contracts, whose ranges are of raw values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lr_retune.report.blocks import Case
from lr_retune.report.questions.undo import commands

SCHEMA_VERSION = 1
_CURVE = 60  # points kept of a learning curve
_HIDDEN = frozenset({"contract"})


def island(case: Case) -> dict[str, Any]:
    """Decision, facts, search, judgement, rules and commands."""
    settled = case.settled or {}
    return {
        "schema_version": SCHEMA_VERSION,
        "model": case.model,
        "as_of": case.as_of,
        "outcome": case.outcome,
        "decision": _bare(case.decision),
        "facts": _bare(case.facts),
        "before": _bare(case.before),
        "after": _bare(case.after),
        "plan": _bare(settled.get("plan")),
        "result": _result(case.result),
        "judgement": _bare(case.judgement) or None,
        "status": settled.get("status"),
        "rules": _bare(case.rules) or None,
        "config": settled.get("config"),
        "seed": settled.get("seed"),
        "environment": settled.get("environment"),
        "ledger": [dict(entry) for entry in case.chain],
        "later": [dict(each) for each in case.later],
        "commands": [command for command, _ in commands(case)],
    }


def _result(result: Mapping[str, Any] | None) -> Any:
    if result is None:
        return None
    trials = [{**trial, "curve": _thin(trial.get("curve") or ())} for trial in result["trials"]]
    return _bare({**result, "trials": trials})


def _thin(curve: Any) -> list[Any]:
    stride = -(-len(curve) // _CURVE) if curve else 1
    return list(curve[::stride])


def _bare(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _bare(inner) for key, inner in value.items() if key not in _HIDDEN}
    if isinstance(value, (list, tuple)):
        return [_bare(inner) for inner in value]
    return value
