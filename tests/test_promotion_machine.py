import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.rig.machine import Promotions

STEPS = settings(max_examples=20, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.fault("E1", "E3", "E5", "H5")
def test_whatever_order_promotions_rollbacks_hands_and_crashes_come_in_one_champion_is_left() -> None:
    run_state_machine_as_test(Promotions, settings=STEPS)
