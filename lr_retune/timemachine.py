"""The commands that go back in time: what policies would have done, and whether the ledger comes out again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lr_retune import console
from lr_retune.console import moment, opened, progress, say
from lr_retune.errors import IntegrityError
from lr_retune.words import DEFAULT_CONFIG, Cached, ConfigPath, Every, First, Jobs, Json, Last

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
    from lr_retune.replay.cache import folder_of

    loaded = console.load(config)
    first, last = moment(loaded, start), moment(loaded, end, ahead=True)
    arms = chosen(against.split(","), policy or (), loaded)
    with progress("replay") as tell:
        place = folder_of(loaded, cache)
        found = walk(loaded, first, last, arms, every=every, cache=place, jobs=jobs, progress=tell)
    if html is not None:
        _draw(found, html, f"{loaded.name}: policies from {first:%Y-%m-%d} to {last:%Y-%m-%d}")
    say(as_json, answers.answer("replay", **told.fields(found)), told.lines(found))


def relive(config: ConfigPath = DEFAULT_CONFIG, cache: Cached = None, as_json: Json = False) -> int:
    """Every run of the ledger once more, in memory: its decisions and verdicts against those that were filed."""
    from lr_retune import answers
    from lr_retune.replay import told
    from lr_retune.replay.cache import folder_of
    from lr_retune.replay.lived import relived

    with opened(config) as (loaded, stores), progress("relive") as tell:
        found = relived(loaded, stores.ledger, cache=folder_of(loaded, cache), progress=tell)
    say(as_json, answers.answer("relive", **told.lived(found)), told.lines_of_lived(found))
    return IntegrityError.exit_code if found.different else 0


def _draw(found: Table, file: Path, title: str) -> None:
    from lr_retune.replay.picture import loss_over_work, page

    drawn = loss_over_work if file.suffix == ".svg" else page
    file.write_text(drawn(found, title), encoding="utf-8")
