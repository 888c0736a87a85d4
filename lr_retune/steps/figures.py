"""The pictures of a decision that stand beside its record."""

from __future__ import annotations

from lr_retune.records import Report, TuneResult
from lr_retune.report.plots import curves_plot, rate_plot, series_plot
from lr_retune.report.range_plot import range_plot
from lr_retune.search.range_test import swept


def pictures(result: TuneResult, seen: Report) -> dict[str, str]:
    """What a person looks at first: loss against rate, curves, and production's ticks."""
    chosen = None if result.challenger is None else result.challenger.learning_rate
    promised = seen.champion.promised if seen.facts.loss is None else seen.facts.loss.promised
    fitted = [t for t in result.trials if not t.schedule.startswith(("range(", "average("))]
    found = {
        "learning_rate.svg": rate_plot(fitted, chosen, seen.champion.learning_rate),
        "curves.svg": curves_plot(fitted, result.step_unit),
        "production_loss.svg": series_plot(seen.facts.ticks, promised),
    }
    if sweeps := swept(result.trials):
        found["range_test.svg"] = range_plot(sweeps, chosen)
    return found
