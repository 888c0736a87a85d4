"""The glossary: what rooms hand to each other, and what a plug-in must offer. Read it first.

Losses are "lower is better" everywhere in here; times are UTC-aware; spans are half-open.
Everything that enters a digest goes through `canonical`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

    from lr_retune.config import Config

Action = Literal["keep", "fix_feed", "refit", "search", "rollback", "ask"]
Outcome = Literal[
    "kept", "held", "rejected", "inconclusive", "promoted", "rolled_back", "suggested", "awaiting_approval"
]
Status = Literal["PASS", "FAIL", "INCONCLUSIVE", "ERROR"]
TrialState = Literal["complete", "pruned", "diverged", "starved", "failed"]
Mode = Literal["loaded", "score_only"]
Role = Literal["candidate", "control", "fixed"]
Effort = Literal["fast", "balanced", "thorough"]
Answer = Literal["rate", "average", "cheap_to_serve"]
Files = Mapping[str, bytes]  # a model folder: relative name → content

TRAINING_ACTIONS: tuple[Action, ...] = ("refit", "search")
PASSED: tuple[Outcome, ...] = ("promoted", "suggested", "awaiting_approval")
JUDGED: tuple[Outcome, ...] = ("rejected", "inconclusive", *PASSED)
NOT_ASKED = "LRR300"  # code of a gate that has no question; people are not shown it
SETTLING = frozenset({"harder", "nothing_fixable"})  # codes of a probe's decision that settles as a judge's does


# ── canonical form ────────────────────────────────────────────────────────────────────────────────
def plain(value: Any) -> Any:
    """Records, times and numpy values to what JSON knows; a non-finite number becomes null."""
    kind = type(value)
    if kind is str or kind is int or value is None or kind is bool:  # most values: asked first
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(kind):
        return {name: plain(getattr(value, name)) for name in _shown(kind)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


@cache
def _shown(kind: Any) -> tuple[str, ...]:
    """Fields of a record that its digest is made of."""
    return tuple(f.name for f in dataclasses.fields(kind) if not f.metadata.get("outside"))


def canonical(value: Any) -> str:
    """One text for one content: sorted keys, no spaces, no non-finite numbers.

    >>> canonical({"b": float("nan"), "a": (1, 2.5)})
    '{"a":[1,2.5],"b":null}'
    """
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_digest(value: Any) -> str:
    """sha256 of the canonical form, 64 hex digits."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def files_digest(files: Files) -> str:
    """sha256 over the sha256 of every file of a model folder: the identity of a model."""
    return content_digest({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})


def iso(time: datetime) -> str:
    """ISO 8601 in UTC with offset."""
    return time.astimezone(UTC).isoformat()


def micros(time: datetime) -> int:
    """Microseconds since 1970-01-01 UTC, exact."""
    delta = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def at(microseconds: int) -> datetime:
    """The time that `micros` gave; exact."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(microseconds))


# ── data ──────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Span:
    """Half-open time span [start, end)."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start > self.end:
            raise ValueError(f"start <= end must hold, got {self.start} > {self.end}")


@dataclass(frozen=True, slots=True)
class Column:
    """One feature as the first training saw it."""

    name: str
    kind: Literal["number", "category"]
    levels: tuple[str, ...] = ()  # category codes, in order of first appearance; never reordered
    low: float | None = None  # 0.1 % quantile of numbers
    high: float | None = None  # 99.9 % quantile
    median: float | None = None
    null_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Contract:
    """What the feed promised: checked before anything else, and the code book of categories."""

    version: int
    columns: tuple[Column, ...]
    rows: int  # learned on that many
    transform: str | None = None  # the entry point that derives columns from raw ones
    accepted: str | None = None  # key of the acceptance it was learned under
    score: str | None = None  # the last column, where it holds logged scores that stand for a model nobody loads

    @property
    def features(self) -> list[dict[str, Any]]:
        """What `encoding.matrix` needs to know."""
        return [{"name": c.name, "kind": c.kind, "levels": list(c.levels)} for c in self.columns]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    @property
    def inputs(self) -> Contract:
        """Without the logged scores."""
        return self if self.score is None else replace(self, columns=self.columns[:-1], score=None)

    @property
    def categorical(self) -> tuple[int, ...]:
        """Positions of category columns."""
        return tuple(i for i, c in enumerate(self.columns) if c.kind == "category")


