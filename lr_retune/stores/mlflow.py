"""MLflow as the registry and the picture book of decisions; the only module that imports it.

MLflow is a projection: whatever stands here can be rebuilt from the ledger. Its aliases are
unconditional upserts and its registration is not idempotent, so versions are adopted by a tag and
the ledger alone decides who is champion.
"""

from __future__ import annotations

import importlib
import math
import os
import re
import sqlite3
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from functools import cached_property, partial
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from sqlalchemy.exc import SQLAlchemyError

from lr_retune.config import Config
from lr_retune.errors import DependencyError, RetuneError
from lr_retune.records import Files, TickLoss, files_digest, iso, micros, plain
from lr_retune.stores import describe
from lr_retune.stores.bundle import adopted, unpack_contract, unpack_meta, untouched
from lr_retune.stores.models import contents
from lr_retune.stores.prune import Shelved, Shown

DECISION, MODEL, DIGEST = "lr_retune.decision_id", "lr_retune.model", "lr_retune.digest"
FOLDER = "lr_retune.adopted"  # the run that keeps our folder on a version that a team registered
TRIAL, MONITOR, LAST = "lr_retune.trial", "lr_retune.monitor", "lr_retune.last_tick"
# One request: 8 s, tried twice more with short pauses; a gate that hangs looks like an outage (defaults: 7 x 120 s).
BUDGET = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "8",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
}
ADVICE = ("type hints", "input example was not provided")
CURVE_POINTS = 100
LIBRARIES = {"lightgbm": ("lightgbm",), "sgd": ("scikit-learn", "skops")}  # what a built-in family's model needs
SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


