"""Model files are never trusted: what the source may not do, and what files do that somebody laid there."""

from __future__ import annotations

import ast
import io
import os
import pickle  # noqa: TID251 - what an attacker lays there
import shutil
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lr_retune
from lr_retune.config import load_config
from lr_retune.errors import IntegrityError
from lr_retune.families.foreign import CannotLoad, read
from lr_retune.families.sgd_bounds import MOST_BYTES
from lr_retune.families.sgd_files import dumps, loads
from lr_retune.stores.models import contents
from lr_retune.stores.promotion import Stores
from tests.conftest import Answer
from tests.worlds import day

Cli = Callable[..., Answer]
HOUSE = Path(lr_retune.__file__).parent
SOURCES = sorted([*HOUSE.rglob("*.py"), *HOUSE.parent.joinpath("pipelines").rglob("*.py")])
TREES = {os.path.relpath(path, HOUSE): ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}

# ── what the source says ──────────────────────────────────────────────────────────────────────────
RUNS_WHAT_IT_READS = {"pickle", "cloudpickle", "dill", "shelve", "marshal", "torch", "_pickle", "jsonpickle"}
NEVER = {"eval", "exec", "compile", "__import__", "read_pickle", "unpickle", "load_npz"}
READERS = {  # the only calls that make a model of bytes
    "families/lightgbm.py": Counter(
        {
            "lgb.Booster(model_str=text.decode())": 1,
            "lgb.Booster(self._params | {'learning_rate': learning_rate}, self._train)": 1,  # a fit
        }
    ),
    "families/sgd_files.py": Counter({"skops.io.loads(data, trusted=TRUSTED)": 1}),
    "stores/served.py": Counter(
        {
            "lightgbm.Booster(model_str=files['model.txt'].decode())": 1,
            "skops.io.loads(files['model.skops'], trusted=TRUSTED)": 1,
        }
    ),
}
# Every place that asks for a model, and where its files come from: a store that held them against their digest.
ASKED = {
    "replay/walk.py: stores.files(champion)",
    "replay/oracle.py: world.cache.models.get(digest)",
    "hindsight.py: stores.files(it)",
    "contenders.py: files",  # of stores.files(champion) or stores.models.get(…)
    "probation.py: stores.files(champion)",
    "steps/files.py: judged(files)",  # part of a checked folder: the model as it was judged
    "steps/refitting.py: before",  # stores.models.get(…) of the model that a refit starts from
    "steps/files.py: stores.models.get(candidate.model)",
    "steps/files.py: files",  # of stores.files(champion), or of `reproduces`, whose callers the test on rollback holds
    "adopt.py: bare",  # of a foreign file, after a child process survived it
}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Dotted name → call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def dangers(tree: ast.AST) -> list[str]:
    """What of a file would run, or trust, what stands in a model file."""
    found = [name for name in imported(tree) if name.split(".")[0] in RUNS_WHAT_IT_READS]
    found += [name for name in imported(tree) if name in ("joblib.load", "numpy.load", "mlflow.pyfunc.load_model")]
    for name, call in calls(tree):
        last, keys = name.rpartition(".")[2], {key.arg for key in call.keywords}
        if name in NEVER or last in NEVER - {"compile"} or "allow_pickle" in keys:
            found.append(ast.unparse(call))
        if "." in name and name != "steps.load_model" and last == "load_model":
            found.append(ast.unparse(call))
        if name in ("np.load", "numpy.load", "joblib.load", "yaml.load") or "model_file" in keys:
            found.append(ast.unparse(call))
    return found


@pytest.mark.fault("G1", "G3")
def test_nothing_in_the_source_runs_what_it_reads() -> None:
    assert len(TREES) > 100
    assert {place: told for place, tree in TREES.items() if (told := dangers(tree))} == {}


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from cloudpickle import loads",
        "from joblib import load",
        "mlflow.pyfunc.load_model(uri)",
        "self._mlflow.lightgbm.load_model(uri)",
        "np.load(file, allow_pickle=True)",
        "np.load(file)",
        "pd.read_pickle(path)",
        "exec(text)",
        "lgb.Booster(model_file=path)",
        "yaml.load(text)",
    ],
)
def test_the_search_would_find_it(line: str) -> None:
    assert dangers(ast.parse(f"def f():\n    {line}\n"))


def test_models_are_read_in_three_places_and_by_one_allowlist() -> None:
    found: dict[str, Counter[str]] = {}
    for place, tree in TREES.items():
        for name, call in calls(tree):
            if (name.startswith("skops.") and not name.endswith("dumps")) or name.endswith(".Booster"):
                found.setdefault(place, Counter())[ast.unparse(call)] += 1
    assert found == READERS


