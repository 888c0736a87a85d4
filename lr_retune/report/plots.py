"""Three pictures of a decision: loss over rate, loss over steps, loss over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, timedelta
from typing import Any

import numpy as np

from lr_retune.records import TickLoss, Trial, TrialState, iso, micros
from lr_retune.report import smooth, svg
from lr_retune.report.svg import BLUE, BOTTOM, CENTRE, INK, LEFT, MIDDLE, ORANGE, RED, RIGHT, TOP, Axis

_MARKS: dict[TrialState, tuple[str, str]] = {
    "starved": ("△", ORANGE),
    "pruned": ("–", INK),
    "diverged": ("×", RED),
    "failed": ("!", RED),
}
_POINTS = 160  # per curve: more cannot be seen at this width
_NAMED, _WIDE = 11, 50  # curves that are named, and pixels for each name: more do not fit above the plot
_LABELS = 36  # pixels above the rate plot for the names of its two uprights


# ── loss over rate ────────────────────────────────────────────────────────────────────────────────
def rate_plot(
    trials: Sequence[Trial],
    chosen: float | None,
    control_rate: float | None = None,
    estimate: Mapping[str, Any] | None = None,
) -> str:
    """Valid loss against learning rate (log axis), as one SVG element.

    Trials without a loss are marked on the upper edge by what became of them; losses far above the rest
    are drawn at the upper edge, with their figure in the tooltip.

    Parameters
    ----------
    trials
        Of all roles.
    chosen
        The challenger's rate, None if every trial failed.
    control_rate
        The champion's rate, None before there is a champion.
    estimate
        What the trials say together, in plain form: its curve then takes the place of a line from trial to trial.
    """
    shown = [t for t in trials if _positive(t.learning_rate)]
    ranked = [t for t in shown if t.state == "complete" and _finite(t.loss)]
    x = svg.axis([*(t.learning_rate for t in shown), *_known(chosen), *_known(control_rate)], LEFT, RIGHT, log=True)
    y = svg.axis(_near(sorted(_loss(t) for t in ranked)), BOTTOM, TOP + _LABELS)
    parts = svg.frame(x, y, "learning rate", "loss on valid")
    lowest = min((_loss(t) for t in ranked if t.role == "candidate"), default=None)
    curved = estimate is not None and lowest is not None and len(estimate["curve"]) > 1
    if estimate is not None and lowest is not None:
        parts += smooth.drawn(estimate, lowest, x, y, TOP + _LABELS)
    parts += _uprights(x, chosen, control_rate)
    tried = sorted((t for t in ranked if t.role == "candidate"), key=lambda t: (t.learning_rate, t.number))
    if not curved:
        parts.append(svg.path([(x.at(t.learning_rate), y.at(_loss(t))) for t in tried], color=BLUE))
    above = sorted(ranked, key=lambda t: t.role == "candidate")  # a shared fit shows as a dot in a wider one
    parts += [_point(t, x, y, picked=t.learning_rate == chosen) for t in above]
    lost = [t for t in shown if t.state in _MARKS]
    parts += [_lost(t, x) for t in lost]
    parts += _legend(list(dict.fromkeys(t.state for t in lost)))
    if not shown:
        parts.append(svg.text(CENTRE, MIDDLE, "no trials"))
    return svg.picture(_rate_title(ranked, lost, chosen), parts)


def _near(losses: list[float]) -> list[float]:
    """Sorted losses that share a scale: one wild rate must not press all others into a line."""
    if len(losses) < 4:
        return losses
    low, middle = losses[0], losses[len(losses) // 2]
    top = low + 6 * (middle - low) if middle > low else math.inf
    return [loss for loss in losses if loss <= top]


def _uprights(x: Axis, chosen: float | None, old: float | None) -> list[str]:
    if chosen is not None and chosen == old and _known(chosen):
        return _upright(x.at(chosen), f"champion's rate, chosen again: {chosen:.4g}", BLUE, "6 3", row=1)
    parts: list[str] = []
    for rate in _known(old):
        parts += _upright(x.at(rate), f"champion's rate {rate:.4g}", ORANGE, "2 3", row=0)
    for rate in _known(chosen):
        parts += _upright(x.at(rate), f"chosen {rate:.4g}", BLUE, "6 3", row=1)
    return parts


def _upright(at: float, name: str, color: str, dash: str, *, row: int) -> list[str]:
    anchor = "end" if at > CENTRE else "start"
    return [
        svg.line(at, _LABELS, at, BOTTOM, color=color, dash=dash, width=1.5),
        svg.text(at, 14 + 15 * row, name, anchor=anchor, color=color),
    ]


def _point(trial: Trial, x: Axis, y: Axis, *, picked: bool) -> str:
    told = f"{trial.role} {trial.learning_rate:.4g}: loss {_loss(trial):.6g} at {trial.steps} steps"
    color = BLUE if trial.role == "candidate" else ORANGE
    radius = (6.5 if picked else 4) + (0 if trial.role == "candidate" else 2.5)
    at = x.at(trial.learning_rate), y.at(_loss(trial))
    return svg.dot(*at, color=color, radius=radius, hollow=trial.role == "fixed", told=told)


def _lost(trial: Trial, x: Axis) -> str:
    mark, color = _MARKS[trial.state]
    told = svg.safe(f"{trial.role} {trial.learning_rate:.4g}: {trial.state}. {trial.note}")
    sign = svg.text(x.at(trial.learning_rate), TOP + _LABELS - 4, mark, color=color, size=15)
    return f"<g>{sign}<title>{told}</title></g>"


def _legend(states: Sequence[TrialState]) -> list[str]:
    marks = [(f"{_MARKS[state][0]} {state}", _MARKS[state][1]) for state in states]
    return [
        svg.text(RIGHT - 68 * i, svg.HEIGHT - 10, mark, anchor="end", color=color)
        for i, (mark, color) in enumerate(marks)
    ]


def _rate_title(ranked: Sequence[Trial], lost: Sequence[Trial], chosen: float | None) -> str:
    picked = f"chosen: {chosen:.4g}" if chosen is not None else "none chosen"
    rates = len({t.learning_rate for t in ranked})
    return f"Loss on valid against learning rate: {rates} rates with a loss, {len(lost)} trials without, {picked}"


# ── loss over steps ───────────────────────────────────────────────────────────────────────────────
def curves_plot(trials: Sequence[Trial], step_unit: str = "steps") -> str:
    """Valid curve loss against steps (log axis) of every candidate, its best step dotted, as one SVG element."""
    shown = [t for t in trials if t.role == "candidate" and _positive(t.learning_rate) and _curve(t).size]
    shown.sort(key=lambda t: (-t.learning_rate, t.number))
    y = svg.axis(_ends([_curve(t) for t in shown]), BOTTOM, TOP)
    x = svg.axis([1.0, *(float(_last(t, y) + 1) for t in shown)], LEFT, RIGHT, log=True)
    parts = svg.frame(x, y, f"{step_unit} (log)", "curve loss on valid")
    colors = [_shade(i, len(shown)) for i in range(len(shown))]
    for trial, color in zip(shown, colors, strict=True):
        parts += _one_curve(trial, x, y, color)
    parts += _names(shown[:_NAMED], colors, x, y)
    if not shown:
        parts.append(svg.text(CENTRE, MIDDLE, "no curves"))
    return svg.picture(f"Loss on valid after each of the {step_unit}, {len(shown)} learning rates", parts)


def _last(trial: Trial, y: Axis) -> int:
    """The last step of a curve that is not above the picture."""
    curve = _curve(trial)
    return int(np.flatnonzero(curve <= y.high)[-1]) if (curve <= y.high).any() else len(curve) - 1


def _names(shown: Sequence[Trial], colors: Sequence[str], x: Axis, y: Axis) -> list[str]:
    """Each rate above where its curve comes into the picture; those that would touch stand beside one another."""
    begins = []
    for trial, color in zip(shown, colors, strict=False):
        curve = _curve(trial)
        first = int(np.argmax(curve <= y.high))
        begins.append((x.at(first + 1.0), -float(curve[first]), f"{trial.learning_rate:.3g}", color))
    parts, free = [], float(LEFT - _WIDE)
    for left, (at, _, name, color) in enumerate(sorted(begins)):
        free = min(max(at, free + _WIDE), RIGHT - _WIDE * (len(begins) - 1 - left))
        parts.append(svg.text(free, TOP - 8, name, color=color, size=11))
    return parts


def _one_curve(trial: Trial, x: Axis, y: Axis, color: str) -> list[str]:
    curve = _curve(trial)
    best = int(np.argmin(curve))
    steps = np.unique(np.append(np.geomspace(1, len(curve), _POINTS).astype(int) - 1, best))
    points = [(x.at(s + 1.0), y.at(float(curve[s]))) for s in steps if curve[s] <= y.high]
    told = f"{trial.learning_rate:.4g}: lowest at {best + 1}, {trial.state}"
    return [
        svg.path(points, color=color),
        svg.dot(x.at(best + 1.0), y.at(float(curve[best])), color=color, radius=3, told=told),
    ]


def _ends(curves: Sequence[np.ndarray]) -> list[float]:
    """The part of the loss scale where curves are told apart: from the lowest to a third of the way up."""
    if not curves:
        return []
    lows = [float(c.min()) for c in curves]
    low, first = min(lows), max(float(c[0]) for c in curves)
    return [low, max(*lows, low + 0.35 * (first / 4 - low / 4) * 4, low)]


def _shade(i: int, n: int) -> str:
    """From orange (large rates) to blue (small ones), through mid tones."""
    return SHADES[round(i / (n - 1) * (len(SHADES) - 1))] if n > 1 else BLUE


def _mixed(share: float) -> str:
    pairs = ((int(ORANGE[k : k + 2], 16), int(BLUE[k : k + 2], 16)) for k in (1, 3, 5))
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in pairs)


SHADES = [_mixed(k / 6) for k in range(7)]  # so few that a page can give each a colour of its theme


# ── loss over time ────────────────────────────────────────────────────────────────────────────────
def series_plot(ticks: Sequence[TickLoss], promised: float | None) -> str:
    """The champion's loss per tick against what it promised, as one SVG element.

    Hollow points are ticks whose labels are not complete; ticks without a loss leave a gap.
    """
    ordered = sorted(ticks, key=lambda t: micros(t.start))
    known = [t for t in ordered if _finite(t.loss)]
    x = _time_axis(ordered)
    extra = [promised] if promised is not None and math.isfinite(promised) else []
    y = svg.axis([*(float(t.loss or 0.0) for t in known), *extra], BOTTOM, TOP)
    parts = svg.frame(x, y, "tick (UTC)", "loss", _dates(ordered))
    for level in extra:
        parts.append(svg.line(LEFT, y.at(level), RIGHT, y.at(level), color=ORANGE, dash="6 3", width=1.5))
        parts.append(svg.text(RIGHT, 14, f"promised {level:.5g}", anchor="end", color=ORANGE))
    parts += [svg.path([_place(t, x, y) for t in run], color=BLUE) for run in _runs(ordered)]
    parts += [svg.dot(*_place(t, x, y), color=BLUE, radius=3, hollow=not t.mature, told=_tick_text(t)) for t in known]
    if not known:
        parts.append(svg.text(CENTRE, MIDDLE, "no tick has a loss yet"))
    return svg.picture(f"Loss per tick, {len(known)} of {len(ordered)} ticks with labels", parts)


def _time_axis(ticks: Sequence[TickLoss]) -> Axis:
    if not ticks:
        return Axis(0.0, 1.0, LEFT + 10, RIGHT - 10)
    low, high = float(micros(ticks[0].start)), float(micros(ticks[-1].start))
    return Axis(low, high if high > low else low + 86_400e6, LEFT + 10, RIGHT - 10)


def _dates(ticks: Sequence[TickLoss]) -> list[tuple[float, str]]:
    """Five dates at most; with the hour where all ticks lie within three days."""
    every = max(1, -(-len(ticks) // 5))
    short = bool(ticks) and ticks[-1].start - ticks[0].start < timedelta(days=3)
    pattern = "%m-%d %H:%M" if short else "%Y-%m-%d"
    return [(float(micros(t.start)), t.start.astimezone(UTC).strftime(pattern)) for t in ticks[::every]]


def _runs(ticks: Sequence[TickLoss]) -> list[list[TickLoss]]:
    """Stretches of neighbouring ticks that all have a loss."""
    runs: list[list[TickLoss]] = [[]]
    for tick in ticks:
        if _finite(tick.loss):
            runs[-1].append(tick)
        elif runs[-1]:
            runs.append([])
    return runs


def _place(tick: TickLoss, x: Axis, y: Axis) -> tuple[float, float]:
    return x.at(float(micros(tick.start))), y.at(float(tick.loss or 0.0))


def _tick_text(tick: TickLoss) -> str:
    state = "" if tick.mature else ", labels not complete"
    return f"{iso(tick.start)}: {tick.loss:.6g} on {tick.matured} of {tick.rows} rows{state}"


# ── numbers ───────────────────────────────────────────────────────────────────────────────────────
def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _positive(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and value > 0


def _known(rate: float | None) -> list[float]:
    return [rate] if rate is not None and _positive(rate) else []


def _loss(trial: Trial) -> float:
    assert trial.loss is not None
    return trial.loss


def _curve(trial: Trial) -> np.ndarray:
    """The curve up to its first value that is no number."""
    curve = np.asarray(trial.curve, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(curve))
    return curve[: bad[0]] if len(bad) else curve
