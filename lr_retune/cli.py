"""Commands: words to calls, outcomes to exit codes. Everything heavy is imported by the command that needs it."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from zoneinfo import ZoneInfo

import typer

from lr_retune import __version__
from lr_retune.errors import ConfigError, RetuneError

if TYPE_CHECKING:
    from lr_retune.config import Config
    from lr_retune.stores.promotion import Stores

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    help="Keeps the learning rate of production models right.",
)
config_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The configuration as it is understood.")
demo_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="The whole loop on real data, in a folder of its own."
)
audit_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Proof that the ledger is what was written.")
app.add_typer(config_app, name="config")
app.add_typer(demo_app, name="demo")
app.add_typer(audit_app, name="audit")

ConfigPath = Annotated[Path, typer.Option("--config", "-c", help="The model's retune.toml.")]
AsOf = Annotated[
    str | None, typer.Option("--as-of", help="Simulated now, ISO 8601; without an offset in [schedule] timezone.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
DEFAULT_CONFIG = Path("retune.toml")
LAST_DAY = datetime.max.replace(tzinfo=UTC)  # a history is cut at no time

OUTCOME_EXIT = {
    "kept": 0,
    "rejected": 0,
    "inconclusive": 0,
    "promoted": 0,
    "rolled_back": 0,
    "suggested": 0,
    "awaiting_approval": 0,
}
STRICT_EXIT = {"rejected": 1, "inconclusive": 10, "awaiting_approval": 10, "suggested": 10}


# ── plumbing ──────────────────────────────────────────────────────────────────────────────────────
def main() -> NoReturn:
    """Run a command and end with its documented exit code."""
    signal.signal(signal.SIGTERM, _terminated)
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        code = app(standalone_mode=False)
    except RetuneError as error:
        sys.exit(_failed(error))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 - the last door: a bug still ends with a documented code
        sys.exit(_unexpected(error))
    sys.exit(code if isinstance(code, int) else 0)


def _terminated(_signal: int, _frame: object) -> NoReturn:
    sys.exit(143)


def _unexpected(error: Exception) -> int:
    import click

    if isinstance(error, click.ClickException):  # usage: the command's words
        error.show()
        return 2
    if os.environ.get("LR_RETUNE_DEBUG"):
        raise error
    return _failed(
        RetuneError(
            f"unexpected {type(error).__name__}: {error}",
            why="this is a bug in lr-retune; the champion was not touched by it",
            fix="run again with LR_RETUNE_DEBUG=1 and report what it prints",
        )
    )


def _failed(error: RetuneError) -> int:
    from lr_retune.answers import answer, printable

    if "--json" in sys.argv:
        words = {"what": error.what, "why": error.why, "fix": error.fix, "exit_code": error.exit_code}
        typer.echo(json.dumps(answer(_command(), error=words), ensure_ascii=False))
    for label, text in (("error", error.what), ("why", error.why), ("do", error.fix)):
        for line in text.splitlines():
            typer.echo(f"{label}: {printable(line)}", err=True)
    return error.exit_code


def _command() -> str:
    words = [w for w in sys.argv[1:] if not w.startswith("-")]
    return words[0] if words else ""


def _load(path: Path) -> Config:
    from lr_retune.config import load_config

    return load_config(path)


def _time(config: Config | None, text: str | None) -> datetime:
    """--as-of, or now; resolved once."""
    if text is None:
        return datetime.now(UTC)  # noqa: TID251 - the one clock: a command's own now
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{text!r} is no time",
            why="ISO 8601 is understood, such as 2019-03-01 or 2019-03-01T06:00+01:00",
            fix="mend it",
        ) from None
    if found.tzinfo is None:
        found = found.replace(tzinfo=ZoneInfo(config.schedule.timezone) if config is not None else UTC)
    return found.astimezone(UTC)


@contextmanager
def _stores(config: Config, *, tidy: bool = True) -> Iterator[Stores]:
    """Open the stores; a command that writes tidies up after a crash first."""
    from lr_retune.stores.promotion import Stores

    stores = Stores.open(config)
    if tidy:
        for line in stores.reconcile():
            typer.echo(f"tidied: {line}", err=True)
    yield stores


def _print(as_json: bool, fields: dict[str, Any], lines: Sequence[str]) -> None:
    typer.echo(json.dumps(fields, ensure_ascii=False, allow_nan=False) if as_json else "\n".join(lines))


@contextmanager
def _progress(what: str) -> Iterator[Callable[[str], None]]:
    """A spinner with the current step on a terminal; silence elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _message: None
        return
    from rich.console import Console

    with Console(stderr=True).status(what) as status:
        yield lambda message: status.update(f"{what}: {message}")


# ── set up ────────────────────────────────────────────────────────────────────────────────────────
@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(f"lr-retune {__version__}")


