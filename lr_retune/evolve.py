"""A feed that changes for good: how it differs from the champion's contract, and a person's word that it may."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from lr_retune.config import Config
from lr_retune.data import columns
from lr_retune.data.feed import Feed
from lr_retune.data.ticks import shift, tick_start
from lr_retune.errors import ConfigError
from lr_retune.plugins import load_feeds
from lr_retune.records import Champion, Contract, Fault, Feeds
from lr_retune.steps import feed_faults
from lr_retune.stores.ledger import Entry
from lr_retune.stores.promotion import Stores

# What a column may become for good. A lack of rows, bad labels and repeats are never the new normal.
ACCEPTABLE = (
    "missing_column",
    "retyped_column",
    "new_column",
    "all_null",
    "null_share",
    "infinite",
    "out_of_range",
    "unit_change",
    "constant",
    "new_levels",
)
Kinds = Mapping[str, Literal["number", "category"]]


@dataclass(frozen=True, slots=True)
class Difference:
    """What the feed says now, and what an acceptance would make of it."""

    contract: Contract  # the champion's
    faults: tuple[Fault, ...]  # as they count today: what was accepted blocks no more
    waived: tuple[tuple[str, str], ...]  # accepted before, and not yet learned
    columns: Kinds  # what the next training reads as things stand
    readable: Kinds  # what it could read of the feed as it is now

    @property
    def blocks(self) -> bool:
        """Whether a run would be held."""
        return any(fault.matters for fault in self.faults)

    @property
    def gained(self) -> tuple[str, ...]:
        """Columns that the next training could read and would not."""
        return tuple(name for name in self.readable if name not in self.columns)

    @property
    def lost(self) -> tuple[str, ...]:
        """Columns that the next training would read and cannot."""
        return tuple(name for name in self.columns if name not in self.readable)

    @property
    def pending(self) -> list[str]:
        """Columns that were accepted and the champion does not know (+), or that were given up (-)."""
        old = self.contract.names
        more = [f"+{name}" for name in self.columns if name not in old]
        return more + [f"-{name}" for name in old if name not in self.columns]

    @property
    def changed(self) -> set[str]:
        """Columns that can be accepted as they are now."""
        blocking = {str(f.column) for f in self.faults if f.matters and f.code in ACCEPTABLE}
        return {*blocking, *self.gained, *self.lost}


def diff(config: Config, stores: Stores, as_of: datetime) -> Difference:
    """The newest ticks held against the champion's contract.

    Raises
    ------
    ConfigError
        If there is no champion.
    """
    feeds = load_feeds(config)
    champion, accepted = stores.champion(as_of), stores.accepted(as_of)
    faults = feed_faults(config, feeds, champion, as_of, accepted)
    empty = {f.column for f in faults if f.code == "all_null"}
    readable = _readable(config, feeds, champion, as_of)
    return Difference(
        contract=champion.contract,
        faults=tuple(f for f in faults if f.matters or f.column is not None),
        waived=() if accepted is None else accepted.waived,
        columns={c.name: c.kind for c in champion.contract.columns} if accepted is None else accepted.columns,
        readable={name: kind for name, kind in readable.items() if name not in empty},
    )


def accept(
    config: Config, stores: Stores, as_of: datetime, *, actor: str, reason: str, only: Collection[str] = ()
) -> tuple[Entry | None, Difference]:
    """Open a new contract version from what the feed is now; None where there is nothing to accept.

    Parameters
    ----------
    actor, reason
        Who says so, and why; recorded.
    only
        Columns to accept; all when empty.

    Raises
    ------
    ConfigError
        If no reason is given, or a column of ``only`` did not change.
    """
    if not reason.strip():
        why = "the ledger keeps why a contract changed"
        raise ConfigError("an acceptance needs a --reason", why=why, fix="say why")
    found = diff(config, stores, as_of)
    if strange := sorted(set(only) - found.changed):
        raise ConfigError(
            f"{', '.join(map(repr, strange))} did not change",
            why=f"changed are {', '.join(map(repr, sorted(found.changed))) or 'no columns'}",
            fix="see `lr-retune contract diff`",
        )
    if not found.changed:
        return None, found
    wanted = set(only) or found.changed
    columns = _accepted(found, wanted)
    fresh = [(str(f.column), f.code) for f in found.faults if f.column in wanted and f.matters and f.code in ACCEPTABLE]
    # what was numbers and is text will hold none but new levels, until trainings have met them
    fresh += [(column, "new_levels") for column, code in fresh if code == "retyped_column"]
    waived = sorted({*fresh, *found.waived})
    body = {
        "version": found.contract.version + 1,
        "columns": list(columns.items()),  # a list, as their order is the models' own
        "waived": waived,
        "differences": [f.what for f in found.faults if f.column in wanted],
        "actor": actor,
        "reason": reason,
    }
    entry = stores.accept(as_of, body)
    return entry, diff(config, stores, as_of)


def _accepted(found: Difference, wanted: Collection[str]) -> dict[str, Any]:
    """What the next training reads: each column as it was, unless it was accepted as it is now."""
    kept = {name: kind for name, kind in found.columns.items() if name not in wanted or name in found.readable}
    return {**kept, **{name: kind for name, kind in found.readable.items() if name in wanted}}


def _readable(config: Config, feeds: Feeds, champion: Champion, as_of: datetime) -> dict[str, Any]:
    """Columns that a training could read, judged on the newest rows: identifiers are none."""
    feed = Feed(config, feeds, as_of)
    tick, zone = config.schedule.tick, config.schedule.timezone
    end = tick_start(as_of, tick, zone)
    start = shift(end, -config.ticks(config.window.holdout), tick, zone)
    kinds = feed.readable()
    fresh = {name: kind for name, kind in kinds.items() if name not in champion.contract.names}
    table = feed.raw(list(fresh), start, end, config.model.transform)
    learned = [columns.learn(table.column(name), name, kind) for name, kind in fresh.items()]
    identifiers = {c.name for c in learned if columns.is_identifier(c, len(table))}
    return {name: kind for name, kind in kinds.items() if name not in identifiers}