def test_whoever_asks_for_a_model_got_its_files_from_a_store_that_checked_them() -> None:
    found = {
        f"{place}: {ast.unparse(call.args[2])}"
        for place, tree in TREES.items()
        for name, call in calls(tree)
        if name.rpartition(".")[2] == "load_model" and len(call.args) > 2
    }
    assert found == ASKED


# ── what is laid into a model folder ──────────────────────────────────────────────────────────────
class Unsafe:
    """Leaves a mark wherever it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.mark,)


def swapped(folder: Path, home: Path) -> None:
    model = folder / "model.txt"
    model.write_bytes(model.read_bytes().replace(b"leaf_value=", b"leaf_value=9", 1))


def torn(folder: Path, home: Path) -> None:
    (folder / "model.txt").write_bytes(b"tree\nversion=v4\n\nend of parameters\n")  # LightGBM would end the process


def pickled(folder: Path, home: Path) -> None:
    (folder / "model.txt").write_bytes(pickle.dumps(Unsafe(home / "ran")))


def added(folder: Path, home: Path) -> None:
    (folder / "model.pkl").write_bytes(pickle.dumps(Unsafe(home / "ran")))


def linked(folder: Path, home: Path) -> None:
    (folder / "model.txt").rename(home / "elsewhere.txt")
    (folder / "model.txt").symlink_to(home / "elsewhere.txt")


def code(folder: Path, home: Path) -> None:
    (folder / "encoding.py").write_text(f"import os\nos.mkdir({str(home / 'ran')!r})\n", encoding="utf-8")


@pytest.mark.fault("G1", "G2", "G3")
@pytest.mark.parametrize("change", [swapped, torn, pickled, added, linked, code])
def test_a_touched_folder_is_refused_by_every_command_that_would_read_it(
    home: Path, cli: Cli, change: Callable[[Path, Path], None]
) -> None:
    stores = Stores.open(load_config(home / "retune.toml"))
    champion = stores.champion(day(158))
    change(home / "lr_retune_models" / champion.model, home)
    later = ("--as-of", day(158).isoformat())
    for words in (("watch", *later), ("run", *later), ("gate", "--version", str(champion.version), *later)):
        told = cli(*words)
        assert told.code == 6, (words, told.err)
        assert any(why in told.out + told.err for why in ("was changed, added or lost", "no plain file", "holds other"))
    assert stores.registry.alias("demo", "champion") == champion.version
    assert not (home / "ran").exists()


@pytest.mark.fault("G1", "H4")
@pytest.mark.parametrize("change", [swapped, torn, pickled, code])
def test_no_rollback_leads_to_a_touched_folder(home: Path, cli: Cli, change: Callable[[Path, Path], None]) -> None:
    stores = Stores.open(load_config(home / "retune.toml"))
    [old] = stores.earlier()
    change(home / "lr_retune_models" / old.model, home)
    back = ("rollback", "--reason", "as a test", "--as-of", day(110).isoformat())
    assert cli(*back, "--to", str(old.version)).code == 6
    told = cli(*back)
    assert told.code == 10
    assert "no earlier champion to go back to" in told.err
    assert stores.registry.alias("demo", "champion") == "2"
    assert not (home / "ran").exists()


@pytest.mark.fault("G1")
def test_a_registered_copy_is_held_against_the_ledger_where_it_is_fetched(home: Path, cli: Cli) -> None:
    stores = Stores.open(load_config(home / "retune.toml"))
    champion = stores.champion(day(158))
    shutil.rmtree(home / "lr_retune_models" / champion.model)
    place = stores.registry._client.get_model_version_download_uri("demo", champion.version).removeprefix("file://")
    file = Path(place, "artifacts", "model", "model.txt")  # in the folder that this one was copied from
    content = file.read_bytes()
    try:
        pickled(file.parent, home)
        told = cli("watch", "--as-of", day(158).isoformat())
        assert (told.code, "nothing of it was loaded" in told.err) == (6, True)
    finally:
        file.write_bytes(content)
    assert not (home / "ran").exists()
    assert cli("watch", "--as-of", day(158).isoformat()).code == 0


# ── what a team registered ────────────────────────────────────────────────────────────────────────
@pytest.mark.fault("G4")
@pytest.mark.parametrize("name", ["a\\b", "C:x", "%2e%2e", "x\n", "a\x7f"])
def test_a_name_that_may_lead_elsewhere_on_some_system_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(IntegrityError, match="no path for a model file"):
        contents(tmp_path)


@pytest.mark.fault("G4")
@pytest.mark.parametrize("kind", ["file", "folder", "pipe"])
def test_links_and_devices_among_registered_files_are_refused(tmp_path: Path, kind: str) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    (out / "secret").write_bytes(b"secret")
    if kind == "pipe":
        os.mkfifo(folder / "model.txt")
    else:
        (folder / "model.txt").symlink_to(out / "secret" if kind == "file" else out)
    with pytest.raises(IntegrityError, match="no plain file"):
        contents(folder)


@pytest.mark.fault("G3")
@given(data=st.binary(max_size=300), name=st.sampled_from(["model.txt", "model.lgb", "model.skops", "model.pkl"]))
def test_whatever_bytes_are_registered_they_are_refused_with_words(data: bytes, name: str) -> None:
    with pytest.raises((CannotLoad, IntegrityError)):
        read({name: data})


@pytest.mark.fault("G1", "G3")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("name", ["model.txt", "model.lgb", "model.skops", "notes.txt"])
def test_a_pickle_under_any_name_and_protocol_is_never_read(tmp_path: Path, name: str, protocol: int) -> None:
    with pytest.raises((CannotLoad, IntegrityError)):
        read({name: pickle.dumps(Unsafe(tmp_path / "ran"), protocol)})
    assert not (tmp_path / "ran").exists()


# ── archives that would grow ──────────────────────────────────────────────────────────────────────
NOISE = 0x0A0B0C  # bytes; a number that stands nowhere else in an archive


@pytest.fixture(scope="module")
def pipeline() -> bytes:
    from sklearn.linear_model import SGDRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x = np.random.default_rng(0).normal(size=(50, 3))
    return dumps(make_pipeline(StandardScaler(), SGDRegressor(random_state=0)).fit(x, x[:, 0]))


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(files: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def header(shape: str, dtype: str = "'<f8'") -> bytes:
    text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def test_a_pipeline_that_somebody_packed_tighter_is_read(pipeline: bytes) -> None:
    again = loads(packed(members(pipeline), zipfile.ZIP_DEFLATED))
    assert np.array_equal(again[-1].coef_, loads(pipeline)[-1].coef_)


@pytest.mark.fault("G3")
@pytest.mark.parametrize("shape", [f"({1 << 50},)", "(1 << 50,)", f"({1 << 30}, {1 << 30})", "(-1,)", "(4,)"])
def test_an_array_that_claims_another_size_than_it_has_is_not_allocated(pipeline: bytes, shape: str) -> None:
    files = members(pipeline)
    with pytest.raises(IntegrityError, match="cannot be read as skops"):
        loads(packed(files | {next(iter(files)): header(shape) + b"\0" * 24}))


@pytest.mark.fault("G3")
def test_an_archive_that_would_fill_the_memory_is_refused_by_its_directory(pipeline: bytes) -> None:
    bomb = packed(members(pipeline) | {"bomb.npy": b"\0" * (1 << 20)}, zipfile.ZIP_DEFLATED)
    lying = bomb.replace((1 << 20).to_bytes(4, "little"), (MOST_BYTES + 1).to_bytes(4, "little"))
    with pytest.raises(IntegrityError, match="unpack to more than"):
        loads(lying)


@pytest.mark.fault("G3")
def test_a_directory_that_plays_a_bomb_down_is_refused_too(pipeline: bytes) -> None:
    noise = np.random.default_rng(0).bytes(NOISE)  # stands for half a megabyte that would unpack to half a gigabyte
    bomb = packed(members(pipeline) | {"bomb.npy": noise}, zipfile.ZIP_DEFLATED)
    with pytest.raises(IntegrityError, match="unpack to more than"):
        loads(bomb.replace(NOISE.to_bytes(4, "little"), (100).to_bytes(4, "little")))


@pytest.mark.fault("G3")
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("schema.json", b"[" * 100_000),
        ("schema.json", b'{"a":' * 100_000),
        ("more.npz", packed({"a.npy": header("(3,)") + b"\0" * 24})),
        ("more.npy", header("(1,)", "'|O'") + pickle.dumps(Unsafe(Path("ran")))),
        ("more.npy", header("(3,)").replace(b"NUMPY\x01", b"NUMPY\x03")),
        ("more.bin", b"anything"),
    ],
)
def test_what_is_neither_a_schema_nor_a_plain_array_is_refused(pipeline: bytes, name: str, data: bytes) -> None:
    with pytest.raises(IntegrityError):
        loads(packed(members(pipeline) | {name: data}))


@pytest.mark.fault("G3")
@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_another_packing_is_refused(pipeline: bytes, method: int) -> None:
    with pytest.raises(IntegrityError, match="packed by method"):
        loads(packed(members(pipeline), method))
