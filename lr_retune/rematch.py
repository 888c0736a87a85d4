"""What a run does whose challenger passed and lost the race to another: it meets whoever won, with the fits it has."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from lr_retune import steps
from lr_retune.config import Config
from lr_retune.errors import ConflictError
from lr_retune.plugins import Plugins
from lr_retune.records import Champion, Decision, Judgement, Plan, Reason, Report, TuneResult, content_digest
from lr_retune.review import paged
from lr_retune.stores.promotion import Stores

if TYPE_CHECKING:
    from lr_retune.retune import Step

RIVALS = 8  # races lost in a row before a run gives up


def settled(
    config: Config,
    plugins: Plugins,
    stores: Stores,
    step: Step,
    seen: Report,
    plan: Plan,
    result: TuneResult,
    judgement: Judgement,
) -> Report:
    """Settle a judged challenger; one that lost a race is judged again, against the winner.

    What passed is fitted once more on all rows where ``[promote] refit`` asks for it.
    The second judgement is a decision of its own, with its own key and the alpha that a second look has. A run that
    is repeated finds it in the ledger and ends with its outcome.

    Raises
    ------
    ConflictError
        If the race was lost and the challenger does not beat the winner either, or cannot be compared with it: the
        winner knows rows that are later than this holdout.
    """
    lost: ConflictError | None = None
    for _ in range(RIVALS):
        if config.promote.refit == "after_pass" and judgement.status == "PASS" and result.refit is None:
            result = step(steps.refit, config, plugins, stores, plan, result, seen)
        try:
            found = step(stores.settle, seen, plan, result, judgement, steps.pictures(result, seen))
        except ConflictError as error:
            if (winner := _winner(stores, seen, plan)) is None:
                raise
            seen, result = _against(winner, seen, result)
            lost = None if stores.knows(seen.decision.id) else error
            stores.record(seen.facts, seen.decision)
            judgement = step(steps.judge, config, plugins, stores, plan, seen, result)
            continue
        found = paged(config, stores, step, found)
        if lost is None or found.outcome == "promoted":
            return found
        raise ConflictError(lost.what, why=lost.why, fix=_told(found)) from lost
    raise ConflictError(f"{config.name} was won by others {RIVALS} times while this run judged", fix="run again later")


def _winner(stores: Stores, seen: Report, plan: Plan) -> Champion | None:
    """Whom this run met when it was made for the first time, else who is champion now."""
    winners = stores.winners(seen.champion, plan)
    met = [each for each in winners if stores.knows(_id(seen, each))]
    newest = [each for each in winners if each.epoch == stores.ledger.head(stores.name).epoch]
    return next(iter([*met, *newest]), None)


def _id(seen: Report, winner: Champion) -> str:
    return content_digest([seen.decision.id, winner.model, winner.epoch])


def _against(winner: Champion, seen: Report, result: TuneResult) -> tuple[Report, TuneResult]:
    """The same evidence about another champion; arms at the rate of the one before tell nothing about it."""
    one = result.challenger
    same = one is not None and (one.learning_rate, one.schedule) == (winner.learning_rate, winner.schedule)
    reason = Reason("lost_race", f"another run made {winner.model[:12]} champion while this one judged")
    decision = Decision(_id(seen, winner), seen.decision.action, (*seen.decision.reasons, reason))
    again = replace(result, same_rate=same, control=None, old_rows=None, repeats={}, apart={})
    return replace(seen, champion=winner, decision=decision), again


def _told(found: Report) -> str:
    assert found.judgement is not None
    reasons = "; ".join(v.reason for v in found.judgement.verdicts if v.status != "PASS")
    return f"nothing to do: it was judged against the new champion and is {found.outcome}: {reasons}"