@app.command()
def init(
    source: Annotated[Path, typer.Option("--from", help="A Parquet or CSV file with labelled rows.")],
    label: Annotated[str, typer.Option(help="Its label column.")],
    time: Annotated[str, typer.Option(help="Its event-time column.")],
    task: Annotated[str | None, typer.Option(help="binary or regression; guessed from the labels.")] = None,
    name: Annotated[str | None, typer.Option(help="The registered model's name; from the file's name.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write.")] = DEFAULT_CONFIG,
    force: Annotated[bool, typer.Option("--force", help="Overwrite.")] = False,
    as_json: Json = False,
) -> None:
    """Write a commented retune.toml for a data file."""
    from lr_retune.answers import answer
    from lr_retune.config import load_config
    from lr_retune.scaffold import scaffold

    if output.exists() and not force:
        raise ConfigError(
            f"{output} exists", why="init overwrites nothing", fix="choose another --output or give --force"
        )
    text = scaffold(source, label=label, time=time, task=task, name=name, folder=output.resolve().parent)
    output.write_text(text, encoding="utf-8")
    load_config(output, environ={})
    _print(
        as_json,
        answer("init", path=str(output)),
        [f"wrote {output}", "next: lr-retune check, then lr-retune bootstrap"],
    )


@app.command()
def check(config: ConfigPath = DEFAULT_CONFIG, as_of: AsOf = None, as_json: Json = False) -> int:
    """Configuration, data, contract and stores; reads only."""
    from lr_retune.answers import answer
    from lr_retune.checks import problems

    found, worst = problems(config, lambda loaded: _time(loaded, as_of))
    lines = [
        line
        for p in found
        for line in (f"{p['code']}: {p['what']}", f"  why: {p['why']}", f"  do:  {p['fix']}")
        if not line.endswith(": ")
    ]
    _print(as_json, answer("check", ok=not found, problems=found), lines or ["ok"])
    return worst


@config_app.command("show")
def config_show(config: ConfigPath = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """The effective configuration, secrets masked."""
    from lr_retune.answers import answer
    from lr_retune.config import show

    loaded = _load(config)
    _print(
        as_json,
        answer("config show", ok=True, config=loaded.model_dump(mode="json", exclude_none=True)),
        show(loaded).splitlines(),
    )


@config_app.command("schema")
def config_schema() -> None:
    """JSON Schema of retune.toml, for editors."""
    from lr_retune.config import schema

    typer.echo(json.dumps(schema(), indent=2))


# ── the loop ──────────────────────────────────────────────────────────────────────────────────────
@app.command()
def bootstrap(config: ConfigPath = DEFAULT_CONFIG, as_of: AsOf = None, as_json: Json = False) -> None:
    """Train and register the first champion."""
    from lr_retune import answers
    from lr_retune.retune import bootstrap as first

    loaded = _load(config)
    with _stores(loaded) as stores, _progress("bootstrap"):
        champion = first(loaded, stores, _time(loaded, as_of))
    lines = [
        f"champion: version {champion.version}, rate {champion.learning_rate:.4g}, holdout loss {answers.short(champion.promised)}"
    ]
    _print(
        as_json, answers.answer("bootstrap", champion=answers.champion(loaded, champion), run_id=champion.run_id), lines
    )


@app.command()
def watch(config: ConfigPath = DEFAULT_CONFIG, as_of: AsOf = None, as_json: Json = False) -> int:
    """Observe and decide; records both and changes nothing."""
    from lr_retune import answers
    from lr_retune.retune import watch as look

    loaded = _load(config)
    with _stores(loaded, tidy=False) as stores, _progress("watch"):
        found = look(loaded, stores, _time(loaded, as_of))
    fields = answers.answer("watch", decision=found.decision, facts=answers.facts(found.facts))
    _print(as_json, fields, answers.lines_of_report(found)[1:-1])
    return _held(found)


@app.command()
def run(
    config: ConfigPath = DEFAULT_CONFIG,
    as_of: AsOf = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="1 when rejected, 10 when inconclusive.")] = False,
    as_json: Json = False,
) -> int:
    """The whole path: observe, decide, tune, judge, promote."""
    from lr_retune import answers
    from lr_retune.retune import retune

    loaded = _load(config)
    with _stores(loaded) as stores, _progress("run"):
        found = retune(loaded, stores, _time(loaded, as_of))
    _print(as_json, answers.answer("run", **answers.report(loaded, found)), answers.lines_of_report(found))
    if found.outcome == "held":
        return _held(found)
    return STRICT_EXIT.get(found.outcome, 0) if exit_code else OUTCOME_EXIT[found.outcome]


def _held(found: Any) -> int:
    return {"fix_feed": 3, "ask": 10}.get(found.decision.action, 0)


