"""A challenger that the evidence did not decide meets the champion again on more ticks, and nothing is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lr_retune.config import load_config
from lr_retune.errors import ConfigError, ConflictError, HeldError
from lr_retune.records import Span, canonical
from lr_retune.rejudge import rejudge
from lr_retune.retune import bootstrap, retune
from lr_retune.stores.promotion import Stores
from lr_retune.watch.baselines import always
from tests.conftest import Answer
from tests.worlds import day, world


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return world(tmp_path_factory.mktemp("rejudge"), more="[policy]\nprobe = false")


def undecided(path: Path) -> tuple[Stores, str]:
    """A challenger on seven ticks, which is not much."""
    config = load_config(path, environ={})
    stores = Stores.in_memory(config)
    bootstrap(config, stores, day(100))
    found = retune(config, stores, day(120), policy=always)
    assert found.outcome == "inconclusive"
    return stores, found.decision.id


def test_a_challenger_is_judged_again_on_all_ticks_since_its_holdout_began_with_the_alpha_of_a_second_look(
    path: Path,
) -> None:
    stores, decision = undecided(path)
    first = stores.settlement(decision)
    assert first is not None
    found = rejudge(stores.config, stores, decision, day(141))
    assert found.plan is not None
    assert found.result is not None
    assert found.judgement is not None
    assert found.judgement.look is not None
    assert found.plan.holdout == Span(day(106), day(141))
    assert (found.judgement.look.number, found.judgement.look.ticks, found.judgement.look.fresh) == (2, 35, 21)
    assert found.judgement.look.alpha == pytest.approx(0.05 / 6)
    assert found.result.challenger is not None
    assert found.result.challenger.model == first.record["result"]["challenger"]["model"]
    second = stores.settlement(found.decision.id)
    assert second is not None
    assert second.record["judgement"]["look"]["alpha"] == found.judgement.look.alpha
    assert canonical(rejudge(stores.config, stores, decision, day(141))) == canonical(found)
    assert stores.ledger.verify("demo") == []
    past = stores.history(day(142))
    assert past.last_search == day(100)
    assert past.decisions[-1].codes == ("rejudged",)
    if found.outcome == "inconclusive":
        assert rejudge(stores.config, stores, found.decision.id, day(148)).judgement.look.number == 3  # type: ignore[union-attr]


def test_what_was_decided_or_would_say_the_same_or_met_another_champion_is_not_judged_again(path: Path) -> None:
    stores, decision = undecided(path)
    with pytest.raises(ConfigError, match="judged nobody"):
        rejudge(stores.config, stores, "nobody", day(141))
    with pytest.raises(HeldError, match="no tick after"):
        rejudge(stores.config, stores, decision, day(120))
    with pytest.raises(ConfigError, match="judged nobody"):
        rejudge(stores.config, stores, stores.champion(day(120)).decision, day(141))
    entry = stores.settlement(decision)
    assert entry is not None
    other = {**entry.record, "key": "k", "champion": {**entry.record["champion"], "epoch": 7}}
    other["decision"] = {**other["decision"], "id": "other"}
    stores.ledger.append("demo", "settlement", "k", day(120), other)
    with pytest.raises(ConflictError, match="another champion"):
        rejudge(stores.config, stores, "other", day(141))


def test_the_command_says_what_is_not_to_be_judged_again(cli: Callable[..., Answer], home: Path) -> None:
    found = cli("rejudge", "nobody", "-c", home / "retune.toml", "--json")
    assert (found.code, found.json["error"]["what"]) == (2, "decision nobody judged nobody")
