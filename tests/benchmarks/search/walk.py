"""Every row at every time of a set."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from lr_retune.records import Trial
from tests.benchmarks.search import peers, work
from tests.benchmarks.search.peers import PEERS, Peer
from tests.benchmarks.search.rows import FAMILIES, Found, fits_for, keep, rows_of, searched
from tests.benchmarks.search.streams import Episode, episodes
from tests.benchmarks.search.work import Trained


def walk(name: str, family: str, times: int, folder: Path) -> Iterator[dict[str, Found]]:
    """What each row found at each time but the first, which only tells the first old rate and the first history."""
    warnings.simplefilter("ignore")  # of the peers: they would interrupt the table
    old, earlier = 0.0, list[tuple[Trial, ...]]()
    for number, episode in enumerate(episodes(name, family, times + 1, folder)):
        shared = Trained(FAMILIES[family], episode.data) if family == "lightgbm" else unit(episode)
        rows = [row for row in rows_of(family) if number or row.name == "grid10" or row.remembers]
        found = {row.name: searched(row, episode, shared, earlier) for row in rows}
        if number:
            found["keep"] = searched(keep(old), episode, shared, ())
            found |= {name: _met(peer, episode, shared) for name, peer in PEERS.items()}
            yield found
        old = found["grid10"].rate
        earlier.extend(found[row.name].trials for row in rows if row.remembers)


def unit(episode: Episode) -> float:
    """CPU seconds of a pass of one column, by the family or scikit-learn's loop, whichever is cheaper."""
    return min(work.one_pass(episode.data), peers.one_pass(episode.data))


def walked(name: str, family: str, times: int, folder: Path) -> tuple[list[dict[str, Found]], float]:
    """A whole set, and the CPU seconds it took."""
    began = time.process_time()
    return list(walk(name, family, times, folder)), time.process_time() - began


def _met(peer: Peer, episode: Episode, shared: Trained | float) -> Found:
    """A peer's search, and the fit at the rate it names."""
    rate, work, cpu = peer(episode, fits_for(episode, shared))
    last = searched(keep(rate), episode, shared, ())
    return replace(last, work=work, cpu=cpu, refit=last.work, trials=())
