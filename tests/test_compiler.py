"""C code of models, patched only where it is known."""

import numpy as np
import pytest
from models_common import booster

from tickarrow.pipeline import compiler_native, library
from tickarrow.pipeline.errors import ModelError


@pytest.fixture(scope="module")
def model():
    return booster(1, depth=3, n_trees=4)


@pytest.fixture(scope="module")
def forest(model):
    return library.wrap(model).forest("m")


@pytest.fixture(scope="module")
def code(model):
    return compiler_native.generate(model)


def test_the_patched_c_begins_with_the_base_score_and_adds_floats(code, forest):
    patched = compiler_native.patch(*code, forest, "predict_m", "m")
    assert patched.count("s += ") == forest.leaves.sum()
    assert "result[0] +=" not in patched
    assert f"  float s = {compiler_native._float(str(np.float32(forest.base)))};" in patched
    constants = [line.split("+= ")[1] for line in patched.splitlines() if "s += " in line]
    assert all(c.endswith("f;") and ("." in c or "e" in c) for c in constants)
    np.testing.assert_array_equal(np.sort([np.float32(c[:-2]) for c in constants]), np.sort(forest.leaf[forest.left < 0]))


@pytest.mark.parametrize(
    ("text", "constant"),
    [("5", "5.0f"), ("-0", "-0.0f"), ("0.0767322", "0.0767322034f"), ("1e-42", "1.0005271e-42f"), ("3.4028235e+38", "3.40282347e+38f")],
)
def test_float_constants_are_c_and_exact(text, constant):
    assert compiler_native._float(text) == constant
    assert np.float32(constant[:-1]).view(np.uint32) == np.float32(text).view(np.uint32)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("      result[0] += ", "      result[0] += 2 * ", "unknown line"),
        ("unsigned int tmp;", "double tmp;", "unknown line 'double tmp;'"),
        ("(float)", "(double)", "unknown line"),
        (" < ", " <= ", "unknown line"),
        ("int pred_margin, float*", "int pred_margin, double*", "expected one predict function with one base score"),
        ("// Apply base_scores", "// Apply", "expected one predict function with one base score"),
        ("// Apply base_scores\n", "// Apply base_scores\n  result[0] *= 2;\n", "expected the base score"),
    ],
)
def test_generated_code_that_is_not_known_is_refused(code, forest, old, new, what):
    source, header = code
    assert old in source
    with pytest.raises(ModelError, match="is not what the patch expects") as e:
        compiler_native.patch(source.replace(old, new), header, forest, "f", "a/h0")
    assert what in str(e.value)
    assert str(e.value).startswith("model 'a/h0': the C code of tl2cgen ")


def test_a_lost_leaf_and_another_entry_are_refused(code, forest):
    source, header = code
    lines = source.split("\n")
    first = next(i for i, line in enumerate(lines) if "result[0] +=" in line)
    with pytest.raises(ModelError, match=f"{forest.leaves.sum() - 1} leaves, expected {forest.leaves.sum()}"):
        compiler_native.patch("\n".join([*lines[:first], *lines[first + 1 :]]), header, forest, "f", "m")
    with pytest.raises(ModelError, match="union Entry has other members"):
        compiler_native.patch(source, header.replace("int missing", "long missing"), forest, "f", "m")


def test_generating_code_says_nothing_on_the_terminal(model, capfd):
    compiler_native.generate(model)
    assert capfd.readouterr() == ("", "")


def test_the_object_key_depends_on_model_and_compiler():
    keys = {compiler_native.object_key(m, c) for m in ("a", "b") for c in ("gcc 12", "gcc 13")}
    assert len(keys) == 4


def test_a_missing_compiler_is_said():
    with pytest.raises(ModelError) as e:
        compiler_native.find_compiler("no-such-cc")
    assert str(e.value) == (
        "no C compiler: 'no-such-cc' is not on the PATH. Install gcc or clang, or name one (models.compiler=NAME)."
    )
