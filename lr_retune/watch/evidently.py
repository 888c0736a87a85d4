"""Evidently's page and figures, on a bounded sample: the only home of evidently and pandas.

Three parts: drift, the model's quality on rows whose label is known, a summary of the columns. What Evidently cannot
take (see `_column`) is left out beforehand and named; a part that fails costs the page no other. The page is made
inert (names cannot become markup, nothing is fetched) and repeatable (its random ids are numbered).
"""

from __future__ import annotations

import html
import math
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lr_retune.encoding import numbers
from lr_retune.records import Contract

if TYPE_CHECKING:
    import pyarrow as pa

SCORE = "score"
MAX_LEVELS = 1_000  # Evidently concatenates a series per level: quadratic
MAX_MAGNITUDE = 1e100  # its histograms square the range
MIN_LABELLED = 30  # rows of each side
MAX_NAME = 80  # characters of a name that the page shows
_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "&": "＆", '"': "″", "'": "′", "`": "′"})
# Awkward columns make Evidently raise any of these and lose the whole page (its issue 1480, declared intended).
_CRASHES = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)
_POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline' "
    "'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:\">"
)

LABEL = "label"
_POSITIVE = 1

Sides = tuple[Any, Any]  # reference and current values of one column
Task = Literal["binary", "regression"]


def report(
    reference: pa.Table,
    current: pa.Table,
    contract: Contract,
    reference_score: np.ndarray,
    current_score: np.ndarray,
    threshold: float,
    *,
    labels: Sides | None = None,
    task: Task = "binary",
) -> tuple[bytes, dict[str, float]]:
    """Evidently's DataDriftPreset with fixed methods: W1 for numbers and the score, Jensen-Shannon for categories.

    Behind it its classification or regression preset, where labels are given, and its data summary.

    Parameters
    ----------
    reference, current
        Sampled rows with canonical types: numbers float64, categories string.
    contract
        Names and kinds of the columns.
    reference_score, current_score
        The champion's scores, shape ``(n,)``; the page calls them ``score``.
    threshold
        Above it Evidently calls a column drifted.
    labels
        Of the reference's and the current rows, each of shape ``(n,)``; NaN: not known.

    Returns
    -------
    tuple
        The HTML page, and per column Evidently's figure; NaN for a column that had to be left out.
    """
    kinds = {c.name: c.kind for c in contract.columns}
    sides = {name: _column(reference, current, name, kind) for name, kind in kinds.items()}
    kinds[SCORE], sides[SCORE] = "number", _numeric(reference_score, current_score)
    usable = {name: pair for name, pair in sides.items() if pair is not None}
    drift, figures = _drift(usable, kinds, threshold)
    judged = {n: usable[n] for n in figures}
    quality, unjudged = _quality((reference_score, current_score), labels, task)
    summary, unsummed = _part("Data", lambda: _summary(judged, kinds)) if judged else ([], "")
    left_out = [text for name, text in inert(kinds).items() if name not in figures]
    notes = [f"Left out, since Evidently cannot compare them: {', '.join(left_out)}"] if left_out else []
    page = _rendered([*drift, *quality, *summary])
    return _finish(page, [*notes, *filter(None, (unjudged, unsummed))]), {n: figures.get(n, math.nan) for n in kinds}


# ── what Evidently can take ───────────────────────────────────────────────────────────────────────
def _column(reference: pa.Table, current: pa.Table, name: str, kind: str) -> Sides | None:
    """Both sides of a column, or None: absent, doubled, retyped, fewer than 2 values, too large, too many levels."""
    if any(table.column_names.count(name) != 1 for table in (reference, current)):
        return None
    if kind == "number":
        return _numeric(reference[name], current[name])
    return _categorical(reference[name], current[name])


