"""Layout of the one-row kernel for trees of any shape (jit/trees_jump.py): tops of trees in bundles of up to eight models, and pieces.

A vector has as many small tops, one behind the other, as fit, up to a number that is chosen for the model. A bundle is rows of tops: row r
has the r-th vector (or large top) of each of its models. What is missing, in a vector or at the end of a model that is shorter than others, is
filled up with trees of one leaf -0.0, which changes no sum. Models are sorted by the room of a top and by length, and a bundle ends where a
model is less than half as long as its first.

The kernel reads one line of each tree's pieces. A processor that sees lines near one another being read fetches their neighbours too, so
trees that follow one another have their lines far apart (80 x 500 trees of 31 leaves: 212 to 223 us, else 234 to 253, on one machine)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tickarrow.jit import trees_jump as jit
from tickarrow.jit import trees_jump_code as code
from tickarrow.jit import trees_jump_pack as place
from tickarrow.pipeline import forest_rank
from tickarrow.pipeline.forest import Array, Float32, Forest

NODES = 256  # of a top
SMALL = (8, 6, 4, 3, 2, 1)  # tops in a vector
APART = 97  # trees that are read one after the other have their lines in so many different places
EMPTY = code.LINE  # the first lines are a leaf -0.0 each, for trees that are not there; as many after the last, for what is read and not used
NAMES = ("shape", "bundle", "chunk", "first", "base", "divisor", "column", "tables", "record", "lines")


class _Cut:
    """A forest cut into tops and pieces."""

    def __init__(self, forest: Forest) -> None:
        self.missing = forest.default_left & forest.inner
        never = self.missing & np.isnan(forest.cut)  # all values go left, and no code says so
        self.right = np.where(never, forest.left, forest.right)
        self.forest = forest
        tree, size, above = np.zeros(forest.left.size, np.int64), np.zeros(forest.left.size, np.int64), np.full(forest.left.size, -1, np.int64)
        tree[forest.root] = np.arange(forest.n_trees)
        levels, level = [], forest.root
        while level.size:
            levels.append(level)
            level = level[forest.inner[level]]
            children = [forest.left[level], self.right[level[~never[level]]]]
            for child, parent in zip(children, (level, level[~never[level]]), strict=True):
                tree[child], above[child] = tree[parent], parent
            level = np.concatenate(children)
        for level in reversed(levels):
            inner = level[forest.inner[level]]
            size[inner] = 1 + size[forest.left[inner]] + np.where(never[inner], 0, size[self.right[inner]])
        top = size > code.PIECE_NODES
        there = np.concatenate(levels) if levels else forest.root
        self.pieces = there[~top[there] & ((above[there] < 0) | top[above[there]])]
        self.tree = tree
        self.left = np.where(top, forest.left, -1)  # of the tops
        nodes = np.bincount(tree[top], minlength=forest.n_trees)
        self.nodes = int(nodes.max(initial=0))  # of the largest top
        if self.nodes < code.LINE:
            self.vectors, (self.trees, self.row, self.slot, self.lane) = 1, min((_fill(nodes, n) for n in SMALL), key=_cost)
        else:
            self.vectors, self.trees, self.row = max(2, -(-self.nodes // code.LINE)), 1, np.arange(forest.n_trees)
            self.slot = self.lane = np.zeros(forest.n_trees, np.int64)
        self.rows = int(self.row.max(initial=0)) + 1


_Filled = tuple[int, Array, Array, Array]


def _fill(nodes: Array, trees: int) -> _Filled:
    """Tops one after the other into vectors of at most `trees`: that number, and each top's vector, place among those of the vector, first lane."""
    out = np.zeros((3, nodes.size), np.int64)
    row, slot, lane = 0, 0, 0
    for t, n in enumerate(nodes.tolist()):
        if slot == trees or lane + n >= code.LINE:  # the last exit has the number after the last lane
            row, slot, lane = row + 1, 0, 0
        out[:, t] = row, slot, lane
        slot, lane = slot + 1, lane + max(n, 1)
    return trees, *out


def _cost(filled: _Filled) -> int:
    """Bytes that are read of the tops; a place that stays empty costs like the line of a piece."""
    trees, row, *_ = filled
    return (int(row.max(initial=0)) + 1) * (3 * code.LINE + 8 + trees * (4 + code.LINE))