@dataclass(frozen=True, slots=True)
class Acceptance:
    """A person's word that the feed has changed for good: the next training learns its contract anew."""

    key: str
    as_of: datetime
    version: int  # of the contract it opens
    columns: Mapping[str, Literal["number", "category"]]  # what the next training reads
    waived: tuple[tuple[str, str], ...]  # (column, fault code) that block the old champion no longer


@dataclass(frozen=True, slots=True)
class Rows:
    """Encoded rows of one span, in stable time order; arrays share their first axis."""

    x: np.ndarray  # (n, n_features) float64; category codes; NaN = missing, unseen or infinite
    y: np.ndarray  # (n,) float64; NaN = label not known at as_of
    time: np.ndarray  # (n,) int64 microseconds UTC
    tick: np.ndarray  # (n,) int64 microseconds UTC: start of the row's tick
    weight: np.ndarray | None = None  # (n,) float64

    def __len__(self) -> int:
        return len(self.time)

    def take(self, which: np.ndarray) -> Rows:
        """Rows by boolean mask, indices or slice."""
        weight = None if self.weight is None else self.weight[which]
        return Rows(self.x[which], self.y[which], self.time[which], self.tick[which], weight)

    def labelled(self) -> Rows:
        """Only rows whose label is known."""
        known = ~np.isnan(self.y)
        return self if known.all() else self.take(known)

    def emphasised(self, since: int) -> Rows:
        """With the rows from ``since`` (microseconds) on weighing as much as all before, at most twenty-fold each."""
        weight = np.ones(len(self)) if self.weight is None else self.weight
        new = self.time >= since
        times = weight[~new].sum() / weight[new].sum() if weight[new].sum() > 0 else 1.0
        return replace(self, weight=np.where(new, weight * min(max(times, 1.0), 20.0), weight))


@dataclass(frozen=True, slots=True)
class Logged:
    """Scores that production served for some rows; arrays share their first axis."""

    score: np.ndarray  # (n,) float64; NaN: none was logged
    time: np.ndarray  # (n,) int64 microseconds UTC: when it was given
    version: np.ndarray | None = None  # (n,) text or None: which model gave it


@dataclass(frozen=True, slots=True)
class Plan:
    """A window of data as steps pass it on: spans and digest, never frames."""

    as_of: datetime
    horizon: datetime  # labels are complete before it
    train: Span
    valid: Span
    holdout: Span
    contract: Contract  # of the challenger: the champion's columns, levels and ranges learned anew
    rows: Mapping[str, int]  # span name → labelled rows
    digest: str  # content of the rows of all three spans, labels as known at as_of
    since: datetime | None = None  # a change that is answered: rows from then on weigh as much as all before
    cut: datetime | None = None  # rows before it are of another world: no training reaches back so far


@dataclass(frozen=True, slots=True)
class Fault:
    """One way in which the feed broke its contract."""

    code: str  # missing_column, retyped_column, all_null, …
    column: str | None
    what: str  # with figures
    fix: str
    matters: bool  # blocks: the column carries importance, or the whole feed is hit


@dataclass(frozen=True, slots=True)
class Cost:
    """Counted work; the same on every machine."""

    fits: int = 0
    steps: int = 0  # rounds or epochs
    row_steps: int = 0  # steps x training rows

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.fits + other.fits, self.steps + other.steps, self.row_steps + other.row_steps)


# ── observation ───────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class TickLoss:
    """The champion's loss on one tick, labels as known at as_of."""

    start: datetime
    end: datetime
    rows: int
    matured: int  # rows whose label is known
    loss: float | None  # None without matured rows
    mature: bool = True  # labels complete enough to be counted


