from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune.config import Config, parse_config
from lr_retune.records import (
    TRAINING_ACTIONS,
    ColumnDrift,
    Cost,
    Facts,
    Fault,
    History,
    LossEvidence,
    Outcome,
    PastDecision,
    Probe,
    Searched,
    Signal,
    Suspicion,
    TickLoss,
)
from lr_retune.watch.baselines import always, always_search, evidently_default, metric_worse, never, timer
from lr_retune.watch.policy import decide, probe_due
from lr_retune.watch.reasons import REASONS
from lr_retune.watch.series import evidence

DAY = timedelta(days=1)
NOW = datetime(2019, 4, 1, tzinfo=UTC)
SINCE = NOW - 10 * DAY


def config(**sections: Any) -> Config:
    base: dict[str, Any] = {
        "config_version": 1,
        "name": "rides",
        "task": "regression",
        "data": {"path": "rows.parquet", "time": "at", "label": "n"},
        "metric": {"name": "mae"},
    }
    return parse_config(base | sections, root=Path())


BINARY = config(task="binary", metric={"name": "log_loss"})
MONEY = {"retrain": 10.0, "loss_1pct_per_day": 1.0}


def facts(rise: float = 0.0, *, alarm: bool = False, since: datetime = SINCE, **changes: Any) -> Facts:
    """Ten ticks since the change, their loss ``rise`` above a promise of 1."""
    ticks = tuple(TickLoss(SINCE + i * DAY, SINCE + (i + 1) * DAY, 50, 50, 1.0 + rise) for i in range(10))
    level = 1.0 + rise
    loss = LossEvidence(level, level - 0.1, level + 0.1, 1.0, 0.05, 7.1 if alarm else 1.2, since, alarm, level, 10)
    return replace(Facts(NOW, "c" * 64, NOW, 500, 500, None, ticks, loss), **changes)


def settled(days: float, outcome: Outcome = "rejected", action: Any = "refit") -> History:
    past = PastDecision("a" * 16, NOW - timedelta(days=days), action, ("age",), outcome)
    return History((past,), NOW - timedelta(days=100))


def drift(*drifted: bool, importance: float = 0.2) -> tuple[ColumnDrift, ...]:
    return tuple(ColumnDrift(f"c{i}", "wasserstein", 0.5, 0.5, 0.1, importance, d) for i, d in enumerate(drifted))


BROKEN = Fault("missing_column", "temp", "column temp is missing", "restore it", matters=True)
SMALL = replace(BROKEN, column="wind", what="column wind is missing", matters=False)
NO_ROWS = Fault("no_rows", None, "no rows since 2019-03-31", "check the export", matters=False)
STALE = Fault("stale_source", None, "no rows for 3 of 3 ticks", "check the export", matters=True)
RECENT = settled(10)

