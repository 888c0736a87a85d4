"""Linear models by stochastic gradient descent: what the family promises and refuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lr_retune.errors import ConfigError
from lr_retune.families.checks import check_rows
from lr_retune.families.sgd_fits import SGDFits
from lr_retune.families.sgd_model import SGDModel
from lr_retune.families.sgd_params import checked, complete
from lr_retune.records import Files, FitData, Fits, FittedModel, Range


class SGD:
    """A linear model trained row by row; the rate scales each row's step.

    Numbers are clipped to the 0.1 % and 99.9 % quantiles of train, filled with its median and standardised;
    categories become one column per level of train, all 0 when missing or unseen. Labels of a regression are
    standardised while training, and weights of rows brought to a mean of 1, so a rate means the same whatever the
    units. How it changes over a fit is a schedule, see `lr_retune.schedules`.

    Parameters
    ----------
    params
        ``loss``, ``penalty``, ``alpha``, ``l1_ratio``, ``epsilon`` (in standard deviations of the labels),
        ``fit_intercept``, ``average`` of scikit-learn, and ``class_weight = "balanced"`` (which moves
        probabilities away from frequencies); the loss follows the metric unless given.
    threads
        Not used: one fit runs on one thread.

    Raises
    ------
    ConfigError
        For parameters that are unknown or not the user's to set.

    Examples
    --------
    >>> SGD({"alpha": 1e-5}, threads=1).step_unit
    'epochs'
    """

    name = "sgd"
    step_unit = "epochs"
    default_rate = 0.01  # eta0 of both SGDRegressor and SGDClassifier in scikit-learn 1.8 and later
    default_range = Range(1e-6, 10.0)
    default_strategy = "kpass"
    default_patience = 5
    default_schedules: tuple[str, ...] = ("constant", "exponential(4)", "adaptive(2)")
    steps_are_served = False

    def __init__(self, params: Mapping[str, Any], threads: int) -> None:  # noqa: ARG002 - the protocol's arguments
        self._params = checked(params)

    def start(self, data: FitData, *, seed: int) -> Fits:
        """Check the rows and transform them once for all fits.

        Raises
        ------
        ConfigError
            If the metric has no loss here, or scikit-learn refuses a parameter.
        DataError
            If the rows cannot be learned from.
        """
        check_rows(data, least=2)
        params = complete(self._params, data)
        fits = SGDFits(params, data, seed=seed, balanced=self._params.get("class_weight") == "balanced")
        try:
            fits.check()  # a bad value speaks here, not once per trial
        except ValueError as error:
            why = " ".join(str(error).split())
            raise ConfigError("scikit-learn refuses model.params", why=why, fix="mend [model.params]") from error
        return fits

    def load(self, files: Files) -> FittedModel:
        """The model in ``model.skops``.

        Raises
        ------
        IntegrityError
            If a file is missing or torn, or holds anything but our pipeline.
        """
        return SGDModel(files)
