"""Complete binary trees on any processor: sixteen models at a time, each down a tree of its own, in lock step.

A tree of depth d is a heap of 2^d slots: slot 1 is the root, the children of slot i are 2i and 2i + 1, the second for a passed test
(`value >= threshold`); slot 0 is not used. Sixteen models of like depth stand side by side in one group (lane = model), tree by tree, and
walk in lock step: sixteen independent chains of loads keep the core busy where one walk waits for memory. No vector instruction is needed.

Missing values cost nothing in the walk: rows are mirrored and tests with them, see trees_walk.py. Sums are float32, begin at the base score
and follow the order of the trees, so every bit is that of xgboost. Trees that only pad a model hold leaves of -0.0: v + (-0.0) is v for
every v, also for v = -0.0, where +0.0 fails."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.trees_walk import mirror

LANES = 16  # models of a group
BLOCK = 16  # rows that share one pass over the trees
MAX_DEPTH = 8

U = np.uint64  # an unsigned index spares the test for a negative one


@kernel("f4[:,:], i8, i8, i8[:,:], u2[:], f4[:], f4[:], i4[:], f4[:], out f4[:,:], out f4[:,:], out u8[:], out f4[:,:]")
def forest(x, lo, hi, groups, feature, threshold, leaf, model, base, wide, total, slot, y):
    """Margins of all models for rows of features, bit-equal to xgboost.

    Parameters
    ----------
    x : (capacity, n_features) float32, row-major, NaN = missing
    lo, hi : int, rows [lo, hi) of `x`
    groups : (n_groups, 3) int64: depth, number of trees, first slot in the arrays that follow
    feature : (slots,) uint16, column of the mirrored row: f where a missing value goes left, else n_features + f
    threshold : (slots,) float32, of the test on that column
    leaf : (slots,) float32, 2^depth leaves of each tree
        Order of all three: group, tree, lane, slot or leaf.
    model : (n_groups * 16,) int32, column of `y`; -1 = empty lane
    base : (n_groups * 16,) float32, base score
    wide : (>= 16, 2 * n_features) float32, scratch
    total : (>= 16, 16) float32, scratch
    slot : (16,) uint64, scratch
    y : (>= hi - lo, n_models) float32, out; row 0 belongs to row `lo`

    References
    ----------
    xgboost, cpu_predictor: margin = base score + leaf of tree 0 + leaf of tree 1 + ..., float32.
    """
    for begin in range(lo, hi, BLOCK):
        rows = min(BLOCK, hi - begin)
        mirror(x, begin, begin + rows, wide)
        for g in range(groups.shape[0]):
            depth = groups[g, 0]
            size = U(1) << U(depth)
            tree = U(groups[g, 2])
            lane = g * LANES
            for r in range(rows):
                for j in range(LANES):
                    total[r, j] = base[lane + j]
            for _ in range(groups[g, 1]):
                for r in range(rows):
                    row = wide[r]
                    for j in range(LANES):
                        slot[j] = U(1)
                    for _ in range(depth):
                        k = tree
                        for j in range(LANES):
                            s = k + slot[j]
                            slot[j] += slot[j] + U(row[feature[s]] >= threshold[s])
                            k += size
                    k = tree
                    for j in range(LANES):
                        total[r, j] += leaf[k + slot[j] - size]  # a slot of the last level is 2^depth + its leaf
                        k += size
                tree += U(LANES) * size
            for r in range(rows):
                for j in range(LANES):
                    if model[lane + j] >= 0:
                        y[begin - lo + r, model[lane + j]] = total[r, j]