class MLflowRegistry:
    """Runs, versions and aliases of one configuration's model.

    MLflow is imported on first use. Every method raises DependencyError when MLflow is away, slow or
    refuses.
    """

    shows = True

    def __init__(self, config: Config) -> None:
        self._uri = config.tracking_uri()
        # what came from env: or file: may be a secret as a whole
        kept = config.mlflow.tracking_uri
        self._shown = kept if kept.startswith(("env:", "file:")) else self._uri
        self._root = config.root
        self._experiment_name = config.mlflow.experiment or config.name
        self._tick = config.schedule.tick
        self._aliases = config.mlflow.aliases.model_dump()

    # ── registry ──────────────────────────────────────────────────────────────────────────────────
    def find(self, name: str, decision: str) -> str | None:
        """The lowest version tagged with a decision id, or None."""
        with self._told():
            found = self._tagged(name, decision)
        return str(found[0].version) if found else None

    def register(self, name: str, record: Mapping[str, Any], files: Files) -> tuple[str, str | None]:
        """Register a model folder, or adopt the version that this decision registered before."""
        if (told := adopted(files)) is not None:
            return self._take_over(name, record["decision"]["id"], told, files)
        record, digest = plain(record), files_digest(files)
        decision = record["decision"]["id"]
        with self._told():
            for known in self._tagged(name, decision):
                if known.tags.get(DIGEST) == digest:
                    return str(known.version), known.run_id
            run = self._run(name, decision, describe.title(record), record["as_of"])
            self._upload(run, files)
            self._ensure_model(name)
            tags = {DECISION: decision, DIGEST: digest, **describe.version_tags(record, unpack_meta(files))}
            made = self._client.create_model_version(
                name,
                source=f"{run.info.artifact_uri}/model",
                run_id=run.info.run_id,
                tags=tags,
                description=describe.version(name, record, unpack_meta(files)),
                await_creation_for=20,
            )
            # Two processes may have registered the same decision at once: both go on with the lower number.
            same = [v for v in self._tagged(name, decision) if v.tags.get(DIGEST) == digest]
            first = same[0] if same else made
            return str(first.version), first.run_id

    def called(self, alias: str) -> str:
        """What ``[mlflow] aliases`` calls champion, challenger or previous; another name is what it is."""
        return str(self._aliases.get(alias, alias))

    def alias(self, name: str, alias: str) -> str | None:
        """The version that champion, challenger or previous points at, or None."""
        with self._told():
            model = self._model(name)
            return None if model is None else _text(model.aliases.get(self.called(alias)))

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Point champion, challenger or previous at a version, whatever it pointed at."""
        with self._told():
            self._client.set_registered_model_alias(name, self.called(alias), version)

    def versions(self, name: str) -> list[str]:
        """Version numbers, oldest first."""
        with self._told():
            found = self._client.search_model_versions(f"name = '{_safe(name)}'")
            return [str(n) for n in sorted(int(v.version) for v in found)]

    def download(self, name: str, version: str) -> dict[str, bytes]:
        """A version's model files; the caller checks their digest before anything is loaded."""
        with self._told(), tempfile.TemporaryDirectory(prefix="lr-retune-") as folder:
            kept = self._client.get_model_version(name, version).tags.get(FOLDER)
            if kept is None:
                uri = f"{self._client.get_model_version_download_uri(name, version)}/artifacts/model"
            else:
                uri = f"{self._client.get_run(kept).info.artifact_uri}/adopted"
            found = self._mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=self._uri)
            return {file.name: file.read_bytes() for file in sorted(Path(found).iterdir()) if file.is_file()}

    def originals(self, name: str, version: str) -> dict[str, bytes]:
        """Every file of a registered version, by relative path; no flavour of MLflow ever loads one.

        Raises
        ------
        IntegrityError
            If the download leads out of its folder.
        """
        with self._told(), tempfile.TemporaryDirectory(prefix="lr-retune-") as folder:
            uri = self._client.get_model_version_download_uri(name, version)
            found = self._mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder, tracking_uri=self._uri)
            return contents(Path(found))

    def _take_over(self, name: str, decision: str, told: Mapping[str, Any], files: Files) -> tuple[str, str | None]:
        """The version that a team registered, tagged as ours, with our folder in a run of its own."""
        version, digest = str(told["version"]), files_digest(files)
        untouched(self.originals(name, version), told, f"version {version} of {name}")
        with self._told():
            known = self._client.get_model_version(name, version).tags
            if (known.get(DIGEST), known.get(DECISION)) == (digest, decision) and FOLDER in known:
                return version, known[FOLDER]
            run = self._run(name, decision, f"adopted version {version}")
            with tempfile.TemporaryDirectory(prefix="lr-retune-") as folder:
                for file, data in files.items():
                    (Path(folder) / _safe(file)).write_bytes(data)
                self._client.log_artifacts(run.info.run_id, folder, "adopted")
            for tag, value in ((FOLDER, run.info.run_id), (DECISION, decision), (DIGEST, digest)):
                self._client.set_model_version_tag(name, version, tag, value)
            self._client.set_terminated(run.info.run_id, "FINISHED")
            return version, str(run.info.run_id)

    # ── runs ──────────────────────────────────────────────────────────────────────────────────────
    def log_decision(
        self,
        name: str,
        record: Mapping[str, Any],
        trials: Sequence[Any],
        attachments: Mapping[str, bytes | str],
        /,
    ) -> str:
        """Show one settled decision: a run, a child run per trial, pages; repeating it adds nothing."""
        shown: dict[str, Any] = plain(record)
        decision = shown["decision"]["id"]
        with self._told():
            run = self._run(name, decision, describe.title(shown), shown["as_of"])
            run_id = str(run.info.run_id)
            self._client.update_run(run_id, name=describe.title(shown))
            new = {k: v for k, v in describe.params(shown).items() if k not in run.data.params}  # params never change
            tags = {"mlflow.note.content": describe.note(name, shown), **describe.tags(shown)}
            metrics = [self._metric(key, value) for key, value in describe.metrics(shown).items()]
            self._batch(run_id, new, metrics, tags)
            self._attach(run_id, attachments)
            self._children(run, trials)
            self._client.set_terminated(run_id, "FINISHED", end_time=run.info.start_time)
        return run_id

    def log_monitor(
        self,
        name: str,
        ticks: Sequence[TickLoss],
        facts_extra: Mapping[str, float] | None = None,
        attachments: Mapping[str, bytes | str] | None = None,
        /,
    ) -> int:
        """Append tick losses newer than the last one shown to the model's monitor run; how many."""
        with self._told():
            run = self._monitor(name)
            last = run.data.tags.get(LAST, "")
            if attachments:
                self._attach(run.info.run_id, attachments)
            fresh = [t for t in ticks if t.mature and t.loss is not None and iso(t.end) > last]
            if not fresh:
                return 0
            points: list[tuple[str, TickLoss, Any]] = [("loss", t, t.loss) for t in fresh]
            points += [(key, fresh[-1], value) for key, value in sorted((facts_extra or {}).items())]
            metrics = [self._metric(key, value, *self._when(tick)) for key, tick, value in points if _finite(value)]
            self._batch(run.info.run_id, {}, metrics[-1000:], {LAST: iso(fresh[-1].end)})
            return len(fresh)

    def attach(self, name: str, run: str | None, attachments: Mapping[str, bytes | str], /) -> None:
        """Put pages beside a run; without one, under ``decisions`` of the model's monitor run."""
        with self._told():
            if run is not None:
                self._attach(run, attachments)
            else:
                self._attach(self._monitor(name).info.run_id, attachments, "decisions")

    def tell(self, name: str, rows: Sequence[Mapping[str, Any]], /) -> None:
        """Describe the monitor run by the model's newest decisions, each with the way to its page."""
        with self._told():
            home, monitor = f"#/experiments/{self._experiment}/runs", self._monitor(name).info.run_id

            def link(row: Mapping[str, Any]) -> str:
                place = f"{monitor}/artifacts/decisions/{row['page']}"
                return f"{home}/{place if row['run'] is None else str(row['run']) + '/artifacts/decision.html'}"

            self._client.set_tag(monitor, "mlflow.note.content", describe.log(name, rows, link))

    def sweep(self, name: str, final: Callable[[str], bool], /) -> list[str]:
        """Mark runs KILLED that a crash left running, where the ledger knows the decision as final."""
        with self._told():
            running = self._search(f"attributes.status = 'RUNNING' and tags.`{MODEL}` = '{_safe(name)}'")
            dead = [r for r in running if final(r.data.tags.get(DECISION, ""))]
            for run in dead:
                self._client.set_terminated(run.info.run_id, "KILLED")
        return [f"run {run.info.run_id} was left running by a crash and is marked KILLED" for run in dead]

    # ── what nobody needs any more ────────────────────────────────────────────────────────────────
    def shelf(self, name: str) -> list[Shelved]:
        """Every version with what would be lost with it."""
        with self._told():
            model = self._model(name)
            aliased = set() if model is None else {str(version) for version in model.aliases.values()}
            found = self._pages(self._client.search_model_versions, f"name = '{_safe(name)}'")
            return [
                Shelved(str(v.version), v.tags.get(DIGEST), v.run_id, str(v.version) in aliased, v.tags.get(DECISION))
                for v in sorted(found, key=lambda v: int(v.version))
            ]

    def present(self, name: str) -> set[str]:
        """Decisions that a run shows whole; a registration alone shows nothing, nor does a deleted run."""
        with self._told():
            search = partial(self._client.search_runs, [self._experiment])
            query = f"attributes.status = 'FINISHED' and tags.`{MODEL}` = '{_safe(name)}'"
            told = [run.data.tags for run in self._pages(search, query)]
            return {tags[DECISION] for tags in told if DECISION in tags and describe.OUTCOME in tags}

    def shown(self, name: str) -> list[Shown]:
        """Every run of a decision and its trials, deleted ones too that MLflow still keeps."""
        with self._told():
            query, view = f"tags.`{MODEL}` = '{_safe(name)}'", self._mlflow.entities.ViewType.ALL
            if not self._frees:
                view = self._mlflow.entities.ViewType.ACTIVE_ONLY
            search = partial(self._client.search_runs, [self._experiment], run_view_type=view)
            runs = {run.info.run_id: run for run in self._pages(search, query)}
            return [Shown(id, _decision(run, runs), _weight(run.info.artifact_uri)) for id, run in runs.items()]

    def forget(self, name: str, versions: Sequence[str], runs: Sequence[str]) -> tuple[int, list[str]]:
        """Delete versions, then runs with their files; returns bytes freed and what is left to others."""
        with self._told():
            before = self._size()
            for version in versions:
                self._client.delete_model_version(name, version)
            for run_id in runs:
                self._forget(run_id)
            if runs and self._database is not None:
                with closing(sqlite3.connect(self._database, timeout=20, isolation_level=None)) as connection:
                    connection.execute("VACUUM")
            if self._frees or not runs:
                return max(0, before - self._size()), []
        return 0, [f"MLflow keeps {len(runs)} deleted runs until `mlflow gc` is run beside the server at {self._shown}"]

    def _forget(self, run_id: str) -> None:
        """What `mlflow gc` does, for one run: the command itself also wipes deleted experiments of anybody."""
        run = self._client.get_run(run_id)
        if run.info.lifecycle_stage == "active":
            self._client.delete_run(run_id)
        if self._frees:
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            get_artifact_repository(run.info.artifact_uri).delete_artifacts()  # type: ignore[no-untyped-call]
            if (place := _local(run.info.artifact_uri)) is not None and place.parent.name == run_id:
                with suppress(OSError):  # absent, or somebody put a file of his own there
                    place.parent.rmdir()
            self._client._tracking_client.store._hard_delete_run(run_id)

    @cached_property
    def _frees(self) -> bool:
        """Whether this process reaches MLflow's database itself, without a server before it."""
        return hasattr(self._client._tracking_client.store, "_hard_delete_run")

    def _size(self) -> int:
        if self._database is None:
            return 0
        return self._database.stat().st_size

    @staticmethod
    def _pages(search: Callable[..., Any], query: str) -> list[Any]:
        found, token = [], None
        while True:
            page = search(filter_string=query, max_results=1000, page_token=token)
            found += list(page)
            if not (token := page.token):
                return found

    # ── inside ────────────────────────────────────────────────────────────────────────────────────
    @cached_property
    def _mlflow(self) -> Any:
        for name, value in BUDGET.items():
            os.environ.setdefault(name, value)
        # else MLflow prints each run's URL, with the password of a tracking URI, on the stdout that --json owns
        os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
        import mlflow.artifacts
        import mlflow.entities
        import mlflow.exceptions

        return mlflow

    @cached_property
    def _pyfunc(self) -> Any:
        """MLflow's models part, another second of import: paid by registrations only."""
        with warnings.catch_warnings():  # its own classes trip over its advice on type hints
            warnings.filterwarnings("ignore", message=".*type hint is inferred as AnyType", category=UserWarning)
            for name in ("mlflow.models", "mlflow.pyfunc", "mlflow.types"):
                importlib.import_module(name)
        return self._mlflow

    @cached_property
    def _client(self) -> Any:
        if self._database is not None:
            _knock(self._database)  # MLflow itself would try for minutes
        return self._mlflow.MlflowClient(self._uri, self._uri)

    @property
    def _database(self) -> Path | None:
        """The file of an embedded store."""
        head, _, path = self._uri.partition(":///")
        return Path(path) if head.startswith("sqlite") and path else None

    @property
    def _folder(self) -> Path:
        """Where an embedded store's files lie: beside its database, else beside the configuration."""
        return self._root.resolve() if self._database is None else self._database.parent

    @cached_property
    def _experiment(self) -> str:
        client, name = self._client, self._experiment_name
        found = client.get_experiment_by_name(name)
        if found is None:
            # MLflow's own default is the folder that a command happens to run in.
            served = self._uri.startswith(("http:", "https:", "databricks"))
            place = None if served else (self._folder / "mlartifacts").as_uri()
            try:
                return str(client.create_experiment(name, artifact_location=place))
            except self._mlflow.exceptions.MlflowException:
                found = client.get_experiment_by_name(name)  # another process was first
                if found is None:
                    raise
        return str(found.experiment_id)

    def _search(self, query: str) -> list[Any]:
        found = self._client.search_runs(
            [self._experiment], query, max_results=1000, order_by=["attributes.start_time ASC"]
        )
        return list(found)

    def _run(self, name: str, decision: str, title: str, as_of: str | None = None) -> Any:
        """The decision's run, adopted if it exists; it stands at its decision's time, also where it is made again."""
        found = self._search(f"tags.`{DECISION}` = '{_safe(decision)}'")
        if found:
            return found[0]
        tags = {DECISION: decision, MODEL: name}
        start = None if as_of is None else micros(datetime.fromisoformat(as_of)) // 1000
        return self._client.create_run(self._experiment, start_time=start, tags=tags, run_name=title)

    def _monitor(self, name: str) -> Any:
        found = self._search(f"tags.`{MONITOR}` = '{_safe(name)}'")
        if found:
            return found[0]
        run = self._client.create_run(self._experiment, tags={MONITOR: name}, run_name=f"{name} monitor")
        self._client.set_terminated(run.info.run_id, "FINISHED")  # it takes metrics all the same
        return run

    def _children(self, parent: Any, trials: Sequence[Any]) -> None:
        """One run per trial; those that stand there are left, those half written are written again."""
        parent_id = parent.info.run_id
        known = {r.data.tags.get(TRIAL): r.info for r in self._search(f"tags.`mlflow.parentRunId` = '{parent_id}'")}
        for number, trial in enumerate(plain(list(trials))):
            info = known.get(str(number))
            if info is not None and info.status != "RUNNING":
                continue
            if info is None:
                tags = {"mlflow.parentRunId": parent_id, TRIAL: str(number)}
                tags |= {key: parent.data.tags[key] for key in (MODEL,) if key in parent.data.tags}
                start, title = parent.info.start_time + number, describe.trial_title(trial)  # in their order
                info = self._client.create_run(self._experiment, start_time=start, tags=tags, run_name=title).info
            curve = [self._metric("valid_loss", loss, step) for step, loss in _thinned(trial["curve"])]
            told = [self._metric(key, value) for key, value in describe.trial_metrics(trial).items()]
            self._batch(info.run_id, describe.trial_params(trial), told + curve, {})
            good = trial["state"] in ("complete", "pruned")
            self._client.set_terminated(info.run_id, "FINISHED" if good else "FAILED", end_time=info.start_time)

    def _batch(self, run_id: str, params: Mapping[str, str], metrics: Sequence[Any], tags: Mapping[str, str]) -> None:
        entities = self._mlflow.entities
        self._client.log_batch(
            run_id,
            metrics=metrics,
            params=[entities.Param(key, value) for key, value in params.items()],
            tags=[entities.RunTag(key, value) for key, value in tags.items()],
        )

    def _metric(self, key: str, value: float, step: int = 0, timestamp: int = 0) -> Any:
        return self._mlflow.entities.Metric(key, float(value), timestamp, step)

    def _when(self, tick: TickLoss) -> tuple[int, int]:
        """Step and time stamp; the middle of a tick has its own ordinal even where clocks change."""
        length = int(self._tick.total_seconds() * 1_000_000)
        middle = (micros(tick.start) + micros(tick.end)) // 2
        return middle // length, micros(tick.end) // 1000

    def _attach(self, run_id: str, attachments: Mapping[str, bytes | str], place: str | None = None) -> None:
        with tempfile.TemporaryDirectory(prefix="lr-retune-") as folder:
            for name, content in sorted(attachments.items()):
                data = content.encode() if isinstance(content, str) else content
                (Path(folder) / _safe(name)).write_bytes(data)
            self._client.log_artifacts(run_id, folder, place)

    def _tagged(self, name: str, decision: str) -> list[Any]:
        query = f"name = '{_safe(name)}' and tags.`{DECISION}` = '{_safe(decision)}'"
        return sorted(self._client.search_model_versions(query), key=lambda v: int(v.version))

    def _model(self, name: str) -> Any:
        try:
            return self._client.get_registered_model(name)
        except self._mlflow.exceptions.MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise

    def _ensure_model(self, name: str) -> None:
        try:
            self._client.create_registered_model(name, description=describe.model(name, self.called("champion")))
        except self._mlflow.exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    def _upload(self, run: Any, files: Files) -> None:
        """The model folder as a pyfunc model from code: no pickle anywhere."""
        with tempfile.TemporaryDirectory(prefix="lr-retune-") as folder:
            model, out = Path(folder) / "model", Path(folder) / "out"
            model.mkdir()
            for name, data in files.items():
                (model / _safe(name)).write_bytes(data)
            pyfunc = self._pyfunc.pyfunc
            with _without_advice():
                pyfunc.save_model(
                    out,
                    python_model=str(Path(__file__).with_name("served.py")),
                    artifacts={"model": str(model)},
                    signature=self._signature(files),
                    pip_requirements=_requirements(files),
                )
            self._client.log_artifacts(run.info.run_id, str(out), "model")

    def _signature(self, files: Files) -> Any:
        kinds = {"number": "double", "category": "string"}
        types, models = self._pyfunc.types, self._pyfunc.models
        columns, meta = unpack_contract(files).columns, unpack_meta(files)
        raw = {c.name: str(c.kind) for c in columns if c.name not in meta.get("outputs", {})} | meta.get("inputs", {})
        inputs = [types.ColSpec(kinds[kind], name, required=False) for name, kind in raw.items()]
        return models.ModelSignature(types.Schema(inputs), types.Schema([types.ColSpec("double")]))

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except RetuneError:
            raise
        except self._failures() as error:
            hidden = self._shown != self._uri  # a message may quote any part of the URI
            why = type(error).__name__ if hidden else str(error).splitlines()[0][:300]
            raise DependencyError(
                f"MLflow at {self._shown} does not answer as it should",
                why=why,
                fix="start it or mend [mlflow] tracking_uri; then `lr-retune reconcile` catches up from the ledger",
            ) from error

    def _failures(self) -> tuple[type[Exception], ...]:
        # requests' exceptions are OSErrors
        return (self._mlflow.exceptions.MlflowException, SQLAlchemyError, sqlite3.Error, OSError)


