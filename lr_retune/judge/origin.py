"""Where a gain came from, in words: what is a finding, and what more would make one."""

from __future__ import annotations

from lr_retune.judge.attribution import SEEDS
from lr_retune.records import Effect, Origin


def told(found: Origin, *, same_rate: bool) -> str:
    """One or two sentences; empty where neither part is known.

    >>> few = Effect(0.012, -0.004, 0.028, tick_se=0.002, seed_se=0.008)
    >>> told(Origin({"rate": few}, 3, 28, True, 0.01, 12), same_rate=False)
    "The new rate's +1.2 % [-0.4, +2.8] is not separable from seed noise: about 12 seeds an arm would be needed, not 3."
    """
    data, rate = found.effects.get("data"), None if same_rate else found.effects.get("rate")
    lines = [_data(data, found), _rate(rate, found), _interaction(found) if rate is not None else ""]
    return " ".join(line for line in lines if line)


def _data(effect: Effect | None, found: Origin) -> str:
    if effect is None or effect.value is None:
        return ""
    if effect.claimed:
        return f"Fresh data at the old rate {_brought(effect.value)} {_figures(effect)}{_over(found)}."
    head = f"Fresh data at the old rate: {_figures(effect)}{_over(found)}"
    if _few(found):
        return f"{head}, of these very fits: how much of it is a seed's luck was not measured."
    return f"{head}, not separable from noise."


def _rate(effect: Effect | None, found: Origin) -> str:
    if effect is None or effect.value is None:
        return ""
    if effect.claimed:
        return f"The new rate {_brought(effect.value)} {_figures(effect)}{_over(found)}."
    head = f"The new rate's {_figures(effect)}"
    if effect.low is None:
        return f"{head} has no error that could be told."
    if _few(found):
        return f"{head} is no finding: a claim about a rate needs {SEEDS} seeds an arm, not {found.seeds}."
    if found.seeds_needed is not None:
        seeds = f"about {found.seeds_needed} seeds an arm would be needed, not {found.seeds}"
        return f"{head} is not separable from seed noise: {seeds}."
    return f"{head} is not separable from the noise of {found.ticks} ticks, whatever the seeds."


def _interaction(found: Origin) -> str:
    """Where a rate works otherwise on other rows, its main effect says nothing."""
    mixed, main, old = (found.effects.get(name) for name in ("interaction", "rate_main", "rate_on_old_rows"))
    if mixed is None or main is None or old is None or mixed.value is None or main.value is None:
        return ""
    other = mixed.claimed and abs(mixed.value) > abs(main.value)
    return f"On the champion's own rows it is {_figures(old)}: the rate's worth depends on the rows." if other else ""


def _few(found: Origin) -> bool:
    return found.seed_matters is not False and found.seeds < SEEDS


def _over(found: Origin) -> str:
    if found.seed_matters is False:
        return f" over {found.ticks} ticks, and no seed matters"
    return f" over {found.ticks} ticks" + ("" if _few(found) else f" and {found.seeds} seeds")


def _brought(value: float) -> str:
    return "brought" if value > 0 else "cost"


def _figures(effect: Effect) -> str:
    ends = [f"{100 * end:+.1f}" for end in (effect.low, effect.high) if end is not None]
    return f"{100 * (effect.value or 0.0):+.1f} %" + (f" [{', '.join(ends)}]" if ends else "")
