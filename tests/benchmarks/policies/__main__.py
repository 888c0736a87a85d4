"""What our default would have brought on every shared set: ``python -m tests.benchmarks.policies``.

Each set of ../shared/data is walked at every tick, as a scheduled job would, on at most 24,000 rows (the simulated
fraud: 72,000, or no holdout would hold 20 frauds), holdout, gates and late labels as in production. All figures but
seconds are the same on every run. Answers are kept in a folder, so a benchmark that was stopped is taken up where it
was; each set of ``--sets`` may be asked in a process of its own, and the last one prints them all.

- ``loss``: of the set's metric, every row scored by the model in production when it came (prequential).
- ``excess %``: above the best line of the set in this table; ``never %``: above never.
- ``ticks %``: retrained, of all ticks; ``most``: of the set where it is most.
- ``work %``: counted work (searches, refits, final refits and probes) of a search by grid10 at every tick; that is
  measured by ``clock+grid10``, which searches every few months, and taken for all ticks.
- ``policy-ungated``: our trigger without its judge; ``clock``: a refit every week or two, judged and unjudged.
- variants of our default: ``cheap`` is the other profile; ``none`` does not refit what passed; ``age-60`` and
  ``age-90`` look again after as many ticks instead of 30; ``short`` and ``long`` halve and double train, valid and
  holdout. The last table chooses among those that every set was walked by, by leave-one-set-out.
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
