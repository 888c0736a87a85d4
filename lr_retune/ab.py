"""The command that compares models: on rows of the past, by name or by rate, or two that serve at once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from lr_retune import console
from lr_retune.console import moment, opened, progress, say
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
            "compare needs --models, --learning-rates or --sequential",
            why="one of them says what is compared",
            fix="for example --models champion,3 or --learning-rates .02,.1",
        )
    from lr_retune import answers, told_versus
    from lr_retune.plugins import load_plugins
    from lr_retune.versus import When, by_name, by_rate

    with opened(config) as (loaded, stores), progress("compare") as tell:
        first, last = (None if text is None else moment(loaded, text) for text in (start, end))
        when = When(moment(loaded, as_of), _duration(blocks) or loaded.schedule.tick, first, last)
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
    found, alpha = live(config, moment(config, start), moment(config, as_of), names), config.gates.alpha
    say(as_json, answers.answer("compare", **told_live.fields(found, alpha)), told_live.lines(found, alpha))
    return 0 if found.better is not None else UNDECIDED


def _names(text: str | None) -> list[str]:
    return [] if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _numbers(text: str) -> list[float]:
    try:
        return [float(each) for each in _names(text)]
    except ValueError:
        raise ConfigError(f"--learning-rates {text} are no numbers", fix="write them like .02,.1") from None


def _duration(text: str | None) -> timedelta | None:
    from lr_retune.config import parse_duration

    try:
        found: timedelta | None = None if text is None else parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"--blocks {text}: {error}", fix="write it like --blocks 7d") from None
    return found
