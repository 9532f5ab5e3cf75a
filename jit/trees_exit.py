"""Trees of any shape for a block of rows, a row a bit: the exit kernel of batches.

Number the inner nodes of a tree from left to right, and let T[n] say for each row of the block whether its leaf lies right of node n. If s
is the nearest ancestor that has n on its left and a the nearest that has it on its right, then

    T[n] = T[s] | (T[a] & p[n])

where p[n] says that the row's value goes right at n: three loads, one ternary instruction and one store for 64 to 512 rows, whatever the
shape. Parents come first, so the order of the records is all there is to a tree. A row's leaf is the number of T[n] that are 1; these are
1 for the first ones and 0 for the rest, so the exclusive or of T[0], T[2], T[4], ... is bit 0 of that number's Gray code, that of T[1],
T[5], T[9], ... bit 1, and so on: half the instructions of a count. Leaves stand in the order of that code.

The planes of code bits become code bytes by merging bits to pairs, to nibbles, to bytes: byte i of vector j belongs to row 8i + j of the
block. The leaf adds run through these bytes as they lie; `where` of the driver brings the sums back into the order of rows.

Leaves that fill up to 8 registers are looked up by permutes, for 64 rows at a time; float64 ones as two halves of 32 bits, for a permute of
32 entries of 32 bits costs what one of 16 of 64 bits does. More leaves, and all on other processors, are added one by one for 8 rows at a
time, whose sums stay in registers from tree to tree."""

import numpy as np

from tickarrow.jit import simd
from tickarrow.jit._kernel import cpu_has, kernel
from tickarrow.jit.simd import BYTES, DOUBLES, F32, F64, FLOATS, I8, I16, I32, I64, INTS, NEEDS, emit, fill, load, number, shuffle, store, vector

BLOCKS = (2, 4, 8)  # words of a block: 128, 256 or 512 rows
PLANES = (5, 6, 7, 8)  # bits of a leaf's code
PERMUTED = (7, 6)  # the most for permutes, with float32 and float64 leaves: 8 registers of leaves; more are added faster one by one
RUN = 16  # trees at most whose codes are made before their leaves are added

SHORT, LONG, DIGITS = 0, 1, 2  # kinds of records: 4 bytes; 8 bytes; 8 bytes, the test is of two digits
RECORD_SIZE = (4, 8, 8)
AHEAD = 32  # records; as many stand unused behind the last
SHORT_NODES, LONG_NODES = 30, 255  # the most of a tree
ZERO_SHORT, ONE_SHORT = 30, 31  # slots of T that are 0 or 1 for all rows
ZERO_LONG, ONE_LONG = 255, 256
SLOTS = 257

COLUMN, FIRST, END, DIVISOR = range(4)  # columns of `model`: column of y, runs [FIRST, END)
TREES, PLANES_OF, TREE, RECORD, LEAF = range(5)  # columns of `run`: trees, bits of a code, first tree, first record (byte), first leaf (entry)

U = np.uint64


def _decode(b, words, kind, at):
    """Byte offsets of T[n], T[s] and T[a], and of the mask rows, of the record at an address."""

    def field(w, low, mask, scale):
        return b.mul(b.and_(b.lshr(w, number(I64, low)) if low else w, number(I64, mask)), number(I64, scale))

    if kind == SHORT:  # slot numbers leave the shift as multiples of 8: the rest of the factor is a scaled address
        w = b.zext(load(b, at, I32), I64)
        return [field(w, low - 3, 31 << 3, words) for low in (16, 21, 26)], [field(w, 0, 65535, 8 * words)]
    if kind == LONG:
        half = [b.zext(load(b, at, I16, 2 * i), I64) for i in range(4)]
        return [b.mul(v, number(I64, words)) for v in half[1:]], [b.mul(half[0], number(I64, 8 * words))]
    w = load(b, at, I64)
    return [field(w, low - 3, 511 << 3, words) for low in (32, 41, 50)], [field(w, low, 65535, 8 * words) for low in (0, 16)]


def _row_ahead(b, words, kind, masks, at):
    """Ask for the mask row of a later record. Two digits have so few rows, and two words so small ones, that it costs more than it saves."""
    if words > 2 and kind != DIGITS:
        row = b.zext(load(b, at, I16, AHEAD * RECORD_SIZE[kind]), I64)
        simd.fetch(b, b.add(masks, b.mul(row, number(I64, 8 * words))))


