"""A run that loses a race for the championship is judged again, against the winner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from lr_retune.config import Config, load_config
from lr_retune.errors import ConflictError
from lr_retune.records import Report, Span, canonical
from lr_retune.retune import bootstrap, retune
from lr_retune.stores.promotion import Stores
from lr_retune.watch.baselines import always_search
from tests.worlds import day, world

AT = day(130)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world(tmp_path_factory.mktemp("race"), changed=70, more="[policy]\nprobe = false")


def started(path: Path) -> Stores:
    config = load_config(path, environ={})
    stores = Stores.in_memory(config)
    bootstrap(config, stores, day(100))
    return stores


def run(stores: Stores, config: Config, **more: Any) -> Report:
    stores.config = config
    return retune(config, stores, more.pop("at", AT), policy=always_search, **more)


def overtaken(stores: Stores, rival: Config, at: datetime = AT) -> Callable[..., Any]:
    """A step of a run that another run overtakes just before it settles."""
    mine, waiting = stores.config, [rival]

    def step(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if function.__name__ == "settle" and waiting:
            assert run(stores, waiting.pop(), at=at).outcome == "promoted"
            stores.config = mine
        return function(*args, **kwargs)

    return step


def weak(config: Config) -> Config:
    params = {"num_leaves": 2, "max_bin": 2}
    search = config.search.model_copy(update={"max_steps": 3000})
    return config.model_copy(
        update={"model": config.model.model_copy(update={"params": params}), "search": search, "seed": 1}
    )


@pytest.mark.fault("E3")
def test_a_loser_ends_with_conflict_is_judged_against_the_winner_and_repeats_without_another_conflict(
    path: Path,
) -> None:
    stores = started(path)
    mine = stores.config
    with pytest.raises(ConflictError, match=r"judged against the new champion and is inconclusive") as error:
        run(stores, mine, step=overtaken(stores, mine.model_copy(update={"seed": 1})))
    assert error.value.exit_code == 5
    again = [run(stores, mine) for _ in range(2)]
    assert [found.outcome for found in again] == ["inconclusive", "inconclusive"]
    assert canonical(again[0]) == canonical(again[1])
    look = again[0].judgement.look  # type: ignore[union-attr]
    assert look is not None
    assert look.number == 2
    assert look.alpha == pytest.approx(0.05 / 12)  # its own first look and the winner's lie on these ticks
    assert again[0].champion.epoch == stores.ledger.head("demo").epoch == 2
    told = [(d.outcome, d.codes[-1]) for d in stores.history(day(131)).decisions]
    assert sorted(told, key=str) == [("inconclusive", "lost_race"), ("promoted", "always"), (None, "always")]
    assert stores.ledger.verify("demo") == []
    stores.reconcile(strict=True)
    assert stores.reconcile() == []


def test_a_loser_that_beats_the_winner_too_is_champion_after_it(path: Path) -> None:
    stores = started(path)
    mine = stores.config
    found = run(stores, mine, step=overtaken(stores, weak(mine)))
    assert (found.outcome, found.champion.epoch) == ("promoted", 3)
    assert found.decision.reasons[-1].code == "lost_race"
    assert found.judgement is not None
    assert found.judgement.attribution["rate"] is None  # no arm was fitted at the winner's rate
    assert stores.registry.alias("demo", "champion") == stores.ledger.head("demo").version
    assert stores.ledger.verify("demo") == []
    assert canonical(run(stores, mine)) == canonical(found)


def test_a_winner_that_knows_later_rows_is_not_met(path: Path) -> None:
    stores = started(path)
    mine = stores.config
    with pytest.raises(ConflictError, match="run again"):
        run(stores, mine, step=overtaken(stores, mine, at=day(131)))
    assert [d.outcome for d in stores.history(day(132)).decisions] == [None, "promoted"]


def test_nobody_won_where_the_champion_is_the_one_that_was_met(path: Path) -> None:
    stores = started(path)
    champion = stores.champion(AT)
    plan = stores.trained_on(champion)
    assert plan is not None
    assert stores.winners(champion, plan) == []
    assert stores.winners(replace(champion, epoch=0), plan) == [champion]
    earlier = replace(plan, holdout=Span(plan.holdout.start, day(99)))
    assert stores.winners(replace(champion, epoch=0), earlier) == []
