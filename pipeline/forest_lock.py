"""Complete trees, or trees that are nearly so, in the layout of jit/trees.py: few rows on any processor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tickarrow.jit import trees
from tickarrow.pipeline.forest import Array, Float32, Forest
from tickarrow.pipeline.forest_walk import mirrored

MAX_FEATURES = 32_767  # mirrored they are columns of 16 bits


def fits(forest: Forest) -> str:
    """Empty, or why lock step cannot run this model."""
    if forest.leaf.dtype != np.float32:
        return "adds in float64"
    if forest.divisor != 1:
        return "averages its trees"
    if forest.depth > trees.MAX_DEPTH:
        return f"is {forest.depth} levels deep: {trees.MAX_DEPTH} at most"
    if forest.n_features > MAX_FEATURES:
        return f"has {forest.n_features} features: {MAX_FEATURES} at most"
    return ""


def complete(forest: Forest, depth: int, n_trees: int) -> tuple[Array, Array, Array]:
    """Trees of one model as heaps of `depth` levels, padded to `n_trees`.

    Returns
    -------
    feature (n_trees, 2^depth) uint16, threshold float32, leaf float32
    """
    size, n = 1 << depth, forest.n_trees
    feature = np.zeros((n_trees, size), np.uint16)
    threshold = np.full((n_trees, size), np.inf, np.float32)  # below a leaf it does not matter where a walk goes
    leaf = np.full((n_trees, size), -0.0, np.float32)  # a tree that only pads: v + (-0.0) is v, bit for bit
    level = forest.root.reshape(n, 1)
    for d in range(depth):
        inner, default_left = forest.inner[level], forest.default_left[level]
        slots = slice(1 << d, 2 << d)
        feature[:n, slots] = np.where(inner, forest.feature[level] + np.where(default_left, 0, forest.n_features), 0)
        threshold[:n, slots] = np.where(inner, np.where(default_left, forest.cut[level], mirrored(forest.cut[level])), np.inf)
        left, right = np.where(inner, forest.left[level], level), np.where(inner, forest.right[level], level)
        level = np.stack([np.where(default_left, left, right), np.where(default_left, right, left)], axis=2).reshape(n, -1)
    leaf[:n] = forest.leaf[level]
    return feature, threshold, leaf


def pack(forests: Sequence[Forest], models: Sequence[int]) -> dict[str, Array]:
    """Layout of some models; `models[i]` is the column of `y` of `forests[i]`. Models of like depth and size share a group of lanes."""
    order = sorted(range(len(forests)), key=lambda i: (forests[i].depth, forests[i].n_trees, i))
    groups, flat = [], ([], [], [])  # type: tuple[list[tuple[int, int, int]], tuple[list[Array], list[Array], list[Array]]]
    model = np.full(-(-len(order) // trees.LANES) * trees.LANES, -1, np.int32)
    base = np.zeros(model.size, np.float32)
    first = 0
    for g in range(0, len(order), trees.LANES):
        members = order[g : g + trees.LANES]
        model[g : g + len(members)] = [models[i] for i in members]
        base[g : g + len(members)] = [forests[i].base for i in members]
        depth = max(forests[i].depth for i in members)
        n_trees = max(forests[i].n_trees for i in members)
        lanes = [complete(forests[i], depth, n_trees) for i in members]
        for k, parts in enumerate(flat):
            block = np.zeros((n_trees, trees.LANES, 1 << depth), lanes[0][k].dtype)
            for lane, arrays in enumerate(lanes):
                block[:, lane] = arrays[k]
            parts.append(block.reshape(-1))
        groups.append((depth, n_trees, first))
        first += n_trees * trees.LANES << depth
    feature, threshold, leaf = (np.concatenate(parts) for parts in flat)
    return {
        "groups": np.array(groups, np.int64), "feature": feature, "threshold": threshold, "leaf": leaf, "model": model, "base": base,
        "n_features": np.array([forests[0].n_features], np.int64),
    }  # fmt: skip


class Lock:
    """Sixteen models at a time, complete trees, any processor."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        n_features = int(arrays["n_features"][0])
        self.arrays = tuple(arrays[k] for k in ("groups", "feature", "threshold", "leaf", "model", "base"))
        self.scratch = (
            np.zeros((trees.BLOCK, 2 * n_features), np.float32),
            np.zeros((trees.BLOCK, trees.LANES), np.float32),
            np.zeros(trees.LANES, np.uint64),
        )

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        trees.forest(x, lo, hi, *self.arrays, *self.scratch, y)
