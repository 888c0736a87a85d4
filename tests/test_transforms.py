"""A team's own feature code: found by its entry point, the same in training, judging and serving."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from lr_retune import plugins
from lr_retune.config import load_config
from lr_retune.data.feed import Feed
from lr_retune.errors import DataError
from lr_retune.plugins import load_feeds
from lr_retune.records import Span
from lr_retune.steps import load_model
from lr_retune.stores.promotion import Stores
from lr_retune.testing import check_transform
from tests.conftest import Answer
from tests.worlds import day, world

CODE = """
import numpy as np


class Ratio:
    inputs = {"a": "number", "b": "number", "kind": "category"}
    outputs = {"sum": "number", "pair": "category"}

    def __call__(self, columns):
        large = np.array(["large" if a > 0 else "small" for a in columns["a"]], dtype=object)
        pair = [None if k is None else f"{k}/{s}" for k, s in zip(columns["kind"], large)]
        return {"sum": columns["a"] + columns["b"], "pair": pair}


class Broken(Ratio):
    def __call__(self, columns):
        raise ZeroDivisionError("no rows of that shop")


class Short(Ratio):
    def __call__(self, columns):
        return {"sum": columns["a"][:1], "pair": columns["kind"]}


ratio, broken, short = Ratio(), Broken(), Short()
"""


@pytest.fixture
def team(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package as pip would have put it, with three transforms."""
    site = tmp_path / "site"
    info = site / "team_features-1.2.dist-info"
    info.mkdir(parents=True)
    (site / "team_features.py").write_text(CODE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: team-features\nVersion: 1.2\n")
    points = "\n".join(f"{name} = team_features:{name}" for name in ("ratio", "broken", "short"))
    (info / "entry_points.txt").write_text(f"[lr_retune.transforms]\n{points}\n")
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    plugins.find.cache_clear()


def configured(folder: Path, name: str) -> Path:
    path = world(folder)
    text = path.read_text().replace("[model]\n", f'[model]\ntransform = "{name}"\n')
    path.write_text(text.replace("[data]\n", '[data]\nexclude = ["a"]\n'))
    return path


@pytest.mark.usefixtures("team")
def test_derived_columns_are_features_and_what_they_read_may_be_excluded(
    tmp_path: Path, cli: Callable[..., Answer]
) -> None:
    """The loop ends with a model that serves raw rows, with the same scores as the judge saw."""
    path = configured(tmp_path, "ratio")
    here = ("-c", path, "--json")
    assert cli("check", "-c", path, "--as-of", day(110).isoformat()).code == 0
    assert cli("bootstrap", *here, "--as-of", day(110).isoformat()).code == 0
    assert cli("run", *here, "--as-of", day(145).isoformat()).code == 0
    config = load_config(path)
    stores = Stores.open(config)
    champion = stores.champion(day(120))
    assert champion.contract.names == ("b", "kind", "sum", "pair")
    assert champion.contract.transform == "ratio"
    feed, span = Feed(config, load_feeds(config), day(125)), Span(day(120), day(125))
    expected = load_model(config, "lightgbm", stores.files(champion)).predict(feed.rows(champion.contract, span).x)

    import mlflow
    import pandas as pd

    mlflow.set_tracking_uri(config.tracking_uri())
    try:
        raw = feed.raw(["a", "b", "kind"], span.start, span.end).drop_columns(["ts"]).to_pandas()
        served = mlflow.pyfunc.load_model(f"models:/demo/{champion.version}")
        assert {c.name for c in served.metadata.signature.inputs} == {"a", "b", "kind"}
        np.testing.assert_allclose(served.predict(raw), expected, rtol=0, atol=1e-9)
        one = pd.DataFrame({"a": [np.nan], "b": [1.0], "kind": pd.Series([None], dtype=object)})
        one = served.predict(one)
        assert np.isfinite(one).all()
        needs = mlflow.pyfunc.get_model_dependencies(f"models:/demo/{champion.version}")
        assert "team-features==1.2" in Path(needs).read_text()
    finally:
        mlflow.set_tracking_uri(None)


@pytest.mark.usefixtures("team")
@pytest.mark.parametrize(
    ("name", "told"), [("broken", "ZeroDivisionError: no rows of that shop"), ("short", "'sum' has the shape (1,)")]
)
def test_feature_code_that_fails_is_a_fault_of_the_feed_with_its_own_words(
    tmp_path: Path, name: str, told: str
) -> None:
    config = load_config(configured(tmp_path, name))
    with pytest.raises(DataError) as refused:
        Feed(config, load_feeds(config), day(110)).raw(["sum"], day(0), day(5), name)
    assert told in str(refused.value)
    assert refused.value.exit_code == 3


@pytest.mark.usefixtures("team")
def test_a_missing_input_of_feature_code_is_told_by_name(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    import pyarrow.parquet as pq

    path = configured(tmp_path, "ratio")
    assert cli("bootstrap", "-c", path, "--as-of", day(110).isoformat()).code == 0
    table = pq.read_table(tmp_path / "rows.parquet")
    pq.write_table(table.drop_columns(["a"]), tmp_path / "rows.parquet")
    found = cli("run", "-c", path, "--as-of", day(120).isoformat())
    assert found.code == 3
    assert "'sum' is missing" in found.out
    assert "its transform reads 'a'" in found.out


@pytest.mark.usefixtures("team")
def test_an_unknown_transform_says_what_is_installed(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    path = configured(tmp_path, "ratoi")
    found = cli("check", "-c", path)
    assert found.code == 2
    assert "did you mean 'ratio'?" in found.out


class Centred:
    """A mean over all rows: training and serving would disagree."""

    inputs: Mapping[str, Literal["number", "category"]] = {"a": "number"}
    outputs: Mapping[str, Literal["number", "category"]] = {"centred": "number"}

    def __call__(self, columns: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return {"centred": columns["a"] - np.nanmean(columns["a"])}


class Same(Centred):
    def __call__(self, columns: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        return {"centred": columns["a"] - 1.0}


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_the_conformance_kit_refuses_code_that_looks_at_other_rows() -> None:
    check_transform(Same())
    with pytest.raises(AssertionError, match="a row must not depend on other rows"):
        check_transform(Centred())
