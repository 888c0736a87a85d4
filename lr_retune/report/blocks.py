"""What a page is made of: questions with their answers, pictures, tables, commands; and how figures read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal, TypeGuard

from lr_retune.records import Cost, TickLoss, Trial

Tone = Literal["good", "bad", "warn", "calm"]
TONES: dict[str, Tone] = {
    "PASS": "good",
    "FAIL": "bad",
    "INCONCLUSIVE": "warn",
    "ERROR": "bad",
    "promoted": "good",
    "rejected": "bad",
    "kept": "calm",
    "OK": "good",
    "HARM": "bad",
    "UNKNOWN": "warn",
}


@dataclass(frozen=True, slots=True)
class Cell:
    """What a table says at one place; ``value`` is the exact figure behind a rounded text."""

    text: str
    value: float | None = None
    tone: Tone | None = None
    code: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a caption; a long one is folded."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    id: str = ""
    folded: bool = False
    pairs: bool = False  # names and values: as wide as they are

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Per column, whether it stands to the right: figures, and dashes between them."""
        columns = [[row[i] for row in self.rows] for i in range(len(self.head))]
        return tuple(
            not self.pairs
            and any(c.value is not None for c in column)
            and all(c.value is not None or c.text == "–" for c in column)
            for column in columns
        )


@dataclass(frozen=True, slots=True)
class Figure:
    """An SVG element of our own making and the sentence that says what is seen."""

    svg: str
    caption: str


@dataclass(frozen=True, slots=True)
class Note:
    """One paragraph."""

    text: str
    tone: Tone | None = None


@dataclass(frozen=True, slots=True)
class Commands:
    """Lines for a terminal, each with what it does."""

    lines: tuple[tuple[str, str], ...]


Block = Table | Figure | Note | Commands


@dataclass(frozen=True, slots=True)
class Section:
    """A question, its answer in a sentence, and what stands behind it."""

    id: str
    title: str
    answer: str
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One decision as the ledger keeps it, in plain form; what is absent is None or empty."""

    model: str
    outcome: str
    decision: Mapping[str, Any]  # id, action, reasons
    as_of: str
    facts: Mapping[str, Any] | None  # None: the first champion
    settled: Mapping[str, Any] | None  # the settlement's record; None: nobody was judged
    before: Mapping[str, Any] | None  # champion that the decision met: version, learning_rate, promised
    after: Mapping[str, Any]  # champion after it
    move: Mapping[str, Any] | None = None  # how the champion changed, where it did
    chain: tuple[Mapping[str, Any], ...] = ()  # ledger entries behind the page: kind, row, digest
    sweeps: str = ""  # picture of a range test
    golden: Mapping[str, Any] | None = None  # raw rows, only where they were asked for
    searched: Mapping[str, Any] | None = None  # the last search of the rate before it: decision, as_of
    later: Sequence[Mapping[str, Any]] = ()  # what became of it: what, as_of, who, why, version

    @property
    def result(self) -> Mapping[str, Any] | None:
        """The search or refit."""
        return None if self.settled is None else self.settled["result"]

    @property
    def judgement(self) -> Mapping[str, Any]:
        """Verdicts, losses, attribution; empty where nobody was judged."""
        return {} if self.settled is None else self.settled["judgement"]

    @property
    def word(self) -> str:
        """Who asked for a change of the champion that no decision of the policy made; empty: nobody did."""
        if self.move is None or self.facts is not None or self.settled is not None:
            return ""
        why = self.move.get("reason") or "no reason was given"
        return f"{self.move.get('actor') or 'somebody'} asked for it: {why}"

    @property
    def ended(self) -> Mapping[str, Any] | None:
        """How the reign of the champion that it made ended; None: it lasts, or there was none."""
        return next((each for each in self.later if each["what"] in ("rolled back", "replaced")), None)

    @property
    def verdicts(self) -> Sequence[Mapping[str, Any]]:
        """In the order they were asked."""
        return list(self.judgement.get("verdicts", ()))

    @property
    def paired(self) -> Mapping[str, Any]:
        """The verdict that compared losses; empty where none did."""
        named = next((v for v in self.verdicts if v["gate"] == "paired_loss" and v.get("effect") is not None), None)
        return named or next((v for v in self.verdicts if v.get("effect") is not None), {})

    @property
    def rules(self) -> Mapping[str, Any]:
        """Metric, margin, floor and alpha that the judge went by; empty in older ledgers."""
        return {} if self.settled is None else self.settled.get("rules") or {}

    @property
    def metric(self) -> str:
        """The loss's name."""
        return str(self.rules.get("metric") or "loss")

    @property
    def alpha(self) -> float | None:
        """One-sided level of this look; None where nothing was compared or nobody knows."""
        look: Any = self.judgement.get("look") or {}
        found = look.get("alpha", self.rules.get("alpha"))
        return float(found) if finite(found) else None

    @property
    def interval(self) -> str:
        """What the interval is called: 90 % where each end errs once in twenty."""
        return "90 % interval" if self.alpha is None else f"{100 * (1 - 2 * self.alpha):.4g} % interval"


