"""Mask tables: every test "feature f of the row >= cut c" of a whole bank, once for a block of rows, as one bit a row.

A bank repeats few tests in many nodes. So a block of 64 * W rows is first turned into a table of bits, and the tree kernels of batches
(trees_mux.py, trees_exit.py) only load from it. Bit b of word w of table row k is row `lo + 64 * w + b` of the block; rows past the end of
a block repeat its last row. `pipeline/forest_mask.py` says which table row is which test.

How a block is made: features are turned into columns; a value is replaced by its rank among the cuts of its feature (a binary search for
16 rows at a time, whose first 8 steps look up registers); a rank becomes one byte, or two if a feature has many cuts; then one comparison of
64 bytes gives a word of the table. A missing value is byte 255, which goes right at every test; where it goes left the bits of missing rows
are taken out. Comparisons of ranks are exact: x >= c is rank(x) >= code(c)."""

import numpy as np
from llvmlite import ir

from tickarrow.jit import simd
from tickarrow.jit._kernel import cpu_has, kernel
from tickarrow.jit.simd import BITS, BYTES, FLOATS, I8, I32, I64, INTS, emit, fill, number

MAX_WORDS = 8  # W is 2, 4 or 8
MAX_ROWS = 64 * MAX_WORDS  # rows of a block
TILE = 16  # features that are turned into columns at once
RANKS_AT = 4 * TILE * MAX_ROWS  # places in the scratch memory, bytes
BYTES_AT = RANKS_AT + 4 * MAX_ROWS
SCRATCH = BYTES_AT + MAX_ROWS

# columns of `feature`: column of x, first cut, levels of the search, rows [first, end) of `column`
COLUMN, CUTS, LEVELS, FIRST, END = range(5)
# columns of `column`: a byte is (rank & KEEP) >> SHIFT, less LESS, within 0 and 254, or 255; it is compared with TESTS entries of `code` from
# CODE on. That gives TESTS rows of the table from RIGHT on where a missing value goes right, and as many from LEFT on where it goes left; -1 = none
KEEP, SHIFT, LESS, CODE, TESTS, RIGHT, LEFT = range(7)

LEAST_LEVELS = 5  # a smaller search is filled up
LOOKED_UP = 8  # levels whose cuts are kept in registers

U = np.uint64


@emit("u8, u8, u8, u8, u8, u8")
def _turn(b, source, stride, row, last, out, pitch):
    """16 floats of rows row .. row + 15, none after `last`, as 16 columns of `pitch` bytes."""
    rows = []
    for i in range(TILE):
        at = b.add(row, number(I64, i))
        at = b.select(b.icmp_unsigned("<", at, last), at, last)
        rows.append(simd.load(b, b.add(source, b.mul(at, stride)), FLOATS, align=4))
    for column in simd.turn_floats(b, rows):
        simd.store(b, column, out)
        out = b.add(out, pitch)


def _gather(b, base, index):
    """Floats at base + 4 * index, 16 of them."""
    if cpu_has("avx512f"):
        return simd.gather_floats(b, base, index)
    out = ir.Constant(FLOATS, ir.Undefined)
    for k in range(16):
        value = simd.load(b, b.add(base, b.shl(b.zext(simd.at(b, index, k), I64), number(I64, 2))), simd.F32)
        out = b.insert_element(out, value, number(I32, k))
    return out


def _child(b, x, cut, heap):
    """From a heap place to that of its right child where the cut is <= x, else of its left."""
    twice = b.add(heap, heap)
    return b.select(b.fcmp_ordered("<=", cut, x), b.add(twice, fill(INTS, 1)), twice)


def _look_up(b, heap, cuts):
    """Cuts at the places of one level, out of its vectors; levels 0 to 4 are two vectors together."""
    found, bit = [simd.permute_floats(b, cuts[k], heap, cuts[k + 1]) for k in range(0, len(cuts), 2)], 5
    while len(found) > 1:
        one = b.icmp_signed("<", b.shl(heap, fill(INTS, 31 - bit)), fill(INTS, 0))
        found, bit = [b.select(one, found[k + 1], found[k]) for k in range(0, len(found), 2)], bit + 1
    return found[0]


