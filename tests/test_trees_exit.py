"""The exit kernel against the definition of a forest and against the libraries, bit by bit."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import forests
import naive_trees
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit import simd
from tickarrow.jit._kernel import cpu_has
from tickarrow.pipeline import forest_exit, forest_mask, library
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Forest

PERMUTE = pytest.param(True, marks=pytest.mark.skipif(not cpu_has(simd.NEEDS), reason=f"permutes need {simd.NEEDS}"))
PERMUTES = [False, True] if cpu_has(simd.NEEDS) else [False]


def same(got, want):
    np.testing.assert_array_equal(got.view(np.int32), want.view(np.int32))


def predict(bank, x, permute, lo=0, hi=None, words=None):
    """Margins through the part; its columns stand in reverse order, and one column between them belongs to nobody."""
    n = len(bank)
    part = forest_exit.Exit(forest_exit.pack(bank, [2 * (n - 1 - m) for m in range(n)]), permute)
    part.words = words or part.words
    hi = len(x) if hi is None else hi
    y = np.full((hi - lo, 2 * n - 1), -7.5, np.float32)
    part.predict(x, lo, hi, y)
    assert (y[:, 1::2] == -7.5).all()
    return np.ascontiguousarray(y[:, ::2][:, ::-1])


@given(
    seed=st.integers(0, 100_000), shape=st.sampled_from(["any", "complete", "leafwise", "mixed"]), double=st.booleans(), shared=st.booleans(),
    digits=st.sampled_from([1, 1, 2]), leaves=st.sampled_from([2, 9, 31, 32, 33, 63, 64, 65, 127, 129]), permute=st.sampled_from(PERMUTES),
)  # fmt: skip
def test_margins_of_any_shape_are_those_of_the_definition(seed, shape, double, shared, digits, leaves, permute):
    rng = np.random.default_rng(seed)
    cuts = forests.grid(rng) if shared else None
    kind = np.float64 if double else np.float32
    bank = [
        forests.random_forest(
            rng, n_trees=int(rng.integers(0, 6)), shape=shape, depth=int(rng.integers(0, 8)), leaves=leaves, dtype=kind, cuts=cuts,
            missing=rng.random(), divisor=int(rng.choice([1, 3])),
        )
        for _ in range(3)
    ]  # fmt: skip
    x = forests.rows(rng, bank, int(rng.integers(1, 40)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forest_mask, "dictionary", functools.partial(forest_mask.dictionary, digits=digits))
        same(predict(bank, x, permute), naive_trees.bank(bank, x))


@pytest.mark.parametrize("permute", [False, PERMUTE])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_rows_in_any_block(dtype, permute):
    rng = np.random.default_rng(4)
    bank = [forests.random_forest(rng, shape="leafwise", leaves=40, n_trees=20, dtype=dtype) for _ in range(2)]
    x = forests.rows(rng, bank, 1_100)
    want = naive_trees.bank(bank, x)
    for n in (0, 1, 2, 63, 64, 65, 127, 128, 129, 255, 256, 257, 384, 385, 511, 512, 513, 641, 1_024, 1_100):
        for words in (4, 8):
            same(predict(bank, x, permute, 5, 5 + n, words), want[5 : 5 + n])


@pytest.mark.parametrize("permute", [False, PERMUTE])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("leaves", [1, 2, 30, 31, 32, 33, 64, 65, 128, 129, 255, 256])
def test_every_number_of_leaves(leaves, dtype, permute):
    rng = np.random.default_rng(leaves)
    bank = [forests.random_forest(rng, shape="leafwise", leaves=leaves, n_trees=3, dtype=dtype)]
    x = forests.rows(rng, bank, 300)
    want = naive_trees.bank(bank, x)
    for words in (2, 4, 8):
        rows = min(64 * words, len(x))
        same(predict(bank, x, permute, 0, rows), want[:rows])


@pytest.mark.parametrize("permute", [False, PERMUTE])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_hand_computed_tree(dtype, permute):
    # x0 < 1: x1 < 2 (missing left): 1, else 2; x0 >= 1: 4, then x1 < 5 (missing right): 8, else 16. A second tree adds 100 or 300 by x1 < 0.
    tree = Forest(
        n_features=2, base=0.5, root=np.array([0, 7]), left=np.array([1, 2, -1, -1, 5, -1, -1, 8, -1, -1]),
        right=np.array([4, 3, -1, -1, 6, -1, -1, 9, -1, -1]), feature=np.array([0, 1, 0, 0, 1, 0, 0, 1, 0, 0]),
        cut=np.array([1, 2, 0, 0, 5, 0, 0, 0, 0, 0], np.float32), default_left=np.array([1, 1, 0, 0, 0, 0, 0, 0, 0, 0], bool),
        leaf=np.array([0, 0, 1, 2, 0, 8, 16, 0, 100, 300], dtype),
    )  # fmt: skip
    nan = np.nan
    x = np.array([[0, 0], [0, 2], [1, 2], [1, 5], [nan, nan], [1, nan], [nan, -1], [2, -np.inf], [-np.inf, np.inf]], np.float32)
    want = np.array([301.5, 302.5, 308.5, 316.5, 301.5, 316.5, 101.5, 108.5, 302.5], np.float32)
    same(predict([tree], x, permute)[:, 0], want)


@pytest.mark.parametrize("permute", [False, PERMUTE])
def test_trees_are_added_in_order_and_minus_zero_stays(permute):
    # 1e8 + 1 - 1e8 is 0 in float32 and 1 in float64; -0 + -0 is -0
    def stump(values, base, dtype):
        n = len(values)
        return Forest(
            n_features=1, base=base, root=np.arange(n), left=np.full(n, -1), right=np.full(n, -1), feature=np.zeros(n, np.int64),
            cut=np.zeros(n, np.float32), default_left=np.zeros(n, bool), leaf=np.array(values, dtype),
        )  # fmt: skip

    x = np.zeros((3, 1), np.float32)
    for dtype, want in ((np.float32, 0.0), (np.float64, 1.0)):
        got = predict([stump([1e8, 1.0, -1e8], 0.0, dtype), stump([-0.0] * 40, -0.0, dtype), stump([], 2.5, dtype)], x, permute)
        same(got, np.tile(np.array([want, -0.0, 2.5], np.float32), (3, 1)))


def test_trees_of_mixed_size_leave_nothing_behind_for_the_next():
    rng = np.random.default_rng(8)
    parts = [forests.random_forest(rng, shape="leafwise", leaves=n, n_trees=1) for n in (200, 3, 90, 1, 40, 2, 256, 31, 5)]
    at = np.cumsum([0] + [p.left.size for p in parts])
    both = {name: np.concatenate([getattr(p, name) for p in parts]) for name in ("feature", "cut", "default_left", "leaf")}
    for name in ("left", "right"):
        both[name] = np.concatenate([np.where(getattr(p, name) < 0, -1, getattr(p, name) + a) for p, a in zip(parts, at)])
    forest = Forest(n_features=6, base=0.5, root=at[:-1], **both)
    x = forests.rows(rng, [forest], 200)
    for permute in PERMUTES:
        same(predict([forest], x, permute), naive_trees.bank([forest], x))


def test_arrays_may_be_read_only_pages_of_a_file(tmp_path):
    rng = np.random.default_rng(9)
    for dtype in (np.float32, np.float64):
        bank = [forests.random_forest(rng, shape="mixed", dtype=dtype)]
        arrays = forest_exit.pack(bank, [0])
        mapped = {}
        for name, value in arrays.items():
            value.tofile(tmp_path / name)
            there = np.memmap(tmp_path / name, value.dtype, "r") if value.size else value
            mapped[name] = np.asarray(there).reshape(value.shape)
        x = forests.rows(rng, bank, 20)
        for permute in PERMUTES:
            y = np.zeros((len(x), 1), np.float32)
            forest_exit.Exit(mapped, permute).predict(x, 0, len(x), y)
            same(y, naive_trees.bank(bank, x))


def test_a_tree_that_is_too_large_is_named():
    rng = np.random.default_rng(10)
    fine, large = (forests.random_forest(rng, shape="leafwise", leaves=n, n_trees=2) for n in (256, 300))
    assert forest_exit.fits(fine) == ""
    assert forest_exit.fits(large) == "has 300 leaves in a tree: 256 at most"
    with pytest.raises(ModelError, match=r"a model has 300 leaves in a tree: 256 at most\. Choose another engine or train smaller trees\."):
        forest_exit.pack([fine, large], [0, 1])
    with pytest.raises(ModelError, match=r"leaves of different widths: expected one width\. Pack them apart\."):
        forest_exit.pack([fine, forests.random_forest(rng, dtype=np.float64)], [0, 1])


def probe(rng, bank, n):
    """Edge rows of the forests' own cuts, and one row with each single feature missing."""
    x = forests.rows(rng, bank, n)
    single = np.repeat(x[:1], x.shape[1], axis=0)
    single[np.arange(x.shape[1]), np.arange(x.shape[1])] = np.nan
    return np.ascontiguousarray(np.concatenate([x, single]))


