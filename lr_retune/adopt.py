"""Taking over what a team has registered: read it safely or let its logged scores speak, measure, make it champion."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np

from lr_retune import steps
from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.data.plan import freeze
from lr_retune.errors import ConfigError, DataError
from lr_retune.families.foreign import CannotLoad, Foreign, read
from lr_retune.logged import SCORE_ONLY
from lr_retune.plugins import Plugins
from lr_retune.quarantine import survives
from lr_retune.records import Candidate, Champion, Column, Contract, Files, Plan, TuneResult
from lr_retune.stores.bundle import pack
from lr_retune.stores.promotion import Stores

UNREAD = "LRR421"


def adopt(
    config: Config,
    stores: Stores,
    plugins: Plugins,
    version: str,
    as_of: datetime,
    *,
    scores: str | None = None,
    actor: str = "",
    reason: str = "",
) -> tuple[Champion, tuple[str, ...]]:
    """Make a registered version the champion, by the promotion protocol; with what is to be told about it.

    Parameters
    ----------
    scores
        A column of logged scores that stands for the model, which is then not loaded at all.

    Raises
    ------
    ConfigError
        If there is a champion and no reason, or no scores for a model that cannot be loaded.
    DataError
        If the model's features are not the feed's, or nothing can be promised on the holdout.
    IntegrityError
        If its file is torn or hostile.
    """
    stores.refuse_adoption(reason)
    originals = stores.registry.originals(config.name, version)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in sorted(originals.items())}
    meta: dict[str, Any] = {"task": config.task, "packages": [], "adopted": {"version": version, "files": digests}}
    feed = Feed(config, plugins.feeds, as_of)
    foreign, why = _read(originals, scores)
    if foreign is None:
        plan = _unread(feed, config, version, scores, why)
        files = pack({}, plan.contract, meta | {"family": SCORE_ONLY}, {"columns": {}, "scores": []})
        found = Candidate(stores.models.put(files), plugins.family.default_rate, "constant", 0, float("nan"), 0, {})
        made = _adopted(config, stores, plugins, plan, (SCORE_ONLY, found))
        return _crowned(stores, made, version, actor, reason), (f"{UNREAD}: {why}; its logged scores stand for it",)
    survives(foreign.family, foreign.files, foreign.count)
    plan = _mapped(feed, config, foreign)
    found = _candidate(config, stores, feed, plan, foreign, meta)
    return _crowned(
        stores, _adopted(config, stores, plugins, plan, (foreign.family, found)), version, actor, reason
    ), ()


def _read(originals: Files, scores: str | None) -> tuple[Foreign | None, str]:
    if scores is not None:
        return None, "--scores names what stands for it"
    try:
        return read(originals), ""
    except CannotLoad as error:
        return None, str(error)


# ── loaded ────────────────────────────────────────────────────────────────────────────────────────
def _mapped(feed: Feed, config: Config, foreign: Foreign) -> Plan:
    """The window, under a contract whose columns, order and codes are the model's own."""
    if foreign.task != config.task:
        fix = f'set task = "{foreign.task}" and a metric of it, or adopt another version'
        raise ConfigError(f"the model answers a {foreign.task} task, retune.toml asks a {config.task} one", fix=fix)
    kinds = feed.columns()
    names = _names(foreign, config, list(kinds))
    columns = [
        Column(n, "category" if own in foreign.levels else "number", foreign.levels.get(own, ())) for own, n in names
    ]
    for column in columns:
        if column.kind == "number" and kinds[column.name] == "category" and foreign.family == "sgd":
            raise _unfit(f"feature {column.name!r} is a category here and the pipeline takes numbers")
    stub = Contract(1, tuple(columns), 0, config.model.transform)
    plan = freeze(feed, config, stub)
    # a level that the model never saw is missing to it, as in the team's own serving
    own = {column.name: column.levels for column in columns}
    closed = tuple(replace(c, levels=own[c.name]) for c in plan.contract.columns)
    return replace(plan, contract=replace(plan.contract, version=1, columns=closed))


