"""retune.toml: its names, defaults and laws, as frozen models."""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import json
import os
import re
import tomllib
import types
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PositiveInt,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticCustomError

from lr_retune.errors import ConfigError
from lr_retune.masks import remember

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
ENV_PREFIX = "LR_RETUNE__"
MAX_BYTES = 100_000  # a configuration is a page, not a data set
MAX_DEPTH = 20  # tables in tables: ours go three deep
MAX_DURATION = timedelta(days=36_500)  # a century; calendars end at year 1
_DEEP = re.compile(rf"(?<![\w\"'-])(?:[\w\"'-]+\s*\.\s*){{{MAX_DEPTH}}}")
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"  # of the environment
_DURATION = r"^[0-9]{1,10}(s|min|h|d|w)$"
_PASSWORD = re.compile(
    r"://[^/@\s]*:[^@]*@|[?&;][^=&;]*(?:password|passwd|pwd|secret|token|access_?key)[^=&;]*=(?!&|;|$)", re.IGNORECASE
)


def parse_duration(value: Any) -> Any:
    """``"28d"`` to a timedelta; units s, min, h, d, w."""
    if not isinstance(value, timedelta):
        if not (isinstance(value, str) and (match := re.fullmatch(_DURATION, value))):
            raise ValueError('must be a whole number and a unit (s, min, h, d, w), such as "28d"')
        if (seconds := int(value.removesuffix(match[1])) * _UNITS[match[1]]) > MAX_DURATION.total_seconds():
            raise ValueError(f"must be at most {MAX_DURATION.days:,} days")
        return timedelta(seconds=seconds)
    if value < timedelta(0) or value % timedelta(seconds=1):
        raise ValueError("must be whole seconds, and not negative")
    return value


def format_duration(value: timedelta) -> str:
    """The largest whole unit of a duration; weeks are told in days.

    >>> format_duration(timedelta(days=28)), format_duration(timedelta(hours=36))
    ('28d', '36h')
    """
    seconds = int(value.total_seconds())
    unit = next(u for u in ("d", "h", "min", "s") if seconds % _UNITS[u] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _DURATION}),
]


def _secret(value: Any) -> Any:
    """A literal password or token never stands in the file."""
    if isinstance(value, str) and _PASSWORD.search(value):
        raise ValueError('must not hold a password; write "env:NAME" or "file:PATH" instead')
    return value


Uri = Annotated[str, BeforeValidator(_secret), Field(min_length=1)]
Name = Annotated[str, Field(min_length=1)]  # of a column or a plug-in


def law(path: str, text: str) -> PydanticCustomError:
    """The error of a law that spans several keys, told at the key that should change."""
    return PydanticCustomError("law", "{text}", {"text": text, "path": path})


