from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lr_retune.records import Cost, TickLoss, Trial
from lr_retune.report import svg
from lr_retune.report.plots import curves_plot, rate_plot, series_plot

START = datetime(2024, 3, 1, tzinfo=UTC)
COORDINATES = ("x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r")
anything = st.floats(allow_nan=True, allow_infinity=True)


def trial(number: int = 0, rate: float = 0.1, loss: float | None = 1.0, **changes: object) -> Trial:
    base = {"role": "candidate", "schedule": "constant", "steps": 2, "state": "complete", "curve": (2.0, 1.0, 1.5)}
    return Trial(number=number, learning_rate=rate, loss=loss, **(base | changes))  # type: ignore[arg-type]


def tick(i: int, loss: float | None, mature: bool = True) -> TickLoss:
    return TickLoss(START + timedelta(days=i), START + timedelta(days=i + 1), 24, 24, loss, mature)


def drawn(picture: str) -> ElementTree.Element:
    """The parsed picture, after a look at every coordinate."""
    root = ElementTree.fromstring(picture)
    for element in root.iter():
        numbers = [element.get(name) for name in COORDINATES if element.get(name) is not None]
        numbers += re.split(r"[ ,]", element.get("points", "").strip()) if element.get("points") else []
        for value in numbers:
            assert value is not None
            assert -1 <= float(value) <= svg.WIDTH + 1, f"{element.tag} stands at {value}"
    return root


def texts(picture: str) -> list[str]:
    return [e.text or "" for e in drawn(picture).iter("{http://www.w3.org/2000/svg}text")]


@given(
    trials=st.lists(
        st.builds(
            trial,
            number=st.integers(0, 50),
            rate=anything,
            loss=st.none() | anything,
            role=st.sampled_from(["candidate", "control", "fixed"]),
            state=st.sampled_from(["complete", "pruned", "diverged", "starved", "failed"]),
            curve=st.lists(anything, max_size=5).map(tuple),
            note=st.text(),
        ),
        max_size=8,
    ),
    chosen=st.none() | anything,
    control=st.none() | anything,
)
@settings(deadline=None)
def test_whatever_trials_come_in_the_picture_is_well_formed_with_finite_coordinates(
    trials: list[Trial], chosen: float | None, control: float | None
) -> None:
    drawn(rate_plot(trials, chosen, control))
    drawn(curves_plot(trials))


@given(
    losses=st.lists(st.tuples(st.integers(0, 40_000), st.none() | anything, st.booleans()), max_size=10),
    promised=st.none() | anything,
)
@settings(deadline=None)
def test_whatever_ticks_come_in_the_series_is_well_formed_with_finite_coordinates(
    losses: list[tuple[int, float | None, bool]], promised: float | None
) -> None:
    drawn(series_plot([tick(*found) for found in losses], promised))


def test_a_better_loss_stands_lower_and_a_larger_rate_further_right() -> None:
    root = drawn(rate_plot([trial(0, 0.01, 3.0), trial(1, 0.1, 1.0), trial(2, 0.3, 2.0)], 0.1))
    dots = [(float(e.get("cx", "")), float(e.get("cy", ""))) for e in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert [x for x, _ in dots] == sorted(x for x, _ in dots)
    assert dots[0][1] < dots[2][1] < dots[1][1]  # pixels grow downwards


def test_the_rate_axis_is_logarithmic() -> None:
    axis = svg.axis([0.001, 1.0], 0, 300, log=True)
    assert axis.at(0.1) - axis.at(0.01) == pytest.approx(axis.at(1.0) - axis.at(0.1))


def test_chosen_and_old_rate_are_named_and_lost_trials_are_marked() -> None:
    found = [trial(0, 0.1), trial(1, 0.01, None, state="starved"), trial(2, 0.4, None, state="diverged")]
    told = texts(rate_plot(found, 0.1, 0.05))
    assert {"chosen 0.1", "champion's rate 0.05", "△ starved", "× diverged"} <= set(told)
    assert {"△", "×"} <= set(told)
    assert not any("failed" in line for line in told)


def test_one_wild_loss_does_not_flatten_the_others() -> None:
    calm = [trial(i, 0.01 * (i + 1), 1.0 + 0.01 * i) for i in range(8)]
    root = drawn(rate_plot([*calm, trial(9, 0.4, 1e6)], 0.01))
    heights = [float(e.get("cy", "")) for e in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert max(heights[:8]) - min(heights[:8]) > 50


@pytest.mark.fault("A13")
def test_text_from_outside_stays_text() -> None:
    note = "</title><script>alert(1)</script>\x00\x1b[31m"
    picture = rate_plot([trial(0, 0.1, None, state="failed", note=note)], None)
    assert "<script" not in picture
    assert "alert(1)" in picture
    assert "\x1b" not in picture
    drawn(picture)
    assert "<b>" not in curves_plot([trial()], step_unit="<b>rounds")


def test_a_gap_in_the_labels_is_a_gap_in_the_line_and_immature_ticks_are_hollow() -> None:
    losses: list[float | None] = [1.0, 1.1, None, 1.2, 1.3]
    root = drawn(series_plot([tick(i, loss, mature=i < 4) for i, loss in enumerate(losses)], 1.05))
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polyline"))) == 2
    fills = [e.get("fill") for e in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert fills == [svg.BLUE] * 3 + ["none"]


def test_pictures_without_anything_to_show_say_so() -> None:
    assert "no trials" in texts(rate_plot([], None))
    assert "no curves" in texts(curves_plot([]))
    assert "no tick has a loss yet" in texts(series_plot([], None))


def test_the_same_trials_give_the_same_bytes_and_long_curves_stay_small() -> None:
    curve = tuple(1 + math.exp(-i / 300) for i in range(5000))
    found = [trial(i, 0.01 * (i + 1), 1.0, curve=curve, steps=5000, cost=Cost(1, 5000, 5000)) for i in range(10)]
    assert curves_plot(found) == curves_plot(list(found))
    assert rate_plot(found, 0.01) == rate_plot(list(found), 0.01)
    assert len(curves_plot(found)) < 60_000


@pytest.mark.parametrize("page", ["#ffffff", "#0d1117"])
@pytest.mark.parametrize("color", [svg.INK, svg.BLUE, svg.ORANGE, svg.RED])
def test_every_colour_can_be_read_on_a_white_and_on_a_dark_page(color: str, page: str) -> None:
    low, high = sorted((luminance(color), luminance(page)))
    assert (high + 0.05) / (low + 0.05) >= 4.2  # WCAG 2.2, contrast ratio


def luminance(color: str) -> float:
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
