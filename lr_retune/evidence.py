"""Commands about the judge's evidence: an undecided challenger meets the champion again."""

from __future__ import annotations

from typing import Annotated

import typer

from lr_retune.console import moment, opened, progress, say, warn
from lr_retune.errors import ConfigError
from lr_retune.words import DEFAULT_CONFIG, LAST_DAY, AsOf, ConfigPath, Json


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    app.command()(rejudge)


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
