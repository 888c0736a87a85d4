"""Records to the JSON that scripts rely on, and to the lines a person reads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lr_retune.config import Config
from lr_retune.records import Champion, ColumnDrift, Cost, Facts, Report, TickLoss, Trial, TuneResult, plain

SCHEMA_VERSION = 1


def answer(command: str, **fields: Any) -> dict[str, Any]:
    """One JSON object of the outside contract."""
    return {"schema_version": SCHEMA_VERSION, "command": command, **{k: plain(v) for k, v in fields.items()}}


def champion(config: Config, found: Champion) -> dict[str, Any]:
    """A champion with its loss also in the user's direction."""
    return {
        "version": found.version,
        "model": found.model,
        "learning_rate": found.learning_rate,
        "steps": found.steps,
        "loss": found.promised,
        "metric": in_users_direction(config, found.promised),
    }


def in_users_direction(config: Config, loss: float | None) -> float | None:
    """A loss as the user's metric says it."""
    if loss is None or not math.isfinite(loss):
        return None
    from lr_retune.metrics import loss_for

    return loss_for(config.metric).metric(loss)


def facts(found: Facts) -> dict[str, Any]:
    """An observation in the contract's words."""
    loss = found.loss
    return {
        "as_of": found.as_of,
        "horizon": found.horizon,
        "rows": found.rows,
        "matured_rows": found.matured_rows,
        "ticks": [_tick(tick) for tick in found.ticks],
        "loss": None if loss is None else plain(loss),
        "drift": [_drift(column) for column in found.drift],
        "faults": [plain(fault) for fault in found.faults],
        "alias_moved": found.alias_moved,
    }


def _tick(tick: TickLoss) -> dict[str, Any]:
    return {"start": tick.start, "end": tick.end, "rows": tick.rows, "matured": tick.matured, "loss": tick.loss}


def _drift(column: ColumnDrift) -> dict[str, Any]:
    return {
        "column": column.column,
        "method": column.method,
        "statistic": column.statistic,
        "robust": column.robust,
        "threshold": column.threshold,
        "importance": column.importance,
        "drifted": column.drifted,
    }


def report(config: Config, found: Report) -> dict[str, Any]:
    """A run in the contract's words."""
    fields: dict[str, Any] = {
        "outcome": found.outcome,
        "decision": found.decision,
        "facts": facts(found.facts),
        "champion": champion(config, found.champion),
        "challenger": None,
        "control": None,
        "verdicts": [],
        "attribution": {},
        "cost": {},
        "run_id": found.run_id,
        "timing": {},
    }
    if found.result is not None and found.judgement is not None:
        losses = found.judgement.losses
        fields |= {
            "challenger": _arm(config, found.result, "challenger", losses),
            "control": _arm(config, found.result, "control", losses),
            "fixed": _arm(config, found.result, "fixed", losses),
            "verdicts": found.judgement.verdicts,
            "attribution": found.judgement.attribution,
            "cost": found.result.cost,
            "at_wall": found.result.at_wall,
            "timing": dict(found.result.timing),
        }
    return fields


def _arm(config: Config, result: TuneResult, role: str, losses: Mapping[str, float]) -> dict[str, Any] | None:
    candidate = getattr(result, role)
    if candidate is None:
        return None
    loss = losses.get(role)
    return {
        "model": candidate.model,
        "learning_rate": candidate.learning_rate,
        "schedule": candidate.schedule,
        "steps": candidate.steps,
        "loss": loss,
        "metric": in_users_direction(config, loss),
        "valid_loss": candidate.loss,
    }


def search(result: TuneResult) -> dict[str, Any]:
    """A search in the contract's words."""
    best, control = result.challenger, result.control
    return {
        "strategy": result.strategy,
        "best": None
        if best is None
        else {
            "learning_rate": best.learning_rate,
            "schedule": best.schedule,
            "steps": best.steps,
            "loss": best.loss,
            "trees": best.steps if result.step_unit == "rounds" else None,
        },
        "control": None
        if control is None
        else {"learning_rate": control.learning_rate, "loss": control.loss, "steps": control.steps},
        "trials": [trial(t) for t in result.trials],
        "step_unit": result.step_unit,
        "at_wall": result.at_wall,
        "cost": plain(result.cost.get("search", Cost())),
        "cost_by_column": plain(result.cost),
        "timing": dict(result.timing),
    }


def trial(found: Trial) -> dict[str, Any]:
    """A trial without its curve."""
    return {
        "number": found.number,
        "role": found.role,
        "learning_rate": found.learning_rate,
        "schedule": found.schedule,
        "loss": found.loss,
        "state": found.state,
        "steps": found.steps,
        "note": found.note,
    }


def short(value: float | None) -> str:
    """A number for people: four significant digits."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.4g}"


def lines_of_report(found: Report) -> list[str]:
    """What a person reads after `watch` and `run`."""
    text = [f"{found.outcome.upper()}  {found.decision.action}  (decision {found.decision.id})"]
    text += [f"  · {reason.text}" for reason in found.decision.reasons]
    text += [
        f"  · fault {f.code}{'' if f.column is None else f' in {printable(f.column)}'}: {f.what}"
        for f in found.facts.faults
    ]
    if found.result is not None and found.judgement is not None:
        losses = found.judgement.losses
        rows = [
            (role, candidate.learning_rate, candidate.steps, losses.get(role))
            for role in ("challenger", "control", "fixed")
            if (candidate := getattr(found.result, role)) is not None
        ]
        text.append(f"  holdout loss: champion {short(losses.get('champion'))}")
        text += [
            f"    {role:<10} rate {rate:.4g}  {steps} {found.result.step_unit}  loss {short(loss)}"
            for role, rate, steps, loss in rows
        ]
        text += [f"  {v.status:<12} {v.code} {v.gate}: {v.reason}" for v in found.judgement.verdicts]
    text.append(f"  champion: version {found.champion.version}, rate {found.champion.learning_rate:.4g}")
    return text


def printable(text: str) -> str:
    """A name from data or registry, safe for a terminal and a log: one line, no escapes.

    >>> printable("a\\n::error::b\\x1b[31m")
    'a\\\\n::error::b\\\\x1b[31m'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Aligned plain-text columns; numbers to the right."""
    cells = [list(head), *[[short(c) if isinstance(c, float) else printable(str(c)) for c in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    right = [all(_numeric(row[i]) for row in cells[1:]) and len(cells) > 1 for i in range(len(head))]
    return [
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in cells
    ]


def _numeric(text: str) -> bool:
    return (
        text == "–"
        or text.replace(".", "", 1)
        .replace("-", "", 1)
        .replace("+", "", 2)
        .replace("e", "", 1)
        .replace("%", "")
        .replace(",", "")
        .isdigit()
    )