decided = pytest.mark.parametrize(
    ("seen", "past", "settings", "action", "codes"),
    [
        (facts(), RECENT, {}, "keep", ("as_promised",)),
        (facts(loss=None), RECENT, {}, "keep", ("no_evidence",)),
        (facts(0.2, alarm=True), RECENT, {}, "refit", ("loss_rose",)),
        (facts(0.2, alarm=True), settled(10, action="search"), {}, "refit", ("loss_rose",)),
        (facts(0.2, alarm=True), RECENT, {"policy": {"max_search_age": "90d"}}, "refit", ("loss_rose",)),
        (facts(), settled(31), {"policy": {"max_search_age": "90d"}}, "search", ("age", "search_age")),
        (facts(0.02, alarm=True), RECENT, {}, "keep", ("not_worth",)),  # .2 tick-losses of a budget of .25
        (facts(0.03, alarm=True), RECENT, {}, "refit", ("loss_rose",)),
        (facts(0.01, alarm=True), RECENT, {"worth": MONEY}, "refit", ("loss_rose",)),  # 1 % x 20 days > 10
        (facts(0.2, alarm=True), RECENT, {"worth": MONEY | {"retrain": 5000.0}}, "keep", ("not_worth",)),
        (facts(), settled(30), {}, "refit", ("age",)),
        (facts(0.02, alarm=True), settled(31), {}, "refit", ("age",)),
        (facts(), History(born=NOW - 400 * DAY), {}, "search", ("age", "search_age")),
        (facts(), History(), {}, "search", ("age", "search_age")),
        (facts(0.2, alarm=True), settled(2.9), {}, "keep", ("cooldown",)),
        (facts(0.2, alarm=True), settled(3, "promoted"), {}, "refit", ("loss_rose",)),
        (facts(0.2, alarm=True), settled(3), {}, "keep", ("cooldown",)),  # a challenger that failed doubles the wait
        (facts(0.2, alarm=True), settled(6), {}, "refit", ("loss_rose",)),
        (facts(0.2, alarm=True, since=NOW - 3 * DAY), settled(3.5), {}, "refit", ("loss_rose",)),  # another change
        (facts(0.2, alarm=True, since=NOW - 3 * DAY), settled(2.5), {}, "keep", ("cooldown",)),
        (facts(0.2, alarm=True, matured_rows=199), settled(20), {}, "keep", ("too_few_rows",)),
        (facts(0.2, alarm=True, matured_rows=0), settled(30), {}, "refit", ("age",)),
        (facts(0.2, alarm=True, faults=(BROKEN,)), settled(40), {}, "fix_feed", ("feed_fault",)),
        (facts(0.2, alarm=True, faults=(SMALL,)), RECENT, {}, "refit", ("loss_rose", "fault_told")),
        (facts(0.2, alarm=True, faults=(NO_ROWS,)), settled(40), {}, "keep", ("stale",)),
        (facts(0.2, alarm=True, faults=(NO_ROWS, STALE)), settled(40), {}, "fix_feed", ("stale",)),
        (facts(faults=(BROKEN,), alias_moved="7"), RECENT, {}, "ask", ("alias_moved",)),
        (facts(drift=drift(True, True, False)), RECENT, {}, "keep", ("as_promised", "drift_told")),
    ],
)


@decided
def test_the_first_rule_that_applies_answers(
    seen: Facts, past: History, settings: dict[str, Any], action: str, codes: tuple[str, ...]
) -> None:
    decision = decide(seen, past, config(**settings))
    assert (decision.action, tuple(r.code for r in decision.reasons)) == (action, codes)
    assert set(codes) <= set(REASONS)


@pytest.mark.fault("C7")
def test_the_wait_doubles_with_each_challenger_in_a_row_that_did_not_pass_up_to_max_age() -> None:
    def waits(outcomes: list[Outcome], days: float) -> bool:
        past = [
            PastDecision(str(i), NOW - timedelta(days=days + 10 * i), "refit", ("loss_rose",), outcome)
            for i, outcome in enumerate(outcomes)  # newest first
        ]
        history = History(tuple(past[::-1]), NOW - timedelta(days=300))
        return decide(facts(0.2, alarm=True, since=NOW - 100 * DAY), history, config()).reasons[0].code == "cooldown"

    for missed, wait in ((0, 3), (1, 6), (2, 12), (3, 24), (4, 30), (9, 30)):
        outcomes: list[Outcome] = ["inconclusive"] * missed + ["promoted", "rejected"]
        assert waits(outcomes, wait - 0.1), missed
        assert not waits(outcomes, wait), missed


@pytest.mark.fault("A4")
def test_too_few_positives_of_a_binary_task_say_nothing() -> None:
    seen = facts(0.2, alarm=True, positives=19)
    assert decide(seen, RECENT, BINARY).reasons[0].code == "too_few_rows"
    assert decide(replace(seen, positives=20), RECENT, BINARY).action == "refit"


def test_a_reason_tells_figures_in_a_sentence() -> None:
    risen = decide(facts(0.2, alarm=True, drift=drift(True, False)), RECENT, config(worth=MONEY))
    assert [r.text for r in risen.reasons] == [
        "loss 1.2 against 1 promised (+20.0 %, CUSUM 7.1 spreads since 2019-03-22); "
        "expected gain 20.00 EUR a day, up to 400.00 EUR in the 20 days to max_age, against 10.00 EUR a retrain",
        "'c0' (importance 20%) moved by 0.5",
        "1 of 2 columns drifted, together 20.0 % of importance",
    ]
    assert decide(facts(), settled(31), config()).reasons[0].text == "settled 31 days ago, max_age 30d"
    assert decide(facts(), RECENT, config()).reasons[0].text == (
        "loss 1 [0.9, 1.1] against 1 promised, CUSUM 1.2 of 6 spreads"
    )


