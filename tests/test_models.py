import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lr_retune import encoding
from lr_retune.errors import DependencyError, IntegrityError
from lr_retune.records import Column, Contract, files_digest
from lr_retune.stores.bundle import native, pack, unpack_contract, unpack_golden, unpack_meta
from lr_retune.stores.models import FileModels, MemoryModels, safe_name

FILES = {"model.txt": b"tree", "meta.json": b"{}"}
CONTRACT = Contract(
    2, (Column("a", "number", (), 0.0, 1.0, 0.5), Column("k", "category", ("x", "3"), null_share=0.1)), 9
)


@pytest.fixture(params=["file", "memory"])
def models(request, tmp_path):
    return FileModels(tmp_path / "models") if request.param == "file" else MemoryModels()


def test_files_come_back_by_their_digest(models):
    digest = models.put(FILES)
    assert digest == files_digest(FILES) == models.put(FILES)
    assert models.get(digest) == FILES
    assert models.has(digest)


def test_an_unknown_digest_is_an_integrity_error(models):
    assert not models.has("0" * 64)
    with pytest.raises(IntegrityError, match="no model files"):
        models.get("0" * 64)


@pytest.mark.parametrize("change", ["edit", "add", "remove", "symlink"])
@pytest.mark.fault("G1")
def test_a_folder_that_was_touched_is_refused_and_a_good_copy_mends_it(tmp_path, change):
    models = FileModels(tmp_path / "models")
    digest = models.put(FILES)
    file = tmp_path / "models" / digest / "model.txt"
    if change == "add":
        file.with_name("extra.txt").write_bytes(b"")
    elif change == "edit":
        file.write_bytes(b"Tree")
    else:
        file.unlink()
    if change == "symlink":
        (tmp_path / "copy").write_bytes(b"tree")
        file.symlink_to(tmp_path / "copy")
    with pytest.raises(IntegrityError):
        models.get(digest)
    assert models.put(FILES) == digest
    assert models.get(digest) == FILES


@pytest.mark.fault("G4")
def test_a_model_folder_that_is_a_link_out_is_refused(tmp_path):
    models = FileModels(tmp_path / "models")
    digest = models.put(FILES)
    (tmp_path / "models" / digest).rename(tmp_path / "elsewhere")
    (tmp_path / "models" / digest).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityError, match="leads out"):
        models.get(digest)


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\\b", "..", ".x", "", "x\0", "C:x", "x\n", "é", "%2e%2e"])
@pytest.mark.fault("G4")
def test_names_that_could_leave_the_folder_are_refused(models, name):
    with pytest.raises(IntegrityError):
        models.put({name: b""})
    with pytest.raises(IntegrityError):
        models.get(name)


@given(st.text(max_size=120))
def test_a_safe_name_is_one_plain_path_component(name):
    try:
        safe_name(name)
    except IntegrityError:
        return
    assert os.path.basename(name) == name
    assert name not in ("", ".", "..")
    assert "\\" not in name


def test_many_processes_may_put_the_same_model(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(lambda _: FileModels(tmp_path).put(FILES), range(40)))
    assert set(digests) == {files_digest(FILES)}
    assert [p.name for p in tmp_path.iterdir()] == [digests[0]]


@pytest.mark.fault("F-5")
def test_a_folder_that_cannot_be_written_is_a_dependency_error(tmp_path):
    (tmp_path / "models").write_text("a file in the way")
    with pytest.raises(DependencyError, match="cannot be written"):
        FileModels(tmp_path / "models").put(FILES)


def test_a_packed_folder_unpacks_to_what_went_in():
    golden = {"columns": {"a": [1.0, None], "k": ["x", "new"]}, "scores": [0.1, 0.9]}
    files = pack({"model.txt": b"tree"}, CONTRACT, {"family": "lightgbm", "learning_rate": 0.1}, golden)
    assert native(files) == {"model.txt": b"tree"}
    assert unpack_contract(files) == CONTRACT
    assert unpack_golden(files) == golden
    assert unpack_meta(files) == {"family": "lightgbm", "learning_rate": 0.1}
    with open(encoding.__file__, "rb") as source:
        assert files["encoding.py"] == source.read()


def test_a_folder_without_its_contract_is_told():
    with pytest.raises(IntegrityError, match=r"contract\.json"):
        unpack_contract({"model.txt": b"tree"})
