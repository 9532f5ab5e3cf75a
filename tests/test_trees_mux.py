"""Complete trees in batches against the naive walk, hand-computed trees and xgboost."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import forests
import naive_trees as naive
import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit import _kernel, trees_leaf
from tickarrow.pipeline import certificate, forest_mask, forest_mux, library
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Forest

PERMUTES = [pytest.param(True, marks=pytest.mark.skipif(not trees_leaf.can_permute(), reason="needs AVX-512 VBMI and GFNI")), False]


def bits(a):
    return np.ascontiguousarray(a, np.float32).view(np.uint32)


def run(bank, x, permutes, lo=0, hi=None):
    """Margins (rows, models), columns in reverse order beside one that is not ours."""
    hi = len(x) if hi is None else hi
    y = np.full((hi - lo, len(bank) + 1), 7.0, np.float32)
    columns = list(range(len(bank)))[::-1]
    forest_mux.Mux(forest_mux.pack(bank, columns, permutes)).predict(x, lo, hi, y)
    assert (y[:, -1] == 7.0).all()
    return y[:, columns]


@pytest.mark.parametrize("permutes", PERMUTES)
@given(
    seed=st.integers(0, 10_000), depth=st.integers(1, 8), shape=st.sampled_from(["complete", "any", "mixed"]), shared=st.booleans(),
    n_features=st.sampled_from([2, 20]), n=st.integers(1, 60),
)  # fmt: skip
def test_every_bit_is_that_of_the_naive_walk(permutes, seed, depth, shape, shared, n_features, n):
    rng = np.random.default_rng(seed)
    grid = forests.grid(rng, n_features) if shared else None
    bank = [
        forests.random_forest(rng, n_features, rng.integers(1, 4), shape, depth, leaves=depth + 1, cuts=grid, divisor=int(rng.choice([1, 3])))
        for _ in range(3)
    ]  # fmt: skip
    x = forests.rows(rng, bank, n)
    np.testing.assert_array_equal(bits(run(bank, x, permutes)), bits(naive.bank(bank, x)))


@pytest.mark.parametrize("permutes", PERMUTES)
def test_two_digits_give_the_same_bits(permutes, monkeypatch):
    rng = np.random.default_rng(5)
    bank = [forests.random_forest(rng, 5, 4, "mixed", depth, leaves=depth + 1) for depth in range(1, 9)]
    x = forests.rows(rng, bank, 150)
    monkeypatch.setattr(forest_mask, "ROWS", 700)
    assert forest_mask.dictionary(bank).digits == 2
    np.testing.assert_array_equal(bits(run(bank, x, permutes)), bits(naive.bank(bank, x)))


@pytest.mark.parametrize("permutes", PERMUTES)
def test_rows_do_not_depend_on_their_window(permutes):
    rng = np.random.default_rng(6)
    bank = [forests.random_forest(rng, 6, 3, "complete", depth) for depth in (2, 6, 7)]
    x = forests.rows(rng, bank, 800)
    whole = run(bank, x, permutes, 0, 700)
    for lo, n in [(0, 1), (3, 63), (3, 64), (3, 65), (1, 127), (1, 128), (1, 129), (0, 255), (7, 256), (7, 257), (2, 513), (0, 0)]:
        np.testing.assert_array_equal(bits(run(bank, x, permutes, lo, lo + n)), bits(whole[lo : lo + n]))


@pytest.mark.parametrize("permutes", PERMUTES)
@pytest.mark.parametrize("n", [1, 15, 64, 130, 300])
def test_margins_of_many_models_are_written_together_where_they_are_neighbours(permutes, n):
    rng = np.random.default_rng(7)
    bank = [forests.random_forest(rng, 6, 2, "complete", 3, divisor=1 + m % 2) for m in range(35)]
    x = forests.rows(rng, bank, 300)[:n]
    want = naive.bank(bank, x)
    for columns in (np.arange(35), np.arange(35) + 5, rng.permutation(40)[:35]):
        y = np.full((n + 1, 41), 7.0, np.float32)
        forest_mux.Mux(forest_mux.pack(bank, columns.tolist(), permutes)).predict(x, 0, n, y)
        np.testing.assert_array_equal(bits(y[:n, columns]), bits(want))
        assert (np.delete(y, columns, axis=1) == 7.0).all()
        assert (y[n] == 7.0).all()


@pytest.mark.parametrize("permutes", PERMUTES)
def test_a_hand_computed_tree(permutes):
    # x0 >= 1 ? (x1 >= 5 ? 8 : 4) : 2, missing left at the root, right below; base 0.5, twice the tree, divided by 2
    tree = Forest(
        n_features=2, base=0.5, root=np.array([0, 0]), left=np.array([1, -1, 3, -1, -1]), right=np.array([2, -1, 4, -1, -1]),
        feature=np.array([0, 0, 1, 0, 0]), cut=np.array([1, 0, 5, 0, 0], np.float32), default_left=np.array([True, False, False, False, False]),
        leaf=np.array([0, 2, 0, 4, 8], np.float32),
    )  # fmt: skip
    x = np.array([[0, 9], [1, 4], [1, 5], [np.nan, 9], [np.inf, np.nan], [-np.inf, 0]], np.float32)
    got = run([tree, dataclasses.replace(tree, divisor=2)], x, permutes)
    np.testing.assert_array_equal(got[:, 0], [4.5, 8.5, 16.5, 4.5, 16.5, 4.5])
    np.testing.assert_array_equal(got[:, 1], [2.25, 4.25, 8.25, 2.25, 8.25, 2.25])


@pytest.mark.parametrize("permutes", PERMUTES)
@pytest.mark.parametrize("depth", range(1, 9))
def test_every_leaf_is_reached(permutes, depth):
    # node k of the heap asks feature "level" whether it is >= 0: row r takes the path of the binary digits of r
    n = 1 << depth
    level = np.array([k.bit_length() - 1 for k in range(1, 2 * n)])
    inner = np.arange(1, 2 * n) < n
    child = 2 * np.arange(1, 2 * n) - 1
    forest = Forest(
        n_features=depth, base=-0.0, root=np.array([0]), left=np.where(inner, child, -1), right=np.where(inner, child + 1, -1),
        feature=np.where(inner, level, 0), cut=np.zeros(2 * n - 1, np.float32), default_left=np.zeros(2 * n - 1, bool),
        leaf=np.r_[np.zeros(n - 1), -0.0, np.arange(1, n) * np.pi].astype(np.float32),
    )  # fmt: skip
    x = np.array([[1.0 if r >> depth - 1 - k & 1 else -1.0 for k in range(depth)] for r in range(n)], np.float32)
    got = run([forest], np.roll(x, 5, axis=0), permutes)[:, 0]
    np.testing.assert_array_equal(bits(np.roll(got, -5)), bits(forest.leaf[n - 1 :]))


@pytest.mark.parametrize("permutes", PERMUTES)
def test_every_bit_is_that_of_xgboost(permutes):
    rng = np.random.default_rng(8)
    x = rng.normal(size=(600, 12)).astype(np.float32)
    x[rng.random(x.shape) < 0.05] = np.nan
    boosters = [
        xgb.train({"max_depth": d, "nthread": 1, "min_child_weight": 0, "max_bin": 64}, xgb.DMatrix(x, rng.normal(size=600), nthread=1), 12)
        for d in (3, 6, 8)
    ]  # fmt: skip
    bank = [library.wrap(b).forest("m") for b in boosters]
    rows = np.concatenate([certificate.probe_rows(bank), x])
    want = np.stack([b.inplace_predict(rows, predict_type="margin") for b in boosters], axis=1)
    np.testing.assert_array_equal(bits(run(bank, rows, permutes)), bits(want))


def test_what_does_not_fit_is_named():
    rng = np.random.default_rng(9)
    assert forest_mux.fits(forests.random_forest(rng, depth=8, shape="complete", n_trees=1)) == ""
    assert forest_mux.fits(forests.random_forest(rng, depth=9, shape="complete", n_trees=1)) == "is 9 levels deep: 8 at most"
    assert forest_mux.fits(forests.random_forest(rng, dtype=np.float64)) == "adds float64 leaves: float32 only"


def test_a_layout_for_another_processor_is_refused(monkeypatch):
    arrays = forest_mux.pack([forests.random_forest(np.random.default_rng(1))], [0])
    monkeypatch.setattr(trees_leaf, "can_permute", lambda: False)
    with pytest.raises(ModelError, match="made for a processor with AVX-512 VBMI and GFNI"):
        forest_mux.Mux(arrays)


def test_a_layout_of_floats_is_refused_where_bytes_are_shuffled(monkeypatch):
    monkeypatch.setattr(trees_leaf, "otherwise", lambda: trees_leaf.ONE_BY_ONE)
    arrays = forest_mux.pack([forests.random_forest(np.random.default_rng(1))], [0], permutes=False)
    monkeypatch.setattr(trees_leaf, "otherwise", lambda: trees_leaf.SHUFFLES)
    with pytest.raises(ModelError, match="made for a processor with AVX2 or for one without"):
        forest_mux.Mux(arrays)


def test_nodes_are_counted_as_stored():
    rng = np.random.default_rng(2)
    assert forest_mux.nodes(forests.random_forest(rng, n_trees=3, shape="complete", depth=6)) == 3 * 63
    assert forest_mux.nodes(forests.random_forest(rng, n_trees=3, shape="leafwise", leaves=4)) == 3 * 15


def agree():
    """Compare in a process whose kernels are compiled for another processor."""
    _kernel.warm()
    rng = np.random.default_rng(4)
    for grid in (forests.grid(rng, 6), None):
        bank = [forests.random_forest(rng, 6, 3, "complete", depth, cuts=grid) for depth in range(1, 9)]
        x = forests.rows(rng, bank, 200)
        np.testing.assert_array_equal(bits(run(bank, x, False)), bits(naive.bank(bank, x)))
        np.testing.assert_array_equal(bits(run(bank, x, False, 90, 170)), bits(naive.bank(bank, x[90:170])))


@pytest.mark.parametrize(("cpu", "features"), [("haswell", "+avx2,+fma,+bmi,+bmi2,+popcnt,+lzcnt,+sse4.2"), ("x86-64", "")])
def test_other_processors_give_the_same_bits(cpu, features):
    env = os.environ | {"NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": features}
    done = subprocess.run(
        [sys.executable, "-c", "import test_trees_mux; test_trees_mux.agree()"], env=env, cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