def test_the_score_is_no_column_of_the_drift_sentence() -> None:
    score = ColumnDrift("score", "wasserstein", 0.5, 0.5, 0.1, 1.0, drifted=True)
    told = decide(facts(drift=(*drift(True, False), score)), RECENT, config()).reasons[-1].text
    assert told == "1 of 2 columns drifted, together 20.0 % of importance; so did the score"


@pytest.mark.fault("A12")
def test_what_the_feed_counts_decides_alone_so_missed_and_repeated_runs_change_nothing() -> None:
    past = [PastDecision(str(d), NOW - timedelta(days=d), "keep", ("stale",), "kept") for d in (5, 4, 3, 2, 1, 0.5)]
    often = History(tuple(past), NOW - 20 * DAY)
    for history in (often, RECENT, History()):
        assert decide(facts(faults=(replace(STALE, matters=False),)), history, config()).action == "keep"
        assert decide(facts(faults=(STALE,)), history, config()).action == "fix_feed"


# ── probes, suspicion, the kind of training ───────────────────────────────────────────────────────
def probe(gain: float, error: float = 0.01, learned: int = 20, **changes: Any) -> Probe:
    return replace(Probe(NOW, gain, error, 4, 800, learned, None, 5000, Cost(2, 60, 60_000)), **changes)


def answered(days: float, code: str = "loss_rose", outcome: Outcome = "promoted", **changes: Any) -> History:
    past = PastDecision("a" * 16, NOW - timedelta(days=days), "refit", (code,), outcome, since=SINCE)
    return replace(History((past,), NOW - 300 * DAY), **changes)


def probed_before(*gains: float, every: int = 2) -> History:
    """Probes about this champion, the newest ``every`` ticks ago, after a judged challenger."""
    ages = [every * (len(gains) - i) for i in range(len(gains))]
    past = [
        PastDecision(
            str(i),
            NOW - age * DAY,
            "keep",
            ("as_promised",),
            "kept",
            "c" * 64,
            probe=probe(gain, as_of=NOW - age * DAY),
        )
        for i, (gain, age) in enumerate(zip(gains, ages, strict=True))
    ]
    born = NOW - (ages[0] + every if ages else every) * DAY
    return History((*settled((NOW - born) / DAY).decisions, *past), born - 100 * DAY)


LATE = NOW - 28 * DAY
MENDS = probe(0.01, 0.001)  # too little a tick to have cost much in a month
MOVED = Signal("temp", 0.62, (0.05, 0.21), 0.3, 3, raised=True, importance=0.41)
SUSPECT = Suspicion((Signal("estimated_loss", 0.2, (-0.05, 0.05), 0.1, 3, raised=True), MOVED), 0.2)


