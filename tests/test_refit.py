"""What passed may be fitted once more on all rows: the refit serves, the judged model keeps the promise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lr_retune import steps
from lr_retune.config import Config, load_config
from lr_retune.data.feed import Feed
from lr_retune.plugins import load_plugins
from lr_retune.records import FitData, FittedModel, Report, canonical
from lr_retune.retune import bootstrap, retune
from lr_retune.search.arms import Arms
from lr_retune.steps import refitting
from lr_retune.stores.bundle import judged, native, unpack_meta
from lr_retune.stores.gate import verdict
from lr_retune.stores.promotion import Stores
from lr_retune.watch.baselines import always, never
from tests.worlds import day, world

NO_GUARDS = 'names = ["sane_predictions", "paired_loss"]\n'  # a gain of 71 % is too good to be true to one of them
AFTER_PASS = f'{NO_GUARDS}[promote]\nrefit = "after_pass"'


def started(path: Path) -> tuple[Config, Stores]:
    config = load_config(path, environ={})
    stores = Stores.in_memory(config)
    bootstrap(config, stores, day(100))
    return config, stores


def promoted(tmp_path: Path, more: str = AFTER_PASS) -> tuple[Config, Stores, Report]:
    """A refit on fresh rows that beat a champion of another world."""
    config, stores = started(world(tmp_path, days=180, changed=70, more=more))
    return config, stores, retune(config, stores, day(150), policy=always)


def test_the_refit_serves_and_the_judged_model_keeps_the_promise(tmp_path: Path) -> None:
    config, stores, found = promoted(tmp_path)
    assert found.outcome == "promoted"
    assert found.result is not None
    assert found.judgement is not None
    assert found.result.challenger is not None
    assert found.result.refit is not None
    champion = stores.champion(day(151))
    assert champion.model == found.result.refit.model != found.result.challenger.model
    assert champion.promised == found.judgement.losses["challenger"]
    files = stores.files(champion)
    assert native(judged(files)) == native(stores.models.get(found.result.challenger.model)) != native(files)
    assert unpack_meta(files)["steps"] == found.result.refit.steps > found.result.challenger.steps
    assert steps.reproduces(config, files)
    assert found.result.cost["refit"].fits == 1


def test_without_it_the_judged_model_serves(tmp_path: Path) -> None:
    _, stores, found = promoted(tmp_path, more=f'{NO_GUARDS}[promote]\nrefit = "none"')
    assert found.result is not None
    assert found.result.challenger is not None
    champion = stores.champion(day(151))
    assert champion.model == found.result.challenger.model
    assert judged(stores.files(champion)) == stores.files(champion)
    assert "refit" not in found.result.cost


def test_the_champion_meets_the_next_challenger_by_scores_that_had_not_seen_the_holdout(tmp_path: Path) -> None:
    config, stores, found = promoted(tmp_path)
    later = retune(config, stores, day(156), policy=always)  # most of this holdout was in the refit's train
    assert later.plan is not None
    assert later.judgement is not None
    assert found.result is not None
    assert found.result.challenger is not None
    rows = Feed(config, load_plugins(config).feeds, day(156)).rows(later.plan.contract, later.plan.holdout)
    files = stores.models.get(found.result.challenger.model)
    score = steps.load_model(config, "lightgbm", files).predict(rows.x)
    assert later.judgement.losses["champion"] == pytest.approx(np.abs(rows.y - score).mean())


def test_the_watch_measures_the_reference_by_the_judged_model(tmp_path: Path) -> None:
    config, stores, found = promoted(tmp_path)
    asked_anew = config.model_copy(update={"metric": config.metric.model_copy(update={"name": "rmse"})})
    seen = retune(asked_anew, stores, day(156), policy=never)
    assert seen.facts.loss is not None
    assert found.result is not None
    assert found.result.challenger is not None
    assert found.plan is not None
    rows = Feed(config, load_plugins(config).feeds, day(156)).rows(found.plan.contract, found.plan.holdout)
    passed, serves = (stores.models.get(digest) for digest in (found.result.challenger.model, found.champion.model))
    unseen, known = (
        np.sqrt(((rows.y - steps.load_model(config, "lightgbm", files).predict(rows.x)) ** 2).mean())
        for files in (passed, serves)
    )
    assert known < 0.95 * unseen
    assert seen.facts.loss.promised == pytest.approx(unseen, rel=0.01)


class Blind:
    """A model that answers nothing."""

    def __init__(self, model: FittedModel) -> None:
        self.files, self.importance = model.files, model.importance

    def predict(self, x: np.ndarray) -> np.ndarray:
        return np.full(len(x), np.nan)


@pytest.mark.parametrize("broken", ["nan", "worse"])
def test_a_refit_that_went_wrong_is_dropped_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    ours = refitting.follow

    def strange(family: Any, data: FitData, *asked: Any) -> Arms:
        y = -data.train.y if broken == "worse" else data.train.y
        arms = ours(family, replace(data, train=replace(data.train, y=y)), *asked)
        trial, model = arms.models["challenger"]
        return arms if broken == "worse" else replace(arms, models={"challenger": (trial, Blind(model))})

    monkeypatch.setattr(refitting, "follow", strange)
    _, stores, found = promoted(tmp_path)
    assert found.outcome == "promoted"
    assert found.result is not None
    assert found.result.challenger is not None
    assert found.result.refit is None
    assert "the refit on all rows was dropped" in found.result.reason
    assert stores.champion(day(151)).model == found.result.challenger.model


def test_it_is_promoted_proved_and_undone_like_any_other(tmp_path: Path) -> None:
    config = load_config(world(tmp_path, days=180, changed=70, more=AFTER_PASS), environ={})
    stores = Stores.open(config)
    first = bootstrap(config, stores, day(100))
    found = retune(config, stores, day(150), policy=always)
    assert found.outcome == "promoted"
    told = verdict(stores, None, version=found.champion.version, decision=None, now=day(151))
    assert told.status == "PASS", told.rules
    assert stores.reconcile(strict=True) == []
    again = retune(config, stores, day(150), policy=always)
    assert canonical(again.champion) == canonical(found.champion)
    back = stores.rollback(None, "me", "for the test", day(152), lambda files: steps.reproduces(config, files))
    assert back.model == first.model
    assert stores.ledger.verify(config.name) == []
