"""A window of data frozen into a plan: spans, contract and content digest, read once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from lr_retune.config import Config
from lr_retune.data.feed import Feed, Kind, between, rows_digest
from lr_retune.data.spans import plan_spans, spans_after_change
from lr_retune.data.ticks import edges, shift
from lr_retune.errors import DataError
from lr_retune.records import Acceptance, Answered, Contract, Plan, Rows, Span, at, iso

if TYPE_CHECKING:
    import pyarrow as pa


def freeze(
    feed: Feed,
    config: Config,
    previous: Contract | None = None,
    missing: Collection[str] = (),
    accepted: Acceptance | None = None,
    change: Answered | None = None,
    after: datetime | None = None,
) -> Plan:
    """Spans up to the label horizon, the contract learned on train, and a digest of all rows.

    Parameters
    ----------
    previous
        The champion's contract: its columns and levels are kept. None: the first training.
    missing
        Columns of ``previous`` that may lack or have another type: missing values then.
    accepted
        The columns to learn instead of those of ``previous``.
    change
        A change that is to be answered; see `spans_after_change`.
    after
        Where the champion's train was cut; see `spans`.

    Raises
    ------
    DataError
        If there is too little history, no label, or a label that is none.
    """
    kinds = _kinds(feed, previous, accepted)
    horizon = feed.horizon()
    if horizon is None:
        raise _no_horizon(feed)
    train, valid, holdout = spans(feed, config, horizon, change, after)
    table = feed.raw([*kinds, *feed.needed(), *_id(feed)], train.start, holdout.end, config.model.transform)
    if bad := int(feed.labels(table).bad.sum()):
        raise DataError(
            f"{bad} labels in {config.label!r} are none",
            why="labels must be 0 or 1" if config.task == "binary" else "labels must be finite numbers",
            fix="mend the feed, or name the right column in [data] label",
        )
    named = {"train": train, "valid": valid, "holdout": holdout}
    raw = {name: between(table, config.data.time, span) for name, span in named.items()}
    _refuse_leak(feed, raw)
    contract = _under(feed.learn_from(raw["train"], kinds, previous, missing), previous, accepted, train)
    parts = {name: feed.rows_in(rows, contract, named[name], missing) for name, rows in raw.items()}
    counts = {name: len(rows.labelled()) for name, rows in parts.items()}
    if not counts["train"]:
        raise _unlabelled(train)
    if previous is None and config.task == "binary":
        for name in ("train", "holdout"):
            _demand_both_classes(name, named[name], parts[name])
    digest = rows_digest(list(parts.values()))
    since = None if change is None or change.since <= train.start else change.since
    cuts = [time for time in (after, None if change is None else change.cut) if time and time <= train.start]
    return Plan(feed.as_of, horizon, train, valid, holdout, contract, counts, digest, since, max(cuts, default=None))


def spans(
    feed: Feed, config: Config, horizon: datetime, change: Answered | None = None, after: datetime | None = None
) -> tuple[Span, Span, Span]:
    """Train, valid and holdout as a training at this horizon would have them.

    Parameters
    ----------
    after
        Where the champion's train was cut, as rows before are of another world: train does not reach back beyond it,
        unless too little would be left.
    """

    def cut(first: datetime | None, held: int = 0) -> tuple[Span, Span, Span]:
        if change is None:
            return plan_spans(config, horizon, first)
        return spans_after_change(config, horizon, first, change, held)

    uncut, _, holdout = cut(None)  # rows before it change nothing, and there may be very many
    held = 0 if change is None else _ticks_of(feed, config, holdout, change.rows)
    first = feed.first(uncut.start)
    try:
        return cut(first if after is None else max(first or after, after), held)
    except DataError:
        return cut(first, held)


def _ticks_of(feed: Feed, config: Config, holdout: Span, rows: int) -> int:
    """Ticks before the holdout's end that hold so many rows, up to ``[window] holdout``; 0 where it holds them."""
    if feed.holds(holdout.start, holdout.end, rows):
        return 0
    tick, zone, most = config.schedule.tick, config.schedule.timezone, config.ticks(config.window.holdout)
    starts = edges(shift(holdout.end, -most, tick, zone), holdout.end, tick, zone)
    times = feed.times(at(int(starts[0])), holdout.end)
    return next((n for n in range(1, most) if (times >= starts[-1 - n]).sum() >= rows), most)


