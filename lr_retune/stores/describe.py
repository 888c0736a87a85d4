"""How a decision reads in MLflow: titles, tags, figures and Markdown, from its plain record."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from lr_retune.records import NOT_ASKED

UNDO = "lr-retune rollback"
NO_BREAK = "\N{NON-BREAKING HYPHEN}"  # MLflow's tables are narrow
OUTCOME = "lr_retune.outcome"  # tag of a run that shows a decision
NEWEST, WHY = 30, 140  # decisions that a log shows; characters of a reason


def title(record: Mapping[str, Any]) -> str:
    """``2019-03-14 promoted: search, rate 0.07``; MLflow's list of runs shows no more than its beginning."""
    outcome, rate = record.get("outcome"), _at(record, "result", "challenger", "learning_rate")
    told = [str(record["decision"]["action"]), *([] if rate is None else [f"rate {rate:.4g}"])]
    return f"{when(record['as_of'])} {f'{outcome}: ' if outcome else ''}{', '.join(told)}"


def when(time: str) -> str:
    """Date, with the time of day where it is not midnight."""
    moment = datetime.fromisoformat(time)
    midnight = (moment.hour, moment.minute, moment.second) == (0, 0, 0)
    return f"{moment:%Y-%m-%d}" if midnight else f"{moment:%Y-%m-%d %H:%M}"


def params(record: Mapping[str, Any]) -> dict[str, str]:
    """What was chosen."""
    found = {
        "action": record["decision"]["action"],
        "family": _at(record, "result", "family"),
        "strategy": _at(record, "result", "strategy"),
        "learning_rate": _at(record, "result", "challenger", "learning_rate"),
        "schedule": _at(record, "result", "challenger", "schedule"),
        "steps": _at(record, "next", "steps") or _at(record, "result", "challenger", "steps"),
        "champion_learning_rate": _at(record, "champion", "learning_rate"),
        "seed": record.get("seed"),
    }
    return {key: str(value) for key, value in found.items() if value is not None}


def metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """What was measured on the holdout; finite figures only."""
    found: dict[str, Any] = {f"loss.{arm}": loss for arm, loss in (_at(record, "judgement", "losses") or {}).items()}
    found |= {f"gain.{part}": gain for part, gain in (_at(record, "judgement", "attribution") or {}).items()}
    for part, effect in (_at(record, "judgement", "origin", "effects") or {}).items():
        found |= {f"gain.{part}.{end}": effect.get(end) for end in ("low", "high")}
    judged = _paired(record)
    found |= {f"gain.{end}": judged.get(end) for end in ("effect", "low", "high")}
    spent = list((_at(record, "result", "cost") or {}).values())
    found |= {f"cost.{unit}": sum(c.get(unit, 0) for c in spent) for unit in ("fits", "steps", "row_steps")}
    found |= {"serving.steps": _at(record, "result", "challenger", "steps")}
    return {k: float(v) for k, v in sorted(found.items()) if isinstance(v, (int, float)) and math.isfinite(v)}


def tags(record: Mapping[str, Any]) -> dict[str, str]:
    """Short identifiers."""
    found = {
        OUTCOME: record.get("outcome"),
        "lr_retune.status": record.get("status"),
        "lr_retune.digest": _at(record, "next", "model") or _at(record, "result", "challenger", "model"),
        "lr_retune.plan": _at(record, "plan", "digest"),
    }
    return {key: str(value) for key, value in found.items() if value is not None}


def version_tags(record: Mapping[str, Any], meta: Mapping[str, Any]) -> dict[str, str]:
    """Rate, predecessor, gain and undo of a registered version."""
    replaced, gain = record.get("replaces"), _paired(record).get("effect")
    found = {
        "lr_retune.learning_rate": str(meta.get("learning_rate", "")),
        "lr_retune.replaces": str(replaced or "none"),
    }
    if replaced is not None:
        found["lr_retune.undo"] = f"{UNDO} --to {replaced}"
    return found if gain is None else found | {"lr_retune.gain": f"{gain:+.2%}"}


def model(name: str, champion: str) -> str:
    """Markdown of the registered model; ``champion`` is the alias."""
    return (
        f"Kept by lr-retune. The alias `{champion}` follows its ledger: move it with `lr-retune promote` or `{UNDO}`, "
        f"not by hand.\n\nServe it: `mlflow models serve -m models:/{name}@{champion} --env-manager local`"
    )


