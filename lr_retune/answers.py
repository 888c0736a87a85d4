"""Records to the JSON that scripts rely on, and to the lines a person reads."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lr_retune.average import parts
from lr_retune.records import (
    NOT_ASKED,
    Candidate,
    Champion,
    Cost,
    Facts,
    Judgement,
    Report,
    Trial,
    TuneResult,
    iso,
    plain,
)

if TYPE_CHECKING:
    from lr_retune.config import Config
    from lr_retune.evolve import Difference

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
        "mode": found.mode,
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
        "ticks": [_without(tick, "mature") for tick in found.ticks],
        "loss": None if loss is None else plain(loss),
        "ranking": plain(found.ranking),
        "suspicion": plain(found.suspicion),
        "probe": plain(found.probe),
        "probation": plain(found.probation),
        "drift": plain(found.drift),
        "faults": [plain(fault) for fault in found.faults],
        "alias_moved": found.alias_moved,
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
        "look": None,
        "attribution": {},
        "cost": {},
        "run_id": found.run_id,
        "approval": None if found.waits is None else {"mode": found.waits.mode, "expires_at": found.waits.until},
        "timing": {},
    }
    if found.result is not None and found.judgement is not None:
        losses = found.judgement.losses
        fields |= {
            "challenger": _challenger(config, found, losses),
            "control": _arm(config, found.result, "control", losses),
            "fixed": _arm(config, found.result, "fixed", losses),
            "verdicts": found.judgement.verdicts,
            "look": found.judgement.look,
            "attribution": {**found.judgement.attribution, **_origin(found.judgement)},
            "cost": found.result.cost,
            "at_wall": found.result.at_wall,
            "timing": dict(found.result.timing),
        }
    return fields


def _origin(found: Judgement) -> dict[str, Any]:
    """Effects with their errors, beside the figures that stood there before."""
    return {} if found.origin is None else plain(found.origin)


def _challenger(config: Config, found: Report, losses: Mapping[str, float]) -> dict[str, Any] | None:
    """With the version it was registered as: only what is promoted becomes one."""
    if found.result is None or found.result.served is None:
        return None
    serves, again = found.result.served, found.result.refit
    version = found.champion.version if found.champion.model == serves.model else None
    refit = None if again is None else {"model": again.model, "steps": again.steps}
    return {"version": version, **(_arm(config, found.result, "challenger", losses) or {}), "refit": refit}


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
        "estimate": plain(result.estimate),
        "reason": result.reason,
        "lead": result.lead,
        "same_rate": result.same_rate,
        "cost": plain(result.cost.get("search", Cost())),
        "cost_by_column": plain(result.cost),
        "timing": dict(result.timing),
    }


def menu(rows: Sequence[Any]) -> dict[str, Any]:  # of menu.Row: that module stands above this one
    """Strategies side by side."""
    return {
        "strategies": [
            {
                "strategy": row.name,
                "best": None if row.candidate is None else _rate_of(row.candidate),
                "later_loss": row.later,
                "cost": plain(row.cost),
                "timing": dict(row.timing),
                "note": row.note,
            }
            for row in rows
        ]
    }


def _rate_of(found: Candidate) -> dict[str, Any]:
    return {name: getattr(found, name) for name in ("learning_rate", "schedule", "steps", "loss")}


def trial(found: Trial) -> dict[str, Any]:
    """A trial without its curve and its work."""
    return _without(found, "curve", "cost")


def _without(record: Any, *names: str) -> dict[str, Any]:
    """A record's plain form, short of what the contract does not name."""
    return {key: value for key, value in plain(record).items() if key not in names}


