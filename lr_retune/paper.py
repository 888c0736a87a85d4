"""The command that makes pages for people: one decision, or a model's life."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lr_retune.console import opened, say
from lr_retune.errors import ConfigError
from lr_retune.words import DEFAULT_CONFIG, LAST_DAY, ConfigPath, Json

if TYPE_CHECKING:
    from lr_retune.stores.promotion import Stores


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(report)


def report(
    config: ConfigPath = DEFAULT_CONFIG,
    decision: Annotated[
        str, typer.Option("--decision", help="Its id or first letters; the newest decision by default.")
    ] = "",
    model: Annotated[str, typer.Option("--model", help="The whole life of this model instead of one decision.")] = "",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write; beside the ledger by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """One self-contained HTML page: why a decision was made, what it cost, how to undo it."""
    from lr_retune.answers import answer
    from lr_retune.review import newest, page
    from lr_retune.stores.pages import path_of
    from lr_retune.stores.status import full_id

    with opened(config) as (loaded, stores):
        if model:
            _timeline(stores, model, decision, out, as_json=as_json)
            return
        id = full_id(stores, decision) if decision else newest(stores, LAST_DAY)
        made, as_of = page(loaded, stores, id)
        place = path_of(loaded, id, as_of) if out is None else out
    _written(place, made)
    fields = answer("report", ok=True, path=str(place), decision=id, bytes=len(made))
    say(as_json, fields, [f"wrote {place}"])


def _timeline(stores: Stores, model: str, decision: str, out: Path | None, *, as_json: bool) -> None:
    from lr_retune.answers import answer
    from lr_retune.lifetime import timeline

    if decision:
        raise ConfigError("--model and --decision exclude each other", fix="give one of them")
    if model != stores.name:
        raise ConfigError(f"this configuration is about {stores.name}, not {model}", fix="name that model's with -c")
    stores.champion(LAST_DAY)  # a model that never lived has no life to tell
    made, place = timeline(stores), Path(f"{model}.html") if out is None else out
    _written(place, made)
    say(as_json, answer("report", ok=True, path=str(place), model=stores.name, bytes=len(made)), [f"wrote {place}"])


def _written(place: Path, made: bytes) -> None:
    from lr_retune.stores.pages import write

    try:
        write(place, made)
    except OSError as error:
        why = error.strerror or str(error)
        raise ConfigError(f"{place} cannot be written", why=why, fix="choose another --out") from None