def fits(forest: Forest) -> str:
    """Why this kernel cannot run the model, or ""."""
    nodes = _Cut(forest).nodes
    return f"has a tree with {nodes} nodes above subtrees of {code.PIECE_NODES}: {NODES} at most" if nodes > NODES else forest_rank.too_many(forest)


@dataclass
class _Bundle:
    """Models that stand together."""

    members: list[int]
    first: _Cut  # the longest
    wide: bool

    @property
    def side(self) -> int:
        """Bytes of a vector's side record."""
        return 8 + 8 * self.wide if self.first.vectors == 1 else 32 + 32 * self.wide

    @property
    def step(self) -> int:
        """Bytes of a vector or large top."""
        size = self.first.vectors * (3 * code.LINE + self.side)
        return size if self.first.vectors == 1 else -(-size // code.LINE) * code.LINE

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk: 16 or 24 trees of each of eight models, as eight pieces are followed at once. Few models have the more rows."""
        trees = self.first.trees
        return next(n for n in range(1, jit.ROOM + 1) if n * trees % 8 == 0 and n * trees >= 16) * (code.MODELS // len(self.members))


def _bundles(cuts: Sequence[_Cut], wide: bool) -> list[_Bundle]:
    """Which models stand together."""
    out: list[_Bundle] = []
    for i in sorted(range(len(cuts)), key=lambda i: (cuts[i].vectors, cuts[i].trees, -cuts[i].rows)):
        cut, last = cuts[i], out[-1].first if out else None
        alike = last and (last.vectors, last.trees) == (cut.vectors, cut.trees) and 2 * cut.rows >= last.rows
        if alike and len(out[-1].members) < code.MODELS:
            out[-1].members.append(i)
        else:
            out.append(_Bundle([i], cut, wide))
    return out


class _Layout:
    """Grows bundle by bundle."""

    def __init__(self, wide: bool, dtype: np.dtype[np.generic]) -> None:
        self.wide, self.dtype = wide, dtype
        lines = np.zeros((EMPTY, code.LINE), np.uint8)
        lines[:, 2 * code.PIECE_NODES] = code.IS_FIRST_EXIT
        lines[:, code.PIECE_HEAD :].view(dtype)[...] = -0.0
        self.record, self.lines, self.first = [np.zeros(0, np.uint8)], [lines.ravel()], [np.zeros(0, np.uint32)]
        self.table: list[tuple[int, ...]] = []
        self.chunks: list[tuple[int, int]] = []

    def add(self, bundle: _Bundle, nodes: Sequence[tuple[_Cut, Array, Array]]) -> None:
        """Put the trees of a bundle's models into records and lines; `nodes` has the place of the feature and the code of each node."""
        members, like = len(bundle.members), bundle.first
        record = np.zeros((like.rows, members, bundle.step), np.uint8)  # a vector of zeros leads to exit 0
        levels = np.zeros(like.rows, np.int64)
        count = np.zeros((like.rows, members, like.trees), np.int64)  # of a tree's lines
        begin = np.zeros_like(count)  # number of its first exit
        written = []
        for j, (cut, feature, codes) in enumerate(nodes):
            forest, row = cut.forest, cut.row
            byte = (feature if self.wide else feature | cut.missing << 7).astype(np.uint8)
            bits = (byte, (codes + cut.missing).astype(np.uint8), cut.missing & self.wide)
            at, exit_of, deepest = (row * members + j) * bundle.step, np.zeros(forest.left.size, np.int64), np.zeros(forest.n_trees, np.int64)
            todo, *others = (np.zeros(forest.left.size + 1, np.int64) for _ in range(4))
            if like.vectors == 1:
                place.place_small(forest.root, cut.left, cut.right, *bits, cut.lane, at, record.reshape(-1), exit_of, deepest, todo, others[0])
                exit_of -= cut.lane[cut.tree]
                record[row, j, 3 * code.LINE + cut.slot] = cut.lane
            else:
                place.place_large(forest.root, cut.left, cut.right, *bits, like.vectors, bundle.side, at, record.reshape(-1), exit_of, deepest, todo, *others)
            np.maximum.at(levels, row, deepest)
            tree = cut.tree[cut.pieces]
            np.maximum.at(count, (row[tree], j, cut.slot[tree]), exit_of[cut.pieces] + 1)
            begin[row, j, cut.slot] = cut.lane
            written.append((cut, bits, exit_of, todo))
        known = sum(a.size for a in self.lines) // code.LINE
        order = np.argsort(np.arange(count.size) % APART, kind="stable")
        end = np.zeros(count.size, np.int64)
        end[order] = np.cumsum(count.ravel()[order])
        first = known + end.reshape(count.shape) - count  # line of a tree's exit 0
        lines = np.zeros(int(count.sum()) * code.LINE, np.uint8)
        for j, (cut, bits, exit_of, todo) in enumerate(written):
            forest, tree = cut.forest, cut.tree[cut.pieces]
            line = first[cut.row[tree], j, cut.slot[tree]] + exit_of[cut.pieces] - known
            at = np.full(forest.left.size, -1, np.int64)
            place.place_pieces(cut.pieces, forest.left, cut.right, *bits, self.dtype.itemsize, line, lines, at, todo)
            leaves = np.flatnonzero(~forest.inner & (at >= 0))
            lines.view(self.dtype)[at[leaves] // self.dtype.itemsize] = forest.leaf[leaves]
        many = bundle.chunk_rows
        starts = range(0, like.rows, many)
        longest = [int(levels[r : r + many].max()) for r in starts]
        chunks = [(min(many, like.rows - r), max(code.DOUBLINGS[0], (n - 1).bit_length())) for r, n in zip(starts, longest, strict=True)]
        self.table.append(
            (members, like.vectors, like.trees, len(self.chunks), len(chunks), sum(a.size for a in self.first), sum(a.size for a in self.record), bundle.step,
             4 * (many * like.trees + code.FIRSTS))
        )  # fmt: skip
        self.chunks += chunks
        self.first.append(np.where(count > 0, first - begin, 0).astype(np.uint32).ravel())
        self.record.append(record.ravel())
        self.record.append(np.zeros(-record.size % code.LINE, np.uint8))
        self.lines.append(lines)


def pack(forests: Sequence[Forest], models: Sequence[int]) -> dict[str, Array]:
    """Layout of models that each fit and add in one width.

    Parameters
    ----------
    forests : models of one leaf dtype
    models : column of y of each

    Raises
    ------
    ModelError : the models together test more than 256 features
    """
    grids = forest_rank.grids(forests)
    cuts = [_Cut(f) for f in forests]
    layout = _Layout(grids.span > 2 * code.LINE, forests[0].leaf.dtype)
    bundles = _bundles(cuts, layout.wide)
    for bundle in bundles:
        layout.add(bundle, [(cuts[i], *grids.codes(i, forests[i])) for i in bundle.members])

    def of_lanes(values: Sequence[float] | Array, kind: type) -> Array:
        """A value of each model, by bundle and place in it."""
        out: Array = np.zeros((len(bundles), code.MODELS), kind)
        for k, bundle in enumerate(bundles):
            out[k, : len(bundle.members)] = np.asarray(values)[bundle.members]
        return out.ravel()

    arrays: tuple[Array, ...] = (
        np.array([len(bundles), layout.wide, layout.dtype.itemsize == 8], np.int64), np.array(layout.table, np.int64).ravel(),
        np.array(layout.chunks, np.int64).ravel(), np.concatenate([*layout.first, np.zeros(code.FIRSTS, np.uint32)]),
        of_lanes([f.base for f in forests], np.float64), of_lanes([f.divisor for f in forests], np.float64), of_lanes(models, np.int64),
        of_lanes(grids.of * grids.span, np.int64),
        forest_rank.at_line(np.concatenate(layout.record)), forest_rank.at_line(np.concatenate([*layout.lines, np.zeros(EMPTY * code.LINE, np.uint8)])),
    )  # fmt: skip
    return {f"jump_{name}": a for name, a in zip(NAMES, arrays, strict=True)} | forest_rank.pack(grids)


class Jump:
    """Part of an engine: rows one by one through trees of any shape."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._kept = [arrays[f"jump_{name}"] for name in NAMES]
        self._ranks = forest_rank.Ranks(arrays)
        self._scratch = forest_rank.aligned((jit.SCRATCH_BYTES,), np.uint8)
        self._words = np.zeros(jit.WORDS, np.int64)
        self._words[: jit.RANKS] = self._kept[0]
        self._words[jit.RANKS :] = [self._ranks.block, *(a.ctypes.data for a in (self._ranks.table, *self._kept[1:], self._scratch))]
        self._block = int(self._words.ctypes.data)

    def predict(self, x: Float32, lo: int, hi: int, y: Float32) -> None:
        """Margins of rows [lo, hi) of `x` (capacity, n_features) into this part's columns of rows [0, hi - lo) of `y`."""
        jit.jump(x, lo, hi, self._block, y)
