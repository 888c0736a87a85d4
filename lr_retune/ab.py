"""The command that compares models: on rows of the past, by name or by rate, or two that serve at once."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from lr_retune import console
from lr_retune.console import moment, opened, progress, say, stretch
from lr_retune.errors import ConfigError
from lr_retune.words import DEFAULT_CONFIG, AsOf, ConfigPath, Json

if TYPE_CHECKING:
    from lr_retune.config import Config

UNDECIDED = 10


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(compare)


def compare(
    models: Annotated[
        str | None, typer.Option(help="champion, versions, decisions, comma separated; with --sequential the two arms.")
    ] = None,
    rates: Annotated[
        str | None, typer.Option("--learning-rates", help="Fit one model a rate instead, such as .02,.1")
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, max=50, help="Fits of each rate, where a seed matters; a claim needs 3.")
    ] = 3,
    blocks: Annotated[
        str | None, typer.Option(help="Blocks of time that are compared, such as 7d; ticks by default.")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from", help="Rows from then on; rates are fitted as of then. By default what no model has seen."
        ),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", help="Rows until then; until the labels end by default.")] = None,
    sequential: Annotated[
        bool,
        typer.Option("--sequential", help="Two arms that serve at once, by [predictions]; look as often as liked."),
    ] = False,
    config: ConfigPath = DEFAULT_CONFIG,
    as_of: AsOf = None,
    as_json: Json = False,
) -> int:
    """Models on the very same rows: is one better? Exit 10 while that is not told; records nothing."""
    if sequential:
        if rates or blocks or end:
            raise ConfigError("--sequential takes --from and --models only", fix="leave the others out")
        return _live(console.load(config), start, as_of, _names(models), as_json)
    if (models is None) == (rates is None):
        raise ConfigError(
            "compare takes one of --models, --learning-rates and --sequential",
            why=f"it says what is compared, and {'none' if models is None else 'two'} of them are given",
            fix="for example --models champion,3 or --learning-rates .02,.1",
        )
    from lr_retune import answers, told_versus
    from lr_retune.plugins import load_plugins
    from lr_retune.versus import When, by_name, by_rate

    with opened(config) as (loaded, stores), progress("compare") as tell:
        length = loaded.schedule.tick if blocks is None else _duration(blocks)
        when = When(moment(loaded, as_of), length, *_between(loaded, start, end))
        plugins = load_plugins(loaded, tell)
        if rates is not None:
            found = by_rate(loaded, plugins, _numbers(rates), when, seeds)
        else:
            found = by_name(loaded, plugins, stores, _names(models), when)
    fields = answers.answer("compare", **told_versus.fields(loaded, found))
    say(as_json, fields, told_versus.lines(loaded, found))
    return 0 if found.better is not None else UNDECIDED


def _live(config: Config, start: str | None, as_of: str | None, names: list[str], as_json: bool) -> int:
    from lr_retune import answers, told_live
    from lr_retune.live import live

    if start is None:
        raise ConfigError(
            "--sequential needs --from",
            why="it compares arms that serve at once, from the time when both did",
            fix="for example --sequential --from 2024-05-01",
        )
    found, alpha = (
        live(config, moment(config, start, option="--from"), moment(config, as_of), names),
        config.gates.alpha,
    )
    say(as_json, answers.answer("compare", **told_live.fields(found, alpha)), told_live.lines(found, alpha))
    return 0 if found.better is not None else UNDECIDED


def _names(text: str | None) -> list[str]:
    return [] if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[float]:
    try:
        return [float(each) for each in _names(text)]
    except ValueError:
        why = "each is a rate to fit a model at"
        raise ConfigError(f"--learning-rates {text} are no numbers", why=why, fix="write them like .02,.1") from None


def _between(config: Config, start: str | None, end: str | None) -> tuple[datetime | None, datetime | None]:
    if start is not None and end is not None:
        return stretch(config, start, end)
    first = None if start is None else moment(config, start, option="--from")
    return first, None if end is None else moment(config, end, option="--to")


def _duration(text: str) -> timedelta:
    from lr_retune.config import parse_duration

    try:
        found: timedelta = parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"--blocks {text}: {error}", fix="write it like --blocks 7d") from None
    if not found:
        raise ConfigError(f"--blocks {text} is no length", why="no row lies in such a block", fix="leave it out")
    return found
