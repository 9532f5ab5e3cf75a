"""One row through forests of complete trees: all levels but the last three with lane = tree, those three and their leaves in one cache line.

A tree of depth 3 to 8 is cut below its upper `levels` = depth - 3. A block is 64 trees: 8 consecutive trees of each of 8 models, place 8 * model + tree.

Upper levels: node by node, the 64 features and the 64 codes of the block. A level costs one table lookup (vpermi2b) and one compare for 64 trees,
whatever its width: the node of each tree is picked from the candidates with the masks of the levels above. Result: subtree numbers.
Lower levels: each (tree, subtree) is a line of 64 bytes: 7 features, 7 codes, 8 leaves. 8 lines are joined, looked up and compared at once: 7 bits a
tree, which a constant table turns into the leaf's place in the line that was just read. In memory the trees of a block stand model beside model,
not tree after tree as they are read: the processor would take that for a stream and fetch lines that are not wanted.
Sums: lane = model, tree by tree, float32, beginning at the base.

Missing values have rank 255 and go right. Where a node sends them left, its code is stored one higher and 1 is added to the rank, so that 255
becomes 0: `feature` bit 7 says so; with more than 128 features that bit chooses the upper half of the table, and the flags are words and bytes of their own.

Its cost is lines: a row touches one of 2^levels of each tree, nowhere near the last one, so what counts is how much of a bank is in L2.
Blocks are made by pipeline/forest_lines.py."""

import numpy as np
from numba.core import cgutils

from tickarrow.jit import simd
from tickarrow.jit._kernel import kernel
from tickarrow.jit.memory import array_at
from tickarrow.jit.simd import BYTES, I8, I64, WORDS, emit, fill, lanes, load, number, shuffle, store, vector, word
from tickarrow.jit.trees_rank import rank_row

U = np.uint64
MODELS = 8  # of a group
TREES = 8  # of each model in a block
LOWER = 3  # levels of a line
MAX_LEVELS = 5
LINE = 64
LEAVES = 32  # byte of a line where its leaves begin

# Words of a control block, and of a section, which is all blocks of one depth and one kind: addresses and numbers.
SECTIONS, SECTION, GROUPS, BASE, DIVISOR, MODEL, SUMS, RANKS, SCRATCH, WORDS_OF_BLOCK = range(10)
LEVELS, BLOCKS, UPPER, LINES, GROUP, TABLES, WIDE, MIXED, SECTION_WORDS = range(9)

# Scratch: subtree numbers of 4 blocks, then bits of 4 blocks, then sums that nobody reads.
BITS = 256
SPARE = 512
SCRATCH_BYTES = 576

_EIGHT, _SIXTEEN = vector(I8, 8), vector(I8, 16)
_SUMS = vector(simd.F32, 8)
_ACROSS = [8 * model + tree for tree in range(8) for model in range(8)]  # from place to tree-major order


def _leaf_of(bits):
    """Place of the leaf that the decisions of a line's 7 heap nodes lead to."""
    node = 1
    for _ in range(LOWER):
        node = 2 * node + (bits >> (node - 1) & 1)
    return node - 8


_LEAF = [_leaf_of(bits) for bits in range(128)]


