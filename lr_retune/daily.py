"""The commands of every day: is all well, where do things stand, hold still for a while, tidy up."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lr_retune import console
from lr_retune.console import moment, opened, progress, say, warn
from lr_retune.errors import ConfigError, RetuneError
from lr_retune.words import DEFAULT_CONFIG, LAST_DAY, Actor, AsOf, ConfigPath, Hindsight, Json, Why

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lr_retune.config import Config
    from lr_retune.stores.promotion import Stores


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (adopt, status, doctor, pause, resume, prune):
        app.command()(command)


def adopt(
    model: Annotated[str, typer.Option("--model", help="The registered model's name: that of retune.toml.")],
    version: Annotated[str, typer.Option("--version", help="Its version.")],
    config: ConfigPath = DEFAULT_CONFIG,
    scores: Annotated[
        str | None, typer.Option(help="A column of logged scores that stands for the model; it is not loaded then.")
    ] = None,
    actor: Actor = "",
    reason: Why = "",
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Take over a registered model as champion; what cannot be loaded safely is represented by its logged scores."""
    from lr_retune import answers
    from lr_retune.adopt import adopt as take_over
    from lr_retune.plugins import load_plugins

    with opened(config, tidy=True, create=True) as (loaded, stores), progress("adopt") as tell:
        if model != loaded.name:
            fix = f'set name = "{model}", or adopt a version of {loaded.name}'
            raise ConfigError(f"{model!r} is not the model of {config}, {loaded.name!r}", fix=fix)
        if not version.isdecimal():
            raise ConfigError(f"{version[:40]!r} is no version", why="versions are whole numbers", fix="--version 3")
        made, notes = take_over(
            loaded,
            stores,
            load_plugins(loaded, tell),
            version,
            moment(loaded, as_of),
            scores=scores,
            actor=actor or console.user(),
            reason=reason,
        )
    warn(notes)
    fields = answers.answer("adopt", champion=answers.champion(loaded, made), mode=made.mode, notes=list(notes))
    loss = answers.short(made.promised)
    how = f"rate {made.learning_rate:.4g}, {made.steps} steps" if made.mode == "loaded" else "by its logged scores"
    say(as_json, fields, [f"champion: version {made.version} ({made.mode}), {how}, holdout loss {loss}"])


def doctor(config: ConfigPath = DEFAULT_CONFIG, as_of: AsOf = None, as_json: Json = False) -> int:
    """Everything that can be wrong with machine, stores and feed; reads only."""
    from lr_retune import answers
    from lr_retune.doctor import examine

    with progress("doctor"):
        found = examine(config, lambda loaded: moment(loaded, as_of))
    looks = [{"look": seen.look, "about": seen.about, "state": seen.state} for seen in found.looks]
    fields = answers.answer("doctor", ok=found.code == 0, problems=found.problems, looks=looks)
    say(as_json, fields, answers.lines_of_doctor([(seen.state, seen.about, seen.problems) for seen in found.looks]))
    return found.code


def status(
    config: Annotated[
        list[Path] | None, typer.Option("--config", "-c", help="A retune.toml, or a folder of some; may be repeated.")
    ] = None,
    as_of: AsOf = None,
    hindsight: Hindsight = False,
    as_json: Json = False,
) -> int:
    """Where models stand; exit code 1 when nobody has looked for two ticks, the gravest of several."""
    from lr_retune import answers
    from lr_retune.doctor import gravest

    paths = found_in(config or [DEFAULT_CONFIG])
    found = [_standing(path, as_of, alone=len(paths) == 1, hindsight=hindsight) for path in paths]
    models = [model for model, _ in found]
    lines = [line for model in models for line in (*answers.lines_of_status(model), *_told(model))]
    beside = [line for model in models for line in _told(model)]
    say(as_json, answers.answer("status", models=models), lines, lambda: _drawn(models, beside))
    return gravest({code for _, code in found})


def _drawn(models: list[dict[str, Any]], beside: list[str]) -> RenderableType:
    from lr_retune.terminal.models import status as drawn

    return drawn(models, beside)


def found_in(places: list[Path]) -> list[Path]:
    """Configurations as they are named; of a folder those in it, and the retune.toml of each folder in it.

    Raises
    ------
    ConfigError
        If a folder holds none.
    """
    found: list[Path] = []
    for place in places:
        here = (
            [*sorted(place.glob("*.toml")), *sorted(place.glob(f"*/{DEFAULT_CONFIG}"))] if place.is_dir() else [place]
        )
        of_ours = here if not place.is_dir() else [path for path in here if _is_ours(path)]
        if not of_ours:
            raise ConfigError(
                f"{place} holds no retune.toml", why="folders in it were looked into, too", fix="name the files"
            )
        found += of_ours
    return list(dict.fromkeys(found))


