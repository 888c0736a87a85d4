"""Model files of champions, checked before anything reads them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lr_retune.errors import ConfigError, DependencyError, HeldError, IntegrityError
from lr_retune.records import Champion, Files
from lr_retune.stores.ledger import Head
from lr_retune.stores.models import checked
from lr_retune.stores.shown import Shown


class Sound(Shown):
    """Whose files are what was judged, and may serve."""

    def files(self, champion: Champion) -> dict[str, bytes]:
        """The champion's model folder, checked against the ledger's digest before anything loads it."""
        self._refuse_pruned(champion.model)
        return self._mover.files(champion.model)

    def verify_files(self, digest: str, version: str | None = None) -> None:
        """Check the model files of a digest, and the registry's copy of a version against it.

        Raises
        ------
        IntegrityError
            If one of them is not what was judged.
        """
        files = self._mover.files(digest)
        if version is not None:
            self._mover.untouched(files, version)
            checked(self.registry.download(self.name, version), digest, f"version {version} of {self.name}")

    def earlier(self) -> list[Champion]:
        """Champions that a rollback may go back to, newest first."""
        return self._earlier(self.ledger.head(self.name), None)

    def _earlier(self, head: Head, to: str | None) -> list[Champion]:
        past = [self.numbered(move) for move in self._chronicle.moves[::-1]]
        if to is not None:
            found = [c for c in past if c.version == to][:1]
            if not found:
                there = ", ".join(sorted({str(c.version) for c in past}))
                fix = "choose one of these with --to"
                raise ConfigError(f"version {to} was never champion", why=f"champions were: {there}", fix=fix)
            self._refuse_frozen(found[0].model)
            return found
        out = {head.head, *self._chronicle.frozen}
        return [c for c in past if c.model not in out]

    def _sound(self, candidates: Sequence[Champion], reproduces: Callable[[Files], bool], *, strict: bool) -> Champion:
        faults: list[str] = []
        for candidate in candidates:
            try:
                files = self.files(candidate)
                self._mover.untouched(files, candidate.version)
                if reproduces(files):
                    return candidate
                faults.append(f"version {candidate.version} does not reproduce its golden predictions")
            except (IntegrityError, DependencyError, HeldError) as error:
                if strict:
                    raise
                faults.append(str(error))
        if strict and faults:
            raise IntegrityError(faults[0], why="it would not serve what was judged", fix="choose another version")
        raise HeldError(
            f"{self.name} has no earlier champion to go back to",
            why="; ".join(faults) or "none was in production before, or all were rolled back and are frozen",
            fix="name a version with --to: `lr-retune history` tells which decision made which",
        )

    def _refuse_frozen(self, digest: str) -> None:
        if (held := self._chronicle.frozen.get(digest)) is None:
            return
        raise HeldError(
            f"model {digest[:12]} was rolled back by {held.by or 'somebody'} as of {held.as_of.isoformat()}",
            why=f"{held.why or 'no reason was given'}; it is frozen until a person lifts it",
            fix=f"`lr-retune lift {digest[:12]} --reason …`, if it may be champion again",
        )

    def _refuse_pruned(self, digest: str) -> None:
        gone = self._chronicle.pruned.get(digest)
        if gone is None or self.models.has(digest):
            return
        raise HeldError(
            f"the files of model {digest[:12]} were deleted by `lr-retune prune` as of {gone.as_of.isoformat()}",
            why=f"{gone.by or 'somebody'} asked for it; the ledger keeps what it was, and its files are nowhere",
            fix="choose a younger version from `lr-retune history`, or restore its folder from a backup",
        )
