"""Leaves of one tree for 64 * W rows: bit planes of leaf numbers in, the leaf of each row added to its total.

Plane q is a vector of W words that holds, for every row, bit depth - 1 - q of its leaf's number (plane 0 decides at the root).

With permutes: the planes of 64 rows are turned into 64 bytes (one vpermb for each 64 bytes of planes, one bit-matrix turn). The leaves of a
tree are stored as four tables, their lowest bytes first; 64 leaves are one vector, so one vpermb looks up one byte for 64 rows. To make
floats of the four looked-up vectors without shuffles, byte j is looked up with the row order of each 4 changed by xor j; then a blend and a
funnel shift join two vectors. In the end lane i of vector g is row 4 * i + g of the 64: `place` says where the total of a row stands.

With the byte shuffles of AVX2 (16 entries at a time): planes become bytes by exchanging halves of fields in three rounds, vector j of 8 holds rows
8 * k + j. An entry is looked up in every 16 of a table; where it is not among them, a saturated sum has set bit 7, for which the shuffle gives 0.

Without either: the bytes are stored and the leaves are added one by one."""

import numpy as np
from llvmlite import ir

from tickarrow.jit import simd
from tickarrow.jit._kernel import cpu_has, kernel
from tickarrow.jit.simd import BITS, BYTES, FLOATS, I8, I64, INTS, TURN_NEEDS, emit, fill, lanes, number

MAX_DEPTH = 8
ONE_BY_ONE, PERMUTES, SHUFFLES = range(3)  # ways to add leaves; the last two want byte tables
LEAST = 64  # leaves of the tables, at least
ORDER = 1024  # bytes of vpermb indices for one depth
NOTHING = ORDER * (MAX_DEPTH + 1)  # place, behind them, of tables whose leaves are -0.0, ORDER bytes for each depth from 6 on; v + -0.0 is v
MINE = ORDER * (MAX_DEPTH + 4)  # place of the masks that join what was gathered, MASKS bytes for each depth
MASKS = 64

_SHORTS = simd.vector(simd.I16, 32)
_ODD_BYTES, _ODD_SHORTS = [0, 1] * 32, [0, 0, 1, 1] * 16


def place_of(depth: int, plane: int) -> int:
    """Bit of a leaf's byte that a plane is: vpermb looks at bits 0 to 5, so that planes beyond 6 stand at bits 7 and 6 and choose tables."""
    return 7 - plane if plane < depth - 6 else depth - 1 - plane


