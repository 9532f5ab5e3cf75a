"""Mask tables against the definition of a test, node by node and row by row."""

import forests
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit import trees_mask
from tickarrow.pipeline import forest_mask
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Forest


def right(forest, x):
    """(nodes, rows) bool by definition: whether each row goes right at each node."""
    out = np.zeros((forest.left.size, len(x)), bool)
    for node in np.flatnonzero(forest.inner):
        for r, row in enumerate(x):
            value = row[forest.feature[node]]
            out[node, r] = not forest.default_left[node] if np.isnan(value) else value >= forest.cut[node]
    return out


def table(dictionary, x, lo, hi, words):
    """The table as (rows, 64 * words) bool."""
    scratch, out = forest_mask.room(dictionary.arrays, words)
    out[:] = 0x5555555555555555
    trees_mask.masks(x, lo, hi, words, *forest_mask.inputs(dictionary.arrays), scratch, out)
    return np.unpackbits(out.view(np.uint8).reshape(-1, 8 * words), axis=1, bitorder="little").astype(bool)


def masks(dictionary, model, bits):
    """(nodes, 64 * words) bool: what a tree kernel makes of the table for a node."""
    rows = dictionary.nodes[model]
    return bits[rows] if dictionary.digits == 1 else bits[rows[:, 0] + 1] | (bits[rows[:, 0]] & bits[rows[:, 1]])


def nodes(cut, feature=None, left=None, n_features=1):
    """A forest of stumps, one for each cut."""
    n = len(cut)
    feature, left = np.zeros(n) if feature is None else feature, np.zeros(n) if left is None else left
    cut, feature, left = (np.repeat(np.asarray(v, kind), 3) for v, kind in ((cut, np.float32), (feature, np.int64), (left, bool)))
    at = 3 * np.arange(n)
    children = np.full((2, 3 * n), -1)
    children[:, ::3] = at + 1, at + 2
    return Forest(
        n_features=n_features, base=0.0, root=at, left=children[0], right=children[1], feature=feature, cut=cut, default_left=left,
        leaf=np.zeros(3 * n, np.float32),
    )  # fmt: skip


@given(
    seed=st.integers(0, 10_000), digits=st.sampled_from([0, 1, 2]), words=st.sampled_from([2, 4, 8]), n_features=st.sampled_from([1, 3, 16, 17, 40]),
    shared=st.booleans(), n=st.integers(1, 130), lo=st.integers(0, 5),
)  # fmt: skip
def test_every_node_finds_its_own_test(seed, digits, words, n_features, shared, n, lo):
    rng = np.random.default_rng(seed)
    grid = forests.grid(rng, n_features) if shared else None
    bank = [forests.random_forest(rng, n_features, 3, "mixed", leaves=20, cuts=grid, missing=rng.random()) for _ in range(3)]
    x = forests.rows(rng, bank, n + lo)
    hi = min(lo + n, lo + 64 * words)
    d = forest_mask.dictionary(bank, digits)
    bits = table(d, x, lo, hi, words)
    assert d.digits == (digits or 1)
    assert len(bits) == d.rows == forest_mask.rows(d.arrays)
    padded = x[np.minimum(lo + np.arange(64 * words), hi - 1)]
    for m, forest in enumerate(bank):
        want = right(forest, padded[: hi - lo])
        want = np.concatenate([want, np.repeat(want[:, -1:], 64 * words - (hi - lo), axis=1)], axis=1)
        np.testing.assert_array_equal(masks(d, m, bits), want)


@pytest.mark.parametrize("digits", [1, 2])
def test_a_hand_computed_table(digits):
    # x >= 1, x >= 2; missing goes right, then left; never, always
    forest = nodes([1, 2, 1, 2, np.nan, np.nan, -np.inf, -np.inf], left=[0, 0, 1, 1, 0, 1, 0, 1])
    x = np.array([[0.5], [1.0], [1.5], [2.0], [np.inf], [-np.inf], [np.nan]], np.float32)
    want = ["0111101", "0001101", "0111100", "0001100", "0000001", "0000000", "1111111", "1111110"]
    d = forest_mask.dictionary([forest], digits)
    got = masks(d, 0, table(d, x, 0, 7, 2))[::3, :7]
    assert ["".join("01"[v] for v in row) for row in got.astype(int)] == want
    assert d.tests == 8


@pytest.mark.parametrize("digits", [1, 2])
@pytest.mark.parametrize("n", [253, 254, 255, 508, 509, 3_000])
def test_a_feature_may_have_many_cuts(digits, n):
    cut = np.arange(n + 1).astype(np.float32)
    cut[-1] = np.nan
    forest = nodes(np.repeat(cut, 2), left=np.arange(2 * n + 2) % 2)
    x = np.append(np.array([0, 1, 126.5, 252, 253, 254, 255, 507, 508, 509, n - 2, n - 1, n, -1, np.inf]), np.nan).astype(np.float32).reshape(-1, 1)
    d = forest_mask.dictionary([forest], digits)
    np.testing.assert_array_equal(masks(d, 0, table(d, x, 0, len(x), 2))[::3, : len(x)], right(forest, x)[::3])


def test_two_digits_hold_32000_cuts_of_a_feature():
    cut = np.arange(32_000).astype(np.float32)
    forest = nodes(cut, left=np.arange(32_000) % 2)
    d = forest_mask.dictionary([forest], 2)
    assert d.rows < 1_000
    x = np.array([[-1.0], [0.0], [127.0], [128.5], [16_383.0], [31_998.5], [31_999.0], [np.inf], [np.nan]], np.float32)
    got = masks(d, 0, table(d, x, 0, len(x), 2))[::3, : len(x)]
    want = cut[:, None] <= x.T
    want[:, -1] = np.arange(32_000) % 2 == 0
    np.testing.assert_array_equal(got, want)


def test_two_digits_are_taken_where_one_has_too_few_rows():
    rng = np.random.default_rng(3)
    many = nodes(rng.permutation(70_000).astype(np.float32), feature=np.arange(70_000) % 7, n_features=7)
    d = forest_mask.dictionary([many])
    assert (d.digits, d.tests) == (2, 70_000)
    assert d.rows < 3_000
    size = f"{d.rows} mask rows ({d.rows * 32 / 1e6:.2f} MB for 256 rows)"
    assert d.cost == f"70000 different tests in {size}, three rows a node, for its models have each their own cuts"


def test_too_many_cuts_are_refused():
    with pytest.raises(ModelError, match=r"feature 0 has 40000 different cuts in all models together: expected at most 32384\. Split the set\."):
        forest_mask.dictionary([nodes(np.arange(40_000))], 2)
    with pytest.raises(ModelError, match=r"the models have 70000 different tests, 70003 mask rows with 1 digits: expected at most 65536 rows"):
        forest_mask.dictionary([nodes(np.arange(70_000))], 1)


def test_a_bank_without_a_split_has_only_the_fixed_rows():
    leaf = Forest(
        n_features=2, base=0.0, root=np.array([0]), left=np.array([-1]), right=np.array([-1]), feature=np.array([0]), cut=np.zeros(1, np.float32),
        default_left=np.array([False]), leaf=np.ones(1, np.float32),
    )  # fmt: skip
    d = forest_mask.dictionary([leaf])
    bits = table(d, np.zeros((1, 2), np.float32), 0, 1, 2)
    assert bits.tolist() == [[False] * 128, [False] * 128, [True] * 128]
