"""Model sets: what a folder holds, what its digest covers, and every way in which loading refuses, by its text."""

import json
import shutil

import numpy as np
import pytest
from models_common import COLUMNS, DIGEST, booster, make_set

from tickarrow.jit._kernel import cache_home
from tickarrow.pipeline import models
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.models import load_set


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return make_set(tmp_path_factory.mktemp("sets") / "original")


@pytest.fixture
def copied(original, tmp_path):
    """A copy of the set that a test may damage."""
    shutil.copytree(original.path, tmp_path / "copied")
    return tmp_path / "copied"


def refused(path, columns=COLUMNS, digest=DIGEST):
    with pytest.raises(ModelError) as e:
        load_set(str(path), columns, digest)
    return str(e.value)


def test_a_saved_set_is_loaded_as_it_was(original):
    found = load_set(str(original.path), COLUMNS, DIGEST)
    assert found.digest == original.digest
    assert (found.name, found.configurations, found.columns, found.n_models) == ("original", ["xgb00", "xgb01"], COLUMNS, 4)
    assert found.names == ["xgb00/h0", "xgb00/h1", "xgb01/h0", "xgb01/h1"]
    np.testing.assert_array_equal(found.horizons_ns, [10**9, 5 * 10**9])
    np.testing.assert_array_equal(found.ic, np.full((2, 2), 0.05))
    x = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)
    for i, model in enumerate(found.models):
        np.testing.assert_array_equal(model.margins(x), booster(i, depth=2 + i, n_trees=3 + i).inplace_predict(x))


def test_the_digest_covers_models_and_meaning_but_neither_place_nor_certificates(original, copied, tmp_path):
    found = load_set(str(copied), COLUMNS, DIGEST)
    assert found.digest == original.digest
    found.certify("portable", {"rows": 3})
    again = load_set(str(copied), COLUMNS, DIGEST)
    assert again.digest == original.digest
    assert again.manifest["certificates"] == {"portable": {"rows": 3}}
    assert make_set(tmp_path / "other", [booster(i + 50) for i in range(4)]).digest != original.digest
    first, *others = original.manifest["models"]
    for key, value in (("ic", [[0.1, 0.1], [0.1, 0.1]]), ("horizons_ns", [1, 2]), ("models", [first | {"unit": "ticks"}, *others])):
        assert models.set_digest(original.manifest | {key: value}) != original.digest


def test_a_name_is_looked_up_in_the_cache_folder(original, tmp_path, monkeypatch):
    monkeypatch.setenv("TICKARROW_CACHE", str(tmp_path))
    shutil.copytree(original.path, cache_home() / "models" / "mine")
    assert load_set("mine", COLUMNS, DIGEST).digest == original.digest
    assert refused("yours") == (
        f"model set 'yours' is neither a folder with a manifest.json nor a set in {tmp_path}/models (there: mine). "
        "Name one of these (model_set=NAME) or train it (tickarrow train)."
    )


def test_an_unknown_set_says_that_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("TICKARROW_CACHE", str(tmp_path))
    assert "(there: none)" in refused("any")


def test_a_changed_model_file_is_damage(copied):
    file = copied / "models" / "xgb01_h0.ubj"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert refused(copied) == (
        "model set 'copied' is damaged: models/xgb01_h0.ubj is not the file that was saved. Restore the folder or train it again."
    )


def test_a_missing_model_file_is_damage(copied):
    (copied / "models" / "xgb00_h1.ubj").unlink()
    assert refused(copied) == "model set 'copied' is damaged: models/xgb00_h1.ubj is missing. Restore the folder or train it again."


def test_a_changed_manifest_is_damage(copied):
    content = json.loads((copied / "manifest.json").read_text())
    content["ic"][0][0] = 0.9
    (copied / "manifest.json").write_text(json.dumps(content))
    assert refused(copied) == (
        "model set 'copied' is damaged: its manifest is not the one that was saved. Restore the folder or train it again."
    )


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"format": 2}'])
def test_an_unreadable_manifest_is_named(copied, content):
    (copied / "manifest.json").write_text(content)
    said = refused(copied)
    assert said.startswith(f"model set 'copied': {copied}/manifest.json cannot be read (")
    assert said.endswith(". Restore the folder or train it again.")


def test_another_format_is_refused(copied):
    content = json.loads((copied / "manifest.json").read_text())
    (copied / "manifest.json").write_text(json.dumps(content | {"format": 9}))
    assert refused(copied) == "model set 'copied' has format 9, this version reads 2. Train it again."


ADVICE = "Choose the feature set it was trained with (features=NAME) or train it again (tickarrow train)."


def test_other_features_are_refused_with_the_first_column_that_differs(original):
    assert refused(original.path, ["spread", "ofi_60s", *COLUMNS[2:]]) == (
        f"model set 'original' was trained on other features: column 1 is 'ofi_30s' in its manifest and 'ofi_60s' here. {ADVICE}"
    )
    assert refused(original.path, COLUMNS[:4]) == (
        f"model set 'original' was trained on other features: its manifest has 6 columns, here are 4. {ADVICE}"
    )
    assert refused(original.path, COLUMNS, "2" * 32) == (
        "model set 'original' was trained on other features: the columns have the same names, but their parameters or versions differ "
        f"(feature digest). {ADVICE}"
    )


def test_a_certificate_in_a_read_only_folder_is_not_kept(copied):
    found = load_set(str(copied), COLUMNS, DIGEST)
    shutil.rmtree(copied)
    found.certify("portable", {"rows": 3})  # no error
    assert found.manifest["certificates"]["portable"] == {"rows": 3}
