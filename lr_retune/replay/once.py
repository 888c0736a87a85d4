"""What was made of rows that never change: policies that meet the same rows read, encode and check them once."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from itertools import islice
from typing import Any

from lr_retune.config import Config
from lr_retune.records import Feeds, Rows, content_digest

MOST = 256 * 1024**2  # bytes of rows
RECENT = 32  # entries that one look asks for again, more or less
ENTRY = 1024  # bytes of anything else
# Of the configuration, all that `Feed.rows`, `sample` and `check` read; a test holds them to that.
READ = ("data", "labels", "predictions", "schedule", "task", "model", "watch", "seed")
READ_OF_POLICY = ("min_rows",)


class Once:
    """Remembers what was made, as far as there is room.

    Policies walk the same times one after the other: where all of it is too much, those who forgot the oldest would
    have forgotten everything when the next policy begins. So the early times stay, and the present look.
    """

    def __init__(self, spare: Callable[[float], None]) -> None:
        self._made: dict[Any, tuple[Any, int, float]] = {}  # with its bytes and CPU seconds, the newest last
        self._size = 0
        self._spare = spare  # told CPU seconds that were not spent again

    def of(self, config: Config, feeds: Feeds) -> Feeds:
        """Feeds in memory that remember what was made of them under a configuration."""
        policy = [getattr(config.policy, name) for name in READ_OF_POLICY]
        read = content_digest([config.model_dump(mode="json", include=set(READ)), policy])
        return Feeds(feeds.data, feeds.labels, feeds.predictions, feeds.transform, partial(self._once, read))

    def _once(self, read: str, asked: Any, make: Callable[[], Any]) -> Any:
        key = (read, asked)
        if (known := self._made.pop(key, None)) is None:
            started = time.process_time()
            found = make()
            known = found, _held(found), time.process_time() - started
            self._size += known[1]
        else:
            self._spare(known[2])
        self._made[key] = known
        while self._size > MOST:
            passed = next(islice(reversed(self._made), RECENT, None), next(iter(self._made)))
            self._size -= self._made.pop(passed)[1]
        return known[0]


def _held(made: Any) -> int:
    """Bytes; arrays of rows that several will read are made to refuse changes."""
    if isinstance(made, tuple):
        return ENTRY + sum(map(_held, made))
    if not isinstance(made, Rows):
        return ENTRY + int(getattr(made, "nbytes", 0))
    arrays = [array for each in fields(Rows) if (array := getattr(made, each.name)) is not None]
    for array in arrays:
        array.flags.writeable = False
    return ENTRY + sum(int(array.nbytes) for array in arrays)
