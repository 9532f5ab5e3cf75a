"""The layout file: mapped as it was written, and refused in every state but that one."""

import json

import numpy as np
import pytest

from tickarrow.pipeline import forest_file
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest_file import OutdatedError

MADE = {"engine": "simd", "model_set": "ab", "kinds": ["walk"]}


def parts():
    rng = np.random.default_rng(1)
    return [
        {"node": rng.integers(0, 2**63, 37, dtype=np.uint64), "leaf": rng.normal(size=(5, 3)).astype(np.float32), "none": np.zeros(0, np.int32)},
        {"bytes": rng.integers(0, 256, 1_000, dtype=np.uint8), "leaf": rng.normal(size=70)},
    ]


@pytest.fixture
def path(tmp_path):
    forest_file.write(tmp_path / "x.forest", "c1", MADE, parts())
    return tmp_path / "x.forest"


def refused(path, expected=MADE, code="c1", error=ModelError):
    with pytest.raises(error) as e:
        forest_file.read(path, code, expected)
    assert str(e.value).endswith(" It is made again from the models.")
    return str(e.value).removesuffix(" It is made again from the models.")


def test_arrays_are_mapped_as_they_were_written(path):
    made, found = forest_file.read(path, "c1", {"engine": "simd"})
    assert made == MADE
    assert [list(p) for p in found] == [["node", "leaf", "none"], ["bytes", "leaf"]]
    for want, got in zip(parts(), found):
        for name, a in want.items():
            assert got[name].dtype == a.dtype
            np.testing.assert_array_equal(got[name], a)
            assert not got[name].flags.writeable
            assert a.size == 0 or got[name].ctypes.data % 64 == 0
    assert list(path.parent.iterdir()) == [path]


def test_the_same_arrays_make_the_same_file(path):
    again = path.with_name("again")
    forest_file.write(again, "c1", MADE, parts())
    assert again.read_bytes() == path.read_bytes()


def test_every_changed_byte_is_noticed(path):
    content = path.read_bytes()
    for at in [*range(len(forest_file.MAGIC), 400, 7), *range(400, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
        assert refused(path).startswith(str(path))


def test_a_truncated_file_is_refused(path):
    content = path.read_bytes()
    for size in (len(content) - 1, len(content) // 2, 60, 20):
        path.write_bytes(content[:size])
        assert refused(path) == f"{path} is damaged: its content is not what was written."


def test_a_foreign_file_is_refused(path):
    for content in (b"", b"something else" * 10):
        path.write_bytes(content)
        assert refused(path) == f"{path} is no forest layout."


def test_another_version_is_refused(path, monkeypatch):
    other = f"{path} was made by another version of the program."
    assert refused(path, code="c2", error=OutdatedError) == other
    monkeypatch.setattr(forest_file, "VERSION", 7)
    forest_file.write(path, "c1", MADE, parts())
    monkeypatch.undo()
    assert refused(path, error=OutdatedError) == other
    path.write_bytes(forest_file.MAGIC + json.dumps({"version": 1, "arrays": {}}).encode() + b"\n" + b" " * 200)  # as the first version wrote it
    assert refused(path, error=OutdatedError) == f"{path} has layout version 1, this program reads 2."


def test_a_file_of_other_models_is_refused(path):
    assert refused(path, {"model_set": "cd"}) == f"{path} was made from another model set ('ab', here it is 'cd')."
    assert refused(path, {"size": 1}) == f"{path} was made from another size (None, here it is 1)."


def test_a_file_that_is_not_there_is_an_oserror(tmp_path):
    with pytest.raises(FileNotFoundError):
        forest_file.read(tmp_path / "none", "c1", MADE)
