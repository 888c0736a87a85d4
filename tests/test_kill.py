import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RIG = Path(__file__).with_name("store_rig.py")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kill points are forked")
@pytest.mark.fault("E1", "E2", "E7")
def test_a_promotion_killed_at_any_outside_call_is_whole_again_after_one_reconcile(tmp_path):
    done = subprocess.run([sys.executable, str(RIG), str(tmp_path)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    points = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert points[-1]["where"] == "survived"
    killed = points[:-1]
    reached = {point["where"] for point in killed}
    assert {"ledger", "create_run", "create_model_version", "set_registered_model_alias", "log_batch"} <= reached
    assert len(killed) > 30
    assert {point["epoch"] for point in killed} == {1, 2}  # the old champion or the new one
    for point in killed:
        assert point["in_step"], point
        assert point["broken"] == point["again"] == point["open"] == point["clean"] == [], point
        # The run, repeated: promoted once, in one version, with nothing doubled and nothing left running.
        assert (point["outcome"], point["final_epoch"], point["final_in_step"]) == ("promoted", 2, True), point
        assert (point["versions"], point["previous"], point["moves"]) == (["1", "2"], "1", 1), point
        assert (point["trials"], point["unfinished_runs"]) == (2, []), point
