"""Batches of rows through complete trees up to depth 8 with float32 leaves: the layout of jit/trees_mux.py.

Trees that are not complete are filled up, which costs time: `nodes(forest)` against the forest's own says how much. Above 2.3 times as many
the kernel for any shape (forest_exit.py) is the faster one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tickarrow.jit import _kernel, trees_leaf, trees_mux
from tickarrow.pipeline import forest_mask
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Array, Float32, Forest

FEW_ROWS = 128  # up to here blocks of 128 rows, above of 256


def fits(forest: Forest) -> str:
    """Empty, or why this kernel cannot run this model."""
    if forest.leaf.dtype != np.float32:
        return f"adds {forest.leaf.dtype} leaves: float32 only"
    if forest.depth > trees_leaf.MAX_DEPTH:
        return f"is {forest.depth} levels deep: {trees_leaf.MAX_DEPTH} at most"
    return ""


def depths(forest: Forest) -> Array:
    """int64 (trees,): depth in which each tree is stored."""
    depth, level, tree = np.zeros(forest.n_trees, np.int64), forest.root, np.arange(forest.n_trees)
    while (inner := forest.inner[level]).any():
        level, tree = level[inner], tree[inner]
        depth[tree] += 1
        level, tree = np.concatenate([forest.left[level], forest.right[level]]), np.concatenate([tree, tree])
    return np.maximum(depth, trees_mux.DEPTHS[0])


def nodes(forest: Forest) -> int:
    """Nodes of the forest's trees, filled up."""
    return int(((1 << depths(forest)) - 1).sum())


def pack(forests: Sequence[Forest], models: Sequence[int], permutes: bool = True) -> dict[str, Array]:
    """Layout of models; `models[i]` is the column of `y` of `forests[i]`.

    Parameters
    ----------
    permutes : leaves for the permutes of AVX-512, else for what this processor has
    """
    dictionary = forest_mask.dictionary(forests)
    adds = trees_leaf.PERMUTES if permutes else trees_leaf.otherwise()
    model: list[list[int]] = []
    runs: list[list[int]] = []
    packed: tuple[list[Array], list[Array]] = ([], [])
    at = [0, 0]  # words of `node`, bytes of `leaf`
    for forest, rows, column in zip(forests, dictionary.nodes, models):
        depth = depths(forest)
        begin = np.flatnonzero(np.r_[True, np.diff(depth) != 0]) if depth.size else np.zeros(0, np.int64)
        model.append([column, len(runs), len(runs) + begin.size, forest.divisor])
        for first, end in zip(begin, np.r_[begin[1:], depth.size]):
            runs.append([depth[first], end - first, *at])
            parts = _trees(forest, rows, forest.root[first:end], int(depth[first]), adds != trees_leaf.ONE_BY_ONE)
            for k, part in enumerate(parts):
                packed[k].append(part)
                at[k] += part.size
    return dictionary.arrays | {
        "mux_model": np.array(model, np.int64).reshape(-1, 4), "mux_base": np.array([f.base for f in forests], np.float32),
        "mux_run": np.array(runs, np.int64).reshape(-1, 4), "mux_node": np.concatenate([np.zeros(0, np.uint32), *packed[0]]),
        "mux_leaf": np.concatenate([np.zeros(0, np.uint8), *packed[1]]), "mux_kind": np.array([dictionary.digits, adds], np.int64),
    }  # fmt: skip


def _trees(forest: Forest, rows: Array, root: Array, depth: int, tables: bool) -> tuple[Array, Array]:
    """Some trees of one stored depth: words of `node` and bytes of `leaf`, see trees_mux.mux."""
    n, digits = root.size, 1 if rows.ndim == 1 else rows.shape[1]
    found = np.zeros((n, 1 << depth, digits), np.int64)  # below a leaf and in slot 0: the test NEVER
    level = root.reshape(n, 1)
    for d in range(depth):
        inner = forest.inner[level]
        found[:, 1 << d : 2 << d] = np.where(inner[..., None], rows.reshape(-1, digits)[level], 0)
        children = np.where(inner, forest.left[level], level), np.where(inner, forest.right[level], level)
        level = np.stack(children, axis=2).reshape(n, -1)
    leaf = forest.leaf[level]
    if tables:
        leaf = np.tile(leaf, max(1, trees_leaf.LEAST >> depth))
        return (found * 8).astype(np.uint32).reshape(-1), leaf.astype("<f4").view(np.uint8).reshape(n, -1, 4).transpose(0, 2, 1).reshape(-1)
    return (found * 8).astype(np.uint32).reshape(-1), leaf.astype("<f4").reshape(-1).view(np.uint8)


class Mux:
    """Complete trees, many rows at once."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        digits, adds = arrays["mux_kind"].tolist()
        if adds == trees_leaf.PERMUTES and not trees_leaf.can_permute():
            raise ModelError("the layout is made for a processor with AVX-512 VBMI and GFNI, this one has them not. Use models=portable.")
        if adds not in (trees_leaf.PERMUTES, trees_leaf.otherwise()):
            raise ModelError("the layout is made for a processor with AVX2 or for one without, unlike this. It is made again from the models.")
        self._name = f"{'permuted_' if adds == trees_leaf.PERMUTES else ''}{'one' if digits == 1 else 'two'}"
        self._given = (adds, *forest_mask.inputs(arrays), *(arrays[f"mux_{k}"] for k in ("model", "base", "run", "node", "leaf")))
        self._runs: dict[int, int] = {}
        self._order = {words: trees_leaf.orders(words) for words in (2, 4)}
        mask_scratch, table = forest_mask.room(arrays, 4)
        scratch = forest_mask.aligned(trees_mux.NUMBERS + trees_mux.PLANES, np.uint8)
        self._scratch = (mask_scratch, table, scratch, forest_mask.aligned(trees_mux.TOGETHER * 256, np.float32))

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        """Margins of rows [lo, hi) of `x` into this part's columns of rows [0, hi - lo) of `y`."""
        words = 2 if hi - lo <= FEW_ROWS else 4
        if not self._runs:  # not before the kernels are warm
            self._runs = {w: _kernel.address(getattr(trees_mux, f"{self._name}_{w}")) for w in self._order}
        trees_mux.mux(x, lo, hi, words, self._runs[words], *self._given, self._order[words], *self._scratch, y)
