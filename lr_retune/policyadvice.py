"""The command that proposes trigger settings for one model, and says when what is configured is as good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lr_retune import console
from lr_retune.console import progress, say, stretch, warn
from lr_retune.words import DEFAULT_CONFIG, Cached, ConfigPath, Every, First, Jobs, Json, Last

if TYPE_CHECKING:
    from lr_retune.config import Config
    from lr_retune.replay.table import Row
    from lr_retune.replay.tuned import Finding, Tuned


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(tune_policy)


def tune_policy(
    start: First,
    end: Last,
    config: ConfigPath = DEFAULT_CONFIG,
    held_out: Annotated[
        float,
        typer.Option(
            "--held-out", min=0.1, max=0.9, help="Share of the run times, the last, that nothing is chosen by."
        ),
    ] = 0.33,
    every: Every = 1,
    cache: Cached = None,
    jobs: Jobs = 1,
    as_json: Json = False,
) -> None:
    """Propose [policy] for this model by replay, or say that it is as good as it is; touches no store."""
    from lr_retune import answers
    from lr_retune.replay import instants
    from lr_retune.replay.kept import kept_in
    from lr_retune.replay.tuned import grid, tune

    loaded = console.load(config)
    times = instants(loaded, *stretch(loaded, start, end), every)
    place, notes = kept_in(loaded, cache)
    warn(notes)
    with progress("tune-policy") as tell:
        found = tune(loaded, times, grid(loaded), held_out=held_out, cache=place, jobs=jobs, progress=tell)
    say(as_json, answers.answer("tune-policy", **_fields(loaded, found)), _lines(loaded, found))


# ── for scripts ───────────────────────────────────────────────────────────────────────────────────
def _fields(config: Config, found: Tuned) -> dict[str, Any]:
    from lr_retune.replay.tuned import toml

    proposed = found.proposed
    return {
        "decision": None if proposed is None else proposed.name,
        "changes": {} if proposed is None else dict(proposed.changes),
        "toml": None if proposed is None else "\n".join(toml(config, proposed)),
        "split": found.split,
        "to": found.end,
        "policies": [_row(row) for row in found.first],
        "held_out": [_row(row) for row in found.held],
        "findings": [_found(each) for each in found.findings],
        "cost": found.cost,
        "timing": dict(found.timing),
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "loss": row.loss,
        "excess_pct": row.excess_pct,
        "retrains": row.retrains,
        "promotions": row.promotions,
        "cost": row.cost,
    }


def _found(found: Finding) -> dict[str, Any]:
    gap = found.pair.gap
    return {
        "question": found.question,
        "name": found.settings.name,
        "changes": dict(found.settings.changes),
        "held_out": _row(found.held),
        "difference": {"value": gap.value, "low": gap.low, "high": gap.high, "share": gap.share},
        "code": found.pair.code,
        "reason": found.pair.reason,
        "holds": found.holds,
    }


# ── for people ────────────────────────────────────────────────────────────────────────────────────
def _lines(config: Config, found: Tuned) -> list[str]:
    from lr_retune.answers import table

    head = ("policy", "loss", "excess %", "retrains", "promotions", "row-steps")
    held = [*found.held, *(each.held for each in found.findings)]
    return [
        f"to choose by, until {found.split:%Y-%m-%d}:",
        *table(head, map(_cells, found.first)),
        "",
        f"held out, {found.split:%Y-%m-%d} to {found.end:%Y-%m-%d}:",
        *table(head, map(_cells, held)),
        *[_told(config, each) for each in found.findings],
        "",
        *_advice(config, found),
        f"work: {found.cost.fits:,} fits, {found.cost.row_steps:,} row-steps, as if each policy had walked alone",
    ]


def _cells(row: Row) -> tuple[Any, ...]:
    return row.name, row.loss, f"{row.excess_pct:.2f}", row.retrains, row.promotions, f"{row.cost.row_steps:,}"


def _told(config: Config, found: Finding) -> str:
    """What the last part says about a candidate."""
    from lr_retune.answers import short

    gap, margin = found.pair.gap, f"{100 * config.gates.margin:g} %"
    asked = "better than the default" if found.question == "better" else f"no worse by {margin}, for less work"
    interval = f"less loss by {short(gap.value)} [{short(gap.low)}, {short(gap.high)}]"
    answer = "yes" if found.holds else f"not shown{f' ({found.pair.reason})' if found.pair.reason else ''}"
    return f"{found.settings.name}, {asked}? {interval}: {answer}"


def _advice(config: Config, found: Tuned) -> list[str]:
    from lr_retune.replay.tuned import toml

    if found.proposed is not None:
        return ["Set this in retune.toml:", *toml(config, found.proposed)]
    if not found.findings:
        return ["Keep [policy] as it is: no candidate looked better or cheaper even where it was chosen by."]
    return [
        "Keep [policy] as it is: what looked better or cheaper is not shown to be so on the part that was held out."
    ]
