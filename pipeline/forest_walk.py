"""Forests of any shape in the layout of jit/trees_walk.py: what no other kernel takes, and the few rows of engines without AVX-512."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tickarrow.jit import trees_walk
from tickarrow.pipeline.forest import Array, Float32, Forest


def fits(forest: Forest) -> str:
    """Empty, or why the walk cannot run this model."""
    most = (1 << 32 - _column_bits(forest)) // trees_walk.LANES
    leaves = int(forest.leaves.max(initial=1))
    if 2 * leaves > most:  # a chunk of such trees, and the leaf of walks that only pad
        return f"has {leaves} leaves in a tree: {most // 2} at most with {forest.n_features} features"
    return ""


def _column_bits(forest: Forest) -> int:
    return int(2 * forest.n_features - 1).bit_length()


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
    rank = np.empty(n_trees, np.int64)
    rank[order] = np.arange(n_trees)
    begins = start[order[:: trees_walk.LANES]]  # first node of each chunk
    nodes, shift = int(size.sum()), _column_bits(forests[0])
    cut, word = np.full(nodes + 1, np.nan, np.float32), np.zeros(nodes + 1, np.uint32)  # the last node is a lone leaf for walks that only pad
    leaf = np.zeros(nodes + 1, width)
    for forest, (number, tree, _), begin in zip(forests, numbered, first):
        there = np.flatnonzero(tree >= 0)
        inner, default_left = forest.inner[there], forest.default_left[there]
        at = start[begin + tree[there]] + number[there]
        cut[at] = np.where(inner, np.where(default_left, forest.cut[there], mirrored(forest.cut[there])), np.float32(np.nan))
        children = np.where(inner, np.minimum(number[forest.left[there]], number[forest.right[there]]), number[there])
        column = np.where(inner, forest.feature[there] + np.where(default_left, 0, n_features), 0)
        chunk = begins[rank[begin + tree[there]] // trees_walk.LANES]
        word[at] = children + start[begin + tree[there]] - chunk << shift | column
        leaf[at] = forest.leaf[there]
    chunks = -(-n_trees // trees_walk.LANES)
    root, place = np.full(chunks * trees_walk.LANES, nodes, np.int64), np.full(chunks * trees_walk.LANES, n_trees, np.int32)
    root[:n_trees], place[:n_trees] = start[order], order
    root -= np.repeat(begins, trees_walk.LANES)
    word[nodes] = nodes - (begins[-1] if chunks else 0) << shift
    steps = np.zeros(chunks * trees_walk.LANES, np.int32)
    steps[:n_trees] = depth[order]
    return {
        "node": np.stack([cut.view(np.uint32), word], axis=1).reshape(-1).view(np.uint64), "begin": begins.astype(np.uint64),
        "root": root.astype(np.uint32), "depth": steps.reshape(chunks, trees_walk.LANES).max(axis=1, initial=0), "place": place, "leaf": leaf, "first": first,
        "base": np.array([f.base for f in forests], width), "divisor": np.array([f.divisor for f in forests], width),
        "model": np.array(models, np.int32), "shape": np.array([n_features, shift], np.int64),
    }  # fmt: skip


class Walk:
    """Eight walks at a time, any shape, any processor."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        (n_features, shift), n_trees = arrays["shape"].tolist(), int(arrays["first"][-1])
        self.kernel = trees_walk.walk_f4 if arrays["leaf"].dtype == np.float32 else trees_walk.walk_f8
        self.arrays = (shift, *(arrays[k] for k in ("node", "begin", "root", "depth", "place", "leaf", "first", "base", "divisor", "model")))
        self.scratch = (
            np.zeros((trees_walk.BLOCK, 2 * n_features), np.float32),
            np.zeros((trees_walk.BLOCK, n_trees + 1), np.uint32),
        )

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        self.kernel(x, lo, hi, *self.arrays, *self.scratch, y)