@pytest.mark.parametrize(
    ("seen", "past", "settings", "action", "codes"),
    [
        (facts(0.2, alarm=True, probe=probe(0.15)), RECENT, {}, "refit", ("loss_rose", "fixable")),
        (facts(0.2, alarm=True, probe=probe(0.01)), RECENT, {}, "keep", ("harder",)),
        (facts(0.2, alarm=True, probe=probe(0.01, learned=3)), RECENT, {}, "refit", ("loss_rose", "unproven")),
        (facts(0.2, alarm=True, probe=probe(0.0, learned=0)), RECENT, {}, "keep", ("too_early",)),
        (facts(0.2, alarm=True, probe=probe(0.06, learned=0)), RECENT, {}, "keep", ("too_early",)),
        (facts(0.2, alarm=True, probe=probe(0.1, learned=0)), RECENT, {}, "refit", ("loss_rose", "fixable")),
        (facts(0.2, alarm=True, probe=probe(-0.05, 0.01, learned=3)), RECENT, {}, "keep", ("too_early",)),
        (facts(probe=probe(0.0)), settled(31), {}, "keep", ("nothing_fixable",)),
        (facts(probe=MENDS), settled(31), {}, "refit", ("age", "fixable")),
        (facts(probe=probe(0.0, 0.1)), settled(31), {}, "refit", ("age", "unproven")),  # too weak to settle anything
        (facts(0.2, alarm=True, probe=probe(0.01, 0.1)), RECENT, {}, "keep", ("unproven",)),
        (facts(probe=probe(0.09)), probed_before(*[0.3] * 8), {}, "keep", ("as_promised",)),  # less than gain
        (facts(probe=probe(0.5)), probed_before(*[-0.3, -0.3, 0.3, 0.3] * 2), {}, "keep", ("as_promised",)),  # luck
        (facts(), settled(31), {"policy": {"probe": False}}, "refit", ("age",)),
        (facts(probe=probe(0.1)), probed_before(*[0.1] * 8), {}, "refit", ("regret", "fixable")),
        (facts(probe=probe(0.1)), probed_before(0.1, 0.1, 0.1), {}, "keep", ("as_promised",)),  # their luck is unknown
        (facts(probe=probe(0.0)), probed_before(*[0.1] * 8), {}, "keep", ("as_promised",)),
        (facts(probe=probe(0.02)), probed_before(*[0.02] * 8), {}, "keep", ("as_promised",)),
        (facts(probe=probe(0.1)), answered(3), {}, "refit", ("follow_up",)),
        (facts(probe=probe(0.1)), answered(16), {}, "refit", ("follow_up",)),
        (facts(probe=probe(0.0)), answered(3), {}, "keep", ("as_promised",)),
        (facts(probe=probe(0.1)), answered(2), {}, "keep", ("cooldown",)),
        (facts(probe=probe(0.1)), answered(3, "age"), {}, "keep", ("as_promised",)),
        (facts(probe=probe(0.1)), answered(3, outcome="rejected"), {}, "refit", ("follow_up",)),
        (facts(suspicion=SUSPECT, horizon=LATE), RECENT, {}, "refit", ("suspicion_alone", "explained")),
        (facts(suspicion=SUSPECT), RECENT, {}, "keep", ("as_promised",)),
        (facts(suspicion=replace(SUSPECT, signals=(MOVED,)), horizon=LATE), RECENT, {}, "keep", ("as_promised",)),
        (facts(suspicion=replace(SUSPECT, estimated=0.02), horizon=LATE), RECENT, {}, "keep", ("as_promised",)),
        (facts(ranking=facts(0.2, alarm=True).loss), RECENT, {}, "refit", ("ranking_fell",)),
    ],
)  # fmt: skip
def test_probes_and_suspicion_turn_a_decision(
    seen: Facts, past: History, settings: dict[str, Any], action: str, codes: tuple[str, ...]
) -> None:
    decision = decide(seen, past, config(**settings))
    assert (decision.action, tuple(r.code for r in decision.reasons)) == (action, codes)
    assert set(codes) <= set(REASONS)


def test_a_harder_world_settles_and_is_what_later_losses_are_held_against() -> None:
    harder = PastDecision("h", NOW - 5 * DAY, "keep", ("harder",), "kept", "c" * 64, SINCE, 1.2)
    past = History((harder,), NOW - 100 * DAY)
    assert past.last_settled == harder.as_of
    assert past.rebased("c" * 64) == harder
    assert past.rebased("d" * 64) is None


def test_one_odd_tick_is_no_harder_world_and_waits_no_longer_than_max_age() -> None:
    bad, seen = probe(0.0), facts(0.2, alarm=True)
    assert seen.loss is not None
    one = replace(seen, probe=bad, loss=replace(seen.loss, now=3.0, level=3.0, changed=1))
    gone = replace(seen, probe=bad, loss=replace(seen.loss, now=1.3, level=1.0, changed=9))
    lasting = replace(seen, probe=bad, loss=replace(seen.loss, now=1.3, level=1.2, changed=9))
    for odd, code in ((one, "unproven"), (gone, "unproven"), (lasting, "harder")):
        decision = decide(odd, RECENT, config())
        assert (decision.action, decision.reasons[0].code) == ("keep", code)
    weak = replace(one, probe=probe(0.0, 0.1))
    assert decide(weak, settled(31), config()).reasons[0].code == "age"


