"""One row through trees of any shape: the bits of the definition and of the libraries, whatever the shape, width, grid and number of models."""

import forests as made
import lightgbm
import naive_trees
import numpy as np
import pytest
import xgboost
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit import simd
from tickarrow.jit._kernel import cpu_has
from tickarrow.pipeline import forest_jump, library
from tickarrow.pipeline.forest import Forest

pytestmark = pytest.mark.skipif(not cpu_has(simd.NEEDS), reason=f"the kernel needs {simd.NEEDS}")


def jump(forests, x, lo=0, hi=None):
    """Margins by the kernel; columns that are not its own stay NaN."""
    hi = len(x) if hi is None else hi
    y = np.full((hi - lo, 2 * len(forests)), np.nan, np.float32)
    columns = [2 * i + 1 for i in range(len(forests))][::-1]
    forest_jump.Jump(forest_jump.pack(forests, columns)).predict(x, lo, hi, y)
    assert np.isnan(y[:, ::2]).all()
    return y[:, columns]


def same(got, expected):
    np.testing.assert_array_equal(got.view(np.int32), np.asarray(expected, np.float32).view(np.int32))


@given(
    st.integers(0, 2**32 - 1), st.sampled_from(["complete", "any", "leafwise", "mixed"]), st.integers(2, 256), st.sampled_from([1, 6, 40, 128, 129, 200, 256]),
    st.integers(1, 11), st.sampled_from([np.float32, np.float64]), st.booleans(),
)  # fmt: skip
def test_forests_of_any_shape_have_the_margins_of_their_definition(seed, shape, leaves, n_features, models, dtype, shared):
    rng = np.random.default_rng(seed)
    cuts = made.grid(rng, n_features) if shared else None
    forests = []
    for _ in range(models):
        trees, depth, divisor = int(rng.integers(1, 12)), int(rng.integers(1, 8)), int(rng.choice([1, 7]))
        some = int(rng.integers(2, leaves + 1))
        forest = made.random_forest(rng, n_features, trees, shape, depth, some, dtype, cuts, never=0.1, divisor=divisor)
        if not forest_jump.fits(forest):
            forests.append(forest)
    if forests:
        x = made.rows(rng, forests, 20)
        same(jump(forests, x), naive_trees.bank(forests, x))


@pytest.mark.parametrize("leaves", [1, 2, 16, 17, 32, 33, 64, 65, 128, 129, 192, 193, 255, 256, 400, 700])
def test_every_room_a_tree_can_take_is_filled_to_its_end(leaves):
    rng = np.random.default_rng(leaves)
    cuts = made.grid(rng, 10)
    trees = 30 if leaves <= 64 else 9
    forests = [made.random_forest(rng, 10, trees + i, "leafwise", leaves=leaves, dtype=np.float64, cuts=cuts) for i in range(9)]
    x = made.rows(rng, forests, 30)
    same(jump(forests, x), naive_trees.bank(forests, x))


