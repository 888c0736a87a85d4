"""retune.toml: what is wrong is refused in one clear line, and nothing secret is ever shown."""

from __future__ import annotations

import json
import re
import string
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_retune.config import (
    MAX_BYTES,
    MAX_DURATION,
    Config,
    format_duration,
    load_config,
    parse_config,
    parse_duration,
    resolve_secret,
    schema,
    show,
    toml,
)
from lr_retune.errors import ConfigError
from tests.worlds import GOOD

calm = settings(deadline=None)  # the machine may be busy


def loaded(tmp_path: Path, text: str, **environ: str) -> Config:
    (tmp_path / "retune.toml").write_text(text, encoding="utf-8")
    return load_config(tmp_path / "retune.toml", environ)


def refusal(tmp_path: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, **environ)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_three_tables_are_enough(tmp_path: Path) -> None:
    config = loaded(tmp_path, GOOD)
    assert (config.schedule.tick, config.window.train) == (timedelta(days=1), timedelta(days=365))
    assert config.root == tmp_path.resolve()


def test_an_age_counts_ticks_that_are_longer_than_a_day_unless_it_is_given(tmp_path: Path) -> None:
    weekly = '\n[schedule]\ntick = "7d"\n[window]\nvalid = "56d"\nholdout = "84d"\n'
    for more, days in (("", 30), ('\n[schedule]\ntick = "1h"\n', 30), (weekly, 210)):
        assert loaded(tmp_path, GOOD + more).policy.max_age == timedelta(days=days)
    given = loaded(tmp_path, GOOD + weekly + '[policy]\nmax_age = "30d"\n')
    assert given.policy.max_age == timedelta(days=30)
    again = parse_config(loaded(tmp_path, GOOD + weekly).model_dump(mode="json", exclude_none=True), root=tmp_path)
    assert again.policy.max_age == timedelta(days=210)


# ── one clear line per fault ──────────────────────────────────────────────────────────────────────
@pytest.mark.fault("B1")
@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ("[serach]\npoints = 3", "serach (line 13): unknown key; did you mean 'search'?"),
        ("[search]\nponits = 3", "search.ponits (line 14): unknown key; did you mean 'points'?"),
        ("[search.learning_rate]\nlo = 1\nlow = 0.1\nhigh = 0.2", "search.learning_rate.lo (line 14): unknown key"),
        ("[window]\ntrain = 365", "window.train (line 14): must be a whole number and a unit"),
        ('[window]\ntrain = "1y"', 'such as "28d", got "1y"'),
        ('[window]\ntrain = "99999999999999999999d"', "window.train (line 14): must be a whole number"),
        ('[window]\ntrain = "99999999d"', "must be at most 36,500 days"),
        ('[window]\ntrain = "٣d"', "must be a whole number"),
        (
            "[window]\ntrain = 1979-05-27",
            'must be a whole number and a unit (s, min, h, d, w), such as "28d", got "1979-05-27"',
        ),
        ('[search]\npoints = "3"', 'search.points (line 14): Input should be a valid integer, got "3"'),
        ("[search]\npoints = 3.0", "valid integer, got 3.0"),
        ("[search]\npoints = true", "valid integer, got true"),
        ("[gates]\nmargin = true", "valid number, got true"),
        ("[gates]\nmargin = nan", "finite number, got NaN"),
        ("[policy]\ncusum_h = inf", "finite number, got Infinity"),
        ("[model]\nparams = {a = inf}", "model.params.a (line 14): must be a text, a finite number"),
        ("[model.params]\na = [1]", "model.params.a (line 14): must be a text, a finite number"),
        ("[model.params]\nlearning_rate = 0.1", "the rate is searched"),
        ("[mlflow]\nexperiment = 1979-05-27", "mlflow.experiment (line 14): Input should be a valid string"),
        ('[schedule]\ntick = "7h"', "must divide a day"),
        ('[schedule]\ntimezone = "Mars/Olympus"', "must be an IANA time zone"),
        ("[data]\nid = 3", "not valid TOML. Cannot declare ('data',) twice (at line 13, column 6)"),
        ("name = 1\nname = 2", "Cannot overwrite a value (at line 13, column 9)"),
        ('a = "', "not valid TOML"),
    ],
)
def test_a_wrong_key_or_value_is_named(tmp_path: Path, extra: str, told: str) -> None:
    assert told in refusal(tmp_path, f"{GOOD}\n{extra}\n")


def test_every_fault_is_told_at_once_one_per_line(tmp_path: Path) -> None:
    told = refusal(tmp_path, GOOD + "[search]\npoints = 0\npatience = 0\n").splitlines()
    assert [line.rpartition(": ")[2] for line in told] == ["Input should be greater than or equal to 1, got 0"] * 2


