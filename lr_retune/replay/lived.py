"""The ledger's own life once more: the same run times, and whether every decision comes out as it was filed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from lr_retune.config import Config
from lr_retune.data.ticks import shift, tick_start
from lr_retune.errors import ConfigError
from lr_retune.records import content_digest
from lr_retune.replay.arms import Arm
from lr_retune.replay.kept import in_use
from lr_retune.replay.walk import Tell, World
from lr_retune.stores.ledger import Entry, Ledger

DECIDED = ("decision", "settlement", "move")  # what runs file; a person's words are not repeated


@dataclass(frozen=True, slots=True)
class Lived:
    """What a ledger holds, against what its run times give today."""

    entries: int  # filed by runs
    equal: int  # of them, byte for byte
    different: tuple[tuple[str, str, datetime], ...]  # kind, key and time of those that are not


def relived(
    config: Config, ledger: Ledger, *, cache: Path | None = None, progress: Tell = lambda _message: None
) -> Lived:
    """Walk the default policy at the ledger's run times and hold its entries against the ledger's.

    They differ where configuration, rows, libraries or this code are not what they were, and from where a person took
    part: approvals, pauses and accepted changes of the feed are not repeated.

    Raises
    ------
    ConfigError
        If no run is in the ledger, or its first model was not trained here.
    """
    filed = ledger.entries(config.name)
    times = _times(config, filed)
    with in_use(cache):
        walked = World(config, times, cache).walk(Arm("policy"), progress)
    ours = set(walked.filed)
    runs = [entry for entry in filed if entry.kind in DECIDED]
    other = tuple((e.kind, e.key, e.as_of) for e in runs if content_digest(e.record) not in ours)
    return Lived(len(runs), len(runs) - len(other), other)


def _times(config: Config, filed: Sequence[Entry]) -> list[datetime]:
    """Birth, every run time, and one tick more, within which the last champion serves."""
    first = next((e for e in filed if e.kind == "settlement"), None)
    looked = sorted({e.as_of for e in filed if e.kind == "decision"})
    if first is None or not looked or not _trained(first.record):
        raise ConfigError(
            f"the ledger of {config.name} cannot be lived through once more",
            why="it holds no first model that was trained here, or no run",
            fix="run `lr-retune bootstrap` and `lr-retune run` first; `lr-retune replay` needs no ledger",
        )
    tick, zone = config.schedule.tick, config.schedule.timezone
    return [first.as_of, *looked, shift(tick_start(looked[-1], tick, zone), 1, tick, zone)]


def _trained(record: Mapping[str, object]) -> bool:
    decision = record.get("decision")
    return isinstance(decision, Mapping) and decision.get("action") == "bootstrap"