class Section(BaseModel):
    """Strict, frozen, no unknown keys, finite numbers only."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class Schedule(Section):
    """The calendar that time is cut by."""

    tick: Duration = timedelta(days=1)
    timezone: str = "UTC"

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError) as error:
            raise ValueError("must be an IANA time zone such as Europe/Paris") from error
        return value

    @field_validator("tick")
    @classmethod
    def _calendar_slot(cls, value: timedelta) -> timedelta:
        day = timedelta(days=1)
        if value <= timedelta(0) or (day % value if value < day else value % day):
            raise ValueError("must divide a day or be whole days, such as 1h, 6h, 1d, 7d")
        return value


class Where(Section):
    """Where one feed's rows are read from; which keys a source takes is the source's to say."""

    source: Name = "parquet"
    path: Uri | None = None  # a file, glob, folder or fsspec URL; duckdb: the database file
    url: Uri | None = None  # sql: the database
    table: Name | None = None  # sql, duckdb: a table or view, schema.name
    query: Name | None = None  # sql, duckdb: a SELECT in its place

    @property
    def given(self) -> bool:
        """Whether this feed exists apart from the rows."""
        return self.path is not None or self.url is not None

    @model_validator(mode="after")
    def _one_table(self) -> Self:
        if self.table is not None and self.query is not None:
            raise ValueError("table and query exclude each other: keep one")
        return self


class Data(Where):
    """Where rows come from and what their columns mean."""

    time: Name
    available_time: Name | None = None  # when the row itself arrived
    label: Name | None = None
    label_time: Name | None = None
    label_delay: Duration | None = None
    exclude: tuple[Name, ...] = Field(default=(), strict=False)
    features: tuple[Name, ...] | None = Field(default=None, strict=False, min_length=1)
    categorical: tuple[Name, ...] = Field(default=(), strict=False)
    id: Name | None = None
    score: Name | None = None  # the score that was served, where the rows hold it
    weight: Name | None = None
    entity: Name | None = None  # whom a row is about (customer, device): its rows share errors; may be a feature too
    lookback: Duration = timedelta(0)

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if not self.given:
            raise law("data.path", "required, and missing (or [data] url, for a source that reads a database)")
        return self

    @model_validator(mode="after")
    def _one_label_clock(self) -> Self:
        if self.label_time is not None and self.label_delay is not None:
            raise law("data.label_delay", "label_time and label_delay exclude each other: keep one")
        return self

    @model_validator(mode="after")
    def _columns_agree(self) -> Self:
        roles = "time, available_time, label, label_time, id, score and weight"
        if doubled := sorted({name for name in self.roles if self.roles.count(name) > 1}):
            raise law("data", f"{roles} must be different columns, {doubled} has two of these roles")
        if both := sorted({*(self.features or ()), *self.categorical} & set(self.roles)):
            raise law("data", f"features and categorical must not name {roles}, both name {both}")
        if self.entity in self.roles:
            raise law("data.entity", f"must be another column than {roles}, got {self.entity!r}")
        if both := sorted(set(self.features or ()) & set(self.exclude)):
            raise law("data.features", f"must not share columns with exclude, both name {both}")
        if self.features is not None and (more := sorted(set(self.categorical) - set(self.features))):
            raise law("data.categorical", f"must be among features, {more} is not")
        return self

    @property
    def roles(self) -> tuple[str, ...]:
        """Columns that are never features."""
        named = (self.time, self.available_time, self.label, self.label_time, self.id, self.score, self.weight)
        return tuple(name for name in named if name is not None)


class Labels(Where):
    """Where labels come from, when they stand apart from the rows, and when a tick's labels count as complete."""

    mode: Literal["known", "none"] = "known"  # none: production brings no labels
    quorum: float = Field(default=0.95, gt=0, le=1)
    max_delay: Duration | None = None
    key: Name | None = None  # the id of the labelled row; [data] id by default
    label: Name | None = None
    known_at: Name | None = None  # when this label, or this revision of it, became known

    @model_validator(mode="after")
    def _whole(self) -> Self:
        named = {"label": self.label, "known_at": self.known_at}
        if self.given and (lacking := [name for name, value in named.items() if value is None]):
            raise law(f"labels.{lacking[0]}", "required, and missing: labels in a feed of their own need it")
        if not self.given and (more := [name for name, value in {**named, "key": self.key}.items() if value]):
            raise law(f"labels.{more[0]}", "belongs to labels in a feed of their own: set [labels] path or url")
        return self


class Predictions(Where):
    """What was served: logged scores, to be compared with the champion's own on the rows as they stand in the feed."""

    time: Name  # when the score was given
    score: Name
    key: Name | None = None  # the id of the scored row; [data] id by default
    version: Name | None = None  # the registered version, or the model's digest, that gave it

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if not self.given:
            raise law("predictions.path", "required, and missing (or [predictions] url)")
        return self


class Window(Section):
    """Spans, counted back from the label horizon; train does not contain the others."""

    train: Duration = timedelta(days=365)
    valid: Duration = timedelta(days=28)
    holdout: Duration = timedelta(days=28)
    embargo: Duration | None = None
    min_ticks: int = Field(default=14, ge=1)


class Model(Section):
    """The family of models and everything about it but the learning rate."""

    family: str = "lightgbm"
    transform: Name | None = None  # a team's own feature code, an entry point of lr_retune.transforms
    params: dict[str, str | int | float | bool] = Field(default_factory=dict)
    threads: int = Field(default=1, ge=1)

    @field_validator("params")
    @classmethod
    def _rate_is_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        taken = {"learning_rate", "eta", "eta0", "shrinkage_rate", "num_threads", "n_jobs", "seed"}
        if named := sorted(taken & value.keys()):
            raise ValueError(
                f"must not name {named}: the rate is searched ([search] learning_rate), "
                "threads stand in [model] threads, the seed at the top"
            )
        return value


BINARY_METRICS = ("log_loss", "brier", "pr_auc", "roc_auc", "cost")
REGRESSION_METRICS = ("mae", "rmse", "wape", "poisson", "pinball")


class Metric(Section):
    """What good means to the user."""

    name: Literal["log_loss", "brier", "pr_auc", "roc_auc", "cost", "mae", "rmse", "wape", "poisson", "pinball"]
    false_positive_cost: float = Field(default=1.0, ge=0)
    false_negative_cost: float = Field(default=1.0, ge=0)
    threshold: float = Field(default=0.5, ge=0, le=1)
    quantile: float = Field(default=0.5, gt=0, lt=1)


class RateRange(Section):
    """Learning rates that may be tried; a wall, never crossed."""

    low: float = Field(gt=0)
    high: float = Field(gt=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"0 < low <= high must hold, got low={self.low}, high={self.high}")
        return self


class SearchBudget(Section):
    """Where a search ends whatever it has found; seconds do not reproduce."""

    fits: int | None = Field(default=None, ge=1)
    steps: int | None = Field(default=None, ge=1)
    seconds: float | None = Field(default=None, gt=0)


