"""What a search is given: rows to fit on, and its options."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np

from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.metrics import curve_loss_for, loss_for
from lr_retune.plugins import Plugins
from lr_retune.records import Budget, Contract, FitData, Past, Plan, Range, Rows, SearchOptions, micros


def fit_data(config: Config, feed: Feed, plan: Plan, gaps: tuple[str, ...]) -> FitData:
    """Labelled rows of a plan's train and valid."""
    train, valid = (feed.rows(plan.contract, span, gaps).labelled() for span in (plan.train, plan.valid))
    train = train if plan.since is None else train.emphasised(micros(plan.since))
    return fit_data_of(config, plan.contract, train, valid)


def fit_data_of(config: Config, contract: Contract, train: Rows, valid: Rows) -> FitData:
    """Rows as a family is asked to fit them."""
    return FitData(
        train=train,
        valid=valid,
        task=config.task,
        categorical=contract.categorical,
        objective=config.metric.name,
        curve_loss=curve_loss_for(config.metric),
        quantile=config.metric.quantile,
    )


def options_of(config: Config, plugins: Plugins, valid: Rows, past: Past) -> SearchOptions:
    """What the configuration asks of a search."""
    asked, family, began = config.search, plugins.family, time.perf_counter()
    return SearchOptions(
        space=user_range(config) or family.default_range,
        points=asked.points,
        max_steps=asked.max_steps,
        patience=asked.patience or family.default_patience,
        seed=config.seed,
        loss=users_loss(config, valid),
        schedules=family.default_schedules if asked.schedules is None else tuple(asked.schedules),
        effort=asked.effort,
        answer=asked.answer,
        steps_are_served=family.steps_are_served,
        earlier=past.trials,
        budget=Budget(asked.budget.fits, asked.budget.steps, asked.budget.seconds),
        elapsed=lambda: time.perf_counter() - began,
        progress=plugins.tell,
    )


def user_range(config: Config) -> Range | None:
    """The range of rates that the configuration sets."""
    asked = config.search.learning_rate
    return None if asked is None else Range(asked.low, asked.high)


def users_loss(config: Config, valid: Rows) -> Callable[[np.ndarray], float]:
    """The metric of the configuration on the labels of ``valid``."""
    return partial(loss_for(config.metric).value, valid.y)
