from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lr_retune.errors import ConfigError
from lr_retune.schedules import NAMES, adaptive_cuts, optimal_start, parse, patience, rates

WHOLE, SHARE = st.integers(1, 30), st.floats(0.01, 0.99)
TEXTS = st.one_of(
    st.sampled_from([name for name in NAMES if name != "optimal"]),
    st.builds("invscaling({})".format, st.floats(0.01, 4)),
    st.builds("{}({})".format, st.sampled_from(["adaptive", "exponential", "cosine", "one_cycle"]), WHOLE),
    st.builds("step({},{})".format, WHOLE, SHARE),
    st.builds("warm_restarts({},{},{})".format, WHOLE, st.integers(1, 3), st.integers(1, 5)),
    st.builds("triangular({},{})".format, WHOLE, st.integers(1, 5)),
    st.builds(lambda cuts: f"plateau({','.join(map(str, sorted(cuts)))})", st.sets(WHOLE, max_size=5)),
)


@given(text=TEXTS)
def test_the_canonical_text_names_the_same_schedule(text: str) -> None:
    found = parse(text)
    again = parse(str(found))
    assert str(again) == str(found)
    assert found.name == text.partition("(")[0]
    assert [float(f"{value:.12g}") for value in found.args] == list(again.args)


@given(text=TEXTS, eta0=st.floats(1e-6, 10), per_epoch=st.integers(1, 50), epochs=st.integers(1, 40))
def test_rates_are_positive_at_most_eta0_and_scale_with_it(text: str, eta0: float, per_epoch: int, epochs: int) -> None:
    steps = np.arange(epochs * per_epoch)
    found = rates(text, eta0, steps, per_epoch, cuts=(3, 7))
    assert found.shape == steps.shape
    assert (found >= 0).all()
    assert (found <= eta0 * (1 + 1e-12)).all()
    assert found == pytest.approx(eta0 * rates(text, 1.0, steps, per_epoch, cuts=(3, 7)), rel=1e-12)
    middle = len(steps) // 2
    pieces = [rates(text, eta0, part, per_epoch, cuts=(3, 7)) for part in (steps[:middle], steps[middle:])]
    assert np.concatenate(pieces).tolist() == found.tolist()


@given(text=TEXTS)
def test_a_rate_with_a_horizon_has_come_down_there_and_not_before(text: str) -> None:
    horizon = parse(text).horizon
    assume(horizon is not None and horizon >= 4)
    assert horizon is not None
    floor = 0.1 if text.startswith("triangular") else 1e-5
    found = rates(text, 1.0, np.array([0, 100 * horizon, 100 * horizon + 1, 500 * horizon]), 100)
    assert found[1:] == pytest.approx(np.full(3, floor), abs=1e-5)
    assert rates(text, 1.0, np.arange(100 * horizon), 100).max() > 0.5


@given(text=TEXTS)
def test_a_fit_ends_where_next_to_nothing_is_left_of_its_rate(text: str) -> None:
    found = parse(text)
    assert found.horizon in (None, found.end)
    if found.end is not None and not text.startswith("triangular"):
        before, after = rates(found, 1.0, np.array([max(0, 100 * found.end - 200), 100 * found.end]), 100)
        assert after <= 1e-3 * (1 + 1e-9)
        assert before > after or found.end < 2


def by_hand(text: str, epochs: list[float]) -> list[float]:
    return rates(text, 1.0, np.array([round(1000 * e) for e in epochs]), 1000).round(12).tolist()


