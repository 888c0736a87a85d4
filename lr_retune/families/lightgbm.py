"""Boosted trees: the only home of LightGBM."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import lightgbm as lgb
import numpy as np

from lr_retune import schedules
from lr_retune.errors import ConfigError, DataError, IntegrityError, RetuneError
from lr_retune.families.checks import check_rate, check_rows, constant_loss
from lr_retune.families.lightgbm_params import NOT_NEGATIVE, checked, complete
from lr_retune.records import Files, FitData, Fits, FittedModel, Range

MODEL_FILE = "model.txt"
_COUNTS = re.compile(r"^internal_count=(.*)$", re.MULTILINE)  # of each tree: rows that came by each node


class LightGBM:
    """Gradient boosted trees; the rate shrinks each tree.

    Parameters
    ----------
    params
        LightGBM's own parameters under any of its names; ``objective`` follows the metric unless given.
    threads
        Threads per fit; they change the time taken, not the trees.

    Raises
    ------
    ConfigError
        For parameters that are unknown, not the user's to set, or break early stopping.

    Examples
    --------
    >>> LightGBM({"num_leaves": 15}, threads=1).step_unit
    'rounds'
    """

    name = "lightgbm"
    step_unit = "rounds"
    default_rate = 0.05
    default_range = Range(0.004, 0.4)
    default_strategy = "bracket"
    default_patience = 50
    default_schedules: tuple[str, ...] = ("constant",)
    steps_are_served = True

    def __init__(self, params: Mapping[str, Any], threads: int) -> None:
        # LightGBM itself drops an unknown name with a warning; its alias table is the list of known ones.
        aliases = lgb.basic._ConfigAliases._get_all_param_aliases()
        self._params = checked(params, aliases)
        self._threads = threads

    def start(self, data: FitData, *, seed: int) -> Fits:
        """Check the rows and bin them once for all fits.

        Raises
        ------
        ConfigError
            If LightGBM refuses the parameters.
        DataError
            If the rows cannot be learned from.
        """
        params = complete(self._params, data, seed=seed, threads=self._threads)
        _check_data(data, params)
        with _translated(ConfigError, "LightGBM refuses model.params", fix="mend [model.params]"):
            fits = BoosterFits(params, data)
            fits.booster(self.default_rate)  # a bad value speaks here, not once per trial
        return fits

    def load(self, files: Files) -> FittedModel:
        """The model in ``model.txt``.

        Raises
        ------
        IntegrityError
            If the file is missing or torn.
        """
        if MODEL_FILE not in files:
            raise IntegrityError(f"the model folder has no {MODEL_FILE}", why=f"found {sorted(files)}")
        return BoosterModel(files[MODEL_FILE], self._threads)


class BoosterFits:
    """Boosters in memory over one binned Dataset."""

    def __init__(self, params: Mapping[str, Any], data: FitData) -> None:
        self._params = dict(params)
        self._data = data
        self._boosters: dict[int, lgb.Booster] = {}
        self._shapes: dict[int, tuple[schedules.Schedule, float]] = {}  # of fits whose rate changes, with its start
        self._started = 0
        # Neutral names: LightGBM refuses the special characters of JSON; the contract keeps the real ones.
        names = [f"f{i}" for i in range(data.train.x.shape[1])]
        self._train = lgb.Dataset(
            data.train.x,
            data.train.y,
            weight=data.train.weight,
            feature_name=names,
            categorical_feature=list(data.categorical),
            params=dict(params),
        ).construct()
        self._valid = self._train.create_valid(data.valid.x, data.valid.y, params=dict(params)).construct()

    @property
    def train_rows(self) -> int:
        """Rows trained on."""
        return len(self._data.train)

    @property
    def baseline(self) -> float:
        """Curve loss on valid of the best constant learned on train."""
        return constant_loss(self._data)

    def add(self, learning_rate: float, schedule: str = "constant") -> int:
        """Start a fit; raises ConfigError for a rate that is no step, or a schedule that trees cannot follow."""
        check_rate(learning_rate)
        shape = _followed(schedule)
        with _translated(ConfigError, f"LightGBM refuses the rate {learning_rate:g}"):
            booster = self.booster(learning_rate)
        handle = self._started
        self._started += 1
        self._boosters[handle] = booster
        if shape is not None:
            self._shapes[handle] = (shape, learning_rate)
        return handle

    def booster(self, learning_rate: float) -> lgb.Booster:
        """A Booster without trees on the shared rows."""
        booster = lgb.Booster(self._params | {"learning_rate": learning_rate}, self._train)
        return booster.add_valid(self._valid, "valid")

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        """Grow ``steps`` more trees per fit; shorter where no leaf can be split any more."""
        with np.errstate(all="ignore"), _translated(DataError, "LightGBM cannot train on these rows"):
            return [self._grow(handle, steps) for handle in which]

    def _grow(self, handle: int, steps: int) -> np.ndarray:
        curve: list[float] = []
        booster = self._boosters[handle]
        look = self._observer(curve)
        for rate in self._rates(handle, steps):
            if rate is not None:
                booster.reset_parameter({"learning_rate": rate})
            if booster.update():
                break
            booster.eval_valid(look)
        return np.array(curve, dtype=np.float64)

    def _rates(self, handle: int, steps: int) -> list[float | None]:
        """The rate of each of the next rounds; None: as it is."""
        if handle not in self._shapes:
            return [None] * steps
        done, end = self._boosters[handle].current_iteration(), self._shapes[handle][0].end
        rounds = np.arange(done, done + steps if end is None else min(done + steps, end))
        return list(map(float, schedules.rates(*self._shapes[handle], rounds, per_epoch=1)))

    def _observer(self, curve: list[float]) -> Callable[[np.ndarray, Any], tuple[str, float, bool]]:
        y, loss = self._data.valid.y, self._data.curve_loss

        def look(score: np.ndarray, _rows: Any) -> tuple[str, float, bool]:
            # LightGBM adds each new tree to the valid scores it keeps, so a look costs no prediction.
            curve.append(float(loss(y, score)))
            return "curve", curve[-1], False

        return look

    def set_rate(self, which: int, learning_rate: float) -> None:
        """Shrink by another rate from the next tree on."""
        check_rate(learning_rate)
        self._shapes.pop(which, None)
        self._boosters[which].reset_parameter({"learning_rate": learning_rate})

    def score(self, which: int, steps: int) -> np.ndarray:
        """Scores of the valid rows, shape ``(n_valid,)``."""
        booster = self._grown(which, steps)
        threads = self._params["num_threads"]
        return np.asarray(booster.predict(self._data.valid.x, num_iteration=steps, num_threads=threads))

    def drop(self, which: int) -> None:
        """Free the trees of a fit; dropping twice does nothing."""
        self._boosters.pop(which, None)

    def finish(self, which: int, steps: int) -> FittedModel:
        """The first ``steps`` trees as a model of their own."""
        booster = self._grown(which, steps)
        if which in self._shapes:  # the text tells the last rate, and the fit may have gone further than it is cut
            (rate,) = schedules.rates(*self._shapes[which], np.array([steps - 1]), per_epoch=1)
            booster.reset_parameter({"learning_rate": float(rate)})
        text = booster.model_to_string(num_iteration=steps)
        return BoosterModel(text.encode(), self._params["num_threads"])

    def _grown(self, which: int, steps: int) -> lgb.Booster:
        booster = self._boosters[which]
        grown = booster.current_iteration()
        if not 1 <= steps <= grown:  # LightGBM reads 0 as "all trees"
            raise ValueError(f"1 <= steps <= {grown} (trees grown) must hold, got {steps}")
        return booster


class BoosterModel:
    """Trees as they are stored: what is judged is what was read back from the text."""

    def __init__(self, text: bytes, threads: int) -> None:
        # A torn text ends the whole process inside LightGBM's parser, so its two ends are looked at first.
        if not text.startswith(b"tree\n") or b"\nend of parameters\n" not in text:
            raise IntegrityError(f"{MODEL_FILE} is torn or no LightGBM text", fix="restore the file")
        self._text = text
        self._threads = threads
        with _translated(IntegrityError, f"{MODEL_FILE} cannot be read", fix="restore the file"):
            self._booster = lgb.Booster(model_str=text.decode())

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Probabilities of class 1, or values, shape ``(n,)``; raises DataError for another number of features."""
        if not len(x):
            return np.empty(0)
        with _translated(DataError, "the model cannot score these rows"):
            return np.asarray(self._booster.predict(x, num_threads=self._threads), dtype=np.float64)

    def importance(self) -> np.ndarray:
        """Share of the total gain per feature, shape ``(n_features,)``."""
        gain = np.asarray(self._booster.feature_importance("gain"), dtype=np.float64)
        total = gain.sum()
        return gain / total if total > 0 else np.zeros_like(gain)

    def work(self) -> float:
        """Nodes that a row visits, all trees together: the mean over the rows that they were grown on."""
        counts = (np.array(found.split(), dtype=float) for found in _COUNTS.findall(self._text.decode()))
        return float(sum(each.sum() / each[0] for each in counts if len(each)))

    def files(self) -> dict[str, bytes]:
        """LightGBM's native text."""
        return {MODEL_FILE: self._text}