def _names(foreign: Foreign, config: Config, there: Sequence[str]) -> list[tuple[str, str]]:
    """The model's feature → the feed's column; LightGBM writes a space as an underscore."""
    if not foreign.names:
        named = config.data.features or ()
        if len(named) != foreign.count:
            raise _unfit(f"it knows {foreign.count} features by number only")
        return [(name, name) for name in named]
    known = {name.replace(" ", "_"): name for name in there} | {name: name for name in there}
    if lacking := [name for name in foreign.names if name not in known]:
        raise _unfit(f"the feed has no feature {', '.join(map(repr, lacking[:5]))}")
    return [(name, known[name]) for name in foreign.names]


def _unfit(why: str) -> DataError:
    return DataError(
        "the registered model's features are not those of the feed",
        why=why,
        fix="name them in its order in [data] features, bring them by [model] transform, or use --scores",
    )


def _candidate(
    config: Config, stores: Stores, feed: Feed, plan: Plan, foreign: Foreign, meta: dict[str, Any]
) -> Candidate:
    golden = steps.golden(config, feed, plan)
    told = {"learning_rate": foreign.learning_rate, "schedule": foreign.schedule, "steps": foreign.steps}
    bare = pack(foreign.files, plan.contract, {}, {})
    model = steps.load_model(config, foreign.family, bare)
    try:
        scores = model.predict(steps.golden_rows(golden, plan.contract))
    except DataError as error:
        raise _unfit(f"{error.what}: {error.why}") from None
    if not np.isfinite(scores).all():
        raise _unfit("it answers rows of the feed with scores that are no numbers")
    meta = meta | told | {"family": foreign.family}
    digest = stores.models.put(pack(foreign.files, plan.contract, meta, {"columns": golden, "scores": scores.tolist()}))
    importance = dict(zip(plan.contract.names, model.importance().tolist(), strict=True))
    size = sum(map(len, foreign.files.values()))
    known = importance if any(importance.values()) else {}
    return Candidate(digest, foreign.learning_rate, foreign.schedule, foreign.steps, float("nan"), size, known)


# ── score only ────────────────────────────────────────────────────────────────────────────────────
def _unread(feed: Feed, config: Config, version: str, scores: str | None, why: str) -> Plan:
    """The window, under the feed's contract with the logged scores as its last column."""
    column = _scores(config, version, scores, why)
    kinds = {name: kind for name, kind in feed.columns().items() if name != column}
    plan = freeze(feed, config, Contract(1, tuple(Column(n, k) for n, k in kinds.items()), 0, config.model.transform))
    columns = (*plan.contract.columns, Column(column, "number"))
    return replace(plan, contract=replace(plan.contract, version=1, columns=columns, score=column))


def _scores(config: Config, version: str, scores: str | None, why: str) -> str:
    column = scores or config.data.score
    if column is not None:
        if column != config.data.score and column not in config.data.exclude:
            fix = f'add "{column}" to [data] exclude, or set [data] score = "{column}"'
            raise ConfigError(
                f"{column!r} could be a feature", why="a challenger would learn the champion's score", fix=fix
            )
        return column
    if config.predictions is None:
        raise ConfigError(
            f"version {version} cannot be loaded safely, and no logged score stands for it",
            why=why,
            fix="name the feed of its logged scores in [predictions], or their column with --scores",
        )
    return f"{config.predictions.score}@{version}"


# ── both ──────────────────────────────────────────────────────────────────────────────────────────
def _adopted(
    config: Config, stores: Stores, plugins: Plugins, plan: Plan, found: tuple[str, Candidate]
) -> tuple[Plan, TuneResult, Any]:
    family, candidate = found
    result = TuneResult(family, "adopt", "", candidate, None, None, ())
    return plan, result, steps.promise(config, plugins, stores, plan, result)


def _crowned(stores: Stores, made: tuple[Plan, TuneResult, Any], version: str, actor: str, reason: str) -> Champion:
    return stores.adopt(*made, version=version, actor=actor, reason=reason)
