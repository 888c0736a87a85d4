"""The command about notifications: what has not arrived, send it now, try whether anything would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lr_retune.console import clock, load, opened, say
from lr_retune.errors import ConfigError, DependencyError
from lr_retune.words import DEFAULT_CONFIG, ConfigPath, Json

if TYPE_CHECKING:
    from lr_retune.config import Config


def register(app: typer.Typer) -> None:
    """Add the command to an app."""
    app.command()(notify)


def notify(
    config: ConfigPath = DEFAULT_CONFIG,
    test: Annotated[bool, typer.Option("--test", help="Send a test message by each channel.")] = False,
    send: Annotated[bool, typer.Option("--send", help="Try now what has not arrived, instead of listing it.")] = False,
    as_json: Json = False,
) -> int:
    """Messages that have not arrived; exit code 4 where a try fails."""
    loaded = load(config)
    if not loaded.notify.channels:
        fix = 'write [notify] webhook = "env:NAME", or apprise_env = "NAME"'
        raise ConfigError("nobody is notified", why="[notify] names no channel", fix=fix)
    if test:
        return _tested(loaded, as_json=as_json)
    with opened(config) as (loaded, stores):
        from lr_retune.answers import answer, lines_of_outbox
        from lr_retune.notify.deliver import attempts
        from lr_retune.stores.outbox import undelivered

        tried = attempts(loaded, stores, clock(), force=True) if send and stores.ledger.head(stores.name).head else []
        left = undelivered(stores.ledger, loaded)
    lost = sum(bool(each.error) for each in tried)
    fields = {"sent": len(tried) - lost, "failed": lost, "undelivered": left}
    done = [f"sent: {len(tried) - lost}, not delivered: {lost}"] if send else []
    say(as_json, answer("notify", ok=not lost, **fields), [*done, *lines_of_outbox(left)])
    return DependencyError.exit_code if lost else 0


def _tested(config: Config, *, as_json: bool) -> int:
    from lr_retune.answers import answer
    from lr_retune.notify.deliver import try_out

    found = try_out(config, clock())
    told: list[dict[str, Any]] = [{"channel": name, "ok": not why, "error": why or None} for name, why in found.items()]
    lines = [f"{each['channel']}: {'the test message arrived' if each['ok'] else each['error']}" for each in told]
    say(as_json, answer("notify", ok=not any(found.values()), tests=told), lines)
    return DependencyError.exit_code if any(found.values()) else 0