@app.command()
def search(
    config: ConfigPath = DEFAULT_CONFIG,
    as_of: AsOf = None,
    strategy: Annotated[str | None, typer.Option(help="Another strategy than the configured one.")] = None,
    seed: Annotated[int | None, typer.Option(help="Another seed.")] = None,
    as_json: Json = False,
) -> None:
    """Only the search, on the train and valid spans; records nothing."""
    from lr_retune import answers
    from lr_retune.retune import search_only

    loaded = _load(config)
    changed = loaded.model_copy(
        update={
            "seed": loaded.seed if seed is None else seed,
            "search": loaded.search.model_copy(update={"strategy": strategy or loaded.search.strategy}),
        }
    )
    with _stores(loaded, tidy=False) as stores, _progress("search"):
        result = search_only(changed, stores, _time(loaded, as_of))
    head = ("trial", "role", "rate", result.step_unit, "valid loss", "state")
    rows = [
        (t.number, t.role, t.learning_rate, t.steps, t.loss if t.loss is not None else "–", t.state)
        for t in result.trials
    ]
    best = result.challenger
    lines = answers.table(head, rows)
    lines.append(
        "no trial ended well"
        if best is None
        else f"best: rate {best.learning_rate:.4g}, {best.steps} {result.step_unit}, valid loss {answers.short(best.loss)}"
    )
    if result.at_wall:
        lines.append(
            f"the best rate stands at the {result.at_wall} wall of [search] learning_rate: a wider range may hold a better one"
        )
    _print(as_json, answers.answer("search", **answers.search(result)), lines)


@app.command()
def replay(
    start: Annotated[str, typer.Option("--from", help="First run time.")],
    end: Annotated[str, typer.Option("--to", help="Last run time.")],
    config: ConfigPath = DEFAULT_CONFIG,
    against: Annotated[
        str, typer.Option(help="Policies, comma separated.")
    ] = "never,always,always+grid,fixed-05,policy",
    every: Annotated[int, typer.Option(min=1, help="Ticks between two runs.")] = 1,
    as_json: Json = False,
) -> None:
    """Policies over history, in memory; touches no store."""
    from dataclasses import asdict

    from lr_retune import answers
    from lr_retune.replay import replay as walk

    loaded = _load(config)
    with _progress("replay") as progress:
        found = walk(
            loaded, _time(loaded, start), _time(loaded, end), against.split(","), every=every, progress=progress
        )
    head = ("policy", "loss", "excess %", "retrains", "promotions", "steps", "actions")
    rows = [
        (
            p.name,
            p.loss,
            p.excess_pct,
            p.retrains,
            p.promotions,
            p.cost.steps,
            " ".join(f"{k} {v}" for k, v in p.actions.items()),
        )
        for p in found.policies
    ]
    policies = [asdict(p) | {"rollbacks": 0} for p in found.policies]
    lines = [*answers.table(head, rows), f"{found.ticks} runs, {found.rows} rows scored by the champion of their time"]
    _print(as_json, answers.answer("replay", policies=policies, ticks=found.ticks, rows=found.rows), lines)


# ── state ─────────────────────────────────────────────────────────────────────────────────────────
Actor = Annotated[str, typer.Option(help="Who does this; goes into the ledger.")]
Why = Annotated[str, typer.Option("--reason", help="Why; goes into the ledger.")]


