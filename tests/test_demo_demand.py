"""The README's first table is what its first command prints."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Answer

README = Path(__file__).parents[1] / "README.md"


def test_the_demo_decides_as_the_readme_tells(
    cli: Callable[..., Answer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = cli("demo", "demand", "--json")
    assert found.code == 0, found.err
    row = re.compile(r"^(\d{4}-\d\d-\d\d)  (refit|search) +(\w+) ", re.MULTILINE)
    told = row.findall(README.read_text(encoding="utf-8"))
    assert told
    assert [(d["as_of"][:10], d["action"], d["outcome"]) for d in found.json["decisions"]] == told
