"""Commands about the judge's evidence: an undecided challenger meets the champion again, equal twins each other."""

from __future__ import annotations

from typing import Annotated

import typer

from lr_retune.console import moment, opened, progress, say, warn
from lr_retune.errors import ConfigError
from lr_retune.words import DEFAULT_CONFIG, LAST_DAY, AsOf, ConfigPath, Json


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command()(rejudge)
    app.command()(selfcheck)


def rejudge(
    decision: Annotated[
        str | None, typer.Argument(help="An inconclusive decision; its first letters do. The newest by default.")
    ] = None,
    config: ConfigPath = DEFAULT_CONFIG,
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Judge an undecided challenger again, on its holdout and all ticks since; trains nothing."""
    from lr_retune import answers
    from lr_retune.rejudge import rejudge as again
    from lr_retune.stores.status import full_id

    with opened(config, tidy=True) as (loaded, stores), progress("rejudge"):
        undecided = [d.id for d in stores.history(LAST_DAY).decisions if d.outcome == "inconclusive"]
        if decision is None and not undecided:
            raise ConfigError(f"no challenger of {loaded.name} is undecided", fix="see `lr-retune history`")
        id = undecided[-1] if decision is None else full_id(stores, decision)
        found = again(loaded, stores, id, moment(loaded, as_of))
    warn(found.notes)
    say(as_json, answers.answer("rejudge", **answers.report(loaded, found)), answers.lines_of_report(found))


def selfcheck(
    config: ConfigPath = DEFAULT_CONFIG,
    pairs: Annotated[int, typer.Option(min=1, max=50, help="Pairs of twins.")] = 6,
    windows: Annotated[int, typer.Option(min=3, max=200, help="Holdouts of history, the newest so many.")] = 20,
    as_of: AsOf = None,
    as_json: Json = False,
) -> int:
    """How often the judge calls one of two equal models better, on twins of this champion; records nothing."""
    from lr_retune import answers
    from lr_retune.records import plain
    from lr_retune.selfcheck import lines
    from lr_retune.selfcheck import selfcheck as check

    with opened(config) as (loaded, stores), progress("selfcheck"):
        found = check(
            loaded,
            stores,
            moment(loaded, as_of),
            pairs=pairs,
            windows=windows,
            tell=lambda line: typer.echo(line, err=True),
        )
    low, high = found.limits
    fields = plain(found) | {"ok": found.ok, "rate": found.rate, "low": low, "high": high, "cost": found.asked.cost}
    say(as_json, answers.answer("selfcheck", **fields), lines(found))
    return 0 if found.ok else 1