def _node(b, words, kind, masks, at, slots):
    """T[n] of the record at an address."""
    wide = vector(I64, words)
    _row_ahead(b, words, kind, masks, at)
    (n, s, a), rows = _decode(b, words, kind, at)
    p = load(b, b.add(masks, rows[0]), wide)
    if kind == DIGITS:  # the first digit is greater, or it is equal and the second is no less
        p = b.or_(load(b, b.add(masks, rows[0]), wide, 8 * words), b.and_(p, load(b, b.add(masks, rows[1]), wide)))
    store(b, b.or_(load(b, b.add(slots, s), wide), b.and_(load(b, b.add(slots, a), wide), p)), b.add(slots, n))


def _repeat(b, state, step):
    """A loop at least once round: `step(values)` gives the next values and whether to go on. Returns the last values."""
    before = b.block
    loop, done = b.append_basic_block("loop"), b.append_basic_block("done")
    b.branch(loop)
    b.position_at_end(loop)
    now = [b.phi(v.type) for v in state]
    after, more = step(now)
    for phi, first, then in zip(now, state, after):
        phi.add_incoming(first, before)
        phi.add_incoming(then, b.block)
    b.cbranch(more, loop, done)
    b.position_at_end(done)
    return after


def _case(b, **values):
    """Block of instructions for one case: `with _case(b, words=(value, 8)):`."""
    met = [b.icmp_unsigned("==", value, number(I64, wanted)) for value, wanted in values.values()]
    return b.if_then(met[0] if len(met) == 1 else b.and_(*met))


@emit("u8, u8, u8, u8, u8, u8")
def _nodes(b, words, kind, masks, records, end, slots):
    """T of one tree, from its records, two at a time."""
    for w in BLOCKS:
        for k, size in enumerate(RECORD_SIZE):

            def step(state, w=w, k=k, size=size):
                (at,) = state
                _node(b, w, k, masks, at, slots)
                _node(b, w, k, masks, b.add(at, number(I64, size)), slots)
                after = b.add(at, number(I64, 2 * size))
                return [after], b.icmp_unsigned("<", after, end)

            with _case(b, words=(words, w), kind=(kind, k)):
                _repeat(b, [records], step)


def _merge(b, low, high, width):
    """Fields of `width` bits: those at even and those at odd places of `low`, each with that of `high` above it; None = all zero."""
    if low is None:
        return None, None
    even = fill(low.type, {1: 0x5555555555555555, 2: 0x3333333333333333, 4: 0x0F0F0F0F0F0F0F0F}[width])
    by, odd = fill(low.type, width), b.not_(even)
    first, second = b.and_(low, even), b.and_(b.lshr(low, by), even)
    if high is None:
        return first, second
    return b.or_(first, b.and_(b.shl(high, by), odd)), b.or_(second, b.and_(high, odd))


@emit("u8, u8, u8, u8")
def _codes(b, words, planes, slots, out):
    """Gray codes of the leaves of one tree, as bytes, from its T."""
    for w in BLOCKS:
        for p in PLANES:
            with _case(b, words=(words, w), planes=(planes, p)):
                plane = [None] * 8
                for q in range(p):
                    for n in range((1 << q) - 1, (1 << p) - 1, 2 << q):
                        right = load(b, slots, vector(I64, w), 8 * w * n)
                        plane[q] = right if plane[q] is None else b.xor(plane[q], right)
                pair = [_merge(b, plane[q], plane[q + 1], 1) for q in (0, 2, 4, 6)]
                for odd in (0, 1):
                    low, high = _merge(b, pair[0][odd], pair[1][odd], 2), _merge(b, pair[2][odd], pair[3][odd], 2)
                    for second in (0, 1):
                        for half, byte in enumerate(_merge(b, low[second], high[second], 4)):
                            store(b, byte, out, 8 * w * (odd + 2 * second + 4 * half))


def _lookup(b, table, index, flags):
    """16 entries of 32 bits of a table of 32 to 256."""
    found = [simd.permute_floats(b, table[k], index, table[k + 1]) for k in range(0, len(table), 2)]
    for flag in flags:
        found = [b.select(flag, found[k + 1], found[k]) for k in range(0, len(found), 2)]
    return found[0]


