"""The words of the pages, for somebody who reads one for the first time."""

from __future__ import annotations

from lr_retune.report.blocks import Table, table

WORDS = {
    "champion, challenger": "the model in production, and the one that may replace it",
    "old rate, default rate": "the champion's learning rate, and the one that the model's family has where nobody sets "
    "any; both are fitted beside the search",
    "refit on all rows": "a challenger that passed is fitted once more on train, valid and holdout; that fit serves, "
    "while gates score both models as they were judged, before it, so the same rows give another loss",
    "settled": "a decision was judged to its end; [policy] max_age counts from there",
    "gate": "one question to the challenger; all must answer PASS, and one without a question here is not asked",
    "tick": "a slot of the calendar, such as a day: rows of one tick share their luck, so a tick is one observation",
    "promised": "the champion's loss on the holdout that judged it: what production is held to",
    "spread": "how much the loss of a tick usually differs from the next one's",
    "CUSUM": "losses above the promise, added up in spreads since they began; beyond 6, or what [policy] asks, "
    "chance is an unlikely reason",
    "refit, search": "trained anew at the champion's rate, or after the learning rate was chosen anew",
    "train, valid, holdout": "rows to learn from, rows to choose the rate by, later rows to judge by, used once",
    "label horizon": "rows before it have had their time to get a label",
    "slice": "rows that share a value, such as one country",
    "golden": "rows that a person vouches for, on which no challenger may be worse",
    "PSI": "population stability index: how differently two sets of scores are spread; 0 is alike",
    "seed": "what random parts of training start from: fits by other seeds differ by luck alone",
    "alpha": "how often one end of an interval may err: 5 % each make a 90 % interval",
    "ledger": "the record to which every decision adds rows, each sealed by the digest of those before it",
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