@dataclass(frozen=True, slots=True)
class LossEvidence:
    """Current loss against the promise, judged by the spread between ticks."""

    value: float  # mean of the mature ticks' losses since the champion was judged
    low: float  # 90 % interval from the spread between ticks
    high: float
    promised: float
    spread: float  # standard deviation of a tick's loss, robust
    cusum: float  # in units of spread
    since: datetime | None  # estimated start of the change, where cusum > 0
    alarm: bool  # significant: cusum above h
    now: float | None = None  # mean loss since the most likely start of the change; None: there is none
    changed: int = 0  # mature ticks since then
    visible: float | None = None  # smallest rise that shows within 14 ticks at one false alarm in 1,000; share
    level: float | None = None  # as `now`, by medians, which single odd ticks do not move


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """One column (or the score) of the current rows against the reference."""

    column: str
    method: Literal["wasserstein", "jensenshannon"]
    statistic: float  # Evidently's figure
    robust: float  # the verdict's figure: IQR scale, winsorised
    threshold: float
    importance: float  # share of the champion's importance; 1 for the score
    drifted: bool


@dataclass(frozen=True, slots=True)
class Signal:
    """One figure that needs no labels, held against what it did from tick to tick of the reference."""

    name: str  # "score", "estimated_loss", or a column
    value: float  # on the newest tick that counts
    usual: tuple[float, float]  # range over the reference's ticks: 5 and 95 %
    limit: float  # what a tick must exceed
    beyond: int  # of the newest three ticks
    raised: bool  # at least two of them, the newest among them or not
    importance: float = 1.0  # share of the champion's; 1 for score and estimate


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What scores and columns say before labels do. It brings a probe forward; it is no proof."""

    signals: tuple[Signal, ...]
    estimated: float | None = None  # rise of the loss by calibrated scores, share of the reference's; None: not to say
    off: str = ""  # why the estimate is not used

    @property
    def raised(self) -> tuple[Signal, ...]:
        """Signals that are beyond what they usually do."""
        return tuple(s for s in self.signals if s.raised)


@dataclass(frozen=True, slots=True)
class Probe:
    """A small stale and a small fresh model on the same labelled rows: what a retrain would bring."""

    as_of: datetime
    gain: float  # mean over ticks of stale loss - fresh loss; positive: a retrain helps
    error: float  # its standard error, from the spread between ticks
    ticks: int  # they met on
    rows: int
    learned: int  # ticks after the change that the fresh model was trained on; all of its ticks where there is none
    cut: datetime | None  # the fresh model did better on rows from then on alone
    available: int  # labelled rows that a training would have now
    cost: Cost  # of all


@dataclass(frozen=True, slots=True)
class Probation:
    """A new champion on the first ticks that its judge had not seen."""

    since: datetime  # the end of the holdout that judged it
    ticks: int  # of them, that have their labels
    of: int  # after which it ends
    former: str  # digest of the champion it replaced
    state: Literal["waiting", "on", "failed", "passed"]  # waiting: too few ticks or rows have their labels
    promised: float | None = None  # loss; None: the metric has changed since
    basis: Literal["former", "promise"] | None = None  # what it is held against
    newest: int = 0  # so many of the ticks the figures are of: all of them, or the newest where these show harm
    loss: float | None = None
    other: float | None = None  # the former champion's on the same rows, or the mean of the promised ticks
    effect: float | None = None  # how much worse it is, share of the other
    p: float | None = None  # one-sided, of "it is not worse by more than [gates] margin"
    alpha: float | None = None  # of this test


@dataclass(frozen=True, slots=True)
class Facts:
    """One observation. Everything `decide` may know, apart from history and policy."""

    as_of: datetime
    champion: str  # digest
    horizon: datetime | None
    rows: int  # rows of the watched ticks
    matured_rows: int
    positives: int | None  # binary tasks: matured positives
    ticks: tuple[TickLoss, ...]
    loss: LossEvidence | None  # None: not enough matured ticks
    drift: tuple[ColumnDrift, ...] = ()
    faults: tuple[Fault, ...] = ()
    alias_moved: str | None = None  # what the registry says where the ledger says otherwise
    ranking: LossEvidence | None = None  # the same for the ranking of rows, where positives are rare
    suspicion: Suspicion | None = None  # None: too few ticks to know what is usual
    probe: Probe | None = None  # None: none was due
    question: str = ""  # digest of metric, ticks and label: what a loss is a loss of
    probation: Probation | None = None  # None: the champion is on none


LEAST_HELD = 7  # ticks of a holdout right after a change
HELD = 3  # one of so many ticks since the change is held out


@dataclass(frozen=True, slots=True)
class Answered:
    """A change that a training answers."""

    since: datetime  # its estimated start
    cut: datetime | None = None  # where train shall begin; None: not at the change
    rows: int = 0  # that the holdout shall hold, or nothing can be told on it


@dataclass(frozen=True, slots=True)
class Reason:
    """Why, with a code that scripts and `explain` know and a sentence for people."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Decision:
    """What is worth doing."""

    id: str
    action: Action
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class PastDecision:
    """One ledger entry as the policy sees it."""

    id: str
    as_of: datetime
    action: Action
    codes: tuple[str, ...]  # reason codes
    outcome: Outcome | None = None  # None: not settled
    champion: str = ""  # digest it was about
    since: datetime | None = None  # estimated start of a change that was seen
    level: float | None = None  # mean loss of the ticks since then
    probe: Probe | None = None
    suspected: bool = False  # scores or columns were beyond what they usually do
    question: str = ""  # of its facts


