"""One row through trees of any shape: pointer doubling in bytes (J). A vector of 64 bytes holds a whole tree of at most 64 leaves, or two of
at most 32, or four of at most 16; a larger tree takes two to four vectors.

All nodes of a vector are tested at once: one permute reads the rank of every node's feature, one compare with the node's code decides, and a
select writes the next position of every node: the lane of a child, or an exit. Then `next = next[next]` as often as the longest path of the
chunk needs, and the root's byte is the exit leaf. No branch depends on the row.

Trees stand in rows: one vector (or large tree) of each model of a bundle of at most eight, then the next. The bytes of a chunk of rows are
computed and its leaves fetched, then the leaves of the chunk before are added, eight models in lock step, each in the order of its trees.
Far more bytes are read than the caches near the core hold, so bytes decide: 3 a node, and one line with a leaf of every tree.

A node is a byte of each of three lines:

feature  column; bit 7 = a missing value goes left (narrow), or part of the column (wide: 129 to 256 columns, then one bit per lane elsewhere)
code     the value goes right if its rank >= code; 1 more where a missing value goes left. A missing value has rank 255, and the rank of a node
         where it goes left is raised by 1: 255 becomes 0, which is below every such code, and all others compare as before
link     where the other child is: bit 7 and its lane, or the slot of the leaf. The first child follows in the next lane (preorder)

Small trees: the first child is the left one; bit 6 of `link` = it is a leaf, in the slot of the node's own lane. Slots are lanes too: the
second tree of a vector has lanes and slots 32 to 63. Wide records end with 64 bits, 1 = a missing value goes left.

Large trees: the first child is the one with fewer nodes, so that at most 9 links of a vector lead out of it. Each vector is resolved alone;
then the exits 113 to 127 are followed into later vectors, at most 3 times. After the lines of all vectors comes a side record for each: 64 bits
"the first child is a leaf", 64 bits "the first child is the right one", a byte to be added to a leaf's slot, 15 bytes with the node (64 times
vector, plus lane) where exits 113 to 127 go on, 113 = from the last lane to the next node; and if wide, from byte 32, the bits of missing values."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.memory import array_at, table_at
from tickarrow.jit.simd import (
    BYTES, F32, F64, I8, I16, I64, NEEDS, add_to, bits, emit, fetch, fill, lanes, load, number, permute_bytes, permute_bytes_64, store,
)  # fmt: skip
from tickarrow.jit.trees_rank import rank_row

U = np.uint64
LINE = 64
MODELS = 8  # of a bundle
IS_NODE, IS_FIRST_LEAF = 128, 64  # bits of a link
FIRST_CROSS = 113  # exits 113 to 127 of a large tree's vector go on in a later one
PLACE_OF_CROSS = 17  # byte of a vector's side record where the node of exit 113 stands
LEAF_BASE = 16  # byte of it that is added to an exit to have the leaf's slot

# Words of a control block: numbers, then addresses.
BUNDLES, WIDE, DOUBLE, RANKS, TABLE, BUNDLE, CHUNK, PLACE, BASE, DIVISOR, COLUMN, TABLES, RECORD, LEAF, SCRATCH = range(15)
WORDS = 15
# Columns of the bundle table; records and leaves in bytes.
MODELS_IN, VECTORS, LANES, FIRST_CHUNK, CHUNKS, FIRST_ROW, RECORD_AT, RECORD_STEP, LEAF_AT, LEAF_STEP = range(10)
BUNDLE_FIELDS = 10
# Columns of the chunk table.
ROWS, DOUBLINGS = 0, 1
MOST_DOUBLINGS = 6  # the longest path has 64 nodes
# Bytes of the scratch: exits of the 4 vectors of a large tree, sums, then the slots of two chunks, a line for each vector or large tree.
ROOM = 64  # lines of a chunk at most
SUMS, SLOTS, SLOTS_STEP = 256, 320, ROOM * LINE
SCRATCH_BYTES = SLOTS + 2 * SLOTS_STEP

FIRST = lanes(BYTES, range(64))  # first child is a leaf: its slot is the lane
NEXT = lanes(BYTES, [IS_NODE | k + 1 for k in range(63)] + [FIRST_CROSS])  # it is the next node


def repeat(b, count, carried, body):
    """Loop `count` times, at least once: `body(i, *carried)` gives the carried values of the next round; returns the last ones."""
    before, loop, after = b.block, b.append_basic_block("loop"), b.append_basic_block("after")
    b.branch(loop)
    b.position_at_end(loop)
    i, *now = phis = [b.phi(v.type) for v in (count, *carried)]
    for p, v in zip(phis, (number(I64, 0), *carried), strict=True):
        p.add_incoming(v, before)
    new = body(i, *now)
    following = b.add(i, number(I64, 1))
    for p, v in zip(phis, (following, *new), strict=True):
        p.add_incoming(v, b.block)
    b.cbranch(b.icmp_unsigned("<", following, count), loop, after)
    b.position_at_end(after)
    return new


def each_of(b, value, cases, body):
    """Code of its own for each case of a number, `body(case)`; it must be one of them."""
    after = b.append_basic_block("after")
    blocks = [b.append_basic_block(f"case{c}") for c in cases]
    switch = b.switch(value, blocks[-1])
    for c, block in zip(cases, blocks, strict=True):
        if block is not blocks[-1]:
            switch.add_case(number(I64, c), block)
        b.position_at_end(block)
        body(c)
        b.branch(after)
    b.position_at_end(after)


def _times(b, value, n):
    return b.mul(value, number(I64, n))


def _right(b, at, table, missing_left):
    """64 flags: the value of the lane's node goes right. `missing_left` is the address of 64 bits if there are 256 columns, else None."""
    feature, code = load(b, at, BYTES, 0, 1), load(b, at, BYTES, LINE, 1)
    rank = permute_bytes(b, load(b, table, BYTES, 0), feature, load(b, table, BYTES, LINE))
    high = b.icmp_signed("<", feature, fill(BYTES, 0))
    if missing_left is None:
        left = high
    else:
        rank = b.select(high, permute_bytes(b, load(b, table, BYTES, 2 * LINE), feature, load(b, table, BYTES, 3 * LINE)), rank)
        left = bits(b, load(b, missing_left, I64, 0, 1))
    rank = b.select(left, b.add(rank, fill(BYTES, 1)), rank)
    return b.icmp_unsigned(">=", rank, code)


