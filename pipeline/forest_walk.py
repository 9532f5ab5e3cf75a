"""Forests of any shape in the layout of jit/trees_walk.py: what no other kernel takes, and the few rows of engines without AVX-512."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tickarrow.jit import trees_walk
from tickarrow.pipeline.forest import Array, Float32, Forest

MAX_NODES = 1 << 32 - trees_walk.COLUMN_BITS
MAX_FEATURES = 1 << trees_walk.COLUMN_BITS - 1


def fits(forest: Forest) -> str:
    """Empty, or why the walk cannot run this model."""
    if forest.n_features > MAX_FEATURES:
        return f"has {forest.n_features} features: {MAX_FEATURES} at most"
    most = int(2 * forest.leaves.max(initial=1) - 1)
    if most > MAX_NODES:
        return f"has a tree of {most} nodes: {MAX_NODES} at most"
    return ""


def mirrored(cut: Float32) -> Float32:
    """The cut c' for which `-x >= c'` holds exactly where `x >= cut` fails, missing values apart (both fail)."""
    with np.errstate(over="ignore"):
        out = np.where(cut == -np.inf, np.float32(np.nan), np.nextafter(-cut, np.float32(np.inf)))
    return np.where(np.isnan(cut), np.float32(-np.inf), out).astype(np.float32)


def _number(forest: Forest) -> tuple[Array, Array, Array]:
    """Numbers of a forest's nodes, each tree level by level, siblings side by side, first the one where a missing value goes.

    Returns
    -------
    number : (nodes,) int64, counted from the root
    tree : (nodes,) int64; -1 = not reached
    depth : (trees,) int64
    """
    number, tree = np.zeros(forest.left.size, np.int64), np.full(forest.left.size, -1, np.int64)
    tree[forest.root] = np.arange(forest.n_trees)
    used, depth = np.ones(forest.n_trees, np.int64), np.zeros(forest.n_trees, np.int64)
    level = forest.root
    while (level := level[forest.inner[level]]).size:
        level = level[np.argsort(tree[level], kind="stable")]
        of = tree[level]
        trees, begin, count = np.unique(of, return_index=True, return_counts=True)
        children = used[of] + 2 * (np.arange(of.size) - np.repeat(begin, count))
        for child, side in ((forest.left[level], ~forest.default_left[level]), (forest.right[level], forest.default_left[level])):
            tree[child] = of
            number[child] = children + side
        used[trees] += 2 * count
        depth[trees] += 1
        level = np.stack([forest.left[level], forest.right[level]], axis=1).reshape(-1)
    return number, tree, depth


def pack(forests: Sequence[Forest], models: Sequence[int]) -> dict[str, Array]:
    """Layout of models of one leaf type; `models[i]` is the column of `y` of `forests[i]`."""
    n_features, width = forests[0].n_features, forests[0].leaf.dtype
    numbered = [_number(f) for f in forests]
    first = np.r_[0, np.cumsum([f.n_trees for f in forests])].astype(np.int64)
    n_trees = int(first[-1])
    depth = np.concatenate([d for _, _, d in numbered])
    size = np.concatenate([np.bincount(t[t >= 0], minlength=f.n_trees) for f, (_, t, _) in zip(forests, numbered)])
    order = np.argsort(depth, kind="stable")  # trees of like depth end their walks together
    start = np.zeros(n_trees, np.int64)
    start[order] = np.cumsum(size[order]) - size[order]
    nodes = int(size.sum())
    cut, word = np.full(nodes + 1, np.nan, np.float32), np.zeros(nodes + 1, np.uint32)  # the last node is a lone leaf for walks that only pad
    leaf = np.zeros(nodes + 1, width)
    for forest, (number, tree, _), begin in zip(forests, numbered, first):
        there = np.flatnonzero(tree >= 0)
        inner, default_left = forest.inner[there], forest.default_left[there]
        at = start[begin + tree[there]] + number[there]
        cut[at] = np.where(inner, np.where(default_left, forest.cut[there], mirrored(forest.cut[there])), np.float32(np.nan))
        children = np.where(inner, np.minimum(number[forest.left[there]], number[forest.right[there]]), number[there])
        column = np.where(inner, forest.feature[there] + np.where(default_left, 0, n_features), 0)
        word[at] = children << trees_walk.COLUMN_BITS | column
        leaf[at] = forest.leaf[there]
    chunks = -(-n_trees // trees_walk.LANES)
    root, place = np.full(chunks * trees_walk.LANES, nodes, np.uint64), np.full(chunks * trees_walk.LANES, n_trees, np.int32)
    root[:n_trees], place[:n_trees] = start[order], order
    steps = np.zeros(chunks * trees_walk.LANES, np.int32)
    steps[:n_trees] = depth[order]
    return {
        "node": np.stack([cut.view(np.uint32), word], axis=1).reshape(-1).view(np.uint64), "root": root,
        "depth": steps.reshape(chunks, trees_walk.LANES).max(axis=1, initial=0), "place": place, "leaf": leaf, "first": first,
        "base": np.array([f.base for f in forests], width), "divisor": np.array([f.divisor for f in forests], width),
        "model": np.array(models, np.int32), "n_features": np.array([n_features], np.int64),
    }  # fmt: skip


class Walk:
    """Sixteen walks at a time, any shape, any processor."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        n_features, n_trees = int(arrays["n_features"][0]), int(arrays["first"][-1])
        self.kernel = trees_walk.walk_f4 if arrays["leaf"].dtype == np.float32 else trees_walk.walk_f8
        self.arrays = tuple(arrays[k] for k in ("node", "root", "depth", "place", "leaf", "first", "base", "divisor", "model"))
        self.scratch = (
            np.zeros((trees_walk.BLOCK, 2 * n_features), np.float32),
            np.zeros(trees_walk.LANES, np.uint64),
            np.zeros((trees_walk.BLOCK, n_trees + 1), np.uint32),
        )

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        self.kernel(x, lo, hi, *self.arrays, *self.scratch, y)
