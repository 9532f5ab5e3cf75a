"""Vector code of the one-row kernel for trees of any shape, see trees_jump.py."""

from tickarrow.jit.simd import (
    BYTES, F32, F64, I8, I32, I64, WORDS, add_to, at, bits, emit, fetch, fill, join, lanes, load, number, part, permute_bytes, permute_bytes_64, splat, store,
    vector,
)  # fmt: skip

LINE = 64
MODELS = 8  # of a bundle
IS_NODE, IS_FIRST_EXIT = 128, 64  # bits of a link
FIRST_CROSS = 113  # exits 113 to 127 of a large top's vector go on in a later one
PLACE_OF_CROSS = 17  # byte of a vector's side record where the node of exit 113 stands
EXIT_BASE = 16  # byte of it that is added to an exit
DOUBLINGS = (2, 3, 4, 5, 6)  # there is code for each; paths of 2^n nodes are followed
FIRSTS = 8  # a vector has at most so many trees; so many exits are read and written for any
PIECE_NODES, PIECE_HEAD = 5, 16  # nodes of a piece; its leaves begin at this byte of the line
PIECE_DOUBLINGS = 3

EXIT = lanes(BYTES, range(64))  # the first child is an exit: that of the lane's number
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


def _right(b, feature, code, table, missing_left):
    """64 flags: the value of the lane's node goes right. `missing_left`: 64 flags if there are 256 columns, else None."""
    rank = permute_bytes(b, load(b, table, BYTES, 0), feature, load(b, table, BYTES, LINE))
    high = b.icmp_signed("<", feature, fill(BYTES, 0))
    if missing_left is None:
        left = high
    else:
        rank = b.select(high, permute_bytes(b, load(b, table, BYTES, 2 * LINE), feature, load(b, table, BYTES, 3 * LINE)), rank)
        left = missing_left
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


def _note(b, leaf, line, out):
    """Note where the line of a piece is and ask for it."""
    offset = b.shl(line, number(I64, 6))
    store(b, b.trunc(offset, I32), out)
    fetch(b, b.add(leaf, offset))


def _small(trees, wide):
    """Lines of the pieces that one row of trees comes to, `trees` to a vector, for each model of a bundle."""
    size, numbers = 3 * LINE + (16 if wide else 8), vector(I32, FIRSTS)

    def body(b, record, table, tables, leaf, first, models, doublings, out, out_step):
        def case(times):
            def model(j, record, first, out):
                ranks, link = _table(b, table, tables, j), load(b, record, BYTES, 2 * LINE, 1)
                left = bits(b, load(b, record, I64, 3 * LINE + 8, 1)) if wide else None
                right = _right(b, load(b, record, BYTES, 0, 1), load(b, record, BYTES, LINE, 1), ranks, left)
                leaves = b.icmp_unsigned("!=", b.and_(link, fill(BYTES, IS_FIRST_EXIT)), fill(BYTES, 0))
                position = b.select(right, link, b.select(leaves, EXIT, NEXT))
                exits = _exits(b, position, times)
                if trees == 1:  # in lane 0
                    line = b.add(b.and_(b.zext(at(b, exits, 0), I64), number(I64, LINE - 1)), b.zext(load(b, first, I32), I64))
                    _note(b, leaf, line, out)
                else:
                    roots = b.bitcast(splat(b, load(b, record, I64, 3 * LINE, 1), 8), BYTES)
                    found = part(b, permute_bytes_64(b, exits, roots), 0, FIRSTS)
                    line = b.add(b.and_(b.zext(found, numbers), fill(numbers, LINE - 1)), load(b, first, numbers, 0, 4))
                    store(b, b.shl(line, fill(numbers, 6)), out, 0, 4)
                    for t in range(trees):
                        fetch(b, b.add(leaf, b.zext(load(b, out, I32, 4 * t), I64)))
                return [add_to(b, record, size), add_to(b, first, 4 * trees), b.add(out, out_step)]

            repeat(b, models, [record, first, out], model)

        each_of(b, doublings, DOUBLINGS, case)

    return emit("u8, u8, u8, u8, u8, u8, u8, u8, u8")(body)


