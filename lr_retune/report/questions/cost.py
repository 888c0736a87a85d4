"""What it cost: counted work, the same on every machine, and what serving costs now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lr_retune.report.blocks import Block, Case, Cell, Section, Table, amount, cells, several, short, table

NAMES = {
    "search": "candidates of the search",
    "control": "the old rate on fresh data",
    "fixed": "the default rate of the family",
    "repeats": "repeats by other seeds",
    "apart": "seeds that tell what the rate brought",
    "old_rows": "the new rate on the champion's rows",
    "again": "fits that had to be done once more",
    "refit": "the refit on all rows that serves",
}


def section(case: Case) -> Section:
    """Fits, steps, rows times steps."""
    return Section("cost", "What did it cost?", _answer(case), tuple(_blocks(case)))


def _total(case: Case) -> dict[str, int]:
    columns = list((case.result or {}).get("cost", {}).values())
    return {name: sum(c[name] for c in columns) for name in ("fits", "steps", "row_steps")}


def _answer(case: Case) -> str:
    probe = (case.facts or {}).get("probe")
    if case.result is None:
        if probe:
            return f"A probe of {several(probe['cost']['fits'], 'small fit')}, {probe['cost']['steps']:,} steps in all."
        return "Nothing was trained." if case.facts is None else "One look at the data; nothing was trained."
    all_, unit = _total(case), case.result["step_unit"].removesuffix("s")
    refits = (case.result["cost"].get("refit") or {}).get("fits", 0)
    of = f" ({all_['fits'] - refits} to choose and judge, {refits} to serve)" if refits else ""
    return f"{several(all_['fits'], 'fit')}{of}, {several(all_['steps'], unit)} in all.{_served(case)}"


def _served(case: Case) -> str:
    won, before = (case.result or {}).get("challenger"), case.before or {}
    if won is None or not before.get("steps"):
        return ""
    unit = (case.result or {})["step_unit"].removesuffix("s")
    told, refit = several(won["steps"], unit), (case.result or {}).get("refit")
    if not refit:
        return f" The challenger serves {told}, the champion {before['steps']:,}."
    more = ", as its steps grow with the rows" if refit["steps"] != won["steps"] else ""
    return (
        f" The challenger was judged with {told}; its refit on all rows serves {refit['steps']:,}{more}. "
        f"The champion serves {before['steps']:,}."
    )


def _blocks(case: Case) -> Iterator[Block]:
    if case.result is None:
        return
    unit, all_ = case.result["step_unit"], _total(case)
    rows: list[tuple[Any, ...]] = [
        (NAMES.get(name, name), amount(c["fits"]), amount(c["steps"]), amount(c["row_steps"]))
        for name, c in sorted(case.result["cost"].items())
        if c["fits"] or c["steps"]
    ]
    rows.append(("all", amount(all_["fits"]), amount(all_["steps"]), amount(all_["row_steps"])))
    yield table("Counted work of training", ("for", "fits", unit, f"rows × {unit}"), rows, id="cost")
    yield _serving(case, unit)


def _serving(case: Case, unit: str) -> Table:
    result = case.result or {}
    named = {
        "challenger": "challenger",
        "refit": "its refit, to serve",
        "control": "old rate, fresh data",
        "fixed": "default rate",
    }
    arms = [(name, result[arm]) for arm, name in named.items() if result.get(arm)]
    met = [("champion", case.before)] if case.before else []
    rows = [cells(name, amount(arm.get("steps")), _size(arm.get("size"))) for name, arm in [*met, *arms]]
    return table("Work of serving one row", ("model", unit, "size of its file"), rows, id="serving")


def _size(size: int | None) -> Cell:
    return Cell("–") if size is None else Cell(f"{short(size / 1000, 4)} kB", size)
