"""Layout of the one-row kernel for trees of any shape (jit/trees_jump.py): bundles of up to eight models whose trees take the same room.

A bundle is rows of trees: row r has the r-th vector (1, 2 or 4 small trees, or one large tree) of each of its models, so models that are
shorter than others are filled up with trees of one leaf -0.0, which changes no sum. Models are sorted by the room of a tree and by length, and
a bundle ends where a model is less than half as long as its first.

A model's leaves are a region of their own, and rows that follow one another are far apart in it: the kernel reads one line of each tree's
leaves, and a processor that sees lines near one another being read fetches their neighbours too, which costs more than all else (one line of
each of 40,000 trees: 142 us in their order, 90 us so, measured with plain loads)."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tickarrow.jit import trees_jump as jit
from tickarrow.jit import trees_jump_pack as place
from tickarrow.pipeline import forest_rank
from tickarrow.pipeline.forest import Array, Float32, Forest

LEAVES = 256  # of a tree
SMALL = (16, 32, 64)  # lanes of a tree that fits in a vector
SLOTS = 73  # leaves of a vector of a large tree: of 64 nodes, and of at most 9 subtrees that begin in it
BESIDE = 7  # rows whose leaves stand side by side
NAMES = ("shape", "bundle", "chunk", "place", "base", "divisor", "column", "tables", "record", "leaf")


def fits(forest: Forest) -> str:
    """Why this kernel cannot run the model, or ""."""
    most = int(forest.leaves.max(initial=0))
    return f"has {most} leaves in a tree: {LEAVES} at most" if most > LEAVES else forest_rank.too_many(forest)


@dataclass(frozen=True)
class _Room:
    """What the trees of a model take."""

    vectors: int  # of a tree
    lanes: int
    rows: int  # of trees

    @classmethod
    def of(cls, forest: Forest) -> _Room:
        leaves = int(forest.leaves.max(initial=1))
        if leaves > jit.LINE:
            return cls(max(2, -(-(leaves - 1) // jit.LINE)), jit.LINE, forest.n_trees)
        lanes = next(n for n in SMALL if leaves <= n)
        return cls(1, lanes, -(-forest.n_trees * lanes // jit.LINE))


@dataclass
class _Bundle:
    """Models that stand together, and where."""

    members: list[int]
    room: _Room
    wide: bool
    record_at: int = 0  # bytes
    leaf_at: int = 0  # leaves
    levels: Array = field(init=False)  # of each row's longest path

    def __post_init__(self) -> None:
        self.levels = np.zeros(self.room.rows, np.int64)

    @property
    def side(self) -> int:
        """Bytes of a vector's side record."""
        return 8 * self.wide if self.room.vectors == 1 else 32 + 32 * self.wide

    @property
    def step(self) -> int:
        """Bytes of a vector or large tree."""
        size = self.room.vectors * (3 * jit.LINE + self.side)
        return size if self.room.vectors == 1 else -(-size // jit.LINE) * jit.LINE

    @property
    def record_size(self) -> int:
        return -(-self.room.rows * len(self.members) * self.step // jit.LINE) * jit.LINE

    @property
    def slots(self) -> int:
        """Leaves of a vector or large tree."""
        return jit.LINE if self.room.vectors == 1 else self.room.vectors * SLOTS

    @functools.cached_property
    def place(self) -> Array:
        """First leaf of each row in a model's region."""
        r, columns = np.arange(self.room.rows), -(-self.room.rows // BESIDE)
        return (r % columns * BESIDE + r // columns) * self.slots

    @property
    def region(self) -> int:
        """Leaves of a model; an odd number of rows, so that regions do not meet in the same sets of the cache."""
        return (-(-self.room.rows // BESIDE) * BESIDE | 1) * self.slots

    @property
    def chunk_rows(self) -> int:
        return max(1, jit.ROOM // (len(self.members) * self.room.vectors))

    def chunks(self) -> list[tuple[int, int]]:
        """Rows and doublings of each chunk."""
        starts = range(0, self.room.rows, self.chunk_rows)
        deepest = [int(self.levels[r : r + self.chunk_rows].max()) for r in starts]
        return [(min(self.chunk_rows, self.room.rows - r), max(1, (d - 1).bit_length())) for r, d in zip(starts, deepest, strict=True)]

    def empty(self, record: Array) -> None:
        """Make every tree one leaf, in slot 0 of the tree."""
        n = self.room.rows * len(self.members)
        lines = record[self.record_at : self.record_at + n * self.step].reshape(n, self.step)
        if self.room.vectors == 1:
            roots = np.arange(0, jit.LINE, self.room.lanes)
            lines[:, 2 * jit.LINE + roots] = jit.IS_FIRST_LEAF | roots
        else:
            lines[:, 3 * jit.LINE * self.room.vectors] = 1

    def write(self, j: int, forest: Forest, feature: Array, code: Array, record: Array, leaf: Array) -> None:
        """Put the trees of member `j` into the records and leaves."""
        missing = forest.default_left & forest.inner
        never = missing & np.isnan(forest.cut)  # all values go left, and no code says so
        byte = feature if self.wide else feature | missing << 7
        row = np.arange(forest.n_trees) * self.room.lanes // jit.LINE if self.room.vectors == 1 else np.arange(forest.n_trees)
        at = self.record_at + (row * len(self.members) + j) * self.step
        slots = self.leaf_at + j * self.region + self.place[row]
        slot, levels = np.full(forest.left.size, -1, np.int64), np.zeros(forest.n_trees, np.int64)
        todo, *others = (np.zeros(forest.left.size + 1, np.int64) for _ in range(4))
        nodes = (
            forest.root, forest.left, np.where(never, forest.left, forest.right), byte.astype(np.uint8), (code + missing).astype(np.uint8), missing & self.wide,
        )  # fmt: skip
        if self.room.vectors == 1:
            place.place_small(*nodes, self.room.lanes, at, slots, record, slot, levels, todo, others[0])
        else:
            place.place_large(*nodes, self.room.vectors, self.side, at, slots, record, slot, levels, todo, *others)
        leaf[slot[slot >= 0]] = forest.leaf[slot >= 0]
        np.maximum.at(self.levels, row, levels)


def _bundles(rooms: Sequence[_Room], wide: bool) -> list[_Bundle]:
    """Which models stand together, and where."""
    out: list[_Bundle] = []
    for i in sorted(range(len(rooms)), key=lambda i: (rooms[i].vectors, rooms[i].lanes, -rooms[i].rows)):
        room, last = rooms[i], out[-1] if out else None
        alike = last and (last.room.vectors, last.room.lanes) == (room.vectors, room.lanes) and 2 * room.rows >= last.room.rows
        if last and alike and len(last.members) < jit.MODELS:
            last.members.append(i)
        else:
            out.append(_Bundle([i], room, wide))
    for before, bundle in itertools.pairwise(out):
        bundle.record_at = before.record_at + before.record_size
        bundle.leaf_at = before.leaf_at + before.region * len(before.members)
    return out


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
    wide, dtype = grids.span > 2 * jit.LINE, forests[0].leaf.dtype
    bundles = _bundles([_Room.of(f) for f in forests], wide)
    last = bundles[-1]
    record = forest_rank.aligned((last.record_at + last.record_size,), np.uint8)
    leaf = forest_rank.aligned((last.leaf_at + last.region * len(last.members),), dtype.type)
    leaf[...] = -0.0
    table = np.zeros((len(bundles), jit.BUNDLE_FIELDS), np.int64)
    chunks: list[tuple[int, int]] = []
    for k, bundle in enumerate(bundles):
        bundle.empty(record)
        for j, i in enumerate(bundle.members):
            bundle.write(j, forests[i], *grids.codes(i, forests[i]), record, leaf)
        found = bundle.chunks()
        table[k] = (
            len(bundle.members), bundle.room.vectors, bundle.room.lanes, len(chunks), len(found), sum(b.room.rows for b in bundles[:k]),
            bundle.record_at, bundle.step, bundle.leaf_at * dtype.itemsize, bundle.region * dtype.itemsize,
        )  # fmt: skip
        chunks += found

    def of_lanes(values: Sequence[float] | Array, kind: type) -> Array:
        """A value of each model, by bundle and place in it."""
        out: Array = np.zeros((len(bundles), jit.MODELS), kind)
        for k, bundle in enumerate(bundles):
            out[k, : len(bundle.members)] = np.asarray(values)[bundle.members]
        return out.ravel()

    arrays = (
        np.array([len(bundles), wide, dtype.itemsize == 8], np.int64), table.ravel(), np.array(chunks, np.int64).reshape(-1),
        np.concatenate([b.place for b in bundles]) * dtype.itemsize, of_lanes([f.base for f in forests], np.float64),
        of_lanes([f.divisor for f in forests], np.float64), of_lanes(models, np.int64), of_lanes(grids.of * grids.span, np.int64), record, leaf,
    )  # fmt: skip
    return {f"jump_{name}": a for name, a in zip(NAMES, arrays, strict=True)} | forest_rank.pack(grids)


class Jump:
    """Part of an engine: rows one by one through trees of any shape to 256 leaves."""

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