def _large(wide):
    """The same where the top of a tree takes several vectors."""
    side = 64 if wide else 32

    def body(b, record, table, tables, leaf, first, models, doublings, out, out_step, scratch, record_step, vectors):
        def case(times):
            def model(j, record, first, out):
                ranks, sides = _table(b, table, tables, j), b.add(record, _times(b, vectors, 3 * LINE))

                def one(_, nodes, beside, exits):
                    left = bits(b, load(b, beside, I64, 32)) if wide else None
                    right = _right(b, load(b, nodes, BYTES), load(b, nodes, BYTES, LINE), ranks, left)
                    leaves, swapped = (bits(b, load(b, beside, I64, o)) for o in (0, 8))
                    position = b.select(b.xor(right, swapped), load(b, nodes, BYTES, 2 * LINE), b.select(leaves, EXIT, NEXT))
                    store(b, _exits(b, position, times), exits)
                    return [add_to(b, nodes, 3 * LINE), add_to(b, beside, side), add_to(b, exits, LINE)]

                def exit_of(node):
                    return b.zext(load(b, b.add(scratch, node), I8), I64), b.add(sides, _times(b, b.lshr(node, number(I64, 6)), side))

                def hop(_, node):
                    found, beside = exit_of(node)  # an exit to a piece reads some byte before the side record, and does not use it
                    after = b.zext(load(b, b.add(beside, found), I8, PLACE_OF_CROSS - FIRST_CROSS), I64)
                    return [b.select(b.icmp_unsigned(">=", found, number(I64, FIRST_CROSS)), after, node)]

                repeat(b, vectors, [record, sides, scratch], one)
                (last,) = repeat(b, b.sub(vectors, number(I64, 1)), [number(I64, 0)], hop)
                found, beside = exit_of(last)
                line = b.add(b.add(found, b.zext(load(b, beside, I8, EXIT_BASE), I64)), b.zext(load(b, first, I32), I64))
                _note(b, leaf, line, out)
                return [b.add(record, record_step), add_to(b, first, 4), b.add(out, out_step)]

            repeat(b, models, [record, first, out], model)

        each_of(b, doublings, DOUBLINGS, case)

    return emit("u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8")(body)


def _pieces(wide):
    """From the lines of a model's pieces to its leaves: eight pieces in a vector, five nodes in eight lanes each."""
    heads = vector(I8, PIECE_HEAD)
    lane, eight = [min(k % 8, PIECE_NODES - 1) for k in range(64)], [k - k % 8 for k in range(64)]
    pick = [lanes(BYTES, [2 * e + field * PIECE_NODES + n for n, e in zip(lane, eight, strict=True)]) for field in range(3)]
    sides, bit = lanes(BYTES, [2 * e + PIECE_HEAD - 1 for e in eight]), lanes(BYTES, [1 << k % 8 for k in range(64)])

    def body(b, table, tables, leaf, model, offsets, groups, shift, out):
        ranks = _table(b, table, tables, model)

        def group(_, list_at, out):
            offset = [b.zext(load(b, list_at, I32, 4 * j), I64) for j in range(8)]
            head = [load(b, b.add(leaf, o), heads, 0, 1) for o in offset]
            low, high = (join(b, join(b, *head[k : k + 2]), join(b, *head[k + 2 : k + 4])) for k in (0, 4))
            feature, code, link = (permute_bytes(b, low, p, high) for p in pick)
            left = b.icmp_unsigned("!=", b.and_(permute_bytes(b, low, sides, high), bit), fill(BYTES, 0)) if wide else None
            right = _right(b, feature, code, ranks, left)
            leaves = b.icmp_unsigned("!=", b.and_(link, fill(BYTES, IS_FIRST_EXIT)), fill(BYTES, 0))
            position = b.select(right, b.add(link, lanes(BYTES, eight)), b.select(leaves, EXIT, NEXT))
            slot = b.and_(b.bitcast(_exits(b, position, PIECE_DOUBLINGS), WORDS), fill(WORDS, 7))
            narrow = vector(I32, 8)
            after = b.add(b.trunc(b.shl(slot, splat(b, shift, 8)), narrow), b.add(load(b, list_at, narrow, 0, 4), fill(narrow, PIECE_HEAD)))
            store(b, after, out, 0, 4)
            return [add_to(b, list_at, 32), add_to(b, out, 32)]

        repeat(b, groups, [offsets, out], group)

    return emit("u8, u8, u8, u8, u8, u8, u8, u8")(body)


def _sums(kind, models):
    """Add the leaves of `models` models in lock step to their sums, `trees` of each."""
    size = 4 if kind is F32 else 8

    def body(b, leaf, offsets, step, trees, sums):
        lists = [offsets]
        for _ in range(models - 1):
            lists.append(b.add(lists[-1], step))

        def tree(t, *total):
            place = _times(b, t, 4)
            found = [b.zext(load(b, b.add(of, place), I32), I64) for of in lists]
            return [b.fadd(s, load(b, b.add(leaf, o), kind)) for s, o in zip(total, found, strict=True)]

        total = repeat(b, trees, [load(b, sums, kind, size * j) for j in range(models)], tree)
        for j, s in enumerate(total):
            store(b, s, sums, size * j)

    return emit("u8, u8, u8, u8, u8")(body)


small_1, small_2, small_3, small_4, small_6, small_8 = (_small(n, False) for n in (1, 2, 3, 4, 6, 8))
wide_1, wide_2, wide_3, wide_4, wide_6, wide_8 = (_small(n, True) for n in (1, 2, 3, 4, 6, 8))
large, wide_large, pieces, wide_pieces = _large(False), _large(True), _pieces(False), _pieces(True)
add_float, add_floats, add_double, add_doubles = _sums(F32, 1), _sums(F32, MODELS), _sums(F64, 1), _sums(F64, MODELS)