def _numeric(reference: Any, current: Any) -> Sides | None:
    try:
        sides = numbers(reference), numbers(current)
    except (TypeError, ValueError):
        return None
    known = [side[~np.isnan(side)] for side in sides]
    if any(side.size < 2 or np.abs(side).max() > MAX_MAGNITUDE for side in known):
        return None
    return sides


def _categorical(reference: pa.ChunkedArray, current: pa.ChunkedArray) -> Sides | None:
    if any(str(side.type) not in ("string", "large_string") for side in (reference, current)):
        return None
    sides = reference.to_pylist(), current.to_pylist()
    if any(len(side) - side.count(None) < 2 for side in sides):
        return None
    levels = [v for v in dict.fromkeys([*sides[0], *sides[1]]) if v is not None]
    if len(levels) > MAX_LEVELS:
        return None
    shown = inert(levels)
    return [shown.get(v) for v in sides[0]], [shown.get(v) for v in sides[1]]


def inert(names: Iterable[str]) -> dict[str, str]:
    """Each name to a printable, short and still distinct text that no page can take for markup.

    >>> inert(["a", "<b>", "‹b›"])
    {'a': 'a', '<b>': '‹b›', '‹b›': '‹b› (2)'}
    """
    shown: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        text = "".join(c if c.isprintable() else "�" for c in name.translate(_LOOKALIKES))[:MAX_NAME] or "(empty)"
        number, label = 1, text
        while label in taken:
            number += 1
            label = f"{text} ({number})"
        taken.add(label)
        shown[name] = label
    return shown


# ── the parts ─────────────────────────────────────────────────────────────────────────────────────
def _part(title: str, work: Callable[[], Any]) -> tuple[list[Any], str]:
    """The widgets of one part under its title; where Evidently fails, none and a word."""
    try:
        return _titled(title, work()), ""
    except _CRASHES as error:
        return [], f"{title}: Evidently failed with {type(error).__name__}"


def _drift(
    sides: Mapping[str, Sides], kinds: Mapping[str, str], threshold: float
) -> tuple[list[Any], dict[str, float]]:
    """Widgets and figures; columns that crash Evidently are found one by one and left out."""
    if not sides:
        return [], {}
    try:
        snapshot = _compared(sides, kinds, threshold)
    except _CRASHES:
        sound = {name: pair for name, pair in sides.items() if len(sides) > 1 and _runs({name: pair}, kinds, threshold)}
        return _drift(sound if len(sound) < len(sides) else {}, kinds, threshold)
    found = snapshot.dict()["metrics"]
    values = {m["config"].get("column"): m["value"] for m in found if m["config"]["type"].endswith(":ValueDrift")}
    shown = inert(sides)
    # Evidently sums over a set, so the last bits differ between processes.
    return _titled("Drift", snapshot), {n: round(float(values[shown[n]]), 12) for n in sides if shown[n] in values}


def _runs(sides: Mapping[str, Sides], kinds: Mapping[str, str], threshold: float) -> bool:
    try:
        _compared(sides, kinds, threshold)
    except _CRASHES:
        return False
    return True


def _compared(sides: Mapping[str, Sides], kinds: Mapping[str, str], threshold: float) -> Any:
    with _quiet():
        from evidently.presets import DataDriftPreset

        preset = DataDriftPreset(
            num_method="wasserstein", cat_method="jensenshannon", num_threshold=threshold, cat_threshold=threshold
        )
        return _ran(preset, sides, kinds)


def _summary(sides: Mapping[str, Sides], kinds: Mapping[str, str]) -> Any:
    with _quiet():
        from evidently.presets import DataSummaryPreset

        return _ran(DataSummaryPreset(), sides, kinds)


