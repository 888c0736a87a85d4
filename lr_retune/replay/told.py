"""What a replay says, for scripts and for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lr_retune.answers import table
from lr_retune.records import iso
from lr_retune.replay.lived import Lived
from lr_retune.replay.table import Row, Table, notes


def fields(found: Table) -> dict[str, Any]:
    """The contract's words."""
    oracle = None if found.oracle is None else asdict(found.oracle)
    policies = [asdict(row) for row in found.policies]
    told = {"policies": policies, "ticks": found.ticks, "rows": found.rows, "days": found.days}
    paces = {"every": found.every, "train_every": found.train_every}
    return told | paces | {"oracle": oracle, "advice": found.advice}


def lines(found: Table) -> list[str]:
    """One line per policy, the prices at which each is best, and the advice."""
    head = (
        *("policy", "loss", "excess %", "retrains", "promotions", "rollbacks", "holds", "errors", "work"),
        *("oracle +%", "dominated by", "actions"),
    )
    body = table(head, [_cells(row) for row in found.policies])
    prices = [f"  {row.name} costs least {_range(row)}" for row in found.policies if row.best is not None]
    return [*body, *notes(found), *prices, *filter(None, [found.advice])]


def _cells(row: Row) -> tuple[Any, ...]:
    counts = (row.retrains, row.promotions, row.rollbacks, row.holds, sum(row.errors.values()))
    oracle = "–" if row.oracle_pct is None else f"{row.oracle_pct:.1f}"
    work = f"{row.refits_worth:.1f}"
    return (row.name, row.loss, row.excess_pct, *counts, work, oracle, row.dominated_by or "", _counted(row.actions))


def _range(row: Row) -> str:
    assert row.best is not None  # asked only then
    high = "" if row.best.high is None else f" and at most {row.best.high:,.3g}"
    return f"where a refit costs at least {row.best.low:,.3g}{high} {row.best.unit}"


def _counted(actions: Mapping[str, int]) -> str:
    return " ".join(f"{action} {count}" for action, count in actions.items())


def lived(found: Lived) -> dict[str, Any]:
    """How much of a ledger came out again."""
    different = [{"kind": kind, "key": key, "as_of": iso(time)} for kind, key, time in found.different]
    return {"ok": not different, "entries": found.entries, "equal": found.equal, "different": different}


def lines_of_lived(found: Lived) -> list[str]:
    """The count, and the first that differ: what follows one may differ for its sake alone."""
    said = [f"{found.equal} of {found.entries} entries that runs filed come out again, byte for byte"]
    if not found.different:
        return said
    why = "rows, configuration, libraries or code are not what they were, or a person took part"
    first = [f"  {kind} {key[:12]} of {iso(time)} differs" for kind, key, time in found.different[:5]]
    return [*said, *first, f"  {why}"]