def short(value: float | None) -> str:
    """A number for people: four significant digits."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.4g}"


def lines_of_report(found: Report) -> list[str]:
    """What a person reads after `watch` and `run`."""
    text = [f"{found.outcome.upper()}  {found.decision.action}  (decision {found.decision.id})"]
    text += lines_of_look(found)[1:]
    if found.result is not None and found.judgement is not None:
        losses = found.judgement.losses
        rows = [
            (role, candidate.learning_rate, candidate.schedule, candidate.steps, losses.get(role))
            for role in ("challenger", "control", "fixed")
            if (candidate := getattr(found.result, role)) is not None
        ]
        text.append(f"  holdout loss: champion {short(losses.get('champion'))}")
        text += [
            f"    {role:<10} rate {rate:.4g}{shaped(schedule)}  {steps} {found.result.step_unit}  loss {short(loss)}"
            for role, rate, schedule, steps, loss in rows
        ]
        asked = (v for v in found.judgement.verdicts if v.code != NOT_ASKED)
        text += [f"  {v.status:<12} {v.code} {v.gate}: {v.reason}" for v in asked]
        text += [] if found.judgement.look is None else [f"  {found.judgement.look.promise}"]
        text += [f"  {found.judgement.origin.told}"] if found.judgement.origin is not None else []
        text += [f"  {v.promise}" for v in found.judgement.verdicts if v.promise]
        text += [f"  {line}" for line in [found.result.reason, *told_wall(found.result.at_wall)] if line]
    text += told_waits(found)
    rate_now = f"{found.champion.learning_rate:.4g}{shaped(found.champion.schedule)}"
    text.append(f"  champion: version {found.champion.version}, rate {rate_now}")
    return text


def told_waits(found: Report) -> list[str]:
    """What a person is asked to do with a challenger that passed."""
    if found.waits is None:
        return []
    if found.waits.until is None:
        return [f"  suggested: `lr-retune promote {found.decision.id}` would do it"]
    return [f"  waits for `lr-retune approve {found.decision.id} --reason …` until {iso(found.waits.until)}"]


def told_wall(side: str | None) -> list[str]:
    """That the best rate stands at the user's wall, where it does."""
    wall = f"the {side} wall of [search] learning_rate"
    return [f"the best rate stands at {wall}: a wider range may hold a better one"] if side else []


def wall_of(config: Config, rate: float) -> str | None:
    """Which of the user's walls a rate stands at."""
    walls = config.search.learning_rate
    return None if walls is None else {walls.low: "low", walls.high: "high"}.get(rate)


def lines_of_look(found: Report) -> list[str]:
    """What a person reads after `watch`: the decision, its reasons, and faults that no reason tells."""
    told = " ".join(reason.text for reason in found.decision.reasons)
    faults = [f for f in found.facts.faults if f.what not in told]
    return [
        f"{found.decision.action.upper()}  (decision {found.decision.id})",
        *(f"  · {reason.text}" for reason in found.decision.reasons),
        *(f"  · fault {f.code}: {f.what}" for f in faults),
    ]


def lines_of_search(found: TuneResult) -> list[str]:
    """The table of trials, and the rate that won."""
    head = ("trial", "role", "rate", "schedule", found.step_unit, "trained", "valid loss", "state")
    rows = [
        (t.number, t.role, t.learning_rate, clipped(t.schedule, 24), t.steps, t.cost.steps, short(t.loss), t.state)
        for t in found.trials
    ]
    best, lines = found.challenger, table(head, rows)
    if best is None:
        return [*lines, "no trial ended well", *(f"  trial {t.number}: {t.note}" for t in found.trials if t.note)]
    rate = f"{best.learning_rate:.4g}{shaped(best.schedule)}"
    lines.append(f"best: rate {rate}, {best.steps} {found.step_unit}, valid loss {short(best.loss)}")
    return [*lines, *filter(None, [found.reason]), *_starved(found), *told_wall(found.at_wall)]


def shaped(schedule: str) -> str:
    """A schedule beside its rate; nothing for a constant one.

    >>> shaped("constant"), shaped("cosine(12)"), shaped("average(0.15 constant + 0.07 constant)")
    ('', ', cosine(12)', ', the average of 0.15, 0.07')
    """
    if schedule == "constant":
        return ""
    rates = ", ".join(f"{rate:.4g}{shaped(own)}" for rate, own in parts(schedule))
    return f", the average of {rates}" if rates else f", {schedule}"


def _starved(found: TuneResult) -> list[str]:
    """What to raise where fits ran out of steps."""
    lost = [t.note for t in found.trials if t.state == "starved"]
    return [f"{len(lost)} of {len(found.trials)} fits are starved: {lost[-1]}"] if lost else []