def _quality(scores: Sides, labels: Sides | None, task: Task) -> tuple[list[Any], str]:
    """The model's quality on the rows of either side whose label and score are known."""
    if labels is None:
        return [], ""
    known = [~np.isnan(y) & np.isfinite(score) for y, score in zip(labels, scores, strict=True)]
    y, score = ([side[mask] for side, mask in zip(sides, known, strict=True)] for sides in (labels, scores))
    if min(map(len, y)) < MIN_LABELLED or (task == "binary" and any(len(np.unique(side)) < 2 for side in y)):
        return [], "Quality: too few rows of either side have a label"
    return _part("Quality, where labels are known", lambda: _judged((y[0], y[1]), (score[0], score[1]), task))


def _judged(y: Sides, score: Sides, task: Task) -> Any:
    with _quiet():
        from evidently import BinaryClassification, Regression
        from evidently.presets import ClassificationPreset, RegressionPreset

        if task == "regression":
            asked = {"regression": [Regression(target=LABEL, prediction=SCORE)]}
            return _ran(RegressionPreset(), {LABEL: y, SCORE: score}, {LABEL: "number", SCORE: "number"}, **asked)
        whole = y[0].astype(np.int64), y[1].astype(np.int64)
        roles = [BinaryClassification(target=LABEL, prediction_probas=SCORE, pos_label=_POSITIVE)]
        kinds = {LABEL: "category", SCORE: "number"}
        return _ran(ClassificationPreset(), {LABEL: whole, SCORE: score}, kinds, classification=roles)


def _ran(preset: Any, sides: Mapping[str, Sides], kinds: Mapping[str, str], **roles: Any) -> Any:
    """One preset on both sides."""
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report

    shown = inert(sides)
    definition = DataDefinition(
        numerical_columns=[shown[name] for name in sides if kinds[name] == "number"],
        categorical_columns=[shown[name] for name in sides if kinds[name] == "category"],
        **roles,
    )
    reference, current = (
        Dataset.from_pandas(
            pd.concat([pd.Series(pair[i], name=shown[name]) for name, pair in sides.items()], axis=1),
            data_definition=definition,
        )
        for i in (0, 1)
    )
    return Report([preset]).run(current, reference)


@contextmanager
def _quiet() -> Iterator[None]:
    os.environ.setdefault("DO_NOT_TRACK", "1")  # read at import; Evidently's telemetry otherwise phones home
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # correlations of constant columns, and what old code inside it deprecates
        yield


# ── the page ──────────────────────────────────────────────────────────────────────────────────────
def _titled(title: str, snapshot: Any) -> list[Any]:
    from evidently.legacy.renderers.html_widgets import group_widget

    return [group_widget(title=title, widgets=snapshot.to_snapshot_model().widgets)]


def _rendered(widgets: list[Any]) -> str:
    if not widgets:
        return '<!DOCTYPE html><html lang="en"><head></head><body></body></html>'
    from evidently.core.metric_types import render_widgets

    return str(render_widgets(widgets))


def _finish(page: str, notes: Iterable[str]) -> bytes:
    """Numbered ids, a policy that lets nothing be fetched, and what was left out."""
    head, body_tag, body = _numbered(page).partition("<body>")
    head = head.replace("<head>", f'<head><meta charset="UTF-8">{_POLICY}', 1)
    told = "".join(f"<p>{html.escape(note)}</p>" for note in notes)
    return f"{head}{body_tag}{told}{body}".encode("utf-8", "replace")


def _numbered(page: str) -> str:
    """Evidently's random ids (uuid7, and one for the dashboard) replaced by their order of appearance."""
    if dashboard := re.search(r"var (metric_[0-9a-f]{32}) =", page):
        page = page.replace(dashboard[1], "metric_drift")
    ids: dict[str, str] = {}
    head, tag, rest = page.partition("</head>")  # the library in the body holds none of them
    pattern = r'(?<="id": ")[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?=")'
    for found in re.findall(pattern, head):
        ids.setdefault(found, f"part-{len(ids)}")
    any_id = re.compile("|".join(map(re.escape, ids)) or r"(?!)")
    return any_id.sub(lambda match: ids[match[0]], head) + tag + rest
