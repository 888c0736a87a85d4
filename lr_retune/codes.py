"""What every code means that a script or a person may meet."""

from __future__ import annotations


def meaning(code: str) -> str | None:
    """The explanation of a reason, rule or fault code; None for anything else."""
    from lr_retune.data.contract import FAULTS
    from lr_retune.judge.gates import RULES
    from lr_retune.stores.gate import GATE_RULES
    from lr_retune.watch.policy import REASONS

    for known in (REASONS, RULES, GATE_RULES, FAULTS):
        if code in known:
            return known[code]
    return None
