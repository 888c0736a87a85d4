"""What our default would have brought on every shared set: ``python -m tests.benchmarks.policies``.

Each set of ../shared/data is walked at 24 to 51 run times, on at most 24,000 rows (the simulated fraud: 72,000, or no
holdout would hold 20 frauds), holdout, gates and late labels as in production. All figures but seconds are the same on
every run. Answers are kept in a folder, so a benchmark that was stopped is taken up where it was.

- ``loss``: of the set's metric, every row scored by the model in production when it came (prequential).
- ``excess %``: above the best line of the set in this table; ``never %``: above never.
- ``ticks %``, ``runs %``: retrained, of the calendar's ticks and of run times (which lie 2 to 39 ticks apart).
- ``work %``: counted work (probes and final refits included) of a search by grid10 at
  every run; that is measured at every tenth run (line ``grid10/10``) and taken ten times.
- ``policy-ungated``: our trigger without its judge; ``always-ungated``: a clock without one.
- variants of our default: ``none`` does not refit what passed; ``age-90d`` looks again after 90 days instead of 30;
  ``short`` and ``long`` halve and double train, valid and holdout. The last table chooses among those that every set
  was walked by, by leave-one-set-out.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.policies.measure import measured
from tests.benchmarks.policies.tables import lines
from tests.benchmarks.sets import SETS


def main() -> None:
    """Walk the sets that were asked for, and print what is known of all of them."""
    parser = argparse.ArgumentParser(description="Policies over every shared set.")
    parser.add_argument("--sets", default=",".join(SETS), help="comma separated, all by default")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "lr_retune_policies")
    parser.add_argument("--arms", default="", help="comma separated, all by default")
    asked = parser.parse_args()
    arms = [name for name in asked.arms.split(",") if name]
    found = {name: measured(name, asked.cache, arms, _tell) for name in asked.sets.split(",")}
    print("\n".join(lines(found)))  # noqa: T201


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)  # noqa: T201 what a benchmark is for


if __name__ == "__main__":
    main()
