"""Trials that do not wait for each other, trained side by side by other processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from lr_retune.errors import ConfigError, DependencyError
from lr_retune.records import Family, FitData, Role, SearchOptions, Trial
from lr_retune.search.early_stop import fit

PATIENCE = 10  # seconds for a scheduler to answer
Asked = Sequence[tuple[int, float]]  # number and rate, in the order of the search


def side_by_side(
    family: Family, data: FitData, options: SearchOptions, *, jobs: int = -1, dask: str | None = None
) -> SearchOptions:
    """Options whose ``ahead`` trains trials in other processes; each bins the rows for itself.

    The trials are those of a search that trains one after the other, and so is the answer. Only their books come
    back: the winner is trained once more where it is wanted.

    Parameters
    ----------
    family, data, options
        As for one fit.
    jobs
        Processes on this machine; -1: as many as it has cores.
    dask
        Address of a Dask scheduler, whose workers are asked instead; they need the same packages.

    Raises
    ------
    ConfigError
        If Dask is asked for and not installed.
    DependencyError
        On the first trial, if the scheduler does not answer.
    """
    if dask is not None and find_spec("distributed") is None:
        fix = "pip install 'lr-retune[dask]', or leave out [search] dask"
        raise ConfigError("[search] dask needs a package that is not installed", fix=fix)
    alone = replace(options, recall=lambda *_: None, remember=lambda _: None, progress=lambda _: None)

    def ahead(asked: Asked) -> Mapping[int, Trial]:
        from joblib import Parallel, delayed

        new = [(number, rate) for number, rate in asked if not options.recall(number, rate, "constant", "candidate")]
        with _workers(dask), _told():
            trials = Parallel(n_jobs=jobs)(delayed(_one)(family, data, alone, *trial) for trial in new)
        for trial in trials:
            options.remember(trial)
        return {trial.number: trial for trial in trials}

    return replace(options, ahead=ahead)


@contextmanager
def _workers(dask: str | None) -> Iterator[None]:
    """Processes of this machine, or the workers of a scheduler."""
    if dask is None:
        yield
        return
    from distributed import Client
    from joblib import parallel_config

    try:
        client: Any = Client(dask, timeout=PATIENCE, set_as_default=False)  # type: ignore[no-untyped-call, unused-ignore]
    except OSError as error:
        why = f"no answer from {dask} within {PATIENCE} s"
        fix = "start it, or leave out [search] dask"
        raise DependencyError("the Dask scheduler is away", why=why, fix=fix) from error
    with client, client.as_current(), parallel_config(backend="dask"):
        yield


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenProcessPool as error:
        raise DependencyError(
            "a process of the search died",
            why="it was killed, most often for want of memory; no trial of these is known, the champion stays",
            fix="lower [search] jobs, or leave it out: then trials are trained one after the other",
        ) from error


def _one(family: Family, data: FitData, options: SearchOptions, number: int, rate: float) -> Trial:
    return fit(family.start(data, seed=options.seed), rate, number, options)[0]


def known(asked: Asked, options: SearchOptions) -> SearchOptions:
    """The same options, with the trials that could be trained beforehand."""
    trials = options.ahead(asked)

    def recall(number: int, rate: float, schedule: str, role: Role) -> Trial | None:
        found = trials.get(number) if role == "candidate" else None
        return found or options.recall(number, rate, schedule, role)

    return replace(options, recall=recall) if trials else options
