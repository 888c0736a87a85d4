"""Commands: words to calls, outcomes to exit codes. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from lr_retune import (
    __version__,
    ab,
    ci,
    console,
    daily,
    evidence,
    notices,
    paper,
    people,
    policyadvice,
    timemachine,
    vouching,
)
from lr_retune.console import moment, opened, progress, say, warn
from lr_retune.errors import ConfigError, DataError, HeldError
from lr_retune.words import DEFAULT_CONFIG, LAST_DAY, Actor, AsOf, ConfigPath, Hindsight, Json, Why, strategies

if TYPE_CHECKING:
    from rich.console import RenderableType

    from lr_retune.config import Config
    from lr_retune.records import Report
    from lr_retune.stores.promotion import Stores


def _group(words: str) -> typer.Typer:
    return typer.Typer(no_args_is_help=True, rich_markup_mode=None, help=words)


app = _group("Keeps the learning rate of production models right.")
config_app = _group("The configuration as it is understood.")
demo_app = _group("The whole loop on real or simulated data, in a folder of its own.")
contract_app = _group("What the feed promised, and a person's word that it changed for good.")
audit_app = _group("Proof that the ledger is what was written.")
app.add_typer(config_app, name="config")
app.add_typer(demo_app, name="demo")
app.add_typer(contract_app, name="contract")
app.add_typer(audit_app, name="audit")

ASKS = {"fix_feed": DataError.exit_code, "ask": HeldError.exit_code}  # a decision that somebody must act on
STRICT = {"rejected": 1, "inconclusive": 10, "awaiting_approval": 10, "suggested": 10}


def main() -> NoReturn:
    """Run a command and end with its documented exit code."""
    console.main(app)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"lr-retune {__version__}")


# ── set up ────────────────────────────────────────────────────────────────────────────────────────
@app.command()
def init(
    source: Annotated[Path, typer.Option("--from", help="A Parquet or CSV file of rows.")],
    label: Annotated[str, typer.Option(help="Its label column, or that of --labels.")],
    time: Annotated[str, typer.Option(help="Its event-time column.")],
    labels: Annotated[
        Path | None, typer.Option(help="A file of its own for the labels: id, label, when it became known.")
    ] = None,
    id: Annotated[str | None, typer.Option(help="What joins the two files; guessed.")] = None,
    task: Annotated[str | None, typer.Option(help="binary or regression; guessed from the labels.")] = None,
    name: Annotated[str | None, typer.Option(help="The registered model's name; from the file's name.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write.")] = DEFAULT_CONFIG,
    force: Annotated[bool, typer.Option("--force", help="Overwrite.")] = False,
    as_json: Json = False,
) -> None:
    """Write a commented retune.toml for a data file."""
    from lr_retune.answers import answer
    from lr_retune.config import load_config
    from lr_retune.scaffold import first_replay, scaffold

    console.refuse_overwriting(output, force=force)
    root = output.resolve().parent
    text = scaffold(source, label, time, task, name, folder=root, labels=labels, id=id)
    console.write(output, text)
    where, tried = console.at(output, DEFAULT_CONFIG), first_replay(source, time, load_config(output, environ={}))
    lines = [f"wrote {output}", f"next: lr-retune check{where}, then lr-retune bootstrap{where}"]
    lines += [] if tried is None else [f"or see first what it would have done: {tried}{where}"]
    say(as_json, answer("init", path=str(output)), lines)


@app.command()
def check(config: ConfigPath = DEFAULT_CONFIG, as_of: AsOf = None, as_json: Json = False) -> int:
    """Configuration, data, contract and stores; reads only."""
    from lr_retune.answers import answer, lines_of_check
    from lr_retune.checks import examine

    found, code = examine(config, lambda loaded: moment(loaded, as_of))
    say(as_json, answer("check", ok=code == 0, problems=found), lines_of_check(found, code))
    return code


@config_app.command("show")
def config_show(config: ConfigPath = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """The effective configuration, secrets masked."""
    from lr_retune.answers import answer
    from lr_retune.config import show

    loaded = console.load(config)
    fields = answer("config show", ok=True, config=loaded.model_dump(mode="json", exclude_none=True))
    say(as_json, fields, show(loaded).splitlines())


@config_app.command("schema")
def config_schema(as_json: Json = False) -> None:
    """JSON Schema of retune.toml, for editors."""
    from lr_retune.answers import answer
    from lr_retune.config import schema

    found = schema()
    say(as_json, answer("config schema", ok=True, schema=found), json.dumps(found, indent=2).splitlines())


# ── the loop ──────────────────────────────────────────────────────────────────────────────────────
@app.command()
def bootstrap(config: ConfigPath = DEFAULT_CONFIG, as_of: AsOf = None, as_json: Json = False) -> None:
    """Train and register the first champion."""
    from lr_retune import answers
    from lr_retune.plugins import load_plugins
    from lr_retune.retune import bootstrap as first

    with opened(config, tidy=True, create=True) as (loaded, stores), progress("bootstrap", loaded) as tell:
        made = first(loaded, stores, moment(loaded, as_of), plugins=load_plugins(loaded, tell))
    loss, where = answers.short(made.promised), console.at(config, DEFAULT_CONFIG)
    lines = [
        f"champion: version {made.version}, rate {made.learning_rate:.4g}, holdout loss {loss}",
        *answers.told_wall(answers.wall_of(loaded, made.learning_rate)),
        f"next, at every tick: lr-retune run{where}",
    ]
    say(as_json, answers.answer("bootstrap", champion=answers.champion(loaded, made), run_id=made.run_id), lines)


@app.command()
def watch(config: ConfigPath = DEFAULT_CONFIG, as_of: AsOf = None, as_json: Json = False) -> int:
    """Observe and decide; records both and changes nothing."""
    from lr_retune import answers
    from lr_retune.retune import watch as look

    with opened(config, tells=True) as (loaded, stores), progress("watch") as tell:
        found = look(loaded, stores, moment(loaded, as_of), step=tell.step)
    warn(found.notes)
    fields = answers.answer("watch", decision=found.decision, facts=answers.facts(found.facts))
    say(as_json, fields, answers.lines_of_look(found), lambda: _drawn(found))
    return ASKS.get(found.decision.action, 0)


@app.command()
def run(
    config: ConfigPath = DEFAULT_CONFIG,
    as_of: AsOf = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="1 when rejected, 10 when inconclusive.")] = False,
    actor: Annotated[str, typer.Option(help="Who asks for it: nobody may approve a challenger of their own.")] = "",
    as_json: Json = False,
) -> int:
    """The whole path: observe, decide, tune, judge, promote."""
    from lr_retune import answers
    from lr_retune.plugins import load_plugins
    from lr_retune.retune import retune

    with opened(config, tidy=True) as (loaded, stores), progress("run", loaded) as tell:
        plugins = load_plugins(loaded, tell)
        found = retune(loaded, stores, moment(loaded, as_of), step=tell.step, plugins=plugins, author=actor)
    warn(found.notes)
    fields = answers.answer("run", **answers.report(loaded, found))
    say(as_json, fields, answers.lines_of_report(found), lambda: _drawn(found))
    if found.outcome == "held":
        return ASKS.get(found.decision.action, HeldError.exit_code)
    return STRICT.get(found.outcome, 0) if exit_code else 0


@app.command()
def search(
    config: ConfigPath = DEFAULT_CONFIG,
    as_of: AsOf = None,
    strategy: Annotated[
        str | None,
        typer.Option(help="Another strategy than the configured; all: every one.", autocompletion=strategies),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, max=2**31 - 1, help="Another seed.")] = None,
    as_json: Json = False,
) -> None:
    """Only the search, on the train and valid spans; records nothing."""
    from lr_retune import answers
    from lr_retune.menu import compare
    from lr_retune.plugins import load_plugins
    from lr_retune.retune import search_only

    with opened(config) as (loaded, stores), progress("search", loaded) as tell:
        changed = loaded.model_copy(update={} if seed is None else {"seed": seed})
        if strategy == "all":
            rows = compare(changed, stores, moment(loaded, as_of), tell=tell)
            say(as_json, answers.answer("search", **answers.menu(rows)), answers.lines_of_menu(rows))
            return
        asked = loaded.search.model_copy(update={} if strategy is None else {"strategy": strategy})
        changed = changed.model_copy(update={"search": asked})
        result = search_only(changed, stores, moment(loaded, as_of), plugins=load_plugins(changed, tell))
    say(as_json, answers.answer("search", **answers.search(result)), answers.lines_of_search(result))


# ── state ─────────────────────────────────────────────────────────────────────────────────────────
@app.command()
def promote(
    decision: Annotated[str, typer.Argument(help="A decision whose challenger passed; its first letters will do.")],
    config: ConfigPath = DEFAULT_CONFIG,
    actor: Actor = "",
    reason: Why = "",
    force: Annotated[
        bool, typer.Option("--force", help="Even if judged under another configuration; needs --reason.")
    ] = False,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Promote a challenger that passed and was not promoted."""
    from lr_retune.stores.status import full_id

    if force and not reason:
        raise ConfigError("--force needs --reason", why="the ledger keeps who overruled what, and why", fix="say why")
    with opened(config, tidy=True) as (loaded, stores):
        now = moment(loaded, as_of)
        before = stores.champion(LAST_DAY)
        id = full_id(stores, decision)
        after = stores.promote(id, actor=actor or console.user(), reason=reason, as_of=now, force=force)
        _moved("promote", loaded, stores, before, after, as_json)


