"""Complete trees on any processor, one row at a time: eight trees of a model walk in lock step, so that eight chains of loads are under way.

Memory is what one row costs, so a node is two bytes: a place in the rank table and a code (trees_rank.py). The last three levels of a tree
and their eight leaves stand in one line of 64 bytes, for each of the subtrees that the levels above lead to; a walk touches its tree's upper
levels, which are read in order, and one line.

A rank table is written twice: as it is, where a missing value is 255 and passes every test, and one higher, where it is 0 and passes
none. A node tests the copy that its default direction needs. Sums are float32, begin at the base score and follow the order of the trees, so every
bit is that of xgboost. Trees that only pad a model hold leaves of -0.0: v + (-0.0) is v for every v, also for v = -0.0, where +0.0 fails."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.memory import array_at
from tickarrow.jit.simd import prefetch
from tickarrow.jit.trees_rank import rank_row

LANES = 8  # trees in lock step
LOW = 3  # levels of a line
LINE = 64  # bytes: seven nodes from byte 2 on, eight leaves from byte 16 on
SLOTS = 128  # features of a rank table
MAX_DEPTH = 8

LEAF = 16 // 4 - (1 << LOW)  # in floats from the line's begin to the leaf of slot 0

U = np.uint64


@kernel("u2[:], u8, u8, u1[:]", inline=True)
def _step(node, at, slot, rank):
    """The child of a node: slot of a heap whose slot 0 stands at `at`. Two bytes: place in `rank`, code."""
    w = U(node[at + slot])
    return slot + slot + U(U(rank[w & U(255)]) >= (w >> U(8)))


@kernel("u1[:], i8, out u1[:]")
def both(table, grids, rank):
    """Rank tables as they are and one higher (255, a missing value, becomes 0), 128 bytes each, for each grid."""
    for g in range(grids):
        for s in range(SLOTS):
            rank[2 * SLOTS * g + s] = table[SLOTS * g + s]
            rank[2 * SLOTS * g + SLOTS + s] = table[SLOTS * g + s] + np.uint8(1)


@kernel("u2[:], u2[:], u1[:], i8, i8, u8, u8, out u8[:]", inline=True)
def _descend(top, lines, rank, levels, chunks, first, line, at):
    """The line that each tree of a model leads to, in units of two bytes; it is asked for."""
    size = U(1) << U(levels)
    a = first
    for c in range(chunks):
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = U(1)
        for _ in range(levels):
            s0 = _step(top, a, s0, rank)
            s1 = _step(top, a + size, s1, rank)
            s2 = _step(top, a + U(2) * size, s2, rank)
            s3 = _step(top, a + U(3) * size, s3, rank)
            s4 = _step(top, a + U(4) * size, s4, rank)
            s5 = _step(top, a + U(5) * size, s5, rank)
            s6 = _step(top, a + U(6) * size, s6, rank)
            s7 = _step(top, a + U(7) * size, s7, rank)
        a += U(LANES) * size
        for k, s in enumerate((s0, s1, s2, s3, s4, s5, s6, s7)):
            to = (line + s - size) * U(LINE // 2)  # a slot below the last level = size + the subtree
            at[LANES * c + k] = to
            prefetch(U(lines.ctypes.data) + U(2) * to)
            line += size


@kernel("u2[:], u1[:], u8[:], i8, f4", inline=True)
def _add(lines, rank, at, chunks, total):
    """The leaves of a model's trees, added one after the other."""
    leaf = lines.view(np.float32)
    for c in range(0, LANES * chunks, LANES):
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = U(1)
        for _ in range(LOW):
            s0 = _step(lines, at[c], s0, rank)
            s1 = _step(lines, at[c + 1], s1, rank)
            s2 = _step(lines, at[c + 2], s2, rank)
            s3 = _step(lines, at[c + 3], s3, rank)
            s4 = _step(lines, at[c + 4], s4, rank)
            s5 = _step(lines, at[c + 5], s5, rank)
            s6 = _step(lines, at[c + 6], s6, rank)
            s7 = _step(lines, at[c + 7], s7, rank)
        for k, s in enumerate((s0, s1, s2, s3, s4, s5, s6, s7)):
            total += leaf[(at[c + k] >> U(1)) + s + U(LEAF)]
    return total


@kernel("f4[:,:], i8, i8, i8, u8, i8, i8[:,:], f4[:], u2[:], u2[:], out u1[:], out u8[:,:], out f4[:,:]")
def forest(x, lo, hi, block, table, grids, models, base, top, lines, rank, at, y):
    """Margins of all models for rows of features, bit-equal to xgboost.

    Parameters
    ----------
    x : (capacity, n_features) float32, row-major, NaN = missing
    lo, hi : int, rows [lo, hi) of `x`
    block, table, grids : control block of `rank_row`, address of its tables and their number
    models : (models, 6) int64: column of `y`, grid, levels above the last three, chunks of 8 trees, first slot in `top`, first line
    base : (models,) float32, base score
    top : upper levels of the trees, a heap of 2^levels nodes each (slot 0 is not used); a node is place + 256 * code
    lines : the last three levels, see LINE; order of the trees, then of the subtrees
    rank : (grids * 256,) uint8, scratch
    at : (2, trees of the largest model) uint64, scratch
    y : (>= hi - lo, n_models) float32, out; row 0 belongs to row `lo`

    References
    ----------
    xgboost, cpu_predictor: margin = base score + leaf of tree 0 + leaf of tree 1 + ..., float32.
    """
    n = models.shape[0]
    for i in range(lo, hi):
        rank_row(U(x.ctypes.data) + U(4 * i * x.shape[1]), block)
        both(array_at(np.int64(table), grids * SLOTS, np.uint8), grids, rank)
        for m in range(n + 1):  # lines of the next model are on their way while those of the one before are read
            if m < n:
                ranks = rank[models[m, 1] * 2 * SLOTS : (models[m, 1] + 1) * 2 * SLOTS]
                _descend(top, lines, ranks, models[m, 2], models[m, 3], U(models[m, 4]), U(models[m, 5]), at[m & 1])
            if m > 0:
                ranks = rank[models[m - 1, 1] * 2 * SLOTS : (models[m - 1, 1] + 1) * 2 * SLOTS]
                y[i - lo, models[m - 1, 0]] = _add(lines, ranks, at[(m - 1) & 1], models[m - 1, 3], base[m - 1])
