"""What a native file that another team made says of itself: features, levels, rate, steps; nothing is unpickled."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lr_retune.encoding import level
from lr_retune.errors import DataError, IntegrityError
from lr_retune.families.lightgbm_params import BINARY, REGRESSION
from lr_retune.records import Files

TEXTS = ("model.lgb", "model.txt")  # MLflow's lightgbm flavour, now and before
SKOPS = "model.skops"
_PARAMETER = re.compile(r"^\[([a-z_0-9]+): (.*)\]$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Foreign:
    """One model that somebody else trained, as its file tells it."""

    family: str
    files: Files  # as our own loader wants them
    names: tuple[str, ...]  # features in the model's order; empty: it knows only how many
    count: int  # features
    learning_rate: float
    schedule: str
    steps: int
    task: str
    levels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # category feature → levels by code


class CannotLoad(Exception):
    """Why none of our own loaders may read these files."""


def read(originals: Files) -> Foreign:
    """The model in a registered folder, if exactly one native file at its top is all that answers.

    Parameters
    ----------
    originals
        Relative path → content of every file of the registered version.

    Raises
    ------
    CannotLoad
        For a pickle, code, an unknown format, or types outside our allowlist.
    IntegrityError, DataError
        For a native file that is torn, or a model of another kind of task.
    """
    if odd := sorted(name for name, data in originals.items() if executes(name, data)):
        raise CannotLoad(f"{odd[0]} is a pickle or code, and reading it would run it")
    native = [name for name in originals if name in (*TEXTS, SKOPS)]
    if len(native) != 1:
        raise CannotLoad(f"there is no single native model file ({', '.join((*TEXTS, SKOPS))}) among {len(originals)}")
    if native[0] == SKOPS:
        from lr_retune.families.sgd_foreign import read_skops

        return read_skops(originals[SKOPS])
    return read_text(originals[native[0]])


def executes(name: str, data: bytes) -> bool:
    """Whether loading a file would run what stands in it; told by its content, names only add to it."""
    suffix = name.rpartition(".")[2].lower()
    named = suffix in ("pkl", "pickle", "joblib", "dill", "cloudpickle", "py", "pyc", "so", "npy", "pt", "pth", "bin")
    packed = data.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"x\x9c", b"x\xda", b"x\x01"))
    return named or packed or (data[:1] == b"\x80" and data[1:2] in b"\x01\x02\x03\x04\x05")


def read_text(text: bytes) -> Foreign:
    """A LightGBM text model, read as text; LightGBM's own parser has not seen it yet.

    Raises
    ------
    IntegrityError
        If it is torn.
    DataError
        If its objective or its number of classes is none of ours.
    """
    try:
        whole = text.decode()
    except UnicodeDecodeError as error:
        raise IntegrityError("the LightGBM text holds bytes that are no text", why=str(error)) from None
    if not whole.startswith("tree\n") or "\nend of parameters\n" not in whole:
        raise IntegrityError("the LightGBM text is torn or none", fix="register the model anew")
    header = dict(line.split("=", 1) for line in whole.split("\n\n", 1)[0].splitlines() if "=" in line)
    given = dict(_PARAMETER.findall(whole[whole.index("\nparameters:\n") :] if "\nparameters:\n" in whole else ""))
    try:
        names = tuple(header["feature_names"].split(" "))
        infos = header["feature_infos"].split(" ")
        rate, trees = float(given["learning_rate"]), len(header["tree_sizes"].split())
        odd = {int(header["max_feature_idx"]) + 1, len(infos)} != {len(names)}
    except (KeyError, ValueError) as error:
        raise IntegrityError("the LightGBM text lacks what it should tell", why=str(error)) from None
    if odd:
        raise IntegrityError(f"the LightGBM text names {len(names)} features and describes {len(infos)}")
    objective = header.get("objective", "").split(" ")[0]
    if header.get("num_class") != "1" or objective not in BINARY | REGRESSION:
        raise DataError(
            f"the model's objective is {objective or 'none'} with {header.get('num_class')} classes",
            why="scores of a binary task are probabilities of class 1, of a regression values",
            fix="name the column of its logged scores with --scores",
        )
    task = "binary" if objective in BINARY else "regression"
    marked = [int(i) for i in given.get("categorical_feature", "").split(",") if i.strip().isdigit()]
    levels = _levels(whole, [names[i] for i in marked if i < len(names)])
    return Foreign("lightgbm", {"model.txt": text}, names, len(names), rate, "constant", trees, task, levels)


def _levels(text: str, categories: list[str]) -> dict[str, tuple[str, ...]]:
    """Levels of pandas' categories, by code; without that line codes are what the feed holds."""
    line = next((row for row in reversed(text.splitlines()) if row.startswith("pandas_categorical:")), "")
    try:
        found = json.loads(line.partition(":")[2] or "null") or []
        lists = [tuple(str(level(value)) for value in each) for each in found]
    except (ValueError, TypeError) as error:
        raise IntegrityError("the LightGBM text's categories cannot be read", why=str(error)) from None
    if lists and len(lists) != len(categories):
        raise IntegrityError(f"the LightGBM text has {len(lists)} lists of levels for {len(categories)} categories")
    levels = dict(zip(categories, lists, strict=False))
    for name, each in levels.items():
        if len(set(each)) != len(each):
            raise DataError(f"two levels of {name!r} are the same text", fix="name logged scores with --scores")
    return levels