def _table(b, table, tables, j):
    """Address of the rank table of a bundle's model."""
    return b.add(table, load(b, b.add(tables, _times(b, j, 8)), I64))


def _exits(b, position, doublings):
    """The exit that every lane comes to: `next = next[next]`, an exit stays."""
    for _ in range(doublings):
        position = b.select(b.icmp_signed("<", position, fill(BYTES, 0)), permute_bytes_64(b, position, position), position)
    return position


def _small(trees, wide):
    """Slots of the trees of one row, `trees` to a vector, into a line for each model of a bundle; their leaves are asked for."""
    size = 3 * LINE + (8 if wide else 0)

    def body(b, record, table, tables, leaf, leaf_step, shift, models, doublings, out):
        def case(times):
            def model(j, at, leaves, line):
                ranks, link = _table(b, table, tables, j), load(b, at, BYTES, 2 * LINE, 1)
                right = _right(b, at, ranks, add_to(b, at, 3 * LINE) if wide else None)
                first = b.icmp_unsigned("!=", b.and_(link, fill(BYTES, IS_FIRST_LEAF)), fill(BYTES, 0))
                position = b.select(right, link, b.select(first, FIRST, NEXT))
                store(b, b.and_(_exits(b, position, times), fill(BYTES, LINE - 1)), line)
                for t in range(trees):
                    slot = b.zext(load(b, line, I8, t * LINE // trees), I64)
                    fetch(b, b.add(leaves, b.shl(slot, shift)))
                return [add_to(b, at, size), b.add(leaves, leaf_step), add_to(b, line, LINE)]

            repeat(b, models, [record, leaf, out], model)

        each_of(b, doublings, range(1, MOST_DOUBLINGS + 1), case)

    return emit("u8, u8, u8, u8, u8, u8, u8, u8, u8")(body)


def _large(wide):
    """The same of one large tree of each model."""
    side = 64 if wide else 32

    def body(b, record, table, tables, leaf, leaf_step, shift, models, doublings, out, record_step, vectors, scratch):
        def case(times):
            def model(j, at, leaves, line):
                ranks, sides = _table(b, table, tables, j), b.add(at, _times(b, vectors, 3 * LINE))

                def one(_, at, beside, exits):
                    right = _right(b, at, ranks, add_to(b, beside, 32) if wide else None)
                    first, swapped = (bits(b, load(b, beside, I64, o)) for o in (0, 8))
                    position = b.select(b.xor(right, swapped), load(b, at, BYTES, 2 * LINE), b.select(first, FIRST, NEXT))
                    store(b, _exits(b, position, times), exits)
                    return [add_to(b, at, 3 * LINE), add_to(b, beside, side), add_to(b, exits, LINE)]

                def exit_of(node):
                    return b.zext(load(b, b.add(scratch, node), I8), I64), b.add(sides, _times(b, b.lshr(node, number(I64, 6)), side))

                def hop(_, node):
                    found, beside = exit_of(node)  # an exit that is a leaf reads some byte before the side record, and does not use it
                    after = b.zext(load(b, b.add(beside, found), I8, PLACE_OF_CROSS - FIRST_CROSS), I64)
                    return [b.select(b.icmp_unsigned(">=", found, number(I64, FIRST_CROSS)), after, node)]

                repeat(b, vectors, [at, sides, scratch], one)
                (last,) = repeat(b, b.sub(vectors, number(I64, 1)), [number(I64, 0)], hop)
                found, beside = exit_of(last)
                slot = b.add(found, b.zext(load(b, beside, I8, LEAF_BASE), I64))
                store(b, b.trunc(slot, I16), line)
                fetch(b, b.add(leaves, b.shl(slot, shift)))
                return [b.add(at, record_step), b.add(leaves, leaf_step), add_to(b, line, LINE)]

            repeat(b, models, [record, leaf, out], model)

        each_of(b, doublings, range(1, MOST_DOUBLINGS + 1), case)

    return emit("u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8")(body)


def _sums(kind, models, trees, slot_kind=I8):
    """Add the leaves of `models` models in lock step to their sums: `rows` rows of `trees` trees each."""
    size = 4 if kind is F32 else 8

    def body(b, leaf, leaf_step, place, slots, slots_step, rows, sums):
        regions = [leaf]
        for _ in range(models - 1):
            regions.append(b.add(regions[-1], leaf_step))

        def row(r, line, *total):
            at = load(b, b.add(place, _times(b, r, 8)), I64)
            leaves = [b.add(region, at) for region in regions]
            for t in range(trees):
                offsets = [_times(b, b.zext(load(b, line, slot_kind, LINE * j + t * LINE // trees), I64), size) for j in range(models)]
                total = [b.fadd(s, load(b, b.add(p, o), kind)) for s, p, o in zip(total, leaves, offsets, strict=True)]
            return [b.add(line, slots_step), *total]

        _, *total = repeat(b, rows, [slots, *(load(b, sums, kind, size * j) for j in range(models))], row)
        for j, s in enumerate(total):
            store(b, s, sums, size * j)

    return emit("u8, u8, u8, u8, u8, u8, u8")(body)


small_1, small_2, small_4, large = _small(1, False), _small(2, False), _small(4, False), _large(False)
wide_1, wide_2, wide_4, wide_large = _small(1, True), _small(2, True), _small(4, True), _large(True)
float_1, float_2, float_4, float_large = (_sums(F32, 1, 1), _sums(F32, 1, 2), _sums(F32, 1, 4), _sums(F32, 1, 1, I16))
double_1, double_2, double_4, double_large = (_sums(F64, 1, 1), _sums(F64, 1, 2), _sums(F64, 1, 4), _sums(F64, 1, 1, I16))
floats_1, floats_2, floats_4, floats_large = (_sums(F32, MODELS, 1), _sums(F32, MODELS, 2), _sums(F32, MODELS, 4), _sums(F32, MODELS, 1, I16))
doubles_1, doubles_2, doubles_4, doubles_large = (_sums(F64, MODELS, 1), _sums(F64, MODELS, 2), _sums(F64, MODELS, 4), _sums(F64, MODELS, 1, I16))


@kernel("u8, u8, u8, u8, u8, u8, u8, u8, ?, ?", inline=True, needs=NEEDS)
def _add(leaf, leaf_step, place, slots, rows, sums, models, trees, is_large, is_double):
    """Add the leaves of a chunk."""
    step = U(LINE) * models
    if models == U(MODELS):
        if is_double:
            if is_large:
                doubles_large(leaf, leaf_step, place, slots, step, rows, sums)
            elif trees == U(1):
                doubles_1(leaf, leaf_step, place, slots, step, rows, sums)
            elif trees == U(2):
                doubles_2(leaf, leaf_step, place, slots, step, rows, sums)
            else:
                doubles_4(leaf, leaf_step, place, slots, step, rows, sums)
        elif is_large:
            floats_large(leaf, leaf_step, place, slots, step, rows, sums)
        elif trees == U(1):
            floats_1(leaf, leaf_step, place, slots, step, rows, sums)
        elif trees == U(2):
            floats_2(leaf, leaf_step, place, slots, step, rows, sums)
        else:
            floats_4(leaf, leaf_step, place, slots, step, rows, sums)
        return
    for j in range(models):
        at, of, to = leaf + j * leaf_step, slots + U(LINE) * j, sums + (U(8) if is_double else U(4)) * j
        if is_double:
            if is_large:
                double_large(at, leaf_step, place, of, step, rows, to)
            elif trees == U(1):
                double_1(at, leaf_step, place, of, step, rows, to)
            elif trees == U(2):
                double_2(at, leaf_step, place, of, step, rows, to)
            else:
                double_4(at, leaf_step, place, of, step, rows, to)
        elif is_large:
            float_large(at, leaf_step, place, of, step, rows, to)
        elif trees == U(1):
            float_1(at, leaf_step, place, of, step, rows, to)
        elif trees == U(2):
            float_2(at, leaf_step, place, of, step, rows, to)
        else:
            float_4(at, leaf_step, place, of, step, rows, to)


@kernel("f4[:,:], i8, i8, i8, out f4[:,:]", needs=NEEDS)
def jump(x, lo, hi, block, y):
    """Margins of some models, row by row.

    Parameters
    ----------
    x : (capacity, n_features) float32, row-major, NaN = missing
    lo, hi : int, rows [lo, hi) of `x`
    block : int, address of a control block of WORDS int64, made by pipeline/forest_jump.py
    y : (>= hi - lo, n_models) float32, out; row 0 belongs to row `lo`; only columns of these models are written

    References
    ----------
    xgboost adds float32 leaves to its base score in the order of the trees, LightGBM and scikit-learn add float64: both as they do it.
    """
    words = array_at(block, WORDS, np.int64)
    bundles, wide, double = words[BUNDLES], words[WIDE] != 0, words[DOUBLE] != 0
    bundle = table_at(words[BUNDLE], bundles, BUNDLE_FIELDS, np.int64)
    chunk = table_at(words[CHUNK], 1 << 30, 2, np.int64)
    place = array_at(words[PLACE], 1 << 30, np.uint64)
    base, divisor = array_at(words[BASE], bundles * MODELS, np.float64), array_at(words[DIVISOR], bundles * MODELS, np.float64)
    column = array_at(words[COLUMN], bundles * MODELS, np.int64)
    scratch, shift = U(words[SCRATCH]), U(3) if double else U(2)
    doubles, floats = array_at(words[SCRATCH] + SUMS, MODELS, np.float64), array_at(words[SCRATCH] + SUMS, MODELS, np.float32)
    sums = scratch + U(SUMS)
    for r in range(lo, hi):
        rank_row(U(x.ctypes.data) + U(4 * r * x.shape[1]), words[RANKS])
        for k in range(bundles):
            models, vectors, width, step = U(bundle[k, MODELS_IN]), U(bundle[k, VECTORS]), U(bundle[k, LANES]), U(bundle[k, RECORD_STEP])
            record, table, tables = U(words[RECORD] + bundle[k, RECORD_AT]), U(words[TABLE]), U(words[TABLES] + 8 * MODELS * k)
            leaf, leaf_step = U(words[LEAF] + bundle[k, LEAF_AT]), U(bundle[k, LEAF_STEP])
            trees = U(LINE) // width if vectors == U(1) else U(1)  # of a model in a row of trees
            for j in range(models):
                if double:
                    doubles[j] = base[k * MODELS + j]
                else:
                    floats[j] = np.float32(base[k * MODELS + j])
            row, before = U(bundle[k, FIRST_ROW]), U(0)
            for c in range(bundle[k, CHUNKS] + 1):
                rows = U(0)
                if c < bundle[k, CHUNKS]:
                    rows, doublings = U(chunk[bundle[k, FIRST_CHUNK] + c, ROWS]), U(chunk[bundle[k, FIRST_CHUNK] + c, DOUBLINGS])
                    out = scratch + U(SLOTS + (c & 1) * SLOTS_STEP)
                    for i in range(rows):
                        leaves = leaf + place[row + i]
                        if vectors > U(1):
                            if wide:
                                wide_large(record, table, tables, leaves, leaf_step, shift, models, doublings, out, step, vectors, scratch)
                            else:
                                large(record, table, tables, leaves, leaf_step, shift, models, doublings, out, step, vectors, scratch)
                        elif trees == U(1):
                            if wide:
                                wide_1(record, table, tables, leaves, leaf_step, shift, models, doublings, out)
                            else:
                                small_1(record, table, tables, leaves, leaf_step, shift, models, doublings, out)
                        elif trees == U(2):
                            if wide:
                                wide_2(record, table, tables, leaves, leaf_step, shift, models, doublings, out)
                            else:
                                small_2(record, table, tables, leaves, leaf_step, shift, models, doublings, out)
                        elif wide:
                            wide_4(record, table, tables, leaves, leaf_step, shift, models, doublings, out)
                        else:
                            small_4(record, table, tables, leaves, leaf_step, shift, models, doublings, out)
                        record += models * step
                        out += U(LINE) * models
                if before > U(0):
                    slots, at = scratch + U(SLOTS + ((c + 1) & 1) * SLOTS_STEP), U(words[PLACE]) + U(8) * (row - before)
                    _add(leaf, leaf_step, at, slots, before, sums, models, trees, vectors > U(1), double)
                row += rows
                before = rows
            for j in range(models):
                d = divisor[k * MODELS + j]
                if double:
                    y[r - lo, column[k * MODELS + j]] = np.float32(doubles[j] / d)
                else:
                    y[r - lo, column[k * MODELS + j]] = floats[j] / np.float32(d)
