"""The commands by which people answer: approve or reject what passed, allow again what was rolled back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lr_retune import console
from lr_retune.console import moment, opened, say, warn
from lr_retune.words import DEFAULT_CONFIG, LAST_DAY, Actor, AsOf, ConfigPath, Json, Why

if TYPE_CHECKING:
    from pathlib import Path

    from lr_retune.config import Config
    from lr_retune.records import Champion
    from lr_retune.stores.promotion import Stores

Waiting = Annotated[str, typer.Argument(help="A decision whose challenger waits; its first letters will do.")]


def register(app: typer.Typer) -> None:
    """Add the commands to an app."""
    for command in (approve, reject, lift):
        app.command()(command)


def approve(
    decision: Waiting,
    config: ConfigPath = DEFAULT_CONFIG,
    actor: Actor = "",
    reason: Why = "",
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Promote a challenger that passed and waits for it, after everything was verified again."""
    _answer("approve", decision, config, actor, reason, as_of, as_json=as_json)


def reject(
    decision: Waiting,
    config: ConfigPath = DEFAULT_CONFIG,
    actor: Actor = "",
    reason: Why = "",
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Turn down a challenger that passed and waits; the champion stays."""
    _answer("reject", decision, config, actor, reason, as_of, as_json=as_json)


def _answer(
    command: str, decision: str, config: Path, actor: str, reason: str, as_of: str | None, *, as_json: bool
) -> None:
    from lr_retune.records import iso
    from lr_retune.review import retold
    from lr_retune.stores import approvals
    from lr_retune.stores.status import full_id

    give = approvals.approve if command == "approve" else approvals.reject
    with opened(config, tidy=True) as (loaded, stores):
        before, id = stores.champion(LAST_DAY), full_id(stores, decision)
        done = give(stores, id, actor=actor or console.user(), reason=reason, now=moment(loaded, as_of))
        warn([*done.notes, *retold(loaded, stores, id)])
        said: dict[str, Any] = {"decision": id, "answer": done.said.answer, "by": done.said.by}
        said |= {"reason": done.said.why, "as_of": iso(done.said.as_of), "repeated": done.repeated}
        once = f"{done.said.answer} by {done.said.by}{', as it was before' if done.repeated else ''}"
        lines = [once, f"champion: version {done.champion.version}"]
        _changed(command, loaded, stores, before, done.champion, lines, as_json=as_json, approval=said)


def lift(
    model: Annotated[str, typer.Argument(help="A version that was rolled back, or its digest's first letters.")],
    config: ConfigPath = DEFAULT_CONFIG,
    actor: Actor = "",
    reason: Why = "",
    as_of: AsOf = None,
    as_json: Json = False,
) -> None:
    """Allow a model that was rolled back to become champion again; moves nothing."""
    from lr_retune.stores.freeze import lift as thaw

    with opened(config) as (loaded, stores):
        champion = stores.champion(LAST_DAY)
        digest, held = thaw(stores, model, actor=actor or console.user(), reason=reason, now=moment(loaded, as_of))
        told = f"model {digest[:12]} may be champion again" if held else f"model {digest[:12]} was not frozen"
        was = None if held is None else {"model": digest, "by": held.by, "reason": held.why}
        _changed("lift", loaded, stores, champion, champion, [told], as_json=as_json, lifted=was)


def _changed(
    command: str,
    config: Config,
    stores: Stores,
    before: Champion,
    after: Champion,
    lines: list[str],
    *,
    as_json: bool,
    **more: Any,
) -> None:
    from lr_retune import answers

    fields = answers.answer(
        command,
        champion=answers.champion(config, after),
        previous=answers.champion(config, before),
        ledger_row=stores.ledger.last(config.name).seq,
        **more,
    )
    say(as_json, fields, lines)
