"""Rows of one stretch as several models answer them: read once for each contract, identical, ready for the judge."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from lr_retune import steps
from lr_retune.config import Config
from lr_retune.data.feed import Feed
from lr_retune.data.ticks import edges
from lr_retune.errors import DataError
from lr_retune.guarded import slice_levels
from lr_retune.records import Contract, HoldoutScores, Rows, Span, content_digest, iso
from lr_retune.steps.judging import demand_same_rows, suspects_of


@dataclass(frozen=True, slots=True)
class Scored:
    """Labelled rows that every model has a score for."""

    rows: Rows
    scores: Mapping[str, np.ndarray]  # (n,) each, finite
    kept: np.ndarray  # (all rows,) bool: which of `Reading.rows` these are
    evidence: HoldoutScores  # labels, blocks, entities and slices of the same rows; its arms are not read


class Reading:
    """The rows of a stretch under whatever contract a model was trained.

    A served model answers rows whose columns broke as if these were missing, and so it does here.
    """

    def __init__(self, config: Config, feed: Feed, span: Span) -> None:
        self._config, self._feed, self._span = config, feed, span
        self._read: dict[str, Rows] = {}

    def rows(self, contract: Contract) -> Rows:
        """All rows, in one order; at most so many a tick as an observation reads, unless entities or slices are asked.

        Raises
        ------
        DataError
            If two reads gave different rows.
        """
        key, config = content_digest(contract), self._config
        if key not in self._read:
            whole = config.data.entity is not None or bool(config.gates.slices)
            most = None if whole else steps.rows_per_tick(config, self._span)
            self._read[key] = self._feed.rows(contract, self._span, contract.names, per_tick=most)
            demand_same_rows(next(iter(self._read.values())), self._read[key], None)
        return self._read[key]

    def scored(
        self, contract: Contract, scores: Mapping[str, np.ndarray], logged: Collection[str], block: timedelta
    ) -> Scored:
        """The labelled rows with the scores of all models.

        Parameters
        ----------
        contract
            Of any of them.
        scores
            Model → score of every row of `rows`.
        logged
            Models that nobody loads: rows for which no score of theirs was logged are left out.
        block
            Length of the blocks of time that are held against each other.

        Raises
        ------
        DataError
            If no row is left, or another model answers some with no number.
        """
        every, span = self.rows(contract), self._span
        kept = ~np.isnan(every.y)
        for name in logged:
            kept &= np.isfinite(scores[name])
        if not kept.any():
            raise DataError(
                f"no row between {iso(span.start)} and {iso(span.end)} has a label, and a score of each model",
                why="models are compared on identical labelled rows or not at all",
                fix="use another --from and --to",
            )
        for name, score in scores.items():
            if strange := int((~np.isfinite(score[kept])).sum()):
                raise DataError(
                    f"{name} answers {strange} of {int(kept.sum())} rows with no number", fix="leave it out"
                )
        rows = every.take(kept)
        found = {name: score[kept] for name, score in scores.items()}
        return Scored(rows, found, kept, self._evidence(contract, rows, kept, block))

    def _evidence(self, contract: Contract, rows: Rows, kept: np.ndarray, block: timedelta) -> HoldoutScores:
        entity = self._feed.entities(self._span)
        cuts = edges(self._span.start, self._span.end, block, self._config.schedule.timezone)
        return HoldoutScores(
            y=rows.y,
            tick=cuts[np.searchsorted(cuts, rows.time, side="right") - 1],
            champion=rows.y,
            challenger=rows.y,
            entity=None if entity is None else entity[kept],
            suspects=suspects_of(contract, rows) if entity is None else {},
            slices={name: levels[kept] for name, levels in slice_levels(self._feed, self._span)[1].items()},
        )
