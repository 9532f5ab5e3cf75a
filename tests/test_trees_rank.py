"""Rank tables against their definition: the number of cuts that are <= the value, on every cut, beside it, and on special values."""

from __future__ import annotations

import forests as make
import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickarrow.jit import trees_rank
from tickarrow.pipeline import forest_rank
from tickarrow.pipeline.errors import ModelError

if numba.config.DISABLE_JIT:
    pytest.skip("ranks are vector instructions: there are none with the JIT off", allow_module_level=True)

seeds = st.integers(0, 2**32 - 1)


def ranks_of(forests, x):
    """The tables (rows, grids, span) of all rows, and the grids."""
    found = forest_rank.grids(forests)
    ranks = forest_rank.Ranks(forest_rank.pack(found))
    out = []
    for i in range(len(x)):
        trees_rank.rank_of(x, i, ranks.block)
        out.append(ranks.table.copy())
    return np.array(out), found


def check(forests, x):
    got, found = ranks_of(forests, x)
    for g, grid in enumerate(found.cuts):
        for s, cuts in enumerate(grid):
            assert cuts.size <= 254
            v = x[:, found.column[s]]
            want = np.where(np.isnan(v), 255, (cuts[None, :] <= v[:, None]).sum(axis=1))
            np.testing.assert_array_equal(got[:, g, s], want, err_msg=f"grid {g}, column {found.column[s]}")
    for i, forest in enumerate(forests):
        slot, code = found.codes(i, forest)
        for node in np.flatnonzero(forest.inner):
            v = x[:, forest.feature[node]]
            by_rank = got[:, found.of[i], slot[node]] >= code[node]
            np.testing.assert_array_equal(by_rank, np.where(np.isnan(v), True, v >= forest.cut[node]))
    return found


@given(seeds, st.integers(1, 4), st.sampled_from([1, 3, 20, 250]))
def test_ranks_of_a_shared_grid_count_cuts(seed, n, cuts):
    rng = np.random.default_rng(seed)
    grid = make.grid(rng, 7, cuts)
    forests = [make.random_forest(rng, 7, 6, "mixed", cuts=grid) for _ in range(n)]
    found = check(forests, make.rows(rng, forests, 30))
    assert len(found.cuts) == 1


@given(seeds, st.integers(2, 20), st.integers(1, 3))
def test_ranks_of_separate_grids_count_cuts(seed, n, features):
    rng = np.random.default_rng(seed)
    forests = [make.random_forest(rng, features, 3, "complete", depth=6) for _ in range(n)]
    found = check(forests, make.rows(rng, forests, 30))
    own = [np.unique(f.cut[f.inner]).size for f in forests]
    assert len(found.cuts) > 1 or sum(own) < 800


def test_ranks_of_a_hand_computed_grid():
    # column 2 has the cuts -1 and 3.5, column 5 has 0; the others are never tested
    forest = make.random_forest(np.random.default_rng(1), 8, 1, "complete", depth=2, never=0)
    forest.feature[:], forest.cut[:] = 2, -1.0
    _a, b, c = np.flatnonzero(forest.inner)
    forest.cut[b], forest.feature[c], forest.cut[c] = 3.5, 5, 0.0
    x = np.zeros((5, 8), np.float32)
    x[:, 2] = [-1.5, -1.0, 3.4999998, 3.5, np.nan]
    x[:, 5] = [-1e-45, -0.0, np.inf, -np.inf, np.nan]
    got, found = ranks_of([forest], x)
    assert found.column.tolist() == [2, 5]
    assert found.summary() == "1 cut grid with 3 cuts of 2 features"
    assert got[:, 0, 0].tolist() == [0, 1, 1, 2, 255]
    assert got[:, 0, 1].tolist() == [0, 1, 1, 0, 255]


def test_wide_rows_have_tables_of_256_slots():
    rng = np.random.default_rng(3)
    forests = [make.random_forest(rng, 256, 40, "complete", depth=4, cuts=make.grid(rng, 256, 30)) for _ in range(2)]
    found = check(forests, make.rows(rng, forests, 20))
    assert found.span == 256


def test_too_many_features_or_cuts_are_refused():
    rng = np.random.default_rng(4)
    wide = make.random_forest(rng, 400, 60, "complete", depth=5)
    with pytest.raises(ModelError, match=r"the models test \d+ features together: byte ranks hold 256 at most"):
        forest_rank.grids([wide])
    fine = make.random_forest(rng, 1, 40, "complete", depth=3)
    with pytest.raises(ModelError, match=r"model 0 of the group has \d+ cuts of one feature: 254 at most"):
        forest_rank.grids([fine])
    assert "features" in forest_rank.too_many(wide)
    assert "cuts" in forest_rank.too_many(fine)