def version(name: str, record: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """Markdown of one version: what it replaced and why, by how much, what the rate brought, how to undo it."""
    replaced, day = record.get("replaces"), when(record["as_of"])
    if replaced is None:
        return f"First champion, {day}: learning rate {meta.get('learning_rate')}. Nothing was replaced."
    reasons = _cell("; ".join(reason["text"] for reason in record["decision"].get("reasons", [])))
    lines = [
        f"Replaced version {replaced} on {day} ({record['decision']['action']}). {_gain(record)}",
        f"Why: {reasons}" if reasons else "",
        _brought(record),
        f"Undo: `{UNDO} --to {replaced}` puts version {replaced} of {name} back.",
    ]
    return "\n\n".join(line for line in lines if line)


def note(name: str, record: Mapping[str, Any]) -> str:
    """Markdown of one decision's run; its first lines are all that MLflow shows unasked."""
    lines = [f"**{name}: {title(record)}**", "", _gain(record) or "Nobody was there to compare it with."]
    if record.get("outcome") == "promoted":
        lines += ["", f"Undo: `{UNDO}`"]
    lines += [
        "",
        *(f"- {_cell(reason['text'])} ({reason['code']})" for reason in record["decision"].get("reasons", [])),
    ]
    lines += ["", _brought(record)]
    verdicts = [v for v in _at(record, "judgement", "verdicts") or [] if v["code"] != NOT_ASKED]
    if verdicts:
        lines += ["", "| gate | status | why |", "|---|---|---|"]
        lines += [f"| {v['gate']} ({v['code']}) | {v['status']} | {_cell(v['reason'])} |" for v in verdicts]
        lines += ["", *(_cell(v["promise"]) for v in verdicts if v.get("promise"))]
    lines += ["", "The artifact `decision.html` answers why now, what was tried, what it cost, and how to repeat it."]
    return "\n".join(lines)[:5000]


def log(name: str, rows: Sequence[Mapping[str, Any]], link: Callable[[Mapping[str, Any]], str]) -> str:
    """Markdown of a model's newest decisions, those that kept everything as it was among them.

    Parameters
    ----------
    rows
        As `lr-retune history` tells them, oldest first, with ``run`` and ``page``.
    link
        Where a row's page is shown.
    """
    lines = [f"What was decided for **{name}**, the newest first; charts: the champion's loss tick by tick.", ""]
    lines += ["| as of | outcome | action | why |", "|---|---|---|---|"]
    for row in rows[: -NEWEST - 1 : -1]:
        outcome = str(row["outcome"]).replace("_", " ")
        told = row["why"] if len(row["why"]) <= WHY else f"{row['why'][: WHY - 1]}…"
        day = when(row["as_of"]).replace("-", NO_BREAK)
        linked = day if outcome == "unsettled" else f"[{day}]({link(row)})"  # its page is made when it is settled
        lines.append(f"| {linked} | {outcome} | {row['action']} | {_cell(told)} |")
    older = len(rows) - NEWEST
    lines += ["", f"{older} older: `lr-retune history`" if older > 0 else "All of them: `lr-retune history`"]
    return "\n".join(lines)


def trial_title(trial: Mapping[str, Any]) -> str:
    """``candidate, rate 0.07``."""
    return f"{trial['role']}, rate {trial['learning_rate']:.4g}"


def trial_params(trial: Mapping[str, Any]) -> dict[str, str]:
    """What a trial tried and how it ended."""
    named = ("learning_rate", "schedule", "role", "state", "steps")
    return {key: str(trial[key]) for key in named}


def trial_metrics(trial: Mapping[str, Any]) -> dict[str, float]:
    """What a trial reached and what it took; finite figures only."""
    found = {"loss": trial["loss"], "cost.steps": _at(trial, "cost", "steps"), "serving.steps": trial["steps"]}
    return {k: float(v) for k, v in found.items() if isinstance(v, (int, float)) and math.isfinite(v)}


def _gain(record: Mapping[str, Any]) -> str:
    losses = _at(record, "judgement", "losses") or {}
    old, new = losses.get("champion"), losses.get("challenger")
    if not old or new is None:
        return ""
    judged = _paired(record)
    interval = ""
    if judged.get("low") is not None and judged.get("high") is not None:
        interval = f", 90 % interval {judged['low']:+.1%} to {judged['high']:+.1%}"
    return f"Loss on the holdout {new:.4g} instead of {old:.4g}: a gain of {(old - new) / old:+.1%}{interval}."


def _brought(record: Mapping[str, Any]) -> str:
    """How much of the gain the old rate reached on the same fresh data."""
    gains = _at(record, "judgement", "attribution") or {}
    data, rate = gains.get("data"), gains.get("rate")
    old, new = _at(record, "champion", "learning_rate"), _at(record, "result", "challenger", "learning_rate")
    if data is None or rate is None:
        return ""
    if old == new:
        why = _at(record, "result", "reason")
        return f"The learning rate stayed {old}: what changed came with fresh data." + (
            f" {_cell(why[:1].upper() + why[1:])}." if why else ""
        )
    if told := _at(record, "judgement", "origin", "told"):
        return f"Old rate {old}, new rate {new}. {told}"
    return (
        f"Fresh data at the old learning rate {old} brought {data:+.1%}, the new rate {new} {rate:+.1%} on these rows."
    )


def _paired(record: Mapping[str, Any]) -> Mapping[str, Any]:
    verdicts = _at(record, "judgement", "verdicts") or []
    return next((v for v in verdicts if v.get("effect") is not None), {})


def _cell(text: str) -> str:
    """A line in which Markdown finds no link, no picture and no markup."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", text.replace("\n", " ")).replace("<", "&lt;")


def _at(record: Any, *path: str) -> Any:
    for key in path:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record
