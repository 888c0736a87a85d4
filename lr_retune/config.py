"""retune.toml: its names, defaults and laws, as frozen models."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import tomllib
import types
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin
from zoneinfo import ZoneInfo

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from lr_retune.errors import ConfigError

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
ENV_PREFIX = "LR_RETUNE__"
MAX_BYTES = 1_000_000  # a configuration is a page, not a data set
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}
_DURATION = r"^\d+(s|min|h|d|w)$"


def parse_duration(value: Any) -> Any:
    """``"28d"`` to a timedelta; units s, min, h, d, w."""
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d+)(s|min|h|d|w)", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be a whole number and a unit (s, min, h, d, w), such as "28d"')
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


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
    """A literal password never stands in the file."""
    if isinstance(value, str) and re.search(r"://[^/@\s]*:[^/@\s]+@", value):
        raise ValueError('must not hold a password; write "env:NAME" or "file:PATH" instead')
    return value


Uri = Annotated[str, BeforeValidator(_secret)]


class Section(BaseModel):
    """Strict, frozen, no unknown keys, finite numbers only."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True
    )


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


class Data(Section):
    """Where rows come from and what their columns mean."""

    source: str = "parquet"
    path: str
    time: str
    label: str
    label_time: str | None = None
    label_delay: Duration | None = None
    exclude: tuple[str, ...] = Field(default=(), strict=False)
    features: tuple[str, ...] | None = Field(default=None, strict=False)
    categorical: tuple[str, ...] = Field(default=(), strict=False)
    id: str | None = None
    score: str | None = None
    weight: str | None = None
    lookback: Duration = timedelta(0)

    @model_validator(mode="after")
    def _one_label_clock(self) -> Self:
        if self.label_time is not None and self.label_delay is not None:
            raise ValueError("label_time and label_delay exclude each other: keep one")
        if self.features is not None and (both := set(self.features) & set(self.exclude)):
            raise ValueError(f"features and exclude must not share columns, both name {sorted(both)}")
        return self

    @property
    def roles(self) -> tuple[str, ...]:
        """Columns that are never features."""
        named = (self.time, self.label, self.label_time, self.id, self.score, self.weight)
        return tuple(name for name in named if name is not None)


class Labels(Section):
    """When a tick's labels count as complete."""

    quorum: float = Field(default=0.95, gt=0, le=1)
    max_delay: Duration | None = None


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

    name: Literal[
        "log_loss", "brier", "pr_auc", "roc_auc", "cost", "mae", "rmse", "wape", "poisson", "pinball"
    ]
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


class Search(Section):
    """How learning rates are searched."""

    strategy: str = "grid"
    points: int = Field(default=10, ge=1, le=1000)
    learning_rate: RateRange | None = None
    max_steps: int = Field(default=2000, ge=1)
    patience: int = Field(default=50, ge=1)


class Policy(Section):
    """When something is worth doing."""

    max_age: Duration = timedelta(days=30)
    max_search_age: Duration = timedelta(days=180)
    cooldown: int = Field(default=3, ge=0)  # ticks after a settled decision
    min_rows: int = Field(default=200, ge=1)
    min_positives: int = Field(default=20, ge=1)
    cusum_k: float = Field(default=0.5, ge=0)  # allowance, between-tick standard deviations
    cusum_h: float = Field(default=6.0, gt=0)  # alarm level, between-tick standard deviations
    tolerance: float = Field(default=0.02, ge=0)  # share of the promised loss
    budget: float = Field(default=0.25, gt=0)  # tick-losses a retrain must save without [worth]


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


class Gates(Section):
    """What a challenger must show."""

    names: tuple[str, ...] = Field(default=("sane_predictions", "paired_loss"), strict=False, min_length=1)
    margin: float = Field(default=0.01, gt=0, lt=1)  # non-inferiority, share of the champion's loss
    floor: float = Field(default=0.005, ge=0, lt=1)  # point gain asked of a new rate
    alpha: float = Field(default=0.05, gt=0, lt=0.5)
    min_ticks: int = Field(default=7, ge=3)
    min_rows: int = Field(default=500, ge=1)
    min_positives: int = Field(default=20, ge=1)
    expires: Duration = timedelta(days=7)


class Promote(Section):
    """What happens to a challenger that passed."""

    mode: Literal["auto", "approval", "suggest"] = "auto"
    refit: Literal["none", "after_pass"] = "none"

    @model_validator(mode="after")
    def _built(self) -> Self:
        if self.mode != "auto":
            raise ValueError(f'mode = "{self.mode}" is not available yet: use "auto"')
        if self.refit != "none":
            raise ValueError(f'refit = "{self.refit}" is not available yet: use "none"')
        return self


class MLflow(Section):
    """Where runs and registered models are shown."""

    tracking_uri: Uri = "sqlite:///mlflow.db"
    experiment: str | None = None


class State(Section):
    """Where the ledger lives: the authority."""

    url: Uri = "sqlite:///lr_retune.db"


