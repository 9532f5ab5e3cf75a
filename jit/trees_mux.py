"""Batches of rows through forests of complete trees up to depth 8, lane = row: bits of 64 * W rows at once.

Each node's mask is a row of the block's mask table (trees_mask.py). The decision of a level is a choice among its nodes' masks by the decisions of
the levels above: 2^d - 1 masks are loaded and chosen from by three-input logic, which gives the leaf's number as d bit planes. trees_leaf.py
adds the leaves. Trees of a model are added in their order, from the base, so every bit is that of the library.

Nodes are stored as offsets of 8 bytes a table row, which the processor scales by W while it loads. Made by pipeline/forest_mux.py."""

import numpy as np

from tickarrow.jit import simd
from tickarrow.jit._kernel import kernel
from tickarrow.jit.memory import call_at
from tickarrow.jit.simd import I32, I64, emit, number, vector
from tickarrow.jit.trees_leaf import (
    LEAST, ONE_BY_ONE, PERMUTES, SHUFFLES, can_permute, gathers, nothing, one_by_one, otherwise, pauses, permuting, place, shuffling, write_one_by_one,
    write_permuted, write_shuffled_2, write_shuffled_4,
)
from tickarrow.jit.trees_mask import masks

DEPTHS = (4, 5, 6, 7, 8)  # a tree of less depth is filled up to 4
STACKED = 6  # levels of a subtree: where less code is worth more than speed, depth 7 and 8 are two and four of them, one after the other
PLANES, NUMBERS = 1024, 256  # bytes of scratch memory for the planes of subtrees; before that, the bytes of leaf numbers
TOGETHER = 16  # models whose margins are written together

# columns of `model` and of `run`, a run being trees of one depth that follow each other
COLUMN, FIRST, END, DIVISOR = range(4)
DEPTH, TREES, NODES, LEAVES = range(4)

U = np.uint64