def _add(b, planes, double, codes, stride, leaves, trees, total):
    """Leaves of some trees in order, for 64 rows."""
    kind, n, half = (DOUBLES, 8, 4 << planes) if double else (FLOATS, 4, 0)
    size = number(I64, (8 if double else 4) << planes)

    def step(state):
        code, at, left, *sums = state
        byte = b.bitcast(load(b, code, BYTES), INTS)
        tables = [[load(b, at, FLOATS, start + 64 * k, align=4) for k in range(1 << (planes - 4))] for start in ((0, half) if double else (0,))]
        for k in range(4):
            index = b.lshr(byte, fill(INTS, 8 * k)) if k else byte
            flags = [b.icmp_signed("!=", b.and_(index, fill(INTS, 1 << bit)), fill(INTS, 0)) for bit in range(5, planes)]
            found = [_lookup(b, table, index, flags) for table in tables]
            if double:
                for h in (0, 1):  # vpunpckldq, vpunpckhdq
                    order = [4 * lane + 2 * h + e + other for lane in range(4) for e in (0, 1) for other in (0, 16)]
                    leaf = b.bitcast(shuffle(b, *(b.bitcast(v, INTS) for v in found), order), DOUBLES)
                    sums[2 * k + h] = b.fadd(sums[2 * k + h], leaf)
            else:
                sums[k] = b.fadd(sums[k], found[0])
        after = [b.add(code, stride), b.add(at, size), b.sub(left, number(I64, 1)), *sums]
        return after, b.icmp_unsigned("!=", after[2], number(I64, 0))

    sums = [load(b, total, kind, 64 * k) for k in range(n)]
    for k, v in enumerate(_repeat(b, [codes, leaves, trees, *sums], step)[3:]):
        store(b, v, total, 64 * k)


@emit("u8, u8, u8, u8, u8, u8, u8")
def _permute(b, planes, double, codes, stride, leaves, trees, total):
    """Leaves of some trees in order, for 64 rows; nothing on a processor without the permutes."""
    if cpu_has(NEEDS):
        for d, most in enumerate(PERMUTED):
            for p in range(min(PLANES), most + 1):
                with _case(b, planes=(planes, p), double=(double, d)):
                    _add(b, p, d, codes, stride, leaves, trees, total)


