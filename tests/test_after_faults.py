"""After a fault: what was broken teaches nothing, and the champion is not blamed for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lr_retune.config import load_config
from lr_retune.retune import bootstrap, watch
from lr_retune.stores.promotion import Stores
from tests.test_awkward import BORN, CONFIG, NEWEST, Change, each, feed, to
from tests.worlds import day

BROKEN: dict[str, Change] = {
    "no value": to("amount", lambda v: pa.nulls(len(v), pa.float64())),
    "another unit": each("amount", lambda x: x * 1000),
    "words": each("amount", "{} EUR".format),
    "times": to("amount", lambda v: pa.array([day(0)] * len(v))),
    "labels of words": each("y", lambda _: "x"),
}


@pytest.fixture(scope="module")
def born(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("after") / "home"
    (root / "rows").mkdir(parents=True)
    (root / "retune.toml").write_text(CONFIG + '[state]\nurl = "sqlite:///ledger.db"\n', encoding="utf-8")
    pq.write_table(feed(0, BORN), root / "rows" / "0.parquet")
    pq.write_table(feed(BORN, NEWEST - BORN), root / "rows" / "1.parquet")
    config = load_config(root / "retune.toml", environ={})
    bootstrap(config, Stores.open(config), day(BORN))
    return root


@pytest.mark.fault("A1", "A2")
@pytest.mark.parametrize("damage", BROKEN)
def test_broken_ticks_hold_and_are_no_evidence_when_the_feed_is_whole_again(
    born: Path, tmp_path: Path, damage: str
) -> None:
    home = Path(shutil.copytree(born, tmp_path / "home"))
    config = load_config(home / "retune.toml", environ={})
    stores, said = Stores.open(config), []
    for n in range(5):
        rows: Any = feed(NEWEST + n, 1)
        pq.write_table(BROKEN[damage](rows) if n < 2 else rows, home / "rows" / f"{2 + n}.parquet")
        said.append(watch(config, stores, day(NEWEST + 1 + n)))
    assert [each.decision.action for each in said] == ["fix_feed", "fix_feed", "keep", "keep", "keep"]
    assert "2 ticks in a row" in said[1].decision.reasons[0].text
    assert said[4].decision.reasons[0].code == "as_promised"
