"""One row through complete trees: every bit is that of the definition and of xgboost, for any depth, grid, width and number of trees."""

from __future__ import annotations

import forests as make
import naive_trees
import numba
import numpy as np
import pytest
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st

from tickarrow.jit import simd
from tickarrow.jit._kernel import cpu_has
from tickarrow.pipeline import forest_lines, library
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Forest
from tickarrow.pipeline.forest_lines import Lines, fits, pack

if numba.config.DISABLE_JIT:
    pytest.skip("vector instructions are machine code: there is none with the JIT off", allow_module_level=True)
if not cpu_has(simd.NEEDS):
    pytest.skip("the processor has no AVX-512 VBMI", allow_module_level=True)

seeds = st.integers(0, 2**32 - 1)


def equal(forests, x, expected=None):
    """Whether all margins are bit for bit those expected, and no other column is written."""
    order = np.random.default_rng(len(x)).permutation(len(forests) + 3)
    columns = order[: len(forests)]
    arrays = pack(forests, columns.tolist())
    for a in arrays.values():
        assert a.size == 0 or a.ctypes.data % 64 == 0
        a.setflags(write=False)
    y = np.full((len(x), len(forests) + 3), 7.0, np.float32)
    Lines(arrays).predict(x, 0, len(x), y)
    assert (y[:, order[len(forests) :]] == 7).all()
    expected = naive_trees.bank(forests, x) if expected is None else expected
    np.testing.assert_array_equal(y[:, columns].view(np.int32), expected.view(np.int32))


@given(seeds, st.integers(1, 8), st.integers(1, 12), st.booleans())
def test_complete_trees_of_any_depth_are_exact(seed, depth, models, shared):
    rng = np.random.default_rng(seed)
    cuts = make.grid(rng, 40, 30) if shared else None
    forests = [
        make.random_forest(rng, 40, int(rng.integers(1, 10)), "complete", depth=depth, cuts=cuts, divisor=int(rng.integers(1, 3))) for _ in range(models)
    ]
    equal(forests, make.rows(rng, forests, 8))


@given(seeds, st.sampled_from([5, 100, 140, 256]), st.booleans())
@settings(max_examples=30)
def test_banks_of_mixed_shapes_widths_and_tree_counts_are_exact(seed, features, shared):
    rng = np.random.default_rng(seed)
    cuts = make.grid(rng, features, 100) if shared else None
    forests = [
        make.random_forest(rng, features, int(rng.integers(1, 30)), rng.choice(["any", "mixed"]), depth=int(rng.integers(1, 5)), leaves=6, cuts=cuts)
        for _ in range(int(rng.integers(1, 30)))
    ]
    forests = [f for f in forests if not fits(f)]
    if forests:
        equal(forests, make.rows(rng, forests, 6))


def test_models_on_grids_of_their_own_meet_in_one_group():
    rng = np.random.default_rng(5)
    for features in (3, 200):
        forests = [make.random_forest(rng, features, 5, "complete", depth=6) for _ in range(13)]
        for f in forests:
            f.feature[f.inner & (rng.random(f.left.size) < 0.5)] = 0
        assert pack(forests, range(13))["rank_shape"][1] > 2
        equal(forests, make.rows(rng, forests, 20))


def test_two_thousand_trees_keep_their_order():
    rng = np.random.default_rng(6)
    cuts = make.grid(rng, 6, 20)
    forests = [make.random_forest(rng, 6, n, "complete", depth=2, cuts=cuts) for n in (2000, 1999, 3)]
    equal(forests, make.rows(rng, forests, 3))


