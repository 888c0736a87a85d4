"""What the ledger holds of one model: its entries, and the keys they stand under."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lr_retune.config import Config
from lr_retune.errors import IntegrityError
from lr_retune.records import Champion, Looked, Plan, content_digest
from lr_retune.stores.chronicle import Chronicle, Frozen, Move, Pause, Pruned, Said, Settlement
from lr_retune.stores.journal import Journal
from lr_retune.stores.keys import BORN, run_key
from lr_retune.stores.ledger import Entry, Ledger
from lr_retune.stores.models import Models
from lr_retune.stores.moves import Board, Mover

LIBRARIES = ("numpy", "lightgbm", "scikit-learn", "skops")


class Filed:
    """One model's ledger, registry and model files; what it can do is told chapter by chapter, up to `Stores`.

    Parameters
    ----------
    ledger, registry, models
        The authority, what shows it, and where model files lie.
    config
        Its name, seed and digest go into keys and records.
    journal
        The file in which the newest search keeps its finished trials; None: nowhere.
    """

    def __init__(
        self, ledger: Ledger, registry: Board, models: Models, config: Config, journal: Path | None = None
    ) -> None:
        self.ledger, self.registry, self.models, self.config = ledger, registry, models, config
        self._journal = journal
        self.name = config.name
        self._mover = Mover(self.name, ledger, registry, models)
        self._chronicle = Chronicle(ledger, self.name)

    whole = False  # searches train what only tells where a gain came from, though nobody looks

    @property
    def shows(self) -> bool:
        """Whether anybody looks at what is shown: pages are made only then."""
        return self.registry.shows

    @property
    def moves(self) -> Sequence[Move]:
        """Every change of the champion, oldest first."""
        return self._chronicle.moves

    @property
    def settlements(self) -> Sequence[Settlement]:
        """Every judged challenger, oldest first."""
        return self._chronicle.settlements

    @property
    def pause(self) -> Pause | None:
        """The newest pause that was not taken back, over or not."""
        return self._chronicle.pause

    @property
    def frozen(self) -> Mapping[str, Frozen]:
        """Digests that were rolled back and that nobody has lifted since."""
        return self._chronicle.frozen

    @property
    def pruned(self) -> Mapping[str, Pruned]:
        """Digests whose files were deleted by `lr-retune prune`."""
        return self._chronicle.pruned

    @property
    def said(self) -> Mapping[str, Said]:
        """Settlement key → what a person answered about it."""
        return self._chronicle.said

    def knows(self, decision: str) -> bool:
        """Whether a decision was judged before."""
        return self._chronicle.settlement_of(decision) is not None

    def looks(self, key: str) -> Sequence[Looked]:
        """Looks at holdouts that were filed before the settlement of ``key``, oldest first."""
        return self._chronicle.looks(key)

    def settlement(self, decision: str) -> Entry | None:
        """The ledger's entry on a decision's judged challenger; None for a first champion, which beat nobody."""
        found = self._chronicle.settlement_of(decision)
        return None if found is None or found.status == BORN else self._entry(found)

    def settled(self, decision: str) -> Entry | None:
        """The ledger's entry on whoever a decision judged, a first champion among them."""
        found = self._chronicle.settlement_of(decision)
        return None if found is None else self._entry(found)

    def run_of(self, decision: str) -> str | None:
        """The registry's run that shows a judged challenger."""
        found = self._chronicle.settlement_of(decision)
        return None if found is None else self.ledger.projected(self.name).get(found.key, ("", None))[1]

    def key(self, champion: Champion, plan: Plan, action: str) -> str:
        """What makes two runs the same run: whatever decides their bytes."""
        return run_key(
            model=self.name,
            action=action,
            champion=champion.model,
            epoch=champion.epoch,
            plan=plan.digest,
            config=self.config.digest,
            seed=self.config.seed,
            environment=environment(),
        )

    def journal(self, *depends: Any) -> Journal:
        """Finished trials of the newest search, if it is the one that ``depends`` tells."""
        key = content_digest([self.config.digest, environment(), *depends])
        return Journal(self._journal, key)

    def unbeaten(self, entry: Entry) -> bool:
        """Whether the champion that a settled challenger met is champion still."""
        head, beaten = self.ledger.head(self.name), entry.record["champion"]
        return (head.head, head.epoch) == (beaten["model"], beaten["epoch"])

    def _settlement(self, key: str) -> Settlement:
        return next(s for s in self._chronicle.settlements if s.key == key)

    def _entry(self, settlement: Settlement) -> Entry:
        entry = self.ledger.entry(self.name, "settlement", settlement.key)
        if entry is None:
            raise IntegrityError(
                f"settlement {settlement.key[:12]} has gone from the ledger", fix="run `lr-retune audit verify`"
            )
        return entry


def environment() -> dict[str, str]:
    """Versions that decide a model's bytes; read from metadata, nothing is imported."""
    return {"python": platform.python_version(), **{name: _version(name) for name in LIBRARIES}}


@cache  # reading it takes longer than most of what it is asked for, and it cannot change under a process that runs
def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"
