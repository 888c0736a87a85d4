"""Optuna's own search, TPE with Hyperband, over our live fits: the only home of Optuna."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lr_retune.errors import ConfigError
from lr_retune.records import Fits, Range, SearchOptions, Trial
from lr_retune.search import leader
from lr_retune.search.budget import left, spent
from lr_retune.search.runner import Runner, advance, begin, found

try:
    from optuna import Study, create_study, logging
    from optuna.distributions import FloatDistribution
    from optuna.pruners import HyperbandPruner
    from optuna.samplers import TPESampler
    from optuna.trial import Trial as Asked
    from optuna.trial import TrialState
except ImportError as error:
    raise ConfigError(
        f"strategy optuna cannot be loaded: {error}",
        why="Optuna is an extra of its own",
        fix="pip install 'lr-retune[optuna]', or choose another [search] strategy",
    ) from error

STARTUP = 4  # random rates before TPE speaks; Optuna's own 10 would leave it nothing of [search] points = 10
REDUCTION = 3  # Hyperband's own default
NAME = "lr-retune"  # Hyperband deals trials to its brackets by study name and trial number


def optuna(fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
    """``points`` rates that TPE draws from ``seed``; Hyperband prunes by the curve, from half of the patience on.

    The study lives in memory and ends with the search.
    """
    told: list[tuple[Trial, int]] = []
    points = 1 if options.space.low == options.space.high else options.points
    with _quiet():
        study = _study(options)
        for number in range(points):
            if spent(told, options):
                break
            asked = study.ask({"learning_rate": _distribution(options.space)})
            runner = begin(fits, number, _rate(asked, options.space), options)
            _train(fits, runner, asked, left(told, options))
            leader.add(told, found(fits, runner, options), fits)
            _tell(study, asked, told[-1][0])
    return told


def _study(options: SearchOptions) -> Study:
    sampler = TPESampler(n_startup_trials=STARTUP, seed=options.seed)
    pruner = HyperbandPruner(_first(options), max(_first(options), options.max_steps), REDUCTION)
    return create_study(sampler=sampler, pruner=pruner, study_name=NAME, direction="minimize")


def _first(options: SearchOptions) -> int:
    """The step of the first look."""
    return max(1, options.patience // 2)


def _distribution(space: Range) -> FloatDistribution:
    return FloatDistribution(space.low, space.high, log=space.log)


def _rate(asked: Asked, space: Range) -> float:
    """Six digits, as the last bits of what is drawn differ between machines, and within the walls."""
    return min(max(float(f"{asked.params['learning_rate']:.6g}"), space.low), space.high)


def _train(fits: Fits, runner: Runner, asked: Asked, options: SearchOptions) -> None:
    """Train to the end of patience, or until the pruner says no at a rung; it hears the lowest loss so far."""
    step = _first(options)
    while runner.state is None and runner.trained < options.max_steps:
        advance(fits, [runner], step, options)
        if runner.state is None and runner.trained == step:
            asked.report(runner.lowest, step)
            if asked.should_prune():
                runner.end("pruned", f"Hyperband's word after {step} steps")
        step *= REDUCTION


def _tell(study: Study, asked: Asked, trial: Trial) -> None:
    """What TPE may learn from; a fit that was starved counts as one cut where it stood."""
    if trial.state == "complete":
        study.tell(asked, trial.loss)
    elif trial.state == "failed":
        study.tell(asked, state=TrialState.FAIL)
    else:
        study.tell(asked, state=TrialState.PRUNED)


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna tells of each study on stderr, for the whole process."""
    before = logging.get_verbosity()
    logging.set_verbosity(logging.WARNING)
    try:
        yield
    finally:
        logging.set_verbosity(before)