@dataclass(frozen=True, slots=True)
class Searched:
    """The last search of the rate, as far as it tells whether the optimum may have moved."""

    as_of: datetime
    rows: int  # trained on
    spread: float | None = None  # of a tick's loss then
    at_wall: Literal["low", "high"] | None = None
    starved: bool = False  # a rate next to the chosen one ran out of steps
    rate_effect: float | None = None  # what the new rate itself brought on the holdout, where that is a finding


@dataclass(frozen=True, slots=True)
class History:
    """The ledger of one model, cut at as_of: replay sees no future."""

    decisions: tuple[PastDecision, ...] = ()
    born: datetime | None = None  # as_of of bootstrap
    rolled_back: datetime | None = None  # as_of of the last rollback
    paused_until: datetime | None = None  # a person's word: about now, whatever as_of a run simulates
    paused_by: str = ""
    paused_why: str = ""
    accepted: datetime | None = None  # since when the champion's contract is given up in part
    searched: Searched | None = None  # None: never

    def paused(self, as_of: datetime) -> bool:
        """Whether a person has asked that nothing changes at ``as_of``."""
        return self.paused_until is not None and as_of < self.paused_until

    @property
    def last_settled(self) -> datetime | None:
        """When it was last settled which model is best, by a judge or by a probe that found nothing to mend.

        Any verdict counts, as do birth and rollbacks.
        """
        found = [d.as_of for d in self.decisions if d.outcome in JUDGED or SETTLING & set(d.codes)]
        moved = [time for time in (self.born, self.rolled_back) if time is not None]
        return max([*found, *moved], default=None)

    @property
    def last_search(self) -> datetime | None:
        """When the rate was last searched, whatever came of it; birth counts."""
        judged = [d for d in self.decisions if d.outcome in JUDGED and "rejudged" not in d.codes]
        searched = [d.as_of for d in judged if d.action == "search"]
        return max([*searched, *([self.born] if self.born else [])], default=None)

    def about(self, champion: str) -> tuple[PastDecision, ...]:
        """Decisions about this champion."""
        return tuple(d for d in self.decisions if d.champion == champion)

    def probated(self, champion: str, since: datetime) -> bool:
        """Whether the probation of a champion who took over at ``since`` has ended well."""
        return any("probation_passed" in d.codes and d.as_of >= since for d in self.about(champion))

    def rebased(self, champion: str) -> PastDecision | None:
        """When the champion's loss was last accepted as the world's: it is held against the level it had then."""
        return next((d for d in reversed(self.about(champion)) if "harder" in d.codes), None)


# ── search ────────────────────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Range:
    """Where a hyper-parameter may lie; a wall."""

    low: float
    high: float
    log: bool = True


@dataclass(frozen=True, slots=True)
class Trial:
    """One fit of one learning rate."""

    number: int
    role: Role
    learning_rate: float
    schedule: str
    loss: float | None  # the user's metric as a loss, on valid, at `steps`; None unless complete
    steps: int  # steps to serve: where the curve was lowest
    state: TrialState
    curve: tuple[float, ...] = field(default=(), repr=False)  # valid loss after each step trained
    cost: Cost = Cost()
    note: str = ""  # why it failed, which cap would do