def _runs(words, two, permutes):
    """An intrinsic: trees of one depth, for one model, on all rows of a block."""
    kind, node_bytes = vector(I64, words), 8 if two else 4

    def mask(b, table, node):
        def row(k, more=0):
            offset = b.zext(simd.load(b, node, I32, 4 * k), I64)
            return simd.load(b, b.add(table, b.mul(offset, number(I64, words))), kind, more)

        return b.or_(row(0, 8 * words), b.and_(row(0), row(1))) if two else row(0)

    def decisions(b, table, first, between=None):
        """Planes of a subtree. first: address of the first node of each level; `between` writes other instructions before the k-th node."""
        planes, done = [], [0]

        def decision(level, decided, k):
            """Of 2^(level - decided) nodes the k-th one's mask, as the decisions above it choose it; the newest decision is used last."""
            if decided == 0:
                if between:
                    between(done[0])
                done[0] += 1
                return mask(b, table, simd.add_to(b, first[level], node_bytes * k))
            half = 1 << level - decided
            return simd.mux(b, planes[decided - 1], decision(level, decided - 1, k), decision(level, decided - 1, k + half))

        for level in range(len(first)):
            planes.append(decision(level, level, 0))
        return planes

    def levels_of(b, node, levels):
        return [simd.add_to(b, node, node_bytes << level) for level in levels]

    def stacked(b, table, node, depth, scratch):
        """Planes of a tree whose lowest levels are done subtree by subtree."""
        upper = depth - STACKED

        def subtree(state):
            left, out, *first = state
            for q, plane in enumerate(decisions(b, table, first)):
                simd.store(b, plane, out, 8 * words * q)
            following = [simd.add_to(b, at, node_bytes << level) for level, at in enumerate(first)]
            return [b.sub(left, number(I64, 1)), b.add(out, number(I64, 8 * words * STACKED)), *following]

        begin = [number(I64, 1 << upper), scratch, *levels_of(b, node, range(upper, depth))]
        simd.repeat(b, begin, lambda s: b.icmp_unsigned("!=", s[0], number(I64, 0)), subtree)
        planes = decisions(b, table, levels_of(b, node, range(upper)))
        for q in range(STACKED):
            found = [simd.load(b, scratch, kind, 8 * words * (STACKED * k + q)) for k in range(1 << upper)]
            for decided in reversed(planes[:upper]):
                found = [simd.mux(b, decided, found[k], found[k + 1]) for k in range(0, len(found), 2)]
            planes.append(found[0])
        return planes

    def body(b, depth, trees, table, nodes, leaves, total, order, scratch):
        def overlapped(levels):
            """The leaves of a tree are added between the nodes of the next, which keeps loads and permutes busy at the same time."""
            gather = gathers(b, order, levels, words)

            def tree(state):
                node, leaf, left, before, *planes = state
                adding, said = permuting(b, planes, words, before, total, gather), [0]

                def between(k):
                    while said[0] < k * pauses(words) >> levels:
                        next(adding)
                        said[0] += 1

                planes = decisions(b, table, levels_of(b, node, range(levels)), between)
                for _ in adding:
                    pass
                return [b.add(node, number(I64, node_bytes << levels)), b.add(leaf, leaf_bytes(levels)), b.sub(left, number(I64, 1)), leaf, *planes]

            begin = [nodes, leaves, trees, b.add(order, number(I64, nothing(levels))), *[simd.fill(kind, 0)] * levels]
            _, _, _, last, *planes = simd.repeat(b, begin, lambda s: b.icmp_unsigned("!=", s[2], number(I64, 0)), tree)
            for _ in permuting(b, planes, words, last, total, gather):
                pass

        def one_after_the_other(levels):
            gather = gathers(b, order, levels, words) if permutes else None

            def tree(state):
                node, leaf, left = state
                if levels > STACKED:
                    planes = stacked(b, table, node, levels, b.add(scratch, number(I64, NUMBERS)))
                else:
                    planes = decisions(b, table, levels_of(b, node, range(levels)))
                if permutes:
                    for _ in permuting(b, planes, words, leaf, total, gather):
                        pass
                else:
                    (shuffling if otherwise() == SHUFFLES else one_by_one)(b, planes, words, leaf, total, scratch)
                return b.add(node, number(I64, node_bytes << levels)), b.add(leaf, leaf_bytes(levels)), b.sub(left, number(I64, 1))

            simd.repeat(b, [nodes, leaves, trees], lambda s: b.icmp_unsigned("!=", s[2], number(I64, 0)), tree)

        def leaf_bytes(levels):
            return number(I64, 4 << levels if not permutes and otherwise() == ONE_BY_ONE else 4 * max(LEAST, 1 << levels))

        def case(levels):
            return lambda: overlapped(levels) if permutes and (levels <= STACKED or not two) else one_after_the_other(levels)

        if not permutes or can_permute():  # else it is never called, and LLVM could not compile it
            simd.choose(b, depth, {levels: case(levels) for levels in DEPTHS})

    return emit("u8, u8, u8, u8, u8, u8, u8, u8")(body)


_RUN = "u8, u8, u8, u8, u8, u8, u8, u8"
_one_2, _one_4, _two_2, _two_4 = (_runs(words, two, False) for two in (False, True) for words in (2, 4))
_permuted_one_2, _permuted_one_4, _permuted_two_2, _permuted_two_4 = (_runs(words, two, True) for two in (False, True) for words in (2, 4))


# Each is a kernel of its own that `mux` calls by its address, else LLVM would compile all of them into it again.

@kernel(_RUN)
def one_2(depth, trees, table, nodes, leaves, total, order, scratch):
    _one_2(depth, trees, table, nodes, leaves, total, order, scratch)


@kernel(_RUN)
def one_4(depth, trees, table, nodes, leaves, total, order, scratch):
    _one_4(depth, trees, table, nodes, leaves, total, order, scratch)


@kernel(_RUN)
def two_2(depth, trees, table, nodes, leaves, total, order, scratch):
    _two_2(depth, trees, table, nodes, leaves, total, order, scratch)


@kernel(_RUN)
def two_4(depth, trees, table, nodes, leaves, total, order, scratch):
    _two_4(depth, trees, table, nodes, leaves, total, order, scratch)


@kernel(_RUN)
def permuted_one_2(depth, trees, table, nodes, leaves, total, order, scratch):
    _permuted_one_2(depth, trees, table, nodes, leaves, total, order, scratch)


@kernel(_RUN)
def permuted_one_4(depth, trees, table, nodes, leaves, total, order, scratch):
    _permuted_one_4(depth, trees, table, nodes, leaves, total, order, scratch)


@kernel(_RUN)
def permuted_two_2(depth, trees, table, nodes, leaves, total, order, scratch):
    _permuted_two_2(depth, trees, table, nodes, leaves, total, order, scratch)


