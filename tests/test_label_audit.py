"""The label audit from file to verdict: golden rows that the feed holds too hold a poisoned challenger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lr_retune.config import load_config
from lr_retune.data.feed import Feed
from lr_retune.data.golden import read_audited
from lr_retune.plugins import load_feeds
from lr_retune.records import Report, Span
from lr_retune.retune import bootstrap, retune
from lr_retune.stores.promotion import Stores
from lr_retune.watch.baselines import always
from tests.conftest import Answer
from tests.worlds import ROWS_A_DAY, day, rows, world, write

VOUCHED = slice(70 * ROWS_A_DAY, 115 * ROWS_A_DAY, 6)  # 450 rows of days 70 to 115


def poisoned(folder: Path, share: float) -> Path:
    """From day 75 on a share of the positives of kind x is called negative; a person knows the labels."""
    path = world(folder, task="binary", metric="log_loss")
    asked = path.read_text(encoding="utf-8").replace("[gates]", '[gates]\ngolden = "golden.parquet"')
    path.write_text(asked, encoding="utf-8")
    sound: dict[str, Any] = rows(task="binary")
    table = pa.table({name: values[VOUCHED] for name, values in sound.items()})
    times = table.column("ts").cast(pa.timestamp("us", "UTC"))
    pq.write_table(table.set_column(0, "ts", times), folder / "golden.parquet")
    chance = np.random.default_rng(5).random(len(sound["y"]))
    hit = (np.arange(len(chance)) >= 75 * ROWS_A_DAY) & (np.array(sound["kind"]) == "x") & (chance < share)
    write(folder, {**sound, "y": np.where(hit, 0.0, sound["y"])})
    return path


def judged(path: Path) -> Report:
    config = load_config(path, environ={})
    stores = Stores.in_memory(config)
    bootstrap(config, stores, day(75))
    return retune(config, stores, day(130), policy=always)


@pytest.mark.fault("C4")
def test_a_poisoned_slice_is_held_by_rows_that_a_person_labelled_anew(tmp_path: Path) -> None:
    verdicts = {}
    for share in (0.0, 0.1):
        found = judged(poisoned(tmp_path / str(share), share))
        assert found.judgement is not None
        (verdicts[share],) = [v for v in found.judgement.verdicts if v.gate == "golden"]
    assert (verdicts[0.0].code, verdicts[0.0].status) == ("LRR350", "PASS")
    assert "; 0 of 450 golden rows" in verdicts[0.0].reason
    assert (verdicts[0.1].code, verdicts[0.1].status) == ("LRR356", "INCONCLUSIVE")
    assert "kind=x" in verdicts[0.1].reason
    assert found.outcome in ("inconclusive", "rejected")


def test_golden_rows_are_found_in_the_feed_by_time_and_features(tmp_path: Path) -> None:
    config = load_config(poisoned(tmp_path, 0.5), environ={})
    stores = Stores.in_memory(config)
    contract = bootstrap(config, stores, day(75)).contract
    feed = Feed(config, load_feeds(config), day(160))
    found, vouched = read_audited(feed, contract, Span(day(80), day(110)))
    assert 290 <= len(found) == len(vouched) <= 310
    assert set(np.flatnonzero(found.y != vouched)) <= set(np.flatnonzero(vouched == 1))
    assert (found.y != vouched).sum() > 10
    assert not len(read_audited(feed, contract, Span(day(130), day(150)))[0])
    table = pq.read_table(tmp_path / "golden.parquet")
    pq.write_table(pa.concat_tables([table, table]), tmp_path / "golden.parquet")  # whose label counts?
    assert not len(read_audited(feed, contract, Span(day(80), day(110)))[0])
    pq.write_table(table.drop_columns(["ts"]), tmp_path / "golden.parquet")
    assert not len(read_audited(feed, contract, Span(day(80), day(110)))[0])


@pytest.mark.parametrize("name", ["golden.parquet", "golden.csv"])
def test_rows_that_were_drawn_for_a_person_are_found_again_once_they_have_labels(
    tmp_path: Path, name: str, cli: Callable[..., Answer]
) -> None:
    path = world(tmp_path, task="binary", metric="log_loss")
    assert cli("bootstrap", "-c", path, "--as-of", "2024-03-16").code == 0
    asked = ("golden", "-c", path, "--as-of", "2024-05-01", "--rows", "300", "--out", tmp_path / name)
    found = cli(*asked, "--json")
    assert (found.code, found.json["rows"]) == (0, 300)
    assert cli(*asked).code == 2  # a file that somebody may have worked on is never written over
    frame = pd.read_parquet(tmp_path / name) if name.endswith("parquet") else pd.read_csv(tmp_path / name)
    assert frame["y"].isna().all()
    truth = {round(a, 9): y for a, y in zip(rows()["a"], rows(task="binary")["y"], strict=True)}
    frame["y"] = [truth[round(a, 9)] for a in frame["a"]]  # pandas reads a CSV's last digit as it likes
    frame.to_parquet(tmp_path / name) if name.endswith("parquet") else frame.to_csv(tmp_path / name, index=False)
    path.write_text(
        path.read_text(encoding="utf-8").replace("[gates]", f'[gates]\ngolden = "{name}"'), encoding="utf-8"
    )
    config = load_config(path, environ={})
    champion = Stores.open(config).champion(day(121))
    feed = Feed(config, load_feeds(config), day(121))
    again, vouched = read_audited(feed, champion.contract, Span(day(60), day(121)))
    assert len(again) == 300
    assert (again.y == vouched).all()


def test_before_labels_have_come_there_is_nothing_to_draw(tmp_path: Path, cli: Callable[..., Answer]) -> None:
    path = world(tmp_path, task="binary", metric="log_loss")
    assert cli("bootstrap", "-c", path, "--as-of", "2024-03-16").code == 0
    found = cli("golden", "-c", path, "--as-of", "2024-03-16", "--out", tmp_path / "golden.csv")
    assert found.code == 3
    assert "no rows since the champion was judged" in found.err
    assert cli("golden", "-c", path, "--out", tmp_path / "golden.xlsx").code == 2
