"""What one look at a holdout may spend: ticks that judged somebody before bring less alpha than fresh ones.

The i-th look that a tick takes part in brings the share `share(i)` of its alpha: all of it at first, 1 / (i(i+1))
afterwards, so that however many looks follow, a tick never brings more than `STATED` times its alpha in all. A look
spends the mean of what its ticks bring. Three cases follow from the one rule:

- a first look at a fresh holdout has full alpha;
- the i-th challenger on one and the same range has alpha / (i(i+1)): Bonferroni with these weights, because nobody
  knows beforehand how many challengers will come;
- a holdout of which a share f is fresh has at least f times alpha: fresh ticks bring fresh alpha in proportion.

The i-th look of the *same* challenger, on whatever ticks, spends alpha / (i(i+1)) at most, as its earlier looks chose
when to look again: all of them give a false PASS with probability `STATED` * alpha at most. Union bound: on D ticks,
all looks at holdouts of T ticks or more that lie in them give a false PASS with probability `STATED` * alpha * D / T
at most, whoever was compared with whom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lr_retune.config import Config
from lr_retune.records import Judgement, Look, Looked, micros

STATED = 1.5  # 1 + the sum of 1 / (i(i+1)) over i = 2, 3, …
# Verdicts that no luck of these challengers could have turned into a PASS: they depend on rows and files alone.
REFUSALS = frozenset(f"LRR{n}" for n in (103, 105, 210, 211, 212, 213, 214, 217, 220, 221, 222))
LOOK_RULES = {
    "LRR230": "How much alpha a look at the holdout spends. A first look at fresh ticks has all of [gates] alpha. The "
    "i-th look that a tick takes part in brings 1 / (i(i+1)) of it, and a look spends the mean over its ticks; the "
    "same challenger, judged again on more ticks, spends 1 / (i(i+1)) at its i-th look. All looks at a range of ticks "
    "together give a false PASS with probability 1.5 times alpha at most. A refusal for too few rows or ticks spends "
    "none.",
}


def share(look: int) -> float:
    """Of alpha, for the ``look``-th look, counted from 1.

    >>> [round(share(i), 4) for i in (1, 2, 3)]
    [1.0, 0.1667, 0.0833]
    """
    return 1.0 if look <= 1 else 1.0 / (look * (look + 1))


def look_at(ticks: Sequence[int] | np.ndarray, challenger: str, earlier: Sequence[Looked], alpha: float) -> Look:
    """The look that ``challenger`` is about to take, and what it may spend.

    Parameters
    ----------
    ticks
        Starts of the holdout's ticks that hold rows, microseconds UTC.
    challenger
        Digest of its model.
    earlier
        Looks of the ledger that could have promoted somebody, in any order.
    alpha
        Of a first look: ``[gates] alpha``.
    """
    starts = np.unique(np.asarray(ticks, dtype=np.int64))
    met = [each for each in earlier if _within(starts, each).any()]
    used = np.zeros(len(starts), dtype=np.int64)
    for each in met:
        used += _within(starts, each)
    number = 1 + sum(each.challenger == challenger for each in earlier)
    brought = float(np.mean([share(1 + int(n)) for n in used])) if len(used) else 1.0
    spent = alpha * (brought if number == 1 else min(brought, share(number)))
    found = Look(
        number=number,
        ticks=len(starts),
        fresh=int((used == 0).sum()),
        challengers=len({challenger, *(each.challenger for each in met)}),
        alpha=spent,
        stated=alpha * (STATED if met or number > 1 else 1.0),
    )
    return replace(found, promise=_words(found, len(met)))


def _within(starts: np.ndarray, look: Looked) -> np.ndarray:
    return (starts >= micros(look.span.start)) & (starts < micros(look.span.end))


def _words(look: Look, met: int) -> str:
    if not met and look.number == 1:
        return f"first look at these {look.ticks} ticks: alpha {_pct(look.alpha)}, all of it"
    times = f"look {look.number} of this challenger, " if look.number > 1 else ""
    return (
        f"{times}challenger {look.challengers} on ticks of which {look.fresh} of {look.ticks} are fresh: "
        f"alpha {_pct(look.alpha)}; all looks together pass {100 * look.stated:.3g} models in 100 that are not "
        f"good enough, at most, per {look.ticks} ticks"
    )


def _pct(value: float) -> str:
    return f"{100 * value:.2g} %"


def at_level(config: Config, look: Look) -> Config:
    """The configuration that gates are asked with: ``gates.alpha`` is this look's."""
    return config.model_copy(update={"gates": config.gates.model_copy(update={"alpha": look.alpha})})


def told(judgement: Judgement, look: Look) -> Judgement:
    """A judgement that keeps its look, and whose paired verdict says when it had less than full alpha."""
    verdicts = judgement.verdicts
    look = replace(look, counts=bool(verdicts) and not REFUSALS & {verdict.code for verdict in verdicts})
    if look.fresh < look.ticks or look.number > 1:
        verdicts = tuple(
            replace(v, reason=f"{v.reason}; {look.promise}") if v.gate == "paired_loss" and v.low is not None else v
            for v in verdicts
        )
    return replace(judgement, verdicts=verdicts, look=look)
