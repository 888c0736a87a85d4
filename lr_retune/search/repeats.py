"""The fits that tell a rate from chance and from fresh data: other seeds, and the champion's own rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev

from lr_retune.errors import RetuneError
from lr_retune.records import Cost, Family, FitData, Role, SearchOptions
from lr_retune.search.arm import Arm, Made, Named, row
from lr_retune.search.choose import lead
from lr_retune.search.estimate import relative_error
from lr_retune.search.live import Live

GLANCE = 5  # steps after which two seeds that matter have parted
SEEDS = 3  # fits of each arm before anything is said about a rate


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether a new rate's lead over the old one holds by other seeds, and the fits that say so."""

    holds: bool
    lead: float | None = None  # share of the old rate's loss on valid; None: the old rate has none
    error: float = 0.0  # standard error of the lead
    made: Mapping[str, tuple[Made, ...]] = field(default_factory=dict)  # challenger, control: by seed
    cost: Cost = field(default_factory=Cost)
    seed_matters: bool | None = None  # None: not asked


@dataclass(frozen=True, slots=True)
class Apart:
    """Fits that tell where a gain came from and chose nothing."""

    made: Mapping[str, tuple[Made, ...]] = field(default_factory=dict)  # challenger, control: by seed
    cost: Cost = field(default_factory=Cost)


def proved(family: Family, data: FitData, options: SearchOptions, fits: Live, new: Arm, old: Arm) -> Proof:
    """Fit both arms by two more seeds, where the new rate leads by more than its standard error on valid.

    The lead holds if its mean over the seeds is above its standard error, or if the seed moves nothing.
    """
    if not old.complete:
        return Proof(holds=True)
    leads = [lead(new.trial, old.trial)]
    error = 0.0 if leads[0] <= 0 else relative_error(options.loss, new.score(fits), old.score(fits)) or 0.0
    if leads[0] <= error:
        return Proof(False, leads[0], error)
    made: list[tuple[Made, Made]] = []
    cost = Cost()
    for seed in range(options.seed + 1, options.seed + SEEDS):
        other = Live(family.start(data, seed=seed))
        if not made:
            same, cost = leaves_nothing_to_chance(other, new)
            if same:
                return Proof(True, leads[0], error, cost=cost, seed_matters=False)
        pair = (again(other, new, "candidate", options), again(other, old, "control", options))
        cost = sum((arm.trial.cost for arm in pair), cost)
        if not all(arm.complete for arm in pair):
            return Proof(False, leads[0], error, _by_role(made), cost, True)
        made.append((pair[0].made(other), pair[1].made(other)))
        leads.append(lead(pair[0].trial, pair[1].trial))
    return Proof(fmean(leads) > stdev(leads) / len(leads) ** 0.5, leads[0], error, _by_role(made), cost, True)


def apart(family: Family, data: FitData, options: SearchOptions, proof: Proof, arms: Mapping[Role, Arm]) -> Apart:
    """Both arms by seeds that had no part in choosing between them.

    The seeds of a search and of `proved` were lucky where the new rate won, on valid and so on the holdout: of equal
    rates that were taken, they call 8 to 28 in 100 better (``tests.benchmarks.judge``, part attribution). Nothing is
    fitted where the seed moves nothing.
    """
    if not proof.made:
        return Apart()
    made: dict[str, list[Made]] = {"challenger": [], "control": []}
    cost = Cost()
    for seed in range(options.seed + SEEDS, options.seed + 2 * SEEDS):
        fits = Live(family.start(data, seed=seed))
        for (role, arm), fitted in zip(arms.items(), made.values(), strict=True):
            more = again(fits, arm, role, options)
            cost += more.trial.cost
            if not more.complete:
                return Apart(cost=cost)
            fitted.append(more.made(fits))
    return Apart({role: tuple(fitted) for role, fitted in made.items()}, cost)


def again(fits: Live, arm: Arm, role: Role, options: SearchOptions) -> Arm:
    """The same name on other fits; a killed search does not come back to it."""
    forgetful = replace(options, recall=lambda *_: None, remember=lambda _: None)
    return row(fits, Named(arm.trial.learning_rate, arm.trial.schedule), role, (), forgetful)


def leaves_nothing_to_chance(fits: Live, arm: Arm) -> tuple[bool, Cost]:
    """Whether the family leaves nothing to chance: the first steps tell, and cost little.

    LightGBM's GOSS draws rows from step 1 / rate on, so fits that agree at first are followed a little beyond that.
    """
    trial, _ = arm.parts[0]
    handle, done = fits.add(trial.learning_rate, trial.schedule), 0
    for until in (GLANCE, max(GLANCE, math.ceil(1 / trial.learning_rate) + 2)):
        wanted = trial.curve[done:until]
        (curve,) = fits.advance([handle], len(wanted)) if wanted else ((),)
        done += len(curve)
        if tuple(map(float, curve)) != wanted:
            return False, Cost(1, done, done * fits.train_rows)
    return True, Cost(1, done, done * fits.train_rows)


def _by_role(made: Sequence[tuple[Made, Made]]) -> dict[str, tuple[Made, ...]]:
    return {"challenger": tuple(new for new, _ in made), "control": tuple(old for _, old in made)} if made else {}


def on_old_rows(family: Family, options: SearchOptions, old: Named | None, challenger: Arm) -> Made | None:
    """The challenger's rate on the rows of the champion: the fourth corner of old and new rows by old and new rate."""
    if old is None or old.data is None or old.loss is None or challenger.named(old):
        return None
    try:
        fits = Live(family.start(old.data, seed=options.seed))
        arm = again(fits, challenger, "control", replace(options, loss=old.loss))
    except RetuneError:  # those rows are not what is judged: a search must not fail for them
        return None
    return arm.made(fits) if arm.complete else None