def upper_bytes(levels: int, wide: bool) -> int:
    """Bytes of the upper levels of a block: features and codes of each node, then, if wide, its 64 flags of default left."""
    nodes = (1 << levels) - 1
    return nodes * 2 * LINE + (-(-nodes * 8 // LINE) * LINE if wide else 0)


def _tables(b, tables, wide, model=0):
    """The rank table of a model: 2 or 4 vectors."""
    address = load(b, tables, I64, 8 * model)
    return [load(b, address, BYTES, LINE * k) for k in range(4 if wide else 2)]


def _rank(b, table, feature):
    """Ranks of 64 features."""
    rank = simd.permute_bytes(b, table[0], feature, table[1])
    if len(table) == 2:
        return rank
    return b.select(b.icmp_signed("<", feature, fill(BYTES, 0)), simd.permute_bytes(b, table[2], feature, table[3]), rank)


def _goes_right(b, rank, code, left):
    """Flags of 64 nodes; `left`: where a missing value goes left."""
    return b.icmp_unsigned(">=", b.select(left, b.add(rank, fill(BYTES, 1)), rank), code)


def _upper(b, levels, wide, mixed, record, tables, out):
    """Subtree numbers of a block, times 8, one byte each."""
    own = [_tables(b, tables, wide, m) for m in range(MODELS if mixed else 1)]
    flags = record if not wide else simd.add_to(b, record, ((1 << levels) - 1) * 2 * LINE)
    right = []
    number_of = fill(BYTES, 0)
    for level in range(levels):
        nodes = range(1 << level, 2 << level)
        feature, code = ([load(b, record, BYTES, LINE * (2 * (n - 1) + k)) for n in nodes] for k in (0, 1))
        left = [load(b, flags, I64, 8 * (n - 1)) for n in nodes] if wide else []
        for above in right:
            half = len(feature) // 2
            feature = [b.select(above, feature[half + i], feature[i]) for i in range(half)]
            code = [b.select(above, code[half + i], code[i]) for i in range(half)]
            if wide:
                left = [simd.mux(b, word(b, above), left[i], left[half + i]) for i in range(half)]
        rank = _rank(b, own[0], feature[0])
        for m in range(1, len(own)):
            rank = b.select(lanes(simd.BITS, [p // 8 == m for p in range(64)]), _rank(b, own[m], feature[0]), rank)
        goes_left = simd.bits(b, left[0]) if wide else b.icmp_signed("<", feature[0], fill(BYTES, 0))
        right.append(_goes_right(b, rank, code[0], goes_left))
        number_of = b.or_(number_of, b.select(right[-1], fill(BYTES, 8 << (levels - 1 - level)), fill(BYTES, 0)))
    store(b, number_of, out)


def _lower(b, levels, wide, mixed, model, lines, numbers, tables, out):
    """The 7 decisions of the lines of 8 trees, one byte each."""
    table = _tables(b, tables, wide, model if mixed else 0)
    eight = load(b, numbers, I64, 8 * model)
    heads = []
    for k in range(TREES):
        at_line = b.shl(b.and_(b.lshr(eight, number(I64, 8 * k)), number(I64, 255)), number(I64, 3))
        heads.append(load(b, b.add(lines, at_line), _SIXTEEN, (8 * k + model) * (LINE << levels)))
    even = simd.join(b, simd.join(b, heads[0], heads[2]), simd.join(b, heads[4], heads[6]))
    odd = simd.join(b, simd.join(b, heads[1], heads[3]), simd.join(b, heads[5], heads[7]))
    even, odd = b.bitcast(even, WORDS), b.bitcast(odd, WORDS)
    feature = b.bitcast(shuffle(b, even, odd, [0, 8, 2, 10, 4, 12, 6, 14]), BYTES)
    code = b.bitcast(shuffle(b, even, odd, [1, 9, 3, 11, 5, 13, 7, 15]), BYTES)
    if wide:  # byte 7 of a line's features holds the flags of its nodes
        flags = b.trunc(b.lshr(b.bitcast(feature, WORDS), fill(WORDS, 56)), _EIGHT)
        left = simd.bits(b, b.bitcast(flags, I64))
    else:
        left = b.icmp_signed("<", feature, fill(BYTES, 0))
    store(b, word(b, _goes_right(b, _rank(b, table, feature), code, left)), out, 8 * model)


def _places(b, numbers, decided):
    """Of a block: leaf of each line, and subtree numbers, both in the order of the trees."""
    leaf = simd.permute_bytes(b, lanes(BYTES, _LEAF[:64]), load(b, decided, BYTES), lanes(BYTES, _LEAF[64:]))
    across = lanes(BYTES, _ACROSS)
    return simd.permute_bytes_64(b, leaf, across), simd.permute_bytes_64(b, load(b, numbers, BYTES), across)


def _add(b, levels, pair, lines, leaf, subtree, total):
    """Add two leaves of each model to the 8 sums, one after the other."""
    place = [(8 * tree + m) * (16 << levels) + LEAVES // 4 for tree in (2 * pair, 2 * pair + 1) for m in range(8)]
    line = b.shl(b.zext(simd.part(b, subtree, 16 * pair, 16), simd.INTS), fill(simd.INTS, 1))
    index = b.add(b.add(line, b.zext(simd.part(b, leaf, 16 * pair, 16), simd.INTS)), lanes(simd.INTS, place))
    found = simd.gather_floats(b, lines, index)
    return b.fadd(b.fadd(total, simd.part(b, found, 0, 8)), simd.part(b, found, 8, 8))


def _section(wide, mixed):
    """Body of the intrinsic that adds the leaves of a section's blocks to the sums of their groups."""

    def body(b, levels, blocks, upper, lines, group, tables, scratch, sums):
        last, zero = b.sub(blocks, number(I64, 1)), number(I64, 0)
        for n in range(MAX_LEVELS + 1):
            here = b.icmp_unsigned("==", levels, number(I64, n))
            # Three blocks are under way: the lines of one are fetched and decided while the next is numbered and the one before is added.
            # Fetching and adding take turns, so that there is always something to do while lines come (measured: a tenth of the time).
            # At both ends a block stands in for the one that is not there: what it decides is not read, what it adds goes to the spare sums.
            with b.if_then(here), cgutils.for_range(b, b.add(blocks, number(I64, 2))) as loop:
                upper_, lower, added = (b.sub(loop.index, number(I64, behind)) for behind in range(3))
                numbers = [b.add(scratch, b.shl(b.and_(k, number(I64, 3)), number(I64, 6))) for k in (upper_, lower, added)]
                bits = [simd.add_to(b, at, BITS) for at in numbers]
                begins = b.icmp_signed("<", added, zero)
                lower = b.select(b.icmp_signed("<", lower, blocks), lower, last)
                added = b.select(begins, zero, added)

                def group_of(k):
                    return load(b, b.add(group, b.shl(k, number(I64, 3))), I64)

                def tables_of(k):
                    return b.add(tables, b.shl(group_of(k), number(I64, 6)))

                with b.if_then(b.icmp_unsigned("<", upper_, blocks), likely=True):
                    block_upper = b.add(upper, b.mul(upper_, number(I64, upper_bytes(n, wide))))
                    _upper(b, n, wide, mixed, block_upper, tables_of(upper_), numbers[0])
                with b.if_then(b.icmp_unsigned("==", loop.index, zero), likely=False):
                    store(b, fill(BYTES, 0), simd.add_to(b, scratch, 3 * LINE))  # what "block -1" is taken for
                with b.if_then(b.icmp_unsigned(">", loop.index, zero), likely=True):
                    lower_lines, added_lines = (b.add(lines, b.mul(k, number(I64, (LINE << n) * 64))) for k in (lower, added))
                    own = tables_of(lower)
                    to = b.select(begins, simd.add_to(b, scratch, SPARE), b.add(sums, b.shl(group_of(added), number(I64, 5))))
                    leaf, subtree = _places(b, numbers[2], bits[2])
                    total = load(b, to, _SUMS)
                    for pair in range(4):
                        _lower(b, n, wide, mixed, 2 * pair, lower_lines, numbers[1], own, bits[1])
                        _lower(b, n, wide, mixed, 2 * pair + 1, lower_lines, numbers[1], own, bits[1])
                        total = _add(b, n, pair, added_lines, leaf, subtree, total)
                    store(b, total, to)

    return body


_ARGUMENTS = "u8, u8, u8, u8, u8, u8, u8, u8"
_narrow_one = emit(_ARGUMENTS)(_section(False, False))
_narrow_mixed = emit(_ARGUMENTS)(_section(False, True))
_wide_one = emit(_ARGUMENTS)(_section(True, False))
_wide_mixed = emit(_ARGUMENTS)(_section(True, True))


@kernel("f4[:,:], i8, i8, i8, out f4[:,:]", needs=simd.NEEDS)
def lines(x, lo, hi, block, y):
    """Margins of rows, one row at a time.

    Parameters
    ----------
    x : (capacity, n_features) float32, row-major, NaN = missing
    lo, hi : int, rows [lo, hi) of `x`
    block : address of the control block, WORDS_OF_BLOCK int64
    y : (>= hi - lo, n_models) float32, out; row 0 belongs to row `lo`; only the columns of these models are written

    References
    ----------
    xgboost, cpu_predictor: margin = base score + leaf of tree 0 + leaf of tree 1 + ..., float32.
    """
    words = array_at(block, WORDS_OF_BLOCK, np.int64)
    lanes_ = words[GROUPS] * MODELS
    base, divisor = array_at(words[BASE], lanes_, np.float32), array_at(words[DIVISOR], lanes_, np.float32)
    model, sums = array_at(words[MODEL], lanes_, np.int64), array_at(words[SUMS], lanes_, np.float32)
    for i in range(lo, hi):
        rank_row(U(x.ctypes.data) + U(4 * i * x.shape[1]), words[RANKS])
        for j in range(lanes_):
            sums[j] = base[j]
        for n in range(words[SECTIONS]):
            s = array_at(words[SECTION] + n * SECTION_WORDS * 8, SECTION_WORDS, np.int64)
            levels, blocks, upper, first = U(s[LEVELS]), U(s[BLOCKS]), U(s[UPPER]), U(s[LINES])
            group, tables, scratch, to = U(s[GROUP]), U(s[TABLES]), U(words[SCRATCH]), U(words[SUMS])
            if s[WIDE]:
                if s[MIXED]:
                    _wide_mixed(levels, blocks, upper, first, group, tables, scratch, to)
                else:
                    _wide_one(levels, blocks, upper, first, group, tables, scratch, to)
            elif s[MIXED]:
                _narrow_mixed(levels, blocks, upper, first, group, tables, scratch, to)
            else:
                _narrow_one(levels, blocks, upper, first, group, tables, scratch, to)
        for j in range(lanes_):
            if model[j] >= 0:
                y[i - lo, model[j]] = sums[j] / divisor[j]