def training_rows(rng, n=1_500, features=8):
    x = rng.normal(size=(n, features)).astype(np.float32)
    x[:, 0] = np.round(x[:, 0] * 2)
    x[rng.random(x.shape) < 0.05] = np.nan
    clean = np.nan_to_num(x)
    return x, clean[:, 0] * clean[:, 1] + np.sin(3 * clean[:, 2]) + 0.5 * rng.normal(size=n)


@pytest.mark.parametrize("leaves", [31, 100])
def test_lightgbm_itself_on_edge_rows(leaves):
    lightgbm = pytest.importorskip("lightgbm")
    rng = np.random.default_rng(leaves)
    x, y = training_rows(rng)
    params = {"num_leaves": leaves, "min_data_in_leaf": 3, "verbose": -1, "num_threads": 1, "deterministic": True}
    model = library.wrap(lightgbm.train(params, lightgbm.Dataset(x, y), 20))
    forest = model.forest("lightgbm")
    assert forest.leaf.dtype == np.float64
    assert forest.leaves.max() == leaves
    rows = probe(rng, [forest], 400)
    want = model.margins(rows)
    for permute in PERMUTES:
        same(predict([forest], rows, permute)[:, 0], want)


def test_xgboost_lossguide_itself_on_edge_rows():
    xgboost = pytest.importorskip("xgboost")
    rng = np.random.default_rng(12)
    x, y = training_rows(rng)
    params = {"grow_policy": "lossguide", "max_leaves": 64, "max_depth": 0, "tree_method": "hist", "nthread": 1, "base_score": 0.3, "min_child_weight": 0.5}
    model = library.wrap(xgboost.train(params, xgboost.DMatrix(x, y), 20))
    forest = model.forest("xgboost")
    assert forest.leaf.dtype == np.float32
    assert forest.leaves.max() == 64
    assert forest.depth > 8
    rows = probe(rng, [forest], 400)
    want = model.margins(rows)
    for permute in PERMUTES:
        same(predict([forest], rows, permute)[:, 0], want)


OTHER = """
import forests, naive_trees, numpy as np
from test_trees_exit import predict, same
from tickarrow.jit import _kernel
_kernel.warm()
for seed in range(6):
    rng = np.random.default_rng(seed)
    dtype = (np.float32, np.float64)[seed % 2]
    bank = [forests.random_forest(rng, shape="mixed", leaves=(31, 60, 130)[seed % 3], dtype=dtype) for _ in range(2)]
    x = forests.rows(rng, bank, 290)
    same(predict(bank, x, False, words=4), naive_trees.bank(bank, x))
print("equal")
"""


@pytest.mark.parametrize(
    ("name", "features"), [("haswell", "+avx2,+fma,+bmi,+bmi2,+popcnt,+lzcnt,+sse4.2"), ("x86-64", "")], ids=["haswell", "x86-64"]
)
def test_other_processors_give_the_same_bits(name, features):
    environment = os.environ | {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    result = subprocess.run([sys.executable, "-c", OTHER], env=environment, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    assert result.stdout == "equal\n", result.stderr
