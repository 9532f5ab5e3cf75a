"""C code of models, patched only where it is known."""

import ctypes
import shutil
import subprocess

import forests
import naive_trees as naive
import numba
import numpy as np
import pytest
from library_models import of_lightgbm, of_sklearn, of_xgboost
from models_common import bits, booster

from tickarrow.jit import native
from tickarrow.pipeline import certificate, compiler_native, library
from tickarrow.pipeline.errors import ModelError


@pytest.fixture(scope="module")
def model():
    return booster(1, depth=3, n_trees=4)


@pytest.fixture(scope="module")
def forest(model):
    return library.wrap(model).forest("m")


@pytest.fixture(scope="module")
def code(forest):
    return compiler_native.generate(forest)


def test_the_patched_c_begins_with_the_base_score_and_adds_floats(code, forest):
    patched = compiler_native.patch(*code, forest, "predict_m", "m")
    assert patched.count("s += ") == forest.leaves.sum()
    assert "result[0] +=" not in patched
    assert f"  float s = {compiler_native._constant(np.float32(forest.base))};" in patched
    constants = [line.split("+= ")[1] for line in patched.splitlines() if "s += " in line]
    assert all(c.endswith("f;") and ("." in c or "e" in c) for c in constants)
    np.testing.assert_array_equal(np.sort([np.float32(c[:-2]) for c in constants]), np.sort(forest.leaf[forest.left < 0]))


@pytest.mark.parametrize(
    ("text", "constant"),
    [("5", "5.0f"), ("-0", "-0.0f"), ("0.0767322", "0.0767322034f"), ("1e-42", "1.0005271e-42f"), ("3.4028235e+38", "3.40282347e+38f")],
)
def test_float_constants_are_c_and_exact(text, constant):
    assert compiler_native._constant(np.float32(text)) == constant
    assert np.float32(constant[:-1]).view(np.uint32) == np.float32(text).view(np.uint32)


@pytest.mark.parametrize(("value", "constant"), [(0.1, "0.10000000000000001"), (-0.0, "-0.0"), (3.0, "3.0"), (5e-324, "4.9406564584124654e-324")])
def test_double_constants_are_c_and_exact(value, constant):
    assert compiler_native._constant(np.float64(value)) == constant
    assert np.float64(constant).view(np.uint64) == np.float64(value).view(np.uint64)


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("      result[0] += ", "      result[0] += 2 * ", "unknown line"),
        ("unsigned int tmp;", "double tmp;", "unknown line 'double tmp;'"),
        ("(float)", "(double)", "unknown line"),
        (" < ", " <= ", "thresholds, expected the"),
        ("fvalue < (float)-", "fvalue < (float)-1", "thresholds, expected the"),
        ("result[0] += -", "result[0] += -1", "leaves, expected the"),
        ("int pred_margin, float*", "int pred_margin, double*", "expected one predict function with one base score"),
        ("// Apply base_scores", "// Apply", "expected one predict function with one base score"),
        ("// Apply base_scores\n", "// Apply base_scores\n  result[0] *= 2;\n", "expected the base score 0"),
        ("  // Apply base_scores", "}\n  // Apply base_scores", "its brackets do not close"),
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
    with pytest.raises(ModelError, match=f"{forest.leaves.sum() - 1} leaves, expected the {forest.leaves.sum()} of the model"):
        compiler_native.patch("\n".join([*lines[:first], *lines[first + 1 :]]), header, forest, "f", "m")
    with pytest.raises(ModelError, match="union Entry has other members"):
        compiler_native.patch(source, header.replace("int missing", "long missing"), forest, "f", "m")


def compiled(forest, folder, name="m"):
    """The patched C of a forest as a function of rows (n, n_features)."""
    source = compiler_native.patch(*compiler_native.generate(forest), forest, "predict_m", name)
    (folder / "m.c").write_text(source)
    subprocess.run([shutil.which("cc"), *compiler_native.FLAGS, "-Wall", "-Werror", "-shared", "m.c", "-o", "m.so"], cwd=folder, check=True)
    library = ctypes.CDLL(str(folder / "m.so"))
    address = np.array([ctypes.cast(library.predict_m, ctypes.c_void_p).value], np.uint64)

    def predict(rows):
        y = np.empty((len(rows), 1), np.float32)
        native.predictors(address, rows, 0, len(rows), np.empty(rows.shape[1], np.float32), y)
        return y[:, 0].copy()

    predict.library = library  # held: the address points into it
    return predict


MODELS = [(of_xgboost, k) for k in ("plain", "binary:logistic", "lossguide")] + [(of_lightgbm, k) for k in ("plain", "zeros", "rf", "use no missing")]
MODELS += [(of_sklearn, k) for k in ("ExtraTreesRegressor", "HistGradientBoostingRegressor", "GradientBoostingClassifier")]
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None or bool(numba.config.DISABLE_JIT), reason="compiles and calls by address")


@needs_compiler
@pytest.mark.parametrize(("make", "kind"), MODELS)
def test_compiled_c_gives_the_bits_of_every_library(make, kind, tmp_path):
    model = library.wrap(make(kind))
    forest = model.forest("m")
    rows = certificate.probe_rows([forest])
    rows = np.ascontiguousarray(rows[model.accepts(rows)])
    np.testing.assert_array_equal(bits(compiled(forest, tmp_path)(rows)), bits(model.margins(rows)))


@needs_compiler
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_c_knows_cuts_that_all_or_none_pass(dtype, tmp_path):
    rng = np.random.default_rng(4)
    forest = forests.random_forest(rng, n_trees=12, shape="mixed", dtype=dtype, never=0.4, divisor=7)
    assert {"nan", "inf", "-inf"} <= {str(c) for c in forest.cut[forest.inner]}
    rows = forests.rows(rng, [forest], 200)
    np.testing.assert_array_equal(bits(compiled(forest, tmp_path)(rows)), bits(naive.margins(forest, rows)))


def test_generating_code_says_nothing_on_the_terminal(forest, capfd):
    compiler_native.generate(forest)
    assert capfd.readouterr() == ("", "")


def test_the_object_key_depends_on_model_and_compiler():
    keys = {compiler_native.object_key(m, c) for m in ("a", "b") for c in ("gcc 12", "gcc 13")}
    assert len(keys) == 4


def test_the_object_key_depends_on_the_processor_and_on_what_makes_the_code(monkeypatch):
    keys = [compiler_native.object_key("a", "gcc 12")]
    monkeypatch.setattr(compiler_native, "target", lambda: "another")
    keys.append(compiler_native.object_key("a", "gcc 12"))
    monkeypatch.setattr(compiler_native, "_code", lambda: "another")
    keys.append(compiler_native.object_key("a", "gcc 12"))
    assert len(set(keys)) == 3


def test_a_missing_compiler_is_said():
    with pytest.raises(ModelError) as e:
        compiler_native.find_compiler("no-such-cc")
    assert str(e.value) == (
        "no C compiler: 'no-such-cc' is not on the PATH. Install gcc or clang, or name one (models.compiler=NAME)."
    )
