"""Who is compared: models that the ledger knows, loaded from verified files, or one fresh fit for each rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from lr_retune import steps
from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.data.spans import plan_spans
from lr_retune.data.ticks import shift
from lr_retune.errors import ConfigError, DataError, IntegrityError
from lr_retune.logged import SCORE_ONLY
from lr_retune.plugins import Plugins
from lr_retune.records import (
    Champion,
    Contract,
    Cost,
    Family,
    Files,
    FitData,
    FittedModel,
    Past,
    SearchOptions,
    Span,
    iso,
)
from lr_retune.search.arm import Arm, Made, Named, row
from lr_retune.search.live import Live
from lr_retune.search.repeats import SEEDS, again, leaves_nothing_to_chance
from lr_retune.steps.fitting import fit_data_of, options_of
from lr_retune.stores.bundle import plan_from, unpack_contract, unpack_meta
from lr_retune.stores.promotion import Stores
from lr_retune.stores.status import full_id


@dataclass(frozen=True, slots=True)
class Contender:
    """One model of a comparison."""

    name: str  # as it was asked for
    model: FittedModel
    contract: Contract
    learning_rate: float
    schedule: str
    steps: int
    learned: Span | None  # rows it was trained or tuned on lie here; None: nobody told
    digest: str = ""  # of its files; empty: fitted for this comparison
    cost: Cost = field(default_factory=Cost)  # of that fit, and its twins
    twins: tuple[FittedModel, ...] = ()  # the same by other seeds
    seed_matters: bool | None = None  # None: not asked


# ── from the ledger ───────────────────────────────────────────────────────────────────────────────
def known(config: Config, stores: Stores, names: Sequence[str], as_of: datetime) -> list[Contender]:
    """Models by name: ``champion``, a version that was champion, or a decision whose challenger was judged.

    Raises
    ------
    ConfigError
        If a name is none of these, or fewer than two different ones are given.
    IntegrityError
        If files are not what the ledger recorded, or do not reproduce their golden predictions.
    """
    if len(dict.fromkeys(names)) < 2 or len(names) != len(set(names)):
        raise ConfigError(
            f"two or more different models are compared, got {', '.join(names) or 'none'}",
            why="a model is no better or worse than itself",
            fix="name them like --models champion,3",
        )
    found = [_known(config, stores, name, as_of) for name in names]
    if len({each.digest for each in found}) < len(found):
        raise ConfigError(f"two of {', '.join(names)} are the same model", fix="name different ones")
    return found


def _known(config: Config, stores: Stores, name: str, as_of: datetime) -> Contender:
    champion = _champion(stores, name, as_of)
    if champion is not None:
        return _contender(config, stores, name, champion.family, champion.model, stores.files(champion))
    return judged_by(config, stores, name)


def judged_by(config: Config, stores: Stores, name: str) -> Contender:
    """The challenger that a decision judged, as it would serve.

    Raises
    ------
    ConfigError
        If the ledger has no such decision, or it judged nobody.
    """
    entry = stores.settled(full_id(stores, name))
    served = None if entry is None else entry.record["result"].get("refit") or entry.record["result"]["challenger"]
    if entry is None or served is None:
        raise ConfigError(
            f"{name!r} is no model of {config.name}",
            why='known are "champion", versions that were champion, and decisions that judged a challenger',
            fix="see `lr-retune history`",
        )
    files = stores.models.get(served["model"])
    return _contender(config, stores, name, entry.record["result"]["family"], served["model"], files)


def _champion(stores: Stores, name: str, as_of: datetime) -> Champion | None:
    """The champion at that time, or the newest one that has or had this version."""
    if name == "champion":
        return stores.champion(as_of)
    found = [stores.numbered(move) for move in stores.moves]
    return next((each for each in reversed(found) if each.version == name), None)


def _contender(config: Config, stores: Stores, name: str, family: str, digest: str, files: Files) -> Contender:
    """A model of checked files, which answers its golden rows as it ever did."""
    if not steps.reproduces(config, files):
        raise IntegrityError(
            f"{name} does not reproduce its golden predictions",
            why="it would not answer as it was judged: another library version, or an altered family",
            fix="see `lr-retune doctor`",
        )
    meta = unpack_meta(files)
    return Contender(
        name=name,
        model=steps.load_model(config, family, files),
        contract=unpack_contract(files),
        learning_rate=meta.get("learning_rate", math.nan),
        schedule=meta.get("schedule", "constant"),
        steps=meta.get("steps", 0),
        learned=None if family == SCORE_ONLY else _learned(stores, digest),
        digest=digest,
    )


def _learned(stores: Stores, digest: str) -> Span | None:
    """The rows that a model was trained or tuned on, as far as the ledger tells."""
    for settlement in stores.settlements:
        entry = stores.settled(settlement.decision)
        if entry is None:
            continue
        result, plan = entry.record["result"], plan_from(entry.record["plan"])
        for role, end in (("refit", plan.holdout.end), ("challenger", plan.valid.end)):
            if (result.get(role) or {}).get("model") == digest:
                return Span(plan.train.start, end)
    return None


# ── by rate ───────────────────────────────────────────────────────────────────────────────────────
def fitted(
    config: Config, plugins: Plugins, rates: Sequence[float], start: datetime, seeds: int = SEEDS
) -> list[Contender]:
    """One model for each rate, constant and stopped early as in a search, of the rows whose labels were known then.

    Train and valid have their configured lengths and end at the label horizon of ``start``: no holdout is needed, as
    what comes after is what they meet on. Where the family leaves something to chance, ``seeds`` seeds fit each.

    Raises
    ------
    ConfigError
        If fewer than two different rates are given, or one is not above zero.
    DataError
        If there is too little history, or a rate gives no model.
    """
    if len(set(rates)) < 2 or len(rates) != len(set(rates)) or not all(0 < rate < float("inf") for rate in rates):
        given = ", ".join(f"{rate:g}" for rate in rates) or "none"
        raise ConfigError(
            f"two or more different rates above 0 are compared, got {given}",
            why="a model is fitted at each and held against the others",
            fix="for example --learning-rates .02,.1",
        )
    feed = Feed(config, plugins.feeds, start)
    train, valid = _window(config, feed)
    contract = feed.learn(train)
    seen = [feed.rows(contract, span).labelled() for span in (train, valid)]
    data = fit_data_of(config, contract, *seen)
    options = options_of(config, plugins, data.valid, Past())
    fits = Live(plugins.family.start(data, seed=config.seed))
    arms = [_complete(row(fits, Named(rate), "candidate", [], options)) for rate in rates]
    matters, twins = _twins(plugins.family, data, options, arms, seeds)
    made = [arm.made(fits) for arm in arms]
    return [
        Contender(
            name=f"{trial.learning_rate:g}",
            model=model,
            contract=contract,
            learning_rate=trial.learning_rate,
            schedule="constant",
            steps=trial.steps,
            learned=Span(train.start, valid.end),
            cost=sum((twin.cost for twin, _ in others), trial.cost),
            twins=tuple(twin for _, twin in others),
            seed_matters=matters,
        )
        for (trial, model), others in zip(made, twins, strict=True)
    ]


def _complete(arm: Arm) -> Arm:
    if arm.complete:
        return arm
    raise DataError(
        f"rate {arm.trial.learning_rate:g} gives no model: {arm.trial.state}, {arm.trial.note}",
        why="only a fit that ended well is compared",
        fix="leave it out, raise [search] max_steps where it is starved, or mend [window]",
    )


def _twins(
    family: Family, data: FitData, options: SearchOptions, arms: Sequence[Arm], seeds: int
) -> tuple[bool | None, list[list[Made]]]:
    """Whether another seed makes another model, and then each arm by further seeds."""
    found: list[list[Made]] = [[] for _ in arms]
    for seed in range(options.seed + 1, options.seed + seeds):
        fits = Live(family.start(data, seed=seed))
        if not found[0] and leaves_nothing_to_chance(fits, arms[0])[0]:
            return False, found
        for arm, made in zip(arms, found, strict=True):
            made.append(_complete(again(fits, arm, "candidate", options)).made(fits))
    return (True if seeds > 1 else None), found


def _window(config: Config, feed: Feed) -> tuple[Span, Span]:
    """Train and valid that end at the label horizon."""
    horizon = feed.horizon()
    if horizon is None:
        raise DataError(
            f"no tick has complete labels at {iso(feed.as_of)}",
            why="rates are fitted on rows of before",
            fix="compare from a later time, with --from",
        )
    ahead = config.ticks(config.window.holdout) + config.embargo_ticks
    end = shift(horizon, ahead, config.schedule.tick, config.schedule.timezone)
    uncut, _, _ = plan_spans(config, end, None)
    try:
        train, valid, _ = plan_spans(config, end, feed.first(uncut.start))
    except DataError:
        needed = config.window.min_ticks + config.ticks(config.window.valid) + config.embargo_ticks
        raise DataError(
            f"too little history before {iso(horizon)} to fit a model",
            why=f"train and valid need {needed} ticks with complete labels",
            fix="compare from a later time, with --from, or shorten [window] valid or min_ticks",
        ) from None
    return train, valid