def orders(words: int) -> np.ndarray:
    """Indices that gather from the planes what `turn_bits` needs, for each depth ORDER bytes, word by word, vector by vector; NOTHING; masks."""
    out = np.zeros((MAX_DEPTH + 5, ORDER), np.uint8)
    for k in (6, 7, 8):
        out[MAX_DEPTH - 5 + k, 3 << k : 4 << k] = 0x80
    per = 8 // words  # planes of a vector of 64 bytes
    for depth in range(1, MAX_DEPTH + 1):
        vectors = -(-depth // per)
        index = out[depth, : words * vectors * 64].reshape(words, vectors, 8, 8)
        for plane in range(depth):
            for w in range(words):
                index[w, plane // per, :, 7 - place_of(depth, plane)] = plane % per * 8 * words + 8 * w + np.arange(8)
            at = MASKS * depth + 8 * (plane // per)
            out[-1, at : at + 8] |= np.uint8(1 << 7 - place_of(depth, plane))
    return out.reshape(-1)


def nothing(depth: int) -> int:
    """Place of the tables that add nothing."""
    return NOTHING + ORDER * max(0, depth - 6)


def gathers(b, order, depth, words):
    """Indices and masks of a depth. They are loaded before the trees and not constants, which LLVM would fold into vpermt2b: three instructions
    on Intel."""
    vectors = -(-depth // (8 // words))
    masks = [simd.bits(b, simd.load(b, order, I64, MINE + MASKS * depth + 8 * k, align=1)) for k in range(vectors)]
    at = ORDER * depth
    return [[(simd.load(b, order, BYTES, at + 64 * (w * vectors + k), align=1), masks[k]) for k in range(vectors)] for w in range(words)]


def _numbers(b, vectors, gather):
    """Leaf numbers of the 64 rows of a word, as bytes."""
    out = None
    for planes, (index, mine) in zip(vectors, gather):
        found = simd.permute_bytes_64(b, planes, index)
        out = found if out is None else b.select(mine, found, out)
    return simd.turn_bits(b, out)


def _look_up(b, leaf, tables, number_of):
    """One byte of the leaves of 64 rows."""
    found = [simd.permute_bytes_64(b, simd.load(b, leaf, BYTES, 64 * k, align=1), number_of) for k in tables]
    bit = len(found).bit_length() - 2  # the last of the table-choosing planes, counted from bit 7
    while len(found) > 1:
        one = b.icmp_signed("<", b.shl(number_of, fill(BYTES, bit)), fill(BYTES, 0))
        found = [b.select(one, found[k + 1], found[k]) for k in range(0, len(found), 2)]
        bit -= 1
    return found[0]


def _join(b, kind, high, x, y):
    """Two vectors of half lanes to two of lanes: x gives the low halves."""
    x, y = b.bitcast(x, kind), b.bitcast(y, kind)
    blended = b.select(lanes(BITS, high), b.bitcast(y, BYTES), b.bitcast(x, BYTES))
    return blended, simd.funnel(b, y, x, kind.element.width // 2)


def permuting(b, planes, words, leaf, total, gather):
    """Add leaves by permutes; total: 64 * words floats in the order of `place`; gather: of `gathers`. A generator that yields `pauses` times, so
    that a caller can write other instructions in between."""
    depth, per = len(planes), 8 // words
    planes = planes + [planes[-1]] * (-depth % per)
    vectors = []
    for k in range(0, len(planes), per):
        some = planes[k : k + per]
        while len(some) > 1:
            some = [simd.join(b, some[j], some[j + 1]) for j in range(0, len(some), 2)]
        vectors.append(b.bitcast(some[0], BYTES))
    tables = max(1, (1 << depth) // 64)
    for w in range(words):
        n0 = _numbers(b, vectors, gather[w])
        yield
        shorts = b.bitcast(n0, _SHORTS)
        n1 = simd.funnel(b, shorts, shorts, 8)
        n2, n3 = (b.bitcast(simd.funnel(b, b.bitcast(n, INTS), b.bitcast(n, INTS), 16), BYTES) for n in (n0, n1))
        yield
        found = []
        for j, n in enumerate((n0, b.bitcast(n1, BYTES), n2, n3)):
            found.append(_look_up(b, leaf, range(tables * j, tables * j + tables), n))
            yield
        low, high = _join(b, _SHORTS, _ODD_BYTES, found[0], found[1]), _join(b, _SHORTS, _ODD_BYTES, found[2], found[3])
        yield
        (row0, row2), (row1, row3) = (_join(b, INTS, _ODD_SHORTS, low[k], high[k]) for k in (0, 1))
        for g, value in enumerate((row0, row1, row2, row3)):
            at = 256 * w + 64 * g
            simd.store(b, b.fadd(simd.load(b, total, FLOATS, at), b.bitcast(value, FLOATS)), total, at)
            yield


def pauses(words):
    """How often `permuting` yields."""
    return 11 * words


def _bytes_of(b, planes):
    """8 vectors of leaf numbers: byte k of vector j is that of row 8 * k + j."""
    kind = planes[0].type
    fields = [[p] for p in reversed(planes)] + [[None]] * (8 - len(planes))  # bit 0 first
    for width, low in ((1, 0x5555555555555555), (2, 0x3333333333333333), (4, 0x0F0F0F0F0F0F0F0F)):
        low, high, width = fill(kind, low), fill(kind, ~low), fill(kind, width)

        def merged(x, y, upper, low=low, high=high, width=width):
            """Lower or upper fields of two vectors, those of y above those of x."""
            if x is None:
                return None
            x = b.and_(b.lshr(x, width) if upper else x, low)
            if y is None:
                return x
            return b.or_(x, b.and_(y, high) if upper else b.shl(b.and_(y, low), width))

        fields = [[merged(x, y, upper) for upper in (False, True) for x, y in zip(*fields[k : k + 2])] for k in range(0, len(fields), 2)]
    return fields[0]


def shuffling(b, planes, words, leaf, total, numbers):
    """Add leaves by byte shuffles of AVX2; total: 64 * words floats in the order of `place`; numbers: scratch, 64 * words bytes."""
    n, depth = 8 * words, len(planes)
    kind, table_bytes = simd.vector(I8, n), max(LEAST, 1 << depth)
    name = "llvm.x86.avx2.pshuf.b" if n == 32 else "llvm.x86.ssse3.pshuf.b.128"
    for j, vector in enumerate(_bytes_of(b, planes)):
        simd.store(b, vector, numbers, n * j, align=16)

    def page(at):
        sixteen = simd.load(b, leaf, simd.vector(I8, 16), at, align=1)
        return sixteen if n == 16 else simd.join(b, sixteen, sixteen)

    def beside(x, y, size):
        """Fields of x and y in turn, of the lower and of the upper half of each 16 bytes."""
        each = 16 // size
        count = n // size
        kind = simd.vector(ir.IntType(8 * size), count)
        x, y = b.bitcast(x, kind), b.bitcast(y, kind)
        for half in (0, each // 2):
            yield simd.shuffle(b, x, y, [k + half + lane + of for lane in range(0, count, each) for k in range(each // 2) for of in (0, count)])

    def step(state):
        at, to = state
        number_of, found = simd.load(b, at, kind, align=16), [None] * 4
        pages = max(1, (1 << depth) // 16)
        for k in range(pages):
            entry = number_of if pages == 1 else b.sub(number_of, fill(kind, 16 * k - (256 if k > 7 else 0)))
            entry = entry if pages == 1 else simd.call(b, f"llvm.uadd.sat.v{n}i8", kind, [entry, fill(kind, 0x70)])
            for j in range(4):
                value = simd.call(b, name, kind, [page(table_bytes * j + 16 * k), entry])
                found[j] = value if k == 0 else b.or_(found[j], value)
        low, high = beside(found[0], found[1], 1), beside(found[2], found[3], 1)
        values = [v for x, y in zip(low, high) for v in beside(x, y, 2)]
        floats = simd.vector(simd.F32, n // 4)
        for k, value in enumerate(values):
            simd.store(b, b.fadd(simd.load(b, to, floats, n * k, align=16), b.bitcast(value, floats)), to, n * k, align=16)
        return b.add(at, number(I64, n)), b.add(to, number(I64, 4 * n))

    simd.repeat(b, [numbers, total], lambda s: b.icmp_unsigned("<", s[0], b.add(numbers, number(I64, 8 * n))), step)


def one_by_one(b, planes, words, leaf, total, numbers):
    """Add leaves row by row; total: 64 * words floats in the order of rows; numbers: scratch, 64 * words bytes."""
    depth = len(planes)
    for w in range(words):
        out = fill(BYTES, 0)
        for q, plane in enumerate(planes):
            bit = fill(BYTES, (1 << (depth - 1 - q) ^ 128) - 128)
            out = b.or_(out, b.select(simd.bits(b, simd.at(b, plane, w)), bit, fill(BYTES, 0)))
        simd.store(b, out, numbers, 64 * w)

    def step(state):
        number_at, at = state
        for r in range(16):
            k = b.shl(b.zext(simd.load(b, number_at, I8, r), I64), number(I64, 2))
            simd.store(b, b.fadd(simd.load(b, at, simd.F32, 4 * r), simd.load(b, b.add(leaf, k), simd.F32)), at, 4 * r)
        return b.add(number_at, number(I64, 16)), b.add(at, number(I64, 64))

    simd.repeat(b, [numbers, total], lambda s: b.icmp_unsigned("<", s[0], b.add(numbers, number(I64, 64 * words))), step)


def _writer(offsets, following):
    """An intrinsic: totals of 16 models as 16 neighbouring columns of y. Lane i of a vector is row `row + offsets[i]`, row = 0 and then
    following(b, row)."""

    def body(b, total, pitch, end, y, stride, rows, nowhere):
        """total: of the first model; pitch: bytes to the next; end: of the first one's; y: address of the first column in row 0; rows: number of rows
        that are there; nowhere: 64 bytes for the others."""

        def sixteen(state):
            at, row = state
            found = [simd.load(b, b.add(at, b.mul(pitch, number(I64, m))), FLOATS) for m in range(16)]
            for values, offset in zip(simd.turn_floats(b, found), offsets):
                mine = b.add(row, number(I64, offset))
                to = b.select(b.icmp_unsigned("<", mine, rows), b.add(y, b.mul(mine, stride)), nowhere)
                simd.store(b, values, to, align=4)
            return b.add(at, number(I64, 64)), following(b, row)

        simd.repeat(b, [total, number(I64, 0)], lambda s: b.icmp_unsigned("<", s[0], end), sixteen)

    return emit("u8, u8, u8, u8, u8, u8, u8")(body)


def _after(bits, last, jump, step):
    """The next row: `jump` further where these bits of a row are `last`, else `step`."""

    def following(b, row):
        there = b.icmp_unsigned("==", b.and_(row, number(I64, bits)), number(I64, last))
        return b.add(row, b.select(there, number(I64, jump), number(I64, step)))

    return following


write_one_by_one = _writer(range(16), _after(0, 0, 16, 16))
write_permuted = _writer(range(0, 64, 4), _after(3, 3, 61, 1))
write_shuffled_2 = _writer(range(0, 128, 8), _after(0, 0, 1, 1))
write_shuffled_4 = _writer([8 * (4 * (i >> 3) + (i & 3) + 16 * (i >> 2 & 1)) for i in range(16)], _after(64, 64, -63, 64))


def can_permute() -> bool:
    """Whether the processor has what `permuting` needs."""
    return cpu_has(TURN_NEEDS)


def otherwise() -> int:
    """How leaves are added without permutes."""
    return SHUFFLES if cpu_has("avx2") else ONE_BY_ONE


@kernel("i8, i8, i8", inline=True)
def place(row, adds, words):
    """Where the total of a row of a block stands."""
    if adds == PERMUTES:
        return (row & ~63) + (row & 3) * 16 + ((row & 63) >> 2)
    if adds == SHUFFLES:
        byte, vector = row >> 3, row & 7
        return (vector * 4 + (byte >> 2 & 3)) * 2 * words + (byte & 3) + 4 * (byte >> 4)
    return row