class Search(Section):
    """How learning rates are searched."""

    strategy: str = "auto"  # the family's own: bracket for lightgbm, kpass for sgd
    points: int = Field(default=10, ge=1, le=1000)  # of grid, random, optuna
    learning_rate: RateRange | None = None
    schedules: list[str] | None = Field(
        default=None, min_length=1
    )  # how the rate may change over a fit; None: family's
    effort: Literal["fast", "balanced", "thorough"] = "balanced"
    answer: Literal["rate", "average", "cheap_to_serve"] = "rate"
    max_steps: int = Field(default=2000, ge=1)
    patience: int | None = Field(default=None, ge=1)  # steps; None: the family's, 50 rounds or 5 epochs
    budget: SearchBudget = SearchBudget()
    jobs: int = Field(default=1, ge=1)  # trials at a time, where a strategy knows its rates beforehand
    dask: Annotated[str, BeforeValidator(_secret)] | None = Field(
        default=None, pattern=r"^(env:|file:|[a-z]+://).+"
    )  # address of a scheduler whose workers train them instead

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        if (self.jobs > 1 or self.dask) and (self.budget.steps or self.budget.seconds):
            raise ValueError("a budget of steps or seconds needs jobs = 1 and no dask: it is counted after each trial")
        return self


PROFILES: dict[str, dict[str, Any]] = {
    "careful": {
        "cusum_k": 0.5,
        "cusum_h": 6.0,
        "tolerance": 0.02,
        "spread": "wide",
        "sure": 1.0,
        "proof": 2.5,
        "gain": 0.1,
    },
    # a retrain costs little: more of them, and more in vain
    "cheap_retrain": {
        "cusum_k": 0.25,
        "cusum_h": 3.0,
        "tolerance": 0.01,
        "spread": "robust",
        "sure": 1.0,
        "proof": 0.0,
        "gain": 0.003,
    },
}