@dataclass(frozen=True, slots=True)
class Estimate:
    """The trial to take, and how sure that is."""

    number: int
    noise: float  # standard deviation of a trial around the curve, share of the best loss
    low: float  # smallest complete rate that cannot be told from the lowest loss
    high: float  # largest
    curve: tuple[tuple[float, float], ...]  # (rate, smooth loss as a share above the lowest one measured), by rate
    earlier: float  # share of the evidence that came from earlier searches
    reason: str


@dataclass(frozen=True, slots=True)
class Past:
    """What the ledger knows that helps a search."""

    trials: tuple[tuple[Trial, ...], ...] = ()  # of earlier searches of this family, oldest first; no curves
    champion: Plan | None = None  # the window that the champion was trained on


@dataclass(frozen=True, slots=True)
class Candidate:
    """A fitted, saved model that may be judged."""

    model: str  # digest of its files
    learning_rate: float
    schedule: str
    steps: int
    loss: float  # on valid
    size: int  # bytes of its native file
    importance: Mapping[str, float]  # feature → share, sums to 1
    threshold: float | None = None  # from which score on it raises an alert, where one was configured


@dataclass(frozen=True, slots=True)
class TuneResult:
    """What tune hands to the judge."""

    family: str
    strategy: str
    step_unit: str
    challenger: Candidate | None  # None: every trial failed
    control: Candidate | None  # the champion's rate on the same fresh data
    fixed: Candidate | None  # the family's default rate: a permanent row, eligible only inside the user's range
    trials: tuple[Trial, ...]
    at_wall: Literal["low", "high"] | None = None  # the winner stands at the user's wall
    same_rate: bool = False  # the challenger carries the champion's rate and schedule
    estimate: Estimate | None = None  # what the search's trials say together; None for a refit
    reason: str = ""  # why this challenger, in words
    lead: float | None = None  # of the new rate over the old one on valid, share of the old one's loss
    old_rows: Candidate | None = None  # the challenger's rate on the champion's rows, where it is another rate
    refit: Candidate | None = None  # the challenger's recipe on all rows, after it passed: it serves in its place
    repeats: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)  # challenger, control: by other seeds
    apart: Mapping[str, tuple[Candidate, ...]] = field(default_factory=dict)  # the same by seeds that chose nothing
    seed_matters: bool | None = None  # whether fits that differ by seed alone differ at all; None: not asked
    cost: Mapping[str, Cost] = field(default_factory=dict)  # column → work: search, control, fixed, repeats, …
    timing: Mapping[str, float] = field(default_factory=dict, metadata={"outside": True})

    @property
    def served(self) -> Candidate | None:
        """What would be promoted."""
        return self.refit or self.challenger


# ── judgement and state ───────────────────────────────────────────────────────────────────────────
@dataclass(frozen=True, slots=True)
class Verdict:
    """One gate's answer. Nothing but all-PASS promotes."""

    gate: str
    code: str  # LRR101 …
    status: Status
    reason: str
    effect: float | None = None  # relative gain of the challenger, positive is better
    low: float | None = None  # 90 % interval of the effect
    high: float | None = None
    evidence: Mapping[str, float | str] = field(default_factory=dict)  # what a reviewer needs: p of each test, ticks, …
    promise: str = ""  # the sentence that the verdict stands for, to be shown beside it; empty: none


@dataclass(frozen=True, slots=True)
class Champion:
    """The model in production, as the ledger knows it."""

    name: str
    model: str  # digest of its files
    family: str
    learning_rate: float
    schedule: str
    steps: int
    importance: Mapping[str, float]
    contract: Contract
    promised: float  # loss on the holdout that judged it
    promised_ticks: tuple[float, ...]  # the same per tick
    reference: Span  # that holdout: never seen in training
    question: str  # digest of metric, ticks and label: what the promise is a promise of
    decision: str  # id of the decision that made it champion
    epoch: int  # fencing token: how often the head has moved
    mode: Mode = "loaded"  # score_only: its files are never read, its logged scores stand for it
    version: str | None = field(default=None, metadata={"outside": True})  # MLflow's number
    run_id: str | None = field(default=None, metadata={"outside": True})


@dataclass(frozen=True, slots=True)
class Waits:
    """Why a challenger that passed is not promoted by the run that judged it."""

    mode: Literal["approval", "suggest"]
    until: datetime | None  # its approval is worth nothing from then on; None: nobody is asked