class Config(Section):
    """One model's retune.toml."""

    config_version: Literal[1]
    name: str = Field(pattern=NAME_PATTERN)
    task: Literal["binary", "regression"]
    seed: int = Field(default=0, ge=0, lt=2**31)
    schedule: Schedule = Schedule()
    data: Data
    labels: Labels = Labels()
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

    _root: Path = PrivateAttr(default_factory=Path.cwd)

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        allowed = BINARY_METRICS if self.task == "binary" else REGRESSION_METRICS
        if self.metric.name not in allowed:
            raise ValueError(
                f"metric.name must fit the task: {self.task} takes {', '.join(allowed)}, "
                f"got {self.metric.name!r}"
            )
        for name in ("train", "valid", "holdout"):
            if getattr(self.window, name) <= timedelta(0):
                raise ValueError(f"window.{name} must be longer than nothing")
        return self

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
        if self.data.label_time is not None:
            return timedelta(days=90)
        return self.data.label_delay or timedelta(0)

    @property
    def digest(self) -> str:
        """Content hash of what decides an answer: where things are stored is left out."""
        content = self.model_dump(mode="json", exclude={"mlflow", "state"})
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def tracking_uri(self) -> str:
        """MLflow's URI with its secret resolved and a relative sqlite path made absolute."""
        return _located(self.mlflow.tracking_uri, self.root)

    def state_url(self) -> str:
        """The ledger's URL with its secret resolved and a relative sqlite path made absolute."""
        return _located(self.state.url, self.root)


def resolve_secret(value: str, root: Path) -> str:
    """``env:NAME`` and ``file:PATH`` to what they hold; anything else as it is.

    Raises
    ------
    ConfigError
        If the variable is not set or the file cannot be read.
    """
    kind, _, rest = value.partition(":")
    if kind == "env":
        if not (found := os.environ.get(rest)):
            raise ConfigError(
                f"{value} is empty", why=f"the environment has no variable {rest}", fix=f"export {rest}=…"
            )
        return found
    if kind == "file" and not rest.startswith("//"):
        try:
            return (root / rest).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"{value} cannot be read", why=error.strerror or "", fix="check the path") from None
    return value


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
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_BYTES:,} bytes", fix="a retune.toml is about a page")
        raw = tomllib.loads(file.read_bytes().decode("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read", why=error.strerror or "", fix="name the file with -c, or write one with `lr-retune init`"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML", why=str(error), fix="mend the line named above") from None
    return parse_config(raw, root=file.resolve().parent, environ=os.environ if environ is None else environ, origin=str(path))


def parse_config(
    raw: Mapping[str, Any], *, root: Path, environ: Mapping[str, str] | None = None, origin: str = "retune.toml"
) -> Config:
    """Validate a parsed document; see `load_config`."""
    document, variables = _override(raw, environ or {})
    try:
        config = Config.model_validate(document)
    except ValidationError as error:
        lines = [_explain(dict(problem), document, variables) for problem in error.errors()]
        raise ConfigError(f"{origin}: " + "\n".join(lines)) from None
    config._root = root
    return config


def _override(raw: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    document: dict[str, Any] = json.loads(json.dumps(raw, default=str))
    variables: dict[str, str] = {}
    for variable in sorted(environ):
        if not variable.startswith(ENV_PREFIX):
            continue
        keys = variable.removeprefix(ENV_PREFIX).lower().split("__")
        node = document
        for key in keys[:-1]:
            child = node.setdefault(key, {})
            if not isinstance(child, dict):
                raise ConfigError(f"{variable} reaches into {key!r}, which is no table", fix="check the variable's name")
            node = child
        node[keys[-1]] = _toml_value(environ[variable])
        variables[".".join(keys)] = variable
    return document, variables


def _toml_value(text: str) -> Any:
    try:
        return json.loads(json.dumps(tomllib.loads(f"value = {text}")["value"], default=str))
    except tomllib.TOMLDecodeError:
        return text


def _explain(problem: dict[str, Any], document: Mapping[str, Any], variables: Mapping[str, str]) -> str:
    path = ".".join(str(part) for part in problem["loc"]) or "the file"
    law = problem["msg"].removeprefix("Value error, ")
    origin = f" (set by {variables[path]})" if path in variables else ""
    if problem["type"] == "extra_forbidden":
        known = valid_keys(problem["loc"][:-1])
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"valid keys: {', '.join(known)}"
        return f"{path}: unknown key{origin}; {hint}"
    if problem["type"] == "missing":
        return f"{path}: required, and missing"
    seen = _at(document, problem["loc"])
    shown = "" if "password" in law or isinstance(seen, dict) else f", got {json.dumps(seen, ensure_ascii=False)[:80]}"
    return f"{path}: {law}{shown if ', got ' not in law else ''}{origin}"


def _at(document: Any, loc: tuple[Any, ...]) -> Any:
    for part in loc:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            break
    return document


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