@app.command()
def rollback(
    config: ConfigPath = DEFAULT_CONFIG,
    to: Annotated[str | None, typer.Option(help="A version; the previous champion by default.")] = None,
    actor: Actor = "",
    reason: Why = "",
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Go back to a former champion, after its files and golden predictions were verified."""
    from lr_retune.steps import reproduces

    with opened(config, tidy=True) as (loaded, stores):
        before = stores.champion(LAST_DAY)
        after = stores.rollback(
            to,
            actor=actor or console.user(),
            reason=reason,
            as_of=moment(loaded, as_of),
            reproduces=lambda files: reproduces(loaded, files),
        )
        if after.mode == "score_only":
            warn(["LRR422: its files have the recorded digests; golden predictions were skipped, it is never loaded"])
        _moved("rollback", loaded, stores, before, after, as_json)


def _moved(command: str, config: Config, stores: Stores, before: Any, after: Any, as_json: bool) -> None:
    from lr_retune import answers
    from lr_retune.review import retold

    warn(retold(config, stores))
    fields = answers.answer(
        command,
        champion=answers.champion(config, after),
        previous=answers.champion(config, before),
        ledger_row=stores.ledger.last(config.name).seq,
    )
    say(as_json, fields, [f"champion: version {after.version} (was {before.version})"])


@app.command()
def reconcile(
    config: ConfigPath = DEFAULT_CONFIG,
    restore: Annotated[
        bool, typer.Option("--restore", help="Set the champion alias as the ledger has it, where it is gone.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Tidy up after a crash, and rebuild in MLflow what it lost."""
    from lr_retune.answers import answer

    with opened(config, tells=True) as (loaded, stores):
        known = stores.ledger.entries(loaded.name)  # without a ledger nobody can say which runs are dead
        found = stores.reconcile(strict=True, alias=restore) if known else []
    say(as_json, answer("reconcile", ok=True, tidied=found), found or ["nothing to tidy"])


@contract_app.command("diff")
def contract_diff(config: ConfigPath = DEFAULT_CONFIG, as_of: AsOf = None, as_json: Json = False) -> int:
    """The newest ticks held against the champion's contract; exit code 3 where a run would be held."""
    from lr_retune import answers
    from lr_retune.evolve import diff

    with opened(config) as (loaded, stores):
        found = diff(loaded, stores, moment(loaded, as_of))
    fields = answers.answer("contract diff", ok=not found.blocks, **answers.difference(found))
    say(as_json, fields, answers.lines_of_difference(found))
    return DataError.exit_code if found.blocks else 0


@contract_app.command("accept")
def contract_accept(
    config: ConfigPath = DEFAULT_CONFIG,
    actor: Actor = "",
    reason: Why = "",
    column: Annotated[list[str] | None, typer.Option("--column", help="Only this column; may be repeated.")] = None,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Accept the feed as it is now: it blocks no more, and trainings learn it."""
    from lr_retune import answers
    from lr_retune.evolve import accept

    with opened(config) as (loaded, stores):
        now = moment(loaded, as_of)
        entry, found = accept(loaded, stores, now, actor=actor or console.user(), reason=reason, only=column or ())
    opens = None if entry is None else entry.record["version"]
    fields = {"ledger_row": None if entry is None else entry.seq, "version": opens, **answers.difference(found)}
    first = "nothing to accept" if entry is None else f"accepted: opens contract version {opens}"
    say(as_json, answers.answer("contract accept", ok=True, **fields), [first, *answers.lines_of_difference(found)])


@audit_app.command("verify")
def audit_verify(
    config: ConfigPath = DEFAULT_CONFIG,
    expect: Annotated[
        str | None, typer.Option(help="SEQ:DIGEST that an earlier audit printed as the tail: it must still stand.")
    ] = None,
    registry: Annotated[
        bool, typer.Option("--registry", help="Hold MLflow's versions, tags, alias and files against the ledger too.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Recompute the ledger's hash chain and hold every row against it."""
    from lr_retune import answers
    from lr_retune.stores.audit import audit

    with opened(config) as (_, stores):
        found = audit(stores, expect, registry=registry)
    fields = {"problems": list(found.problems), "entries": found.entries, "tail": found.tail}
    told = answers.answer("audit verify", ok=not found.exit_code, **fields, registry=found.registry)
    warn(found.notes)
    holds = [f"the chain of {found.entries} entries holds", f"tail: {found.tail}", f"registry: {found.registry}"]
    say(as_json, told, list(found.problems) or holds)
    return found.exit_code


ci.register(app)
daily.register(app)
ab.register(app)
vouching.register(app)
evidence.register(app)
people.register(app)
notices.register(app)
paper.register(app)
timemachine.register(app)
policyadvice.register(app)


@app.command()
def history(
    config: ConfigPath = DEFAULT_CONFIG,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 50,
    hindsight: Hindsight = False,
    as_json: Json = False,
) -> None:
    """Decisions, newest last."""
    from lr_retune import answers
    from lr_retune.hindsight import lines, told
    from lr_retune.stores.status import past

    with opened(config) as (loaded, stores):
        now = moment(loaded, None)
        found = past(stores, LAST_DAY, now)[-limit:]
        more = {"hindsight": told(loaded, stores, now)} if hindsight else {}
    beside = lines(more["hindsight"]) if hindsight else []
    text = [*answers.lines_of_history(found), *beside]
    say(as_json, answers.answer("history", decisions=found, **more), text, lambda: _listed(found, beside))


@app.command()
def explain(
    what: Annotated[
        str, typer.Argument(help="A decision's id or its first letters, or any code or word of an answer.")
    ],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """A decision in full, or what a code means."""
    from lr_retune.answers import answer
    from lr_retune.codes import meaning
    from lr_retune.stores.status import story

    found: Any = meaning(what)
    lines, drawn = [f"{what}: {found}"], None
    if found is None:
        with opened(config) as (_, stores):
            found, lines = story(stores, what)
            drawn = partial(_told, stores, found)
    say(as_json, answer("explain", explanation=found), lines, drawn)


def _listed(found: list[dict[str, Any]], beside: list[str]) -> RenderableType:
    from lr_retune.terminal.decisions import history as listed

    return listed(found, beside)


def _told(stores: Stores, record: dict[str, Any]) -> RenderableType:
    from lr_retune.terminal.decisions import explained

    return explained(stores, record)


def _drawn(found: Report) -> RenderableType:
    from lr_retune.terminal.decisions import reported

    return reported(found)


@app.command()
def deploy(
    config: ConfigPath = DEFAULT_CONFIG,
    cron: Annotated[str | None, typer.Option(help="When to look; once a tick, at least daily, by default.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Of --cron; [schedule] timezone by default.")] = None,
    pool: Annotated[str, typer.Option(help="A process work pool; made if there is none.")] = "lr-retune",
    as_json: Json = False,
) -> None:
    """Deployments, schedule and triggers on the Prefect server at PREFECT_API_URL; twice changes nothing."""
    from lr_retune.answers import answer, table
    from lr_retune.plugins import find

    loaded = console.load(config)
    made = find("schedulers", "prefect")(loaded, config.resolve(), pool=pool, cron=cron, timezone=timezone)
    rows = [tuple(line.values()) for line in made]
    say(as_json, answer("deploy", ok=True, made=made), table(("kind", "name", "what"), rows))


# ── demo ──────────────────────────────────────────────────────────────────────────────────────────
@demo_app.command("demand")
def demo_demand(
    folder: Annotated[Path, typer.Option(help="A new folder for the demo's files.")] = Path("lr-retune-demo"),
    as_json: Json = False,
) -> None:
    """Years of real bike-share rides: bootstrap, watch, retune, promote, refuse."""
    from lr_retune.answers import answer
    from lr_retune.demo import demand

    found = demand(folder, (lambda _line: None) if as_json else typer.echo)
    say(as_json, answer("demo demand", ok=True, **found), [])


@demo_app.command("fraud")
def demo_fraud(
    folder: Annotated[Path, typer.Option(help="A new folder for the demo's files.")] = Path("lr-retune-fraud"),
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another story.")] = 0,
    no_drift: Annotated[bool, typer.Option("--no-drift", help="Nothing is planted: nothing should happen.")] = False,
    as_json: Json = False,
) -> None:
    """Half a year of simulated card payments: late labels, a broken day, a change that hurts."""
    from lr_retune.answers import answer
    from lr_retune.demo.fraud import fraud

    found = fraud(folder, (lambda _line: None) if as_json else typer.echo, seed=seed, drift=not no_drift)
    say(as_json, answer("demo fraud", ok=True, **found), [])


if __name__ == "__main__":
    sys.path[:] = [p for p in sys.path if p not in ("", os.getcwd())]  # `-m` puts the folder of the data first
    main()
