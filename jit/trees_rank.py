"""Ranks of one row: what the one-row forest kernels compare instead of values, one byte for each feature and cut grid.

The rank of a value is the number of cuts of its feature that are <= it; 255 = missing. A node then goes right iff `rank >= code`, where code k is
the k-th cut, 0 = always, 255 = never; a missing value that goes left by default is the business of the node. Ranks are exact, whatever the values.

A search is two vector compares: with the first cut of every block of 16, then with one block; counted bits are the rank. Several grids share
one search: the feature's axis is cut into cells that hold at most one cut of any grid, so that a grid's rank is the cell's base, plus one if
the value reaches the grid's cut in the cell. Cuts are padded with NaN, not with inf: x >= inf is true for x = inf.

A pack's arrays and the words of its control block are made by pipeline/forest_rank.py. `rank_row` is called from kernels and writes one table for each grid:
slot s of grid g at `table + g * span + s`. Compiles for every processor."""

import numpy as np

from tickarrow.jit import simd
from tickarrow.jit._kernel import kernel
from tickarrow.jit.memory import array_at

U = np.uint64
SIDE = 16  # cuts of a block, grids and slots of a transposed square
MISSING = 255

# Words of a control block: numbers, then addresses.
SLOTS, GRIDS, WIDTH, SPAN, PIVOTS = 0, 1, 2, 3, 4
COLUMN, RECORD, FIRST, EDGES, CUT, BASE, SQUARE, CELL, TABLE = 5, 6, 7, 8, 9, 10, 11, 12, 13
WORDS = 14

_SIXTEEN = simd.vector(simd.I8, SIDE)


@simd.emit("f4, u8 -> u8")
def _below(b, x, cuts):
    """Number of 16 NaN-padded cuts that are <= x."""
    reached = b.fcmp_ordered("<=", simd.load(b, cuts, simd.FLOATS), simd.splat(b, x, SIDE))
    return b.zext(simd.count(b, simd.word(b, reached)), simd.I64)


@simd.emit("f4, u8, u8, u8")
def _cell(b, x, cuts, base, out):
    """Ranks of 16 grids: base, plus 1 where x reaches the cut."""
    reached = b.fcmp_ordered("<=", simd.load(b, cuts, simd.FLOATS), simd.splat(b, x, SIDE))
    simd.store(b, b.sub(simd.load(b, base, _SIXTEEN), b.sext(reached, _SIXTEEN)), out)


@simd.emit("u8, u8, u8, u8")
def _transpose(b, source, stride, out, span):
    """16 rows of 16 bytes, `stride` apart, become the 16 columns of rows `span` apart."""
    rows = [simd.load(b, b.add(source, b.mul(stride, simd.number(simd.I64, i))), _SIXTEEN) for i in range(SIDE)]
    zip_low = [k for i in range(8) for k in (i, 16 + i)]
    zip_high = [k + 8 for k in zip_low]
    for _ in range(4):  # interleaving row i with row i + 8 four times moves every index bit once around
        rows = [simd.shuffle(b, rows[i], rows[i + 8], half) for i in range(8) for half in (zip_low, zip_high)]
    for i, row in enumerate(rows):
        simd.store(b, row, b.add(out, b.mul(span, simd.number(simd.I64, i))))


@kernel("u8, i8", inline=True)
def rank_row(x, block):
    """Write the rank tables of one row.

    Parameters
    ----------
    x : address of the row's first float32
    block : address of the control block, WORDS int64
    """
    words = array_at(block, WORDS, np.int64)
    slots, grids = words[SLOTS], words[GRIDS]
    row = array_at(np.int64(x), 1 << 40, np.float32)
    column = array_at(words[COLUMN], slots, np.uint64)
    record = array_at(words[RECORD], slots, np.uint64)
    edges, pivots = U(words[EDGES]), U(words[PIVOTS])
    if grids == 1:
        table = array_at(words[TABLE], slots, np.uint8)
        for s in range(slots):
            v = row[column[s]]
            at = edges + record[s]
            blocks = U(0)
            for p in range(pivots):
                blocks += _below(v, at + U(64) * p)
            rank = blocks * U(SIDE) + _below(v, at + U(64) * (pivots + blocks))
            table[s] = MISSING if np.isnan(v) else rank
        return
    first = array_at(words[FIRST], slots, np.uint64)
    cell = array_at(words[CELL], slots, np.uint64)
    for s in range(slots):  # all searches, then all cells: what the second loop reads is far away, and nothing in it waits for a search
        v = row[column[s]]
        at = edges + record[s]
        blocks = U(0)
        for p in range(pivots):
            blocks += _below(v, at + U(64) * p)
        cell[s] = first[s] + blocks * U(SIDE) + _below(v, at + U(64) * (pivots + blocks))
    width, span = U(words[WIDTH]), U(words[SPAN])
    cut, base, square = U(words[CUT]), U(words[BASE]), U(words[SQUARE])
    missing = array_at(words[SQUARE], np.int64(width) * SIDE, np.uint8)
    for s in range(slots):
        v = row[column[s]]
        line = (U(s) % U(SIDE)) * width
        if np.isnan(v):
            for g in range(width):
                missing[line + g] = MISSING
        else:
            at = cell[s] * width
            for g in range(U(0), width, U(SIDE)):
                _cell(v, cut + U(4) * (at + g), base + at + g, square + line + g)
        if s % SIDE == SIDE - 1 or s == slots - 1:
            for g in range(U(0), width, U(SIDE)):
                _transpose(square + g, width, U(words[TABLE]) + g * span + U(s - s % SIDE), span)


@kernel("f4[:,:], i8, i8")
def rank_of(x, row, block):
    """The rank tables of row `row` of x (capacity, n_features) float32, for callers outside kernels."""
    rank_row(U(x.ctypes.data) + U(4 * row * x.shape[1]), block)