@kernel(_RUN)
def permuted_two_4(depth, trees, table, nodes, leaves, total, order, scratch):
    _permuted_two_4(depth, trees, table, nodes, leaves, total, order, scratch)


@kernel(
    "f4[:,:], i8, i8, i8, i8, i8, i8[:,:], i8[:,:], f4[:], u1[:], i8[:,:], f4[:], i8[:,:], u4[:], u1[:], u1[:], out u1[:], out u8[:], out u1[:], out f4[:], "
    "out f4[:,:]"
)
def mux(
    x, lo, hi, words, runs, adds, feature, column, cuts, code, model, base, run, node, leaf, order, mask_scratch, table, scratch, total, y
):  # fmt: skip
    """Margins of all models for rows of features.

    Parameters
    ----------
    x : (capacity, n_features) float32, row-major, NaN = missing
    lo, hi : int, rows [lo, hi) of `x`
    words : int, 2 or 4: rows are done 64 * words at a time
    runs : int, address of the kernel for a run: `one` or `two` digits (mask rows h, l mean row[h + 1] | (row[h] & row[l])), so many words
    adds : int, how `runs` adds leaves: ONE_BY_ONE, PERMUTES or SHUFFLES of trees_leaf.py
    feature, column, cuts, code : of the mask table, see trees_mask.masks
    model : (n, 4) int64, column of y, first and end of its runs, divisor
    base : (n,) float32
    run : (n, 4) int64, depth, trees, first word of `node`, first byte of `leaf`
    node : (n,) uint32, 8 * mask row for each slot (two words with two digits)
    leaf : (n,) uint8, aligned to 64 bytes: of each tree 2^depth floats, or unless ONE_BY_ONE their four byte tables of at least 64
    order : of trees_leaf.orders(words)
    mask_scratch, table : of trees_mask.masks
    scratch : (NUMBERS + PLANES,) uint8; total : (16 * 64 * words,) float32; both aligned to 64 bytes
    y : (>= hi - lo, n_models) float32, out; row 0 belongs to row `lo`
    """
    rows = 64 * words
    to, numbers = U(table.ctypes.data), U(scratch.ctypes.data)
    nodes, leaves, turned = U(node.ctypes.data), U(leaf.ctypes.data), U(order.ctypes.data)
    for begin in range(lo, hi, rows):
        n = min(rows, hi - begin)
        masks(x, begin, begin + n, words, feature, column, cuts, code, mask_scratch, table)
        for together in range(0, model.shape[0], TOGETHER):
            models = min(TOGETHER, model.shape[0] - together)
            neighbours = models == TOGETHER
            for m in range(together, together + models):
                at = (m - together) * rows
                neighbours = neighbours and model[m, COLUMN] == model[together, COLUMN] + m - together
                for r in range(rows):
                    total[at + r] = base[m]
                sums = U(total.ctypes.data) + U(4 * at)
                for k in range(model[m, FIRST], model[m, END]):
                    depth, trees = U(run[k, DEPTH]), U(run[k, TREES])
                    first, leaf_at = nodes + U(4) * U(run[k, NODES]), leaves + U(run[k, LEAVES])
                    call_at(runs, (depth, trees, to, first, leaf_at, sums, turned, numbers))
                if model[m, DIVISOR] != 1:
                    for r in range(rows):
                        total[at + r] /= np.float32(model[m, DIVISOR])
            out, pitch = U(y.ctypes.data) + U(4) * U((begin - lo) * y.shape[1] + model[together, COLUMN]), U(4 * rows)
            first = U(total.ctypes.data)
            stride = U(4 * y.shape[1])
            if neighbours and adds == PERMUTES:
                write_permuted(first, pitch, first + pitch, out, stride, U(n), numbers)
            elif neighbours and adds == ONE_BY_ONE:
                write_one_by_one(first, pitch, first + pitch, out, stride, U(n), numbers)
            elif neighbours and words == 2:
                write_shuffled_2(first, pitch, first + pitch, out, stride, U(n), numbers)
            elif neighbours:
                write_shuffled_4(first, pitch, first + pitch, out, stride, U(n), numbers)
            else:
                for m in range(together, together + models):
                    at = (m - together) * rows
                    for r in range(n):
                        y[begin - lo + r, model[m, COLUMN]] = total[at + place(r, adds, words)]