@dataclass(frozen=True, slots=True)
class LabelHistory:
    """Labels counted by level and tick, before and after the champion was judged."""

    names: tuple[str, ...]  # of the levels, such as "country=FR" or "amount < 12"
    group: np.ndarray  # (levels,) int64: which column a level is of
    rows: np.ndarray  # (levels, ticks) int64
    positives: np.ndarray  # (levels, ticks) int64
    all_rows: np.ndarray  # (ticks,) int64
    all_positives: np.ndarray  # (ticks,) int64
    since: int  # position of the first new tick


@dataclass(frozen=True, slots=True)
class LabelAudit:
    """Rows of the feed whose labels a person vouches for: both labels, and the levels the rows lie in."""

    vouched: np.ndarray  # (n,)
    found: np.ndarray  # (n,) as the feed has them
    names: tuple[str, ...]  # of the levels, such as "country=FR" or "amount < 12"
    members: np.ndarray  # (levels, n) bool


@dataclass(frozen=True, slots=True)
class HoldoutScores:
    """The judge's evidence: identical, untouched rows, scored by all arms."""

    y: np.ndarray  # (n,)
    tick: np.ndarray  # (n,) int64
    champion: np.ndarray  # (n,) or (n, n_classes)
    challenger: np.ndarray
    control: np.ndarray | None = None
    fixed: np.ndarray | None = None
    arms: Mapping[str, tuple[np.ndarray, ...]] = field(default_factory=dict)  # other seeds; old_rows
    entity: np.ndarray | None = None  # (n,) int64: whom a row is about, where [data] entity names them
    suspects: Mapping[str, np.ndarray] = field(default_factory=dict)  # columns that may: (n,), where nobody was named
    slices: Mapping[str, np.ndarray] = field(default_factory=dict)  # column → (n,) text: level of each row
    golden: HoldoutScores | None = None  # rows that a person vouches for; their tick says nothing
    history: LabelHistory | None = None
    audit: LabelAudit | None = None
    promised: tuple[float, ...] = ()  # the champion's loss per tick of its own holdout, in today's metric
    best: float | None = None  # the least loss that any champion so far was promoted on, in today's metric
    served: tuple[int, int] | None = None  # the champion's steps and bytes
    threshold: float | None = None  # the champion's, where its version carries one


@dataclass(frozen=True, slots=True)
class Looked:
    """An earlier look that could have promoted somebody: who was judged on which ticks."""

    span: Span
    challenger: str  # digest


@dataclass(frozen=True, slots=True)
class Look:
    """What one judgement may err: alpha is shared by all looks at the same ticks."""

    number: int  # of this challenger, from 1
    ticks: int  # of the holdout
    fresh: int  # of them, that judged nobody before
    challengers: int  # that met on any of these ticks, this one included
    alpha: float  # one-sided level of this look
    stated: float  # false PASS of all looks at a range of so many ticks together, at most
    promise: str = ""  # the same in words
    counts: bool = True  # rows were compared: luck could have made it a PASS
    code: str = "LRR230"


@dataclass(frozen=True, slots=True)
class Effect:
    """A part of what a training brought on the holdout, as a share of the champion's loss."""

    value: float | None  # of the means over seeds
    low: float | None = None  # two-sided interval over ticks and seeds, at the look's alpha
    high: float | None = None
    claimed: bool = False  # the interval excludes zero, and enough seeds stand behind it
    tick_se: float | None = None
    seed_se: float | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a gain came from: old or new rows by old or new rate."""

    effects: Mapping[str, Effect]  # data, rate, data_at_new_rate, rate_on_old_rows, data_main, rate_main, interaction
    seeds: int  # of challenger and control, the fewer
    ticks: int
    seed_matters: bool | None = None
    seed_sd: float | None = None  # of one fit's loss, share of the champion's; None: not known
    seeds_needed: int | None = None  # an arm, to tell the rate's effect; None: told, or ticks hide it
    told: str = ""  # the same in words


@dataclass(frozen=True, slots=True)
class Bin:
    """Holdout rows of like scores, told together."""

    rows: int
    predicted: float  # mean score
    observed: float  # share of positives


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring ticks of the holdout, told together."""

    first: datetime  # start of the first tick
    last: datetime  # start of the last one
    rows: int
    losses: Mapping[str, float | None]  # champion, challenger; None: not defined on these rows


