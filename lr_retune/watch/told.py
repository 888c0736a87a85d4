"""Facts in sentences: what a person reads beside a decision."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta

from lr_retune.config import Config
from lr_retune.records import ColumnDrift, Facts, Fault, LossEvidence, Probation, Probe, Reason

STALE_FAULTS = ("no_rows", "stale_source")  # nothing to read; may mend by itself, unlike a broken contract
LEANS = 0.03  # share of importance from which a column explains anything


def told(facts: Facts) -> tuple[Reason, ...]:
    """A probation that goes well or has to wait, small faults, drift."""
    small = [Reason("fault_told", fault(f)) for f in facts.faults if not f.matters and f.code not in STALE_FAULTS]
    return (*_on_probation(facts), *small, *_drift(facts))


def _on_probation(facts: Facts) -> Iterator[Reason]:
    found = facts.probation
    if found is not None and found.state != "failed":
        yield Reason("probation_passed" if found.state == "passed" else "probation", probation(found))


def probation(found: Probation) -> str:
    """How a new champion does."""
    ticks = f"{found.ticks} of {found.of} ticks since {found.since:%Y-%m-%d} have their labels"
    if found.effect is None or found.p is None or found.alpha is None:
        return f"on probation: {ticks}; too few to judge by"
    promised = "" if found.promised is None else f" ({found.promised:.4g} promised)"
    side = "worse" if found.effect >= 0 else "better"
    whom = f"than {found.former[:12]} on the same rows" if found.basis == "former" else "than promised"
    where = "" if found.newest == found.ticks else f"on the newest {found.newest} of them "
    figures = f"{where}loss {found.loss:.4g}{promised}, {abs(found.effect):.1%} {side} {whom}"
    words = {"failed": "harm beyond doubt", "passed": "probation has ended well", "on": "on probation"}
    odds = f"p {found.p:.2g} of no harm, {found.alpha:.2g} asked of each test"
    return f"{words.get(found.state, 'on probation')}: {ticks}; {figures}; {odds}"


def fault(found: Fault) -> str:
    """What is broken, and what to do."""
    return f"{found.what}; {found.fix}" if found.fix else found.what


def twins(probe: Probe) -> str:
    """A probe's result."""
    which = "better" if probe.gain >= 0 else "worse"
    since = f", learned from {probe.cut:%Y-%m-%d} on," if probe.cut else ""
    met = f"on the same {probe.rows:,} rows of {probe.ticks} ticks"
    return f"a fresh small model{since} is {which} by {abs(probe.gain):.3g} ± {probe.error:.2g} {met}"


def level(loss: LossEvidence, config: Config) -> str:
    """A loss that is as promised."""
    interval = f"[{loss.low:.4g}, {loss.high:.4g}]"
    cusum = f"CUSUM {loss.cusum:.1f} of {config.policy.cusum_h:g} spreads"
    seen = "" if loss.visible is None else f"; smallest rise that shows within 14 ticks: {loss.visible:+.1%}"
    return f"loss {loss.value:.4g} {interval} against {loss.promised:.4g} promised, {cusum}{seen}"


def explained(facts: Facts) -> Iterator[Reason]:
    """What moved most among that which the champion leans on."""
    raised = [] if facts.suspicion is None else [s for s in facts.suspicion.raised if s.name != "estimated_loss"]
    columns = [s for s in raised if s.name != "score" and s.importance >= LEANS] or raised
    if columns:
        most = max(columns, key=lambda s: (s.importance * s.value, s.name))
        usual = f"{most.value:.2g}, usually {most.usual[0]:.2g} to {most.usual[1]:.2g}"
        yield Reason("explained", f"{_named(most.name, most.importance)} moved by {usual}")
        return
    drifted = [d for d in _columns(facts) if d.drifted and d.importance >= LEANS]
    if drifted:
        found = max(drifted, key=lambda d: (d.importance * d.robust, d.column))
        yield Reason("explained", f"{_named(found.column, found.importance)} moved by {found.robust:.2g}")


def doubt(facts: Facts, share: float) -> str:
    """What makes one suspect a harm that no label shows yet, or nothing.

    Parameters
    ----------
    share
        Of the importance that drifted columns must carry, where no figure is known from tick to tick.
    """
    if facts.suspicion is not None:
        said = [
            f"{_named(s.name, s.importance)} is {s.value:.3g}, usually up to {s.usual[1]:.3g}"
            for s in facts.suspicion.raised
        ]
        return " and ".join(said)
    score = [f"the score drifted ({d.robust:.3g} over {d.threshold:g})" for d in facts.drift if d.drifted and _score(d)]
    carried = math.fsum(d.importance for d in _columns(facts) if d.drifted)
    return " and ".join(
        [*score, *([f"columns with {carried:.0%} of the importance drifted"] if carried >= share else [])]
    )


def ago(span: timedelta) -> str:
    """How long since."""
    return f"{span.days} days ago" if span >= timedelta(days=2) else f"{span / timedelta(hours=1):.0f} hours ago"


def _named(name: str, importance: float) -> str:
    words = {"score": "the score", "estimated_loss": "the loss estimated from scores"}
    return words.get(name, f"{name!r} (importance {importance:.0%})")


def _drift(facts: Facts) -> tuple[Reason, ...]:
    """One sentence."""
    columns = _columns(facts)
    drifted = [d for d in columns if d.drifted]
    score = any(d.drifted for d in facts.drift if _score(d))
    if not drifted and not score:
        return ()
    share = math.fsum(d.importance for d in drifted)
    text = f"{len(drifted)} of {len(columns)} columns drifted, together {100 * share:.1f} % of importance"
    also = "; so did the score" if score else ""
    estimated = None if facts.suspicion is None else facts.suspicion.estimated
    return (Reason("drift_told", text + also + ("" if estimated is None else f"; estimated loss {estimated:+.1%}")),)


def _columns(facts: Facts) -> list[ColumnDrift]:
    return [d for d in facts.drift if not _score(d)]


def _score(drift: ColumnDrift) -> bool:
    """The champion's score stands among the columns, with importance 1."""
    return (drift.column, drift.importance) == ("score", 1.0)