def test_a_probe_is_due_when_something_is_going_on_and_ever_more_rarely_when_nothing_is() -> None:
    quiet = [days for days in range(1, 20) if probe_due(facts(), probed_before(every=days), config())]
    assert quiet == list(range(6, 20))  # the cooldown is over

    def waits(*gains: float) -> int:
        young = config(policy={"max_age": "900d"})
        return next(n for n in range(1, 30) if probe_due(facts(), probed_before(*gains, every=n), young))

    assert [waits(*[0.0] * n) for n in range(1, 6)] == [4, 4, 4, 4, 4]  # no tick goes unseen
    assert waits(0.0, 0.0, 0.1) == 2  # a gain was found: as soon as the cooldown allows
    assert probe_due(facts(0.2, alarm=True), probed_before(0.0, every=3), config())
    assert probe_due(facts(suspicion=SUSPECT), probed_before(0.0, every=3), config())
    for blocked in (facts(faults=(BROKEN,)), facts(loss=None), facts(matured_rows=10), facts(alias_moved="3")):
        assert not probe_due(blocked, probed_before(0.0, every=20), config())
    assert not probe_due(facts(0.2, alarm=True), settled(1), config())  # cooldown
    assert not probe_due(facts(0.2, alarm=True), RECENT, config(policy={"probe": False}))


def test_probes_that_differ_by_more_than_their_ticks_speak_with_the_larger_error() -> None:
    before = probed_before(0.2, -0.2, 0.2, -0.2, every=4)
    lucky = replace(before, decisions=(*before.decisions, *answered(3).decisions))
    found = decide(facts(probe=probe(0.25)), answered(3), config())
    assert found.reasons[0].code == "follow_up"
    doubtful = decide(facts(probe=probe(0.25)), lucky, config())
    assert (doubtful.action, doubtful.reasons[0].code) == ("keep", "as_promised")
    assert decide(facts(0.2, alarm=True, probe=probe(0.01)), lucky, config()).reasons[0].code == "unproven"


def test_what_probes_alone_proved_needs_no_second_look_unlike_a_change() -> None:
    assert decide(facts(probe=probe(0.1)), answered(3, "regret"), config()).action == "keep"
    assert decide(facts(probe=probe(0.1)), answered(3), config()).reasons[0].code == "follow_up"


@pytest.mark.parametrize(
    ("searched", "seen", "codes"),
    [
        (Searched(NOW - 60 * DAY, 2000), facts(probe=MENDS), ["age", "fixable", "rows_changed"]),
        (Searched(NOW - 60 * DAY, 5000, 0.01), facts(probe=MENDS), ["age", "fixable", "noise_changed"]),
        (Searched(NOW - 60 * DAY, 5000, 0.05, "low"), facts(probe=MENDS), ["age", "fixable", "at_edge"]),
        (Searched(NOW - 30 * DAY, 5000, 0.05, "low"), facts(probe=MENDS), ["age", "fixable"]),
        (Searched(NOW - 60 * DAY, 5000, 0.05, starved=True), facts(probe=MENDS), ["age", "fixable", "at_edge"]),
        (Searched(NOW - 60 * DAY, 5000, 0.05, rate_effect=0.01), facts(probe=MENDS), ["age", "fixable", "rate_effect"]),
        (Searched(NOW - 60 * DAY, 5000, 0.05, rate_effect=0.001), facts(probe=MENDS), ["age", "fixable"]),
    ],
)  # fmt: skip
def test_the_rate_is_searched_only_where_its_optimum_may_have_moved(
    searched: Searched, seen: Facts, codes: list[str]
) -> None:
    decision = decide(seen, replace(settled(31), searched=searched), config())
    assert [r.code for r in decision.reasons] == codes
    assert decision.action == ("refit" if codes == ["age", "fixable"] else "search")


def test_right_after_a_change_a_refit_answers_and_no_search() -> None:
    past = replace(RECENT, searched=Searched(NOW - 60 * DAY, 50))
    assert decide(facts(0.2, alarm=True, probe=probe(0.15)), past, config()).action == "refit"


