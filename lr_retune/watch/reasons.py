"""What each reason of a decision means, for people and scripts."""

from __future__ import annotations

REASONS: dict[str, str] = {
    "alias_moved": "Somebody moved the champion's alias by hand. It is never overwritten in silence: a person decides.",
    "feed_fault": "The feed broke its contract where it matters to the champion. Nothing is trained on broken data.",
    "probation": "The champion is new: for [promote] probation ticks it is held against the former one on the same "
    "rows, as soon as their labels come.",
    "probation_passed": "On [promote] probation ticks the new champion did no harm that shows: its probation has "
    "ended.",
    "probation_failed": "The new champion is worse than the former one on the same rows (where that cannot be scored: "
    "than it promised) by more than [gates] margin, beyond [promote] probation_alpha over all looks. A run rolls back, "
    "once, and freezes it.",
    "stale": "The feed brought no rows. It may mend by itself; after [watch] stale_ticks such ticks it must be fixed.",
    "too_few_rows": "Fewer labelled rows than [policy] min_rows, or fewer positives than min_positives, in the "
    "watched ticks: nothing can be said.",
    "cooldown": "A challenger was judged less than [policy] cooldown ticks ago; its effect has to show first. The wait "
    "doubles with each challenger in a row that did not pass, up to [policy] max_age, unless the loss rises anew.",
    "loss_rose": "The loss is above the promise by more than the spread between ticks explains ([policy] cusum_k, "
    "cusum_h, tolerance), and a retrain is worth its cost.",
    "not_worth": "The loss rose beyond doubt, but a retrain would cost more than it saves ([worth], else [policy] "
    "budget).",
    "ranking_fell": "The ranking of rows is worse than promised beyond the spread between ticks. It is watched beside "
    "the loss where positives are rare: it shows there sooner, and a changed share of positives does not move it.",
    "fixable": "A probe trained a small stale and a small fresh model and let them meet on the same labelled rows: "
    "this is what fresh data mends.",
    "unproven": "The same, where chance alone could have made the difference: it does not speak for a training, and it "
    "does not rule one out. Where the loss rose and a fresh model is hardly better, the next probe is waited for.",
    "harder": "The loss rose, and a probe found that a fresh model is as bad: the world got harder, and a retrain "
    "would change nothing. It is said once, of four ticks or more and never of few odd ones; from then on the loss is "
    "held against the level it has now.",
    "too_early": "The loss rose so lately that the newest ticks, on which a challenger is judged, are all or nearly "
    "all there is of the change: a probe found that too little can be learned of it. A few ticks later it can.",
    "nothing_fixable": "It was time to look whether the champion aged, and a probe found that fresh data would mend "
    "less than [policy] gain of the loss. That settles it as a judged challenger would; a probe too weak to tell "
    "settles nothing.",
    "regret": "Probes found, tick after tick, that a fresh model is better: the newest by [policy] gain of the loss, "
    "several by [policy] proof, and more than [policy] regret promised tick-losses were lost, though the loss itself "
    "did not rise beyond doubt.",
    "follow_up": "A change was answered by training some ticks ago ([policy] follow_ups); most rows were of the time "
    "before it then. A probe finds that the rows that came since make a better model.",
    "suspicion_alone": "Labels come so late ([policy] suspicion_ticks) that scores and columns have to do: they say "
    "that the loss rose, by more than 10 %.",
    "explained": "The column, or the score, that moved most among those the champion leans on. It explains; it is no "
    "proof.",
    "rows_changed": "A training has twice or half the rows of the last search: the best rate may have moved.",
    "noise_changed": "Losses spread from tick to tick twice or half as much as at the last search: the best rate may "
    "have moved.",
    "at_edge": "The last search ended at the wall of [search] learning_rate, or next to a rate that ran out of steps: "
    "the best rate may lie elsewhere.",
    "rate_effect": "On the holdout the last new rate brought something by itself, so the next one may, too.",
    "age": "No challenger was judged for [policy] max_age. A change that the watch cannot see is ruled out by a refit.",
    "search_age": "The learning rate was not searched for [policy] max_search_age, so it is searched anew.",
    "contract_changed": "A person accepted that the feed changed for good, and no challenger was judged since: a refit "
    "learns the new contract.",
    "suspicion": "No labels arrive ([labels] mode), and the score or columns of importance drifted: whether the loss "
    "rose, only labels can tell. A person is asked once for each max_age.",
    "unlabelled": "No labels arrive ([labels] mode). Nothing can be proved, so nothing trains and nothing is promoted.",
    "as_promised": "The loss is not above the promise by more than the spread between ticks explains.",
    "no_evidence": "Too few ticks have all their labels to compare the loss with the promise.",
    "drift_told": "Columns drifted. Drift explains, it never retrains: harmless drift is common, and harm shows in "
    "the loss.",
    "fault_told": "The feed broke its contract where the champion does not care. It is told and blocks nothing.",
    "paused": "A person paused the model: nothing is trained or promoted, runs go on observing, and the decision says "
    "what it would have been. A pause silences no alarm: a broken feed (exit code 3) and a moved alias (10) are told "
    "as ever, for serving suffers from them all the same. `lr-retune resume` ends it.",
    "lost_race": "The challenger passed, but another run changed the champion first: it is judged again, against the "
    "new champion, as one more look at the same ticks.",
    "rejudged": "A person asked that a challenger which the evidence did not decide is judged again "
    "(`lr-retune rejudge`), on its holdout and all ticks since.",
    "never": "The policy keeps whatever happens: a baseline of replay.",
    "always": "The policy trains at every tick: a baseline of replay.",
    "timer": "The policy trains after so many ticks, whatever they show: a baseline of replay.",
    "drift_rule": "The policy refits where half of the columns drifted by Evidently's defaults: a baseline of replay.",
    "metric_rule": "The policy refits where the newest loss is 5 % above the promise: a baseline of replay.",
}
