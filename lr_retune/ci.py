"""The command of a deployment pipeline: one verification, told in every form that a CI system reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lr_retune import console
from lr_retune.console import moment, opened
from lr_retune.errors import ConfigError, DependencyError, IntegrityError
from lr_retune.words import DEFAULT_CONFIG, AsOf, ConfigPath, Json

if TYPE_CHECKING:
    from lr_retune.stores.gate import GateVerdict


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(gate)


def gate(
    config: ConfigPath = DEFAULT_CONFIG,
    model: Annotated[str | None, typer.Option(help="A registered model's name; the configured one by default.")] = None,
    version: Annotated[str | None, typer.Option(help="Its version.")] = None,
    decision: Annotated[str | None, typer.Option(help="Or the decision that judged it; its first letters do.")] = None,
    output: Annotated[str, typer.Option(help="text, json, markdown, github or junit.")] = "text",
    write: Annotated[
        list[str] | None, typer.Option(help="The same verdict into a file, as in junit=gate.xml; may be repeated.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overrule a verdict; needs --actor and --reason, and is recorded.")
    ] = False,
    actor: Annotated[str, typer.Option(help="Who overrules.")] = "",
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "",
    as_of: AsOf = None,
    as_json: Json = False,
) -> int:
    """CI verdict on a version, verified again from ledger, files and registry."""
    from lr_retune.report.gate import form
    from lr_retune.stores.gate import force as overrule
    from lr_retune.stores.gate import unanswered, verdict

    shown = form("json" if as_json else output)
    files = _files(write or ())
    _refuse_unclear(version, decision, force=force, said=bool(actor and reason))
    try:
        with opened(config) as (loaded, stores):
            now = moment(loaded, as_of)
            found = verdict(stores, model, version=version, decision=decision, now=now)
            if force:
                found = overrule(stores, found, actor=actor, reason=reason, now=now)
    except (DependencyError, IntegrityError) as error:  # the ledger is away: still a verdict in the form asked for
        found = unanswered(model, version, decision, error)
    for place, told in files:
        console.write(place, told(found) + "\n")
    typer.echo(shown(found))
    return found.exit_code


def _files(asked: Sequence[str]) -> list[tuple[Path, Callable[[GateVerdict], str]]]:
    from lr_retune.report.gate import form

    found: list[tuple[Path, Callable[[GateVerdict], str]]] = []
    for text in asked:
        name, sign, place = text.partition("=")
        if not (sign and place):
            raise ConfigError(f"--write {text} names no file", fix="write it like --write junit=gate.xml")
        found.append((Path(place), form(name)))
    return found


def _refuse_unclear(version: str | None, decision: str | None, *, force: bool, said: bool) -> None:
    if (version is None) == (decision is None):
        law = "exactly one of --version and --decision is needed"
        raise ConfigError("say which model to judge", why=law, fix="lr-retune gate --version 3")
    if force and not said:
        why = "the ledger keeps who overruled what, and why"
        raise ConfigError("--force needs --actor and --reason", why=why, fix="say who and why")
