"""What the figures behind a comparison are called where people read them."""

from __future__ import annotations

METHODS = {
    "cr2_t": "t test by ticks (CR2)",
    "ewc_t": "t test for ticks that follow one another (EWC)",
    "bootstrap_t": "bootstrap t of ticks",
}
_FIGURES = {
    "bound_by": "method that gave the widest bound, which counts",
    "alpha": "one-sided level of each end",
    "margin": "margin, share of the champion's loss",
    "p_superior": "p of: the challenger is not better",
    "p_noninferior": "p of: the challenger is worse by the margin",
    "rows": "rows",
    "ticks": "ticks",
    "effective_ticks": "ticks that they are worth, as neighbours are alike",
    "autocorrelation": "correlation of neighbouring ticks",
    "skew": "skew of the ticks' gains",
    "halves": "first half's gain against the second's, in standard errors",
    "heaviest_tick": "share of the rows in the largest tick",
    "detectable": "gain that ticks like these find 4 times in 5",
    "further_ticks_low": "further ticks that might decide, at least",
    "further_ticks_high": "further ticks that might decide, at most",
    "entities": "entities",
    "heaviest_entity": "share of the rows of the largest entity",
    "log_loss_gain": "gain of the log loss, told and not judged",
    "log_loss_low": "its interval, lower end",
    "log_loss_high": "its interval, upper end",
}


def statistic(name: str) -> str:
    """A key of a verdict's evidence in words; an unknown one without its underscores.

    >>> print(statistic("detectable_28"), statistic("p_superior.ewc_t"), statistic("own_key"), sep="; ")
    the same, of 28 ticks; p of: the challenger is not better, t test for ticks that follow one another (EWC); own key
    """
    whole, _, method = name.partition(".")
    if whole.startswith("detectable_") and whole[11:].isdigit():
        return f"the same, of {whole[11:]} ticks"
    told = _FIGURES.get(whole, whole.replace("_", " "))
    return f"{told}, {METHODS.get(method, method.replace('_', ' '))}" if method else told
