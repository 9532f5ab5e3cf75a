"""Complete trees, or trees that are nearly so, in the layout of jit/trees.py: few rows on any processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tickarrow.jit import trees
from tickarrow.pipeline import forest_rank
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Array, Float32, Forest


def fits(forest: Forest) -> str:
    """Empty, or why lock step cannot run this model."""
    if forest.leaf.dtype != np.float32:
        return "adds in float64"
    if forest.divisor != 1:
        return "averages its trees"
    if forest.depth > trees.MAX_DEPTH:
        return f"is {forest.depth} levels deep: {trees.MAX_DEPTH} at most"
    used = np.unique(forest.feature[forest.inner]).size
    return f"tests {used} features: {trees.SLOTS} at most" if used > trees.SLOTS else forest_rank.too_many(forest)


def complete(forest: Forest, node: Array, levels: int) -> tuple[Array, Array]:
    """Trees of one model with `levels` + 3 levels, padded to a multiple of eight.

    Parameters
    ----------
    node : (nodes,) uint16 of the forest's inner nodes

    Returns
    -------
    top (trees * 2^levels,) uint16, lines (trees * 2^levels * 32,) uint16
    """
    n, padded = forest.n_trees, -(-forest.n_trees // trees.LANES) * trees.LANES
    depth, subtrees = levels + trees.LOW, 1 << levels
    heap = np.zeros((padded, 1 << depth), np.uint16)  # node 0, `rank >= 0`: below a leaf it does not matter where a walk goes
    level = forest.root.reshape(n, 1)
    for d in range(depth):
        inner, default_left = forest.inner[level], forest.default_left[level]
        heap[:n, 1 << d : 2 << d] = np.where(inner, node[level], 0)
        left = np.where(inner, forest.left[level], level)
        always_left = default_left & np.isnan(forest.cut[level])  # such a test cannot be written
        right = np.where(inner & ~always_left, forest.right[level], left)
        level = np.stack([left, right], axis=2).reshape(n, -1)
    lines = np.zeros((padded, subtrees, trees.LINE // 2), np.uint16)
    for d in range(trees.LOW):
        at = slice(subtrees << d, subtrees << d + 1)
        lines[:, :, 1 << d : 2 << d] = heap[:, at].reshape(padded, subtrees, 1 << d)
    leaf = np.full((padded, subtrees, 1 << trees.LOW), -0.0, np.float32)  # a tree that only pads: v + (-0.0) is v, bit for bit
    leaf[:n] = forest.leaf[level].reshape(n, subtrees, -1)
    lines[:, :, 8:24] = leaf.view(np.uint16).reshape(padded, subtrees, 16)
    return heap[:, :subtrees].reshape(-1), lines.reshape(-1)


def pack(forests: Sequence[Forest], models: Sequence[int]) -> dict[str, Array]:
    """Layout of some models; `models[i]` is the column of `y` of `forests[i]`.

    Raises
    ------
    ModelError : together they test more features than a rank table holds
    """
    grids = forest_rank.grids(forests)
    if grids.column.size > trees.SLOTS:
        raise ModelError(f"the models test {grids.column.size} features together: {trees.SLOTS} at most")
    table, tops, lines = [], [], []
    first, line = 0, 0
    for i, forest in enumerate(forests):
        slot, code = grids.codes(i, forest)
        left = forest.default_left
        higher = code.astype(np.int64) + (left & (code < forest_rank.NEVER))
        node = (slot + np.where(left, trees.SLOTS, 0) + 256 * higher).astype(np.uint16)
        levels = max(forest.depth - trees.LOW, 0)
        top, low = complete(forest, node, levels)
        table.append((models[i], grids.of[i], levels, -(-forest.n_trees // trees.LANES), first, line))
        first += top.size
        line += low.size // (trees.LINE // 2)
        tops.append(top)
        lines.append(low)
    return {
        **forest_rank.pack(grids), "models": np.array(table, np.int64), "base": np.array([f.base for f in forests], np.float32),
        "top": np.concatenate(tops), "lines": np.concatenate(lines),
    }  # fmt: skip


class Lock:
    """Eight trees at a time, complete trees, any processor."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self.ranks = forest_rank.Ranks(arrays)
        grids = len(self.ranks.table)
        self.arrays = (self.ranks.block, self.ranks.table.ctypes.data, grids, *(arrays[k] for k in ("models", "base", "top", "lines")))
        most = trees.LANES * int(arrays["models"][:, 3].max(initial=0))
        self.scratch = forest_rank.aligned((2 * trees.SLOTS * grids,), np.uint8), forest_rank.aligned((2, most), np.uint64)

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        trees.forest(x, lo, hi, *self.arrays, *self.scratch, y)