def _followed(schedule: str) -> schedules.Schedule | None:
    """How the rate changes from round to round; None where it does not."""
    found = schedules.parse(schedule)
    if found.name in ("optimal", "adaptive"):
        why = "it belongs to gradient descent: it follows the penalty, or divides by 5 where an epoch brings nothing"
        raise ConfigError(f"boosted trees have no schedule {schedule!r}", why=why, fix="see [search] schedules")
    return None if found.name == "constant" else found


def _check_data(data: FitData, params: Mapping[str, Any]) -> None:
    leaf = params.get("min_data_in_leaf", 20)  # LightGBM's default; what is no number it refuses itself
    check_rows(data, least=max(2, 2 * leaf) if isinstance(leaf, int) else 2)
    low = float(data.train.y.min())
    if params["objective"] in NOT_NEGATIVE and (low < 0 or (params["objective"] == "gamma" and low == 0)):
        raise DataError(
            f"a training label is {low:g}",
            why=f"objective {params['objective']} needs labels {'above' if params['objective'] == 'gamma' else '>='} 0",
            fix="choose another [metric] name or objective, or check the label column",
        )


@contextmanager
def _translated(kind: type[RetuneError], what: str, fix: str = "") -> Iterator[None]:
    try:
        yield
    except lgb.basic.LightGBMError as error:
        raise kind(what, why=" ".join(str(error).split()), fix=fix) from error
