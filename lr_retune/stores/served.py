"""The served model: MLflow runs this file on a box that need not have lr-retune installed.

It reads a model folder (see `bundle.pack`) and encodes rows by the copy of encoding.py that lies in
it, so a served answer is computed by the code that the judge used.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

with warnings.catch_warnings():  # MLflow's own classes trip over its advice on type hints
    warnings.filterwarnings("ignore", message=".*type hint is inferred as AnyType", category=UserWarning)
    import mlflow.models
    import mlflow.pyfunc


def _lightgbm(files: Files) -> Any:
    import lightgbm

    # The text is passed, not the path: LightGBM reads paths in the locale's encoding.
    booster = lightgbm.Booster(model_str=files["model.txt"].decode())
    return lambda x: booster.predict(x, num_threads=1)


Files = dict[str, bytes]
PART = re.compile(r"part(\d+)\.")
TRUSTED = ["numpy.clip", "numpy.dtype"]  # the same list as in families/sgd_files.py; nothing else is read


def _sgd(files: Files) -> Any:
    import skops.io

    pipeline = skops.io.loads(files["model.skops"], trusted=TRUSTED)
    if hasattr(pipeline, "predict_proba"):
        return lambda x: pipeline.predict_proba(x)[:, 1]
    return pipeline.predict


def _foreign(name: str, files: Files) -> Any:
    """A family of another package, which the model's requirements name."""
    for point in importlib.metadata.entry_points(group="lr_retune.families", name=name):
        return point.load()({}, 1).load(files).predict
    raise ImportError(f"no package brings the model family {name!r}: install what the model's requirements name")


FAMILIES = {"lightgbm": _lightgbm, "sgd": _sgd}


def _encoding(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("lr_retune_encoding", folder / "encoding.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(folder / "encoding.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _feature_code(name: str | None, meta: dict[str, Any]) -> Any:
    """A team's own transform, from the package that the model's requirements name."""
    if name is None:
        return None
    for point in importlib.metadata.entry_points(group="lr_retune.transforms", name=name):
        return point.load()
    brought = ", ".join(meta.get("packages", [])) or "its package"
    raise ImportError(f"this model derives features by {name!r}: install {brought}")


def _scorer(folder: Path, family: str) -> Any:
    """What gives scores: one model, or the mean of several whose files are numbered (`part0.model.txt`)."""
    one: Any = FAMILIES.get(family, partial(_foreign, family))
    own = [path for path in folder.iterdir() if path.is_file()]
    numbers = sorted({int(found[1]) for path in own if (found := PART.match(path.name))})
    if not numbers:
        return one({path.name: path.read_bytes() for path in own})
    parts = [
        one(
            {
                path.name.removeprefix(f"part{n}."): path.read_bytes()
                for path in own
                if path.name.startswith(f"part{n}.")
            }
        )
        for n in numbers
    ]
    return lambda x: sum((part(x) for part in parts[1:]), start=parts[0](x)) / len(parts)


class Served(mlflow.pyfunc.PythonModel):  # type: ignore[misc, name-defined, unused-ignore]
    """Raw rows in, scores out."""

    def load_context(self, context: Any) -> None:
        """Read the folder that was logged as the artifact ``model``."""
        folder = Path(context.artifacts["model"])
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        contract = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
        self._features, self._inputs = contract["columns"], meta.get("inputs", {})
        self._transform = _feature_code(contract.get("transform"), meta)
        self._encoding = _encoding(folder)
        self._score = _scorer(folder, meta["family"])

    # MLflow reads type hints of `predict` as a schema; the explicit signature is the schema here.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002
        """Scores, shape ``(n_rows,)`` float64; a column that is absent counts as missing."""
        empty = [None] * len(model_input)
        columns = {f["name"]: model_input.get(f["name"], empty) for f in self._features}
        if self._transform is not None:
            given = {name: model_input.get(name, empty) for name in self._inputs}
            columns |= self._encoding.derive(self._encoding.raw(given, self._inputs), self._transform)
        x = self._encoding.matrix(columns, self._features)
        if not len(x):  # scikit-learn takes no rows for a mistake
            return np.empty(0)
        return np.asarray(self._score(x), dtype=np.float64)


mlflow.models.set_model(Served())
