"""Trials that do not wait for each other, trained side by side by other processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lr_retune.records import Family, FitData, Role, SearchOptions, Trial
from lr_retune.search.early_stop import fit

Asked = Sequence[tuple[int, float]]  # number and rate, in the order of the search


def side_by_side(family: Family, data: FitData, options: SearchOptions, jobs: int) -> SearchOptions:
    """Options whose ``ahead`` trains trials in ``jobs`` processes; each bins the rows for itself.

    The trials are those of a search that trains one after the other, so is the answer. Only their books come back:
    the winner is trained once more where it is wanted. joblib runs them, on this machine or on the backend that a
    caller of Python has set (``joblib.parallel_config(backend="dask")``).
    """
    alone = replace(options, recall=lambda *_: None, remember=lambda _: None, progress=lambda _: None)

    def ahead(asked: Asked) -> Mapping[int, Trial]:
        from joblib import Parallel, delayed

        new = [(number, rate) for number, rate in asked if not options.recall(number, rate, "constant", "candidate")]
        trials = Parallel(n_jobs=jobs)(delayed(_one)(family, data, alone, *trial) for trial in new)
        for trial in trials:
            options.remember(trial)
        return {trial.number: trial for trial in trials}

    return replace(options, ahead=ahead)


def _one(family: Family, data: FitData, options: SearchOptions, number: int, rate: float) -> Trial:
    return fit(family.start(data, seed=options.seed), rate, number, options)[0]


def known(asked: Asked, options: SearchOptions) -> SearchOptions:
    """The same options, with the trials that could be trained beforehand."""
    trials = options.ahead(asked)

    def recall(number: int, rate: float, schedule: str, role: Role) -> Trial | None:
        found = trials.get(number) if role == "candidate" else None
        return found or options.recall(number, rate, schedule, role)

    return replace(options, recall=recall) if trials else options
