"""What Prefect is told about a look or a run: events, artifacts and how the flow run ends.

Names of columns and categories come from the feed: nothing of them is markup here. Secrets are gone before.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.events import emit_event
from prefect.states import Completed, Failed

from lr_retune.answers import clipped, printable, short
from lr_retune.records import TRAINING_ACTIONS, iso

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

    from lr_retune.config import Config
    from lr_retune.errors import RetuneError
    from lr_retune.records import Report

DECISION, RETRAIN_DUE = "lr-retune.decision", "lr-retune.retrain-due"
TAG = "lr-retune"
WIDTH = 1_000  # of a state's message: a list of runs shows its beginning
_ACTIVE = string.punctuation.translate({ord(c): None for c in ",;%()+-'"})  # links, too, need one of these


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
    reasons = [{"code": r.code, "text": _line(r.text)} for r in found.decision.reasons]
    emit_event(
        event,
        resource={"prefect.resource.id": resource(found.champion.name), "prefect.resource.name": found.champion.name},
        payload={
            "model": found.champion.name,
            "decision": found.decision.id,
            "action": found.decision.action,
            "outcome": outcome(found),
            "as_of": iso(found.facts.as_of),
            "config": reference,
            "reasons": reasons,
        },
    )


# ── artifacts ─────────────────────────────────────────────────────────────────────────────────────
def show(config: Config, found: Report) -> None:
    """A page to read, the ticks or trials behind it, and the way to MLflow."""
    key = _key(found.champion.name)
    page = "\n".join(summary(found))
    create_markdown_artifact(page, key=f"{key}-decision", description=f"Decision for {_cell(found.champion.name)}")
    if found.result is None:
        create_table_artifact(_ticks(found), key=f"{key}-ticks", description="The champion's loss per tick")
    else:
        create_table_artifact(_trials(found), key=f"{key}-trials", description="Learning rates that were tried")
    if found.run_id is not None and (link := _run(config.tracking_uri(), found.run_id)) is not None:
        create_link_artifact(link, link_text="MLflow run", key=f"{key}-mlflow", description="The run in MLflow")


def summary(found: Report) -> Iterator[str]:
    """The decision as a page of Markdown."""
    yield f"## {_cell(found.champion.name)}: {_cell(outcome(found))}"
    yield ""
    yield f"**{found.decision.action}** at {_cell(iso(found.facts.as_of))} (decision `{found.decision.id[:12]}`)"
    yield ""
    yield from (f"- {_cell(reason.text)}" for reason in found.decision.reasons)
    told = " ".join(reason.text for reason in found.decision.reasons)
    yield from (f"- fault {_cell(f.code)}: {_cell(f.what)}" for f in found.facts.faults if f.what not in told)
    yield ""
    yield from _table(("", "learning rate", "steps", "holdout loss"), _arms(found))
    if found.judgement is not None:
        yield ""
        rows = [(v.gate, v.status, v.reason) for v in found.judgement.verdicts]
        yield from _table(("gate", "verdict", "reason"), rows)
    if found.facts.drift:
        yield ""
        drifted = [d.column for d in found.facts.drift if d.drifted]
        yield f"Drifted: {', '.join(_cell(name) for name in drifted) or 'nothing'}."


def _arms(found: Report) -> Iterator[tuple[Any, ...]]:
    champion, judged = found.champion, found.judgement
    if found.result is None or judged is None:
        yield f"champion, version {champion.version}", champion.learning_rate, champion.steps, champion.promised
        return
    for role in ("challenger", "control", "fixed"):
        if (arm := getattr(found.result, role)) is not None:
            yield role, arm.learning_rate, arm.steps, judged.losses.get(role)
    if found.outcome == "promoted":
        yield "champion before", None, None, judged.losses.get("champion")
        yield f"champion now, version {champion.version}", champion.learning_rate, champion.steps, champion.promised
    else:  # its promise was made on another holdout
        beaten = judged.losses.get("champion")
        yield f"champion (stays), version {champion.version}", champion.learning_rate, champion.steps, beaten


def _ticks(found: Report) -> list[dict[str, Any]]:
    return [
        {"tick": iso(t.start), "rows": t.rows, "labelled": t.matured, "loss": short(t.loss), "complete": t.mature}
        for t in found.facts.ticks
    ]


def _trials(found: Report) -> list[dict[str, Any]]:
    assert found.result is not None
    return [
        {
            "trial": t.number,
            "role": t.role,
            "learning rate": short(t.learning_rate),
            found.result.step_unit: t.steps,
            "valid loss": short(t.loss),
            "state": t.state,
        }
        for t in found.result.trials
    ]


def _table(head: Sequence[str], rows: Any) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(_cell(short(c) if isinstance(c, float) else c) for c in row) + " |"


def _cell(value: Any) -> str:
    """A line in which Markdown finds nothing to act on: Prefect's pages show character references as they stand."""
    line = printable(str("–" if value is None else value))
    return "".join(f"\\{c}" if c in _ACTIVE else c for c in line)


def _key(model: str) -> str:
    """An artifact key: Prefect takes lower case, digits and dashes; what that merges, a digest keeps apart."""
    plain = re.sub("[^a-z0-9]+", "-", model.lower()).strip("-")
    return plain if plain == model else f"{plain}-{hashlib.sha256(model.encode()).hexdigest()[:6]}"


def _run(tracking: str, run: str) -> str | None:
    """Where a browser finds a run; nothing for a database, and no password."""
    place = urlsplit(tracking)
    if place.scheme not in ("http", "https"):
        return None
    server = urlunsplit((place.scheme, place.netloc.rpartition("@")[2], place.path.rstrip("/") + "/", "", ""))
    return f"{server}#/runs/{run}"
