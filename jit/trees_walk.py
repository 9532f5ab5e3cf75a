"""Trees of any shape on any processor: sixteen walks at a time, each down a tree of its own, in lock step.

A node is eight bytes: its cut, and in one word the column it tests (12 bits) and where its children begin, counted from the root
(20 bits). They stand side by side, the one for a failed test first, so a step is: next = root + children + (value >= cut). No branch, and
sixteen chains of loads are under way at once. A leaf has itself as its child and a cut that nothing reaches, so a walk that has arrived
stays; sixteen walks are over when none of them moves.

A row is written twice, as it is and negated. A missing value fails every test in both, so a node where it goes right tests the negated
row with its children exchanged: `x >= c` fails exactly if `-x >= nextafter(-c, inf)`. That is exact for every cut, also -inf and NaN."""

import numpy as np

from tickarrow.jit._kernel import kernel

LANES = 16  # walks in lock step
BLOCK = 16  # rows that share one pass over the trees
COLUMN_BITS = 12
COLUMN = np.uint32((1 << COLUMN_BITS) - 1)

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


@kernel("f4[:,:], i8, u8[:], u8[:], i4[:], i4[:], out u8[:], out u4[:,:]")
def descend(wide, rows, node, root, depth, place, slot, found):
    """The leaf that each row reaches in each tree.

    Parameters
    ----------
    wide : (>= rows, 2 * n_features) float32, from `mirror`
    rows : int
    node : (nodes,) uint64, low word = float32 cut, high word = children << 12 | column
    root : (chunks * 16,) uint64, node of each tree's root; trees of like depth stand together
    depth : (chunks,) int32, steps of a chunk's deepest tree
    place : (chunks * 16,) int32, column of `found`
    slot : (16,) uint64, scratch
    found : (>= rows, trees + 1) uint32, out, node of the leaf; the last column takes the walks that only pad
    """
    cut = node.view(np.float32)
    word = node.view(np.uint32)
    for c in range(depth.shape[0]):
        first = c * LANES
        for r in range(rows):
            row = wide[r]
            for j in range(LANES):
                slot[j] = root[first + j]
            for _ in range(depth[c]):
                moved = U(0)
                for j in range(LANES):
                    s = slot[j]
                    w = word[U(2) * s + U(1)]
                    to = root[first + j] + U(w >> np.uint32(COLUMN_BITS)) + U(row[w & COLUMN] >= cut[U(2) * s])
                    moved |= to ^ s
                    slot[j] = to
                if moved == U(0):
                    break
            for j in range(LANES):
                found[r, place[first + j]] = slot[j]


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

BANK = "f4[:,:], i8, i8, u8[:], u8[:], i4[:], i4[:], {0}[:], i8[:], {0}[:], {0}[:], i4[:], out f4[:,:], out u8[:], out u4[:,:], out f4[:,:]"


@kernel(BANK.format("f4"))
def walk_f4(x, lo, hi, node, root, depth, place, leaf, first, base, divisor, model, wide, slot, found, y):
    """Margins of all models for rows of features, leaves added in float32.

    Parameters
    ----------
    x : (capacity, n_features) float32, row-major, NaN = missing
    lo, hi : int, rows [lo, hi) of `x`
    node, root, depth, place : as `descend`
    leaf, first, base, divisor, model : as `_sums`
    wide, slot, found : (16, 2 * n_features) float32, (16,) uint64, (16, trees + 1) uint32, scratch
    y : (>= hi - lo, n_models) float32, out; row 0 belongs to row `lo`
    """
    for begin in range(lo, hi, BLOCK):
        rows = min(BLOCK, hi - begin)
        mirror(x, begin, begin + rows, wide)
        descend(wide, rows, node, root, depth, place, slot, found)
        sums_f4(found, rows, leaf, first, base, divisor, model, begin - lo, y)


@kernel(BANK.format("f8"))
def walk_f8(x, lo, hi, node, root, depth, place, leaf, first, base, divisor, model, wide, slot, found, y):
    """The same, leaves added in float64."""
    for begin in range(lo, hi, BLOCK):
        rows = min(BLOCK, hi - begin)
        mirror(x, begin, begin + rows, wide)
        descend(wide, rows, node, root, depth, place, slot, found)
        sums_f8(found, rows, leaf, first, base, divisor, model, begin - lo, y)
