"""The commands that go back in time: what policies would have done, and whether the ledger comes out again."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lr_retune import console
from lr_retune.console import opened, progress, say, stretch, warn
from lr_retune.errors import ConfigError, IntegrityError
from lr_retune.words import DEFAULT_CONFIG, Cached, ConfigPath, Every, First, Jobs, Json, Last, TrainEvery

if TYPE_CHECKING:
    from lr_retune.replay import Table

USUAL = "never,always,always+grid,fixed-05,policy"


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (replay, relive):
        app.command()(command)


def replay(
    start: First,
    end: Last,
    config: ConfigPath = DEFAULT_CONFIG,
    against: Annotated[
        str,
        typer.Option(
            help="Policies, comma separated: never, always, always-ungated, timer:N, timer+search:N (ticks), "
            "evidently-default, metric-5pct, policy. always, fixed-05 and always+grid stand in every table."
        ),
    ] = USUAL,
    policy: Annotated[
        list[Path] | None,
        typer.Option(help="A TOML file that overrides [policy], [worth], [gates] …: one more row, named by its stem."),
    ] = None,
    every: Every = 1,
    train_every: TrainEvery = None,
    html: Annotated[
        Path | None, typer.Option("--html", help="Write table and picture to a page; the picture alone for .svg.")
    ] = None,
    cache: Cached = None,
    jobs: Jobs = 1,
    as_json: Json = False,
) -> None:
    """Policies over history, in memory; touches no store."""
    from lr_retune import answers
    from lr_retune.replay import chosen, told
    from lr_retune.replay import replay as walk
    from lr_retune.replay.kept import kept_in

    loaded = console.load(config)
    first, last = stretch(loaded, start, end)
    arms = chosen(against.split(","), policy or (), loaded, train_every=train_every)
    _drawable(html)
    place, notes = kept_in(loaded, cache)
    warn(notes)
    with progress("replay") as tell:
        found = walk(loaded, first, last, arms, every=every, cache=place, jobs=jobs, progress=tell)
    found = dataclasses.replace(found, train_every=train_every)
    say(as_json, answers.answer("replay", **told.fields(found)), told.lines(found))
    if html is not None:
        _draw(found, html, f"{loaded.name}: policies from {first:%Y-%m-%d} to {last:%Y-%m-%d}")


def relive(config: ConfigPath = DEFAULT_CONFIG, cache: Cached = None, as_json: Json = False) -> int:
    """Every run of the ledger once more, in memory: its decisions and verdicts against those that were filed."""
    from lr_retune import answers
    from lr_retune.replay import told
    from lr_retune.replay.kept import kept_in
    from lr_retune.replay.lived import relived

    with opened(config) as (loaded, stores), progress("relive") as tell:
        place, notes = kept_in(loaded, cache)
        warn(notes)
        found = relived(loaded, stores.ledger, cache=place, progress=tell)
    say(as_json, answers.answer("relive", **told.lived(found)), told.lines_of_lived(found))
    return IntegrityError.exit_code if found.different else 0


def _drawable(file: Path | None) -> None:
    """Asked before the walk, which may take hours."""
    if file is not None and (file.is_dir() or not file.resolve().parent.is_dir()):
        why = "it is a folder" if file.is_dir() else "its folder does not exist"
        raise ConfigError(f"--html {file} cannot be written", why=why, fix="name a file in a folder that is there")
    if file is not None and file.suffix not in (".svg", ".html"):
        raise ConfigError(f"--html {file} has no form", fix="let it end in .html, the page, or .svg, the picture alone")


def _draw(found: Table, file: Path, title: str) -> None:
    from lr_retune.replay.picture import loss_over_work, page

    drawn = loss_over_work if file.suffix == ".svg" else page
    file.write_text(drawn(found, title), encoding="utf-8")
    typer.echo(f"wrote {file}", err=True)
