"""The neutral forest: what its properties say, and that its slow twin follows the definition."""

import naive_trees
import numpy as np
import pytest
from forests import grid, random_forest, rows

from tickarrow.pipeline.forest import Forest

pytestmark = pytest.mark.pure


def by_hand(**more):
    # tree 0: x0 >= 1 ? (x1 >= 2 ? 0.25 : 8) : 3, missing x0 left, missing x1 right; tree 1: a lone leaf of 100
    nan = np.nan
    parts = {
        "n_features": 2, "base": 0.5, "root": np.array([0, 5]), "left": np.array([1, -1, 3, -1, -1, -1]), "right": np.array([2, -1, 4, -1, -1, -1]),
        "feature": np.array([0, 0, 1, 0, 0, 0]), "cut": np.array([1, nan, 2, nan, nan, nan], np.float32),
        "default_left": np.array([True, False, False, False, False, False]), "leaf": np.array([0, 3, 0, 8, 0.25, 100], np.float32),
    }  # fmt: skip
    return Forest(**(parts | more))


def test_a_hand_made_forest():
    forest = by_hand()
    assert (forest.n_trees, forest.depth, forest.leaves.tolist()) == (2, 2, [3, 1])
    x = np.array([[0.5, 9], [1, 1], [1, 2], [np.nan, 2], [1, np.nan], [np.inf, -np.inf]], np.float32)
    assert naive_trees.margins(forest, x).tolist() == [103.5, 108.5, 100.75, 103.5, 100.75, 108.5]
    assert naive_trees.margins(by_hand(divisor=2), x)[0] == 51.75


def test_a_cut_of_nan_sends_none_right_and_one_of_minus_infinity_all():
    x = np.array([[-np.inf, 0], [0, 0], [np.inf, 0]], np.float32)
    never, always = (by_hand(cut=np.array([c, 0, -np.inf, 0, 0, 0], np.float32)) for c in (np.nan, -np.inf))
    assert naive_trees.margins(never, x).tolist() == [103.5] * 3
    assert naive_trees.margins(always, x).tolist() == [100.75] * 3


@pytest.mark.parametrize(("shape", "depth", "leaves"), [("complete", 3, [8, 8]), ("leafwise", None, [9, 9]), ("any", None, None)])
def test_random_forests_have_the_shape_that_is_asked_for(shape, depth, leaves):
    rng = np.random.default_rng(1)
    forest = random_forest(rng, n_trees=2, shape=shape, depth=3, leaves=9, cuts=grid(rng))
    assert depth is None or forest.depth == depth
    assert leaves is None or forest.leaves.tolist() == leaves
    assert forest.leaves.sum() == (~forest.inner).sum()
    assert np.isnan(rows(rng, [forest])).any()
