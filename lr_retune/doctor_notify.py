"""What doctor asks about notifications: whether they could be sent, and what has not arrived."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from lr_retune.checks import Found, ledger_of
from lr_retune.config import Config, resolve_secret
from lr_retune.doctor_machine import Case, note
from lr_retune.errors import ConfigError

_WHY = "decisions do not wait for it, and nobody hears of them"


def notify(case: Case) -> Iterator[Found]:
    """Names that ``[notify]`` refers to, Apprise where it is asked for, and the outbox."""
    from lr_retune.stores.outbox import undelivered

    for name in _named(case.config):
        try:
            resolve_secret(name, case.config.root)
        except ConfigError as error:
            yield note("notify", f"[notify] names {name}, and {error.why or error.what}", _WHY, error.fix)
    if case.config.notify.apprise_env is not None and find_spec("apprise") is None:
        yield note("notify", "[notify] names Apprise, which is not installed", _WHY, "pip install 'lr-retune[notify]'")
    ledger = ledger_of(case.config) if "ledger" in case.answers else None
    lost = [] if ledger is None else undelivered(ledger, case.config)
    if lost:
        last = next((each["error"] for each in reversed(lost) if each["error"]), "no run has tried yet")
        some = "a message has" if len(lost) == 1 else f"{len(lost)} messages have"
        yield note("notify", f"{some} not arrived", last, "see `lr-retune notify`; `lr-retune notify --test` tries")


def _named(config: Config) -> list[str]:
    asked = config.notify
    named = [f"env:{name}" for name in (asked.secret_env, asked.apprise_env) if name is not None]
    return [*named, *([asked.webhook] if asked.webhook is not None else [])]