def test_a_missing_key_names_the_table(tmp_path: Path) -> None:
    assert "data.label (line 5): required, and missing" in refusal(tmp_path, GOOD.replace('label = "y"\n', ""))


@pytest.mark.fault("B2")
@pytest.mark.parametrize(
    ("extra", "told"),
    [
        ("[search]\nlearning_rate = {low = 0.3, high = 0.01}", "0 < low <= high must hold, got low=0.3"),
        (
            "[search]\nlearning_rate = {low = 0, high = 0.01}",
            "search.learning_rate.low (line 13): Input should be greater",
        ),
        (
            '[window]\nholdout = "400d"',
            "window.holdout (line 13): must not be longer than window.train, got 400d > 365d",
        ),
        ('[window]\nvalid = "400d"', "window.valid (line 13): must not be longer than window.train"),
        ('[window]\ntrain = "0d"', "window.train (line 13): must be longer than nothing"),
        ('[window]\nholdout = "6d"', "window.holdout (line 13): must hold gates.min_ticks = 7 ticks of 1d"),
        ('[schedule]\ntick = "7d"', "no challenger can ever pass, got 28d = 4"),
        ("[gates]\nalpha = 0", "gates.alpha (line 13): Input should be greater than 0, got 0"),
        ("[policy]\nbudget = -1.0", "policy.budget"),
        ("[worth]\nretrain = -1\nloss_1pct_per_day = 2", "worth.retrain"),
    ],
)
def test_contradictions_name_the_key_to_change(tmp_path: Path, extra: str, told: str) -> None:
    assert told in refusal(tmp_path, f"{GOOD}{extra}\n")


@pytest.mark.fault("B2")
@pytest.mark.parametrize(
    ("data", "told"),
    [
        (
            'label_time = "t"\nlabel_delay = "1d"',
            "data.label_delay (line 10): label_time and label_delay exclude each other",
        ),
        (
            'id = "y"',
            "label, label_time, id, score and weight must be different columns, ['y'] has two of these roles",
        ),
        ('features = ["a", "y"]', "features and categorical must not name time, available_time, label"),
        ('features = ["a"]\nexclude = ["a"]', "data.features (line 9): must not share columns with exclude"),
        ('features = ["a"]\ncategorical = ["b"]', "data.categorical (line 10): must be among features, ['b'] is not"),
        ("features = []", "data.features (line 9)"),
        ('id = ""', "data.id (line 9)"),
        (
            'label_delay = "7d"\n[labels]\nmax_delay = "3d"',
            "labels.max_delay (line 11): must not be shorter than data.label_delay",
        ),
    ],
)
def test_columns_and_labels_must_agree(tmp_path: Path, data: str, told: str) -> None:
    assert told in refusal(tmp_path, GOOD.replace('label = "y"\n', f'label = "y"\n{data}\n'))


def test_a_metric_of_the_other_task_is_told_at_the_metric(tmp_path: Path) -> None:
    told = refusal(tmp_path, GOOD.replace("log_loss", "mae"))
    assert "metric.name (line 11): must fit the task: binary takes log_loss, brier" in told


# ── size, depth, versions ─────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("B3")
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("#" * (MAX_BYTES + 1), "is larger than"),
        ("a = " + "[" * 30_000, "not valid TOML"),
        ("[model]\nparams = " + "{a=" * 25 + "1" + "}" * 25, "nests too deep"),
        (".".join("a" * 40_000) + " = 1", "nests too deep"),
        (".".join(['"a"'] * 20_000) + " = 1", "nests too deep"),
        ("seed = " + "9" * 5000, "not valid TOML"),
        ("seed = 0x" + "f" * 50_000, "seed (line 1)"),
        ("a = \x00", "not valid TOML"),
    ],
)
def test_bombs_are_refused(tmp_path: Path, text: str, told: str) -> None:
    assert told in refusal(tmp_path, text)


