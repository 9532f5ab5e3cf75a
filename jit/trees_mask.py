"""Mask tables: every test "feature f of the row >= cut c" of a whole bank, once for a block of rows, as one bit a row.

A bank repeats few tests in many nodes. So a block of 64 * W rows is first turned into a table of bits, and the tree kernels of batches
(trees_mux.py, trees_exit.py) only load from it. Bit b of word w of table row k is row `lo + 64 * w + b` of the block; rows past the end of
a block repeat its last row. `pipeline/forest_mask.py` says which table row is which test.

How a block is made: features are turned into columns; a value is replaced by its rank among the cuts of its feature (a binary search,
16 rows at a time); a rank becomes one byte, or two if a feature has many cuts; then one comparison of 64 bytes gives a word of the table.
Missing values become 255 or 0, as the default direction of the test wants. Comparisons of ranks are exact: x >= c is rank(x) >= code(c)."""

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

# columns of `feature`: column of x, first cut, first step of the search (a power of two), rows [first, end) of `column`
COLUMN, CUTS, STEP, FIRST, END = range(5)
# columns of `column`: a byte is (rank & KEEP) >> SHIFT, less LESS, within 0 and 254, and MISSING for a missing value;
# it is compared with TESTS entries of `code` from CODE on, which gives the rows of the table from ROW on
KEEP, SHIFT, LESS, MISSING, CODE, TESTS, ROW = range(7)

U = np.uint64


@emit("u8, u8, u8, u8, u8, u8")
def _turn(b, source, stride, row, last, out, pitch):
    """16 floats of rows row .. row + 15, none after `last`, as 16 columns of `pitch` bytes."""
    rows = []
    for i in range(TILE):
        at = b.add(row, number(I64, i))
        at = b.select(b.icmp_unsigned("<", at, last), at, last)
        rows.append(simd.load(b, b.add(source, b.mul(at, stride)), FLOATS, align=4))
    low = [k for i in range(8) for k in (i, 16 + i)]
    high = [k + 8 for k in low]
    for _ in range(4):  # four perfect shuffles of rows and lanes are a transposition
        rows = [simd.shuffle(b, rows[i], rows[i + 8], order) for i in range(8) for order in (low, high)]
    for column in rows:
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


@emit("u8, u8, u4, u8")
def _rank(b, values, cuts, step, out):
    """Ranks of 16 values among ascending cuts (padded with NaN to 2 * step): how many cuts are <= value; -1 for a missing value."""
    x = simd.load(b, values, FLOATS)

    def search(state):
        position, width = state
        wide = simd.splat(b, width, 16)
        cut = _gather(b, cuts, b.sub(b.add(position, wide), fill(INTS, 1)))
        return b.select(b.fcmp_ordered("<=", cut, x), b.add(position, wide), position), b.lshr(width, number(I32, 1))

    position, _ = simd.repeat(b, [fill(INTS, 0), step], lambda s: b.icmp_unsigned("!=", s[1], number(I32, 0)), search)
    simd.store(b, b.select(b.fcmp_unordered("uno", x, x), fill(INTS, -1), position), out)


@emit("u8, u4, u4, u4, u4, u8")
def _narrow(b, ranks, keep, shift, less, missing, out):
    """16 ranks as bytes, see the columns of `column`."""
    rank = simd.load(b, ranks, INTS)
    keep, shift, less, missing = (simd.splat(b, v, 16) for v in (keep, shift, less, missing))
    value = b.sub(b.lshr(b.and_(rank, keep), shift), less)
    value = b.select(b.icmp_signed("<", value, fill(INTS, 0)), fill(INTS, 0), value)
    value = b.select(b.icmp_signed(">", value, fill(INTS, 254)), fill(INTS, 254), value)
    value = b.select(b.icmp_signed("<", rank, fill(INTS, 0)), missing, value)
    simd.store(b, b.trunc(value, simd.vector(I8, 16)), out)


def _compare(words):
    def body(b, column, code, end, table):
        """Table rows of `words` words: bytes of a column >= each code of [code, end)."""
        rows = [simd.load(b, column, BYTES, 64 * w) for w in range(words)]

        def step(state):
            code, at = state
            wanted = simd.splat(b, simd.load(b, code, I8), 64)
            for w in range(words):
                simd.store(b, simd.word(b, b.icmp_unsigned(">=", rows[w], wanted)), at, 8 * w)
            return b.add(code, number(I64, 1)), b.add(at, number(I64, 8 * words))

        simd.repeat(b, [code, table], lambda s: b.icmp_unsigned("<", s[0], end), step)

    return emit("u8, u8, u8, u8")(body)


_compare_2, _compare_4, _compare_8 = _compare(2), _compare(4), _compare(8)


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
    cuts : (n,) float32, ascending cuts of each feature, each padded with NaN
    code : (table rows - 3,) uint8, 1 to 255
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
        for r in range(0, rows, 16):
            _rank(values + U(4 * r), U(cuts.ctypes.data) + U(4 * feature[i, CUTS]), np.uint32(feature[i, STEP]), ranks + U(4 * r))
        for c in range(feature[i, FIRST], feature[i, END]):
            for r in range(0, rows, 16):
                _narrow(
                    ranks + U(4 * r), np.uint32(column[c, KEEP]), np.uint32(column[c, SHIFT]), np.uint32(column[c, LESS]),
                    np.uint32(column[c, MISSING]), narrow + U(r),
                )  # fmt: skip
            first = U(code.ctypes.data) + U(column[c, CODE])
            end, out = first + U(column[c, TESTS]), to + U(8 * words * column[c, ROW])
            if words == 2:
                _compare_2(narrow, first, end, out)
            elif words == 4:
                _compare_4(narrow, first, end, out)
            else:
                _compare_8(narrow, first, end, out)
