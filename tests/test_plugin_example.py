"""A third party's package: installed by pip, held to the conformance kit, in production by the real commands."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.worlds import day, world

EXAMPLE = Path(__file__).parent / "plugin_example"
SELECTED = """\
[model]
family = "linear_boosting"
"""
GATES = 'names = ["sane_predictions", "paired_loss", "unbiased"]\n'


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built and installed into a folder of its own; no file is left beside the sources."""
    folder = tmp_path_factory.mktemp("plugin")
    source = shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    target = folder / "site"
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--root-user-action=ignore"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index"]
    pip = [sys.executable, "-m", "pip", "install", *quiet, *offline, "--target", str(target), str(source)]
    subprocess.run(pip, check=True, cwd=folder, capture_output=True, text=True, timeout=240)
    return target


def python(site: Path, *words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A new process that sees the installed example."""
    found = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(found)}
    command = [sys.executable, *map(str, words)]
    return subprocess.run(
        command,
        cwd=cwd,
        env=environ,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        stdin=subprocess.DEVNULL,
    )


def lr_retune(site: Path, folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return python(site, "-W", "error", "-m", "lr_retune.cli", *words, cwd=folder)


def answered(site: Path, folder: Path, *words: object) -> dict[str, Any]:
    found = lr_retune(site, folder, *words, "--json")
    assert found.returncode == 0, found.stderr + found.stdout
    answer: dict[str, Any] = json.loads(found.stdout)
    return answer


def settled(folder: Path, *, family: str = "linear_boosting", gate: str = "unbiased", extra: str = "") -> Path:
    """A world whose truth turns on day 105, watched over by the example's parts."""
    path = world(folder, changed=105)
    text = path.read_text(encoding="utf-8")
    text = text.replace("params = { num_leaves = 7, min_data_in_leaf = 20 }", f'family = "{family}"\n{extra}')
    text = text.replace("[gates]\n", f'[gates]\nnames = ["sane_predictions", "paired_loss", "{gate}"]\n')
    path.write_text(text, encoding="utf-8")
    return path


CONFORMS = """
from importlib.metadata import entry_points
from lr_retune.testing import check_family, check_gate, toy_config
found = {group: entry_points(group="lr_retune." + group) for group in ("families", "gates")}
check_family(found["families"]["linear_boosting"].load())
for task in ("regression", "binary"):
    check_gate(found["gates"]["unbiased"].load(), config=toy_config(task))
print("conforms")
"""


def test_an_installed_third_party_package_conforms(installed: Path, tmp_path: Path) -> None:
    found = python(installed, "-W", "error", "-c", CONFORMS, cwd=tmp_path)
    assert (found.returncode, found.stdout) == (0, "conforms\n"), found.stderr


SERVED = """
import json, sys
from datetime import datetime, timedelta
import mlflow.pyfunc
import pandas as pd
from lr_retune.config import load_config
from lr_retune.data.feed import Feed
from lr_retune.plugins import load_plugins
from lr_retune.records import Span
from lr_retune.steps import load_model
from lr_retune.stores.bundle import unpack_contract
from lr_retune.stores.promotion import Stores
config, now = load_config("retune.toml", environ={}), datetime.fromisoformat(sys.argv[1])
stores, feed = Stores.open(config), Feed(config, load_plugins(config).feeds, now)
champion = stores.champion(now)
files, span = stores.files(champion), Span(now - timedelta(days=5), now)
contract = unpack_contract(files)
judged = load_model(config, champion.family, files).predict(feed.rows(contract, span).x)
raw = pd.read_parquet("rows.parquet")
raw = raw[(raw.ts >= span.start) & (raw.ts < span.end)].sort_values("ts", kind="stable")
mlflow.set_tracking_uri(config.tracking_uri())
model = mlflow.pyfunc.load_model(f"models:/{config.name}@champion")
served = model.predict(raw[["a", "b", "kind"]])
print(json.dumps({"judged": judged.tolist(), "served": served.tolist(), "columns": contract.names}))
"""


def test_a_third_party_family_gate_and_transform_complete_the_loop(installed: Path, tmp_path: Path) -> None:
    settled(tmp_path, extra='transform = "a_within_kind"')
    born = answered(installed, tmp_path, "bootstrap", "--as-of", day(100).isoformat())["champion"]
    found = answered(installed, tmp_path, "run", "--as-of", day(158).isoformat())
    assert (found["outcome"], found["champion"]["version"]) == ("promoted", "2")
    assert [(v["gate"], v["status"]) for v in found["verdicts"]] == [
        ("sane_predictions", "PASS"),
        ("paired_loss", "PASS"),
        ("unbiased", "PASS"),
    ]
    assert any(arm["fits"] for arm in found["cost"].values())
    assert all(arm["steps"] > 0 for arm in found["cost"].values() if arm["fits"])
    done = python(installed, "-c", SERVED, day(159).isoformat(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert sorted(answer["columns"]) == ["a", "a_if_x", "b", "kind"]
    assert len(answer["served"]) > 200
    assert answer["served"] == pytest.approx(answer["judged"], abs=1e-9)
    needed = [path.read_text(encoding="utf-8") for path in tmp_path.rglob("requirements.txt")]
    assert len(needed) == 2
    assert all("lr-retune-example==1.0.0" in text for text in needed)
    back = answered(installed, tmp_path, "rollback", "--reason", "try", "--as-of", day(159).isoformat())
    assert back["champion"]["model"] == born["model"]


def test_a_search_over_a_third_party_family_stops_early_by_real_curves(installed: Path, tmp_path: Path) -> None:
    settled(tmp_path)
    found = answered(installed, tmp_path, "search", "--as-of", day(100).isoformat())
    assert found["step_unit"] == "steps"
    trials = [trial for trial in found["trials"] if trial["state"] == "complete"]
    assert len({trial["learning_rate"] for trial in trials}) >= 3
    by_rate = sorted(trials, key=lambda trial: trial["learning_rate"])
    assert by_rate[0]["steps"] > by_rate[-1]["steps"]  # a smaller rate needs more steps to the same place


@pytest.mark.parametrize(
    ("kind", "key", "word", "right"),
    [
        ("families", "family", "linear_bosting", "linear_boosting"),
        ("gates", "gate", "unbaised", "unbiased"),
        ("transforms", "extra", "a_within_knid", "a_within_kind"),
    ],
)
def test_a_typo_says_what_is_installed(
    installed: Path, tmp_path: Path, kind: str, key: str, word: str, right: str
) -> None:
    settled(tmp_path, **{key: f'transform = "{word}"' if key == "extra" else word})
    found = lr_retune(installed, tmp_path, "run", "--as-of", day(158).isoformat())
    assert found.returncode == 2
    assert f"no {kind} plugin named '{word}'" in found.stderr
    assert re.search(rf"installed: \[.*'{right}'.*\]", found.stderr)
    assert f"did you mean '{right}'?" in found.stderr
    assert not (tmp_path / "lr_retune.db").exists()
