"""Whether ledger, registry and a pinned tail say the same: what `audit verify` answers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lr_retune.errors import ConfigError, DependencyError, HeldError, IntegrityError

if TYPE_CHECKING:
    from lr_retune.stores.ledger import Entry
    from lr_retune.stores.promotion import Stores

_PIN = re.compile(r"(\d{1,9}):([0-9a-f]{8,64})")


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found."""

    problems: tuple[str, ...]
    entries: int
    tail: str | None  # "SEQ:DIGEST" of the newest entry: kept elsewhere, it proves later that nothing was cut off
    registry: Literal["not asked", "agrees", "differs", "away"] = "not asked"
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """6 for a contradiction, 4 for a registry that was asked and did not answer."""
        if self.problems:
            return IntegrityError.exit_code
        return DependencyError.exit_code if self.registry == "away" else 0


def audit(stores: Stores, expect: str | None = None, *, registry: bool = False) -> Audit:
    """Verify the ledger, hold it against a pinned entry, and the registry against it where that is asked.

    Parameters
    ----------
    expect
        ``SEQ:DIGEST`` as an earlier audit printed it; the first eight letters of the digest do.
    registry
        Ask the registry too; else the ledger alone answers, without MLflow.

    Raises
    ------
    ConfigError
        If ``expect`` is no such text.
    """
    entries = stores.ledger.entries(stores.name)
    problems = [*stores.ledger.verify(stores.name), *(pinned(stores.name, entries, expect) if expect else ())]
    tail = f"{entries[-1].seq}:{entries[-1].digest}" if entries else None
    if not registry:
        return Audit(tuple(problems), len(entries), tail)
    try:
        differs = list(contradictions(stores))
    except DependencyError as error:
        return Audit(tuple(problems), len(entries), tail, "away", (f"not held against the registry: {error}",))
    return Audit((*problems, *differs), len(entries), tail, "differs" if differs else "agrees")


def pinned(model: str, entries: list[Entry], expect: str) -> Iterator[str]:
    """Whether the entry that somebody noted elsewhere still stands: a cut tail leaves no other trace."""
    if (told := _PIN.fullmatch(expect)) is None:
        raise ConfigError(
            f"--expect {expect[:80]!r} is no SEQ:DIGEST", fix="write what `lr-retune audit verify` printed as the tail"
        )
    seq, digest = int(told[1]), told[2]
    found = next((entry.digest for entry in entries if entry.seq == seq), None)
    if found is None:
        yield f"entry {seq} of {model} was pinned, the ledger ends at {len(entries)}: its tail was cut off"
    elif not found.startswith(digest):
        yield f"entry {seq} of {model} was pinned as {digest[:12]}, it is {found[:12]}: the ledger was written anew"


def contradictions(stores: Stores) -> Iterator[str]:
    """What the registry says of this model's champions otherwise than the ledger."""
    if not stores.moves:
        return
    shelf = {shelved.version: shelved for shelved in stores.registry.shelf(stores.name)}
    said: set[str] = set()
    for champion in map(stores.numbered, reversed(stores.moves)):  # a version shows whom it stood for last
        version = str(champion.version)
        ours = stores.made(champion) or stores.taken_over(champion)
        if version in said or not ours or champion.model in stores.pruned:
            continue
        said.add(version)
        held, about = shelf.get(version), f"version {version} of {stores.name}"
        if held is None:
            yield f"{about} is gone from the registry"
        elif (held.digest, held.decision) != (champion.model, champion.decision):
            told = f"decision {str(held.decision)[:12]} and digest {str(held.digest)[:12]}"
            wanted = f"{champion.decision[:12]} and {champion.model[:12]}"
            yield f"{about} carries {told} in the registry, the ledger says {wanted}"
    yield from _champion(stores, {version: shelved.digest for version, shelved in shelf.items()})


def _champion(stores: Stores, there: Mapping[str | None, str | None]) -> Iterator[str]:
    head = stores.ledger.head(stores.name)
    if (moved := stores.registry_alias_moved()) is not None:
        alias = stores.registry.called("champion")
        yield f"the registry's alias {alias} points at {moved}, the ledger says version {head.version}"
    champion = stores.numbered(stores.moves[-1])
    # without its marks nobody knows where the folder of an adopted version lies: that is told above
    known = stores.made(champion) or (stores.taken_over(champion) and there.get(head.version) == champion.model)
    if known and head.version in there:
        try:
            stores.verify_files(champion.model, head.version)
        except (IntegrityError, HeldError) as error:
            yield str(error)
