"""One search with its permanent rows: the champion's rate on the same rows, and the family's fixed rate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from lr_retune.records import Cost, Estimate, Family, FitData, Range, SearchOptions, Strategy, Trial
from lr_retune.search.arm import Arm, Found, Made, Named, averaged, row
from lr_retune.search.choose import answered, at_wall, inside
from lr_retune.search.live import Live
from lr_retune.search.repeats import Apart, Proof, apart, on_old_rows, proved


@dataclass(frozen=True, slots=True)
class Arms:
    """What a search leaves behind."""

    trials: tuple[Trial, ...]  # of all roles, numbers unique
    models: Mapping[str, Made]  # challenger, control, fixed, old_rows: those that are complete
    repeats: Mapping[str, tuple[Made, ...]] = field(default_factory=dict)  # challenger, control: by other seeds
    apart: Mapping[str, tuple[Made, ...]] = field(default_factory=dict)  # the same by seeds that chose nothing
    cost: Mapping[str, Cost] = field(default_factory=dict)  # search, control, fixed, repeats, old_rows, apart, again
    at_wall: Literal["low", "high"] | None = None
    same_rate: bool = False  # the challenger carries the champion's rate and schedule
    estimate: Estimate | None = None
    reason: str = ""
    lead: float | None = None
    seed_matters: bool | None = None  # None: not asked


def run(
    family: Family,
    data: FitData,
    options: SearchOptions,
    *,
    strategy: Strategy | None,
    old: Named | None,
    user_range: Range | None,
    fixed_counts: bool = True,
) -> Arms:
    """Search, fit the two permanent rows on the same binned data, and name the challenger.

    The challenger is the new rate only where it beats the champion's rate on the same fresh rows by more than the
    curve's noise, and does so over other seeds; else it is the control. What the search found is new where it leads
    the fixed rate beyond chance; else the fixed rate is, if it lies within the user's range. A champion's rate outside
    that range is fitted as a row but is no challenger of a search.

    Parameters
    ----------
    family, data, options
        What is fitted, on which rows, within which limits.
    strategy
        How new rates are searched; None for a refit, whose challenger is the control.
    old
        The rate in production; None before there is a champion.
    user_range
        The user's walls; None where he set none.
    fixed_counts
        Whether the fixed rate may be the challenger of a search.

    Raises
    ------
    ValueError
        For a refit without a champion.
    RetuneError
        From the family, if nothing at all can be fitted on these rows.
    """
    if strategy is None and old is None:
        raise ValueError("a refit needs the champion's rate: strategy and old are both None")
    names = [(family.default_rate, "constant"), *(() if old is None else old.parts)]
    fits = Live(family.start(data, seed=options.seed), names)
    found = [] if strategy is None else list(strategy(fits, options))
    control = None if old is None else row(fits, old, "control", found, options)
    rows = found if control is None else [*found, *control.alone]
    fixed = row(fits, Named(family.default_rate), "fixed", rows, options)

    eligible = fixed_counts and strategy is not None and inside(family.default_rate, user_range)
    last = 1 + fixed.trial.number
    seen, parts = answered(found, fixed.parts[0] if eligible else None, options, fits)
    new = _new(fits, parts, last, options)
    rival = control if strategy is None or (control and inside(control.trial.learning_rate, user_range)) else None
    proof = None if new is None or rival is None else proved(family, data, options, fits, new, rival)
    challenger = new if proof is None or proof.holds else rival
    if challenger is None and rival is not None and rival.complete:
        challenger = rival
    fresh = _apart(family, data, options, proof, challenger, rival)
    before = None if challenger is None else on_old_rows(family, options, old, challenger)
    arms = {"challenger": challenger, "control": control, "fixed": fixed}
    work = {"search": found, "control": [] if control is None else control.alone, "fixed": fixed.alone}
    return Arms(
        trials=_advised([trial for trial, _ in [*rows, *fixed.alone, *_made_up(new, last)]], options),
        models={name: arm.made(fits) for name, arm in arms.items() if arm is not None and arm.complete}
        | ({} if before is None else {"old_rows": before}),
        repeats={} if proof is None else proof.made,
        apart=fresh.made,
        cost=_cost(work, before, {"repeats": _of(proof), "apart": fresh.cost, "again": fits.again}),
        at_wall=None
        if challenger is None or strategy is None
        else at_wall(challenger.trial, options.space, user_range is not None),
        same_rate=challenger is not None and challenger.named(old),
        estimate=seen,
        reason=_reason(seen, proof, challenger is rival and not (new and new.named(old))),
        lead=None if proof is None else proof.lead,
        seed_matters=None if proof is None else proof.seed_matters,
    )


def _apart(
    family: Family, data: FitData, options: SearchOptions, proof: Proof | None, new: Arm | None, old: Arm | None
) -> Apart:
    """Only a new rate that was taken has a worth of its own to tell."""
    if proof is None or new is None or old is None or new is old:
        return Apart()
    return apart(family, data, options, proof, {"candidate": new, "control": old})


def _of(proof: Proof | None) -> Cost:
    return Cost() if proof is None else proof.cost


def _reason(seen: Estimate | None, proof: Proof | None, stays: bool) -> str:
    """What the search found, and why the old rate stays where it does."""
    if seen is None:
        return ""
    if proof is None or proof.lead is None or not stays:
        return seen.reason
    if proof.lead <= 0:
        return f"{seen.reason}. The old rate stays: it is no worse on valid"
    chance = "other seeds do not confirm it" if proof.made else f"chance alone makes {proof.error:.2%}"
    return f"{seen.reason}. The old rate stays: the new one leads by {proof.lead:.2%} on valid, and {chance}"


def _new(fits: Live, parts: Sequence[Found], number: int, options: SearchOptions) -> Arm | None:
    """What the search found, in the form that was asked for; an average is a trial of its own."""
    if len(parts) < 2:
        return Arm(parts[0][0], tuple(parts)) if parts else None
    made = averaged(fits, parts, number, options)
    return replace(made, trial=replace(made.trial, role="candidate", cost=Cost()))


def _made_up(new: Arm | None, number: int) -> list[Found]:
    return new.alone if new is not None and new.trial.number == number else []


def _cost(work: Mapping[str, Sequence[Found]], before: Made | None, more: Mapping[str, Cost]) -> dict[str, Cost]:
    """Work by column; what was not done has none, but for search, control and fixed."""
    counted = {name: sum((trial.cost for trial, _ in found), Cost()) for name, found in work.items()}
    found = {**more, "old_rows": Cost() if before is None else before[0].cost}
    return counted | {name: cost for name, cost in found.items() if cost.steps}


def _advised(trials: Sequence[Trial], options: SearchOptions) -> tuple[Trial, ...]:
    """Starved trials with the cap that would do: rate x steps at the optimum is about the same for all rates."""
    progress = [trial.learning_rate * trial.steps for trial in trials if trial.state == "complete"]

    def told(trial: Trial) -> Trial:
        if trial.state != "starved":
            return trial
        if len(trial.curve) < options.max_steps:
            return replace(trial, note=f"still improving when the budget ended it after {len(trial.curve)} steps")
        needed = max(progress, default=0.0) / trial.learning_rate + options.patience
        cap = math.ceil(max(needed, 1.5 * options.max_steps) / 100) * 100
        return replace(trial, note=f"{trial.note.partition(': raise')[0]}: max_steps = {cap} or more")

    return tuple(told(trial) for trial in trials)
