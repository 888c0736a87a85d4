"""When people are told: after a decision is settled, within a few seconds, and again by the next run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from lr_retune.config import Config
from lr_retune.errors import RetuneError
from lr_retune.notify.channels import NotDeliveredError, send
from lr_retune.notify.message import Message, message, sample
from lr_retune.records import content_digest, iso, micros
from lr_retune.stores.outbox import Due, Outbox
from lr_retune.stores.promotion import Stores


@dataclass(frozen=True, slots=True)
class Sent:
    """One try."""

    due: Due
    error: str = ""  # empty: it arrived


def outbox(config: Config, stores: Stores) -> Outbox:
    """The messages of a model, for the channels of its configuration."""
    return Outbox(stores.ledger, stores.name, config.notify.channels, config.notify.on)


def begin(config: Config, stores: Stores) -> None:
    """Let channels that are new in the configuration begin, before anything happens that they are to be told."""
    if config.notify.channels:
        _quietly(lambda: outbox(config, stores).join())


def deliver(config: Config, stores: Stores, now: datetime) -> list[str]:
    """Send what is due; what could not be sent, in one sentence. No notifier ever fails or stops a run.

    Parameters
    ----------
    now
        The real time: waits between tries are held against it, and messages are signed for it.
    """
    if not config.notify.channels:
        return []
    tried: list[Sent] = []
    notes = _quietly(lambda: tried.extend(attempts(config, stores, now)))
    lost = [each for each in tried if each.error]
    if lost:
        some = "a message was" if len(lost) == 1 else f"{len(lost)} messages were"
        notes.append(f"{some} not delivered: {lost[-1].error}; the next run tries again, see `lr-retune notify`")
    return notes


def attempts(config: Config, stores: Stores, now: datetime, *, force: bool = False) -> list[Sent]:
    """Try each message once, until the time is over; a channel that is away is not asked twice.

    Parameters
    ----------
    force
        Do not wait for the time of the next try.
    """
    box, away, tried = outbox(config, stores), set[str](), list[Sent]()
    end = time.monotonic() + config.notify.timeout.total_seconds()
    box.join()
    for due in box.due():
        left = end - time.monotonic()
        if left <= 0 or due.channel in away or not box.take(due, micros(now), force=force):
            continue
        try:
            send(config, due.channel, message(config, stores, due), left, int(now.timestamp()))
        except NotDeliveredError as error:
            box.failed(due, str(error))
            tried.append(Sent(due, str(error)))
            away |= {due.channel} if error.away else set()
            continue
        box.arrived(due)
        tried.append(Sent(due))
    return tried


def try_out(config: Config, now: datetime) -> dict[str, str]:
    """Send a test message by each channel; channel to why it did not arrive, empty where it did."""
    made = sample(config, content_digest([config.name, "test", now]), iso(now))
    return {channel: _tried(config, channel, made, now) for channel in config.notify.channels}


def _tried(config: Config, channel: str, made: Message, now: datetime) -> str:
    try:
        send(config, channel, made, config.notify.timeout.total_seconds(), int(now.timestamp()))
    except NotDeliveredError as error:
        return str(error)
    return ""


def _quietly(work: Callable[[], object]) -> list[str]:
    """Nothing that goes wrong here is worth a decision."""
    try:
        work()
    except RetuneError as error:
        return [f"nobody could be notified: {error.what}"]
    except Exception as error:  # noqa: BLE001 - a bug in here must not look like one of the decision
        return [f"nobody could be notified: {type(error).__name__}: {error}"]
    return []


def waiting(config: Config, stores: Stores) -> Sequence[Due]:
    """Messages that have not arrived."""
    return outbox(config, stores).due()
