"""MLflow's projection made anew from the ledger: what is missing there, what is put back, what cannot be."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lr_retune.errors import DependencyError, HeldError, IntegrityError
from lr_retune.records import Champion, TickLoss, content_digest
from lr_retune.stores.bundle import adopted, tick_from
from lr_retune.stores.chronicle import Move
from lr_retune.stores.ledger import Number

if TYPE_CHECKING:
    from lr_retune.stores.firsts import Firsts

BEGUN, DONE = "rebuild", "rebuilt"  # kinds of the entries around it: a crash in between is taken up
SHOWN_AT_ONCE = 900  # points that one call of MLflow's batch takes, with room for others
Numbers = dict[str, Number]  # by move


def restore(stores: Firsts, *, alias: bool = False) -> Iterator[str]:
    """Put back what the registry lost; one sentence for each thing done or not to be done.

    A registry that holds none of this model's versions was lost as a whole: its champion alias is set again. Where
    some are left, a champion alias that is gone may have been taken away on purpose: it is set only on a person's word.

    Parameters
    ----------
    alias
        That word: point the champion alias at the ledger's champion where there is none.
    """
    if not stores.moves:
        return
    ours = [move for move in stores.moves if stores.made(move.champion)]
    shelf = {shelved.version: shelved.digest for shelved in stores.registry.shelf(stores.name)}
    begun = _begun(stores)
    lost = begun is not None or (bool(ours) and not {move.champion.model for move in ours} & set(shelf.values()))
    if lost and begun is None:
        begun = _note(stores, BEGUN, {"reason": "the registry held no version of this model"})
        yield f"the registry holds no version of {stores.name}: it is rebuilt from the ledger"
    gone = ours if lost else [move for move in ours if _is_gone(stores, move, shelf)]
    yield from _theirs(stores, shelf)
    yield from _versions(stores, gone)
    yield from _aliases(stores, champion=lost or alias)
    yield from _runs(stores)
    yield from _monitor(stores)
    if begun is not None:
        _note(stores, DONE, {"rebuild": begun})


def _is_gone(stores: Firsts, move: Move, shelf: Container[str | None]) -> bool:
    return move.champion.model not in stores.pruned and stores.numbered(move).version not in shelf


def _begun(stores: Firsts) -> str | None:
    """The key of a rebuild that was not finished."""
    entries = [entry for entry in stores.ledger.entries(stores.name) if entry.kind in (BEGUN, DONE)]
    return entries[-1].key if entries and entries[-1].kind == BEGUN else None


def _note(stores: Firsts, kind: str, body: Mapping[str, str]) -> str:
    last = stores.ledger.last(stores.name)  # no clock here: as of the newest thing that is known
    key = content_digest([stores.name, last.seq, kind, body])
    return stores.ledger.append(stores.name, kind, key, last.as_of, body).key


# ── versions and aliases ──────────────────────────────────────────────────────────────────────────
def _versions(stores: Firsts, gone: Sequence[Move]) -> Iterator[str]:
    told: dict[str, None] = {}
    numbers, made = Numbers(), dict[tuple[str, str], Number]()
    for move in gone:
        champion = stores.numbered(move)
        one = (champion.decision, champion.model)
        if one not in made:
            made[one], text = _register(stores, champion, stores.moves.index(move), numbers)
            told[text] = None
        if made[one] != (champion.version, champion.run_id):
            numbers[move.id] = made[one]
    if numbers:
        why = "the registry lost versions, and has them under new numbers"
        stores.ledger.renumber(stores.name, numbers, stores.ledger.last(stores.name).as_of, why)
    yield from told


def _theirs(stores: Firsts, shelf: Mapping[str, str | None]) -> Iterator[str]:
    """Versions that a team registered: marked as ours again, or told as gone, since their files are in no ledger."""
    stood: dict[str | None, list[Move]] = {}
    for move in stores.moves:
        if stores.taken_over(move.champion):
            stood.setdefault(_version_of(stores, move), []).append(move)
    for version, moves in stood.items():
        champion = moves[-1].champion  # whom the version stood for last
        if version is None or shelf.get(version) == champion.model:
            continue
        found, text = _retaken(stores, champion, version, version in shelf)
        yield text
        of = {move.id: found if move.champion.model == champion.model else (found[0], None) for move in moves}
        known = {move.id: (stores.numbered(move).version, stores.numbered(move).run_id) for move in moves}
        if numbers := {id: number for id, number in of.items() if number != known[id]}:
            why = "what the registry notes on a version that a team registered was lost, or the version itself"
            stores.ledger.renumber(stores.name, numbers, stores.ledger.last(stores.name).as_of, why)


def _version_of(stores: Firsts, move: Move) -> str | None:
    """The number under which a team registered it: in the model's own folder, whatever the registry lost since."""
    try:
        told = adopted(stores.files(move.champion))
    except (IntegrityError, DependencyError, HeldError):
        return stores.numbered(move).version
    return None if told is None else str(told["version"])


