"""Trees of any shape on any processor: eight walks at a time, each down a tree of its own, in lock step.

A node is eight bytes: its cut, and in one word the column it tests and where its children begin, counted from the begin of its chunk of eight
trees; a layout says how many bits the column has. Children stand side by side, the one for a failed test first, so a step is: next =
children + (value >= cut). No branch, and eight chains of loads are under way at once. A leaf has itself as its child and a cut that nothing
reaches, so a walk that has arrived stays; eight walks are over when none of them moves.

A row is written twice, as it is and negated. A missing value fails every test in both, so a node where it goes right tests the negated
row with its children exchanged: `x >= c` fails exactly if `-x >= nextafter(-c, inf)`. That is exact for every cut, also -inf and NaN."""

import numpy as np

from tickarrow.jit._kernel import kernel

LANES = 8  # walks in lock step
BLOCK = 16  # rows that share one pass over the trees

U = np.uint64


@kernel("f4[:,:], i8, i8, out f4[:,:]")
def mirror(x, lo, hi, wide):
    """Write rows twice side by side, as they are and negated.

    Parameters
    ----------
    x : (capacity, n_features) float32, NaN = missing
    lo, hi : int, rows [lo, hi) of `x`
    wide : (>= hi - lo, 2 * n_features) float32, out
    """
    n = x.shape[1]
    for i in range(lo, hi):
        for f in range(n):
            wide[i - lo, f] = x[i, f]
            wide[i - lo, n + f] = -x[i, f]


@kernel("f4[:], f4[:], u4[:], u8, u4, u4, u8", inline=True)
def _step(row, cut, word, begin, shift, column, slot):
    """The node after a node; both are counted from `begin`."""
    w = word[U(2) * (begin + slot) + U(1)]
    return U(w >> shift) + U(row[w & column] >= cut[U(2) * (begin + slot)])


@kernel("f4[:,:], i8, u4, u8[:], u8[:], u4[:], i4[:], i4[:], out u4[:,:]")
def descend(wide, rows, shift, node, begin, root, depth, place, found):
    """The leaf that each row reaches in each tree.

    Parameters
    ----------
    wide : (>= rows, 2 * n_features) float32, from `mirror`
    rows, shift : int
    node : (nodes,) uint64, low word = float32 cut, high word = children << shift | column
    begin : (chunks,) uint64, first node of a chunk of eight trees, from which children count
    root : (chunks * 8,) uint32, roots, counted likewise; trees of like depth stand together
    depth : (chunks,) int32, steps of a chunk's deepest tree
    place : (chunks * 8,) int32, column of `found`
    found : (>= rows, trees + 1) uint32, out, node of the leaf; the last column takes the walks that only pad
    """
    cut = node.view(np.float32)
    word = node.view(np.uint32)
    column = np.uint32((np.uint32(1) << shift) - np.uint32(1))
    for c in range(depth.shape[0]):
        k = c * LANES
        b = begin[c]
        for r in range(rows):
            row = wide[r]
            s0, s1, s2, s3 = U(root[k]), U(root[k + 1]), U(root[k + 2]), U(root[k + 3])
            s4, s5, s6, s7 = U(root[k + 4]), U(root[k + 5]), U(root[k + 6]), U(root[k + 7])
            for _ in range(depth[c]):
                t0 = _step(row, cut, word, b, shift, column, s0)
                t1 = _step(row, cut, word, b, shift, column, s1)
                t2 = _step(row, cut, word, b, shift, column, s2)
                t3 = _step(row, cut, word, b, shift, column, s3)
                t4 = _step(row, cut, word, b, shift, column, s4)
                t5 = _step(row, cut, word, b, shift, column, s5)
                t6 = _step(row, cut, word, b, shift, column, s6)
                t7 = _step(row, cut, word, b, shift, column, s7)
                moved = (s0 ^ t0) | (s1 ^ t1) | (s2 ^ t2) | (s3 ^ t3) | (s4 ^ t4) | (s5 ^ t5) | (s6 ^ t6) | (s7 ^ t7)
                s0, s1, s2, s3, s4, s5, s6, s7 = t0, t1, t2, t3, t4, t5, t6, t7
                if moved == U(0):
                    break
            for j, s in enumerate((s0, s1, s2, s3, s4, s5, s6, s7)):
                found[r, place[k + j]] = b + s


def _sums(found, rows, leaf, first, base, divisor, model, at, y):
    """Leaves of each model added in the order of its trees, in the width of the leaves.

    Parameters
    ----------
    found : (>= rows, trees + 1) uint32, from `descend`
    rows : int
    leaf : (nodes,) float32 or float64
    first : (models + 1,) int64, first tree of each model
    base : (models,) like `leaf`
    divisor : (models,) like `leaf`
    model : (models,) int32, column of `y`
    at : int, first row of `y`
    y : (>= at + rows, n_models) float32, out
    """
    for r in range(rows):
        for m in range(model.shape[0]):
            total = base[m]
            for t in range(first[m], first[m + 1]):
                total += leaf[found[r, t]]
            y[at + r, model[m]] = np.float32(total if divisor[m] == 1 else total / divisor[m])


sums_f4 = kernel("u4[:,:], i8, f4[:], i8[:], f4[:], f4[:], i4[:], i8, out f4[:,:]")(_sums)
sums_f8 = kernel("u4[:,:], i8, f8[:], i8[:], f8[:], f8[:], i4[:], i8, out f4[:,:]")(_sums)

BANK = "f4[:,:], i8, i8, i8, u8[:], u8[:], u4[:], i4[:], i4[:], {0}[:], i8[:], {0}[:], {0}[:], i4[:], out f4[:,:], out u4[:,:], out f4[:,:]"


@kernel(BANK.format("f4"))
def walk_f4(x, lo, hi, shift, node, begin, root, depth, place, leaf, first, base, divisor, model, wide, found, y):
    """Margins of all models for rows of features, leaves added in float32.

    Parameters
    ----------
    x : (capacity, n_features) float32, row-major, NaN = missing
    lo, hi : int, rows [lo, hi) of `x`
    shift, node, begin, root, depth, place : as `descend`
    leaf, first, base, divisor, model : as `_sums`
    wide, found : (16, 2 * n_features) float32, (16, trees + 1) uint32, scratch
    y : (>= hi - lo, n_models) float32, out; row 0 belongs to row `lo`
    """
    for at in range(lo, hi, BLOCK):
        rows = min(BLOCK, hi - at)
        mirror(x, at, at + rows, wide)
        descend(wide, rows, np.uint32(shift), node, begin, root, depth, place, found)
        sums_f4(found, rows, leaf, first, base, divisor, model, at - lo, y)


@kernel(BANK.format("f8"))
def walk_f8(x, lo, hi, shift, node, begin, root, depth, place, leaf, first, base, divisor, model, wide, found, y):
    """The same, leaves added in float64."""
    for at in range(lo, hi, BLOCK):
        rows = min(BLOCK, hi - at)
        mirror(x, at, at + rows, wide)
        descend(wide, rows, np.uint32(shift), node, begin, root, depth, place, found)
        sums_f8(found, rows, leaf, first, base, divisor, model, at - lo, y)
