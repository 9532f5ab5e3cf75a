"""Layout of complete trees for one row at a time (jit/trees_lines.py): groups of 8 models, blocks of 8 trees of each.

Trees that end early are filled up to their model's depth with nodes that decide nothing. Models are sorted by depth, grid and number of
trees, so that the 8 of a group are alike; a shorter model of a group gets trees of leaves of -0.0: v + (-0.0) is v for every v, where
+0.0 turns -0.0 into 0.0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tickarrow.jit import trees_lines as jit
from tickarrow.pipeline import forest_rank
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Array, Float32, Forest
from tickarrow.pipeline.forest_rank import NEVER, aligned, at_line

MAX_DEPTH = jit.LOWER + jit.MAX_LEVELS
MAX_FILL = 16  # slots for a leaf: beyond, a kernel for any shape has far less to read


def fits(forest: Forest) -> str:
    """Why this kernel cannot run a forest, or ""."""
    if forest.leaf.dtype != np.float32:
        return f"adds leaves of {forest.leaf.dtype}: float32 only"
    if forest.depth > MAX_DEPTH:
        return f"has trees of depth {forest.depth}: {MAX_DEPTH} at most"
    slots, leaves = forest.n_trees << max(forest.depth, jit.LOWER), int(forest.leaves.sum())
    if forest.depth > jit.LOWER and slots > MAX_FILL * leaves:
        return f"has {leaves} leaves where complete trees of its depth have {slots}: a {MAX_FILL}th at least"
    return forest_rank.too_many(forest)


def _idle(n_trees: int, depth: int) -> Array:
    """Codes (trees, 2^depth) of nodes that decide nothing. Always or never, other paths for other trees: on one path, all of their lines
    would compete for the same eighth of a cache."""
    tree, level = np.arange(n_trees)[:, None], np.log2(np.maximum(np.arange(1 << depth), 1)).astype(np.int64)
    return np.where(tree >> level & 1, NEVER, 0).astype(np.uint8)


def _complete(forest: Forest, slot: Array, code: Array, depth: int) -> tuple[Array, Array, Array, Float32]:
    """All trees as heaps: slot, code, default left (trees, 2^depth) by heap node from 1, leaves (trees, 2^depth) left to right."""
    shape = (forest.n_trees, 1 << depth)
    slots, lefts, codes = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8), np.broadcast_to(_idle(forest.n_trees, depth), shape).copy()
    # A node that sends all values and missing ones left has no code, because 1 would be added to 255. It decides nothing, so it needs none.
    always_left = (code == NEVER) & forest.default_left
    decides = forest.inner & ~always_left
    level = forest.root[:, None]
    for d in range(depth):
        here = slice(1 << d, 2 << d)
        inner = decides[level]
        slots[:, here] = np.where(inner, slot[level], 0)
        lefts[:, here] = inner & forest.default_left[level]
        codes[:, here] = np.where(inner, code[level] + lefts[:, here], codes[:, here])
        left = np.where(forest.inner[level], forest.left[level], level)
        right = np.where(inner, forest.right[level], left)
        level = np.stack([left, right], axis=2).reshape(forest.n_trees, -1)
    return slots, codes, lefts, forest.leaf[level]


def _upper(heaps: Array, levels: int, wide: bool) -> Array:
    """Upper levels of blocks: slots, codes, default left (3, blocks, 64, heap nodes), model by model -> (blocks, upper_bytes)."""
    nodes = (1 << levels) - 1
    feature, code, left = np.ascontiguousarray(heaps[..., 1 : nodes + 1].swapaxes(2, 3))
    out = np.zeros((heaps.shape[1], jit.upper_bytes(levels, wide)), np.uint8)
    pairs = np.stack([feature if wide else feature | left << 7, code], axis=2)
    out[:, : nodes * 2 * jit.LINE] = pairs.reshape(heaps.shape[1], -1)
    if wide:
        out[:, nodes * 2 * jit.LINE :][:, : 8 * nodes] = np.packbits(left, axis=2, bitorder="little").reshape(heaps.shape[1], -1)
    return out


def _lines(heaps: Array, leaf: Float32, levels: int, wide: bool) -> Array:
    """Lines of blocks: slots, codes, default left (3, blocks, 64, heap nodes), tree by tree -> (blocks, 64, subtrees, 64)."""
    subtree = np.arange(1 << levels)[:, None] + (1 << levels)
    node = np.concatenate([(subtree << d) + np.arange(1 << d) for d in range(jit.LOWER)], axis=1)  # (subtrees, 7) heap nodes
    feature, code, left = heaps[..., node]
    out = np.zeros((*feature.shape[:3], jit.LINE), np.uint8)
    out[..., 0:7] = feature if wide else feature | left << 7
    if wide:
        out[..., 7] = np.packbits(left, axis=3, bitorder="little")[..., 0]
    out[..., 8:15] = code
    out[..., jit.LEAVES :] = np.ascontiguousarray(leaf).view(np.uint8).reshape(*feature.shape[:3], 32)
    return out


def _groups(forests: Sequence[Forest], depth: Array, grid: Array) -> list[Array]:
    """Forests in groups of 8 of one depth, alike in grid and number of trees."""
    trees = np.array([f.n_trees for f in forests])
    order = np.lexsort((-trees, grid, depth))
    alike = [order[depth[order] == d] for d in np.unique(depth)]
    groups = [some[i : i + jit.MODELS] for some in alike for i in range(0, some.size, jit.MODELS)]
    return sorted(groups, key=lambda members: (int(depth[members[0]]), _mixed(grid[members])))


def _mixed(grids: Array) -> bool:
    """Whether models of a group have different grids."""
    return bool((grids != grids[0]).any())


def _blocks(forests: Sequence[Forest], codes: Sequence[tuple[Array, Array]], levels: int, wide: bool) -> tuple[Array, Array]:
    """Upper levels and lines of at most 8 forests of one depth."""
    blocks = -(-max(f.n_trees for f in forests) // jit.TREES)
    heaps = np.zeros((3, jit.MODELS, blocks * jit.TREES, 8 << levels), np.uint8)
    heaps[1] = _idle(blocks * jit.TREES, levels + jit.LOWER)
    leaves = np.full(heaps.shape[1:], -0.0, np.float32)
    for j, (forest, (slot, code)) in enumerate(zip(forests, codes, strict=True)):
        slots, raised, lefts, leaf = _complete(forest, slot, code, levels + jit.LOWER)
        heaps[:, j, : forest.n_trees] = slots, raised, lefts
        leaves[j, : forest.n_trees] = leaf

    def split(a: Array, *order: int) -> Array:
        return a.reshape(*a.shape[:-2], blocks, jit.TREES, -1).transpose(order).reshape(*a.shape[:-3], blocks, 64, -1)

    by_tree = split(heaps, 0, 2, 3, 1, 4), split(leaves, 1, 2, 0, 3)
    return _upper(split(heaps, 0, 2, 1, 3, 4), levels, wide), _lines(*by_tree, levels, wide)


def pack(forests: Sequence[Forest], models: Sequence[int]) -> dict[str, Array]:
    """Arrays of `Lines`.

    Parameters
    ----------
    forests : each passes `fits`
    models : column of y of each

    Raises
    ------
    ModelError : a forest does not fit, or together they test more than 256 features
    """
    for forest, model in zip(forests, models, strict=True):
        if why := fits(forest):
            raise ModelError(f"model {model} {why}. Serve it by another kernel.")
    found = forest_rank.grids(forests)
    wide = found.span > 128
    depth = np.array([max(f.depth, jit.LOWER) for f in forests])
    groups = _groups(forests, depth, found.of)
    size = (len(groups), jit.MODELS)
    shape, model_of, grid = np.zeros((len(groups), 4), np.int64), np.full(size, -1, np.int64), np.zeros(size, np.int64)
    base, divisor = np.zeros(size, np.float32), np.ones(size, np.float32)
    packed = []
    for g, members in enumerate(groups):
        levels, n = int(depth[members[0]]) - jit.LOWER, members.size
        some = [forests[i] for i in members]
        packed.append(_blocks(some, [found.codes(i, forests[i]) for i in members], levels, wide))
        shape[g] = levels, packed[-1][0].shape[0], wide, _mixed(found.of[members])
        grid[g] = found.of[members[0]]
        grid[g, :n], model_of[g, :n] = found.of[members], [models[i] for i in members]
        base[g, :n], divisor[g, :n] = [f.base for f in some], [f.divisor for f in some]
    arrays: dict[str, Array] = {
        "lines_shape": shape, "lines_model": model_of, "lines_grid": grid, "lines_base": base, "lines_divisor": divisor,
        "lines_upper": np.concatenate([upper.ravel() for upper, _ in packed]), "lines_lines": np.concatenate([lines.ravel() for _, lines in packed]),
    }  # fmt: skip
    return forest_rank.pack(found) | {name: at_line(a) for name, a in arrays.items()}


class Lines:
    """Complete trees, a row at a time: best for few rows."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._ranks = forest_rank.Ranks(arrays)
        shape, table = arrays["lines_shape"], self._ranks.table
        levels, blocks, wide, mixed = shape.T
        tables = at_line(table.ctypes.data + arrays["lines_grid"] * table.shape[1])  # (groups, 8) addresses
        group = np.repeat(np.arange(len(shape)), blocks)
        sums = aligned((len(shape), jit.MODELS), np.float32)
        scratch = aligned((jit.SCRATCH_BYTES,), np.uint8)
        upper = np.cumsum([0, *(n * jit.upper_bytes(int(d), bool(w)) for d, n, w, _ in shape)])
        lines = np.cumsum([0, *(blocks * 64 * (jit.LINE << levels))])
        starts = np.flatnonzero(np.append(True, (shape[1:, [0, 3]] != shape[:-1, [0, 3]]).any(axis=1)))  # groups where a section begins
        words = np.zeros((starts.size, jit.SECTION_WORDS), np.int64)
        words[:, jit.LEVELS], words[:, jit.WIDE], words[:, jit.MIXED] = levels[starts], wide[starts], mixed[starts]
        words[:, jit.BLOCKS] = np.add.reduceat(blocks, starts)
        words[:, jit.UPPER] = arrays["lines_upper"].ctypes.data + upper[starts]
        words[:, jit.LINES] = arrays["lines_lines"].ctypes.data + lines[starts]
        words[:, jit.GROUP] = group.ctypes.data + 8 * np.cumsum([0, *blocks])[starts]
        words[:, jit.TABLES] = tables.ctypes.data
        by_lane = [arrays[f"lines_{name}"] for name in ("base", "divisor", "model")]
        self._block = np.array(
            [len(words), words.ctypes.data, len(shape), *(a.ctypes.data for a in (*by_lane, sums)), self._ranks.block, scratch.ctypes.data], np.int64
        )
        self._kept = [arrays, tables, group, sums, scratch, words]  # the blocks hold their addresses
        self._address = int(self._block.ctypes.data)

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        """Margins of rows [lo, hi) of `x` into rows [0, hi - lo) of `y`, only in the columns of these models."""
        jit.lines(x, lo, hi, self._address, y)
