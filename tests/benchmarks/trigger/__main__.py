"""Does the trigger cry wolf or sleep: ``python -m tests.benchmarks.trigger [--quick] [--parts b,d] [--sets a,b]``.

a  generated streams with planted changes: false alarms and delays of every signal.
b  whole ticks of the shared sets in random order: nothing changes, but ticks differ as real ones do.
c  the planted changes again, with labels 28 ticks late.
d  the shared sets in their own order: policies by the loss that they would have had, each retrain promoted at once.
e  what one check costs.
choose  one profile for all? thresholds and ages, chosen for each set by the others.

Parts b and d train a model at every tick once and keep the losses in the folder for temporary files, so that any
policy is then exact: what it would have lost is read off. Rows are thinned to 24,000 a set and cut into 80 ticks of
whole days; labels come at the end of the tick. All decisions are made by the rules of `lr_retune.watch.policy` on the
evidence of `lr_retune.watch.series`; drift of single columns is no input here.

- ``excess %``: loss above the best policy of this run on the same set; ``over oracle's``: retrains over the fewest that
  reach the same loss with the times chosen afterwards; ``oracle's excess %``: of as many retrains at the best times.
- timers of equal loss are means over all phases; ``by age``: retrains that only ``max_age`` asked for.
- ``95 % bound``: of the mean over sets, sets drawn anew.

Part b takes ten minutes of two free cores, d two; less where the models are kept. ``--quick``: both on three sets.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable, Iterator

from tests.benchmarks.trigger import choose, made, matrix, policies, shuffled, tables
from tests.benchmarks.trigger.facts import configured

QUICK = ("dc_bikeshare", "employment_ma", "noaa_weather")
OURS = {
    "careful": configured(),
    "cheap_retrain": configured(profile="cheap_retrain"),
}
MORE = {  # what age and probes bring
    "careful, max_age 30": configured(max_age="30d"),
    "careful, no probe": configured(probe=False),
    "cheap, no probe": configured(profile="cheap_retrain", probe=False),
}
ELSEWHERE = {"c": "tests.benchmarks.trigger.late", "e": "tests.benchmarks.trigger.cost"}


def main() -> None:
    """Make the tables that were asked for."""
    parser = argparse.ArgumentParser(description="Does the trigger cry wolf or sleep.")
    parser.add_argument("--parts", default="a,b,c,d,e", help="comma separated, all by default")
    parser.add_argument("--sets", default=",".join(matrix.SETS), help="of parts b and d")
    parser.add_argument("--quick", action="store_true", help=f"only {', '.join(QUICK)}, and less of the rest")
    parser.add_argument("--lives", type=int, help="of each cell of part a, ten by default, half of 10,000 rows or more")
    parser.add_argument("--jobs", type=int, default=2, help="sets at a time")
    asked = parser.parse_args()
    names = QUICK if asked.quick else tuple(asked.sets.split(","))
    for part in asked.parts.split(","):
        began = time.monotonic()
        _say(f"({part})")
        for text in _part(part, names, asked):
            _say(text)
        _say(f"({part}) took {(time.monotonic() - began) / 60:.1f} minutes")


def _part(part: str, names: tuple[str, ...], asked: argparse.Namespace) -> Iterator[str]:
    """What it prints, piece by piece as it comes: an interruption loses only what is not there yet."""
    quick, jobs = asked.quick, asked.jobs
    if part == "a":
        return made.table(quick, asked.lives)
    if part == "b":
        return _random_order(names, quick, jobs)
    if part == "d":
        return _over_time(names, jobs)
    if part == "choose":
        return _chosen(names, quick, jobs)
    table: Callable[[bool], Iterator[str]] = importlib.import_module(ELSEWHERE[part]).table
    return table(quick)


def _over_time(names: tuple[str, ...], jobs: int) -> Iterator[str]:
    matrices, configs = matrix.load_all(names, jobs=jobs), OURS | MORE
    yield tables.settings(matrices, configs)
    yield tables.over_time(tables.Run(matrices, policies.table(matrices, configs)), list(OURS))


def _chosen(names: tuple[str, ...], quick: bool, jobs: int) -> Iterator[str]:
    matrices = matrix.load_all(names, jobs=jobs)
    best = tables.Run(matrices, policies.table(matrices, OURS | MORE)).best
    return choose.tables(matrices, best, shuffled.QUICK if quick else choose.ORDERS, jobs)


def _random_order(names: tuple[str, ...], quick: bool, jobs: int) -> Iterator[str]:
    matrices, configs = matrix.load_all(names, jobs=jobs), OURS | {"careful, no probe": MORE["careful, no probe"]}
    amount = shuffled.QUICK if quick else shuffled.Amount()
    yield tables.settings(matrices, configs)
    yield tables.in_random_order(shuffled.measured(names, configs, amount, jobs), list(OURS))
    yield tables.power(shuffled.power(names, configs, amount, jobs))


def _say(text: str) -> None:
    print(text, end="\n\n", flush=True)  # noqa: T201 what a benchmark is for


if __name__ == "__main__":
    main()
