"""The forest kernel against xgboost, its own dump walked naively, and hand-computed trees."""

import naive_models as naive
import naive_trees
import numpy as np
import pytest
import xgboost as xgb
from forests import grid, random_forest, rows
from hypothesis import given, settings
from hypothesis import strategies as st

from tickarrow.pipeline import certificate, forest_lock, library
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Forest

INF = np.float32(np.inf)


def bits(a):
    return np.asarray(a, np.float32).view(np.uint32)


def train(seed, depth, n_trees, n_features=6, **more):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(800, n_features)).astype(np.float32)
    x[:, 1] = np.round(x[:, 1])
    x[rng.random(x.shape) < 0.05] = np.nan
    y = (np.nan_to_num(x[:, 0]) * np.nan_to_num(x[:, 2]) + rng.normal(size=800)).astype(np.float32)
    conf = {"max_depth": depth, "eta": 0.3, "nthread": 1, "seed": seed, "max_bin": 32, "tree_method": "hist", "min_child_weight": 1} | more
    return xgb.train(conf, xgb.QuantileDMatrix(x, y, max_bin=conf["max_bin"], nthread=1), n_trees)


def run(layout, x, lo=0, hi=None):
    hi = len(x) if hi is None else hi
    y = np.full((hi - lo, len(layout["models"])), np.nan, np.float32)
    forest_lock.Lock(layout).predict(np.ascontiguousarray(x), lo, hi, y)
    return y


def stump(left, right, feature=0, threshold=1.0, missing_left=False, base=0.0, n_features=2):
    """A forest of one tree with one split."""
    return Forest(
        n_features=n_features, base=np.float32(base), root=np.array([0]), left=np.array([1, -1, -1]), right=np.array([2, -1, -1]),
        feature=np.array([feature, 0, 0]), cut=np.array([threshold, 0, 0], np.float32),
        default_left=np.array([missing_left, False, False]), leaf=np.array([0, left, right], np.float32),
    )  # fmt: skip


@pytest.fixture(scope="module")
def bank():
    """Twenty models: two groups, the second not full; depths 1 to 6 and 3 to 12 trees."""
    shapes = [(1 + i % 6, 3 + (7 * i) % 10) for i in range(20)]
    boosters = [train(i, depth, n) for i, (depth, n) in enumerate(shapes)]
    forests = [library.wrap(b).forest(f"m{i}") for i, b in enumerate(boosters)]
    return boosters, forests, forest_lock.pack(forests, range(20))


def test_every_bit_is_that_of_xgboost_on_probe_rows(bank):
    boosters, forests, layout = bank
    rows = certificate.probe_rows(forests)
    want = np.stack([b.inplace_predict(rows, predict_type="margin") for b in boosters], 1)
    np.testing.assert_array_equal(bits(run(layout, rows)), bits(want))


def test_probe_rows_hold_every_threshold_its_neighbours_and_all_special_values(bank):
    _, forests, _ = bank
    rows = certificate.probe_rows(forests)
    for f in range(6):
        column = set(bits(rows[:, f]).tolist())
        for forest in forests:
            cuts = forest.cut[(forest.left >= 0) & (forest.feature == f)]
            assert {*bits(cuts), *bits(np.nextafter(cuts, INF)), *bits(np.nextafter(cuts, -INF))} <= column
    missing = np.isnan(rows)
    assert missing.all(axis=1).any()
    assert all((missing[:, f] & (missing.sum(axis=1) == 1)).any() for f in range(6))
    for value in (np.inf, -np.inf, 0.0, -0.0, 1e-42, -1e-42, 3.4e38, -3.4e38):
        assert (bits(rows) == bits(value)).all(axis=1).any()


def test_forest_equals_the_naive_walk_of_the_json_dump(bank):
    boosters, forests, layout = bank
    rows = certificate.probe_rows(forests)[::60]
    got = run(layout, rows)
    for m in (0, 5, 19):
        np.testing.assert_array_equal(bits(got[:, m]), bits(naive.margin(boosters[m], rows)))


def test_a_hand_computed_stump():
    # x0 < 1 -> 2, else 3; base 0.5; a missing value goes left, +inf right, -inf left, the threshold itself right
    layout = forest_lock.pack([stump(2, 3, missing_left=True, base=0.5), stump(2, 3, base=0.5)], [0, 1])
    x = np.array([[0.5, 9], [1.0, 9], [np.nan, 9], [np.inf, 9], [-np.inf, 9]], np.float32)
    np.testing.assert_array_equal(run(layout, x), [[2.5, 2.5], [3.5, 3.5], [2.5, 3.5], [3.5, 3.5], [2.5, 2.5]])


