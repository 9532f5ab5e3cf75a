"""Nodes of a forest's trees into the vectors and lines of trees_jump.py. Runs once for a model set, so clarity goes before speed."""

import numpy as np

from tickarrow.jit._kernel import kernel
from tickarrow.jit.trees_jump_code import EXIT_BASE, FIRST_CROSS, IS_FIRST_EXIT, IS_NODE, LINE, PIECE_HEAD, PIECE_NODES, PLACE_OF_CROSS

NODE = 6  # a path to a node in a vector has less than 2^6 nodes; a scratch word is a node and this


@kernel("i8[:], i8[:], i8[:], u1[:], u1[:], ?[:], i8[:], i8[:], out u1[:], out i8[:], out i8[:], out i8[:], out i8[:]")
def place_small(root, left, right, feature, code, missing_left, lane_of_root, record, memory, exit_of, levels, todo, lane_of):
    """Write tops of trees that fit in a vector, the left child first.

    Parameters
    ----------
    root : (trees,) int64
    left, right : (nodes,) int64, children; left -1 = an exit, both the same = all values go there
    feature, code : (nodes,) uint8, as they stand in a record
    missing_left : (nodes,) bool, bits of the record's side line; none of them if it has no such line
    lane_of_root : (trees,) int64, first lane of the tree in its vector
    record : (trees,) int64, where the vector of the tree begins in `memory`
    memory : (bytes,) uint8, out; 0 before
    exit_of : (nodes,) int64, out, number of an exit, 0 to the number of nodes of the tree, plus its first lane
    levels : (trees,) int64, out, nodes of the longest path
    todo, lane_of : (nodes + 1,) int64, scratch
    """
    for t in range(root.shape[0]):
        begin = lane_of_root[t]
        exit_of[root[t]] = begin
        if left[root[t]] < 0:
            memory[record[t] + 2 * LINE + begin] = IS_FIRST_EXIT | begin
        levels[t] = 0
        lane, used = begin, np.uint64(0)
        todo[0], n = root[t] << NODE, 1 if left[root[t]] >= 0 else 0
        while n > 0:  # number the nodes; the exit of a left child is its parent's lane
            n -= 1
            node, depth = todo[n] >> NODE, (todo[n] & LINE - 1) + 1
            levels[t] = max(levels[t], depth)
            lane_of[node] = lane
            one, other = left[node], right[node]
            if left[one] < 0:
                used |= np.uint64(1) << np.uint64(lane)
                exit_of[one] = lane
            lane += 1
            if left[other] >= 0 and other != one:
                todo[n] = other << NODE | depth
                n += 1
            if left[one] >= 0:
                todo[n] = one << NODE | depth
                n += 1
        free = begin
        todo[0], n = root[t], 1 if left[root[t]] >= 0 else 0
        while n > 0:
            n -= 1
            node = todo[n]
            one, other = left[node], right[node]
            if left[other] >= 0:
                link = IS_NODE | lane_of[other]
            else:
                if other != one:
                    while used >> np.uint64(free) & np.uint64(1):
                        free += 1
                    exit_of[other] = free
                    free += 1
                link = exit_of[other]
            at, lane = record[t], lane_of[node]
            memory[at + lane] = feature[node]
            memory[at + LINE + lane] = code[node]
            memory[at + 2 * LINE + lane] = link | IS_FIRST_EXIT if left[one] < 0 else link
            if missing_left[node]:
                memory[at + 3 * LINE + 8 + (lane >> 3)] |= 1 << (lane & 7)
            if left[other] >= 0 and other != one:
                todo[n] = other
                n += 1
            if left[one] >= 0:
                todo[n] = one
                n += 1