def lines_of_menu(rows: Sequence[Any]) -> list[str]:
    """One line per strategy."""
    head = ("strategy", "rate", "schedule", "steps", "valid loss", "later loss", "fits", "trained", "CPU s")
    lines = [
        (row.name, *_cells(row.candidate), short(row.later), row.cost.fits, row.cost.steps, _seconds(row.timing))
        for row in rows
    ]
    notes = [f"{row.name}: {row.note}" for row in rows if row.note]
    said = "later loss: on the holdout, which no search has seen; who picks by it has tuned on it"
    return [*table(head, lines), *notes, said]


def _cells(found: Candidate | None) -> tuple[Any, ...]:
    if found is None:
        return "–", "–", "–", "–"
    return f"{found.learning_rate:.4g}", clipped(found.schedule, 30), found.steps, short(found.loss)


def _seconds(timing: Mapping[str, float]) -> str:
    return f"{timing['cpu_s']:.1f}" if timing else "–"


def lines_of_history(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per decision."""
    rows = [(d["as_of"][:16], d["id"], d["action"], ended(d), d["version"] or "", clipped(d["why"])) for d in found]
    return table(("as of", "decision", "action", "outcome", "version", "why"), rows) if rows else ["no decisions yet"]


def ended(decision: Mapping[str, Any]) -> str:
    """An outcome, with how its approval stands where somebody was asked."""
    asked, outcome = decision["approval"], str(decision["outcome"])
    return outcome if asked is None or asked["state"] in (outcome, "waiting") else f"{outcome} ({asked['state']})"


def clipped(text: str, width: int = 90) -> str:
    """The beginning of a text, with a sign where more was said.

    >>> clipped("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= width else f"{text[: width - 1]}…"


def lines_of_check(found: Sequence[Mapping[str, Any]], code: int) -> list[str]:
    """What is wrong, why, and what to do; last, whether it blocks."""
    lines = []
    for problem in found:
        lines.append(f"{'' if problem['blocks'] else 'note: '}{problem['code']}: {problem['what']}")
        lines += [f"  {label} {problem[key]}" for label, key in (("why:", "why"), ("do: ", "fix")) if problem[key]]
    return lines if code else [*lines, "ok"]


def lines_of_status(found: Mapping[str, Any]) -> list[str]:
    """Where a model stands, for somebody who was woken by it."""
    champion = found["champion"]
    if champion is None and found["problems"]:
        return [f"{found['name']}: not known", *(f"  PROBLEM: {text}" for text in found["problems"])]
    if champion is None:
        return [f"{found['name']}: no champion yet; `lr-retune bootstrap` makes the first one"]
    lines = [
        f"{found['name']}: champion version {champion['version']}, rate {champion['learning_rate']:.4g}, "
        f"promised loss {short(champion['loss'])} (by decision {champion['since_decision'][:16]})"
    ]
    if found["last_decision"] is not None:
        ended = "unsettled" if found["last_outcome"] is None else found["last_outcome"]
        lines.append(f"  last look: {found['last_look']}, {found['last_action']}: {ended}")
        lines += [f"    · {text}" for text in found["last_reasons"]]
        lines.append(f"    more: lr-retune explain {found['last_decision']}")
    else:
        lines.append(f"  last look: {found['last_look']}, when the champion was made")
    return lines + needs_of_status(found)


def needs_of_status(found: Mapping[str, Any]) -> list[str]:
    """What waits for somebody, a sign in capitals before each."""
    lines = []
    if found["paused"] is not None:
        lines.append(f"  PAUSED: {told_pause(found['paused'])}; `lr-retune resume` ends it")
    lines += [_told_approval(each) for each in (*found["approvals"], *found["suggestions"])]
    lines += [
        f"  FROZEN: version {each['version']}, rolled back by {each['by'] or 'somebody'}: {each['reason']}; "
        f"`lr-retune lift {each['model'][:12]}` allows it again"
        for each in found["frozen"]
    ]
    if lost := found["undelivered"]:
        why = next((each["error"] for each in lost if each["error"]), "no run has tried yet")
        lines.append(f"  NOT TOLD: {len(lost)} of its messages: {why}; `lr-retune notify` lists them")
    if found["stale"]:
        lines.append(f"  STALE: nobody has looked for more than {found['stale_after']}; see whether the schedule runs")
    return lines + [f"  PROBLEM: {text}" for text in found["problems"]]


def _told_approval(waits: Mapping[str, Any]) -> str:
    """A challenger that a person may answer for, in one sentence."""
    id, what = waits["decision"], f"rate {waits['learning_rate']:.4g}, promised loss {short(waits['loss'])}"
    if waits["mode"] == "suggest":
        return f"  SUGGESTED: {what}; `lr-retune promote {id}` would do it"
    if waits["state"] == "approved":
        return f"  APPROVED by {waits['by']}, not promoted yet: {what}; see `lr-retune reconcile`"
    return f"  WAITS: {what}; `lr-retune approve {id}` or `reject`, until {waits['expires_at']}"


def lines_of_outbox(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line per message that has not arrived."""
    head = ("channel", "cause", "event", "since", "decision", "tries", "last error")
    rows = [
        (m["channel"], m["cause"], m["event"], m["since"][:16], m["decision"][:16], m["tries"], m["error"] or "")
        for m in found
    ]
    return table(head, rows) if rows else ["every message has arrived"]


def told_pause(pause: Mapping[str, Any]) -> str:
    """A pause in one sentence."""
    who = f" by {pause['by']}" if pause["by"] else ""
    return f"nothing is trained or promoted until {pause['until']}{who}: {pause['reason']}"


def told_prune(counts: Mapping[str, int], size: int, *, dry_run: bool) -> str:
    """What went, or would go."""
    what = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
    return f"{'would delete' if dry_run else 'deleted'}: {what}; {size / 1e6:,.1f} MB"


def lines_of_doctor(found: Sequence[tuple[str, str, Sequence[Mapping[str, Any]]]]) -> list[str]:
    """One line per look that found nothing; else what is wrong, why, and what to do."""
    lines = []
    for state, about, problems in found:
        lines += [] if problems else [f"{state:<8} {about}"]
        for problem in problems:
            lines.append(f"{'PROBLEM' if problem['blocks'] else 'note':<8} {problem['code']}: {problem['what']}")
            told = (("why:", "why"), ("do: ", "fix"))
            lines += [f"           {label} {problem[key]}" for label, key in told if problem[key]]
    return lines


def printable(text: str) -> str:
    r"""A line with names from data or registry, safe for a terminal and a CI log: no escapes, no commands.

    >>> print(printable("a\n::error::b\x1b[31m ##[error]"))
    a\n::error::b\x1b[31m # #[error]
    """
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return re.sub("#(?=#)", "# ", shown)  # CI runners obey ##[…] and ##vso[…] anywhere in a line


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


# ── a feed that changes ───────────────────────────────────────────────────────────────────────────
def difference(found: Difference) -> dict[str, Any]:
    """A feed against its contract, for scripts."""
    return {
        "contract": {"version": found.contract.version, "columns": len(found.contract.columns)},
        "differences": [
            {"column": f.column, "code": f.code, "what": f.what, "blocks": f.matters, "fix": f.fix}
            for f in found.faults
        ],
        "gained": list(found.gained),
        "lost": list(found.lost),
        "waived": [{"column": column, "code": code} for column, code in found.waived],
    }


def lines_of_difference(found: Difference) -> list[str]:
    """The same for people."""
    lines = [f"contract version {found.contract.version}, {len(found.contract.columns)} columns"]
    lines += [f"{'blocks' if f.matters else 'told'}: {f.code}: {f.what}; {f.fix}" for f in found.faults]
    lines += [f"accepted, not yet learned: {column} ({code})" for column, code in found.waived]
    lines += [f"accepted, not yet learned: {name}" for name in found.pending]
    if found.gained or found.lost:
        names = [f"+{name}" for name in found.gained] + [f"-{name}" for name in found.lost]
        lines.append(
            f"accepting it would change what is read: {', '.join(names)}; see `lr-retune contract accept --help`"
        )
    return lines if len(lines) > 1 else [*lines, "the feed is what the champion was trained on"]
