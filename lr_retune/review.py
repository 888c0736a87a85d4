"""A decision's page: gathers what the ledger knows of it, has it drawn, and puts it where people look."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from lr_retune.config import Config
from lr_retune.errors import ConfigError, DependencyError, HeldError, IntegrityError
from lr_retune.records import plain
from lr_retune.report.blocks import Case, trials
from lr_retune.report.range_plot import range_plot
from lr_retune.search.range_test import swept
from lr_retune.stores.bundle import unpack_golden
from lr_retune.stores.later import later, touched
from lr_retune.stores.pages import keep, outcome_of
from lr_retune.stores.promotion import Stores

if TYPE_CHECKING:
    from lr_retune.records import Champion, Report
    from lr_retune.stores.ledger import Entry


def page(config: Config, stores: Stores, decision: str) -> tuple[bytes, datetime]:
    """The page of one decision and its time, from the ledger alone: it can be made again at any time.

    Raises
    ------
    ConfigError
        If the ledger has no such decision.
    """
    from lr_retune.report.page import decision_page  # Jinja: paid only here

    case = case_of(config, stores, decision)
    return decision_page(case), datetime.fromisoformat(case.as_of)


def shown(config: Config, stores: Stores, decision: str) -> list[str]:
    """Make a decision's page, and that of the one whose champion it replaced; what could not be done.

    Pages lie beside the ledger and in the registry.
    """
    if not stores.shows:
        return []
    return [note for id in touched(stores, decision) for note in _kept(config, stores, id)]


def retold(config: Config, stores: Stores, decision: str = "") -> list[str]:
    """The same after a person's word on a decision; by default on the one that last changed the champion."""
    return shown(config, stores, decision or stores.moves[-1].id)


def _kept(config: Config, stores: Stores, decision: str) -> list[str]:
    try:
        made, as_of = page(config, stores, decision)
        return keep(config, stores, decision, as_of, made)
    except (ConfigError, OSError) as error:  # a page is no reason to fail: `lr-retune report` makes it again
        return [f"decision {decision[:12]} has no page: {error}"]


def paged(config: Config, stores: Stores, step: Callable[..., list[str]], found: Report) -> Report:
    """A run's report after its page was shown."""
    notes = step(shown, config, stores, found.decision.id)
    return replace(found, notes=(*found.notes, *notes))


def case_of(config: Config, stores: Stores, decision: str) -> Case:
    """What the ledger knows of a decision."""
    ledger, name = stores.ledger, stores.name
    entry, move = (ledger.entry(name, kind, decision) for kind in ("decision", "move"))
    settled = stores.settled(decision)
    first = entry or settled or move
    if first is None:
        raise ConfigError(f"no decision {decision!r}", fix="see `lr-retune history`")
    record = first.record
    told = record.get("decision") or {"id": decision, "action": record.get("kind", "rollback"), "reasons": []}
    before, after = _champions(stores, entry, settled, move)
    return Case(
        model=name,
        outcome=outcome_of(stores, decision),
        decision={**told, "id": decision},
        as_of=first.as_of.isoformat(),
        facts=None if entry is None else entry.record["facts"],
        settled=None if settled is None else settled.record,
        before=before,
        after=after,
        move=None if move is None else {**move.record, "as_of": move.as_of.isoformat()},
        chain=tuple(_link(e) for e in (entry, settled, move) if e is not None),
        sweeps=_sweeps(settled),
        golden=_golden(config, stores, settled),
        searched=_searched(stores, first.as_of),
        later=later(stores, decision),
    )


def _link(entry: Entry) -> dict[str, Any]:
    return {"kind": entry.kind, "row": entry.seq, "digest": entry.digest}


def _champions(
    stores: Stores, entry: Entry | None, settled: Entry | None, move: Entry | None
) -> tuple[Mapping[str, Any] | None, Mapping[str, Any]]:
    """The champion that was met, None at the first one's birth; and the one afterwards."""
    moves = list(stores.moves)
    made = next((i for i, m in enumerate(moves) if move is not None and m.id == move.key), None)
    if made is not None:
        return (_told(stores, moves[made - 1]) if made else None), _told(stores, moves[made])
    digest = entry.record["facts"]["champion"] if entry is not None else None
    known = settled.record.get("champion") if settled is not None else None
    epoch = known["epoch"] if known else None
    met = [m for m in moves if m.champion.model == digest and epoch in (None, m.champion.epoch)]
    if not met:
        return None, {}
    before = _told(stores, _standing(met, entry) if epoch is None else met[-1])
    return before, before


def _standing(met: list[Any], entry: Entry | None) -> Any:
    """The newest of the moves to this champion that the decision could know."""
    earlier = [m for m in met if entry is None or m.as_of < entry.as_of]
    return (earlier or met)[-1]


def _told(stores: Stores, move: Any) -> dict[str, Any]:
    found = stores.numbered(move)
    names = ("model", "family", "learning_rate", "schedule", "steps", "promised", "epoch", "version", "decision")
    return {**{name: plain(getattr(found, name)) for name in names}, "size": _size(stores, found)}


def _size(stores: Stores, champion: Champion) -> int | None:
    """Bytes of its file, as the decision says that made it champion; None where it says nothing."""
    settled = stores.settled(champion.decision)
    result = {} if settled is None else settled.record["result"]
    made = (result.get(arm) or {} for arm in ("refit", "challenger"))
    return next((each["size"] for each in made if each.get("model") == champion.model), None)


def _searched(stores: Stores, as_of: datetime) -> Mapping[str, Any] | None:
    found = [s for s in stores.settlements if s.searched is not None and s.as_of < as_of]
    last = max(found, key=lambda s: s.as_of, default=None)
    return None if last is None else {"decision": last.decision, "as_of": plain(last.as_of)}


def _sweeps(settled: Entry | None) -> str:
    if settled is None:
        return ""
    result = settled.record["result"]
    found = swept(trials(result))
    return range_plot(found, (result["challenger"] or {}).get("learning_rate")) if found else ""


def _golden(config: Config, stores: Stores, settled: Entry | None) -> Mapping[str, Any] | None:
    """Raw rows, only where they were asked for and still there."""
    won = None if settled is None else settled.record["result"]["challenger"]
    if not config.report.raw_values or won is None:
        return None
    try:
        return unpack_golden(stores.models.get(won["model"]))
    except (IntegrityError, DependencyError, HeldError, KeyError):
        return None


def newest(stores: Stores, until: datetime) -> str:
    """The newest decision; the first champion's where there was none since.

    Raises
    ------
    ConfigError
        If the ledger holds nothing.
    """
    decisions = stores.history(until).decisions
    if decisions:
        return decisions[-1].id
    if not stores.moves:
        raise ConfigError(f"{stores.name} has no decision yet", fix="run `lr-retune bootstrap`, then `lr-retune run`")
    return stores.moves[0].id
