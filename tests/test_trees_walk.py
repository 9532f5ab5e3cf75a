"""The walk over trees of any shape against its slow twin and by hand; mirrored tests."""

from dataclasses import replace

import naive_trees
import numpy as np
import pytest
from forests import random_forest, rows
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit import trees_walk
from tickarrow.pipeline import forest_walk
from tickarrow.pipeline.forest import Forest


def bits(a):
    return np.ascontiguousarray(a, np.float32).view(np.uint32)


def run(forests, x, models=None, lo=0, hi=None):
    hi = len(x) if hi is None else hi
    y = np.full((hi - lo, len(forests)), np.nan, np.float32)
    forest_walk.Walk(forest_walk.pack(forests, range(len(forests)) if models is None else models)).predict(x, lo, hi, y)
    return y


@given(seed=st.integers(0, 2**32), width=st.sampled_from([np.float32, np.float64]), divisor=st.sampled_from([1, 7]))
def test_every_shape_gives_the_bits_of_its_definition(seed, width, divisor):
    rng = np.random.default_rng(seed)
    forests = [
        random_forest(rng, shape="mixed", n_trees=int(rng.integers(1, 35)), leaves=int(rng.integers(2, 70)), dtype=width, divisor=divisor)
        for _ in range(3)
    ]  # fmt: skip
    x = rows(rng, forests, 10)
    np.testing.assert_array_equal(bits(run(forests, x, [2, 0, 1])[:, [2, 0, 1]]), bits(naive_trees.bank(forests, x)))


@given(lo=st.integers(0, 40), n=st.integers(0, 40))
def test_rows_do_not_depend_on_their_window(lo, n):
    rng = np.random.default_rng(4)
    forest = random_forest(rng, n_trees=20, shape="leafwise")
    x = rows(rng, [forest], 80)
    np.testing.assert_array_equal(bits(run([forest], x, lo=lo, hi=lo + n)), bits(run([forest], x)[lo : lo + n]))


@pytest.mark.pure
def test_trees_of_thousands_of_leaves():
    rng = np.random.default_rng(5)
    forest = random_forest(rng, n_trees=2, shape="leafwise", leaves=2_000)
    x = rows(rng, [forest], 6)
    np.testing.assert_array_equal(bits(run([forest], x)), bits(naive_trees.bank([forest], x)))


@pytest.mark.pure
def test_a_hand_computed_bank():
    # x0 >= 1 ? (x1 >= 0 ? 30 : 20) : 10, missing x0 left, missing x1 right; then a lone leaf 0.25; base 0.5; averaged over 2 trees
    forest = Forest(
        n_features=2, base=0.5, root=np.array([0, 5]), left=np.array([1, -1, 3, -1, -1, -1]), right=np.array([2, -1, 4, -1, -1, -1]),
        feature=np.array([0, 0, 1, 0, 0, 0]), cut=np.array([1, 0, 0, 0, 0, 0], np.float32),
        default_left=np.array([True, False, False, False, False, False]), leaf=np.array([0, 10, 0, 20, 30, 0.25]), divisor=2,
    )  # fmt: skip
    x = np.array([[0.5, 9], [np.nan, 9], [1.0, -1], [2.0, -0.0], [np.inf, np.nan]], np.float32)
    np.testing.assert_array_equal(run([forest], x), [[5.375], [5.375], [10.375], [15.375], [15.375]])


@pytest.mark.pure
def test_mirrored_tests_fail_where_the_plain_ones_pass():
    values = np.array([np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 1.5, -1.5, 3.4028235e38, -3.4028235e38], np.float32)
    with np.errstate(over="ignore"):
        values = np.unique(np.concatenate([values, np.nextafter(values, np.float32(np.inf)), np.nextafter(values, np.float32(-np.inf))]))
    cuts = np.concatenate([values + np.float32(0.0), [np.float32(np.nan)]])
    mirrored = forest_walk.mirrored(cuts)
    for value in values:
        np.testing.assert_array_equal(-value >= mirrored, ~(value >= cuts))
    assert not (-np.float32(np.nan) >= mirrored).any()


@pytest.mark.pure
def test_mirror_writes_rows_twice():
    wide = np.zeros((2, 4), np.float32)
    trees_walk.mirror(np.array([[1, 2], [np.nan, -0.0], [3, -np.inf]], np.float32), 1, 3, wide)
    np.testing.assert_array_equal(wide, np.array([[np.nan, -0.0, np.nan, 0.0], [3, -np.inf, -3, np.inf]], np.float32))
    assert np.signbit(wide[0]).tolist()[1::2] == [True, False]


def test_what_the_walk_cannot_run_is_said():
    rng = np.random.default_rng(6)
    assert forest_walk.fits(random_forest(rng, shape="mixed", divisor=3, dtype=np.float64)) == ""
    assert forest_walk.fits(random_forest(rng, n_features=100_000, shape="leafwise", leaves=1_000)) == ""
    # 21 bits for a column and its mirror leave 11 for the nodes of eight trees
    many = random_forest(rng, n_features=1_000_000, shape="leafwise", leaves=129)
    assert forest_walk.fits(many) == "has 129 leaves in a tree: 128 at most with 1000000 features"


def test_the_last_column_and_the_last_child_of_a_layout_without_a_bit_to_spare():
    rng = np.random.default_rng(7)
    forest = random_forest(rng, n_features=1 << 17, shape="leafwise", leaves=900, n_trees=8, missing=0.0)  # 18 bits, and 14 for 14,392 nodes
    last = (1 << 17) - 1
    forest = replace(forest, feature=np.where(forest.inner, np.where(rng.random(forest.feature.size) < 0.5, last, forest.feature), 0))
    x = rows(rng, [forest], 2)
    x[:, last] = rng.normal(size=len(x))
    np.testing.assert_array_equal(bits(run([forest], x)), bits(naive_trees.bank([forest], x)))