def test_padding_trees_keep_a_negative_zero():
    # one tree gives -0.0 on a base of -0.0, and seven padding trees are added to it
    one = stump(-0.0, -0.0, base=-0.0)
    three = Forest(
        n_features=2, base=np.float32(0), root=np.array([0, 1, 2]), left=np.full(3, -1), right=np.full(3, -1),
        feature=np.zeros(3, np.int64), cut=np.zeros(3, np.float32), default_left=np.zeros(3, bool),
        leaf=np.array([1, 2, 4], np.float32),
    )  # fmt: skip
    layout = forest_lock.pack([one, three], [0, 1])
    assert layout["models"][:, 3].tolist() == [1, 1]  # a chunk of eight trees each
    np.testing.assert_array_equal(bits(run(layout, np.zeros((1, 2)).astype(np.float32))), bits([[-0.0, 7.0]]))


def test_a_tree_without_a_split_is_its_leaf():
    leaf = Forest(
        n_features=1, base=np.float32(1), root=np.array([0]), left=np.array([-1]), right=np.array([-1]), feature=np.array([0]),
        cut=np.zeros(1, np.float32), default_left=np.array([False]), leaf=np.array([0.25], np.float32),
    )  # fmt: skip
    np.testing.assert_array_equal(run(forest_lock.pack([leaf], [0]), np.array([[np.nan], [3.0]], np.float32)), [[1.25], [1.25]])


@settings(max_examples=20)
@given(lo=st.integers(0, 60), n=st.integers(0, 60), missing=st.floats(0, 1))
def test_rows_do_not_depend_on_their_window(bank, lo, n, missing):
    layout = bank[2]
    rng = np.random.default_rng(7)
    rows = rng.normal(size=(120, 6)).astype(np.float32)
    rows[rng.random(rows.shape) < missing] = np.nan
    whole = run(layout, rows)
    np.testing.assert_array_equal(bits(run(layout, rows, lo, lo + n)), bits(whole[lo : lo + n]))


@pytest.mark.parametrize("cut", [np.nan, -np.inf, np.inf, 0.0, 1.5])
@pytest.mark.parametrize("missing_left", [False, True])
def test_every_cut_and_default_direction(cut, missing_left):
    forest = stump(2, 3, threshold=cut, missing_left=missing_left)
    x = np.array([[v, 0] for v in (np.nan, -np.inf, -1e-45, -0.0, 0.0, 1e-45, 1.5, np.inf)], np.float32)
    np.testing.assert_array_equal(run(forest_lock.pack([forest], [0]), x), naive_trees.bank([forest], x))


@given(seed=st.integers(0, 2**32), depth=st.integers(1, 8), shared=st.booleans())
def test_every_bank_gives_the_bits_of_its_definition(seed, depth, shared):
    rng = np.random.default_rng(seed)
    cuts = grid(rng, cuts=200) if shared else None
    shape = "complete" if depth < 6 else "any"
    forests = [random_forest(rng, shape=shape, depth=depth, n_trees=int(rng.integers(1, 12)), cuts=cuts, never=0.2) for _ in range(3)]
    x = rows(rng, forests, 8)
    got = run(forest_lock.pack(forests, [2, 0, 1]), x)[:, [2, 0, 1]]
    np.testing.assert_array_equal(bits(got), bits(naive_trees.bank(forests, x)))


def test_a_grid_that_fills_the_codes():
    # 254 cuts of one feature are all codes from 1 to 254; a cut of NaN needs 255, and one more where a missing value goes left
    cuts = np.sort(np.random.default_rng(1).normal(size=254)).astype(np.float32)
    forests = [stump(2, 3, threshold=c, missing_left=m) for c in [*cuts, np.nan] for m in (False, True)]
    x = np.zeros((3 * 254 + 1, 2), np.float32)
    x[:, 0] = np.concatenate([cuts, np.nextafter(cuts, -INF), np.nextafter(cuts, INF), [np.nan]])
    layout = forest_lock.pack(forests, range(len(forests)))
    np.testing.assert_array_equal(run(layout, x), naive_trees.bank(forests, x))
    assert layout["rank_shape"][1] == 1


def test_what_lock_step_cannot_run_is_said():
    rng = np.random.default_rng(3)
    assert forest_lock.fits(random_forest(rng)) == ""
    assert forest_lock.fits(random_forest(rng, shape="complete", depth=9, n_trees=1)) == "is 9 levels deep: 8 at most"
    assert forest_lock.fits(random_forest(rng, dtype=np.float64)) == "adds in float64"
    assert forest_lock.fits(random_forest(rng, divisor=5)) == "averages its trees"
    wide = random_forest(rng, n_features=200, shape="complete", n_trees=60)
    assert forest_lock.fits(wide) == f"tests {np.unique(wide.feature[wide.inner]).size} features: 128 at most"
    assert "cuts of one feature: 254 at most" in forest_lock.fits(random_forest(rng, n_features=1, shape="complete", depth=8, n_trees=3))
    with pytest.raises(ModelError, match="the models test 200 features together: 128 at most"):
        forest_lock.pack([random_forest(rng, n_features=200, n_trees=9) for _ in range(30)], range(30))