def _is_ours(path: Path) -> bool:
    """Whether a TOML file is about a model: other tools keep theirs in the same folders."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return path.name == DEFAULT_CONFIG.name or "config_version" in file.read(10_000)
    except OSError:
        return True  # it is told that it cannot be read


def _told(model: dict[str, Any]) -> list[str]:
    """Hindsight, where it was asked for."""
    from lr_retune.hindsight import lines

    return lines(model["hindsight"]) if "hindsight" in model else []


def _standing(path: Path, as_of: str | None, *, alone: bool, hindsight: bool) -> tuple[dict[str, Any], int]:
    """One model; beside others, one that cannot be read is told among them."""
    from lr_retune.hindsight import told
    from lr_retune.stores.status import standing, unknown

    try:
        with opened(path) as (loaded, stores):
            now = moment(loaded, as_of)
            found, code = standing(stores, loaded, now, simulated=as_of is not None)
            return found | ({"hindsight": told(loaded, stores, now)} if hindsight else {}), code
    except RetuneError as error:
        if alone:
            raise
        return unknown(str(path), error), error.exit_code


def pause(
    until: Annotated[str, typer.Option("--until", help="When it ends, ISO 8601.")],
    reason: Annotated[str, typer.Option("--reason", help="Why, for everybody who meets it.")],
    config: ConfigPath = DEFAULT_CONFIG,
    actor: Actor = "",
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Train and promote nothing until then; runs go on observing and telling."""
    from lr_retune.answers import told_pause
    from lr_retune.records import iso
    from lr_retune.stores.pauses import pause as hold

    with opened(config) as (loaded, stores):
        stores.champion(LAST_DAY)  # a model that never lived has nothing to pause
        now, end, who = (
            moment(loaded, as_of),
            moment(loaded, until, ahead=True, option="--until"),
            actor or console.user(),
        )
        hold(stores, end, actor=who, reason=reason, as_of=now)
        held = {"until": iso(end), "by": who, "reason": reason}
        _changed("pause", loaded, stores, [f"paused: {told_pause(held)}"], as_json, paused=held)


def resume(
    config: ConfigPath = DEFAULT_CONFIG, actor: Actor = "", reason: Why = "", as_of: AsOf = None, as_json: Json = False
) -> None:
    """End a pause before its time."""
    from lr_retune.stores.pauses import resume as release

    with opened(config) as (loaded, stores):
        stores.champion(LAST_DAY)
        who = actor or console.user()
        _, held = release(stores, actor=who, reason=reason, as_of=moment(loaded, as_of))
        told = "it was not paused: nothing to do" if held is None else f"resumed; {held.by} had paused it: {held.why}"
        _changed("resume", loaded, stores, [told], as_json, paused=None)


def _changed(
    command: str, config: Config, stores: Stores, lines: list[str], as_json: bool, **more: dict[str, str] | None
) -> None:
    """The champion is told twice, as of every change of state: here it stays."""
    from lr_retune import answers

    champion = answers.champion(config, stores.champion(LAST_DAY))
    row = stores.ledger.last(config.name).seq
    say(as_json, answers.answer(command, champion=champion, previous=champion, ledger_row=row, **more), lines)


def prune(
    keep: Annotated[str, typer.Option("--keep", help="What is younger stays, such as 90d.")] = "90d",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what would go.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
    actor: Actor = "",
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Delete models, versions, runs and answers of replays that nobody needs; never the champion or a ledger row."""
    from lr_retune import answers
    from lr_retune.replay.cache import folder_of
    from lr_retune.replay.kept import clear
    from lr_retune.stores.mlflow import MLflowRegistry
    from lr_retune.stores.prune import prune as delete
    from lr_retune.stores.prune import waste

    age = _age(keep)
    with opened(config, tidy=not dry_run) as (loaded, stores), progress("prune"):
        now, shelf = moment(loaded, as_of), MLflowRegistry(loaded)
        stores.champion(LAST_DAY)
        found = waste(stores, shelf, age, now)
        if not dry_run:
            found = delete(stores, shelf, found, actor=actor or console.user(), keep=age, now=now)
        kept = clear(folder_of(loaded, None), now - age, dry_run=dry_run)
    warn([*found.notes, *kept.notes])
    counts, size = {**found.counts, "replay_answers": kept.answers}, found.size + kept.size
    fields = answers.answer("prune", ok=True, dry_run=dry_run, deleted=counts, bytes=size)
    say(as_json, fields, [answers.told_prune(counts, size, dry_run=dry_run)])


def _age(text: str) -> timedelta:
    from lr_retune.config import parse_duration

    try:
        found: timedelta = parse_duration(text)
    except ValueError as error:
        raise ConfigError(f"--keep {text}: {error}", fix="write it like --keep 90d") from None
    return found
