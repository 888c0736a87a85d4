"""The words of the pages, for somebody who reads one for the first time."""

from __future__ import annotations

from lr_retune.report.blocks import Table, table

WORDS = {
    "champion, challenger": "the model in production, and the one that may replace it",
    "tick": "a slot of the calendar, such as a day: rows of one tick share their luck, so a tick is one observation",
    "promised": "the champion's loss on the holdout that judged it: what production is held to",
    "spread": "how much the loss of a tick usually differs from the next one's",
    "CUSUM": "losses above the promise, added up in spreads since they began; beyond 6, or what [policy] asks, "
    "chance is an unlikely reason",
    "refit, search": "trained anew at the champion's rate, or after the learning rate was chosen anew",
    "train, valid, holdout": "rows to learn from, rows to choose the rate by, later rows to judge by, used once",
    "gain": "by how much the challenger's loss is lower, as a share of the champion's",
    "interval": "where the true gain lies; it comes from the spread between ticks, not from the number of rows",
    "margin, floor": "the loss that must be ruled out, and the gain that a new learning rate must bring at least",
    "inconclusive": "the rows cannot decide; the champion stays",
    "round, epoch": "a step of training: one more tree, or one more pass over the rows",
    "drift": "a column is distributed otherwise than before; it is told and retrains nothing by itself",
}


def vocabulary() -> Table:
    """All of them, folded."""
    return table("Words on this page", ("word", "meaning"), WORDS.items(), id="words", folded=True, pairs=True)