def chain(n, side, n_features=1):
    """One tree whose node i has a leaf on one side and node i + 1 on the other; the cut of node i is i // 2, and no two leaves are equal."""
    inner, node = np.arange(n) * 2, np.arange(2 * n + 1)
    left, right = np.full(2 * n + 1, -1), np.full(2 * n + 1, -1)
    below, beside = inner + 2, inner + 1
    swap = np.array([side(i) for i in range(n)], bool)
    left[inner], right[inner] = np.where(swap, beside, below), np.where(swap, below, beside)
    cut = np.where(left >= 0, node // 4, 0).astype(np.float32)
    leaf = np.where(left < 0, 1.0 + node, 0.0)
    return Forest(
        n_features=n_features, base=0.0, root=np.array([0]), left=left, right=right, feature=np.zeros(left.size, np.int64), cut=cut,
        default_left=np.zeros(left.size, bool), leaf=leaf,
    )  # fmt: skip


@pytest.mark.parametrize("side", [lambda i: True, lambda i: False, lambda i: i % 2 == 0, lambda i: i % 3 == 0])
@pytest.mark.parametrize("n", [1, 5, 6, 12, 13, 20, 21, 36, 37, 68, 69, 133, 134, 200, 261])  # tops of n - 5 nodes
def test_a_tree_that_is_one_long_path_is_followed_to_its_end(n, side):
    forests = [chain(n, side)]
    x = np.append(np.arange(-1.0, n // 2 + 1), np.nan)[:, None].astype(np.float32)
    same(jump(forests, x), naive_trees.bank(forests, x))


def test_a_hand_computed_forest():
    #  tree 0: x0 >= 1 ? (x1 >= 2 ? 40 : 30) : (x1 >= 0 ? 20 : 10), missing x0 left, missing x1 right;  tree 1: one leaf 0.5;  base 100
    forest = Forest(
        n_features=2, base=100.0, root=np.array([0, 7]), left=np.array([1, 3, 5, -1, -1, -1, -1, -1]), right=np.array([2, 4, 6, -1, -1, -1, -1, -1]),
        feature=np.array([0, 1, 1, 0, 0, 0, 0, 0]), cut=np.array([1, 0, 2, 0, 0, 0, 0, 0], np.float32), default_left=np.array([True] + 7 * [False]),
        leaf=np.array([0, 0, 0, 10, 20, 30, 40, 0.5], np.float32),
    )  # fmt: skip
    nan = np.nan
    x = np.array([[0, -1], [0, 0], [1, 1.9], [1, 2], [nan, -1], [nan, nan], [5, nan], [-np.inf, np.inf]], np.float32)
    assert jump([forest], x)[:, 0].tolist() == [110.5, 120.5, 130.5, 140.5, 110.5, 120.5, 140.5, 120.5]


def test_a_part_of_the_rows_goes_to_the_first_rows_of_the_result():
    rng = np.random.default_rng(3)
    forests = [made.random_forest(rng, dtype=np.float32) for _ in range(3)]
    x = made.rows(rng, forests, 20)
    same(jump(forests, x, 5, 9), naive_trees.bank(forests, x[5:9]))


def test_models_of_different_length_and_room_share_a_bank():
    rng = np.random.default_rng(5)
    cuts = made.grid(rng, 20)
    forests = [
        made.random_forest(rng, 20, trees, "leafwise", leaves=leaves, dtype=np.float32, cuts=cuts)
        for trees, leaves in [(200, 10), (3, 10), (90, 10), (120, 31), (1, 31), (40, 63), (12, 127), (13, 100), (7, 250), (250, 20), (130, 31)]
    ]
    x = made.rows(rng, forests, 10)
    same(jump(forests, x), naive_trees.bank(forests, x))


def test_a_model_without_trees_is_its_base():
    rng = np.random.default_rng(9)
    forests = [made.random_forest(rng, n_trees=n) for n in (0, 3)]
    x = made.rows(rng, forests[1:], 10)
    same(jump(forests, x), naive_trees.bank(forests, x))
    same(jump(forests[:1], x), naive_trees.bank(forests[:1], x))


def test_what_does_not_fit_is_named():
    rng = np.random.default_rng(7)
    assert forest_jump.fits(chain(262, bool)) == "has a tree with 257 nodes above subtrees of 5: 256 at most"
    assert forest_jump.fits(made.random_forest(rng, 1, 12, "leafwise", leaves=40, never=0.0)) == "has 468 cuts of one feature: 254 at most"
    assert forest_jump.fits(made.random_forest(rng, shape="leafwise", leaves=700, cuts=made.grid(rng))) == ""


def table(rng, rows=1500, columns=30, missing=0.05):
    x = rng.normal(size=(rows, columns)).astype(np.float32)
    y = x[:, 0] * x[:, 1] + np.sin(3 * x[:, 2]) + rng.normal(size=rows)
    x[rng.random(x.shape) < missing] = np.nan
    return x, y


@pytest.mark.parametrize(("leaves", "columns"), [(15, 30), (31, 30), (63, 30), (127, 30), (255, 30), (31, 160)])
def test_lightgbm_itself(leaves, columns):
    rng = np.random.default_rng(leaves)
    x, y = table(rng, columns=columns)
    models = []
    for seed in range(2):
        given_, rounds = {"num_leaves": leaves, "min_data_in_leaf": 1, "seed": seed, "num_threads": 1, "verbose": -1, "max_bin": 200}, 20 + seed
        models.append(library.wrap(lightgbm.train(given_, lightgbm.Dataset(x, y), rounds)))
    forests = [m.forest(f"m{i}") for i, m in enumerate(models)]
    rows = np.concatenate([x[:100], made.rows(rng, forests, 150)])
    same(jump(forests, rows), np.stack([m.margins(rows) for m in models], 1))


def test_xgboost_lossguide_itself():
    rng = np.random.default_rng(1)
    x, y = table(rng)
    given_ = {"tree_method": "hist", "grow_policy": "lossguide", "max_leaves": 60, "max_depth": 0, "max_bin": 128, "nthread": 1}
    models = [library.wrap(xgboost.train(given_, xgboost.DMatrix(x, y), 30))]
    forests = [m.forest("m") for m in models]
    rows = np.concatenate([x[:100], made.rows(rng, forests, 150)])
    rows = rows[~np.isinf(rows).any(1)]
    same(jump(forests, rows), np.stack([m.margins(rows) for m in models], 1))