@kernel("i8[:], i8[:], i8[:], u1[:], u1[:], ?[:], i8, i8, i8[:], out u1[:], out i8[:], out i8[:], out i8[:], out i8[:], out i8[:], out i8[:]")
def place_large(root, left, right, feature, code, missing_left, vectors, side, record, memory, exit_of, levels, todo, order, size, place):
    """Write tops that take several vectors, the child with fewer nodes first: then few links lead out of a vector.

    Parameters
    ----------
    root, left, right, feature, code, missing_left, record, memory : as in `place_small`
    vectors : int, of a tree
    side : int, bytes of a vector's side record
    exit_of : (nodes,) int64, out, number of an exit in its tree
    levels : (trees,) int64, out, nodes of the longest path inside a vector
    todo, order, size, place : (nodes + 1,) int64, scratch
    """
    for t in range(root.shape[0]):
        exit_of[root[t]] = 0
        levels[t] = 0
        if left[root[t]] < 0:
            continue
        sides = record[t] + 3 * LINE * vectors
        memory[sides] = 0
        count, n = 0, 1
        todo[0] = root[t]
        while n > 0:  # parents first
            n -= 1
            node = todo[n]
            order[count] = node
            count += 1
            if left[left[node]] >= 0:
                todo[n] = left[node]
                n += 1
            if left[right[node]] >= 0 and right[node] != left[node]:
                todo[n] = right[node]
                n += 1
        for i in range(count):
            size[left[order[i]]] = 0
            size[right[order[i]]] = 0
        for i in range(count - 1, -1, -1):
            node = order[i]
            size[node] = 1 + size[left[node]] + (size[right[node]] if right[node] != left[node] else 0)
        count, n = 0, 1
        todo[0] = root[t]
        while n > 0:  # the order of the lanes; `place` of a node in it
            n -= 1
            node = todo[n]
            order[count] = node
            place[node] = count
            count += 1
            one, other = left[node], right[node]
            if size[other] < size[one]:
                one, other = other, one
            if size[other] > 0 and other != one:
                todo[n] = other
                n += 1
            if size[one] > 0:
                todo[n] = one
                n += 1
        for i in range(count - 1, -1, -1):  # nodes from here to the exit of the vector, in `todo`
            node = order[i]
            longest = 0
            for child in (left[node], right[node]):
                if size[child] > 0 and place[child] // LINE == i // LINE:
                    longest = max(longest, todo[place[child]])
            todo[i] = longest + 1
            levels[t] = max(levels[t], longest + 1)
        base = 0
        for v in range((count + LINE - 1) // LINE):
            begin, end = v * LINE, min(count, (v + 1) * LINE)
            at, beside = record[t] + 3 * LINE * v, sides + side * v
            used, most, free, crosses = np.uint64(0), 0, 0, 1
            memory[beside + PLACE_OF_CROSS] = end & 255  # the first child of lane 63 is the next vector's first node
            for i in range(begin, end):
                node, lane = order[i], i - begin
                one = right[node] if size[right[node]] < size[left[node]] else left[node]
                memory[at + lane] = feature[node]
                memory[at + LINE + lane] = code[node]
                bit = 1 << (lane & 7)
                if size[one] == 0:
                    used |= np.uint64(1) << np.uint64(lane)
                    memory[beside + (lane >> 3)] |= bit
                    exit_of[one] = base + lane
                    most = max(most, lane + 1)
                if one != left[node]:
                    memory[beside + 8 + (lane >> 3)] |= bit
                if missing_left[node]:
                    memory[beside + 32 + (lane >> 3)] |= bit
            for i in range(begin, end):
                node = order[i]
                swapped = size[right[node]] < size[left[node]]
                other = left[node] if swapped else right[node]
                if size[other] == 0:
                    if other != left[node] or swapped:
                        while free < LINE and used >> np.uint64(free) & np.uint64(1):
                            free += 1
                        exit_of[other] = base + free
                        free += 1
                    link = exit_of[other] - base
                    most = max(most, free)
                elif place[other] < end:
                    link = IS_NODE | place[other] - begin
                else:
                    link = FIRST_CROSS + crosses
                    memory[beside + PLACE_OF_CROSS + crosses] = place[other]
                    crosses += 1
                memory[at + 2 * LINE + i - begin] = link
            memory[beside + EXIT_BASE] = base
            base += most


@kernel("i8[:], i8[:], i8[:], u1[:], u1[:], ?[:], i8, i8[:], out u1[:], out i8[:], out i8[:]")
def place_pieces(root, left, right, feature, code, missing_left, leaf_size, line, memory, at, todo):
    """Write pieces, the left child first.

    Parameters
    ----------
    root : (pieces,) int64, node where the piece begins
    left, right, feature, code, missing_left : as in `place_small`; left -1 = leaf
    leaf_size : int, bytes
    line : (pieces,) int64
    memory : (bytes,) uint8, out, 64 for each line; its heads are 0
    at : (nodes,) int64, out, byte of a leaf
    todo : (nodes + 1,) int64, scratch
    """
    for p in range(root.shape[0]):
        begin = line[p] * LINE
        if left[root[p]] < 0:
            memory[begin + 2 * PIECE_NODES] = IS_FIRST_EXIT
            at[root[p]] = begin + PIECE_HEAD
            continue
        lane, used = 0, np.uint64(0)
        todo[0], n = root[p], 1
        while n > 0:  # `at` of a node is its lane
            n -= 1
            node = todo[n]
            at[node] = lane
            one, other = left[node], right[node]
            if left[one] < 0:
                used |= np.uint64(1) << np.uint64(lane)
                at[one] = begin + PIECE_HEAD + lane * leaf_size
            lane += 1
            if left[other] >= 0 and other != one:
                todo[n] = other
                n += 1
            if left[one] >= 0:
                todo[n] = one
                n += 1
        free = 0
        todo[0], n = root[p], 1
        while n > 0:
            n -= 1
            node = todo[n]
            one, other, lane = left[node], right[node], at[node]
            if left[other] >= 0:
                link = IS_NODE | at[other]
            else:
                if other != one:
                    while used >> np.uint64(free) & np.uint64(1):
                        free += 1
                    at[other] = begin + PIECE_HEAD + free * leaf_size
                    free += 1
                link = (at[other] - begin - PIECE_HEAD) // leaf_size
            memory[begin + lane] = feature[node]
            memory[begin + PIECE_NODES + lane] = code[node]
            memory[begin + 2 * PIECE_NODES + lane] = link | IS_FIRST_EXIT if left[one] < 0 else link
            if missing_left[node]:
                memory[begin + PIECE_HEAD - 1] |= 1 << lane
            if left[other] >= 0 and other != one:
                todo[n] = other
                n += 1
            if left[one] >= 0:
                todo[n] = one
                n += 1