# ── figures as people read them ───────────────────────────────────────────────────────────────────
def finite(value: Any) -> TypeGuard[float]:
    """Whether it is a number that can be shown."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def short(value: Any, digits: int = 4) -> str:
    """Significant digits; a dash for what is not there.

    >>> short(72.59123), short(1234567.0), short(None)
    ('72.59', '1,234,567', '–')
    """
    if not finite(value):
        return "–"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def percent(share: Any, digits: int = 1, *, signed: bool = True) -> str:
    """A share in per cent, with a true minus sign.

    >>> percent(0.0652), percent(-0.01), percent(0.5, 0, signed=False)
    ('+6.5 %', '−1.0 %', '50 %')
    """
    if not finite(share):
        return "–"
    return (f"{100 * share:{'+' if signed else ''}.{digits}f} %").replace("-", "−")


def between(low: Any, high: Any) -> str:
    """An interval of shares, or nothing.

    >>> between(0.031, 0.077)
    '+3.1 % to +7.7 %'
    """
    return f"{percent(low)} to {percent(high)}" if finite(low) and finite(high) else ""


def number(value: Any, digits: int = 4) -> Cell:
    """A rounded figure that keeps its exact value."""
    return Cell(short(value, digits), value if finite(value) else None)


def share(value: Any) -> Cell:
    """A share in per cent that keeps its exact value."""
    return Cell(percent(value), value if finite(value) else None)


def unsigned(value: Any) -> Cell:
    """A share that is no gain."""
    return Cell(percent(value, signed=False), value if finite(value) else None)


def amount(value: Any) -> Cell:
    """A count in full, by thousands.

    >>> amount(17406120).text
    '17,406,120'
    """
    return Cell(f"{value:,.0f}", value) if finite(value) else Cell("–")


def status(word: str) -> Cell:
    """A status with its tone; how a trial usually ends has none."""
    return Cell(word) if word in ("complete", "pruned") else Cell(word, tone=TONES.get(word, "warn"))


def day(time: Any) -> str:
    """A date, with the time of day where it is not midnight in UTC.

    >>> day("2015-05-04T00:00:00+00:00"), day("2015-05-04T06:30:00+00:00")
    ('2015-05-04', '2015-05-04 06:30')
    """
    if time is None:
        return "–"
    moment = datetime.fromisoformat(time).astimezone(UTC)
    midnight = (moment.hour, moment.minute, moment.second) == (0, 0, 0)
    return f"{moment:%Y-%m-%d}" if midnight else f"{moment:%Y-%m-%d %H:%M}"


def several(count: int, noun: str, plural: str = "") -> str:
    """A count with its noun.

    >>> several(1, "trial"), several(3, "trial"), several(2, "loss", "losses")
    ('1 trial', '3 trials', '2 losses')
    """
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def cells(*values: Any) -> tuple[Cell, ...]:
    """A row: cells as they are, anything else as text."""
    return tuple(v if isinstance(v, Cell) else Cell("–" if v is None else str(v)) for v in values)


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]], **more: Any) -> Table:
    """A table of rows of cells or texts."""
    return Table(caption, tuple(head), tuple(cells(*row) for row in rows), **more)


# ── records from their plain form ─────────────────────────────────────────────────────────────────
def trials(result: Mapping[str, Any] | None) -> list[Trial]:
    """Trials of a search; what older or newer records hold beyond is left out."""
    return [] if result is None else [_trial(value) for value in result["trials"]]


def _trial(value: Mapping[str, Any]) -> Trial:
    known = {f.name: value[f.name] for f in fields(Trial) if f.name in value}
    known["curve"] = tuple(math.inf if v is None else v for v in known.get("curve", ()))
    return Trial(**{**known, "cost": Cost(**(known.get("cost") or {}))})


def ticks(facts: Mapping[str, Any] | None) -> list[TickLoss]:
    """Tick losses of an observation."""
    return [] if facts is None else [_tick(value) for value in facts["ticks"]]


def _tick(value: Mapping[str, Any]) -> TickLoss:
    known = {f.name: value[f.name] for f in fields(TickLoss) if f.name in value}
    return TickLoss(**{**known, **{name: datetime.fromisoformat(value[name]) for name in ("start", "end")}})
