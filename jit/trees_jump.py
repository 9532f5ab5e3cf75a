"""One row through trees of any shape: pointer doubling in bytes (J), over trees cut into a top and pieces.

A piece is a subtree of at most five nodes; with its leaves it fills one 64-byte line. The top is what is above the pieces, and the tops of up
to eight trees stand in a vector of 64 bytes, a large one in two to four vectors. All nodes of a vector are tested at once: one permute
reads the rank of every node's feature, one compare with the node's code decides, and a select writes the next position of every node: the lane
of a child, or an exit. Then `next = next[next]` as often as the longest path of the chunk needs, and the root's byte is the exit: the piece's
line, which is asked for. Eight pieces that have come are then joined in a vector and followed in the same way. No branch depends on the row.

Far more bytes are read than the caches near the core hold, so bytes decide: three for each node of the tops, and one line of a tree.

Tops stand in rows: one vector (or large top) of each model of a bundle of at most eight, then the next. A chunk of rows is followed to its
pieces, then the pieces of the chunk before to their leaves, and these are added, eight models in lock step, each in the order of its trees.

A node is a byte of each of three lines:

feature  column; bit 7 = a missing value goes left (narrow), or part of the column (wide: 129 to 256 columns, then one bit per lane elsewhere)
code     the value goes right if its rank >= code; 1 more where a missing value goes left. A missing value has rank 255, and the rank of a node
         where it goes left is raised by 1: 255 becomes 0, which is below every such code, and all others compare as before
link     where the other child is: bit 7 and its lane, or the number of an exit. The first child follows in the next lane (preorder)

Small tops and pieces: the first child is the left one; bit 6 of `link` = it is an exit, that of the node's own lane. Tops stand one behind the
other, and numbers of exits begin with that of the top's first lane. A record ends with the first lanes of eight tops, and if wide with 64 bits,
1 = a missing value goes left.

Large tops: the first child is the one with fewer nodes, so that at most 9 links of a vector lead out of it. Each vector is resolved alone;
then the exits 113 to 127 are followed into later vectors, at most 3 times. After the lines of all vectors comes a side record for each: 64 bits
"the first child is an exit", 64 bits "the first child is the right one", a byte to be added to an exit, 15 bytes with the node (64 times
vector, plus lane) where exits 113 to 127 go on, 113 = from the last lane to the next node; and if wide, from byte 32, the bits of missing values.

Pieces: features, codes and links of 5 nodes, a byte of 5 bits of missing values (wide), then up to 6 leaves, whose slots are the exits."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.memory import array_at, table_at
from tickarrow.jit.simd import NEEDS
from tickarrow.jit.trees_jump_code import (
    FIRSTS, LINE, MODELS, add_double, add_doubles, add_float, add_floats, large, pieces, small_1, small_2, small_3, small_4, small_6, small_8, wide_1, wide_2,
    wide_3, wide_4, wide_6, wide_8, wide_large, wide_pieces,
)  # fmt: skip
from tickarrow.jit.trees_rank import rank_row

U = np.uint64

# Words of a control block: numbers, then addresses.
BUNDLES, WIDE, DOUBLE, RANKS, TABLE, BUNDLE, CHUNK, FIRST, BASE, DIVISOR, COLUMN, TABLES, RECORD, LEAF, SCRATCH = range(15)
WORDS = 15
# Columns of the bundle table: the record's place and size, and the size of a model's list, in bytes; FIRST_AT = where the bundle begins in the
# list of the lines with which trees begin.
MODELS_IN, VECTORS, TREES, FIRST_CHUNK, CHUNKS, FIRST_AT, RECORD_AT, RECORD_STEP, LIST_STEP = range(9)
BUNDLE_FIELDS = 9
# Columns of the chunk table.
ROWS, DOUBLINGS_IN = 0, 1
# Bytes of the scratch: exits of the vectors of a large top, sums, then offsets of the pieces of two chunks and of the leaves of one, a list for
# each model.
ROOM = 24  # trees of a chunk at most, of each of eight models: their lines stay in the nearest cache
SUMS, LISTS, LISTS_STEP = 256, 320, 4 * MODELS * (ROOM + FIRSTS)
SCRATCH_BYTES = LISTS + 3 * LISTS_STEP


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
    bundles, is_wide, is_double = words[BUNDLES], words[WIDE] != 0, words[DOUBLE] != 0
    bundle = table_at(words[BUNDLE], bundles, BUNDLE_FIELDS, np.int64)
    chunk = table_at(words[CHUNK], 1 << 30, 2, np.int64)
    base, divisor = array_at(words[BASE], bundles * MODELS, np.float64), array_at(words[DIVISOR], bundles * MODELS, np.float64)
    column = array_at(words[COLUMN], bundles * MODELS, np.int64)
    scratch, leaf, table = U(words[SCRATCH]), U(words[LEAF]), U(words[TABLE])
    sums, shift = scratch + U(SUMS), U(3) if is_double else U(2)
    doubles, floats = array_at(words[SCRATCH] + SUMS, MODELS, np.float64), array_at(words[SCRATCH] + SUMS, MODELS, np.float32)
    for r in range(lo, hi):
        rank_row(U(x.ctypes.data) + U(4 * r * x.shape[1]), words[RANKS])
        for k in range(bundles):
            models, vectors, trees, step = U(bundle[k, MODELS_IN]), U(bundle[k, VECTORS]), U(bundle[k, TREES]), U(bundle[k, RECORD_STEP])
            record, first, list_step = U(words[RECORD] + bundle[k, RECORD_AT]), U(words[FIRST] + 4 * bundle[k, FIRST_AT]), U(bundle[k, LIST_STEP])
            tables = U(words[TABLES] + 8 * MODELS * k)
            for j in range(models):
                if is_double:
                    doubles[j] = base[k * MODELS + j]
                else:
                    floats[j] = np.float32(base[k * MODELS + j])
            before = U(0)
            for c in range(bundle[k, CHUNKS] + 1):
                rows = U(0)
                if c < bundle[k, CHUNKS]:
                    rows, times = U(chunk[bundle[k, FIRST_CHUNK] + c, ROWS]), U(chunk[bundle[k, FIRST_CHUNK] + c, DOUBLINGS_IN])
                    out = scratch + U(LISTS + (c & 1) * LISTS_STEP)
                    for _ in range(rows):
                        if vectors > U(1):
                            if is_wide:
                                wide_large(record, table, tables, leaf, first, models, times, out, list_step, scratch, step, vectors)
                            else:
                                large(record, table, tables, leaf, first, models, times, out, list_step, scratch, step, vectors)
                        elif trees == U(8):
                            if is_wide:
                                wide_8(record, table, tables, leaf, first, models, times, out, list_step)
                            else:
                                small_8(record, table, tables, leaf, first, models, times, out, list_step)
                        elif trees == U(6):
                            if is_wide:
                                wide_6(record, table, tables, leaf, first, models, times, out, list_step)
                            else:
                                small_6(record, table, tables, leaf, first, models, times, out, list_step)
                        elif trees == U(4):
                            if is_wide:
                                wide_4(record, table, tables, leaf, first, models, times, out, list_step)
                            else:
                                small_4(record, table, tables, leaf, first, models, times, out, list_step)
                        elif trees == U(3):
                            if is_wide:
                                wide_3(record, table, tables, leaf, first, models, times, out, list_step)
                            else:
                                small_3(record, table, tables, leaf, first, models, times, out, list_step)
                        elif trees == U(2):
                            if is_wide:
                                wide_2(record, table, tables, leaf, first, models, times, out, list_step)
                            else:
                                small_2(record, table, tables, leaf, first, models, times, out, list_step)
                        elif is_wide:
                            wide_1(record, table, tables, leaf, first, models, times, out, list_step)
                        else:
                            small_1(record, table, tables, leaf, first, models, times, out, list_step)
                        record += models * step
                        first += U(4) * models * trees
                        out += U(4) * trees
                if before > U(0):
                    found = scratch + U(LISTS + ((c + 1) & 1) * LISTS_STEP)
                    leaves, groups = scratch + U(LISTS + 2 * LISTS_STEP), (before + U(7)) >> U(3)
                    for j in range(models):
                        if is_wide:
                            wide_pieces(table, tables, leaf, U(j), found + j * list_step, groups, shift, leaves + j * list_step)
                        else:
                            pieces(table, tables, leaf, U(j), found + j * list_step, groups, shift, leaves + j * list_step)
                    if models == U(MODELS):
                        if is_double:
                            add_doubles(leaf, leaves, list_step, before, sums)
                        else:
                            add_floats(leaf, leaves, list_step, before, sums)
                    else:
                        for j in range(models):
                            if is_double:
                                add_double(leaf, leaves + j * list_step, list_step, before, sums + U(8) * j)
                            else:
                                add_float(leaf, leaves + j * list_step, list_step, before, sums + U(4) * j)
                before = rows * trees
            for j in range(models):
                d = divisor[k * MODELS + j]
                if is_double:
                    y[r - lo, column[k * MODELS + j]] = np.float32(doubles[j] / d)
                else:
                    y[r - lo, column[k * MODELS + j]] = floats[j] / np.float32(d)
