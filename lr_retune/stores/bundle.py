"""What a model folder holds beside the native files, and how to read it back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from lr_retune import encoding
from lr_retune.errors import IntegrityError
from lr_retune.records import Candidate, Champion, Column, Contract, Files, Plan, Span, TickLoss, TuneResult, canonical

CONTRACT, META, GOLDEN, ENCODING = "contract.json", "meta.json", "golden.json", "encoding.py"
JUDGED = "judged."  # before the names of the model that was judged, where its recipe was fitted once more to serve


def pack(native: Files, contract: Contract, meta: Mapping[str, Any], golden: Mapping[str, Any]) -> dict[str, bytes]:
    """A complete model folder.

    Parameters
    ----------
    native
        The family's own files.
    contract
        Columns, order and category levels.
    meta
        ``{"family": …, "learning_rate": …, "task": …}``.
    golden
        ``{"columns": {name: raw values}, "scores": [...]}``: what any later load must reproduce.
    """
    return {
        **native,
        CONTRACT: canonical(contract).encode(),
        META: canonical(meta).encode(),
        GOLDEN: canonical(golden).encode(),
        ENCODING: Path(encoding.__file__).read_bytes(),
    }


def native(files: Files) -> dict[str, bytes]:
    """The family's own files, of the model that serves."""
    ours = (CONTRACT, META, GOLDEN, ENCODING)
    return {name: data for name, data in files.items() if name not in ours and not name.startswith(JUDGED)}


def kept(judged: Files) -> dict[str, bytes]:
    """A judged model's own files, as the folder of its refit keeps them."""
    return {JUDGED + name: data for name, data in native(judged).items()}


def judged(files: Files) -> dict[str, bytes]:
    """The folder of the model that was judged, which never saw the holdout; the same one where it serves itself."""
    found = {name.removeprefix(JUDGED): data for name, data in files.items() if name.startswith(JUDGED)}
    rest = {name: data for name, data in files.items() if name in (CONTRACT, META, GOLDEN, ENCODING)}
    return {**rest, **found} if found else dict(files)


def unpack_meta(files: Files) -> dict[str, Any]:
    """The model's own words on itself."""
    return _json(files, META)


def adopted(files: Files) -> dict[str, Any] | None:
    """Which registered version a folder stands for, and the sha256 of each of its files; None: it is our own."""
    return unpack_meta(files).get("adopted") if META in files else None


def untouched(originals: Files, told: Mapping[str, Any], where: str) -> None:
    """Hold a registered version's files against what was recorded when it was adopted.

    Raises
    ------
    IntegrityError
        If one of them was changed, added or lost.
    """
    found = {name: hashlib.sha256(data).hexdigest() for name, data in originals.items()}
    wanted = told["files"]
    if odd := sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)):
        raise IntegrityError(
            f"{where} holds other files than when it was adopted: {', '.join(odd)[:200]}",
            why="a file was changed, added or lost; nothing of it was loaded",
            fix="restore the registered files, or choose another version",
        )


def unpack_golden(files: Files) -> dict[str, Any]:
    """Raw rows and the scores they had when the model was made."""
    return _json(files, GOLDEN)


def unpack_contract(files: Files) -> Contract:
    """The contract the model was trained under."""
    return contract_from(_json(files, CONTRACT))


def contract_from(value: Mapping[str, Any]) -> Contract:
    """A contract from its plain form."""
    columns = tuple(Column(**{**column, "levels": tuple(column["levels"])}) for column in value["columns"])
    more = (value.get(name) for name in ("transform", "accepted", "score"))
    return Contract(value["version"], columns, value["rows"], *more)


def span_from(value: Mapping[str, str]) -> Span:
    """A span from its plain form."""
    return Span(datetime.fromisoformat(value["start"]), datetime.fromisoformat(value["end"]))


def tick_from(value: Mapping[str, Any]) -> TickLoss:
    """A tick's loss from its plain form."""
    times = {name: datetime.fromisoformat(value[name]) for name in ("start", "end")}
    return TickLoss(**{**value, **times})


def champion_from(value: Mapping[str, Any], version: str | None = None, run_id: str | None = None) -> Champion:
    """A champion from its plain form; registry numbers stand outside it."""
    revived = {
        **value,
        "contract": contract_from(value["contract"]),
        "reference": span_from(value["reference"]),
        "promised_ticks": tuple(value["promised_ticks"]),
    }
    return Champion(**revived, version=version, run_id=run_id)


def plan_from(value: Mapping[str, Any]) -> Plan:
    """A plan from its plain form."""
    as_of, horizon = (datetime.fromisoformat(value[name]) for name in ("as_of", "horizon"))
    train, valid, holdout = (span_from(value[name]) for name in ("train", "valid", "holdout"))
    contract = contract_from(value["contract"])
    since, cut = (value.get(name) and datetime.fromisoformat(value[name]) for name in ("since", "cut"))
    return Plan(as_of, horizon, train, valid, holdout, contract, value["rows"], value["digest"], since, cut)


def result_from(value: Mapping[str, Any]) -> TuneResult:
    """What may be judged again, from its plain form: the saved models, without the search that led to them."""
    return TuneResult(
        family=value["family"],
        strategy=value["strategy"],
        step_unit=value["step_unit"],
        challenger=_candidate(value["challenger"]),
        control=_candidate(value["control"]),
        fixed=_candidate(value["fixed"]),
        trials=(),
        same_rate=value.get("same_rate", False),
        lead=value.get("lead"),
    )


def _candidate(value: Mapping[str, Any] | None) -> Candidate | None:
    return None if value is None else Candidate(**value)


def _json(files: Files, name: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(files[name])
    except (KeyError, ValueError) as error:
        raise IntegrityError(f"the model folder has no readable {name}", why=str(error)) from error
    return found