@app.command()
def promote(
    decision: Annotated[str, typer.Argument(help="A decision whose challenger passed.")],
    config: ConfigPath = DEFAULT_CONFIG,
    actor: Actor = "",
    reason: Why = "",
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Promote a challenger that passed and was not promoted."""
    loaded = _load(config)
    with _stores(loaded) as stores:
        before = stores.champion(_time(loaded, as_of))
        after = stores.promote(decision, actor=actor, reason=reason, as_of=_time(loaded, as_of))
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

    loaded = _load(config)
    now = _time(loaded, as_of)
    with _stores(loaded) as stores:
        before = stores.champion(now)
        after = stores.rollback(
            to, actor=actor, reason=reason, as_of=now, reproduces=lambda files: reproduces(loaded, files)
        )
        _moved("rollback", loaded, stores, before, after, as_json)


def _moved(command: str, config: Config, stores: Stores, before: Any, after: Any, as_json: bool) -> None:
    from lr_retune import answers

    fields = answers.answer(
        command,
        champion=answers.champion(config, after),
        previous=answers.champion(config, before),
        ledger_row=stores.ledger.last(config.name).seq,
    )
    _print(as_json, fields, [f"champion: version {after.version} (was {before.version})"])


@app.command()
def reconcile(config: ConfigPath = DEFAULT_CONFIG, as_json: Json = False) -> None:
    """Tidy up after a crash: roll unfinished promotions forward or back."""
    from lr_retune.answers import answer

    with _stores(_load(config), tidy=False) as stores:
        found = stores.reconcile(strict=True)
    _print(as_json, answer("reconcile", ok=True, tidied=found), found or ["nothing to tidy"])


@audit_app.command("verify")
def audit_verify(config: ConfigPath = DEFAULT_CONFIG, as_json: Json = False) -> int:
    """Recompute the ledger's hash chain."""
    from lr_retune.answers import answer
    from lr_retune.errors import IntegrityError

    loaded = _load(config)
    with _stores(loaded, tidy=False) as stores:
        broken = stores.ledger.verify(loaded.name)
    _print(as_json, answer("audit verify", ok=not broken, problems=broken), broken or ["the chain holds"])
    return IntegrityError.exit_code if broken else 0


@app.command()
def gate(
    config: ConfigPath = DEFAULT_CONFIG,
    model: Annotated[str | None, typer.Option(help="A registered model's name; the configured one by default.")] = None,
    version: Annotated[str | None, typer.Option(help="Its version.")] = None,
    decision: Annotated[str | None, typer.Option(help="Or the decision that judged it.")] = None,
    output: Annotated[str, typer.Option(help="text, json, markdown, github or junit.")] = "text",
    as_of: AsOf = None,
    as_json: Json = False,
) -> int:
    """CI verdict on a version, verified again from ledger, files and registry."""
    from lr_retune.report.gate import render
    from lr_retune.stores.gate import verdict

    loaded = _load(config)
    if (version is None) == (decision is None):
        raise ConfigError(
            "say which model to judge",
            why="exactly one of --version and --decision is needed",
            fix="lr-retune gate --version 3",
        )
    with _stores(loaded, tidy=False) as stores:
        found = verdict(stores, model or loaded.name, version=version, decision=decision, now=_time(loaded, as_of))
    typer.echo(render(found, "json" if as_json else output))
    return found.exit_code


@app.command()
def status(config: ConfigPath = DEFAULT_CONFIG, as_of: AsOf = None, as_json: Json = False) -> int:
    """Where the model stands; exit code 1 when nobody has looked for two ticks."""
    from lr_retune import answers
    from lr_retune.stores.status import standing

    loaded = _load(config)
    now = _time(loaded, as_of)
    with _stores(loaded, tidy=False) as stores:
        found = standing(stores, loaded, now)
    lines = [
        f"{found['name']}: {'no champion yet' if found['champion'] is None else 'champion version ' + str(found['champion']['version'])}"
    ]
    lines += [
        f"  {key}: {value}" for key, value in found.items() if key not in ("name", "champion") and value is not None
    ]
    _print(as_json, answers.answer("status", models=[found]), lines)
    return 1 if found["stale"] else 0


@app.command()
def history(
    config: ConfigPath = DEFAULT_CONFIG, limit: Annotated[int, typer.Option(min=1)] = 50, as_json: Json = False
) -> None:
    """Decisions, newest last."""
    from lr_retune import answers
    from lr_retune.stores.status import past

    loaded = _load(config)
    with _stores(loaded, tidy=False) as stores:
        found = past(stores, LAST_DAY)[-limit:]
    rows = [(d["as_of"][:16], d["id"], d["action"], d["outcome"], d["why"][:90]) for d in found]
    lines = answers.table(("as of", "decision", "action", "outcome", "why"), rows) if rows else ["no decisions yet"]
    _print(as_json, answers.answer("history", decisions=found), lines)


@app.command()
def explain(
    what: Annotated[str, typer.Argument(help="A decision's id, a reason code or a rule's code.")],
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: Json = False,
) -> None:
    """A decision in full, or what a code means."""
    from lr_retune import answers
    from lr_retune.codes import meaning

    text = meaning(what)
    if text is None:
        loaded = _load(config)
        from lr_retune.stores.status import story

        with _stores(loaded, tidy=False) as stores:
            found, lines = story(stores, what)
        _print(as_json, answers.answer("explain", explanation=found), lines)
        return
    _print(as_json, answers.answer("explain", explanation=text), [f"{what}: {text}"])


# ── demo ──────────────────────────────────────────────────────────────────────────────────────────
@demo_app.command("demand")
def demo_demand(
    folder: Annotated[Path, typer.Option(help="A new folder for the demo's files.")] = Path("lr-retune-demo"),
    as_json: Json = False,
) -> None:
    """Years of real bike-share rides: bootstrap, watch, retune, promote, refuse."""
    from lr_retune.answers import answer
    from lr_retune.demo import demand

    say = (lambda _line: None) if as_json else typer.echo
    found = demand(folder, say)
    if as_json:
        typer.echo(json.dumps(answer("demo demand", **found), ensure_ascii=False))


if __name__ == "__main__":
    main()