def test_a_file_that_is_no_utf8_or_absent_is_refused(tmp_path: Path) -> None:
    (tmp_path / "retune.toml").write_bytes(b'name = "\xff"')
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(tmp_path / "retune.toml", {})
    with pytest.raises(ConfigError, match="name the file with -c"):
        load_config(tmp_path / "absent.toml", {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path, {})


@pytest.mark.fault("B7")
@pytest.mark.parametrize(
    ("version", "told"),
    [
        ("2", "is newer than this lr-retune"),
        ("0", "Input should be 1"),
        ("true", "whole number 1"),
        ("1.0", "whole number 1"),
    ],
)
def test_another_version_is_never_read_in_silence(tmp_path: Path, version: str, told: str) -> None:
    assert told in refusal(tmp_path, GOOD.replace("config_version = 1", f"config_version = {version}"))


# ── the environment ───────────────────────────────────────────────────────────────────────────────
def test_variables_override_the_file(tmp_path: Path) -> None:
    config = loaded(
        tmp_path,
        GOOD,
        LR_RETUNE__SEARCH__POINTS="4",
        LR_RETUNE__WINDOW__TRAIN="90d",
        LR_RETUNE__DATA__EXCLUDE='["a", "b"]',
        LR_RETUNE__NAME='"7"',
        OTHER="x",
    )
    assert (config.search.points, config.window.train, config.data.exclude) == (4, timedelta(days=90), ("a", "b"))
    assert config.name == "7"


@pytest.mark.fault("B5")
@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        (
            "LR_RETUNE__SEARCH__POINTS",
            "many",
            'search.points (set by LR_RETUNE__SEARCH__POINTS): Input should be a valid integer, got "many"',
        ),
        ("LR_RETUNE__SEARCH__POINTS", "", "LR_RETUNE__SEARCH__POINTS is empty"),
        ("LR_RETUNE__SEARCH__POINTS", "  ", "LR_RETUNE__SEARCH__POINTS is empty"),
        ("LR_RETUNE__DATA__ID", "1979-05-27", "data.id (set by LR_RETUNE__DATA__ID): Input should be a valid string"),
        ("LR_RETUNE__SERACH__POINTS", "3", "serach (set by LR_RETUNE__SERACH__POINTS)"),
        ("LR_RETUNE__SEARCH__LEARNING_RATE", "{low = 1, high = nan}", "(set by LR_RETUNE__SEARCH__LEARNING_RATE)"),
        ("LR_RETUNE__NAME__X", "3", "LR_RETUNE__NAME__X reaches into 'name', which is no table"),
        ("LR_RETUNE__SEARCH__STRATEGY", "1\nx = 2", "never"),
    ],
)
def test_a_wrong_variable_is_named(tmp_path: Path, variable: str, value: str, told: str) -> None:
    if told == "never":  # a second line is part of the text, never a second key
        assert loaded(tmp_path, GOOD, **{variable: value}).search.strategy == value
    else:
        assert told in refusal(tmp_path, GOOD, **{variable: value})


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────
CANARY = "c4nary-7f3a"


@pytest.mark.fault("B4")
@pytest.mark.parametrize(
    "line",
    [
        f'[state]\nurl = "postgresql+psycopg2://me:{CANARY}@db/x"',
        f'[state]\nurl = "postgresql+psycopg2://me:p/{CANARY}@db/x"',
        f'[state]\nurl = "postgresql+psycopg2://:{CANARY}@db/x"',
        f'[state]\nurl = "postgresql+psycopg2://db/x?password={CANARY}"',
        f'[mlflow]\ntracking_uri = "https://h/?access_token={CANARY}"',
        f'[mlflow]\ntracking_uri = ["https://u:{CANARY}@h"]',
        f'[mlflow]\ntracking_url = "https://u:{CANARY}@h"',
        f'[mlflow]\nexperiment = ["https://u:{CANARY}@h"]',
        f'[watch]\nticks = "https://u:{CANARY}@h"',
    ],
)
def test_a_password_in_the_file_is_refused_and_never_printed(tmp_path: Path, line: str) -> None:
    assert CANARY not in refusal(tmp_path, f"{GOOD}{line}\n")


@pytest.mark.fault("B4")
def test_a_password_in_a_variable_is_refused_and_never_printed(tmp_path: Path) -> None:
    told = refusal(tmp_path, GOOD, LR_RETUNE__STATE__URL=f"postgresql://me:{CANARY}@db/x")
    assert CANARY not in told
    assert "state.url (set by LR_RETUNE__STATE__URL): must not hold a password" in told


@pytest.mark.fault("B4", "G8")
def test_secrets_stay_references_until_they_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEDGER", f"postgresql://me:{CANARY}@db/x")
    (tmp_path / "uri").write_text(f"https://u:{CANARY}@h\n")
    config = loaded(tmp_path, GOOD + '[state]\nurl = "env:LEDGER"\n[mlflow]\ntracking_uri = "file:uri"\n')
    assert (config.state_url(), config.tracking_uri()) == (f"postgresql://me:{CANARY}@db/x", f"https://u:{CANARY}@h")
    assert CANARY not in show(config) + repr(config) + config.model_dump_json() + config.digest


