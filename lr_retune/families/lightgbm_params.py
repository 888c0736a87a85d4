"""Which LightGBM parameters a user may set, and which objective a metric asks for."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lr_retune.errors import ConfigError
from lr_retune.records import FitData

OBJECTIVES = {"mae": "regression_l1", "wape": "regression_l1", "poisson": "poisson", "pinball": "quantile"}
_SQUARED = frozenset({"regression", "l2", "mse", "rmse"})
_ABSOLUTE = frozenset({"regression_l1", "l1", "mae", "mape", "quantile", "huber", "fair"})
_COUNTS = frozenset({"poisson", "tweedie", "gamma"})
REGRESSION = _SQUARED | _ABSOLUTE | _COUNTS
BINARY = frozenset({"binary", "cross_entropy", "xentropy"})
NOT_NEGATIVE = _COUNTS

_NAMED_ELSEWHERE = {
    "learning_rate": "it is what is searched: [search] learning_rate",
    "num_iterations": "rounds are found by early stopping: [search] max_steps",
    "early_stopping_round": "it stands in [search] patience",
    "num_threads": "it stands in [model] threads",
    "seed": "it stands at the top of retune.toml",
    "metric": "it stands in [metric] name",
    "deterministic": "it is always on: the same rows must give the same bytes",
    "verbosity": "LightGBM is kept silent: its lines would mix with the command's output",
    "categorical_feature": "it stands in [data] categorical",
}
_FILES = frozenset({"config", "data", "valid", "input_model", "output_model", "save_binary", "forcedbins_filename"})
_MORE_FILES = frozenset({"convert_model", "snapshot_freq", "parser_config_file", "forcedsplits_filename"})
_NETWORK = frozenset({"machines", "machine_list_filename", "num_machines"})
_SHAPE = frozenset({"task", "num_class"})
_OUTSIDE_WORLD = _FILES | _MORE_FILES | _NETWORK | _SHAPE
_PER_FEATURE = ("monotone_constraints", "feature_contri", "max_bin_by_feature")
_BOOSTING = {
    "dart": "DART changes trees already grown, so a curve's best round cannot be cut out (LightGBM itself "
    "ignores early stopping there)",
    "rf": "a random forest has no learning rate",
    "random_forest": "a random forest has no learning rate",
}


def checked(params: Mapping[str, Any], aliases: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """User parameters under LightGBM's main names.

    Parameters
    ----------
    params
        ``[model.params]`` of retune.toml.
    aliases
        Main name → all names that LightGBM knows it by.

    Raises
    ------
    ConfigError
        For a name that is unknown, given twice or not the user's to set, and for boosting without early stopping.
    """
    main = {alias: name for name, known in aliases.items() for alias in (name, *known)}
    found: dict[str, Any] = {}
    for given in sorted(params):
        name = _main_name(given, main)
        if name in found:
            raise ConfigError(f"model.params names {name} twice (once as {given})", fix="keep one of the names")
        found[name] = params[given]
    _check_boosting(found.get("boosting", "gbdt"))
    return found


def _main_name(given: str, main: Mapping[str, str]) -> str:
    name = main.get(given)
    if name is None:
        near = difflib.get_close_matches(given, sorted(main), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "see LightGBM's list of parameters"
        raise ConfigError(f"model.params: LightGBM knows no parameter {given[:80]!r}", fix=hint)
    if name in _NAMED_ELSEWHERE:
        raise ConfigError(f"model.params must not name {given}", why=_NAMED_ELSEWHERE[name], fix="remove it there")
    if name in _OUTSIDE_WORLD:
        why = "it makes LightGBM read or write files, use the network, or answer in another shape"
        raise ConfigError(f"model.params must not name {given}", why=why, fix="remove it there")
    return name


def _check_boosting(boosting: Any) -> None:
    if boosting in _BOOSTING:
        fix = 'use boosting = "gbdt", the default'
        raise ConfigError(f"boosting = {boosting!r} cannot be tuned here", why=_BOOSTING[boosting], fix=fix)


def complete(user: Mapping[str, Any], data: FitData, *, seed: int, threads: int) -> dict[str, Any]:
    """All parameters of a fit but its rate: what the metric asks for, the user's own, what makes fits repeatable.

    Raises
    ------
    ConfigError
        If the user's objective does not fit the task, or a list does not fit the features.
    """
    _check_lists(user, data)
    params: dict[str, Any] = _objective(data)
    if "force_col_wise" not in user and "force_row_wise" not in user:
        # Left open, LightGBM times both layouts and takes the faster one of the day: other sums, other trees.
        params["force_row_wise"] = True
    params.update(user)
    allowed = BINARY if data.task == "binary" else REGRESSION
    if params["objective"] not in allowed:
        raise ConfigError(
            f"objective = {params['objective']!r} does not fit a {data.task} task",
            why="its scores could not be compared with the champion's",
            fix=f"use one of {', '.join(sorted(allowed))}",
        )
    return params | {"metric": "None", "deterministic": True, "seed": seed, "num_threads": threads, "verbosity": -1}


def _objective(data: FitData) -> dict[str, Any]:
    if data.task == "binary":
        return {"objective": "binary"}
    name = OBJECTIVES.get(data.objective, "regression")
    return {"objective": name, "alpha": data.quantile} if name == "quantile" else {"objective": name}


def _check_lists(user: Mapping[str, Any], data: FitData) -> None:
    """LightGBM ends the whole process over a list of the wrong length or a feature that is not there."""
    features = data.train.x.shape[1]
    named = [int(n) for n in re.findall(r"-?\d+", str(user.get("interaction_constraints", "")))]
    if any(not 0 <= n < features for n in named):
        seen = f"model.params.interaction_constraints names a feature outside 0 to {features - 1}"
        raise ConfigError(seen, fix="name features by their position in the contract")
    for name in _PER_FEATURE:
        values = _listed(user.get(name, ()))
        if name in user and len(values) != features:
            seen = f"model.params.{name} has {len(values)} values for {features} features"
            raise ConfigError(seen, fix="give one value per feature, in the order of the contract")
        if name == "monotone_constraints" and (bent := [i for i in data.categorical if values and values[i] != "0"]):
            seen = f"model.params.{name} constrains the category columns at positions {bent}"
            raise ConfigError(seen, why="categories have no order", fix="give 0 there")


def _listed(value: Any) -> list[str]:
    """LightGBM takes lists as text, ``"1,0,-1"``."""
    items = value.strip("[] ").split(",") if isinstance(value, str) else value
    return [str(item).strip() for item in (items if isinstance(items, (list, tuple)) else [items])]
