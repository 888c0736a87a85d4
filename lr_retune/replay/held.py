"""The feeds in memory: read once, sliced for every look, and told by a digest of all that came before a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa

from lr_retune.config import Config
from lr_retune.data.cached import CachedSource
from lr_retune.data.kinds import DUPLICATE
from lr_retune.records import Feeds, Source, content_digest

EVER = datetime(9000, 1, 1, tzinfo=UTC)  # every label that will be known is known then


def held(config: Config, feeds: Feeds) -> Feeds:
    """The feeds in memory; what was served then was served by another model, so logged scores are left out."""
    labels = feeds.labels and _in_memory(config.reading(config.labels), feeds.labels)
    return replace(feeds, data=_in_memory(config, feeds.data), labels=labels, predictions=None)


def _in_memory(config: Config, source: Source) -> Source:
    """A source with its columns in memory; where files disagree about one, it is asked of them as ever."""
    data = config.data
    types = source.schema(EVER)
    listed = data.features is not None and config.model.transform is None
    wanted = dict.fromkeys((*data.roles, *(data.features or ()))) if listed else types
    plain = [n for n in wanted if n in types and not types[n].startswith("mixed<") and types[n] != DUPLICATE]
    return CachedSource(source, [n for n in plain if n not in data.exclude], data.time)


class Prints:
    """What the held feeds said before each run time, as one digest each.

    Rows count by their time, whenever their labels became known: a label that comes late changes digests that it need
    not, and none that it must is left as it was.
    """

    def __init__(self, feeds: Feeds, times: Sequence[datetime]) -> None:
        sources = [source for source in (feeds.data, feeds.labels) if isinstance(source, CachedSource)]
        self._times = list(times)
        self._found = [content_digest(parts) for parts in zip(*(_chain(s, times) for s in sources), strict=True)]

    def until(self, as_of: datetime) -> str | None:
        """The digest up to a run time; None for any other time."""
        return dict(zip(self._times, self._found, strict=True)).get(as_of)


def _chain(source: CachedSource, times: Sequence[datetime]) -> list[str]:
    """One pass: the digest at each time is that of the time before and of what has come since."""
    running, found, before = hashlib.sha256(), [], None
    for time in times:
        running.update(_bytes(source.between(before, time)))
        found.append(content_digest([running.hexdigest(), dict(source.schema(time)), source.unheld(time)]))
        before = time
    return found


def _bytes(table: pa.Table) -> memoryview:
    """The content of a slice: neither chunks nor the levels of later rows count."""
    plain = [c.cast(c.type.value_type) if pa.types.is_dictionary(c.type) else c for c in table.columns]
    whole = pa.table({name: column.combine_chunks() for name, column in zip(table.column_names, plain, strict=True)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, whole.schema) as writer:
        writer.write_table(whole)
    return memoryview(sink.getvalue())


def spans_of(time: np.ndarray, edges: np.ndarray) -> list[slice]:
    """Where the rows of each interval stand; ``time`` ascending, shape ``(n,)``, ``edges`` shape ``(t + 1,)``."""
    places = np.searchsorted(time, edges)
    return [slice(int(a), int(b)) for a, b in pairwise(places)]