@emit("u8, u8, u8, u8, u8")
def _rank(b, values, cuts, levels, end, out):
    """Ranks of values in [values, end), 16 at a time: how many cuts are <= value; -1 for a missing value.

    cuts: a heap of 2^levels floats, filled up with NaN, whose order from left to right is ascending; levels >= 5.
    """

    def search(registers, deeper):
        kept = [simd.load(b, cuts, FLOATS, 64 * k, align=4) for k in range((1 << registers) // 16)] if registers else []
        before_first = b.shl(number(I64, 1), levels)

        def sixteen(state):
            at, to = state
            x, heap = simd.load(b, at, FLOATS), fill(INTS, 1)
            for level in range(registers):
                heap = _child(b, x, _look_up(b, heap, kept[:2] if level < 5 else kept[(1 << level) // 16 : (2 << level) // 16]), heap)
            if deeper:
                heap, _ = simd.repeat(
                    b, [heap, number(I64, registers)], lambda s: b.icmp_unsigned("<", s[1], levels),
                    lambda s: (_child(b, x, _gather(b, cuts, s[0]), s[0]), b.add(s[1], number(I64, 1))),
                )  # fmt: skip
            rank = b.sub(heap, simd.splat(b, b.trunc(before_first, I32), 16))
            simd.store(b, b.select(b.fcmp_unordered("uno", x, x), fill(INTS, -1), rank), to)
            return b.add(at, number(I64, 64)), b.add(to, number(I64, 64))

        simd.repeat(b, [values, out], lambda s: b.icmp_unsigned("<", s[0], end), sixteen)

    if cpu_has("avx512f"):
        more = b.icmp_unsigned(">", levels, number(I64, LOOKED_UP))
        cases = {k: (lambda k=k: search(k, False)) for k in range(LEAST_LEVELS, LOOKED_UP + 1)} | {LOOKED_UP + 1: lambda: search(LOOKED_UP, True)}
        simd.choose(b, b.select(more, number(I64, LOOKED_UP + 1), levels), cases)
    else:
        search(0, True)


@emit("u8, u4, u4, u4, u8, u8")
def _narrow(b, ranks, keep, shift, less, end, out):
    """Ranks in [ranks, end) as bytes, see the columns of `column`."""
    keep, shift, less = (simd.splat(b, v, 16) for v in (keep, shift, less))

    def sixteen(state):
        at, to = state
        rank = simd.load(b, at, INTS)
        value = b.sub(b.lshr(b.and_(rank, keep), shift), less)
        value = b.select(b.icmp_signed("<", value, fill(INTS, 0)), fill(INTS, 0), value)
        value = b.select(b.icmp_signed(">", value, fill(INTS, 254)), fill(INTS, 254), value)
        value = b.select(b.icmp_signed("<", rank, fill(INTS, 0)), fill(INTS, 255), value)
        simd.store(b, b.trunc(value, simd.vector(I8, 16)), to)
        return b.add(at, number(I64, 64)), b.add(to, number(I64, 16))

    simd.repeat(b, [ranks, out], lambda s: b.icmp_unsigned("<", s[0], end), sixteen)


def _compare(words, sides):
    """An intrinsic: table rows of `words` words, bytes of a column >= each code of [code, end). sides: right, left, or both."""

    def body(b, column, code, end, right, left):
        rows = [simd.load(b, column, BYTES, 64 * w) for w in range(words)]
        there = [b.not_(simd.word(b, b.icmp_unsigned("==", row, fill(BYTES, -1)))) for row in rows]

        def step(state):
            code, to_right, to_left = state
            wanted = simd.splat(b, simd.load(b, code, I8), 64)
            for w in range(words):
                found = simd.word(b, b.icmp_unsigned(">=", rows[w], wanted))
                if "right" in sides:
                    simd.store(b, found, to_right, 8 * w)
                if "left" in sides:
                    simd.store(b, b.and_(found, there[w]), to_left, 8 * w)
            return b.add(code, number(I64, 1)), b.add(to_right, number(I64, 8 * words)), b.add(to_left, number(I64, 8 * words))

        simd.repeat(b, [code, right, left], lambda s: b.icmp_unsigned("<", s[0], end), step)

    return emit("u8, u8, u8, u8, u8")(body)


_right_2, _right_4, _right_8 = (_compare(words, ("right",)) for words in (2, 4, 8))
_left_2, _left_4, _left_8 = (_compare(words, ("left",)) for words in (2, 4, 8))
_both_2, _both_4, _both_8 = (_compare(words, ("right", "left")) for words in (2, 4, 8))


@kernel("f4[:,:], i8, i8, i8, i8[:,:], i8[:,:], f4[:], u1[:], out u1[:], out u8[:]")
def masks(x, lo, hi, words, feature, column, cuts, code, scratch, table):
    """Mask table of one block of rows.

    Parameters
    ----------
    x : (capacity, n_features) float32, row-major, NaN = missing
    lo, hi : int, rows [lo, hi) of `x`, 1 to 64 * words of them
    words : int, 2, 4 or 8
    feature : (n, 5) int64, features that are tested, ascending
    column : (n, 7) int64, byte columns of each feature
    cuts : (n,) float32, cuts of each feature as a heap, filled up with NaN
    code : (n,) uint8, 0 to 255
    scratch : (SCRATCH,) uint8, aligned to 64 bytes
    table : (table rows * words,) uint64, out, aligned to 64 bytes; table row k has words [k * words, (k + 1) * words)
    """
    rows = 64 * words
    n_features = x.shape[1]
    source = U(x.ctypes.data) + U(4) * U(lo * n_features)
    tile = U(scratch.ctypes.data)
    ranks, narrow, to = tile + U(RANKS_AT), tile + U(BYTES_AT), U(table.ctypes.data)
    for w in range(words):
        table[w] = U(0)
        table[words + w] = U(0)
        table[2 * words + w] = ~U(0)
    single = scratch.view(np.float32)
    begin, last = -TILE, U(hi - lo - 1)
    for i in range(feature.shape[0]):
        f = feature[i, COLUMN]
        if f >= begin + TILE or i == 0:
            if n_features >= TILE:
                begin = min(f, n_features - TILE)
                for r in range(0, rows, 16):
                    _turn(source + U(4 * begin), U(4 * n_features), U(r), last, tile + U(4 * r), U(4 * rows))
            else:
                begin = 0
                for r in range(rows):
                    for k in range(n_features):
                        single[k * rows + r] = x[min(lo + r, hi - 1), k]
        values = tile + U(4 * rows * (f - begin))
        _rank(values, U(cuts.ctypes.data) + U(4 * feature[i, CUTS]), U(feature[i, LEVELS]), values + U(4 * rows), ranks)
        for c in range(feature[i, FIRST], feature[i, END]):
            _narrow(ranks, np.uint32(column[c, KEEP]), np.uint32(column[c, SHIFT]), np.uint32(column[c, LESS]), ranks + U(4 * rows), narrow)
            first = U(code.ctypes.data) + U(column[c, CODE])
            end = first + U(column[c, TESTS])
            right, left = to + U(8 * words * column[c, RIGHT]), to + U(8 * words * column[c, LEFT])
            if column[c, LEFT] < 0:
                if words == 2:
                    _right_2(narrow, first, end, right, left)
                elif words == 4:
                    _right_4(narrow, first, end, right, left)
                else:
                    _right_8(narrow, first, end, right, left)
            elif column[c, RIGHT] < 0:
                if words == 2:
                    _left_2(narrow, first, end, right, left)
                elif words == 4:
                    _left_4(narrow, first, end, right, left)
                else:
                    _left_8(narrow, first, end, right, left)
            elif words == 2:
                _both_2(narrow, first, end, right, left)
            elif words == 4:
                _both_4(narrow, first, end, right, left)
            else:
                _both_8(narrow, first, end, right, left)