def test_reasons_name_what_moved_and_what_fresh_data_mends() -> None:
    told = decide(facts(0.2, alarm=True, probe=probe(0.15), suspicion=SUSPECT), RECENT, config(worth=MONEY))
    assert [r.text for r in told.reasons] == [
        "loss 1.2 against 1 promised (+20.0 %, CUSUM 7.1 spreads since 2019-03-22); "
        "expected gain 15.00 EUR a day, up to 300.00 EUR in the 20 days to max_age, against 10.00 EUR a retrain",
        "a fresh small model is better by 0.15 ± 0.01 on the same 800 rows of 4 ticks",
        "'temp' (importance 41%) moved by 0.62, usually 0.05 to 0.21",
    ]


@given(st.floats(-0.5, 0.5), st.floats(0, 0.5), st.booleans(), st.integers(0, 20))
def test_more_that_fresh_data_mends_never_turns_training_into_keeping(
    gain: float, more: float, alarm: bool, learned: int
) -> None:
    def trains(found: float) -> bool:
        seen = facts(0.2, alarm=alarm, probe=probe(found, learned=learned))
        return rank(decide(seen, RECENT, config()).action)

    assert trains(gain) <= trains(gain + more)


@given(st.lists(st.floats(-0.2, 0.5), min_size=1, max_size=9), st.floats(0, 1), st.floats(0, 6), st.floats(0, 3))
def test_probes_that_are_all_better_by_the_same_never_turn_training_into_keeping(
    gains: list[float], more: float, cusum: float, rise: float
) -> None:
    seen = facts(probe=probe(gains[-1]))
    found = seen.loss
    assert found is not None

    def trains(extra: float, level: float) -> bool:
        past = probed_before(*(gain + extra for gain in gains[:-1]), every=4)
        loss = replace(found, cusum=level)
        return rank(decide(replace(seen, probe=probe(gains[-1] + extra), loss=loss), past, config()).action)

    assert trains(0.0, cusum) <= trains(more, cusum)
    assert trains(0.0, cusum) <= trains(0.0, cusum + rise)


# ── laws ──────────────────────────────────────────────────────────────────────────────────────────
outcomes = st.sampled_from(["kept", "held", "rejected", "inconclusive", "promoted", None])
histories = st.builds(
    lambda days, outcome, action, born: replace(settled(days, outcome, action), born=born),
    st.floats(0, 300),
    outcomes,
    st.sampled_from(["keep", "refit", "search"]),
    st.none() | st.floats(0, 400).map(lambda d: NOW - timedelta(days=d)),
)
settings_ = st.sampled_from([{}, {"worth": MONEY}, {"worth": MONEY | {"retrain": 800.0}}, {"policy": {"budget": 2.0}}])
rises = st.floats(-0.5, 2)


def rank(action: str) -> bool:
    return action in TRAINING_ACTIONS


@given(rises, st.floats(0, 2), histories, settings_)
def test_more_loss_never_turns_training_into_keeping(
    rise: float, more: float, past: History, settings: dict[str, Any]
) -> None:
    less_seen, more_seen = facts(rise, alarm=True), facts(rise + more, alarm=True)
    calm = facts(rise, alarm=False)
    first, second = (rank(decide(f, past, config(**settings)).action) for f in (less_seen, more_seen))
    assert rank(decide(calm, past, config(**settings)).action) <= first <= second


@given(st.lists(st.floats(0.5, 2), min_size=5, max_size=30), st.floats(0, 2), histories)
def test_a_uniform_rise_of_the_series_never_turns_training_into_keeping(
    losses: list[float], more: float, past: History
) -> None:
    def action(extra: float) -> str:
        start = NOW - len(losses) * DAY
        ticks = tuple(
            TickLoss(start + i * DAY, start + (i + 1) * DAY, 50, 50, value + extra) for i, value in enumerate(losses)
        )
        seen = facts(ticks=ticks, loss=evidence(ticks, 1.0, (0.9, 1.0, 1.1), config().policy))
        return decide(seen, past, config()).action

    assert rank(action(0.0)) <= rank(action(more + 0.01 if more else 0.0))


@given(st.lists(st.booleans(), max_size=6), st.floats(0, 1), histories, rises, st.booleans())
def test_drift_alone_changes_no_action(
    drifted: list[bool], importance: float, past: History, rise: float, alarm: bool
) -> None:
    bare = facts(rise, alarm=alarm)
    seen = replace(bare, drift=drift(*drifted, importance=importance))
    assert decide(seen, past, config()).action == decide(bare, past, config()).action