@contextmanager
def _without_advice() -> Iterator[None]:
    """Swallow MLflow's two hints on where a signature may come from: it is given, from the contract.

    Filters alone would not do: MLflow puts one of its own before them.
    """
    with warnings.catch_warnings(record=True) as heard:
        for hint in ADVICE:
            warnings.filterwarnings("ignore", message=f".*{hint}", category=UserWarning)
        yield
    for warning in heard:
        if not any(hint in str(warning.message) for hint in ADVICE):
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


def _knock(database: Path) -> None:
    """Raise sqlite3.Error quickly where MLflow would retry its start for minutes."""
    database.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(database, timeout=5, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")


def _requirements(files: Files) -> list[str]:
    meta = unpack_meta(files)
    wanted = ("mlflow", "numpy", "pandas", *LIBRARIES.get(meta["family"], ()))
    return [*(f"{name}=={installed(name)}" for name in wanted), *meta.get("packages", ())]


def _thinned(curve: Sequence[float | None]) -> list[tuple[int, float]]:
    """At most CURVE_POINTS points of a curve, its last among them; step counts from 1."""
    stride = max(1, math.ceil(len(curve) / CURVE_POINTS))
    kept = [(len(curve) - i, curve[len(curve) - 1 - i]) for i in range(0, len(curve), stride)]
    return [(step, loss) for step, loss in reversed(kept) if loss is not None and _finite(loss)]


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)  # MLflow ranks +inf first


def _safe(name: str) -> str:
    if not SAFE.fullmatch(name):
        raise DependencyError(
            f"{name[:80]!r} cannot stand in an MLflow query or path", fix="use letters, digits and . _ -"
        )
    return name


def _decision(run: Any, runs: Mapping[str, Any]) -> str | None:
    """The decision that a run, or the parent of a trial's run, shows."""
    parent = runs.get(run.data.tags.get("mlflow.parentRunId", ""), run)
    return _text(parent.data.tags.get(DECISION))


def _local(uri: str) -> Path | None:
    parts = urlsplit(uri)
    return Path(url2pathname(parts.path)) if parts.scheme in ("", "file") else None


def _weight(uri: str) -> int:
    """Bytes of a run's files, where they lie on this machine."""
    place = _local(uri)
    if place is None or not place.is_dir():
        return 0
    return sum(file.lstat().st_size for file in place.rglob("*") if file.is_file())


def _text(version: Any) -> str | None:
    return None if version is None else str(version)