@dataclass(frozen=True, slots=True)
class Judgement:
    """All verdicts on one challenger, with the holdout losses behind them."""

    verdicts: tuple[Verdict, ...]
    losses: Mapping[str, float]  # champion, challenger, control, fixed: loss on the holdout
    challenger_ticks: tuple[float, ...] = ()  # the challenger's loss per holdout tick: its promise
    attribution: Mapping[str, float | None] = field(default_factory=dict)  # total, data, rate, luck: relative gains
    origin: Origin | None = None  # the same with errors; None: cannot be told
    look: Look | None = None  # None: a first model, or settled before looks were counted
    arms: Mapping[str, Effect] = field(default_factory=dict)  # control, fixed: gain over the champion; told, not judged
    calibration: Mapping[str, tuple[Bin, ...]] = field(default_factory=dict)  # champion, challenger; binary tasks
    stretches: tuple[Stretch, ...] = ()  # of the holdout, by time

    @property
    def status(self) -> Status:
        """ERROR, then FAIL, then INCONCLUSIVE outrank PASS; no verdict is no PASS."""
        found = {v.status for v in self.verdicts}
        order: tuple[Status, ...] = ("ERROR", "FAIL", "INCONCLUSIVE", "PASS")
        return next((s for s in order if s in found), "INCONCLUSIVE")


@dataclass(frozen=True, slots=True)
class Report:
    """All that one call of the main path found and did."""

    outcome: Outcome
    facts: Facts
    decision: Decision
    champion: Champion  # after the call
    plan: Plan | None = None
    result: TuneResult | None = None
    judgement: Judgement | None = None
    run_id: str | None = field(default=None, metadata={"outside": True})
    notes: tuple[str, ...] = field(default=(), metadata={"outside": True})  # what the registry could not be shown
    page: bytes | None = field(default=None, repr=False, metadata={"outside": True})  # Evidently's, where it was due
    author: str = ""  # who asked for this call: no approver of its challenger; empty: nobody is known
    waits: Waits | None = None  # a challenger that passed and is not promoted by the call itself


# ── what a plug-in offers ─────────────────────────────────────────────────────────────────────────
@runtime_checkable
class Source(Protocol):
    """Rows of one feed. Built as ``factory(config)``."""

    def schema(self, as_of: datetime) -> Mapping[str, str]:
        """Column name → Arrow type name, from files that hold a row before ``as_of``."""

    def read(self, columns: Sequence[str], start: datetime | None, end: datetime) -> pa.Table:
        """Rows with start <= time < end in stable time order; time columns as timestamp[us, UTC]."""


