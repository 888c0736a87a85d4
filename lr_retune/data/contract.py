"""What each fault of a feed means, for people and scripts."""

from __future__ import annotations

FAULTS: dict[str, str] = {
    "no_rows": "The watched ticks hold no rows. Nothing is judged, and the champion stays.",
    "stale_source": "Whole ticks passed without a row. It blocks from [watch] stale_ticks such ticks in a row on: the "
    "job that writes the feed stands still.",
    "missing_column": "A column of the contract, or one that [data] names, is gone. A similar new name is told.",
    "retyped_column": "A column's values are not of the kind the contract knows, or its name stands twice in a file.",
    "new_column": "The feed has a column the model does not know. It is not used, and blocks nothing.",
    "all_null": "A column holds no value at all.",
    "null_share": "A column lacks far more values than when the contract was learned: beyond chance, by a point, and "
    "where some are usual, by more than the odds swing (2.5 times). What came and went before does not block.",
    "infinite": "A column holds infinite values. They count as missing, and block when too much is missing.",
    "out_of_range": "More than 2 % of a column lie far outside what was learned, with a gap between (a unit), or are a "
    "stand-in for missing such as -999; or two columns hold each other's values.",
    "unit_change": "A column's median is ten times larger or smaller than learned, and its spread went with it.",
    "constant": "A column holds one value only, and did not stand still that long before.",
    "new_levels": "More than 1 % of a column are categories never seen. They block only as nearly all there is, or "
    "as words for missing such as 'unknown'.",
    "duplicate_ids": "Rows share an id that [data] id promises to be unique; more than 1 % of them block.",
    "duplicate_rows": "Rows repeat others in time, label and every feature; nearly half of them block, where hardly "
    "a row stands alone.",
    "bad_label": "Labels are infinite, no numbers, or not 0 or 1 in a binary task.",
    "unmatched_labels": "Labels arrived for rows the feed does not hold. They block as nearly all there is: ids of "
    "another make lose every label.",
    "revised_labels": "Labels were changed after they were first known. The last valid revision counts, as it was "
    "known at the time of the run.",
    "conflicting_labels": "Ids have two labels of the same time. The later in the feed's order counts.",
    "serving_skew": "Logged scores differ from what the same champion says of the rows in the feed: production fed it "
    "other features. Nothing is trained on rows that are not what was served.",
    "foreign_scores": "No logged score is the champion's: production serves another version, or [predictions] version "
    "is neither a registered version nor a model's digest. Skew cannot be looked for.",
    "unlogged_scores": "Rows that were served have no logged score.",
    "selective_labels": "In ticks whose labels are complete, rows with a label score differently from rows without "
    "one: what the champion blocks or sells out may get no label. Losses on such labels flatter or slander.",
    "bad_weight": "Weights are negative, infinite or no numbers. They count as 0.",
}
