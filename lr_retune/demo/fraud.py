"""Half a year of simulated card payments: late labels, a harmless change, a broken day, a change that hurts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from lr_retune.config import Config
from lr_retune.demo import born, ending, look, unpack
from lr_retune.demo.simulator import LATEST, World, simulate
from lr_retune.errors import DataError
from lr_retune.plugins import load_plugins
from lr_retune.records import Report, micros
from lr_retune.retune import bootstrap, retune
from lr_retune.stores.promotion import Stores

if TYPE_CHECKING:
    import pyarrow as pa

BORN: Final = 70  # day of the first champion: 15 days wait for labels, 21 are valid and holdout, 34 are left for train
WEEK: Final = 7
BUSIER: Final = 84  # from this day on everybody pays by card more often, which harms no model
BROKEN: Final = 118  # on this day amounts come in cents; the next morning somebody looks
CARD_TESTING: Final = 126  # from this day on stolen cards are tried with small payments at night
CENTS: Final = 100

Repairs = Mapping[Path, "pa.Table"]  # weeks that are delivered broken, as they should be


@dataclass(frozen=True, slots=True)
class Looked:
    """One look of the tour."""

    at: datetime
    report: Report

    @property
    def held(self) -> bool:
        """Whether the feed was broken where it matters."""
        return self.report.outcome == "held" and self.report.decision.action == "fix_feed"

    @property
    def alarm(self) -> bool:
        """Whether the loss rose beyond doubt."""
        return self.report.facts.loss is not None and self.report.facts.loss.alarm

    def trained_by(self, code: str) -> bool:
        """Whether a challenger was trained, and for this reason."""
        return self.report.judgement is not None and self.codes[0] == code

    @property
    def codes(self) -> tuple[str, ...]:
        """Why, by code; small faults and drift too."""
        return tuple(reason.code for reason in self.report.decision.reasons)


def fraud(
    folder: Path,
    say: Callable[[str], None],
    *,
    seed: int = 0,
    drift: bool = True,
    size: World | None = None,
    opened: Callable[[Config], Stores] = Stores.open,
) -> dict[str, Any]:
    """Walk through half a year of simulated card payments with real stores.

    Parameters
    ----------
    folder
        A new folder: data, configuration, ledger and MLflow's database go there.
    say
        Takes one line at a time.
    seed
        Another seed, another story; the same seed, the same bytes.
    drift
        False: the same story without the planted changes and the broken day.
    size
        Another size; its seed and changes are set here.
    opened
        How stores are opened; `Stores.in_memory` leaves no trace.

    Raises
    ------
    ConfigError
        If the folder exists and is not empty.
    """
    config = unpack(folder, {"fraud.toml": "retune.toml"})
    changes = (BUSIER, CARD_TESTING) if drift else (None, None)
    story = replace(size or World(seed), seed=seed, busier=changes[0], card_testing=changes[1])
    repairs = _write(folder, story, drift)
    stores = opened(config)
    say(f"simulated payments, seed {seed}: {story.days} days from {story.start:%Y-%m-%d}, in {folder}")
    say(born(story.at(BORN), bootstrap(config, stores, story.at(BORN))))
    seen = _walk(config, stores, story, repairs, say)
    found = ending(config, stores, seen[-1].at, folder, say, "log loss of a payment")
    notes = _notes(story, seen, drift)
    for line in ("", "What to notice:", *(f"- {note}" for note in notes)):
        say(line)
    return found | {"seed": seed, "drift": drift, "notes": notes}


# ── the feed ──────────────────────────────────────────────────────────────────────────────────────
def _write(folder: Path, story: World, drift: bool) -> Repairs:
    """A file for each week and one of labels; the broken day as it was delivered, and the whole week as returned."""
    import pyarrow.parquet as pq

    rows, labels = simulate(story)
    pq.write_table(labels, folder / "labels.parquet")
    (folder / "transactions").mkdir()
    whole: dict[Path, pa.Table] = {}
    for day in range(0, story.days, WEEK):
        week = _between(rows, story, day, day + WEEK)
        path = folder / "transactions" / f"{story.at(day):%Y-%m-%d}.parquet"
        if drift and day <= BROKEN < day + WEEK:
            whole[path] = week
            week = _in_cents(week, story)
        pq.write_table(week, path)
    return whole


def _between(rows: pa.Table, story: World, first: int, end: int) -> pa.Table:
    import numpy as np

    times = rows.column("ts").cast("int64").to_numpy()
    low, high = np.searchsorted(times, [micros(story.at(first)), micros(story.at(end))])
    return rows.slice(low, high - low)


def _in_cents(week: pa.Table, story: World) -> pa.Table:
    """Somebody changed the unit of the amounts on one day."""
    import pyarrow.compute as pc

    broken = pc.greater_equal(week.column("ts"), story.at(BROKEN))
    broken = pc.and_(broken, pc.less(week.column("ts"), story.at(BROKEN + 1)))
    amount = pc.if_else(broken, pc.multiply(week.column("amount"), CENTS), week.column("amount"))
    return week.set_column(week.column_names.index("amount"), "amount", amount)


# ── the looks ─────────────────────────────────────────────────────────────────────────────────────
def _walk(config: Config, stores: Stores, story: World, repairs: Repairs, say: Callable[[str], None]) -> list[Looked]:
    """A look each week, and one more on the day after the broken day was told and mended."""
    days = sorted({*range(BORN + WEEK, story.days + 1, WEEK), *([BROKEN + 2] if repairs else [])})
    seen: list[Looked] = []
    for last, day in zip([BORN, *days], days, strict=False):
        for line in _planted(story, last, day) if repairs else ():
            say(line)
        if day == BROKEN + 2:
            _mend(repairs)
        now = Looked(story.at(day), retune(config, stores, story.at(day), plugins=load_plugins(config)))
        if now.report.outcome != "kept" or not seen or now.codes != seen[-1].codes:
            for line in _told(now, seen):
                say(line)
        seen.append(now)
    return seen


def _mend(repairs: Repairs) -> None:
    import pyarrow.parquet as pq

    for path, week in repairs.items():
        pq.write_table(week, path)


def _planted(story: World, last: int, day: int) -> list[str]:
    """What was planted since the last look; the tool is not told."""
    words = {
        BUSIER: "from here on everybody pays by card more often: other features, no harm",
        BROKEN: "the amounts of this day are delivered in cents, and mended a day later",
        CARD_TESTING: "from here on stolen cards are tried with a few euros at night, and no longer for large amounts",
    }
    return [
        f"{story.at(begun):%Y-%m-%d}  {'(planted)':<12} {what}" for begun, what in words.items() if last <= begun < day
    ]


def _told(now: Looked, seen: list[Looked]) -> list[str]:
    """The decision and its reason; then what is told beside it, and was not told the last time."""
    code = f" (exit code {DataError.exit_code})" if now.held else ""
    known = seen[-1].codes if seen else ()
    more = [reason.text for reason in now.report.decision.reasons[1:] if reason.code not in known]
    return [look(now.at, now.report) + code, *(f"{'':23} · {text}" for text in more)]


# ── what a reader should notice ───────────────────────────────────────────────────────────────────
def _notes(story: World, seen: list[Looked], drift: bool) -> list[str]:
    return [*(_of_the_plan(story, seen) if drift else _of_peace(seen)), _of_age(seen)]


def _of_peace(seen: list[Looked]) -> list[str]:
    trained = [now for now in seen if now.trained_by("loss_rose")]
    promoted = [now for now in trained if now.report.outcome == "promoted"]
    return [
        f"Nothing was planted. {len(seen)} looks, {sum(now.alarm for now in seen)} with a loss alarm; the loss led to "
        f"{len(trained)} trainings and {len(promoted)} promotions. Each of them would be a false alarm."
    ]


def _of_the_plan(story: World, seen: list[Looked]) -> list[str]:
    calm = [now for now in seen if story.at(BUSIER) < now.at <= story.at(CARD_TESTING)]
    told = sum("drift_told" in now.codes for now in calm)
    trained = sum(now.trained_by("loss_rose") for now in calm)
    held = [now for now in calm if now.held]
    mended = [now for now in calm if now.at == story.at(BROKEN + 2)]
    return [
        f"Harmless change: drift was told at {told} of {len(calm)} looks; trainings because of the loss: {trained}.",
        f"Broken day: held at {len(held)} look with exit code {DataError.exit_code}; mended, the next one "
        f"{'was held again' if mended[0].held else 'went on'}.",
        *_of_the_change(story, [now for now in seen if now.at > story.at(CARD_TESTING)]),
    ]


def _of_the_change(story: World, after: list[Looked]) -> list[str]:
    alarms = [now for now in after if now.alarm]
    if not alarms:
        return ["Card testing: the loss raised no alarm. It should have."]
    days = (alarms[0].at - story.at(CARD_TESTING)).days
    judged = [now for now in after if now.at >= alarms[0].at and now.report.judgement is not None]
    return [
        f"Card testing: noticed {days} days after it began; its labels alone take up to {LATEST} days.",
        f"Challengers since then: {'; '.join(map(_outcome, judged)) or 'none'}. One that answers a change learns from "
        "the first days after it and is judged on the later ones; later probes ask whether more of them would help.",
    ]


def _outcome(now: Looked) -> str:
    judgement = now.report.judgement
    gain = f" {judgement.attribution['total']:+.1%}" if judgement is not None and judgement.attribution else ""
    return f"{now.at:%Y-%m-%d} {now.report.outcome}{gain}"


def _of_age(seen: list[Looked]) -> str:
    aged = [now for now in seen if now.trained_by("age")]
    promoted = sum(now.report.outcome == "promoted" for now in aged)
    return f"Trained by the calendar ([policy] max_age), whatever the loss: {len(aged)} times, promoted {promoted}."
