"""What challengers that passed and were not promoted would have brought since: told on demand, records nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from lr_retune import steps
from lr_retune.config import Config
from lr_retune.contenders import judged_by
from lr_retune.data.feed import Feed
from lr_retune.errors import RetuneError
from lr_retune.judge.blocks import Pair, pairs_of
from lr_retune.metrics import loss_for
from lr_retune.plugins import Plugins, load_plugins
from lr_retune.records import Champion, Contract, FittedModel, Span, micros, plain
from lr_retune.scored import Reading
from lr_retune.stores.approvals import standing
from lr_retune.stores.promotion import Stores
from lr_retune.versus import When, stretch

MOST = 12  # the newest so many: each costs a read and two models
SERVED, SUGGESTED, FOLLOWED = "served", "suggested", "followed"


@dataclass(frozen=True, slots=True)
class Hindsight:
    """One challenger on the rows that came after it could have been promoted."""

    decision: str
    as_of: datetime
    state: str  # as `lr_retune.stores.approvals.standing` has it
    learning_rate: float
    span: Span | None = None
    ticks: int = 0
    rows: int = 0
    served: float | None = None  # loss of whoever was champion when a row came
    suggested: float | None = None
    pair: Pair | None = None  # what served first, so above zero the challenger would have been better
    note: str = ""  # why nothing can be told


def hindsight(config: Config, plugins: Plugins, stores: Stores, now: datetime) -> list[Hindsight]:
    """Each challenger that passed and was not promoted, oldest first, against whoever served since.

    Rows are those whose labels are complete at ``now``, from the first whole tick after the decision. None of the
    models has learned from them. Where there are several, the last entry (`FOLLOWED`) is of all in turn: each serving
    from its decision until the next one's. Each was judged against what served, not against the one before.
    """
    asked = [each for each in standing(stores, now) if each["state"] != "promoted"][-MOST:]
    feed = Feed(config, plugins.feeds, now)
    known = [_known(each) for each in asked]
    found = [_told(config, stores, feed, each, [each]) for each in known]
    if len(known) < 2:
        return found
    first = replace(known[0], decision=FOLLOWED, state=FOLLOWED)
    return [*found, _told(config, stores, feed, first, known)]


def _known(asked: dict[str, Any]) -> Hindsight:
    begun = datetime.fromisoformat(asked["as_of"])
    return Hindsight(asked["decision"], begun, asked["state"], asked["learning_rate"])


def _told(config: Config, stores: Stores, feed: Feed, known: Hindsight, turns: Sequence[Hindsight]) -> Hindsight:
    try:
        return _compared(config, stores, feed, known, turns)
    except RetuneError as error:  # too early, rows or files that are gone: the others are told all the same
        return replace(known, note=f"{error.what}{f': {error.why}' if error.why else ''}")


def _compared(config: Config, stores: Stores, feed: Feed, known: Hindsight, turns: Sequence[Hindsight]) -> Hindsight:
    block = config.schedule.tick
    span = stretch(config, feed, When(feed.as_of, block, known.as_of), None)
    made = [judged_by(config, stores, each.decision) for each in turns]
    reading = Reading(config, feed, span)
    served = [(move.as_of, move.champion) for move in stores.moves]
    models = [
        (since, steps.load_model(config, it.family, stores.files(it)), it.contract)
        for since, it in _serving(served, span)
    ]
    suggested = [(each.as_of, one.model, one.contract) for each, one in zip(turns, made, strict=True)]
    scores = {SERVED: _in_turn(reading, models), SUGGESTED: _in_turn(reading, suggested)}
    logged = [SERVED] if any(contract.score is not None for _, _, contract in models) else []
    found = reading.scored(made[0].contract, scores, logged, block)
    losses = {name: loss_for(config.metric).value(found.rows.y, score) for name, score in found.scores.items()}
    return replace(
        known,
        span=span,
        ticks=len(np.unique(found.evidence.tick)),
        rows=len(found.rows),
        served=losses[SERVED],
        suggested=losses[SUGGESTED],
        pair=pairs_of(found.scores, found.evidence, config)[0],
    )


def _serving(served: Sequence[tuple[datetime, Champion]], span: Span) -> list[tuple[datetime, Champion]]:
    """Champions that served in a stretch, and since when."""
    begun = max((place for place, (since, _) in enumerate(served) if since <= span.start), default=0)
    return [each for each in served[begun:] if each[0] < span.end]


def _in_turn(reading: Reading, turns: Sequence[tuple[datetime, FittedModel, Contract]]) -> np.ndarray:
    """Score of every row by the model whose turn it was; rows before the first turn are the first's."""
    starts = np.array([micros(since) for since, _, _ in turns])
    score = np.empty(0)
    for turn, (_, model, contract) in enumerate(turns):
        rows = reading.rows(contract)
        score = score if len(score) else np.full(len(rows), np.nan)
        mine = np.maximum(np.searchsorted(starts, rows.time, side="right") - 1, 0) == turn
        score[mine] = model.predict(rows.x[mine])
    return score


# ── words ─────────────────────────────────────────────────────────────────────────────────────────
def told(config: Config, stores: Stores, now: datetime) -> list[dict[str, Any]]:
    """`hindsight` for scripts."""
    return [plain(_fields(each)) for each in hindsight(config, load_plugins(config), stores, now)]


def _fields(found: Hindsight) -> dict[str, Any]:
    pair, span = found.pair, found.span
    return {
        "decision": found.decision,
        "as_of": found.as_of,
        "state": found.state,
        "learning_rate": found.learning_rate,
        "from": None if span is None else span.start,
        "to": None if span is None else span.end,
        "ticks": found.ticks,
        "rows": found.rows,
        "loss": {SERVED: found.served, SUGGESTED: found.suggested},
        "difference": None if pair is None else pair.gap,
        "blocks": None if pair is None else {"wins": pair.losses, "losses": pair.wins, "ties": pair.ties},
        "better": None if pair is None else pair.better,
        "code": None if pair is None else pair.code,
        "note": found.note if pair is None else pair.reason,
    }


def lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """The same for people, a sentence each."""
    return [_line(each) for each in found] or ["  hindsight: there is no challenger that passed and was not promoted"]


def _line(found: Mapping[str, Any]) -> str:
    from lr_retune.answers import short

    one = f"on {found['decision'][:12]} ({found['state']}, rate {found['learning_rate']:.4g}, {found['as_of'][:10]})"
    name = "  hindsight " + ("had each been followed in turn" if found["state"] == FOLLOWED else one)
    gap = found["difference"]
    if gap is None:
        return f"{name}: nothing to tell: {found['note']}"
    ends = {SUGGESTED: "it would have been better", SERVED: "what served was better"}
    return (
        f"{name}: loss {short(found['loss'][SUGGESTED])}, what served {short(found['loss'][SERVED])}, on "
        f"{found['rows']:,} rows of {found['ticks']} ticks since; gain {short(gap['value'])} "
        f"[{short(gap['low'])}, {short(gap['high'])}]: {ends.get(found['better'], 'not told, ' + found['note'])}"
    )
