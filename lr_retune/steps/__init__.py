"""The steps of the main path: what each reads, which rooms it joins, what it hands on.

Steps exchange references and small records; rows are read inside a step and never leave it.
"""

from lr_retune.steps.drifting import drift_page
from lr_retune.steps.feed import feed_faults
from lr_retune.steps.figures import pictures
from lr_retune.steps.files import golden, golden_rows, load_model, reproduces
from lr_retune.steps.judging import holdout_loss, judge, promise
from lr_retune.steps.observing import observe
from lr_retune.steps.probing import probe
from lr_retune.steps.refitting import refit
from lr_retune.steps.rows import excused, rows_per_tick, scored
from lr_retune.steps.tuning import tune
from lr_retune.steps.window import plan

__all__ = [
    "drift_page",
    "excused",
    "feed_faults",
    "golden",
    "golden_rows",
    "holdout_loss",
    "judge",
    "load_model",
    "observe",
    "pictures",
    "plan",
    "probe",
    "promise",
    "refit",
    "reproduces",
    "rows_per_tick",
    "scored",
    "tune",
]
