"""The command that makes pages for people: one decision, or a model's life."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lr_retune.console import opened, say
from lr_retune.errors import ConfigError
from lr_retune.words import DEFAULT_CONFIG, LAST_DAY, ConfigPath, Json


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(report)


def report(
    config: ConfigPath = DEFAULT_CONFIG,
    decision: Annotated[
        str, typer.Option("--decision", help="Its id or first letters; the newest decision by default.")
    ] = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write; beside the ledger by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """One self-contained HTML page: why a decision was made, what it cost, how to undo it."""
    from lr_retune.answers import answer
    from lr_retune.review import newest, page
    from lr_retune.stores.pages import path_of, write
    from lr_retune.stores.status import full_id

    with opened(config) as (loaded, stores):
        id = full_id(stores, decision) if decision else newest(stores, LAST_DAY)
        made, as_of = page(loaded, stores, id)
        place = path_of(loaded, id, as_of) if out is None else out
    try:
        write(place, made)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"{place} cannot be written", why=why, fix="choose another --out") from None
    fields = answer("report", ok=True, path=str(place), decision=id, bytes=len(made))
    say(as_json, fields, [f"wrote {place}"])
