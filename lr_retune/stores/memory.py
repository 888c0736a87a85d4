"""A registry in memory, for replay and tests: what MLflow would show, as plain dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lr_retune.errors import DependencyError
from lr_retune.records import Files, TickLoss, files_digest
from lr_retune.stores.prune import Shelved, Shown


class MemoryRegistry:
    """Versions, aliases and runs of any number of models."""

    shows = False  # nobody looks: pages need not be made

    def __init__(self) -> None:
        self._versions: dict[str, list[tuple[str, dict[str, bytes]]]] = {}  # name → (decision, files), 1-based
        self._aliases: dict[tuple[str, str], str] = {}
        self.runs: dict[str, dict[str, Any]] = {}  # run id → what was logged
        self.monitors: dict[str, dict[str, float]] = {}  # name → tick start → loss

    def find(self, name: str, decision: str) -> str | None:
        decisions = [made_by for made_by, _ in self._versions.get(name, [])]
        return str(decisions.index(decision) + 1) if decision in decisions else None

    def register(self, name: str, record: Mapping[str, Any], files: Files) -> tuple[str, str | None]:
        decision = record["decision"]["id"]
        known = self._versions.setdefault(name, [])
        for number, (made_by, held) in enumerate(known):
            if made_by == decision and held == dict(files):
                return str(number + 1), _run(decision)
        known.append((decision, dict(files)))
        return str(len(known)), _run(decision)

    def called(self, alias: str) -> str:
        """In memory an alias is called what it is."""
        return alias

    def alias(self, name: str, alias: str) -> str | None:
        return self._aliases.get((name, alias))

    def set_alias(self, name: str, alias: str, version: str) -> None:
        if version not in self.versions(name):
            raise DependencyError(f"{name} has no version {version}")
        self._aliases[name, alias] = version

    def versions(self, name: str) -> list[str]:
        """Version numbers, oldest first."""
        return [str(number + 1) for number in range(len(self._versions.get(name, [])))]

    def download(self, name: str, version: str) -> dict[str, bytes]:
        """A version's model files; the caller checks their digest."""
        return dict(self._versions[name][int(version) - 1][1])

    def originals(self, name: str, version: str) -> dict[str, bytes]:
        """A version's files; nobody registers others in memory."""
        return self.download(name, version)

    def log_decision(
        self, name: str, record: Mapping[str, Any], trials: Sequence[Any], _attachments: Mapping[str, bytes | str]
    ) -> str:
        """Keep the outcome and the number of trials; curves and pages would only fill memory."""
        decision = record["decision"]["id"]
        run = _run(decision)
        self.runs[run] = {"name": name, "decision": decision, "outcome": record.get("outcome"), "trials": len(trials)}
        return run

    def attach(self, _name: str, _run: str | None, _attachments: Mapping[str, bytes | str], /) -> None:
        """Nobody looks."""

    def tell(self, _name: str, _rows: Sequence[Mapping[str, Any]], /) -> None:
        """Nobody looks."""

    def log_monitor(
        self,
        name: str,
        ticks: Sequence[TickLoss],
        _facts_extra: Mapping[str, float] | None = None,
        _attachments: Mapping[str, bytes | str] | None = None,
        /,
    ) -> int:
        """Keep tick losses that were not logged before; how many."""
        seen = self.monitors.setdefault(name, {})
        before = len(seen)
        for tick in ticks:
            if tick.loss is not None and tick.mature:
                seen.setdefault(tick.start.isoformat(), tick.loss)
        return len(seen) - before

    def shelf(self, name: str) -> list[Shelved]:
        """Every version with what would be lost with it."""
        aliased = {version for (model, _), version in self._aliases.items() if model == name}
        return [
            Shelved(str(number + 1), files_digest(files), _run(made_by), str(number + 1) in aliased, made_by)
            for number, (made_by, files) in enumerate(self._versions.get(name, []))
            if files
        ]

    def present(self, name: str) -> set[str]:
        """Decisions that a run shows."""
        return {told["decision"] for told in self.runs.values() if told["name"] == name}

    def shown(self, name: str) -> list[Shown]:
        """Every run of a decision."""
        return [Shown(run, told["decision"], 0) for run, told in self.runs.items() if told["name"] == name]

    def forget(self, name: str, versions: Sequence[str], runs: Sequence[str]) -> tuple[int, list[str]]:
        """Delete versions and runs; a version's number is never given again."""
        for version in versions:
            self._versions[name][int(version) - 1] = ("", {})
        for run in runs:
            self.runs.pop(run, None)
        return 0, []

    def sweep(self, _name: str, _final: Callable[[str], bool]) -> list[str]:
        """Nothing runs on in memory after a crash."""
        return []


def _run(decision: str) -> str:
    return f"run-{decision}"[:64]  # as long as a ledger on PostgreSQL takes
