"""Trees of any shape to 256 leaves in batches: layout and part of the kernel jit/trees_exit.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tickarrow.jit import trees_exit as kernel
from tickarrow.jit import trees_mask
from tickarrow.pipeline import forest_mask
from tickarrow.pipeline.errors import ModelError
from tickarrow.pipeline.forest import Array, Float32, Forest

CACHE = 1 << 20  # bytes, where the system does not say how large the second cache of a core is
LEAVES = kernel.LONG_NODES + 1
NAMES = ("exit_model", "exit_base", "exit_run", "exit_nodes", "exit_records", "exit_leaves")


def fits(forest: Forest) -> str:
    """Why this kernel cannot run the model; empty if it can."""
    most = int(forest.leaves.max(initial=1))
    return f"has {most} leaves in a tree: {LEAVES} at most" if most > LEAVES else ""


def pack(forests: Sequence[Forest], models: Sequence[int]) -> dict[str, Array]:
    """Arrays of `Exit`.

    Parameters
    ----------
    forests : models of one leaf width
    models : column of `y` of each

    Raises
    ------
    ModelError : a model does not fit, or the models have too many different tests together
    """
    if reason := next((f"a model {r}" for f in forests if (r := fits(f))), ""):
        raise ModelError(f"{reason}. Choose another engine or train smaller trees.")
    if len({f.leaf.dtype for f in forests}) > 1:
        raise ModelError("models of one part have leaves of different widths: expected one width. Pack them apart.")
    tests = forest_mask.dictionary(forests)
    orders = [_order(f) for f in forests]
    counts = np.concatenate([count for _, count, *_ in orders])
    if tests.digits == 2:
        kind = kernel.DIGITS
    else:
        kind = kernel.SHORT if counts.max(initial=0) <= kernel.SHORT_NODES else kernel.LONG
    size = kernel.RECORD_SIZE[kind]
    runs: list[Array] = []
    model = np.zeros((len(forests), 4), np.int64)
    records, leaves = [], []
    n_trees = n_runs = n_records = n_leaves = 0
    for m, (forest, rows, (node, count, rank, tree)) in enumerate(zip(forests, tests.nodes, orders)):
        planes = np.clip(np.ceil(np.log2(count + 1)).astype(np.int64), min(kernel.PLANES), None)
        padded = count + count % 2
        record_at = n_records + np.concatenate([[0], np.cumsum(padded)])
        leaf_at = n_leaves + np.concatenate([[0], np.cumsum(1 << planes)])
        first = _runs(planes)
        run = np.stack([np.diff(first, append=count.size), planes[first], n_trees + first, size * record_at[first], leaf_at[first]], axis=1)
        runs.append(run)
        model[m] = models[m], n_runs, n_runs + len(run), forest.divisor
        records.append(_records(kind, node, rows, count, padded))
        leaves.append(_leaves(forest.leaf, rank, tree, planes))
        n_trees, n_runs, n_records, n_leaves = n_trees + count.size, n_runs + len(run), int(record_at[-1]), int(leaf_at[-1])
    records.append(np.zeros(kernel.AHEAD, records[0].dtype))
    leaf = np.concatenate(leaves)
    words = forest_mask.aligned(leaf.view(np.float32).size, np.float32)  # so that no load of a vector touches two lines
    words[:] = leaf.view(np.float32)
    run = np.concatenate(runs)
    double = leaf.dtype == np.float64
    if double:
        _halve(words, run, apart=True)
    packed = (model, np.array([f.base for f in forests]), run, counts.astype(np.uint16), np.concatenate(records).view(np.uint32), words)
    return tests.arrays | dict(zip(NAMES, packed)) | {"exit_kind": np.array([kind, double], np.int64)}


def _halve(leaves: Float32, run: Array, apart: bool) -> None:
    """Part the float64 leaves of trees that permutes add into lower and upper halves, or put them together again, in place."""
    for planes in range(min(kernel.PLANES), kernel.PERMUTED[1] + 1):
        mine = run[run[:, kernel.PLANES_OF] == planes]
        trees = mine[:, kernel.TREES]
        within = np.arange(trees.sum()) - np.repeat(np.cumsum(trees) - trees, trees)
        first = 2 * (np.repeat(mine[:, kernel.LEAF], trees) + (within << planes))
        at = first[:, None] + np.arange(2 << planes)
        shape = (len(at), 1 << planes, 2) if apart else (len(at), 2, 1 << planes)
        leaves[at] = leaves[at].reshape(shape).transpose(0, 2, 1).reshape(at.shape)


def _order(forest: Forest) -> tuple[Array, Array, Array, Array]:
    """Inner nodes in the order of their records and how many each tree has; number and tree of each leaf. See `trees_exit.order`."""
    node = np.zeros((int(forest.inner.sum()), 4), np.int64)
    count, rank, tree = np.zeros(forest.n_trees, np.int64), np.zeros(forest.left.size, np.int64), np.full(forest.left.size, -1)
    kernel.order(forest.root, forest.left, forest.right, node, count, rank, tree)
    return node[: count.sum()], count, rank, tree


def _runs(planes: Array) -> Array:
    """First tree of each run: as many planes in all its trees, at most RUN of them."""
    first = np.flatnonzero(np.diff(planes, prepend=-1))
    ends = np.append(first[1:], planes.size)
    return np.concatenate([np.arange(a, e, kernel.RUN) for a, e in zip(first, ends)] or [first])


def _records(kind: int, node: Array, rows: Array, count: Array, padded: Array) -> Array:
    """Records of the trees of one model; an odd number of them is followed by one that does nothing."""
    short = kind == kernel.SHORT
    zero, one = (kernel.ZERO_SHORT, kernel.ONE_SHORT) if short else (kernel.ZERO_LONG, kernel.ONE_LONG)
    place = np.arange(len(node)) + np.repeat(np.cumsum(padded - count) - (padded - count), count)
    n, s, a = (np.full(int(padded.sum()), zero, np.uint64) for _ in range(3))
    n[place] = node[:, 1]
    s[place] = np.where(node[:, 2] < 0, zero, node[:, 2])
    a[place] = np.where(node[:, 3] < 0, one, node[:, 3])
    test = np.zeros((n.size, 2), np.uint64)
    test[place, : rows.ndim] = np.atleast_2d(rows.T)[:, node[:, 0]].T
    fields = {
        kernel.SHORT: ((test[:, 0], 0), (n, 16), (s, 21), (a, 26)),
        kernel.LONG: ((test[:, 0], 0), (8 * n, 16), (8 * s, 32), (8 * a, 48)),
        kernel.DIGITS: ((test[:, 0], 0), (test[:, 1], 16), (n, 32), (s, 41), (a, 50)),
    }[kind]
    out = np.zeros(n.size, np.uint64)
    for value, at in fields:
        out |= value.astype(np.uint64) << np.uint64(at)
    return out.astype(np.uint32) if short else out


def _leaves(leaf: Array, rank: Array, tree: Array, planes: Array) -> Array:
    """Leaves of the trees of one model in the order of their Gray codes."""
    start = np.concatenate([[0], np.cumsum(1 << planes)])
    out = np.zeros(int(start[-1]), leaf.dtype)
    at = np.flatnonzero(tree >= 0)
    out[start[tree[at]] + (rank[at] ^ (rank[at] >> 1))] = leaf[at]
    return out


class Exit:
    """Some models of a bank on the exit kernel.

    Parameters
    ----------
    arrays : from `pack`
    permute : leaves by AVX-512 permutes; else one by one, on any processor
    """

    def __init__(self, arrays: Mapping[str, Array], permute: bool = True) -> None:
        model, base, run, nodes, records, leaves = (arrays[name] for name in NAMES)
        kind, double = (int(v) for v in arrays["exit_kind"])
        if double and not permute:
            leaves = leaves.copy()
            _halve(leaves, run, apart=False)
        self.kind = kind
        self.layout = (model, base, run, nodes, records, leaves, bool(double), permute)
        self.words = _words(forest_mask.rows(arrays), int(run[:, kernel.PLANES_OF].max(initial=0)))
        self.tests = forest_mask.inputs(arrays)
        self.scratch, self.masks = forest_mask.room(arrays, max(kernel.BLOCKS))
        self.slots = forest_mask.aligned(kernel.SLOTS * max(kernel.BLOCKS), np.uint64)
        self.codes = forest_mask.aligned(kernel.RUN * trees_mask.MAX_ROWS, np.uint8)
        self.total = forest_mask.aligned(trees_mask.MAX_ROWS, np.float64)
        self.where = {words: _where(words, bool(double)) for words in kernel.BLOCKS}

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        """Margins of rows [lo, hi) of `x` into these models' columns of rows [0, hi - lo) of `y`."""
        at = lo
        while at < hi:
            words = next(w for w in kernel.BLOCKS if 64 * w >= hi - at or w == self.words)
            end = min(at + 64 * words, hi)
            trees_mask.masks(x, at, end, words, *self.tests, self.scratch, self.masks)
            kernel.block(
                self.masks, words, self.kind, *self.layout, self.where[words], self.slots, self.codes, self.total, at - lo, end - at, y,
            )  # fmt: skip
            at = end


def _words(rows: int, planes: int) -> int:
    """Words of a block where rows are many: the more, the fewer records are decoded, as long as the mask table stays in the second cache."""
    try:
        cache = int(Path("/sys/devices/system/cpu/cpu0/cache/index2/size").read_text().strip().removesuffix("K")) << 10
    except (OSError, ValueError):
        cache = CACHE
    widest = max(kernel.BLOCKS)
    return widest if planes == max(kernel.PLANES) or 8 * widest * rows <= 0.8 * cache else widest // 2


def _where(words: int, double: bool) -> Array:
    """Place of each row's sum in `total`: codes lie as `_codes` writes them, sums as `_add` takes them."""
    row = np.arange(64 * words)
    byte = row % 8 * (8 * words) + row // 8
    group, lane, shift = byte // 64, byte % 64 // 4, byte % 4
    in_group = 8 * (2 * shift + lane % 4 // 2) + 2 * (lane // 4) + lane % 2 if double else 16 * shift + lane
    return np.asarray(64 * group + in_group, np.int32)