def test_an_absent_or_empty_secret_is_told_without_a_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOBODY", raising=False)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "bytes").write_bytes(b"\xff")
    for value, told in (
        ("env:NOBODY", "no variable"),
        ("file:none", "cannot be read"),
        ("file:empty", "is empty"),
        ("file:bytes", "no UTF-8"),
    ):
        with pytest.raises(ConfigError, match=told):
            resolve_secret(value, tmp_path)


def test_addresses_without_a_password_are_taken_as_they_are(tmp_path: Path) -> None:
    for url in ("postgresql+psycopg2://db:5432/x", "postgresql://me@db/x", "sqlite:///a.db"):
        assert loaded(tmp_path, GOOD + f'[state]\nurl = "{url}"\n').state.url == url


# ── round trips ───────────────────────────────────────────────────────────────────────────────────
@calm
@given(st.integers(0, int(MAX_DURATION.total_seconds())))
def test_a_duration_survives_being_written(seconds: int) -> None:
    span = timedelta(seconds=seconds)
    assert parse_duration(format_duration(span)) == span


@calm
@given(st.text(alphabet=string.digits + "smhdwin -+.e", max_size=12))
def test_no_text_makes_a_duration_fail_otherwise_than_by_its_law(text: str) -> None:
    if re.fullmatch("[0-9]{1,6}(s|min|h)", text):
        assert timedelta(0) <= parse_duration(text) <= MAX_DURATION
    elif not re.fullmatch("[0-9]{1,10}(s|min|h|d|w)", text):
        with pytest.raises(ValueError, match="must be a whole number and a unit"):
            parse_duration(text)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
plain = st.recursive(
    texts | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@calm
@given(plain)
def test_what_is_written_as_toml_reads_back(value: Any) -> None:
    assert tomllib.loads(f"v = {toml(value)}")["v"] == value


@calm
@given(
    st.lists(texts, unique=True, min_size=3, max_size=6),
    st.dictionaries(texts, texts | st.integers(-9, 9) | st.floats(-1, 1) | st.booleans(), max_size=3),
    st.integers(7, 365),
    st.sampled_from([None, {"low": 1e-5, "high": 0.5}]),
)
def test_show_loads_to_the_same_configuration(
    names: list[str], params: dict[str, Any], days: int, rates: dict[str, float] | None
) -> None:
    time, label, *others = names
    raw = tomllib.loads(GOOD) | {
        "data": {"path": "rows", "time": time, "label": label, "exclude": others},
        "model": {"params": {k: v for k, v in params.items() if k not in {"eta", "seed"}}},
        "window": {"holdout": f"{days}d"},
        "search": {} if rates is None else {"learning_rate": rates},
    }
    config = parse_config(raw, root=Path.cwd())
    again = parse_config(tomllib.loads(show(config)), root=Path.cwd())
    assert again == config
    assert again.digest == config.digest


def test_the_schema_takes_what_validation_takes(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema checks the schema")
    found = json.loads(json.dumps(schema()))
    check = jsonschema.Draft202012Validator(found)
    check.check_schema(found)
    assert not list(check.iter_errors(tomllib.loads(GOOD)))
    assert not list(check.iter_errors(tomllib.loads(show(loaded(tmp_path, GOOD)))))
    for wrong in ('[window]\ntrain = "1y"', "[search]\nponits = 1", "[gates]\nalpha = 0", "[window]\ntrain = 365"):
        assert list(check.iter_errors(tomllib.loads(f"{GOOD}{wrong}\n")))


def test_schema_defaults_are_durations_as_the_file_writes_them() -> None:
    assert schema()["$defs"]["Window"]["properties"]["train"]["default"] == "365d"
    assert '"P' not in json.dumps(
        [d.get("default") for t in schema()["$defs"].values() for d in t.get("properties", {}).values()]
    )


def test_the_digest_leaves_out_where_things_are_stored(tmp_path: Path) -> None:
    one, two = loaded(tmp_path, GOOD), loaded(tmp_path, GOOD + '[state]\nurl = "sqlite:///b.db"\n')
    assert one.digest == two.digest
    assert one.digest != loaded(tmp_path, GOOD + "[search]\npoints = 9\n").digest


@pytest.mark.fault("B2")
def test_a_ledger_is_a_file_or_a_server_and_no_sqlite_uri(tmp_path: Path) -> None:
    told = refusal(tmp_path, GOOD + '\n[state]\nurl = "sqlite:///file:x.db?uri=true"\n')
    assert "state.url" in told
    assert "must name a file" in told
