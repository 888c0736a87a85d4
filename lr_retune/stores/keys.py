"""What makes two runs the same run: keys of settlements, computed when they are filed and again when verified."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lr_retune.records import content_digest

BORN = "BORN"  # status of a first champion: there was nobody to beat


def run_key(
    *, model: str, action: str, champion: str, epoch: int, plan: str, config: str, seed: int, environment: Any
) -> str:
    """Of a judged challenger: whatever decides the run's bytes."""
    return content_digest(
        {
            "model": model,
            "action": action,
            "champion": champion,
            "epoch": epoch,
            "plan": plan,
            "config": config,
            "seed": seed,
            "environment": environment,
        }
    )


def birth_key(model: str, candidate: str, epoch: int) -> str:
    """Of a first champion; ``epoch`` before it."""
    return content_digest({"kind": "bootstrap", "model": model, "candidate": candidate, "epoch": epoch})


def key_of(model: str, record: Mapping[str, Any]) -> str:
    """The key that a settlement's own record gives."""
    if record["status"] == BORN:
        return birth_key(model, record["next"]["model"], record["next"]["epoch"] - 1)
    return run_key(
        model=model,
        action=record["decision"]["action"],
        champion=record["champion"]["model"],
        epoch=record["champion"]["epoch"],
        plan=record["plan"]["digest"],
        config=record["config"],
        seed=record["seed"],
        environment=record["environment"],
    )