def _kinds(feed: Feed, previous: Contract | None, accepted: Acceptance | None) -> dict[str, Kind]:
    """What to learn: everything at first and under new feature code, else what was learned or accepted since."""
    if previous is None or previous.transform != feed.config.model.transform:
        left = None if previous is None else previous.score
        return {name: kind for name, kind in feed.columns().items() if name != left}
    named = {c.name: c.kind for c in previous.columns} if accepted is None else accepted.columns
    return {name: kind for name, kind in named.items() if name not in (*feed.config.data.exclude, previous.score)}


def _under(contract: Contract, previous: Contract | None, accepted: Acceptance | None, train: Span) -> Contract:
    """The contract with the newest acceptance that it has learned.

    Columns follow an acceptance at once; ranges and levels only when rows as they are now reach train, after valid and
    holdout. Until then the acceptance stays open, or the very change that a person accepted would hold runs again.
    """
    if accepted is not None:
        contract = replace(contract, version=max(contract.version, accepted.version))
        if accepted.as_of < train.end:
            return replace(contract, accepted=accepted.key)
    return contract if previous is None else replace(contract, accepted=previous.accepted)


def _id(feed: Feed) -> list[str]:
    name = feed.config.data.id
    return [name] if name is not None and name in feed.schema else []


def _refuse_leak(feed: Feed, raw: Mapping[str, pa.Table]) -> None:
    """A row that was trained or tuned on is no evidence: the holdout shares no event with train and valid."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name in (n for n in _id(feed) if n in raw["train"].column_names):
        before = pa.concat_tables([raw["train"].select([name]), raw["valid"].select([name])]).column(name)
        judged = pc.drop_null(raw["holdout"].column(name))
        if twice := pc.sum(pc.is_in(judged, value_set=pc.drop_null(before))).as_py():
            raise DataError(
                f"{twice:,} of {len(judged):,} holdout rows are events of train or valid: they share {name!r}",
                why="a model that saw an event is no judge of it: the holdout would flatter every challenger",
                fix="remove the repeated events, or name a column in [data] id that is unique",
            )


def _demand_both_classes(name: str, span: Span, rows: Rows) -> None:
    """Later holdouts are the judge's to weigh; a first champion would promise a loss that nothing can be held to."""
    found = rows.labelled().y
    if not 0 < (found == 1).sum() < len(found):
        lacking = "positives" if (found == 0).all() else "negatives"
        raise DataError(
            f"the {len(found):,} labelled rows of {name}, {iso(span.start)} to {iso(span.end)}, hold no {lacking}",
            why="one class teaches nothing, and no loss can be promised on it",
            fix=f"widen [window] {name}, use another --as-of, or check the label column",
        )


def _no_horizon(feed: Feed) -> DataError:
    quorum, delay = feed.config.labels.quorum, feed.config.label_max_delay
    if feed.config.labels.mode == "none":
        return DataError(
            f"no tick before {iso(feed.as_of)} has labels to train on",
            why=f'[labels] mode = "none", and a first model or a search needs {quorum:.0%} of a tick\'s rows labelled',
            fix="name the column that holds labels of older rows in [data] label, or use an earlier --as-of",
        )
    return DataError(
        f"no tick has complete labels at {iso(feed.as_of)}",
        why=f"{quorum:.0%} of a tick's rows must be labelled, or {delay} have passed since its end",
        fix="wait, check [data] label and label_time, or shorten [labels] max_delay",
    )


def _unlabelled(train: Span) -> DataError:
    return DataError(
        f"no row between {iso(train.start)} and {iso(train.end)} has a label",
        why="a model is trained on labelled rows only",
        fix="check [data] label, label_time and label_delay",
    )
