"""Evidently's drift page and figures, on a bounded sample: the only home of evidently and pandas.

What Evidently cannot take (see `_column`) is left out beforehand and named. The page is made inert (names cannot
become markup, nothing is fetched) and repeatable (its random ids are numbered).
"""

from __future__ import annotations

import html
import math
import os
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lr_retune.encoding import numbers
from lr_retune.records import Contract

if TYPE_CHECKING:
    import pyarrow as pa

SCORE = "score"
MAX_LEVELS = 1_000  # Evidently concatenates a series per level: quadratic
MAX_MAGNITUDE = 1e100  # its histograms square the range
MAX_NAME = 80  # characters of a name that the page shows
_LOOKALIKES = str.maketrans({"<": "‹", ">": "›", "&": "＆", '"': "″", "'": "′", "`": "′"})
# Awkward columns make Evidently raise any of these and lose the whole page (its issue 1480, declared intended).
_CRASHES = (ArithmeticError, AttributeError, LookupError, MemoryError, TypeError, ValueError)
_POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; script-src 'unsafe-inline' "
    "'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; font-src data:\">"
)

Sides = tuple[Any, Any]  # reference and current values of one column


def report(
    reference: pa.Table,
    current: pa.Table,
    contract: Contract,
    reference_score: np.ndarray,
    current_score: np.ndarray,
    threshold: float,
) -> tuple[bytes, dict[str, float]]:
    """Evidently's DataDriftPreset with fixed methods: W1 for numbers and the score, Jensen-Shannon for categories.

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

    Returns
    -------
    tuple
        The HTML page, and per column Evidently's figure; NaN for a column that had to be left out.
    """
    kinds = {c.name: c.kind for c in contract.columns}
    sides = {name: _column(reference, current, name, kind) for name, kind in kinds.items()}
    kinds[SCORE], sides[SCORE] = "number", _numeric(reference_score, current_score)
    usable = {name: pair for name, pair in sides.items() if pair is not None}
    page, figures = _run(usable, kinds, threshold)
    return _finish(page, kinds, figures), {name: figures.get(name, math.nan) for name in kinds}


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


# ── the run ───────────────────────────────────────────────────────────────────────────────────────
def _run(sides: Mapping[str, Sides], kinds: Mapping[str, str], threshold: float) -> tuple[str, dict[str, float]]:
    """The page and the figures; columns that crash Evidently are found one by one and left out."""
    if not sides:
        return '<!DOCTYPE html><html lang="en"><head></head><body></body></html>', {}
    try:
        return _evidently(sides, kinds, threshold)
    except _CRASHES:
        sound = {name: pair for name, pair in sides.items() if len(sides) > 1 and _runs({name: pair}, kinds, threshold)}
        return _run(sound if len(sound) < len(sides) else {}, kinds, threshold)


def _runs(sides: Mapping[str, Sides], kinds: Mapping[str, str], threshold: float) -> bool:
    try:
        _evidently(sides, kinds, threshold)
    except _CRASHES:
        return False
    return True


def _evidently(sides: Mapping[str, Sides], kinds: Mapping[str, str], threshold: float) -> tuple[str, dict[str, float]]:
    os.environ.setdefault("DO_NOT_TRACK", "1")  # read at import; Evidently's telemetry otherwise phones home
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # correlations of constant columns, and what old code inside it deprecates
        import pandas as pd
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        shown = inert(sides)
        definition = DataDefinition(
            numerical_columns=[shown[name] for name in sides if kinds[name] == "number"],
            categorical_columns=[shown[name] for name in sides if kinds[name] == "category"],
        )
        reference, current = (
            Dataset.from_pandas(
                pd.concat([pd.Series(pair[i], name=shown[name]) for name, pair in sides.items()], axis=1),
                data_definition=definition,
            )
            for i in (0, 1)
        )
        preset = DataDriftPreset(
            num_method="wasserstein",
            cat_method="jensenshannon",
            num_threshold=threshold,
            cat_threshold=threshold,
        )
        snapshot = Report([preset]).run(current, reference)
        page, found = snapshot.get_html_str(as_iframe=False), snapshot.dict()["metrics"]
    values = {m["config"].get("column"): m["value"] for m in found if m["config"]["type"].endswith(":ValueDrift")}
    # Evidently sums over a set, so the last bits differ between processes.
    return page, {name: round(float(values[shown[name]]), 12) for name in sides if shown[name] in values}


# ── the page ──────────────────────────────────────────────────────────────────────────────────────
def _finish(page: str, kinds: Mapping[str, str], figures: Mapping[str, float]) -> bytes:
    """Numbered ids, a policy that lets nothing be fetched, and the columns that were left out."""
    head, body_tag, body = _numbered(page).partition("<body>")
    head = head.replace("<head>", f'<head><meta charset="UTF-8">{_POLICY}', 1)
    left_out = [text for name, text in inert(kinds).items() if name not in figures]
    note = f"Left out, since Evidently cannot compare them: {html.escape(', '.join(left_out))}" if left_out else ""
    return f"{head}{body_tag}<p>{note}</p>{body}".encode("utf-8", "replace")


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
