"""What Prefect shows of a look or a run: the decision's page in Markdown, its tables, and the ways to more.

Names of columns and categories come from the feed: nothing of them is markup here. Secrets are masked before.
"""

from __future__ import annotations

import hashlib
import re
import string
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from lr_retune.answers import printable, short
from lr_retune.records import NOT_ASKED, iso
from lr_retune.report.markdown import decision_markdown
from lr_retune.review import case_of
from lr_retune.stores.pages import path_of
from pipelines.telling import outcome

if TYPE_CHECKING:
    from lr_retune.config import Config
    from lr_retune.records import Report
    from lr_retune.report.blocks import Case
    from lr_retune.stores.promotion import Stores
    from pipelines.masks import Secrets

_ACTIVE = string.punctuation.translate({ord(c): None for c in ",;%()+-'"})  # links, too, need one of these


def show(config: Config, stores: Stores, found: Report, secrets: Secrets) -> None:
    """The eight answers, every gate's verdict, the ticks or trials behind them, and the run in MLflow."""
    key, model = _key(found.champion.name), _cell(found.champion.name)
    page = summary(clean(case_of(config, stores, found.decision.id), secrets), outcome(found))
    where = path_of(config, found.decision.id, found.facts.as_of)
    page += f"\nWith pictures, on the worker: `{secrets.masked(str(where))}`\n"
    create_markdown_artifact(page, key=f"{key}-decision", description=f"{model}: decision, why, and how to undo it")
    if found.judgement is not None:
        create_table_artifact(_verdicts(found), key=f"{key}-verdicts", description=f"{model}: what every gate answered")
    if found.result is None:
        create_table_artifact(_ticks(found), key=f"{key}-ticks", description=f"{model}: the champion's loss per tick")
    else:
        create_table_artifact(_trials(found), key=f"{key}-trials", description=f"{model}: learning rates tried")
    if found.run_id is not None and (link := _run(config.tracking_uri(), found.run_id)) is not None:
        told = "Its artifact decision.html is the page with pictures"
        create_link_artifact(link, link_text=f"{found.champion.name} in MLflow", key=f"{key}-mlflow", description=told)


def summary(case: Case, outcome: str = "") -> str:
    """The decision's page as Markdown."""
    return decision_markdown(case, _cell, outcome)


def clean(case: Case, secrets: Secrets) -> Case:
    """A case whose texts are without secrets, and without raw rows."""
    kept = {f.name: secrets.anywhere(getattr(case, f.name)) for f in fields(case)}
    return replace(case, **{**kept, "golden": None})


def _verdicts(found: Report) -> list[dict[str, Any]]:
    assert found.judgement is not None
    asked = sorted(found.judgement.verdicts, key=lambda v: (v.status == "PASS", v.code == NOT_ASKED))
    return [
        {
            "gate": v.gate,
            "code": v.code,
            "answer": "not asked" if v.code == NOT_ASKED else v.status,
            "gain": _percent(v.effect),
            "from": _percent(v.low),
            "to": _percent(v.high),
            "why": printable(v.reason),
        }
        for v in asked  # what did not pass comes first
    ]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:+.2%}"


def _ticks(found: Report) -> list[dict[str, Any]]:
    return [
        {"tick": iso(t.start), "rows": t.rows, "labelled": t.matured, "loss": short(t.loss), "complete": t.mature}
        for t in reversed(found.facts.ticks)
    ]


def _trials(found: Report) -> list[dict[str, Any]]:
    assert found.result is not None
    return [
        {
            "trial": t.number,
            "role": t.role,
            "learning rate": short(t.learning_rate),
            "schedule": t.schedule,
            found.result.step_unit: t.steps,
            "valid loss": short(t.loss),
            "state": t.state,
        }
        for t in found.result.trials
    ]


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
