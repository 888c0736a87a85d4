"""Whether what passed should be fitted once more on all rows: ``python -m tests.benchmarks.refit``.

Every set of ../shared/data is walked twice by the same policies, with ``[promote] refit`` "none" and "after_pass". All
figures are the same on every run and machine.

- ``none``, ``after_pass``: prequential loss of the metric, each row scored by the model in production when it came.
- ``change %``: of the second against the first; negative is better.
- ``promoted``: challengers that became champion, of those trained, with "none" and with "after_pass".
- ``more work %``: training row-steps of the refits beside those of all other fits of these runs.

``never`` serves the first model throughout, so it tells what the first model's own refit brought. The last lines are
mean, median and worst over the sets, and how many of them were better.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

from lr_retune.config import Config
from lr_retune.records import Report
from lr_retune.replay import Walk, instants, tabulate, walk
from tests.benchmarks.sets import SETS, Setup, configured

POLICIES = ("never", "always", "always-ungated", "policy")
MODES = ("none", "after_pass")


@dataclass(frozen=True)
class Line:
    """One policy on one set, both ways."""

    policy: str
    loss: tuple[float, ...]
    promoted: tuple[str, ...]
    more: float

    @property
    def change(self) -> float:
        """Per cent."""
        return (self.loss[1] / self.loss[0] - 1) * 100


def measured(name: str, setup: Setup, policies: Sequence[str], folder: Path) -> list[Line]:
    """All policies on one set."""
    walks = {}
    for refit in MODES:
        config = configured(name, setup, folder, refit)
        walks[refit] = list(_walked(config, setup, policies))
    tables = {refit: tabulate(config, walked).policies for refit, walked in walks.items()}
    return [
        Line(
            policy,
            tuple(tables[refit][n].loss for refit in MODES),
            tuple(f"{tables[refit][n].promotions}/{tables[refit][n].retrains}" for refit in MODES),
            _more(walks["after_pass"][n]),
        )
        for n, policy in enumerate(policies)
    ]


def _walked(config: Config, setup: Setup, policies: Sequence[str]) -> Iterator[Walk]:
    timed = instants(config, setup.start, setup.end, setup.every)
    looked = instants(config, setup.start, timed[-1], math.gcd(setup.every, setup.look))
    timers = walk(config, timed, [name for name in policies if name != "policy"], progress=_progress)
    for name in policies:
        yield walk(config, looked, [name], progress=_progress)[0] if name == "policy" else timers.pop(0)


def _more(walked: Walk) -> float:
    done = [r.result.cost for r in walked.reports if isinstance(r, Report) and r.result is not None]
    refits = sum(cost["refit"].row_steps for cost in done if "refit" in cost)
    rest = sum(each.row_steps for cost in done for role, each in cost.items() if role != "refit")
    return 100 * refits / rest if rest else 0.0


def told(lines: Mapping[str, Sequence[Line]]) -> Iterator[str]:
    """The table."""
    form = "{:<20} {:<15} {:>9} {:>11} {:>9} {:>9} {:>11} {:>12}"
    yield form.format("set", "policy", "none", "after_pass", "change %", "promoted", "after_pass", "more work %")
    for name, each in lines.items():
        for line in each:
            first, second = (f"{loss:.4g}" for loss in line.loss)
            yield form.format(
                name, line.policy, first, second, f"{line.change:+.2f}", *line.promoted, f"{line.more:.0f}"
            )
    yield ""
    form = "{:<20} {:<15} {:>9} {:>9} {:>9} {:>9}"
    yield form.format("over the sets", "policy", "mean", "median", "worst", "better")
    for n, line in enumerate(next(iter(lines.values()))):
        found = [each[n].change for each in lines.values()]
        figures = (f"{value:+.2f}" for value in (fmean(found), median(found), max(found)))
        yield form.format("", line.policy, *figures, f"{sum(c < 0 for c in found)}/{len(found)}")


def _progress(message: str) -> None:
    print(f"\r{message:<40}", end="", file=sys.stderr, flush=True)  # noqa: T201 what a benchmark is for


def main() -> None:
    """Walk the sets that were asked for."""
    parser = argparse.ArgumentParser(description="Refit after a pass, against none, by replay.")
    parser.add_argument("--sets", default=",".join(SETS), help="comma separated, all by default")
    parser.add_argument("--policies", default=",".join(POLICIES))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines: dict[str, Sequence[Line]] = {}
        for name in asked.sets.split(","):
            lines[name] = measured(name, SETS[name], asked.policies.split(","), Path(folder))
            print(f"\r{name} is done{'':<40}", file=sys.stderr)  # noqa: T201
    print("\n".join(told(lines)))  # noqa: T201


if __name__ == "__main__":
    main()