def test_a_hand_computed_tree():
    # x0 >= 1 goes right, missing left; on the left x1 >= 0 goes right, missing right. Leaves 1, 2, 4; the second tree is the leaf -0.5; base 0.25.
    forest = Forest(
        n_features=2, base=0.25, root=np.array([0, 5]), left=np.array([1, 3, -1, -1, -1, -1]), right=np.array([2, 4, -1, -1, -1, -1]),
        feature=np.array([0, 1, 0, 0, 0, 0]), cut=np.array([1, 0, 0, 0, 0, 0], np.float32), default_left=np.array([True, False, False, False, False, False]),
        leaf=np.array([0, 0, 4, 1, 2, -0.5], np.float32),
    )  # fmt: skip
    nan = np.nan
    x = np.array([[1, 0], [0.99999994, -1e-45], [0, -0.0], [nan, -1], [nan, nan], [np.inf, nan], [-np.inf, np.inf]], np.float32)
    y = np.zeros((5, 1), np.float32)
    Lines(pack([forest], [0])).predict(x, 2, 7, y)
    assert y[:, 0].tolist() == [1.75, 0.75, 1.75, 3.75, 1.75]
    Lines(pack([forest], [0])).predict(x, 0, 2, y)
    assert y[:2, 0].tolist() == [3.75, 0.75]


def test_a_sum_of_minus_zeros_stays_minus_zero():
    rng = np.random.default_rng(7)
    forests = [make.random_forest(rng, 4, n, "complete", depth=3) for n in (1, 8, 17)]
    for f in forests:
        f.leaf[...] = -0.0
        object.__setattr__(f, "base", -0.0)
    equal(forests, make.rows(rng, forests, 4))


@pytest.mark.parametrize("depth", [4, 6, 8])
def test_margins_are_those_of_xgboost(depth):
    rng = np.random.default_rng(depth)
    x = rng.normal(size=(3000, 10)).astype(np.float32)
    x[rng.random(x.shape) < 0.05] = np.nan
    boosters = []
    for k in range(9):
        label = np.nansum(x[:, k % 10 :], axis=1) + rng.normal(size=len(x))
        weight = {"max_depth": depth, "max_bin": 64, "seed": k, "nthread": 1, "min_child_weight": 0, "base_score": 0.1 * k}
        boosters.append(xgboost.train(weight, xgboost.DMatrix(x, label), 11))
    forests = [library.wrap(b).forest(f"m{k}") for k, b in enumerate(boosters)]
    rows = make.rows(rng, forests, 300)
    equal(forests, rows, np.stack([b.inplace_predict(rows, predict_type="margin") for b in boosters], axis=1))


def test_what_does_not_fit_is_said_in_a_sentence():
    rng = np.random.default_rng(8)
    assert fits(make.random_forest(rng, 4, 3, "complete", depth=2)) == ""
    assert fits(make.random_forest(rng, 4, 3, "complete", depth=2, dtype=np.float64)) == "adds leaves of float64: float32 only"
    assert fits(make.random_forest(rng, 4, 1, "complete", depth=9)) == "has trees of depth 9: 8 at most"
    steps = np.arange(8)  # a chain: each node's left child is a leaf
    chain = Forest(
        n_features=1, base=0.0, root=np.array([0]), left=np.append(steps + 8, -np.ones(9, np.int64)), right=np.append(steps + 1, -np.ones(9, np.int64)),
        feature=np.zeros(17, np.int64), cut=np.arange(17, dtype=np.float32), default_left=np.zeros(17, bool), leaf=np.zeros(17, np.float32),
    )  # fmt: skip
    chain.right[7] = 16
    assert fits(chain) == "has 9 leaves where complete trees of its depth have 256: a 16th at least"
    many = make.random_forest(rng, 1, 60, "complete", depth=3)
    with pytest.raises(ModelError, match=r"model 4 has \d+ cuts of one feature: 254 at most. Serve it by another kernel."):
        pack([many], [4])


def test_models_of_more_than_256_features_together_are_refused():
    rng = np.random.default_rng(9)
    forests = [make.random_forest(rng, 400, 30, "complete", depth=3) for _ in range(4)]
    with pytest.raises(ModelError, match="features together: byte ranks hold 256 at most"):
        pack(forests, range(4))


def test_columns_that_no_tree_tests_cost_no_slot():
    rng = np.random.default_rng(10)
    forest = make.random_forest(rng, 300, 4, "complete", depth=4)
    assert forest_lines.fits(forest) == ""
    equal([forest], make.rows(rng, [forest], 20))