def _retaken(stores: Firsts, champion: Champion, version: str, there: bool) -> tuple[Number, str]:
    """Its number, or none and why; nothing of the version is loaded."""
    what = f"version {version} of {stores.name}, which was adopted,"
    if not there:
        mend = "register it again, point the champion alias at it and `lr-retune adopt` it with a reason"
        return (None, None), f"{what} is gone from the registry, and its files were nowhere else: {mend}"
    record = {"decision": {"id": champion.decision, "action": "adopt"}}
    try:
        found = stores.registry.register(stores.name, record, stores.models.get(champion.model))
    except IntegrityError as error:
        return (None, None), f"{what} cannot be taken over again: {error.what}"
    return found, f"{what} is marked as adopted again"


def _register(stores: Firsts, champion: Champion, place: int, numbers: Numbers) -> tuple[Number, str]:
    """Its number, or none and why; what a rebuild before a crash registered is found by its decision."""
    what = f"model {champion.model[:12]}, once version {champion.version}, cannot be registered again"
    if not stores.models.has(champion.model):
        gone = "`lr-retune prune` deleted its files" if champion.model in stores.pruned else "its files are gone"
        return (None, None), f"{what}: {gone}"
    try:
        files = stores.models.get(champion.model)
    except IntegrityError as error:
        return (None, None), f"{what}: {error.what}"
    record = dict(stores.judged(champion))
    if place and stores.moves[place].kind == "promote":
        before = stores.moves[place - 1]
        record["replaces"] = numbers.get(before.id, (stores.numbered(before).version, None))[0]
    found = stores.registry.register(stores.name, record, files)
    return found, f"model {champion.model[:12]} is registered again: version {found[0]}, was {champion.version}"


def _aliases(stores: Firsts, *, champion: bool) -> Iterator[str]:
    """Those that are gone; one that points somewhere was pointed there by somebody."""
    if stores.ledger.promotions(stores.name, "CLAIMED"):
        return  # the protocol sets them
    there = {shelved.version: shelved.digest for shelved in stores.registry.shelf(stores.name)}
    for role, wanted in _wanted(stores):
        if role == "champion" and not champion:
            continue
        ours = wanted.version is not None and there.get(wanted.version) == wanted.model
        if ours and stores.registry.alias(stores.name, role) is None:
            stores.registry.set_alias(stores.name, role, str(wanted.version))
            yield f"the alias {stores.registry.called(role)} points at version {wanted.version} again"


def _wanted(stores: Firsts) -> Iterator[tuple[str, Champion]]:
    """Alias → whom it shows, as the promotion protocol would have left it."""
    line = [stores.numbered(move) for move in stores.moves]
    promoted = [champion for champion, move in zip(line, stores.moves, strict=True) if move.kind == "promote"]
    before = [champion for champion in line if champion.model != line[-1].model]
    if promoted:
        yield "challenger", promoted[-1]
    if before:
        yield "previous", before[-1]
    yield "champion", line[-1]


# ── runs ──────────────────────────────────────────────────────────────────────────────────────────
def _runs(stores: Firsts) -> Iterator[str]:
    there, again = stores.registry.present(stores.name), 0
    for settlement in stores.unshown(there):
        stores.show_again(settlement)
        again += 1
    if again:
        pages = "pages attached to them (reports, drift) are in no ledger and stay lost"
        yield f"{again} judged decisions are shown again; {pages}"


def _monitor(stores: Firsts) -> Iterator[str]:
    """Every mature tick loss that a decision saw, once, as it was first seen."""
    seen: dict[str, TickLoss] = {}
    for entry in stores.ledger.entries(stores.name):
        for tick in entry.record["facts"]["ticks"] if entry.kind == "decision" else ():
            if tick["mature"] and tick["loss"] is not None:
                seen.setdefault(tick["start"], tick_from(tick))
    ticks, shown = [seen[start] for start in sorted(seen)], 0
    for at in range(0, len(ticks), SHOWN_AT_ONCE):
        shown += stores.registry.log_monitor(stores.name, ticks[at : at + SHOWN_AT_ONCE])
    if shown:
        yield f"{shown} tick losses are shown again"
