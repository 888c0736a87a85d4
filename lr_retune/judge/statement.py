"""How a comparison is told: its figures, what a reviewer needs beyond them, and the sentence that it stands for."""

from __future__ import annotations

import math

from lr_retune.config import Config
from lr_retune.judge.paired import Comparison


def promise(config: Config, entities: bool) -> str:
    """The sentence that stands beside every verdict of the comparison.

    Parameters
    ----------
    entities
        Whether rows name whom they are about: without, few customers with many rows would break the promise unseen.
    """
    margin, times = f"{100 * config.gates.margin:.3g} %", f"{100 * config.gates.alpha:.2g} times in 100"
    sentence = (
        f"If the challenger were worse than the champion by more than {margin} on ticks like these, it would get PASS "
        f"at most {times}. This is no promise about a changed world after the holdout."
    )
    unknown = " No [data] entity is set: were most rows of few customers or devices, it would get PASS more often."
    return sentence if entities else sentence + unknown


def figures(found: Comparison) -> str:
    """The common half of every reason, such as "loss 74.1 against 78.3 on the same 672 rows of 28 ticks: …"."""
    losses = f"loss {found.base - found.estimate:.4g} against {found.base:.4g}"
    return (
        f"{losses} on the same {found.rows} rows of {found.ticks} ticks: gain {percent(found.effect)} {found.interval}"
    )


def percent(share: float) -> str:
    """One decimal; ASCII."""
    return f"{100 * share:.1f} %"


def evidence(found: Comparison, config: Config, beside: Comparison | None) -> dict[str, float | str]:
    """What a reviewer needs; finite figures only. ``beside`` is the log loss of a ranking."""
    from lr_retune.judge.outlook import PLANNED, detectable, further

    shape, margin = found.shape, config.gates.margin
    ahead = further(found, margin)
    told: dict[str, float | str] = {
        "bound_by": found.bound_by,
        "alpha": found.alpha,
        "margin": margin,
        "p_superior": found.p_superior,
        "p_noninferior": found.p_noninferior(margin),
        "rows": float(found.rows),
        "ticks": float(found.ticks),
        "effective_ticks": shape.effective,
        "autocorrelation": shape.autocorrelation,
        "skew": shape.skew,
        "halves": shape.halves,
        "heaviest_tick": found.heaviest,
        "detectable": detectable(found),
        "further_ticks_low": ahead.low,
        "further_ticks_high": ahead.high,
    }
    told |= {f"detectable_{ticks}": detectable(found, ticks) for ticks in PLANNED}
    told |= {f"p_superior.{name}": p for name, p in found.p_of(0.0).items()}
    told |= {f"p_noninferior.{name}": p for name, p in found.p_of(-margin).items()}
    if found.entities is not None:
        told |= {"entities": found.entities, "heaviest_entity": found.heaviest_entity}
    if beside is not None:
        told |= {"log_loss_gain": beside.effect, "log_loss_low": beside.low, "log_loss_high": beside.high}
    return {name: value for name, value in told.items() if isinstance(value, str) or math.isfinite(value)}
