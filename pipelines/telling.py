"""What Prefect is told about a look or a run: its events, and how the flow run ends.

An event carries figures, codes and the sentences of reasons: no rows, and no secrets, which are masked before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from prefect.events import emit_event
from prefect.states import Completed, Failed

from lr_retune.answers import clipped, printable
from lr_retune.records import TRAINING_ACTIONS, iso

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from lr_retune.errors import RetuneError
    from lr_retune.records import Report

DECISION, RETRAIN_DUE = "lr-retune.decision", "lr-retune.retrain-due"
NEWS = {  # outcome → event; a model that is kept is no news
    name: f"lr-retune.{name.replace('_', '-')}"
    for name in ("promoted", "rolled_back", "rejected", "inconclusive", "suggested", "awaiting_approval", "held")
}
TAG = "lr-retune"
WIDTH = 1_000  # of a state's message: a list of runs shows its beginning


def resource(model: str) -> str:
    """How events and triggers name a model."""
    return f"lr-retune.model.{model}"


# ── how a flow run ends ───────────────────────────────────────────────────────────────────────────
def ended(found: Report) -> State[Any]:
    """What an engineer sees in the list of runs: red only where somebody has to act.

    Failed when a fault of the feed or a question waits for a person, for a green run would be missed. States keep
    Prefect's names, because its events, and with them everybody's alerts, are called after them.
    """
    text = "; ".join(reason.text for reason in found.decision.reasons)
    message = _line(f"{outcome(found)}: {found.decision.action}, decision {found.decision.id[:12]}: {text}")
    return Failed(message=message) if outcome(found) == "held" else Completed(message=message)


def outcome(found: Report) -> str:
    """The report's outcome; after a look that asks for a retrain or a rollback, that this is due."""
    if found.result is not None or found.outcome != "held":
        return found.outcome
    if found.decision.action == "rollback":
        return "rollback-due"
    return "retrain-due" if found.decision.action in TRAINING_ACTIONS else found.outcome


def failed(error: RetuneError) -> State[Any]:
    """What went wrong, why, and what to do."""
    return Failed(message=_line(f"{type(error).__name__}: {error}"))


def _line(text: str) -> str:
    return clipped(printable(text), WIDTH)


# ── events ────────────────────────────────────────────────────────────────────────────────────────
def emit(event: str, found: Report, reference: str) -> None:
    """Tell the world about a decision; whoever listens finds the run to start in the payload."""
    name, decision = found.champion.name, found.decision.id
    emit_event(
        event,
        resource={"prefect.resource.id": resource(name), "prefect.resource.name": name},
        related=[
            {
                "prefect.resource.id": f"lr-retune.decision.{decision}",
                "prefect.resource.role": "decision",
                "prefect.resource.name": f"{iso(found.facts.as_of)[:10]} {outcome(found)}",
            }
        ],
        payload=dict(payload(found, reference)),
    )


def payload(found: Report, reference: str) -> Iterator[tuple[str, Any]]:
    """Small facts of a decision: what was decided, what came of it, and where a challenger was judged, how."""
    yield "model", found.champion.name
    yield "decision", found.decision.id
    yield "action", found.decision.action
    yield "outcome", outcome(found)
    yield "as_of", iso(found.facts.as_of)
    yield "config", reference
    yield "reasons", [{"code": r.code, "text": _line(r.text)} for r in found.decision.reasons]
    yield "champion", {"version": found.champion.version, "learning_rate": found.champion.learning_rate}
    judged, tried = found.judgement, None if found.result is None else found.result.challenger
    if judged is None or tried is None:
        return
    compared = next((v for v in judged.verdicts if v.effect is not None), None)
    yield "challenger", {"learning_rate": tried.learning_rate, "steps": tried.steps}
    yield "losses", dict(judged.losses)
    yield "gain", None if compared is None else {k: getattr(compared, k) for k in ("effect", "low", "high")}
    yield "verdicts", [{"gate": v.gate, "code": v.code, "status": v.status} for v in judged.verdicts]
