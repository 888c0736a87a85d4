"""What was rolled back stays away until a person lifts it, whoever asks."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from lr_retune.errors import ConfigError, HeldError
from lr_retune.stores.freeze import frozen, lift
from lr_retune.stores.promotion import Stores

_spec = importlib.util.spec_from_file_location("store_rig", Path(__file__).with_name("store_rig.py"))
assert _spec is not None
assert _spec.loader is not None
rig = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(rig)

AT = rig.BORN + 13 * rig.DAY
BACK, NOW = AT + rig.DAY, AT + 2 * rig.DAY
SAID = {"actor": "bob", "reason": "the feed was wrong, not the model"}


def yes(_files: object) -> bool:
    return True


@pytest.fixture
def stores(tmp_path: Path) -> Stores:
    """Version 2 was promoted and rolled back to version 1."""
    found = Stores.in_memory(rig.config(tmp_path))
    rig.born(found)
    rig.promote(found)
    found.rollback(None, "ann", "complaints", BACK, yes)
    return found


@pytest.mark.fault("H5")
def test_a_frozen_model_is_refused_to_runs_and_to_people(stores: Stores) -> None:
    (held,) = frozen(stores)
    assert (held["version"], held["by"], held["reason"]) == ("2", "ann", "complaints")
    again = rig.promote(stores, days=20)
    assert (again.outcome, again.judgement.verdicts[-1].code) == ("rejected", "LRR401")
    with pytest.raises(HeldError, match="lr-retune lift"):
        stores.rollback("2", "ann", "second thoughts", NOW, yes)
    assert stores.ledger.head("fraud").version == "1"
    assert stores.ledger.verify("fraud") == []


def test_a_lifted_model_may_come_back_and_be_frozen_again(stores: Stores) -> None:
    digest, held = lift(stores, "2", now=NOW, **SAID)
    assert held is not None
    assert held.why == "complaints"
    assert frozen(stores) == []
    assert lift(stores, digest[:8], now=NOW, **SAID) == (digest, None)
    row = stores.ledger.last("fraud")
    assert (row.kind, row.record["actor"], row.record["reason"]) == ("lift", SAID["actor"], SAID["reason"])
    again = rig.promote(stores, days=20)
    assert (again.outcome, again.champion.model) == ("promoted", digest)
    stores.rollback(None, "ann", "complaints again", AT + 20 * rig.DAY, yes)
    assert [each["model"] for each in frozen(stores)] == [digest]
    assert lift(stores, "2", now=NOW, **SAID)[1] is not None  # the same words at the same time lift the second freeze
    assert frozen(stores) == []
    assert stores.ledger.verify("fraud") == []


@pytest.mark.parametrize("words", [{"actor": ""}, {"reason": " "}])
def test_a_lift_says_who_and_why(stores: Stores, words: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="--actor and --reason"):
        lift(stores, "2", now=NOW, **{**SAID, **words})
    with pytest.raises(ConfigError, match="was never champion"):
        lift(stores, "7", now=NOW, **SAID)
    assert len(frozen(stores)) == 1


def test_an_audit_finds_a_frozen_model_that_was_promoted_all_the_same(stores: Stores) -> None:
    stores._chronicle._frozen.clear()  # a process that does not know of the rollback
    rig.promote(stores, days=20)
    assert "which is frozen" in " ".join(stores.ledger.verify("fraud"))
