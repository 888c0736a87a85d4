"""A model and its files: how it is kept, loaded, and known again by its golden rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from lr_retune import average, encoding
from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.logged import SCORE_ONLY, LoggedScores
from lr_retune.plugins import Group, Plugins, load_family, provider
from lr_retune.records import Candidate, Champion, Contract, Files, FittedModel, Plan, Rows, Trial, plain
from lr_retune.steps.loaded import Shelf
from lr_retune.stores.bundle import judged, native, pack, unpack_contract, unpack_golden, unpack_meta
from lr_retune.stores.promotion import Stores

_shelf = Shelf()
GOLDEN_ROWS = 16  # enough to notice another model, few enough to read


def golden_rows(columns: Mapping[str, list[Any]], contract: Contract) -> np.ndarray:
    """Raw golden rows as a model reads them."""
    return encoding.matrix(columns, contract.features)


def golden(config: Config, feed: Feed, plan: Plan) -> dict[str, list[Any]]:
    """Raw rows whose scores identify a model for ever."""
    table = feed.table(plan.contract, plan.holdout, limit=GOLDEN_ROWS, seed=config.seed)
    columns: dict[str, list[Any]] = plain({name: table.column(name).to_pylist() for name in plan.contract.names})
    return columns


def save_model(
    config: Config,
    plugins: Plugins,
    stores: Stores,
    plan: Plan,
    golden: Mapping[str, list[Any]],
    trial: Trial,
    model: FittedModel,
    beside: Files = MappingProxyType({}),
) -> Candidate:
    """Keep a fitted model with its contract and the scores of its golden rows."""
    files = model.files()
    scores = model.predict(encoding.matrix(golden, plan.contract.features))
    meta = {
        "family": plugins.family.name,
        "task": config.task,
        "learning_rate": trial.learning_rate,
        "schedule": trial.schedule,
        "steps": trial.steps,
        **({} if config.decision_threshold is None else {"threshold": config.decision_threshold}),
        **_foreign(plugins, plan.contract),
    }
    digest = stores.models.put(
        pack({**files, **beside}, plan.contract, meta, {"columns": golden, "scores": scores.tolist()})
    )
    return Candidate(
        model=digest,
        learning_rate=trial.learning_rate,
        schedule=trial.schedule,
        steps=trial.steps,
        loss=trial.loss if trial.loss is not None else float("nan"),
        size=sum(len(data) for data in files.values()),
        importance=dict(zip(plan.contract.names, model.importance().tolist(), strict=True)),
        threshold=config.decision_threshold,
    )


def _foreign(plugins: Plugins, contract: Contract) -> dict[str, Any]:
    """What serving needs of others: the packages that bring family and transform, and the raw columns it reads."""
    asked: list[tuple[Group, str | None]] = [("families", plugins.family.name), ("transforms", contract.transform)]
    packages = [provider(group, name) for group, name in asked if name is not None]
    found: dict[str, Any] = {"packages": [p for p in packages if p is not None and not p.startswith("lr-retune==")]}
    if contract.transform is not None and plugins.feeds.transform is not None:
        code = plugins.feeds.transform(contract.transform)
        found |= {"inputs": dict(code.inputs), "outputs": dict(code.outputs)}
    return found


def load_model(config: Config, family: str, files: Files) -> FittedModel:
    """A model from files whose digest was checked when they were read."""
    if family == SCORE_ONLY:
        return LoggedScores(unpack_contract(files))
    parts, model = tuple(native(files).items()), config.model

    def load() -> FittedModel:
        return average.load(dict(parts), load_family(model, family).load)

    return _shelf.get((family, model.model_dump_json(), parts), sum(len(data) for _, data in parts), load)


def champions(config: Config, stores: Stores, champion: Champion) -> tuple[FittedModel, FittedModel]:
    """What serves, and what was judged: the same model, unless its recipe was fitted once more on all rows."""
    files = stores.files(champion)
    return load_model(config, champion.family, files), load_model(config, champion.family, judged(files))


def scorer(config: Config, stores: Stores, family: str) -> Callable[[Candidate | None, Rows], np.ndarray]:
    """What scores rows by a candidate; one that was never made scores nothing."""

    def score(candidate: Candidate | None, rows: Rows) -> np.ndarray:
        if candidate is None:  # every trial failed: the gates answer ERROR on what is not a number
            return np.full(len(rows), np.nan)
        return load_model(config, family, stores.models.get(candidate.model)).predict(rows.x)

    return score


def reproduces(config: Config, files: Files) -> bool:
    """Whether a stored model still gives its golden predictions, to 1e-9; one that nobody loads has none."""
    if unpack_meta(files)["family"] == SCORE_ONLY:
        return True
    golden = unpack_golden(files)
    x = golden_rows(golden["columns"], unpack_contract(files))
    found = load_model(config, unpack_meta(files)["family"], files).predict(x)
    return bool(np.allclose(found, golden["scores"], rtol=0, atol=1e-9))