class Transform(Protocol):
    """A team's own feature code: an object that an entry point of ``lr_retune.transforms`` names.

    Row by row: what it makes of a row must not depend on other rows, because serving shows it single rows.
    A change of what it computes is a new entry point under a new name: champions keep the one they were trained with.
    """

    inputs: Mapping[str, Literal["number", "category"]]  # raw columns it reads
    outputs: Mapping[str, Literal["number", "category"]]  # columns it adds

    def __call__(self, columns: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Added columns, each of shape ``(n,)``: numbers as float64 (NaN: missing), categories as text or None."""


@dataclass(frozen=True, slots=True)
class Feeds:
    """What production keeps about a model: its rows and, where they stand apart, its labels and its logged scores."""

    data: Source
    labels: Source | None = None
    predictions: Source | None = None
    transform: Callable[[str], Transform] | None = None  # name → feature code
    once: Callable[[Any, Callable[[], Any]], Any] | None = None  # of rows that never change: what was made of them


@dataclass(frozen=True, slots=True)
class FitData:
    """What a fit may see: encoded train and valid rows, and how to score the curve."""

    train: Rows
    valid: Rows
    task: str
    categorical: tuple[int, ...]
    objective: str  # the user's metric name: the family derives its default objective from it
    curve_loss: Callable[[np.ndarray, np.ndarray], float]  # (y, score) → proper loss, lower is better
    quantile: float = 0.5


class FittedModel(Protocol):
    """A model that can be served.

    One that also has ``work() -> float`` counts the operations of a prediction: node visits of trees, products of a
    linear model. Comparisons tell them.
    """

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Scores, shape ``(n,)``: probabilities of the positive class, or values."""

    def importance(self) -> np.ndarray:
        """Shares per feature, shape ``(n_features,)``, summing to 1 (all 0 for a constant model)."""

    def files(self) -> dict[str, bytes]:
        """Native files; no pickle."""


class Fits(Protocol):
    """Live fits on one shared data set; strategies know nothing else about a library."""

    def add(self, learning_rate: float, schedule: str = "constant") -> int:
        """Start another fit and return its handle; raises ConfigError for a schedule that the family does not know."""

    def advance(self, which: Sequence[int], steps: int) -> list[np.ndarray]:
        """Train on; per fit the valid curve losses after each new step (shorter if it cannot go on)."""

    def set_rate(self, which: int, learning_rate: float) -> None:
        """Change the rate from the next step on (schedules)."""

    def score(self, which: int, steps: int) -> np.ndarray:
        """Scores of the valid rows with the first ``steps`` steps, shape ``(n_valid,)``."""

    def drop(self, which: int) -> None:
        """Free a fit's memory."""

    def finish(self, which: int, steps: int) -> FittedModel:
        """The fit cut back to its first ``steps`` steps, ready to serve."""

    @property
    def baseline(self) -> float:
        """Curve loss on valid of the best constant learned on train."""

    @property
    def train_rows(self) -> int:
        """Rows trained on: the unit of counted work."""


@runtime_checkable
class Family(Protocol):
    """A kind of model whose learning rate is searched. Built as ``factory(params, threads)``."""

    name: str
    step_unit: str  # rounds, epochs
    default_rate: float  # the permanent "fixed" row
    default_range: Range
    default_strategy: str  # entry point
    default_patience: int  # steps
    default_schedules: tuple[str, ...]  # how the rate may change over a fit, see `lr_retune.schedules`
    steps_are_served: bool  # more steps make a model that is slower to serve

    def start(self, data: FitData, *, seed: int) -> Fits:
        """Bin or transform once; fits are added afterwards."""

    def load(self, files: Files) -> FittedModel:
        """A model from its native files, whose digest the caller has checked."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Where a search ends whatever it has found; None: no end. Fits and steps reproduce, seconds do not."""

    fits: int | None = None
    steps: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """The limits a strategy keeps."""

    space: Range
    points: int
    max_steps: int
    patience: int
    seed: int
    loss: Callable[[np.ndarray], float]  # valid scores → the user's metric as a loss
    progress: Callable[[Trial | str], None] = lambda _told: None  # each trial that ended, and what else there is to say
    schedules: tuple[str, ...] = ("constant",)
    effort: Effort = "balanced"
    answer: Answer = "rate"
    steps_are_served: bool = True
    earlier: tuple[tuple[Trial, ...], ...] = ()  # what earlier searches of this model found, oldest first; no curves
    budget: Budget = Budget()
    elapsed: Callable[[], float] = lambda: 0.0  # seconds since the search began
    recall: Callable[[int, float, str, Role], Trial | None] = lambda _n, _rate, _schedule, _role: None
    remember: Callable[[Trial], None] = lambda _trial: None
    ahead: Callable[[Sequence[tuple[int, float]]], Mapping[int, Trial]] = lambda _asked: {}  # side by side, elsewhere


class Strategy(Protocol):
    """Pure search code over live fits; returns its trials, all with role ``candidate``."""

    def __call__(self, fits: Fits, options: SearchOptions) -> list[tuple[Trial, int]]:
        """Trials with their handles; losing fits may already be dropped."""


class Gate(Protocol):
    """One question about a challenger."""

    def __call__(self, scores: HoldoutScores, result: TuneResult, config: Config) -> Verdict:
        """A verdict; never raises for data, answers ERROR or INCONCLUSIVE instead."""


class Registry(Protocol):
    """Where models are registered and aliases point; MLflow or memory."""

    def find(self, name: str, decision: str) -> str | None:
        """The version already registered for a decision id, or None."""

    def register(self, name: str, record: Mapping[str, Any], files: Files) -> tuple[str, str | None]:
        """Register a model's files for ``record["decision"]["id"]``; (version, run id)."""

    def alias(self, name: str, alias: str) -> str | None:
        """The version an alias points at, or None."""

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point an alias at a version."""