class Policy(Section):
    """When something is worth doing."""

    profile: Literal["careful", "cheap_retrain"] = "careful"  # sets what is not named of the keys in PROFILES
    max_age: Duration = timedelta(days=30)  # where it is not given: 30 ticks, if these are longer than a day
    max_search_age: Duration = timedelta(days=180)
    cooldown: int = Field(default=3, ge=0)  # ticks after a settled decision
    min_rows: int = Field(default=200, ge=1)
    min_positives: int = Field(default=20, ge=1)
    cusum_k: float = Field(default=0.5, ge=0)  # allowance, between-tick standard deviations
    cusum_h: float = Field(default=6.0, gt=0)  # alarm level, between-tick standard deviations
    tolerance: float = Field(default=0.02, ge=0)  # share of the promised loss
    spread: Literal["robust", "wide"] = "wide"  # of ticks: by the median step, or as wide as single odd ticks make it
    budget: float = Field(default=0.25, gt=0)  # tick-losses a retrain must save without [worth]
    probe: bool = True  # small twins tell what a retrain would bring
    regret: float = Field(default=0.5, gt=0)  # tick-losses that probes must find fixable before they alone retrain
    sure: float = Field(default=1.0, ge=0)  # standard errors by which a fresh model must be better in a probe
    proof: float = Field(default=2.5, ge=0)  # the same of probes on different ticks together, before regret counts
    gain: float = Field(default=0.1, ge=0)  # share of the promise that a fresh model must mend, else a look is settled
    follow_ups: tuple[PositiveInt, ...] = Field(default=(3, 8, 16), strict=False)  # ticks after training for a change
    suspicion_ticks: int = Field(default=8, ge=1)  # labels later than that: suspicion alone may train

    @model_validator(mode="before")
    @classmethod
    def _of_the_profile(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return value
        profile = value.get("profile", "careful")
        return {**(PROFILES.get(profile, {}) if isinstance(profile, str) else {}), **value}


class Watch(Section):
    """What is looked at, and on how many rows."""

    ticks: int = Field(default=40, ge=2)
    drift: Literal["auto", "native", "evidently"] = "auto"
    sample: int = Field(default=50_000, ge=200)
    drift_threshold: float = Field(default=0.1, gt=0)
    matters: float = Field(default=0.01, ge=0, le=1)  # share of the champion's importance
    stale_ticks: int = Field(default=3, ge=1)


class Worth(Section):
    """What a retrain costs, and what one per cent of loss costs a day."""

    retrain: float = Field(ge=0)
    loss_1pct_per_day: float = Field(gt=0)
    currency: str = Field(default="EUR", pattern=r"^[A-Za-z]{1,8}$")


GATES = (  # label_rates is installed and not among them: labels of most streams drift by level
    *("sane_predictions", "paired_loss", "slices", "calibration", "score_shift"),
    *("alert_rate", "golden", "too_good", "serving_cost"),
)


class Gates(Section):
    """What a challenger must show."""

    names: tuple[str, ...] = Field(default=GATES, strict=False, min_length=1)
    margin: float = Field(default=0.01, gt=0, lt=1)  # non-inferiority, share of the champion's loss
    floor: float = Field(default=0.005, ge=0, lt=1)  # point gain asked of a new rate
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    min_ticks: int = Field(default=7, ge=3)
    min_rows: int = Field(default=500, ge=1)
    min_positives: int = Field(default=20, ge=1)
    slices: tuple[Name, ...] = Field(default=(), strict=False)  # columns whose levels must not be harmed
    critical: tuple[Name, ...] = Field(default=(), strict=False)  # of them, or "column=level": must be shown safe
    golden: Uri | None = None  # a Parquet or CSV file of rows with labels that a person vouches for
    golden_floor: float | None = None  # of the metric, on the golden set
    label_noise: float = Field(default=0.001, ge=0, lt=0.5)  # share of golden labels that honestly differ in the feed
    threshold: float | None = None  # scores from there on raise an alert; None: that of metric "cost", or none
    alert_ratio: float = Field(default=1.2, gt=1)  # times as many alerts, or as few, as the champion raises
    calibration: float = Field(default=0.25, gt=0)  # worse than the champion's, share of the rarer class
    score_shift: float = Field(default=2.0, gt=0)  # PSI between champion and challenger
    too_good: float = Field(default=0.5, gt=0, lt=1)  # gain over all that was seen that is no more believed
    steps_ratio: float = Field(default=20.0, gt=1)  # times the champion's rounds
    size_ratio: float = Field(default=20.0, gt=1)  # times the champion's bytes
    expires: Duration = timedelta(days=7)

    @model_validator(mode="after")
    def _critical_are_slices(self) -> Self:
        if strange := [c for c in self.critical if c.partition("=")[0] not in self.slices]:
            raise law("gates.critical", f"must be columns of slices, or column=level of them, got {strange}")
        return self


LEAST_PROBATION = 3  # ticks; fewer have hardly a spread to judge by


class Promote(Section):
    """What happens to a challenger that passed."""

    mode: Literal["auto", "approval", "suggest"] = "auto"
    approval_expires: Duration = timedelta(days=7)  # and never later than the verdict itself, [gates] expires
    probation: int = Field(default=14, ge=0)  # ticks with labels, at most [watch] ticks; 0: none
    probation_alpha: float = Field(default=0.05, gt=0, lt=0.5)  # false rollbacks of one probation, all looks together
    refit: Literal["none", "after_pass"] = "after_pass"

    @model_validator(mode="after")
    def _built(self) -> Self:
        if 0 < self.probation < LEAST_PROBATION:
            raise ValueError(f"probation = {self.probation} is too short: 0, or at least {LEAST_PROBATION} ticks")
        return self


class Aliases(Section):
    """What the aliases of a registered model are called."""

    champion: str = Field(default="champion", pattern=r"^[A-Za-z0-9_-]{1,255}$")
    challenger: str = Field(default="challenger", pattern=r"^[A-Za-z0-9_-]{1,255}$")
    previous: str = Field(default="previous", pattern=r"^[A-Za-z0-9_-]{1,255}$")

    @field_validator("champion", "challenger", "previous")
    @classmethod
    def _free(cls, value: str) -> str:
        if value.lower() == "latest" or re.fullmatch(r"[vV]\d+", value):
            raise ValueError(f"must be another name: MLflow keeps {value!r} for itself")
        return value

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        named = [self.champion, self.challenger, self.previous]
        if len({name.lower() for name in named}) < len(named):  # some databases tell no case
            raise ValueError(f"must be three different names, got {', '.join(named)}")
        return self


class MLflow(Section):
    """Where runs and registered models are shown."""

    tracking_uri: Uri = "sqlite:///mlflow.db"
    experiment: str | None = None
    aliases: Aliases = Aliases()


class Pages(Section):
    """What a decision's page may show."""

    raw_values: bool = False  # rows as they are; without, no page holds one


CauseName = Literal["data_incident", "alarm", "ask", "approval", "suggestion", "promotion", "rollback"]
CAUSES: tuple[CauseName, ...] = ("data_incident", "alarm", "ask", "approval", "suggestion", "promotion", "rollback")


class Notify(Section):
    """Who is told, once for each cause, when one begins, when what is done about it changes, and when it ends."""

    webhook: Uri | None = None  # an https:// address; one that is a secret itself as "env:NAME" or "file:PATH"
    secret_env: str | None = Field(default=None, pattern=_VARIABLE)  # the variable that holds the key of signatures
    apprise_env: str | None = Field(default=None, pattern=_VARIABLE)  # the variable that holds Apprise's addresses
    on: tuple[CauseName, ...] = Field(default=CAUSES, strict=False, min_length=1)
    timeout: Duration = timedelta(seconds=5)  # of all that one run sends

    @field_validator("webhook")
    @classmethod
    def _encrypted(cls, value: str | None) -> str | None:
        if value is not None and not value.startswith(("env:", "file:")):
            demand_https(value)
        return value

    @field_validator("timeout")
    @classmethod
    def _short(cls, value: timedelta) -> timedelta:
        if not timedelta(seconds=1) <= value <= timedelta(minutes=1):
            raise ValueError("must lie between 1s and 1min: a run waits so long for a notifier that is dead")
        return value

    @model_validator(mode="after")
    def _signs_something(self) -> Self:
        if self.secret_env is not None and self.webhook is None:
            raise law("notify.secret_env", "signs what [notify] webhook is sent: set webhook, or leave it out")
        return self

    @property
    def channels(self) -> tuple[str, ...]:
        """Ways in which somebody is told; none where nobody is."""
        named = {"webhook": self.webhook, "apprise": self.apprise_env}
        return tuple(name for name, where in named.items() if where is not None)


def demand_https(url: str) -> None:
    """Refuse an address that a message would travel to in the clear.

    Raises
    ------
    ValueError
        If it is neither https:// nor on this machine, or leads where machines keep their own secrets.
    """
    place = urlsplit(url)
    if inward(place.hostname or ""):
        raise ValueError("must not be a link-local address")
    if not place.hostname or not (
        place.scheme == "https" or (place.scheme == "http" and place.hostname in ("localhost", "127.0.0.1", "::1"))
    ):
        raise ValueError("must be an https:// address (http:// only on this machine's loopback)")


def inward(host: str) -> bool:
    """Whether a literal address is one that only this machine's own network knows: metadata services live there."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:  # a name
        return False
    mapped = getattr(found, "ipv4_mapped", None) or found
    return mapped.is_link_local or mapped.is_unspecified or mapped.is_multicast


class State(Section):
    """Where the ledger lives: the authority."""

    url: Uri = "sqlite:///lr_retune.db"

    @field_validator("url")
    @classmethod
    def _plain_file(cls, value: str) -> str:
        if value.startswith("sqlite:///file:"):
            raise ValueError('must name a file, as in "sqlite:///lr_retune.db": where it lies is asked in many places')
        return value


class Config(Section):
    """One model's retune.toml."""

    config_version: Literal[1]
    name: str = Field(pattern=NAME_PATTERN)
    task: Literal["binary", "regression"]
    seed: int = Field(default=0, ge=0, lt=2**31)
    schedule: Schedule = Schedule()
    data: Data
    labels: Labels = Labels()
    predictions: Predictions | None = None
    window: Window = Window()
    model: Model = Model()
    metric: Metric
    search: Search = Search()
    policy: Policy = Policy()
    watch: Watch = Watch()
    worth: Worth | None = None
    gates: Gates = Gates()
    promote: Promote = Promote()
    mlflow: MLflow = MLflow()
    state: State = State()
    report: Pages = Pages()
    notify: Notify = Notify()

    _root: Path = PrivateAttr(default_factory=Path.cwd)

    @field_validator("config_version", mode="before")
    @classmethod
    def _known_version(cls, value: Any) -> Any:
        if type(value) is not int:  # true and 1.0 equal 1
            raise ValueError("must be the whole number 1")
        if value > 1:
            raise ValueError("is newer than this lr-retune, which reads version 1: upgrade lr-retune")
        return value

    @model_validator(mode="after")
    def _metric_fits_the_task(self) -> Self:
        allowed = BINARY_METRICS if self.task == "binary" else REGRESSION_METRICS
        if self.metric.name not in allowed:
            text = f"must fit the task: {self.task} takes {', '.join(allowed)}, got {self.metric.name!r}"
            raise law("metric.name", text)
        return self

    @model_validator(mode="after")
    def _spans_agree(self) -> Self:
        window, shown = self.window, format_duration
        for name in ("train", "valid", "holdout"):
            span = getattr(window, name)
            if span <= timedelta(0):
                raise law(f"window.{name}", "must be longer than nothing")
            if span > window.train:
                text = f"must not be longer than window.train, got {shown(span)} > {shown(window.train)}"
                raise law(f"window.{name}", text)
        if (held := self.ticks(window.holdout)) < self.gates.min_ticks:
            tick = shown(self.schedule.tick)
            why = f"must hold gates.min_ticks = {self.gates.min_ticks} ticks of {tick}, or no challenger can ever pass"
            raise law("window.holdout", f"{why}, got {shown(window.holdout)} = {held}")
        return self

    @model_validator(mode="after")
    def _age_in_ticks(self) -> Self:
        day = timedelta(days=1)
        if "max_age" not in self.policy.model_fields_set and self.schedule.tick > day:
            aged = self.policy.model_copy(update={"max_age": self.policy.max_age // day * self.schedule.tick})
            object.__setattr__(self, "policy", aged)  # frozen for others
        return self

    @model_validator(mode="after")
    def _one_label(self) -> Self:
        data, labels = self.data, self.labels
        if labels.given and data.label is not None:
            raise law("data.label", "must be left out where [labels] is a feed of its own: [labels] label names it")
        if labels.given and (clock := data.label_time or data.label_delay) is not None:
            key = "label_time" if clock == data.label_time else "label_delay"
            raise law(f"data.{key}", "must be left out where [labels] is a feed of its own: known_at is its clock")
        if not labels.given and data.label is None and labels.mode != "none":
            text = 'required, and missing (or [labels] path, for labels of their own; or [labels] mode = "none")'
            raise law("data.label", text)
        for name, joined in (("labels", labels.given), ("predictions", self.predictions is not None)):
            if joined and data.id is None:
                raise law("data.id", f"required, and missing: [{name}] is joined by it")
        return self

    @model_validator(mode="after")
    def _labels_agree(self) -> Self:
        wait, delay = self.labels.max_delay, self.data.label_delay
        if wait is not None and delay is not None and wait < delay:
            got = f"{format_duration(wait)} < {format_duration(delay)}"
            raise law("labels.max_delay", f"must not be shorter than data.label_delay, got {got}")
        return self

    @property
    def label(self) -> str | None:
        """The label's column, in the rows or joined to them."""
        return self.labels.label if self.labels.given else self.data.label

    @property
    def label_time(self) -> str | None:
        """The column that says when a label became known, in the rows or joined to them."""
        return self.labels.known_at if self.labels.given else self.data.label_time

    @property
    def roles(self) -> tuple[str, ...]:
        """Columns that are never features."""
        joined = (self.label, self.label_time) if self.labels.given else ()
        return (*self.data.roles, *(name for name in joined if name is not None))

    def reading(self, feed: Labels | Predictions) -> Config:
        """The configuration a source of another feed is built with: its place and clock stand under ``data``."""
        time = feed.known_at if isinstance(feed, Labels) else feed.time
        where = {key: getattr(feed, key) for key in Where.model_fields}
        return self.model_copy(update={"data": Data.model_validate({**where, "time": time}), "labels": Labels()})

    @property
    def decision_threshold(self) -> float | None:
        """From which score on a row raises an alert; None: nobody said."""
        if self.gates.threshold is None and self.metric.name == "cost":
            return self.metric.threshold
        return self.gates.threshold

    @property
    def root(self) -> Path:
        """The folder that relative paths are relative to."""
        return self._root

    def ticks(self, span: timedelta) -> int:
        """Whole ticks that hold ``span``: a part of a tick counts as one."""
        return -(-span // self.schedule.tick)

    @property
    def embargo_ticks(self) -> int:
        """Gap before valid and before holdout: as configured, else the longest feature look-back."""
        return self.ticks(self.data.lookback if self.window.embargo is None else self.window.embargo)

    @property
    def label_max_delay(self) -> timedelta:
        """How long a tick may wait for labels before it counts as it is."""
        if self.labels.max_delay is not None:
            return self.labels.max_delay
        if self.label_time is not None:
            return timedelta(days=90)
        return self.data.label_delay or timedelta(0)

    @property
    def digest(self) -> str:
        """Content hash of what decides an answer: where things are stored is left out."""
        return _hash(self.model_dump(mode="json", exclude={"mlflow", "state", "report", "notify"}))

    @property
    def question(self) -> str:
        """Content hash of what a loss per tick means: metric, calendar, label."""
        content = self.model_dump(mode="json", include={"task", "metric", "schedule"})
        return _hash(content | {"label": self.label})

    @property
    def rules(self) -> dict[str, Any]:
        """What a comparison is held against, for whoever checks its arithmetic later."""
        return {"metric": self.metric.name} | {n: getattr(self.gates, n) for n in ("margin", "floor", "alpha")}

    def place(self, value: str) -> str:
        """A path or URL with its secret resolved; one without a scheme is relative to the configuration."""
        found = resolve_secret(value, self.root)
        return found if "://" in found else str(self.root / found)

    def tracking_uri(self) -> str:
        """MLflow's URI with its secret resolved and a relative sqlite path made absolute."""
        return _located(self.mlflow.tracking_uri, self.root)

    def state_url(self) -> str:
        """The ledger's URL with its secret resolved and a relative sqlite path made absolute."""
        return _located(self.state.url, self.root)


def resolve_secret(value: str, root: Path) -> str:
    """``env:NAME`` and ``file:PATH`` to what they hold, which is then never shown; anything else as it is.

    Raises
    ------
    ConfigError
        If the variable is not set or the file cannot be read.
    """
    found = _resolved(value, root)
    if found != value:
        remember(found)
    return found


def _resolved(value: str, root: Path) -> str:
    kind, _, rest = value.partition(":")
    if kind == "env":
        if not (found := os.environ.get(rest)):
            raise ConfigError(
                f"{value} is empty", why=f"the environment has no variable {rest}", fix=f"export {rest}=…"
            )
        return found
    if kind == "file" and not rest.startswith("//"):
        try:
            held = (root / rest).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is no UTF-8 text"
            raise ConfigError(f"{value} cannot be read", why=why, fix="check the path") from None
        if not held:
            raise ConfigError(f"{value} is empty", why="a secret is expected in it", fix="write the file")
        return held
    return value


def _hash(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _located(value: str, root: Path) -> str:
    uri = resolve_secret(value, root)
    head, slashes, path = uri.partition(":///")
    if slashes and head.split("+")[0] == "sqlite" and path and not path.startswith(("/", ":memory:")):
        return f"{head}:///{(root / path).resolve()}"
    if "://" not in uri:
        return str((root / uri).resolve())
    return uri


def load_config(path: str | Path = "retune.toml", environ: Mapping[str, str] | None = None) -> Config:
    """Read, override from the environment and validate.

    Parameters
    ----------
    path
        The TOML file.
    environ
        Variables named ``LR_RETUNE__SECTION__KEY`` override keys; the process's own when None.

    Raises
    ------
    ConfigError
        With line and column for broken TOML, else with the key path, the law, the value and the
        nearest valid key, one line per problem.
    """
    file = Path(path)
    text, raw = _parse(_read(file), str(path))
    known = os.environ if environ is None else environ
    return parse_config(raw, root=file.resolve().parent, environ=known, origin=str(path), text=text)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file that is not a whole configuration.

    Raises
    ------
    ConfigError
        If it cannot be read, or is none.
    """
    return _parse(_read(path, "check its name"), str(path))[1]


def _read(path: Path, fix: str = "name the file with -c, or write one with `lr-retune init`") -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)  # never more, whatever the path leads to
    except OSError as error:
        raise ConfigError(f"{path} cannot be read", why=error.strerror or "", fix=fix) from None


def _parse(content: bytes, origin: str) -> tuple[str, dict[str, Any]]:
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{origin} is larger than {MAX_BYTES:,} bytes", fix="a retune.toml is about a page")
    try:
        text = content.decode("utf-8")
        # tomllib takes quadratic time for a.b.c.…, so depth is limited before it reads
        if _DEEP.search(text):
            raise ConfigError(f"{origin} nests too deep", why=f"at most {MAX_DEPTH} tables may nest", fix="cut the key")
        return text, tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: broken TOML, no UTF-8, a number of 5,000 digits
        fix = "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else "mend the line named above"
        raise ConfigError(f"{origin} is not valid TOML", why=str(error), fix=fix) from None


def parse_config(
    raw: Mapping[str, Any],
    *,
    root: Path,
    environ: Mapping[str, str] | None = None,
    origin: str = "retune.toml",
    text: str = "",
) -> Config:
    """Validate a parsed document; see `load_config`. Errors name lines where ``text`` is given."""
    document, variables = _override(raw, environ or {})
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        problems = [_explain(dict(problem), document, variables, text) for problem in error.errors()]
        raise ConfigError(f"{origin}: " + "\n".join(dict.fromkeys(problems))) from None
    config._root = root
    return config


def _copy(value: Any, depth: int = 0) -> Any:
    """Tables and lists anew; everything else, dates too, as it is: validation names what it is."""
    if depth > MAX_DEPTH:
        raise ConfigError("the configuration nests too deep", why=f"at most {MAX_DEPTH} tables may nest")
    if isinstance(value, Mapping):
        return {str(key): _copy(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_copy(item, depth + 1) for item in value]
    return value


def _override(raw: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """The document with environment values in their places, and which key path each variable set."""
    document: dict[str, Any] = _copy(raw)
    variables: dict[str, str] = {}
    for variable in sorted(name for name in environ if name.startswith(ENV_PREFIX)):
        if not environ[variable].strip():
            raise ConfigError(f"{variable} is empty", fix="give it a value, or unset it")
        *tables, key = variable.removeprefix(ENV_PREFIX).lower().split("__")
        _table(document, tables, variable)[key] = _copy(_toml_value(environ[variable]))
        variables[".".join([*tables, key])] = variable
    return document, variables


def _table(document: dict[str, Any], keys: list[str], variable: str) -> dict[str, Any]:
    node = document
    for key in keys:
        child = node.setdefault(key, {})
        if not isinstance(child, dict):
            raise ConfigError(f"{variable} reaches into {key!r}, which is no table", fix="check the variable's name")
        node = child
    return node


def _toml_value(text: str) -> Any:
    """A TOML value where it reads as one, else the text itself: ``7d`` needs no quotes."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return parsed["value"] if len(parsed) == 1 else text


# ── what a person reads when it is wrong ──────────────────────────────────────────────────────────
def _explain(problem: dict[str, Any], document: Mapping[str, Any], variables: Mapping[str, str], text: str) -> str:
    """One problem in one line: where, which law, what was seen."""
    loc = _loc(problem)
    path = ".".join(str(part) for part in loc) or "the file"
    place = f"{path}{_origin(loc, variables) or _line(text, loc)}"
    told = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"{place}: unknown key; {_near(loc)}"
    if problem["type"] == "missing":
        return f"{place}: required, and missing"
    if loc[:2] == ("model", "params") and len(loc) > 2:
        told = "must be a text, a finite number, true or false"
    return f"{place}: {told}{_seen(document, loc, told)}"


def _loc(problem: dict[str, Any]) -> tuple[Any, ...]:
    if problem["type"] == "law":
        return tuple(problem["ctx"]["path"].split("."))
    loc = tuple(problem["loc"])
    return loc[:3] if loc[:2] == ("model", "params") else loc  # below it pydantic names the types it tried


def _near(loc: tuple[Any, ...]) -> str:
    known = valid_keys(loc[:-1])
    near = difflib.get_close_matches(str(loc[-1]), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(known)}"


def _origin(loc: tuple[Any, ...], variables: Mapping[str, str]) -> str:
    """The variable that set the key, a table above it or, for an unknown table, a key below it."""
    path = ".".join(str(part) for part in loc)
    related = (v for key, v in variables.items() if f"{path}.".startswith(f"{key}.") or key.startswith(f"{path}."))
    return next((f" (set by {variable})" for variable in related), "")


def _line(text: str, loc: tuple[Any, ...]) -> str:
    """The line of the key, or else of the table that holds it, found by a scan of plain ``[table]`` and ``key =``."""
    table: tuple[str, ...] = ()
    best, best_length = 0, 0
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[([^\[\]]+)\]", line):
            here = table = _keys(header[1])
        elif key := re.match(r"\s*([\w\"'. -]+?)\s*=", line):
            here = (*table, *_keys(key[1]))
        else:
            continue
        if len(here) > best_length and here == tuple(map(str, loc[: len(here)])):
            best, best_length = number, len(here)
    return f" (line {best})" if best else ""


def _keys(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("\"'") for part in text.split("."))


def _seen(document: Any, loc: tuple[Any, ...], told: str) -> str:
    """The value that was refused, short; nothing where it may hold a secret or the law already says it."""
    for part in loc:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            return ""
    if isinstance(document, dict) or ", got " in told or "password" in told:
        return ""
    try:
        shown = json.dumps(document, ensure_ascii=False, default=str)
    except ValueError:  # an integer of thousands of digits
        return ""
    hides = loc[0] in ("mlflow", "notify", "state") or loc[-1] == "url"
    return "" if hides or _PASSWORD.search(shown) else f", got {shown[:80]}"


def valid_keys(loc: tuple[Any, ...] = ()) -> list[str]:
    """Keys that may stand in the table at ``loc``."""
    model: Any = Config
    for part in loc:
        field = model.model_fields.get(part)
        if field is None:
            return []
        model = _section(field.annotation)
        if model is None:
            return []
    return sorted(model.model_fields)


def _section(annotation: Any) -> type[Section] | None:
    if get_origin(annotation) in (Union, types.UnionType):
        return next((found for a in get_args(annotation) if (found := _section(a))), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, Section) else None


# ── the configuration told to others ──────────────────────────────────────────────────────────────
class _Durations(GenerateJsonSchema):
    """JSON Schema whose defaults are durations as the file writes them."""

    def encode_default(self, dft: Any) -> Any:
        return format_duration(dft) if isinstance(dft, timedelta) else super().encode_default(dft)


def schema() -> dict[str, Any]:
    """JSON Schema of retune.toml, for editors; what `load_config` takes, it takes."""
    return Config.model_json_schema(schema_generator=_Durations)


def show(config: Config) -> str:
    """The effective configuration as TOML that loads to the same configuration; secrets stay references."""
    values = config.model_dump(mode="json", exclude_none=True)
    lines = [f"{key} = {toml(value)}" for key, value in values.items() if not isinstance(value, dict)]
    for name, section in values.items():
        if isinstance(section, dict):
            lines += ["", f"[{name}]", *(f"{key} = {toml(value)}" for key, value in section.items())]
    return "\n".join(lines) + "\n"


def toml(value: Any) -> str:
    r"""A text, number, truth value, list or table as an inline TOML value; passwords are masked.

    >>> print(toml({"a b": ["x\n", 1e-5], "c": True}))
    {"a b" = ["x\n", 1e-05], c = true}
    """
    if isinstance(value, str):
        # JSON's escapes are TOML's but for DEL, see https://toml.io/en/v1.0.0#string
        return json.dumps(_PASSWORD.sub("://***@", value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        inner = (f"{k if re.fullmatch(r'[A-Za-z0-9_-]+', k) else toml(k)} = {toml(v)}" for k, v in value.items())
        return "{" + ", ".join(inner) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value, allow_nan=False)