@given(rises, histories, st.sampled_from([BROKEN, NO_ROWS]), st.lists(st.just(SMALL), max_size=2))
def test_a_fault_that_matters_never_trains(rise: float, past: History, fault: Fault, others: list[Fault]) -> None:
    seen = facts(rise, alarm=True, faults=(*others, fault))
    assert not rank(decide(seen, past, config()).action)


@given(rises, st.booleans(), histories)
def test_the_same_facts_give_the_same_decision_and_other_facts_another_id(
    rise: float, alarm: bool, past: History
) -> None:
    seen = facts(rise, alarm=alarm)
    assert decide(seen, past, config()) == decide(seen, past, config())
    assert decide(seen, past, config()).id != decide(replace(seen, rows=501), past, config()).id
    assert decide(seen, past, config()).id != decide(seen, past, config(seed=1)).id


@given(histories, histories, rises, st.booleans())
def test_the_future_is_not_seen(past: History, later: History, rise: float, alarm: bool) -> None:
    future = tuple(replace(d, as_of=NOW + timedelta(days=1 + i)) for i, d in enumerate(later.decisions))
    seen = facts(rise, alarm=alarm)
    knowing = replace(past, decisions=(*past.decisions, *future))
    assert decide(seen, knowing, config()) == decide(seen, past, config())


@pytest.mark.parametrize("promised", [0.0, -1.0])
@pytest.mark.parametrize("settings", [{}, {"worth": MONEY}])
def test_a_promise_of_nothing_or_less_still_gives_a_decision(promised: float, settings: dict[str, Any]) -> None:
    seen = facts(0.2, alarm=True)
    assert seen.loss is not None
    odd = replace(seen, loss=replace(seen.loss, promised=promised))
    assert decide(odd, RECENT, config(**settings)).action == "refit"


def test_the_baselines_of_replay_never_look() -> None:
    seen = facts(0.2, alarm=True)
    assert [policy(seen, RECENT, config()).action for policy in (never, always, always_search)] == [
        "keep",
        "refit",
        "search",
    ]
    assert never(seen, RECENT, config()).id != always(seen, RECENT, config()).id


def test_a_timer_counts_its_ticks_from_the_last_training_or_from_birth() -> None:
    trained = [PastDecision("a" * 16, NOW - days * DAY, "refit", ("timer",)) for days in (9, 3)]
    past = History(tuple(trained), born=NOW - 20 * DAY)
    acts = [timer(facts(), past, config(), ticks=n).action for n in (2, 3, 4)]
    assert acts == ["refit", "refit", "keep"]
    young = History((), born=NOW - 3 * DAY)
    assert [timer(facts(), young, config(), ticks=n, action="search").action for n in (3, 4)] == ["search", "keep"]


def test_the_drift_rule_of_evidently_fires_from_half_of_the_columns_on_by_its_own_figure() -> None:
    moved, still = drift(False)[0], replace(drift(True)[0], statistic=0.05)  # the robust figure is not asked
    score = replace(moved, column="score")
    found = [(moved, still, score), (moved, still, still, score), (), (score,)]
    acts = [evidently_default(facts(drift=each), RECENT, config()).action for each in found]
    assert acts == ["refit", "keep", "keep", "keep"]


def test_the_metric_rule_reads_the_ticks_since_the_last_look() -> None:
    looked = History((PastDecision("a" * 16, NOW - 2 * DAY, "keep", ()),))
    calm = facts()
    ticks = [*calm.ticks[:8], *(replace(tick, loss=1.06) for tick in calm.ticks[8:])]
    seen = replace(calm, ticks=tuple(ticks))
    assert metric_worse(seen, looked, config()).action == "refit"
    assert metric_worse(seen, History(), config()).action == "keep"
    assert metric_worse(replace(seen, loss=None), looked, config()).action == "keep"


def test_every_code_is_explained_in_a_sentence() -> None:
    assert all(text.endswith(".") and len(text) > 20 for text in REASONS.values())
    assert np.isin(["loss_rose", "age", "cooldown", "too_few_rows", "feed_fault", "stale"], list(REASONS)).all()