def test_the_formulas_at_places_known_by_hand() -> None:
    assert by_hand("constant", [0, 9]) == [1, 1]
    assert by_hand("step(2,0.5)", [0, 1.999, 2, 4]) == [1, 1, 0.5, 0.25]
    assert by_hand("exponential(2)", [0, 2, 4]) == [1, 0.5, 0.25]
    assert by_hand("cosine(4)", [0, 2, 4, 9]) == [1, 0.5, 0, 0]
    assert by_hand("cosine(6)", [2]) == [0.75]
    assert by_hand("warm_restarts(1,2,2)", [0, 0.5, 1, 2, 3, 9]) == [1, 0.5, 1, 0.5, 0, 0]
    assert by_hand("triangular(2,2)", [0, 1, 1.5, 2, 3, 4, 9]) == [0.1, 1, 0.55, 0.1, 1, 0.1, 0.1]
    assert by_hand("one_cycle(10)", [0, 1.5, 3, 6.5, 10]) == [0.04, 0.52, 1, 0.500002, 0.000004]
    assert by_hand("plateau(1,3)", [0, 0.999, 1, 2.9, 3, 30]) == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert by_hand("plateau", [0, 30]) == [1, 1]
    assert rates("plateau(40,85)", 0.8, np.array([39, 40, 84, 85]), 1).tolist() == [0.8, 0.4, 0.4, 0.2]  # rounds
    assert rates("invscaling(0.5)", 1.0, np.array([0, 3, 99]), 7) == pytest.approx([1, 0.5, 0.1])
    assert rates("adaptive", 1.0, np.array([0, 9, 10, 19, 20]), 10, cuts=(1, 2)) == pytest.approx(
        [1, 1, 0.2, 0.2, 0.04]
    )


@given(alpha=st.floats(1e-8, 1.0))
def test_optimal_starts_at_bottous_rate_and_falls_with_the_updates(alpha: float) -> None:
    found = rates("optimal", 123.0, np.array([0, 1, 10**6]), 5, alpha=alpha)
    assert found[0] == pytest.approx(alpha**-0.25, rel=1e-12)
    assert 1 / found[1] - 1 / found[0] == pytest.approx(alpha, rel=1e-6)
    assert 1 / found[2] - 1 / found[0] == pytest.approx(alpha * 1e6, rel=1e-9)
    assert optimal_start(alpha) == pytest.approx(found[0], rel=1e-12)


@given(curve=st.lists(st.integers(0, 5), max_size=30), allowed=st.integers(1, 4))
def test_adaptive_cuts_where_nothing_was_gained_and_never_looks_ahead(curve: list[int], allowed: int) -> None:
    cuts = adaptive_cuts(curve, allowed)
    assert all(b - a >= allowed for a, b in zip((0, *cuts), cuts, strict=False))
    for cut in cuts:
        assert min(curve[cut - allowed : cut]) >= min(curve[: cut - allowed], default=math.inf)
        assert adaptive_cuts(curve[:cut], allowed)[-1] == cut
    assert adaptive_cuts(sorted(set(curve), reverse=True), allowed) == ()


@given(text=TEXTS, wanted=st.integers(1, 60))
def test_patience_ends_no_fit_before_its_horizon(text: str, wanted: int) -> None:
    found = patience(text, wanted)
    assert found >= max(wanted, parse(text).horizon or 0)
    assert patience(parse(text), wanted) == found
    assert parse(text).name in ("adaptive", "step") or parse(text).horizon is not None or found == wanted


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("one-cycle", "did you mean 'one_cycle'"),
        ("cosin(3)", "did you mean 'cosine'"),
        ("fast", "use some of constant, invscaling"),
        ("", "use some of"),
        ("cosine(3", "there is no schedule"),
        ("constant(3)", "takes no argument"),
        ("cosine(0)", r"must be cosine\(epochs\)"),
        ("cosine(2.5)", r"e\.g\. cosine\(12\)"),
        ("cosine(1,2)", "must be"),
        ("cosine(nan)", "must be"),
        ("step(3,2)", "factor below 1"),
        ("step(3,half)", "must be numbers"),
        ("plateau(5,5)", "rising"),
        ("plateau(inf)", "rising"),
        ("invscaling(0)", "above 0"),
    ],
)
def test_a_text_that_names_nothing_says_what_would(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse(text)
