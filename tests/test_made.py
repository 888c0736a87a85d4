"""The lives that the trigger's benchmark walks: short ones, so that its tables cannot rot."""

from __future__ import annotations

import pytest

from tests.benchmarks.trigger.lives import Life
from tests.benchmarks.trigger.made import Walk, delays, middle_of, upper
from tests.benchmarks.trigger.streams import CHANGES, STABLE, Change, Kind

SMALL = Kind(500)
PLANTED = {change.name: change for change in CHANGES}


def walk(change: Change, ticks: int, late: int = 0) -> Walk:
    life = Life(SMALL, seed=1, late=late)
    for _ in range(3):
        life.step(STABLE, 0)
    return Walk(change.name, tuple(life.step(change, since) for since in range(ticks)), 0.0)


@pytest.mark.parametrize("name", [change.name for change in CHANGES if change.fault])
def test_a_planted_fault_blocks_at_its_first_tick_and_trains_nothing(name: str) -> None:
    found = walk(PLANTED[name], 2)
    assert [seen.action for seen in found.seen] == ["fix_feed"] * 2
    assert set(found.seen[0].faults) == {"x0"}


def test_with_late_labels_a_moved_column_is_suspected_at_once_and_a_change_of_the_labels_is_not() -> None:
    moved, reversed_ = (walk(PLANTED[name], 2, late=28) for name in ("dominant +1.5 sd", "concept: dominant reversed"))
    assert moved.first(lambda seen: bool(seen.suspected)) == 1
    assert moved.named
    assert (moved.seen[0].estimated or 0.0) > 0.1
    assert reversed_.first(lambda seen: bool(seen.suspected)) is None
    assert not any(seen.alarm for seen in (*moved.seen, *reversed_.seen))


def test_harmless_columns_raise_nothing() -> None:
    found = walk(PLANTED["harmless: 17 columns +.8 sd"], 4)
    assert not any(seen.suspected or seen.faults or seen.trains for seen in found.seen)


def test_delays_count_those_that_never_find_it_last() -> None:
    assert middle_of([1, 3, None]) == 3
    assert middle_of([1, None, None]) is None
    assert (delays([2, None]), delays([None]), delays([1, 2])) == ("never (50 %)", "never", "1.5 (100 %)")
    assert upper(0, 1000) == pytest.approx(3.0, abs=0.01)  # the rule of three