@emit("u8, u8, u8, u8, u8, u8, u8")
def _one_by_one(b, planes, double, codes, stride, leaves, trees, total):
    """Leaves of some trees in order, for 8 rows, whose sums are the same ones as those of a vector of `_add`, or half of one."""
    for d, kind in enumerate((F32, F64)):
        width = 4 + 4 * d

        def step(state, kind=kind, width=width):
            code, at, left, *sums = state
            for k in range(8):
                entry = b.zext(load(b, code, I8, 16 * (k // 2) + 4 * (k % 2) if width == 8 else 4 * k), I64)
                sums[k] = b.fadd(sums[k], load(b, b.add(at, b.mul(entry, number(I64, width))), kind))
            after = [b.add(code, stride), b.add(at, b.shl(number(I64, width), planes)), b.sub(left, number(I64, 1)), *sums]
            return after, b.icmp_unsigned("!=", after[2], number(I64, 0))

        with _case(b, double=(double, d)):
            sums = [load(b, total, kind, width * k) for k in range(8)]
            for k, v in enumerate(_repeat(b, [codes, leaves, trees, *sums], step)[3:]):
                store(b, v, total, width * k)


@kernel("u8[:], i8, i8, i8[:,:], f8[:], i8[:,:], u2[:], u4[:], f4[:], ?, ?, i4[:], out u8[:], out u1[:], out f8[:], i8, i8, out f4[:,:]")
def block(masks, words, kind, model, base, run, nodes, records, leaves, double, permute, where, slots, codes, total, at, rows, y):
    """Margins of one block of rows: base, plus the leaf of each tree in order, in the width of the leaves, bit-equal to the library.

    Parameters
    ----------
    masks : (table rows * words,) uint64, aligned to 64 bytes, see trees_mask.py
    words : int, 2, 4 or 8: the block has 64 * words rows
    kind : int, SHORT, LONG or DIGITS
    model : (n_models, 4) int64, see COLUMN
    base : (n_models,) float64, where a sum begins
    run : (n_runs, 5) int64, see TREES; trees that stand one behind the other and have codes of like width, at most RUN
    nodes : (n_trees,) uint16, inner nodes of each tree
    records : (n,) uint32, records of the nodes, parents first, an even number for each tree; AHEAD more behind the last
        4 bytes, from the lowest bit: table row 16, n 5, s 5, a 5. 8 bytes: table row 16, 8n 16, 8s 16, 8a 16.
        8 bytes and two digits: table rows 16 and 16, n 9, s 9, a 9.
    leaves : (n,) float32, leaves of each tree in the order of their codes, 2^planes places; float64 ones are two places each
        With permutes, those of a run of PERMUTED planes or fewer are all lower halves and then all upper halves of a tree.
    double : bool, leaves are float64
    permute : bool, leaves by permutes; needs a processor with `simd.NEEDS`
    where : (64 * words,) int32, place of each row's sum
    slots : (SLOTS * words,) uint64, scratch, aligned to 64 bytes: T of a tree
    codes : (RUN * 64 * words,) uint8, scratch, aligned to 64 bytes
    total : (64 * words,) float64, scratch, aligned to 64 bytes
    at, rows : int, rows [at, at + rows) of `y` are written
    y : (>= at + rows, columns) float32, out; only the columns of these models
    """
    wide, single = total, total.view(np.float32)
    size = 64 * words
    table, records_at, leaves_at = U(masks.ctypes.data), U(records.ctypes.data), U(leaves.ctypes.data)
    slots_at, codes_at, total_at = U(slots.ctypes.data), U(codes.ctypes.data), U(total.ctypes.data)
    width = U(8 if double else 4)
    stride = 4 if kind == SHORT else 8
    for k in range(SLOTS * words):
        slots[k] = U(0)
    for w in range(words):
        slots[(ONE_SHORT if kind == SHORT else ONE_LONG) * words + w] = ~U(0)
    used = 0
    for m in range(model.shape[0]):
        if double:
            for r in range(size):
                wide[r] = base[m]
        else:
            for r in range(size):
                single[r] = np.float32(base[m])
        for i in range(model[m, FIRST], model[m, END]):
            planes, first, trees = run[i, PLANES_OF], run[i, TREE], run[i, TREES]
            record, entry = U(run[i, RECORD]), U(run[i, LEAF])
            for t in range(trees):
                count = nodes[first + t]
                for k in range(count * words, used * words):
                    slots[k] = U(0)
                used = count
                if count:
                    end = record + U((count + 1) // 2 * 2 * stride)
                    _nodes(U(words), U(kind), table, records_at + record, records_at + end, slots_at)
                    record = end
                _codes(U(words), U(planes), slots_at, codes_at + U(t * size))
            first_leaf = leaves_at + width * entry
            if permute and planes <= PERMUTED[U(double)]:
                for g in range(0, size, 64):
                    _permute(U(planes), U(double), codes_at + U(g), U(size), first_leaf, U(trees), total_at + U(g) * width)
            else:
                for g in range(0, size, 8):
                    k = g % 64 // 8
                    first_code = codes_at + U(g // 64 * 64 + k % 2 * (8 if double else 32) + k // 2)
                    _one_by_one(U(planes), U(double), first_code, U(size), first_leaf, U(trees), total_at + U(g) * width)
        column, divisor = model[m, COLUMN], model[m, DIVISOR]
        if double:
            for r in range(rows):
                v = wide[where[r]]
                y[at + r, column] = np.float32(v / divisor if divisor > 1 else v)
        else:
            for r in range(rows):
                v = single[where[r]]
                y[at + r, column] = v / np.float32(divisor) if divisor > 1 else v


@kernel("i8[:], i8[:], i8[:], out i8[:,:], out i8[:], out i8[:], out i8[:]")
def order(root, left, right, node, count, rank, tree):
    """Inner nodes of trees in the order of their records, and the numbers they and the leaves have from left to right.

    Parameters
    ----------
    root : (trees,) int64
    left, right : (nodes,) int64, child; -1 = the node is a leaf
    node : (inner nodes, 4) int64, out: node, its number n, numbers of the ancestors s and a; -1 = none
        Tree by tree, level by level, so that parents come first.
    count : (trees,) int64, out, inner nodes
    rank : (nodes,) int64, out, number of the node or of the leaf in its tree
    tree : (nodes,) int64, out, tree of each leaf; other nodes are left as they are
    """
    at = 0
    for t in range(root.size):
        begin = at
        if left[root[t]] < 0:
            rank[root[t]] = 0
            tree[root[t]] = t
        else:
            node[at, 0] = root[t]
            at += 1
        k = begin
        while k < at:
            i = node[k, 0]
            for child in (left[i], right[i]):
                rank[child] = 0
                if left[child] >= 0:
                    node[at, 0] = child
                    at += 1
            k += 1
        for k in range(at - 1, begin - 1, -1):  # first as many as there are inner nodes below
            i = node[k, 0]
            rank[i] = 1 + rank[left[i]] + rank[right[i]]
        if at > begin:
            node[begin, 1], node[begin, 2], node[begin, 3] = 0, -1, -1
        c = begin + 1
        for k in range(begin, at):
            i, first, s, a = node[k, 0], node[k, 1], node[k, 2], node[k, 3]
            lower, upper = left[i], right[i]
            n = first + rank[lower]
            node[k, 1] = rank[i] = n
            if left[lower] >= 0:
                node[c, 1], node[c, 2], node[c, 3] = first, n, a
                c += 1
            else:
                rank[lower] = n
                tree[lower] = t
            if left[upper] >= 0:
                node[c, 1], node[c, 2], node[c, 3] = n + 1, s, n
                c += 1
            else:
                rank[upper] = n + 1
                tree[upper] = t
        count[t] = at - begin
